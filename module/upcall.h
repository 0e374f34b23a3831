/* SPDX-License-Identifier: GPL-2.0 */
/*
 * upcall.h - the part of upcall.c that every trap takes, for view.c to have
 *	inline. What has to be thought of is at the head of upcall.c.
 */
#ifndef AVM_UPCALL_H
#define AVM_UPCALL_H

#include <linux/ptrace.h>
#include <linux/sched/signal.h>
#include <linux/sched/task_stack.h>
#include <linux/uaccess.h>
#include <linux/uprobes.h>
#include <asm/processor-flags.h>

#include "internal.h"

#define RED_ZONE	128

static __always_inline bool stepped(const struct pt_regs *regs)
{
	if (regs->flags & X86_EFLAGS_TF)
		return true;
	if (read_thread_flags() &
	    (_TIF_SINGLESTEP | _TIF_BLOCKSTEP | _TIF_FORCED_TF))
		return true;
#ifdef CONFIG_UPROBES
	/* Its copy of the instruction runs elsewhere than where ip says. */
	if (current->utask && current->utask->active_uprobe)
		return true;
#endif
	return false;
}

/* Whether the thread may go on elsewhere: see struct avm_trap. */
static __always_inline bool redirectable(const struct vm_fault *vmf,
					 const struct pt_regs *regs)
{
	return vmf->flags & FAULT_FLAG_USER && regs->cs == __USER_CS &&
	       vmf->vma->vm_mm == current->mm && !stepped(regs) &&
	       !avm_shadow_stack();
}

/* Where the frame is to end, or 0 where there can be none. */
static __always_inline unsigned long stack_for(unsigned long sp,
					       unsigned int how)
{
	if (how & AVM_UPCALL_ONSTACK && current->sas_ss_size) {
		/* Signals would not see that it is in use. */
		if (current->sas_ss_flags & SS_AUTODISARM)
			return 0;
		if (!on_sig_stack(sp))
			return (current->sas_ss_sp + current->sas_ss_size) &
				~15ul;
		/* Nested so deep that it is full; its last byte is off it. */
		if (sp - RED_ZONE - sizeof(struct avm_upcall) <=
		    current->sas_ss_sp)
			return 0;
	}
	return sp - RED_ZONE;
}

/* What put_frame() returns when there must be no upcall, however often tried. */
#define NO_UPCALL	1ul

/*
 * Write the frame; the address it has, or 0 when it cannot be written, or
 * NO_UPCALL, among others when the thread is in a restartable sequence: the
 * kernel forgets that when it finds ip outside of it, without an abort.
 */
static __always_inline unsigned long put_frame(const struct pt_regs *regs,
					       u64 arg, unsigned long addr,
					       unsigned int how)
{
	unsigned long top = stack_for(regs->sp, how);
	struct avm_upcall __user *up = (void __user *)(top - sizeof(*up));
	u64 rseq_cs = 0;

	if (!top)
		return NO_UPCALL;
	if (!user_access_begin(up, sizeof(*up)))
		return 0;
#ifdef CONFIG_RSEQ
	if (current->rseq)
		unsafe_get_user(rseq_cs, &current->rseq->rseq_cs, fault);
#endif
	unsafe_put_user(arg, &up->arg, fault);
	unsafe_put_user(addr, &up->addr, fault);
	/* With the reserved word behind it. */
	unsafe_put_user((u64)(how & AVM_UPCALL_ACCESS),
			(u64 __user *)&up->access, fault);
	unsafe_put_user(regs->di, &up->di, fault);
	unsafe_put_user(regs->ip, &up->ip, fault);
	unsafe_put_user(regs->cs, &up->cs, fault);
	unsafe_put_user(regs->flags, &up->flags, fault);
	unsafe_put_user(regs->sp, &up->sp, fault);
	unsafe_put_user(regs->ss, &up->ss, fault);
	user_access_end();
	return rseq_cs ? NO_UPCALL : (unsigned long)up;

fault:
	user_access_end();
	return 0;
}

/* From here on the thread is in the handler. */
static __always_inline void redirect(struct pt_regs *regs, unsigned long code,
				     unsigned long frame)
{
	regs->di = frame;
	regs->sp = frame;
	regs->flags &= ~(X86_EFLAGS_DF | X86_EFLAGS_RF | X86_EFLAGS_AC |
			 X86_EFLAGS_NT);
	regs->ip = code;
}

/**
 * avm_upcall() - a fault ends in the code that was registered for its page
 * @vmf: the fault
 * @code: what was registered
 * @arg: its argument
 * @how: what was tried, one AVM_PROT_* bit; AVM_UPCALL_ONSTACK
 *
 * Context: in ->fault and the like; does not sleep.
 * Return: VM_FAULT_NOPAGE, or VM_FAULT_SIGSEGV where it has to be a signal.
 */
static __always_inline vm_fault_t avm_upcall(const struct vm_fault *vmf,
					     unsigned long code, u64 arg,
					     unsigned int how)
{
	struct pt_regs *regs = current_pt_regs();
	struct avm_view *view = vmf->vma->vm_private_data;
	unsigned long frame;

	if (!redirectable(vmf, regs))
		return VM_FAULT_SIGSEGV;
	pagefault_disable();
	frame = put_frame(regs, arg, vmf->real_address, how);
	pagefault_enable();
	if (unlikely(frame <= NO_UPCALL))
		return frame ? VM_FAULT_SIGSEGV :
			       avm_upcall_later(vmf, code, arg, how);
	avm_count(view->space, upcalls, 1);
	redirect(regs, code, frame);
	return VM_FAULT_NOPAGE;
}

#endif /* AVM_UPCALL_H */
