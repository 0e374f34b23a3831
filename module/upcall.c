// SPDX-License-Identifier: GPL-2.0
/*
 * upcall.c - a denied access goes on in user code, without a signal; with
 *	upcall.h, what is inline in a fault
 *
 * Called by a fault that has decided that the access is denied. Writes a frame
 * to the user's stack and has the thread go on at the registered code: to
 * rewrite the user's registers is the last thing done, after all that can
 * fail. Only the registers of a 64-bit access made in user mode are ever
 * rewritten: those at the top of the thread's kernel stack, which the
 * exception has put there. A kernel-mode access (copy_to_user, get_user) has
 * FAULT_FLAG_USER clear; so has whatever looks at the page for others, but for
 * the IOMMU drivers, which handle the faults of devices as a user's and set
 * FAULT_FLAG_REMOTE.
 *
 * A fault holds mmap_lock or the lock of the VMA, and may be under RCU. So the
 * frame is written with page faults disabled. If that fails, which is routine
 * (a stack page that was never touched, or is shared after fork), the thread
 * does it on its way to user mode, from task_work, where it may sleep. Nothing
 * of user mode runs in between, and task_work comes before any signal. If it
 * fails again, SIGSEGV is forced, as core mm would have done.
 *
 * What can be interrupted nowhere, or may not be resumed elsewhere, gets the
 * signal: see redirectable() and put_frame() in upcall.h.
 */
#include <linux/compat.h>
#include <linux/file.h>
#include <linux/ptrace.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/static_call.h>
#include <linux/task_work.h>
#include <linux/uaccess.h>
#include <asm/trapnr.h>
#include <asm/trap_pf.h>

#include "internal.h"
#include "upcall.h"

/* What user code may set in its flags, as for sigreturn(2). */
#define USER_FLAGS	(X86_EFLAGS_AC | X86_EFLAGS_OF | X86_EFLAGS_DF | \
			 X86_EFLAGS_TF | X86_EFLAGS_SF | X86_EFLAGS_ZF | \
			 X86_EFLAGS_AF | X86_EFLAGS_PF | X86_EFLAGS_CF | \
			 X86_EFLAGS_RF)

/**
 * struct deferred - what a thread does on its way to user mode
 * @work: in its list
 * @file: the space; keeps the module, too: fput() gives it up in another
 *	task_work, after this one has returned
 * @code: what is to be called
 * @arg: handed to it
 * @addr: the access that was denied
 * @how: its kind, and AVM_UPCALL_ONSTACK
 * @ip: the instruction
 * @sp: its stack pointer
 * @pass: for avm_trap_pass(): the registers
 */
struct deferred {
	struct callback_head work;
	struct file *file;
	unsigned long code;
	u64 arg;
	unsigned long addr;
	unsigned int how;
	unsigned long ip;
	unsigned long sp;
	struct avm_trap_pass pass;
};

/* Never called: its type, and a target until load. */
static int force_unresolved(int sig, int code, void __user *addr)
{
	return 0;
}

DEFINE_STATIC_CALL(avm_force_sig_fault, force_unresolved);

/**
 * avm_upcall_setup() - find what is needed, at load
 *
 * Return: 0, or -ENOENT and a line in the log.
 */
int avm_upcall_setup(void)
{
	void *force = avm_symbol("force_sig_fault");

	if (!force)
		return -ENOENT;
	static_call_update(avm_force_sig_fault, force);
	return 0;
}

/**
 * avm_upcall_teardown() - wait until no thread is in this file
 *
 * deliver_late() and pass() have given up the space, and with it the module,
 * a few instructions before they return.
 */
void avm_upcall_teardown(void)
{
	synchronize_rcu_tasks();
}

/* The SIGSEGV that core mm raises for a denied access. */
static void force_signal(unsigned long addr, unsigned int access)
{
	struct thread_struct *thread = &current->thread;

	thread->trap_nr = X86_TRAP_PF;
	thread->error_code = X86_PF_USER |
		(access & AVM_PROT_WRITE ? X86_PF_WRITE : 0) |
		(access & AVM_PROT_EXEC ? X86_PF_INSTR : 0);
	thread->cr2 = addr;
	static_call(avm_force_sig_fault)(SIGSEGV, SEGV_MAPERR,
					 (void __user *)addr);
}

static struct avm_space *space_of(const struct deferred *deferred)
{
	return avm_space_of(deferred->file);
}

static void deliver_late(struct callback_head *work)
{
	struct deferred *d = container_of(work, struct deferred, work);
	struct pt_regs *regs = current_pt_regs();
	unsigned long frame;

	/* Nobody can have changed them; if so, the access just happens again. */
	if (!(current->flags & PF_EXITING) && regs->ip == d->ip &&
	    regs->sp == d->sp) {
		frame = put_frame(regs, d->arg, d->addr, d->how);
		if (frame > NO_UPCALL) {
			avm_count(space_of(d), upcalls, 1);
			redirect(regs, d->code, frame);
		} else {
			force_signal(d->addr, d->how);
		}
	}
	fput(d->file);
	kfree(d);
}

/* Have a function called with it on the way to user mode. */
static int defer(struct deferred *d, struct file *file, task_work_func_t fn)
{
	int err;

	d->file = get_file(file);
	init_task_work(&d->work, fn);
	err = task_work_add(current, &d->work, TWA_RESUME);
	if (err) {
		fput(file);
		kfree(d);
	}
	return err;
}

/**
 * avm_upcall_later() - make an upcall on the way to user mode
 * @vmf: the fault
 * @code: as for avm_upcall()
 * @arg: the same
 * @how: the same
 *
 * Context: in ->fault and the like, perhaps under RCU: does not sleep.
 * Return: as avm_upcall().
 */
vm_fault_t avm_upcall_later(const struct vm_fault *vmf, unsigned long code,
			    u64 arg, unsigned int how)
{
	struct pt_regs *regs = current_pt_regs();
	struct deferred *d;

	d = kmalloc(sizeof(*d), GFP_NOWAIT | __GFP_NOWARN | __GFP_ACCOUNT);
	if (!d)
		return VM_FAULT_SIGSEGV;
	d->code = code;
	d->arg = arg;
	d->addr = vmf->real_address;
	d->how = how;
	d->ip = regs->ip;
	d->sp = regs->sp;
	return defer(d, vmf->vma->vm_file, deliver_late) ? VM_FAULT_SIGSEGV :
							    VM_FAULT_NOPAGE;
}

/*
 * The reverse of redirect(), for all registers that a system call or the code
 * before it may have changed; then the signal.
 */
static void pass(struct callback_head *work)
{
	struct deferred *d = container_of(work, struct deferred, work);
	const struct avm_upcall *up = &d->pass.upcall;
	struct pt_regs *regs = current_pt_regs();

	if (!(current->flags & PF_EXITING)) {
		regs->r11 = d->pass.r11;
		regs->r10 = d->pass.r10;
		regs->r9 = d->pass.r9;
		regs->r8 = d->pass.r8;
		regs->si = d->pass.si;
		regs->dx = d->pass.dx;
		regs->cx = d->pass.cx;
		regs->ax = d->pass.ax;
		regs->bp = d->pass.bp;
		regs->di = up->di;
		regs->ip = up->ip;
		regs->sp = up->sp;
		regs->flags = (regs->flags & ~USER_FLAGS) |
			      (up->flags & USER_FLAGS);
		/* Not a system call any more: nothing to restart. */
		regs->orig_ax = -1;
		force_signal(up->addr, up->access);
	}
	fput(d->file);
	kfree(d);
}

/**
 * avm_trap_pass() - AVM_IOC_TRAP_PASS
 * @file: the space
 * @from: struct avm_trap_pass
 *
 * Return: 0, and the caller then finds itself elsewhere; or an error. (What
 * this returns becomes register ax, hence the detour.)
 */
long avm_trap_pass(struct file *file, const void __user *from)
{
	struct deferred *d;

	/* Where no upcall is made, there is none to pass. */
	if (in_compat_syscall() || current_pt_regs()->cs != __USER_CS ||
	    avm_shadow_stack())
		return -EOPNOTSUPP;
	d = kmalloc(sizeof(*d), AVM_GFP);
	if (!d)
		return -ENOMEM;
	if (copy_from_user(&d->pass, from, sizeof(d->pass))) {
		kfree(d);
		return -EFAULT;
	}
	return defer(d, file, pass);
}
