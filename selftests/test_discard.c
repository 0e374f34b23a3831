// SPDX-License-Identifier: GPL-2.0
/*
 * DISCARD: pages go from every view, in every process, before the call
 * returns; they read as zeros, are clean, keep their protections, and their
 * memory is free again.
 */
#include "avmtest.h"

#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <time.h>

#include "harness.h"

#define PAGES	1600ul

FIXTURE(discard) {
	int space;
	char *view;
};

FIXTURE_SETUP(discard) {
	self->space = space_new(1ul << 28);
	self->view = view_new(self->space, 0, PAGES, RW);
	denied_setup();
}

FIXTURE_TEARDOWN(discard) {
	munmap(self->view, PAGES * PAGE);
	close(self->space);
}

static int zero(const char *page)
{
	static const char zeros[PAGE];

	return !memcmp(page, zeros, PAGE);
}

static unsigned long resident(int space)
{
	return stats(space).out_resident_pages;
}

/* More than the module does before it lets others have their turn. */
TEST_F(discard, more_pages_than_one_round_takes_go_by_one_call)
{
	const unsigned long pages = 65536 + 100;
	char *view = view_new(self->space, PAGES, pages, RW);
	struct avm_range ranges[] = {
		{ .addr = (uintptr_t)view, .length = PAGE },
		{ .addr = (uintptr_t)view + PAGE, .length = (pages - 1) * PAGE },
	};
	struct avm_batch out;

	ASSERT_EQ(0, populate(self->space, view, pages));
	view[0] = 1;
	view[(pages - 1) * PAGE] = 1;
	EXPECT_EQ(pages, resident(self->space));
	ASSERT_EQ(0, batch(self->space, AVM_IOC_DISCARD, ranges, 2, &out));
	EXPECT_EQ(2, out.out_done);
	EXPECT_EQ(0, out.out_bytes);
	EXPECT_EQ(0, resident(self->space));
	EXPECT_TRUE(zero(view));
	EXPECT_TRUE(zero(view + (pages - 1) * PAGE));
}

TEST_F(discard, pages_read_as_zeros_and_can_be_used_again)
{
	memset(self->view, 7, 4 * PAGE);
	ASSERT_EQ(0, discard(self->space, self->view + PAGE, 2));
	EXPECT_EQ(7, self->view[PAGE - 1]);
	EXPECT_TRUE(zero(self->view + PAGE));
	EXPECT_TRUE(zero(self->view + 2 * PAGE));
	EXPECT_EQ(7, self->view[3 * PAGE]);
	self->view[PAGE] = 8;
	EXPECT_EQ(8, self->view[PAGE]);
	EXPECT_EQ(0, self->view[PAGE + 1]);
}

TEST_F(discard, memory_is_given_back)
{
	memset(self->view, 7, PAGES * PAGE);
	ASSERT_EQ(PAGES, resident(self->space));
	ASSERT_EQ(0, discard(self->space, self->view, 600));
	EXPECT_EQ(PAGES - 600, resident(self->space));
	EXPECT_EQ(600, stats(self->space).out_discarded);
	/* What is not there is discarded at no cost, and counted no more. */
	ASSERT_EQ(0, discard(self->space, self->view, 600));
	EXPECT_EQ(600, stats(self->space).out_discarded);
	ASSERT_EQ(0, discard(self->space, self->view, PAGES));
	EXPECT_EQ(0, resident(self->space));
}

TEST_F(discard, machine_gets_the_memory)
{
	/* More than a GB in all, and more than the tests' machine has. */
	unsigned int rounds = slow() ? 2 : 17, round;

	for (round = 0; round < rounds; round++) {
		char *p = view_new(self->space, 1 << 20, 1 << 14, RW);

		ASSERT_EQ(0, populate(self->space, p, 1 << 14));
		ASSERT_EQ(0, discard(self->space, p, 1 << 14));
		munmap(p, (1ul << 14) * PAGE);
	}
	EXPECT_EQ(0, resident(self->space));
	EXPECT_EQ(rounds << 14, stats(self->space).out_discarded);
}

TEST_F(discard, every_view_loses_the_pages)
{
	char *second = map2(self->space, self->view, PAGES, RW, RW);
	char *late = view_new(self->space, 500, 40, RW);
	char *reader = map2(self->space, self->view, PAGES, R, R);
	unsigned long i;

	memset(self->view, 7, PAGES * PAGE);
	for (i = 500; i < 540; i++)
		EXPECT_EQ(7, second[i * PAGE] & late[(i - 500) * PAGE] &
			  reader[i * PAGE]);
	/* Through a view of a later part, at another address. */
	ASSERT_EQ(0, discard(self->space, late + 2 * PAGE, 30));
	for (i = 502; i < 532; i++) {
		EXPECT_TRUE(zero(self->view + i * PAGE));
		EXPECT_TRUE(zero(second + i * PAGE));
		EXPECT_TRUE(zero(reader + i * PAGE));
		EXPECT_TRUE(zero(late + (i - 500) * PAGE));
	}
	EXPECT_EQ(7, second[501 * PAGE] & late[PAGE] & reader[501 * PAGE]);
	EXPECT_EQ(7, second[532 * PAGE] & late[32 * PAGE] & reader[532 * PAGE]);
	/* And they show the same new pages. */
	second[510 * PAGE] = 9;
	EXPECT_EQ(9, late[10 * PAGE] & reader[510 * PAGE]);
}

/* In a child: a view of its own, that the parent then discards. */
static int child_view(int space, int from_parent, int to_parent)
{
	char *p = view_new(space, 0, 4, RW), c = 0;
	int ok;

	p[2 * PAGE] = 5;
	ok = p[PAGE] == 7;
	must(write(to_parent, &c, 1) == 1 && read(from_parent, &c, 1) == 1);
	ok &= zero(p) && zero(p + PAGE) && zero(p + 2 * PAGE) &&
		p[3 * PAGE] == 7;
	ok &= dirty(space, p, 4, NULL) == 0;
	p[PAGE] = 8;
	return !ok;
}

TEST_F(discard, views_of_other_processes_lose_the_pages)
{
	int down[2], up[2], status;
	char c = 0;
	pid_t pid;

	memset(self->view, 7, 4 * PAGE);
	must(!pipe(down) && !pipe(up));
	pid = fork();
	if (!pid)
		_exit(child_view(self->space, down[0], up[1]));
	must(read(up[0], &c, 1) == 1);
	ASSERT_EQ(0, discard(self->space, self->view, 3));
	must(write(down[1], &c, 1) == 1);
	must(waitpid(pid, &status, 0) == pid);
	EXPECT_EQ(0, status);
	EXPECT_EQ(8, self->view[PAGE]);
	EXPECT_EQ(4, resident(self->space));
}

TEST_F(discard, pages_are_clean_in_every_view)
{
	char *second = map2(self->space, self->view, PAGES, RW, RW);
	uint64_t bitmap[(PAGES + 63) / 64];

	memset(self->view, 7, 20 * PAGE);
	memset(second, 7, 20 * PAGE);
	/* Bits that are in the page table, and bits that were carried over. */
	must(!protect(self->space, self->view + 4 * PAGE, 4, NONE));
	must(!protect(self->space, second + 2 * PAGE, 4, NONE));
	ASSERT_EQ(0, discard(self->space, self->view + PAGE, 10));
	EXPECT_EQ(10, scan(self->space, self->view, PAGES,
			   AVM_PAGE_DIRTY | AVM_PAGE_ACCESSED, 0, bitmap));
	EXPECT_EQ(~(0x3ffull << 1) & 0xfffff, bitmap[0]);
	EXPECT_EQ(10, scan(self->space, second, PAGES,
			   AVM_PAGE_DIRTY | AVM_PAGE_ACCESSED, 0, bitmap));
	EXPECT_EQ(~(0x3ffull << 1) & 0xfffff, bitmap[0]);
}

TEST_F(discard, other_pages_stay_dirty)
{
	uint64_t bitmap[(PAGES + 63) / 64];
	unsigned long i;

	for (i = 0; i < PAGES; i += 2)
		self->view[i * PAGE] = 1;
	/* Every fourth, and those never touched beside them. */
	for (i = 0; i < PAGES; i += 4)
		ASSERT_EQ(0, discard(self->space, self->view + i * PAGE, 2));
	EXPECT_EQ(PAGES / 4, dirty(self->space, self->view, PAGES, bitmap));
	for (i = 0; i < PAGES; i++)
		EXPECT_EQ(i % 4 == 2, bit(bitmap, i));
	EXPECT_EQ(PAGES / 4, resident(self->space));
}

TEST_F(discard, protections_are_kept)
{
	static const int prots[] = { NONE, R, RW };
	char *second = map2(self->space, self->view, 9, RW, RW);
	unsigned int i, touched;

	for (touched = 0; touched < 2; touched++) {
		must(!protect(self->space, self->view, 9, RW));
		memset(self->view, 7, 9 * PAGE);
		for (i = 0; i < 9; i++) {
			must(!protect(self->space, self->view + i * PAGE, 1,
				      prots[i % 3]));
			must(!protect(self->space, second + i * PAGE, 1,
				      prots[i / 3]));
		}
		ASSERT_EQ(0, discard(self->space, self->view, 9));
		for (i = 0; i < 9; i++) {
			char *a = self->view + i * PAGE, *b = second + i * PAGE;

			EXPECT_EQ(!(prots[i % 3] & R), !!try_read(a));
			EXPECT_EQ(!(prots[i / 3] & R), !!try_read(b));
			EXPECT_EQ(prots[i % 3] != RW, !!try_write(a, 1));
			EXPECT_EQ(prots[i / 3] != RW, !!try_write(b, 1));
		}
		must(!protect(self->space, second, 9, RW));
	}
}

TEST_F(discard, closed_pages_can_be_discarded)
{
	memset(self->view, 7, 2 * PAGE);
	must(!protect(self->space, self->view, 2, NONE));
	ASSERT_EQ(0, discard(self->space, self->view, 1));
	EXPECT_EQ(1, resident(self->space));
	EXPECT_EQ(SIGSEGV, try_read(self->view));
	must(!protect(self->space, self->view, 2, R));
	EXPECT_TRUE(zero(self->view));
	EXPECT_EQ(7, self->view[PAGE]);
}

TEST_F(discard, range_across_page_tables_ends_exactly)
{
	static const struct { unsigned long first, last; } ranges[] = {
		{ 510, 513 }, { 511, 511 }, { 512, 512 }, { 100, 1500 },
		{ 0, 511 }, { 512, 1023 }, { 1023, 1024 }, { 0, PAGES - 1 },
	};
	unsigned long r, i, bad = 0;

	for (r = 0; r < sizeof(ranges) / sizeof(ranges[0]); r++) {
		unsigned long n = ranges[r].last - ranges[r].first + 1;

		for (i = 0; i < PAGES; i++)
			self->view[i * PAGE] = 1;
		ASSERT_EQ(0, discard(self->space,
				     self->view + ranges[r].first * PAGE, n));
		EXPECT_EQ(PAGES - n, resident(self->space));
		for (i = 0; i < PAGES; i++)
			bad += self->view[i * PAGE] !=
				(i < ranges[r].first || i > ranges[r].last);
		EXPECT_EQ(0, bad);
	}
}

TEST_F(discard, vector_of_scattered_ranges)
{
	struct avm_range ranges[200];
	struct avm_batch out;
	unsigned long i, bad = 0;

	for (i = 0; i < PAGES; i++)
		self->view[i * PAGE] = 1;
	/* In no order, each of one page, 7 apart. */
	for (i = 0; i < 200; i++)
		ranges[i] = (struct avm_range) {
			.addr = (uintptr_t)self->view + i * 37 % 200 * 7 * PAGE,
			.length = PAGE,
		};
	ASSERT_EQ(0, batch(self->space, AVM_IOC_DISCARD, ranges, 200, &out));
	EXPECT_EQ(200, out.out_done);
	EXPECT_EQ(0, out.out_bytes);
	EXPECT_EQ(PAGES - 200, resident(self->space));
	for (i = 0; i < PAGES; i++)
		bad += self->view[i * PAGE] != (i >= 1400 || i % 7);
	EXPECT_EQ(0, bad);
}

TEST_F(discard, bad_range_ends_the_vector_and_says_where)
{
	struct avm_range ranges[] = {
		{ (uintptr_t)self->view, PAGE, 0, 0 },
		{ (uintptr_t)self->view + 2 * PAGE, PAGE, 0, 0 },
		{ (uintptr_t)self->view + PAGE, PAGE, R, 0 },
		{ (uintptr_t)self->view + 3 * PAGE, PAGE, 0, 0 },
	};
	struct avm_batch out;

	memset(self->view, 7, 4 * PAGE);
	EXPECT_EQ(-EINVAL, batch(self->space, AVM_IOC_DISCARD, ranges, 4,
				 &out));
	EXPECT_EQ(2, out.out_done);
	EXPECT_EQ(0, self->view[0] | self->view[2 * PAGE]);
	EXPECT_EQ(7, self->view[PAGE] & self->view[3 * PAGE]);
}

TEST_F(discard, huge_sparse_range_is_quick)
{
	unsigned long pages = 1ul << 28, i;
	char *p = view_new(self->space, 0, pages, RW);

	for (i = 3; i < pages; i += pages / 50)
		p[i * PAGE] = 1;
	EXPECT_LE(50, resident(self->space));
	ASSERT_EQ(0, discard(self->space, p, pages));
	EXPECT_EQ(0, resident(self->space));
	EXPECT_EQ(0, p[3 * PAGE]);
	munmap(p, pages * PAGE);
}

TEST_F(discard, range_may_cross_into_an_adjacent_view)
{
	char *p = view_new(self->space, 100, 8, RW);

	ASSERT_EQ(p + 4 * PAGE, mmap(p + 4 * PAGE, 4 * PAGE, RW,
				     MAP_SHARED | MAP_FIXED, self->space,
				     1000 * PAGE));
	memset(self->view, 7, PAGES * PAGE);
	ASSERT_EQ(0, discard(self->space, p + 2 * PAGE, 4));
	EXPECT_EQ(PAGES - 4, resident(self->space));
	EXPECT_EQ(0, self->view[102 * PAGE] | self->view[103 * PAGE] |
		  self->view[1000 * PAGE] | self->view[1001 * PAGE]);
	EXPECT_EQ(7, self->view[101 * PAGE] & self->view[104 * PAGE] &
		  self->view[999 * PAGE] & self->view[1002 * PAGE]);
}

/*
 * A writer, and a discarder that then looks. What was written after the
 * discard returned must show: anything else was written to a page that had
 * been freed.
 */
struct race {
	int space;
	volatile char *victim;		/* where the writer writes */
	volatile char *witness;		/* the same page in another view */
	volatile unsigned long written;
	volatile int begun;
	volatile int stop;
};

/* Writes a number that only grows, and tells it after it was written. */
static void *write_on(void *arg)
{
	struct race *race = arg;

	while (!race->stop) {
		denied_armed = 1;
		if (!sigsetjmp(denied_jump, 1)) {
			while (!race->stop) {
				unsigned long n = race->written + 1;

				*(volatile unsigned long *)race->victim = n;
				race->written = n;
			}
		}
		denied_armed = 0;
	}
	return NULL;
}

/* How long a race is tried, whatever the machine. */
static time_t race_end;

static int late(void)
{
	if (!race_end)
		race_end = time(NULL) + 4;
	return time(NULL) >= race_end;
}

static long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/*
 * Whether a write that comes after a discard is not to be seen. The writer may
 * wait for a lock by then, or for its CPU to get a turn: hence @patience, in
 * milliseconds.
 */
static int write_is_lost(struct race *race, long patience)
{
	unsigned long before = race->written;
	long end = now_ms() + patience;

	while (race->written < before + 3)
		if (now_ms() > end)
			return 0;
	/* Two more were made since the discard: the second must be there. */
	before = race->written;
	return *(volatile unsigned long *)race->witness + 1 < before;
}

/*
 * A page of another space that lacks its frame and nothing else: at the first
 * write it takes the next one, which is most likely the last that was freed.
 */
static volatile unsigned long *taker_new(void)
{
	int space = space_new(2);
	char *view = view_new(space, 0, 2, RW);

	view[0] = 1;
	close(space);
	return (unsigned long *)(view + PAGE);
}

static void taker_free(volatile unsigned long *taker)
{
	must(!munmap((char *)taker - PAGE, 2 * PAGE));
}

/* Whether such a write went elsewhere: to the frame that was freed, and taken. */
static int lost_after_discard(struct race *race, volatile unsigned long *taker, long patience)
{
	must(!discard(race->space, (void *)race->witness, 1));
	*taker = 0;
	return write_is_lost(race, patience) || *taker;
}

static int lost_once(struct race *race)
{
	volatile unsigned long *taker = taker_new();
	int lost = lost_after_discard(race, taker, 10);

	taker_free(taker);
	return lost;
}

TEST_F(discard, no_write_goes_to_a_freed_page)
{
	char *second = map2(self->space, self->view, 1, RW, RW);
	struct race race = {
		.space = self->space,
		.victim = self->view,
		.witness = second,
	};
	pthread_t writer;
	int i, lost = 0;

	must(!pthread_create(&writer, NULL, write_on, &race));
	for (i = 0; i < 3000 && !late(); i++)
		lost += lost_once(&race);
	race.stop = 1;
	pthread_join(writer, NULL);
	EXPECT_EQ(0, lost);
}

/* Two discards of one page, each of which finds it gone through the other. */
static void *discard_on(void *arg)
{
	struct race *race = arg;

	while (!race->stop)
		must(!discard(race->space, (void *)race->witness, 1));
	return NULL;
}

TEST_F(discard, no_write_goes_to_a_page_that_two_discard)
{
	char *second = map2(self->space, self->view, 1, RW, RW);
	struct race race = {
		.space = self->space,
		.victim = self->view,
		.witness = second,
	};
	pthread_t writer, other;
	int i, lost = 0;

	must(!pthread_create(&writer, NULL, write_on, &race));
	must(!pthread_create(&other, NULL, discard_on, &race));
	for (i = 0; i < 1000 && !late(); i++)
		must(!discard(self->space, second, 1));
	race.stop = 1;
	pthread_join(other, NULL);
	race.stop = 0;
	for (i = 0; i < 100; i++)
		lost += lost_once(&race);
	race.stop = 1;
	pthread_join(writer, NULL);
	EXPECT_EQ(0, lost);
}

/*
 * munmap(2) clears PTEs first and flushes later. A discard that finds a PTE
 * gone for that reason must flush all the same: the page is free afterwards.
 */
#define WIDE	(1ul << 15)

static void *unmap_wide(void *arg)
{
	struct race *race = arg;

	pin(0);
	race->begun = 1;
	munmap((void *)race->victim, WIDE * PAGE);
	return NULL;
}

static void *write_on_there(void *arg)
{
	pin(1);
	return write_on(arg);
}

/*
 * Wait until munmap(2) is at it: then its VMA is gone. Where it holds the lock
 * for that, mincore(2) waits for it, and is the first to run afterwards.
 */
static void wait_for_munmap(struct race *race)
{
	char *last = (char *)race->victim + (WIDE - 1) * PAGE;
	unsigned char vec;

	while (!race->begun || !mincore(last, PAGE, &vec))
		usleep(10);
}

/* Returns how many discards were seen to lose a write. */
static int race_with_munmap(int space, char *witness, unsigned int delay)
{
	struct race race = {
		.space = space,
		.victim = map2(space, witness, WIDE, RW, RW),
		.witness = witness,
	};
	struct sched_param urgent = { .sched_priority = 1 }, normal = {};
	/* Now: mmap(2) would wait for the munmap. */
	volatile unsigned long *taker = taker_new();
	pthread_t writer, unmapper;
	int lost;

	must(!populate(space, (void *)race.victim, WIDE));
	must(!pthread_create(&writer, NULL, write_on_there, &race));
	while (!race.written)
		usleep(10);
	must(!pthread_create(&unmapper, NULL, unmap_wide, &race));
	/* From here on before the unmapper, which is on the same CPU. */
	sched_setscheduler(0, SCHED_FIFO, &urgent);
	wait_for_munmap(&race);
	if (delay)
		usleep(delay);
	lost = lost_after_discard(&race, taker, 60);
	sched_setscheduler(0, SCHED_OTHER, &normal);
	pthread_join(unmapper, NULL);
	race.stop = 1;
	pthread_join(writer, NULL);
	taker_free(taker);
	return lost;
}

TEST_F(discard, no_write_goes_to_a_freed_page_while_it_is_unmapped)
{
	char *wide = view_new(self->space, 0, WIDE, RW);
	int i, lost = 0;

	ASSERT_EQ(0, populate(self->space, wide, WIDE));
	pin(0);
	for (i = 0; i < 20 && !lost && (i < 8 || !late()); i++)
		lost += race_with_munmap(self->space, wide, 250 << i % 6);
	EXPECT_EQ(0, lost);
}

TEST_HARNESS_MAIN
