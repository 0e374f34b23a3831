// SPDX-License-Identifier: GPL-2.0
/*
 * test_flush - when a call has returned, nobody gets through on a translation
 * that it took away; and that costs one TLB flush, or none
 *
 * A hammer is a thread on another CPU that accesses one word as fast as it
 * can. Being so fast it has the translation in its TLB whenever a call takes
 * it away, and with a flush left out it would go on for thousands of accesses.
 * What it does is seen through a second view of the page.
 */
#include "avmtest.h"

#include <linux/perf_event.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <time.h>

#include "harness.h"

#define SECONDS		1.0	/* that each race is run */
#define PATIENCE	10.0	/* before something that does not come is missed */
#define CHUNK		512ul	/* pages of a page table */

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* Wait until a condition holds; false when it never does. */
#define wait_for(cond) ({						\
	double _end = now() + PATIENCE;					\
	unsigned long _n = 0;						\
	bool _ok;							\
									\
	while (!(_ok = (cond)) && (++_n % 4096 || now() < _end))	\
		;							\
	_ok;								\
})

struct hammer {
	pthread_t thread;
	volatile uint64_t *word;
	bool writes;
	atomic_bool stop;
	_Atomic uint64_t tries;		/* accesses that went through */
	_Atomic uint64_t seen;		/* what the last of them read */
	_Atomic uint64_t trapped;	/* traps */
	_Atomic uint64_t go;		/* traps after which to go on */
};

/* The access is one instruction: a page that goes meanwhile restarts it. */
static void access_until_denied(struct hammer *h)
{
	denied_armed = 1;
	if (!sigsetjmp(denied_jump, 1)) {
		while (!atomic_load_explicit(&h->stop, memory_order_relaxed)) {
			if (h->writes)
				asm volatile("incq %0" : "+m" (*h->word));
			else
				atomic_store_explicit(&h->seen, *h->word,
						      memory_order_relaxed);
			/* Nobody else writes it: no locked instruction. */
			atomic_store_explicit(&h->tries, h->tries + 1,
					      memory_order_relaxed);
		}
	}
	denied_armed = 0;
}

static void *hammer_run(void *arg)
{
	struct hammer *h = arg;

	pin(1);
	while (!h->stop) {
		access_until_denied(h);
		h->trapped++;
		while (h->go < h->trapped && !h->stop)
			;
	}
	return NULL;
}

static void hammer_start(struct hammer *h, void *word, bool writes)
{
	memset(h, 0, sizeof(*h));
	h->word = word;
	h->writes = writes;
	must(!pthread_create(&h->thread, NULL, hammer_run, h));
}

static void hammer_stop(struct hammer *h)
{
	h->stop = true;
	must(!pthread_join(h->thread, NULL));
}

/* The hammer's accesses go through just now. */
static bool hammer_runs(struct hammer *h)
{
	uint64_t tries = h->tries;

	return wait_for(h->tries > tries + 2);
}

FIXTURE(race) {
	int space;
	char *view;
	char *alias;
	volatile uint64_t *word;	/* the hammer's, in the alias */
	struct hammer hammer;
};

FIXTURE_SETUP(race)
{
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "needs two CPUs");
	denied_setup();
	pin(0);
	self->space = space_new(2 * CHUNK);
	self->view = view_new(self->space, 0, 2 * CHUNK, RW);
	self->alias = view_new(self->space, 0, 2 * CHUNK, RW);
	self->word = (uint64_t *)self->alias;
}

FIXTURE_TEARDOWN(race)
{
	close(self->space);
}

static int scan_protect(int space, const void *addr, uint64_t pages,
			uint32_t match, int prot)
{
	struct avm_scan arg = {
		.size = sizeof(arg),
		.flags = AVM_SCAN_PROTECT,
		.addr = (uintptr_t)addr,
		.length = pages * PAGE,
		.match = match,
		.clear = match,
		.prot = prot,
	};
	int ret = call(space, AVM_IOC_SCAN, &arg);

	/* A page that was not found was not closed. */
	return ret ?: arg.out_pages != pages;
}

/* How a page is closed to the hammer. */
FIXTURE_VARIANT(race) {
	bool writes;
	bool by_scan;
	int prot;
	unsigned long pages;	/* more than some 30 are flushed as a whole */
	unsigned long at;	/* the page that is accessed */
};

#define WAY(_name, ...)	\
FIXTURE_VARIANT_ADD(race, _name) { __VA_ARGS__ }

WAY(protect_r, .writes = true, .prot = R, .pages = 1);
WAY(protect_none, .writes = true, .prot = NONE, .pages = 1);
WAY(protect_r_many, .writes = true, .prot = R, .pages = 100);
WAY(protect_r_last_of_some, .writes = true, .prot = R, .pages = 20, .at = 19);
WAY(protect_none_last_of_some, .writes = true, .prot = NONE, .pages = 20, .at = 19);
WAY(protect_none_many, .writes = true, .prot = NONE, .pages = CHUNK + 1);
WAY(scan_r, .writes = true, .by_scan = true, .prot = R, .pages = 1);
WAY(scan_none, .writes = true, .by_scan = true, .prot = NONE, .pages = 1);
WAY(reader_protect_none, .prot = NONE, .pages = 1);
WAY(reader_scan_none, .by_scan = true, .prot = NONE, .pages = 1);

static int close_pages(struct _test_data_race *self,
		       const struct _fixture_variant_race *how)
{
	if (!how->by_scan)
		return protect(self->space, self->view, how->pages, how->prot);
	return scan_protect(self->space, self->view, how->pages,
			    how->writes ? AVM_PAGE_DIRTY : AVM_PAGE_ACCESSED,
			    how->prot);
}

/*
 * After the call a writer moves the counter no more. A reader leaves no
 * traces, but must not see what was written after the call.
 */
TEST_F(race, nobody_gets_through_after_the_call)
{
	struct hammer *h = &self->hammer;
	unsigned long rounds = 0;
	double end = now() + SECONDS;
	uint64_t word;

	memset(self->alias, 0, variant->pages * PAGE);
	memset(self->view, 0, variant->pages * PAGE);
	self->word = (uint64_t *)(self->alias + variant->at * PAGE);
	hammer_start(h, self->view + variant->at * PAGE, variant->writes);
	for (; now() < end || rounds < 10; rounds++) {
		ASSERT_TRUE(hammer_runs(h));
		ASSERT_EQ(0, close_pages(self, variant));
		if (!variant->writes)
			*self->word = rounds + 1;
		word = *self->word;
		/* It tries, and is denied, once. */
		ASSERT_TRUE(wait_for(h->trapped == rounds + 1));
		ASSERT_EQ(word, *self->word);
		if (!variant->writes)
			ASSERT_NE(word, h->seen);
		ASSERT_EQ(0, protect(self->space, self->view, variant->pages,
				     RW));
		h->go++;
	}
	TH_LOG("%lu rounds, %lu accesses", rounds, (unsigned long)h->tries);
	EXPECT_LT(100000, h->tries);
	hammer_stop(h);
}

FIXTURE(other) {
	int space;
	char *view;
	char *alias;
	volatile uint64_t *word;
	struct hammer hammer;
};

FIXTURE_SETUP(other)
{
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "needs two CPUs");
	denied_setup();
	pin(0);
	self->space = space_new(2 * CHUNK);
	self->view = view_new(self->space, 0, 2 * CHUNK, RWX);
	self->alias = view_new(self->space, 0, 2 * CHUNK, RW);
	self->word = (uint64_t *)self->alias;
}

FIXTURE_TEARDOWN(other)
{
	close(self->space);
}

/* Accesses and what the second view shows of them keep step, but for one. */
static bool keeps_step(struct hammer *h, volatile uint64_t *word)
{
	uint64_t from = *word, tries = h->tries;

	if (!wait_for(h->tries > tries + 50))
		return false;
	tries = h->tries - tries;
	return *word - from + 1 >= tries;
}

/*
 * The hammer goes on in a new page, beginning at zero. With a translation left
 * it would write to the old one, which the next page allocated is likely to be.
 */
TEST_F(other, discard_leaves_nobody_with_the_old_page)
{
	volatile uint64_t *next = (uint64_t *)(self->alias + 7 * PAGE);
	struct hammer *h = &self->hammer;
	unsigned long rounds = 0;
	double end = now() + SECONDS;
	uint64_t tries, word;

	hammer_start(h, self->view, true);
	for (; now() < end || rounds < 10; rounds++) {
		ASSERT_TRUE(wait_for(*self->word > 100));
		tries = h->tries;
		ASSERT_EQ(0, discard(self->space, self->view, 1));
		ASSERT_EQ(0, populate(self->space, (char *)next, 1));
		word = *self->word;
		ASSERT_LE(word, h->tries - tries + 2);
		ASSERT_TRUE(keeps_step(h, self->word));
		ASSERT_EQ(0, *next);
		ASSERT_EQ(0, discard(self->space, (char *)next, 1));
	}
	hammer_stop(h);
	TH_LOG("%lu rounds, %lu accesses", rounds, (unsigned long)h->tries);
}

/* Had it kept its translation it would not set the bit again. */
static void never_misses(struct __test_metadata *_metadata,
			 struct _test_data_other *self, bool writes,
			 uint32_t what)
{
	struct hammer *h = &self->hammer;
	unsigned long rounds = 0;
	double end = now() + SECONDS;

	hammer_start(h, self->view, writes);
	for (; now() < end || rounds < 10; rounds++) {
		ASSERT_TRUE(hammer_runs(h));
		ASSERT_EQ(1, scan(self->space, self->view, 1, what, what,
				  NULL));
		ASSERT_TRUE(hammer_runs(h));
		ASSERT_EQ(1, scan(self->space, self->view, 1, what, 0, NULL));
	}
	hammer_stop(h);
	TH_LOG("%lu rounds, %lu accesses", rounds, (unsigned long)h->tries);
}

TEST_F(other, writes_after_dirty_was_cleared_make_dirty)
{
	never_misses(_metadata, self, true, AVM_PAGE_DIRTY);
}

TEST_F(other, reads_after_accessed_was_cleared_make_accessed)
{
	never_misses(_metadata, self, false, AVM_PAGE_ACCESSED);
}

struct fetcher {
	pthread_t thread;
	char *page;
	_Atomic unsigned long want;	/* even: read it; odd: call it */
	_Atomic unsigned long did;
	_Atomic int result;
};

static void *fetcher_run(void *arg)
{
	struct fetcher *f = arg;
	unsigned long i;

	pin(1);
	for (i = 1; ; i++) {
		while (f->want < i)
			;
		if (f->want == ~0ul)
			return NULL;
		f->result = i % 2 ? try_fetch(f->page) : try_read(f->page);
		f->did = i;
	}
}

static int fetcher_do(struct fetcher *f)
{
	unsigned long i = ++f->want;

	return wait_for(f->did == i) ? f->result : -1;
}

/* The other CPU has the translation without the right to execute. */
TEST_F(other, raising_to_execute_reaches_other_threads)
{
	struct fetcher f = { .page = self->view };
	double end = now() + SECONDS / 2;
	unsigned long rounds = 0;

	self->alias[0] = 0xc3;	/* ret */
	ASSERT_EQ(0, protect(self->space, self->view, 1, R));
	ASSERT_EQ(0, pthread_create(&f.thread, NULL, fetcher_run, &f));
	for (; now() < end || rounds < 10; rounds++) {
		ASSERT_EQ(SIGSEGV, fetcher_do(&f));
		ASSERT_EQ(0, fetcher_do(&f));
		ASSERT_EQ(0, protect(self->space, self->view, 1, RX));
		ASSERT_EQ(0, fetcher_do(&f));
		ASSERT_EQ(0, fetcher_do(&f));
		ASSERT_EQ(0, protect(self->space, self->view, 1, R));
	}
	f.want = ~0ul;
	ASSERT_EQ(0, pthread_join(f.thread, NULL));
}

/* Flushes that this thread makes, counted by the kernel's own tracepoint. */
#define EVENT	"/sys/kernel/tracing/events/tlb/tlb_flush"

static int flush_counter(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_TRACEPOINT,
		.size = sizeof(attr),
		.sample_period = 1ull << 62,
	};
	FILE *file = fopen(EVENT "/id", "r");
	long id;
	int fd;

	if (!file)
		return -1;
	must(fscanf(file, "%ld", &id) == 1);
	fclose(file);
	attr.config = id;
	fd = syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
	must(fd >= 0);
	/* TLB_LOCAL_MM_SHOOTDOWN: the calling CPU's part in a flush. */
	must(!ioctl(fd, PERF_EVENT_IOC_SET_FILTER, "reason == 3"));
	return fd;
}

FIXTURE(count) {
	int space;
	int counter;
	char *view;
	struct avm_stats before;
	uint64_t flushes;
};

#define PAGES	4096ul
#define MANY	1000

static struct avm_range ranges[MANY];

FIXTURE_SETUP(count)
{
	self->counter = flush_counter();
	if (self->counter < 0)
		SKIP(return, "this kernel has no tracepoint tlb:tlb_flush");
	denied_setup();
	self->space = space_new(PAGES);
	self->view = view_new(self->space, 0, PAGES, RWX);
	/* So that no copy-on-write of our own counts in a test. */
	memset(ranges, 0, sizeof(ranges));
	stats(self->space);
}

FIXTURE_TEARDOWN(count)
{
	close(self->space);
	close(self->counter);
}

static uint64_t kernel_flushes(struct _test_data_count *self)
{
	uint64_t n;

	must(read(self->counter, &n, sizeof(n)) == sizeof(n));
	return n;
}

static void start(struct _test_data_count *self)
{
	self->before = stats(self->space);
	self->flushes = kernel_flushes(self);
}

/* Since start(): flushes, and translations that they took away or lowered. */
#define expect_flushes(_flushes, _pages) do {				\
	uint64_t _n = kernel_flushes(self) - self->flushes;		\
	struct avm_stats _now = stats(self->space);			\
									\
	EXPECT_EQ(_flushes, _n);					\
	EXPECT_EQ(_flushes, _now.out_flushes - self->before.out_flushes); \
	EXPECT_EQ(_pages, _now.out_flushed_pages -			\
		  self->before.out_flushed_pages);			\
} while (0)

/* Pages 0, 4, 8 and so on: MANY ranges. */
static void scatter(struct _test_data_count *self, int prot)
{
	int i;

	for (i = 0; i < MANY; i++)
		ranges[i] = (struct avm_range){
			.addr = (uintptr_t)self->view + i * 4 * PAGE,
			.length = PAGE,
			.prot = prot,
		};
}

static void touch(struct _test_data_count *self, unsigned long pages)
{
	unsigned long i;

	for (i = 0; i < pages; i++)
		self->view[i * PAGE] = 1;
}

TEST_F(count, one_for_one_page)
{
	touch(self, 1);
	start(self);
	EXPECT_EQ(0, protect(self->space, self->view, 1, R));
	expect_flushes(1, 1);
	start(self);
	EXPECT_EQ(0, protect(self->space, self->view, 1, NONE));
	expect_flushes(1, 1);
}

TEST_F(count, one_for_a_thousand_scattered_pages)
{
	touch(self, PAGES);
	scatter(self, R);
	start(self);
	EXPECT_EQ(0, batch(self->space, AVM_IOC_PROTECT, ranges, MANY, NULL));
	expect_flushes(1, MANY);
	scatter(self, NONE);
	start(self);
	EXPECT_EQ(0, batch(self->space, AVM_IOC_PROTECT, ranges, MANY, NULL));
	expect_flushes(1, MANY);
}

TEST_F(count, one_for_mixed_protections)
{
	static const int prots[] = { NONE, R, RW, RX };
	int i;

	touch(self, PAGES);
	ASSERT_EQ(0, protect(self->space, self->view, PAGES, RW));
	scatter(self, R);
	for (i = 0; i < MANY; i++)
		ranges[i].prot = prots[i % 4];
	start(self);
	EXPECT_EQ(0, batch(self->space, AVM_IOC_PROTECT, ranges, MANY, NULL));
	expect_flushes(1, MANY * 3 / 4);
}

/* All but one of the pages, which was mapped and never accessed. */
static void one_but_for(struct __test_metadata *_metadata,
			struct _test_data_count *self, int n, int untouched)
{
	int i;

	ASSERT_EQ(0, discard(self->space, self->view, n));
	ASSERT_EQ(0, protect(self->space, self->view, n, RW));
	ASSERT_EQ(0, populate(self->space, self->view, n));
	for (i = 0; i < n; i++) {
		if (i != untouched)
			self->view[i * PAGE] = 1;
		ranges[i] = (struct avm_range){
			.addr = (uintptr_t)self->view + i * PAGE,
			.length = PAGE,
			.prot = R,
		};
	}
	start(self);
	EXPECT_EQ(0, batch(self->space, AVM_IOC_PROTECT, ranges, n, NULL));
	expect_flushes(1, n);
}

/* Few pages go the short way; the first of many decides for none but itself. */
TEST_F(count, one_wherever_the_page_that_nobody_can_have_cached_is)
{
	static const int sizes[] = { 2, 8, 20 };
	int i;

	for (i = 0; i < 3; i++) {
		one_but_for(_metadata, self, sizes[i], 0);
		one_but_for(_metadata, self, sizes[i], sizes[i] - 1);
	}
}

TEST_F(count, none_for_unprot)
{
	touch(self, PAGES);
	ASSERT_EQ(0, protect(self->space, self->view, PAGES / 2, R));
	ASSERT_EQ(0, protect(self->space, self->view + PAGES / 2 * PAGE,
			     PAGES / 2, NONE));
	scatter(self, RW);
	start(self);
	EXPECT_EQ(0, batch(self->space, AVM_IOC_PROTECT, ranges, MANY, NULL));
	EXPECT_EQ(0, protect(self->space, self->view, PAGES, RW));
	expect_flushes(0, 0);
	EXPECT_EQ(0, try_write(self->view, 1));
	EXPECT_EQ(0, try_write(self->view + (PAGES - 1) * PAGE, 1));
}

TEST_F(count, none_for_pages_never_touched)
{
	scatter(self, R);
	start(self);
	EXPECT_EQ(0, batch(self->space, AVM_IOC_PROTECT, ranges, MANY, NULL));
	EXPECT_EQ(0, protect(self->space, self->view, PAGES, NONE));
	EXPECT_EQ(0, discard(self->space, self->view, PAGES));
	expect_flushes(0, 0);
}

/* The CPU caches a translation only after it has set the accessed bit. */
TEST_F(count, none_for_pages_populated_and_not_accessed)
{
	ASSERT_EQ(0, populate(self->space, self->view, PAGES));
	start(self);
	EXPECT_EQ(0, protect(self->space, self->view, PAGES, R));
	EXPECT_EQ(0, protect(self->space, self->view, PAGES, NONE));
	expect_flushes(0, 0);
}

TEST_F(count, none_for_what_is_so_already)
{
	touch(self, PAGES);
	ASSERT_EQ(0, protect(self->space, self->view, PAGES, R));
	start(self);
	EXPECT_EQ(0, protect(self->space, self->view, PAGES, R));
	expect_flushes(0, 0);
	ASSERT_EQ(0, protect(self->space, self->view, PAGES, NONE));
	start(self);
	EXPECT_EQ(0, protect(self->space, self->view, PAGES, NONE));
	expect_flushes(0, 0);
}

TEST_F(count, scan_one_when_it_clears_and_else_none)
{
	static uint64_t bits[PAGES / 64];

	touch(self, MANY);
	memset(bits, 0, sizeof(bits));
	start(self);
	EXPECT_EQ(MANY, scan(self->space, self->view, PAGES, AVM_PAGE_DIRTY,
			     0, bits));
	expect_flushes(0, 0);
	start(self);
	EXPECT_EQ(MANY, dirty(self->space, self->view, PAGES, bits));
	expect_flushes(1, MANY);
	start(self);
	EXPECT_EQ(0, dirty(self->space, self->view, PAGES, bits));
	expect_flushes(0, 0);
	start(self);
	EXPECT_EQ(MANY, accessed(self->space, self->view, PAGES, bits));
	expect_flushes(1, MANY);
}

TEST_F(count, one_for_adding_execute)
{
	ASSERT_EQ(0, protect(self->space, self->view, PAGES, RW));
	touch(self, 8);
	self->view[0] = 0xc3;	/* ret */
	start(self);
	EXPECT_EQ(0, protect(self->space, self->view, 8, RWX));
	expect_flushes(1, 8);
	EXPECT_EQ(0, try_fetch(self->view));
}

TEST_F(count, discard_one)
{
	touch(self, PAGES);
	scatter(self, 0);
	start(self);
	EXPECT_EQ(0, batch(self->space, AVM_IOC_DISCARD, ranges, 60, NULL));
	expect_flushes(1, 60);
}

/* VMAs that the view has in /proc/self/maps; *@whole: one has all of it. */
static int vmas(const char *view, unsigned long pages, bool *whole)
{
	unsigned long from = (uintptr_t)view, to = from + pages * PAGE, a, b;
	FILE *file = fopen("/proc/self/maps", "r");
	char line[512];
	int n = 0;

	must(file);
	*whole = false;
	while (fgets(line, sizeof(line), file)) {
		must(sscanf(line, "%lx-%lx", &a, &b) == 2);
		if (b <= from || a >= to)
			continue;
		n++;
		*whole |= a == from && b == to;
	}
	fclose(file);
	return n;
}

/* Every other page of @view gets @prot, in one call. */
static int alternate(int space, char *view, unsigned long pages, int prot,
		     struct avm_range *vector)
{
	unsigned long i;

	for (i = 0; i < pages / 2; i++)
		vector[i] = (struct avm_range){
			.addr = (uintptr_t)view + 2 * i * PAGE,
			.length = PAGE,
			.prot = prot,
		};
	return batch(space, AVM_IOC_PROTECT, vector, pages / 2, NULL);
}

#define MILLION	1000000ul

FIXTURE(vma) {
};

FIXTURE_SETUP(vma)
{
	denied_setup();
}

FIXTURE_TEARDOWN(vma)
{
}

/* A debug kernel takes its time for so many. */
TEST_F_TIMEOUT(vma, a_million_alternating_pages_are_one, 200)
{
	int space = space_new(MILLION), prot;
	char *view = view_new(space, 0, MILLION, RW);
	struct avm_range *vector = malloc(MILLION / 2 * sizeof(*vector));
	unsigned long i;
	bool whole;

	ASSERT_NE(NULL, vector);
	for (prot = NONE; prot <= R; prot++) {
		ASSERT_EQ(0, alternate(space, view, MILLION, prot, vector));
		EXPECT_EQ(1, vmas(view, MILLION, &whole));
		EXPECT_TRUE(whole);
		for (i = 0; i < MILLION; i += 99998) {
			EXPECT_EQ(SIGSEGV, try_write(view + i * PAGE, 1));
			EXPECT_EQ(0, try_write(view + (i + 1) * PAGE, 1));
			EXPECT_EQ(prot == NONE ? SIGSEGV : 0,
				  try_read(view + i * PAGE));
		}
	}
	/* A byte a page, whatever the pattern, and what it takes to find it. */
	EXPECT_LE(stats(space).out_state_bytes, MILLION + 1024);
	free(vector);
	close(space);
}

TEST_F_TIMEOUT(vma, a_million_protections_of_touched_pages_leave_one, 200)
{
	static const int prots[] = { NONE, R, RW };
	static struct avm_range vector[PAGES / 2];
	int space = space_new(PAGES), prot;
	char *view = view_new(space, 0, PAGES, RW);
	unsigned long done, i;
	bool whole;

	for (i = 0; i < PAGES; i++)
		view[i * PAGE] = 1;
	for (done = 0; done < MILLION; done += PAGES / 2) {
		prot = prots[done / (PAGES / 2) % 3];
		ASSERT_EQ(0, alternate(space, view, PAGES, prot, vector));
		i = done / (PAGES / 2) * 2 % PAGES * PAGE;
		ASSERT_EQ(prot == RW ? 0 : SIGSEGV, try_write(view + i, 1));
		ASSERT_EQ(prot == NONE ? SIGSEGV : 0, try_read(view + i));
		ASSERT_EQ(0, try_write(view + i + PAGE, 1));
	}
	EXPECT_EQ(1, vmas(view, PAGES, &whole));
	EXPECT_TRUE(whole);
	close(space);
}

TEST_HARNESS_MAIN
