// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The call-frame information of upcall.S: from every instruction of it, and of
 * the dispatcher, an unwinder finds the interrupted code, with its rip, its rsp
 * and every general register, and all that is above it.
 *
 * No module is needed: a handler of SIGTRAP plays the kernel. A function runs
 * in single steps; before one of its instructions, each in turn, the handler
 * writes a struct avm_upcall and has the thread go on at the entry, still in
 * single steps. At each of them it unwinds, and compares with what unwinding
 * gave before the upcall and with the registers that it knows.
 *
 * The handler has a stack of its own, and spoils what is more than a red zone
 * below the stack pointer: a signal might come there. So information that leads
 * to such memory is found out.
 */
#include <errno.h>
#include <stddef.h>
#include <ucontext.h>
#include <unwind.h>

#include "../internal.h"
#include "tap.h"

#define TF		0x100ul
#define DF		0x400ul
#define STATUS_FLAGS	(0x8d5ul | DF | TF)	/* not RF, which a step may set */
#define RED_ZONE	128
#define SPOILT		1024	/* bytes, below the red zone */
#define DEEP		64	/* frames at most */

/* In upcall.S, and the code that never comes back from there. */
extern const char avm_upcall_entry[], avm_upcall_onstack[];
extern const char avm_upcall_lost[];
extern unsigned int avm_vector_how, avm_vector_mask;

/* Bytes of each, which the linker knows. */
extern const unsigned long entry_size, onstack_size, vector_size;
__asm__(".section .data.rel.ro, \"aw\"\n"
	"entry_size:	.quad avm_upcall_entry@SIZE\n"
	"onstack_size:	.quad avm_upcall_onstack@SIZE\n"
	"vector_size:	.quad avm_call_vector@SIZE\n"
	".text\n");

/* A piece of code, and which of its bytes were seen to be executed. */
struct code {
	const char *name;
	uintptr_t start;
	size_t size;
	bool seen[1024];
};

static struct code codes[3];
enum { ENTRY, ONSTACK, VECTOR };

/* Registers in the order of DWARF. */
enum { RAX, RDX, RCX, RBX, RSI, RDI, RBP, RSP, REGISTERS = 16 };
static const int greg_of[REGISTERS] = {
	REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP,
	REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};

/* What an unwinder finds; frame[0] is the instruction that is stepped to. */
struct frame {
	uintptr_t ip;
	uintptr_t sp;
	uintptr_t regs[REGISTERS];
	int exact;	/* ip is of an instruction that was not executed */
};

struct walk {
	struct frame frame[DEEP];
	int count;
	bool in_signal;	/* still in frames of the SIGTRAP handler */
};

/* The experiment. */
static struct {
	const struct code *entry;
	bool onstack;
	bool pass;		/* the handler's verdict */
	long at;		/* the step that is interrupted */
	void (*interrupted)(void);
} plan;

/* How it goes. */
static struct {
	enum { BEFORE, INSIDE, RESUMED } state;
	long step;
	long walks;
	greg_t gregs[NGREG];	/* of the interrupted code */
	struct walk before;
	struct frame caller;	/* of avm_call_vector, as it was called */
	uintptr_t last_ip;	/* where the last instruction was */
	int complaints;
} now;

static char handler_stack[256 * 1024], other_stack[256 * 1024];
static unsigned char *page;

/*
 * Bytes of an instruction that may jump: after those, the next address tells
 * nothing. 0 for all others. Only what upcall.S contains.
 */
static size_t length_of_jump(const unsigned char *p)
{
	if (p[0] == 0x48 && p[1] == 0xcf)			/* iretq */
		return 2;
	if (p[0] == 0x0f && (p[1] & 0xf0) == 0x80)		/* jcc, far */
		return 6;
	if (p[0] == 0x0f && p[1] == 0x05)			/* syscall */
		return 2;
	if (p[0] == 0xff && p[1] >= 0xd0 && p[1] < 0xd8)	/* call *%reg */
		return 2;
	if ((p[0] & 0xf0) == 0x70 || p[0] == 0xeb)		/* jcc, jmp */
		return 2;
	if (p[0] == 0xe8 || p[0] == 0xe9)			/* call, jmp */
		return 5;
	if (p[0] == 0xc2)					/* ret $n */
		return 3;
	return p[0] == 0xc3;					/* ret */
}

static struct code *code_of(uintptr_t ip)
{
	for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
		if (ip - codes[i].start < codes[i].size)
			return &codes[i];
	return NULL;
}

static void mark(uintptr_t ip, size_t length)
{
	struct code *code = code_of(ip);

	if (code && length <= 15)
		memset(code->seen + (ip - code->start), true, length);
}

/* The thread is about to execute the instruction at @ip. */
static void cover(uintptr_t ip)
{
	if (now.last_ip && !length_of_jump((unsigned char *)now.last_ip))
		mark(now.last_ip, ip - now.last_ip);
	now.last_ip = code_of(ip) ? ip : 0;
	if (now.last_ip)
		mark(ip, length_of_jump((unsigned char *)ip));
}

/* Where, in words, for a complaint. */
static void complain(const char *what, uintptr_t ip)
{
	const struct code *code = code_of(ip);

	tap_bad = true;
	if (now.complaints++ >= 20)
		return;
	if (code)
		printf("# %s+0x%lx: %s\n", code->name, ip - code->start, what);
	else
		printf("# step %ld, at %#lx: %s\n", now.step, ip, what);
}

static _Unwind_Reason_Code take_frame(struct _Unwind_Context *c, void *arg)
{
	struct walk *w = arg;
	struct frame *f = &w->frame[w->count];
	int exact;

	f->ip = _Unwind_GetIPInfo(c, &exact);
	f->exact = exact;
	/* The first that is exact is what SIGTRAP has interrupted. */
	if (w->in_signal && !exact)
		return _URC_NO_REASON;
	w->in_signal = false;
	/* rsp has no place where it is saved: it is the CFA. */
	f->sp = _Unwind_GetCFA(c);
	for (int i = 0; i < REGISTERS; i++)
		f->regs[i] = i == RSP ? f->sp : _Unwind_GetGR(c, i);
	return ++w->count < DEEP ? _URC_NO_REASON : _URC_END_OF_STACK;
}

static void unwind(struct walk *w)
{
	w->count = 0;
	w->in_signal = true;
	_Unwind_Backtrace(take_frame, w);
	now.walks++;
}

/* The kernel's part: the frame, and the thread goes on at the entry. */
static void upcall(greg_t *gregs)
{
	uintptr_t top = plan.onstack ?
		(uintptr_t)(other_stack + sizeof(other_stack)) & ~15ul :
		(uintptr_t)gregs[REG_RSP] - RED_ZONE;
	struct avm_upcall *up = (struct avm_upcall *)top - 1;

	*up = (struct avm_upcall) {
		.addr = (uintptr_t)page + 8,
		.access = AVM_PROT_WRITE,
		.di = gregs[REG_RDI],
		.ip = gregs[REG_RIP],
		.cs = gregs[REG_CSGSFS] & 0xffff,
		.flags = gregs[REG_EFL],
		.sp = gregs[REG_RSP],
		/* Not in a signal's registers; all user code has the same. */
		.ss = 0x2b,
	};
	gregs[REG_RDI] = (uintptr_t)up;
	gregs[REG_RSP] = (uintptr_t)up;
	gregs[REG_RIP] = plan.entry->start;
	gregs[REG_EFL] &= ~DF;
}

/* The registers of the code that was interrupted, as the unwinder has them. */
static void check_registers(const struct frame *f, uintptr_t ip)
{
	static const char * const names[REGISTERS] = {
		"rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp",
		"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
	};

	for (int i = 0; i < REGISTERS; i++)
		if (f->regs[i] != (uintptr_t)now.gregs[greg_of[i]])
			complain(names[i], ip);
	if (!f->exact)
		complain("no signal frame", ip);
}

/* Registers that a function gives back as it found them. */
static const int kept[] = { RBX, RBP, 12, 13, 14, 15 };

/* From the interrupted code on, all is as it was before the upcall. */
static void check_callers(const struct frame *f, int count, uintptr_t ip)
{
	const struct frame *g = now.before.frame;

	if (count != now.before.count)
		complain("another number of callers", ip);
	for (int i = 0; i < count && i < now.before.count; i++) {
		if (f[i].ip != g[i].ip || f[i].sp != g[i].sp)
			complain("another caller", ip);
		for (size_t k = 0; k < ARRAY_SIZE(kept); k++)
			if (f[i].regs[kept[k]] != g[i].regs[kept[k]])
				complain("another register in a caller", ip);
	}
}

static void note_caller(const greg_t *gregs)
{
	now.caller.ip = *(uintptr_t *)gregs[REG_RSP];
	now.caller.sp = (uintptr_t)gregs[REG_RSP] + 8;
	for (size_t k = 0; k < ARRAY_SIZE(kept); k++)
		now.caller.regs[kept[k]] = (uintptr_t)gregs[greg_of[kept[k]]];
}

/*
 * Whoever called avm_call_vector may save the same registers, and so hide that
 * they were not found where that has saved them.
 */
static void check_vector_caller(const struct walk *w, uintptr_t ip)
{
	for (int i = 0; i + 1 < w->count; i++) {
		const struct frame *f = &w->frame[i + 1];

		if (code_of(w->frame[i].ip) != &codes[VECTOR])
			continue;
		if (f->ip != now.caller.ip || f->sp != now.caller.sp)
			complain("another caller of avm_call_vector", ip);
		for (size_t k = 0; k < ARRAY_SIZE(kept); k++)
			if (f->regs[kept[k]] != now.caller.regs[kept[k]])
				complain("another register in its caller", ip);
	}
}

static void check_walk(const greg_t *gregs)
{
	static struct walk w;
	uintptr_t ip = gregs[REG_RIP];
	int i;

	unwind(&w);
	if (!w.count || w.frame[0].ip != ip) {
		complain("the unwinder did not begin here", ip);
		return;
	}
	/* The entry is somewhere, and called by the interrupted code. */
	for (i = 0; i < w.count; i++)
		if (w.frame[i].ip - plan.entry->start < plan.entry->size)
			break;
	if (++i >= w.count || w.frame[i].ip != (uintptr_t)now.gregs[REG_RIP]) {
		complain("rip", ip);
		return;
	}
	check_vector_caller(&w, ip);
	check_registers(&w.frame[i], ip);
	check_callers(&w.frame[i], w.count - i, ip);
}

/* The access is made again: nothing has changed. */
static void check_resumed(greg_t *gregs)
{
	for (int i = 0; i < REGISTERS; i++)
		if (gregs[greg_of[i]] != now.gregs[greg_of[i]])
			complain("resumed with another register", gregs[REG_RIP]);
	if ((gregs[REG_EFL] ^ now.gregs[REG_EFL]) & STATUS_FLAGS)
		complain("resumed with other flags", gregs[REG_RIP]);
	now.state = RESUMED;
	gregs[REG_EFL] &= ~TF;
}

/* The system call that passes the access on fails: its space was closed. */
static void fail_syscall(greg_t *gregs)
{
	gregs[REG_RIP] += 2;
	gregs[REG_RCX] = gregs[REG_RIP];
	gregs[REG_R11] = gregs[REG_EFL];
	gregs[REG_RAX] = -EBADF;
}

/* And what it calls then, which ends the program, returns. */
static void leave(greg_t *gregs)
{
	gregs[REG_RIP] = *(uintptr_t *)gregs[REG_RSP];
	gregs[REG_RSP] += 8;
}

static void step_inside(greg_t *gregs)
{
	uintptr_t ip = gregs[REG_RIP];
	struct code *code = code_of(ip);

	cover(ip);
	if (ip == (uintptr_t)now.gregs[REG_RIP] &&
	    gregs[REG_RSP] == now.gregs[REG_RSP]) {
		check_resumed(gregs);
		return;
	}
	if (ip == codes[VECTOR].start)
		note_caller(gregs);
	memset((char *)gregs[REG_RSP] - RED_ZONE - SPOILT, 0x5a, SPOILT);
	check_walk(gregs);
	if (code && !memcmp((void *)ip, "\x0f\x05", 2)) {
		fail_syscall(gregs);
		step_inside(gregs);
	} else if (ip == (uintptr_t)avm_upcall_lost) {
		leave(gregs);
		step_inside(gregs);
	}
}

static void on_step(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	greg_t *gregs = uc->uc_mcontext.gregs;

	(void)sig;
	(void)info;
	/* The last trap comes after the instruction that ended the steps. */
	if (now.state == BEFORE && gregs[REG_EFL] & TF &&
	    now.step++ == plan.at) {
		memcpy(now.gregs, gregs, sizeof(now.gregs));
		unwind(&now.before);
		upcall(gregs);
		now.state = INSIDE;
		now.last_ip = 0;
	}
	if (now.state == INSIDE)
		step_inside(gregs);
}

/*
 * Handlers. That of the upcalls leaves nothing in any register that it may
 * change, nor in those that it has to restore.
 */
static int spoil(const struct avm_trap_info *info, void *arg)
{
	(void)arg;
	if (info->addr != page + 8 || info->access != AVM_PROT_WRITE)
		complain("the handler got something else", (uintptr_t)info->addr);
	__asm__ volatile("movl $0xbad, %%eax; movl %%eax, %%ebx; movl %%eax, %%ecx\n\t"
			 "movl %%eax, %%edx; movl %%eax, %%esi; movl %%eax, %%edi\n\t"
			 "movl %%eax, %%r8d; movl %%eax, %%r9d; movl %%eax, %%r10d\n\t"
			 "movl %%eax, %%r11d; movl %%eax, %%r12d\n\t"
			 "movl %%eax, %%r13d; movl %%eax, %%r14d\n\t"
			 "movl %%eax, %%r15d"
			 : : : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9",
			 "r10", "r11", "r12", "r13", "r14", "r15", "cc", "memory");
	return plan.pass ? AVM_TRAP_PASS : AVM_TRAP_RETRY;
}

/*
 * Calls plan.interrupted in single steps, with a pattern in every register.
 * Steps begin after the instruction that follows POPFQ.
 */
void call_in_steps(void (*fn)(void));
__asm__(".text\n"
	".type call_in_steps, @function\n"
	"call_in_steps:\n"
	".cfi_startproc\n\t"
	"pushq	%rbp; .cfi_adjust_cfa_offset 8; .cfi_offset rbp, -16\n\t"
	"pushq	%rbx; .cfi_adjust_cfa_offset 8; .cfi_offset rbx, -24\n\t"
	"pushq	%r12; .cfi_adjust_cfa_offset 8; .cfi_offset r12, -32\n\t"
	"pushq	%r13; .cfi_adjust_cfa_offset 8; .cfi_offset r13, -40\n\t"
	"pushq	%r14; .cfi_adjust_cfa_offset 8; .cfi_offset r14, -48\n\t"
	"pushq	%r15; .cfi_adjust_cfa_offset 8; .cfi_offset r15, -56\n\t"
	"pushq	%rdi; .cfi_adjust_cfa_offset 8\n\t"
	"movabsq $0x0101010101010101, %rax\n\t"
	"leaq	(%rax,%rax), %rcx\n\t"
	"leaq	(%rax,%rcx), %rdx\n\t"
	"leaq	(%rax,%rdx), %rbx\n\t"
	"leaq	(%rax,%rbx), %rbp\n\t"
	"leaq	(%rax,%rbp), %rsi\n\t"
	"leaq	(%rax,%rsi), %rdi\n\t"
	"leaq	(%rax,%rdi), %r8\n\t"
	"leaq	(%rax,%r8), %r9\n\t"
	"leaq	(%rax,%r9), %r10\n\t"
	"leaq	(%rax,%r10), %r11\n\t"
	"leaq	(%rax,%r11), %r12\n\t"
	"leaq	(%rax,%r12), %r13\n\t"
	"leaq	(%rax,%r13), %r14\n\t"
	"leaq	(%rax,%r14), %r15\n\t"
	"pushfq;		.cfi_adjust_cfa_offset 8\n\t"
	"orl	$0x100, (%rsp)\n\t"
	"popfq;			.cfi_adjust_cfa_offset -8\n\t"
	"call	*(%rsp)\n\t"
	"pushfq;		.cfi_adjust_cfa_offset 8\n\t"
	"andl	$~0x100, (%rsp)\n\t"
	"popfq;			.cfi_adjust_cfa_offset -8\n\t"
	"popq	%rdi; .cfi_adjust_cfa_offset -8\n\t"
	"popq	%r15; .cfi_adjust_cfa_offset -8; .cfi_restore r15\n\t"
	"popq	%r14; .cfi_adjust_cfa_offset -8; .cfi_restore r14\n\t"
	"popq	%r13; .cfi_adjust_cfa_offset -8; .cfi_restore r13\n\t"
	"popq	%r12; .cfi_adjust_cfa_offset -8; .cfi_restore r12\n\t"
	"popq	%rbx; .cfi_adjust_cfa_offset -8; .cfi_restore rbx\n\t"
	"popq	%rbp; .cfi_adjust_cfa_offset -8; .cfi_restore rbp\n\t"
	"ret\n\t"
	".cfi_endproc\n\t"
	".size call_in_steps, . - call_in_steps\n");

/* What is interrupted; each leaves RESULT in here. */
static volatile long result;
#define RESULT	10

/*
 * A leaf: its CFA is counted from rsp, what it works on is in the red zone, to
 * its last word, and the direction flag is set on the way.
 */
__attribute__((noinline)) static void leaf(void)
{
	long sum;

	__asm__ volatile("movq $1, -8(%%rsp); movq $2, -16(%%rsp)\n\t"
			 "movq $3, -120(%%rsp); movq $4, -128(%%rsp)\n\t"
			 "std\n\t"
			 "movq -8(%%rsp), %0; addq -16(%%rsp), %0\n\t"
			 "addq -120(%%rsp), %0; addq -128(%%rsp), %0\n\t"
			 "cld"
			 : "=r"(sum) : : "memory", "cc");
	result = sum;
}

/* A prologue and an epilogue, in which rsp moves and registers are saved. */
__attribute__((noinline)) static void frame_of_pushes(void)
{
	long out = 4;

	__asm__ volatile("incq %0; incq %0; incq %0; incq %0; incq %0; incq %0"
			 : "+r"(out) : :
			 "rbx", "r12", "r13", "r14", "r15", "memory");
	result = out;
}

/* A frame whose size only rbp knows; and a call of another function. */
__attribute__((noinline, optimize("no-omit-frame-pointer")))
static void frame_of_rbp(void)
{
	volatile char *room = __builtin_alloca((result & 15) + 9);

	room[0] = 3;
	leaf();
	room[1] = room[0];
	result = result + room[1] - 3;
}

static const struct {
	void (*fn)(void);
	const char *name;
} victims[] = {
	{ leaf, "leaf" },
	{ frame_of_pushes, "frame_of_pushes" },
	{ frame_of_rbp, "frame_of_rbp" },
};

/* One upcall, if there is still an instruction to interrupt. */
static bool run_once(int entry, bool pass, void (*interrupted)(void), long at)
{
	plan.entry = &codes[entry];
	plan.onstack = entry == ONSTACK;
	plan.pass = pass;
	plan.at = at;
	now.state = BEFORE;
	now.step = 0;
	result = 0;
	call_in_steps(interrupted);
	CHECK_EQ(result, RESULT);
	return now.state == RESUMED;
}

/* For the library it is a view, though there is no module here. */
int __real_avm_sys_ioctl(int fd, unsigned long command, void *arg);
int __wrap_avm_sys_ioctl(int fd, unsigned long command, void *arg);
int __wrap_avm_sys_ioctl(int fd, unsigned long command, void *arg)
{
	return command == AVM_IOC_TRAP ? 0 :
	       __real_avm_sys_ioctl(fd, command, arg);
}

#define SOME_SPACE	1000000	/* no descriptor is */

static void begin(unsigned int flags)
{
	static stack_t stack = {
		.ss_sp = handler_stack,
		.ss_size = sizeof(handler_stack),
	};
	struct sigaction action = {
		.sa_sigaction = on_step,
		.sa_flags = SA_SIGINFO | SA_ONSTACK,
	};

	page = pages(1, PROT_NONE);
	memset(&now, 0, sizeof(now));
	REQUIRE(avm_trap(SOME_SPACE, page, AVM_PAGE_SIZE, spoil, NULL, flags) == 0);
	REQUIRE(sigaltstack(&stack, NULL) == 0);
	REQUIRE(sigaction(SIGTRAP, &action, NULL) == 0);
}

static void end(void)
{
	signal(SIGTRAP, SIG_DFL);
	CHECK_EQ(avm_untrap(page), 0);
	free_pages(page, 1);
}

/* Every instruction of upcall.S for every one that may be interrupted. */
static void interrupt_everywhere(int entry)
{
	begin(AVM_TRAP_NOVECTOR);
	for (size_t i = 0; i < ARRAY_SIZE(victims); i++) {
		long at = 0;

		while (run_once(entry, false, victims[i].fn, at) &&
		       run_once(entry, true, victims[i].fn, at))
			at++;
		printf("# %s: %ld instructions interrupted\n", victims[i].name, at);
		/* Those of the function, and some of what calls it. */
		CHECK(at > 12);
	}
	printf("# unwound %ld times\n", now.walks);
	end();
}

static void test_entry(void)
{
	interrupt_everywhere(ENTRY);
}

static void test_onstack(void)
{
	interrupt_everywhere(ONSTACK);
}

/* All ways to save the vector registers; as many as this CPU has. */
static void test_vector(void)
{
	unsigned int how = avm_vector_how, mask = avm_vector_mask;

	begin(0);
	how = avm_vector_how;
	mask = avm_vector_mask;
	for (unsigned int i = 0; i <= how; i++) {
		avm_vector_how = i;
		/* What XSAVE does not save is not to be cleared, either. */
		avm_vector_mask = i ? mask : 0;
		CHECK(run_once(ENTRY, false, leaf, 5));
		CHECK(run_once(ONSTACK, false, leaf, 6));
		CHECK(run_once(ENTRY, true, frame_of_pushes, 7));
		CHECK(run_once(ONSTACK, true, frame_of_pushes, 8));
	}
	avm_vector_how = how;
	avm_vector_mask = mask;
	end();
}

/* The tests above left no instruction out. */
static void check_covered(const struct code *code)
{
	for (size_t at = 0; at < code->size; at++) {
		if (code->seen[at])
			continue;
		printf("# not seen: %s+0x%zx\n", code->name, at);
		tap_bad = true;
	}
}

static void test_entries_covered(void)
{
	check_covered(&codes[ENTRY]);
	check_covered(&codes[ONSTACK]);
}

static void test_vector_covered(void)
{
	if (avm_vector_how == 2 && avm_vector_mask & 4)
		check_covered(&codes[VECTOR]);
	else
		tap_skip("this CPU has no XSAVEC or no AVX, so not all of it can be executed");
}

static const struct tap_test tests[] = {
	TEST(test_entry, "avm_upcall_entry: unwound from every instruction"),
	TEST(test_onstack, "avm_upcall_onstack: unwound from every instruction"),
	TEST(test_vector, "avm_call_vector: unwound from every instruction"),
	TEST(test_entries_covered, "no instruction of the entries was left out"),
	TEST(test_vector_covered, "nor of avm_call_vector"),
};

static void code_init(int i, const char *name, const char *start, size_t size)
{
	codes[i].name = name;
	codes[i].start = (uintptr_t)start;
	codes[i].size = size;
	if (size && size <= sizeof(codes[i].seen))
		return;
	printf("Bail out! %s has %zu bytes\n", name, size);
	exit(1);
}

int main(void)
{
	code_init(ENTRY, "avm_upcall_entry", avm_upcall_entry, entry_size);
	code_init(ONSTACK, "avm_upcall_onstack", avm_upcall_onstack, onstack_size);
	code_init(VECTOR, "avm_call_vector", (const char *)avm_call_vector,
		  vector_size);
	return tap_run(tests, ARRAY_SIZE(tests));
}
