// SPDX-License-Identifier: GPL-2.0
/*
 * test_dirty - DIRTY and ACCESSED tell which pages were written and accessed
 * through a view, by the CPU or by the kernel, and lose none
 */
#include "avmtest.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/uio.h>
#include <time.h>

#include "harness.h"

#define CHUNK	512ul	/* pages of a page table */
#define PAGES	(4 * CHUNK)

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* The ways to protect pages: each has code of its own in the module. */
enum way { ONE_RANGE, FEW_RANGES, MANY_RANGES, PAGE_BY_PAGE, WAYS };

#define FEW	4ul		/* ranges that are done the short way */

static int protect_ranges(int space, const char *view, unsigned long pages,
			  int prot, unsigned long most)
{
	struct avm_range ranges[CHUNK];
	unsigned long i, n;
	int err = 0;

	for (; pages && !err; pages -= n, view += n * PAGE) {
		n = pages < most ? pages : most;
		for (i = 0; i < n; i++)
			ranges[i] = (struct avm_range){
				.addr = (uintptr_t)view + i * PAGE,
				.length = PAGE,
				.prot = prot,
			};
		err = batch(space, AVM_IOC_PROTECT, ranges, n, NULL);
	}
	return err;
}

static int protect_by(enum way way, int space, const char *view,
		      unsigned long pages, int prot)
{
	unsigned long i;
	int err = 0;

	switch (way) {
	case FEW_RANGES:
		return protect_ranges(space, view, pages, prot, FEW);
	case MANY_RANGES:
		return protect_ranges(space, view, pages, prot, CHUNK);
	case PAGE_BY_PAGE:
		for (i = 0; i < pages && !err; i++)
			err = call(space, AVM_IOC_PROTECT_PAGE,
				   (char *)view + i * PAGE + prot);
		return err;
	default:
		return protect(space, view, pages, prot);
	}
}

FIXTURE(bits) {
	int space;
	char *view;
	char *alias;
	uint64_t map[PAGES / 64];
};

FIXTURE_SETUP(bits)
{
	denied_setup();
	self->space = space_new(PAGES);
	self->view = view_new(self->space, 0, PAGES, RW);
	self->alias = view_new(self->space, 0, PAGES, RW);
}

FIXTURE_TEARDOWN(bits)
{
	close(self->space);
}

static long is_dirty(struct _test_data_bits *self, const char *page)
{
	return scan(self->space, page, 1, AVM_PAGE_DIRTY, 0, NULL);
}

static long is_accessed(struct _test_data_bits *self, const char *page)
{
	return scan(self->space, page, 1, AVM_PAGE_ACCESSED, 0, NULL);
}

/* Page @n of the view, and the same page of the other view. */
static char *page(struct _test_data_bits *self, unsigned long n)
{
	return self->view + n * PAGE;
}

static char *other(struct _test_data_bits *self, unsigned long n)
{
	return self->alias + n * PAGE;
}

TEST_F(bits, a_write_makes_dirty_and_accessed_a_read_only_accessed)
{
	*page(self, 0) = 1;
	*(volatile char *)page(self, 1);
	EXPECT_EQ(1, is_dirty(self, page(self, 0)));
	EXPECT_EQ(1, is_accessed(self, page(self, 0)));
	EXPECT_EQ(0, is_dirty(self, page(self, 1)));
	EXPECT_EQ(1, is_accessed(self, page(self, 1)));
}

TEST_F(bits, pages_never_touched_have_neither)
{
	*page(self, CHUNK) = 1;
	EXPECT_EQ(1, scan(self->space, self->view, PAGES,
			  AVM_PAGE_DIRTY | AVM_PAGE_ACCESSED, 0, self->map));
	EXPECT_EQ(1, bit(self->map, CHUNK));
}

TEST_F(bits, populate_makes_neither)
{
	ASSERT_EQ(0, populate(self->space, self->view, PAGES));
	EXPECT_EQ(0, scan(self->space, self->view, PAGES,
			  AVM_PAGE_DIRTY | AVM_PAGE_ACCESSED, 0, NULL));
	/* Nor does opening a page whose frame is there. */
	ASSERT_EQ(0, protect(self->space, self->view, PAGES, NONE));
	ASSERT_EQ(0, protect(self->space, self->view, PAGES, RW));
	EXPECT_EQ(0, scan(self->space, self->view, PAGES,
			  AVM_PAGE_DIRTY | AVM_PAGE_ACCESSED, 0, NULL));
}

TEST_F(bits, a_denied_access_makes_neither)
{
	ASSERT_EQ(0, populate(self->space, self->view, 2));
	ASSERT_EQ(0, protect(self->space, page(self, 0), 1, R));
	ASSERT_EQ(0, protect(self->space, page(self, 1), 1, NONE));
	EXPECT_EQ(SIGSEGV, try_write(page(self, 0), 1));
	EXPECT_EQ(SIGSEGV, try_write(page(self, 1), 1));
	EXPECT_EQ(SIGSEGV, try_read(page(self, 1)));
	EXPECT_EQ(0, is_dirty(self, page(self, 0)));
	EXPECT_EQ(0, is_dirty(self, page(self, 1)));
	EXPECT_EQ(0, is_accessed(self, page(self, 1)));
}

TEST_F(bits, each_view_has_its_own)
{
	*page(self, 0) = 1;
	*other(self, 1) = 1;
	*(volatile char *)page(self, 1);
	*(volatile char *)other(self, 2);
	EXPECT_EQ(1, is_dirty(self, page(self, 0)));
	EXPECT_EQ(0, is_dirty(self, other(self, 0)));
	EXPECT_EQ(0, is_accessed(self, other(self, 0)));
	EXPECT_EQ(0, is_dirty(self, page(self, 1)));
	EXPECT_EQ(1, is_dirty(self, other(self, 1)));
	EXPECT_EQ(0, is_accessed(self, page(self, 2)));
	/* Clearing one leaves the other. */
	EXPECT_EQ(1, dirty(self->space, self->view, PAGES, NULL));
	EXPECT_EQ(1, dirty(self->space, self->alias, PAGES, NULL));
}

TEST_F(bits, get_leaves_and_get_and_clear_clears)
{
	int i;

	*page(self, 3) = 1;
	for (i = 0; i < 3; i++)
		EXPECT_EQ(1, is_dirty(self, page(self, 3)));
	EXPECT_EQ(1, dirty(self->space, self->view, PAGES, NULL));
	EXPECT_EQ(0, is_dirty(self, page(self, 3)));
	EXPECT_EQ(1, is_accessed(self, page(self, 3)));
	*page(self, 3) = 2;
	EXPECT_EQ(1, is_dirty(self, page(self, 3)));
	EXPECT_EQ(1, accessed(self->space, self->view, PAGES, NULL));
	EXPECT_EQ(0, is_accessed(self, page(self, 3)));
	EXPECT_EQ(1, is_dirty(self, page(self, 3)));
	*(volatile char *)page(self, 3);
	EXPECT_EQ(1, is_accessed(self, page(self, 3)));
}

/* read(2) from a pipe and from a file, readv, getcwd: the kernel writes. */
TEST_F(bits, writes_of_the_kernel_make_dirty)
{
	struct iovec iov[] = { { page(self, 2) + 8, 8 },
			       { page(self, 4) + 8, 8 } };
	int pipes[2], file = open("/proc/self/maps", O_RDONLY);

	ASSERT_EQ(0, pipe(pipes));
	ASSERT_EQ(24, write(pipes[1], "0123456789abcdef01234567", 24));
	ASSERT_EQ(8, read(pipes[0], page(self, 0), 8));
	ASSERT_EQ(16, readv(pipes[0], iov, 2));
	ASSERT_LT(0, read(file, page(self, 6), PAGE));
	ASSERT_NE(NULL, getcwd(page(self, CHUNK + 1), PAGE));
	EXPECT_EQ(5, dirty(self->space, self->view, PAGES, self->map));
	EXPECT_EQ(0x55, self->map[0]);
	EXPECT_EQ(2, self->map[CHUNK / 64]);
	/* And again, now that the page is mapped. */
	ASSERT_EQ(8, write(pipes[1], "01234567", 8));
	ASSERT_EQ(8, read(pipes[0], page(self, 0), 8));
	EXPECT_EQ(1, dirty(self->space, self->view, PAGES, NULL));
}

TEST_F(bits, reads_of_the_kernel_make_accessed)
{
	int pipes[2];

	ASSERT_EQ(0, pipe(pipes));
	ASSERT_EQ(8, write(pipes[1], page(self, 0), 8));
	EXPECT_EQ(1, accessed(self->space, self->view, PAGES, NULL));
	EXPECT_EQ(0, dirty(self->space, self->view, PAGES, NULL));
}

/* What a debugger does: whatever the protection, and dirty all the same. */
TEST_F(bits, writes_by_proc_mem_make_dirty)
{
	static const int prots[] = { NONE, R, RW };
	int mem = open("/proc/self/mem", O_RDWR);
	unsigned int i;
	char buf[16];

	ASSERT_LE(0, mem);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, protect(self->space, page(self, i), 1, prots[i]));
		ASSERT_EQ(9, pwrite(mem, "debugger", 9,
				    (uintptr_t)page(self, i) + 100));
		EXPECT_STREQ("debugger", other(self, i) + 100);
		EXPECT_EQ(9, pread(mem, buf, 9,
				   (uintptr_t)page(self, i) + 100));
		EXPECT_STREQ("debugger", buf);
	}
	EXPECT_EQ(3, dirty(self->space, self->view, PAGES, self->map));
	EXPECT_EQ(7, self->map[0]);
	EXPECT_EQ(0, is_dirty(self, page(self, 0)));
	/* Reading is no write, and pages that nobody has are zeros. */
	EXPECT_EQ(9, pread(mem, buf, 9, (uintptr_t)page(self, CHUNK)));
	EXPECT_EQ(0, buf[0]);
	EXPECT_EQ(0, dirty(self->space, self->view, PAGES, NULL));
	close(mem);
}

/* A view without page tables, far from any other, of pages that have data. */
TEST_F(bits, proc_mem_reads_through_a_view_never_touched)
{
	char *far = (char *)0x100000000000ul, buf[4] = "";
	int mem = open("/proc/self/mem", O_RDWR);

	memcpy(page(self, 5), "abc", 4);
	far = mmap(far, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
		   self->space, 0);
	ASSERT_NE(MAP_FAILED, far);
	ASSERT_EQ(4, pread(mem, buf, 4, (uintptr_t)far + 5 * PAGE));
	EXPECT_STREQ("abc", buf);
	close(mem);
}

/* Bits of a page are the same through any change of protection. */
TEST_F(bits, survive_changes_of_protection)
{
	static const int prots[] = { R, NONE, RW, NONE, R, RW };
	unsigned int i;

	*page(self, 0) = 1;
	*(volatile char *)page(self, 1);
	ASSERT_EQ(0, populate(self->space, page(self, 2), 1));
	for (i = 0; i < 6 * WAYS; i++) {
		ASSERT_EQ(0, protect_by(i / 6, self->space, self->view, PAGES,
					prots[i % 6])) TH_LOG("way %u", i / 6);
		/* Written while it was open: it is clean in the next round. */
		if (i % 6 == 5) {
			ASSERT_EQ(1, dirty(self->space, page(self, 0), 1, NULL));
			*page(self, 0) = 1;
		}
		EXPECT_EQ(1, is_dirty(self, page(self, 0)));
		EXPECT_EQ(1, is_accessed(self, page(self, 0)));
		EXPECT_EQ(0, is_dirty(self, page(self, 1)));
		EXPECT_EQ(1, is_accessed(self, page(self, 1)));
		EXPECT_EQ(0, is_dirty(self, page(self, 2)));
		EXPECT_EQ(0, is_accessed(self, page(self, 2)));
	}
}

/* Cleared in one protection they are clear in the next. */
TEST_F(bits, can_be_cleared_under_any_protection)
{
	static const int prots[] = { NONE, R, RW };
	unsigned int i;

	for (i = 0; i < 3; i++) {
		*page(self, 0) = 1;
		ASSERT_EQ(0, protect(self->space, self->view, 1, prots[i]));
		EXPECT_EQ(1, dirty(self->space, self->view, PAGES, NULL));
		EXPECT_EQ(0, dirty(self->space, self->view, PAGES, NULL));
		EXPECT_EQ(1, accessed(self->space, self->view, PAGES, NULL));
		ASSERT_EQ(0, protect(self->space, self->view, 1, RW));
		EXPECT_EQ(0, is_dirty(self, page(self, 0)));
		EXPECT_EQ(0, is_accessed(self, page(self, 0)));
	}
}

TEST_F(bits, discarded_pages_have_neither)
{
	*page(self, 0) = 1;
	*page(self, 1) = 1;
	*other(self, 1) = 1;
	ASSERT_EQ(0, protect(self->space, page(self, 1), 1, NONE));
	ASSERT_EQ(0, discard(self->space, self->view, 2));
	EXPECT_EQ(0, scan(self->space, self->view, PAGES,
			  AVM_PAGE_DIRTY | AVM_PAGE_ACCESSED, 0, NULL));
	EXPECT_EQ(0, scan(self->space, self->alias, PAGES,
			  AVM_PAGE_DIRTY | AVM_PAGE_ACCESSED, 0, NULL));
}

/*
 * Written pages of all kinds of protection, across page tables. Then what is
 * to be seen of them at @view, pages [from, to) of the space.
 */
static void write_every_third(struct _test_data_bits *self)
{
	static const int prots[] = { RW, R, NONE };
	unsigned long i;

	for (i = 0; i < PAGES; i += 3) {
		*page(self, i) = 1;
		must(!protect(self->space, page(self, i), 1, prots[i % 9 / 3]));
	}
}

static bool every_third_is_dirty(struct _test_data_bits *self, char *view,
				 unsigned long from, unsigned long to)
{
	unsigned long i;

	if (scan(self->space, view, to - from, AVM_PAGE_DIRTY, 0, self->map) < 0)
		return false;
	for (i = from; i < to; i++)
		if (bit(self->map, i - from) != (i % 3 == 0))
			return false;
	return true;
}

/* Not by a multiple of what one page table covers, so that tables part. */
TEST_F(bits, survive_mremap)
{
	char *to = mmap(NULL, (PAGES + CHUNK) * PAGE, PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *moved;

	ASSERT_NE(MAP_FAILED, to);
	write_every_third(self);
	to += 123 * PAGE;
	moved = mremap(self->view, PAGES * PAGE, PAGES * PAGE,
		       MREMAP_MAYMOVE | MREMAP_FIXED, to);
	ASSERT_EQ(to, moved);
	EXPECT_TRUE(every_third_is_dirty(self, moved, 0, PAGES));
	/* Protections, too. */
	EXPECT_EQ(0, try_write(moved, 2));
	EXPECT_EQ(SIGSEGV, try_write(moved + 3 * PAGE, 2));
	EXPECT_EQ(0, try_read(moved + 3 * PAGE));
	EXPECT_EQ(SIGSEGV, try_read(moved + 6 * PAGE));
	EXPECT_EQ((PAGES + 2) / 3, dirty(self->space, moved, PAGES, NULL));
	EXPECT_EQ(0, dirty(self->space, moved, PAGES, NULL));
	moved[1000 * PAGE] = 1;
	EXPECT_EQ(1, dirty(self->space, moved, PAGES, self->map));
	EXPECT_EQ(1, bit(self->map, 1000));
}

TEST_F(bits, survive_a_split_by_munmap)
{
	const unsigned long a = 700, b = 1111;

	write_every_third(self);
	ASSERT_EQ(0, munmap(page(self, a), (b - a) * PAGE));
	EXPECT_TRUE(every_third_is_dirty(self, self->view, 0, a));
	EXPECT_TRUE(every_third_is_dirty(self, page(self, b), b, PAGES));
	EXPECT_EQ(-ENXIO, scan(self->space, self->view, PAGES, AVM_PAGE_DIRTY,
			       AVM_PAGE_DIRTY, NULL));
	/* That failed, and has changed nothing. */
	EXPECT_TRUE(every_third_is_dirty(self, self->view, 0, a));
}

/*
 * No write is lost. Writers write ever higher numbers to words of pages at
 * random; the scanner copies pages that it finds dirty, through the alias, to
 * a replica. A lost write would be missing there in the end.
 */
#define WRITERS	2
#define SPAN	256ul	/* pages that are written */

FIXTURE(writers) {
	int space;
	char *view;
	uint64_t *alias;
	uint64_t *replica;
	bool close;		/* the scanner takes w away, writers open again */
	atomic_bool stop;
	_Atomic unsigned long writes;
	uint64_t map[SPAN / 64];
};

FIXTURE_SETUP(writers)
{
	denied_setup();
	self->space = space_new(SPAN);
	self->view = view_new(self->space, 0, SPAN, RW);
	self->alias = (uint64_t *)view_new(self->space, 0, SPAN, RW);
	self->replica = calloc(SPAN, PAGE);
	must(self->replica);
}

FIXTURE_TEARDOWN(writers)
{
	close(self->space);
}

struct writer {
	pthread_t thread;
	struct _test_data_writers *self;
	unsigned int number;
};

static void *writer_run(void *arg)
{
	struct writer *w = arg;
	unsigned int seed = w->number;
	unsigned long i, writes = 0;
	volatile uint64_t *word;

	while (!w->self->stop) {
		i = rand_r(&seed) % SPAN;
		/* A word of its own; often the page of a moment ago. */
		word = (uint64_t *)(w->self->view + i * PAGE) + w->number;
		if (!w->self->close) {
			for (i = 0; i < 1 + seed % 64; i++)
				*word += 1;
		} else if (!try_write((char *)word, ++writes)) {
			continue;
		} else {
			must(!protect(w->self->space,
				      w->self->view + i * PAGE, 1, RW));
		}
		w->self->writes++;
	}
	return NULL;
}

/* Get and clear, and perhaps close; copy what was found to be dirty. */
static unsigned long replicate(struct _test_data_writers *self,
			       unsigned int pass)
{
	struct avm_scan arg = {
		.size = sizeof(arg),
		.flags = AVM_SCAN_BITMAP | (self->close ? AVM_SCAN_PROTECT : 0),
		.addr = (uintptr_t)self->view,
		.length = SPAN * PAGE,
		.match = AVM_PAGE_DIRTY,
		.clear = AVM_PAGE_DIRTY,
		.prot = !self->close ? 0 : pass % 2 ? R : NONE,
		.buffer = (uintptr_t)self->map,
		.buffer_size = sizeof(self->map),
	};
	unsigned long i;

	must(!call(self->space, AVM_IOC_SCAN, &arg));
	for (i = 0; i < SPAN; i++)
		if (bit(self->map, i))
			memcpy(self->replica + i * PAGE / 8,
			       self->alias + i * PAGE / 8, 8 * WRITERS);
	return arg.out_pages;
}

static void race_writers(struct __test_metadata *_metadata,
			 struct _test_data_writers *self)
{
	struct writer writers[WRITERS];
	unsigned long found = 0, scans = 0, i;
	double end = now() + 2;

	for (i = 0; i < WRITERS; i++) {
		writers[i] = (struct writer){ .self = self, .number = i };
		ASSERT_EQ(0, pthread_create(&writers[i].thread, NULL,
					    writer_run, &writers[i]));
	}
	for (; now() < end; scans++)
		found += replicate(self, scans);
	self->stop = true;
	for (i = 0; i < WRITERS; i++)
		ASSERT_EQ(0, pthread_join(writers[i].thread, NULL));
	replicate(self, 0);
	for (i = 0; i < SPAN; i++)
		ASSERT_EQ(0, memcmp(self->replica + i * PAGE / 8,
				    self->alias + i * PAGE / 8, 8 * WRITERS));
	EXPECT_EQ(0, replicate(self, 0));
	TH_LOG("%lu rounds of writes, %lu scans found %lu pages",
	       (unsigned long)self->writes, scans, found);
}

TEST_F(writers, no_write_is_lost_between_two_scans)
{
	race_writers(_metadata, self);
}

TEST_F(writers, no_write_is_lost_when_scans_protect_too)
{
	self->close = true;
	race_writers(_metadata, self);
}

/*
 * Nor by a PROTECT that takes away what a CPU is writing to: a third party
 * closes and opens the pages all the time, by ranges.
 */
static void *closer_run(void *arg)
{
	struct _test_data_writers *self = arg;
	unsigned int i;

	for (i = 0; !self->stop; i++)
		must(!protect(self->space, self->view + i % 4 * SPAN / 4 * PAGE,
			      SPAN / 4, i % 12 < 4 ? NONE : i % 12 < 8 ? R : RW));
	return NULL;
}

TEST_F(writers, no_write_is_lost_while_others_protect)
{
	pthread_t closer;

	ASSERT_EQ(0, pthread_create(&closer, NULL, closer_run, self));
	self->close = true;
	race_writers(_metadata, self);
	ASSERT_EQ(0, pthread_join(closer, NULL));
}

/*
 * The first write to a clean page, and PROTECT of the page at the same moment:
 * what the CPU records while the kernel edits must not be overwritten. One
 * sweeps up, the other down, so that they meet in each round.
 */
FIXTURE(sweep) {
	int space;
	char *view;
	char *alias;
	_Atomic unsigned int go;
	_Atomic unsigned int did;
	atomic_bool stop;
	uint64_t map[CHUNK / 64];
};

FIXTURE_VARIANT(sweep) {
	enum way way;
};

FIXTURE_VARIANT_ADD(sweep, by_range) { .way = ONE_RANGE };
FIXTURE_VARIANT_ADD(sweep, by_few) { .way = FEW_RANGES };
FIXTURE_VARIANT_ADD(sweep, by_many) { .way = MANY_RANGES };
FIXTURE_VARIANT_ADD(sweep, by_page) { .way = PAGE_BY_PAGE };

FIXTURE_SETUP(sweep)
{
	denied_setup();
	self->space = space_new(CHUNK);
	self->view = view_new(self->space, 0, CHUNK, RW);
	self->alias = view_new(self->space, 0, CHUNK, RW);
	must(!populate(self->space, self->view, CHUNK));
}

FIXTURE_TEARDOWN(sweep)
{
	close(self->space);
}

static void sweep_down(struct _test_data_sweep *self, unsigned int value)
{
	char *volatile p = self->view + CHUNK * PAGE;

	denied_armed = 1;
	if (!sigsetjmp(denied_jump, 1))
		while (p != self->view) {
			p -= PAGE;
			*(volatile unsigned int *)p = value;
		}
	denied_armed = 0;
}

static void *sweep_run(void *arg)
{
	struct _test_data_sweep *self = arg;

	while (!self->stop) {
		if (self->did == self->go)
			continue;
		sweep_down(self, self->go);
		self->did = self->go;
	}
	return NULL;
}

/* Protect the pages from the bottom up, once the other has begun to write. */
static void sweep_up(struct _test_data_sweep *self, enum way way, int prot)
{
	volatile unsigned int *top, moment = rand() % (16 << rand() % 10);

	top = (unsigned int *)(self->alias + (CHUNK - 1) * PAGE);
	must(!protect(self->space, self->view, CHUNK, RW));
	must(dirty(self->space, self->view, CHUNK, NULL) >= 0);
	self->go++;
	while (*top != self->go)
		;
	while (moment)
		moment--;
	must(!protect_by(way, self->space, self->view, CHUNK, prot));
	while (self->did != self->go)
		;
}

TEST_F(sweep, first_writes_that_meet_protect_are_dirty)
{
	unsigned int met = 0, i, last = 0;
	double end = now() + 2;
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, sweep_run, self));
	while (now() < end) {
		sweep_up(self, variant->way, self->go % 2 ? R : NONE);
		ASSERT_LE(0, scan(self->space, self->view, CHUNK,
				  AVM_PAGE_DIRTY, 0, self->map));
		for (last = 0, i = 0; i < CHUNK; i++) {
			bool wrote = *(unsigned int *)(self->alias + i * PAGE)
				== self->go;

			ASSERT_TRUE(!wrote || bit(self->map, i));
			last += wrote;
		}
		met += last && last < CHUNK;
	}
	self->stop = true;
	ASSERT_EQ(0, pthread_join(thread, NULL));
	TH_LOG("they met in %u of %u rounds", met, self->go);
}

TEST_HARNESS_MAIN
