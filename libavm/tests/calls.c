// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What each function hands to the kernel, field by field, and what it makes of
 * the answer. The linker puts the functions below in place of libc's, and of
 * sys.c's for ioctl().
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "tap.h"

#define SPACE	77
#define PAGE	((void *)0x7f1234567000)
#define ADDR	((uintptr_t)PAGE)

/* What is handed in, and what is to be answered. */
static struct {
	int calls;
	int fd;
	unsigned long command;
	unsigned long value;
	union {
		__u32 head[2];
		struct avm_query query;
		struct avm_create create;
		struct avm_batch batch;
		struct avm_scan scan;
		struct avm_map2 map2;
		struct avm_stats stats;
	} in, out;
	struct avm_range range;		/* the first of a batch */
	void *addr;
	size_t length;
	int prot;
	int flags;
	off_t offset;
	char path[64];
	int ret;
	int error;			/* fail with it, when not 0 */
	bool answer;			/* write @out to the caller */
	void *map;
	void (*during)(void);		/* called, when not NULL, in a call */
} sys;

static void expect(int ret, int error)
{
	memset(&sys, 0, sizeof(sys));
	sys.ret = ret;
	sys.error = error;
}

static int result(void)
{
	sys.calls++;
	if (!sys.error)
		return sys.ret;
	errno = sys.error;
	return -1;
}

static int sys_ioctl_result(int fd, unsigned long command, uintptr_t value)
{
	sys.fd = fd;
	sys.command = command;
	sys.value = value;
	return result() < 0 ? -sys.error : sys.ret;
}

int __wrap_avm_sys_ioctl_value(int fd, unsigned long command,
			       unsigned long value);
int __wrap_avm_sys_ioctl_value(int fd, unsigned long command,
			       unsigned long value)
{
	return sys_ioctl_result(fd, command, value);
}

int __wrap_avm_sys_ioctl(int fd, unsigned long command, void *arg);
int __wrap_avm_sys_ioctl(int fd, unsigned long command, void *arg)
{
	size_t size = _IOC_SIZE(command);

	memcpy(&sys.in, arg, size);
	if (size == sizeof(struct avm_batch) && sys.in.batch.ranges &&
	    sys.in.batch.count)
		sys.range = *(struct avm_range *)(uintptr_t)sys.in.batch.ranges;
	if (sys.answer)
		memcpy(arg, &sys.out, size);
	if (sys.during)
		sys.during();
	return sys_ioctl_result(fd, command, (uintptr_t)arg);
}

int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
	snprintf(sys.path, sizeof(sys.path), "%s", path);
	sys.flags = flags;
	return result();
}

void *__real_mmap(void *addr, size_t length, int prot, int flags, int fd,
		  off_t offset);
void *__wrap_mmap(void *addr, size_t length, int prot, int flags, int fd,
		  off_t offset);
void *__wrap_mmap(void *addr, size_t length, int prot, int flags, int fd,
		  off_t offset)
{
	sys.addr = addr;
	sys.length = length;
	sys.prot = prot;
	sys.flags = flags;
	sys.fd = fd;
	sys.offset = offset;
	return result() < 0 ? MAP_FAILED : sys.map;
}

int __wrap_munmap(void *addr, size_t length);
int __wrap_munmap(void *addr, size_t length)
{
	sys.addr = addr;
	sys.length = length;
	return result();
}

static void test_open(void)
{
	static const int gone[] = { ENOENT, ENXIO, ENODEV };
	static const int other[] = { EACCES, EMFILE, ENFILE, ENOMEM, EPERM };

	expect(9, 0);
	CHECK_EQ(avm_open(), 9);
	CHECK_EQ(sys.calls, 1);
	CHECK(!strcmp(sys.path, "/dev/avm"));
	CHECK_EQ(sys.flags, O_RDWR | O_CLOEXEC);
	for (size_t i = 0; i < ARRAY_SIZE(gone); i++) {
		expect(0, gone[i]);
		CHECK_EQ(avm_open(), -ENODEV);
	}
	for (size_t i = 0; i < ARRAY_SIZE(other); i++) {
		expect(0, other[i]);
		CHECK_EQ(avm_open(), -other[i]);
	}
}

static void test_query(void)
{
	struct avm_query q;

	expect(0, 0);
	memset(&q, 0xff, sizeof(q));
	sys.answer = true;
	sys.out.query.out_max_size = 0x123456789000;
	CHECK_EQ(avm_query(5, &q), 0);
	CHECK_EQ(sys.calls, 1);
	CHECK_EQ(sys.fd, 5);
	CHECK_EQ(sys.command, AVM_IOC_QUERY);
	CHECK_EQ(sys.in.query.size, sizeof(q));
	CHECK_EQ(sys.in.query.flags, 0);
	CHECK_EQ(sys.in.query.out_reserved, 0);
	CHECK_EQ(q.out_max_size, 0x123456789000);
	expect(0, ENOTTY);
	CHECK_EQ(avm_query(5, &q), -ENOTTY);
}

static void test_create(void)
{
	expect(12, 0);
	CHECK_EQ(avm_create(5, 0x10000000000), 12);
	CHECK_EQ(sys.calls, 1);
	CHECK_EQ(sys.fd, 5);
	CHECK_EQ(sys.command, AVM_IOC_CREATE);
	CHECK_EQ(sys.in.create.size, sizeof(struct avm_create));
	CHECK_EQ(sys.in.create.flags, 0);
	CHECK_EQ(sys.in.create.length, 0x10000000000);
	expect(0, EMFILE);
	CHECK_EQ(avm_create(5, 4096), -EMFILE);
}

static void test_map(void)
{
	void *out = NULL;

	expect(0, 0);
	sys.map = PAGE;
	CHECK_EQ(avm_map(SPACE, 0x7000000000, 0x3000, AVM_PROT_READ, &out), 0);
	CHECK_EQ(sys.calls, 1);
	CHECK(out == PAGE);
	CHECK(!sys.addr);
	CHECK_EQ(sys.length, 0x3000);
	CHECK_EQ(sys.prot, PROT_READ);
	CHECK_EQ(sys.flags, MAP_SHARED);
	CHECK_EQ(sys.fd, SPACE);
	CHECK_EQ(sys.offset, 0x7000000000);
	expect(0, ENOMEM);
	out = &sys;
	CHECK_EQ(avm_map(SPACE, 0, 0x3000, AVM_PROT_READ, &out), -ENOMEM);
	CHECK(out == &sys);
}

static void test_unmap(void)
{
	expect(0, 0);
	CHECK_EQ(avm_unmap(PAGE, 0x2000), 0);
	CHECK_EQ(sys.calls, 1);
	CHECK(sys.addr == PAGE);
	CHECK_EQ(sys.length, 0x2000);
	expect(0, EINVAL);
	CHECK_EQ(avm_unmap(PAGE, 0), -EINVAL);
}

/* A batch of one range. */
static void check_one(unsigned long command, size_t length, __u32 prot)
{
	CHECK_EQ(sys.calls, 1);
	CHECK_EQ(sys.fd, SPACE);
	CHECK_EQ(sys.command, command);
	CHECK_EQ(sys.in.batch.size, sizeof(struct avm_batch));
	CHECK_EQ(sys.in.batch.flags, 0);
	CHECK_EQ(sys.in.batch.count, 1);
	CHECK_EQ(sys.in.batch.out_done, 0);
	CHECK_EQ(sys.in.batch.out_bytes, 0);
	CHECK_EQ(sys.range.addr, ADDR);
	CHECK_EQ(sys.range.length, length);
	CHECK_EQ(sys.range.prot, prot);
	CHECK_EQ(sys.range.reserved, 0);
}

static void check_page(unsigned long prot)
{
	CHECK_EQ(sys.calls, 1);
	CHECK_EQ(sys.fd, SPACE);
	CHECK_EQ(sys.command, AVM_IOC_PROTECT_PAGE);
	CHECK_EQ(sys.value, ADDR + prot);
}

static void test_prot1(void)
{
	expect(0, 0);
	CHECK_EQ(avm_prot1(SPACE, PAGE, AVM_PROT_READ), 0);
	check_page(AVM_PROT_READ);
	expect(0, ENXIO);
	CHECK_EQ(avm_prot1(SPACE, PAGE, AVM_PROT_NONE), -ENXIO);
	check_page(AVM_PROT_NONE);
	/* Neither may spill into the other's bits of the word. */
	expect(0, 0);
	CHECK_EQ(avm_prot1(SPACE, (char *)PAGE + 1, AVM_PROT_READ), -EINVAL);
	CHECK_EQ(avm_prot1(SPACE, PAGE, -1), -EINVAL);
	CHECK_EQ(avm_prot1(SPACE, PAGE, 4096), -EINVAL);
	CHECK_EQ(sys.calls, 0);
}

static void test_unprot(void)
{
	expect(0, 0);
	CHECK_EQ(avm_unprot(SPACE, PAGE, AVM_PROT_READ | AVM_PROT_WRITE), 0);
	check_page(AVM_PROT_READ | AVM_PROT_WRITE);
	expect(0, EACCES);
	CHECK_EQ(avm_unprot(SPACE, PAGE, AVM_PROT_READ), -EACCES);
}

static void test_protect(void)
{
	const int rwx = AVM_PROT_READ | AVM_PROT_WRITE | AVM_PROT_EXEC;

	expect(0, 0);
	CHECK_EQ(avm_protect(SPACE, PAGE, 0x200000000000, rwx), 0);
	check_one(AVM_IOC_PROTECT, 0x200000000000, 7);
	expect(0, EBUSY);
	CHECK_EQ(avm_protect(SPACE, PAGE, 0x5000, -1), -EBUSY);
	check_one(AVM_IOC_PROTECT, 0x5000, 0xffffffff);
}

static void test_populate(void)
{
	expect(0, 0);
	CHECK_EQ(avm_populate(SPACE, PAGE, 0x5000), 0);
	check_one(AVM_IOC_POPULATE, 0x5000, 0);
	expect(0, ENOMEM);
	CHECK_EQ(avm_populate(SPACE, PAGE, 0x5000), -ENOMEM);
}

static void test_discard(void)
{
	expect(0, 0);
	CHECK_EQ(avm_discard(SPACE, PAGE, 0x5000), 0);
	check_one(AVM_IOC_DISCARD, 0x5000, 0);
	expect(0, EINTR);
	CHECK_EQ(avm_discard(SPACE, PAGE, 0x5000), -EINTR);
}

typedef int vector_fn(int space, const struct avm_range *ranges,
		      uint32_t count, uint32_t *done);

static void check_vector(vector_fn *fn, unsigned long command)
{
	const struct avm_range ranges[2] = {
		{ .addr = ADDR, .length = 0x1000, .prot = 1 },
		{ .addr = ADDR + 0x9000, .length = 0x2000, .prot = 3 },
	};
	uint32_t done = 99;

	expect(0, 0);
	sys.answer = true;
	sys.out.batch.out_done = 2;
	CHECK_EQ(fn(SPACE, ranges, 2, &done), 0);
	CHECK_EQ(done, 2);
	CHECK_EQ(sys.calls, 1);
	CHECK_EQ(sys.fd, SPACE);
	CHECK_EQ(sys.command, command);
	CHECK_EQ(sys.in.batch.size, sizeof(struct avm_batch));
	CHECK_EQ(sys.in.batch.flags, 0);
	CHECK_EQ(sys.in.batch.ranges, (uintptr_t)ranges);
	CHECK_EQ(sys.in.batch.count, 2);
	CHECK_EQ(sys.in.batch.out_done, 0);
	CHECK_EQ(sys.in.batch.out_bytes, 0);

	/* Failed after the first. */
	expect(0, ENXIO);
	sys.answer = true;
	sys.out.batch.out_done = 1;
	sys.out.batch.out_bytes = 4096;
	CHECK_EQ(fn(SPACE, ranges, 2, &done), -ENXIO);
	CHECK_EQ(done, 1);

	/* Failed before the module wrote anything. */
	expect(0, EBADF);
	done = 99;
	CHECK_EQ(fn(SPACE, ranges, 2, &done), -EBADF);
	CHECK_EQ(done, 0);

	/* What the caller hands in is the module's to judge. */
	expect(0, 0);
	CHECK_EQ(fn(SPACE, NULL, UINT32_MAX, NULL), 0);
	CHECK_EQ(sys.in.batch.ranges, 0);
	CHECK_EQ(sys.in.batch.count, UINT32_MAX);
}

static void test_protn(void)
{
	check_vector(avm_protn, AVM_IOC_PROTECT);
}

static void test_populaten(void)
{
	check_vector(avm_populaten, AVM_IOC_POPULATE);
}

static void test_discardn(void)
{
	check_vector(avm_discardn, AVM_IOC_DISCARD);
}

static void check_scan(__u32 flags, __u32 bits, const void *buffer, size_t size)
{
	CHECK_EQ(sys.calls, 1);
	CHECK_EQ(sys.fd, SPACE);
	CHECK_EQ(sys.command, AVM_IOC_SCAN);
	CHECK_EQ(sys.in.scan.size, sizeof(struct avm_scan));
	CHECK_EQ(sys.in.scan.flags, flags);
	CHECK_EQ(sys.in.scan.addr, ADDR);
	CHECK_EQ(sys.in.scan.length, 0x80000);
	CHECK_EQ(sys.in.scan.match, bits);
	CHECK_EQ(sys.in.scan.clear, bits);
	CHECK_EQ(sys.in.scan.prot, 0);
	CHECK_EQ(sys.in.scan.reserved, 0);
	CHECK_EQ(sys.in.scan.buffer, (uintptr_t)buffer);
	CHECK_EQ(sys.in.scan.buffer_size, size);
}

typedef int64_t bitmap_fn(int space, void *addr, size_t length,
			  uint64_t *bitmap, size_t bitmap_bytes);

static void check_bitmap(bitmap_fn *fn, __u32 bits)
{
	uint64_t bitmap[2];

	expect(0, 0);
	sys.answer = true;
	sys.out.scan.out_pages = 0x123456789;
	CHECK_EQ(fn(SPACE, PAGE, 0x80000, bitmap, 16), 0x123456789);
	check_scan(AVM_SCAN_BITMAP, bits, bitmap, 16);

	expect(0, 0);
	CHECK_EQ(fn(SPACE, PAGE, 0x80000, NULL, 0), 0);
	check_scan(0, bits, NULL, 0);

	/* An allocation that failed must not become a mere count. */
	expect(0, EFAULT);
	CHECK_EQ(fn(SPACE, PAGE, 0x80000, NULL, 16), -EFAULT);
	check_scan(AVM_SCAN_BITMAP, bits, NULL, 16);

	expect(0, ENOBUFS);
	sys.answer = true;
	sys.out.scan.out_pages = 3;
	CHECK_EQ(fn(SPACE, PAGE, 0x80000, bitmap, 8), -ENOBUFS);
}

static void test_dirty(void)
{
	check_bitmap(avm_dirty, AVM_PAGE_DIRTY);
}

static void test_accessed(void)
{
	check_bitmap(avm_accessed, AVM_PAGE_ACCESSED);
}

static void test_dirty_spans(void)
{
	struct avm_span spans[3];
	void *end = NULL;

	expect(0, 0);
	sys.answer = true;
	sys.out.scan.out_pages = 7;
	sys.out.scan.out_spans = 3;
	sys.out.scan.out_end = ADDR + 0x30000;
	CHECK_EQ(avm_dirty_spans(SPACE, PAGE, 0x80000, spans, 3, &end), 3);
	CHECK_EQ((uintptr_t)end, ADDR + 0x30000);
	check_scan(AVM_SCAN_RANGES, AVM_PAGE_DIRTY, spans,
		   3 * sizeof(struct avm_span));

	/* Before the module wrote anything: nothing was done. */
	expect(0, EBADF);
	CHECK_EQ(avm_dirty_spans(SPACE, PAGE, 0x80000, spans, 3, &end), -EBADF);
	CHECK(end == PAGE);
	/* In mid-call. */
	expect(0, EFAULT);
	sys.answer = true;
	sys.out.scan.out_end = ADDR + 0x10000;
	CHECK_EQ(avm_dirty_spans(SPACE, PAGE, 0x80000, spans, 3, &end),
		 -EFAULT);
	CHECK_EQ((uintptr_t)end, ADDR + 0x10000);

	expect(0, 0);
	CHECK_EQ(avm_dirty_spans(SPACE, PAGE, 0x80000, spans, 3, NULL), 0);
	/* A product that does not fit must not become a small buffer. */
	expect(0, 0);
	avm_dirty_spans(SPACE, PAGE, 0x80000, spans, SIZE_MAX / 16 + 2, &end);
	CHECK(sys.in.scan.buffer_size == UINT64_MAX - 15);
}

static void test_scan(void)
{
	struct avm_scan scan = {
		.flags = AVM_SCAN_RANGES | AVM_SCAN_PROTECT,
		.addr = ADDR,
		.length = 0x3000,
		.match = AVM_PAGE_DIRTY | AVM_PAGE_ACCESSED,
		.clear = AVM_PAGE_DIRTY,
		.prot = AVM_PROT_READ,
		.reserved = 5,
		.buffer = 0x1000,
		.buffer_size = 0x2000,
	};
	struct avm_scan want = scan;

	/* Everything but the size goes through as it is. */
	want.size = sizeof(scan);
	expect(0, 0);
	sys.answer = true;
	sys.out.scan.out_pages = 4;
	CHECK_EQ(avm_scan(SPACE, &scan), 0);
	CHECK_EQ(sys.calls, 1);
	CHECK_EQ(sys.fd, SPACE);
	CHECK_EQ(sys.command, AVM_IOC_SCAN);
	CHECK(!memcmp(&sys.in.scan, &want, sizeof(want)));
	CHECK_EQ(scan.out_pages, 4);
	expect(0, EOPNOTSUPP);
	CHECK_EQ(avm_scan(SPACE, &scan), -EOPNOTSUPP);
}

static void test_map2(void)
{
	void *out = NULL;

	expect(0, 0);
	sys.answer = true;
	sys.out.map2.out_addr = 0x7fabcdef0000;
	CHECK_EQ(avm_map2(SPACE, PAGE, 0x6000, 7, 1, &out), 0);
	CHECK_EQ((uintptr_t)out, 0x7fabcdef0000);
	CHECK_EQ(sys.calls, 1);
	CHECK_EQ(sys.fd, SPACE);
	CHECK_EQ(sys.command, AVM_IOC_MAP2);
	CHECK_EQ(sys.in.map2.size, sizeof(struct avm_map2));
	CHECK_EQ(sys.in.map2.flags, 0);
	CHECK_EQ(sys.in.map2.addr, ADDR);
	CHECK_EQ(sys.in.map2.length, 0x6000);
	CHECK_EQ(sys.in.map2.to, 0);
	CHECK_EQ(sys.in.map2.max_prot, 7);
	CHECK_EQ(sys.in.map2.prot, 1);
	CHECK_EQ(sys.in.map2.out_addr, 0);
	expect(0, ENXIO);
	sys.answer = true;
	out = &sys;
	CHECK_EQ(avm_map2(SPACE, PAGE, 0x6000, 7, 1, &out), -ENXIO);
	CHECK(out == &sys);
}

static void test_stats(void)
{
	struct avm_stats st;

	expect(0, 0);
	memset(&st, 0xff, sizeof(st));
	sys.answer = true;
	sys.out.stats.out_flushed_pages = 55;
	CHECK_EQ(avm_stats(SPACE, &st), 0);
	CHECK_EQ(st.out_flushed_pages, 55);
	CHECK_EQ(sys.calls, 1);
	CHECK_EQ(sys.fd, SPACE);
	CHECK_EQ(sys.command, AVM_IOC_STATS);
	CHECK_EQ(sys.in.stats.size, sizeof(st));
	CHECK_EQ(sys.in.stats.flags, 0);
	expect(0, EBADF);
	CHECK_EQ(avm_stats(SPACE, &st), -EBADF);
}

static int never_called(const struct avm_trap_info *info, void *arg)
{
	(void)info;
	(void)arg;
	abort();
}

static int trap_page(int space)
{
	return avm_trap(space, PAGE, AVM_PAGE_SIZE, never_called, NULL, 0);
}

static void test_trap_without_space(void)
{
	static const int spaces[] = {
		-1, -EPERM, -ENODEV, -EMFILE, -4095, -4097, INT_MIN,
	};

	expect(0, 0);
	for (size_t i = 0; i < ARRAY_SIZE(spaces); i++)
		CHECK_EQ(trap_page(spaces[i]), -EINVAL);
	CHECK_EQ(avm_untrap(PAGE), -ENOENT);
	CHECK_EQ(trap_page(AVM_NO_SPACE), 0);
	CHECK_EQ(avm_untrap(PAGE), 0);
	CHECK_EQ(sys.calls, 0);
}

/* What the kernel may answer to avm_untrap(), and whether that has worked then. */
static void test_untrap_errors(void)
{
	static const int harmless[] = { 0, ENOENT, EBADF, ENOTTY };
	static const int errors[] = { ENOMEM, ENOSPC, EINTR };

	for (size_t i = 0; i < ARRAY_SIZE(harmless); i++) {
		expect(0, 0);
		CHECK_EQ(trap_page(SPACE), 0);
		expect(0, harmless[i]);
		CHECK_EQ(avm_untrap(PAGE), 0);
		CHECK_EQ(sys.calls, 1);
		CHECK_EQ(avm_untrap(PAGE), -ENOENT);
	}
	expect(0, 0);
	CHECK_EQ(trap_page(SPACE), 0);
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		expect(0, errors[i]);
		CHECK_EQ(avm_untrap(PAGE), -errors[i]);
		CHECK_EQ(trap_page(SPACE), -EEXIST);
	}
	expect(0, 0);
	CHECK_EQ(avm_untrap(PAGE), 0);
}

/* A fork in the middle of a call, and what the child makes of it. */
static volatile bool is_child;
static volatile int child_status;

static void *traps_elsewhere(void *arg)
{
	CHECK_EQ(avm_trap(AVM_NO_SPACE, arg, AVM_PAGE_SIZE, never_called, NULL, 0), 0);
	CHECK_EQ(avm_untrap(arg), 0);
	return NULL;
}

/* In a child: handlers come and go, in this thread and in another. */
static void child_changes(void)
{
	pthread_t thread;
	char *elsewhere = (char *)PAGE + 16 * AVM_PAGE_SIZE;

	expect(0, 0);
	traps_elsewhere(elsewhere);
	REQUIRE(!pthread_create(&thread, NULL, traps_elsewhere, elsewhere));
	pthread_join(thread, NULL);
	CHECK_EQ(trap_page(SPACE), 0);
	CHECK_EQ(avm_untrap(PAGE), 0);
}

static void fork_here(void)
{
	pid_t pid = fork();
	int status = -1;

	if (pid == 0) {
		is_child = true;
		tap_bad = false;
		alarm(20);
		return;
	}
	waitpid(pid, &status, 0);
	child_status = status;
}

static void forks(int sig)
{
	(void)sig;
	fork_here();
}

static void raise_here(void)
{
	raise(SIGUSR1);
}

/* The child is through with the call that was interrupted. */
static void child_ends(void)
{
	if (!is_child)
		return;
	child_changes();
	fflush(stdout);
	_exit(tap_bad);
}

/* The lock is held then, by the very thread that forks. */
static void test_fork_in_signal(void)
{
	struct sigaction action = { .sa_handler = forks };

	REQUIRE(sigaction(SIGUSR1, &action, NULL) == 0);
	fflush(stdout);
	expect(0, 0);
	sys.during = raise_here;
	child_status = -1;
	CHECK_EQ(trap_page(SPACE), 0);
	if (is_child) {
		sys.during = NULL;
		CHECK_EQ(avm_untrap(PAGE), 0);
	}
	child_ends();
	CHECK_EQ(child_status, 0);
	child_status = -1;
	CHECK_EQ(avm_untrap(PAGE), 0);
	child_ends();
	CHECK_EQ(child_status, 0);
	child_changes();
}

static void *traps_page(void *arg)
{
	(void)arg;
	CHECK_EQ(trap_page(SPACE), 0);
	return NULL;
}

static atomic_int step;

static void wait_in_call(void)
{
	atomic_store(&step, 1);
	while (atomic_load(&step) != 2)
		sched_yield();
}

/* The lock is held by a thread that goes on after the fork, and not in the child. */
static void test_fork_beside(void)
{
	pthread_t thread;

	fflush(stdout);
	expect(0, 0);
	sys.during = wait_in_call;
	REQUIRE(!pthread_create(&thread, NULL, traps_page, NULL));
	while (atomic_load(&step) != 1)
		sched_yield();
	child_status = -1;
	fork_here();
	if (is_child) {
		/* The table had it, and the kernel knows nothing of the child. */
		expect(0, ENOENT);
		CHECK_EQ(avm_untrap(PAGE), 0);
	}
	child_ends();
	CHECK_EQ(child_status, 0);
	sys.during = NULL;
	atomic_store(&step, 2);
	pthread_join(thread, NULL);
	CHECK_EQ(avm_untrap(PAGE), 0);
	child_changes();
}

static void test_strerror(void)
{
	static const int documented[] = {
		EACCES, EBADF, EBUSY, EEXIST, EFAULT, EINTR, EINVAL, EMFILE,
		ENFILE, ENOBUFS, ENODEV, ENOENT, ENOMEM, ENOSPC, ENOTTY, ENXIO,
		EOPNOTSUPP, E2BIG,
	};

	for (size_t i = 0; i < ARRAY_SIZE(documented); i++) {
		const char *text = avm_strerror(documented[i]);

		CHECK(text == avm_strerror(-documented[i]));
		/* A text of our own, not libc's. */
		CHECK(strcmp(text, strerror(documented[i])));
		CHECK(strlen(text) > 10);
	}
	CHECK(strstr(avm_strerror(ENODEV), "modprobe avm"));
	CHECK(strstr(avm_strerror(-ENODEV), "make load"));
	CHECK(!strcmp(avm_strerror(0), "success"));
	CHECK(!strcmp(avm_strerror(-ENOTDIR), strerror(ENOTDIR)));
	CHECK(avm_strerror(123456));
	CHECK(avm_strerror(INT_MAX));
	CHECK(avm_strerror(INT_MIN));
}

static void test_version(void)
{
	CHECK(!strcmp(avm_version(), AVM_VERSION));
}

static const struct tap_test tests[] = {
	TEST(test_open, "avm_open: path, flags, -ENODEV without module"),
	TEST(test_query, "avm_query"),
	TEST(test_create, "avm_create"),
	TEST(test_map, "avm_map"),
	TEST(test_unmap, "avm_unmap"),
	TEST(test_prot1, "avm_prot1"),
	TEST(test_unprot, "avm_unprot"),
	TEST(test_protect, "avm_protect"),
	TEST(test_protn, "avm_protn"),
	TEST(test_populate, "avm_populate"),
	TEST(test_populaten, "avm_populaten"),
	TEST(test_discard, "avm_discard"),
	TEST(test_discardn, "avm_discardn"),
	TEST(test_dirty, "avm_dirty"),
	TEST(test_dirty_spans, "avm_dirty_spans"),
	TEST(test_accessed, "avm_accessed"),
	TEST(test_scan, "avm_scan"),
	TEST(test_map2, "avm_map2"),
	TEST(test_stats, "avm_stats"),
	TEST(test_trap_without_space, "avm_trap: any negative space but one is -EINVAL"),
	TEST(test_untrap_errors, "avm_untrap: which answers of the kernel are errors"),
	TEST(test_fork_in_signal, "fork in a signal handler within avm_trap and avm_untrap"),
	TEST(test_fork_beside, "fork while another thread is in avm_trap"),
	TEST(test_strerror, "avm_strerror: says what to do, takes any int"),
	TEST(test_version, "avm_version is VERSION"),
};

int main(void)
{
	return tap_run(tests, ARRAY_SIZE(tests));
}
