// SPDX-License-Identifier: GPL-2.0
/*
 * System calls that are handed the address of a view: what its protection
 * allows is done, what it does not is EFAULT (or a shorter count), never a
 * signal and never a hang; and no byte that is protected is changed. Calls
 * that pin pages (get_user_pages) are EFAULT even where the page is open.
 */
#include "avmtest.h"

#include <limits.h>
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include "harness.h"

#ifndef SO_ZEROCOPY
#define SO_ZEROCOPY	60
#endif
#ifndef MSG_ZEROCOPY
#define MSG_ZEROCOPY	0x4000000
#endif

FIXTURE(syscalls) {
	int space;
	char *view;	/* 16 pages, rw */
	char *open;	/* the same pages, open for ever */
	int file;	/* of 16 pages of 'f' */
	int pipe[2];	/* does not block */
};

FIXTURE_SETUP(syscalls) {
	char name[] = "/tmp/avm-XXXXXX", fill[PAGE];
	int i;

	self->space = space_new(16);
	self->view = view_new(self->space, 0, 16, RW);
	self->open = map2(self->space, self->view, 16, RW, RW);
	memset(self->open, 'v', 16 * PAGE);
	self->file = mkstemp(name);
	must(self->file >= 0);
	unlink(name);
	memset(fill, 'f', PAGE);
	for (i = 0; i < 16; i++)
		must(write(self->file, fill, PAGE) == PAGE);
	must(!pipe2(self->pipe, O_NONBLOCK));
	/* A signal here is a failure: nobody catches it. */
	alarm(200);
}

FIXTURE_TEARDOWN(syscalls) {
	alarm(0);
	munmap(self->view, 16 * PAGE);
	munmap(self->open, 16 * PAGE);
	close(self->file);
	close(self->pipe[0]);
	close(self->pipe[1]);
	close(self->space);
}

static long result(long ret)
{
	return ret < 0 ? -errno : ret;
}

/* Whether all bytes of a page, seen by the open view, are @c. */
static int all(const char *page, char c)
{
	unsigned long i;

	for (i = 0; i < PAGE; i++)
		if (page[i] != c)
			return 0;
	return 1;
}

TEST_F(syscalls, read_into_a_page_that_is_not_writable_is_efault)
{
	must(!protect(self->space, self->view, 1, NONE));
	must(!protect(self->space, self->view + PAGE, 1, R));
	EXPECT_EQ(-EFAULT, result(pread(self->file, self->view, PAGE, 0)));
	EXPECT_EQ(-EFAULT, result(pread(self->file, self->view + PAGE, PAGE,
					0)));
	EXPECT_TRUE(all(self->open, 'v') && all(self->open + PAGE, 'v'));
	must(!protect(self->space, self->view, 2, RW));
	EXPECT_EQ(2 * PAGE, pread(self->file, self->view, 2 * PAGE, 0));
	EXPECT_TRUE(all(self->open, 'f') && all(self->open + PAGE, 'f'));
}

TEST_F(syscalls, write_from_a_page_that_is_not_readable_is_efault)
{
	char back[PAGE];

	must(!protect(self->space, self->view, 1, NONE));
	EXPECT_EQ(-EFAULT, result(pwrite(self->file, self->view, PAGE, 0)));
	EXPECT_EQ(PAGE, pread(self->file, back, PAGE, 0));
	EXPECT_TRUE(all(back, 'f'));
	must(!protect(self->space, self->view, 1, R));
	EXPECT_EQ(PAGE, pwrite(self->file, self->view, PAGE, 0));
	EXPECT_EQ(PAGE, pread(self->file, back, PAGE, 0));
	EXPECT_TRUE(all(back, 'v'));
}

TEST_F(syscalls, untouched_pages_of_a_view_are_as_good_as_any)
{
	must(!discard(self->space, self->view, 16));
	EXPECT_EQ(4 * PAGE, pread(self->file, self->view, 4 * PAGE, 0));
	EXPECT_TRUE(all(self->open + 3 * PAGE, 'f'));
	EXPECT_EQ(PAGE, pwrite(self->file, self->view + 8 * PAGE, PAGE, 0));
	must(!discard(self->space, self->view, 16));
	must(!protect(self->space, self->view, 16, NONE));
	EXPECT_EQ(-EFAULT, result(pread(self->file, self->view, PAGE, 0)));
	EXPECT_EQ(-EFAULT, result(pwrite(self->file, self->view, PAGE, 0)));
	EXPECT_EQ(0, stats(self->space).out_resident_pages);
}

TEST_F(syscalls, transfer_stops_at_the_protected_page)
{
	long n;

	must(!protect(self->space, self->view + 2 * PAGE, 1, NONE));
	n = result(pread(self->file, self->view, 4 * PAGE, 0));
	EXPECT_TRUE(n == -EFAULT || (n > 0 && n <= (long)(2 * PAGE)))
		TH_LOG("%ld", n);
	EXPECT_TRUE(all(self->open + 2 * PAGE, 'v'));
	EXPECT_TRUE(all(self->open + 3 * PAGE, 'v'));
	if (n >= (long)PAGE)
		EXPECT_TRUE(all(self->open, 'f'));
	n = result(pwrite(self->file, self->view, 4 * PAGE, 0));
	EXPECT_TRUE(n == -EFAULT || (n > 0 && n <= (long)(2 * PAGE)))
		TH_LOG("%ld", n);
}

TEST_F(syscalls, readv_and_writev_stop_at_the_protected_page)
{
	struct iovec iov[] = {
		{ self->view, PAGE }, { self->view + PAGE + 100, 200 },
		{ self->view + 4 * PAGE, PAGE },
	};
	long n;

	must(!protect(self->space, self->view + PAGE, 1, R));
	n = result(preadv(self->file, iov, 3, 0));
	EXPECT_TRUE(n == -EFAULT || n <= (long)PAGE) TH_LOG("%ld", n);
	EXPECT_TRUE(all(self->open + PAGE, 'v'));
	EXPECT_TRUE(all(self->open + 4 * PAGE, 'v'));
	EXPECT_EQ(2 * PAGE + 200, pwritev(self->file, iov, 3, 0));
	must(!protect(self->space, self->view + PAGE, 1, NONE));
	n = result(pwritev(self->file, iov, 3, 0));
	EXPECT_TRUE(n == -EFAULT || n <= (long)PAGE) TH_LOG("%ld", n);
	must(!protect(self->space, self->view + PAGE, 1, RW));
	EXPECT_EQ(2 * PAGE + 200, preadv(self->file, iov, 3, 0));
}

TEST_F(syscalls, pipe_takes_and_gives_what_is_open)
{
	long n;

	must(!protect(self->space, self->view + PAGE, 1, NONE));
	n = result(write(self->pipe[1], self->view, 2 * PAGE));
	EXPECT_TRUE(n == (long)PAGE || n == -EFAULT) TH_LOG("%ld", n);
	if (n > 0)
		EXPECT_EQ(n, read(self->pipe[0], self->view + 8 * PAGE, n));
	EXPECT_EQ(-EFAULT, result(write(self->pipe[1], self->view + PAGE, 10)));
	EXPECT_EQ(10, write(self->pipe[1], self->view, 10));
	EXPECT_EQ(-EFAULT, result(read(self->pipe[0], self->view + PAGE, 10)));
	EXPECT_TRUE(all(self->open + PAGE, 'v'));
}

TEST_F(syscalls, kernel_s_write_is_dirty_and_its_read_is_accessed)
{
	uint64_t bitmap;

	must(!discard(self->space, self->view, 16));
	dirty(self->space, self->view, 16, NULL);
	EXPECT_EQ(PAGE, pread(self->file, self->view + 3 * PAGE, PAGE, 0));
	EXPECT_EQ(PAGE, pwrite(self->file, self->view + 5 * PAGE, PAGE, 0));
	EXPECT_EQ(1, dirty(self->space, self->view, 16, &bitmap));
	EXPECT_EQ(1 << 3, bitmap);
	EXPECT_EQ(2, accessed(self->space, self->view, 16, &bitmap));
	EXPECT_EQ(1 << 3 | 1 << 5, bitmap);
}

TEST_F(syscalls, small_arguments_are_efault_too)
{
	struct timespec *ts = (void *)(self->view + 8);
	struct stat *st = (void *)(self->view + 1000);

	must(!protect(self->space, self->view, 1, R));
	EXPECT_EQ(-EFAULT, result(syscall(SYS_clock_gettime, CLOCK_TAI, ts)));
	EXPECT_EQ(-EFAULT, result(syscall(SYS_fstat, self->file, st)));
	EXPECT_EQ(-EFAULT, result(syscall(SYS_pipe2, self->view, 0)));
	EXPECT_EQ(-EFAULT, result(syscall(SYS_getcwd, self->view, 100)));
	EXPECT_TRUE(all(self->open, 'v'));
	must(!protect(self->space, self->view, 1, NONE));
	EXPECT_EQ(-EFAULT, result(syscall(SYS_nanosleep, ts, NULL)));
	EXPECT_EQ(-EFAULT, result(open(self->view, O_RDONLY)));
	EXPECT_EQ(-EFAULT, result(syscall(SYS_poll, self->view, 1, 0)));
	EXPECT_EQ(-EFAULT, result(syscall(SYS_execve, self->view, NULL, NULL)));
	must(!protect(self->space, self->view, 1, RW));
	EXPECT_EQ(0, syscall(SYS_clock_gettime, CLOCK_TAI, ts));
	EXPECT_EQ(0, syscall(SYS_fstat, self->file, st));
	EXPECT_EQ(16 * PAGE, st->st_size);
}

TEST_F(syscalls, ioctl_of_avm_itself_with_arguments_in_a_view)
{
	struct avm_batch *arg = (void *)self->view;
	struct avm_range *range = (void *)(self->view + PAGE);

	*range = (struct avm_range) {
		(uintptr_t)self->view + 2 * PAGE, PAGE, NONE, 0
	};
	*arg = (struct avm_batch) {
		.size = sizeof(*arg), .ranges = (uintptr_t)range, .count = 1,
	};
	must(!protect(self->space, self->view + PAGE, 1, NONE));
	EXPECT_EQ(-EFAULT, call(self->space, AVM_IOC_PROTECT, arg));
	EXPECT_EQ(0, arg->out_done);
	must(!protect(self->space, self->view + PAGE, 1, R));
	must(!protect(self->space, self->view, 1, R));
	/* What cannot be answered is not begun. */
	EXPECT_EQ(-EFAULT, call(self->space, AVM_IOC_PROTECT, arg));
	EXPECT_EQ('v', self->view[2 * PAGE]);
	must(!protect(self->space, self->view, 1, RW));
	EXPECT_EQ(0, call(self->space, AVM_IOC_PROTECT, arg));
	EXPECT_EQ(1, arg->out_done);
}

static long futex(void *word, int op, uint32_t val, void *timeout, void *word2)
{
	return result(syscall(SYS_futex, word, op, val, timeout, word2, 0));
}

TEST_F(syscalls, private_futex_works_where_the_page_is_open)
{
	uint32_t *word = (void *)(self->view + 64);
	struct timespec soon = { 0, 1000000 };

	*word = 5;
	EXPECT_EQ(-EAGAIN, futex(word, FUTEX_WAIT_PRIVATE, 4, &soon, NULL));
	EXPECT_EQ(-ETIMEDOUT, futex(word, FUTEX_WAIT_PRIVATE, 5, &soon, NULL));
	EXPECT_EQ(0, futex(word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL));
	must(!protect(self->space, self->view, 1, R));
	EXPECT_EQ(-ETIMEDOUT, futex(word, FUTEX_WAIT_PRIVATE, 5, &soon, NULL));
	must(!protect(self->space, self->view, 1, NONE));
	EXPECT_EQ(-EFAULT, futex(word, FUTEX_WAIT_PRIVATE, 5, &soon, NULL));
}

/* FUTEX_WAKE_OP adds 1 to the second word: a write by the kernel. */
TEST_F(syscalls, private_futex_writes_only_what_it_may)
{
	uint32_t *word = (void *)(self->open + 64), op;
	uint32_t *there = (void *)(self->view + 64);
	long ret;

	op = FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 0);
	*word = 5;
	must(!protect(self->space, self->view, 1, R));
	ret = syscall(SYS_futex, &op, FUTEX_WAKE_OP_PRIVATE, 1, 1, there, op);
	EXPECT_EQ(-EFAULT, result(ret));
	EXPECT_EQ(5, *word);
	must(!protect(self->space, self->view, 1, NONE));
	ret = syscall(SYS_futex, &op, FUTEX_WAKE_OP_PRIVATE, 1, 1, there, op);
	EXPECT_EQ(-EFAULT, result(ret));
	must(!protect(self->space, self->view, 1, RW));
	ret = syscall(SYS_futex, &op, FUTEX_WAKE_OP_PRIVATE, 1, 1, there, op);
	EXPECT_EQ(0, result(ret));
	EXPECT_EQ(6, *word);
	/* A lock of the kernel's own making, with and without a translation. */
	must(!discard(self->space, self->view, 1));
	EXPECT_EQ(0, futex(there, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL));
	EXPECT_EQ(0, futex(there, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL));
	must(!protect(self->space, self->view, 1, R));
	EXPECT_EQ(-EFAULT, futex(there, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL));
}

TEST_F(syscalls, shared_futex_is_efault)
{
	uint32_t *word = (void *)(self->view + 64);
	struct timespec soon = { 0, 1000000 };

	*word = 5;
	EXPECT_EQ(-EFAULT, futex(word, FUTEX_WAIT, 5, &soon, NULL));
	EXPECT_EQ(-EFAULT, futex(word, FUTEX_WAKE, 1, NULL, NULL));
	must(!protect(self->space, self->view, 1, NONE));
	EXPECT_EQ(-EFAULT, futex(word, FUTEX_WAIT, 5, &soon, NULL));
	must(!protect(self->space, self->view, 1, R));
	EXPECT_EQ(-EFAULT, futex(word, FUTEX_WAKE, 1, NULL, NULL));
}

static void *wake_later(void *arg)
{
	uint32_t *word = arg;

	usleep(20000);
	__atomic_store_n(word, 1, __ATOMIC_SEQ_CST);
	while (futex(word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL) == 0)
		usleep(1000);
	return NULL;
}

TEST_F(syscalls, private_futex_waits_and_wakes)
{
	uint32_t *word = (void *)(self->view + 64);
	pthread_t thread;

	*word = 0;
	must(!pthread_create(&thread, NULL, wake_later, word));
	while (!__atomic_load_n(word, __ATOMIC_SEQ_CST))
		futex(word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL);
	/* If it was not waiting when it was woken, it is now. */
	while (pthread_tryjoin_np(thread, NULL)) {
		struct timespec soon = { 0, 1000000 };

		futex(word, FUTEX_WAIT_PRIVATE, 1, &soon, NULL);
	}
	EXPECT_EQ(1, *word);
}

/* A signal whose stack is in a view, for a child that makes its own. */
static volatile sig_atomic_t caught;

static void catch_it(int sig)
{
	caught += sig == SIGUSR1;
}

static int signal_on_a_view(int prot, int touched)
{
	int space = space_new(16);
	struct sigaction sa = { .sa_handler = catch_it, .sa_flags = SA_ONSTACK };
	stack_t stack = { .ss_size = 16 * PAGE };

	stack.ss_sp = view_new(space, 0, 16, RW);
	if (touched)
		memset(stack.ss_sp, 1, 16 * PAGE);
	must(!protect(space, stack.ss_sp, 16, prot));
	must(!sigaltstack(&stack, NULL) && !sigaction(SIGUSR1, &sa, NULL));
	signal(SIGSEGV, SIG_DFL);
	raise(SIGUSR1);
	return caught == 1 ? 0 : 1;
}

static int status_of_child(int (*run)(int, int), int a, int b)
{
	int status = -1;
	pid_t pid = fork();

	must(pid >= 0);
	if (!pid)
		_exit(run(a, b));
	must(waitpid(pid, &status, 0) == pid);
	return status;
}

TEST_F(syscalls, alternate_stack_may_be_a_view)
{
	EXPECT_EQ(0, status_of_child(signal_on_a_view, RW, 0));
	EXPECT_EQ(0, status_of_child(signal_on_a_view, RW, 1));
}

/* As with any stack that the kernel cannot write to. */
TEST_F(syscalls, protected_alternate_stack_is_the_end_of_the_process)
{
	int status = status_of_child(signal_on_a_view, NONE, 1);

	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	status = status_of_child(signal_on_a_view, R, 0);
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

TEST_F(syscalls, process_vm_calls_are_efault)
{
	char back[100] = "";
	struct iovec here = { back, 100 }, there = { self->view + 50, 100 };

	EXPECT_EQ(-EFAULT, result(process_vm_readv(getpid(), &here, 1, &there,
						   1, 0)));
	EXPECT_EQ(-EFAULT, result(process_vm_writev(getpid(), &here, 1, &there,
						    1, 0)));
	must(!protect(self->space, self->view, 1, NONE));
	EXPECT_EQ(-EFAULT, result(process_vm_readv(getpid(), &here, 1, &there,
						   1, 0)));
	EXPECT_EQ(0, back[0]);
	EXPECT_TRUE(all(self->open, 'v'));
	/* The near side is an ordinary buffer, which a view may be. */
	must(!protect(self->space, self->view, 1, RW));
	there = (struct iovec) { back, 100 };
	here = (struct iovec) { self->view + 50, 100 };
	EXPECT_EQ(100, process_vm_readv(getpid(), &here, 1, &there, 1, 0));
	EXPECT_EQ(0, self->view[50]);
}

TEST_F(syscalls, vmsplice_is_efault)
{
	struct iovec iov = { self->view, PAGE };

	EXPECT_EQ(-EFAULT, result(vmsplice(self->pipe[1], &iov, 1, 0)));
	EXPECT_EQ(-EFAULT, result(vmsplice(self->pipe[1], &iov, 1,
					   SPLICE_F_GIFT)));
	must(!protect(self->space, self->view, 1, NONE));
	EXPECT_EQ(-EFAULT, result(vmsplice(self->pipe[1], &iov, 1, 0)));
	/* The other way round, it copies. */
	must(write(self->pipe[1], "abc", 3) == 3);
	EXPECT_EQ(-EFAULT, result(vmsplice(self->pipe[0], &iov, 1, 0)));
	must(!protect(self->space, self->view, 1, RW));
	EXPECT_EQ(3, vmsplice(self->pipe[0], &iov, 1, 0));
	EXPECT_EQ('c', self->open[2]);
}

TEST_F(syscalls, io_uring_registers_no_buffer_in_a_view)
{
	struct iovec iov = { self->view, PAGE };
	struct io_uring_params params = {};
	int ring = syscall(SYS_io_uring_setup, 4, &params);

	ASSERT_LE(0, ring);
	EXPECT_EQ(-EFAULT, result(syscall(SYS_io_uring_register, ring,
					  IORING_REGISTER_BUFFERS, &iov, 1)));
	must(!protect(self->space, self->view, 1, NONE));
	EXPECT_EQ(-EFAULT, result(syscall(SYS_io_uring_register, ring,
					  IORING_REGISTER_BUFFERS, &iov, 1)));
	close(ring);
}

/* One request on a ring whose memory is set up by hand. Returns its result. */
static int uring_one(int ring, struct io_uring_params *params,
		     const struct io_uring_sqe *sqe)
{
	size_t size = params->sq_off.array + params->sq_entries * 4;
	size_t cq_size = params->cq_off.cqes +
		params->cq_entries * sizeof(struct io_uring_cqe);
	char *sq = mmap(NULL, size, RW, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	char *cq = mmap(NULL, cq_size, RW, MAP_SHARED, ring,
			IORING_OFF_CQ_RING);
	struct io_uring_sqe *sqes = mmap(NULL, PAGE, RW, MAP_SHARED, ring,
					 IORING_OFF_SQES);
	uint32_t *tail = (void *)(sq + params->sq_off.tail), at;
	struct io_uring_cqe *cqes = (void *)(cq + params->cq_off.cqes);
	uint32_t *head = (void *)(cq + params->cq_off.head);
	int ret;

	must(sq != MAP_FAILED && cq != MAP_FAILED && sqes != MAP_FAILED);
	at = *tail % params->sq_entries;
	sqes[at] = *sqe;
	((uint32_t *)(sq + params->sq_off.array))[at] = at;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	must(syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS,
		     NULL, 0) == 1);
	ret = cqes[*head % params->cq_entries].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	munmap(sq, size);
	munmap(cq, cq_size);
	munmap(sqes, PAGE);
	return ret;
}

TEST_F(syscalls, io_uring_reads_and_writes_what_is_open)
{
	struct io_uring_params params = {};
	int ring = syscall(SYS_io_uring_setup, 4, &params);
	struct io_uring_sqe sqe = {
		.opcode = IORING_OP_READ,
		.fd = self->file,
		.addr = (uintptr_t)self->view,
		.len = 100,
	};

	ASSERT_LE(0, ring);
	must(!protect(self->space, self->view, 1, R));
	EXPECT_EQ(-EFAULT, uring_one(ring, &params, &sqe));
	EXPECT_EQ('v', self->open[0]);
	/* In a worker thread of the kernel, which takes faults for us. */
	sqe.flags = IOSQE_ASYNC;
	EXPECT_EQ(-EFAULT, uring_one(ring, &params, &sqe));
	must(!protect(self->space, self->view, 1, RW));
	must(!discard(self->space, self->view, 1));
	EXPECT_EQ(100, uring_one(ring, &params, &sqe));
	EXPECT_EQ('f', self->open[99]);
	EXPECT_EQ(0, self->open[100]);
	close(ring);
}

TEST_F(syscalls, aio_reads_what_is_open)
{
	aio_context_t context = 0;
	struct iocb cb = {
		.aio_lio_opcode = IOCB_CMD_PREAD,
		.aio_fildes = self->file,
		.aio_buf = (uintptr_t)self->view,
		.aio_nbytes = 100,
	}, *list[] = { &cb };
	struct io_event event = {};

	must(!syscall(SYS_io_setup, 4, &context));
	must(!protect(self->space, self->view, 1, NONE));
	EXPECT_EQ(1, syscall(SYS_io_submit, context, 1, list));
	EXPECT_EQ(1, syscall(SYS_io_getevents, context, 1, 1, &event, NULL));
	EXPECT_EQ(-EFAULT, (long)event.res);
	must(!protect(self->space, self->view, 1, RW));
	EXPECT_EQ(1, syscall(SYS_io_submit, context, 1, list));
	EXPECT_EQ(1, syscall(SYS_io_getevents, context, 1, 1, &event, NULL));
	EXPECT_EQ(100, (long)event.res);
	EXPECT_EQ('f', self->open[99]);
	syscall(SYS_io_destroy, context);
}

static void tcp_pair(int pair[2])
{
	struct sockaddr_in addr = { .sin_family = AF_INET };
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t length = sizeof(addr);

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	pair[0] = socket(AF_INET, SOCK_STREAM, 0);
	must(listener >= 0 && pair[0] >= 0);
	must(!bind(listener, (void *)&addr, length) && !listen(listener, 1));
	must(!getsockname(listener, (void *)&addr, &length));
	must(!connect(pair[0], (void *)&addr, length));
	pair[1] = accept(listener, NULL, NULL);
	must(pair[1] >= 0);
	close(listener);
}

/* Sent without a copy, pages are pinned: the same that direct I/O does. */
TEST_F(syscalls, zero_copy_is_efault_and_a_copy_is_not)
{
	int pair[2], one_ = 1;

	tcp_pair(pair);
	must(!setsockopt(pair[0], SOL_SOCKET, SO_ZEROCOPY, &one_,
			 sizeof(one_)));
	EXPECT_EQ(-EFAULT, result(send(pair[0], self->view, PAGE,
				       MSG_ZEROCOPY)));
	EXPECT_EQ(PAGE, send(pair[0], self->view, PAGE, 0));
	EXPECT_EQ(PAGE, recv(pair[1], self->view + PAGE, PAGE, MSG_WAITALL));
	must(!protect(self->space, self->view, 1, NONE));
	EXPECT_EQ(-EFAULT, result(send(pair[0], self->view, PAGE, 0)));
	close(pair[0]);
	close(pair[1]);
}

/*
 * O_DIRECT where the file system has it (tmpfs, from 6.6 on, takes the flag
 * and copies). Either way nothing protected is read or written.
 */
TEST_F(syscalls, direct_io_changes_nothing_that_is_protected)
{
	char name[64];
	int direct;
	long n;

	snprintf(name, sizeof(name), "/proc/self/fd/%d", self->file);
	direct = open(name, O_RDWR | O_DIRECT);
	if (direct < 0) {
		EXPECT_EQ(EINVAL, errno);
		direct = dup(self->file);
	}
	n = result(pread(direct, self->view, PAGE, 0));
	EXPECT_TRUE(n == (long)PAGE || n == -EFAULT) TH_LOG("%ld", n);
	must(!protect(self->space, self->view + PAGE, 1, R));
	EXPECT_EQ(-EFAULT, result(pread(direct, self->view + PAGE, PAGE, 0)));
	EXPECT_TRUE(all(self->open + PAGE, 'v'));
	must(!protect(self->space, self->view + PAGE, 1, NONE));
	EXPECT_EQ(-EFAULT, result(pwrite(direct, self->view + PAGE, PAGE, 0)));
	close(direct);
}

/* A protection that comes and goes while system calls write into the page. */
struct toggler {
	int space;
	char *page;
	volatile int stop;
};

static void *toggle(void *arg)
{
	struct toggler *t = arg;
	unsigned int i;

	for (i = 0; !t->stop; i++) {
		must(!protect(t->space, t->page, 1, i % 2 ? RW : NONE));
		if (i % 8 == 7)
			must(!discard(t->space, t->page, 1));
	}
	return NULL;
}

TEST_F(syscalls, calls_that_race_with_protect_read_whole_short_or_efault)
{
	struct toggler t = { self->space, self->view + PAGE, 0 };
	unsigned long good = 0, refused = 0, other = 0, i;
	pthread_t thread;
	long n;

	must(!pthread_create(&thread, NULL, toggle, &t));
	/* As long as it takes to see enough of both, within limits. */
	for (i = 0; i < 1000000 && (good < 200 || refused < 200); i++) {
		n = result(pread(self->file, self->view + PAGE, 64, 0));
		good += n == 64;
		refused += n == -EFAULT;
		/* Closed in the middle of the copy, it has done a part. */
		other += n != -EFAULT && (n < 1 || n > 64);
	}
	t.stop = 1;
	pthread_join(thread, NULL);
	EXPECT_LT(0, good);
	EXPECT_LT(0, refused);
	EXPECT_EQ(0, other);
	EXPECT_TRUE(all(self->open, 'v') && all(self->open + 2 * PAGE, 'v'));
}

TEST_HARNESS_MAIN
