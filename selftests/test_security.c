// SPDX-License-Identifier: GPL-2.0
/*
 * What docs/security.md claims and no other test shows: a page is empty when
 * it comes, whoever had it before and however it comes; no physical address is
 * told; who may open the device; no way around limits and around a refusal of
 * memory that can be written and executed.
 */
#include "cgroup.h"
#include "harness.h"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define NOBODY	65534
#define PAGES	400ul		/* what goes last comes back first */
#define SECRET	0x5ec2e75ec2e75ec2ull

static void fill(char *p, unsigned long pages)
{
	uint64_t *word = (uint64_t *)p;
	unsigned long i;

	for (i = 0; i < pages * PAGE / sizeof(*word); i++)
		word[i] = SECRET;
}

static int empty(const char *p, unsigned long pages)
{
	const uint64_t *word = (const uint64_t *)p;
	unsigned long i, n = 0;

	for (i = 0; i < pages * PAGE / sizeof(*word); i++)
		n += word[i] != 0;
	return !n;
}

static char *ordinary(unsigned long pages)
{
	char *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(p != MAP_FAILED);
	return p;
}

/* How pages go: done by a process that has filled them, and then ends. */
static void go_by_discard(int space, char *view)
{
	must(!discard(space, view, PAGES));
}

static void go_by_close(int space, char *view)
{
	must(!close(space) && !munmap(view, PAGES * PAGE));
}

static void go_by_exit(int space, char *view)
{
	(void)space;
	(void)view;
}

static void go_by_kill(int space, char *view)
{
	(void)space;
	(void)view;
	raise(SIGKILL);
}

/* Not avm's at all: what another process had on its heap. */
static void go_as_ordinary_memory(int space, char *view)
{
	char *p = ordinary(PAGES);

	go_by_close(space, view);
	madvise(p, PAGES * PAGE, MADV_NOHUGEPAGE);
	fill(p, PAGES);
}

/* At the limit of its memory cgroup, of a touch that finds no page. */
static void go_by_limit(int space, char *view)
{
	unsigned long i;
	char *more;

	/* Page tables are not what is to be short: see test_limits.c. */
	must(!munmap(view, PAGES * PAGE));
	more = view_new(space, 0, PAGES, PROT_READ | PROT_WRITE);
	for (i = 0; i < PAGES; i += 50)
		more[i * PAGE] = 1;
	must(!discard(space, more, PAGES));
	signal(SIGBUS, SIG_DFL);
	group_enter(PAGES / 2 * PAGE);
	fill(more, PAGES);
}

/* Let another process have some pages full of secrets, and end. */
static int leave_secrets(void (*go)(int space, char *view))
{
	pid_t pid = fork();
	char *view;
	int space;

	if (!pid) {
		child_begins();
		space = space_new(PAGES);
		view = view_new(space, 0, PAGES, PROT_READ | PROT_WRITE);
		fill(view, PAGES);
		go(space, view);
		_exit(0);
	}
	return status_of(pid);
}

/* How pages come. Each returns a view of them. */
static char *come(int space)
{
	return view_new(space, 0, PAGES, PROT_READ | PROT_WRITE);
}

static char *come_by_read(int space)
{
	return come(space);
}

/* One byte is written, and put right again. */
static char *come_by_write(int space)
{
	char *view = come(space);
	unsigned long i;

	for (i = 0; i < PAGES; i++) {
		view[i * PAGE + 99] = 1;
		view[i * PAGE + 99] = 0;
	}
	return view;
}

static char *come_by_populate(int space)
{
	char *view = come(space);

	must(!populate(space, view, PAGES));
	return view;
}

/* A closed page gets its frame, and is mapped when it is opened. */
static char *come_by_unprot(int space)
{
	char *view = come(space);

	must(!protect(space, view, PAGES, NONE));
	must(!populate(space, view, PAGES));
	must(!protect(space, view, PAGES, R));
	return view;
}

static char *come_by_system_call(int space)
{
	char *view = come(space);
	int zero = open("/dev/zero", O_RDONLY);
	unsigned long i;

	for (i = 0; i < PAGES; i++)
		must(read(zero, view + i * PAGE + 100, 1) == 1);
	close(zero);
	return view;
}

static char *come_by_debugger(int space)
{
	char *view = come(space), none = 0;
	int mem = open("/proc/self/mem", O_RDWR);
	unsigned long i;

	must(mem >= 0);
	for (i = 0; i < PAGES; i++)
		must(pwrite(mem, &none, 1, (uintptr_t)view + i * PAGE + 5) == 1);
	close(mem);
	return view;
}

/* Pages that have been discarded a moment ago, seen through a second view. */
static char *come_by_alias(int space)
{
	char *view = come(space);

	fill(view, PAGES);
	must(!discard(space, view, PAGES));
	return map2(space, view, PAGES, RW, RW);
}

static char *(*const ways_to_come[])(int space) = {
	come_by_read, come_by_write, come_by_populate, come_by_unprot,
	come_by_system_call, come_by_debugger, come_by_alias,
};

#define COME (sizeof(ways_to_come) / sizeof(ways_to_come[0]))

/* The ways to come, in which a page was not empty. */
static unsigned int leaks(void (*go)(int space, char *view), int signal)
{
	unsigned int how, n = 0;
	int space;
	pid_t pid;

	for (how = 0; how < COME; how++) {
		must(died_by(leave_secrets(go)) == signal);
		/* In a child, so that these go, too. */
		pid = fork();
		if (!pid) {
			child_begins();
			space = space_new(PAGES);
			_exit(!empty(ways_to_come[how](space), PAGES));
		}
		if (exited_with(status_of(pid))) {
			printf("# not empty: way %u to come\n", how);
			n++;
		}
	}
	return n;
}

/* For the longer time that debug kernels need. */
FIXTURE(pages) {
};

FIXTURE_SETUP(pages)
{
}

FIXTURE_TEARDOWN(pages)
{
}

TEST_F_TIMEOUT(pages, pages_that_were_discarded_come_back_empty, 300)
{
	EXPECT_EQ(0, leaks(go_by_discard, 0));
}

TEST_F_TIMEOUT(pages, pages_of_a_space_that_was_closed_come_back_empty, 300)
{
	EXPECT_EQ(0, leaks(go_by_close, 0));
}

TEST_F_TIMEOUT(pages, pages_of_a_process_that_exits_come_back_empty, 300)
{
	EXPECT_EQ(0, leaks(go_by_exit, 0));
}

TEST_F_TIMEOUT(pages, pages_of_a_process_that_is_killed_come_back_empty, 300)
{
	EXPECT_EQ(0, leaks(go_by_kill, SIGKILL));
}

TEST_F_TIMEOUT(pages, pages_of_a_process_that_dies_at_a_cgroups_limit_come_back_empty, 300)
{
	must(!mkdir(GROUP, 0755));
	EXPECT_EQ(0, leaks(go_by_limit, SIGBUS));
	must(!rmdir(GROUP));
}

TEST_F_TIMEOUT(pages, ordinary_memory_of_others_comes_empty, 300)
{
	EXPECT_EQ(0, leaks(go_as_ordinary_memory, 0));
}

/* What /proc/self/pagemap says of a page, to root. */
static uint64_t pagemap_entry(const void *addr)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	uint64_t entry;

	must(fd >= 0);
	must(pread(fd, &entry, 8, (uintptr_t)addr / PAGE * 8) == 8);
	close(fd);
	return entry;
}

TEST(no_physical_address_is_told)
{
	const uint64_t pfn = (1ull << 55) - 1;
	char *view = view_new(space_new(1), 0, 1, PROT_READ | PROT_WRITE);
	char *other = ordinary(1);

	*view = 1;
	*other = 1;
	EXPECT_NE(0, pagemap_entry(other) & pfn);
	EXPECT_EQ(0, pagemap_entry(view) & pfn);
}

static void become_nobody(unsigned long limit)
{
	struct rlimit memlock = { limit, limit };

	must(!setrlimit(RLIMIT_MEMLOCK, &memlock));
	must(!setresgid(NOBODY, NOBODY, NOBODY));
	must(!setresuid(NOBODY, NOBODY, NOBODY));
}

TEST(the_device_is_roots_until_root_says_otherwise)
{
	struct stat st;

	ASSERT_EQ(0, stat(AVM_DEVICE, &st));
	EXPECT_EQ(0660, st.st_mode & 07777);
	EXPECT_EQ(0, st.st_uid);
	EXPECT_EQ(0, st.st_gid);
	become_nobody(RLIM_INFINITY);
	EXPECT_EQ(-1, open(AVM_DEVICE, O_RDWR));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(-1, open(AVM_DEVICE, O_RDONLY));
	EXPECT_EQ(EACCES, errno);
}

/* It has CAP_IPC_LOCK there, which counts for nothing here. */
TEST(root_of_a_user_namespace_has_the_limit_of_its_user)
{
	struct avm_create arg = { .size = sizeof(arg), .length = 64 * PAGE };
	int dev = open(AVM_DEVICE, O_RDWR), space;
	unsigned long n = 0;
	char *view;

	ASSERT_LE(0, dev);
	denied_setup();
	become_nobody(8 * PAGE);
	ASSERT_EQ(0, unshare(CLONE_NEWUSER));
	space = ioctl(dev, AVM_IOC_CREATE, &arg);
	ASSERT_LE(0, space);
	EXPECT_EQ(8, stats(space).out_limit_pages);
	view = view_new(space, 0, 64, PROT_READ | PROT_WRITE);
	while (n < 64 && !try_write(view + n * PAGE, 1))
		n++;
	EXPECT_EQ(8, n);
	EXPECT_EQ(SIGBUS, denied.sig);
}

#ifndef PR_SET_MDWE
#define PR_SET_MDWE		65
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif

TEST(memory_deny_write_execute_holds_for_views)
{
	int space = space_new(4);
	struct avm_map2 arg = {
		.size = sizeof(arg), .length = PAGE, .max_prot = RWX, .prot = RW,
	};
	char *view;

	if (prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0))
		SKIP(return, "this kernel has no PR_SET_MDWE (6.3)");
	denied_setup();
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, RWX, MAP_SHARED, space, 0));
	EXPECT_EQ(EACCES, errno);
	view = view_new(space, 0, 4, PROT_READ | PROT_EXEC);
	arg.addr = (uintptr_t)view;
	EXPECT_EQ(-EACCES, call(space, AVM_IOC_MAP2, &arg));
	EXPECT_EQ(-EACCES, protect(space, view, 4, RW));
	EXPECT_EQ(-EACCES, protect(space, view, 4, RWX));
	EXPECT_EQ(SIGSEGV, try_write(view, 1));
	view = view_new(space, 0, 4, PROT_READ | PROT_WRITE);
	EXPECT_EQ(-EACCES, protect(space, view, 4, RX));
	EXPECT_EQ(0, try_write(view, 1));
	EXPECT_EQ(SIGSEGV, try_fetch(view));
}

TEST_HARNESS_MAIN
