// SPDX-License-Identifier: GPL-2.0
/*
 * batch.c - AVM_IOC_PROTECT and AVM_IOC_POPULATE: vectors of ranges
 *
 * Ranges are read from user memory some at a time, outside of mmap_lock, and
 * then done under it. A cursor keeps the page table of the last range locked,
 * so that the next range in the same table costs no more than its pages. The
 * flush comes after the last range, before mmap_lock is given up; where the
 * lock has to be given up before that, the debt is parked (tlb.c).
 *
 * A thread that is killed stops between two steps, no step is longer than a
 * page table, and mmap_lock is given up at least after SLICE bytes.
 */
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "internal.h"

/* Bytes that are done at most without giving mmap_lock up. */
#define SLICE	SZ_1G

/* Pages that are edited at most under one page-table lock. */
#define HOLD	1024

/**
 * avm_reader_open() - begin to read the ranges of a call
 * @reader: reads them
 * @arg: the call
 *
 * Return: 0, -EINVAL for no ranges, -E2BIG for too many, -ENOMEM.
 */
int avm_reader_open(struct avm_reader *reader, const struct avm_batch *arg)
{
	if (!arg->count)
		return -EINVAL;
	if (arg->count > AVM_MAX_RANGES)
		return -E2BIG;
	reader->from = u64_to_user_ptr(arg->ranges);
	reader->left = arg->count;
	reader->n = 0;
	reader->ranges = reader->few;
	if (arg->count > ARRAY_SIZE(reader->few)) {
		reader->ranges = kmalloc(PAGE_SIZE, AVM_GFP_TEMPORARY);
		if (!reader->ranges)
			return -ENOMEM;
	}
	return 0;
}

/**
 * avm_reader_next() - read the next ranges
 * @reader: gets them
 *
 * Context: no lock held; may sleep.
 * Return: how many were read, 0 at the end, or -EFAULT.
 */
int avm_reader_next(struct avm_reader *reader)
{
	unsigned int max = reader->ranges == reader->few ?
		ARRAY_SIZE(reader->few) : PAGE_SIZE / sizeof(*reader->ranges);
	const struct avm_range __user *from = reader->from;
	struct avm_range *to = reader->ranges;
	unsigned int i;

	reader->n = min(max, reader->left);
	if (!reader->n)
		return 0;
	/* A loop of loads, as in ioctl.c, for the same reason. */
	if (!user_read_access_begin(from, reader->n * sizeof(*from)))
		return -EFAULT;
	for (i = 0; i < reader->n; i++, from++, to++) {
		unsafe_get_user(to->addr, &from->addr, fault);
		unsafe_get_user(to->length, &from->length, fault);
		unsafe_get_user(*(u64 *)&to->prot, (u64 __user *)&from->prot,
				fault);
	}
	user_read_access_end();
	reader->from = from;
	reader->left -= reader->n;
	return reader->n;

fault:
	user_read_access_end();
	/* Those before the bad one are good. */
	reader->from = from + reader->left;
	reader->n = i;
	reader->left = 0;
	return i ? i : -EFAULT;
}

/**
 * avm_reader_close() - the reverse of avm_reader_open()
 * @reader: what was opened
 */
void avm_reader_close(struct avm_reader *reader)
{
	if (reader->ranges != reader->few)
		kfree(reader->ranges);
}

/**
 * avm_range_check() - whether a range is well formed
 * @range: as the user gave it
 *
 * Return: 0 or -EINVAL.
 */
int avm_range_check(const struct avm_range *range)
{
	if (!PAGE_ALIGNED(range->addr | range->length) || !range->length ||
	    range->addr + range->length < range->addr || range->reserved ||
	    !avm_prot_valid(range->prot))
		return -EINVAL;
	return 0;
}

/*
 * A place in a view, perhaps with its page table locked, and the page tables
 * that were locked before it. Those stay where they are, as does the state
 * that goes with them, as long as mmap_lock is held: so that going back to one
 * takes no more than its lock.
 */
#define CACHE	8

struct cursor {
	struct avm_space *space;
	struct vm_area_struct *vma;
	struct avm_step *step;	/* locked, or NULL */
	long left;		/* pages to be done under this lock */
	u8 allowed;
	struct avm_tlb tlb;
	struct avm_step cache[CACHE];	/* unused while its end is 0 */
};

static void cursor_begin(struct cursor *c, struct avm_space *space)
{
	unsigned int i;

	c->space = space;
	c->vma = NULL;
	c->step = NULL;
	for (i = 0; i < CACHE; i++)
		c->cache[i].end = 0;
	avm_tlb_begin(&c->tlb, space, current->mm);
}

static void cursor_unlock(struct cursor *c)
{
	if (c->step)
		avm_pte_unlock(c->step);
	c->step = NULL;
}

/* Before mmap_lock is given up: the VMA may go, and its page tables. */
static void cursor_park(struct cursor *c)
{
	unsigned int i;

	cursor_unlock(c);
	c->vma = NULL;
	for (i = 0; i < CACHE; i++)
		c->cache[i].end = 0;
	avm_tlb_park(&c->tlb);
}

/* The whole table around @addr, as far as this VMA and its chunk go. */
static int lock_new(struct cursor *c, struct avm_step *step, unsigned long addr)
{
	unsigned long lo = max(addr & PMD_MASK, c->vma->vm_start);
	int err;

	/* A view that was moved has chunks that are no tables. */
	while (avm_step_set(step, c->vma, lo, c->vma->vm_end) <= addr)
		lo = step->end;
	while (!avm_pte_lock(step)) {
		err = avm_pte_table(step->mm, addr);
		if (err) {
			step->end = 0;
			return err;
		}
	}
	return 0;
}

static int cursor_lock(struct cursor *c, unsigned long addr)
{
	struct avm_step *step = &c->cache[addr / PMD_SIZE % CACHE];
	int err;

	/* One that was never used ends at 0. */
	if (addr < step->end && addr >= step->addr &&
	    avm_pte_lock_again(step)) {
		err = 0;
	} else {
		err = lock_new(c, step, addr);
		if (err)
			return err;
	}
	c->step = step;
	c->left = HOLD;
	return err;
}

static int cursor_seek(struct cursor *c, unsigned long addr)
{
	int err;

	cursor_unlock(c);
	cond_resched();
	if (fatal_signal_pending(current))
		return -EINTR;
	if (!c->vma || addr < c->vma->vm_start || addr >= c->vma->vm_end) {
		c->vma = vma_lookup(current->mm, addr);
		if (!avm_view_usable(c->vma, c->space, &err)) {
			c->vma = NULL;
			return err;
		}
		c->allowed = avm_vma_prot(c->vma);
	}
	return cursor_lock(c, addr);
}

/*
 * Whether a value can stand for the state of these pages: they are a chunk, and
 * none of them is mapped. (Whose PTE goes leaves bits that want a byte.)
 */
static bool uniform(const struct cursor *c, unsigned long addr,
		    unsigned long end)
{
	return end - addr == PMD_SIZE && c->step->addr == addr &&
	       avm_pte_empty(c->step);
}

/*
 * The pages are to get @prot, which is not what they have, and they have no
 * bytes. Make what is needed, and lock again. Where a value does, nothing is
 * left to do, and this returns 1.
 */
static int make_room(struct cursor *c, unsigned long addr, unsigned long end,
		     u8 prot)
{
	struct avm_view *view = c->step->view;
	bool whole = uniform(c, addr, end);
	pgoff_t pgoff = avm_pgoff(c->vma, addr);
	int err;

	cursor_unlock(c);
	if (whole)
		err = avm_state_reserve(view, pgoff);
	else
		err = avm_state_expand(view, pgoff, AVM_GFP);
	if (!err)
		err = cursor_lock(c, addr);
	if (err || !whole)
		return err;
	return uniform(c, addr, end) &&
	       avm_state_set_uniform(view, pgoff, prot);
}

/* The pages of a chunk that now has this value: map what may be mapped. */
static void open_uniform(struct avm_step *step, u8 prot)
{
	step->state.uniform = prot;
	avm_pte_populate(step);
}

/* Protect the pages from @addr on that the cursor has locked. */
static int protect_step(struct cursor *c, unsigned long addr, unsigned long end,
			u8 prot)
{
	unsigned int n = (end - addr) >> PAGE_SHIFT;
	int done = 0;

	while (!c->step->state.bytes && c->step->state.uniform != prot &&
	       !done) {
		done = make_room(c, addr, end, prot);
		if (done < 0)
			return done;
	}
	if (!done)
		avm_pte_protect(c->step, (addr - c->step->addr) >> PAGE_SHIFT,
				n, prot, &c->tlb);
	else
		open_uniform(c->step, prot);
	c->left -= n;
	return 0;
}

/* The same where secondary MMUs have to be told, before and after. */
static int protect_notify(struct cursor *c, unsigned long addr,
			  unsigned long end, u8 prot)
{
	struct mmu_notifier_range announced;
	int err;

	cursor_unlock(c);
	avm_tlb_notify_start(&c->tlb, &announced, c->vma, addr, end);
	err = cursor_lock(c, addr);
	if (!err)
		err = protect_step(c, addr, end, prot);
	cursor_unlock(c);
	avm_tlb_notify_end(&c->tlb, &announced);
	return err;
}

/* Returns 0, or an error with *addr where the range is done up to. */
static int protect_slice(struct cursor *c, unsigned long *addr,
			 unsigned long end, u8 prot)
{
	unsigned long next;
	int err;

	while (*addr < end) {
		if (!c->step || *addr < c->step->addr ||
		    *addr >= c->step->end || c->left <= 0) {
			err = cursor_seek(c, *addr);
			if (err)
				return err;
		}
		if (prot & ~c->allowed)
			return -EACCES;
		next = min(end, c->step->end);
		if (unlikely(mm_has_notifiers(current->mm)))
			err = protect_notify(c, *addr, next, prot);
		else
			err = protect_step(c, *addr, next, prot);
		if (err)
			return err;
		*addr = next;
	}
	return 0;
}

static bool cursor_at(const struct cursor *c, unsigned long addr,
		      unsigned long end)
{
	return c->vma && addr >= c->vma->vm_start && end <= c->vma->vm_end;
}

/*
 * One range, mmap_lock held; in long ones it is given up and taken again, and
 * *locked tells whether it is held in the end.
 */
static int protect_one(struct cursor *c, const struct avm_range *range,
		       u64 *bytes, bool *locked)
{
	unsigned long addr = range->addr, end = addr + range->length, next;
	int err = avm_range_check(range);

	/* See first whether all of it can be done. */
	if (!err && !cursor_at(c, addr, end)) {
		cursor_unlock(c);
		err = avm_view_check(c->space, addr, end, range->prot);
	}
	while (!err) {
		next = end - addr > SLICE ? addr + SLICE : end;
		err = protect_slice(c, &addr, next, range->prot);
		if (addr == end)
			break;
		if (err) {
			*bytes = addr - range->addr;
			break;
		}
		cursor_park(c);
		mmap_read_unlock(current->mm);
		if (mmap_read_lock_killable(current->mm)) {
			*bytes = addr - range->addr;
			*locked = false;
			return -EINTR;
		}
	}
	return err;
}

/*
 * Go to the table around @addr, if that was locked before and is not now. No
 * matter if @addr has nothing to do with it: it is the ranges that are checked.
 */
static bool cursor_hop(struct cursor *c, unsigned long addr)
{
	struct avm_step *step = &c->cache[addr / PMD_SIZE % CACHE];

	if (step == c->step || addr >= step->end || addr < step->addr ||
	    c->left <= 0)
		return false;
	cursor_unlock(c);
	if (!avm_pte_lock_again(step))
		return false;
	c->step = step;
	return true;
}

/*
 * Some ranges of a call: as many as lie in the table that is locked, then one,
 * ... After the last of the call comes the flush.
 */
static int protect_ranges(struct cursor *c, const struct avm_range *ranges,
			  unsigned int n, bool last, struct avm_batch *arg)
{
	bool locked = true, quick;
	unsigned int i = 0, did;
	int err = 0;

	if (mmap_read_lock_killable(current->mm))
		return -EINTR;
	/* None can be registered under this lock. */
	quick = !mm_has_notifiers(current->mm);
	while (!err && i < n) {
		did = 0;
		if (quick && c->step && c->left > 0) {
again:
			did = avm_pte_protect_ranges(c->step, ranges + i,
						     n - i, &c->left, &c->tlb);
			if (!did && cursor_hop(c, ranges[i].addr))
				goto again;
		}
		if (!did) {
			err = protect_one(c, ranges + i, &arg->out_bytes,
					  &locked);
			did = !err;
		}
		i += did;
		arg->out_done += did;
	}
	if (locked) {
		cursor_unlock(c);
		if (err || last)
			avm_tlb_end(&c->tlb);
		else
			cursor_park(c);
		mmap_read_unlock(current->mm);
	}
	return err;
}

/* All ranges of a call, of which the reader has read the first. */
static noinline int protect_all(struct avm_space *space,
				struct avm_reader *reader,
				struct avm_batch *arg)
{
	struct cursor c;
	int err;

	cursor_begin(&c, space);
	do {
		err = protect_ranges(&c, reader->ranges, reader->n,
				     !reader->left, arg);
		if (!err)
			err = avm_reader_next(reader);
	} while (err > 0);
	avm_tlb_end(&c.tlb);
	/* The reader ends early where it meets memory that cannot be read. */
	if (!err && arg->out_done < arg->count)
		err = -EFAULT;
	return err;
}

/**
 * avm_batch_protect() - AVM_IOC_PROTECT
 * @space: the space
 * @arg: what the user asked for, and the answer
 */
int avm_batch_protect(struct avm_space *space, struct avm_batch *arg)
{
	struct avm_reader reader;
	int err;

	err = avm_reader_open(&reader, arg);
	if (err)
		return err;
	err = avm_reader_next(&reader);
	if (err > 0) {
		if (reader.ranges == reader.few && reader.n == arg->count &&
		    avm_protect_few(space, reader.few, reader.n)) {
			arg->out_done = reader.n;
			return 0;
		}
		err = protect_all(space, &reader, arg);
	}
	avm_reader_close(&reader);
	return err;
}

/**
 * avm_protect_page_long() - AVM_IOC_PROTECT_PAGE where short.c gives up
 * @space: the space
 * @addr: the page
 * @prot: AVM_PROT_*
 */
int avm_protect_page_long(struct avm_space *space, unsigned long addr, u8 prot)
{
	struct avm_range range = {
		.addr = addr, .length = PAGE_SIZE, .prot = prot,
	};
	struct avm_batch unused = {};
	struct cursor c;
	int err;

	cursor_begin(&c, space);
	err = protect_ranges(&c, &range, 1, true, &unused);
	avm_tlb_end(&c.tlb);
	return err;
}

static int populate_frame(struct avm_space *space, pgoff_t pgoff)
{
	int err;

	do {
		err = avm_frame_alloc(space, pgoff);
	} while (err == -EBUSY && !(err = avm_frame_wait(space)));
	return err;
}

/* Give pages frames and map them; mmap_lock held. Sets where it ended. */
static int populate_step(struct avm_space *space, struct vm_area_struct *vma,
			 unsigned long *addr, unsigned long end)
{
	struct avm_step step;
	unsigned int i, n;
	int err;

	avm_step_set(&step, vma, *addr, end);
	n = avm_step_pages(&step);
	err = avm_pte_table(step.mm, step.addr);
	if (err)
		return err;
	for (i = 0; i < n && !err; i++) {
		if (fatal_signal_pending(current))
			err = -EINTR;
		else
			err = populate_frame(space, step.pgoff + i);
	}
	step.end -= (unsigned long)(n - (err ? i - 1 : i)) << PAGE_SHIFT;
	if (step.end != step.addr && avm_pte_lock(&step)) {
		avm_pte_populate(&step);
		avm_pte_unlock(&step);
	}
	*addr = step.end;
	return err;
}

static int populate_one(struct avm_space *space, const struct avm_range *range,
			u64 *bytes)
{
	unsigned long addr = range->addr, end = addr + range->length;
	struct vm_area_struct *vma;
	int err;

	if (mmap_read_lock_killable(current->mm))
		return -EINTR;
	err = avm_view_check(space, addr, end, AVM_PROT_NONE);
	while (!err && addr < end) {
		vma = vma_lookup(current->mm, addr);
		if (!avm_view_usable(vma, space, &err))
			break;
		err = populate_step(space, vma, &addr, min(end, vma->vm_end));
		if (err)
			break;
		/* Allocating takes long: let mmap and munmap in between. */
		mmap_read_unlock(current->mm);
		cond_resched();
		if (mmap_read_lock_killable(current->mm)) {
			*bytes = addr - range->addr;
			return -EINTR;
		}
	}
	mmap_read_unlock(current->mm);
	*bytes = err ? addr - range->addr : 0;
	return err;
}

/**
 * avm_batch_populate() - AVM_IOC_POPULATE
 * @space: the space
 * @arg: what the user asked for, and the answer
 */
int avm_batch_populate(struct avm_space *space, struct avm_batch *arg)
{
	struct avm_reader reader;
	unsigned int i;
	int err;

	err = avm_reader_open(&reader, arg);
	if (err)
		return err;
	while ((err = avm_reader_next(&reader)) > 0) {
		for (i = 0; i < reader.n; i++) {
			err = avm_range_check(&reader.ranges[i]);
			if (!err && reader.ranges[i].prot)
				err = -EINVAL;
			if (!err)
				err = populate_one(space, &reader.ranges[i],
						   &arg->out_bytes);
			if (err)
				goto out;
			arg->out_done++;
		}
	}
out:
	avm_reader_close(&reader);
	if (!err && arg->out_done < arg->count)
		err = -EFAULT;
	return err;
}
