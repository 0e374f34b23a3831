// SPDX-License-Identifier: GPL-2.0
/*
 * TRAP by upcall, through libavm: what a handler is told, what it may do, and
 * that nothing but a user's access ever calls it. Which accesses fall back to
 * the signal is the subject of test_fallback.c.
 *
 * That an access came by upcall and not by signal is seen by out_upcalls, which
 * has to keep up with out_traps.
 */
#include "avmtest.h"

#include <avm.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <ucontext.h>

#include "harness.h"

#ifndef SS_AUTODISARM	/* of <linux/signal.h>, which fights with <signal.h> */
#define SS_AUTODISARM	(1u << 31)
#endif

#define PAGES		64ul
#define PAST		(-1)	/* opens nothing */
#define CODE_RET	((char)0xc3)
#define COUNT(array)	(sizeof(array) / sizeof((array)[0]))

/* The CPU's error code of a page that is not mapped, in user mode. */
#define ERROR_READ	4
#define ERROR_WRITE	6
#define ERROR_FETCH	20

/* What a handler saw, and what it is to do. */
struct log {
	int space;
	int open_to;		/* AVM_PROT_*, or PAST */
	int verdict;
	unsigned int calls;
	struct avm_trap_info info;
	char *local;		/* on the stack that it ran on */
};

static char *page_of(const void *addr)
{
	return (char *)((uintptr_t)addr & ~(PAGE - 1));
}

static int record(const struct avm_trap_info *info, void *arg)
{
	struct log *log = arg;

	__atomic_add_fetch(&log->calls, 1, __ATOMIC_RELAXED);
	log->info = *info;
	log->local = __builtin_frame_address(0);
	if (log->open_to != PAST &&
	    avm_unprot(log->space, page_of(info->addr), log->open_to))
		_exit(99);
	return log->verdict;
}

/* Handlers change what the compiler thinks that it knows: hence the barriers. */
static void poke(char *at, char value)
{
	*(volatile char *)at = value;
	asm volatile("" : : : "memory");
}

static char peek(const char *at)
{
	char value = *(const volatile char *)at;

	asm volatile("" : : : "memory");
	return value;
}

static void fetch(char *at)
{
	((void (*)(void))(uintptr_t)at)();
}

static uint64_t upcalls(int space)
{
	return stats(space).out_upcalls;
}

/* Upcalls that all traps of the space have become; another number if not all. */
static uint64_t all_upcalls(int space)
{
	struct avm_stats now = stats(space);

	return now.out_traps == now.out_upcalls ? now.out_upcalls : ~0ull;
}

/* What children and handlers tell the test, across fork. */
static unsigned int *shared_counter(void)
{
	void *p = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	must(p != MAP_FAILED);
	return p;
}

FIXTURE(upcall) {
	int space;
	char *view;	/* 64 pages, rwx */
	struct log log;
};

/* The program's own handler is there before that of the library. */
FIXTURE_SETUP(upcall) {
	denied_setup();
	self->space = space_new(PAGES);
	self->view = view_new(self->space, 0, PAGES, RWX);
	self->log = (struct log){ .space = self->space, .open_to = RWX };
}

FIXTURE_TEARDOWN(upcall) {
	munmap(self->view, PAGES * PAGE);
	close(self->space);
}

#define trap_all(flags)							\
	ASSERT_EQ(0, avm_trap(self->space, self->view, PAGES * PAGE, record, &self->log, flags))
#define close_all()							\
	ASSERT_EQ(0, protect(self->space, self->view, PAGES, NONE))

/* What a handler is told. */

TEST_F(upcall, handler_is_told_address_kind_and_range)
{
	static const unsigned int offsets[] = { 0, 1, 7, 1234, 2048, 4095 };
	char *first = self->view + 3 * PAGE, *at;
	unsigned int i, j, n = 0;

	ASSERT_EQ(0, avm_trap(self->space, first, 8 * PAGE, record, &self->log, 0));
	memset(self->view, CODE_RET, PAGES / 2 * PAGE);
	for (i = 0; i < COUNT(offsets); i++) {
		for (j = 0; j < 8; j++) {
			static const unsigned int kinds[] = { R, AVM_PROT_WRITE, AVM_PROT_EXEC };
			unsigned int kind = kinds[j % 3];

			at = first + j * PAGE + offsets[i];
			ASSERT_EQ(0, protect(self->space, page_of(at), 1, NONE));
			if (kind == R)
				peek(at);
			else if (kind == AVM_PROT_WRITE)
				poke(at, CODE_RET);
			else
				fetch(at);
			EXPECT_EQ(++n, self->log.calls);
			EXPECT_EQ(at, self->log.info.addr);
			EXPECT_EQ(kind, self->log.info.access);
			EXPECT_EQ(first, self->log.info.view);
			EXPECT_EQ(8 * PAGE, self->log.info.length);
			EXPECT_EQ(0, self->log.info.reserved);
		}
	}
	EXPECT_EQ(n, all_upcalls(self->space));
}

TEST_F(upcall, untouched_pages_and_every_protection_trap)
{
	trap_all(0);
	close_all();
	EXPECT_EQ(0, peek(self->view + 5));
	EXPECT_EQ(R, self->log.info.access);
	poke(self->view + PAGE + 5, 1);
	EXPECT_EQ(AVM_PROT_WRITE, self->log.info.access);
	ASSERT_EQ(0, protect(self->space, self->view, 2, R));
	poke(self->view + 6, 1);
	EXPECT_EQ(3, self->log.calls);
	ASSERT_EQ(0, protect(self->space, self->view, 2, RX));
	poke(self->view + 7, 1);
	EXPECT_EQ(4, self->log.calls);
	EXPECT_EQ(self->view + 7, self->log.info.addr);
	EXPECT_EQ(4, all_upcalls(self->space));
}

TEST_F(upcall, read_modify_write_is_a_write_and_is_made_once)
{
	volatile long *at = (void *)(self->view + 8);

	trap_all(0);
	*at = 41;
	ASSERT_EQ(0, protect(self->space, self->view, 1, R));
	__atomic_add_fetch(at, 1, __ATOMIC_SEQ_CST);
	EXPECT_EQ(42, *at);
	EXPECT_EQ(1, self->log.calls);
	EXPECT_EQ(AVM_PROT_WRITE, self->log.info.access);
	close_all();
	__atomic_add_fetch(at, 1, __ATOMIC_SEQ_CST);
	EXPECT_EQ(43, *at);
	EXPECT_EQ(AVM_PROT_WRITE, self->log.info.access);
	EXPECT_EQ(2, all_upcalls(self->space));
}

TEST_F(upcall, string_instruction_goes_on_where_it_trapped)
{
	char *from = self->view, *to = self->view + 8 * PAGE;
	unsigned long n = 3 * PAGE, i;

	for (i = 0; i < n; i++)
		from[i] = i % 251;
	trap_all(0);
	close_all();
	asm volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(n) : : "memory");
	EXPECT_EQ(6, self->log.calls);
	EXPECT_EQ(0, memcmp(self->view, self->view + 8 * PAGE, 3 * PAGE));
	/* And backwards: a handler begins with the direction flag clear. */
	close_all();
	from = self->view + 3 * PAGE - 1;
	to = self->view + 16 * PAGE + 3 * PAGE - 1;
	n = 3 * PAGE;
	asm volatile("std; rep movsb; cld" : "+S"(from), "+D"(to), "+c"(n) : : "memory");
	EXPECT_EQ(0, memcmp(self->view, self->view + 16 * PAGE, 3 * PAGE));
	EXPECT_EQ(12, self->log.calls);
	EXPECT_EQ(12, all_upcalls(self->space));
}

static int is_patient(const struct avm_trap_info *info, void *arg)
{
	struct log *log = arg;

	log->open_to = log->calls < 5 ? PAST : RW;
	return record(info, arg);
}

TEST_F(upcall, handler_that_opens_nothing_is_called_again)
{
	ASSERT_EQ(0, avm_trap(self->space, self->view, PAGE, is_patient, &self->log, 0));
	ASSERT_EQ(0, protect(self->space, self->view, 1, NONE));
	poke(self->view + 9, 1);
	EXPECT_EQ(6, self->log.calls);
	EXPECT_EQ(1, self->view[9]);
	EXPECT_EQ(6, all_upcalls(self->space));
}

TEST_F(upcall, ranges_views_and_spaces_have_handlers_of_their_own)
{
	int other_space = space_new(8);
	char *alias = map2(self->space, self->view, PAGES, RW, NONE);
	char *other = view_new(other_space, 0, 8, RW);
	struct {
		int space;
		char *addr;
		unsigned long pages;
	} ranges[] = {
		{ self->space, self->view, 1 }, { self->space, self->view + PAGE, 2 },
		{ self->space, self->view + 5 * PAGE, 1 },
		{ self->space, self->view + 63 * PAGE, 1 },
		{ self->space, alias, 1 }, { self->space, alias + 2 * PAGE, 60 },
		{ other_space, other + PAGE, 7 },
	};
	struct log logs[COUNT(ranges)];
	unsigned int i, j;
	char *last;

	close_all();
	ASSERT_EQ(0, protect(other_space, other, 8, NONE));
	for (i = 0; i < COUNT(ranges); i++) {
		logs[i] = (struct log){ .space = ranges[i].space, .open_to = R };
		ASSERT_EQ(0, avm_trap(ranges[i].space, ranges[i].addr, ranges[i].pages * PAGE,
				      record, &logs[i], 0));
	}
	for (i = 0; i < COUNT(ranges); i++) {
		last = ranges[i].addr + ranges[i].pages * PAGE - 1;
		peek(last);
		for (j = 0; j < COUNT(ranges); j++)
			EXPECT_EQ(j <= i, logs[j].calls) TH_LOG("range %u, log %u", i, j);
		EXPECT_EQ(last, logs[i].info.addr);
		EXPECT_EQ(ranges[i].addr, logs[i].info.view);
		EXPECT_EQ(ranges[i].pages * PAGE, logs[i].info.length);
	}
	EXPECT_EQ(6, all_upcalls(self->space));
	EXPECT_EQ(1, all_upcalls(other_space));
	/* Between them there is nobody. */
	EXPECT_EQ(SIGSEGV, try_read(self->view + 3 * PAGE));
	EXPECT_EQ(SIGSEGV, try_read(self->view + 62 * PAGE));
	EXPECT_EQ(SIGSEGV, try_read(alias + PAGE));
	EXPECT_EQ(SIGSEGV, try_read(other));
	EXPECT_EQ(6, upcalls(self->space));
}

TEST_F(upcall, untrap_brings_the_signal_back)
{
	trap_all(0);
	close_all();
	poke(self->view, 1);
	EXPECT_EQ(1, upcalls(self->space));
	ASSERT_EQ(0, avm_untrap(self->view));
	EXPECT_EQ(0, try_write(self->view, 1));
	EXPECT_EQ(SIGSEGV, try_write(self->view + PAGE + 77, 1));
	EXPECT_EQ(self->view + PAGE + 77, denied.addr);
	EXPECT_EQ(SEGV_MAPERR, denied.code);
	EXPECT_EQ(ERROR_WRITE, denied.error);
	EXPECT_EQ(1, self->log.calls);
	EXPECT_EQ(1, upcalls(self->space));
	/* And it can be registered once more, in other pieces. */
	ASSERT_EQ(0, avm_trap(self->space, self->view + PAGE, PAGE, record, &self->log, 0));
	poke(self->view + PAGE + 77, 1);
	EXPECT_EQ(2, self->log.calls);
	EXPECT_EQ(2, upcalls(self->space));
}

static int spoils_errno(const struct avm_trap_info *info, void *arg)
{
	close(-1);
	return record(info, arg);
}

TEST_F(upcall, errno_survives_a_handler_that_changes_it)
{
	ASSERT_EQ(0, avm_trap(self->space, self->view, PAGES * PAGE, spoils_errno,
			      &self->log, 0));
	close_all();
	errno = ERANGE;
	poke(self->view, 1);
	EXPECT_EQ(ERANGE, errno);
	EXPECT_EQ(1, self->log.calls);
}

/* Handlers that trap. */

#define DEPTH	8

static struct descent {
	char *view;
	int space;
	unsigned int order[DEPTH];
	unsigned int n;
} descent;

/* Each level touches the next page before it opens its own. */
static int descend(const struct avm_trap_info *info, void *arg)
{
	struct descent *d = arg;
	unsigned long i = (page_of(info->addr) - d->view) / PAGE;

	if (i + 1 < DEPTH)
		poke(d->view + (i + 1) * PAGE + i + 1, i + 1);
	d->order[d->n++] = i;
	if (info->addr != d->view + i * PAGE + i ||
	    avm_unprot(d->space, page_of(info->addr), RW))
		_exit(99);
	return AVM_TRAP_RETRY;
}

TEST_F(upcall, handlers_trap_eight_deep)
{
	unsigned int flags[] = { 0, AVM_TRAP_ONSTACK }, i, round;
	stack_t alt = { .ss_sp = malloc(262144), .ss_size = 262144 };

	ASSERT_EQ(0, sigaltstack(&alt, NULL));
	descent.view = self->view;
	descent.space = self->space;
	for (round = 0; round < 200; round++) {
		ASSERT_EQ(0, avm_trap(self->space, self->view, DEPTH * PAGE, descend, &descent,
				      flags[round % 2]));
		descent.n = 0;
		close_all();
		poke(self->view, 42);
		ASSERT_EQ(DEPTH, descent.n);
		for (i = 0; i < DEPTH; i++) {
			EXPECT_EQ(DEPTH - 1 - i, descent.order[i]);
			EXPECT_EQ(i ? (char)i : 42, self->view[i * PAGE + i]);
		}
		ASSERT_EQ(0, avm_untrap(self->view));
	}
	EXPECT_EQ(200 * DEPTH, all_upcalls(self->space));
}

/* Threads. */

#define THREADS		8
#define ROUNDS		150

struct trapper {
	pthread_t thread;
	int space;
	char *pages;
	struct log log;
	int bad;
};

static void *trap_often(void *arg)
{
	struct trapper *t = arg;
	unsigned int i;

	for (i = 1; i <= ROUNDS; i++) {
		char *at = t->pages + i % 4 * PAGE + i;

		t->bad += !!protect(t->space, page_of(at), 1, i % 2 ? NONE : R);
		poke(at, i);
		t->bad += peek(at) != (char)i || t->log.calls != i ||
			t->log.info.addr != at;
	}
	return NULL;
}

TEST_F(upcall, eight_threads_trap_on_pages_of_their_own)
{
	struct trapper t[THREADS] = {};
	unsigned int i;

	for (i = 0; i < THREADS; i++) {
		t[i].space = self->space;
		t[i].pages = self->view + i * 4 * PAGE;
		t[i].log = self->log;
		ASSERT_EQ(0, avm_trap(self->space, t[i].pages, 4 * PAGE, record, &t[i].log, 0));
	}
	for (i = 0; i < THREADS; i++)
		ASSERT_EQ(0, pthread_create(&t[i].thread, NULL, trap_often, &t[i]));
	for (i = 0; i < THREADS; i++) {
		pthread_join(t[i].thread, NULL);
		EXPECT_EQ(0, t[i].bad);
		EXPECT_EQ(ROUNDS, t[i].log.calls);
	}
	EXPECT_EQ(THREADS * ROUNDS, all_upcalls(self->space));
}

static int stop_counting;

static void *count_up(void *arg)
{
	unsigned long i;

	for (i = 0; !__atomic_load_n(&stop_counting, __ATOMIC_RELAXED); i++)
		__atomic_add_fetch((long *)((char *)arg + i % 4 * PAGE), 1, __ATOMIC_RELAXED);
	return (void *)i;
}

TEST_F(upcall, eight_threads_trap_on_the_same_pages_and_lose_nothing)
{
	pthread_t thread[THREADS];
	long sum = 0, expected = 0;
	unsigned int i;
	void *counted;

	trap_all(0);
	for (i = 0; i < THREADS; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, count_up, self->view));
	for (i = 0; i < 3 * ROUNDS; i++) {
		ASSERT_EQ(0, protect(self->space, self->view, 4, i % 2 ? R : NONE));
		if (i % 4 == 0)
			usleep(100);
	}
	__atomic_store_n(&stop_counting, 1, __ATOMIC_RELAXED);
	for (i = 0; i < THREADS; i++) {
		pthread_join(thread[i], &counted);
		expected += (long)counted;
	}
	EXPECT_EQ(0, protect(self->space, self->view, 4, R));
	for (i = 0; i < 4; i++)
		sum += *(long *)(self->view + i * PAGE);
	EXPECT_EQ(expected, sum);
	EXPECT_LT(ROUNDS, self->log.calls);
	EXPECT_EQ(self->log.calls, all_upcalls(self->space));
}

/* Signals and handlers. */

static struct {
	struct log log;
	char *page;
	char *local;
	volatile unsigned int signals;
} in_signal;

/* A signal handler that takes a trap. */
static void trapping_signal(int sig)
{
	(void)sig;
	in_signal.local = __builtin_frame_address(0);
	if (protect(in_signal.log.space, in_signal.page, 1, NONE))
		_exit(98);
	poke(in_signal.page + 3, 1);
	in_signal.signals++;
}

static void in_signal_setup(int space, char *page, int sig, int flags)
{
	struct sigaction sa = { .sa_handler = trapping_signal, .sa_flags = flags };

	in_signal.log = (struct log){ .space = space, .open_to = RW };
	in_signal.page = page;
	must(!sigaction(sig, &sa, NULL));
}

static int raises_signal(const struct avm_trap_info *info, void *arg)
{
	raise(SIGUSR1);
	return record(info, arg);
}

TEST_F(upcall, signal_raised_in_a_handler_takes_a_trap_itself)
{
	unsigned int i;

	in_signal_setup(self->space, self->view + PAGE, SIGUSR1, 0);
	ASSERT_EQ(0, avm_trap(self->space, self->view, PAGE, raises_signal, &self->log, 0));
	ASSERT_EQ(0, avm_trap(self->space, self->view + PAGE, PAGE, record, &in_signal.log, 0));
	for (i = 1; i <= 200; i++) {
		ASSERT_EQ(0, protect(self->space, self->view, 1, NONE));
		poke(self->view, i);
		EXPECT_EQ(i, self->log.calls);
		EXPECT_EQ(i, in_signal.signals);
		EXPECT_EQ(i, in_signal.log.calls);
		EXPECT_EQ((char)i, self->view[0]);
	}
	EXPECT_EQ(400, all_upcalls(self->space));
}

static int waits_for_a_signal(const struct avm_trap_info *info, void *arg)
{
	unsigned int before = in_signal.signals;
	struct log *log = arg;

	if (log->calls % 20 == 0) {
		while (in_signal.signals == before)
			;
	}
	return record(info, arg);
}

TEST_F(upcall, timer_interrupts_everywhere_and_takes_traps_itself)
{
	struct itimerval often = { { 0, 3000 }, { 0, 3000 } }, never = {};
	unsigned int i;

	in_signal_setup(self->space, self->view + PAGE, SIGALRM, 0);
	ASSERT_EQ(0, avm_trap(self->space, self->view, PAGE, waits_for_a_signal, &self->log, 0));
	ASSERT_EQ(0, avm_trap(self->space, self->view + PAGE, PAGE, record, &in_signal.log, 0));
	setitimer(ITIMER_REAL, &often, NULL);
	for (i = 1; i <= 1000; i++) {
		ASSERT_EQ(0, protect(self->space, self->view, 1, NONE));
		poke(self->view, i);
		ASSERT_EQ(i, self->log.calls);
		ASSERT_EQ((char)i, self->view[0]);
	}
	setitimer(ITIMER_REAL, &never, NULL);
	EXPECT_LE(50, in_signal.signals);
	EXPECT_EQ(in_signal.signals, in_signal.log.calls);
	EXPECT_EQ(1000 + in_signal.signals, all_upcalls(self->space));
}

static int on(const stack_t *stack, const char *p)
{
	const char *begin = stack->ss_sp;

	return p >= begin && p < begin + stack->ss_size;
}

TEST_F(upcall, signal_handlers_trap_on_either_stack)
{
	static const unsigned int flags[] = { 0, AVM_TRAP_ONSTACK };
	stack_t alt = { .ss_sp = malloc(65536), .ss_size = 65536 };
	unsigned int i;

	ASSERT_EQ(0, sigaltstack(&alt, NULL));
	for (i = 0; i < 4; i++) {
		in_signal_setup(self->space, self->view + PAGE, SIGUSR1, i & 1 ? SA_ONSTACK : 0);
		ASSERT_EQ(0, avm_trap(self->space, self->view + PAGE, PAGE, record,
				      &in_signal.log, flags[i >> 1]));
		raise(SIGUSR1);
		EXPECT_EQ(i & 1, on(&alt, in_signal.local));
		EXPECT_EQ(1, in_signal.log.calls);
		/* On the alternate stack because it was there, or asked for it. */
		EXPECT_EQ(i != 0, on(&alt, in_signal.log.local)) TH_LOG("case %u", i);
		/* Below the frame of the signal, where that is on the same. */
		if (i & 1 || i == 0)
			EXPECT_LT(in_signal.log.local, in_signal.local);
		ASSERT_EQ(0, avm_untrap(self->view + PAGE));
	}
	EXPECT_EQ(4, all_upcalls(self->space));
}

TEST_F(upcall, blocked_SIGSEGV_does_not_matter)
{
	sigset_t set;

	trap_all(0);
	close_all();
	sigemptyset(&set);
	sigaddset(&set, SIGSEGV);
	ASSERT_EQ(0, sigprocmask(SIG_BLOCK, &set, NULL));
	poke(self->view + 1, 1);
	EXPECT_EQ(0, peek(self->view + PAGE));
	EXPECT_EQ(2, self->log.calls);
	EXPECT_EQ(2, all_upcalls(self->space));
}

TEST_F(upcall, ignored_SIGSEGV_does_not_matter)
{
	trap_all(0);
	close_all();
	signal(SIGSEGV, SIG_IGN);
	poke(self->view + 1, 1);
	EXPECT_EQ(1, self->log.calls);
	signal(SIGSEGV, SIG_DFL);
	poke(self->view + PAGE, 1);
	EXPECT_EQ(2, self->log.calls);
	EXPECT_EQ(2, all_upcalls(self->space));
}

TEST_F(upcall, replaced_handler_of_SIGSEGV_does_not_matter)
{
	trap_all(0);
	close_all();
	denied_setup();
	EXPECT_EQ(0, try_write(self->view + 1, 1));
	EXPECT_EQ(0, try_read(self->view + PAGE));
	EXPECT_EQ(2, self->log.calls);
	EXPECT_EQ(2, all_upcalls(self->space));
	EXPECT_EQ(SIGSEGV, try_read((char *)8));
}

/* AVM_TRAP_PASS. */

enum { RAX, RBX, RCX, RDX, RSI, RDI, RBP, R8, R9, R10, R11, R12, R13, R14, R15, FLAGS, RSP, REGS };

/*
 * probe(registers, access, after): loads all registers from an array, makes one
 * access through rax, stores them to the array again. The access is at
 * probe_read, probe_write or probe_fetch; what SIGSEGV's handler goes on at, if
 * it does not want to repeat it, is probe_after.
 */
void probe(uint64_t *regs, const void *access);
extern const char probe_read[], probe_write[], probe_fetch[], probe_after[];

asm("	.pushsection .bss\n"
	"	.align 8\n"
	"probe_regs: .quad 0\n"
	"probe_sp: .quad 0\n"
	"probe_to: .quad 0\n"
	"	.popsection\n"
	"	.pushsection .text\n"
	"	.globl probe, probe_read, probe_write, probe_fetch, probe_after\n"
	"probe:\n"
	"	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
	"	mov %rdi, probe_regs(%rip)\n"
	"	mov %rsi, probe_to(%rip)\n"
	"	mov %rsp, probe_sp(%rip)\n"
	"	mov %rsp, 16*8(%rdi)\n"
	"	push 15*8(%rdi)\n"
	"	mov 0*8(%rdi), %rax; mov 1*8(%rdi), %rbx; mov 2*8(%rdi), %rcx\n"
	"	mov 3*8(%rdi), %rdx; mov 4*8(%rdi), %rsi; mov 6*8(%rdi), %rbp\n"
	"	mov 7*8(%rdi), %r8; mov 8*8(%rdi), %r9; mov 9*8(%rdi), %r10\n"
	"	mov 10*8(%rdi), %r11; mov 11*8(%rdi), %r12; mov 12*8(%rdi), %r13\n"
	"	mov 13*8(%rdi), %r14; mov 14*8(%rdi), %r15; mov 5*8(%rdi), %rdi\n"
	"	popfq\n"
	"	jmp *probe_to(%rip)\n"
	"probe_read:\n"
	"	testb $0, (%rax)\n"
	"	jmp probe_after\n"
	"probe_write:\n"
	"	movb $42, (%rax)\n"
	"	jmp probe_after\n"
	"probe_fetch:\n"
	"	jmp *%rax\n"
	"probe_after:\n"
	"	mov %rsp, probe_to(%rip)\n"
	"	mov probe_sp(%rip), %rsp\n"
	"	pushfq\n"
	"	push %rdi\n"
	"	mov probe_regs(%rip), %rdi\n"
	"	mov %rax, 0*8(%rdi); mov %rbx, 1*8(%rdi); mov %rcx, 2*8(%rdi)\n"
	"	mov %rdx, 3*8(%rdi); mov %rsi, 4*8(%rdi); mov %rbp, 6*8(%rdi)\n"
	"	mov %r8, 7*8(%rdi); mov %r9, 8*8(%rdi); mov %r10, 9*8(%rdi)\n"
	"	mov %r11, 10*8(%rdi); mov %r12, 11*8(%rdi); mov %r13, 12*8(%rdi)\n"
	"	mov %r14, 13*8(%rdi); mov %r15, 14*8(%rdi)\n"
	"	pop 5*8(%rdi)\n"
	"	pop 15*8(%rdi)\n"
	"	mov probe_to(%rip), %rax\n"
	"	mov %rax, 16*8(%rdi)\n"
	"	cld\n"
	"	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
	"	ret\n"
	"	.popsection\n");

/* CF, PF, AF, ZF, SF, DF, OF, and the two that are always set. */
#define PROBE_FLAGS	0xed7ul

static void probe_fill(uint64_t *regs, const char *at)
{
	unsigned int i;

	for (i = RAX; i < FLAGS; i++)
		regs[i] = 0x0123456789abcdeful * (i + 3);
	regs[RAX] = (uintptr_t)at;
	regs[FLAGS] = PROBE_FLAGS | 0x200;
}

/* Where each register of `regs` is in a signal's context. */
static const int greg_of[REGS] = {
	[RAX] = REG_RAX, [RBX] = REG_RBX, [RCX] = REG_RCX, [RDX] = REG_RDX, [RSI] = REG_RSI,
	[RDI] = REG_RDI, [RBP] = REG_RBP, [R8] = REG_R8, [R9] = REG_R9, [R10] = REG_R10,
	[R11] = REG_R11, [R12] = REG_R12, [R13] = REG_R13, [R14] = REG_R14, [R15] = REG_R15,
	[FLAGS] = REG_EFL, [RSP] = REG_RSP,
};

/* What the program's own handler of SIGSEGV saw. */
static struct {
	volatile unsigned int calls;
	siginfo_t info;
	gregset_t gregs;
	int space;
	int open_to;		/* PAST: goes on behind the access */
} own;

static void own_handler(int sig, siginfo_t *info, void *context)
{
	greg_t *gregs = ((ucontext_t *)context)->uc_mcontext.gregs;

	(void)sig;
	own.calls++;
	own.info = *info;
	memcpy(own.gregs, gregs, sizeof(own.gregs));
	if (own.open_to == PAST)
		gregs[REG_RIP] = (greg_t)probe_after;
	else if (protect(own.space, page_of(info->si_addr), 1, own.open_to))
		_exit(97);
}

static void own_setup(int space, int open_to)
{
	struct sigaction sa = {
		.sa_sigaction = own_handler, .sa_flags = SA_SIGINFO | SA_ONSTACK,
	};

	own.calls = 0;
	own.space = space;
	own.open_to = open_to;
	must(!sigaction(SIGSEGV, &sa, NULL));
}

/* Things that are not as they were at the access. */
static int own_saw_wrong(const uint64_t *regs, const char *at, const void *ip, long error)
{
	int wrong = 0, i;

	wrong += own.info.si_signo != SIGSEGV || own.info.si_code != SEGV_MAPERR ||
		own.info.si_addr != at;
	wrong += own.gregs[REG_RIP] != (greg_t)ip;
	wrong += own.gregs[REG_ERR] != error;
	wrong += own.gregs[REG_TRAPNO] != 14;
	wrong += own.gregs[REG_CR2] != (greg_t)at;
	for (i = 0; i < REGS; i++) {
		/* The CPU sets the resume flag in what it saves of a fault. */
		uint64_t got = own.gregs[greg_of[i]] & (i == FLAGS ? ~0x10000ul : ~0ul);

		if (got == regs[i])
			continue;
		printf("# register %d: %#lx for %#lx\n", i, got, regs[i]);
		wrong++;
	}
	return wrong;
}

/* Accesses that a handler passes: each reaches it once, and then `own`. */
static int pass_goes_wrong(struct log *log, char *page)
{
	const struct {
		const void *access;
		const void *ip;
		long error;
	} cases[] = {
		{ probe_read, probe_read, ERROR_READ }, { probe_write, probe_write, ERROR_WRITE },
		{ probe_fetch, page + 77, ERROR_FETCH },
	};
	unsigned int i, wrong = 0;
	uint64_t before[REGS], after[REGS];

	for (i = 0; i < 3; i++) {
		own.calls = 0;
		log->calls = 0;
		probe_fill(before, page + 77);
		memcpy(after, before, sizeof(after));
		probe(after, cases[i].access);
		before[RSP] = after[RSP];
		wrong += own.calls != 1 || log->calls != 1;
		wrong += own_saw_wrong(before, page + 77, cases[i].ip, cases[i].error);
		after[FLAGS] &= ~0x10000ul;
		wrong += memcmp(before, after, sizeof(after)) != 0;
		if (wrong) {
			printf("# case %u: %u of own, %u of the handler\n", i, own.calls,
			       log->calls);
			return wrong;
		}
	}
	return 0;
}

TEST_F(upcall, pass_goes_to_the_handler_that_was_there_before)
{
	own_setup(self->space, PAST);
	self->log.open_to = PAST;
	self->log.verdict = AVM_TRAP_PASS;
	trap_all(0);
	close_all();
	EXPECT_EQ(0, pass_goes_wrong(&self->log, self->view));
	EXPECT_EQ(3, all_upcalls(self->space));
}

TEST_F(upcall, pass_goes_to_the_handler_that_came_after)
{
	self->log.open_to = PAST;
	self->log.verdict = AVM_TRAP_PASS;
	trap_all(0);
	own_setup(self->space, PAST);
	close_all();
	EXPECT_EQ(0, pass_goes_wrong(&self->log, self->view));
	EXPECT_EQ(3, all_upcalls(self->space));
}

TEST_F(upcall, pass_from_the_alternate_stack)
{
	stack_t alt = { .ss_sp = malloc(65536), .ss_size = 65536 };

	ASSERT_EQ(0, sigaltstack(&alt, NULL));
	own_setup(self->space, PAST);
	self->log.open_to = PAST;
	self->log.verdict = AVM_TRAP_PASS;
	trap_all(AVM_TRAP_ONSTACK);
	close_all();
	EXPECT_EQ(0, pass_goes_wrong(&self->log, self->view));
	EXPECT_TRUE(on(&alt, self->log.local));
	EXPECT_EQ(3, all_upcalls(self->space));
}

TEST_F(upcall, pass_is_asked_once_for_each_access_however_often)
{
	unsigned int i;

	own_setup(self->space, RW);
	self->log.open_to = PAST;
	self->log.verdict = AVM_TRAP_PASS;
	trap_all(0);
	for (i = 1; i <= 1000; i++) {
		ASSERT_EQ(0, protect(self->space, self->view, 1, NONE));
		poke(self->view + 5, i);
		ASSERT_EQ(i, own.calls);
		ASSERT_EQ(i, self->log.calls);
		ASSERT_EQ((char)i, self->view[5]);
	}
	EXPECT_EQ(1000, all_upcalls(self->space));
}

/* A handler whose page is the business of another handler, in the same thread. */
static int passes_after_a_trap(const struct avm_trap_info *info, void *arg)
{
	poke(page_of(info->addr) + PAGE, 1);
	return record(info, arg);
}

TEST_F(upcall, pass_in_a_nested_handler_and_after_one)
{
	struct log outer = {
		.space = self->space, .open_to = PAST, .verdict = AVM_TRAP_PASS,
	};
	struct log inner = outer;

	own_setup(self->space, RW);
	ASSERT_EQ(0, avm_trap(self->space, self->view, PAGE, passes_after_a_trap, &outer, 0));
	ASSERT_EQ(0, avm_trap(self->space, self->view + PAGE, PAGE, record, &inner, 0));
	close_all();
	poke(self->view, 7);
	EXPECT_EQ(7, self->view[0]);
	EXPECT_EQ(1, self->view[PAGE]);
	EXPECT_EQ(1, outer.calls);
	EXPECT_EQ(1, inner.calls);
	EXPECT_EQ(2, own.calls);
	EXPECT_EQ(2, all_upcalls(self->space));
}

static unsigned int *pass_count;

static int counts_and_passes(const struct avm_trap_info *info, void *arg)
{
	(void)info;
	++*pass_count;
	if (arg)
		close(*(int *)arg);
	return AVM_TRAP_PASS;
}

/*
 * A child that is killed by an access that its handler passes. @prepare is done
 * before or after the handler is registered; @space to close, if any.
 */
static int passing_child(int space, void (*before)(void), void (*after)(void), int *closes)
{
	pid_t pid;

	pass_count = shared_counter();
	pid = fork();
	if (!pid) {
		char *view = view_new(space, 0, 1, RW);

		child_begins();
		signal(SIGSEGV, SIG_DFL);
		if (before)
			before();
		must(!protect(space, view, 1, NONE));
		must(!avm_trap(space, view, PAGE, counts_and_passes, closes, 0));
		if (after)
			after();
		poke(view, 1);
		_exit(0);
	}
	return died_by(status_of(pid));
}

TEST_F(upcall, pass_dies_where_there_is_no_handler)
{
	EXPECT_EQ(SIGSEGV, passing_child(self->space, NULL, NULL, NULL));
	EXPECT_EQ(1, *pass_count);
	EXPECT_EQ(SIGSEGV, passing_child(self->space, NULL, default_segv, NULL));
	EXPECT_EQ(1, *pass_count);
}

TEST_F(upcall, pass_dies_where_SIGSEGV_is_blocked)
{
	EXPECT_EQ(SIGSEGV, passing_child(self->space, denied_setup, block_segv, NULL));
	EXPECT_EQ(1, *pass_count);
	EXPECT_EQ(SIGSEGV, passing_child(self->space, block_segv, NULL, NULL));
	EXPECT_EQ(1, *pass_count);
}

TEST_F(upcall, pass_dies_where_SIGSEGV_is_ignored)
{
	EXPECT_EQ(SIGSEGV, passing_child(self->space, ignore_segv, NULL, NULL));
	EXPECT_EQ(1, *pass_count);
	EXPECT_EQ(SIGSEGV, passing_child(self->space, NULL, ignore_segv, NULL));
	EXPECT_EQ(1, *pass_count);
}

TEST_F(upcall, pass_on_a_closed_descriptor_dies)
{
	EXPECT_EQ(SIGSEGV, passing_child(self->space, NULL, NULL, &self->space));
	EXPECT_EQ(1, *pass_count);
	EXPECT_EQ(SIGSEGV, passing_child(self->space, block_segv, NULL, &self->space));
	EXPECT_EQ(1, *pass_count);
	EXPECT_EQ(SIGSEGV, passing_child(self->space, ignore_segv, NULL, &self->space));
	EXPECT_EQ(1, *pass_count);
	EXPECT_EQ(SIGSEGV, passing_child(self->space, denied_setup, NULL, &self->space));
	EXPECT_EQ(1, *pass_count);
}

/*
 * A pass that no upcall precedes, with registers that nobody can have: they are
 * made harmless, as those of sigreturn(2) are, or the process dies of them.
 */
static struct wild {
	gregset_t gregs;
	int seen;
} *wild;

static void wild_handler(int sig, siginfo_t *info, void *context)
{
	(void)info;
	memcpy(wild->gregs, ((ucontext_t *)context)->uc_mcontext.gregs, sizeof(wild->gregs));
	wild->seen = sig;
	_exit(0);
}

TEST_F(upcall, pass_with_wild_registers_is_harmless)
{
	static const uint64_t ips[] = {
		0, (uintptr_t)probe_write, 0x00007ffffffff000, 1ull << 47, 1ull << 56, 1ull << 63,
		0xffffffff81000000, ~0ull,
	};
	struct sigaction sa = {
		.sa_sigaction = wild_handler, .sa_flags = SA_SIGINFO | SA_ONSTACK,
	};
	stack_t alt = { .ss_sp = malloc(65536), .ss_size = 65536 };
	unsigned int i, j;

	wild = (void *)shared_counter();
	for (i = 0; i < COUNT(ips) * COUNT(ips); i++) {
		struct avm_trap_pass pass;
		pid_t pid;

		j = i / COUNT(ips);
		memset(&pass, 0x5a, sizeof(pass));
		pass.upcall.ip = ips[i % COUNT(ips)];
		pass.cx = pass.upcall.ip;
		pass.upcall.sp = ips[j];
		pass.upcall.flags = j % 2 ? ~0x100ull : 0;
		pass.r11 = pass.upcall.flags;
		pass.upcall.cs = 0x10;
		pass.upcall.ss = 0x10;
		pass.upcall.access = AVM_PROT_WRITE;
		pass.upcall.addr = ips[(i + j) % COUNT(ips)];
		wild->seen = 0;
		pid = fork();
		if (!pid) {
			child_begins();
			must(!sigaltstack(&alt, NULL) && !sigaction(SIGSEGV, &sa, NULL));
			ioctl(self->space, AVM_IOC_TRAP_PASS, &pass);
			_exit(1);
		}
		EXPECT_EQ(0, exited_with(status_of(pid)));
		EXPECT_EQ(SIGSEGV, wild->seen);
		EXPECT_EQ(pass.upcall.ip, (uint64_t)wild->gregs[REG_RIP]);
		EXPECT_EQ(pass.upcall.sp, (uint64_t)wild->gregs[REG_RSP]);
		EXPECT_EQ(pass.upcall.ip, (uint64_t)wild->gregs[REG_RCX]);
		EXPECT_EQ(pass.upcall.addr, (uint64_t)wild->gregs[REG_CR2]);
		/* Interrupts on, no rights to ports, no nested task, no V8086. */
		EXPECT_EQ(0x200, wild->gregs[REG_EFL] & (0x200 | 0x3000 | 0x4000 | 0x20000));
		EXPECT_EQ(0x33, wild->gregs[REG_CSGSFS] & 0xffff);
	}
}

/* What a handler may do. */

/* By upcall; then the view has gone, and with it the upcall. */
static int unmaps(const struct avm_trap_info *info, void *arg)
{
	struct log *log = arg;

	log->calls++;
	if (log->calls > 1)
		return AVM_TRAP_PASS;
	if (avm_unmap(info->view, info->length))
		_exit(96);
	return AVM_TRAP_RETRY;
}

TEST_F(upcall, handler_may_unmap_the_view)
{
	char *view = view_new(self->space, 0, 4, RW);

	ASSERT_EQ(0, avm_trap(self->space, view, 4 * PAGE, unmaps, &self->log, 0));
	ASSERT_EQ(0, protect(self->space, view, 4, NONE));
	EXPECT_EQ(SIGSEGV, try_write(view + PAGE + 9, 1));
	EXPECT_EQ(view + PAGE + 9, denied.addr);
	EXPECT_EQ(SEGV_MAPERR, denied.code);
	EXPECT_EQ(2, self->log.calls);
	EXPECT_EQ(1, upcalls(self->space));
	EXPECT_EQ(1, stats(self->space).out_traps);
	EXPECT_EQ(0, avm_untrap(view));
}

static int untraps_and_unmaps(const struct avm_trap_info *info, void *arg)
{
	struct log *log = arg;

	log->calls++;
	if (avm_untrap(info->view) || avm_unmap(info->view, info->length))
		_exit(96);
	return AVM_TRAP_RETRY;
}

TEST_F(upcall, handler_may_take_itself_away)
{
	char *view = view_new(self->space, 0, 4, RW);

	ASSERT_EQ(0, avm_trap(self->space, view, 4 * PAGE, untraps_and_unmaps, &self->log, 0));
	ASSERT_EQ(0, protect(self->space, view, 4, NONE));
	EXPECT_EQ(SIGSEGV, try_write(view + PAGE + 9, 1));
	EXPECT_EQ(1, self->log.calls);
	EXPECT_EQ(-ENOENT, avm_untrap(view));
}

static struct {
	int touches;		/* the child resumes the access */
	pid_t parent;
	int status;
} forking;

static int forks(const struct avm_trap_info *info, void *arg)
{
	pid_t pid;

	/* In the child, by signal: the view is not there. */
	if (getpid() != forking.parent)
		return AVM_TRAP_PASS;
	pid = fork();
	if (!pid) {
		child_begins();
		default_segv();
		if (forking.touches)
			return AVM_TRAP_RETRY;
		_exit(17);
	}
	forking.status = status_of(pid);
	return record(info, arg);
}

TEST_F(upcall, handler_may_fork)
{
	forking.parent = getpid();
	ASSERT_EQ(0, avm_trap(self->space, self->view, PAGES * PAGE, forks, &self->log, 0));
	close_all();
	poke(self->view + 3, 5);
	if (getpid() != forking.parent)
		_exit(18);
	EXPECT_EQ(17, exited_with(forking.status));
	EXPECT_EQ(5, self->view[3]);
	forking.touches = 1;
	poke(self->view + PAGE + 3, 6);
	/* Should the child get here, it got through. */
	if (getpid() != forking.parent)
		_exit(18);
	EXPECT_EQ(SIGSEGV, died_by(forking.status));
	EXPECT_EQ(6, self->view[PAGE + 3]);
	EXPECT_EQ(2, self->log.calls);
	EXPECT_EQ(2, all_upcalls(self->space));
}

/* The program that an exec starts: it has no handler, and says so by its status. */
__attribute__((constructor)) static void after_exec(void)
{
	struct sigaction sa;

	if (!getenv("UPCALL_EXEC"))
		return;
	sigaction(SIGSEGV, NULL, &sa);
	_exit(sa.sa_handler == SIG_DFL ? 42 : 43);
}

static int execs(const struct avm_trap_info *info, void *arg)
{
	static char *const argv[] = { "exec", NULL }, *const envp[] = { "UPCALL_EXEC=1", NULL };
	pid_t pid = fork();

	if (!pid) {
		execve("/proc/self/exe", argv, envp);
		_exit(1);
	}
	forking.status = status_of(pid);
	return record(info, arg);
}

TEST_F(upcall, handler_may_exec_in_a_child)
{
	ASSERT_EQ(0, avm_trap(self->space, self->view, PAGES * PAGE, execs, &self->log, 0));
	close_all();
	poke(self->view + 3, 5);
	EXPECT_EQ(42, exited_with(forking.status));
	EXPECT_EQ(5, self->view[3]);
}

static void *pokes(void *arg)
{
	poke(arg, 9);
	return arg;
}

static int uses_libc(const struct avm_trap_info *info, void *arg)
{
	char text[64], *copy = malloc(3000), *page = page_of(info->addr);
	struct log *log = arg;
	pthread_t thread;
	void *result;

	snprintf(text, sizeof(text), "%p %.3f", info->addr, 1.0 / 3);
	strcpy(copy, text);
	printf("# trap at %s\n", copy);
	free(copy);
	/* A thread whose own trap is the same handler's business. */
	if (log->calls % 2 == 0) {
		record(info, arg);
		if (pthread_create(&thread, NULL, pokes, page + PAGE) ||
		    pthread_join(thread, &result) || result != page + PAGE)
			_exit(95);
		return AVM_TRAP_RETRY;
	}
	return record(info, arg);
}

TEST_F(upcall, handler_may_use_malloc_printf_and_threads)
{
	ASSERT_EQ(0, avm_trap(self->space, self->view, PAGES * PAGE, uses_libc, &self->log, 0));
	close_all();
	poke(self->view + 3, 5);
	EXPECT_EQ(5, self->view[3]);
	EXPECT_EQ(9, self->view[PAGE]);
	EXPECT_EQ(2, self->log.calls);
	EXPECT_EQ(2, all_upcalls(self->space));
}

/* Leaving a handler for good. */

static sigjmp_buf escapes[DEPTH];
static jmp_buf plain_escape;

static int leaves(const struct avm_trap_info *info, void *arg)
{
	record(info, arg);
	siglongjmp(escapes[0], 1);
}

static int leaves_plainly(const struct avm_trap_info *info, void *arg)
{
	record(info, arg);
	longjmp(plain_escape, 1);
}

TEST_F(upcall, handler_may_leave_by_longjmp_thousands_of_times)
{
	static volatile unsigned int i, left;

	self->log.open_to = PAST;
	ASSERT_EQ(0, avm_trap(self->space, self->view, PAGE, leaves, &self->log, 0));
	ASSERT_EQ(0, avm_trap(self->space, self->view + PAGE, PAGE, leaves_plainly,
			      &self->log, 0));
	close_all();
	for (i = 0; i < 3000; i++) {
		if (!sigsetjmp(escapes[0], i % 2))
			poke(self->view, 1);
		else
			left++;
		if (!setjmp(plain_escape))
			poke(self->view + PAGE, 1);
		else
			left++;
	}
	EXPECT_EQ(6000, left);
	EXPECT_EQ(6000, self->log.calls);
	EXPECT_EQ(6000, all_upcalls(self->space));
	EXPECT_EQ(0, dirty(self->space, self->view, PAGES, NULL));
}

/* The deepest level jumps to level `leap_to`, which then opens its own page. */
static unsigned int leap_to;

static int leaps(const struct avm_trap_info *info, void *arg)
{
	struct descent *d = arg;
	unsigned long i = (page_of(info->addr) - d->view) / PAGE;

	if (i == DEPTH - 1)
		siglongjmp(escapes[leap_to], 1);
	if (!sigsetjmp(escapes[i], 1))
		poke(d->view + (i + 1) * PAGE, 1);
	d->n++;
	if (avm_unprot(d->space, page_of(info->addr), RW))
		_exit(99);
	return AVM_TRAP_RETRY;
}

TEST_F(upcall, nested_handlers_may_leave_by_longjmp)
{
	static volatile unsigned int i;
	stack_t alt = { .ss_sp = malloc(262144), .ss_size = 262144 };
	unsigned int flags[] = { 0, AVM_TRAP_ONSTACK };

	ASSERT_EQ(0, sigaltstack(&alt, NULL));
	descent.view = self->view;
	descent.space = self->space;
	for (i = 0; i < 1000; i++) {
		leap_to = i % (DEPTH - 1);
		descent.n = 0;
		ASSERT_EQ(0, protect(self->space, self->view, DEPTH, NONE));
		if (i % 500 == 0)
			ASSERT_EQ(0, avm_trap(self->space, self->view, DEPTH * PAGE, leaps,
					      &descent, flags[i / 500]));
		poke(self->view, 1);
		/* Those above the one that was jumped to have opened their pages. */
		ASSERT_EQ(leap_to + 1, descent.n);
		if (i % 500 == 499)
			ASSERT_EQ(0, avm_untrap(self->view));
	}
	EXPECT_EQ(1000 * DEPTH, all_upcalls(self->space));
}

TEST_F(upcall, handler_may_leave_the_alternate_stack_by_longjmp)
{
	stack_t alt = { .ss_sp = malloc(65536), .ss_size = 65536 }, now;
	static volatile unsigned int i;

	ASSERT_EQ(0, sigaltstack(&alt, NULL));
	self->log.open_to = PAST;
	ASSERT_EQ(0, avm_trap(self->space, self->view, PAGE, leaves, &self->log,
			      AVM_TRAP_ONSTACK));
	close_all();
	for (i = 0; i < 3000; i++) {
		if (!sigsetjmp(escapes[0], 0))
			poke(self->view, 1);
	}
	EXPECT_EQ(3000, self->log.calls);
	EXPECT_EQ(3000, all_upcalls(self->space));
	EXPECT_TRUE(on(&alt, self->log.local));
	/* It is as good as unused. */
	ASSERT_EQ(0, sigaltstack(NULL, &now));
	EXPECT_EQ(0, now.ss_flags);
}

/* AVM_TRAP_RAISE. */

/* What the page was like when its handler ran. */
struct raised {
	struct log log;
	int reads, writes;	/* got through, in the handler */
	int writes_elsewhere;	/* in a thread that the handler started */
};

static void *writes_once(void *arg)
{
	return (void *)(long)try_write(arg, 3);
}

static int looks(const struct avm_trap_info *info, void *arg)
{
	struct raised *r = arg;
	pthread_t thread;
	void *sig;

	record(info, &r->log);
	r->reads = !try_read(info->addr);
	r->writes = !try_write(info->addr, 2);
	if (pthread_create(&thread, NULL, writes_once, info->addr) ||
	    pthread_join(thread, &sig))
		_exit(94);
	r->writes_elsewhere = !sig;
	return AVM_TRAP_RETRY;
}

TEST_F(upcall, raise_opens_the_page_before_the_handler_runs)
{
	struct raised r = { .log = self->log };
	unsigned int i;

	r.log.open_to = PAST;
	ASSERT_EQ(0, avm_trap(self->space, self->view, PAGES * PAGE, looks, &r,
			      AVM_TRAP_RAISE));
	memset(self->view, 1, 2 * PAGE);
	close_all();
	/* Pages 0 and 1 had a frame, 2 and 3 not. */
	for (i = 0; i < 4; i++) {
		r.reads = 0;
		r.writes = 0;
		r.writes_elsewhere = 0;
		if (i % 2)
			poke(self->view + i * PAGE + 5, 7);
		else
			EXPECT_EQ(3, peek(self->view + i * PAGE + 5));
		EXPECT_EQ(i + 1, r.log.calls);
		EXPECT_EQ(i % 2 ? AVM_PROT_WRITE : R, r.log.info.access);
		EXPECT_TRUE(r.reads && r.writes && r.writes_elsewhere);
	}
	EXPECT_EQ(7, peek(self->view + PAGE + 5));
	EXPECT_EQ(4, r.log.calls);
	/* Its neighbours are as they were. */
	ASSERT_EQ(0, avm_untrap(self->view));
	EXPECT_EQ(SIGSEGV, try_read(self->view + 4 * PAGE));
	EXPECT_EQ(0, try_write(self->view + 3 * PAGE, 1));
}

TEST_F(upcall, raise_traps_once_a_page)
{
	unsigned long i, round;

	self->log.open_to = PAST;
	trap_all(AVM_TRAP_RAISE);
	for (round = 1; round <= 3; round++) {
		ASSERT_EQ(0, protect(self->space, self->view, PAGES, round % 2 ? NONE : R));
		memset(self->view, round, PAGES * PAGE);
		memset(self->view, round, PAGES * PAGE);
		EXPECT_EQ(round * PAGES, self->log.calls);
		for (i = 0; i < PAGES; i++)
			EXPECT_EQ((char)round, self->view[i * PAGE + i]);
	}
	EXPECT_EQ(3 * PAGES, all_upcalls(self->space));
}

TEST_F(upcall, raise_does_not_raise_a_fetch)
{
	static const int closed[] = { NONE, RW };
	unsigned int i;

	memset(self->view, CODE_RET, PAGES * PAGE);
	self->log.open_to = RX;
	trap_all(AVM_TRAP_RAISE);
	ASSERT_EQ(0, protect(self->space, self->view, 1, NONE));
	fetch(self->view + 8);
	EXPECT_EQ(1, self->log.calls);
	EXPECT_EQ(AVM_PROT_EXEC, self->log.info.access);
	/* The handler gave rx: had the page been raised, that took w away again. */
	self->log.open_to = PAST;
	self->log.verdict = AVM_TRAP_PASS;
	for (i = 0; i < 2; i++) {
		char *page = view_new(self->space, 1, 1, RWX);

		ASSERT_EQ(0, avm_trap(self->space, page, PAGE, record, &self->log,
				      AVM_TRAP_RAISE));
		ASSERT_EQ(0, protect(self->space, page, 1, closed[i]));
		EXPECT_EQ(SIGSEGV, try_fetch(page));
		ASSERT_EQ(0, avm_untrap(page));
		EXPECT_EQ(closed[i] ? 0 : SIGSEGV, try_read(page));
		EXPECT_EQ(SIGSEGV, try_fetch(page));
	}
}

TEST_F(upcall, raise_keeps_execution)
{
	memset(self->view, CODE_RET, PAGES * PAGE);
	self->log.open_to = PAST;
	trap_all(AVM_TRAP_RAISE);
	ASSERT_EQ(0, protect(self->space, self->view, 2, RX));
	poke(self->view + 8, CODE_RET);
	EXPECT_EQ(1, self->log.calls);
	fetch(self->view + 8);
	poke(self->view + 8, CODE_RET);
	EXPECT_EQ(1, self->log.calls);
	fetch(self->view + PAGE);
	EXPECT_EQ(1, self->log.calls);
	/* And adds none. */
	ASSERT_EQ(0, protect(self->space, self->view, 2, NONE));
	poke(self->view + 8, CODE_RET);
	EXPECT_EQ(2, self->log.calls);
	ASSERT_EQ(0, avm_untrap(self->view));
	EXPECT_EQ(SIGSEGV, try_fetch(self->view + 8));
}

TEST_F(upcall, raise_is_refused_where_the_view_does_not_allow_it)
{
	char *reader = view_new(self->space, 0, 4, R), *none = view_new(self->space, 0, 4, NONE);

	EXPECT_EQ(-EACCES, avm_trap(self->space, reader, PAGE, record, &self->log,
				    AVM_TRAP_RAISE));
	EXPECT_EQ(-EACCES, avm_trap(self->space, none, PAGE, record, &self->log,
				    AVM_TRAP_RAISE));
	/* Nothing has been left behind in the table, either. */
	ASSERT_EQ(0, protect(self->space, reader, 1, NONE));
	EXPECT_EQ(SIGSEGV, try_read(reader));
	EXPECT_EQ(0, self->log.calls);
	EXPECT_EQ(0, avm_trap(self->space, reader, PAGE, record, &self->log, 0));
	self->log.open_to = R;
	EXPECT_EQ(0, peek(reader));
	EXPECT_EQ(1, self->log.calls);
	/* What the mapping as a whole forbids never reaches avm. */
	self->log.open_to = PAST;
	self->log.verdict = AVM_TRAP_PASS;
	EXPECT_EQ(SIGSEGV, try_write(reader, 1));
	EXPECT_EQ(1, upcalls(self->space));
}

/* Pages that have no state of their own yet: never protected one by one. */
TEST(raise_works_in_pages_of_a_uniform_protection)
{
	static const unsigned long touched[] = { 0, 511, 512, 513, 700, 1023, 1024, 2047 };
	const unsigned long pages = 2048;
	int space = space_new(pages), way;
	struct log log = { .space = space, .open_to = PAST };
	uint64_t bits[2048 / 64];
	unsigned long i, j, calls;
	char *rw, *view;

	denied_setup();
	rw = view_new(space, 0, pages, RW);
	for (way = 0; way < 3; way++) {
		/* All by one call, or by the protection that it began with. */
		if (way) {
			view = map2(space, rw, pages, RW, way == 1 ? NONE : R);
		} else {
			view = view_new(space, 0, pages, RW);
			ASSERT_EQ(0, protect(space, view, pages, NONE));
		}
		ASSERT_EQ(0, avm_trap(space, view, pages * PAGE, record, &log, AVM_TRAP_RAISE));
		calls = log.calls;
		for (i = 0; i < COUNT(touched); i++) {
			poke(view + touched[i] * PAGE + i, way + 1);
			poke(view + touched[i] * PAGE + i, way + 1);
			EXPECT_EQ(++calls, log.calls);
		}
		EXPECT_EQ(COUNT(touched), dirty(space, view, pages, bits));
		ASSERT_EQ(0, avm_untrap(view));
		for (i = j = 0; i < pages; i++) {
			int was = j < COUNT(touched) && touched[j] == i;

			j += was;
			EXPECT_EQ(was, bit(bits, i)) TH_LOG("page %lu", i);
			EXPECT_EQ(was ? 0 : SIGSEGV, try_write(view + i * PAGE, 1))
				TH_LOG("page %lu", i);
		}
		munmap(view, pages * PAGE);
	}
	EXPECT_EQ(COUNT(touched) * 3, upcalls(space));
}

TEST_F(upcall, raise_makes_no_page_dirty)
{
	uint64_t bits;

	self->log.open_to = PAST;
	ASSERT_EQ(0, avm_trap(self->space, self->view, PAGES * PAGE, leaves, &self->log,
			      AVM_TRAP_RAISE));
	memset(self->view, 1, 8 * PAGE);
	close_all();
	ASSERT_LE(0, scan(self->space, self->view, PAGES, AVM_PAGE_DIRTY | AVM_PAGE_ACCESSED,
			  AVM_PAGE_DIRTY | AVM_PAGE_ACCESSED, NULL));
	/* The access is never made. */
	if (!sigsetjmp(escapes[0], 1))
		poke(self->view + 3 * PAGE, 1);
	if (!sigsetjmp(escapes[0], 1))
		poke(self->view + 20 * PAGE, 1);
	if (!sigsetjmp(escapes[0], 1))
		peek(self->view + 21 * PAGE);
	EXPECT_EQ(3, self->log.calls);
	EXPECT_EQ(0, scan(self->space, self->view, PAGES, AVM_PAGE_DIRTY, 0, NULL));
	/* They are open, and now it is. */
	poke(self->view + 3 * PAGE, 2);
	peek(self->view + 20 * PAGE);
	EXPECT_EQ(3, self->log.calls);
	EXPECT_EQ(1, dirty(self->space, self->view, PAGES, &bits));
	EXPECT_EQ(1ull << 3, bits);
}

TEST_F(upcall, dirty_and_accessed_are_right_after_raise)
{
	uint64_t bits;

	self->log.open_to = PAST;
	trap_all(AVM_TRAP_RAISE);
	memset(self->view, 1, PAGES / 2 * PAGE);
	ASSERT_LE(0, dirty(self->space, self->view, PAGES, NULL));
	ASSERT_LE(0, accessed(self->space, self->view, PAGES, NULL));
	close_all();
	poke(self->view + 3 * PAGE, 1);		/* had a frame */
	peek(self->view + 4 * PAGE);
	poke(self->view + 40 * PAGE, 1);	/* had none */
	peek(self->view + 41 * PAGE);
	EXPECT_EQ(2, dirty(self->space, self->view, PAGES, &bits));
	EXPECT_EQ(1ull << 3 | 1ull << 40, bits);
	EXPECT_EQ(4, accessed(self->space, self->view, PAGES, &bits));
	EXPECT_EQ(3ull << 3 | 3ull << 40, bits);
	/* A page that is already dirty stays so when it is closed and raised. */
	poke(self->view + 3 * PAGE, 1);
	ASSERT_EQ(0, protect(self->space, self->view, PAGES, R));
	poke(self->view + 41 * PAGE, 1);
	EXPECT_EQ(2, dirty(self->space, self->view, PAGES, &bits));
	EXPECT_EQ(1ull << 3 | 1ull << 41, bits);
	EXPECT_EQ(1, peek(self->view + 31 * PAGE));
}

TEST_F(upcall, protect_closes_what_was_raised)
{
	unsigned long i;

	self->log.open_to = PAST;
	trap_all(AVM_TRAP_RAISE);
	for (i = 1; i <= 100; i++) {
		char *at = self->view + i % 4 * PAGE;

		/* By the call for a range, and by that for a page. */
		ASSERT_EQ(0, i % 2 ? protect(self->space, at, 1, i % 3 ? R : NONE) :
				     avm_prot1(self->space, at, i % 3 ? R : NONE));
		poke(at, i);
		poke(at, i);
		ASSERT_EQ(i, self->log.calls);
		ASSERT_EQ((char)i, *at);
	}
	EXPECT_EQ(100, all_upcalls(self->space));
}

/* It is the protection of the page, not of what is mapped there just now. */
TEST_F(upcall, raised_page_stays_raised_without_its_frame)
{
	self->log.open_to = PAST;
	trap_all(AVM_TRAP_RAISE);
	close_all();
	poke(self->view, 1);
	poke(self->view + PAGE, 1);
	EXPECT_EQ(2, self->log.calls);
	ASSERT_EQ(0, discard(self->space, self->view, 4));
	poke(self->view, 1);
	EXPECT_EQ(0, peek(self->view + PAGE));
	EXPECT_EQ(2, self->log.calls);
	poke(self->view + 2 * PAGE, 1);
	EXPECT_EQ(3, all_upcalls(self->space));
}

/* All begin together with all pages closed; each page is written by each. */
static pthread_barrier_t at_once;

static void *write_all(void *arg)
{
	unsigned long i, round;

	for (round = 0; round < 20; round++) {
		pthread_barrier_wait(&at_once);	/* closed */
		for (i = 0; i < PAGES; i++)
			__atomic_add_fetch((long *)((char *)arg + i * PAGE), 1, __ATOMIC_RELAXED);
		pthread_barrier_wait(&at_once);	/* written */
	}
	return NULL;
}

TEST_F(upcall, raise_lets_other_threads_through)
{
	pthread_t thread[4];
	unsigned long i, round;

	self->log.open_to = PAST;
	trap_all(AVM_TRAP_RAISE);
	ASSERT_EQ(0, pthread_barrier_init(&at_once, NULL, 5));
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, write_all, self->view));
	for (round = 0; round < 20; round++) {
		unsigned int before = self->log.calls;

		ASSERT_EQ(0, protect(self->space, self->view, PAGES, round % 2 ? R : NONE));
		pthread_barrier_wait(&at_once);
		pthread_barrier_wait(&at_once);
		/* Two that fault at once are both told; nobody is told twice. */
		EXPECT_LE(before + PAGES, self->log.calls);
		EXPECT_GE(before + 4 * PAGES, self->log.calls);
	}
	for (i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	for (i = 0; i < PAGES; i++)
		EXPECT_EQ(80, *(long *)(self->view + i * PAGE));
	EXPECT_EQ(self->log.calls, all_upcalls(self->space));
}

/* System calls. */

static int fails_with_EFAULT(long ret)
{
	return ret == -1 && errno == EFAULT;
}

/* System calls that write to a page, and that read from one, and fail. */
static unsigned int writing_calls_that_work(char *page)
{
	struct iovec vec = { page + 8, 100 };
	int zero = open("/dev/zero", O_RDONLY);
	unsigned int n = 0;

	must(zero >= 0);
	n += !fails_with_EFAULT(read(zero, page, 10));
	n += !fails_with_EFAULT(readv(zero, &vec, 1));
	n += !fails_with_EFAULT(syscall(SYS_getcwd, page, 100));
	n += !fails_with_EFAULT(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, page));
	n += !fails_with_EFAULT(syscall(SYS_pipe2, page, 0));
	n += !fails_with_EFAULT(syscall(SYS_rt_sigaction, SIGUSR2, NULL, page, 8));
	n += !fails_with_EFAULT(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, page, 8));
	n += !fails_with_EFAULT(syscall(SYS_uname, page));
	n += !fails_with_EFAULT(syscall(SYS_sigaltstack, NULL, page));
	close(zero);
	return n;
}

static unsigned int reading_calls_that_work(char *page)
{
	struct iovec vec = { page, 100 };
	unsigned int n = 0;
	int fds[2];

	must(!pipe(fds));
	n += !fails_with_EFAULT(write(fds[1], page, 10));
	n += !fails_with_EFAULT(writev(fds[1], &vec, 1));
	n += !fails_with_EFAULT(syscall(SYS_open, page, O_RDONLY));
	n += !fails_with_EFAULT(syscall(SYS_nanosleep, page, NULL));
	n += !fails_with_EFAULT(syscall(SYS_rt_sigaction, SIGUSR2, page, NULL, 8));
	n += !fails_with_EFAULT(syscall(SYS_futex, page, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0));
	n += !fails_with_EFAULT(syscall(SYS_sigaltstack, page, NULL));
	n += !fails_with_EFAULT(ioctl(fds[0], FIONBIO, page));
	close(fds[0]);
	close(fds[1]);
	return n;
}

TEST_F(upcall, system_calls_fail_and_call_and_raise_nothing)
{
	static const unsigned int flags[] = { 0, AVM_TRAP_RAISE };
	unsigned int i, j;

	for (i = 0; i < 4; i++) {
		/* In turn never touched and with a frame. */
		char *page = self->view + i * PAGE;

		if (i / 2)
			memset(page, 1, PAGE);
		ASSERT_LE(0, dirty(self->space, page, 1, NULL));
		ASSERT_EQ(0, avm_trap(self->space, page, PAGE, record, &self->log, flags[i % 2]));
		self->log.calls = 0;
		self->log.open_to = flags[i % 2] ? PAST : RW;
		for (j = 0; j < 3; j++) {
			uint64_t before;

			ASSERT_EQ(0, protect(self->space, page, 1, j == 1 ? R : NONE));
			before = upcalls(self->space);
			EXPECT_EQ(0, writing_calls_that_work(page));
			if (j != 1)
				EXPECT_EQ(0, reading_calls_that_work(page));
			EXPECT_EQ(0, self->log.calls) TH_LOG("case %u, %u", i, j);
			EXPECT_EQ(before, upcalls(self->space));
			EXPECT_EQ(0, scan(self->space, page, 1, AVM_PAGE_DIRTY, 0, NULL));
		}
		/* It is closed, and holds what it held. */
		EXPECT_EQ(i / 2, peek(page + 8));
		EXPECT_EQ(1, self->log.calls);
		EXPECT_EQ(R, self->log.info.access);
	}
}

TEST_F(upcall, system_call_that_meets_a_closed_page_is_short)
{
	int zero = open("/dev/zero", O_RDONLY);
	struct iovec vec[] = { { self->view, 100 }, { self->view + PAGE, 100 } };

	ASSERT_LE(0, zero);
	trap_all(AVM_TRAP_RAISE);
	memset(self->view, 1, 2 * PAGE);
	ASSERT_EQ(0, protect(self->space, self->view + PAGE, 1, R));
	EXPECT_EQ(100, readv(zero, vec, 2));
	EXPECT_EQ(0, self->view[99]);
	EXPECT_EQ(1, self->view[PAGE]);
	EXPECT_EQ(0, self->log.calls);
	EXPECT_EQ(0, upcalls(self->space));
	poke(self->view + PAGE, 1);
	EXPECT_EQ(1, self->log.calls);
	close(zero);
}

static void nothing(int sig)
{
	(void)sig;
}

TEST_F(upcall, signal_onto_a_closed_stack_kills)
{
	pid_t pid = fork();

	if (!pid) {
		char *view = view_new(self->space, 0, 16, RW);
		struct sigaction sa = { .sa_handler = nothing, .sa_flags = SA_ONSTACK };
		stack_t alt = { .ss_sp = view, .ss_size = 16 * PAGE };

		child_begins();
		must(!protect(self->space, view, 16, NONE));
		must(!avm_trap(self->space, view, 16 * PAGE, record, &self->log, AVM_TRAP_RAISE));
		must(!sigaltstack(&alt, NULL));
		must(!sigaction(SIGUSR1, &sa, NULL));
		raise(SIGUSR1);
		_exit(0);
	}
	EXPECT_EQ(SIGSEGV, died_by(status_of(pid)));
	EXPECT_EQ(0, upcalls(self->space));
	EXPECT_EQ(0, stats(self->space).out_resident_pages);
}

/* Registrations and the mapping. */

/*
 * Code to enter by upcall without the library, which knows ranges by address
 * alone: it notes what it finds and leaves by siglongjmp().
 */
static struct avm_upcall landed;
static const struct avm_upcall *landed_at;
uint64_t landed_flags, landed_rdi;
static unsigned int landings;
static sigjmp_buf landing;
extern const char land[];
void landed_in_c(const struct avm_upcall *up);

asm("	.pushsection .text\n"
	"	.globl land\n"
	"land:\n"
	"	mov %rdi, landed_rdi(%rip)\n"
	"	mov %rsp, %rdi\n"
	"	pushfq\n"
	"	pop landed_flags(%rip)\n"
	"	cld\n"
	"	and $-16, %rsp\n"
	"	call landed_in_c\n"
	"	ud2\n"
	"	.popsection\n");

void landed_in_c(const struct avm_upcall *up)
{
	landed = *up;
	landed_at = up;
	landings++;
	siglongjmp(landing, 1);
}

static int raw_trap(int space, const char *addr, unsigned long pages, uint64_t arg,
		    uint32_t raise, uint32_t flags)
{
	struct avm_trap trap = {
		.size = sizeof(trap), .flags = flags, .addr = (uintptr_t)addr,
		.length = pages * PAGE,
		.entry = (uintptr_t)land, .arg = arg, .raise = raise,
	};

	return call(space, AVM_IOC_TRAP, &trap);
}

static int raw_untrap(int space, const char *addr, unsigned long pages)
{
	struct avm_trap trap = {
		.size = sizeof(trap), .addr = (uintptr_t)addr, .length = pages * PAGE,
	};

	return call(space, AVM_IOC_TRAP, &trap);
}

/* What `arg` an access lands with; 0 when it gets through; or its signal, negated. */
static long lands_with(char *at, int write)
{
	volatile int sig = 0;

	landed.arg = 0;
	if (!sigsetjmp(landing, 1))
		sig = write ? try_write(at, 1) : try_read(at);
	if (sig)
		return -sig;
	if (!landed.arg)
		return 0;
	return landed.addr == (uintptr_t)at && !landed.reserved &&
	       landed.access == (write ? AVM_PROT_WRITE : R) ? (long)landed.arg : -1000;
}

TEST_F(upcall, registrations_follow_the_pages_in_mremap)
{
	char *hole = mmap(NULL, PAGES * PAGE, NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *moved;

	must(hole != MAP_FAILED);
	close_all();
	ASSERT_EQ(0, raw_trap(self->space, self->view, 4, 11, NONE, 0));
	ASSERT_EQ(0, raw_trap(self->space, self->view + 8 * PAGE, 8, 22, NONE, 0));
	/* The whole view. */
	moved = mremap(self->view, PAGES * PAGE, PAGES * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, hole);
	ASSERT_EQ(hole, moved);
	EXPECT_EQ(11, lands_with(moved + 3 * PAGE + 5, 1));
	EXPECT_EQ(-SIGSEGV, lands_with(moved + 4 * PAGE, 1));
	EXPECT_EQ(22, lands_with(moved + 8 * PAGE, 0));
	EXPECT_EQ(-SIGSEGV, lands_with(self->view, 1));
	EXPECT_EQ(2, upcalls(self->space));
	/* A part of it, back to where it was; each page has its own still. */
	ASSERT_EQ(self->view, mremap(moved + 10 * PAGE, 4 * PAGE, 4 * PAGE,
				     MREMAP_MAYMOVE | MREMAP_FIXED, self->view));
	EXPECT_EQ(22, lands_with(self->view + 3 * PAGE, 1));
	EXPECT_EQ(22, lands_with(moved + 9 * PAGE, 1));
	EXPECT_EQ(22, lands_with(moved + 14 * PAGE, 1));
	EXPECT_EQ(-SIGSEGV, lands_with(moved + 10 * PAGE, 1));
	EXPECT_EQ(11, lands_with(moved, 0));
	EXPECT_EQ(6, upcalls(self->space));
	/* Taken away by the address that it has now. */
	EXPECT_EQ(0, raw_untrap(self->space, moved, 4));
	EXPECT_EQ(-SIGSEGV, lands_with(moved, 0));
	munmap(moved, PAGES * PAGE);
}

/* The library knows no handler for the new address: not to be tried for ever. */
TEST_F(upcall, access_to_a_registered_view_that_has_moved_is_a_signal)
{
	pid_t pid = fork();

	if (!pid) {
		char *view = view_new(self->space, 0, 4, RW), *moved;
		char *hole = mmap(NULL, 4 * PAGE, NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		child_begins();
		alarm(5);
		must(!protect(self->space, view, 4, NONE));
		must(!avm_trap(self->space, view, 4 * PAGE, record, &self->log, 0));
		moved = mremap(view, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, hole);
		must(moved == hole);
		_exit(try_write(moved, 1) == SIGSEGV ? 21 : 22);
	}
	EXPECT_EQ(21, exited_with(status_of(pid)));
}

TEST_F(upcall, registrations_survive_a_hole_and_die_with_the_view)
{
	char *again;

	self->log.open_to = RW;
	close_all();
	trap_all(0);
	ASSERT_EQ(0, munmap(self->view + 8 * PAGE, 8 * PAGE));
	ASSERT_EQ(0, munmap(self->view + 60 * PAGE, 4 * PAGE));
	poke(self->view + 7 * PAGE, 1);
	poke(self->view + 16 * PAGE, 1);
	poke(self->view + 59 * PAGE, 1);
	EXPECT_EQ(3, self->log.calls);
	EXPECT_EQ(3, all_upcalls(self->space));
	/* What is then mapped in the hole is another view, without upcalls. */
	again = mmap(self->view + 8 * PAGE, 8 * PAGE, RW, MAP_SHARED | MAP_FIXED, self->space,
		     8 * PAGE);
	ASSERT_EQ(self->view + 8 * PAGE, again);
	ASSERT_EQ(0, protect(self->space, again, 8, NONE));
	poke(again, 1);
	EXPECT_EQ(4, self->log.calls);	/* by signal, as the library knows the address */
	EXPECT_EQ(3, upcalls(self->space));
	/* All of it. */
	ASSERT_EQ(0, munmap(self->view, PAGES * PAGE));
	again = mmap(self->view, PAGES * PAGE, RW, MAP_SHARED | MAP_FIXED, self->space, 0);
	ASSERT_EQ(self->view, again);
	close_all();
	poke(self->view, 1);
	EXPECT_EQ(5, self->log.calls);
	EXPECT_EQ(3, upcalls(self->space));
	EXPECT_EQ(0, avm_untrap(self->view));
	EXPECT_EQ(SIGSEGV, try_write(self->view + PAGE, 1));
}

TEST_F(upcall, frame_tells_what_the_interrupted_code_had)
{
	uint64_t regs[REGS];
	static char *volatile at;

	at = self->view + 5 * PAGE + 123;
	close_all();
	ASSERT_EQ(0, raw_trap(self->space, self->view, PAGES, 0xfedcba9876543210, NONE, 0));
	probe_fill(regs, at);
	regs[FLAGS] |= 0x4000 | 0x40000; /* NT, AC */
	if (!sigsetjmp(landing, 1))
		probe(regs, probe_write);
	EXPECT_EQ(1, landings);
	EXPECT_EQ(0xfedcba9876543210, landed.arg);
	EXPECT_EQ((uintptr_t)at, landed.addr);
	EXPECT_EQ(AVM_PROT_WRITE, landed.access);
	EXPECT_EQ(0, landed.reserved);
	EXPECT_EQ(regs[RDI], landed.di);
	EXPECT_EQ((uintptr_t)probe_write, landed.ip);
	EXPECT_EQ(regs[RSP], landed.sp);
	EXPECT_EQ(regs[FLAGS], landed.flags & ~0x10000ul);
	EXPECT_EQ(0x33, landed.cs);
	EXPECT_EQ(0x2b, landed.ss);
	/* At the entry: DF, NT and AC are clear, the rest is as it was. */
	EXPECT_EQ(PROBE_FLAGS & ~0x400ul, landed_flags & (PROBE_FLAGS | 0x4000 | 0x40000));
	/* The frame ends at the red zone; rsp and rdi point to it. */
	EXPECT_EQ(landed.sp - 128, (uintptr_t)(landed_at + 1));
	EXPECT_EQ((uintptr_t)landed_at, landed_rdi);
}

TEST_F(upcall, frame_on_the_alternate_stack_is_at_its_top)
{
	char *room = malloc(65536 + 64);
	unsigned int i;

	close_all();
	ASSERT_EQ(0, raw_trap(self->space, self->view, PAGES, 7, NONE, AVM_TRAP_ONSTACK));
	for (i = 0; i < 34; i++) {
		stack_t alt = { .ss_sp = room + i, .ss_size = 65536 - i % 3 };

		ASSERT_EQ(0, sigaltstack(&alt, NULL));
		EXPECT_EQ(7, lands_with(self->view + i, 1));
		EXPECT_EQ(((uintptr_t)alt.ss_sp + alt.ss_size) & ~15ul,
			  (uintptr_t)(landed_at + 1));
		EXPECT_EQ((uintptr_t)landed_at, landed_rdi);
	}
	EXPECT_EQ(34, upcalls(self->space));
}

/* To raise to r alone, which the library does not offer. */
TEST_F(upcall, raise_to_read_raises_reads_alone)
{
	close_all();
	ASSERT_EQ(0, raw_trap(self->space, self->view, PAGES, 1, R, 0));
	EXPECT_EQ(1, lands_with(self->view, 1));
	EXPECT_EQ(1, lands_with(self->view, 0));	/* the write had raised nothing */
	EXPECT_EQ(0, lands_with(self->view, 0));
	EXPECT_EQ(1, lands_with(self->view, 1));
	EXPECT_EQ(1, lands_with(self->view, 1));	/* nor does it in a page that is r */
	ASSERT_EQ(0, raw_untrap(self->space, self->view, PAGES));
	EXPECT_EQ(0, lands_with(self->view, 0));
	EXPECT_EQ(-SIGSEGV, lands_with(self->view, 1));
	EXPECT_EQ(-SIGSEGV, lands_with(self->view + PAGE, 0));
	EXPECT_EQ(4, upcalls(self->space));
}

/* Registering while others trap. */

static struct storm {
	struct log log;
	char *pages[3];
	int stop;
} storm;

struct stormer {
	pthread_t thread;
	char *page;
	unsigned long rounds;
	unsigned long bad;
};

static __thread unsigned int handled;

static int storm_handler(const struct avm_trap_info *info, void *arg)
{
	handled++;
	return record(info, arg);
}

/* Who handles it while nothing is registered. */
static void storm_signal(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	handled++;
	if (avm_unprot(storm.log.space, page_of(info->si_addr), RW))
		_exit(93);
}

static void *storm_thread(void *arg)
{
	struct stormer *s = arg;

	while (!__atomic_load_n(&storm.stop, __ATOMIC_RELAXED)) {
		handled = 0;
		if (protect(storm.log.space, s->page, 1, s->rounds % 2 ? R : NONE))
			_exit(92);
		poke(s->page + 1, s->rounds);
		s->bad += handled != 1 || s->page[1] != (char)s->rounds;
		s->rounds++;
	}
	return NULL;
}

TEST_F(upcall, registering_while_others_trap_loses_and_doubles_nothing)
{
	struct sigaction sa = { .sa_sigaction = storm_signal, .sa_flags = SA_SIGINFO };
	struct stormer s[3] = {};
	unsigned long i, rounds = 0;
	struct avm_stats now;

	ASSERT_EQ(0, sigaction(SIGSEGV, &sa, NULL));
	storm.log = self->log;
	for (i = 0; i < 3; i++) {
		s[i].page = self->view + i * PAGE;
		ASSERT_EQ(0, pthread_create(&s[i].thread, NULL, storm_thread, &s[i]));
	}
	for (i = 0; i < 1500; i++) {
		/* Also others, so that the table is made anew around it. */
		ASSERT_EQ(0, avm_trap(self->space, self->view, 3 * PAGE, storm_handler,
				      &storm.log, 0));
		if (i % 3)
			ASSERT_EQ(0, avm_trap(self->space, self->view + 8 * PAGE, PAGE,
					      storm_handler, &storm.log, 0));
		if (i % 8 == 0)
			usleep(200);
		ASSERT_EQ(0, avm_untrap(self->view));
		if (i % 3)
			ASSERT_EQ(0, avm_untrap(self->view + 8 * PAGE));
		if (i % 8 == 4)
			usleep(200);
	}
	__atomic_store_n(&storm.stop, 1, __ATOMIC_RELAXED);
	for (i = 0; i < 3; i++) {
		pthread_join(s[i].thread, NULL);
		EXPECT_EQ(0, s[i].bad) TH_LOG("of %lu", s[i].rounds);
		rounds += s[i].rounds;
	}
	/* Both ways have been gone. */
	now = stats(self->space);
	EXPECT_LT(0, now.out_upcalls);
	EXPECT_LT(now.out_upcalls, now.out_traps);
	EXPECT_LE(rounds, now.out_traps);
}

/* AVM_TRAP_ONSTACK. */

TEST_F(upcall, onstack_runs_on_the_alternate_stack)
{
	stack_t alt = { .ss_sp = malloc(65536), .ss_size = 65536 };
	stack_t off = { .ss_flags = SS_DISABLE };
	char here;

	trap_all(AVM_TRAP_ONSTACK);
	close_all();
	/* Where there is none, on the thread's own. */
	poke(self->view, 1);
	EXPECT_FALSE(on(&alt, self->log.local));
	EXPECT_GT(65536, &here - self->log.local);
	ASSERT_EQ(0, sigaltstack(&alt, NULL));
	poke(self->view + PAGE, 1);
	EXPECT_TRUE(on(&alt, self->log.local));
	ASSERT_EQ(0, sigaltstack(&off, NULL));
	poke(self->view + 2 * PAGE, 1);
	EXPECT_FALSE(on(&alt, self->log.local));
	/* One who has not asked for it stays where he was. */
	ASSERT_EQ(0, avm_untrap(self->view));
	trap_all(0);
	ASSERT_EQ(0, sigaltstack(&alt, NULL));
	poke(self->view + 3 * PAGE, 1);
	EXPECT_FALSE(on(&alt, self->log.local));
	EXPECT_EQ(4, all_upcalls(self->space));
}

/* An odd size and place: its top is no multiple of 16. */
/* Whoever runs on the alternate stack already has a red zone there. */
TEST_F(upcall, frame_nested_on_the_alternate_stack_is_below_the_red_zone)
{
	char here;
	stack_t alt = {
		.ss_sp = (char *)((uintptr_t)&here & ~15ul) - 32768,
		.ss_size = 65536,
	};

	close_all();
	ASSERT_EQ(0, raw_trap(self->space, self->view, PAGES, 7, NONE, AVM_TRAP_ONSTACK));
	ASSERT_EQ(0, sigaltstack(&alt, NULL));
	EXPECT_EQ(7, lands_with(self->view, 1));
	EXPECT_EQ(landed.sp - 128, (uintptr_t)(landed_at + 1));
	EXPECT_EQ(1, upcalls(self->space));
}

TEST_F(upcall, onstack_of_an_odd_size_is_aligned)
{
	char *room = malloc(65536 + 64);
	unsigned int i;

	trap_all(AVM_TRAP_ONSTACK);
	for (i = 0; i < 17; i++) {
		stack_t alt = { .ss_sp = room + i, .ss_size = 65536 - i % 3 };

		ASSERT_EQ(0, sigaltstack(&alt, NULL));
		room[65536 + i] = 77;
		ASSERT_EQ(0, protect(self->space, self->view, 1, NONE));
		poke(self->view, i);
		EXPECT_TRUE(on(&alt, self->log.local));
		EXPECT_EQ(77, room[65536 + i]);
		EXPECT_EQ((char)i, self->view[0]);
	}
	EXPECT_EQ(17, all_upcalls(self->space));
}

static char *level_local[2];

static int nests(const struct avm_trap_info *info, void *arg)
{
	struct log *log = arg;
	char *page = page_of(info->addr);
	int level = (page - (char *)info->view) / PAGE;

	level_local[level] = __builtin_frame_address(0);
	if (!level)
		poke(page + PAGE, 1);
	return record(info, log);
}

TEST_F(upcall, onstack_nests_below)
{
	stack_t alt = { .ss_sp = malloc(65536), .ss_size = 65536 };

	ASSERT_EQ(0, sigaltstack(&alt, NULL));
	ASSERT_EQ(0, avm_trap(self->space, self->view, 2 * PAGE, nests, &self->log,
			      AVM_TRAP_ONSTACK));
	close_all();
	poke(self->view, 1);
	EXPECT_TRUE(on(&alt, level_local[0]));
	EXPECT_TRUE(on(&alt, level_local[1]));
	EXPECT_LT(level_local[1], level_local[0]);
	EXPECT_EQ(2, all_upcalls(self->space));
	EXPECT_EQ(1, self->view[0] & self->view[PAGE]);
}

TEST_F(upcall, onstack_with_autodisarm_is_a_signal)
{
	stack_t alt = { .ss_sp = malloc(65536), .ss_size = 65536, .ss_flags = SS_AUTODISARM };

	ASSERT_EQ(0, sigaltstack(&alt, NULL));
	trap_all(AVM_TRAP_ONSTACK);
	close_all();
	poke(self->view, 1);
	EXPECT_EQ(1, self->log.calls);
	EXPECT_TRUE(on(&alt, self->log.local));
	EXPECT_EQ(0, upcalls(self->space));
	EXPECT_EQ(1, stats(self->space).out_traps);
	/* Who does not use it is not concerned. */
	ASSERT_EQ(0, avm_untrap(self->view));
	trap_all(0);
	poke(self->view + PAGE, 1);
	EXPECT_EQ(2, self->log.calls);
	EXPECT_EQ(1, upcalls(self->space));
}

/* A program whose own stack is in a view, and is closed under it. */
static struct {
	int space;
	char *stack;
	volatile int sum;
} in_view;

/* By the call that has no structure, which would be on that stack. */
static void close_stack(void)
{
	unsigned long i;

	for (i = 0; i < 32; i++) {
		if (avm_prot1(in_view.space, in_view.stack + i * PAGE, NONE))
			_exit(91);
	}
}

static int recurse(int depth)
{
	volatile char room[700];

	memset((char *)room, depth, sizeof(room));
	if (depth % 10 == 0)
		close_stack();
	if (depth)
		in_view.sum += recurse(depth - 1);
	return room[0] == (char)depth && room[699] == (char)depth ? depth : -1000000;
}

static void deep(void)
{
	in_view.sum += recurse(60);
}

TEST_F(upcall, onstack_serves_a_stack_that_is_closed)
{
	stack_t alt = { .ss_sp = malloc(65536), .ss_size = 65536 };
	static ucontext_t here, there;

	ASSERT_EQ(0, sigaltstack(&alt, NULL));
	self->log.open_to = RW;
	trap_all(AVM_TRAP_ONSTACK);
	in_view.space = self->space;
	in_view.stack = self->view;
	close_all();
	ASSERT_EQ(0, getcontext(&there));
	there.uc_stack.ss_sp = self->view;
	there.uc_stack.ss_size = 32 * PAGE;
	there.uc_link = &here;
	makecontext(&there, deep, 0);
	ASSERT_EQ(0, swapcontext(&here, &there));
	EXPECT_EQ(60 * 61 / 2, in_view.sum);
	EXPECT_LT(20, self->log.calls);
	EXPECT_TRUE(on(&alt, self->log.local));
	EXPECT_EQ(self->log.calls, all_upcalls(self->space));
}

/* access_from(stack, at): makes one write with hardly any stack left. */
void access_from(char *stack, char *at);

asm("	.pushsection .text\n"
	"	.globl access_from\n"
	"access_from:\n"
	"	mov %rsp, %rax\n"
	"	mov %rdi, %rsp\n"
	"	movb $1, (%rsi)\n"
	"	mov %rax, %rsp\n"
	"	ret\n"
	"	.popsection\n");

TEST_F(upcall, onstack_serves_a_stack_that_is_exhausted)
{
	stack_t alt = { .ss_sp = malloc(65536), .ss_size = 65536 };
	char *guard = mmap(NULL, 2 * PAGE, NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned int i;

	must(guard != MAP_FAILED && !mprotect(guard + PAGE, PAGE, RW));
	ASSERT_EQ(0, sigaltstack(&alt, NULL));
	trap_all(AVM_TRAP_ONSTACK);
	for (i = 0; i < 256; i += 8) {
		ASSERT_EQ(0, protect(self->space, self->view, 1, NONE));
		access_from(guard + PAGE + i, self->view);
		EXPECT_TRUE(on(&alt, self->log.local));
		EXPECT_EQ(1, self->view[0]);
	}
	EXPECT_EQ(256 / 8, all_upcalls(self->space));
	/* Nothing of the stack was written, not even below. */
	for (i = 0; i < PAGE; i++)
		EXPECT_EQ(0, guard[PAGE + i]);
}

TEST_HARNESS_MAIN
