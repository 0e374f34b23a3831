// SPDX-License-Identifier: GPL-2.0
/*
 * What a program may try to hurt the machine with: views without end, spaces of
 * many TiB, calls over all of them, registrations by the ten thousand, traps in
 * traps until the stack is full, memory beyond its group's limit. It gets an
 * error, or is killed; then all is given back, and the space works for others.
 *
 * Elsewhere: limits and errors of memory (test_limits), counts and lengths that
 * are refused (test_errors), 16 TiB calls that are killed early (test_lifetime),
 * how long a call keeps its CPU (test_resched).
 *
 * For the full number of views: AVM_DOS_VIEWS=1000000 (make check-long; some
 * 600 MB). AVM_SEED repeats the moments of the kills.
 */
#include "cgroup.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "harness.h"

#define GB	(1ul << 30)
#define TB	(1ul << 40)
#define NOBODY	65534

/* What a child tells its parent, while it lives. */
static struct {
	volatile unsigned long n;
	volatile int ready;
} *told;

static void share(void)
{
	told = mmap(NULL, sizeof(*told), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(told != MAP_FAILED);
}

static void ready_and_wait(void)
{
	told->ready = 1;
	for (;;)
		pause();
}

static void await_ready(pid_t pid)
{
	while (!told->ready) {
		must(waitpid(pid, NULL, WNOHANG) == 0);
		usleep(1000);
	}
}

static int kill_and_wait(pid_t pid)
{
	kill(pid, SIGKILL);
	return died_by(status_of(pid));
}

static int trap(int space, const char *addr, unsigned long pages, uintptr_t entry)
{
	struct avm_trap arg = {
		.size = sizeof(arg), .addr = (uintptr_t)addr, .length = pages * PAGE,
		.entry = entry,
	};

	return call(space, AVM_IOC_TRAP, &arg);
}

/* Whether a space does what it is for. */
static int works(int space)
{
	char *p = view_new(space, 0, 4, RW);
	int ok;

	p[0] = 7;
	ok = !protect(space, p, 4, NONE) && try_read(p) == SIGSEGV &&
		!protect(space, p, 4, RW) && p[0] == 7 && !discard(space, p, 4) && !p[0] &&
		!discard(space, p, 4) && !munmap(p, 4 * PAGE);
	return ok;
}

/* ---- views without end ---- */

static unsigned long mappings_allowed(void)
{
	return get("/proc/sys/vm/max_map_count", NULL);
}

static void set_max_map_count(unsigned long n)
{
	char text[32];

	snprintf(text, sizeof(text), "%lu", n);
	put("/proc/sys/vm/max_map_count", text);
}

/* Views of a page each, side by side so that they share page tables. */
static void make_views(int space, unsigned long most)
{
	char *at = (char *)(16 * TB), *p;
	unsigned long i;

	for (i = 0; i < most; i++) {
		p = mmap(at + i * PAGE, PAGE, RW, MAP_SHARED | MAP_FIXED_NOREPLACE, space,
			 i % 1024 * PAGE);
		if (p == MAP_FAILED)
			break;
		/* With a page and a state of their own, now and then. */
		if (i % 64 == 0) {
			p[0] = 1;
			must(!protect(space, p, 1, R));
		}
		told->n = i + 1;
	}
	must(i == most || errno == ENOMEM);
	must(stats(space).out_views == i);
	ready_and_wait();
}

TEST(a_process_makes_as_many_views_as_it_can)
{
	const char *text = getenv("AVM_DOS_VIEWS");
	/* Debug kernels look through all mappings at each mmap(). */
	unsigned long old = mappings_allowed(), most = slow() ? 1024 : old;
	int space = space_new(1024);
	pid_t pid;

	share();
	if (text)
		most = strtoul(text, NULL, 10);
	if (most > old)
		set_max_map_count(most + 1000);
	pid = fork();
	if (!pid)
		make_views(space, most);
	await_ready(pid);
	printf("# %lu views\n", told->n);
	/* All that were asked for; or as many as the limit leaves, but for the program's own. */
	EXPECT_LE(most == old ? old - 1000 : most, told->n);
	EXPECT_EQ(told->n, stats(space).out_views);
	EXPECT_EQ(16, stats(space).out_resident_pages);
	/* Others are served meanwhile, and their pages go from all views. */
	denied_setup();
	EXPECT_TRUE(works(space));
	EXPECT_EQ(SIGKILL, kill_and_wait(pid));
	set_max_map_count(old);
	EXPECT_EQ(0, stats(space).out_views);
	EXPECT_EQ(0, stats(space).out_state_bytes);
	EXPECT_TRUE(works(space));
	close(space);
}

/* ---- the largest ranges ---- */

TEST(calls_over_all_of_the_largest_space)
{
	struct avm_query query = { .size = sizeof(query) };
	int space, dev = open(AVM_DEVICE, O_RDWR);
	unsigned long length = 64 * TB, pages = length / PAGE;
	char *p;

	must(dev >= 0 && !call(dev, AVM_IOC_QUERY, &query));
	denied_setup();
	space = space_new(query.out_max_size / PAGE);
	p = view_new(space, query.out_max_size / PAGE - pages, pages, RW);
	EXPECT_EQ(0, dirty(space, p, pages, NULL));
	EXPECT_EQ(0, discard(space, p, pages));
	p[0] = 1;
	p[length / 3] = 1;
	p[length - 1] = 1;
	EXPECT_EQ(3, dirty(space, p, pages, NULL));
	EXPECT_EQ(3, accessed(space, p, pages, NULL));
	EXPECT_EQ(0, dirty(space, p, pages, NULL));
	EXPECT_EQ(0, trap(space, p, pages, PAGE));
	EXPECT_EQ(-EEXIST, trap(space, p + length / 2, 1, PAGE));
	EXPECT_EQ(0, trap(space, p + length / 2, 1, 0));
	EXPECT_EQ(0, trap(space, p, pages, 0));
	EXPECT_EQ(-ENOENT, trap(space, p, pages, 0));
	EXPECT_EQ(-ENXIO, protect(space, p, pages + 1, R));
	EXPECT_EQ(-ENXIO, discard(space, p, pages + 1));
	EXPECT_EQ(3, stats(space).out_resident_pages);
	EXPECT_EQ(0, discard(space, p, pages));
	EXPECT_EQ(0, stats(space).out_resident_pages);
	munmap(p, length);
	EXPECT_TRUE(works(space));
	close(space);
	close(dev);
}

TEST(populate_of_16_TiB_ends_at_the_limit)
{
	struct rlimit limit = { 2048 * PAGE, 2048 * PAGE };
	struct avm_create arg = { .size = sizeof(arg), .length = 16 * TB };
	int space, dev = open(AVM_DEVICE, O_RDWR);
	struct avm_range range;
	struct avm_batch out;
	char *p;

	must(dev >= 0 && !setrlimit(RLIMIT_MEMLOCK, &limit) && !setresuid(NOBODY, NOBODY, NOBODY));
	space = ioctl(dev, AVM_IOC_CREATE, &arg);
	must(space >= 0);
	p = view_new(space, 0, 16 * TB / PAGE, RW);
	range = (struct avm_range){ (uintptr_t)p, 16 * TB, 0, 0 };
	EXPECT_EQ(-ENOMEM, batch(space, AVM_IOC_POPULATE, &range, 1, &out));
	EXPECT_EQ(2048 * PAGE, out.out_bytes);
	EXPECT_EQ(2048, stats(space).out_resident_pages);
	EXPECT_EQ(0, discard(space, p, 16 * TB / PAGE));
	EXPECT_EQ(0, stats(space).out_resident_pages);
}

/* ---- killed at any moment ---- */

#define HOLES	512ul		/* pages from one page of the space to the next */
#define NODES	2000ul
#define VIEWS	3000ul
#define MILLION	(1u << 20)

static struct avm_range *million;

static void fill(char *p, unsigned long step, unsigned long pages, unsigned long span,
		 uint32_t prot)
{
	unsigned int i;

	for (i = 0; i < MILLION; i++)
		million[i] = (struct avm_range){
			(uintptr_t)p + i * step % span * PAGE, pages * PAGE, prot, 0
		};
}

static void long_protect(int space, char *p)
{
	must(!protect(space, p, NODES * HOLES, NONE));
	must(!protect(space, p, NODES * HOLES, RW));
}

static void long_protect_vector(int space, char *p)
{
	fill(p, 7 * HOLES + 1, 1, NODES * HOLES, R);
	must(!batch(space, AVM_IOC_PROTECT, million, MILLION, NULL));
}

static void long_scan(int space, char *p)
{
	must(dirty(space, p, NODES * HOLES, NULL) >= 0);
}

static void long_scan_bitmap(int space, char *p)
{
	static uint64_t bits[NODES * HOLES / 64];

	must(dirty(space, p, NODES * HOLES, bits) >= 0);
}

static void long_populate(int space, char *p)
{
	fill(p, HOLES, 1, NODES * HOLES, 0);
	must(!batch(space, AVM_IOC_POPULATE, million, MILLION, NULL));
}

/* All of the space, again and again, and nothing in it. */
static void long_discard(int space, char *p)
{
	fill(p, 0, NODES * HOLES, 1, 0);
	must(!batch(space, AVM_IOC_DISCARD, million, MILLION, NULL));
}

static void long_populate_discard(int space, char *p)
{
	must(!populate(space, p, 4096));
	must(!discard(space, p, NODES * HOLES));
}

static void long_trap(int space, char *p)
{
	unsigned int i;

	for (i = 4096; i--;)
		must(!trap(space, p + 2 * i * PAGE, 1, PAGE));
	must(!trap(space, p, NODES * HOLES, 0));
}

static void long_map2(int space, char *p)
{
	struct avm_map2 arg = {
		.size = sizeof(arg), .addr = (uintptr_t)p, .length = NODES * HOLES * PAGE,
		.max_prot = RW, .prot = R,
	};

	/* Until there are as many mappings as there may be; then again, in vain. */
	while (!call(space, AVM_IOC_MAP2, &arg)) {
		must(!munmap((char *)(uintptr_t)arg.out_addr + PAGE, PAGE));
		told->n++;
	}
	must(told->n);
}

static void long_munmap(int space, char *p)
{
	unsigned long i;

	/* Holes from the second time on. */
	populate(space, p, 8192);
	for (i = 0; i < VIEWS; i++)
		must(!munmap(p + 2 * i * PAGE, PAGE));
}

static const struct {
	const char *name;
	void (*run)(int space, char *p);
} long_calls[] = {
	{ "protect", long_protect },
	{ "protect of a million ranges", long_protect_vector },
	{ "scan", long_scan },
	{ "scan to a bitmap", long_scan_bitmap },
	{ "populate of a million ranges", long_populate },
	{ "a million discards of all", long_discard },
	{ "populate and discard", long_populate_discard },
	{ "trap", long_trap },
	{ "map2", long_map2 },
	{ "munmap", long_munmap },
};

/* A table, a node of the index and a page here and there; then empty nodes. */
static void long_run(unsigned int call, int space)
{
	char *p = view_new(space, 0, NODES * HOLES, RW);
	unsigned long i;

	for (i = 0; i < NODES; i += slow() ? 8 : 1)
		p[i * HOLES * PAGE] = 1;
	discard(space, p, NODES * HOLES / 2);
	told->ready = 1;
	for (;;)
		long_calls[call].run(space, p);
}

static uint64_t seed_state;

static unsigned int below(unsigned int n)
{
	seed_state = seed_state * 6364136223846793005ull + 1442695040888963407ull;
	return (seed_state >> 33) % n;
}

static void seed_begin(void)
{
	const char *text = getenv("AVM_SEED");

	seed_state = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);
	printf("# AVM_SEED=%llu\n", (unsigned long long)seed_state);
}

static long milliseconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

TEST(a_process_killed_at_any_moment_leaves_nothing)
{
	int space = space_new(NODES * HOLES), round;
	long began, longest;
	unsigned int i;
	pid_t pid;

	share();
	seed_begin();
	denied_setup();
	million = malloc(MILLION * sizeof(*million));
	must(million);
	for (i = 0; i < sizeof(long_calls) / sizeof(long_calls[0]); i++) {
		for (round = 0, longest = 0; round < (slow() ? 1 : 3); round++) {
			told->ready = 0;
			told->n = 0;
			pid = fork();
			if (!pid)
				long_run(i, space);
			await_ready(pid);
			usleep(below(200000));
			began = milliseconds();
			EXPECT_EQ(SIGKILL, kill_and_wait(pid));
			if (milliseconds() - began > longest)
				longest = milliseconds() - began;
			EXPECT_EQ(0, stats(space).out_views) TH_LOG("%s", long_calls[i].name);
			EXPECT_EQ(0, stats(space).out_state_bytes);
			EXPECT_TRUE(works(space)) TH_LOG("after %s", long_calls[i].name);
		}
		printf("# %s: gone %ld ms after the signal at most\n", long_calls[i].name,
		       longest);
		EXPECT_LT(longest, slow() ? 20000 : 2000);
	}
	free(million);
	close(space);
}

/* ---- traps in traps ---- */

#define DEEP	100000ul

static char *deep;
static int deep_space;

extern const char deeper_entry[];
void deeper(void);

asm("	.pushsection .text\n"
	"	.globl deeper_entry\n"
	"deeper_entry:\n"
	"	and $-16, %rsp\n"
	"	call deeper\n"
	"	.popsection\n");

/* Never returns: the next page is closed, too. */
void deeper(void)
{
	told->n++;
	*(volatile char *)(deep + told->n % DEEP * PAGE) = 1;
	_exit(1);
}

static void nest(void)
{
	struct rlimit little = { 1 << 20, 1 << 20 };

	if (slow())
		must(!setrlimit(RLIMIT_STACK, &little));
	deep_space = space_new(DEEP);
	deep = view_new(deep_space, 0, DEEP, RW);
	must(!protect(deep_space, deep, DEEP, NONE));
	must(!trap(deep_space, deep, DEEP, (uintptr_t)deeper_entry));
	told->n = 0;
	*(volatile char *)deep = 1;
	_exit(2);
}

TEST(traps_in_traps_end_where_the_stack_ends)
{
	pid_t pid;

	share();
	pid = fork();
	if (!pid) {
		default_segv();
		nest();
	}
	EXPECT_EQ(SIGSEGV, died_by(status_of(pid)));
	printf("# %lu deep\n", told->n);
	EXPECT_LT(slow() ? 1250 : 10000, told->n);
}

/* ---- registrations by the ten thousand ---- */

#define FULL	4096ul		/* registrations that a view may have */

static void register_many(int space, unsigned int views)
{
	unsigned long i;
	char *p;

	while (views--) {
		p = view_new(space, 0, 2 * FULL + 2, RW);
		for (i = 0; i < FULL; i++)
			must(!trap(space, p + 2 * i * PAGE, 1, PAGE));
		must(trap(space, p + 2 * FULL * PAGE, 1, PAGE) == -ENOSPC);
		told->n += FULL;
	}
	ready_and_wait();
}

TEST(registrations_by_the_ten_thousand_go_with_the_process)
{
	int space = space_new(2 * FULL + 2);
	pid_t pid;

	share();
	denied_setup();
	pid = fork();
	if (!pid)
		register_many(space, 8);
	await_ready(pid);
	EXPECT_EQ(8 * FULL, told->n);
	EXPECT_EQ(SIGKILL, kill_and_wait(pid));
	EXPECT_EQ(0, stats(space).out_views);
	EXPECT_TRUE(works(space));
	close(space);
}

/* ---- the out-of-memory killer of a memory cgroup ---- */

/* Most of what the group may have, in a space; then what has to be had. */
static void be_guilty(void)
{
	const unsigned long pages = 3000;
	int space = space_new(pages);
	char *p = view_new(space, 0, pages, RW), *own;
	unsigned long i;

	own = mmap(NULL, 16 << 20, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	must(own != MAP_FAILED);
	put(GROUP "/cgroup.procs", "0");
	put(GROUP "/memory.max", "16777216");
	must(!populate(space, p, pages));
	told->n = stats(space).out_resident_pages;
	for (i = 0; i < 16 << 20; i += PAGE)
		own[i] = 1;
	_exit(0);
}

/* The killer's report is no error here; whatever taints the kernel still shows. */
static void console(const char *level)
{
	put("/proc/sys/kernel/printk", level);
}

TEST(the_killer_of_a_memory_cgroup_takes_the_guilty_and_all_it_had)
{
	long kills, before, left = 0;
	int witness = space_new(4), i;
	pid_t pid;

	share();
	denied_setup();
	put("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	must(!mkdir(GROUP, 0755) || errno == EEXIST);
	kills = get(GROUP "/memory.events", "oom_kill ");
	before = get(GROUP "/memory.current", NULL);
	console("4");
	pid = fork();
	if (!pid)
		be_guilty();
	EXPECT_EQ(SIGKILL, died_by(status_of(pid)));
	console("7");
	EXPECT_EQ(3000, told->n);
	EXPECT_EQ(kills + 1, get(GROUP "/memory.events", "oom_kill "));
	for (i = 0; i < 50; i++) {
		left = get(GROUP "/memory.current", NULL) - before;
		if (left < 512 << 10)
			break;
		usleep(100000);
	}
	printf("# %lu pages were in views; %ld bytes left\n", told->n, left);
	EXPECT_GT(512 << 10, left);
	EXPECT_EQ(0, rmdir(GROUP));
	EXPECT_TRUE(works(witness));
	close(witness);
}

TEST_HARNESS_MAIN
