// SPDX-License-Identifier: GPL-2.0
/*
 * discard.c - AVM_IOC_DISCARD: take pages away from everybody and free them
 *
 * In this order, under space->discard_lock:
 *
 *  1. Mark the frames (page_private), put them on a list, and put
 *     AVM_FRAME_DYING in their places in the space. From now on no PTE can
 *     come to be that points to one of them, and a fault on such a page waits
 *     for the lock, so that no new frame comes either.
 *  2. For every VMA of the space, in any process: take away the PTEs of
 *     marked frames and the bits that were carried over from them, and flush.
 *     Only what lies between the first and the last that were marked is walked.
 *  3. Nobody can reach the frames: free them, and empty their places.
 *
 * A second discard of the same pages waits for the first, and so returns only
 * when that has flushed. Pages that had no frame in step 1 may get one while
 * this runs: it is not marked, and neither its PTE nor its bits are touched.
 *
 * VMAs are found in the i_mmap tree of the space. i_mmap_rwsem keeps
 * them, their views and their page tables in place: core mm takes a VMA off
 * the tree, under that lock, before it frees either, and moves PTEs (mremap)
 * so that a walk in the order of the tree finds them before or after.
 *
 * The order of locks is mmap_lock, discard_lock (by a fault that waits),
 * i_mmap_rwsem. The caller's mmap_lock is held only to find out which pages are
 * meant: not while others are waited for.
 */
#include <linux/list.h>
#include <linux/rbtree.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "internal.h"

/* Pages that are discarded at most in one go: faults wait as long. */
#define ROUND	SZ_64K

/* Parts that are looked up at most before they are discarded. */
#define PARTS	64

/**
 * struct part - what one VMA shows of a range
 * @first: page of the space to begin or go on with
 * @last: last page
 * @begin: @first at the outset
 * @offset: bytes of the range before @begin
 * @from: first page that this round has marked; beyond @to if it has none
 * @to: last page that it has marked
 * @completes: whether the range ends here
 */
struct part {
	pgoff_t first;
	pgoff_t last;
	pgoff_t begin;
	u64 offset;
	pgoff_t from;
	pgoff_t to;
	bool completes;
};

struct work {
	struct avm_space *space;
	struct list_head frames;
	unsigned long n;
};

static void mark_frame(struct work *work, struct part *part, pgoff_t pgoff,
		       void **slot)
{
	struct page *page = *slot;

	/* Ranges may overlap: marked by an earlier part. */
	if (xa_is_value(page))
		return;
	set_page_private(page, 1);
	list_add(&page->lru, &work->frames);
	WRITE_ONCE(*slot, AVM_FRAME_DYING);
	work->n++;
	part->from = min(part->from, pgoff);
	part->to = pgoff;
}

/*
 * Step 1, for one part. Returns the page to go on with. A part may be large and
 * hold nothing: a thread that is killed is not kept until its end.
 */
static pgoff_t mark_frames(struct work *work, struct part *part)
{
	unsigned long i = part->first, stop;
	void **slot;

	lockdep_assert_held(&work->space->discard_lock);
	while (work->n < ROUND && i <= part->last &&
	       !fatal_signal_pending(current)) {
		stop = min(part->last, i | (ROUND - 1));
		slot = avm_index_next(&work->space->frames, &i, stop);
		if (slot)
			mark_frame(work, part, i++, slot);
		else
			i = stop + 1;
		cond_resched();
	}
	return i;
}

/* Step 2, for one VMA and one part. */
static void take_part(struct vm_area_struct *vma, const struct part *part,
		      struct avm_tlb *tlb)
{
	pgoff_t vma_last = vma->vm_pgoff + vma_pages(vma) - 1;
	struct mmu_notifier_range announced;
	unsigned long addr, end;
	struct avm_step step;

	if (part->from > part->to || part->from > vma_last ||
	    part->to < vma->vm_pgoff)
		return;
	addr = vma->vm_start;
	if (part->from > vma->vm_pgoff)
		addr += (part->from - vma->vm_pgoff) << PAGE_SHIFT;
	end = vma->vm_end;
	if (part->to < vma_last)
		end -= (vma_last - part->to) << PAGE_SHIFT;
	avm_tlb_notify_start(tlb, &announced, vma, addr, end);
	while (addr < end) {
		addr = avm_step_set(&step, vma, addr, end);
		if (avm_pte_lock(&step)) {
			avm_pte_discard(&step, tlb);
			avm_pte_unlock(&step);
		} else {
			addr = avm_pte_skip(vma->vm_mm, step.addr, end);
		}
		cond_resched();
	}
	avm_tlb_notify_end(tlb, &announced);
}

/* Step 2: every VMA; one flush for those of one mm that follow another. */
static void take_from_views(struct work *work, const struct part *parts,
			    unsigned int n)
{
	struct address_space *mapping = &work->space->mapping;
	struct vm_area_struct *vma;
	struct rb_node *node;
	struct avm_tlb tlb = {};
	unsigned int i;

	/*
	 * A fault that makes page tables, takes their lock and finds the old
	 * frame did so before step 1; then its tables are seen from here on.
	 */
	smp_mb();
	i_mmap_lock_read(mapping);
	for (node = rb_first(&mapping->i_mmap.rb_root); node;
	     node = rb_next(node)) {
		vma = rb_entry(node, struct vm_area_struct, shared.rb);
		if (tlb.mm != vma->vm_mm) {
			avm_tlb_end(&tlb);
			avm_tlb_begin(&tlb, work->space, vma->vm_mm);
		}
		for (i = 0; i < n; i++)
			take_part(vma, &parts[i], &tlb);
		cond_resched();
	}
	avm_tlb_end(&tlb);
	i_mmap_unlock_read(mapping);
	/* Edits in VMAs that are off the tree by now, and not flushed yet. */
	avm_tlb_flush_parked(work->space);
}

/* Step 3: the places in the space. */
static void empty_places(struct avm_space *space, const struct part *part)
{
	unsigned long i = part->from;
	void **slot;

	if (part->from > part->to)
		return;
	while ((slot = avm_index_next(&space->frames, &i, part->to))) {
		if (*slot == AVM_FRAME_DYING)
			WRITE_ONCE(*slot, NULL);
		i++;
		cond_resched();
	}
}

static void free_frames(struct work *work)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, &work->frames, lru) {
		list_del(&page->lru);
		avm_frame_free(work->space, page);
		cond_resched();
	}
	avm_count(work->space, discarded, work->n);
}

/*
 * One round: as many of the parts as are within ROUND. Returns how many are
 * done completely; the one after these then begins where it has to go on.
 */
static unsigned int discard_round(struct work *work, struct part *parts,
				  unsigned int n)
{
	unsigned int i, touched;
	pgoff_t next = 0;

	INIT_LIST_HEAD(&work->frames);
	work->n = 0;
	for (i = 0; i < n; i++) {
		parts[i].from = ULONG_MAX;
		parts[i].to = 0;
		next = mark_frames(work, &parts[i]);
		if (next <= parts[i].last)
			break;
	}
	touched = min(i + 1, n);
	/* Pages without frames have no PTEs either. */
	if (work->n) {
		take_from_views(work, parts, touched);
		free_frames(work);
		while (touched--)
			empty_places(work->space, &parts[touched]);
	}
	if (i < n)
		parts[i].first = next;
	return i;
}

/* Say that part @p of the call is done, up to page @next. */
static void account(struct avm_batch *arg, const struct part *p, pgoff_t next)
{
	arg->out_bytes = p->offset + ((next - p->begin) << PAGE_SHIFT);
	if (next > p->last && p->completes) {
		arg->out_done++;
		arg->out_bytes = 0;
	}
}

/* All parts, round by round. */
static int discard_parts(struct work *work, struct part *parts, unsigned int n,
			 struct avm_batch *arg)
{
	unsigned int done, i;

	while (n) {
		cond_resched();
		/* The lock is had without a look at signals if it is free. */
		if (fatal_signal_pending(current) ||
		    mutex_lock_killable(&work->space->discard_lock))
			return -EINTR;
		done = discard_round(work, parts, n);
		mutex_unlock(&work->space->discard_lock);
		for (i = 0; i < done; i++)
			account(arg, &parts[i], parts[i].last + 1);
		parts += done;
		n -= done;
		if (n)
			account(arg, parts, parts->first);
	}
	return 0;
}

/* Where the resolution of ranges to parts has got to. */
struct position {
	unsigned int range;
	u64 offset;
};

/* The part of the space that one VMA shows of a range; mmap_lock held. */
static int resolve_part(struct avm_space *space, const struct avm_range *range,
			struct position *at, struct part *part)
{
	unsigned long addr = range->addr + at->offset;
	unsigned long end = range->addr + range->length;
	struct vm_area_struct *vma;
	int err;

	if (!at->offset) {
		err = avm_range_check(range);
		if (!err && range->prot)
			err = -EINVAL;
		if (!err)
			err = avm_view_check(space, addr, end, AVM_PROT_NONE);
		if (err)
			return err;
	}
	vma = vma_lookup(current->mm, addr);
	if (!avm_view_usable(vma, space, &err))
		return err;
	part->offset = at->offset;
	part->completes = end <= vma->vm_end;
	part->first = avm_pgoff(vma, addr);
	part->begin = part->first;
	part->last = avm_pgoff(vma, min(end, vma->vm_end)) - 1;
	if (part->completes) {
		at->range++;
		at->offset = 0;
	} else {
		at->offset = vma->vm_end - range->addr;
	}
	return 0;
}

static int discard_ranges(struct work *work, struct avm_reader *reader,
			  struct part *parts, struct avm_batch *arg)
{
	struct position at = {};
	unsigned int n;
	int err = 0, done;

	while (!err && at.range < reader->n) {
		if (mmap_read_lock_killable(current->mm))
			return -EINTR;
		for (n = 0; n < PARTS && at.range < reader->n && !err; ) {
			err = resolve_part(work->space,
					   &reader->ranges[at.range], &at,
					   &parts[n]);
			if (!err)
				n++;
		}
		mmap_read_unlock(current->mm);
		/* Those before the one that failed are still to be done. */
		done = discard_parts(work, parts, n, arg);
		if (done)
			return done;
	}
	return err;
}

/**
 * avm_batch_discard() - AVM_IOC_DISCARD
 * @space: the space
 * @arg: what the user asked for, and the answer
 */
int avm_batch_discard(struct avm_space *space, struct avm_batch *arg)
{
	struct work work = { .space = space };
	struct avm_reader reader;
	struct part *parts;
	int err;

	err = avm_reader_open(&reader, arg);
	if (err)
		return err;
	parts = kmalloc_array(PARTS, sizeof(*parts), AVM_GFP_TEMPORARY);
	if (!parts)
		err = -ENOMEM;
	while (!err) {
		err = avm_reader_next(&reader);
		if (err <= 0)
			break;
		err = discard_ranges(&work, &reader, parts, arg);
	}
	kfree(parts);
	avm_reader_close(&reader);
	if (!err && arg->out_done < arg->count)
		err = -EFAULT;
	return err;
}
