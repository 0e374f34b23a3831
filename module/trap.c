// SPDX-License-Identifier: GPL-2.0
/*
 * trap.c - AVM_IOC_TRAP: which code a denied access of a page calls
 *
 * Owns view->traps: an array of ranges of pages, sorted, without overlaps.
 * Faults read it under the page-table lock that they hold anyway, as readers
 * of RCU. Writers hold view->trap_lock, and do to an array in use only what
 * a reader can meet at any moment:
 *
 *	to add an entry behind the last, @n being raised when it is complete;
 *	to make an entry smaller, at one end;
 *	to take one away, by setting its code to 0. Such an entry stays, and is
 *	not used again, as a reader may be about to read the rest of it.
 *
 * So nothing but a cut through the middle of an entry needs memory to take
 * registrations away. Whatever else there is to do makes a new array, without
 * the entries that were taken away. Arrays may be large, so a caller who
 * replaces many of them waits for the readers of the old ones: see retire().
 */
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "internal.h"

#define MAX_TRAPS	4096	/* in a view */
#define MAX_RETIRED	SZ_4M	/* bytes that may wait for readers */

static atomic_long_t retired;

/**
 * avm_trap_position() - where a page is in a sorted array
 * @traps: the array
 * @n: entries in it
 * @pgoff: number of the page in the space
 *
 * Return: the first entry that ends beyond the page, or @n.
 */
unsigned int avm_trap_position(const struct avm_traps *traps, unsigned int n,
			       pgoff_t pgoff)
{
	unsigned int low = 0, high = n, middle;

	while (low < high) {
		middle = (low + high) / 2;
		if (READ_ONCE(traps->entries[middle].end) <= pgoff)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static long traps_size(const struct avm_traps *traps)
{
	return struct_size(traps, entries, traps->room);
}

static void reclaim(struct rcu_head *rcu)
{
	struct avm_traps *traps = container_of(rcu, struct avm_traps, rcu);

	atomic_long_sub(traps_size(traps), &retired);
	kvfree(traps);
}

/* Free an array when nobody reads it any more. */
static void retire(struct avm_traps *traps)
{
	if (!traps)
		return;
	atomic_long_add(traps_size(traps), &retired);
	call_rcu(&traps->rcu, reclaim);
}

/*
 * Slow down who replaces arrays faster than they can be freed: one by one, in
 * any order, 4,096 registrations retire 400 MB. No lock is held. It is not
 * enough to wait until they could be freed, for then the next to come would
 * find as many. Who has replaced none need not wait for others.
 */
static void retire_wait(void)
{
	if (atomic_long_read(&retired) > MAX_RETIRED)
		rcu_barrier();
}

static struct avm_traps *traps_new(unsigned int live)
{
	unsigned int room = roundup_pow_of_two(max(live, 4u));
	struct avm_traps *traps;

	traps = kvmalloc(struct_size(traps, entries, room), AVM_GFP);
	if (!traps)
		return NULL;
	traps->room = room;
	traps->live = 0;
	traps->n = 0;
	return traps;
}

/* Readers find the entry with the count, or not at all. */
static void traps_add(struct avm_traps *traps,
		      const struct avm_trap_entry *entry)
{
	traps->entries[traps->n] = *entry;
	traps->live++;
	/* Pairs with avm_trap_find(). */
	smp_store_release(&traps->n, traps->n + 1);
}

static struct avm_traps *traps_of(struct avm_view *view)
{
	return rcu_dereference_protected(view->traps,
					 lockdep_is_held(&view->trap_lock));
}

static void replace(struct avm_view *view, struct avm_traps *new)
{
	struct avm_traps *old = traps_of(view);

	rcu_assign_pointer(view->traps, new);
	retire(old);
}

static bool overlaps(const struct avm_traps *traps, pgoff_t first, pgoff_t end)
{
	unsigned int i;

	for (i = avm_trap_position(traps, traps->n, first);
	     i < traps->n && traps->entries[i].first < end; i++)
		if (traps->entries[i].code)
			return true;
	return false;
}

static bool fits_behind(const struct avm_traps *traps, pgoff_t first)
{
	return traps->n < traps->room &&
	       (!traps->n || traps->entries[traps->n - 1].end <= first);
}

/* Add those of the entries [from, to) that are live. */
static void copy_live(struct avm_traps *new, const struct avm_traps *old,
		      unsigned int from, unsigned int to)
{
	for (; from < to; from++)
		if (old->entries[from].code)
			traps_add(new, &old->entries[from]);
}

/* A new array, with one entry more. */
static int rebuild(struct avm_view *view, const struct avm_trap_entry *entry)
{
	const struct avm_traps *old = traps_of(view);
	struct avm_traps *new = traps_new(old ? old->live + 1 : 1);
	unsigned int i;

	if (!new)
		return -ENOMEM;
	i = old ? avm_trap_position(old, old->n, entry->first) : 0;
	if (old)
		copy_live(new, old, 0, i);
	traps_add(new, entry);
	if (old)
		copy_live(new, old, i, old->n);
	replace(view, new);
	return 0;
}

static int insert(struct avm_view *view, const struct avm_trap_entry *entry)
{
	struct avm_traps *traps = traps_of(view);

	if (traps && overlaps(traps, entry->first, entry->end))
		return -EEXIST;
	if (traps && traps->live == MAX_TRAPS)
		return -ENOSPC;
	if (!traps || !fits_behind(traps, entry->first))
		return rebuild(view, entry);
	traps_add(traps, entry);
	return 0;
}

/* Cut pages out of the middle of entry @i, which leaves two. */
static int cut_middle(struct avm_view *view, unsigned int i, pgoff_t first,
		      pgoff_t end)
{
	const struct avm_traps *old = traps_of(view);
	struct avm_trap_entry part = old->entries[i];
	struct avm_traps *new;

	if (old->live == MAX_TRAPS)
		return -ENOSPC;
	new = traps_new(old->live + 1);
	if (!new)
		return -ENOMEM;
	copy_live(new, old, 0, i);
	part.end = first;
	traps_add(new, &part);
	part.first = end;
	part.end = old->entries[i].end;
	traps_add(new, &part);
	copy_live(new, old, i + 1, old->n);
	replace(view, new);
	return 0;
}

/* Cut pages out of an entry of which they leave one end at most. */
static void cut(struct avm_traps *traps, struct avm_trap_entry *entry,
		pgoff_t first, pgoff_t end)
{
	if (entry->first < first) {
		WRITE_ONCE(entry->end, first);
	} else if (entry->end > end) {
		WRITE_ONCE(entry->first, end);
	} else {
		WRITE_ONCE(entry->code, 0);
		traps->live--;
	}
}

/**
 * struct window - pages whose registrations are to go
 * @first: the first that is mapped in the range
 * @end: after the last
 * @low: the page that belongs at the start of the range
 * @high: that at its end
 *
 * A registration of a page that is mapped there loses all between @low and
 * @high. So one that was made for the range goes as a whole, even if some of
 * its pages have been unmapped or moved away since; but what has been registered
 * for these, where they are now, stays.
 */
struct window {
	pgoff_t first, end;
	pgoff_t low, high;
};

/* Return: whether there was anything to take away, or an error. */
static int delete(struct avm_view *view, const struct window *w)
{
	struct avm_traps *traps = traps_of(view);
	struct avm_trap_entry *entry;
	unsigned int i;
	int found = 0;

	if (!traps)
		return 0;
	for (i = avm_trap_position(traps, traps->n, w->first); i < traps->n;
	     i++) {
		entry = &traps->entries[i];
		if (entry->first >= w->end)
			break;
		if (!entry->code)
			continue;
		found = 1;
		if (entry->first < w->low && entry->end > w->high)
			return cut_middle(view, i, w->low, w->high) ?: 1;
		cut(traps, entry, w->low, w->high);
	}
	if (!traps->live)
		replace(view, NULL);
	return found;
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

static int trap_add(struct avm_space *space, const struct avm_trap *arg,
		    bool *retired)
{
	struct avm_trap_entry entry = {
		.code = arg->entry,
		.arg = arg->arg,
		.how = arg->flags & AVM_TRAP_ONSTACK ? AVM_UPCALL_ONSTACK : 0,
		.raise = arg->raise,
	};
	const struct avm_traps *old;
	struct avm_view *view;
	int err;

	err = avm_view_find(space, arg->addr, arg->addr + arg->length,
			    arg->raise, &view, &entry.first);
	if (err)
		return err;
	entry.end = entry.first + (arg->length >> PAGE_SHIFT);
	err = mutex_lock_killable(&view->trap_lock);
	if (err)
		return err;
	old = traps_of(view);
	err = insert(view, &entry);
	*retired = old && traps_of(view) != old;
	mutex_unlock(&view->trap_lock);
	return err;
}

/* In the pages of one VMA. Return as of delete(). */
static int trap_remove_in(struct vm_area_struct *vma, unsigned long addr,
			  unsigned long end, bool *retired)
{
	unsigned long start = max(addr, vma->vm_start);
	pgoff_t first = avm_pgoff(vma, start);
	pgoff_t before = (start - addr) >> PAGE_SHIFT;
	struct avm_view *view = vma->vm_private_data;
	struct window w = {
		.first = first,
		.end = first + ((min(end, vma->vm_end) - start) >> PAGE_SHIFT),
		.low = first - min(before, first),
		.high = first + ((end - start) >> PAGE_SHIFT),
	};
	const struct avm_traps *old;
	int ret;

	ret = mutex_lock_killable(&view->trap_lock);
	if (ret)
		return ret;
	old = traps_of(view);
	ret = delete(view, &w);
	*retired |= traps_of(view) != old;
	mutex_unlock(&view->trap_lock);
	return ret;
}

/* Whatever the range is now: there may be holes, and more than one view. */
static int trap_remove(struct avm_space *space, unsigned long start,
		       unsigned long end, bool *retired)
{
	struct vm_area_struct *vma;
	unsigned long addr = start;
	bool found = false;
	int ret, err;

	while (addr < end) {
		vma = find_vma(current->mm, addr);
		if (!vma || vma->vm_start >= end)
			break;
		if (avm_view_usable(vma, space, &err) || err == -EBUSY) {
			ret = trap_remove_in(vma, start, end, retired);
			if (ret < 0)
				return ret;
			found |= ret;
		}
		addr = vma->vm_end;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return found ? 0 : -ENOENT;
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
	struct mm_struct *mm = current->mm;
	bool retired = false;
	int err;

	err = check(arg);
	if (err)
		return err;
	if (mmap_read_lock_killable(mm))
		return -EINTR;
	if (arg->entry)
		err = trap_add(space, arg, &retired);
	else
		err = trap_remove(space, arg->addr, arg->addr + arg->length,
				  &retired);
	mmap_read_unlock(mm);
	if (retired)
		retire_wait();
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

/**
 * avm_trap_teardown() - wait until nothing here is to be called any more
 */
void avm_trap_teardown(void)
{
	rcu_barrier();
}
