// SPDX-License-Identifier: GPL-2.0
/*
 * TRAP: where an access must not come by upcall but by SIGSEGV, each condition
 * that struct avm_trap names; and where the kernel cannot write the frame at
 * once but a moment later, which must be an upcall all the same.
 *
 * The library calls the same handler both ways. Which one it was is told by
 * out_traps and out_upcalls.
 */
#include "avmtest.h"

#include <avm.h>
#include <linux/perf_event.h>
#include <linux/rseq.h>
#include <pthread.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>

#include "harness.h"

#define PAGES		16ul
#define COUNT(array)	(sizeof(array) / sizeof((array)[0]))
#define FRAME		sizeof(struct avm_upcall)
#define RED_ZONE	128ul
#define ALT_SIZE	65536

static char *page_of(const void *addr)
{
	return (char *)((uintptr_t)addr & ~(PAGE - 1));
}

/* Shared with children: what the handler saw. */
static struct log {
	volatile unsigned int calls;
	volatile unsigned int access;
	char *volatile addr;
} *seen;

static int opens_to = RW;
static int space_of_all;

static int record(const struct avm_trap_info *info, void *arg)
{
	(void)arg;
	seen->calls++;
	seen->access = info->access;
	seen->addr = info->addr;
	if (opens_to >= 0 && avm_unprot(space_of_all, page_of(info->addr), opens_to))
		_exit(99);
	return AVM_TRAP_RETRY;
}

static void poke(char *at, char value)
{
	*(volatile char *)at = value;
	asm volatile("" : : : "memory");
}

static char *anonymous(unsigned long pages, int prot)
{
	char *p = mmap(NULL, pages * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(p != MAP_FAILED);
	return p;
}

static void altstack(void *at, size_t size)
{
	stack_t alt = { .ss_sp = at, .ss_size = size };

	must(!sigaltstack(&alt, NULL));
}

/* In a child: a closed view of its own in place of the parent's. */
static char *view_of_parent;

static char *child_view(int space, unsigned long pages, unsigned int flags)
{
	char *view = view_new(space, 0, pages, RW);

	alarm(200);
	must(!protect(space, view, pages, NONE));
	must(!avm_untrap(view_of_parent));
	must(!avm_trap(space, view, pages * PAGE, record, NULL, flags));
	return view;
}

FIXTURE(fallback) {
	int space;
	char *view;
};

/* With an alternate stack, as the ordinary one is what cannot be used. */
FIXTURE_SETUP(fallback) {
	seen = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(seen != MAP_FAILED);
	self->space = space_new(PAGES);
	self->view = view_new(self->space, 0, PAGES, RW);
	space_of_all = self->space;
	view_of_parent = self->view;
	altstack(malloc(ALT_SIZE), ALT_SIZE);
	ASSERT_EQ(0, avm_trap(self->space, self->view, PAGES * PAGE, record, NULL, 0));
	ASSERT_EQ(0, protect(self->space, self->view, PAGES, NONE));
}

FIXTURE_TEARDOWN(fallback) {
	munmap(self->view, PAGES * PAGE);
	close(self->space);
}

/* Accesses so far, each of them handled once, and those that came by upcall. */
#define expect_traps(traps, upcalls)					\
do {									\
	struct avm_stats now_ = stats(self->space);			\
									\
	EXPECT_EQ(traps, seen->calls);					\
	EXPECT_EQ(traps, now_.out_traps);				\
	EXPECT_EQ(upcalls, now_.out_upcalls);				\
} while (0)

/* The handler anew with other flags; it opens nothing where the flag does. */
#define trap_again(flags)						\
do {									\
	ASSERT_EQ(0, avm_untrap(self->view));				\
	ASSERT_EQ(0, avm_trap(self->space, self->view, PAGES * PAGE,	\
			      record, NULL, flags));			\
	opens_to = (flags) & AVM_TRAP_RAISE ? -1 : RW;			\
} while (0)

/*
 * access_on(stack, at): one write with rsp anywhere. Returns 0 if all registers
 * were afterwards what they had been, rsp among them.
 */
long access_on(uint64_t stack, char *at);

asm("	.pushsection .text\n"
	"	.globl access_on\n"
	"access_on:\n"
	"	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
	"	mov %rsp, %rbx\n"
	"	mov $1, %eax; mov $2, %ecx; mov $3, %edx; mov $4, %ebp\n"
	"	mov $8, %r8d; mov $9, %r9d; mov $10, %r10d; mov $11, %r11d\n"
	"	mov $12, %r12d; mov $13, %r13d; mov $14, %r14d; mov $15, %r15d\n"
	"	mov %rdi, %rsp\n"
	"	movb $42, (%rsi)\n"
	"	xor %rsp, %rdi\n"
	"	mov %rbx, %rsp\n"
	"	xor $1, %rax; or %rax, %rdi; xor $2, %rcx; or %rcx, %rdi\n"
	"	xor $3, %rdx; or %rdx, %rdi; xor $4, %rbp; or %rbp, %rdi\n"
	"	xor $8, %r8; or %r8, %rdi; xor $9, %r9; or %r9, %rdi\n"
	"	xor $10, %r10; or %r10, %rdi; xor $11, %r11; or %r11, %rdi\n"
	"	xor $12, %r12; or %r12, %rdi; xor $13, %r13; or %r13, %rdi\n"
	"	xor $14, %r14; or %r14, %rdi; xor $15, %r15; or %r15, %rdi\n"
	"	mov %rdi, %rax\n"
	"	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
	"	ret\n"
	"	.popsection\n");

static long access_below(const void *stack, char *at)
{
	return access_on((uintptr_t)stack, at);
}

/* What it is measured against: nothing is in the way. */
TEST_F(fallback, nothing_unusual_is_an_upcall)
{
	poke(self->view + 5, 1);
	EXPECT_EQ(self->view + 5, seen->addr);
	expect_traps(1, 1);
	EXPECT_EQ(0, access_below(anonymous(4, RW) + 4 * PAGE, self->view + PAGE));
	EXPECT_EQ(42, self->view[PAGE]);
	expect_traps(2, 2);
}

/* Restartable sequences. */

static struct rseq *rseq_area(void)
{
	must(__rseq_size > 0);
	return (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
}

/*
 * rseq_access(area, at, section): one write within a sequence. Returns 1 when
 * it was aborted, 0 when it came to its end.
 */
int rseq_access(struct rseq *area, char *at, const struct rseq_cs *section);
extern const char rseq_start[], rseq_end[], rseq_abort[];

asm("	.pushsection .text\n"
	"	.globl rseq_access, rseq_start, rseq_end, rseq_abort\n"
	"rseq_access:\n"
	"	mov %rdx, 8(%rdi)\n"
	"rseq_start:\n"
	"	movb $42, (%rsi)\n"
	"rseq_end:\n"
	"	movq $0, 8(%rdi)\n"
	"	xor %eax, %eax\n"
	"	ret\n"
	"	.long 0x53053053\n"	/* RSEQ_SIG */
	"rseq_abort:\n"
	"	mov $1, %eax\n"
	"	ret\n"
	"	.popsection\n");

TEST_F(fallback, restartable_sequence_is_aborted)
{
	struct rseq_cs section = {
		.start_ip = (uintptr_t)rseq_start,
		.post_commit_offset = rseq_end - rseq_start,
		.abort_ip = (uintptr_t)rseq_abort,
	};
	struct rseq *area = rseq_area();
	unsigned int trapped = 0, rounds = 0, aborted, before;

	/* A preemption aborts it as well, before it has trapped. */
	while (trapped < 100 && rounds++ < 10000) {
		self->view[0] = 0;
		before = seen->calls;
		ASSERT_EQ(0, protect(self->space, self->view, 1, NONE));
		aborted = rseq_access(area, self->view, &section);
		EXPECT_EQ(1, aborted);
		EXPECT_EQ(0, area->rseq_cs);
		if (seen->calls == before)
			avm_unprot(self->space, self->view, RW);
		else
			trapped++;
		/* The write was not made: the sequence did not go on. */
		ASSERT_EQ(0, self->view[0]);
		ASSERT_GE(before + 1, seen->calls);
	}
	EXPECT_EQ(100, trapped);
	expect_traps(trapped + 1, 1);	/* the first of all was no sequence */
}

TEST_F(fallback, rseq_cs_of_another_place_is_a_signal)
{
	struct rseq_cs section = {
		.start_ip = (uintptr_t)access_on,
		.post_commit_offset = 4,
		.abort_ip = (uintptr_t)rseq_abort,
	};
	struct rseq *area = rseq_area();
	struct avm_stats now;
	unsigned int i;

	for (i = 1; i <= 100; i++) {
		ASSERT_EQ(0, protect(self->space, self->view, 1, NONE));
		EXPECT_EQ(0, rseq_access(area, self->view, &section));
		EXPECT_EQ(42, self->view[0]);
		ASSERT_EQ(i, seen->calls);
	}
	/* A preemption takes it away, and then it is an upcall. */
	now = stats(self->space);
	EXPECT_EQ(100, now.out_traps);
	EXPECT_GT(50, now.out_upcalls);
}

TEST_F(fallback, rseq_area_that_cannot_be_read_is_a_signal)
{
	pid_t pid = fork();

	if (!pid) {
		char *view = child_view(self->space, 1, 0), *area = anonymous(1, RW);

		must(!syscall(SYS_rseq, rseq_area(), 32, RSEQ_FLAG_UNREGISTER, 0x53053053));
		must(!syscall(SYS_rseq, area, 32, 0, 0x53053053));
		munmap(area, PAGE);
		poke(view, 1);
		_exit(0);
	}
	/* No signal can be delivered in such a thread. */
	EXPECT_EQ(SIGSEGV, died_by(status_of(pid)));
	EXPECT_EQ(0, seen->calls);
	EXPECT_EQ(0, stats(self->space).out_upcalls);
}

/* Single steps. */

void stepped_access(char *at);
extern const char stepped[], stepped_next[], stepped_last[];

asm("	.pushsection .text\n"
	"	.globl stepped_access, stepped, stepped_next, stepped_last\n"
	"stepped_access:\n"
	"	pushfq\n"
	"	orl $0x100, (%rsp)\n"
	"	popfq\n"
	"	nop\n"
	"stepped:\n"
	"	movb $42, (%rdi)\n"
	"stepped_next:\n"
	"	pushfq\n"
	"	andl $~0x100, (%rsp)\n"
	"	popfq\n"
	"stepped_last:\n"
	"	ret\n"
	"	.popsection\n");

static volatile unsigned int steps, steps_before, steps_after;

static void on_step(int sig, siginfo_t *info, void *context)
{
	const char *ip = (const char *)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];

	(void)sig;
	(void)info;
	steps++;
	steps_before += ip == stepped;
	steps_after += ip == stepped_next;
}

TEST_F(fallback, code_that_steps_itself_gets_a_signal)
{
	struct sigaction sa = { .sa_sigaction = on_step, .sa_flags = SA_SIGINFO };
	unsigned int i, expected;

	ASSERT_EQ(0, sigaction(SIGTRAP, &sa, NULL));
	ASSERT_EQ(0, protect(self->space, self->view, 1, RW));
	stepped_access(self->view);
	expected = steps;
	EXPECT_LE(3, expected);
	for (i = 1; i <= 50; i++) {
		steps = 0;
		steps_before = 0;
		steps_after = 0;
		ASSERT_EQ(0, protect(self->space, self->view, 1, NONE));
		stepped_access(self->view);
		EXPECT_EQ(42, self->view[0]);
		/* As many steps as without a trap: the handler is none of them. */
		EXPECT_EQ(expected, steps);
		EXPECT_EQ(1, steps_before);
		EXPECT_EQ(1, steps_after);
		expect_traps(i, 0);
	}
	poke(self->view + PAGE, 1);
	expect_traps(51, 1);
}

#define TRACED	3

/* A child that makes some accesses between a SIGSTOP and its end. */
static pid_t traced_child(int space)
{
	pid_t pid = fork();

	if (!pid) {
		char *view = child_view(space, TRACED, 0);
		int i;

		must(!ptrace(PTRACE_TRACEME, 0, 0, 0));
		raise(SIGSTOP);
		for (i = 0; i < TRACED; i++)
			poke(view + i * PAGE + i, i + 1);
		_exit(view[0] + view[PAGE + 1] + view[2 * PAGE + 2]);
	}
	return pid;
}

struct tracing {
	unsigned int stops, segv, steps;
	char *last;		/* si_addr */
	int status;
};

/* Go on by @request until the end, and give signals on. */
static void trace(pid_t pid, int request, struct tracing *t)
{
	siginfo_t info;
	int sig = 0;

	must(waitpid(pid, &t->status, 0) == pid && WIFSTOPPED(t->status) &&
	     WSTOPSIG(t->status) == SIGSTOP);
	for (;;) {
		must(!ptrace(request, pid, 0, sig));
		must(waitpid(pid, &t->status, 0) == pid);
		if (!WIFSTOPPED(t->status))
			return;
		t->stops++;
		sig = WSTOPSIG(t->status);
		if (sig == SIGTRAP) {
			t->steps++;
			sig = 0;
		} else if (sig == SIGSEGV) {
			must(!ptrace(PTRACE_GETSIGINFO, pid, 0, &info));
			t->segv++;
			t->last = info.si_addr;
		}
	}
}

TEST_F(fallback, stepped_by_a_tracer_it_is_a_signal_that_the_tracer_sees)
{
	struct tracing t = {};

	trace(traced_child(self->space), PTRACE_SINGLESTEP, &t);
	EXPECT_TRUE(WIFEXITED(t.status));
	EXPECT_EQ(1 + 2 + 3, WEXITSTATUS(t.status));
	EXPECT_EQ(TRACED, t.segv);
	EXPECT_EQ(TRACED - 1, (uintptr_t)t.last & (PAGE - 1));
	EXPECT_EQ(t.stops, t.segv + t.steps);
	expect_traps(TRACED, 0);
}

TEST_F(fallback, traced_but_not_stepped_it_is_an_upcall_that_nobody_sees)
{
	struct tracing t = {};

	trace(traced_child(self->space), PTRACE_CONT, &t);
	EXPECT_TRUE(WIFEXITED(t.status));
	EXPECT_EQ(1 + 2 + 3, WEXITSTATUS(t.status));
	EXPECT_EQ(0, t.stops);
	expect_traps(TRACED, TRACED);
}

/* An instruction with a uprobe is executed elsewhere, in a single step. */
void probed_access(char *at);
extern const char probed[];

asm("	.pushsection .text\n"
	"	.globl probed_access, probed\n"
	"probed_access:\n"
	"probed:\n"
	"	movb $42, (%rdi)\n"
	"	ret\n"
	"	.popsection\n");

/* Where in this program's file an address is. */
static unsigned long file_offset(const char *addr)
{
	unsigned long start, end, offset;
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512];

	must(maps);
	while (fgets(line, sizeof(line), maps)) {
		must(sscanf(line, "%lx-%lx %*s %lx", &start, &end, &offset) == 3);
		if ((uintptr_t)addr >= start && (uintptr_t)addr < end) {
			fclose(maps);
			return (uintptr_t)addr - start + offset;
		}
	}
	must(!"this program is mapped");
	return 0;
}

static int probe_on(const char *addr)
{
	struct perf_event_attr attr = { .size = sizeof(attr), .sample_period = 1ull << 62 };
	FILE *file = fopen("/sys/bus/event_source/devices/uprobe/type", "r");
	static const char self[] = "/proc/self/exe";
	unsigned int type;
	int fd;

	must(file && fscanf(file, "%u", &type) == 1);
	fclose(file);
	attr.type = type;
	attr.config1 = (uintptr_t)self;
	attr.config2 = file_offset(addr);
	fd = syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
	must(fd >= 0);
	return fd;
}

TEST_F(fallback, probed_instruction_gets_a_signal)
{
	int probe = probe_on(probed);
	unsigned int i;
	uint64_t hits;

	for (i = 1; i <= 20; i++) {
		self->view[0] = 0;
		ASSERT_EQ(0, protect(self->space, self->view, 1, NONE));
		probed_access(self->view);
		EXPECT_EQ(42, self->view[0]);
		expect_traps(i + 1, 1);
	}
	ASSERT_EQ(8, read(probe, &hits, 8));
	EXPECT_LE(20, hits);
	close(probe);
	ASSERT_EQ(0, protect(self->space, self->view, 1, NONE));
	probed_access(self->view);
	expect_traps(22, 2);
}

/* Stacks that cannot be written. */

TEST_F(fallback, stack_that_cannot_be_written_is_a_signal)
{
	char *none = anonymous(4, NONE), *read = anonymous(4, R);
	char *half = anonymous(4, RW), *edge;
	unsigned int n = 0;

	/* The frame of one would reach below the page that can be written. */
	must(!mprotect(half, 2 * PAGE, NONE));
	edge = half + 2 * PAGE + RED_ZONE + FRAME;
	const uint64_t stacks[] = {
		(uintptr_t)none + 4 * PAGE, (uintptr_t)none + PAGE + 8,
		(uintptr_t)read + 4 * PAGE, (uintptr_t)read + 4 * PAGE - 1,
		(uintptr_t)edge - 8, (uintptr_t)edge - FRAME, (uintptr_t)edge - FRAME - RED_ZONE,
	};

	for (n = 0; n < COUNT(stacks); n++) {
		self->view[0] = 0;
		ASSERT_EQ(0, protect(self->space, self->view, 1, NONE));
		EXPECT_EQ(0, access_on(stacks[n], self->view)) TH_LOG("case %u", n);
		EXPECT_EQ(42, self->view[0]);
		expect_traps(n + 2, 1);
	}
	/* And one where it just has room. */
	ASSERT_EQ(0, protect(self->space, self->view, 1, NONE));
	EXPECT_EQ(0, access_below(edge + PAGE, self->view));
	expect_traps(n + 2, 2);
}

TEST_F(fallback, wild_stack_pointer_is_a_signal)
{
	static const uint64_t stacks[] = {
		0, 1, 8, 71, 72, 100, RED_ZONE - 1, RED_ZONE, RED_ZONE + 1, RED_ZONE + FRAME - 1,
		RED_ZONE + FRAME, RED_ZONE + FRAME + 1, 4096, 65536,
		(1ull << 47) - 4096, (1ull << 47) - 1, 1ull << 47, (1ull << 47) + RED_ZONE,
		(1ull << 47) + RED_ZONE + FRAME, (1ull << 47) + RED_ZONE + FRAME + 1,
		1ull << 48, 1ull << 55, (1ull << 56) - 4096, (1ull << 56) - 1, 1ull << 56,
		(1ull << 56) + RED_ZONE + FRAME, 1ull << 60, 1ull << 62,
		(1ull << 63) - 4096, (1ull << 63) - 1, 1ull << 63, (1ull << 63) + RED_ZONE,
		(1ull << 63) + RED_ZONE + FRAME, (1ull << 63) + RED_ZONE + FRAME + 8,
		0xff00000000000000, 0xffff800000000000, 0xffff888000000000 + 65536,
		0xffffffff80000000, 0xffffffff81000000, 0xffffffffff600000 + 4096,
		-4096ull, -1024ull, -FRAME, -RED_ZONE, -8ull, -1ull,
	};
	unsigned int i;

	for (i = 0; i < COUNT(stacks); i++) {
		self->view[0] = 0;
		ASSERT_EQ(0, protect(self->space, self->view, 1, NONE));
		EXPECT_EQ(0, access_on(stacks[i], self->view)) TH_LOG("stack %#lx", stacks[i]);
		EXPECT_EQ(42, self->view[0]);
		expect_traps(i + 2, 1);
	}
}

TEST_F(fallback, raised_page_is_raised_where_it_is_a_signal)
{
	trap_again(AVM_TRAP_RAISE);
	EXPECT_EQ(0, access_on(0, self->view));
	EXPECT_EQ(42, self->view[0]);
	expect_traps(1, 0);
	poke(self->view, 1);
	expect_traps(1, 0);
}

/* No stack for a signal either: the end. */
TEST_F(fallback, no_stack_at_all_is_the_end)
{
	unsigned int i;

	for (i = 0; i < 4; i++) {
		pid_t pid = fork();

		if (!pid) {
			static const unsigned int flags[] = { 0, AVM_TRAP_ONSTACK };
			char *view = child_view(self->space, 1, flags[i % 2]);
			stack_t off = { .ss_flags = SS_DISABLE };
			char *none = anonymous(4, NONE);

			if (i < 2)
				must(!sigaltstack(&off, NULL));
			else
				altstack(none, 4 * PAGE);
			access_below(none + 4 * PAGE, view);
			_exit(0);
		}
		EXPECT_EQ(SIGSEGV, died_by(status_of(pid)));
	}
	EXPECT_EQ(0, seen->calls);
	EXPECT_EQ(0, stats(self->space).out_upcalls);
}

TEST_F(fallback, blocked_SIGSEGV_kills_where_it_is_a_signal)
{
	pid_t pid = fork();

	if (!pid) {
		char *view = child_view(self->space, 1, 0);
		sigset_t set;

		sigemptyset(&set);
		sigaddset(&set, SIGSEGV);
		must(!sigprocmask(SIG_BLOCK, &set, NULL));
		access_on(0, view);
		_exit(0);
	}
	EXPECT_EQ(SIGSEGV, died_by(status_of(pid)));
	EXPECT_EQ(0, seen->calls);
}

/* What never reaches avm. */

static void fetch(char *at)
{
	((void (*)(void))(uintptr_t)at)();
}

TEST_F(fallback, fetch_from_a_page_that_can_be_read_is_a_signal)
{
	char *code = view_new(self->space, 1, 2, RWX);

	memset(code, 0xc3, PAGE);
	opens_to = RX;
	ASSERT_EQ(0, avm_trap(self->space, code, 2 * PAGE, record, NULL, 0));
	ASSERT_EQ(0, protect(self->space, code, 1, R));
	EXPECT_EQ((char)0xc3, *(volatile char *)(code + 7));
	fetch(code + 7);
	EXPECT_EQ(1, seen->calls);
	EXPECT_EQ(AVM_PROT_EXEC, seen->access);
	EXPECT_EQ(0, stats(self->space).out_upcalls);
	/* Closed, it is an upcall. */
	ASSERT_EQ(0, protect(self->space, code, 1, NONE));
	fetch(code + 7);
	EXPECT_EQ(2, seen->calls);
	EXPECT_EQ(1, stats(self->space).out_upcalls);
}

static int gives_another_view(const struct avm_trap_info *info, void *arg)
{
	seen->calls++;
	seen->access = info->access;
	seen->addr = info->addr;
	if (mmap(info->view, info->length, RW, MAP_SHARED | MAP_FIXED, *(int *)arg, 0) !=
	    info->view)
		_exit(99);
	return AVM_TRAP_RETRY;
}

TEST_F(fallback, what_the_mapping_forbids_is_a_signal)
{
	char *reader = view_new(self->space, 0, 1, R);

	ASSERT_EQ(0, avm_trap(self->space, reader, PAGE, gives_another_view, &self->space, 0));
	poke(reader + 9, 1);
	EXPECT_EQ(1, reader[9]);
	EXPECT_EQ(reader + 9, seen->addr);
	EXPECT_EQ(AVM_PROT_WRITE, seen->access);
	EXPECT_EQ(1, seen->calls);
	EXPECT_EQ(0, stats(self->space).out_upcalls);
}

/*
 * far_access(code, stack): from 64-bit code into a segment of 32-bit code and
 * back. What is at @code has to write and to return by a far return.
 */
void far_access(uint32_t code, uint32_t stack, uint32_t at);

asm("	.pushsection .bss\n"
	"far_sp: .quad 0\n"
	"far_pointer: .long 0; .word 0\n"
	"	.popsection\n"
	"	.pushsection .text\n"
	"	.globl far_access\n"
	"far_access:\n"
	"	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
	"	mov %rsp, far_sp(%rip)\n"
	"	mov %edi, far_pointer(%rip)\n"
	"	movw $0x23, 4+far_pointer(%rip)\n"
	"	mov %edx, %edi\n"
	"	mov %esi, %esp\n"
	"	lcall *far_pointer(%rip)\n"
	"	mov far_sp(%rip), %rsp\n"
	"	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
	"	ret\n"
	"	.popsection\n");

TEST_F(fallback, code_of_32_bits_gets_a_signal)
{
	/* movb $42, %ss:(%edi); lret */
	static const unsigned char code[] = { 0x36, 0xc6, 0x07, 42, 0xcb };
	char *low = mmap(NULL, 8 * PAGE, RWX, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	char *view = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_32BIT, self->space, 0);
	unsigned int i;

	ASSERT_NE(MAP_FAILED, low);
	ASSERT_NE(MAP_FAILED, view);
	memcpy(low, code, sizeof(code));
	ASSERT_EQ(0, avm_trap(self->space, view, PAGE, record, NULL, 0));
	for (i = 1; i <= 20; i++) {
		ASSERT_EQ(0, protect(self->space, view, 1, NONE));
		far_access((uintptr_t)low, (uintptr_t)low + 8 * PAGE, (uintptr_t)view + 5);
		EXPECT_EQ(42, view[5]);
		EXPECT_EQ(view + 5, seen->addr);
		view[5] = 0;
		expect_traps(i, 0);
	}
}

/* Stacks that cannot be written at once, but a moment later. */

TEST_F(fallback, stack_that_was_never_touched_is_an_upcall)
{
	char *stack, *top;
	unsigned int i;

	for (i = 0; i < 100; i++) {
		stack = anonymous(8, RW);
		top = stack + 8 * PAGE;
		/* Every second frame lies across two pages, none of which is there. */
		if (i % 2)
			top = stack + 6 * PAGE + RED_ZONE + 8 + i % 56;
		ASSERT_EQ(0, protect(self->space, self->view, 1, NONE));
		EXPECT_EQ(0, access_below(top, self->view + i));
		EXPECT_EQ(42, self->view[i]);
		EXPECT_EQ(self->view + i, seen->addr);
		expect_traps(i + 1, i + 1);
		munmap(stack, 8 * PAGE);
	}
}

TEST_F(fallback, stack_of_the_zero_page_or_of_a_file_is_an_upcall)
{
	int file = memfd_create("stack", 0);
	char *zero = anonymous(8, RW), *shared;

	must(file >= 0 && !ftruncate(file, 8 * PAGE));
	shared = mmap(NULL, 8 * PAGE, RW, MAP_SHARED, file, 0);
	must(shared != MAP_FAILED);
	/* Read, and so the page of zeros, which a write replaces. */
	EXPECT_EQ(0, *(volatile char *)(zero + 8 * PAGE - 1));
	EXPECT_EQ(0, access_below(zero + 8 * PAGE, self->view));
	expect_traps(1, 1);
	EXPECT_EQ(0, access_below(shared + 8 * PAGE, self->view + PAGE));
	expect_traps(2, 2);
	close(file);
}

TEST_F(fallback, stack_that_is_shared_with_a_child_is_an_upcall)
{
	char *stack = anonymous(8, RW), ended;
	unsigned int i;
	int fds[2];
	pid_t pid;

	must(!pipe(fds));
	for (i = 0; i < 20; i++) {
		memset(stack, i + 1, 8 * PAGE);
		ASSERT_EQ(0, protect(self->space, self->view, 1, NONE));
		pid = fork();
		if (!pid) {
			unsigned long bad = 0, at;

			/* Until the parent is through; the child's copy is as it was. */
			must(read(fds[0], &ended, 1) == 1);
			for (at = 0; at < 8 * PAGE; at++)
				bad += stack[at] != (char)(i + 1);
			_exit(bad ? 1 : 0);
		}
		EXPECT_EQ(0, access_below(stack + 8 * PAGE, self->view));
		expect_traps(i + 1, i + 1);
		must(write(fds[1], "", 1) == 1);
		EXPECT_EQ(0, exited_with(status_of(pid)));
	}
}

TEST_F(fallback, stack_that_was_given_up_is_an_upcall)
{
	char *stack = anonymous(8, RW);
	unsigned int i;

	for (i = 0; i < 300; i++) {
		ASSERT_EQ(0, protect(self->space, self->view, 1, NONE));
		ASSERT_EQ(0, madvise(stack, 8 * PAGE, MADV_DONTNEED));
		EXPECT_EQ(0, access_below(stack + 8 * PAGE, self->view));
		expect_traps(i + 1, i + 1);
	}
}

TEST_F(fallback, main_stack_grows_for_the_frame)
{
	char *here = __builtin_frame_address(0);
	unsigned int i;

	for (i = 1; i <= 10; i++) {
		ASSERT_EQ(0, protect(self->space, self->view, 1, NONE));
		EXPECT_EQ(0, access_below(here - i * 300000, self->view));
		expect_traps(i, i);
	}
	/* But not above its limit. */
	struct rlimit limit = { 4u << 20, 4u << 20 };

	ASSERT_EQ(0, setrlimit(RLIMIT_STACK, &limit));
	ASSERT_EQ(0, protect(self->space, self->view, 1, NONE));
	EXPECT_EQ(0, access_below(here - (5 << 20), self->view));
	expect_traps(i, i - 1);
}

TEST_F(fallback, alternate_stack_that_was_never_touched_is_an_upcall)
{
	char *alt = anonymous(16, RW);
	unsigned int i;

	trap_again(AVM_TRAP_ONSTACK);
	altstack(alt, 16 * PAGE);
	for (i = 0; i < 100; i++) {
		ASSERT_EQ(0, madvise(alt, 16 * PAGE, MADV_DONTNEED));
		ASSERT_EQ(0, protect(self->space, self->view, 1, NONE));
		/* The thread's own would be of no use. */
		EXPECT_EQ(0, access_on(i % 2 ? 0 : 1ull << 63, self->view));
		EXPECT_EQ(42, self->view[0]);
		expect_traps(i + 1, i + 1);
	}
}

TEST_F(fallback, late_delivery_passes_the_kind_and_raises)
{
	char *stack = anonymous(8, RW);

	trap_again(AVM_TRAP_RAISE);
	EXPECT_EQ(0, access_below(stack + 8 * PAGE, self->view + 77));
	EXPECT_EQ(AVM_PROT_WRITE, seen->access);
	EXPECT_EQ(self->view + 77, seen->addr);
	expect_traps(1, 1);
	ASSERT_EQ(0, madvise(stack, 8 * PAGE, MADV_DONTNEED));
	EXPECT_EQ(0, access_below(stack + 8 * PAGE, self->view));
	expect_traps(1, 1);
}

/*
 * Late deliveries, and signals that come at any moment, which trap late
 * themselves. Each signal is queued, so each has to arrive.
 */
static struct crowd {
	pthread_t victim;
	int space;
	char *view;
	char *stack;
	volatile unsigned long rounds;
	volatile unsigned long arrived;
	volatile unsigned long bad;
	int stop;
} crowd;

static volatile unsigned long alarms;

static void crowded_signal(int sig)
{
	char *at = crowd.view + (sig == SIGALRM ? PAGE : 2 * PAGE);

	if (protect(crowd.space, at, 1, NONE) ||
	    madvise(crowd.stack, 8 * PAGE, MADV_DONTNEED))
		_exit(98);
	crowd.bad += access_below(crowd.stack + 8 * PAGE, at) || *at != 42;
	if (sig == SIGALRM)
		alarms++;
	else
		crowd.arrived++;
}

static void *sends_signals(void *arg)
{
	unsigned long sent = 0;

	(void)arg;
	while (!__atomic_load_n(&crowd.stop, __ATOMIC_RELAXED)) {
		/* No more than the victim can bear and still get on. */
		if (sent - crowd.arrived < 2 && sent < crowd.rounds)
			sent += !pthread_kill(crowd.victim, SIGRTMIN);
		else
			usleep(30);	/* a CPU that is idle needs no flushes */
	}
	return (void *)sent;
}

TEST_F(fallback, late_deliveries_and_signals_lose_and_double_nothing)
{
	struct itimerval soon = { .it_value.tv_usec = 300 }, never = {};
	struct sigaction sa = { .sa_handler = crowded_signal };
	char *stack = anonymous(16, RW);
	unsigned long i, bad = 0, own;
	struct avm_stats now;
	pthread_t sender;
	void *sent;

	crowd = (struct crowd){
		.victim = pthread_self(), .space = self->space, .view = self->view,
		.stack = anonymous(8, RW),
	};
	/* One at a time, as they share a stack. */
	sigaddset(&sa.sa_mask, SIGALRM);
	sigaddset(&sa.sa_mask, SIGRTMIN);
	ASSERT_EQ(0, sigaction(SIGALRM, &sa, NULL));
	ASSERT_EQ(0, sigaction(SIGRTMIN, &sa, NULL));
	/* In this thread alone. */
	ASSERT_EQ(0, pthread_sigmask(SIG_BLOCK, &sa.sa_mask, NULL));
	ASSERT_EQ(0, pthread_create(&sender, NULL, sends_signals, NULL));
	ASSERT_EQ(0, pthread_sigmask(SIG_UNBLOCK, &sa.sa_mask, NULL));
	for (i = 0; i < 2000; i++) {
		crowd.rounds = i;
		if (i % 4 == 0)
			setitimer(ITIMER_REAL, &soon, NULL);
		if (protect(self->space, self->view, 1, NONE) ||
		    madvise(stack, 16 * PAGE, MADV_DONTNEED))
			bad++;
		bad += access_below(stack + 16 * PAGE, self->view) != 0 || self->view[0] != 42;
		self->view[0] = 0;
	}
	setitimer(ITIMER_REAL, &never, NULL);
	__atomic_store_n(&crowd.stop, 1, __ATOMIC_RELAXED);
	pthread_join(sender, &sent);
	now = stats(self->space);
	EXPECT_EQ(0, bad);
	EXPECT_EQ(0, crowd.bad);
	EXPECT_EQ((unsigned long)sent, crowd.arrived);
	EXPECT_LT(100, crowd.arrived);
	EXPECT_LT(10, alarms);
	/* Each was closed, trapped, and opened: once. */
	own = seen->calls - crowd.arrived - alarms;
	EXPECT_EQ(2000, own);
	EXPECT_EQ(seen->calls, now.out_traps);
	EXPECT_EQ(seen->calls, now.out_upcalls);
}

/* Many threads with stacks that are never there. */
static void *traps_late(void *arg)
{
	char *at = arg, *stack = anonymous(8, RW);
	unsigned long i, bad = 0;

	for (i = 0; i < 200; i++) {
		bad += protect(crowd.space, page_of(at), 1, NONE) ||
			madvise(stack, 8 * PAGE, MADV_DONTNEED);
		bad += access_below(stack + 8 * PAGE, at) != 0 || *at != 42;
		*at = 0;
	}
	return (void *)bad;
}

static int record_atomically(const struct avm_trap_info *info, void *arg)
{
	(void)arg;
	__atomic_add_fetch(&seen->calls, 1, __ATOMIC_RELAXED);
	return avm_unprot(space_of_all, page_of(info->addr), RW);
}

TEST_F(fallback, late_deliveries_in_eight_threads)
{
	pthread_t thread[8];
	unsigned long i;
	void *bad;

	crowd.space = self->space;
	ASSERT_EQ(0, avm_untrap(self->view));
	ASSERT_EQ(0, avm_trap(self->space, self->view, PAGES * PAGE, record_atomically, NULL, 0));
	for (i = 0; i < 8; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, traps_late,
					    self->view + i * PAGE));
	for (i = 0; i < 8; i++) {
		pthread_join(thread[i], &bad);
		EXPECT_EQ(NULL, bad);
	}
	expect_traps(8 * 200, 8 * 200);
}

/* A thread that dies while one is on its way takes nothing with it. */
TEST_F(fallback, process_killed_between_late_deliveries_leaves_nothing)
{
	unsigned int i, wait;

	for (i = 0; i < 30; i++) {
		unsigned long before = seen->calls;
		pid_t pid = fork();

		if (!pid) {
			char *view = child_view(self->space, 1, 0), *stack = anonymous(8, RW);

			for (;;) {
				must(!protect(self->space, view, 1, NONE));
				must(!madvise(stack, 8 * PAGE, MADV_DONTNEED));
				access_below(stack + 8 * PAGE, view);
			}
		}
		/* Once it is at it, at a moment that differs. */
		for (wait = 0; wait < 10000 && seen->calls == before; wait++)
			usleep(1000);
		EXPECT_LT(before, seen->calls);
		usleep(i * 317);
		must(!kill(pid, SIGKILL));
		EXPECT_EQ(SIGKILL, died_by(status_of(pid)));
	}
	EXPECT_EQ(1, stats(self->space).out_views);
}

TEST_HARNESS_MAIN
