// SPDX-License-Identifier: GPL-2.0
/*
 * test_scan - AVM_IOC_SCAN answers what a simple model of the pages answers
 */
#include "avmtest.h"

#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <time.h>

#include "harness.h"

#define BOTH	(AVM_PAGE_DIRTY | AVM_PAGE_ACCESSED)
#define CHUNK	512ul		/* pages of a page table */
#define WINDOW	32768ul		/* pages that the module scans at a time... */
#define SPANS	256ul		/* ... and spans */
#define SLICE	(1ul << 18)	/* ... and pages, without a bitmap */
#define GUARD	0x5aa55aa55aa55aa5ull

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* A scan of pages [first, first + n) of a view, with all there is to say. */
static struct avm_scan scan_of(const char *view, unsigned long first,
			       unsigned long n, uint32_t match, uint32_t clear)
{
	return (struct avm_scan){
		.size = sizeof(struct avm_scan),
		.addr = (uintptr_t)view + first * PAGE,
		.length = n * PAGE,
		.match = match,
		.clear = clear,
	};
}

static void want_bitmap(struct avm_scan *arg, uint64_t *bitmap)
{
	arg->flags |= AVM_SCAN_BITMAP;
	arg->buffer = (uintptr_t)bitmap;
	arg->buffer_size = (arg->length / PAGE + 63) / 64 * 8;
}

static void want_spans(struct avm_scan *arg, struct avm_span *spans,
		       unsigned long room)
{
	arg->flags |= AVM_SCAN_RANGES;
	arg->buffer = (uintptr_t)spans;
	arg->buffer_size = room * sizeof(*spans);
}

static void want_prot(struct avm_scan *arg, int prot)
{
	arg->flags |= AVM_SCAN_PROTECT;
	arg->prot = prot;
}

static int do_scan(int space, struct avm_scan *arg)
{
	return call(space, AVM_IOC_SCAN, arg);
}

/*
 * The model: what a page has, and what it may be asked for. Everything that
 * is done to the view is done to it.
 */
#define MODEL	3000ul	/* pages: some tables, and a part of one */

struct model {
	uint8_t bits[MODEL];
	uint8_t prot[MODEL];
};

/* What a scan is to say. */
struct answer {
	uint64_t bitmap[MODEL / 64 + 2];
	struct avm_span spans[MODEL + 1];
	uint64_t pages;
	uint64_t n;
	uint64_t end;
};

FIXTURE(model) {
	int space;
	unsigned int seed;
	char *view;
	struct model model;
	struct answer want;
	struct answer got;
};

FIXTURE_SETUP(model)
{
	self->space = space_new(MODEL + 77);
	self->view = view_new(self->space, 77, MODEL, RW);
	memset(self->model.prot, RW, MODEL);
	self->seed = 20250101;
}

FIXTURE_TEARDOWN(model)
{
	close(self->space);
}

static unsigned long below(struct _test_data_model *self, unsigned long n)
{
	return rand_r(&self->seed) % n;
}

/* Some pages: few as a rule, sometimes many. */
static void some(struct _test_data_model *self, unsigned long *first,
		 unsigned long *end)
{
	unsigned long n = below(self, 8) ? 40 : MODEL;

	*first = below(self, MODEL);
	*end = *first + 1 + below(self, n);
	if (*end > MODEL)
		*end = MODEL;
}

static void touch(struct _test_data_model *self, unsigned long i, bool write)
{
	volatile char *page = self->view + i * PAGE;

	if (write && self->model.prot[i] == RW) {
		*page = 1;
		self->model.bits[i] |= BOTH;
	} else if (!write && self->model.prot[i] != NONE) {
		*page;
		self->model.bits[i] |= AVM_PAGE_ACCESSED;
	}
}

static void act(struct _test_data_model *self)
{
	static const int prots[] = { NONE, R, RW, RW };
	unsigned long i, end, step = 1 + below(self, 3);
	unsigned int what = below(self, 8);
	int prot = prots[below(self, 4)];

	some(self, &i, &end);
	switch (what) {
	case 0:
		must(!populate(self->space, self->view + i * PAGE, end - i));
		break;
	case 1:
		must(!discard(self->space, self->view + i * PAGE, end - i));
		memset(self->model.bits + i, 0, end - i);
		break;
	case 2:
	case 3:
		must(!protect(self->space, self->view + i * PAGE, end - i,
			      prot));
		memset(self->model.prot + i, prot, end - i);
		break;
	default:
		for (; i < end; i += step)
			touch(self, i, what < 7);
		break;
	}
}

/* One page that matches; false when there is no room for it. */
static bool model_page(struct answer *want, const struct avm_scan *arg,
		       unsigned long i)
{
	uint64_t addr = arg->addr + i * PAGE;
	struct avm_span *last = want->spans + want->n - 1;

	if (!want->n || last->addr + last->length != addr) {
		if (arg->flags & AVM_SCAN_RANGES &&
		    want->n == arg->buffer_size / sizeof(*last))
			return false;
		last++;
		last->addr = addr;
		want->n++;
	}
	last->length += PAGE;
	want->bitmap[i / 64] |= 1ull << i % 64;
	want->pages++;
	return true;
}

static void model_scan(struct _test_data_model *self,
		       const struct avm_scan *arg)
{
	unsigned long first = (arg->addr - (uintptr_t)self->view) / PAGE, i;
	struct answer *want = &self->want;

	memset(want, 0, sizeof(*want));
	for (i = 0; i < arg->length / PAGE; i++) {
		if (!(self->model.bits[first + i] & arg->match))
			continue;
		if (!model_page(want, arg, i))
			break;
		self->model.bits[first + i] &= ~arg->clear;
		if (arg->flags & AVM_SCAN_PROTECT)
			self->model.prot[first + i] = arg->prot;
	}
	want->end = arg->addr + i * PAGE;
}

enum form { COUNT, BITMAP, RANGES };

static struct avm_scan random_scan(struct _test_data_model *self,
				   enum form form)
{
	static const int prots[] = { NONE, R, RW };
	unsigned long first, end;
	struct avm_scan arg;

	some(self, &first, &end);
	if (!below(self, 4)) {
		first = 0;
		end = MODEL;
	}
	arg = scan_of(self->view, first, end - first, 1 + below(self, 3),
		      below(self, 4));
	memset(&self->got, 0x5a, sizeof(self->got));
	if (form == BITMAP)
		want_bitmap(&arg, self->got.bitmap);
	else if (form == RANGES)
		want_spans(&arg, self->got.spans,
			   1 + (below(self, 3) ? MODEL - 1 : below(self, 20)));
	if (!below(self, 3))
		want_prot(&arg, prots[below(self, 3)]);
	return arg;
}

static void compare(struct __test_metadata *_metadata,
		    struct _test_data_model *self, const struct avm_scan *arg)
{
	unsigned long words = (arg->length / PAGE + 63) / 64, i;

	ASSERT_EQ(self->want.pages, arg->out_pages);
	ASSERT_EQ(self->want.end, arg->out_end);
	if (arg->flags & AVM_SCAN_BITMAP) {
		for (i = 0; i < words; i++)
			ASSERT_EQ(self->want.bitmap[i], self->got.bitmap[i]);
		/* Not a word more. */
		ASSERT_EQ(0x5a5a5a5a5a5a5a5a, self->got.bitmap[words]);
	}
	if (arg->flags & AVM_SCAN_RANGES) {
		ASSERT_EQ(self->want.n, arg->out_spans);
		ASSERT_EQ(0, memcmp(self->want.spans, self->got.spans,
				    self->want.n * sizeof(struct avm_span)));
	} else {
		ASSERT_EQ(0, arg->out_spans);
	}
}

/* The state of every page, by two more scans that change nothing. */
static void compare_all(struct __test_metadata *_metadata,
			struct _test_data_model *self)
{
	static const uint32_t bits[] = { AVM_PAGE_DIRTY, AVM_PAGE_ACCESSED };
	struct avm_scan arg;
	int i;

	for (i = 0; i < 2; i++) {
		arg = scan_of(self->view, 0, MODEL, bits[i], 0);
		memset(&self->got, 0x5a, sizeof(self->got));
		want_bitmap(&arg, self->got.bitmap);
		model_scan(self, &arg);
		ASSERT_EQ(0, do_scan(self->space, &arg));
		compare(_metadata, self, &arg);
	}
}

static void run_model(struct __test_metadata *_metadata,
		      struct _test_data_model *self, enum form form)
{
	unsigned long rounds = 0;
	double end = now() + 1.5;
	struct avm_scan arg;

	for (; now() < end || rounds < 30; rounds++) {
		act(self);
		act(self);
		act(self);
		arg = random_scan(self, form);
		model_scan(self, &arg);
		ASSERT_EQ(0, do_scan(self->space, &arg));
		compare(_metadata, self, &arg);
		if (rounds % 4 == 0)
			compare_all(_metadata, self);
	}
	TH_LOG("%lu rounds", rounds);
}

TEST_F(model, bitmaps_are_those_of_the_model)
{
	run_model(_metadata, self, BITMAP);
}

TEST_F(model, spans_are_those_of_the_model)
{
	run_model(_metadata, self, RANGES);
}

TEST_F(model, counts_are_those_of_the_model)
{
	run_model(_metadata, self, COUNT);
}

/* A view of more than one window, in which few pages are written. */
#define LARGE	(3 * WINDOW + 1000)

FIXTURE(large) {
	int space;
	char *view;
	uint64_t *bitmap;
	uint64_t *want;
	struct avm_span *spans;
};

FIXTURE_SETUP(large)
{
	denied_setup();
	self->space = space_new(LARGE);
	self->view = view_new(self->space, 0, LARGE, RW);
	self->bitmap = calloc(LARGE / 64 + 2, 8);
	self->want = calloc(LARGE / 64 + 2, 8);
	self->spans = calloc(4 * SPANS, sizeof(*self->spans));
	must(self->bitmap && self->want && self->spans);
}

FIXTURE_TEARDOWN(large)
{
	close(self->space);
}

static void write_pages(char *view, unsigned long first, unsigned long n,
			unsigned long step)
{
	for (; n; n--, first += step)
		view[first * PAGE] = 1;
}

/* Both sides of each boundary that a scan from page @start may trip over. */
static void write_around(struct _test_data_large *self, unsigned long start,
			 unsigned long every)
{
	unsigned long i, j;

	for (i = start; i < LARGE; i += every)
		for (j = i ? i - 1 : i; j <= i + 1 && j < LARGE; j++) {
			self->view[j * PAGE] = 1;
			if (j >= start)
				self->want[(j - start) / 64] |=
					1ull << (j - start) % 64;
		}
}

/* From anywhere in a page table, over tables and windows. */
TEST_F(large, bitmaps_cross_tables_and_windows)
{
	static const unsigned long starts[] = { 0, 1, 63, 64, 511, 513, 33333 };
	unsigned long i, n, words;
	struct avm_scan arg;
	unsigned int k;

	for (k = 0; k < 7; k++) {
		n = LARGE - starts[k];
		words = (n + 63) / 64;
		memset(self->want, 0, words * 8);
		ASSERT_LE(0, dirty(self->space, self->view, LARGE, NULL));
		write_around(self, starts[k], WINDOW);
		write_around(self, starts[k], 5 * CHUNK);
		memset(self->bitmap, 0xff, words * 8);
		self->bitmap[words] = GUARD;
		arg = scan_of(self->view, starts[k], n, AVM_PAGE_DIRTY,
			      AVM_PAGE_DIRTY);
		want_bitmap(&arg, self->bitmap);
		ASSERT_EQ(0, do_scan(self->space, &arg));
		for (i = 0; i < words; i++)
			ASSERT_EQ(self->want[i], self->bitmap[i]);
		EXPECT_EQ(GUARD, self->bitmap[words]);
		EXPECT_EQ((uintptr_t)self->view + LARGE * PAGE, arg.out_end);
		EXPECT_EQ(0, scan(self->space, self->view + starts[k] * PAGE,
				  n, AVM_PAGE_DIRTY, 0, NULL));
	}
}

/* Each page of a table alone, and each range: nothing is off by one. */
TEST_F(large, every_page_of_two_tables_is_found_alone)
{
	unsigned long i;

	ASSERT_EQ(0, populate(self->space, self->view, 2 * CHUNK));
	for (i = 0; i < 2 * CHUNK; i++) {
		self->view[i * PAGE] = 1;
		ASSERT_EQ(0, scan(self->space, self->view, i ?: 1,
				  AVM_PAGE_DIRTY, 0, NULL) - !i);
		ASSERT_EQ(0, scan(self->space, self->view + (i + 1) * PAGE,
				  2 * CHUNK - i, AVM_PAGE_DIRTY, 0, NULL));
		ASSERT_EQ(1, scan(self->space, self->view + i * PAGE, 1,
				  AVM_PAGE_DIRTY, 0, NULL));
		ASSERT_EQ(1, dirty(self->space, self->view, 2 * CHUNK + 1,
				   self->bitmap));
		ASSERT_EQ(1, bit(self->bitmap, i));
	}
}

/* Clear what @first and the @n - 1 every @step after it are; in parts. */
static unsigned long in_parts(struct __test_metadata *_metadata,
			      struct _test_data_large *self,
			      unsigned long first, unsigned long step,
			      unsigned long room)
{
	uint64_t addr = (uintptr_t)self->view, to = addr + LARGE * PAGE;
	unsigned long found = 0, calls = 0, i;
	struct avm_scan arg;

	while (addr < to) {
		arg = scan_of(self->view, 0, LARGE, AVM_PAGE_DIRTY,
			      AVM_PAGE_DIRTY);
		arg.addr = addr;
		arg.length = to - addr;
		want_spans(&arg, self->spans, room);
		memset(self->spans, 0x5a, 4 * SPANS * sizeof(*self->spans));
		ASSERT_EQ(0, do_scan(self->space, &arg)) return 0;
		ASSERT_LE(arg.out_spans, room) return 0;
		ASSERT_EQ(arg.out_spans, arg.out_pages) return 0;
		for (i = 0; i < arg.out_spans; i++, found++) {
			ASSERT_EQ((uintptr_t)self->view +
				  (first + found * step) * PAGE,
				  self->spans[i].addr) return 0;
			ASSERT_EQ(PAGE, self->spans[i].length) return 0;
		}
		/* It ends early only when it is full, before the next one. */
		if (arg.out_end != to) {
			ASSERT_EQ(room, arg.out_spans) return 0;
			ASSERT_EQ((uintptr_t)self->view +
				  (first + found * step) * PAGE,
				  arg.out_end) return 0;
		}
		addr = arg.out_end;
		calls++;
	}
	TH_LOG("room for %lu: %lu calls", room, calls);
	return found;
}

TEST_F(large, a_full_buffer_ends_the_scan_which_can_go_on)
{
	static const unsigned long rooms[] = {
		1, 2, SPANS - 1, SPANS, SPANS + 1, 2 * SPANS, 600, 4 * SPANS,
	};
	unsigned int i;

	for (i = rooms[0] - 1; i < 8; i++) {
		write_pages(self->view, 7, 600, 97);
		EXPECT_EQ(600, in_parts(_metadata, self, 7, 97, rooms[i]));
		EXPECT_EQ(0, dirty(self->space, self->view, LARGE, NULL));
	}
}

/* With exactly as much room as there is to say the scan is complete. */
TEST_F(large, a_buffer_that_just_suffices_is_enough)
{
	static const unsigned long n[] = { 1, SPANS, 2 * SPANS, 300 };
	struct avm_scan arg;
	unsigned int i;

	for (i = 0; i < 4; i++) {
		write_pages(self->view, 0, n[i], 3);
		arg = scan_of(self->view, 0, LARGE, AVM_PAGE_DIRTY,
			      AVM_PAGE_DIRTY);
		want_spans(&arg, self->spans, n[i]);
		ASSERT_EQ(0, do_scan(self->space, &arg));
		EXPECT_EQ(n[i], arg.out_spans);
		EXPECT_EQ(n[i], arg.out_pages);
		EXPECT_EQ((uintptr_t)self->view + LARGE * PAGE, arg.out_end);
	}
}

/* The last span that fits goes on as long as the pages do. */
TEST_F(large, runs_are_one_span_across_tables_and_windows)
{
	struct avm_scan arg;

	write_pages(self->view, 1, SPANS - 1, 2);
	write_pages(self->view, 700, 2 * CHUNK, 1);
	write_pages(self->view, 5000, 5, 2);
	arg = scan_of(self->view, 0, LARGE, AVM_PAGE_DIRTY, 0);
	want_spans(&arg, self->spans, SPANS);
	ASSERT_EQ(0, do_scan(self->space, &arg));
	EXPECT_EQ(SPANS, arg.out_spans);
	EXPECT_EQ((uintptr_t)self->view + 700 * PAGE,
		  self->spans[SPANS - 1].addr);
	EXPECT_EQ(2 * CHUNK * PAGE, self->spans[SPANS - 1].length);
	EXPECT_EQ((uintptr_t)self->view + 5000 * PAGE, arg.out_end);
	want_spans(&arg, self->spans, 4 * SPANS);
	ASSERT_EQ(0, do_scan(self->space, &arg));
	EXPECT_EQ(SPANS + 5, arg.out_spans);
	EXPECT_EQ(2 * CHUNK * PAGE, self->spans[SPANS - 1].length);
}

/* Re-protect in the same pass: those that match, and no others. */
TEST_F(large, protect_closes_what_matched_and_nothing_else)
{
	static const int prots[] = { NONE, R, RW };
	struct avm_scan arg;
	unsigned long i;
	int k;

	for (k = 0; k < 3; k++) {
		write_pages(self->view, 500, 10, 3);
		arg = scan_of(self->view, 0, LARGE, AVM_PAGE_DIRTY,
			      AVM_PAGE_DIRTY);
		want_bitmap(&arg, self->bitmap);
		want_prot(&arg, prots[k]);
		ASSERT_EQ(0, do_scan(self->space, &arg));
		EXPECT_EQ(10, arg.out_pages);
		for (i = 0; i < 30; i++) {
			char *page = self->view + (500 + i) * PAGE;
			bool hit = i % 3 == 0;

			EXPECT_EQ(hit, bit(self->bitmap, 500 + i));
			EXPECT_EQ(hit && prots[k] == NONE ? SIGSEGV : 0,
				  try_read(page));
			EXPECT_EQ(hit && prots[k] != RW ? SIGSEGV : 0,
				  try_write(page, 2));
		}
		ASSERT_EQ(0, protect(self->space, self->view, LARGE, RW));
		ASSERT_LE(0, dirty(self->space, self->view, LARGE, NULL));
	}
}

/* What is not cleared stays when the translation goes. */
TEST_F(large, protect_to_none_keeps_what_is_not_cleared)
{
	struct avm_scan arg = scan_of(self->view, 0, LARGE, AVM_PAGE_DIRTY,
				      AVM_PAGE_DIRTY);

	write_pages(self->view, 500, 20, 1);
	want_prot(&arg, NONE);
	ASSERT_EQ(0, do_scan(self->space, &arg));
	EXPECT_EQ(20, arg.out_pages);
	EXPECT_EQ(0, scan(self->space, self->view, LARGE, AVM_PAGE_DIRTY, 0,
			  NULL));
	EXPECT_EQ(20, scan(self->space, self->view, LARGE, AVM_PAGE_ACCESSED,
			   0, NULL));
}

/* And an answer that is too long leaves the rest as it was. */
TEST_F(large, protect_stops_where_the_answer_does)
{
	struct avm_scan arg = scan_of(self->view, 0, LARGE, AVM_PAGE_DIRTY,
				      AVM_PAGE_DIRTY);
	unsigned long i;

	write_pages(self->view, 500, 20, 2);
	want_spans(&arg, self->spans, 7);
	want_prot(&arg, NONE);
	ASSERT_EQ(0, do_scan(self->space, &arg));
	EXPECT_EQ(7, arg.out_spans);
	for (i = 0; i < 20; i++)
		EXPECT_EQ(i < 7 ? SIGSEGV : 0,
			  try_read(self->view + (500 + 2 * i) * PAGE));
	EXPECT_EQ(13, dirty(self->space, self->view, LARGE, NULL));
}

TEST_F(large, a_protection_above_the_mapping_changes_nothing)
{
	char *low = view_new(self->space, 0, LARGE, R);
	struct avm_scan arg = scan_of(low, 0, LARGE, AVM_PAGE_ACCESSED,
				      AVM_PAGE_ACCESSED);

	EXPECT_EQ(0, try_read(low));
	want_prot(&arg, RW);
	EXPECT_EQ(-EACCES, do_scan(self->space, &arg));
	EXPECT_EQ(1, accessed(self->space, low, LARGE, NULL));
	EXPECT_EQ(SIGSEGV, try_write(low, 1));
}

/* Two views side by side, the second with other pages, are one range. */
TEST_F(large, a_scan_goes_on_from_view_to_view)
{
	char *middle = self->view + 1000 * PAGE;
	struct avm_scan arg;

	ASSERT_EQ(middle, mmap(middle, 700 * PAGE, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_FIXED, self->space,
			       50000 * PAGE));
	write_pages(self->view, 990, 720, 1);
	arg = scan_of(self->view, 0, LARGE, AVM_PAGE_DIRTY, AVM_PAGE_DIRTY);
	want_spans(&arg, self->spans, 4);
	ASSERT_EQ(0, do_scan(self->space, &arg));
	EXPECT_EQ(720, arg.out_pages);
	EXPECT_EQ(1, arg.out_spans);
	EXPECT_EQ((uintptr_t)self->view + 990 * PAGE, self->spans[0].addr);
	EXPECT_EQ(720 * PAGE, self->spans[0].length);
}

TEST_F(large, a_hole_fails_the_scan_and_changes_nothing)
{
	struct avm_scan arg = scan_of(self->view, 0, LARGE, AVM_PAGE_DIRTY,
				      AVM_PAGE_DIRTY);

	write_pages(self->view, 0, 100, 1);
	write_pages(self->view, 40000, 100, 1);
	ASSERT_EQ(0, munmap(self->view + 36000 * PAGE, 77 * PAGE));
	want_spans(&arg, self->spans, 4);
	want_prot(&arg, NONE);
	EXPECT_EQ(-ENXIO, do_scan(self->space, &arg));
	EXPECT_EQ(arg.addr, arg.out_end);
	EXPECT_EQ(0, arg.out_pages);
	EXPECT_EQ(0, try_read(self->view));
	EXPECT_EQ(100, dirty(self->space, self->view, 36000, NULL));
	EXPECT_EQ(100, dirty(self->space, self->view + 36077 * PAGE,
			     LARGE - 36077, self->bitmap));
	EXPECT_EQ(1, bit(self->bitmap, 40000 - 36077));
	EXPECT_EQ(0, bit(self->bitmap, 40000 - 36077 - 1));
}

/* Memory for an answer, the part from @hole on read-only. */
static char *read_only_from(unsigned long hole)
{
	unsigned long size = 4 * PAGE;
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(p != MAP_FAILED);
	must(!mprotect(p + hole, size - hole, PROT_READ));
	return p;
}

TEST_F(large, an_answer_that_cannot_be_written_changes_nothing)
{
	char *buffer = read_only_from(0);
	struct avm_scan arg;
	int form;

	write_pages(self->view, 0, 1000, 3);
	for (form = BITMAP; form <= RANGES; form++) {
		arg = scan_of(self->view, 0, LARGE, AVM_PAGE_DIRTY, BOTH);
		if (form == BITMAP)
			want_bitmap(&arg, (uint64_t *)buffer);
		else
			want_spans(&arg, (struct avm_span *)buffer, SPANS);
		want_prot(&arg, NONE);
		EXPECT_EQ(-EFAULT, do_scan(self->space, &arg));
		EXPECT_EQ(arg.addr, arg.out_end);
		EXPECT_EQ(0, arg.out_pages);
		EXPECT_EQ(0, try_write(self->view, 1));
		EXPECT_EQ(1000, scan(self->space, self->view, LARGE,
				     AVM_PAGE_DIRTY, 0, NULL));
		EXPECT_EQ(1000, scan(self->space, self->view, LARGE,
				     AVM_PAGE_ACCESSED, 0, NULL));
	}
}

/* Where it goes wrong half-way, out_end tells what has not been touched. */
TEST_F(large, an_answer_cut_short_leaves_the_rest_for_the_next_scan)
{
	char *buffer = read_only_from(PAGE);
	struct avm_scan arg;
	unsigned long before, i;

	write_pages(self->view, 5, 1000, 77);
	arg = scan_of(self->view, 0, LARGE, AVM_PAGE_DIRTY, AVM_PAGE_DIRTY);
	want_bitmap(&arg, (uint64_t *)buffer);
	EXPECT_EQ(-EFAULT, do_scan(self->space, &arg));
	before = (arg.out_end - (uintptr_t)self->view) / PAGE;
	EXPECT_LE(before, 8 * PAGE);
	for (i = 0; i < before; i++)
		ASSERT_EQ(i % 77 == 5, bit((uint64_t *)buffer, i));
	EXPECT_EQ(0, scan(self->space, self->view, before ?: 1, AVM_PAGE_DIRTY,
			  0, NULL));
	EXPECT_EQ(1000 - arg.out_pages,
		  dirty(self->space, self->view, LARGE, self->bitmap));
	for (i = before; i < 77 * 1000; i++)
		ASSERT_EQ(i % 77 == 5, bit(self->bitmap, i));
}

/*
 * A buffer that goes while the scan runs: two pages, of which userfaultfd hands
 * every touch to a thread. The scan writes zeros to the first, then to the
 * second; the thread takes the first away again before it lets the scan have
 * the second. So the scan meets it when it writes its answer; then the thread
 * unmaps both.
 */
struct vanishing {
	int uffd;
	char *pages;
	pthread_t thread;
	int touches;
};

static void next_touch(struct vanishing *v, char *page)
{
	struct uffd_msg msg;

	must(read(v->uffd, &msg, sizeof(msg)) == sizeof(msg));
	must(msg.event == UFFD_EVENT_PAGEFAULT);
	must((msg.arg.pagefault.address & ~(PAGE - 1)) == (uintptr_t)page);
	v->touches++;
}

static void give_page(struct vanishing *v, char *page)
{
	struct uffdio_zeropage zero = { .range = { (uintptr_t)page, PAGE } };

	must(!ioctl(v->uffd, UFFDIO_ZEROPAGE, &zero));
}

static void *vanish(void *arg)
{
	struct vanishing *v = arg;
	struct uffdio_range both = { (uintptr_t)v->pages, 2 * PAGE };

	next_touch(v, v->pages);
	give_page(v, v->pages);
	next_touch(v, v->pages + PAGE);
	must(!madvise(v->pages, PAGE, MADV_DONTNEED));
	give_page(v, v->pages + PAGE);
	next_touch(v, v->pages);
	must(!munmap(v->pages, 2 * PAGE));
	must(!ioctl(v->uffd, UFFDIO_WAKE, &both));
	return NULL;
}

static void vanishing_setup(struct vanishing *v)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };

	v->touches = 0;
	v->pages = mmap(NULL, 2 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(v->pages != MAP_FAILED);
	v->uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	must(v->uffd >= 0 && !ioctl(v->uffd, UFFDIO_API, &api));
	reg.range = (struct uffdio_range){ (uintptr_t)v->pages, 2 * PAGE };
	must(!ioctl(v->uffd, UFFDIO_REGISTER, &reg));
	must(!pthread_create(&v->thread, NULL, vanish, v));
}

TEST_F(large, an_answer_whose_place_vanishes_meanwhile_is_told_by_the_next_scan)
{
	struct avm_scan arg;
	struct vanishing v;
	uint32_t prot;
	int form;

	for (form = BITMAP; form <= RANGES; form++) {
		for (prot = 0; prot <= AVM_SCAN_PROTECT; prot += AVM_SCAN_PROTECT) {
			write_pages(self->view, 3, 50, 2);
			vanishing_setup(&v);
			arg = scan_of(self->view, 0, WINDOW, AVM_PAGE_DIRTY, BOTH);
			if (form == BITMAP)
				want_bitmap(&arg, (uint64_t *)(v.pages + PAGE / 2));
			else
				want_spans(&arg, (struct avm_span *)(v.pages + PAGE / 2),
					   SPANS);
			if (prot)
				want_prot(&arg, R);
			EXPECT_EQ(-EFAULT, do_scan(self->space, &arg));
			must(!pthread_join(v.thread, NULL));
			close(v.uffd);
			EXPECT_EQ(3, v.touches);
			EXPECT_EQ(arg.addr, arg.out_end);
			EXPECT_EQ(0, arg.out_pages);
			EXPECT_EQ(0, arg.out_spans);
			EXPECT_EQ(50, accessed(self->space, self->view, WINDOW, NULL));
			EXPECT_EQ(50, dirty(self->space, self->view, WINDOW, self->bitmap));
			EXPECT_TRUE(bit(self->bitmap, 3) && bit(self->bitmap, 101));
			must(!protect(self->space, self->view, WINDOW, RW));
		}
	}
}

/* The scan that failed has not kept which of the bits were there. */
TEST_F(large, an_answer_that_vanishes_leaves_matching_pages_all_that_was_to_be_cleared)
{
	struct avm_scan arg = scan_of(self->view, 0, WINDOW, AVM_PAGE_ACCESSED, BOTH);
	struct vanishing v;
	unsigned long i;

	for (i = 0; i < 50; i++)
		must(!try_read(self->view + i * PAGE));
	EXPECT_EQ(0, scan(self->space, self->view, WINDOW, AVM_PAGE_DIRTY, 0, NULL));
	vanishing_setup(&v);
	want_bitmap(&arg, (uint64_t *)(v.pages + PAGE / 2));
	EXPECT_EQ(-EFAULT, do_scan(self->space, &arg));
	must(!pthread_join(v.thread, NULL));
	close(v.uffd);
	EXPECT_EQ(50, accessed(self->space, self->view, WINDOW, NULL));
	EXPECT_EQ(50, dirty(self->space, self->view, WINDOW, NULL));
}

/* Immense and almost empty: what was never touched costs next to nothing. */
#define TERA	(1ul << 28)	/* pages */

FIXTURE(sparse) {
	int space;
	char *view;
};

FIXTURE_SETUP(sparse)
{
	denied_setup();
	self->space = space_new(TERA);
	self->view = view_new(self->space, 0, TERA, RW);
}

FIXTURE_TEARDOWN(sparse)
{
	close(self->space);
}

TEST_F(sparse, a_tebibyte_is_scanned_by_what_was_touched)
{
	unsigned long where[] = { 0, 12345, SLICE, TERA / 2 + 511, TERA - 1 };
	struct avm_scan arg = scan_of(self->view, 0, TERA, BOTH, BOTH);
	struct avm_span spans[8];
	int i;

	EXPECT_EQ(0, scan(self->space, self->view, TERA, BOTH, 0, NULL));
	for (i = 0; i < 5; i++)
		self->view[where[i] * PAGE] = 1;
	want_spans(&arg, spans, 8);
	want_prot(&arg, NONE);
	ASSERT_EQ(0, do_scan(self->space, &arg));
	EXPECT_EQ(5, arg.out_spans);
	EXPECT_EQ((uintptr_t)self->view + TERA * PAGE, arg.out_end);
	for (i = 0; i < 5; i++) {
		EXPECT_EQ((uintptr_t)self->view + where[i] * PAGE,
			  spans[i].addr);
		EXPECT_EQ(PAGE, spans[i].length);
		EXPECT_EQ(SIGSEGV, try_read(self->view + where[i] * PAGE));
	}
	EXPECT_EQ(0, try_read(self->view + (TERA - 2) * PAGE));
}

/* With five levels of page tables, where not even the highest has an entry. */
TEST(addresses_that_take_five_levels_are_passed_over)
{
	int space = space_new(64);
	char *hint = (char *)(3ul << 50);
	char *view = mmap(hint, 64 * PAGE, RW, MAP_SHARED, space, 0);

	ASSERT_NE(MAP_FAILED, view);
	EXPECT_EQ(0, scan(space, view, 64, BOTH, BOTH, NULL));
	view[5 * PAGE] = 1;
	EXPECT_EQ(1, dirty(space, view, 64, NULL));
	EXPECT_EQ(0, dirty(space, view, 64, NULL));
}

/* The module gives up its lock every so often: that does not show. */
TEST_F(sparse, runs_are_one_span_across_slices)
{
	struct avm_scan arg = scan_of(self->view, 3, 3 * SLICE, BOTH, 0);
	struct avm_span spans[8];

	write_pages(self->view, SLICE - 2, 10, 1);
	write_pages(self->view, 2 * SLICE - 2, 10, 1);
	want_spans(&arg, spans, 8);
	ASSERT_EQ(0, do_scan(self->space, &arg));
	EXPECT_EQ(20, arg.out_pages);
	EXPECT_EQ(2, arg.out_spans);
	EXPECT_EQ(10 * PAGE, spans[0].length);
	EXPECT_EQ(10 * PAGE, spans[1].length);
}

TEST_HARNESS_MAIN
