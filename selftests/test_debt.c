// SPDX-License-Identifier: GPL-2.0
/*
 * test_debt - a call that finds its work done by another, which has edited the
 * page tables and not flushed yet, does not return on the strength of that
 *
 * The main thread opens a page P and writes to it: now it is in this CPU's
 * TLB. Then a slow thread makes a long call, which first edits P and flushes
 * at its end, long after. A moment later the main thread closes P, too, and
 * finds nothing to do: the slow one has edited P, is in debt, and has left this
 * CPU with a stale translation. Nothing must get through by it all the same.
 */
#include "avmtest.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

#include "harness.h"

#define SECONDS	1.0	/* for each test */
#define PAGES	8192ul	/* of the space: a long scan */
#define LONG	4096	/* ranges of a long call */
#define P	0	/* the page that both want */
#define Q	2	/* a page that only the main thread wants: flushed alone */
#define SPARE	4	/* two pages that get the next frames */
#define FAR	8	/* where the long call goes on to */

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

FIXTURE(debt) {
	int space;
	char *view;
	char *alias;
	pthread_t slow;
	struct avm_range ranges[LONG];
	unsigned int command;
	int prot;
	unsigned int seed;
	unsigned long beside;		/* rounds that ended before the call */
	_Atomic unsigned long go;	/* long calls to make */
	_Atomic unsigned long calls;	/* twice those made; odd: in one */
	atomic_bool stop;
};

FIXTURE_SETUP(debt)
{
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "needs two CPUs");
	denied_setup();
	pin(0);
	self->space = space_new(PAGES);
	self->view = view_new(self->space, 0, PAGES, RW);
	self->alias = view_new(self->space, 0, PAGES, RW);
	must(!populate(self->space, self->view, FAR + LONG));
}

FIXTURE_TEARDOWN(debt)
{
	close(self->space);
}

/* P, and pages that take the time: done in the order given. */
static void make_ranges(struct _test_data_debt *self, int prot)
{
	unsigned int i;

	for (i = 0; i < LONG; i++)
		self->ranges[i] = (struct avm_range){
			.addr = (uintptr_t)self->view + (i ? FAR + i : P) * PAGE,
			.length = PAGE,
			.prot = i ? i % 2 ? R : RW : prot,
		};
}

static int scan_protect(int space, const void *addr, uint64_t pages, int prot)
{
	struct avm_scan arg = {
		.size = sizeof(arg),
		.flags = AVM_SCAN_PROTECT,
		.addr = (uintptr_t)addr,
		.length = pages * PAGE,
		.match = AVM_PAGE_DIRTY,
		.clear = AVM_PAGE_DIRTY,
		.prot = prot,
	};

	return call(space, AVM_IOC_SCAN, &arg);
}

static int protect_page(struct _test_data_debt *self, unsigned long page,
			int prot)
{
	return call(self->space, AVM_IOC_PROTECT_PAGE,
		    self->view + page * PAGE + prot);
}

static int slow_call(struct _test_data_debt *self)
{
	if (self->command == AVM_IOC_PROTECT_PAGE)
		return protect_page(self, P, self->prot);
	if (self->command == AVM_IOC_PROTECT)
		return batch(self->space, AVM_IOC_PROTECT, self->ranges, LONG,
			     NULL);
	if (self->prot >= 0)
		return scan_protect(self->space, self->view, PAGES, self->prot);
	return dirty(self->space, self->view, PAGES, NULL);
}

static void *slow_run(void *arg)
{
	struct _test_data_debt *self = arg;
	int ret;

	pin(1);
	while (!self->stop) {
		if (self->go == self->calls / 2)
			continue;
		self->calls++;
		ret = slow_call(self);
		self->calls++;
		/* P may be gone already in two tests. */
		must(ret >= 0 || ret == -ENXIO);
	}
	return NULL;
}

static void slow_start(struct _test_data_debt *self, unsigned int command,
		       int prot)
{
	self->command = command;
	self->prot = prot;
	make_ranges(self, prot);
	must(!pthread_create(&self->slow, NULL, slow_run, self));
}

static void slow_stop(struct __test_metadata *_metadata,
		      struct _test_data_debt *self)
{
	self->stop = true;
	must(!pthread_join(self->slow, NULL));
	TH_LOG("%lu long calls, %lu of them long enough",
	       (unsigned long)self->calls / 2, self->beside);
}

/*
 * Open P and Q, have them in the TLB, begin a long call. How far it gets is a
 * matter of luck: sometimes to P and not to its end.
 */
static void begin_round(struct _test_data_debt *self)
{
	unsigned int most = 16u << rand_r(&self->seed) % 11;
	volatile unsigned int moment = rand_r(&self->seed) % most;

	must(!protect(self->space, self->view, Q + 1, RW));
	self->view[P * PAGE] = 1;
	self->view[Q * PAGE] = 1;
	self->go++;
	while (self->calls != 2 * self->go - 1 && self->calls != 2 * self->go)
		;
	while (moment)
		moment--;
}

/* The long call is still going on, and in debt if it got to P. */
static bool is_beside(struct _test_data_debt *self)
{
	return self->calls % 2;
}

static void end_round(struct _test_data_debt *self)
{
	self->beside += is_beside(self);
	while (self->calls != 2 * self->go)
		;
}

/* PROTECT of P, and in the same call of Q, which has a flush of its own. */
static int close_p(struct _test_data_debt *self, bool with_q, int prot)
{
	struct avm_range two[] = {
		{ (uintptr_t)self->view + P * PAGE, PAGE, prot, 0 },
		{ (uintptr_t)self->view + Q * PAGE, PAGE, prot, 0 },
	};

	return batch(self->space, AVM_IOC_PROTECT, two, 1 + with_q, NULL);
}

/* Both threads close P: this one by PROTECT, the other by @command. */
static void close_together(struct __test_metadata *_metadata,
			   struct _test_data_debt *self, unsigned int command,
			   int prot, bool with_q)
{
	double end = now() + SECONDS;
	int sig;

	slow_start(self, command, prot);
	while (now() < end || (self->beside < 10 && now() < end + 10)) {
		begin_round(self);
		ASSERT_EQ(0, close_p(self, with_q, prot));
		sig = prot == NONE ? try_read(self->view + P * PAGE) :
				     try_write(self->view + P * PAGE, 2);
		ASSERT_EQ(SIGSEGV, sig);
		end_round(self);
	}
	slow_stop(_metadata, self);
}

TEST_F(debt, protect_r_by_two_threads)
{
	close_together(_metadata, self, AVM_IOC_PROTECT, R, false);
}

TEST_F(debt, protect_none_by_two_threads)
{
	close_together(_metadata, self, AVM_IOC_PROTECT, NONE, false);
}

TEST_F(debt, protect_r_with_a_flush_of_its_own)
{
	close_together(_metadata, self, AVM_IOC_PROTECT, R, true);
}

TEST_F(debt, protect_none_with_a_flush_of_its_own)
{
	close_together(_metadata, self, AVM_IOC_PROTECT, NONE, true);
}

TEST_F(debt, protect_r_beside_scan)
{
	close_together(_metadata, self, AVM_IOC_SCAN, R, false);
}

TEST_F(debt, protect_none_beside_scan)
{
	close_together(_metadata, self, AVM_IOC_SCAN, NONE, false);
}

/* Close P, and write to it without another instruction in between. */
static int close_and_write(struct _test_data_debt *self, int prot)
{
	volatile char *p = self->view + P * PAGE;

	memset(&denied, 0, sizeof(denied));
	denied_armed = 1;
	if (!sigsetjmp(denied_jump, 1)) {
		must(!protect_page(self, P, prot));
		*p = 2;
	}
	denied_armed = 0;
	return denied.sig;
}

/*
 * Both close P at the same moment, by the shortest call there is: the debt of
 * the other lasts as long as its flush, and not an instruction less.
 */
static void close_at_once(struct __test_metadata *_metadata,
			  struct _test_data_debt *self, int prot)
{
	double end = now() + 2 * SECONDS;
	volatile unsigned int moment;

	slow_start(self, AVM_IOC_PROTECT_PAGE, prot);
	while (now() < end) {
		must(!protect_page(self, P, RW));
		self->view[P * PAGE] = 1;
		moment = rand_r(&self->seed) % 256;
		self->go++;
		while (moment)
			moment--;
		ASSERT_EQ(SIGSEGV, close_and_write(self, prot));
		end_round(self);
	}
	slow_stop(_metadata, self);
}

TEST_F(debt, protect_page_r_by_two_threads_at_once)
{
	close_at_once(_metadata, self, R);
}

TEST_F(debt, protect_page_none_by_two_threads_at_once)
{
	close_at_once(_metadata, self, NONE);
}

/*
 * Two get-and-clear scans of P. This thread's finds P clean although it has
 * just written: the long one has cleared it, in a call that does not come back
 * to P. The next write then must make P dirty.
 */
TEST_F(debt, dirty_cleared_by_two_threads)
{
	volatile char *p = self->view + P * PAGE;
	double end = now() + SECONDS;
	unsigned long hits = 0;
	long found, marked;

	slow_start(self, AVM_IOC_SCAN, -1);
	while (now() < end) {
		begin_round(self);
		found = dirty(self->space, (char *)p, 1, NULL);
		*p = 2;
		marked = scan(self->space, (char *)p, 1, AVM_PAGE_DIRTY, 0,
			      NULL);
		if (!found && is_beside(self)) {
			hits++;
			ASSERT_EQ(1, marked);
		}
		end_round(self);
	}
	slow_stop(_metadata, self);
	TH_LOG("%lu hits", hits);
}

/*
 * P is closed by the slow call and discarded by this thread: its frame is
 * free, and likely to be the next that is allocated. A write to P is denied
 * or goes to a new frame, and never to the old one.
 */
static void discard_beside(struct __test_metadata *_metadata,
			   struct _test_data_debt *self, bool with_q)
{
	struct avm_range two[] = {
		{ (uintptr_t)self->alias + P * PAGE, PAGE, 0, 0 },
		{ (uintptr_t)self->alias + Q * PAGE, PAGE, 0, 0 },
	};
	volatile char *spare = self->alias + SPARE * PAGE;
	double end = now() + SECONDS;

	slow_start(self, AVM_IOC_PROTECT, NONE);
	while (now() < end) {
		ASSERT_EQ(0, discard(self->space, (char *)spare, 2));
		begin_round(self);
		ASSERT_EQ(0, batch(self->space, AVM_IOC_DISCARD, two,
				   1 + with_q, NULL));
		ASSERT_EQ(0, populate(self->space, (char *)spare, 2));
		if (!try_write(self->view + P * PAGE, 7))
			ASSERT_EQ(7, self->alias[P * PAGE]);
		ASSERT_EQ(0, spare[0]);
		ASSERT_EQ(0, spare[PAGE]);
		end_round(self);
	}
	slow_stop(_metadata, self);
}

TEST_F(debt, discard_of_a_page_just_protected)
{
	discard_beside(_metadata, self, false);
}

TEST_F(debt, discard_with_a_flush_of_its_own)
{
	discard_beside(_metadata, self, true);
}

/*
 * The page is unmapped while the slow call is in debt for it: there is nothing
 * left in the page table that munmap(2) would have to flush for.
 */
static void munmap_beside(struct __test_metadata *_metadata,
			  struct _test_data_debt *self, bool discards)
{
	char *p = self->view + P * PAGE, *spare = self->alias + SPARE * PAGE;
	double end = now() + SECONDS;

	slow_start(self, AVM_IOC_PROTECT, NONE);
	while (now() < end || (self->beside < 50 && now() < end + 10)) {
		ASSERT_EQ(0, discard(self->space, spare, 2));
		begin_round(self);
		ASSERT_EQ(0, munmap(p, PAGE));
		if (discards) {
			ASSERT_EQ(0, discard(self->space, self->alias, 1));
			ASSERT_EQ(0, populate(self->space, spare, 2));
		}
		ASSERT_EQ(SIGSEGV, try_write(p, 2));
		ASSERT_EQ(0, spare[0]);
		ASSERT_EQ(0, spare[PAGE]);
		end_round(self);
		ASSERT_EQ(p, mmap(p, PAGE, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_FIXED, self->space, 0));
	}
	slow_stop(_metadata, self);
}

TEST_F(debt, munmap_of_a_page_just_protected)
{
	munmap_beside(_metadata, self, false);
}

/* So it is, and its frame then freed: by who does not see that mapping. */
TEST_F(debt, discard_after_munmap_of_a_page_just_protected)
{
	munmap_beside(_metadata, self, true);
}

TEST_HARNESS_MAIN
