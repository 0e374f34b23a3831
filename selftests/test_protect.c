// SPDX-License-Identifier: GPL-2.0
/*
 * PROT1, PROTN and UNPROT: whatever protection a page has had, and whether or
 * not it was ever touched, it ends up with the one that was named last. Each
 * result is checked by a read, a write and a fetch.
 */
#include "avmtest.h"

#include <time.h>

#include "harness.h"

#define CODE_RET	((char)0xc3)
#define TABLE		512ul		/* pages of one page table */

static const int prots[] = { NONE, R, RW, RX, RWX };

#define PROTS	(sizeof(prots) / sizeof(prots[0]))

/*
 * Whether a page grants what @prot says, no more and no less. The pages hold
 * return instructions (or nothing, in which case they are not called). The
 * order matters: a page is looked at before it can have been changed.
 */
static int grants(char *page, int prot, int callable)
{
	int ok = 1;

	ok &= !try_read(page + 8) == !!(prot & AVM_PROT_READ);
	if (callable || !(prot & AVM_PROT_EXEC))
		ok &= !try_fetch(page + 9) == !!(prot & AVM_PROT_EXEC);
	ok &= !try_write(page + 10, CODE_RET) == !!(prot & AVM_PROT_WRITE);
	ok &= !try_read(page + 8) == !!(prot & AVM_PROT_READ);
	return ok;
}

/* A view at an address that is so many pages past a page table's first. */
static char *view_at(int space, uint64_t pages, unsigned long skew, int prot)
{
	unsigned long size = (pages + 2 * TABLE) * PAGE;
	char *room = mmap(NULL, size, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uintptr_t at = (uintptr_t)room;
	char *p;

	must(room != MAP_FAILED);
	at = (at + TABLE * PAGE - 1) / (TABLE * PAGE) * (TABLE * PAGE);
	at += skew * PAGE;
	munmap(room, size);
	p = mmap((void *)at, pages * PAGE, prot,
		 MAP_SHARED | MAP_FIXED_NOREPLACE, space, 0);
	must(p == (char *)at);
	return p;
}

/* The call for one page, which has a way of its own through the module. */
static int protect_page(int space, const char *page, int prot)
{
	int ret = ioctl(space, AVM_IOC_PROTECT_PAGE, page + prot);

	return ret < 0 ? -errno : ret;
}

FIXTURE(protect) {
	int space;
};

FIXTURE_SETUP(protect) {
	self->space = space_new(1 << 20);
	denied_setup();
}

FIXTURE_TEARDOWN(protect) {
	close(self->space);
}

/* How a page came to have its first protection in the table of transitions. */
enum past { NEVER_TOUCHED, POPULATED, WRITTEN, PASTS };

static void give_past(int space, char *page, enum past past)
{
	if (past == POPULATED)
		must(!populate(space, page, 1));
	else if (past == WRITTEN)
		memset(page, CODE_RET, PAGE);
}

TEST_F(protect, every_transition_ends_at_the_new_protection)
{
	unsigned int from, to, past;
	char *p = view_new(self->space, 0, 1024, RWX), *page = p;

	for (past = 0; past < PASTS; past++) {
		for (from = 0; from < PROTS; from++) {
			for (to = 0; to < PROTS; to++, page += PAGE) {
				give_past(self->space, page, past);
				must(!protect(self->space, page, 1,
					      prots[from]));
				must(!protect(self->space, page, 1,
					      prots[to]));
				EXPECT_TRUE(grants(page, prots[to],
						   past == WRITTEN)) {
					TH_LOG("%d to %d, past %u", prots[from],
					       prots[to], past);
				}
			}
		}
	}
}

/* The same, with an access in between that the first protection allows. */
TEST_F(protect, every_transition_holds_for_pages_in_use)
{
	unsigned int from, to;
	char *p = view_new(self->space, 0, 64, RWX), *page = p;

	for (from = 0; from < PROTS; from++) {
		for (to = 0; to < PROTS; to++, page += PAGE) {
			memset(page, CODE_RET, PAGE);
			must(!protect(self->space, page, 1, prots[from]));
			EXPECT_TRUE(grants(page, prots[from], 1));
			must(!protect(self->space, page, 1, prots[to]));
			EXPECT_TRUE(grants(page, prots[to], 1)) {
				TH_LOG("%d to %d", prots[from], prots[to]);
			}
		}
	}
}

TEST_F(protect, every_transition_of_one_page_ends_at_the_new_protection)
{
	unsigned int from, to, past;
	char *p = view_new(self->space, 0, 1024, RWX), *page = p;

	for (past = 0; past < PASTS; past++) {
		for (from = 0; from < PROTS; from++) {
			for (to = 0; to < PROTS; to++, page += PAGE) {
				give_past(self->space, page, past);
				must(!protect_page(self->space, page,
						   prots[from]));
				must(!protect_page(self->space, page,
						   prots[to]));
				EXPECT_TRUE(grants(page, prots[to],
						   past == WRITTEN)) {
					TH_LOG("%d to %d, past %u", prots[from],
					       prots[to], past);
				}
				EXPECT_TRUE(grants(page + PAGE, RWX, 0));
			}
		}
	}
}

TEST_F(protect, page_after_page_in_any_page_table)
{
	unsigned long skew, i, bad = 0;

	for (skew = 0; skew < 512; skew += 255) {
		char *p = view_at(self->space, 3 * TABLE, skew, RW);

		for (i = 0; i < 3 * TABLE; i += 3) {
			must(!protect_page(self->space, p + i * PAGE, NONE));
			if (i % 2)
				p[(i + 1) * PAGE] = 1;
			must(!protect_page(self->space, p + (i + 1) * PAGE, R));
		}
		for (i = 0; i < 3 * TABLE; i += 3) {
			bad += !grants(p + i * PAGE, NONE, 0);
			bad += !grants(p + (i + 1) * PAGE, R, 0);
			bad += !grants(p + (i + 2) * PAGE, RW, 0);
		}
		EXPECT_EQ(0, bad);
		munmap(p, 3 * TABLE * PAGE);
	}
}

TEST_F(protect, neighbours_keep_their_protection)
{
	char *p = view_new(self->space, 0, 3, RWX);
	unsigned int outer, inner;

	memset(p, CODE_RET, 3 * PAGE);
	for (outer = 0; outer < PROTS; outer++) {
		for (inner = 0; inner < PROTS; inner++) {
			must(!protect(self->space, p, 3, prots[outer]));
			must(!protect(self->space, p + PAGE, 1, prots[inner]));
			EXPECT_TRUE(grants(p, prots[outer], 1));
			EXPECT_TRUE(grants(p + PAGE, prots[inner], 1));
			EXPECT_TRUE(grants(p + 2 * PAGE, prots[outer], 1));
		}
	}
}

TEST_F(protect, vector_gives_each_range_its_own)
{
	char *p = view_new(self->space, 0, 4096, RWX);
	struct avm_range ranges[100];
	struct avm_batch out;
	unsigned int i;

	/* Scattered over eight page tables, in no order; half are touched. */
	for (i = 0; i < 100; i++) {
		ranges[i] = (struct avm_range) {
			.addr = (uintptr_t)p + i * 37 % 100 * 40 * PAGE,
			.length = (1 + i % 3) * PAGE,
			.prot = prots[i % PROTS],
		};
		if (i % 2)
			memset((char *)ranges[i].addr, CODE_RET, 4 * PAGE);
	}
	ASSERT_EQ(0, batch(self->space, AVM_IOC_PROTECT, ranges, 100, &out));
	EXPECT_EQ(100, out.out_done);
	EXPECT_EQ(0, out.out_bytes);
	for (i = 0; i < 100; i++) {
		char *first = (char *)(uintptr_t)ranges[i].addr;

		EXPECT_TRUE(grants(first, ranges[i].prot, i % 2));
		EXPECT_TRUE(grants(first + ranges[i].length - PAGE,
				   ranges[i].prot, i % 2));
		EXPECT_TRUE(grants(first + ranges[i].length, RWX, i % 2));
	}
}

TEST_F(protect, last_of_overlapping_ranges_wins)
{
	char *p = view_new(self->space, 0, 1024, RWX);
	struct avm_range ranges[] = {
		{ (uintptr_t)p, 1024 * PAGE, NONE, 0 },
		{ (uintptr_t)p + 100 * PAGE, 600 * PAGE, RW, 0 },
		{ (uintptr_t)p + 511 * PAGE, 2 * PAGE, R, 0 },
		{ (uintptr_t)p + 512 * PAGE, PAGE, NONE, 0 },
		{ (uintptr_t)p + 512 * PAGE, PAGE, RX, 0 },
		{ (uintptr_t)p + 699 * PAGE, PAGE, RW, 0 },
	};

	memset(p, CODE_RET, 1024 * PAGE);
	ASSERT_EQ(0, batch(self->space, AVM_IOC_PROTECT, ranges, 6, NULL));
	EXPECT_TRUE(grants(p + 99 * PAGE, NONE, 1));
	EXPECT_TRUE(grants(p + 100 * PAGE, RW, 1));
	EXPECT_TRUE(grants(p + 510 * PAGE, RW, 1));
	EXPECT_TRUE(grants(p + 511 * PAGE, R, 1));
	EXPECT_TRUE(grants(p + 512 * PAGE, RX, 1));
	EXPECT_TRUE(grants(p + 513 * PAGE, RW, 1));
	EXPECT_TRUE(grants(p + 699 * PAGE, RW, 1));
	EXPECT_TRUE(grants(p + 700 * PAGE, NONE, 1));
	EXPECT_TRUE(grants(p + 1023 * PAGE, NONE, 1));
}

/* Exactly [first, last] of a view of @pages pages has @prot, the rest RW. */
static int only(char *p, unsigned long pages, unsigned long first,
		unsigned long last, int prot)
{
	unsigned long i;

	for (i = 0; i < pages; i++) {
		int want = i >= first && i <= last ? prot : RW;

		if (!try_read(p + i * PAGE) != !!(want & AVM_PROT_READ) ||
		    !try_write(p + i * PAGE, 1) != !!(want & AVM_PROT_WRITE))
			return 0;
	}
	return 1;
}

static const struct { unsigned long first, last; } exact[] = {
	{ 0, 0 }, { 510, 513 }, { 511, 511 }, { 512, 512 },
	{ 1, 1022 }, { 513, 1533 }, { 1535, 1535 }, { 0, 1535 },
	{ 256, 767 }, { 257, 768 }, { 512, 1023 },
};

#define EXACT	(sizeof(exact) / sizeof(exact[0]))

TEST_F(protect, ranges_end_exactly_at_any_place_in_any_page_table)
{
	static const unsigned long skews[] = { 0, 255, 511 };
	unsigned long s, i;

	for (s = 0; s < 3; s++) {
		char *p = view_at(self->space, 1536, skews[s], RWX);

		for (i = 0; i < EXACT; i++) {
			unsigned long first = exact[i].first;
			unsigned long n = exact[i].last - first + 1;
			int prot = i % 2 ? R : NONE;

			/* In the first round nothing was ever touched. */
			must(!protect(self->space, p, 1536, RW));
			must(!protect(self->space, p + first * PAGE, n, prot));
			EXPECT_TRUE(only(p, 1536, first, exact[i].last, prot))
				TH_LOG("skew %lu, %lu pages from %lu", skews[s],
				       n, first);
		}
		munmap(p, 1536 * PAGE);
	}
}

/*
 * What the page tables have hides what the states have: here they are not there,
 * or are there and have nothing but one page each.
 */
TEST_F(protect, ranges_end_exactly_where_nothing_was_ever_touched)
{
	unsigned long i, j, first, last;
	int prot;

	for (i = 0; i < 3 * EXACT; i++) {
		char *p = view_at(self->space, 1536, 0, RWX);

		for (j = 0; j < 3 && i % 3; j++)
			p[(100 + j * TABLE) * PAGE] = 1;
		first = exact[i / 3].first;
		last = exact[i / 3].last;
		prot = i % 3 == 1 ? R : NONE;
		must(!protect(self->space, p, 1536, RW));
		must(!protect(self->space, p + first * PAGE, last - first + 1, prot));
		EXPECT_TRUE(grants(p + first * PAGE, prot, 0) && grants(p + last * PAGE, prot, 0));
		EXPECT_TRUE(!first || grants(p + (first - 1) * PAGE, RW, 0));
		EXPECT_TRUE(last == 1535 || grants(p + (last + 1) * PAGE, RW, 0))
			TH_LOG("from %lu to %lu, protection %d", first, last, prot);
		munmap(p, 1536 * PAGE);
	}
}

/* Nothing was ever touched: what all pages of a table have needs no bytes. */
TEST_F(protect, all_but_one_page_of_a_page_table_is_not_all)
{
	char *p = view_at(self->space, 3 * TABLE, 0, RWX);
	char *mid = p + TABLE * PAGE;

	must(!protect(self->space, p, TABLE - 1, NONE));
	EXPECT_TRUE(grants(p + (TABLE - 2) * PAGE, NONE, 0));
	EXPECT_TRUE(grants(p + (TABLE - 1) * PAGE, RWX, 0));
	EXPECT_TRUE(grants(mid, RWX, 0));
	munmap(p, 3 * TABLE * PAGE);

	p = view_at(self->space, 3 * TABLE, 0, RWX);
	mid = p + TABLE * PAGE;
	must(!protect(self->space, mid + PAGE, TABLE - 1, NONE));
	EXPECT_TRUE(grants(mid, RWX, 0));
	EXPECT_TRUE(grants(mid + PAGE, NONE, 0));
	EXPECT_TRUE(grants(mid + (TABLE - 1) * PAGE, NONE, 0));
	EXPECT_TRUE(grants(mid + TABLE * PAGE, RWX, 0));
	munmap(p, 3 * TABLE * PAGE);
}

TEST_F(protect, part_of_a_chunk_after_all_of_it)
{
	unsigned long skew;

	/* Chunks that were given one protection as a whole, then in parts. */
	for (skew = 0; skew < 512; skew += 300) {
		char *p = view_at(self->space, 3 * TABLE, skew, RWX);
		char *mid = p + TABLE * PAGE;

		must(!protect(self->space, p, 3 * TABLE, NONE));
		must(!protect(self->space, mid + 7 * PAGE, 1, RW));
		must(!protect(self->space, mid + 600 * PAGE, 9, R));
		EXPECT_TRUE(grants(mid + 6 * PAGE, NONE, 0));
		EXPECT_TRUE(grants(mid + 7 * PAGE, RW, 0));
		EXPECT_TRUE(grants(mid + 8 * PAGE, NONE, 0));
		EXPECT_TRUE(grants(mid + 599 * PAGE, NONE, 0));
		EXPECT_TRUE(grants(mid + 600 * PAGE, R, 0));
		EXPECT_TRUE(grants(mid + 608 * PAGE, R, 0));
		EXPECT_TRUE(grants(mid + 609 * PAGE, NONE, 0));
		/* And once more as a whole, over bytes and values alike. */
		must(!protect(self->space, p, 3 * TABLE, RW));
		EXPECT_TRUE(grants(p, RW, 0));
		EXPECT_TRUE(grants(mid + 6 * PAGE, RW, 0));
		EXPECT_TRUE(grants(mid + 600 * PAGE, RW, 0));
		EXPECT_TRUE(grants(p + (3 * TABLE - 1) * PAGE, RW, 0));
		must(!protect(self->space, p, 3 * TABLE, R));
		EXPECT_TRUE(grants(p, R, 0));
		EXPECT_TRUE(grants(mid + 7 * PAGE, R, 0));
		munmap(p, 3 * TABLE * PAGE);
	}
}

TEST_F(protect, range_may_cross_into_an_adjacent_view)
{
	char *p = view_at(self->space, 8, 100, RWX);

	/* Pages 4 to 7 become a view of their own, of another part. */
	ASSERT_EQ(p + 4 * PAGE, mmap(p + 4 * PAGE, 4 * PAGE, RW,
				     MAP_SHARED | MAP_FIXED, self->space,
				     1000 * PAGE));
	ASSERT_EQ(0, protect(self->space, p + 2 * PAGE, 4, R));
	EXPECT_TRUE(grants(p + PAGE, RWX, 0));
	EXPECT_TRUE(grants(p + 2 * PAGE, R, 0));
	EXPECT_TRUE(grants(p + 5 * PAGE, R, 0));
	EXPECT_TRUE(grants(p + 6 * PAGE, RW, 0));
	EXPECT_EQ(-EACCES, protect(self->space, p + 2 * PAGE, 4, RX));
	EXPECT_TRUE(grants(p + 2 * PAGE, R, 0));
}

TEST_F(protect, terabyte_view_is_protected_in_no_time)
{
	uint64_t pages = 1ull << 28, i;
	int space = space_new(pages);
	char *p = view_new(space, 0, pages, RW);
	struct timespec begin, end;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	ASSERT_EQ(0, protect(space, p, pages, NONE));
	clock_gettime(CLOCK_MONOTONIC, &end);
	EXPECT_GT(60, end.tv_sec - begin.tv_sec);
	EXPECT_GT(1 << 20, stats(space).out_state_bytes);
	EXPECT_EQ(0, stats(space).out_flushes);
	for (i = 5; i < pages; i += pages / 64 + 7) {
		must(!protect(space, p + i * PAGE, 1, R));
		EXPECT_TRUE(grants(p + i * PAGE, R, 0));
		EXPECT_TRUE(grants(p + (i - 1) * PAGE, NONE, 0));
		EXPECT_TRUE(grants(p + (i + 1) * PAGE, NONE, 0));
	}
	EXPECT_TRUE(grants(p, NONE, 0));
	EXPECT_TRUE(grants(p + (pages - 1) * PAGE, NONE, 0));
	EXPECT_GT(1 << 20, stats(space).out_state_bytes);
	munmap(p, pages * PAGE);
	close(space);
}

TEST_F(protect, million_ranges_in_one_call)
{
	unsigned int count = 1 << 20, i;
	struct avm_range *ranges = calloc(count, sizeof(*ranges));
	int space = space_new(2 * count);
	char *p = view_new(space, 0, 2 * count, RW);
	struct avm_batch out;
	long bad = 0;

	must(ranges);
	for (i = 0; i < count; i++) {
		ranges[i].addr = (uintptr_t)p + 2ull * i * PAGE;
		ranges[i].length = PAGE;
		ranges[i].prot = i % 3 ? R : NONE;
	}
	/* A few are touched, here and there. */
	for (i = 0; i < count; i += 1001)
		p[2ull * i * PAGE] = 1;
	ASSERT_EQ(0, batch(space, AVM_IOC_PROTECT, ranges, count, &out));
	EXPECT_EQ(count, out.out_done);
	EXPECT_EQ(1, stats(space).out_flushes);
	for (i = 0; i < count; i += 1001) {
		char *page = p + 2ull * i * PAGE;

		bad += !grants(page, ranges[i].prot, 0);
		bad += !grants(page + PAGE, RW, 0);
	}
	EXPECT_EQ(0, bad);
	EXPECT_EQ(-E2BIG, batch(space, AVM_IOC_PROTECT, ranges, count + 1,
				NULL));
	free(ranges);
	close(space);
}

TEST_F(protect, mapping_is_the_limit)
{
	static const int maxima[] = { NONE, R, RW, RX };
	unsigned int m, i;

	for (m = 0; m < 4; m++) {
		char *p = view_new(self->space, 0, 2, maxima[m]);

		for (i = 0; i < PROTS; i++) {
			int want = prots[i] & ~maxima[m] ? -EACCES : 0;

			EXPECT_EQ(want, protect(self->space, p, 1, prots[i]));
			EXPECT_EQ(want, protect_page(self->space, p, prots[i]));
			EXPECT_TRUE(grants(p, want ? maxima[m] : prots[i], 0));
			must(!protect(self->space, p, 1, maxima[m]));
		}
		munmap(p, 2 * PAGE);
	}
}

TEST_F(protect, refused_range_ends_the_vector_and_says_where)
{
	char *p = view_new(self->space, 0, 4, R);
	struct avm_range ranges[] = {
		{ (uintptr_t)p, PAGE, NONE, 0 },
		{ (uintptr_t)p + PAGE, PAGE, RW, 0 },
		{ (uintptr_t)p + 2 * PAGE, PAGE, NONE, 0 },
	};
	struct avm_batch out;

	EXPECT_EQ(-EACCES, batch(self->space, AVM_IOC_PROTECT, ranges, 3,
				 &out));
	EXPECT_EQ(1, out.out_done);
	EXPECT_EQ(0, out.out_bytes);
	EXPECT_TRUE(grants(p, NONE, 0));
	EXPECT_TRUE(grants(p + PAGE, R, 0));
	EXPECT_TRUE(grants(p + 2 * PAGE, R, 0));
}

TEST_F(protect, contents_survive_closing_and_opening)
{
	char *p = view_new(self->space, 0, 1100, RWX);
	unsigned long i, bad = 0;

	for (i = 0; i < 1100; i++)
		*(unsigned long *)(p + i * PAGE + 16) = i * 7 + 1;
	must(!protect(self->space, p, 1100, NONE));
	for (i = 0; i < 1100; i++)
		must(!protect(self->space, p + i * PAGE, 1,
			      prots[1 + i % (PROTS - 1)]));
	must(!protect(self->space, p, 1100, NONE));
	must(!protect(self->space, p, 1100, R));
	for (i = 0; i < 1100; i++)
		bad += *(unsigned long *)(p + i * PAGE + 16) != i * 7 + 1;
	EXPECT_EQ(0, bad);
	for (i = 0; i < 1100; i++)
		must(!protect_page(self->space, p + i * PAGE, NONE));
	for (i = 0; i < 1100; i++)
		must(!protect_page(self->space, p + i * PAGE, R));
	for (i = 0; i < 1100; i++)
		bad += *(unsigned long *)(p + i * PAGE + 16) != i * 7 + 1;
	EXPECT_EQ(0, bad);
}

TEST_F(protect, state_is_a_byte_a_page_where_protections_differ)
{
	char *p = view_at(self->space, 64 * TABLE, 0, RW);
	struct avm_stats before = stats(self->space);
	unsigned int i;

	EXPECT_EQ(0, before.out_state_bytes);
	for (i = 0; i < 8 * TABLE; i += 2)
		must(!protect(self->space, p + i * PAGE, 1, NONE));
	EXPECT_GE(8 * TABLE, stats(self->space).out_state_bytes);
	EXPECT_LT(0, stats(self->space).out_state_bytes);
	/* What is as it was costs nothing. */
	must(!protect(self->space, p + 8 * TABLE * PAGE, 56 * TABLE, RW));
	EXPECT_GE(8 * TABLE, stats(self->space).out_state_bytes);
	munmap(p, 64 * TABLE * PAGE);
	EXPECT_EQ(0, stats(self->space).out_state_bytes);
}

/* Lines of /proc/self/maps that show a part of these pages. */
static int mappings_of(const char *from, unsigned long pages)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long start, end, first = (uintptr_t)from;
	char line[512];
	int n = 0;

	must(maps);
	while (fgets(line, sizeof(line), maps))
		n += sscanf(line, "%lx-%lx", &start, &end) == 2 &&
			start < first + pages * PAGE && end > first;
	fclose(maps);
	return n;
}

TEST_F(protect, mixed_protections_never_split_the_mapping)
{
	char *p = view_new(self->space, 0, 4096, RWX);
	unsigned int i;

	for (i = 0; i < 4096; i++)
		must(!protect(self->space, p + i * PAGE, 1, prots[i % PROTS]));
	EXPECT_EQ(1, mappings_of(p, 4096));
}

TEST_HARNESS_MAIN
