// SPDX-License-Identifier: GPL-2.0
/*
 * What happens when there is no memory, or a copy from or to the user fails:
 * each operation is made with its 1st, 2nd, 3rd, ... allocation failing until
 * none is left to fail. Then it went through as if nothing had happened, or
 * it failed with an error that the header knows, all is as it was (or as
 * the answer says), and the same call works when it is made again.
 *
 * Each attempt has a space of its own, which then goes: whatever it should have
 * freed shows in the kernel's own checks when it goes, and in kmemleak.
 */
#include "inject.h"
#include "entry.h"

#include <setjmp.h>
#include <sys/syscall.h>

#include "kselftest.h"

#define N	8ul			/* pages whose state is known */
#define PAGES	1536ul			/* of the view: three page tables */
#define FAR	600ul			/* in the second, never touched */
#define BARE	1030ul			/* in the third: 4 dirty pages without bytes */
#define ADDRESS	0x100000000ul
#define ALIAS	((char *)0x200000000ul)
#define MOVED	((char *)0x300000000ul)
#define MANY	40u			/* ranges: more than fit on the stack */
#define PASSES 3u
#define ATTEMPTS 2000u			/* more allocations has no operation */

static char *const view = (char *)ADDRESS;
static int space = -1, result_fd = -1;
static struct avm_batch out;
static struct avm_scan scanned;
static uint64_t bitmap[PAGES / 64], dirty_before[PAGES / 64], told[PAGES / 64];
static struct avm_span spans[8];
static struct avm_range ranges[MANY];
static struct avm_stats before;
static char *made;			/* a mapping that the operation made */
static size_t made_length;
static int pipes[2], mem;
static char *fresh_stack;

static struct page {
	int prot;
	char value;
	bool dirty;
} model[N];

static int trap(const char *addr, unsigned long pages, const void *entry, uint32_t raise,
		uint32_t flags)
{
	struct avm_trap arg = {
		.size = sizeof(arg), .flags = flags, .addr = (uintptr_t)addr,
		.length = pages * PAGE, .entry = (uintptr_t)entry, .raise = raise,
	};

	return call(space, AVM_IOC_TRAP, &arg);
}

/* ---- the world in which an operation is made ---- */

static void *map_at(char *at, unsigned long pages, unsigned long first)
{
	void *p = mmap(at, pages * PAGE, RW, MAP_SHARED | MAP_FIXED_NOREPLACE, space,
		       first * PAGE);

	must(p == at);
	return p;
}

static void world_begin(void)
{
	static const int prots[] = { NONE, R, RW };
	unsigned long i;

	space = space_new(PAGES + 512);
	map_at(view, PAGES, 0);
	map_at(ALIAS, PAGES, 0);
	for (i = 0; i < N; i++)
		view[i * PAGE] = i + 1;
	must(dirty(space, view, N, NULL) == (long)N);
	for (i = 0; i < N; i++) {
		model[i] = (struct page){ prots[i % 3], i + 1, i % 4 == 0 };
		if (model[i].dirty)
			view[i * PAGE] = i + 1;
		must(!protect(space, view + i * PAGE, 1, prots[i % 3]));
		must(ALIAS[i * PAGE] == (char)(i + 1));
	}
	for (i = BARE; i < BARE + 4; i++)
		view[i * PAGE] = 9;
	before = stats(space);
	must(scan(space, view, PAGES, AVM_PAGE_DIRTY, 0, dirty_before) >= 0);
	memset(told, 0, sizeof(told));
	upcalls_made = 0;
	result_fd = -1;
	made = NULL;
}

static void use_fresh_stack(bool on)
{
	stack_t stack = {
		.ss_sp = fresh_stack, .ss_size = 16 * PAGE, .ss_flags = on ? 0 : SS_DISABLE,
	};

	must(!madvise(fresh_stack, 16 * PAGE, MADV_DONTNEED));
	must(!sigaltstack(&stack, NULL));
}

static void world_end(void)
{
	use_fresh_stack(false);
	if (result_fd >= 0)
		close(result_fd);
	munmap(view, PAGES * PAGE);
	munmap(ALIAS, PAGES * PAGE);
	munmap(MOVED, PAGES * PAGE);
	if (made)
		munmap(made, made_length);
	if (space >= 0)
		close(space);
	space = -1;
}

static int complain(const char *what, long is, long should_be)
{
	printf("# %s: %ld, expected %ld\n", what, is, should_be);
	return 1;
}

static int prot_of(char *addr)
{
	int prot = try_read(addr) ? NONE : R;

	return prot && !try_write(addr, *addr) ? RW : prot;
}

/* What the protection and so on of the N pages are, without page @but. */
static int wrong_pages(char *at, long but)
{
	uint64_t bits = 0;
	unsigned long i;
	int n = 0, prot;

	must(scan(space, at, N, AVM_PAGE_DIRTY, 0, &bits) >= 0);
	for (i = 0; i < N; i++) {
		if ((long)i == but)
			continue;
		if (bit(&bits, i) != model[i].dirty)
			n += complain("page dirty", bit(&bits, i), model[i].dirty);
		if (ALIAS[i * PAGE] != model[i].value)
			n += complain("contents", ALIAS[i * PAGE], model[i].value);
		prot = prot_of(at + i * PAGE);
		if (prot != model[i].prot)
			n += complain("protection", prot, model[i].prot);
		/* The look has made it dirty. */
		model[i].dirty |= model[i].prot == RW;
	}
	return n;
}

/* Nothing of it has been done. */
static int unchanged(void)
{
	struct avm_stats now = stats(space);
	int n = 0;

	if (now.out_resident_pages != before.out_resident_pages)
		n += complain("pages", now.out_resident_pages, before.out_resident_pages);
	if (now.out_views != before.out_views)
		n += complain("views", now.out_views, before.out_views);
	return n + wrong_pages(view, -1);
}

/* For calls that never touch the N pages, done or not. */
static int kept(void)
{
	return wrong_pages(view, -1);
}

static int nothing(void)
{
	return 0;
}

/* ---- the operations ---- */

static int fd_or_error(int fd)
{
	result_fd = fd;
	return fd < 0 ? -errno : 0;
}

static int op_open(void) { return fd_or_error(open(AVM_DEVICE, O_RDWR | O_CLOEXEC)); }

static int dev;

static int op_create(void)
{
	struct avm_create arg = { .size = sizeof(arg), .length = 64 * PAGE };

	return fd_or_error(ioctl(dev, AVM_IOC_CREATE, &arg));
}

static int op_create_long(void)
{
	static struct { struct avm_create arg; char zeros[64]; } s;

	s.arg.size = sizeof(s);
	s.arg.length = 64 * PAGE;
	return fd_or_error(ioctl(dev, AVM_IOC_CREATE, &s));
}

static int op_query(void)
{
	struct avm_query arg = { .size = sizeof(arg) };

	return call(space, AVM_IOC_QUERY, &arg) ?: call(dev, AVM_IOC_QUERY, &arg);
}

static int op_stats(void)
{
	struct avm_stats arg = { .size = sizeof(arg) };

	return call(space, AVM_IOC_STATS, &arg);
}

static int mapped(void *p, unsigned long pages)
{
	if (p == MAP_FAILED)
		return -errno;
	made = p;
	made_length = pages * PAGE;
	return 0;
}

static int op_mmap(void)
{
	return mapped(mmap(NULL, PAGES * PAGE, RW, MAP_SHARED, space, 0), PAGES);
}

static int op_mmap_part(void)
{
	return mapped(mmap(NULL, 4 * PAGE, R, MAP_SHARED, space, 2 * PAGE), 4);
}

/* Other pages, in the middle of the view, clear of its first ones. */
static int op_mmap_over(void)
{
	void *p = mmap(view + FAR * PAGE, 4 * PAGE, R, MAP_SHARED | MAP_FIXED, space, 0);

	return p == MAP_FAILED ? -errno : 0;
}

static int op_mmap_private(void)
{
	int ret = mapped(mmap(NULL, PAGE, RW, MAP_PRIVATE, space, 0), 1);

	return ret == -EINVAL ? 0 : ret ?: -EIO;
}

static int error_of(int ret) { return ret < 0 ? -errno : 0; }

static int op_munmap(void) { return error_of(munmap(view, PAGES * PAGE)); }

static int op_munmap_part(void) { return error_of(munmap(view + FAR * PAGE, PAGE)); }

static int op_mremap(void)
{
	void *p = mremap(view, PAGES * PAGE, PAGES * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, MOVED);

	return p == MAP_FAILED ? -errno : 0;
}

static int op_mremap_part(void)
{
	void *p = mremap(view, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, MOVED);

	return p == MAP_FAILED ? -errno : 0;
}

static int op_fork(void)
{
	pid_t pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	if (!pid)
		_exit(0);
	if (pid < 0)
		return -errno;
	status_of(pid);
	return 0;
}

static int op_close(void)
{
	munmap(view, PAGES * PAGE);
	munmap(ALIAS, PAGES * PAGE);
	close(space);
	space = -1;
	return 0;
}

/* A touch: 0 or the signal, as an error. */
static int touched(int sig) { return -sig; }

static int op_read_fresh(void) { return touched(try_read(view + (N + 1) * PAGE)); }
static int op_write_fresh(void) { return touched(try_write(view + (N + 1) * PAGE, 5)); }
static int op_read_far(void) { return touched(try_read(view + FAR * PAGE)); }
static int op_write_far(void) { return touched(try_write(view + FAR * PAGE, 5)); }

/* The second view of a page that is there, whose table is not. */
static int op_read_other(void) { return touched(try_read(ALIAS + BARE * PAGE)); }

static int op_denied(void)
{
	int read = try_read(view), write = try_write(view + PAGE, 1);

	return read == SIGSEGV && write == SIGSEGV ? 0 : -EIO;
}

static int op_system_call(void)
{
	return read(pipes[0], view + FAR * PAGE, 1) == 1 ? 0 : -errno;
}

static int op_debugger_write(void)
{
	return pwrite(mem, "x", 1, ADDRESS + FAR * PAGE) == 1 ? 0 : -errno;
}

static int op_debugger_read(void)
{
	char c;

	return pread(mem, &c, 1, ADDRESS + 2 * PAGE) == 1 ? 0 : -errno;
}

static int ranged(unsigned long cmd, unsigned int n, unsigned long first, unsigned long step,
		  unsigned long pages, uint32_t prot)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		ranges[i] = (struct avm_range){
			ADDRESS + (first + i * step) * PAGE, pages * PAGE, prot, 0
		};
	return batch(space, cmd, ranges, n, &out);
}

static int op_protect_one(void) { return ranged(AVM_IOC_PROTECT, 1, N, 1, 1, R); }
static int op_protect_far(void) { return ranged(AVM_IOC_PROTECT, 1, FAR, 1, 1, NONE); }
static int op_protect_chunk(void) { return ranged(AVM_IOC_PROTECT, 1, 512, 1, 512, NONE); }
static int op_protect_all(void) { return ranged(AVM_IOC_PROTECT, 1, N, 1, PAGES - N, NONE); }
static int op_protect_few(void) { return ranged(AVM_IOC_PROTECT, 6, FAR, 150, 1, NONE); }
static int op_protect_many(void) { return ranged(AVM_IOC_PROTECT, MANY, FAR, 20, 3, NONE); }
static int op_discard_one(void) { return ranged(AVM_IOC_DISCARD, 1, BARE, 1, 1, 0); }
static int op_discard_many(void) { return ranged(AVM_IOC_DISCARD, MANY, BARE, 1, 1, 0); }
static int op_populate_one(void) { return ranged(AVM_IOC_POPULATE, 1, FAR, 1, 1, 0); }
static int op_populate_all(void) { return ranged(AVM_IOC_POPULATE, 1, 500, 1, 24, 0); }
static int op_populate_many(void) { return ranged(AVM_IOC_POPULATE, MANY, FAR, 20, 1, 0); }

static int protect_page(unsigned long page, uint32_t prot)
{
	return call(space, AVM_IOC_PROTECT_PAGE, (void *)(ADDRESS + page * PAGE + prot));
}

static int op_protect_page(void) { return protect_page(N, R); }
static int op_protect_page_far(void) { return protect_page(FAR, R); }

static int scanning(uint32_t flags, uint32_t clear, uint32_t prot, void *buffer, size_t size)
{
	scanned = (struct avm_scan){
		.size = sizeof(scanned), .flags = flags, .addr = ADDRESS, .length = PAGES * PAGE,
		.match = AVM_PAGE_DIRTY, .clear = clear, .prot = prot,
		.buffer = (uintptr_t)buffer, .buffer_size = size,
	};
	memset(bitmap, 0, sizeof(bitmap));
	memset(spans, 0, sizeof(spans));
	return call(space, AVM_IOC_SCAN, &scanned);
}

static int op_scan_count(void) { return scanning(0, 0, 0, NULL, 0); }

static int op_scan_bitmap(void)
{
	return scanning(AVM_SCAN_BITMAP, AVM_PAGE_DIRTY, 0, bitmap, sizeof(bitmap));
}

static int op_scan_ranges(void)
{
	return scanning(AVM_SCAN_RANGES, AVM_PAGE_DIRTY, 0, spans, sizeof(spans));
}

static int op_scan_protect(void)
{
	return scanning(AVM_SCAN_BITMAP | AVM_SCAN_PROTECT, AVM_PAGE_DIRTY, R, bitmap,
			sizeof(bitmap));
}

static int op_map2(void)
{
	struct avm_map2 arg = {
		.size = sizeof(arg), .addr = ADDRESS, .length = 16 * PAGE, .max_prot = RW,
		.prot = R,
	};
	int ret = call(space, AVM_IOC_MAP2, &arg);

	return ret ?: mapped((void *)(uintptr_t)arg.out_addr, 16);
}

static int op_map2_fixed(void)
{
	struct avm_map2 arg = {
		.size = sizeof(arg), .flags = AVM_MAP2_FIXED, .addr = ADDRESS,
		.length = 16 * PAGE, .to = (uintptr_t)MOVED, .max_prot = RW, .prot = NONE,
	};

	return call(space, AVM_IOC_MAP2, &arg);
}

static int op_trap(void) { return trap(view + FAR * PAGE, 4, upcall_entry, RW, 0); }
static int op_trap_front(void) { return trap(view, 1, upcall_entry, 0, AVM_TRAP_ONSTACK); }
static int op_untrap(void) { return trap(view + FAR * PAGE, 4, NULL, 0, 0); }
static int op_untrap_middle(void) { return trap(view + (FAR + 1) * PAGE, 2, NULL, 0, 0); }
static int op_untrap_all(void) { return trap(view, PAGES, NULL, 0, 0); }

/* The page that is none, with a registration: 0 when an upcall was made. */
static int op_upcall(void)
{
	int sig = try_read(view);

	if (upcalls_made)
		return 0;
	return sig ? -sig : -EIO;
}

/* Raises a page that has no byte of its own and is not mapped. */
static int op_upcall_raise(void)
{
	int sig = try_write(view + FAR * PAGE, 1);

	if (upcalls_made)
		return 0;
	return sig ? -sig : -EIO;
}

/* Passed: the SIGSEGV comes. */
static int op_pass(void)
{
	static struct avm_trap_pass arg;
	volatile int ret = 0;

	memset(&denied, 0, sizeof(denied));
	arg.upcall.addr = ADDRESS;
	arg.upcall.access = AVM_PROT_READ;
	arg.upcall.sp = (uintptr_t)&arg;
	denied_armed = 1;
	if (!sigsetjmp(denied_jump, 1)) {
		arg.upcall.sp = (uintptr_t)__builtin_frame_address(0) - 8 * 1024;
		ret = call(space, AVM_IOC_TRAP_PASS, &arg);
	}
	denied_armed = 0;
	if (denied.sig == SIGSEGV)
		return 0;
	return ret ?: -EIO;
}

/* ---- what has to be so before, after a failure, and when it is done ---- */

/* One byte is in the pipe. */
static void fill_pipe(void)
{
	char c;

	while (read(pipes[0], &c, 1) == 1)
		;
	must(write(pipes[1], "x", 1) == 1);
}

static void first_traps(void)
{
	unsigned int i;

	/* A full array, so that the next is a new one. */
	for (i = 0; i < 4; i++)
		must(!trap(view + (BARE + i) * PAGE, 1, upcall_entry, 0, 0));
}

static void far_trap(void)
{
	must(!trap(view + FAR * PAGE, 4, upcall_entry, 0, 0));
	must(!protect(space, view + FAR * PAGE, 4, NONE));
	before = stats(space);
}

static void trap_of_none(void)
{
	must(!trap(view, 1, upcall_entry, 0, 0));
}

/* The frame goes to a page of the alternate stack that was never touched. */
static void trap_late(void)
{
	use_fresh_stack(true);
	must(!trap(view, 1, upcall_entry, 0, AVM_TRAP_ONSTACK));
}

static void trap_raise(void)
{
	must(!trap(view + FAR * PAGE, 4, upcall_entry, RW, 0));
	must(!protect(space, view + 512 * PAGE, 512, NONE));
	before = stats(space);
}

/* Registrations of the four pages at FAR: whether each makes an upcall. */
static int far_registered(unsigned int expected)
{
	unsigned int i, is = 0;

	for (i = 0; i < 4; i++) {
		upcalls_made = 0;
		try_read(view + (FAR + i) * PAGE);
		is |= upcalls_made << i;
	}
	upcalls_made = 0;
	return is == expected ? 0 : complain("registrations", is, expected);
}

static int far_all(void) { return unchanged() + far_registered(15); }
static int far_none(void) { return unchanged() + far_registered(0); }
static int far_ends(void) { return unchanged() + far_registered(9); }

static int far_gone(void)
{
	must(!protect(space, view + FAR * PAGE, 4, NONE));
	return far_registered(0);
}

static int far_there(void)
{
	must(!protect(space, view + FAR * PAGE, 4, NONE));
	return far_registered(15);
}

/* Page @i of a vector is in a range that the answer says is done. */
static bool is_done(unsigned int range, unsigned long page)
{
	return range < out.out_done || (range == out.out_done && page * PAGE < out.out_bytes);
}

/* Every page has the new protection where the answer says so, and the old else. */
static int protect_as_told(void)
{
	unsigned int i, n = 0, prot;
	unsigned long page, step;

	for (i = 0; i < MANY && ranges[i].length; i++) {
		step = ranges[i].length > 16 * PAGE ? 37 : 1;
		for (page = 0; page < ranges[i].length / PAGE; page += step) {
			prot = is_done(i, page) ? ranges[i].prot : RW;
			n += prot_of((char *)ranges[i].addr + page * PAGE) == (int)prot ? 0 :
				complain("protection of a page of a range", !prot, prot);
		}
	}
	return n + kept();
}

/* How many pages are populated, or were discarded: what the answer says. */
static unsigned long pages_told(void)
{
	unsigned long n = out.out_bytes / PAGE;
	unsigned int i;

	for (i = 0; i < out.out_done; i++)
		n += ranges[i].length / PAGE;
	return n;
}

static int populate_as_told(void)
{
	unsigned long now = stats(space).out_resident_pages - before.out_resident_pages;
	unsigned long inside = 0, i;

	/* Pages 500 to 523 have none of the N; each is one page more. */
	for (i = 0; i < pages_told(); i++)
		inside++;
	return (now == inside ? 0 : complain("populated", now, inside)) + kept();
}

static int discard_as_told(void)
{
	unsigned long gone = before.out_resident_pages - stats(space).out_resident_pages;
	unsigned long told = pages_told() < 4 ? pages_told() : 4;

	return (gone == told ? 0 : complain("discarded", gone, told)) + kept();
}

/* Whether the answer of the last scan has a page. */
static bool is_in_answer(unsigned long page)
{
	unsigned long at = ADDRESS + page * PAGE;
	unsigned int i;

	if (at >= scanned.out_end)
		return false;
	if (scanned.flags & AVM_SCAN_BITMAP)
		return bit(bitmap, page);
	for (i = 0; i < scanned.out_spans; i++)
		if (at >= spans[i].addr && at < spans[i].addr + spans[i].length)
			return true;
	return false;
}

/* Add the answer to what was told. Return: the pages in it. */
static unsigned long add_answer(void)
{
	unsigned long i, n = 0;

	for (i = 0; i < PAGES; i++) {
		if (!is_in_answer(i))
			continue;
		told[i / 64] |= 1ul << i % 64;
		n++;
	}
	return n;
}

/*
 * Each page that was dirty has been told, by this scan or the one before it that
 * failed, or is still dirty: one of the two. No other is. (With @prot pages may be
 * read-only that were not.)
 */
static int scan_lost_nothing(void)
{
	uint64_t still[PAGES / 64];
	unsigned long i;
	int n = 0;

	must(scan(space, view, PAGES, AVM_PAGE_DIRTY, 0, still) >= 0);
	for (i = 0; i < PAGES; i++)
		if (bit(told, i) + bit(still, i) != bit(dirty_before, i))
			n += complain("times a page is told or dirty",
				      bit(told, i) + bit(still, i), bit(dirty_before, i));
	return n;
}

static int scan_left(void)
{
	uint64_t now[PAGES / 64];
	unsigned long i;
	int n;

	add_answer();
	n = scan_lost_nothing();
	if (scanned.flags & AVM_SCAN_PROTECT)
		return n;
	n += kept();
	/* Which has written to some. */
	must(scan(space, view, PAGES, AVM_PAGE_DIRTY, 0, now) >= 0);
	for (i = 0; i < PAGES / 64; i++)
		dirty_before[i] |= now[i];
	return n;
}

static int scan_told(void)
{
	unsigned long n = add_answer();

	if (scanned.out_pages != n)
		return complain("pages", scanned.out_pages, n);
	if (scanned.out_end != ADDRESS + PAGES * PAGE)
		return complain("end of scan", scanned.out_end - ADDRESS, PAGES * PAGE);
	return scan_lost_nothing() +
		(memcmp(told, dirty_before, sizeof(told)) ? complain("told", 0, 1) : 0);
}

/* One that only counts tells nothing, and clears nothing. */
static int scan_counted(void)
{
	unsigned long i, n = 0;

	for (i = 0; i < PAGES; i++)
		n += bit(dirty_before, i);
	return (scanned.out_pages == n ? 0 : complain("pages", scanned.out_pages, n)) +
		scan_lost_nothing();
}

static int is_moved(void)
{
	return wrong_pages(MOVED, -1);
}

static int is_fresh(unsigned long page, char value)
{
	char c = view[page * PAGE];

	return c == value ? kept() : complain("contents", c, value);
}

static int fresh_zero(void) { return is_fresh(N + 1, 0); }
static int fresh_written(void) { return is_fresh(N + 1, 5); }
static int far_zero(void) { return is_fresh(FAR, 0); }
static int far_written(void) { return is_fresh(FAR, 5); }
static int far_x(void) { return is_fresh(FAR, 'x'); }

/* After a failed touch its page may have got what it lacked, but no contents. */
static int touch_failed(void) { return kept(); }

static int map2_done(void)
{
	char *p = made ? made : MOVED;
	int expected = made ? R : NONE, prot = prot_of(p + PAGE);

	return (prot == expected ? 0 : complain("protection in the new view", prot, expected)) +
		kept();
}

/* ---- the table ---- */

/*
 * Ends with a signal even if all is well: where core cannot write the frame of
 * that, it kills. So each attempt is in a child.
 */
#define DIES	1u
/* Core says at length in the log, as for an error, that it has no memory. */
#define NOISY	2u

#define NOMEM	{ ENOMEM }
#define TOUCH	{ SIGBUS }

static const struct operation {
	const char *name;
	int (*run)(void);
	int errors[4];			/* that it may fail with; signals for a touch */
	int (*failed)(void);		/* 0: all is as it should be after a failure */
	int (*done)(void);		/* the same when it went through */
	void (*prepare)(void);
	unsigned int least;		/* failures that are known to happen */
	unsigned int how;
} operations[] = {
	{ "open", op_open, { ENOMEM, EFAULT }, unchanged, unchanged, NULL, 1, 0 },
	{ "query", op_query, { 0 }, unchanged, unchanged, NULL, 0, 0 },
	{ "stats", op_stats, { 0 }, unchanged, unchanged, NULL, 0, 0 },
	{ "create", op_create, { ENOMEM, ENFILE, EMFILE }, unchanged, unchanged, NULL, 2, 0 },
	{ "create, a longer structure", op_create_long, { ENOMEM, EFAULT, ENFILE, EMFILE },
	  unchanged, unchanged, NULL, 2, 0 },
	{ "mmap", op_mmap, NOMEM, unchanged, kept, NULL, 2, 0 },
	{ "mmap of a part", op_mmap_part, NOMEM, unchanged, kept, NULL, 2, 0 },
	{ "mmap over a part", op_mmap_over, NOMEM, kept, kept, NULL, 2, 0 },
	{ "mmap, private", op_mmap_private, NOMEM, unchanged, unchanged, NULL, 1, 0 },
	{ "munmap", op_munmap, NOMEM, unchanged, nothing, NULL, 0, 0 },
	{ "munmap of a part", op_munmap_part, NOMEM, unchanged, kept, NULL, 1, 0 },
	{ "mremap", op_mremap, NOMEM, unchanged, is_moved, NULL, 1, 0 },
	{ "mremap of a part", op_mremap_part, NOMEM, kept, nothing, NULL, 1, 0 },
	{ "fork", op_fork, { ENOMEM, EAGAIN }, unchanged, unchanged, NULL, 10, NOISY },
	{ "read of a fresh page", op_read_fresh, TOUCH, touch_failed, fresh_zero, NULL, 1, 0 },
	{ "write of a fresh page", op_write_fresh, TOUCH, touch_failed, fresh_written, NULL, 1, 0 },
	{ "read without a page table", op_read_far, TOUCH, touch_failed, far_zero, NULL, 1, 0 },
	{ "write without a page table", op_write_far, TOUCH, touch_failed, far_written,
	  NULL, 1, 0 },
	{ "read in another view", op_read_other, TOUCH, touch_failed, kept, NULL, 0, 0 },
	{ "denied accesses", op_denied, { 0 }, unchanged, unchanged, NULL, 0, DIES },
	{ "system call", op_system_call, { EFAULT }, touch_failed, far_x, fill_pipe, 1, 0 },
	{ "write by a debugger", op_debugger_write, { EIO, ENOMEM, EFAULT }, touch_failed, far_x,
	  NULL, 2, 0 },
	{ "read by a debugger", op_debugger_read, { EIO, ENOMEM, EFAULT }, unchanged, unchanged,
	  NULL, 1, 0 },
	{ "protect", op_protect_one, NOMEM, protect_as_told, protect_as_told, NULL, 0, 0 },
	{ "protect of a far page", op_protect_far, NOMEM, protect_as_told, protect_as_told,
	  NULL, 1, 0 },
	{ "protect of a chunk", op_protect_chunk, NOMEM, protect_as_told, protect_as_told,
	  NULL, 0, 0 },
	{ "protect of all", op_protect_all, NOMEM, protect_as_told, protect_as_told, NULL, 1, 0 },
	{ "protect of a few", op_protect_few, NOMEM, protect_as_told, protect_as_told, NULL, 1, 0 },
	{ "protect of many", op_protect_many, NOMEM, protect_as_told, protect_as_told, NULL, 2, 0 },
	{ "protect_page", op_protect_page, NOMEM, unchanged, kept, NULL, 0, 0 },
	{ "protect_page of a far page", op_protect_page_far, NOMEM, unchanged, kept, NULL, 1, 0 },
	{ "discard", op_discard_one, NOMEM, discard_as_told, discard_as_told, NULL, 1, 0 },
	{ "discard of many", op_discard_many, NOMEM, discard_as_told, discard_as_told, NULL, 2, 0 },
	{ "populate", op_populate_one, NOMEM, populate_as_told, populate_as_told, NULL, 2, 0 },
	{ "populate of two tables", op_populate_all, NOMEM, populate_as_told, populate_as_told,
	  NULL, 10, 0 },
	{ "populate of many", op_populate_many, NOMEM, populate_as_told, populate_as_told, NULL,
	  10, 0 },
	{ "scan, a count", op_scan_count, { 0 }, unchanged, scan_counted, NULL, 0, 0 },
	{ "scan, a bitmap", op_scan_bitmap, { ENOMEM, EFAULT }, scan_left, scan_told, NULL, 2, 0 },
	{ "scan, ranges", op_scan_ranges, { ENOMEM, EFAULT }, scan_left, scan_told, NULL, 2, 0 },
	{ "scan and protect", op_scan_protect, { ENOMEM, EFAULT }, scan_left, scan_told,
	  NULL, 2, 0 },
	{ "map2", op_map2, NOMEM, unchanged, map2_done, NULL, 2, 0 },
	{ "map2 at a place", op_map2_fixed, NOMEM, unchanged, map2_done, NULL, 2, 0 },
	{ "trap, the first", op_trap, NOMEM, far_none, far_there, NULL, 1, 0 },
	{ "trap, a new array", op_trap, NOMEM, far_none, far_there, first_traps, 1, 0 },
	{ "trap, in front", op_trap_front, NOMEM, far_all, far_all, far_trap, 1, 0 },
	{ "untrap", op_untrap, { 0 }, far_all, far_gone, far_trap, 0, 0 },
	{ "untrap of the middle", op_untrap_middle, NOMEM, far_all, far_ends, far_trap, 1, 0 },
	{ "untrap of all", op_untrap_all, { 0 }, far_all, far_gone, far_trap, 0, 0 },
	{ "upcall", op_upcall, { SIGSEGV }, unchanged, nothing, trap_of_none, 0, 0 },
	{ "upcall on a fresh stack", op_upcall, { SIGSEGV }, unchanged, nothing, trap_late,
	  2, 0 },
	{ "upcall that raises", op_upcall_raise, { SIGBUS, SIGSEGV }, kept, nothing, trap_raise,
	  2, 0 },
	{ "pass", op_pass, { ENOMEM, EFAULT }, unchanged, unchanged, NULL, 2, DIES },
	{ "close", op_close, { 0 }, nothing, nothing, NULL, 0, 0 },
};

static bool is_known(const struct operation *op, int err)
{
	unsigned int i;

	for (i = 0; i < 4; i++)
		if (op->errors[i] && op->errors[i] == -err)
			return true;
	return false;
}

/* Shared with children. */
static struct tally {
	unsigned int injected, failed, killed, wrong;
	bool more;			/* the last attempt had one to fail */
} *tally;

static bool talkative;

/* One attempt. Returns whether there was an allocation to fail. */
static void attempt(const struct operation *op, unsigned int n)
{
	unsigned int wrong = tally->wrong;
	bool injected;
	int err;

	memset(ranges, 0, sizeof(ranges));
	world_begin();
	if (op->prepare)
		op->prepare();
	inject_arm(n);
	err = op->run();
	injected = inject_disarm();
	if (talkative)
		printf("# %s: %u: %d\n", op->name, n, err);
	tally->injected += injected;
	if (err) {
		tally->failed++;
		if (!injected || !is_known(op, err))
			tally->wrong += complain("result", err, 0);
		tally->wrong += op->failed() != 0;
		memset(ranges, 0, sizeof(ranges));
		err = op->run();
		if (err)
			tally->wrong += complain("made again", err, 0);
	}
	if (!err)
		tally->wrong += op->done() != 0;
	world_end();
	if (tally->wrong != wrong)
		printf("# ... in %s, failure %u\n", op->name, n);
	tally->more = injected;
}

static void attempt_in_child(const struct operation *op, unsigned int n)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		child_begins();
		inject_open();
		attempt(op, n);
		fflush(stdout);
		_exit(0);
	}
	status = status_of(pid);
	if (died_by(status) == SIGSEGV) {
		tally->injected++;
		tally->killed++;
		tally->more = true;
	} else if (status) {
		tally->wrong += complain("child", status, 0);
		tally->more = false;
	}
}

/* Warnings are not to be seen: see NOISY. What taints the kernel is, in the end. */
static void quiet(bool on)
{
	inject_option("/proc/sys/kernel/printk", on ? "4" : "7");
}

/* Each in turn, until there is none left to fail. */
static void attempts(const struct operation *op)
{
	unsigned int n;

	tally->more = true;
	tally->failed = 0;
	for (n = 1; n <= ATTEMPTS && tally->more; n++) {
		if (op->how & DIES)
			attempt_in_child(op, n);
		else
			attempt(op, n);
	}
	if (n > ATTEMPTS)
		tally->wrong += complain("attempts", n, ATTEMPTS);
}

/*
 * Now and then core allocates something for itself meanwhile, which then fails in
 * place of what was to: then all are made again.
 */
static void test(const struct operation *op)
{
	unsigned int pass = 0;

	memset(tally, 0, sizeof(*tally));
	if (op->how & NOISY)
		quiet(true);
	do {
		attempts(op);
	} while (tally->failed < op->least && ++pass < PASSES);
	if (op->how & NOISY)
		quiet(false);
	if (tally->failed < op->least)
		tally->wrong += complain("failures", tally->failed, op->least);
	ksft_test_result(!tally->wrong, "%s\n", op->name);
	printf("# %s: %u injections, %u failed the operation, %u were core's to die of\n",
	       op->name, tally->injected, tally->failed, tally->killed);
}

/* What the module allocated and nobody points to: core has leaks of its own. */
static void test_leaks(void)
{
	static char text[1 << 20];
	size_t n = 0;
	ssize_t got;
	int fd, ours = 0;

	/* It lets objects younger than 5 s pass. */
	sleep(6);
	inject_option(DEBUGFS "kmemleak", "scan");
	inject_option(DEBUGFS "kmemleak", "scan");
	fd = open(DEBUGFS "kmemleak", O_RDONLY);
	must(fd >= 0);
	while (n < sizeof(text) - 1 && (got = read(fd, text + n, sizeof(text) - 1 - n)) > 0)
		n += got;
	close(fd);
	ours = !!strstr(text, "[avm]");
	if (ours)
		printf("# %.3000s\n", text);
	ksft_test_result(!ours, "kmemleak finds nothing of avm\n");
}

static void setup(void)
{
	denied_setup();
	dev = open(AVM_DEVICE, O_RDWR | O_CLOEXEC);
	mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	must(dev >= 0 && mem >= 0 && !pipe2(pipes, O_CLOEXEC | O_NONBLOCK));
	fresh_stack = mmap(NULL, 16 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(fresh_stack != MAP_FAILED);
	/* No fault but those that are meant. */
	must(!mlockall(MCL_CURRENT));
	must(!munlock(fresh_stack, 16 * PAGE));
	inject_setup();
}

int main(int argc, char **argv)
{
	const unsigned int n = sizeof(operations) / sizeof(operations[0]);
	unsigned int i;

	setvbuf(stdout, NULL, _IOLBF, 0);
	tally = mmap(NULL, sizeof(*tally), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(tally != MAP_FAILED);
	/* Only some of them, and each result. */
	talkative = argc > 1;
	ksft_print_header();
	setup();
	if (talkative) {
		for (i = 0; i < n; i++)
			if (strstr(operations[i].name, argv[1]))
				test(&operations[i]);
		return ksft_get_fail_cnt();
	}
	ksft_set_plan(n + 1);
	inject_option(DEBUGFS "kmemleak", "clear");
	for (i = 0; i < n; i++)
		test(&operations[i]);
	test_leaks();
	ksft_finished();
}
