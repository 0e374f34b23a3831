// SPDX-License-Identifier: GPL-2.0
/*
 * TRAP and stack unwinding: from a handler that an upcall has called, a
 * backtrace leads through the trampoline to the interrupted function and on to
 * main(), and an exception, the end of a thread or its cancellation unwinds
 * that way, running destructors.
 *
 * kselftest_harness.h is C, and this is not: a program of its own, that prints
 * TAP. libavm/tests/cfi.c looks at each instruction of the trampoline.
 */
#include <alloca.h>
#include <cxxabi.h>
#include <execinfo.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <unwind.h>

#include <exception>

#include <avm.h>

#define PAGE	AVM_PAGE_SIZE
#define PAGES	16ul
#define NONE	AVM_PROT_NONE
#define R	AVM_PROT_READ
#define RW	(AVM_PROT_READ | AVM_PROT_WRITE)

#define COUNT(array)	(sizeof(array) / sizeof((array)[0]))

/* A function whose frame is looked for must have one. */
#define FRAME	__attribute__((noinline, noclone))

/* What is called before this has a caller to come back to. */
#define NO_TAIL_CALL	asm volatile("" : : : "memory")

/* What traps, in a frame of its own. */
static FRAME void store(volatile char *at, char value)
{
	*at = value;
}

static bool bad;

#define CHECK(condition) do {						\
	if (!(condition)) {						\
		printf("# %s:%d: %s\n", __FILE__, __LINE__, #condition);	\
		bad = true;						\
	}								\
} while (0)

#define CHECK_EQ(expected, found) do {					\
	long check_a = (long)(expected), check_b = (long)(found);	\
									\
	if (check_a != check_b) {					\
		printf("# %s:%d: %s is %ld, not %ld\n", __FILE__,	\
		       __LINE__, #found, check_b, check_a);		\
		bad = true;						\
	}								\
} while (0)

#define MUST(condition) do {						\
	if (!(condition)) {						\
		printf("Bail out! %s:%d: %s\n", __FILE__, __LINE__,	\
		       #condition);					\
		fflush(stdout);						\
		_exit(1);						\
	}								\
} while (0)

/* A space with one view, closed. Where the tests trap. */
static int space;
static char *view;

static void close_pages(void)
{
	MUST(avm_protect(space, view, PAGES * PAGE, NONE) == 0);
}

static void scene_begin(avm_trap_fn *fn, void *arg, unsigned int flags)
{
	close_pages();
	MUST(avm_trap(space, view, PAGES * PAGE, fn, arg, flags) == 0);
}

static void scene_end(void)
{
	MUST(avm_untrap(view) == 0);
}

static unsigned long upcalls(void)
{
	struct avm_stats st;

	MUST(avm_stats(space, &st) == 0);
	return st.out_upcalls;
}

static void open_page(const struct avm_trap_info *info)
{
	char *page = (char *)((unsigned long)info->addr & -PAGE);

	MUST(avm_unprot(space, page, RW) == 0);
}

/* The stack for AVM_TRAP_ONSTACK, of one thread at a time. */
static char other_stack[256 * 1024];

static bool on_other_stack(const void *p)
{
	return (unsigned long)p - (unsigned long)other_stack < sizeof(other_stack);
}

static void set_other_stack(void)
{
	stack_t stack = {};

	stack.ss_sp = other_stack;
	stack.ss_size = sizeof(other_stack);
	MUST(sigaltstack(&stack, NULL) == 0);
}

/*
 * Handlers here do use vector registers whatever is promised: no interrupted
 * code has anything in those.
 */
static const struct {
	unsigned int flags;
	const char *name;
} ways[] = {
	{ 0, "vector registers saved" },
	{ AVM_TRAP_NOVECTOR, "vector registers not saved" },
	{ AVM_TRAP_ONSTACK, "on the alternate stack" },
	{ AVM_TRAP_ONSTACK | AVM_TRAP_NOVECTOR, "there, and not saved" },
};

/*
 * Backtraces. Which function a frame is in is asked of the tables that unwound
 * it: a static program has no dladdr().
 */
#define DEEP	64

struct trace {
	void *ip[DEEP];
	void *function[DEEP];
	unsigned long sp[DEEP];	/* before the call, or the trap */
	int exact[DEEP];	/* ip has not been executed */
	int count;
};

/* In upcall.S. */
extern "C" const char avm_upcall_entry[] __attribute__((visibility("hidden")));
extern "C" const char avm_upcall_onstack[] __attribute__((visibility("hidden")));
extern "C" const char avm_upcall_dispatch[] __attribute__((visibility("hidden")));
extern "C" const char avm_call_vector[] __attribute__((visibility("hidden")));

static _Unwind_Reason_Code add_frame(struct _Unwind_Context *c, void *arg)
{
	struct trace *t = (struct trace *)arg;
	int i = t->count;

	if (i == DEEP)
		return _URC_END_OF_STACK;
	t->ip[i] = (void *)_Unwind_GetIPInfo(c, &t->exact[i]);
	t->function[i] = (void *)_Unwind_GetRegionStart(c);
	t->sp[i] = _Unwind_GetCFA(c);
	t->count++;
	return _URC_NO_REASON;
}

static FRAME void take_trace(struct trace *t)
{
	t->count = 0;
	_Unwind_Backtrace(add_frame, t);
	NO_TAIL_CALL;
}

/* Where a function is in a trace, from @from on; or -1. */
static int find(const struct trace *t, const void *function, int from)
{
	for (int i = from; i < t->count; i++)
		if (t->function[i] == function)
			return i;
	return -1;
}

extern "C" int main(void);

static struct trace in_handler, before_trap;
static void *plain[DEEP];
static int plain_count;

static FRAME int trace_and_open(const struct avm_trap_info *info, void *arg)
{
	char here;

	take_trace(&in_handler);
	plain_count = backtrace(plain, DEEP);
	CHECK_EQ(arg != NULL, on_other_stack(&here));
	open_page(info);
	return AVM_TRAP_RETRY;
}

/*
 * The store, with a known address and a stack pointer that is noted. It is a
 * leaf: nothing but rsp says where its frame is, and its red zone is in use.
 */
extern "C" {
unsigned long leaf(volatile char *at, unsigned long *sp);
extern const char leaf_store[];
}
asm(".text\n"
	".type leaf, @function\n"
	"leaf:\n"
	".cfi_startproc\n\t"
	"movq	%rsp, (%rsi)\n\t"
	"movq	$0x1234, -8(%rsp)\n\t"
	"movq	$0x5678, -128(%rsp)\n"
	"leaf_store:\n\t"
	"movb	$1, (%rdi)\n\t"
	"movq	-8(%rsp), %rax\n\t"
	"addq	-128(%rsp), %rax\n\t"
	"ret\n\t"
	".cfi_endproc\n\t"
	".size leaf, . - leaf\n");

static FRAME unsigned long middle(volatile char *at, unsigned long *sp)
{
	unsigned long sum = leaf(at, sp);

	take_trace(&before_trap);
	return sum + 1;
}

/* Handler, perhaps avm_call_vector, dispatch, trampoline, leaf, middle. */
static void check_trace(unsigned int flags, unsigned long sp)
{
	const void *entry = flags & AVM_TRAP_ONSTACK ? avm_upcall_onstack :
						       avm_upcall_entry;
	const struct trace *t = &in_handler, *b = &before_trap;
	int handler = find(t, (void *)trace_and_open, 0);
	int vector = find(t, avm_call_vector, handler + 1);
	int dispatch = find(t, avm_upcall_dispatch, handler + 1);
	int i = find(t, entry, 0), j = find(b, (void *)middle, 0);

	CHECK_EQ(1, handler);
	CHECK_EQ(flags & AVM_TRAP_NOVECTOR ? -1 : handler + 1, vector);
	CHECK(dispatch > handler && dispatch > vector);
	CHECK_EQ(dispatch + 1, i);
	CHECK(i >= 0 && i + 3 < t->count);
	CHECK_EQ(leaf, t->function[i + 1]);
	CHECK_EQ(leaf_store, t->ip[i + 1]);
	CHECK_EQ(sp, t->sp[i + 1]);
	CHECK_EQ(1, t->exact[i + 1]);
	CHECK_EQ(middle, t->function[i + 2]);
	CHECK_EQ(0, t->exact[i + 2]);
	/* And on, as without a trap: to main, and what called that. */
	CHECK_EQ(b->count - j, t->count - (i + 2));
	for (int k = 1; j + k < b->count; k++) {
		CHECK_EQ(b->ip[j + k], t->ip[i + 2 + k]);
		CHECK_EQ(b->sp[j + k], t->sp[i + 2 + k]);
	}
	CHECK(find(t, (void *)main, i) > i + 2);
}

/* backtrace(3) gives the same, from the handler's frame on. */
static void check_plain(void)
{
	int from = 1;

	CHECK_EQ(in_handler.count - from, plain_count);
	for (int i = from + 1; i < in_handler.count; i++)
		CHECK_EQ(in_handler.ip[i], plain[i - from]);
}

static void backtraces(void)
{
	set_other_stack();
	for (size_t i = 0; i < COUNT(ways); i++) {
		bool other = ways[i].flags & AVM_TRAP_ONSTACK;
		unsigned long count = upcalls(), sp;

		printf("# %s\n", ways[i].name);
		scene_begin(trace_and_open, other ? view : NULL, ways[i].flags);
		CHECK_EQ(0x1234 + 0x5678 + 1, middle(view + 5, &sp));
		CHECK_EQ(count + 1, upcalls());
		check_trace(ways[i].flags, sp);
		check_plain();
		scene_end();
	}
}

/*
 * Walkers by frame pointers (perf by default, BPF) take the word above each
 * saved rbp for a return address.
 */
struct frame {
	const struct frame *next;
	const void *ip;
};

static int frames_to_leaf;

__attribute__((optimize("no-omit-frame-pointer")))
static FRAME int walk_and_open(const struct avm_trap_info *info, void *)
{
	const struct frame *f = (const struct frame *)__builtin_frame_address(0);

	frames_to_leaf = 0;
	for (int n = 1; n < 8 && !frames_to_leaf; n++, f = f->next)
		if (f->ip == leaf_store)
			frames_to_leaf = n;
	open_page(info);
	return AVM_TRAP_RETRY;
}

static void frame_pointers(void)
{
	unsigned long sp;

	set_other_stack();
	for (size_t i = 0; i < COUNT(ways); i++) {
		bool vector = !(ways[i].flags & AVM_TRAP_NOVECTOR);

		scene_begin(walk_and_open, NULL, ways[i].flags);
		middle(view, &sp);
		/* The handler, avm_call_vector, dispatch, trampoline. */
		CHECK_EQ(vector ? 4 : 3, frames_to_leaf);
		scene_end();
	}
}

/* The same access by SIGSEGV. */
static void backtrace_by_signal(void)
{
	unsigned long count = upcalls(), sp;
	int i;

	close_pages();
	MUST(avm_trap(AVM_NO_SPACE, view, PAGES * PAGE, trace_and_open, view, 0) == 0);
	CHECK_EQ(0x1234 + 0x5678 + 1, middle(view + 5, &sp));
	CHECK_EQ(count, upcalls());
	i = find(&in_handler, (void *)leaf, 0);
	CHECK(i > 1);
	CHECK_EQ(leaf_store, in_handler.ip[i]);
	CHECK_EQ(sp, in_handler.sp[i]);
	CHECK(find(&in_handler, (void *)main, i) > i);
	scene_end();
}

/* Exceptions. What is thrown says what was denied. */
struct denied {
	char *addr;
	unsigned int access;
};

static int throw_it(const struct avm_trap_info *info, void *arg)
{
	char here;

	CHECK_EQ(arg != NULL, on_other_stack(&here));
	throw denied{ (char *)info->addr, info->access };
}

/* Destructors note the order in which they run. */
static int order[16], ended;

struct guard {
	int number;
	explicit guard(int n) : number(n) { }
	~guard()
	{
		if (ended < (int)COUNT(order))
			order[ended] = number;
		ended++;
	}
};

static void check_order(int first, int last)
{
	CHECK_EQ(first - last + 1, ended);
	for (int i = 0; i < ended && i < (int)COUNT(order); i++)
		CHECK_EQ(first - i, order[i]);
	ended = 0;
}

/* Frames of several kinds, between the catch and the access. */
static FRAME void third(volatile char *at)
{
	guard g(3);

	store(at, 1);
}

static FRAME void second(volatile char *at, size_t room)
{
	guard g(2);
	volatile char *p = (char *)alloca(room);

	p[room - 1] = 1;
	third(at);
	CHECK_EQ(1, p[room - 1]);
}

static FRAME void first(volatile char *at)
{
	guard g(1);

	second(at, 100 + (unsigned long)at % 64);
}

/* Values that have to be there after the catch, in registers and elsewhere. */
static FRAME bool catch_one(volatile char *at)
{
	unsigned long a = (unsigned long)at, b = a * 3, c = a * 5, d = a * 7;
	bool caught = false;

	asm volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d));
	try {
		first(at);
	} catch (const denied &e) {
		CHECK_EQ(at, e.addr);
		CHECK_EQ(AVM_PROT_WRITE, e.access);
		caught = true;
	}
	CHECK_EQ(15 * a, b + c + d);
	return caught;
}

static void exceptions(unsigned int flags, int rounds)
{
	bool other = flags & AVM_TRAP_ONSTACK;
	unsigned long count = upcalls();

	scene_begin(throw_it, other ? view : NULL, flags);
	for (int i = 0; i < rounds && !bad; i++) {
		CHECK(catch_one(view + i * 37 % (PAGES * PAGE)));
		check_order(3, 1);
	}
	CHECK_EQ(count + rounds, upcalls());
	CHECK_EQ(0, std::uncaught_exceptions());
	scene_end();
}

static void exceptions_each_way(void)
{
	set_other_stack();
	for (size_t i = 0; i < COUNT(ways); i++) {
		printf("# %s\n", ways[i].name);
		exceptions(ways[i].flags, 20);
	}
}

static void exceptions_thousands(void)
{
	set_other_stack();
	exceptions(0, 2000);
	exceptions(AVM_TRAP_ONSTACK, 2000);
}

/* The same where the access is a SIGSEGV. */
static void exceptions_by_signal(void)
{
	unsigned long count = upcalls();

	close_pages();
	set_other_stack();
	MUST(avm_trap(AVM_NO_SPACE, view, PAGES * PAGE, throw_it, view, 0) == 0);
	for (int i = 0; i < 100 && !bad; i++) {
		CHECK(catch_one(view + i * 37));
		check_order(3, 1);
	}
	CHECK_EQ(count, upcalls());
	scene_end();
}

/* And where a handler has passed, by the program's own handler of SIGSEGV. */
static volatile bool on_signal_expected;

static void throw_from_signal(int sig, siginfo_t *info, void *)
{
	if (!on_signal_expected) {
		signal(sig, SIG_DFL);
		return;
	}
	throw denied{ (char *)info->si_addr, AVM_PROT_WRITE };
}

/* Before the first avm_trap(), which notes what was there. */
static void catch_signals(void)
{
	struct sigaction sa = {};

	sa.sa_sigaction = throw_from_signal;
	sa.sa_flags = SA_SIGINFO | SA_NODEFER;
	MUST(sigaction(SIGSEGV, &sa, NULL) == 0);
}

static int pass(const struct avm_trap_info *, void *)
{
	return AVM_TRAP_PASS;
}

static void exceptions_after_a_pass(void)
{
	set_other_stack();
	on_signal_expected = true;
	for (size_t i = 0; i < COUNT(ways); i++) {
		unsigned long count = upcalls();

		scene_begin(pass, NULL, ways[i].flags);
		for (int k = 0; k < 50 && !bad; k++) {
			CHECK(catch_one(view + k * 37));
			check_order(3, 1);
		}
		CHECK_EQ(count + 50, upcalls());
		scene_end();
	}
	on_signal_expected = false;
}

/*
 * The function that makes the access has a handler and destructors for just
 * that: the unwinder has to see that the instruction itself traps, not the one
 * before, which belongs to nothing.
 */
static FRAME int catch_in_place(volatile char *at, int *where)
{
	guard g(1);

	try {
		guard g2(2);

		*where = 1;
		*at = 1;
		*where = 2;
	} catch (const denied &e) {
		return e.addr == at ? 10 + *where : -1;
	}
	return *where;
}

static void exception_in_place(void)
{
	int where = 0;

	for (size_t i = 0; i < COUNT(ways); i++) {
		bool other = ways[i].flags & AVM_TRAP_ONSTACK;

		set_other_stack();
		scene_begin(throw_it, other ? view : NULL, ways[i].flags);
		CHECK_EQ(11, catch_in_place(view + 77, &where));
		check_order(2, 1);
		/* The program goes on, and the page can be opened. */
		MUST(avm_unprot(space, view, RW) == 0);
		CHECK_EQ(2, catch_in_place(view + 77, &where));
		check_order(2, 1);
		CHECK_EQ(1, view[77]);
		scene_end();
	}
}

/*
 * The access is the first instruction of a function. What is before that has
 * no call-frame information: whoever takes the address for that of a return,
 * and looks one byte before it, ends there.
 */
extern "C" void store_at_once(volatile char *at);
asm(".text\n\t"
	".skip 64, 0x90\n"
	".type store_at_once, @function\n"
	"store_at_once:\n"
	".cfi_startproc\n\t"
	"movb	$1, (%rdi)\n\t"
	"ret\n\t"
	".cfi_endproc\n\t"
	".size store_at_once, . - store_at_once\n");

static FRAME int catch_from_leaf(volatile char *at)
{
	unsigned long sp;
	int caught = 0;

	try {
		leaf(at, &sp);
	} catch (const denied &e) {
		caught += e.addr == at;
	}
	try {
		store_at_once(at);
	} catch (const denied &e) {
		caught += e.addr == at;
	}
	return caught;
}

static void exceptions_from_leaves(void)
{
	for (size_t i = 0; i < COUNT(ways); i++) {
		bool other = ways[i].flags & AVM_TRAP_ONSTACK;

		set_other_stack();
		scene_begin(throw_it, other ? view : NULL, ways[i].flags);
		CHECK_EQ(2, catch_from_leaf(view + 4095));
		scene_end();
	}
}

/* Access @n makes access @n - 1, in a handler, until that of page 0 throws. */
static FRAME void access_with_guard(volatile char *at, int number)
{
	guard g(number);

	store(at, 1);
}

static int descend(const struct avm_trap_info *info, void *arg)
{
	long n = ((char *)info->addr - view) / PAGE;

	if (!n)
		throw denied{ (char *)info->addr, info->access };
	access_with_guard(view + (n - 1) * PAGE, n - 1);
	CHECK(!"returned");
	return arg ? AVM_TRAP_RETRY : AVM_TRAP_PASS;
}

static void nested(unsigned int flags, long depth, int rounds)
{
	unsigned long count = upcalls();
	int caught = 0;

	scene_begin(descend, NULL, flags);
	for (int i = 0; i < rounds && !bad; i++) {
		ended = 0;
		try {
			access_with_guard(view + depth * PAGE, depth);
		} catch (const denied &e) {
			CHECK_EQ(view, e.addr);
			caught++;
		}
		CHECK_EQ(depth + 1, ended);
		for (int k = 0; k < ended; k++)
			CHECK_EQ(k, order[k]);
	}
	CHECK_EQ(rounds, caught);
	CHECK_EQ(count + rounds * (depth + 1), upcalls());
	ended = 0;
	scene_end();
}

static void exceptions_nested(void)
{
	set_other_stack();
	for (size_t i = 0; i < COUNT(ways); i++) {
		printf("# %s\n", ways[i].name);
		nested(ways[i].flags, 2, 100);
		nested(ways[i].flags, 9, 10);
	}
}

/* A handler catches what the trap in it has thrown, and goes on to open. */
static int catch_inside(const struct avm_trap_info *info, void *arg)
{
	char *inner = (char *)arg;

	if (info->addr == inner)
		throw denied{ inner, info->access };
	try {
		first(inner);
		CHECK(!"went through");
	} catch (const denied &e) {
		CHECK_EQ(inner, e.addr);
	}
	open_page(info);
	return AVM_TRAP_RETRY;
}

static void exception_caught_in_a_handler(void)
{
	set_other_stack();
	for (size_t i = 0; i < COUNT(ways); i++) {
		scene_begin(catch_inside, view + 3 * PAGE, ways[i].flags);
		for (int k = 0; k < 100 && !bad; k++) {
			unsigned long sp;

			close_pages();
			view[0] = 0;
			CHECK_EQ(0x1234 + 0x5678, leaf(view, &sp));
			CHECK_EQ(1, view[0]);
			check_order(3, 1);
		}
		scene_end();
	}
}

/* After a catch, the rest of the program traps and unwinds as if never. */
static int throw_or_open(const struct avm_trap_info *info, void *arg)
{
	int *turn = (int *)arg;

	if ((*turn)++ % 2 == 0)
		throw denied{ (char *)info->addr, info->access };
	open_page(info);
	return AVM_TRAP_RETRY;
}

static void goes_on_after_a_catch(void)
{
	for (size_t i = 0; i < COUNT(ways); i++) {
		int turn = 0;

		set_other_stack();
		scene_begin(throw_or_open, &turn, ways[i].flags);
		for (unsigned long k = 0; k < PAGES; k++) {
			volatile char *at = view + k * PAGE + k;

			CHECK(catch_one(at));
			check_order(3, 1);
			CHECK(!catch_one(at));
			check_order(3, 1);
			CHECK_EQ(1, *at);
		}
		CHECK_EQ(2 * PAGES, turn);
		scene_end();
	}
}

/* Threads, that throw all at once, and that end in a handler. */
static void *throw_often(void *arg)
{
	volatile char *page = (char *)arg;
	long caught = 0;

	for (int i = 0; i < 200; i++) {
		try {
			store(page + i, 1);
		} catch (const denied &e) {
			caught += e.addr == page + i;
		}
	}
	return (void *)caught;
}

static void threads_throw(void)
{
	pthread_t thread[4];

	scene_begin(throw_it, NULL, 0);
	for (unsigned long i = 0; i < COUNT(thread); i++)
		MUST(!pthread_create(&thread[i], NULL, throw_often,
				     view + i * PAGE));
	for (unsigned long i = 0; i < COUNT(thread); i++) {
		void *caught;

		MUST(!pthread_join(thread[i], &caught));
		CHECK_EQ(200, caught);
	}
	scene_end();
}

enum ending { EXIT, CANCEL, AWAIT };

static sem_t awaiting;

static int end_thread(const struct avm_trap_info *info, void *arg)
{
	guard g(4);

	(void)info;
	switch ((long)arg) {
	case EXIT:
		pthread_exit((void *)42);
	case CANCEL:
		pthread_cancel(pthread_self());
		pthread_testcancel();
		break;
	case AWAIT:
		sem_post(&awaiting);
		pause();
	}
	CHECK(!"the thread goes on");
	return AVM_TRAP_RETRY;
}

static bool saw_forced_unwind;

static void *thread_to_end(void *arg)
{
	set_other_stack();
	try {
		first((char *)arg);
	} catch (const abi::__forced_unwind &) {
		saw_forced_unwind = true;
		throw;
	}
	CHECK(!"the thread goes on");
	return NULL;
}

static void ends(unsigned int flags, enum ending ending)
{
	pthread_t thread;
	void *result;

	MUST(!sem_init(&awaiting, 0, 0));
	scene_begin(end_thread, (void *)(long)ending, flags);
	for (int i = 0; i < 10 && !bad; i++) {
		saw_forced_unwind = false;
		MUST(!pthread_create(&thread, NULL, thread_to_end, view + i));
		if (ending == AWAIT) {
			MUST(!sem_wait(&awaiting));
			MUST(!pthread_cancel(thread));
		}
		MUST(!pthread_join(thread, &result));
		CHECK_EQ(ending == EXIT ? (void *)42 : PTHREAD_CANCELED, result);
		CHECK(saw_forced_unwind);
		check_order(4, 1);
	}
	scene_end();
}

static void thread_exits_in_a_handler(void)
{
	for (size_t i = 0; i < COUNT(ways); i++)
		ends(ways[i].flags, EXIT);
}

static void thread_is_cancelled_in_a_handler(void)
{
	for (size_t i = 0; i < COUNT(ways); i++) {
		ends(ways[i].flags, CANCEL);
		ends(ways[i].flags, AWAIT);
	}
}

static const struct {
	void (*run)(void);
	const char *name;
} tests[] = {
	{ backtraces, "backtrace_leads_from_the_handler_to_main" },
	{ frame_pointers, "frame_pointers_lead_to_the_access" },
	{ backtrace_by_signal, "backtrace_leads_there_from_a_signal_too" },
	{ exceptions_each_way, "exception_unwinds_through_a_trap" },
	{ exceptions_thousands, "exception_unwinds_thousands_of_times" },
	{ exceptions_by_signal, "exception_unwinds_a_trap_by_signal_too" },
	{ exceptions_after_a_pass, "exception_unwinds_a_trap_that_was_passed" },
	{ exception_in_place, "exception_is_caught_where_the_access_is" },
	{ exceptions_from_leaves, "exception_unwinds_a_leaf_with_a_red_zone" },
	{ exceptions_nested, "exception_unwinds_nested_traps" },
	{ exception_caught_in_a_handler, "exception_is_caught_in_an_outer_handler" },
	{ goes_on_after_a_catch, "program_goes_on_and_traps_after_a_catch" },
	{ threads_throw, "threads_throw_at_once" },
	{ thread_exits_in_a_handler, "pthread_exit_in_a_handler_unwinds" },
	{ thread_is_cancelled_in_a_handler, "cancellation_in_a_handler_unwinds" },
};

int main(void)
{
	int dev, failed = 0;
	void *p;

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("TAP version 13\n1..%zu\n", COUNT(tests));
	catch_signals();
	dev = avm_open();
	MUST(dev >= 0);
	space = avm_create(dev, PAGES * PAGE);
	MUST(space >= 0 && avm_map(space, 0, PAGES * PAGE, RW, &p) == 0);
	view = (char *)p;
	for (size_t i = 0; i < COUNT(tests); i++) {
		bad = false;
		/* A test that hangs is a test that fails. */
		alarm(300);
		tests[i].run();
		alarm(0);
		printf("%sok %zu %s\n", bad ? "not " : "", i + 1, tests[i].name);
		failed += bad;
	}
	return failed != 0;
}
