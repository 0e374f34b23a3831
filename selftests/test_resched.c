// SPDX-License-Identifier: GPL-2.0
/*
 * The largest calls there are let others have the CPU: how long each keeps it
 * is printed, in instructions, and is at most WATCH_MOST (some 5 million: a few
 * ms). Munmap is core's, which lets
 * nobody in for as long as it takes to free page tables and VMAs: there it is no
 * more than for as many mappings of an ordinary file.
 *
 * What is large: ranges of TiB, a million ranges, mappings by the ten thousand,
 * an index with many empty nodes, thousands of registrations.
 */
#include "avmtest.h"
#include "watch.h"

#include <sys/resource.h>
#include <sys/syscall.h>

#include "harness.h"

#define GB	(1ul << 30)
#define TB	(1ul << 40)
#define MAPS	30000ul		/* below vm.max_map_count */

/* Run something, print how long it kept the CPU, and whether that is too long. */
#define WATCH(what, expression) do {						\
	long began, took;							\
	watch.longest = 0;							\
	watch.wakes = 0;							\
	began = watch_now();							\
	expression;								\
	took = watch_now() - began;						\
	EXPECT_TRUE(fine(what, took));						\
} while (0)

/* The same, with as long as @peer keeps the CPU allowed, too. */
#define WATCH_AS(peer, what, expression) do {					\
	watch.longest = 0;							\
	peer;									\
	usleep(1000);								\
	most = watch.longest + watch.longest / 8;				\
	printf("# %-52s %11ld\n", "a file's mappings:", watch.longest);		\
	WATCH(what, expression);						\
} while (0)

static long most;

static bool fine(const char *what, long took)
{
	long limit = most > WATCH_MOST ? most : WATCH_MOST;

	most = 0;
	/* The thread that watches has to have its turn. */
	usleep(1000);
	printf("# %-52s %11ld of %13ld instructions\n", what, watch.longest, took);
	fflush(stdout);
	return watch.wakes && watch.longest <= limit;
}

FIXTURE(resched) {
	int space;
};

FIXTURE_SETUP(resched) {
	if (!watch_is_exact())
		SKIP(return, "needs a machine that counts instructions");
	denied_setup();
	watch_begin();
}

FIXTURE_TEARDOWN(resched) {
	if (watch.thread)
		watch_end();
}

/* A view at a fixed place: adjacent to another. */
static void view_at(int space, char *at, unsigned long first, unsigned long pages)
{
	must(mmap(at, pages * PAGE, RW, MAP_SHARED | MAP_FIXED, space, first * PAGE) == at);
}

/* An ordinary file, in memory. */
static int file_new(unsigned long pages)
{
	int fd = memfd_create("peer", 0);

	must(fd >= 0 && !ftruncate(fd, pages * PAGE));
	return fd;
}

/* @n mappings of one page each, side by side; what is mapped backwards cannot be merged. */
static char *side_by_side(int fd, unsigned long n, bool backwards)
{
	char *at = mmap(NULL, n * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			-1, 0);
	unsigned long i;

	must(at != MAP_FAILED);
	for (i = 0; i < n; i++)
		view_at(fd, at + i * PAGE, backwards ? n - 1 - i : i, 1);
	return at;
}

/* A TiB of a file, with a page table in each GiB, as a protect of it leaves. */
static char *file_TB(int fd)
{
	char *at = view_new(fd, 0, TB / PAGE, RW);
	unsigned long i;

	for (i = 0; i < TB; i += GB)
		at[i] = 1;
	return at;
}

static int trap(int space, const char *addr, unsigned long pages, unsigned long entry)
{
	struct avm_trap arg = {
		.size = sizeof(arg), .addr = (uintptr_t)addr, .length = pages * PAGE,
		.entry = entry,
	};

	return call(space, AVM_IOC_TRAP, &arg);
}

TEST_F(resched, a_space_of_a_TiB)
{
	unsigned long pages = TB / PAGE;
	int space = space_new(pages);
	char *p = view_new(space, 0, pages, RW), *peer;
	uint64_t *bitmap = malloc(pages / 8);
	int file;

	must(bitmap);
	p[0] = 1;
	p[TB / 2] = 1;
	WATCH("protect 1 TiB", EXPECT_EQ(0, protect(space, p, pages, R)));
	WATCH("protect 1 TiB again", EXPECT_EQ(0, protect(space, p, pages, RW)));
	WATCH("scan 1 TiB, a count", EXPECT_EQ(2, dirty(space, p, pages, NULL)));
	WATCH("scan 128 GiB, a bitmap", EXPECT_EQ(0, dirty(space, p, pages / 8, bitmap)));
	p[0] = 1;
	WATCH("discard 1 TiB", EXPECT_EQ(0, discard(space, p, pages)));
	WATCH("discard 1 TiB again", EXPECT_EQ(0, discard(space, p, pages)));
	file = file_new(pages);
	peer = file_TB(file);
	WATCH_AS(munmap(peer, TB), "munmap 1 TiB", EXPECT_EQ(0, munmap(p, TB)));
	close(file);
	WATCH("close 1 TiB", close(space));
	free(bitmap);
}

TEST_F(resched, the_largest_space_untouched)
{
	unsigned long length = 64 * TB, pages = length / PAGE;
	struct avm_stats now;
	int space = space_new(pages);
	char *p = view_new(space, 0, pages, RW);

	WATCH("scan 64 TiB", EXPECT_EQ(0, dirty(space, p, pages, NULL)));
	p[0] = 1;
	p[length / 2] = 1;
	p[length - 1] = 1;
	WATCH("scan 64 TiB with three pages", EXPECT_EQ(3, dirty(space, p, pages, NULL)));
	WATCH("discard 64 TiB", EXPECT_EQ(0, discard(space, p, pages)));
	WATCH("stats", now = stats(space));
	EXPECT_EQ(0, now.out_resident_pages);
	WATCH("munmap 64 TiB", munmap(p, length));
	WATCH("close 64 TiB", close(space));
}

TEST_F(resched, many_mappings)
{
	int space = space_new(MAPS), file = file_new(MAPS);
	char *p = side_by_side(space, MAPS, false), *q, *peer;
	unsigned long i;

	WATCH("protect 30,000 views", EXPECT_EQ(0, protect(space, p, MAPS, R)));
	WATCH("protect 30,000 views again", EXPECT_EQ(0, protect(space, p, MAPS, RW)));
	WATCH("protect 30,000 views, not allowed",
	      EXPECT_EQ(-EACCES, protect(space, p, MAPS, RX)));
	for (i = 0; i < MAPS; i += 16)
		p[i * PAGE] = 1;
	WATCH("scan 30,000 views", EXPECT_EQ(MAPS / 16, dirty(space, p, MAPS, NULL)));
	/* 64 parts at a time, of all views each. */
	WATCH("discard 1,000 of 30,000 views", EXPECT_EQ(0, discard(space, p, 1000)));
	WATCH("populate 1,000 of 30,000 views", EXPECT_EQ(0, populate(space, p, 1000)));
	WATCH("trap in 30,000 views", EXPECT_EQ(-ENXIO, trap(space, p, MAPS, PAGE)));
	for (i = 0; i < MAPS; i += 2)
		must(!trap(space, p + i * PAGE, 1, PAGE));
	WATCH("untrap 30,000 views", EXPECT_EQ(0, trap(space, p, MAPS, 0)));
	WATCH("untrap 30,000 views again", EXPECT_EQ(-ENOENT, trap(space, p, MAPS, 0)));
	q = map2(space, p, 1, RW, RW);
	peer = side_by_side(file, MAPS, true);
	WATCH_AS(munmap(peer, MAPS * PAGE), "munmap 30,000 views",
		 EXPECT_EQ(0, munmap(p, MAPS * PAGE)));
	close(file);
	munmap(q, PAGE);
	WATCH("close", close(space));
}

TEST_F(resched, one_view_of_many_mappings)
{
	int space = space_new(MAPS), file = file_new(MAPS);
	char *p = view_new(space, 0, MAPS, RW), *peer;
	unsigned long i;

	for (i = 0; i < MAPS; i += 2)
		must(!madvise(p + i * PAGE, PAGE, MADV_RANDOM));
	WATCH("trap in 30,000 parts of a view", EXPECT_EQ(0, trap(space, p, MAPS, PAGE)));
	WATCH("untrap 30,000 parts of a view", EXPECT_EQ(0, trap(space, p, MAPS, 0)));
	WATCH("protect 30,000 parts of a view", EXPECT_EQ(0, protect(space, p, MAPS, R)));
	peer = side_by_side(file, MAPS, true);
	WATCH_AS(munmap(peer, MAPS * PAGE), "munmap 30,000 parts of a view",
		 EXPECT_EQ(0, munmap(p, MAPS * PAGE)));
	close(file);
	close(space);
}

TEST_F(resched, an_index_of_empty_nodes)
{
	const unsigned long n = 10000, step = PAGE / 8;
	struct avm_range *ranges = calloc(n, sizeof(*ranges));
	int space = space_new(n * step);
	char *p = view_new(space, 0, n * step, RW);
	unsigned long i;

	must(ranges);
	for (i = 0; i < n; i++)
		ranges[i] = (struct avm_range){ (uintptr_t)p + i * step * PAGE, PAGE, 0, 0 };
	WATCH("populate 10,000 pages, a node each",
	      EXPECT_EQ(0, batch(space, AVM_IOC_POPULATE, ranges, n, NULL)));
	WATCH("discard them one by one",
	      EXPECT_EQ(0, batch(space, AVM_IOC_DISCARD, ranges, n, NULL)));
	WATCH("discard 10,000 empty nodes", EXPECT_EQ(0, discard(space, p, n * step)));
	p[n * step * PAGE - 1] = 1;
	WATCH("discard 10,000 empty nodes and a page",
	      EXPECT_EQ(0, discard(space, p, n * step)));
	for (i = 0; i < n; i++)
		ranges[i].prot = R;
	WATCH("protect 10,000 pages, a chunk each",
	      EXPECT_EQ(0, batch(space, AVM_IOC_PROTECT, ranges, n, NULL)));
	WATCH("munmap 10,000 chunks", munmap(p, n * step * PAGE));
	WATCH("close 10,000 empty nodes", close(space));
	free(ranges);
}

TEST_F(resched, a_million_ranges)
{
	const unsigned long n = 1ul << 20;
	struct avm_range *ranges = calloc(n, sizeof(*ranges));
	int space = space_new(4096);
	char *p = view_new(space, 0, 4096, RW);
	struct avm_batch out;
	unsigned long i;

	must(ranges && !populate(space, p, 4096));
	for (i = 0; i < n; i++)
		ranges[i] = (struct avm_range){ (uintptr_t)p + i * 7 % 4096 * PAGE, PAGE, 0, 0 };
	WATCH("populate a million ranges",
	      EXPECT_EQ(0, batch(space, AVM_IOC_POPULATE, ranges, n, &out)));
	EXPECT_EQ(n, out.out_done);
	WATCH("discard a million ranges",
	      EXPECT_EQ(0, batch(space, AVM_IOC_DISCARD, ranges, n, &out)));
	EXPECT_EQ(n, out.out_done);
	for (i = 0; i < n; i++)
		ranges[i].prot = i % 3 ? R : NONE;
	WATCH("protect a million ranges",
	      EXPECT_EQ(0, batch(space, AVM_IOC_PROTECT, ranges, n, &out)));
	EXPECT_EQ(n, out.out_done);
	free(ranges);
	munmap(p, 4096 * PAGE);
	close(space);
}

TEST_F(resched, many_pages)
{
	const unsigned long pages = 32768; /* one page of bits */
	int space = space_new(pages);
	char *p = view_new(space, 0, pages, RW), *q;
	uint64_t *bitmap = malloc(pages / 8);
	struct avm_scan arg = {
		.size = sizeof(arg), .flags = AVM_SCAN_RANGES | AVM_SCAN_PROTECT,
		.addr = (uintptr_t)p, .length = pages * PAGE,
		.match = AVM_PAGE_DIRTY, .clear = AVM_PAGE_DIRTY, .prot = NONE,
		.buffer_size = PAGE,
	};
	unsigned long i;

	must(bitmap);
	WATCH("populate 32,768 pages", EXPECT_EQ(0, populate(space, p, pages)));
	for (i = 0; i < pages; i++)
		p[i * PAGE] = 1;
	WATCH("protect 32,768 pages", EXPECT_EQ(0, protect(space, p, pages, R)));
	WATCH("open 32,768 pages", EXPECT_EQ(0, protect(space, p, pages, RW)));
	WATCH("scan 32,768 pages", EXPECT_EQ(pages, scan(space, p, pages, AVM_PAGE_DIRTY, 0,
							 bitmap)));
	/* The answer is in a page that the scan closes: it is put back. */
	arg.buffer = (uintptr_t)p;
	WATCH("scan that cannot report 32,768 pages",
	      EXPECT_EQ(-EFAULT, call(space, AVM_IOC_SCAN, &arg)));
	EXPECT_EQ(pages, scan(space, p, pages, AVM_PAGE_DIRTY, 0, bitmap));
	must(!protect(space, p, pages, RW));
	WATCH("mremap 32,768 pages",
	      q = mremap(p, pages * PAGE, pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
			 view_new(space, 0, pages, RW)));
	must(q != MAP_FAILED);
	WATCH("discard 32,768 pages", EXPECT_EQ(0, discard(space, q, pages)));
	must(!populate(space, q, pages));
	WATCH("munmap 32,768 pages", munmap(q, pages * PAGE));
	WATCH("close 32,768 pages", close(space));
	free(bitmap);
}

TEST_F(resched, many_registrations)
{
	const unsigned long n = 4096;
	int space = space_new(2 * n);
	char *p = view_new(space, 0, 2 * n, RW);
	unsigned long i;

	WATCH("4,096 registrations, each a new array", {
		for (i = n; i--;)
			must(!trap(space, p + 2 * i * PAGE, 1, PAGE));
	});
	WATCH("one too many", EXPECT_EQ(-ENOSPC, trap(space, p + PAGE, 1, PAGE)));
	WATCH("4,096 away, one by one", {
		for (i = 0; i < n; i++)
			must(!trap(space, p + 2 * i * PAGE, 1, 0));
	});
	for (i = 0; i < n; i++)
		must(!trap(space, p + 2 * i * PAGE, 1, PAGE));
	WATCH("4,096 away at once", EXPECT_EQ(0, trap(space, p, 2 * n, 0)));
	munmap(p, 2 * n * PAGE);
	close(space);
}

TEST_HARNESS_MAIN
