// SPDX-License-Identifier: GPL-2.0
/*
 * Spaces and views as processes come and go: handed over, forked, exec'ed,
 * exited and killed. A view belongs to one address space and goes with it; a
 * space lives while a descriptor or a mapping of it does, whoever has it; and
 * none of it is left behind.
 *
 * With the argument "hold-fd" or "hold-mapping" the program holds just that
 * until its standard input ends: test_load.sh uses it.
 */
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "avmtest.h"
#include "harness.h"

#define N	16ul

/* What processes tell one another. */
static struct shared {
	volatile int go, ready, done, result;
	volatile long number;
} *shared;

static void share(void)
{
	shared = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(shared != MAP_FAILED);
}

static long milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int end_of(pid_t pid)
{
	int status;

	must(waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void send_fd(int sock, int fd)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {};
	struct iovec iov = { "x", 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};

	control.head.cmsg_level = SOL_SOCKET;
	control.head.cmsg_type = SCM_RIGHTS;
	control.head.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
	must(sendmsg(sock, &msg, 0) == 1);
}

static int receive_fd(int sock)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {};
	char c;
	struct iovec iov = { &c, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	int fd;

	must(recvmsg(sock, &msg, 0) == 1 && control.head.cmsg_type == SCM_RIGHTS);
	memcpy(&fd, CMSG_DATA(&control.head), sizeof(fd));
	return fd;
}

/* Users of the module: descriptors of the device, and files that are spaces. */
static long users(void)
{
	char text[32] = "";
	int fd = open("/sys/module/avm/refcnt", O_RDONLY);

	must(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	return atol(text);
}

/* Files are closed for good a little after close(2) has returned. */
static long users_settled(long want)
{
	int i;

	for (i = 0; i < 100 && users() != want; i++)
		usleep(10000);
	return users();
}

/* The receiver: a view and protections of its own, the same pages. */
static int receiver(int sock)
{
	int fd = receive_fd(sock);
	volatile char *p = view_new(fd, 0, N, RW);
	char c;

	denied_setup();
	if (p[0] != 1 || p[PAGE] != 2)
		return 2;
	if (dirty(fd, (char *)p, N, NULL))
		return 3;
	if (protect(fd, (char *)p, 2, R) || try_write(p, 9) != SIGSEGV)
		return 4;
	p[2 * PAGE] = 3;
	must(write(sock, "a", 1) == 1 && read(sock, &c, 1) == 1);
	/* The sender has shut all of its view: that is not ours. */
	if (try_read(p + 2 * PAGE) || p[3 * PAGE] != 4)
		return 5;
	return discard(fd, (char *)p, 3) ? 6 : 1;
}

TEST(a_space_sent_to_another_process_shows_it_the_same_pages)
{
	int socks[2], fd;
	volatile char *p;
	pid_t pid;
	char c;

	must(!socketpair(AF_UNIX, SOCK_STREAM, 0, socks));
	pid = fork();
	if (!pid)
		_exit(receiver(socks[1]));
	fd = space_new(N);
	p = view_new(fd, 0, N, RW);
	p[0] = 1;
	p[PAGE] = 2;
	send_fd(socks[0], fd);
	ASSERT_EQ(1, read(socks[0], &c, 1));
	denied_setup();
	EXPECT_EQ(0, try_write(p, 1));
	EXPECT_EQ(3, p[2 * PAGE]);
	EXPECT_EQ(2, stats(fd).out_views);
	p[3 * PAGE] = 4;
	EXPECT_EQ(0, protect(fd, (char *)p, N, NONE));
	must(write(socks[0], "b", 1) == 1);
	EXPECT_EQ(1, end_of(pid));
	/* What the other discarded is gone here: pages, bits, not protections. */
	EXPECT_EQ(1, stats(fd).out_views);
	EXPECT_EQ(1, stats(fd).out_resident_pages);
	EXPECT_EQ(1, dirty(fd, (char *)p, N, NULL));
	EXPECT_EQ(SIGSEGV, try_read(p));
	EXPECT_EQ(0, protect(fd, (char *)p, N, R));
	EXPECT_EQ(0, p[0]);
	EXPECT_EQ(4, p[3 * PAGE]);
}

/* A page that is in the TLB here is taken away by another process. */
TEST(discard_by_another_process_takes_pages_in_use)
{
	int fd = space_new(N);
	volatile char *p = view_new(fd, 0, N, RW);
	unsigned long j;
	pid_t pid;
	int i;

	share();
	for (i = 0; i < 50; i++) {
		memset((char *)p, 7, N * PAGE);
		shared->go = 0;
		pid = fork();
		if (!pid) {
			char *q = view_new(fd, 0, N, RW);

			shared->go = 1;
			_exit(discard(fd, q, N) ? 2 : 1);
		}
		/* Keep them in the TLB up to the last moment: still there, or gone. */
		while (!shared->go)
			for (j = 0; j < N; j++)
				must(p[j * PAGE] % 7 == 0);
		ASSERT_EQ(1, end_of(pid));
		for (j = 0; j < N; j++)
			ASSERT_EQ(0, p[j * PAGE]);
	}
}

TEST(a_space_in_flight_lives_and_is_not_lost)
{
	long before = users();
	int socks[2], fd = space_new(N);
	volatile char *p = view_new(fd, 0, N, RW);

	p[0] = 5;
	must(!socketpair(AF_UNIX, SOCK_STREAM, 0, socks));
	send_fd(socks[0], fd);
	send_fd(socks[0], fd);
	close(fd);
	munmap((char *)p, N * PAGE);
	EXPECT_LT(before, users());
	fd = receive_fd(socks[1]);
	p = view_new(fd, 0, N, RW);
	EXPECT_EQ(5, p[0]);
	munmap((char *)p, N * PAGE);
	close(fd);
	EXPECT_LT(before, users());
	/* The second has never been received. */
	close(socks[0]);
	close(socks[1]);
	EXPECT_EQ(before, users_settled(before));
}

TEST(a_space_outlives_the_process_that_made_it)
{
	int socks[2], fd;
	volatile char *p;
	pid_t pid;

	must(!socketpair(AF_UNIX, SOCK_STREAM, 0, socks));
	pid = fork();
	if (!pid) {
		fd = space_new(N);
		p = view_new(fd, 0, N, RW);
		p[PAGE] = 5;
		send_fd(socks[1], fd);
		_exit(1);
	}
	ASSERT_EQ(1, end_of(pid));
	fd = receive_fd(socks[0]);
	EXPECT_EQ(0, stats(fd).out_views);
	p = view_new(fd, 0, N, RW);
	EXPECT_EQ(5, p[PAGE]);
	p[2 * PAGE] = 1;
	EXPECT_EQ(2, stats(fd).out_resident_pages);
}

static int forked(int fd, volatile char *p, unsigned long views)
{
	volatile char *q;

	denied_setup();
	if (try_read(p) != SIGSEGV || try_write(p + PAGE, 1) != SIGSEGV)
		return 2;
	if (denied.addr != p + PAGE)
		return 3;
	if (protect(fd, (char *)p, N, R) != -ENXIO || discard(fd, (char *)p, N) != -ENXIO ||
	    populate(fd, (char *)p, N) != -ENXIO || dirty(fd, (char *)p, N, NULL) != -ENXIO ||
	    call(fd, AVM_IOC_PROTECT_PAGE, (char *)p + R) != -ENXIO)
		return 4;
	if (stats(fd).out_views != views)
		return 5;
	/* The descriptor is good: with it the same pages can be had. */
	q = mmap((char *)p, N * PAGE, RW, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
	if (q != p || q[0] != 1 || dirty(fd, (char *)q, N, NULL))
		return 6;
	q[PAGE] = 2;
	/* At the address that the parent has its view at, too. */
	if (call(fd, AVM_IOC_PROTECT_PAGE, (char *)q + R) ||
	    call(fd, AVM_IOC_PROTECT_PAGE, (char *)q + NONE) || try_read(q) != SIGSEGV)
		return 7;
	return protect(fd, (char *)q, N, NONE) ? 8 : 1;
}

TEST(a_child_does_not_have_the_view_and_can_make_its_own)
{
	int fd = space_new(N), i;
	volatile char *p = view_new(fd, 0, N, RW);
	pid_t pid;

	denied_setup();
	p[0] = 1;
	EXPECT_EQ(0, protect(fd, (char *)p + 2 * PAGE, 1, R));
	/* One page at a time has a short way, which is there the second time. */
	for (i = 0; i < 4; i++)
		EXPECT_EQ(0, call(fd, AVM_IOC_PROTECT_PAGE, (char *)p + (i % 2 ? RW : R)));
	pid = fork();
	if (!pid)
		_exit(forked(fd, p, 1));
	EXPECT_EQ(1, end_of(pid));
	EXPECT_EQ(1, stats(fd).out_views);
	EXPECT_EQ(2, p[PAGE]);
	EXPECT_EQ(SIGSEGV, try_write(p + 2 * PAGE, 1));
	EXPECT_EQ(0, try_write(p, 1));
	/* What the child wrote through its own view is not dirty here. */
	EXPECT_EQ(1, dirty(fd, (char *)p, N, NULL));
}

TEST(MADV_DOFORK_does_not_give_a_child_the_view)
{
	int fd = space_new(N);
	volatile char *p = view_new(fd, 0, N, RW);
	pid_t pid;

	p[0] = 1;
	EXPECT_EQ(-1, madvise((char *)p, N * PAGE, MADV_DOFORK));
	EXPECT_EQ(EINVAL, errno);
	pid = fork();
	if (!pid)
		_exit(forked(fd, p, 1));
	EXPECT_EQ(1, end_of(pid));
	/* Nor does this, which only says so again. */
	EXPECT_EQ(0, madvise((char *)p, N * PAGE, MADV_DONTFORK));
	EXPECT_EQ(1, p[0]);
}

/* After exec: what was there before must not be. */
static int executed(int fd, char *p)
{
	unsigned char present;

	if (fcntl(fd, F_GETFD) != -1 || errno != EBADF)
		return 2;
	if (mincore(p, PAGE, &present) != -1 || errno != ENOMEM)
		return 3;
	return 1;
}

static void execute_me(const char *what, int fd, const volatile char *p)
{
	char a[32], b[32];

	snprintf(a, sizeof(a), "%d", fd);
	snprintf(b, sizeof(b), "%lu", (unsigned long)p);
	execl("/proc/self/exe", "test_lifetime", what, a, b, NULL);
	_exit(9);
}

TEST(exec_closes_the_space_and_unmaps_the_view)
{
	int fd = space_new(N), status;
	volatile char *p = view_new(fd, 0, N, RW);
	pid_t pid;

	p[0] = 1;
	pid = fork();
	if (!pid) {
		p = view_new(fd, 0, N, RW);
		p[0] = 2;
		execute_me("executed", fd, p);
	}
	status = end_of(pid);
	EXPECT_EQ(1, status);
	EXPECT_EQ(1, stats(fd).out_views);
	EXPECT_EQ(2, p[0]);
}

TEST(a_vfork_child_has_the_view_as_long_as_it_shares_the_memory)
{
	int fd = space_new(N);
	volatile char *p = view_new(fd, 0, N, RW);
	pid_t pid;

	p[0] = 1;
	pid = vfork();
	if (!pid) {
		p[1] = p[0] + 1;
		_exit(p[0]);
	}
	EXPECT_EQ(1, end_of(pid));
	EXPECT_EQ(2, p[1]);
	pid = vfork();
	if (!pid)
		execute_me("executed", fd, p);
	EXPECT_EQ(1, end_of(pid));
	EXPECT_EQ(1, stats(fd).out_views);
	EXPECT_EQ(2, p[1]);
}

static int exit_by(int how, int fd)
{
	volatile char *p = view_new(fd, 0, N, RW);

	p[0] = 1;
	protect(fd, (char *)p, N, R);
	map2(fd, (char *)p, N, RW, NONE);
	munmap((char *)p + 4 * PAGE, PAGE);
	shared->ready = 1;
	if (how == 0)
		_exit(1);
	if (how == 1)
		exit(1);
	if (how == 2)
		p[0] = 1; /* SIGSEGV */
	for (;;)
		pause();
}

TEST(views_of_a_process_that_ends_are_gone)
{
	static const int want[] = { 1, 1, -SIGSEGV, -SIGKILL };
	int fd = space_new(N), how;
	pid_t pid;

	share();
	for (how = 0; how < 4; how++) {
		shared->ready = 0;
		pid = fork();
		if (!pid) {
			signal(SIGSEGV, SIG_DFL);
			_exit(exit_by(how, fd));
		}
		while (!shared->ready)
			sched_yield();
		if (how == 3)
			kill(pid, SIGKILL);
		EXPECT_EQ(want[how], end_of(pid));
		EXPECT_EQ(0, stats(fd).out_views) TH_LOG("way %d", how);
		EXPECT_EQ(0, stats(fd).out_state_bytes);
		EXPECT_EQ(1, stats(fd).out_resident_pages);
	}
}

static volatile char *thread_view;
static int thread_fd;

static void *make_view(void *arg)
{
	thread_fd = space_new(N);
	thread_view = view_new(thread_fd, 0, N, RW);
	thread_view[0] = 1;
	return arg;
}

static void *use_view(void *arg)
{
	thread_view[PAGE] = 2;
	return (void *)(long)protect(thread_fd, (char *)thread_view, 1, R);
	(void)arg;
}

TEST(a_view_belongs_to_all_threads)
{
	pthread_t thread;
	void *ret;

	/* Made by one that is gone, used by another, seen by a third. */
	must(!pthread_create(&thread, NULL, make_view, NULL) && !pthread_join(thread, NULL));
	must(!pthread_create(&thread, NULL, use_view, NULL) && !pthread_join(thread, &ret));
	EXPECT_EQ(NULL, ret);
	denied_setup();
	EXPECT_EQ(2, thread_view[PAGE]);
	EXPECT_EQ(SIGSEGV, try_write(thread_view, 1));
	EXPECT_EQ(0, protect(thread_fd, (char *)thread_view, 1, RW));
	EXPECT_EQ(0, try_write(thread_view, 1));
}

TEST(the_module_is_in_use_while_a_descriptor_or_a_mapping_is_left)
{
	long before = users();
	int fd = space_new(N), copy = dup(fd);
	char *p = view_new(fd, 0, N, RW), *q;

	users_settled(before + 1);
	EXPECT_EQ(before + 1, users());
	q = map2(fd, p, N, RW, RW);
	close(fd);
	close(copy);
	EXPECT_LT(before, users());
	munmap(p, N * PAGE);
	munmap(q, (N - 1) * PAGE);
	*(volatile char *)(q + (N - 1) * PAGE) = 1;
	EXPECT_LT(before, users());
	munmap(q + (N - 1) * PAGE, PAGE);
	EXPECT_EQ(before, users_settled(before));
}

/*
 * Calls that take long, and what a process that is killed in one leaves. How
 * long such a call takes is no promise, but how soon it ends is.
 */
#define HUGE_PAGES	(1ul << 32)	/* 16 TiB */
#define MANY_PAGES	(400ul << 8)	/* 400 MiB */

static long call_protect(int fd, char *p)
{
	return protect(fd, p, HUGE_PAGES, NONE);
}

static long call_discard(int fd, char *p)
{
	return discard(fd, p, HUGE_PAGES);
}

static long call_scan(int fd, char *p)
{
	return dirty(fd, p, HUGE_PAGES, NULL);
}

static long call_populate(int fd, char *p)
{
	return populate(fd, p, MANY_PAGES);
}

static const struct {
	const char *name;
	long (*run)(int fd, char *p);
} long_calls[] = {
	{ "protect", call_protect },
	{ "discard", call_discard },
	{ "scan", call_scan },
	{ "populate", call_populate },
};

static void run_long(unsigned int i, int fd)
{
	char *p = view_new(fd, 0, HUGE_PAGES, RW);

	/* Something to find, at the far end. */
	p[(HUGE_PAGES - 1) * PAGE] = 1;
	shared->ready = 1;
	long_calls[i].run(fd, p);
	shared->done = 1;
	for (;;)
		pause();
}

TEST(a_process_killed_in_a_long_call_ends_promptly)
{
	int fd = space_new(HUGE_PAGES);
	unsigned int i;
	pid_t pid;
	long begin;

	share();
	for (i = 0; i < sizeof(long_calls) / sizeof(long_calls[0]); i++) {
		shared->ready = 0;
		shared->done = 0;
		pid = fork();
		if (!pid)
			run_long(i, fd);
		while (!shared->ready)
			sched_yield();
		usleep(20000);
		begin = milliseconds();
		kill(pid, SIGKILL);
		EXPECT_EQ(-SIGKILL, end_of(pid));
		printf("# %s: ended %ld ms after the signal%s\n", long_calls[i].name,
		       milliseconds() - begin, shared->done ? ", was done before" : "");
		EXPECT_GT(2000, milliseconds() - begin) TH_LOG("%s", long_calls[i].name);
		EXPECT_EQ(0, stats(fd).out_views);
		EXPECT_EQ(0, stats(fd).out_state_bytes);
	}
}

/* The argument decides before the harness sees it. */
__attribute__((constructor)) static void other_lives(int argc, char **argv)
{
	int fd;
	char *p, c;

	if (argc == 4 && !strcmp(argv[1], "executed"))
		_exit(executed(atoi(argv[2]), (char *)strtoul(argv[3], NULL, 10)));
	if (argc != 2 || strncmp(argv[1], "hold-", 5))
		return;
	fd = space_new(N);
	if (!strcmp(argv[1], "hold-mapping")) {
		p = view_new(fd, 0, N, RW);
		p[0] = 1;
		close(fd);
	}
	must(write(1, "holding\n", 8) == 8);
	while (read(0, &c, 1) > 0)
		;
	_exit(0);
}

TEST_HARNESS_MAIN
