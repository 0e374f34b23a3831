// SPDX-License-Identifier: GPL-2.0
/*
 * tlb.c - the one flush of a call, and who may rely on it
 *
 * Owns every TLB flush that avm makes, and the announcements to secondary
 * MMUs that go with them. A call begins a struct avm_tlb, edits PTEs with it
 * (pte.c says what it did), and ends it: then one flush_tlb_mm_range() covers
 * all of its edits, or none if no translation can have been cached.
 *
 * Which edits need a flush. Those that take an access away, clear the accessed
 * or dirty bit, or add the right to execute (a stale no-execute entry is a
 * fault that core mm takes for an error), where the value that the atomic edit
 * returned had its accessed bit set: the CPU caches a translation only after
 * it has set that bit, and nobody but avm clears it in our PTEs (VM_PFNMAP
 * keeps reclaim, DAMON and clear_refs away), by an edit that is flushed.
 *
 * Debts. Between the edit of a call and its flush, another call can find the
 * PTE as it wants it and have nothing to do; it must not return, or free a
 * page, while the first has not flushed. So an edit is preceded, under the
 * same page-table lock, by raising space->pending, which comes down after the
 * flush. A call that saw the edit took that lock later and therefore sees the
 * count raised, unless the flush is done. A call that ends while others are in
 * debt flushes all of its mm, because it cannot know what they have edited.
 *
 * A debt lasts no longer than the lock that keeps the VMA on the i_mmap tree
 * (mmap_lock or i_mmap_rwsem), so that a discard, which flushes for each VMA
 * on the tree, flushes for it, and a munmap, which flushes only what it has
 * cleared itself, waits for it. A call that has to give the lock up before its
 * end parks its debt instead (avm_tlb_park()): from then on a munmap in this mm
 * flushes all of it, as for two munmaps at once (mm->tlb_flush_pending), and a
 * discard looks for the parked debts of the space and flushes their mms.
 */
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/static_call.h>
#include <asm/tlbflush.h>

#include "internal.h"

/*
 * Never called: they give the static calls their types, and a target until
 * load.
 */
static void flush_unresolved(struct mm_struct *mm, unsigned long start,
			     unsigned long end, unsigned int stride_shift,
			     bool freed_tables)
{
}

DEFINE_STATIC_CALL(avm_flush, flush_unresolved);

#ifdef CONFIG_MMU_NOTIFIER
static int notifier_start_unresolved(struct mmu_notifier_range *range)
{
	return 0;
}

static void notifier_end_unresolved(AVM_NOTIFIER_END_ARGS(range))
{
}

DEFINE_STATIC_CALL(avm_notifier_start, notifier_start_unresolved);
DEFINE_STATIC_CALL(avm_notifier_end, notifier_end_unresolved);
#endif

/**
 * avm_tlb_setup() - find the functions that flush, at load
 *
 * Return: 0, or -ENOENT and a line in the log that says which is missing.
 */
int avm_tlb_setup(void)
{
	void *flush = avm_symbol("flush_tlb_mm_range");
#ifdef CONFIG_MMU_NOTIFIER
	void *start = avm_symbol("__mmu_notifier_invalidate_range_start");
	void *end = avm_symbol("__mmu_notifier_invalidate_range_end");

	if (!start || !end)
		return -ENOENT;
	static_call_update(avm_notifier_start, start);
	static_call_update(avm_notifier_end, end);
#endif
	if (!flush)
		return -ENOENT;
	static_call_update(avm_flush, flush);
	return 0;
}

static void flush(struct avm_tlb *tlb, unsigned long start, unsigned long end)
{
	static_call(avm_flush)(tlb->mm, start, end, PAGE_SHIFT, false);
	avm_count(tlb->space, flushes, 1);
	avm_count(tlb->space, flushed_pages, tlb->pages);
	tlb->needed = false;
	tlb->pages = 0;
	tlb->start = ULONG_MAX;
	tlb->end = 0;
}

/**
 * avm_tlb_park() - keep a debt beyond the lock that covers it
 * @tlb: what collects the edits, of the caller's own mm
 *
 * Context: before mmap_lock is given up; no page-table lock held.
 */
void avm_tlb_park(struct avm_tlb *tlb)
{
	if (!tlb->owed || tlb->parked)
		return;
	tlb->parked = true;
	inc_tlb_flush_pending(tlb->mm);
	spin_lock(&tlb->space->parked_lock);
	tlb->round = tlb->space->parked_round;
	list_add_tail(&tlb->debt, &tlb->space->parked);
	spin_unlock(&tlb->space->parked_lock);
}

static void unpark(struct avm_tlb *tlb)
{
	spin_lock(&tlb->space->parked_lock);
	list_del(&tlb->debt);
	spin_unlock(&tlb->space->parked_lock);
	dec_tlb_flush_pending(tlb->mm);
}

/**
 * avm_tlb_flush_parked() - flush for those who parked a debt
 * @space: the space
 *
 * For a discard that has met every VMA on the tree: no CPU then has a
 * translation to a frame of it. The edit that took such a translation away was
 * made before the discard came to its place, as none can be made afterwards.
 * The debt for it was, when the round began,
 *
 * - on the list: flushed here, or paid before it left the list;
 * - not on the list, or there but mmap_lock had been had again for the edit:
 *   then either that lock was held, and the VMA on the tree, when the discard
 *   came by, which has seen space->pending raised and flushed; or the lock had
 *   been given up before, and the debt is on the list.
 *
 * So debts that are parked during the round need nothing, and bear its number.
 * There can be as many as there are threads, and the lock is let go after each:
 * those that are done go to the end of the list. One flush is enough for those
 * of one mm that follow another, as all that are still to come were parked
 * before the round. Their mms live: each is the mm of a thread that is in a
 * call, and does not leave it without avm_tlb_end(), which takes the lock; and
 * so no new mm can be taken for @last.
 *
 * Context: space->discard_lock held; sleeps; interrupts on.
 */
void avm_tlb_flush_parked(struct avm_space *space)
{
	struct mm_struct *last = NULL;
	unsigned int round;
	struct avm_tlb *tlb;

	lockdep_assert_held(&space->discard_lock);
	spin_lock(&space->parked_lock);
	round = ++space->parked_round;
	while (!list_empty(&space->parked)) {
		tlb = list_first_entry(&space->parked, struct avm_tlb, debt);
		if (tlb->round == round)
			break;
		tlb->round = round;
		list_move_tail(&tlb->debt, &space->parked);
		if (tlb->mm != last) {
			last = tlb->mm;
			static_call(avm_flush)(last, 0, TLB_FLUSH_ALL,
					       PAGE_SHIFT, false);
			avm_count(space, flushes, 1);
		}
		spin_unlock(&space->parked_lock);
		cond_resched();
		spin_lock(&space->parked_lock);
	}
	spin_unlock(&space->parked_lock);
}

/**
 * avm_tlb_end() - flush what was collected, if anything needs it
 * @tlb: what collected it
 *
 * To end what has ended does nothing.
 *
 * When this returns, no CPU has a translation that an edit took away, whether
 * it was an edit of this call or one that this call saw.
 *
 * Context: interrupts on, no page-table lock held; unless parked, under the
 * lock that was held for the edits.
 */
void avm_tlb_end(struct avm_tlb *tlb)
{
	if (!tlb->mm)
		return;
	if (unlikely(atomic_read(&tlb->space->pending) > tlb->owed ||
		     tlb->everything))
		flush(tlb, 0, TLB_FLUSH_ALL);
	else if (tlb->needed)
		flush(tlb, tlb->start, tlb->end);
	if (tlb->parked)
		unpark(tlb);
	if (tlb->owed) {
		/* Paid, and only then out of debt. */
		smp_mb__before_atomic();
		atomic_dec(&tlb->space->pending);
	}
	tlb->mm = NULL;
}

/**
 * avm_tlb_notify_start() - announce edits to secondary MMUs (KVM, SVA)
 * @tlb: what collects the edits
 * @range: remembers what was announced
 * @vma: where
 * @start: first byte
 * @end: byte after the last
 *
 * A no-op where the mm has none. No notifier can come meanwhile: it would
 * have to take mmap_lock and every i_mmap_rwsem for writing.
 *
 * Context: may sleep; mmap_lock or i_mmap_rwsem held, no page-table lock.
 */
void avm_tlb_notify_start(struct avm_tlb *tlb,
			  struct mmu_notifier_range *range,
			  struct vm_area_struct *vma,
			  unsigned long start, unsigned long end)
{
#ifdef CONFIG_MMU_NOTIFIER
	if (likely(!mm_has_notifiers(vma->vm_mm)))
		return;
	avm_notifier_range_init(range, vma, start, end);
	tlb->announced = true;
	static_call(avm_notifier_start)(range);
#endif
}

/**
 * avm_tlb_notify_end() - flush the announced edits and say that it is done
 * @tlb: what collected them
 * @range: as announced
 *
 * Context: may sleep; the lock of avm_tlb_notify_start() still held.
 */
void avm_tlb_notify_end(struct avm_tlb *tlb, struct mmu_notifier_range *range)
{
#ifdef CONFIG_MMU_NOTIFIER
	if (likely(!tlb->announced))
		return;
	if (tlb->needed)
		flush(tlb, tlb->start, tlb->end);
	AVM_NOTIFIER_END(static_call(avm_notifier_end), range);
	tlb->announced = false;
#endif
}
