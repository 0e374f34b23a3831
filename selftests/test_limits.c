// SPDX-License-Identifier: GPL-2.0
/*
 * Who pays: locked memory of the user who made a space, against the limit that
 * held then, and the memory cgroup of whoever touches a page. Past either, a
 * call is ENOMEM with an exact count and a touch is SIGBUS (EFAULT from a system
 * call); nobody is killed, and all that was taken comes back.
 *
 * Locked memory is counted per user and not per process: users here are made up
 * numbers, and each test leaves them with nothing.
 */
#include <linux/capability.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "cgroup.h"
#include "harness.h"

#define NOBODY	65534
#define LIMIT	16ul
/* What the group had seen before: it outlives a test. */
static long group_kills, group_hits, group_before;

/* As which test user so ever, the device is opened by root beforehand. */
static int dev;

static void become(int user, unsigned long soft, unsigned long hard)
{
	struct rlimit limit = { soft, hard };

	dev = open(AVM_DEVICE, O_RDWR | O_CLOEXEC);
	must(dev >= 0 && !setrlimit(RLIMIT_MEMLOCK, &limit));
	must(!setresuid(user, user, user));
	denied_setup();
}

static void become_nobody(void)
{
	become(NOBODY, LIMIT * PAGE, 2 * LIMIT * PAGE);
}

static int create(unsigned long pages)
{
	struct avm_create arg = { .size = sizeof(arg), .length = pages * PAGE };
	int fd = ioctl(dev, AVM_IOC_CREATE, &arg);

	must(fd >= 0);
	return fd;
}

/* Pages, up to @most, that can be touched one by one before SIGBUS. */
static unsigned long touch(char *p, unsigned long most)
{
	unsigned long n = 0;

	while (n < most && !try_write(p + n * PAGE, 1))
		n++;
	return n;
}

/* Give up, or take, one capability. */
static void capability(int number, bool have)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];

	must(!syscall(SYS_capget, &head, data));
	if (have)
		data[number / 32].effective |= 1u << (number % 32);
	else
		data[number / 32].effective &= ~(1u << (number % 32));
	must(!syscall(SYS_capset, &head, data));
}

TEST(populate_past_the_limit_is_ENOMEM_with_an_exact_count)
{
	struct avm_range ranges[3];
	struct avm_batch out;
	char *p;
	int fd;

	become_nobody();
	fd = create(64);
	p = view_new(fd, 0, 64, RW);
	ranges[0] = (struct avm_range){ (uintptr_t)p, 4 * PAGE, 0, 0 };
	ranges[1] = (struct avm_range){ (uintptr_t)p + 8 * PAGE, 20 * PAGE, 0, 0 };
	ranges[2] = ranges[0];
	EXPECT_EQ(-ENOMEM, batch(fd, AVM_IOC_POPULATE, ranges, 3, &out));
	EXPECT_EQ(1, out.out_done);
	EXPECT_EQ((LIMIT - 4) * PAGE, out.out_bytes);
	EXPECT_EQ(LIMIT, stats(fd).out_resident_pages);
	EXPECT_EQ(LIMIT, stats(fd).out_limit_pages);
	/* What the count says is there: 12 pages of the second range. */
	EXPECT_EQ(0, try_write(p + (8 + LIMIT - 4 - 1) * PAGE, 1));
	EXPECT_EQ(SIGBUS, try_write(p + (8 + LIMIT - 4) * PAGE, 1));
	/* What is there already can be populated again. */
	EXPECT_EQ(0, populate(fd, p, 4));
	EXPECT_EQ(-ENOMEM, batch(fd, AVM_IOC_POPULATE, &ranges[1], 1, &out));
	EXPECT_EQ(0, out.out_done);
	EXPECT_EQ((LIMIT - 4) * PAGE, out.out_bytes);
}

TEST(a_touch_past_the_limit_is_SIGBUS)
{
	char *p;
	int fd;

	become_nobody();
	fd = create(64);
	p = view_new(fd, 0, 64, RW);
	EXPECT_EQ(LIMIT, touch(p, 64));
	EXPECT_EQ(SIGBUS, denied.sig);
	EXPECT_EQ(SIGBUS, try_read(p + 40 * PAGE));
	EXPECT_EQ(LIMIT, stats(fd).out_resident_pages);
	/* It is not a denied access, and those there are go on. */
	EXPECT_EQ(0, stats(fd).out_traps);
	EXPECT_EQ(0, try_write(p, 2));
	EXPECT_EQ(0, protect(fd, p, 64, R));
	EXPECT_EQ(SIGSEGV, try_write(p, 3));
	EXPECT_EQ(0, try_read(p));
}

TEST(a_system_call_past_the_limit_is_EFAULT)
{
	int fd, pipes[2];
	char *p;

	become_nobody();
	fd = create(64);
	p = view_new(fd, 0, 64, RW);
	EXPECT_EQ(LIMIT, touch(p, 64));
	must(!pipe(pipes) && write(pipes[1], "abcdefgh", 8) == 8);
	EXPECT_EQ(-1, read(pipes[0], p + 50 * PAGE, 4));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, write(pipes[1], p + 50 * PAGE, 4));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(4, read(pipes[0], p + PAGE, 4));
}

TEST(a_limit_of_nothing_lets_nothing_be_touched)
{
	struct avm_range range;
	struct avm_batch out;
	char *p;
	int fd;

	become(NOBODY, 0, 0);
	fd = create(64);
	p = view_new(fd, 0, 64, RW);
	range = (struct avm_range){ (uintptr_t)p, 64 * PAGE, 0, 0 };
	EXPECT_EQ(SIGBUS, try_read(p));
	EXPECT_EQ(SIGBUS, try_write(p, 1));
	EXPECT_EQ(-ENOMEM, batch(fd, AVM_IOC_POPULATE, &range, 1, &out));
	EXPECT_EQ(0, out.out_done);
	EXPECT_EQ(0, out.out_bytes);
	/* What takes no page works. */
	EXPECT_EQ(0, protect(fd, p, 1, NONE));
	EXPECT_EQ(SIGSEGV, try_read(p));
	EXPECT_EQ(0, dirty(fd, p, 64, NULL));
	EXPECT_EQ(0, discard(fd, p, 64));
	EXPECT_NE(NULL, map2(fd, p, 64, RW, R));
	EXPECT_EQ(0, stats(fd).out_resident_pages);
	EXPECT_EQ(0, stats(fd).out_limit_pages);
}

TEST(failed_touches_are_not_charged)
{
	unsigned int i;
	char *p;
	int fd;

	become_nobody();
	fd = create(128);
	p = view_new(fd, 0, 128, RW);
	EXPECT_EQ(LIMIT, touch(p, 128));
	for (i = LIMIT; i < 128; i++)
		EXPECT_EQ(SIGBUS, try_write(p + i * PAGE, 1));
	EXPECT_EQ(-ENOMEM, populate(fd, p, 128));
	EXPECT_EQ(0, discard(fd, p, 128));
	EXPECT_EQ(LIMIT, touch(p, 128));
	EXPECT_EQ(LIMIT, stats(fd).out_resident_pages);
}

TEST(discard_gives_back)
{
	char *p;
	int fd, i;

	become_nobody();
	fd = create(64);
	p = view_new(fd, 0, 64, RW);
	EXPECT_EQ(LIMIT, touch(p, 64));
	for (i = 0; i < 10; i++) {
		EXPECT_EQ(0, discard(fd, p + 2 * PAGE, 5));
		EXPECT_EQ(LIMIT - 5, stats(fd).out_resident_pages);
		EXPECT_EQ(5, touch(p + 32 * PAGE, 32));
		EXPECT_EQ(0, discard(fd, p + 32 * PAGE, 32));
		EXPECT_EQ(0, populate(fd, p, LIMIT));
	}
}

TEST(closing_gives_back)
{
	int fd, i;
	char *p;

	become_nobody();
	for (i = 0; i < 3; i++) {
		fd = create(64);
		p = view_new(fd, 0, 64, RW);
		EXPECT_EQ(LIMIT, touch(p, 64));
		/* The view alone keeps the pages, as does the descriptor. */
		if (i == 1) {
			close(fd);
			fd = create(64);
			EXPECT_EQ(-ENOMEM, populate(fd, view_new(fd, 0, 1, RW), 1));
		}
		if (i == 2) {
			int other = create(64);

			munmap(p, 64 * PAGE);
			EXPECT_EQ(-ENOMEM, populate(other, view_new(other, 0, 1, RW), 1));
		}
		munmap(p, 64 * PAGE);
		close(fd);
	}
}

TEST(exit_gives_back)
{
	int fd, i, status;
	pid_t pid;

	become_nobody();
	for (i = 0; i < 4; i++) {
		pid = fork();
		if (!pid) {
			fd = create(64);
			i = touch(view_new(fd, 0, 64, RW), 64) == LIMIT;
			_exit(i);
		}
		must(waitpid(pid, &status, 0) == pid);
		EXPECT_EQ(1 << 8, status) TH_LOG("round %d", i);
	}
}

TEST(spaces_of_a_user_share_the_limit)
{
	int one_fd, two_fd, status;
	char *p, *q;
	pid_t pid;

	become_nobody();
	one_fd = create(64);
	two_fd = create(64);
	p = view_new(one_fd, 0, 64, RW);
	q = view_new(two_fd, 0, 64, RW);
	EXPECT_EQ(0, populate(one_fd, p, 10));
	EXPECT_EQ(LIMIT - 10, touch(q, 64));
	EXPECT_EQ(SIGBUS, try_write(p + 20 * PAGE, 1));
	/* In another process, too. */
	pid = fork();
	if (!pid)
		_exit(touch(view_new(create(4), 0, 4, RW), 4));
	must(waitpid(pid, &status, 0) == pid);
	EXPECT_EQ(0, status);
	/* More views of the same pages cost nothing. */
	EXPECT_EQ(0, populate(one_fd, view_new(one_fd, 0, 10, RW), 10));
	EXPECT_EQ(0, discard(one_fd, p, 3));
	EXPECT_EQ(3, touch(q + 32 * PAGE, 32));
}

/* As a user of that number, touch all there is; then tell, and wait for the end. */
static int touch_and_hold(int user, int tell, int wait)
{
	char n;

	become(user, LIMIT * PAGE, LIMIT * PAGE);
	n = touch(view_new(create(64), 0, 64, RW), 64);
	must(write(tell, &n, 1) == 1);
	return read(wait, &n, 1);
}

/*
 * The kernel keeps what it knows of a user while a space is charged to him. So
 * many users would be missed when the machine ends.
 */
TEST(users_are_forgotten_with_their_spaces)
{
	int first = 100000, n = slow() ? 256 : 16384, user;

	become(0, LIMIT * PAGE, LIMIT * PAGE);
	for (user = first; user < first + n; user++) {
		/* The real one counts; the effective one may change it again. */
		must(!setresuid(user, 0, 0));
		ASSERT_EQ(0, close(create(1)));
	}
}

TEST(other_users_have_a_limit_of_their_own)
{
	int tell[2], wait[2], i, status;
	char n;

	must(!pipe(tell) && !pipe(wait));
	for (i = 1; i <= 2; i++) {
		if (!fork()) {
			close(wait[1]);
			_exit(touch_and_hold(NOBODY - i, tell[1], wait[0]));
		}
		ASSERT_EQ(1, read(tell[0], &n, 1));
		EXPECT_EQ(LIMIT, n) TH_LOG("user %d", i);
	}
	close(wait[1]);
	while (waitpid(-1, &status, 0) > 0)
		EXPECT_EQ(0, status);
}

TEST(the_limit_is_that_of_the_moment_of_creation)
{
	struct rlimit higher = { 2 * LIMIT * PAGE, 2 * LIMIT * PAGE }, lower = { 0, 0 };
	int fd, later;
	char *p;

	become_nobody();
	fd = create(64);
	p = view_new(fd, 0, 64, RW);
	must(!setrlimit(RLIMIT_MEMLOCK, &higher));
	EXPECT_EQ(LIMIT, touch(p, 64));
	EXPECT_EQ(LIMIT, stats(fd).out_limit_pages);
	later = create(64);
	EXPECT_EQ(2 * LIMIT, stats(later).out_limit_pages);
	EXPECT_EQ(LIMIT, touch(view_new(later, 0, 64, RW), 64));
	EXPECT_EQ(0, discard(fd, p, 64));
	must(!setrlimit(RLIMIT_MEMLOCK, &lower));
	/* The later one still has its 16 pages: together they are 32. */
	EXPECT_EQ(0, touch(p, 64));
	close(later);
	EXPECT_EQ(LIMIT, stats(fd).out_limit_pages);
}

TEST(the_limit_is_the_creators_whoever_touches)
{
	struct rlimit limit = { LIMIT * PAGE, RLIM_INFINITY };
	int fd, roots, other;
	char *p;

	dev = open(AVM_DEVICE, O_RDWR);
	must(dev >= 0 && !setrlimit(RLIMIT_MEMLOCK, &limit));
	denied_setup();
	roots = create(64);
	/* Nobody for a while: the space is nobody's. */
	must(!setresuid(NOBODY, NOBODY, 0));
	fd = create(64);
	must(!setresuid(0, 0, 0));
	p = view_new(fd, 0, 64, RW);
	EXPECT_EQ(LIMIT, touch(p, 64));
	EXPECT_EQ(-ENOMEM, populate(fd, p, 64));
	EXPECT_EQ(0, discard(fd, p, 5));
	EXPECT_EQ(~0ull, stats(roots).out_limit_pages);
	/* And root's is without a limit, in anybody's hands. */
	must(!setresuid(NOBODY, NOBODY, NOBODY));
	/* What root has touched was on nobody's account. */
	other = create(64);
	EXPECT_EQ(5, touch(view_new(other, 0, 64, RW), 64));
	EXPECT_EQ(64, touch(view_new(roots, 0, 64, RW), 64));
}

TEST(CAP_IPC_LOCK_has_no_limit)
{
	struct rlimit none = { 0, 0 };
	int fd;

	dev = open(AVM_DEVICE, O_RDWR);
	must(dev >= 0 && !setrlimit(RLIMIT_MEMLOCK, &none));
	denied_setup();
	fd = create(64);
	EXPECT_EQ(64, touch(view_new(fd, 0, 64, RW), 64));
	EXPECT_EQ(~0ull, stats(fd).out_limit_pages);
	/* It is the capability that counts, not the user: root without it, */
	capability(CAP_IPC_LOCK, false);
	fd = create(64);
	EXPECT_EQ(0, touch(view_new(fd, 0, 64, RW), 64));
	EXPECT_EQ(0, stats(fd).out_limit_pages);
	/* and nobody with it. */
	must(!prctl(PR_SET_KEEPCAPS, 1) && !setresuid(NOBODY, NOBODY, NOBODY));
	capability(CAP_IPC_LOCK, true);
	fd = create(64);
	EXPECT_EQ(64, touch(view_new(fd, 0, 64, RW), 64));
}

TEST(no_limit_is_told_as_all_ones)
{
	become(NOBODY, RLIM_INFINITY, RLIM_INFINITY);
	EXPECT_EQ(~0ull, stats(create(1)).out_limit_pages);
}

TEST(a_limit_is_whole_pages)
{
	become(NOBODY, 3 * PAGE + PAGE / 2, 4 * PAGE);
	EXPECT_EQ(3, touch(view_new(create(8), 0, 8, RW), 8));
}

/*
 * One group for all tests: to make the first one and to remove the last one
 * patches the kernel's code, which QEMU does not always survive.
 */
static void group_make(void)
{
	if (access("/sys/fs/cgroup/cgroup.controllers", F_OK))
		must(!mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, NULL));
	put("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	must(!mkdir(GROUP, 0755) || errno == EEXIST);
	put(GROUP "/memory.max", "max");
	group_kills = get(GROUP "/memory.events", "oom_kill ");
	group_hits = get(GROUP "/memory.events", "max ");
	group_before = get(GROUP "/memory.current", NULL);
}

/* Runs in the group: how its end is told is the exit status. */
static int group_populate(void)
{
	const unsigned long pages = 64 * 256;
	int fd = space_new(pages), ret;
	char *p = view_new(fd, 0, pages, RW);
	struct avm_range range = { (uintptr_t)p, pages * PAGE, 0, 0 };
	unsigned long resident;
	struct avm_batch out;

	group_enter(8 << 20);
	ret = batch(fd, AVM_IOC_POPULATE, &range, 1, &out);
	resident = stats(fd).out_resident_pages;
	/* Room to go on with, before anything else is done. */
	if (discard(fd, p, pages))
		return 2;
	if (ret != -ENOMEM)
		return 3;
	if (out.out_done || out.out_bytes != resident * PAGE)
		return 4;
	/* Of 8 MB, less page tables, and what CPUs had charged in advance. */
	if (resident < 1500 || resident > 2048 + 256)
		return 5;
	return populate(fd, p, 1024) ? 6 : 1;
}

/* Pages far from one another: each needs a page table, too. */
static unsigned long scattered_room;

static int group_populate_scattered(void)
{
	const unsigned long step = 512, n = 2048;
	static struct avm_range ranges[2048];
	int fd = space_new(n * step), ret;
	char *p = view_new(fd, 0, n * step, RW);
	unsigned long i, resident;
	struct avm_batch out;

	for (i = 0; i < n; i++)
		ranges[i] = (struct avm_range){ (uintptr_t)p + i * step * PAGE, PAGE, 0, 0 };
	group_enter(scattered_room);
	ret = batch(fd, AVM_IOC_POPULATE, ranges, n, &out);
	resident = stats(fd).out_resident_pages;
	if (discard(fd, p, n * step))
		return 2;
	if (ret != -ENOMEM)
		return 3;
	return out.out_done == resident && !out.out_bytes ? 1 : 4;
}

static int group_touch(void)
{
	int fd = space_new(512);
	char *p = view_new(fd, 0, 512, RW);
	unsigned long n;

	denied_setup();
	/* One page table, which is there: see group_enter() for why. */
	p[0] = 1;
	try_read((void *)0x10);
	group_enter(1 << 20);
	n = touch(p, 512);
	if (discard(fd, p, 512))
		return 2;
	if (n == 512 || denied.sig != SIGBUS)
		return 3;
	/* Of 256, and what CPUs had charged in advance. */
	if (n < 128 || n > 500)
		return 4;
	return touch(p, 100) == 100 ? 1 : 5;
}

static int group_run(int (*in_group)(void))
{
	int status;
	pid_t pid = fork();

	if (!pid)
		_exit(in_group());
	must(waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* What the group has more than before once all have left it, and it settled. */
static long group_left(void)
{
	long left = 0;
	int i;

	for (i = 0; i < 50; i++) {
		left = get(GROUP "/memory.current", NULL) - group_before;
		if (left < 512 << 10)
			break;
		usleep(100000);
	}
	return left;
}

TEST(populate_past_a_cgroups_limit_is_ENOMEM_and_kills_nobody)
{
	group_make();
	EXPECT_EQ(1, group_run(group_populate));
	EXPECT_EQ(group_kills, get(GROUP "/memory.events", "oom_kill "));
	EXPECT_LT(group_hits, get(GROUP "/memory.events", "max "));
	EXPECT_GT(512 << 10, group_left());
}

TEST(populate_of_scattered_pages_past_a_cgroups_limit_kills_nobody)
{
	unsigned int i;

	group_make();
	/* Page by page, so that it is a page table's turn sometimes. */
	for (i = 0; i < 6; i++) {
		scattered_room = (4 << 20) + i * PAGE;
		EXPECT_EQ(1, group_run(group_populate_scattered)) TH_LOG("round %u", i);
		put(GROUP "/memory.max", "max");
	}
	EXPECT_EQ(group_kills, get(GROUP "/memory.events", "oom_kill "));
	EXPECT_GT(512 << 10, group_left());
}

TEST(a_touch_past_a_cgroups_limit_is_SIGBUS_and_kills_nobody)
{
	group_make();
	EXPECT_EQ(1, group_run(group_touch));
	EXPECT_EQ(group_kills, get(GROUP "/memory.events", "oom_kill "));
	EXPECT_GT(512 << 10, group_left());
}

static int group_hold(void)
{
	int fd = space_new(1024);
	char *p = view_new(fd, 0, 1024, RW);
	long before;

	put(GROUP "/cgroup.procs", "0");
	before = get(GROUP "/memory.current", NULL);
	if (populate(fd, p, 1024))
		return 2;
	/* Charged in steps: some of it was charged before. */
	if (get(GROUP "/memory.current", NULL) - before < 3 << 20)
		return 3;
	return 1;
}

TEST(pages_are_charged_to_the_cgroup_of_who_allocates)
{
	group_make();
	EXPECT_EQ(1, group_run(group_hold));
	EXPECT_GT(512 << 10, group_left());
	EXPECT_EQ(0, rmdir(GROUP)); /* the last of these tests */
}

TEST(memory_comes_back_when_a_space_goes)
{
	const unsigned long pages = 200 * 256;
	long before, during, after = 0;
	int fd, i;
	char *p;

	fd = space_new(pages);
	p = view_new(fd, 0, pages, RW);
	before = get("/proc/meminfo", "MemFree:");
	ASSERT_EQ(0, populate(fd, p, pages));
	during = get("/proc/meminfo", "MemFree:");
	/* Other memory comes and goes: most of it is enough. */
	EXPECT_LT(150 << 10, before - during);
	munmap(p, pages * PAGE);
	EXPECT_EQ(pages, stats(fd).out_resident_pages);
	close(fd);
	for (i = 0; i < 50; i++) {
		after = get("/proc/meminfo", "MemFree:");
		if (before - after < 32 << 10)
			break;
		usleep(100000);
	}
	/* Free lists of each CPU count as used; a smaller loss shows at unload. */
	EXPECT_GT(32 << 10, before - after);
}

TEST_HARNESS_MAIN
