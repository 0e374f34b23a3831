// SPDX-License-Identifier: GPL-2.0
/*
 * step.c - run a call in the kernel instruction by instruction, and let
 * something happen after the nth
 *
 * The CPU's trap flag raises a debug exception after each instruction. It is
 * cleared when an interrupt, or the exception itself, is entered, and comes
 * back with the return from it. It is not kept when a thread gives up its CPU:
 * the next thread gets the exception, which ends the stepping, and the call
 * goes on as any other. So a call that sleeps is stepped to there.
 *
 * The event happens in the exception, where nothing may sleep or take a lock.
 *
 * STEP_WRITE is what a CPU does that has no translation of the page cached: it
 * looks at the PTE, and if that is writable sets accessed and dirty in it by one
 * atomic operation, and writes.
 *
 * STEP_OTHER lets another thread go, and waits until its call has ended or, as
 * it may need a lock or an answer of this CPU, for a while.
 */
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/kdebug.h>
#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/sched/signal.h>
#include <asm/debugreg.h>

#include "step.h"

#define START_TIME	20000	/* microseconds for another CPU to look */
#define PATIENCE	400	/* and for its call */
#define JOIN_TIME	(10 * HZ)

enum state {
	IDLE,
	READY,		/* a thread is in STEP_JOIN */
	GO,		/* its turn */
	UNDER_WAY,	/* it is in its call */
	DONE,		/* it is through */
	CANCELLED,	/* its turn will not come */
};

/* There is one run at a time. */
static DEFINE_MUTEX(running);
static struct step_run *run;
static struct task_struct *runner;
static pte_t *run_pte;
static atomic_t other = ATOMIC_INIT(IDLE);	/* enum state: of the other thread */

static void write_as_a_cpu(void)
{
	pteval_t old = pte_val(READ_ONCE(*run_pte)), new;
	pteval_t need = _PAGE_PRESENT | _PAGE_RW | _PAGE_USER;
	u64 *frame;

	do {
		if ((old & need) != need) {
			run->out_how = STEP_DENIED;
			return;
		}
		new = old | _PAGE_ACCESSED | _PAGE_DIRTY;
	} while (!try_cmpxchg(&run_pte->pte, &old, new));
	frame = page_address(pfn_to_page(pte_pfn(__pte(old))));
	WRITE_ONCE(frame[offset_in_page(run->addr) / sizeof(*frame)], run->value);
	run->out_how = STEP_WRITTEN;
}

/* Wait for a state of the other, without a sleep. Return: whether it came. */
static bool spin_for(enum state state, unsigned int microseconds)
{
	while (atomic_read_acquire(&other) < state) {
		if (!microseconds--)
			return false;
		udelay(1);
	}
	return true;
}

static void let_the_other_go(void)
{
	if (atomic_cmpxchg(&other, READY, GO) == READY &&
	    spin_for(UNDER_WAY, START_TIME))
		run->out_how = spin_for(DONE, PATIENCE) ? STEP_COMPLETE : STEP_BLOCKED;
	else
		run->out_how = STEP_LOST;
}

/* Return: whether to go on stepping. */
static bool step(void)
{
	if (current != runner)
		return false;
	if (++run->out_steps < run->at)
		return true;
	/* The flag may come back with flags that the call had put by. */
	if (run->out_steps > run->at)
		return false;
	if (run->event == STEP_WRITE)
		write_as_a_cpu();
	else
		let_the_other_go();
	return false;
}

static int on_debug(struct notifier_block *nb, unsigned long event, void *data)
{
	struct die_args *args = data;
	unsigned long *dr6;

	if (event != DIE_DEBUG || user_mode(args->regs) || !READ_ONCE(runner))
		return NOTIFY_DONE;
	dr6 = (unsigned long *)args->err;
	if (!(*dr6 & DR_STEP))
		return NOTIFY_DONE;
	if (!step())
		args->regs->flags &= ~X86_EFLAGS_TF;
	*dr6 &= ~DR_STEP;
	return NOTIFY_STOP;
}

static struct notifier_block debug_notifier = {
	.notifier_call = on_debug,
};

static long fault(struct step_call *call)
{
	bool unlocked = false;
	long ret;

	mmap_read_lock(current->mm);
	ret = fixup_user_fault(current->mm, call->arg, call->cmd ? FAULT_FLAG_WRITE : 0,
			       &unlocked);
	mmap_read_unlock(current->mm);
	return ret;
}

static long make_call(struct step_call *call, struct file *file)
{
	if (call->fd == STEP_FAULT)
		return fault(call);
	return file->f_op->unlocked_ioctl(file, call->cmd, call->arg);
}

/* Return: whether it was stepped to its end, or to the event. */
static noinline bool make_call_stepped(struct step_call *call, struct file *file)
{
	unsigned long flags;

	asm volatile("pushfq; orq %0, (%%rsp); popfq" : : "i" (X86_EFLAGS_TF) : "memory", "cc");
	call->out_ret = make_call(call, file);
	asm volatile("pushfq; popq %0; pushfq; andq %1, (%%rsp); popfq"
		     : "=r" (flags) : "i" (~X86_EFLAGS_TF) : "memory", "cc");
	return flags & X86_EFLAGS_TF || run->out_how != STEP_NOT_REACHED;
}

/* The file of a call, if it has one. */
static int get_file_of(const struct step_call *call, struct file **file)
{
	*file = NULL;
	if (call->fd == STEP_FAULT)
		return 0;
	*file = fget(call->fd);
	if (!*file)
		return -EBADF;
	if ((*file)->f_op->unlocked_ioctl)
		return 0;
	fput(*file);
	return -ENOTTY;
}

static void put_file_of(struct file *file)
{
	if (file)
		fput(file);
}

/* The PTE of a page of the caller, which sees to it that its table stays. */
static pte_t *find_pte(unsigned long addr)
{
	struct mm_struct *mm = current->mm;
	pte_t *ptep = NULL;
	pgd_t *pgd;
	p4d_t *p4d;
	pud_t *pud;
	pmd_t *pmd;

	mmap_read_lock(mm);
	pgd = pgd_offset(mm, addr);
	p4d = pgd_none(*pgd) ? NULL : p4d_offset(pgd, addr);
	pud = !p4d || p4d_none(*p4d) ? NULL : pud_offset(p4d, addr);
	pmd = !pud || pud_none(*pud) ? NULL : pmd_offset(pud, addr);
	if (pmd && !pmd_none(*pmd) && !pmd_trans_huge(*pmd))
		ptep = pte_offset_kernel(pmd, addr);
	mmap_read_unlock(mm);
	return ptep;
}

/* Wait for a state of the other. */
static int await(enum state a, enum state b)
{
	unsigned long end = jiffies + JOIN_TIME;
	enum state now;

	for (;;) {
		now = atomic_read_acquire(&other);
		if (now == a || now == b)
			return 0;
		if (fatal_signal_pending(current) || time_after(jiffies, end))
			return -EINTR;
		cond_resched();
	}
}

static int run_it(struct step_run *arg, struct file *file)
{
	int err = 0;

	run_pte = NULL;
	if (arg->event == STEP_WRITE) {
		run_pte = arg->addr < TASK_SIZE ? find_pte(arg->addr) : NULL;
		if (!run_pte)
			return -EFAULT;
	} else {
		err = await(READY, READY);
		if (err)
			return err;
	}
	run = arg;
	WRITE_ONCE(runner, current);
	if (!make_call_stepped(&arg->call, file))
		arg->out_how = STEP_LOST;
	WRITE_ONCE(runner, NULL);
	if (arg->event == STEP_OTHER) {
		atomic_cmpxchg(&other, READY, CANCELLED);
		err = await(DONE, IDLE);
		atomic_cmpxchg(&other, DONE, IDLE);
	}
	return err;
}

/**
 * step_run() - make a call, and let something happen in its course
 * @arg: what; gets how it went
 *
 * Return: 0; -EINVAL; -EBADF or -ENOTTY for its descriptor; -EFAULT: there is
 * no page table at @arg->addr; -EBUSY: another run is under way; -EINTR: the
 * other thread has not come.
 */
int step_run(struct step_run *arg)
{
	struct file *file;
	int err;

	if (arg->event > STEP_OTHER || arg->addr & 7)
		return -EINVAL;
	arg->out_how = STEP_NOT_REACHED;
	arg->out_steps = 0;
	err = get_file_of(&arg->call, &file);
	if (err)
		return err;
	if (mutex_trylock(&running)) {
		err = run_it(arg, file);
		mutex_unlock(&running);
	} else {
		err = -EBUSY;
	}
	put_file_of(file);
	return err;
}

/**
 * step_join() - be the other thread, once
 * @arg: its call
 *
 * Return: 0; -ECANCELED: the run did not come to its step; as step_run().
 */
int step_join(struct step_call *arg)
{
	struct file *file;
	int err;

	err = get_file_of(arg, &file);
	if (err)
		return err;
	if (atomic_cmpxchg(&other, IDLE, READY) != IDLE) {
		err = -EBUSY;
		goto out;
	}
	err = await(GO, CANCELLED);
	if (!err && atomic_read_acquire(&other) == GO) {
		atomic_set_release(&other, UNDER_WAY);
		arg->out_ret = make_call(arg, file);
		atomic_set_release(&other, DONE);
	} else {
		err = err ?: -ECANCELED;
		atomic_set_release(&other, IDLE);
	}
out:
	put_file_of(file);
	return err;
}

int step_setup(void)
{
	return register_die_notifier(&debug_notifier);
}

void step_teardown(void)
{
	unregister_die_notifier(&debug_notifier);
}
