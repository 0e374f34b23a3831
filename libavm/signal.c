// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * libavm: denied accesses that come as SIGSEGV.
 *
 * Owns the process's SIGSEGV handler once it is installed, and what was there
 * before it. Everything that is no denied access of a registered range is
 * given on, to end as if this file were not there.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "table.h"

#define ERROR_WRITE	0x02	/* bits of a page fault's error code */
#define ERROR_FETCH	0x10

/* Written before the handler is installed, and only read from then on. */
static struct sigaction previous;
/* A previous SA_RESETHAND handler has had its one signal. */
static atomic_bool previous_spent;

/*
 * si_addr and the error code mean something for page faults alone: not for a
 * signal that was sent, nor for a non-canonical address (SI_KERNEL). Faults
 * of protection keys and the like are not about what a view allows. That it is
 * a page fault, and this one, the address in CR2 shows; the trap number does
 * not, where a uprobe is.
 */
static bool is_denied_access(const siginfo_t *info, const ucontext_t *context)
{
	return (info->si_code == SEGV_MAPERR || info->si_code == SEGV_ACCERR) &&
	       context->uc_mcontext.gregs[REG_CR2] == (greg_t)info->si_addr;
}

static unsigned int access_kind(const ucontext_t *context)
{
	greg_t error = context->uc_mcontext.gregs[REG_ERR];

	if (error & ERROR_FETCH)
		return AVM_PROT_EXEC;
	return (error & ERROR_WRITE) ? AVM_PROT_WRITE : AVM_PROT_READ;
}

/* Sent by a process (kill, sigqueue, tgkill), not raised by the kernel. */
static bool was_sent(const siginfo_t *info)
{
	return info->si_code <= 0;
}

/*
 * End the program as the default action does, at the instruction that was
 * interrupted, so that the core shows that and not this function. To return
 * and have a fault happen again is not enough: it may come as an upcall, and
 * ask a handler again that has passed it. So the signal is sent again, as it
 * was; it is blocked until the return from this handler puts the interrupted
 * code's mask back.
 */
static void take_default(int sig, siginfo_t *info)
{
	struct sigaction action = { .sa_handler = SIG_DFL };
	sigset_t only;

	sigaction(sig, &action, NULL);
	sigemptyset(&only);
	sigaddset(&only, sig);
	pthread_sigmask(SIG_BLOCK, &only, NULL);
	syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), sig,
		info);
}

/*
 * Call the previous handler with the mask that it would have had. The return
 * from ours puts the interrupted code's back. It runs on the alternate stack
 * if there is one, whether it has asked for it or not.
 */
static void call_previous(int sig, siginfo_t *info, void *context)
{
	sigset_t mask = previous.sa_mask;

	if (!(previous.sa_flags & SA_NODEFER))
		sigaddset(&mask, sig);
	pthread_sigmask(SIG_BLOCK, &mask, NULL);
	if (previous.sa_flags & SA_SIGINFO)
		previous.sa_sigaction(sig, info, context);
	else
		previous.sa_handler(sig);
}

static void give_on(int sig, siginfo_t *info, void *context)
{
	if (previous.sa_handler == SIG_IGN) {
		/* The kernel does not let a fault be ignored, either. */
		if (!was_sent(info))
			take_default(sig, info);
	} else if (previous.sa_handler == SIG_DFL) {
		take_default(sig, info);
	} else if ((previous.sa_flags & SA_RESETHAND) &&
		   atomic_exchange(&previous_spent, true)) {
		take_default(sig, info);
	} else {
		call_previous(sig, info, context);
	}
}

__thread struct seen avm_passed;

static bool was_passed(const siginfo_t *info, const ucontext_t *context)
{
	const greg_t *regs = context->uc_mcontext.gregs;
	bool same = seen_is(&avm_passed, regs[REG_RIP], regs[REG_RSP],
			    (uintptr_t)info->si_addr);

	avm_passed.sp = 0;
	return same;
}

static bool handle(const siginfo_t *info, const ucontext_t *context)
{
	struct handler h;

	return is_denied_access(info, context) && !was_passed(info, context) &&
	       avm_table_find((uintptr_t)info->si_addr, &h) &&
	       call_handler(&h, info->si_addr, access_kind(context), true);
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
	int saved_errno = errno;
	bool handled = handle(info, context);

	errno = saved_errno;
	if (!handled)
		give_on(sig, info, context);
}

void avm_signal_die(uintptr_t addr)
{
	siginfo_t info = {
		.si_signo = SIGSEGV,
		.si_code = SEGV_MAPERR,
		.si_addr = (void *)addr,
	};
	struct sigaction action = { .sa_handler = SIG_DFL };
	sigset_t only;

	sigaction(SIGSEGV, &action, NULL);
	sigemptyset(&only);
	sigaddset(&only, SIGSEGV);
	syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), SIGSEGV,
		&info);
	pthread_sigmask(SIG_UNBLOCK, &only, NULL);
	/* The first process of a PID namespace takes a fault only. */
	__asm__ volatile("hlt");
}

/*
 * SA_NODEFER and an empty mask: a handler runs with the mask of the code that
 * it interrupted, so that it may take traps itself and leave by a longjmp()
 * that restores no mask. SA_ONSTACK: where a thread has an alternate stack,
 * its ordinary one may be what cannot be written; nested traps go on below
 * the first on the same stack. SA_RESTART: a SIGSEGV that is sent, and
 * ignored, shall not interrupt a system call.
 */
int avm_signal_install(void)
{
	struct sigaction action = {
		.sa_sigaction = on_signal,
		.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK | SA_RESTART,
	};
	struct sigaction old;

	/*
	 * Asked first and apart: once ours is there, a fault in another thread
	 * may need to know what was before. It is ours if this process was
	 * forked while another thread was here.
	 */
	if (sigaction(SIGSEGV, NULL, &old) < 0)
		return -errno;
	if ((old.sa_flags & SA_SIGINFO) && old.sa_sigaction == on_signal)
		return 0;
	previous = old;
	sigemptyset(&action.sa_mask);
	return sigaction(SIGSEGV, &action, NULL) < 0 ? -errno : 0;
}
