// SPDX-License-Identifier: GPL-2.0
/*
 * TRAP: an access that the protection of its page forbids reaches user code,
 * in the thread that made it, with the exact address and its kind; when the
 * handler returns, the access is tried again.
 */
#include "avmtest.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include "harness.h"

/* Bits of the CPU's error code. */
#define ERROR_WRITE	2ul
#define ERROR_FETCH	16ul
#define ERROR_KIND	(ERROR_WRITE | ERROR_FETCH)

#define CODE_RET	((char)0xc3)

static const unsigned int offsets[] = { 0, 1, 7, 1234, 2048, 4095 };

#define COUNT(array)	(sizeof(array) / sizeof((array)[0]))

FIXTURE(trap) {
	int space;
	char *view;	/* 64 pages, rwx */
};

FIXTURE_SETUP(trap) {
	self->space = space_new(64);
	self->view = view_new(self->space, 0, 64, RWX);
	denied_setup();
}

FIXTURE_TEARDOWN(trap) {
	munmap(self->view, 64 * PAGE);
	close(self->space);
}

/*
 * A handler that opens the page and returns, as programs do. What it saw is
 * kept for the thread that saw it.
 */
struct trap_seen {
	char *addr;
	int sig;
	int code;
	long kind;
	pid_t thread;
};

static volatile int opener_space;
static volatile int opener_first = -1;	/* if given, opens to this at first, */
static volatile int opener_prot;	/* and then, or at once, to this */
static volatile unsigned int opener_patience;	/* traps that pass before */
static __thread volatile struct trap_seen seen[16];
static __thread volatile unsigned int seen_count;

static void opener(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	volatile struct trap_seen *s = &seen[seen_count++ % COUNT(seen)];
	uintptr_t page = (uintptr_t)info->si_addr & ~(PAGE - 1);
	int prot = opener_prot;

	s->addr = info->si_addr;
	s->sig = sig;
	s->code = info->si_code;
	s->kind = uc->uc_mcontext.gregs[REG_ERR] & ERROR_KIND;
	s->thread = syscall(SYS_gettid);
	if (seen_count <= opener_patience)
		return;
	if (seen_count == 1 && opener_first >= 0)
		prot = opener_first;
	/* A trap that is not ours, or without end, is the end of the test. */
	if (seen_count > 100000 || protect(opener_space, (void *)page, 1, prot))
		_exit(1);
}

static void opener_setup(int space, int prot)
{
	struct sigaction sa = {
		.sa_sigaction = opener,
		.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK,
	};

	opener_space = space;
	opener_prot = prot;
	seen_count = 0;
	must(!sigaction(SIGSEGV, &sa, NULL));
	must(!sigaction(SIGBUS, &sa, NULL));
}

TEST_F(trap, read_is_told_with_its_exact_address)
{
	unsigned int i;

	self->view[0] = 1;
	ASSERT_EQ(0, protect(self->space, self->view, 2, NONE));
	for (i = 0; i < 2 * COUNT(offsets); i++) {
		char *at = self->view + i % 2 * PAGE + offsets[i / 2];

		ASSERT_EQ(SIGSEGV, try_read(at));
		EXPECT_EQ(at, denied.addr);
		EXPECT_EQ(SEGV_MAPERR, denied.code);
		EXPECT_EQ(0, denied.error & ERROR_KIND);
	}
}

TEST_F(trap, write_is_told_with_its_exact_address)
{
	static const int closed[] = { NONE, R, RX };
	unsigned int i, j;

	/* Page 0 has a translation, page 1 was never touched. */
	self->view[0] = 1;
	for (j = 0; j < COUNT(closed); j++) {
		ASSERT_EQ(0, protect(self->space, self->view, 2, closed[j]));
		for (i = 0; i < 2 * COUNT(offsets); i++) {
			char *at = self->view + i % 2 * PAGE + offsets[i / 2];

			ASSERT_EQ(SIGSEGV, try_write(at, 2));
			EXPECT_EQ(at, denied.addr);
			EXPECT_EQ(SEGV_MAPERR, denied.code);
			EXPECT_EQ(ERROR_WRITE, denied.error & ERROR_KIND);
		}
	}
	ASSERT_EQ(0, protect(self->space, self->view, 1, R));
	EXPECT_EQ(1, self->view[0]);
}

TEST_F(trap, fetch_is_told_with_its_exact_address)
{
	static const int closed[] = { NONE, R, RW };
	unsigned int i, j;

	memset(self->view, CODE_RET, PAGE);
	for (j = 0; j < COUNT(closed); j++) {
		ASSERT_EQ(0, protect(self->space, self->view, 2, closed[j]));
		for (i = 0; i < 2 * COUNT(offsets); i++) {
			char *at = self->view + i % 2 * PAGE + offsets[i / 2];

			ASSERT_EQ(SIGSEGV, try_fetch(at));
			EXPECT_EQ(at, denied.addr);
			EXPECT_EQ(ERROR_FETCH, denied.error & ERROR_KIND);
		}
	}
}

TEST_F(trap, code_of_a_fetch_tells_whether_there_was_a_translation)
{
	memset(self->view, CODE_RET, PAGE);
	ASSERT_EQ(0, protect(self->space, self->view, 2, R));
	ASSERT_EQ(0, try_read(self->view));
	ASSERT_EQ(SIGSEGV, try_fetch(self->view));
	EXPECT_EQ(SEGV_ACCERR, denied.code);
	ASSERT_EQ(SIGSEGV, try_fetch(self->view + PAGE));
	EXPECT_EQ(SEGV_MAPERR, denied.code);
	ASSERT_EQ(0, protect(self->space, self->view, 1, NONE));
	ASSERT_EQ(SIGSEGV, try_fetch(self->view));
	EXPECT_EQ(SEGV_MAPERR, denied.code);
}

TEST_F(trap, read_only_page_reads_and_keeps_what_it_has)
{
	self->view[5] = 42;
	ASSERT_EQ(0, protect(self->space, self->view, 2, R));
	EXPECT_EQ(0, try_read(self->view + 5));
	EXPECT_EQ(0, try_read(self->view + PAGE));
	EXPECT_EQ(SIGSEGV, try_write(self->view + 5, 1));
	EXPECT_EQ(42, self->view[5]);
	EXPECT_EQ(0, self->view[PAGE]);
}

TEST_F(trap, executable_page_runs)
{
	memset(self->view, CODE_RET, PAGE);
	ASSERT_EQ(0, protect(self->space, self->view, 1, RX));
	EXPECT_EQ(0, try_fetch(self->view + 100));
	EXPECT_EQ(0, try_read(self->view + 100));
	EXPECT_EQ(SIGSEGV, try_write(self->view + 100, 1));
	ASSERT_EQ(0, protect(self->space, self->view, 1, R));
	EXPECT_EQ(SIGSEGV, try_fetch(self->view + 100));
	ASSERT_EQ(0, protect(self->space, self->view, 1, RWX));
	EXPECT_EQ(0, try_fetch(self->view + 100));
	EXPECT_EQ(0, try_write(self->view + 100, CODE_RET));
	ASSERT_EQ(0, protect(self->space, self->view, 1, RW));
	EXPECT_EQ(SIGSEGV, try_fetch(self->view + 100));
}

TEST_F(trap, read_is_tried_again_after_the_handler)
{
	volatile char *at = self->view + 77;

	*at = 42;
	ASSERT_EQ(0, protect(self->space, self->view, 1, NONE));
	opener_setup(self->space, R);
	EXPECT_EQ(42, *at);
	EXPECT_EQ(1, seen_count);
	EXPECT_EQ(at, seen[0].addr);
	EXPECT_EQ(SIGSEGV, seen[0].sig);
	EXPECT_EQ(0, seen[0].kind);
}

TEST_F(trap, write_is_tried_again_after_the_handler)
{
	volatile int *at = (void *)(self->view + 64);

	*at = 41;
	ASSERT_EQ(0, protect(self->space, self->view, 1, R));
	opener_setup(self->space, RW);
	/* A read-modify-write is made once, and is a write. */
	__atomic_add_fetch(at, 1, __ATOMIC_SEQ_CST);
	EXPECT_EQ(42, *at);
	EXPECT_EQ(1, seen_count);
	EXPECT_EQ((char *)at, seen[0].addr);
	EXPECT_EQ(ERROR_WRITE, seen[0].kind);
}

typedef int fetched(void);

TEST_F(trap, fetch_is_tried_again_after_the_handler)
{
	static const unsigned char code[] = { 0xb8, 42, 0, 0, 0, 0xc3 };
	fetched *function = (fetched *)(self->view + 32);

	memcpy(self->view + 32, code, sizeof(code));
	ASSERT_EQ(0, protect(self->space, self->view, 1, R));
	opener_setup(self->space, RX);
	EXPECT_EQ(42, function());
	EXPECT_EQ(1, seen_count);
	EXPECT_EQ(self->view + 32, seen[0].addr);
	EXPECT_EQ(ERROR_FETCH, seen[0].kind);
}

TEST_F(trap, handler_that_opens_nothing_is_called_again)
{
	volatile char *at = self->view + 9;

	ASSERT_EQ(0, protect(self->space, self->view, 1, NONE));
	opener_setup(self->space, RW);
	opener_patience = 5;
	*at = 1;
	EXPECT_EQ(6, seen_count);
	EXPECT_EQ(at, seen[5].addr);
	EXPECT_EQ(1, *at);
}

TEST_F(trap, handler_that_opens_too_little_is_called_again)
{
	volatile char *at = self->view + 9;

	ASSERT_EQ(0, protect(self->space, self->view, 2, NONE));
	opener_setup(self->space, RW);
	opener_first = R;
	*at = 1;
	EXPECT_EQ(2, seen_count);
	EXPECT_EQ(ERROR_WRITE, seen[0].kind);
	EXPECT_EQ(ERROR_WRITE, seen[1].kind);
	EXPECT_EQ(at, seen[1].addr);
}

TEST_F(trap, access_across_two_pages_traps_in_each)
{
	volatile uint64_t *at = (void *)(self->view + 3 * PAGE - 3);

	ASSERT_EQ(0, protect(self->space, self->view, 8, NONE));
	opener_setup(self->space, RW);
	*at = 0x1122334455667788;
	EXPECT_EQ(0x1122334455667788, *at);
	EXPECT_EQ(2, seen_count);
	EXPECT_EQ((char *)at, seen[0].addr);
	EXPECT_EQ(self->view + 3 * PAGE, seen[1].addr);
	EXPECT_EQ(ERROR_WRITE, seen[0].kind & seen[1].kind);
}

TEST_F(trap, access_across_into_a_closed_page_changes_neither)
{
	char *at = self->view + PAGE - 4;

	memset(self->view, 7, 2 * PAGE);
	ASSERT_EQ(0, protect(self->space, self->view + PAGE, 1, R));
	memset(&denied, 0, sizeof(denied));
	denied_armed = 1;
	if (!sigsetjmp(denied_jump, 1))
		*(volatile uint64_t *)at = 0;
	denied_armed = 0;
	EXPECT_EQ(SIGSEGV, denied.sig);
	EXPECT_EQ(self->view + PAGE, denied.addr);
	EXPECT_EQ(7, at[0]);
	EXPECT_EQ(7, at[7]);
}

TEST_F(trap, string_instruction_goes_on_where_it_trapped)
{
	char *from = self->view, *to = self->view + 8 * PAGE;
	unsigned long n = 3 * PAGE, i;

	for (i = 0; i < n; i++)
		from[i] = i % 251;
	ASSERT_EQ(0, protect(self->space, self->view, 16, NONE));
	opener_setup(self->space, RW);
	asm volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(n) : : "memory");
	EXPECT_EQ(6, seen_count);
	EXPECT_EQ(0, memcmp(self->view, self->view + 8 * PAGE, 3 * PAGE));
	EXPECT_EQ((char)(1000 % 251), self->view[8 * PAGE + 1000]);
}

TEST_F(trap, handler_may_trap_itself)
{
	volatile char *outer = self->view, *inner = self->view + PAGE;
	stack_t on_view = {
		.ss_sp = self->view + 32 * PAGE,
		.ss_size = 32 * PAGE,
	};

	/* The handler's own stack is in no page that it can write yet. */
	ASSERT_EQ(0, protect(self->space, self->view, 2, NONE));
	ASSERT_EQ(0, sigaltstack(&on_view, NULL));
	opener_setup(self->space, RW);
	*outer = 1;
	*inner = 2;
	EXPECT_EQ(2, seen_count);
	EXPECT_EQ(3, *outer + *inner);
}

TEST_F(trap, untouched_closed_pages_trap_and_take_no_memory)
{
	struct avm_stats before = stats(self->space), after;
	unsigned int i;

	ASSERT_EQ(0, protect(self->space, self->view, 64, NONE));
	for (i = 0; i < 64; i++) {
		EXPECT_EQ(SIGSEGV, try_read(self->view + i * PAGE + i));
		EXPECT_EQ(SIGSEGV, try_write(self->view + i * PAGE + i, 1));
		EXPECT_EQ(SIGSEGV, try_fetch(self->view + i * PAGE + i));
	}
	after = stats(self->space);
	EXPECT_EQ(before.out_resident_pages, after.out_resident_pages);
	EXPECT_EQ(before.out_allocated, after.out_allocated);
	EXPECT_EQ(before.out_traps + 3 * 64, after.out_traps);
}

TEST_F(trap, what_the_mapping_forbids_traps_too)
{
	char *reader = view_new(self->space, 0, 4, R);
	char *nothing = view_new(self->space, 0, 4, NONE);

	self->view[10] = CODE_RET;
	EXPECT_EQ(0, try_read(reader + 10));
	EXPECT_EQ(SIGSEGV, try_write(reader + 10, 1));
	EXPECT_EQ(reader + 10, denied.addr);
	EXPECT_EQ(SIGSEGV, try_write(reader + PAGE + 10, 1));
	EXPECT_EQ(SIGSEGV, try_fetch(reader + 10));
	EXPECT_EQ(SIGSEGV, try_read(nothing + 10));
	EXPECT_EQ(nothing + 10, denied.addr);
	EXPECT_EQ(SIGSEGV, try_write(nothing + 10, 1));
	EXPECT_EQ(SIGSEGV, try_fetch(nothing + 10));
	EXPECT_EQ(CODE_RET, self->view[10]);
}

/* Threads that trap at once, each in its own pages. */
#define THREADS	4
#define ROUNDS	50

struct trapper {
	pthread_t thread;
	char *pages;
	int bad;
};

static void *trap_often(void *arg)
{
	struct trapper *t = arg;
	pid_t me = syscall(SYS_gettid);
	unsigned int i;

	for (i = 0; i < ROUNDS; i++) {
		volatile char *at = t->pages + i % 4 * PAGE + i;

		seen_count = 0;
		t->bad += !!protect(opener_space, t->pages, 4, NONE);
		*at = i;
		t->bad += *at != (char)i || seen_count != 1 ||
			seen[0].addr != at || seen[0].thread != me;
	}
	return NULL;
}

TEST_F(trap, each_thread_gets_its_own_traps)
{
	struct trapper t[THREADS] = {};
	unsigned int i;

	opener_setup(self->space, RW);
	for (i = 0; i < THREADS; i++) {
		t[i].pages = self->view + i * 4 * PAGE;
		ASSERT_EQ(0, pthread_create(&t[i].thread, NULL, trap_often,
					    &t[i]));
	}
	for (i = 0; i < THREADS; i++) {
		pthread_join(t[i].thread, NULL);
		EXPECT_EQ(0, t[i].bad);
	}
}

static void *count_up(void *arg)
{
	unsigned int i;

	for (i = 0; i < ROUNDS * 50; i++)
		__atomic_add_fetch((long *)arg, 1, __ATOMIC_RELAXED);
	return NULL;
}

TEST_F(trap, threads_that_trap_in_one_page_lose_no_write)
{
	pthread_t thread[THREADS];
	unsigned int i;

	opener_setup(self->space, RW);
	for (i = 0; i < THREADS; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, count_up,
					    self->view));
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, protect(self->space, self->view, 1,
				     i % 2 ? R : NONE));
		usleep(100);
	}
	for (i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	EXPECT_EQ(0, protect(self->space, self->view, 1, R));
	EXPECT_EQ(THREADS * ROUNDS * 50, *(long *)self->view);
}

static int recurse(int depth)
{
	volatile char room[1024];

	memset((char *)room, depth, sizeof(room));
	if (depth && !recurse(depth - 1))
		return 0;
	return room[0] == (char)depth && room[1023] == (char)depth;
}

static int deep_went_well;

static void deep(void)
{
	deep_went_well = recurse(80);
}

/*
 * Not the stack of a thread: what pthread_join() waits at is part of that,
 * and its futex is a shared one, which a view cannot have.
 */
TEST_F(trap, stack_in_a_view_traps_as_it_grows)
{
	static char altstack[65536];
	stack_t alt = { .ss_sp = altstack, .ss_size = sizeof(altstack) };
	ucontext_t here, there;

	opener_setup(self->space, RW);
	ASSERT_EQ(0, protect(self->space, self->view, 60, NONE));
	ASSERT_EQ(0, sigaltstack(&alt, NULL));
	ASSERT_EQ(0, getcontext(&there));
	there.uc_stack.ss_sp = self->view;
	there.uc_stack.ss_size = 64 * PAGE;
	there.uc_link = &here;
	makecontext(&there, deep, 0);
	ASSERT_EQ(0, swapcontext(&here, &there));
	EXPECT_EQ(1, deep_went_well);
	EXPECT_LT(16, seen_count);
	EXPECT_GE(60, seen_count);
}

TEST_HARNESS_MAIN
