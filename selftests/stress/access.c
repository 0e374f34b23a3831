// SPDX-License-Identifier: GPL-2.0
/*
 * access.c - accesses of single bytes, and what meets them: upcalls, signals
 *
 * An access is made by one function in assembly, so that whoever stops it can
 * have it made again or given up: its registers and its stack are known. The
 * entry of upcalls saves what that function needs, in the order of struct
 * avm_trap_pass, and returns by RET from just below the interrupted stack.
 */
#include "stress.h"

#include <ucontext.h>

const uint16_t byte_at[BYTES] = { 0, 63, 2048, 4095 };

int probe(char *addr, int value, int how);
void probe_given_up(void);

__asm__(".pushsection .text\n"
/* int probe(char *addr, int value, int how) */
"probe:\n"
"	xorl %eax, %eax\n"
"	cmpl $1, %edx\n"
"	jb 1f\n"
"	je 2f\n"
"	cmpl $2, %edx\n"
"	je 3f\n"
"	jmp *%rdi\n"
"1:	movzbl (%rdi), %eax\n"
"	ret\n"
"2:	movb %sil, (%rdi)\n"
"	ret\n"
"3:	lock addb %sil, (%rdi)\n"
"	ret\n"
"probe_given_up:\n"
"	movl $-1, %eax\n"
"	ret\n"
/* With rdi and rsp at a struct avm_upcall. */
".globl upcall_entry\n"
"upcall_entry:\n"
"	pushq $0\n"
"	pushq %rbp\n"
"	pushq %rax\n"
"	pushq %rcx\n"
"	pushq %rdx\n"
"	pushq %rsi\n"
"	pushq %r8\n"
"	pushq %r9\n"
"	pushq %r10\n"
"	pushq %r11\n"
"	movq %rsp, %rdi\n"
"	movq %rsp, %rbp\n"
"	andq $-16, %rsp\n"
"	call upcall_handler\n"
"	movq %rbp, %rsp\n"
"	testl %eax, %eax\n"
"	js 4f\n"
"	movl %eax, %edi\n"
"	movl $0xB78A, %esi\n"	/* AVM_IOC_TRAP_PASS */
"	movq %rsp, %rdx\n"
"	movl $16, %eax\n"
"	syscall\n"
"	ud2\n"			/* on success it does not return */
"4:	popq %r11\n"
"	popq %r10\n"
"	popq %r9\n"
"	popq %r8\n"
"	popq %rsi\n"
"	popq %rdx\n"
"	popq %rcx\n"
"	popq %rax\n"
"	popq %rbp\n"
"	popq %rdi\n"
"	movq 24(%rsp), %rdi\n"
"	movq 56(%rsp), %rsp\n"
"	leaq -8(%rsp), %rsp\n"
"	ret\n"
".popsection\n");

_Static_assert(AVM_IOC_TRAP_PASS == 0xB78A, "as in the assembly");
_Static_assert(offsetof(struct avm_upcall, di) == 24 && offsetof(struct avm_upcall, sp) == 56,
	       "as in the assembly");

static __thread struct {
	struct slot *slot;
	const struct op *op;	/* that makes an access now */
	struct result *got;
	unsigned int n;
} me;

static struct event *log_event(uint64_t what, uint64_t addr, uint64_t access)
{
	struct event *e = &me.got->event[me.n < EVENTS ? me.n : EVENTS - 1];

	me.n++;
	e->what = what;
	e->addr = addr;
	e->access = access;
	return e;
}

static char *place(const struct slot *s, const struct op *op)
{
	return s->arena + op->at * PAGE + byte_at[op->byte];
}

/* Do what the handler is to do. Return: whether the access is made again. */
static bool deed(struct event *e)
{
	const struct op *op = me.op;
	const struct slot *s = me.slot;

	if (op->deed == SKIP_IT)
		return false;
	if (op->deed == OPEN_PAGE)
		e->did = call(s->fd[op->space],
			      AVM_IOC_PROTECT_PAGE,
			      (void *)(((uintptr_t)place(s, op) & -PAGE) + op->prot));
	return me.n < 2;
}

/* Called by upcall_entry. Return: -1, or the descriptor for AVM_IOC_TRAP_PASS. */
int upcall_handler(struct avm_trap_pass *pass);
int upcall_handler(struct avm_trap_pass *pass)
{
	struct avm_upcall *up = &pass->upcall;
	struct event *e;

	if (!me.op) {
		static const char text[] = "Bail out! an upcall out of nowhere\n";

		must(write(1, text, sizeof(text) - 1) > 0);
		_exit(3);
	}
	e = log_event(EVENT_UPCALL, up->addr, up->access);
	e->arg = up->arg;
	if (me.op->deed == PASS)
		return me.slot->fd[me.op->space];
	*(uint64_t *)(uintptr_t)(up->sp - 8) = deed(e) ? up->ip : (uintptr_t)probe_given_up;
	return -1;
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	if (!me.op) {
		dprintf(1, "Bail out! signal %d at %p, in slot %d\n", sig, info->si_addr,
			me.slot ? (int)me.slot->number : -1);
		_exit(3);
	}
	log_event(EVENT_SIGNAL, (uintptr_t)info->si_addr, info->si_code);
	if (sig != SIGSEGV)
		me.got->event[0].did = sig;
	uc->uc_mcontext.gregs[REG_RIP] = (uintptr_t)probe_given_up;
}

/* The next operation is done in a signal handler. */
static void on_order(int sig)
{
	(void)sig;
	exec_op(me.slot, me.slot->pending, &me.slot->got);
}

static void on_alarm(int sig)
{
	(void)sig;
}

/* Once a process. */
void access_setup(void)
{
	struct sigaction fault = {
		.sa_sigaction = on_fault,
		.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER,
	};
	struct sigaction order = { .sa_handler = on_order, .sa_flags = SA_ONSTACK | SA_RESTART };
	struct sigaction alarm = { .sa_handler = on_alarm, .sa_flags = SA_ONSTACK | SA_RESTART };

	must(!sigaction(SIGSEGV, &fault, NULL) && !sigaction(SIGBUS, &fault, NULL) &&
	     !sigaction(SIGUSR1, &order, NULL) && !sigaction(SIGALRM, &alarm, NULL));
}

/* Once a thread. */
void access_begin(struct slot *s)
{
	stack_t stack = { .ss_size = 256 * 1024 };

	stack.ss_sp = mmap(NULL, stack.ss_size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(stack.ss_sp != MAP_FAILED && !sigaltstack(&stack, NULL));
	me.slot = s;
}

void access_do(struct slot *s, const struct op *op, struct result *got)
{
	me.got = got;
	me.n = 0;
	me.op = op;
	got->ret = probe(place(s, op), op->value, op->how);
	me.op = NULL;
}
