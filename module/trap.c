// SPDX-License-Identifier: GPL-2.0
/*
 * trap.c - AVM_IOC_TRAP: which code a denied access of a page calls
 *
 * Owns view->traps: an array of ranges of pages, sorted, without overlaps.
 * Faults read it under the page-table lock that they hold anyway, as readers
 * of RCU. A change makes a new array, under space->trap_lock, and puts it in
 * place of the old one.
 */
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "internal.h"

#define MAX_TRAPS	4096	/* in a view */

/**
 * avm_trap_position() - where a page is in a sorted array
 * @traps: the array
 * @pgoff: number of the page in the space
 *
 * Return: the first entry that ends beyond the page, or the number of entries.
 */
unsigned int avm_trap_position(const struct avm_traps *traps, pgoff_t pgoff)
{
	unsigned int low = 0, high = traps->n, middle;

	while (low < high) {
		middle = (low + high) / 2;
		if (traps->entries[middle].end <= pgoff)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Room for @n entries; NULL and no error for none. */
static int traps_new(unsigned int n, struct avm_traps **traps)
{
	*traps = NULL;
	if (!n)
		return 0;
	*traps = kvmalloc(struct_size(*traps, entries, n), AVM_GFP);
	if (!*traps)
		return -ENOMEM;
	(*traps)->n = n;
	return 0;
}

static void traps_copy(struct avm_traps *to, unsigned int to_i,
		       const struct avm_traps *from, unsigned int from_i,
		       unsigned int n)
{
	if (n)
		memcpy(to->entries + to_i, from->entries + from_i,
		       n * sizeof(*to->entries));
}

static int insert(const struct avm_traps *old, struct avm_traps **new,
		  const struct avm_trap_entry *entry)
{
	unsigned int n = old ? old->n : 0;
	unsigned int i = old ? avm_trap_position(old, entry->first) : 0;
	int err;

	if (i < n && old->entries[i].first < entry->end)
		return -EEXIST;
	if (n == MAX_TRAPS)
		return -ENOSPC;
	err = traps_new(n + 1, new);
	if (err)
		return err;
	traps_copy(*new, 0, old, 0, i);
	(*new)->entries[i] = *entry;
	traps_copy(*new, i + 1, old, i, n - i);
	return 0;
}

static int delete(const struct avm_traps *old, struct avm_traps **new,
		  const struct avm_trap_entry *entry)
{
	unsigned int n = old ? old->n : 0;
	unsigned int i = old ? avm_trap_position(old, entry->first) : 0;
	int err;

	if (i == n || old->entries[i].first != entry->first ||
	    old->entries[i].end != entry->end)
		return -ENOENT;
	err = traps_new(n - 1, new);
	if (err)
		return err;
	traps_copy(*new, 0, old, 0, i);
	traps_copy(*new, i, old, i + 1, n - 1 - i);
	return 0;
}

static int change(struct avm_view *view, const struct avm_trap_entry *entry)
{
	struct mutex *lock = &view->space->trap_lock;
	struct avm_traps *old, *new;
	int err;

	mutex_lock(lock);
	old = rcu_dereference_protected(view->traps, lockdep_is_held(lock));
	err = entry->code ? insert(old, &new, entry) :
			     delete(old, &new, entry);
	if (!err)
		rcu_assign_pointer(view->traps, new);
	mutex_unlock(lock);
	if (!err && old)
		kvfree_rcu(old, rcu);
	return err;
}

/* The view that has all of a range, its pages in a row. */
static int find_view(struct avm_space *space, unsigned long addr,
		     unsigned long end, u8 raise, struct avm_view **view,
		     pgoff_t *first)
{
	struct vm_area_struct *vma;
	pgoff_t pgoff = 0;
	int err;

	lockdep_assert_held(&current->mm->mmap_lock);
	for (*view = NULL; addr < end; addr = vma->vm_end) {
		vma = vma_lookup(current->mm, addr);
		if (!avm_view_usable(vma, space, &err))
			return err;
		if (raise & ~avm_vma_prot(vma))
			return -EACCES;
		if (!*view) {
			*view = vma->vm_private_data;
			*first = pgoff = avm_pgoff(vma, addr);
		}
		if (*view != vma->vm_private_data ||
		    avm_pgoff(vma, addr) != pgoff)
			return -ENXIO;
		pgoff += (vma->vm_end - addr) >> PAGE_SHIFT;
	}
	return 0;
}

static int check(const struct avm_trap *arg)
{
	struct avm_range range = { .addr = arg->addr, .length = arg->length };
	int err = avm_range_check(&range);

	if (err)
		return err;
	if (arg->reserved)
		return -EINVAL;
	if (arg->raise & ~(AVM_PROT_READ | AVM_PROT_WRITE) ||
	    !avm_prot_valid(arg->raise))
		return -EINVAL;
	if (!arg->entry)
		return arg->arg || arg->raise || arg->flags ? -EINVAL : 0;
	return access_ok((void __user *)arg->entry, 1) ? 0 : -EFAULT;
}

/**
 * avm_trap() - AVM_IOC_TRAP
 * @space: the space
 * @arg: its argument
 *
 * Return: 0 or an error.
 */
int avm_trap(struct avm_space *space, const struct avm_trap *arg)
{
	struct avm_trap_entry entry = {
		.code = arg->entry,
		.arg = arg->arg,
		.how = arg->flags & AVM_TRAP_ONSTACK ? AVM_UPCALL_ONSTACK : 0,
		.raise = arg->raise,
	};
	struct mm_struct *mm = current->mm;
	struct avm_view *view;
	int err;

	err = check(arg);
	if (err)
		return err;
	if (mmap_read_lock_killable(mm))
		return -EINTR;
	err = find_view(space, arg->addr, arg->addr + arg->length, arg->raise,
			&view, &entry.first);
	if (!err) {
		entry.end = entry.first + (arg->length >> PAGE_SHIFT);
		err = change(view, &entry);
	}
	mmap_read_unlock(mm);
	return err;
}

/**
 * avm_trap_destroy() - forget the registrations of a view
 * @view: the view, which nobody can reach any more
 */
void avm_trap_destroy(struct avm_view *view)
{
	kvfree(rcu_access_pointer(view->traps));
}
