// SPDX-License-Identifier: GPL-2.0
/*
 * others.c - other ways by which drivers come to the memory of a process: the
 * faults of SVA devices, and what pins or follows pages
 */
#include <linux/sched/mm.h>
#include <linux/version.h>
#include <linux/workqueue.h>

#include "mirror.h"

struct fault_work {
	struct work_struct work;
	struct mm_struct *mm;
	struct notifier_fault *arg;
	int err;
};

static vm_flags_t needs(u32 flags)
{
	if (flags & NOTIFIER_FAULT_WRITE)
		return VM_WRITE;
	return flags & NOTIFIER_FAULT_EXEC ? VM_EXEC : VM_READ;
}

/* What an IOMMU driver does for a device that shares a process's addresses. */
static int resolve(struct mm_struct *mm, struct notifier_fault *arg)
{
	unsigned int flags = FAULT_FLAG_USER | FAULT_FLAG_REMOTE;
	struct vm_area_struct *vma;
	int err = 0;

	if (arg->flags & NOTIFIER_FAULT_WRITE)
		flags |= FAULT_FLAG_WRITE;
	else if (arg->flags & NOTIFIER_FAULT_EXEC)
		flags |= FAULT_FLAG_INSTRUCTION;
	mmap_read_lock(mm);
	vma = vma_lookup(mm, arg->addr);
	if (!vma || !(vma->vm_flags & needs(arg->flags)))
		err = -EFAULT;
	else
		arg->out_fault = (__force u32)handle_mm_fault(vma, arg->addr, flags, NULL);
	mmap_read_unlock(mm);
	return err;
}

static void resolve_work(struct work_struct *work)
{
	struct fault_work *w = container_of(work, struct fault_work, work);

	w->err = resolve(w->mm, w->arg);
}

/**
 * others_fault() - a fault of an SVA device
 * @mm: the memory, which the caller keeps
 * @arg: where; gets what the kernel made of it
 *
 * Return: 0, or -EFAULT where the mapping as a whole forbids it.
 */
int others_fault(struct mm_struct *mm, struct notifier_fault *arg)
{
	struct fault_work w = { .mm = mm, .arg = arg };

	if (arg->flags & NOTIFIER_FAULT_HERE)
		return resolve(mm, arg);
	INIT_WORK_ONSTACK(&w.work, resolve_work);
	queue_work(system_unbound_wq, &w.work);
	flush_work(&w.work);
	destroy_work_on_stack(&w.work);
	return w.err;
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 5, 0)
#define get_remote(f, mm, addr, flags, page)	f(mm, addr, 1, flags, page, NULL, NULL)
#else
#define get_remote(f, mm, addr, flags, page)	f(mm, addr, 1, flags, page, NULL)
#endif

static int get_or_pin(struct mm_struct *mm, const struct notifier_other *arg)
{
	unsigned int flags = arg->write ? FOLL_WRITE : 0;
	struct page *page = NULL;
	long n;

	mmap_read_lock(mm);
	if (arg->how == NOTIFIER_PIN)
		n = get_remote(pin_user_pages_remote, mm, arg->addr, flags, &page);
	else
		n = get_remote(get_user_pages_remote, mm, arg->addr, flags, &page);
	mmap_read_unlock(mm);
	if (n != 1)
		return n ?: -EFAULT;
	if (arg->how == NOTIFIER_PIN)
		unpin_user_page(page);
	else
		put_page(page);
	return 0;
}

static int get_or_pin_fast(const struct notifier_other *arg)
{
	unsigned int flags = arg->write ? FOLL_WRITE : 0;
	struct page *page = NULL;
	int n;

	if (arg->how == NOTIFIER_PIN_FAST)
		n = pin_user_pages_fast(arg->addr, 1, flags, &page);
	else
		n = get_user_pages_fast(arg->addr, 1, flags, &page);
	if (n != 1)
		return n ?: -EFAULT;
	if (arg->how == NOTIFIER_PIN_FAST)
		unpin_user_page(page);
	else
		put_page(page);
	return 0;
}

/* What KVM does before it follows: have the page mapped. */
static int fixup(struct mm_struct *mm, const struct notifier_other *arg)
{
	bool unlocked = false;
	int err;

	mmap_read_lock(mm);
	err = fixup_user_fault(mm, arg->addr, arg->write ? FAULT_FLAG_WRITE : 0, &unlocked);
	mmap_read_unlock(mm);
	return err;
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 12, 0)
static int follow_vma(struct vm_area_struct *vma, struct notifier_other *arg)
{
	spinlock_t *ptl;	/* of the page table */
	pte_t *ptep;
	int err;

	err = follow_pte(vma->vm_mm, arg->addr, &ptep, &ptl);
	if (err)
		return err;
	__acquire(ptl);		/* sparse: follow_pte() has */
	arg->write = !!pte_write(*ptep);
	pte_unmap_unlock(ptep, ptl);
	return 0;
}
#else
static int follow_vma(struct vm_area_struct *vma, struct notifier_other *arg)
{
	struct follow_pfnmap_args args = { .vma = vma, .address = arg->addr };
	int err;

	err = follow_pfnmap_start(&args);
	if (err)
		return err;
	arg->write = args.writable;
	follow_pfnmap_end(&args);
	return 0;
}
#endif

static int follow(struct mm_struct *mm, struct notifier_other *arg)
{
	struct vm_area_struct *vma;
	int err = -EFAULT;

	mmap_read_lock(mm);
	vma = vma_lookup(mm, arg->addr);
	if (vma && vma->vm_flags & VM_PFNMAP)
		err = follow_vma(vma, arg);
	mmap_read_unlock(mm);
	return err;
}

/**
 * others_get() - get, pin, have mapped or follow a page, and let it go again
 * @mm: the memory
 * @arg: where and how
 *
 * Return: 0 if it was to be had, or an error.
 */
int others_get(struct mm_struct *mm, struct notifier_other *arg)
{
	switch (arg->how) {
	case NOTIFIER_GET:
	case NOTIFIER_PIN:
		return get_or_pin(mm, arg);
	case NOTIFIER_GET_FAST:
	case NOTIFIER_PIN_FAST:
		return get_or_pin_fast(arg);
	case NOTIFIER_FIXUP:
		return fixup(mm, arg);
	case NOTIFIER_FOLLOW:
		return follow(mm, arg);
	}
	return -EINVAL;
}
