// SPDX-License-Identifier: GPL-2.0
/*
 * MAP2: the same pages at two and more addresses, each with protections of
 * its own for every page.
 */
#include "avmtest.h"

#include <pthread.h>

#include "harness.h"

#define PAGES	1100ul

FIXTURE(map2) {
	int space;
	char *view;
};

FIXTURE_SETUP(map2) {
	self->space = space_new(4096);
	self->view = view_new(self->space, 0, PAGES, RWX);
	denied_setup();
}

FIXTURE_TEARDOWN(map2) {
	munmap(self->view, PAGES * PAGE);
	close(self->space);
}

static int readable(const void *page)
{
	return !try_read(page);
}

static int writable(void *page)
{
	return !try_write(page, 1);
}

static int map2_arg(int space, const void *addr, uint64_t pages, uint32_t flags,
		    void *to, char **out)
{
	struct avm_map2 arg = {
		.size = sizeof(arg),
		.flags = flags,
		.addr = (uintptr_t)addr,
		.length = pages * PAGE,
		.to = (uintptr_t)to,
		.max_prot = RW,
		.prot = RW,
	};
	int ret = call(space, AVM_IOC_MAP2, &arg);

	*out = (char *)(uintptr_t)arg.out_addr;
	return ret;
}

TEST_F(map2, shows_the_same_pages)
{
	char *second = map2(self->space, self->view, PAGES, RW, RW);
	unsigned long i;

	for (i = 0; i < PAGES; i += 33) {
		self->view[i * PAGE + i] = i;
		EXPECT_EQ((char)i, second[i * PAGE + i]);
		second[i * PAGE + i + 1] = i + 1;
		EXPECT_EQ((char)(i + 1), self->view[i * PAGE + i + 1]);
	}
	EXPECT_EQ((PAGES + 32) / 33, stats(self->space).out_resident_pages);
	EXPECT_EQ(2, stats(self->space).out_views);
}

TEST_F(map2, each_view_has_its_own_protection_for_each_page)
{
	static const int prots[] = { NONE, R, RW };
	char *second = map2(self->space, self->view, 9, RW, RW);
	char *third = map2(self->space, self->view, 9, RW, NONE);
	unsigned int round, i;

	for (round = 0; round < 2; round++) {
		for (i = 0; i < 9; i++) {
			must(!protect(self->space, self->view + i * PAGE, 1,
				      prots[i % 3]));
			must(!protect(self->space, second + i * PAGE, 1,
				      prots[i / 3]));
		}
		for (i = 0; i < 9; i++) {
			EXPECT_EQ(prots[i % 3] != NONE,
				  readable(self->view + i * PAGE));
			EXPECT_EQ(prots[i % 3] == RW,
				  writable(self->view + i * PAGE));
			EXPECT_EQ(prots[i / 3] != NONE,
				  readable(second + i * PAGE));
			EXPECT_EQ(prots[i / 3] == RW,
				  writable(second + i * PAGE));
			EXPECT_FALSE(readable(third + i * PAGE));
		}
		/* Again with pages that have been touched in both. */
		must(!protect(self->space, self->view, 9, RW));
		must(!protect(self->space, second, 9, RW));
		memset(self->view, 1, 9 * PAGE);
		memset(second, 2, 9 * PAGE);
	}
}

TEST_F(map2, alias_of_a_closed_page_can_fill_it)
{
	char *fill = map2(self->space, self->view, PAGES, RW, RW);

	must(!protect(self->space, self->view, PAGES, NONE));
	memset(fill + 700 * PAGE, 7, PAGE);
	EXPECT_FALSE(readable(self->view + 700 * PAGE));
	must(!protect(self->space, self->view + 700 * PAGE, 1, R));
	EXPECT_EQ(7, self->view[700 * PAGE + 99]);
	EXPECT_FALSE(writable(self->view + 700 * PAGE));
}

TEST_F(map2, first_protection_holds_from_the_first_moment)
{
	static const int prots[] = { NONE, R, RW, RX, RWX };
	unsigned int i;

	memset(self->view, 0xc3, 2 * PAGE);
	for (i = 0; i < sizeof(prots) / sizeof(prots[0]); i++) {
		char *p = map2(self->space, self->view, 3, RWX, prots[i]);

		EXPECT_EQ(!(prots[i] & AVM_PROT_EXEC), !!try_fetch(p + PAGE));
		EXPECT_EQ(!!(prots[i] & AVM_PROT_READ), readable(p));
		EXPECT_EQ(!!(prots[i] & AVM_PROT_WRITE), writable(p + 2 * PAGE));
		/* And the most that it allows is what was said. */
		EXPECT_EQ(0, protect(self->space, p, 3, RWX));
		EXPECT_TRUE(writable(p));
		munmap(p, 3 * PAGE);
	}
}

TEST_F(map2, first_protection_is_of_that_view_alone)
{
	char *closed = map2(self->space, self->view, 4, RW, NONE);
	char *after = view_new(self->space, 0, 4, RW);

	EXPECT_FALSE(readable(closed));
	EXPECT_TRUE(writable(after));
	EXPECT_TRUE(writable(self->view));
}

TEST_F(map2, limit_of_the_second_view_is_its_own)
{
	char *reader = map2(self->space, self->view, 4, R, R);
	char *nothing = map2(self->space, self->view, 4, NONE, NONE);
	char *wider;

	EXPECT_EQ(-EACCES, protect(self->space, reader, 1, RW));
	EXPECT_EQ(-EACCES, protect(self->space, reader, 1, RX));
	EXPECT_EQ(-EACCES, protect(self->space, nothing, 1, R));
	EXPECT_FALSE(writable(reader));
	EXPECT_FALSE(readable(nothing));
	/* The limit is not inherited: the descriptor is what allows. */
	wider = map2(self->space, reader, 4, RWX, RW);
	EXPECT_TRUE(writable(wider));
}

TEST_F(map2, first_protection_above_the_limit_is_refused)
{
	struct avm_map2 arg = {
		.size = sizeof(arg),
		.addr = (uintptr_t)self->view,
		.length = PAGE,
		.max_prot = R,
		.prot = RW,
	};

	EXPECT_EQ(-EACCES, call(self->space, AVM_IOC_MAP2, &arg));
	arg.max_prot = RWX;
	arg.prot = AVM_PROT_WRITE;
	EXPECT_EQ(-EINVAL, call(self->space, AVM_IOC_MAP2, &arg));
	arg.max_prot = AVM_PROT_WRITE | AVM_PROT_EXEC;
	arg.prot = NONE;
	EXPECT_EQ(-EINVAL, call(self->space, AVM_IOC_MAP2, &arg));
	EXPECT_EQ(0, arg.out_addr);
	EXPECT_EQ(1, stats(self->space).out_views);
}

TEST_F(map2, fixed_maps_there_or_says_eexist)
{
	char *room = mmap(NULL, 8 * PAGE, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *out;

	ASSERT_NE(MAP_FAILED, room);
	EXPECT_EQ(-EEXIST, map2_arg(self->space, self->view, 4,
				    AVM_MAP2_FIXED, room, &out));
	EXPECT_EQ(-EEXIST, map2_arg(self->space, self->view, 4, AVM_MAP2_FIXED,
				    self->view + 4 * PAGE, &out));
	munmap(room + 2 * PAGE, 4 * PAGE);
	EXPECT_EQ(-EEXIST, map2_arg(self->space, self->view, 5, AVM_MAP2_FIXED,
				    room + 2 * PAGE, &out));
	ASSERT_EQ(0, map2_arg(self->space, self->view, 4, AVM_MAP2_FIXED,
			      room + 2 * PAGE, &out));
	EXPECT_EQ(room + 2 * PAGE, out);
	self->view[0] = 9;
	EXPECT_EQ(9, out[0]);
	EXPECT_EQ(2, stats(self->space).out_views);
}

TEST_F(map2, hint_that_is_taken_is_no_error)
{
	char *out;

	ASSERT_EQ(0, map2_arg(self->space, self->view, 4, 0, self->view, &out));
	EXPECT_NE(self->view, out);
	EXPECT_TRUE(writable(out));
	EXPECT_EQ(-EINVAL, map2_arg(self->space, self->view, 4, 0,
				    self->view + 1, &out));
	EXPECT_EQ(-EOPNOTSUPP, map2_arg(self->space, self->view, 4, 2, NULL,
					&out));
}

TEST_F(map2, part_of_a_view_is_that_part)
{
	/* Views that begin in the space elsewhere than at its beginning. */
	char *late = view_new(self->space, 1000, 1024, RW);
	char *part = map2(self->space, late + 700 * PAGE, 40, RW, RW);
	char *part_of_part = map2(self->space, part + 11 * PAGE, 3, RW, R);
	unsigned long i;

	for (i = 0; i < 1024; i++)
		*(unsigned long *)(late + i * PAGE) = 1000 + i;
	for (i = 0; i < 40; i++)
		EXPECT_EQ(1700 + i, *(unsigned long *)(part + i * PAGE));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(1711 + i, *(unsigned long *)(part_of_part + i * PAGE));
	EXPECT_FALSE(writable(part_of_part));
	must(!protect(self->space, part + 11 * PAGE, 1, NONE));
	EXPECT_TRUE(readable(part_of_part));
	EXPECT_FALSE(readable(part + 11 * PAGE));
	EXPECT_TRUE(readable(late + 711 * PAGE));
}

TEST_F(map2, range_beyond_one_view_is_refused)
{
	char *out;

	EXPECT_EQ(-ENXIO, map2_arg(self->space, self->view + PAGE, PAGES, 0,
				   NULL, &out));
	EXPECT_EQ(-ENXIO, map2_arg(self->space, self->view - PAGE, 1, 0, NULL,
				   &out));
	EXPECT_EQ(1, stats(self->space).out_views);
}

static char *at_fixed(int space, char *at, unsigned long first, unsigned long pages)
{
	must(mmap(at, pages * PAGE, RWX, MAP_SHARED | MAP_FIXED, space, first * PAGE) == at);
	return at;
}

TEST_F(map2, parts_of_one_view_are_one_range)
{
	char *place = mmap(NULL, 9 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *view = at_fixed(self->space, place, 0, 8);
	char *beside, *out;

	/* Three VMAs of one view, and then a fourth that is another's. */
	must(!madvise(view + 3 * PAGE, PAGE, MADV_RANDOM));
	view[2 * PAGE] = 2;
	view[4 * PAGE] = 4;
	ASSERT_EQ(0, map2_arg(self->space, view + 2 * PAGE, 3, 0, NULL, &out));
	EXPECT_EQ(2, out[0]);
	EXPECT_EQ(4, out[2 * PAGE]);
	munmap(out, 3 * PAGE);
	beside = at_fixed(self->space, view + 8 * PAGE, 8, 1);
	EXPECT_EQ(-ENXIO, map2_arg(self->space, view + 2 * PAGE, 7, 0, NULL, &out));
	/* A page of the same view, which is not the next of the space. */
	must(mremap(view, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, beside) == beside);
	EXPECT_EQ(-ENXIO, map2_arg(self->space, view + 2 * PAGE, 7, 0, NULL, &out));
	munmap(place, 9 * PAGE);
}

TEST_F(map2, view_of_another_space_is_refused)
{
	int other = space_new(16);
	char *out;

	EXPECT_EQ(-ENXIO, map2_arg(other, self->view, 1, 0, NULL, &out));
	EXPECT_EQ(0, stats(other).out_views);
	close(other);
}

TEST_F(map2, unmapping_one_leaves_the_others)
{
	char *second = map2(self->space, self->view, 8, RW, RW);
	char *third = map2(self->space, second, 8, RW, RW);

	memset(self->view, 5, 8 * PAGE);
	must(!protect(self->space, third, 4, NONE));
	munmap(second, 8 * PAGE);
	EXPECT_EQ(5, self->view[3 * PAGE]);
	EXPECT_FALSE(readable(third));
	EXPECT_EQ(5, third[5 * PAGE]);
	EXPECT_EQ(2, stats(self->space).out_views);
	/* Nor does it free a page: the space holds them. */
	munmap(third, 8 * PAGE);
	EXPECT_EQ(8, stats(self->space).out_resident_pages);
	EXPECT_EQ(5, self->view[8 * PAGE - 1]);
}

TEST_F(map2, dirty_and_accessed_are_of_each_view)
{
	char *second = map2(self->space, self->view, 8, RW, RW);

	second[PAGE] = 1;
	EXPECT_EQ(0, accessed(self->space, self->view, 8, NULL));
	EXPECT_EQ(1, dirty(self->space, second, 8, NULL));
	EXPECT_EQ(1, accessed(self->space, second, 8, NULL));
	self->view[PAGE] = 2;
	EXPECT_EQ(0, dirty(self->space, second, 8, NULL));
	EXPECT_EQ(1, dirty(self->space, self->view, 8, NULL));
}

TEST_F(map2, hundred_views_of_one_page)
{
	char *views[100];
	unsigned int i;

	for (i = 0; i < 100; i++)
		views[i] = map2(self->space, self->view + 3 * PAGE, 1, RW,
				i % 2 ? RW : R);
	for (i = 0; i < 100; i++) {
		EXPECT_EQ(i % 2, writable(views[i]));
		EXPECT_TRUE(readable(views[i]));
	}
	self->view[3 * PAGE] = 77;
	for (i = 0; i < 100; i++)
		EXPECT_EQ(77, views[i][0]);
	EXPECT_EQ(101, stats(self->space).out_views);
	EXPECT_EQ(1, stats(self->space).out_resident_pages);
}

/* Threads make views of one space with different first protections. */
struct maker {
	int space;
	char *view;
	int prot;	/* -1: by mmap(2), which gives what it allows */
	int bad;
};

static void *make_views(void *arg)
{
	struct maker *m = arg;
	unsigned int i;

	for (i = 0; i < 300; i++) {
		int prot = m->prot < 0 ? RW : m->prot;
		char *p = m->prot < 0 ? view_new(m->space, 0, 2, RW) :
			map2(m->space, m->view, 2, RW, prot);

		m->bad += readable(p) != (prot != NONE);
		m->bad += writable(p + PAGE) != (prot == RW);
		munmap(p, 2 * PAGE);
	}
	return NULL;
}

TEST_F(map2, views_made_at_once_get_each_its_own_first_protection)
{
	static const int prots[] = { NONE, R, -1, -1 };
	struct maker m[4];
	pthread_t thread[4];
	unsigned int i;

	for (i = 0; i < 4; i++) {
		m[i] = (struct maker) {
			self->space, self->view, prots[i], 0
		};
		must(!pthread_create(&thread[i], NULL, make_views, &m[i]));
	}
	for (i = 0; i < 4; i++) {
		pthread_join(thread[i], NULL);
		EXPECT_EQ(0, m[i].bad);
	}
	EXPECT_EQ(1, stats(self->space).out_views);
}

TEST_HARNESS_MAIN
