// SPDX-License-Identifier: GPL-2.0
/*
 * Everything at once. Threads and processes fault, protect, scan, discard,
 * populate, map, unmap, move, map over, fork, exec and exit at random on the
 * same spaces, for some seconds. Nothing that happens in between is judged:
 * what counts is that the kernel lives (its log is the runner's to judge),
 * that the counts of the space add up, and that what is done when all is
 * quiet has the result that it should have.
 */
#include "avmtest.h"

#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "harness.h"

#define SPACES	2
#define PAGES	2048ul		/* of each space: four page tables */
#define SLOTS	6		/* places for views, in each process */
#define SLOT	(4096ul * PAGE)	/* room around each */
#define THREADS	4
/* So long at least, and so long at most where the machine is slow. */
#define SECONDS	6
#define PATIENCE	40
#define ENOUGH	2000		/* deeds */

static int spaces[SPACES];
static char *slots[SLOTS];
/* Shared by all processes. */
static struct {
	volatile int stop;
	volatile unsigned long deeds;
} *shared;

static const char *myself;

/* Small, and the same on every run of a seed, as far as scheduling allows. */
struct random {
	uint64_t state;
};

static uint32_t next(struct random *r)
{
	r->state = r->state * 6364136223846793005ull + 1442695040888963407ull;
	return r->state >> 33;
}

static uint32_t below(struct random *r, uint32_t n)
{
	return next(r) % n;
}

/* Some pages of a slot: mostly a few, now and then many. */
static char *some_pages(struct random *r, unsigned long *n)
{
	char *slot = slots[below(r, SLOTS)];
	unsigned long first = below(r, PAGES);

	*n = below(r, 8) ? 1 + below(r, 20) : 1 + below(r, PAGES);
	if (*n > PAGES - first)
		*n = PAGES - first;
	return slot + first * PAGE;
}

static int some_prot(struct random *r)
{
	static const int prots[] = { NONE, R, RW, RW };

	return prots[below(r, 4)];
}

static void touch(struct random *r)
{
	unsigned long n, i;
	char *p = some_pages(r, &n);

	for (i = 0; i < n && i < 40; i++) {
		if (below(r, 2))
			try_write(p + i * PAGE + below(r, PAGE), i);
		else
			try_read(p + i * PAGE + below(r, PAGE));
	}
}

static void do_protect(struct random *r)
{
	struct avm_range ranges[24];
	unsigned long n;
	unsigned int i, count = 1 + below(r, 24);

	for (i = 0; i < count; i++) {
		ranges[i].addr = (uintptr_t)some_pages(r, &n);
		ranges[i].length = n * PAGE;
		ranges[i].prot = some_prot(r);
		ranges[i].reserved = 0;
	}
	batch(spaces[below(r, SPACES)], AVM_IOC_PROTECT, ranges, count, NULL);
}

static void do_protect_page(struct random *r)
{
	unsigned long n;
	char *p = some_pages(r, &n);

	/* Again and again in one place, as a trap handler does. */
	for (n = 0; n < 8; n++)
		ioctl(spaces[below(r, SPACES)], AVM_IOC_PROTECT_PAGE,
		      p + some_prot(r));
}

static void do_scan(struct random *r)
{
	static __thread uint64_t answer[PAGES];
	unsigned long n;
	struct avm_scan arg = {
		.size = sizeof(arg),
		.flags = below(r, 8),
		.addr = (uintptr_t)some_pages(r, &n),
		.match = 1 + below(r, 3),
		.clear = below(r, 4),
		.buffer = (uintptr_t)answer,
		.buffer_size = sizeof(answer),
	};

	arg.length = n * PAGE;
	if (arg.flags & AVM_SCAN_PROTECT)
		arg.prot = some_prot(r);
	if (!(arg.flags & 3))
		arg.buffer = 0;
	if (!(arg.flags & 3))
		arg.buffer_size = 0;
	call(spaces[below(r, SPACES)], AVM_IOC_SCAN, &arg);
}

static void do_discard(struct random *r)
{
	unsigned long n;
	char *p = some_pages(r, &n);

	discard(spaces[below(r, SPACES)], p, n);
}

static void do_populate(struct random *r)
{
	unsigned long n;
	char *p = some_pages(r, &n);

	populate(spaces[below(r, SPACES)], p, n);
}

/* A view of some part over whatever is there. */
static void do_map(struct random *r)
{
	unsigned long n, first = below(r, PAGES);
	char *p = some_pages(r, &n);

	if (n > PAGES - first)
		n = PAGES - first;
	mmap(p, n * PAGE, some_prot(r) | R, MAP_SHARED | MAP_FIXED,
	     spaces[below(r, SPACES)], first * PAGE);
}

static void do_map2(struct random *r)
{
	unsigned long n;
	struct avm_map2 arg = {
		.size = sizeof(arg),
		.addr = (uintptr_t)some_pages(r, &n),
		.max_prot = RW,
		.prot = some_prot(r),
	};
	char *p;

	arg.length = n * PAGE;
	if (call(spaces[below(r, SPACES)], AVM_IOC_MAP2, &arg))
		return;
	p = (char *)(uintptr_t)arg.out_addr;
	try_write(p, 1);
	try_read(p + (n - 1) * PAGE);
	munmap(p, n * PAGE);
}

static void do_munmap(struct random *r)
{
	unsigned long n;
	char *p = some_pages(r, &n);

	munmap(p, n * PAGE);
}

static void do_mmap_over(struct random *r)
{
	unsigned long n;
	char *p = some_pages(r, &n);

	mmap(p, n * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

static void do_mremap(struct random *r)
{
	unsigned long n, m;
	char *from = some_pages(r, &n), *to = some_pages(r, &m);

	/* Overlapping is refused; the rest is moved, and the old one shrunk. */
	mremap(from, n * PAGE, (n < m ? n : m) * PAGE,
	       MREMAP_MAYMOVE | MREMAP_FIXED, to);
}

static void do_madvise(struct random *r)
{
	unsigned long n;
	char *p = some_pages(r, &n);

	/* Up to MADV_COLLAPSE; MADV_REMOVE and DONTFORK are among them. */
	madvise(p, n * PAGE, below(r, 26));
}

static void do_other(struct random *r)
{
	unsigned long n;
	char *p = some_pages(r, &n);

	switch (below(r, 5)) {
	case 0:
		mprotect(p, n * PAGE, RW);
		break;
	case 1:
		mlock(p, n * PAGE);
		munlock(p, n * PAGE);
		break;
	case 2:
		n = read(spaces[0], p, 10);
		break;
	case 3:
		stats(spaces[below(r, SPACES)]);
		break;
	default:
		sched_yield();
	}
}

static void do_proc_mem(struct random *r)
{
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	char buffer[3000];
	unsigned long n;
	char *p = some_pages(r, &n);

	memset(buffer, 1, sizeof(buffer));
	if (below(r, 2))
		n = pread(fd, buffer, sizeof(buffer), (uintptr_t)p + 2000);
	else
		n = pwrite(fd, buffer, sizeof(buffer), (uintptr_t)p + 2000);
	close(fd);
}

/*
 * A child of a process with threads must do nothing that takes a lock: exits,
 * or execs, or is killed while it works on views of its own.
 */
static void child_of_thread(struct random *r)
{
	uint32_t what = below(r, 3), space = below(r, SPACES);
	char *p;

	if (what == 0)
		execl(myself, myself, "--exit", NULL);
	if (what == 1)
		_exit(0);
	p = mmap(NULL, PAGES * PAGE, RW, MAP_SHARED, spaces[space], 0);
	if (p == MAP_FAILED)
		_exit(0);
	populate(spaces[space], p, below(r, PAGES) + 1);
	protect(spaces[space], p, PAGES / 2, R);
	/* With the pages, the view and what it owes. */
	discard(spaces[space], p + below(r, 100) * PAGE, 100);
	_exit(0);
}

static void do_fork(struct random *r)
{
	struct random own = { next(r) };
	pid_t pid = fork();

	if (!pid)
		child_of_thread(&own);
	if (pid < 0)
		return;
	if (below(r, 3) == 0) {
		usleep(below(r, 3000));
		kill(pid, SIGKILL);
	}
	waitpid(pid, NULL, 0);
}

static const struct {
	void (*run)(struct random *r);
	unsigned int weight;
} deeds[] = {
	{ touch, 30 }, { do_protect, 12 }, { do_protect_page, 8 },
	{ do_scan, 10 }, { do_discard, 8 }, { do_populate, 4 },
	{ do_map, 5 }, { do_map2, 4 }, { do_munmap, 3 }, { do_mmap_over, 1 },
	{ do_mremap, 5 }, { do_madvise, 3 },
	{ do_other, 3 }, { do_proc_mem, 3 }, { do_fork, 1 },
};

static void act(struct random *r)
{
	unsigned int i, at = below(r, 100);

	for (i = 0; i < sizeof(deeds) / sizeof(deeds[0]); i++) {
		if (at < deeds[i].weight) {
			deeds[i].run(r);
			return;
		}
		at -= deeds[i].weight;
	}
}

static void *storm(void *arg)
{
	struct random r = { (uintptr_t)arg };

	while (!shared->stop) {
		act(&r);
		__atomic_add_fetch(&shared->deeds, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* A view in each slot, in address space that is kept for it. */
static void make_slots(void)
{
	int i;

	for (i = 0; i < SLOTS; i++) {
		char *room = mmap(NULL, SLOT, PROT_NONE, MAP_PRIVATE |
				  MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		must(room != MAP_FAILED);
		slots[i] = room + (i * 77 + 1) * PAGE;
		must(mmap(slots[i], PAGES * PAGE, RW, MAP_SHARED | MAP_FIXED,
			  spaces[i % SPACES], 0) == slots[i]);
	}
}

static void storm_process(unsigned long seed)
{
	pthread_t thread[THREADS];
	unsigned long i;

	denied_setup();
	make_slots();
	for (i = 0; i < THREADS; i++)
		must(!pthread_create(&thread[i], NULL, storm,
				     (void *)(seed * 100 + i)));
	for (i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	_exit(0);
}

/* Processes that live for a while, are killed in the middle, and come back. */
static void run_processes(unsigned long seed, int *bad)
{
	struct random r = { seed };
	pid_t steady, fleeting;
	time_t begin = time(NULL);
	int status;

	shared->stop = 0;
	shared->deeds = 0;
	steady = fork();
	if (!steady)
		storm_process(seed);
	while (time(NULL) < begin + SECONDS ||
	       (shared->deeds < ENOUGH && time(NULL) < begin + PATIENCE)) {
		fleeting = fork();
		if (!fleeting)
			storm_process(next(&r));
		usleep(300000 + below(&r, 700000));
		kill(fleeting, SIGKILL);
		must(waitpid(fleeting, &status, 0) == fleeting);
		*bad += !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL;
	}
	shared->stop = 1;
	must(waitpid(steady, &status, 0) == steady);
	*bad += status != 0;
	printf("# %lu deeds\n", shared->deeds);
	/* Less than this is a hang. */
	*bad += shared->deeds < 50;
}

FIXTURE(storm) {
	char dummy;
};

FIXTURE_SETUP(storm) {
	int i;

	shared = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(shared != MAP_FAILED);
	myself = "/proc/self/exe";
	for (i = 0; i < SPACES; i++)
		spaces[i] = space_new(PAGES);
}

FIXTURE_TEARDOWN(storm) {
}

/* When all is quiet: what a space has must be what one finds in it. */
static long resident_found(int space)
{
	char *p = view_new(space, 0, PAGES, RW);
	unsigned long i, before = stats(space).out_allocated;
	long found = PAGES;

	for (i = 0; i < PAGES; i++)
		(void)*(volatile char *)(p + i * PAGE);
	found -= stats(space).out_allocated - before;
	munmap(p, PAGES * PAGE);
	return found;
}

/*
 * A process that was killed leaves its children (child_of_thread()), with views
 * of their own, until they are through: some moments on a busy machine.
 */
static struct avm_stats stats_when_quiet(int space)
{
	int i;

	for (i = 0; i < 200 && stats(space).out_views; i++)
		usleep(50000);
	return stats(space);
}

TEST_F(storm, everything_at_once)
{
	struct avm_stats s;
	long resident;
	int i, bad = 0;

	run_processes(20240229, &bad);
	EXPECT_EQ(0, bad);
	denied_setup();
	for (i = 0; i < SPACES; i++) {
		s = stats_when_quiet(spaces[i]);
		/* Processes are gone, and with them all views and state. */
		EXPECT_EQ(0, s.out_views);
		EXPECT_EQ(0, s.out_state_bytes);
		EXPECT_GE(PAGES, s.out_resident_pages);
		EXPECT_EQ(s.out_resident_pages,
			  s.out_allocated - s.out_discarded);
		EXPECT_LT(0, s.out_faults);
		resident = s.out_resident_pages;
		EXPECT_EQ(resident, resident_found(spaces[i]));
	}
}

TEST_F(storm, space_is_as_good_as_new_afterwards)
{
	char *p, *q;
	int bad = 0;

	run_processes(4711, &bad);
	EXPECT_EQ(0, bad);
	denied_setup();
	p = view_new(spaces[0], 0, PAGES, RW);
	q = map2(spaces[0], p, PAGES, RW, R);
	EXPECT_EQ(0, dirty(spaces[0], p, PAGES, NULL));
	memset(p, 7, PAGES * PAGE);
	EXPECT_EQ(PAGES, dirty(spaces[0], p, PAGES, NULL));
	EXPECT_EQ(0, dirty(spaces[0], q, PAGES, NULL));
	EXPECT_EQ(SIGSEGV, try_write(q + 5 * PAGE, 1));
	EXPECT_EQ(PAGES, stats(spaces[0]).out_resident_pages);
	EXPECT_EQ(0, discard(spaces[0], q, PAGES));
	EXPECT_EQ(0, stats(spaces[0]).out_resident_pages);
	EXPECT_EQ(0, p[77 * PAGE]);
	EXPECT_EQ(0, protect(spaces[0], p, PAGES, NONE));
	EXPECT_EQ(SIGSEGV, try_read(p + (PAGES - 1) * PAGE));
}

static void __attribute__((constructor)) leave_at_once(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "--exit"))
		_exit(0);
}

TEST_HARNESS_MAIN
