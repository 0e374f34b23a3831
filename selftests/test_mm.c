// SPDX-License-Identifier: GPL-2.0
/*
 * The rest of the kernel's memory management at work on views: whatever
 * munmap, mremap, madvise, mlock, userfaultfd, ptrace and their like do or
 * refuse to do, contents, protections and dirty bits stay with their pages.
 */
#include "avmtest.h"

#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "harness.h"

#define TABLE	512ul		/* pages of one page table */
#define PAGES	1100ul
#define PIECES	(1u << 16)	/* length of the space */

/*
 * A view of pages in all states. The value of page i of the space is i + 1
 * where it was touched. Pages that can be written are dirty anyway, so that
 * trying it changes nothing.
 */
static int prot_of(unsigned long i)
{
	static const int prots[] = { NONE, R, RW };

	return prots[i % 3];
}

static int touched(unsigned long i)
{
	return prot_of(i) == RW || i % 5 != 4;
}

static int dirty_of(unsigned long i)
{
	return touched(i) && (prot_of(i) == RW || i % 2);
}

FIXTURE(mm) {
	int space;
	char *room;	/* address space, aligned to a page table */
	char *view;	/* PAGES pages in all states, 100 pages into it */
	char *alias;	/* the same pages, open */
};

#define ROOM	(16 * TABLE * PAGE)

/* Address space that nobody uses, aligned. */
static char *find_room(void)
{
	char *p = mmap(NULL, ROOM + TABLE * PAGE, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uintptr_t aligned = ((uintptr_t)p + TABLE * PAGE - 1) &
		~(TABLE * PAGE - 1);

	must(p != MAP_FAILED);
	return (char *)aligned;
}

static void paint(int space, char *view)
{
	unsigned long i;

	for (i = 0; i < PAGES; i++)
		if (touched(i))
			*(unsigned long *)(view + i * PAGE) = i + 1;
	must(dirty(space, view, PAGES, NULL) >= 0);
	for (i = 0; i < PAGES; i++)
		if (dirty_of(i))
			*(unsigned long *)(view + i * PAGE) = i + 1;
	for (i = 0; i < PAGES; i++)
		must(!protect(space, view + i * PAGE, 1, prot_of(i)));
}

FIXTURE_SETUP(mm) {
	self->space = space_new(PIECES);
	self->room = find_room();
	self->view = mmap(self->room + 100 * PAGE, PAGES * PAGE, RW,
			  MAP_SHARED | MAP_FIXED, self->space, 0);
	must(self->view == self->room + 100 * PAGE);
	paint(self->space, self->view);
	self->alias = map2(self->space, self->view, PAGES, RW, RW);
	denied_setup();
}

FIXTURE_TEARDOWN(mm) {
	close(self->space);
}

/* Whether page @i of the space, seen at @at, is as it was painted. */
static int page_is_right(const char *at, unsigned long i)
{
	unsigned long want = touched(i) ? i + 1 : 0;

	if (!try_write((char *)at + 100, 1) != (prot_of(i) == RW))
		return 0;
	if (!try_read(at) != (prot_of(i) != NONE))
		return 0;
	return prot_of(i) == NONE || *(unsigned long *)at == want;
}

/* How many of @n pages from page @i of the space on, at @at, are not right. */
static unsigned long wrong_pages(int space, const char *at, unsigned long i,
				 unsigned long n)
{
	uint64_t bitmap[PAGES / 64 + 1];
	unsigned long j, bad = 0;

	if (scan(space, at, n, AVM_PAGE_DIRTY, 0, bitmap) < 0)
		return n;
	for (j = 0; j < n; j++) {
		if (bit(bitmap, j) != dirty_of(i + j) ||
		    !page_is_right(at + j * PAGE, i + j)) {
			if (!bad++)
				printf("# not right: page %lu\n", i + j);
		}
	}
	return bad;
}

/* And what the pages of the space have, whatever this view says. */
static unsigned long wrong_contents(const char *alias)
{
	unsigned long i, bad = 0;

	for (i = 0; i < PAGES; i++)
		bad += *(unsigned long *)(alias + i * PAGE) !=
			(touched(i) ? i + 1 : 0);
	return bad;
}

#define EXPECT_AS_PAINTED(at, first, pages)				\
	EXPECT_EQ(0, wrong_pages(self->space, at, first, pages))

static int mapped(const char *at)
{
	unsigned char vec;

	return !mincore((char *)at, PAGE, &vec);
}

TEST_F(mm, painted_view_is_as_painted)
{
	EXPECT_AS_PAINTED(self->view, 0, PAGES);
	EXPECT_EQ(0, wrong_contents(self->alias));
}

TEST_F(mm, munmap_of_a_part_leaves_the_rest)
{
	char *p = self->view;

	ASSERT_EQ(0, munmap(p, 7 * PAGE));
	ASSERT_EQ(0, munmap(p + 500 * PAGE, 33 * PAGE));
	ASSERT_EQ(0, munmap(p + (PAGES - 300) * PAGE, 300 * PAGE));
	EXPECT_EQ(2, stats(self->space).out_views);
	EXPECT_AS_PAINTED(p + 7 * PAGE, 7, 493);
	EXPECT_AS_PAINTED(p + 533 * PAGE, 533, PAGES - 300 - 533);
	EXPECT_FALSE(mapped(p) || mapped(p + 532 * PAGE));
	EXPECT_EQ(-ENXIO, protect(self->space, p + 6 * PAGE, 1, RW));
	EXPECT_EQ(-ENXIO, protect(self->space, p + 499 * PAGE, 2, RW));
	EXPECT_EQ(-ENXIO, discard(self->space, p + 499 * PAGE, 2));
	EXPECT_EQ(-ENXIO, scan(self->space, p + 499 * PAGE, 2, 1, 0, NULL));
	EXPECT_AS_PAINTED(p + 7 * PAGE, 7, 493);
	EXPECT_EQ(0, wrong_contents(self->alias));
	ASSERT_EQ(0, munmap(p, PAGES * PAGE));
	EXPECT_EQ(1, stats(self->space).out_views);
}

TEST_F(mm, what_is_left_after_munmap_can_still_be_changed)
{
	char *p = self->view;

	ASSERT_EQ(0, munmap(p + 300 * PAGE, 600 * PAGE));
	must(!protect(self->space, p + 299 * PAGE, 1, RW));
	must(!protect(self->space, p + 900 * PAGE, 1, RW));
	EXPECT_EQ(0, try_write(p + 299 * PAGE, 1));
	EXPECT_EQ(0, try_write(p + 900 * PAGE, 1));
	EXPECT_AS_PAINTED(p, 0, 299);
	EXPECT_AS_PAINTED(p + 901 * PAGE, 901, PAGES - 901);
}

TEST_F(mm, ordinary_memory_may_be_mapped_over_a_part)
{
	char *p = self->view, *over = p + 400 * PAGE;

	ASSERT_EQ(over, mmap(over, 300 * PAGE, RW, MAP_PRIVATE | MAP_FIXED |
			     MAP_ANONYMOUS, -1, 0));
	memset(over, 1, 300 * PAGE);
	EXPECT_AS_PAINTED(p, 0, 400);
	EXPECT_AS_PAINTED(p + 700 * PAGE, 700, PAGES - 700);
	EXPECT_EQ(-ENXIO, protect(self->space, p + 399 * PAGE, 2, RW));
	EXPECT_AS_PAINTED(p, 0, 400);
	EXPECT_EQ(0, wrong_contents(self->alias));
}

TEST_F(mm, view_may_be_mapped_over_a_part_and_begins_anew)
{
	char *p = self->view, *over = p + 400 * PAGE;

	/* The same pages, at the same place: and yet another view. */
	ASSERT_EQ(over, mmap(over, 300 * PAGE, RW, MAP_SHARED | MAP_FIXED,
			     self->space, 400 * PAGE));
	EXPECT_EQ(3, stats(self->space).out_views);
	EXPECT_EQ(0, dirty(self->space, over, 300, NULL));
	EXPECT_EQ(0, try_write(over + 2 * PAGE + 100, 1));
	EXPECT_EQ(403, *(unsigned long *)(over + 2 * PAGE));
	EXPECT_AS_PAINTED(p, 0, 400);
	EXPECT_AS_PAINTED(p + 700 * PAGE, 700, PAGES - 700);
	/* One range over all three is in views of this space. */
	EXPECT_EQ(0, protect(self->space, p, PAGES, R));
	EXPECT_EQ(SIGSEGV, try_write(over, 1));
}

/* The call for one page, which keeps in mind where it has found a page table. */
static int protect_page(int space, const char *page, int prot)
{
	int ret = ioctl(space, AVM_IOC_PROTECT_PAGE, page + prot);

	return ret < 0 ? -errno : ret;
}

static char *move(char *from, unsigned long pages, char *to)
{
	return mremap(from, pages * PAGE, pages * PAGE,
		      MREMAP_MAYMOVE | MREMAP_FIXED, to);
}

/* Distances by which views are moved: whole page tables, and others. */
static const unsigned long distances[] = {
	6 * TABLE, 6 * TABLE + 1, 6 * TABLE + 411, 7 * TABLE - 1,
};

#define DISTANCES	(sizeof(distances) / sizeof(distances[0]))

TEST_F(mm, mremap_moves_all_that_a_page_has)
{
	unsigned int d;
	char *p = self->view;

	for (d = 0; d < DISTANCES; d++) {
		char *to = p + distances[d] * PAGE;

		ASSERT_EQ(to, move(p, PAGES, to));
		EXPECT_AS_PAINTED(to, 0, PAGES) TH_LOG("by %lu", distances[d]);
		EXPECT_FALSE(mapped(p));
		ASSERT_EQ(p, move(to, PAGES, p));
		EXPECT_AS_PAINTED(p, 0, PAGES) TH_LOG("back %lu", distances[d]);
	}
	EXPECT_EQ(2, stats(self->space).out_views);
	EXPECT_EQ(0, wrong_contents(self->alias));
}

TEST_F(mm, mremap_moves_a_part)
{
	unsigned int d;

	for (d = 0; d < DISTANCES; d++) {
		char *p = self->view + 333 * PAGE;
		char *to = p + distances[d] * PAGE;

		ASSERT_EQ(to, move(p, 600, to));
		EXPECT_AS_PAINTED(self->view, 0, 333);
		EXPECT_AS_PAINTED(to, 333, 600) TH_LOG("by %lu", distances[d]);
		EXPECT_AS_PAINTED(self->view + 933 * PAGE, 933, PAGES - 933);
		EXPECT_EQ(-ENXIO, protect(self->space, p, 1, RW));
		ASSERT_EQ(p, move(to, 600, p));
	}
	EXPECT_EQ(2, stats(self->space).out_views);
}

/*
 * Pages that were moved are given new protections, one by one and in ranges
 * that cross page tables both here and where they came from.
 */
static unsigned long wrong_after_changes(int space, char *to)
{
	static const struct { unsigned long at, n; } changes[] = {
		{ 0, 1 }, { 411, 3 }, { 511, 2 }, { 923, 4 }, { 1000, 100 },
	};
	unsigned long bad = 0, i, c;

	for (c = 0; c < 5; c++) {
		must(!protect(space, to + changes[c].at * PAGE, changes[c].n,
			      RW));
		for (i = changes[c].at; i < changes[c].at + changes[c].n; i++)
			bad += !!try_write(to + i * PAGE + 8, 1);
		must(!protect(space, to + changes[c].at * PAGE, changes[c].n,
			      NONE));
		for (i = changes[c].at; i < changes[c].at + changes[c].n; i++)
			bad += !try_read(to + i * PAGE);
	}
	bad += wrong_pages(space, to + PAGE, 1, 410);
	bad += wrong_pages(space, to + 414 * PAGE, 414, 97);
	bad += wrong_pages(space, to + 513 * PAGE, 513, 410);
	bad += wrong_pages(space, to + 927 * PAGE, 927, 1000 - 927);
	return bad;
}

TEST_F(mm, protections_of_moved_pages_can_be_changed)
{
	unsigned int d;

	for (d = 0; d < DISTANCES; d++) {
		char *p = self->view, *to = p + distances[d] * PAGE;

		ASSERT_EQ(to, move(p, PAGES, to));
		EXPECT_EQ(0, wrong_after_changes(self->space, to))
			TH_LOG("by %lu", distances[d]);
		must(!protect(self->space, to, PAGES, RW));
		ASSERT_EQ(p, move(to, PAGES, p));
		paint(self->space, p);
	}
}

TEST_F(mm, protections_of_moved_pages_can_be_changed_one_by_one)
{
	unsigned int d;
	unsigned long i;

	for (d = 0; d < DISTANCES; d++) {
		char *p = self->view, *to = p + distances[d] * PAGE;

		/* What is known of places here must not be used there. */
		for (i = 0; i < PAGES; i += 7)
			must(!protect_page(self->space, p + i * PAGE,
					   prot_of(i)));
		ASSERT_EQ(to, move(p, PAGES, to));
		for (i = 0; i < PAGES; i++)
			must(!protect_page(self->space, to + i * PAGE,
					   i % 2 ? RW : NONE));
		for (i = 0; i < PAGES; i += 13)
			EXPECT_EQ(i % 2, !try_write(to + i * PAGE + 8, 1));
		EXPECT_EQ(-ENXIO, protect_page(self->space, p, RW));
		for (i = 0; i < PAGES; i++)
			must(!protect_page(self->space, to + i * PAGE,
					   prot_of(i)));
		EXPECT_EQ(0, wrong_contents(self->alias));
		ASSERT_EQ(p, move(to, PAGES, p));
		must(!protect(self->space, p, PAGES, RW));
		paint(self->space, p);
	}
	EXPECT_AS_PAINTED(self->view, 0, PAGES);
}

TEST_F(mm, page_table_that_went_is_not_used_again)
{
	char *p = self->view, *over;
	unsigned long i;

	for (i = 0; i < PAGES; i++)
		must(!protect_page(self->space, p + i * PAGE, prot_of(i)));
	/* Whole tables in the middle: gone, and something else in their place. */
	ASSERT_EQ(0, munmap(p + 300 * PAGE, 700 * PAGE));
	EXPECT_EQ(-ENXIO, protect_page(self->space, p + 700 * PAGE, RW));
	over = mmap(p + 300 * PAGE, 700 * PAGE, RW, MAP_PRIVATE | MAP_FIXED |
		    MAP_ANONYMOUS, -1, 0);
	ASSERT_EQ(p + 300 * PAGE, over);
	memset(over, 1, 700 * PAGE);
	EXPECT_EQ(-ENXIO, protect_page(self->space, p + 700 * PAGE, NONE));
	ASSERT_EQ(over, mmap(over, 700 * PAGE, RW, MAP_SHARED | MAP_FIXED,
			     self->space, 2 * PAGES * PAGE));
	for (i = 0; i < 700; i += 5)
		EXPECT_EQ(0, protect_page(self->space, over + i * PAGE, NONE));
	EXPECT_EQ(SIGSEGV, try_read(over + 600 * PAGE));
	EXPECT_EQ(0, try_write(over + 601 * PAGE, 1));
	EXPECT_AS_PAINTED(p, 0, 300);
	EXPECT_AS_PAINTED(p + 1000 * PAGE, 1000, 100);
}

/* Pages 924 on begin a page table, as pages 412 do: see where the view is. */
#define GAP	412ul
#define LATER	924ul

TEST_F(mm, pages_moved_into_a_gap_of_their_view_keep_their_own_state)
{
	unsigned long off, i, n = PAGES - LATER;
	char *p = self->view;

	for (i = 0; i < PAGES; i++)
		must(!protect_page(self->space, p + i * PAGE, prot_of(i)));
	ASSERT_EQ(0, munmap(p + GAP * PAGE, (LATER - GAP) * PAGE));
	/* To the same place in the page table, and to another. */
	for (off = 0; off < 200; off += 101) {
		char *from = p + LATER * PAGE, *to = p + (GAP + off) * PAGE;

		ASSERT_EQ(to, move(from, n, to));
		EXPECT_AS_PAINTED(to, LATER, n);
		for (i = 0; i < n; i++)
			must(!protect_page(self->space, to + i * PAGE,
					   i % 2 ? RW : NONE));
		for (i = 0; i < n; i++)
			EXPECT_EQ(i % 2, !try_write(to + i * PAGE + 8, 1));
		EXPECT_AS_PAINTED(p, 0, GAP);
		ASSERT_EQ(from, move(to, n, from));
		for (i = 0; i < n; i++)
			EXPECT_EQ(i % 2, !try_write(from + i * PAGE + 8, 1));
		for (i = 0; i < n; i++) {
			must(!protect(self->space, from + i * PAGE, 1, RW));
			must(dirty(self->space, from + i * PAGE, 1, NULL) >= 0);
			if (dirty_of(LATER + i))
				from[i * PAGE + 16] = 1;
			must(!protect(self->space, from + i * PAGE, 1,
				      prot_of(LATER + i)));
		}
	}
	EXPECT_AS_PAINTED(p, 0, GAP);
	EXPECT_EQ(0, wrong_contents(self->alias));
}

TEST_F(mm, moved_pages_can_be_discarded_and_populated)
{
	char *to = self->view + (6 * TABLE + 77) * PAGE;

	ASSERT_EQ(to, move(self->view, PAGES, to));
	must(!protect(self->space, to, PAGES, RW));
	memset(to, 1, PAGES * PAGE);
	/* Through the other view, which was not moved. */
	ASSERT_EQ(0, discard(self->space, self->alias + 400 * PAGE, 300));
	EXPECT_EQ(PAGES - 300, stats(self->space).out_resident_pages);
	EXPECT_EQ(PAGES - 300, dirty(self->space, to, PAGES, NULL));
	EXPECT_EQ(1, to[399 * PAGE] & to[700 * PAGE]);
	EXPECT_EQ(0, to[400 * PAGE] | to[699 * PAGE]);
	ASSERT_EQ(0, discard(self->space, to, PAGES));
	ASSERT_EQ(0, populate(self->space, to + 511 * PAGE, 2));
	EXPECT_EQ(2, stats(self->space).out_resident_pages);
	to[511 * PAGE] = 9;
	EXPECT_EQ(9, self->alias[511 * PAGE]);
}

TEST_F(mm, untouched_pages_keep_protections_through_mremap)
{
	char *p = view_new(self->space, PAGES, 4 * TABLE, RW), *to, *room;
	unsigned int i, bad = 0;

	/* Some chunks with one protection, some with many; no page touched. */
	must(!protect(self->space, p, 4 * TABLE, NONE));
	for (i = 0; i < 4 * TABLE; i += 100)
		must(!protect(self->space, p + i * PAGE, 1, R));
	room = find_room();
	to = room + 123 * PAGE;
	ASSERT_EQ(to, move(p, 4 * TABLE, to));
	for (i = 0; i < 4 * TABLE; i++)
		bad += !try_read(to + i * PAGE) != (i % 100 == 0);
	EXPECT_EQ(0, bad);
}

TEST_F(mm, mremap_shrinks)
{
	ASSERT_EQ(self->view, mremap(self->view, PAGES * PAGE, 700 * PAGE, 0));
	EXPECT_AS_PAINTED(self->view, 0, 700);
	EXPECT_FALSE(mapped(self->view + 700 * PAGE));
	EXPECT_EQ(0, wrong_contents(self->alias));
}

TEST_F(mm, mremap_neither_grows_nor_copies)
{
	char *p = self->view;

	munmap(p + PAGES * PAGE, PAGES * PAGE);
	EXPECT_EQ(MAP_FAILED, mremap(p, PAGES * PAGE, (PAGES + 1) * PAGE, 0));
	EXPECT_EQ(MAP_FAILED, mremap(p, PAGES * PAGE, (PAGES + 1) * PAGE,
				     MREMAP_MAYMOVE));
	EXPECT_EQ(MAP_FAILED, mremap(p, 0, PAGES * PAGE, MREMAP_MAYMOVE));
	EXPECT_EQ(MAP_FAILED, mremap(p, PAGES * PAGE, PAGES * PAGE,
				     MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL));
	EXPECT_EQ(2, stats(self->space).out_views);
	EXPECT_AS_PAINTED(p, 0, PAGES);
}

TEST_F(mm, mprotect_is_refused)
{
	int prot, key;

	for (prot = 0; prot < 8; prot++) {
		EXPECT_EQ(-1, mprotect(self->view, PAGES * PAGE, prot));
		EXPECT_EQ(EACCES, errno);
		EXPECT_EQ(-1, mprotect(self->view + 5 * PAGE, PAGE, prot));
		EXPECT_EQ(EACCES, errno);
		EXPECT_EQ(-1, pkey_mprotect(self->view, PAGE, prot, -1));
		EXPECT_EQ(EACCES, errno);
	}
	key = pkey_alloc(0, 0);
	if (key >= 0) {
		EXPECT_EQ(-1, pkey_mprotect(self->view, PAGES * PAGE, RW, key));
		EXPECT_EQ(EACCES, errno);
	}
	EXPECT_AS_PAINTED(self->view, 0, PAGES);
}

/* Every advice there is or may come to be, on a part and on all. */
TEST_F(mm, no_madvise_does_harm)
{
	int advice;

	for (advice = 0; advice <= 110; advice++) {
		madvise(self->view + 10 * PAGE, 20 * PAGE, advice);
		/* All of it now and then: what it takes is time. */
		if (advice < 30)
			madvise(self->view, PAGES * PAGE, advice);
		EXPECT_AS_PAINTED(self->view, 0, 40) TH_LOG("%d", advice);
	}
	EXPECT_AS_PAINTED(self->view, 0, PAGES);
	EXPECT_EQ(0, wrong_contents(self->alias));
}

/* In a child: whether a page can be read there, at all. */
static int child_can_read(const char *at)
{
	int status = -1;
	pid_t pid = fork();

	must(pid >= 0);
	if (!pid)
		_exit(!try_read(at));
	must(waitpid(pid, &status, 0) == pid);
	return status;
}

TEST_F(mm, child_has_no_view_whatever_was_advised)
{
	EXPECT_EQ(0, child_can_read(self->alias));
	EXPECT_NE(0, madvise(self->alias, PAGES * PAGE, MADV_DOFORK));
	EXPECT_EQ(0, child_can_read(self->alias));
	EXPECT_AS_PAINTED(self->view, 0, PAGES);
	EXPECT_EQ(0, wrong_contents(self->alias));
	EXPECT_EQ(2, stats(self->space).out_views);
}

TEST_F(mm, no_mlock_does_harm)
{
	char *later;

	mlock(self->view, PAGES * PAGE);
	mlock2(self->view + 3 * PAGE, 20 * PAGE, MLOCK_ONFAULT);
	EXPECT_AS_PAINTED(self->view, 0, PAGES);
	EXPECT_EQ(0, mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT));
	EXPECT_EQ(0, mlockall(MCL_CURRENT | MCL_FUTURE));
	EXPECT_AS_PAINTED(self->view, 0, PAGES);
	/* Nor does it open or fill views that are made afterwards. */
	later = map2(self->space, self->view, 50, RW, NONE);
	EXPECT_EQ(SIGSEGV, try_read(later));
	must(!protect(self->space, later, 50, R));
	EXPECT_EQ(1, *(unsigned long *)later);
	later = view_new(self->space, 2 * PAGES, 50, RW);
	EXPECT_EQ(0, try_write(later, 1));
	munlock(self->view, PAGES * PAGE);
	EXPECT_EQ(0, munlockall());
	EXPECT_AS_PAINTED(self->view, 0, PAGES);
}

static void write_file(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY);

	/* Whether it is there and takes it depends on the kernel. */
	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0)
		errno = 0;
	close(fd);
}

TEST_F(mm, clear_refs_clears_no_bit_of_ours)
{
	char text[2] = "1";
	long before;

	must(scan(self->space, self->view, PAGES, 3, 2, NULL) >= 0);
	EXPECT_AS_PAINTED(self->view, 0, PAGES);
	before = scan(self->space, self->view, PAGES, AVM_PAGE_ACCESSED, 0,
		      NULL);
	EXPECT_LT(0, before);
	for (; text[0] <= '5'; text[0]++)
		write_file("/proc/self/clear_refs", text);
	EXPECT_EQ(before, scan(self->space, self->view, PAGES,
			       AVM_PAGE_ACCESSED, 0, NULL));
	EXPECT_AS_PAINTED(self->view, 0, PAGES);
}

static long read_all(const char *name)
{
	static char buffer[1 << 16];
	int fd = open(name, O_RDONLY);
	long n, sum = 0;

	if (fd < 0)
		return -errno;
	while ((n = read(fd, buffer, sizeof(buffer))) > 0)
		sum += n;
	close(fd);
	return n < 0 ? -errno : sum;
}

TEST_F(mm, proc_shows_views_and_changes_nothing)
{
	unsigned char vec[PAGES];
	uint64_t entries[PAGES];
	int fd = open("/proc/self/pagemap", O_RDONLY);

	EXPECT_LT(0, read_all("/proc/self/maps"));
	EXPECT_LT(0, read_all("/proc/self/smaps"));
	EXPECT_LT(0, read_all("/proc/self/smaps_rollup"));
	EXPECT_NE(0, read_all("/proc/self/numa_maps"));
	ASSERT_LE(0, fd);
	EXPECT_EQ(sizeof(entries),
		  pread(fd, entries, sizeof(entries),
			(uintptr_t)self->view / PAGE * sizeof(uint64_t)));
	close(fd);
	EXPECT_EQ(0, mincore(self->view, PAGES * PAGE, vec));
	EXPECT_AS_PAINTED(self->view, 0, PAGES);
}

TEST_F(mm, one_line_in_maps_and_no_rss)
{
	unsigned long start, end;
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[300];
	int found = 0;

	must(maps);
	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx", &start, &end) == 2 &&
		    start == (uintptr_t)self->view)
			found = end - start == PAGES * PAGE;
	fclose(maps);
	EXPECT_TRUE(found);
}

/* What headers of Debian 12 do not have yet. */
#define WP_UNPOPULATED	(1ull << 13)
#define WP_ASYNC	(1ull << 15)

static int uffd_with(uint64_t features, uint64_t *supported)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	must(fd >= 0);
	if (ioctl(fd, UFFDIO_API, &api)) {
		close(fd);
		return -1;
	}
	if (supported)
		*supported = api.features;
	return fd;
}

/* The modes (a bit for each) that can be registered on this range. */
static int uffd_takes(int fd, char *at, unsigned long pages)
{
	struct uffdio_register reg;
	uint64_t mode;
	int taken = 0;

	for (mode = 1; mode < 8; mode++) {
		reg = (struct uffdio_register) {
			.range = { (uintptr_t)at, pages * PAGE },
			.mode = mode,
		};
		if (!ioctl(fd, UFFDIO_REGISTER, &reg))
			taken |= 1 << mode;
	}
	return taken;
}

TEST_F(mm, userfaultfd_is_refused_with_any_feature_but_wp_async)
{
	uint64_t supported = 0, feature;
	int fd = uffd_with(0, &supported);

	ASSERT_LE(0, fd);
	close(fd);
	for (feature = 1; feature && feature <= supported; feature <<= 1) {
		if (!(feature & supported) || feature == WP_ASYNC)
			continue;
		fd = uffd_with(feature, NULL);
		if (fd < 0)
			continue;
		EXPECT_EQ(0, uffd_takes(fd, self->view, PAGES));
		EXPECT_EQ(0, uffd_takes(fd, self->view + 9 * PAGE, 1));
		close(fd);
	}
	fd = uffd_with(supported & ~WP_ASYNC, NULL);
	if (fd >= 0)
		EXPECT_EQ(0, uffd_takes(fd, self->view, PAGES));
	EXPECT_AS_PAINTED(self->view, 0, PAGES);
}

static void uffd_write_protect(int fd, char *at, unsigned long pages, int mode)
{
	struct uffdio_writeprotect wp = {
		.range = { (uintptr_t)at, pages * PAGE }, .mode = mode,
	};

	ioctl(fd, UFFDIO_WRITEPROTECT, &wp);
}

/*
 * Kernels from 6.7 on let it have any memory with this feature, and then put
 * things in page tables that are not ours: hands off, and nothing is lost.
 */
TEST_F(mm, userfaultfd_with_wp_async_makes_calls_fail_and_loses_nothing)
{
	int fd = uffd_with(WP_ASYNC | WP_UNPOPULATED, NULL), taken = 0;
	unsigned long i;

	if (fd >= 0)
		taken = uffd_takes(fd, self->view, PAGES);
	EXPECT_EQ(0, taken & ~(1 << UFFDIO_REGISTER_MODE_WP));
	if (taken) {
		uffd_write_protect(fd, self->view, PAGES, 1);
		EXPECT_EQ(-EBUSY, protect(self->space, self->view, 9, RW));
		/* The short way asks for itself, where the view lets it be taken. */
		for (i = 0; i < 9; i++)
			EXPECT_EQ(-EBUSY, protect_page(self->space,
						       self->view + i * PAGE, RW));
		EXPECT_EQ(-EBUSY, dirty(self->space, self->view, 9, NULL));
		EXPECT_EQ(-EBUSY, populate(self->space, self->view, 9));
		EXPECT_EQ(-EBUSY, discard(self->space, self->view, 9));
		EXPECT_NE(0, try_read(self->view));
		EXPECT_NE(0, try_write(self->view + 2 * PAGE, 1));
		uffd_write_protect(fd, self->view, PAGES, 0);
	}
	if (fd >= 0)
		close(fd);
	/* It may leave pages open that are dirty: what we say now counts. */
	for (i = 0; i < PAGES; i++)
		must(!protect(self->space, self->view + i * PAGE, 1,
			      prot_of(i)));
	EXPECT_AS_PAINTED(self->view, 0, PAGES);
	EXPECT_EQ(0, wrong_contents(self->alias));
}

/*
 * One that watches a range of ordinary memory is no trouble to a view that is
 * mapped over a part of it, nor is it to a view beside it.
 */
TEST_F(mm, userfaultfd_beside_a_view_does_no_harm)
{
	char *p = mmap(NULL, 30 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_register reg = {
		.range = { (uintptr_t)p, 30 * PAGE },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = uffd_with(0, NULL);

	must(fd >= 0 && p != MAP_FAILED);
	memset(p, 1, 30 * PAGE);
	ASSERT_EQ(0, ioctl(fd, UFFDIO_REGISTER, &reg));
	ASSERT_EQ(p + 10 * PAGE, mmap(p + 10 * PAGE, 10 * PAGE, RW, MAP_SHARED |
				      MAP_FIXED, self->space, 3 * PAGES * PAGE));
	EXPECT_EQ(0, try_write(p + 10 * PAGE, 1));
	EXPECT_EQ(0, protect(self->space, p + 10 * PAGE, 10, NONE));
	EXPECT_EQ(SIGSEGV, try_read(p + 10 * PAGE));
	EXPECT_EQ(0, protect(self->space, p + 10 * PAGE, 10, R));
	EXPECT_EQ(1, p[10 * PAGE]);
	EXPECT_EQ(1, dirty(self->space, p + 10 * PAGE, 10, NULL));
	close(fd);
	EXPECT_EQ(SIGSEGV, try_write(p + 10 * PAGE, 2));
}

/* PAGEMAP_SCAN, new in 6.7; its header is newer than Debian 12's. */
struct scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof, return_mask;
};

#define SCAN_IOCTL		_IOWR('f', 16, struct scan_arg)
#define SCAN_WP_MATCHING	1
#define SCAN_CHECK_WPASYNC	2

TEST_F(mm, pagemap_scan_does_no_harm)
{
	struct scan_arg arg = {
		.size = sizeof(arg),
		.start = (uintptr_t)self->view,
		.end = (uintptr_t)self->view + PAGES * PAGE,
		.category_anyof = 0xff,
		.return_mask = 0xff,
	};
	uint64_t regions[3 * 64];
	int fd = open("/proc/self/pagemap", O_RDONLY);

	ASSERT_LE(0, fd);
	arg.vec = (uintptr_t)regions;
	arg.vec_len = 64;
	for (arg.flags = 0; arg.flags < 4; arg.flags++) {
		/* Before 6.7 there is no such call; then it is ENOTTY. */
		if (ioctl(fd, SCAN_IOCTL, &arg) < 0)
			EXPECT_TRUE(errno == ENOTTY || errno == EPERM ||
				    errno == EINVAL) TH_LOG("%d", errno);
		EXPECT_AS_PAINTED(self->view, 0, PAGES);
	}
	arg.flags = SCAN_WP_MATCHING;
	arg.vec = 0;
	arg.vec_len = 0;
	arg.return_mask = 0;
	ioctl(fd, SCAN_IOCTL, &arg);
	EXPECT_AS_PAINTED(self->view, 0, PAGES);
	close(fd);
}

TEST_F(mm, proc_mem_reads_and_writes_whatever_the_protection)
{
	int fd = open("/proc/self/mem", O_RDWR);
	unsigned long value, bad = 0, i;
	uint64_t bitmap[PAGES / 64 + 1];

	ASSERT_LE(0, fd);
	for (i = 0; i < PAGES; i++) {
		bad += pread(fd, &value, 8, (uintptr_t)self->view + i * PAGE)
			!= 8 || value != (touched(i) ? i + 1 : 0);
	}
	EXPECT_EQ(0, bad);
	EXPECT_AS_PAINTED(self->view, 0, PAGES);
	/* Page 0 is closed, 4 untouched and read-only; across 6 and 7, too. */
	value = 0x1122334455667788;
	must(dirty(self->space, self->view, PAGES, NULL) >= 0);
	EXPECT_EQ(8, pwrite(fd, &value, 8, (uintptr_t)self->view + 16));
	EXPECT_EQ(8, pwrite(fd, &value, 8, (uintptr_t)self->view + 4 * PAGE));
	EXPECT_EQ(8, pwrite(fd, &value, 8,
			    (uintptr_t)self->view + 7 * PAGE - 3));
	EXPECT_EQ(value, *(unsigned long *)(self->alias + 16));
	EXPECT_EQ(value, *(unsigned long *)(self->alias + 4 * PAGE));
	EXPECT_EQ(value, *(unsigned long *)(self->alias + 7 * PAGE - 3));
	EXPECT_EQ(4, dirty(self->space, self->view, PAGES, bitmap));
	EXPECT_EQ(1 << 0 | 1 << 4 | 1 << 6 | 1 << 7, bitmap[0]);
	EXPECT_EQ(SIGSEGV, try_read(self->view));
	EXPECT_EQ(SIGSEGV, try_write(self->view + 4 * PAGE, 1));
	close(fd);
}

/* Where this view has not even page tables, another may have data. */
TEST_F(mm, proc_mem_of_a_view_that_was_never_touched_shows_the_data)
{
	char *far = mmap((void *)0x200000000000, PAGES * PAGE, R,
			 MAP_SHARED | MAP_FIXED_NOREPLACE, self->space, 0);
	int fd = open("/proc/self/mem", O_RDWR);
	unsigned long value = 0;

	ASSERT_NE(MAP_FAILED, far);
	ASSERT_LE(0, fd);
	EXPECT_EQ(8, pread(fd, &value, 8, (uintptr_t)far + 8 * PAGE));
	EXPECT_EQ(9, value);
	EXPECT_EQ(0, scan(self->space, far, PAGES, 3, 0, NULL));
	close(fd);
}

/* A child with a view that stops to be looked at. */
static void traced(int space)
{
	char *p = mmap((void *)0x300000000000, 4 * PAGE, RW,
		       MAP_SHARED | MAP_FIXED_NOREPLACE, space,
		       3 * PAGES * PAGE);

	must(p == (void *)0x300000000000);
	*(long *)(p + PAGE) = 77;
	must(dirty(space, p, 4, NULL) == 1);
	must(!protect(space, p, 2, NONE) && !protect(space, p + 2 * PAGE, 2, R));
	must(!ptrace(PTRACE_TRACEME, 0, NULL, NULL));
	raise(SIGSTOP);
	must(dirty(space, p, 4, NULL) == 3);
	must(try_read(p) == SIGSEGV && try_write(p + 2 * PAGE, 1) == SIGSEGV);
	must(!protect(space, p, 4, R));
	_exit(*(long *)p == 1 && *(long *)(p + PAGE) == 2 &&
	      *(long *)(p + 2 * PAGE) == 3 ? 0 : 1);
}

TEST_F(mm, debugger_sees_and_writes_protected_pages)
{
	char *there = (char *)0x300000000000;
	int status, i;
	pid_t pid = fork();

	must(pid >= 0);
	if (!pid)
		traced(self->space);
	must(waitpid(pid, &status, 0) == pid);
	ASSERT_TRUE(WIFSTOPPED(status));
	EXPECT_EQ(0, ptrace(PTRACE_PEEKDATA, pid, there, NULL));
	EXPECT_EQ(77, ptrace(PTRACE_PEEKDATA, pid, there + PAGE, NULL));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(0, ptrace(PTRACE_POKEDATA, pid, there + i * PAGE,
				    (long)i + 1));
	EXPECT_EQ(2, ptrace(PTRACE_PEEKDATA, pid, there + PAGE, NULL));
	/* The traps that it takes stop it, too. */
	for (i = 0; i < 10 && WIFSTOPPED(status); i++) {
		int sig = WSTOPSIG(status) == SIGSEGV ? SIGSEGV : 0;

		ptrace(PTRACE_CONT, pid, NULL, (long)sig);
		must(waitpid(pid, &status, 0) == pid);
	}
	EXPECT_EQ(0, status);
}

/* A core file, and how often this word stands in it eight times in a row. */
#define SECRET	0x5ec2e7a9b1d3f571ul

static void crash_with_a_view(int space)
{
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
	unsigned long *p = (void *)view_new(space, 0, 64, RW), i;

	setrlimit(RLIMIT_CORE, &limit);
	prctl(PR_SET_DUMPABLE, 1);
	for (i = 0; i < 64 * PAGE / 8; i++)
		p[i] = SECRET;
	must(!protect(space, p, 1, NONE));
	signal(SIGABRT, SIG_DFL);
	abort();
}

static long secrets_in(const char *name)
{
	unsigned long words[8];
	FILE *f = fopen(name, "r");
	long n = 0, i, same;

	if (!f)
		return -1;
	while (fread(words, sizeof(words), 1, f) == 1) {
		for (same = i = 0; i < 8; i++)
			same += words[i] == SECRET;
		n += same == 8;
	}
	fclose(f);
	return n;
}

TEST_F(mm, core_dump_leaves_views_out)
{
	char old[128] = "", name[] = "/tmp/avm-core";
	int fd = open("/proc/sys/kernel/core_pattern", O_RDONLY), status;
	pid_t pid;

	ASSERT_LE(0, fd);
	must(read(fd, old, sizeof(old) - 1) > 0);
	close(fd);
	write_file("/proc/sys/kernel/core_pattern", name);
	pid = fork();
	must(pid >= 0);
	if (!pid)
		crash_with_a_view(self->space);
	must(waitpid(pid, &status, 0) == pid);
	write_file("/proc/sys/kernel/core_pattern", old);
	EXPECT_TRUE(WIFSIGNALED(status) && WCOREDUMP(status));
	EXPECT_EQ(0, secrets_in(name));
	unlink(name);
	EXPECT_EQ(2, stats(self->space).out_views);
}

TEST_F(mm, numa_calls_do_no_harm)
{
	unsigned long node = 1, length = PAGES * PAGE;
	int nodes[4] = {}, status[4];
	void *pages[4] = {
		self->view + 2 * PAGE, self->view, self->view + 9 * PAGE,
		self->alias,
	};

	/* Not every kernel has them, and none is to move anything. */
	syscall(SYS_mbind, self->view, length, MPOL_BIND, &node, 64,
		MPOL_MF_MOVE);
	syscall(SYS_mbind, self->view + 3 * PAGE, PAGE, MPOL_PREFERRED, &node,
		64, MPOL_MF_STRICT);
	syscall(SYS_move_pages, 0, 4, pages, nodes, status, MPOL_MF_MOVE);
	syscall(SYS_move_pages, 0, 4, pages, NULL, status, 0);
	syscall(SYS_migrate_pages, 0, 64, &node, &node);
	EXPECT_AS_PAINTED(self->view, 0, PAGES);
	EXPECT_EQ(0, wrong_contents(self->alias));
}

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE	67
#endif
#ifndef PR_SET_VMA
#define PR_SET_VMA		0x53564d41
#define PR_SET_VMA_ANON_NAME	0
#endif

TEST_F(mm, same_page_merging_does_no_harm)
{
	write_file("/sys/kernel/mm/ksm/run", "1");
	madvise(self->view, PAGES * PAGE, MADV_MERGEABLE);
	madvise(self->alias, PAGES * PAGE, MADV_MERGEABLE);
	prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0);
	usleep(50000);
	write_file("/sys/kernel/mm/ksm/run", "0");
	EXPECT_AS_PAINTED(self->view, 0, PAGES);
	EXPECT_EQ(0, wrong_contents(self->alias));
}

TEST_F(mm, other_calls_do_no_harm)
{
	struct iovec all = { self->view, PAGES * PAGE };
	int pidfd = syscall(SYS_pidfd_open, getpid(), 0);

	prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, self->view, PAGES * PAGE, "n");
	msync(self->view, PAGES * PAGE, MS_SYNC | MS_INVALIDATE);
	msync(self->view, PAGES * PAGE, MS_ASYNC);
	syscall(SYS_membarrier, 1, 0, 0);	/* MEMBARRIER_CMD_GLOBAL */
	syscall(SYS_process_madvise, pidfd, &all, 1, MADV_COLD, 0);
	syscall(SYS_process_madvise, pidfd, &all, 1, MADV_PAGEOUT, 0);
	syscall(SYS_readahead, self->space, 0, PAGES * PAGE);
	syscall(SYS_fadvise64, self->space, 0, PAGES * PAGE, 4);
	syscall(451, self->space, NULL, NULL, 0);	/* cachestat */
	EXPECT_NE(0, ftruncate(self->space, 0));
	EXPECT_NE(0, fallocate(self->space, 3, 0, PAGES * PAGE));
	close(pidfd);
	EXPECT_AS_PAINTED(self->view, 0, PAGES);
	EXPECT_EQ(0, wrong_contents(self->alias));
}

/* remap_file_pages(2) is an mmap of another part at the same place. */
TEST_F(mm, remap_file_pages_is_a_new_view)
{
	char *p = self->view + 400 * PAGE;
	int ret = syscall(SYS_remap_file_pages, p, 8 * PAGE, 0, 3 * PAGES, 0);

	if (!ret) {
		EXPECT_EQ(0, try_write(p + 2 * PAGE, 1));
		EXPECT_EQ(1, dirty(self->space, p, 8, NULL));
	}
	EXPECT_AS_PAINTED(self->view, 0, 400);
	EXPECT_AS_PAINTED(self->view + 408 * PAGE, 408, PAGES - 408);
	EXPECT_EQ(0, wrong_contents(self->alias));
}

TEST_F(mm, read_implies_exec_is_no_more_than_that)
{
	int old = personality(0xffffffff);
	char *p;

	must(old >= 0);
	memset(self->alias + 2 * PAGE, 0xc3, PAGE);
	must(personality(old | READ_IMPLIES_EXEC) >= 0);
	p = map2(self->space, self->view, 16, R, R);
	EXPECT_EQ(SIGSEGV, try_write(p, 1));
	EXPECT_EQ(0, try_read(p));
	EXPECT_EQ(0, protect(self->space, p, 16, NONE));
	EXPECT_EQ(SIGSEGV, try_fetch(p + 2 * PAGE));
	EXPECT_EQ(SIGSEGV, try_read(p));
	EXPECT_EQ(-EACCES, protect(self->space, p, 1, RW));
	must(personality(old) >= 0);
}

TEST_HARNESS_MAIN
