// SPDX-License-Identifier: GPL-2.0
/*
 * POPULATE: allocates pages and maps them, so that a first touch takes no
 * fault; makes no page dirty or accessed, and opens none.
 */
#include "avmtest.h"

#include <sys/resource.h>

#include "harness.h"

#define PAGES	1300ul

FIXTURE(populate) {
	int space;
	char *view;
};

FIXTURE_SETUP(populate) {
	self->space = space_new(1 << 20);
	self->view = view_new(self->space, 0, PAGES, RW);
	denied_setup();
}

FIXTURE_TEARDOWN(populate) {
	munmap(self->view, PAGES * PAGE);
	close(self->space);
}

static long minor_faults(void)
{
	struct rusage usage;

	must(!getrusage(RUSAGE_SELF, &usage));
	return usage.ru_minflt;
}

static void touch(char *from, unsigned long pages, int write)
{
	unsigned long i;

	for (i = 0; i < pages; i++) {
		volatile char *at = from + i * PAGE + i % PAGE;

		if (write)
			*at = 1;
		else
			(void)*at;
	}
}

/* Faults that touching takes, as the kernel counts them and as avm does. */
static long faults_of(int space, char *from, unsigned long pages, int write)
{
	uint64_t before = stats(space).out_faults;
	long minor = minor_faults();

	touch(from, pages, write);
	minor = minor_faults() - minor;
	/* The program itself may take one or two, for its stack. */
	return (long)(stats(space).out_faults - before) +
		(minor > 8 ? minor : 0);
}

TEST_F(populate, writes_take_no_fault_afterwards)
{
	ASSERT_EQ(0, populate(self->space, self->view, PAGES));
	EXPECT_EQ(PAGES, stats(self->space).out_resident_pages);
	EXPECT_EQ(0, faults_of(self->space, self->view, PAGES, 1));
	/* What was not populated does take them: they are counted. */
	ASSERT_EQ(0, discard(self->space, self->view, PAGES));
	EXPECT_LE(PAGES, faults_of(self->space, self->view, PAGES, 1));
}

TEST_F(populate, reads_take_no_fault_afterwards)
{
	ASSERT_EQ(0, protect(self->space, self->view, PAGES, R));
	ASSERT_EQ(0, populate(self->space, self->view, PAGES));
	EXPECT_EQ(0, faults_of(self->space, self->view, PAGES, 0));
	EXPECT_EQ(SIGSEGV, try_write(self->view + 700 * PAGE, 1));
}

TEST_F(populate, pages_are_neither_dirty_nor_accessed)
{
	ASSERT_EQ(0, populate(self->space, self->view, PAGES));
	EXPECT_EQ(0, scan(self->space, self->view, PAGES,
			  AVM_PAGE_DIRTY | AVM_PAGE_ACCESSED, 0, NULL));
	touch(self->view + 600 * PAGE, 10, 0);
	EXPECT_EQ(10, accessed(self->space, self->view, PAGES, NULL));
	EXPECT_EQ(0, dirty(self->space, self->view, PAGES, NULL));
	touch(self->view + 601 * PAGE, 3, 1);
	EXPECT_EQ(3, dirty(self->space, self->view, PAGES, NULL));
}

TEST_F(populate, pages_read_as_zeros)
{
	unsigned long i, sum = 0;

	/* Memory that has been used before, and given back. */
	memset(self->view, 0xff, PAGES * PAGE);
	ASSERT_EQ(0, discard(self->space, self->view, PAGES));
	ASSERT_EQ(0, populate(self->space, self->view, PAGES));
	for (i = 0; i < PAGES * PAGE / 8; i++)
		sum |= ((unsigned long *)self->view)[i];
	EXPECT_EQ(0, sum);
}

TEST_F(populate, closed_pages_stay_closed)
{
	ASSERT_EQ(0, protect(self->space, self->view + PAGE, 600, NONE));
	ASSERT_EQ(0, populate(self->space, self->view, PAGES));
	EXPECT_EQ(PAGES, stats(self->space).out_resident_pages);
	EXPECT_EQ(SIGSEGV, try_read(self->view + PAGE));
	EXPECT_EQ(SIGSEGV, try_write(self->view + 600 * PAGE, 1));
	EXPECT_EQ(0, try_write(self->view, 1));
	EXPECT_EQ(0, try_write(self->view + 601 * PAGE, 1));
	ASSERT_EQ(0, protect(self->space, self->view + PAGE, 600, RW));
	touch(self->view + PAGE, 600, 1);
	EXPECT_EQ(PAGES, stats(self->space).out_resident_pages);
}

TEST_F(populate, code_runs_without_a_fault)
{
	char *code = map2(self->space, self->view, 8, RX, RX);
	uint64_t before;
	unsigned int i;

	memset(self->view, 0xc3, 8 * PAGE);
	ASSERT_EQ(0, populate(self->space, code, 8));
	before = stats(self->space).out_faults;
	for (i = 0; i < 8; i++)
		EXPECT_EQ(0, try_fetch(code + i * PAGE));
	EXPECT_EQ(before, stats(self->space).out_faults);
}

TEST_F(populate, what_is_there_keeps_contents_and_bits)
{
	self->view[5 * PAGE] = 5;
	self->view[6 * PAGE] = 6;
	ASSERT_EQ(0, protect(self->space, self->view + 6 * PAGE, 1, NONE));
	ASSERT_EQ(0, populate(self->space, self->view, 16));
	EXPECT_EQ(5, self->view[5 * PAGE]);
	EXPECT_EQ(2, dirty(self->space, self->view, PAGES, NULL));
	ASSERT_EQ(0, protect(self->space, self->view + 6 * PAGE, 1, R));
	EXPECT_EQ(6, self->view[6 * PAGE]);
	/* Twice is as good as once. */
	ASSERT_EQ(0, populate(self->space, self->view, 16));
	EXPECT_EQ(16, stats(self->space).out_resident_pages);
	EXPECT_EQ(16, stats(self->space).out_allocated);
}

TEST_F(populate, other_view_is_mapped_by_its_own_populate)
{
	char *second = map2(self->space, self->view, 64, RW, RW);

	ASSERT_EQ(0, populate(self->space, self->view, 64));
	ASSERT_EQ(0, populate(self->space, second, 64));
	EXPECT_EQ(64, stats(self->space).out_resident_pages);
	EXPECT_EQ(0, faults_of(self->space, second, 64, 1));
	EXPECT_EQ(0, faults_of(self->space, self->view, 64, 1));
}

TEST_F(populate, vector_does_each_range_and_says_where_it_ended)
{
	struct avm_range ranges[] = {
		{ (uintptr_t)self->view, 2 * PAGE, 0, 0 },
		{ (uintptr_t)self->view + 511 * PAGE, 2 * PAGE, 0, 0 },
		{ (uintptr_t)self->view + 1200 * PAGE, PAGE, 0, 0 },
		{ (uintptr_t)self->view, PAGE, R, 0 },
	};
	struct avm_batch out;

	EXPECT_EQ(0, batch(self->space, AVM_IOC_POPULATE, ranges, 3, &out));
	EXPECT_EQ(3, out.out_done);
	EXPECT_EQ(5, stats(self->space).out_resident_pages);
	EXPECT_EQ(0, faults_of(self->space, self->view + 511 * PAGE, 2, 1));
	EXPECT_EQ(0, faults_of(self->space, self->view + 1200 * PAGE, 1, 1));
	EXPECT_EQ(-EINVAL, batch(self->space, AVM_IOC_POPULATE, ranges, 4,
				 &out));
	EXPECT_EQ(3, out.out_done);
}

TEST_F(populate, view_of_a_later_part_gets_its_own_pages)
{
	char *late = view_new(self->space, 777, 600, RW);

	late[0] = 1;
	ASSERT_EQ(0, populate(self->space, late + PAGE, 599));
	EXPECT_EQ(600, stats(self->space).out_resident_pages);
	EXPECT_EQ(0, faults_of(self->space, late, 600, 1));
	/* The other view sees just these. */
	EXPECT_EQ(1, self->view[777 * PAGE]);
	EXPECT_EQ(0, self->view[776 * PAGE]);
	EXPECT_EQ(601, stats(self->space).out_resident_pages);
}

TEST_F(populate, populated_pages_follow_a_protection_at_once)
{
	ASSERT_EQ(0, populate(self->space, self->view, 600));
	/* Never accessed, so that no flush is needed: and yet it holds. */
	ASSERT_EQ(0, protect(self->space, self->view, 600, R));
	EXPECT_EQ(SIGSEGV, try_write(self->view + 599 * PAGE, 1));
	EXPECT_EQ(0, try_read(self->view + 599 * PAGE));
	ASSERT_EQ(0, protect(self->space, self->view, 600, NONE));
	EXPECT_EQ(SIGSEGV, try_read(self->view));
	EXPECT_EQ(SIGSEGV, try_read(self->view + 599 * PAGE));
}

TEST_F(populate, closed_pages_take_no_fault_once_they_are_opened)
{
	unsigned long i;

	ASSERT_EQ(0, protect(self->space, self->view, PAGES, NONE));
	ASSERT_EQ(0, populate(self->space, self->view, PAGES));
	ASSERT_EQ(0, protect(self->space, self->view, PAGES, RW));
	EXPECT_EQ(0, faults_of(self->space, self->view, PAGES, 1));
	ASSERT_EQ(0, protect(self->space, self->view, PAGES, NONE));
	for (i = 0; i < PAGES; i++)
		ASSERT_EQ(0, ioctl(self->space, AVM_IOC_PROTECT_PAGE,
				   self->view + i * PAGE + RW));
	EXPECT_EQ(0, faults_of(self->space, self->view, PAGES, 1));
}

TEST_HARNESS_MAIN
