/* SPDX-License-Identifier: GPL-2.0 */
/*
 * compat.h - what differs between the supported kernels
 *
 * The only file that asks for the kernel's version. The code elsewhere uses
 * the names defined here, which are those of the newest kernel where it has
 * one.
 */
#ifndef AVM_COMPAT_H
#define AVM_COMPAT_H

#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/sched.h>
#include <linux/version.h>
#ifdef CONFIG_X86_USER_SHADOW_STACK
#include <asm/prctl.h>
#endif

#ifndef CONFIG_X86_64
#error "avm supports x86-64 only"
#endif
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
#error "avm needs Linux 6.1 or newer"
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
static inline void vm_flags_set(struct vm_area_struct *vma, vm_flags_t flags)
{
	vma->vm_flags |= flags;
}
#endif

/*
 * Bits of a PTE that say it is dirty. Since 6.6 a write-protected PTE keeps
 * its dirtiness in a second, software bit.
 */
#ifdef _PAGE_DIRTY_BITS
#define AVM_PTE_DIRTY	_PAGE_DIRTY_BITS
#else
#define AVM_PTE_DIRTY	_PAGE_DIRTY
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0)
static inline pte_t pte_mkwrite_novma(pte_t pte)
{
	return pte_mkwrite(pte);
}
#endif

static inline void avm_notifier_range_init(struct mmu_notifier_range *range,
					   struct vm_area_struct *vma,
					   unsigned long start,
					   unsigned long end)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
	mmu_notifier_range_init(range, MMU_NOTIFY_CLEAR, 0, vma, vma->vm_mm,
				start, end);
#else
	mmu_notifier_range_init(range, MMU_NOTIFY_CLEAR, 0, vma->vm_mm,
				start, end);
#endif
#ifdef CONFIG_MMU_NOTIFIER
	range->flags |= MMU_NOTIFIER_RANGE_BLOCKABLE;
#endif
}

/* Whether the thread's returns are checked (user shadow stacks: 6.6). */
static inline bool avm_shadow_stack(void)
{
#ifdef CONFIG_X86_USER_SHADOW_STACK
	return current->thread.features & ARCH_SHSTK_SHSTK;
#else
	return false;
#endif
}

/* __mmu_notifier_invalidate_range_end() lost its second argument in 6.6. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0)
#define AVM_NOTIFIER_END_ARGS(r)	struct mmu_notifier_range *r, bool only
#define AVM_NOTIFIER_END(call, r)	((call)(r, false))
#else
#define AVM_NOTIFIER_END_ARGS(r)	struct mmu_notifier_range *r
#define AVM_NOTIFIER_END(call, r)	((call)(r))
#endif

#endif /* AVM_COMPAT_H */
