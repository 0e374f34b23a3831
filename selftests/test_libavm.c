// SPDX-License-Identifier: GPL-2.0
/*
 * libavm on the real module: each primitive from end to end, by the names
 * that the paper gives them.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <avm.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

#define PAGE	AVM_PAGE_SIZE
#define PAGES	64ul
#define NONE	AVM_PROT_NONE
#define R	AVM_PROT_READ
#define RW	(AVM_PROT_READ | AVM_PROT_WRITE)
#define RX	(AVM_PROT_READ | AVM_PROT_EXEC)
#define RWX	(RW | AVM_PROT_EXEC)

/* What a handler saw, and what it is to do. */
struct log {
	int space;
	volatile int count;
	volatile int verdict;
	volatile int open_to;	/* -1: opens nothing */
	char *volatile addr;
	volatile unsigned int access;
	void *volatile view;
	volatile size_t length;
};

static int handler(const struct avm_trap_info *info, void *arg)
{
	struct log *log = arg;
	uintptr_t page = (uintptr_t)info->addr & ~(PAGE - 1);

	log->count++;
	log->addr = info->addr;
	log->access = info->access;
	log->view = info->view;
	log->length = info->length;
	if (log->open_to >= 0 &&
	    avm_unprot(log->space, (void *)page, log->open_to))
		_exit(1);
	return log->verdict;
}

/* An access that is made here and now. */
static void poke(char *at, char value)
{
	*(volatile char *)at = value;
}

static sigjmp_buf jump;
static volatile sig_atomic_t jump_armed;

/* The program's own handler, that was there before the library's. */
static void jumper(int sig)
{
	if (jump_armed)
		siglongjmp(jump, sig);
	signal(sig, SIG_DFL);
}

/* The signal that a write raises in the end, or 0. */
static int signal_of(char *at)
{
	int sig = sigsetjmp(jump, 1);

	jump_armed = !sig;
	if (!sig)
		poke(at, 1);
	jump_armed = 0;
	return sig;
}

FIXTURE(libavm) {
	int dev;
	int space;
	char *view;
	struct log log;
};

FIXTURE_SETUP(libavm) {
	void *view;

	signal(SIGSEGV, jumper);
	self->dev = avm_open();
	ASSERT_LE(0, self->dev) TH_LOG("%s", avm_strerror(self->dev));
	self->space = avm_create(self->dev, PAGES * PAGE);
	ASSERT_LE(0, self->space);
	ASSERT_EQ(0, avm_map(self->space, 0, PAGES * PAGE, RWX, &view));
	self->view = view;
	self->log = (struct log) { .space = self->space, .open_to = RWX };
	ASSERT_EQ(0, avm_trap(AVM_NO_SPACE, view, PAGES * PAGE, handler, &self->log, 0));
}

FIXTURE_TEARDOWN(libavm) {
	avm_untrap(self->view);
	avm_unmap(self->view, PAGES * PAGE);
	close(self->space);
	close(self->dev);
}

TEST_F(libavm, trap_tells_reads)
{
	volatile char *at = self->view + 3 * PAGE + 123;

	*at = 42;
	ASSERT_EQ(0, avm_prot1(self->space, self->view + 3 * PAGE, NONE));
	EXPECT_EQ(42, *at);
	EXPECT_EQ(1, self->log.count);
	EXPECT_EQ(at, self->log.addr);
	EXPECT_EQ(AVM_PROT_READ, self->log.access);
	EXPECT_EQ(self->view, self->log.view);
	EXPECT_EQ(PAGES * PAGE, self->log.length);
}

TEST_F(libavm, trap_tells_writes)
{
	volatile int *at = (void *)(self->view + 8);

	*at = 41;
	ASSERT_EQ(0, avm_prot1(self->space, self->view, R));
	EXPECT_EQ(41, *at);
	EXPECT_EQ(0, self->log.count);
	__atomic_add_fetch(at, 1, __ATOMIC_SEQ_CST);
	EXPECT_EQ(42, *at);
	EXPECT_EQ(1, self->log.count);
	EXPECT_EQ(AVM_PROT_WRITE, self->log.access);
}

typedef int function(void);

TEST_F(libavm, trap_tells_fetches)
{
	static const unsigned char code[] = { 0xb8, 42, 0, 0, 0, 0xc3 };

	memcpy(self->view, code, sizeof(code));
	ASSERT_EQ(0, avm_prot1(self->space, self->view, RW));
	EXPECT_EQ(42, ((function *)self->view)());
	EXPECT_EQ(1, self->log.count);
	EXPECT_EQ(AVM_PROT_EXEC, self->log.access);
	EXPECT_EQ(self->view, self->log.addr);
}

TEST_F(libavm, trap_that_passes_goes_to_the_handler_before)
{
	self->log.verdict = AVM_TRAP_PASS;
	self->log.open_to = -1;
	ASSERT_EQ(0, avm_prot1(self->space, self->view + PAGE, NONE));
	EXPECT_EQ(SIGSEGV, signal_of(self->view + PAGE));
	EXPECT_EQ(1, self->log.count);
	/* So does what no range was registered for. */
	EXPECT_EQ(0, avm_untrap(self->view));
	EXPECT_EQ(SIGSEGV, signal_of(self->view + PAGE));
	EXPECT_EQ(1, self->log.count);
}

TEST_F(libavm, range_is_registered_once)
{
	EXPECT_EQ(-ENOENT, avm_untrap(self->view + PAGE));
	EXPECT_EQ(-EEXIST, avm_trap(self->space, self->view + PAGE, PAGE, handler, NULL, 0));
	EXPECT_EQ(-EINVAL, avm_trap(self->space, self->view, PAGE, NULL, NULL, 0));
	EXPECT_EQ(0, avm_untrap(self->view));
	EXPECT_EQ(-ENOENT, avm_untrap(self->view));
	EXPECT_EQ(0, avm_trap(self->space, self->view, PAGE, handler, &self->log, 0));
}

TEST_F(libavm, child_has_the_handlers_and_not_the_view)
{
	int status;
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		/* The handler cannot open what is not there, and says 1. */
		*(volatile char *)self->view = 1;
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(1, WEXITSTATUS(status));
	EXPECT_EQ(0, self->log.count);
}

TEST_F(libavm, protn_does_all_and_says_how_far)
{
	struct avm_range ranges[] = {
		{ (uintptr_t)self->view, PAGE, NONE, 0 },
		{ (uintptr_t)self->view + 9 * PAGE, 2 * PAGE, R, 0 },
		{ (uintptr_t)self->view + 5 * PAGE, PAGE, RX, 0 },
		{ (uintptr_t)self->view + PAGES * PAGE, PAGE, R, 0 },
	};
	struct avm_stats before, after;
	uint32_t done = 99;

	memset(self->view, 1, PAGES * PAGE);
	ASSERT_EQ(0, avm_stats(self->space, &before));
	EXPECT_EQ(0, avm_protn(self->space, ranges, 3, &done));
	EXPECT_EQ(3, done);
	ASSERT_EQ(0, avm_stats(self->space, &after));
	EXPECT_EQ(before.out_flushes + 1, after.out_flushes);
	poke(self->view + 10 * PAGE, 2);
	poke(self->view + 5 * PAGE, 2);
	poke(self->view, 2);
	EXPECT_EQ(3, self->log.count);
	poke(self->view + PAGE, 2);
	EXPECT_EQ(3, self->log.count);
	EXPECT_EQ(-ENXIO, avm_protn(self->space, ranges, 4, &done));
	EXPECT_EQ(3, done);
	EXPECT_EQ(-EINVAL, avm_protn(self->space, ranges, 0, NULL));
}

TEST_F(libavm, unprot_flushes_nothing)
{
	struct avm_stats before, after;

	memset(self->view, 1, PAGES * PAGE);
	ASSERT_EQ(0, avm_protect(self->space, self->view, PAGES * PAGE, R));
	ASSERT_EQ(0, avm_stats(self->space, &before));
	EXPECT_EQ(0, avm_unprot(self->space, self->view, RW));
	EXPECT_EQ(0, avm_protect(self->space, self->view + PAGE, 5 * PAGE, RW));
	ASSERT_EQ(0, avm_stats(self->space, &after));
	EXPECT_EQ(before.out_flushes, after.out_flushes);
	memset(self->view, 2, 6 * PAGE);
	EXPECT_EQ(0, self->log.count);
	poke(self->view + 6 * PAGE, 2);
	EXPECT_EQ(1, self->log.count);
}

TEST_F(libavm, dirty_tells_pages_written_since)
{
	uint64_t bitmap[1] = { ~0ull };
	struct avm_span spans[2];
	void *end = NULL;

	EXPECT_EQ(0, avm_dirty(self->space, self->view, PAGES * PAGE, bitmap,
			       sizeof(bitmap)));
	EXPECT_EQ(0, bitmap[0]);
	poke(self->view, 1);
	memset(self->view + 5 * PAGE, 1, 3 * PAGE);
	poke(self->view + 63 * PAGE, 1);
	EXPECT_EQ(2, avm_dirty_spans(self->space, self->view, PAGES * PAGE,
				     spans, 2, &end));
	EXPECT_EQ((uintptr_t)self->view, spans[0].addr);
	EXPECT_EQ(PAGE, spans[0].length);
	EXPECT_EQ((uintptr_t)self->view + 5 * PAGE, spans[1].addr);
	EXPECT_EQ(3 * PAGE, spans[1].length);
	EXPECT_GE(self->view + 63 * PAGE, (char *)end);
	EXPECT_EQ(1, avm_dirty(self->space, end, self->view + PAGES * PAGE -
			       (char *)end, NULL, 0));
	EXPECT_EQ(0, avm_dirty(self->space, self->view, PAGES * PAGE, bitmap,
			       sizeof(bitmap)));
	EXPECT_EQ(-ENOBUFS, avm_dirty(self->space, self->view, PAGES * PAGE,
				      bitmap, 4));
}

TEST_F(libavm, accessed_tells_reads)
{
	uint64_t bitmap[1];

	EXPECT_EQ(0, avm_populate(self->space, self->view, PAGES * PAGE));
	(void)*(volatile char *)(self->view + 7 * PAGE);
	poke(self->view + 9 * PAGE, 1);
	EXPECT_EQ(2, avm_accessed(self->space, self->view, PAGES * PAGE,
				  bitmap, sizeof(bitmap)));
	EXPECT_EQ(1 << 7 | 1 << 9, bitmap[0]);
	EXPECT_EQ(1, avm_dirty(self->space, self->view, PAGES * PAGE, bitmap,
			       sizeof(bitmap)));
}

TEST_F(libavm, scan_protects_what_it_finds)
{
	struct avm_scan scan = {
		.flags = AVM_SCAN_PROTECT,
		.addr = (uintptr_t)self->view,
		.length = PAGES * PAGE,
		.match = AVM_PAGE_DIRTY,
		.clear = AVM_PAGE_DIRTY,
		.prot = R,
	};

	memset(self->view + 4 * PAGE, 1, 4 * PAGE);
	EXPECT_EQ(0, avm_scan(self->space, &scan));
	EXPECT_EQ(4, scan.out_pages);
	poke(self->view, 1);
	EXPECT_EQ(0, self->log.count);
	poke(self->view + 7 * PAGE, 1);
	EXPECT_EQ(1, self->log.count);
}

TEST_F(libavm, map2_fills_what_is_closed)
{
	volatile char *at = self->view + 2 * PAGE;
	void *second = NULL;

	ASSERT_EQ(0, avm_protect(self->space, self->view, PAGES * PAGE, NONE));
	ASSERT_EQ(0, avm_map2(self->space, self->view, PAGES * PAGE, RW, RW,
			      &second));
	memset((char *)second + 2 * PAGE, 7, PAGE);
	EXPECT_EQ(0, self->log.count);
	EXPECT_EQ(7, *at);
	EXPECT_EQ(1, self->log.count);
	EXPECT_EQ(0, avm_unmap(second, PAGES * PAGE));
	EXPECT_EQ(-EACCES, avm_map2(self->space, self->view, PAGE, R, RW,
				    &second));
}

TEST_F(libavm, discard_empties)
{
	struct avm_stats stats;
	uint32_t done;
	struct avm_range range = { (uintptr_t)self->view, 4 * PAGE, 0, 0 };

	memset(self->view, 1, PAGES * PAGE);
	EXPECT_EQ(0, avm_discardn(self->space, &range, 1, &done));
	EXPECT_EQ(1, done);
	EXPECT_EQ(0, avm_discard(self->space, self->view + 8 * PAGE, PAGE));
	ASSERT_EQ(0, avm_stats(self->space, &stats));
	EXPECT_EQ(PAGES - 5, stats.out_resident_pages);
	EXPECT_EQ(0, self->view[0] | self->view[8 * PAGE]);
	EXPECT_EQ(1, self->view[4 * PAGE]);
	EXPECT_EQ(0, avm_populaten(self->space, &range, 1, &done));
	EXPECT_EQ(1, done);
}

TEST_F(libavm, query_and_errors_are_those_of_the_header)
{
	struct avm_query q;
	void *out;

	EXPECT_EQ(0, avm_query(self->dev, &q));
	EXPECT_EQ(AVM_ABI_VERSION, q.out_abi_version);
	EXPECT_EQ(0, avm_query(self->space, &q));
	EXPECT_EQ(-EINVAL, avm_create(self->dev, 1));
	EXPECT_EQ(-EINVAL, avm_create(self->dev, 0));
	EXPECT_EQ(-ENOTTY, avm_create(self->space, PAGE));
	EXPECT_EQ(-EINVAL, avm_map(self->space, PAGES * PAGE, PAGE, R, &out));
	EXPECT_EQ(-ENXIO, avm_prot1(self->space, self->view - PAGE, R));
	EXPECT_EQ(-EINVAL, avm_prot1(self->space, self->view + 1, R));
	EXPECT_EQ(-EINVAL, avm_prot1(self->space, self->view, 2));
	EXPECT_EQ(-EBADF, avm_prot1(-1, self->view, R));
	EXPECT_LT(0, strlen(avm_strerror(-ENXIO)));
}

/* Threads that all trap, in a heap of closed pages that opens as it is used. */
static void *use_heap(void *arg)
{
	char *view = arg;
	unsigned long i;

	for (i = 0; i < PAGES; i++)
		__atomic_add_fetch(view + i * PAGE, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

TEST_F(libavm, threads_trap_at_once)
{
	pthread_t thread[4];
	unsigned long i;
	int round;

	for (round = 1; round <= 5; round++) {
		ASSERT_EQ(0, avm_protect(self->space, self->view, PAGES * PAGE,
					 NONE));
		for (i = 0; i < 4; i++)
			ASSERT_EQ(0, pthread_create(&thread[i], NULL, use_heap,
						    self->view));
		for (i = 0; i < 4; i++)
			pthread_join(thread[i], NULL);
		for (i = 0; i < PAGES; i++)
			EXPECT_EQ(4 * round, self->view[i * PAGE]);
	}
	EXPECT_LE(5 * PAGES, self->log.count);
}

TEST_HARNESS_MAIN
