// SPDX-License-Identifier: GPL-2.0
/*
 * test_race - faults that race with PROTECT, DISCARD and POPULATE of the same
 * page never leave more access than was granted, nor another page's data
 *
 * Unlike in test_flush, the thread whose accesses are denied tries again at
 * once, over and over: whenever PROTECT runs, a fault is likely to be on its
 * way, which has seen the old state of the page or is about to see the new.
 */
#include "avmtest.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

#include "harness.h"

#define SECONDS	1.0	/* for each race */
#define PAGES	64ul

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

FIXTURE(race) {
	int space;
	char *view;
	char *alias;
	pthread_t thread;
	bool writes;
	_Atomic uint64_t seen;	/* the last value that was read */
	_Atomic uint64_t tries;
	_Atomic uint64_t denials;
	atomic_bool stop;
};

FIXTURE_SETUP(race)
{
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "needs two CPUs");
	denied_setup();
	pin(0);
	self->space = space_new(PAGES);
	self->view = view_new(self->space, 0, PAGES, RW);
	self->alias = view_new(self->space, 0, PAGES, RW);
}

FIXTURE_TEARDOWN(race)
{
	close(self->space);
}

static void *touch_run(void *arg)
{
	struct _test_data_race *self = arg;
	volatile uint64_t *word = (uint64_t *)self->view;

	pin(1);
	denied_armed = 1;
	while (!self->stop) {
		/* Comes back here from a denied access. */
		if (sigsetjmp(denied_jump, 0))
			self->denials++;
		while (!self->stop) {
			self->tries++;
			if (self->writes)
				asm volatile("incq %0" : "+m" (*word));
			else
				self->seen = *word;
		}
	}
	return NULL;
}

static void touch_start(struct _test_data_race *self, bool writes)
{
	self->writes = writes;
	must(!pthread_create(&self->thread, NULL, touch_run, self));
}

static void touch_stop(struct _test_data_race *self)
{
	self->stop = true;
	must(!pthread_join(self->thread, NULL));
}

/* The other one tries so many times more. False when it has stopped to. */
static bool let_try(struct _test_data_race *self, unsigned int n)
{
	uint64_t tries = self->tries;
	double end = now() + 10;

	while (self->tries < tries + n)
		if (now() > end)
			return false;
	return true;
}

/* The state that a page is closed from. */
enum from { OPEN, OPEN_NO_FRAME, OPEN_NO_PTE, READ_ONLY, CLOSED };

/*
 * Open page 0, from a state in which a touch faults. OPEN_NO_PTE: it has a
 * frame, by way of the alias, and perhaps nothing in the view's page table.
 */
static void set_up(struct _test_data_race *self, enum from from)
{
	switch (from) {
	case OPEN:
		break;
	case OPEN_NO_FRAME:
		must(!discard(self->space, self->alias, 1));
		break;
	case OPEN_NO_PTE:
		must(!discard(self->space, self->alias, 1));
		must(!populate(self->space, self->alias, 1));
		break;
	case READ_ONLY:
		must(!protect(self->space, self->view, 1, R));
		break;
	case CLOSED:
		must(!protect(self->space, self->view, 1, NONE));
		break;
	}
	must(!protect(self->space, self->view, 1, RW));
}

/*
 * The page is opened to the other thread, which is on its way in, and closed
 * at once. Then this thread is denied too, and nothing happens to the page.
 */
static void open_and_close(struct __test_metadata *_metadata,
			   struct _test_data_race *self, enum from from,
			   int prot)
{
	volatile uint64_t *word = (uint64_t *)self->alias;
	unsigned long rounds = 0;
	double end = now() + SECONDS;
	uint64_t before;

	touch_start(self, true);
	for (; now() < end || rounds < 10; rounds++) {
		set_up(self, from);
		if (rounds % 2)
			ASSERT_TRUE(let_try(self, rounds % 16));
		ASSERT_EQ(0, protect(self->space, self->view, 1, prot));
		before = *word;
		ASSERT_EQ(SIGSEGV, prot == NONE ? try_read(self->view) :
						  try_write(self->view, 1));
		ASSERT_TRUE(let_try(self, 3));
		ASSERT_EQ(before, *word);
	}
	touch_stop(self);
	TH_LOG("%lu rounds, %lu denials", rounds,
	       (unsigned long)self->denials);
	EXPECT_LT(0, self->denials);
}

TEST_F(race, first_write_and_protect_r)
{
	open_and_close(_metadata, self, READ_ONLY, R);
}

TEST_F(race, first_write_and_protect_none)
{
	open_and_close(_metadata, self, READ_ONLY, NONE);
}

TEST_F(race, fault_without_frame_and_protect_r)
{
	open_and_close(_metadata, self, OPEN_NO_FRAME, R);
}

TEST_F(race, fault_without_frame_and_protect_none)
{
	open_and_close(_metadata, self, OPEN_NO_FRAME, NONE);
}

TEST_F(race, fault_on_a_frame_and_protect_none)
{
	open_and_close(_metadata, self, OPEN_NO_PTE, NONE);
}

TEST_F(race, fault_on_a_closed_page_and_protect_r)
{
	open_and_close(_metadata, self, CLOSED, R);
}

TEST_F(race, fault_on_a_closed_page_and_protect_none)
{
	open_and_close(_metadata, self, CLOSED, NONE);
}

TEST_F(race, write_and_protect_none)
{
	open_and_close(_metadata, self, OPEN, NONE);
}

/* A reader must not see what is written when the page has been closed. */
TEST_F(race, read_fault_and_protect_none)
{
	volatile uint64_t *word = (uint64_t *)self->alias;
	double end = now() + SECONDS;
	uint64_t rounds = 0;

	touch_start(self, false);
	for (; now() < end || rounds < 10; rounds++) {
		set_up(self, rounds % 3);
		if (rounds % 2)
			ASSERT_TRUE(let_try(self, rounds % 16));
		ASSERT_EQ(0, protect(self->space, self->view, 1, NONE));
		*word = rounds + 1;
		ASSERT_EQ(SIGSEGV, try_read(self->view));
		ASSERT_TRUE(let_try(self, 3));
		ASSERT_NE(rounds + 1, self->seen);
	}
	touch_stop(self);
	EXPECT_LT(0, self->denials);
}

/* Where there is no page table yet, and PROTECT finds a value or bytes. */
TEST_F(race, fault_where_nothing_was_ever_mapped)
{
	const unsigned long pages = 512;
	unsigned long rounds = 0;
	double end = now() + SECONDS;
	volatile uint64_t *word;
	int space;

	for (; now() < end || rounds < 10; rounds++) {
		space = space_new(2 * pages);
		self->view = view_new(space, 0, 2 * pages, RW);
		word = (uint64_t *)view_new(space, 0, 2 * pages, RW);
		/* Into the middle: a whole table, or a part of it. */
		self->view += pages / 2 * PAGE;
		word += pages / 2 * PAGE / 8;
		self->stop = false;
		touch_start(self, true);
		if (rounds % 2)
			while (!self->tries)
				;
		ASSERT_EQ(0, protect(space, self->view - pages / 2 * PAGE,
				     rounds % 4 < 2 ? 2 * pages : pages,
				     rounds % 8 < 4 ? R : NONE));
		self->seen = *word;
		ASSERT_EQ(SIGSEGV, try_write(self->view, 1));
		ASSERT_TRUE(let_try(self, 3));
		ASSERT_EQ(self->seen, *word);
		touch_stop(self);
		self->tries = 0;
		self->view -= pages / 2 * PAGE;
		must(!munmap(self->view, 2 * pages * PAGE));
		must(!munmap((char *)word - pages / 2 * PAGE,
			     2 * pages * PAGE));
		close(space);
	}
}

/*
 * Every word of a page holds zero or the page's number and a version that only
 * grows. A thread writes and discards pages of its own, and knows what they
 * hold; it reads all pages, through both views, and populates all.
 */
#define THREADS	3
#define WORDS	(PAGE / 8)

FIXTURE(data) {
	int space;
	uint64_t *view[2];
	uint64_t wrong;		/* what was found where it should not be */
	uint64_t place;
	atomic_bool stop;
	_Atomic unsigned long steps;
};

FIXTURE_SETUP(data)
{
	denied_setup();
	self->space = space_new(PAGES);
	self->view[0] = (uint64_t *)view_new(self->space, 0, PAGES, RW);
	self->view[1] = (uint64_t *)view_new(self->space, 0, PAGES, RW);
}

FIXTURE_TEARDOWN(data)
{
	close(self->space);
}

struct worker {
	pthread_t thread;
	struct _test_data_data *self;
	unsigned int number;
	unsigned int seed;
	uint64_t last[PAGES];	/* what the pages hold that are its own */
};

static uint64_t tag(unsigned long page, uint64_t version)
{
	return (page + 1) << 48 | version;
}

static volatile uint64_t *word_of(struct worker *w, unsigned long page)
{
	uint64_t *view = w->self->view[rand_r(&w->seed) % 2];

	return view + page * WORDS + rand_r(&w->seed) % 8 * 64;
}

static void found_wrong(struct worker *w, unsigned long page, uint64_t value)
{
	w->self->wrong = value;
	w->self->place = tag(page, w->last[page]);
	w->self->stop = true;
}

static void look(struct worker *w, unsigned long page)
{
	uint64_t value = *word_of(w, page);

	if (value && value >> 48 != page + 1)
		found_wrong(w, page, value);
	if (page % THREADS == w->number && value != w->last[page])
		found_wrong(w, page, value);
}

static void fill(struct worker *w, unsigned long page)
{
	uint64_t *view = w->self->view[rand_r(&w->seed) % 2];
	int i;

	w->last[page] = tag(page, w->self->steps);
	for (i = 0; i < 8; i++)
		view[page * WORDS + i * 64] = w->last[page];
}

/* Discard a page of its own, and pages of a run that are its own. */
static void drop(struct worker *w, unsigned long page)
{
	struct avm_range ranges[PAGES];
	unsigned int n = 0;

	for (; page < PAGES && n < 4; page += THREADS) {
		w->last[page] = 0;
		ranges[n] = (struct avm_range){
			.addr = (uintptr_t)w->self->view[n % 2] + page * PAGE,
			.length = PAGE,
		};
		n++;
	}
	must(!batch(w->self->space, AVM_IOC_DISCARD, ranges, n, NULL));
}

/* Its own are what they should be; the others at least not another page. */
static void step(struct worker *w)
{
	unsigned long any = rand_r(&w->seed) % PAGES;
	unsigned long own = any / THREADS * THREADS + w->number;

	if (own >= PAGES)
		return;
	switch (rand_r(&w->seed) % 8) {
	case 0:
	case 1:
		fill(w, own);
		break;
	case 2:
		drop(w, own);
		break;
	case 3:
		must(!populate(w->self->space,
			       (char *)w->self->view[0] + any * PAGE, 1));
		break;
	default:
		look(w, any);
		break;
	}
	look(w, own);
	w->self->steps++;
}

static void *worker_run(void *arg)
{
	struct worker *w = arg;

	while (!w->self->stop)
		step(w);
	return NULL;
}

TEST_F(data, zeros_or_the_page_itself_never_another_page)
{
	static struct worker workers[THREADS];
	double end = now() + 2 * SECONDS;
	unsigned int i;

	for (i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){
			.self = self, .number = i, .seed = 4711 + i,
		};
		ASSERT_EQ(0, pthread_create(&workers[i].thread, NULL,
					    worker_run, &workers[i]));
	}
	while (now() < end && !self->stop)
		usleep(1000);
	self->stop = true;
	for (i = 0; i < THREADS; i++)
		ASSERT_EQ(0, pthread_join(workers[i].thread, NULL));
	TH_LOG("%lu steps", (unsigned long)self->steps);
	EXPECT_EQ(self->wrong, self->place);
	EXPECT_LT(100, self->steps);
}

static void *reader_run(void *arg)
{
	struct worker *w = arg;
	unsigned long page;

	while (!w->self->stop) {
		page = rand_r(&w->seed) % PAGES;
		look(w, page);
		if (page % 16 == 0)
			must(!populate(w->self->space, (char *)
				       (w->self->view[1] + page * WORDS), 1));
	}
	return NULL;
}

/* A page that nobody else writes reads as zeros ever after it was discarded. */
TEST_F(data, discarded_pages_stay_zeros_under_racing_reads)
{
	struct worker reader = { .self = self, .number = THREADS };
	double end = now() + SECONDS;
	unsigned long page, i;

	ASSERT_EQ(0, pthread_create(&reader.thread, NULL, reader_run, &reader));
	while (now() < end && !self->stop) {
		for (page = 0; page < PAGES; page++)
			for (i = 0; i < 8; i++)
				self->view[0][page * WORDS + i * 64] =
					tag(page, 1);
		ASSERT_EQ(0, discard(self->space, self->view[1], PAGES));
		for (page = 0; page < PAGES; page++)
			for (i = 0; i < WORDS; i += 64)
				ASSERT_EQ(0, self->view[page % 2][page * WORDS +
								  i]);
	}
	self->stop = true;
	ASSERT_EQ(0, pthread_join(reader.thread, NULL));
	EXPECT_EQ(self->wrong, self->place);
}

TEST_HARNESS_MAIN
