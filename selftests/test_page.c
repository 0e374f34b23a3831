// SPDX-License-Identifier: GPL-2.0
/*
 * test_page.c - AVM_IOC_PROTECT_PAGE, which takes a way of its own through the
 * module: what holds for a PROTECT has to hold for it, and nothing else may
 * come in between.
 */
#include "avmtest.h"

#include <pthread.h>
#include <stdatomic.h>

#include "harness.h"

#define PAGES	64
#define ROUNDS	3000
#define HUGE	(2ul << 20)	/* what a page table maps */

static int page(int space, const void *addr, int prot)
{
	int ret = ioctl(space, AVM_IOC_PROTECT_PAGE, (uintptr_t)addr + prot);

	return ret < 0 ? -errno : ret;
}

FIXTURE(page) {
	int space;
	char *view;
};

FIXTURE_SETUP(page) {
	self->space = space_new(16384);
	self->view = view_new(self->space, 0, PAGES, RW);
	denied_setup();
	/* From the second call on, a page table that was used is remembered. */
	memset(self->view, 1, PAGES * PAGE);
	ASSERT_EQ(0, page(self->space, self->view, R));
	ASSERT_EQ(0, page(self->space, self->view, RW));
}

FIXTURE_TEARDOWN(page) {
	close(self->space);
}

TEST_F(page, flushes_once_to_lower_and_not_to_raise)
{
	uint64_t before = stats(self->space).out_flushes;
	int i;

	memset(self->view, 2, PAGES * PAGE);
	for (i = 0; i < PAGES; i++)
		ASSERT_EQ(0, page(self->space, self->view + i * PAGE, R));
	EXPECT_EQ(before + PAGES, stats(self->space).out_flushes);
	for (i = 0; i < PAGES; i++)
		ASSERT_EQ(0, page(self->space, self->view + i * PAGE, RW));
	for (i = 0; i < PAGES; i++)
		EXPECT_EQ(0, try_write(self->view + i * PAGE, 3));
	EXPECT_EQ(before + PAGES, stats(self->space).out_flushes);
}

struct writer {
	volatile uint64_t *counter;
	atomic_int stop;
};

/* Increments as fast as it can; a denied one is tried again. */
static void *write_on(void *arg)
{
	struct writer *w = arg;

	while (!atomic_load(&w->stop)) {
		memset(&denied, 0, sizeof(denied));
		denied_armed = 1;
		if (!sigsetjmp(denied_jump, 0))
			while (!atomic_load(&w->stop))
				++*w->counter;
		denied_armed = 0;
	}
	return NULL;
}

/* An alias tells what reaches the page, whatever its protection in the view. */
static long stale_writes(int space, char *view, int prot)
{
	volatile uint64_t *alias = (void *)map2(space, view, 1, R, R);
	struct writer w = { .counter = (void *)view };
	uint64_t seen;
	pthread_t thread;
	long stale = 0;
	int i, j;

	must(!pthread_create(&thread, NULL, write_on, &w));
	for (i = 0; i < ROUNDS; i++) {
		must(!page(space, view, prot));
		seen = *alias;
		for (j = 0; j < 20; j++)
			stale += *alias != seen;
		must(!page(space, view, RW));
		/* Let it write, so that its CPU caches the translation. */
		for (j = 0; j < 1000 && *alias == seen; j++)
			;
	}
	atomic_store(&w.stop, 1);
	must(!pthread_join(thread, NULL));
	return stale;
}

TEST_F(page, no_write_gets_through_once_it_is_read_only)
{
	EXPECT_EQ(0, stale_writes(self->space, self->view, R));
}

TEST_F(page, no_write_gets_through_once_it_is_closed)
{
	EXPECT_EQ(0, stale_writes(self->space, self->view, NONE));
}

TEST_F(page, is_the_same_in_a_view_that_was_split_or_moved)
{
	char *to = view_new(self->space, 0, PAGES, R);
	char *moved;

	ASSERT_EQ(0, munmap(self->view + 8 * PAGE, PAGE));
	ASSERT_EQ(0, page(self->space, self->view + 7 * PAGE, NONE));
	EXPECT_EQ(SIGSEGV, try_read(self->view + 7 * PAGE));
	EXPECT_EQ(0, try_read(self->view + 9 * PAGE));
	EXPECT_EQ(-ENXIO, page(self->space, self->view + 8 * PAGE, RW));
	moved = mremap(self->view + 9 * PAGE, 10 * PAGE, 10 * PAGE,
		       MREMAP_MAYMOVE | MREMAP_FIXED, to + 3 * PAGE);
	ASSERT_EQ(to + 3 * PAGE, moved);
	ASSERT_EQ(0, page(self->space, moved + PAGE, NONE));
	EXPECT_EQ(SIGSEGV, try_read(moved + PAGE));
	EXPECT_EQ(0, try_write(moved + 2 * PAGE, 1));
	ASSERT_EQ(0, page(self->space, moved + PAGE, RW));
	EXPECT_EQ(0, try_write(moved + PAGE, 1));
	EXPECT_EQ(-ENXIO, page(self->space, self->view + 9 * PAGE, RW));
}

TEST_F(page, mapping_is_the_limit)
{
	char *readable = view_new(self->space, 0, PAGES, R);

	EXPECT_EQ(0, try_read(readable));
	EXPECT_EQ(0, page(self->space, readable, NONE));
	EXPECT_EQ(0, page(self->space, readable, R));
	EXPECT_EQ(-EACCES, page(self->space, readable, RW));
	EXPECT_EQ(-EACCES, page(self->space, self->view, RWX));
	EXPECT_EQ(SIGSEGV, try_write(readable, 1));
}

/* A vector that goes back and forth between views, each with its own limit. */
TEST_F(page, vector_keeps_to_the_limit_of_each_view)
{
	char *hole = mmap(NULL, 64ul << 20, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *base = (char *)(((uintptr_t)hole + HUGE) & -HUGE);
	char *a = mmap(base, 4 * PAGE, PROT_READ, MAP_SHARED | MAP_FIXED,
		       self->space, 0);
	char *b = mmap(base + HUGE, 4 * PAGE, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_FIXED, self->space, 0);
	struct avm_range ranges[] = {
		{ (uintptr_t)a, PAGE, NONE, 0 },
		{ (uintptr_t)b, PAGE, NONE, 0 },
		{ (uintptr_t)a, PAGE, RW, 0 },
	};
	struct avm_batch out;

	ASSERT_NE(MAP_FAILED, (void *)a);
	ASSERT_NE(MAP_FAILED, (void *)b);
	EXPECT_EQ(0, try_read(a));
	EXPECT_EQ(0, try_read(b));
	EXPECT_EQ(-EACCES, batch(self->space, AVM_IOC_PROTECT, ranges, 3, &out));
	EXPECT_EQ(2, out.out_done);
	EXPECT_EQ(SIGSEGV, try_write(a, 1));
}

struct opener {
	int space;
	char *_Atomic page;
	atomic_int stop;
};

static void *open_on(void *arg)
{
	struct opener *o = arg;
	char *at;

	while (!atomic_load(&o->stop)) {
		at = atomic_load(&o->page);
		if (!at)
			continue;
		page(o->space, at, RW);
		page(o->space, at, NONE);
	}
	return NULL;
}

/*
 * An UNPROT maps the page. A munmap that has just cleared the PTEs must not
 * leave with that one behind it: a neighbour keeps the page table in place.
 */
TEST_F(page, opening_leaves_nothing_behind_a_munmap)
{
	const unsigned long pages = 8192;
	char *hole = mmap(NULL, 128ul << 20, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *neighbour = (char *)(((uintptr_t)hole + HUGE) &
				   -HUGE);
	char *view = neighbour + PAGE;
	struct opener o = { .space = self->space };
	pthread_t thread;
	volatile int i, k;

	ASSERT_NE(MAP_FAILED, (void *)hole);
	ASSERT_EQ(0, mprotect(neighbour, PAGE, PROT_READ | PROT_WRITE));
	*neighbour = 1;
	must(!pthread_create(&thread, NULL, open_on, &o));
	for (i = 0; i < 60; i++) {
		ASSERT_EQ(view, mmap(view, pages * PAGE, PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_FIXED, self->space, 0));
		ASSERT_EQ(0, populate(self->space, view, pages));
		ASSERT_EQ(0, protect(self->space, view, 1, NONE));
		atomic_store(&o.page, view);
		for (k = 0; k < i * 37 % 3000; k++)
			;
		ASSERT_EQ(0, munmap(view, pages * PAGE));
		atomic_store(&o.page, NULL);
		ASSERT_EQ(SIGSEGV, try_read(view));
	}
	atomic_store(&o.stop, 1);
	must(!pthread_join(thread, NULL));
}

TEST_HARNESS_MAIN
