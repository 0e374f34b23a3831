// SPDX-License-Identifier: GPL-2.0
/*
 * scan.c - AVM_IOC_SCAN: which pages were written, which were accessed
 *
 * A range is scanned in windows. A window ends where the kernel's copy of the
 * answer is full; then mmap_lock is given up, the copy goes to the user, and
 * the next window begins. The flush comes once, at the end: the caller learns
 * nothing before the call returns, and by then every write that did not make
 * a page dirty again has been made to a page that this call reports.
 *
 * Before a window is scanned, zeros are written to the user's buffer where its
 * answer will go, so that memory that cannot be written is found before a bit
 * is cleared. Should another thread unmap it in between, the window's bits are
 * put back.
 */
#include <linux/bitmap.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "internal.h"
#include "pte.h"

/*
 * Bytes of the kernel's copy of the answer, at most. It is no larger than it
 * has to be: most kernels clear what they allocate.
 */
#define COPY_MOST	PAGE_SIZE

/* Without an answer, bytes that are scanned without giving mmap_lock up. */
#define SLICE		SZ_1G

struct scan {
	struct avm_space *space;
	struct avm_scan *arg;
	struct avm_match how;
	struct avm_tlb tlb;
	void *copy;
	size_t copy_bytes;
	unsigned long start;	/* of the window */
	unsigned long pages;	/* that matched in it */
	u64 spans;		/* in the copy, the last of which may grow */
	u64 again;		/* of these, one that the user has already */
	u64 room;		/* spans that fit, in the copy and the buffer */
	bool full;		/* a match found no room: it was left alone */
};

static u8 to_state(u32 bits)
{
	return (bits & AVM_PAGE_DIRTY ? AVM_STATE_DIRTY : 0) |
	       (bits & AVM_PAGE_ACCESSED ? AVM_STATE_ACCESSED : 0);
}

/* Where the answer goes; false when there is no room for this page. */
static __always_inline bool make_place(struct scan *s, unsigned long addr)
{
	struct avm_span *span = s->copy;

	if (!(s->arg->flags & AVM_SCAN_RANGES))
		return true;
	if (s->spans) {
		span += s->spans - 1;
		if (span->addr + span->length == addr)
			return true;
		span++;
	}
	if (s->spans == s->room)
		return false;
	span->addr = addr;
	span->length = 0;
	s->spans++;
	return true;
}

static __always_inline void report(struct scan *s, unsigned long addr)
{
	struct avm_span *span = s->copy;

	s->pages++;
	if (s->arg->flags & AVM_SCAN_BITMAP)
		__set_bit((addr - s->start) >> PAGE_SHIFT, s->copy);
	else if (s->arg->flags & AVM_SCAN_RANGES)
		span[s->spans - 1].length += PAGE_SIZE;
}

/*
 * The pages of a locked step, from page @i on. Returns the page at which it
 * stopped: the end, or one that found no room, or one whose protection has no
 * place to be kept (-ENOSPC in *err: the caller makes one).
 */
static unsigned int scan_step(struct scan *s, struct avm_step *step,
			      unsigned int i, int *err)
{
	unsigned int n = avm_step_pages(step);
	unsigned long addr;

	for (;;) {
		i = next_match(step, i, s->how.match);
		if (i == n)
			return i;
		addr = step->addr + ((unsigned long)i << PAGE_SHIFT);
		if (s->how.protect && !step->state.bytes) {
			*err = -ENOSPC;
			return i;
		}
		if (!make_place(s, addr)) {
			s->full = true;
			return i;
		}
		if (s->how.protect)
			avm_pte_take_protect(step, i, &s->how, &s->tlb);
		else if (s->how.clear)
			clear_page_bits(step, i, s->how.clear, &s->tlb);
		report(s, addr);
		i++;
	}
}

/* Scan from @addr as far as one lock covers. Returns where it stopped. */
static unsigned long scan_some(struct scan *s, struct vm_area_struct *vma,
			       unsigned long addr, unsigned long end, int *err)
{
	struct avm_step step;
	unsigned int i = 0;

	avm_step_set(&step, vma, addr, end);
	for (;;) {
		*err = 0;
		/* Not even a PMD page: nothing was ever touched here. */
		if (!avm_pte_lock(&step))
			return avm_pte_skip(step.mm, addr, end);
		i = scan_step(s, &step, i, err);
		avm_pte_unlock(&step);
		if (*err != -ENOSPC)
			break;
		*err = avm_state_expand(step.view, step.pgoff, AVM_GFP);
		if (*err)
			break;
	}
	return step.addr + ((unsigned long)i << PAGE_SHIFT);
}

/* Scan up to @end, mmap_lock held. *addr follows. */
static int scan_window(struct scan *s, unsigned long *addr, unsigned long end)
{
	bool edits = s->how.clear || s->how.protect;
	struct mmu_notifier_range announced;
	struct vm_area_struct *vma;
	unsigned long stop;
	int err = 0;

	while (*addr < end && !s->full && !err) {
		if (fatal_signal_pending(current))
			return -EINTR;
		vma = vma_lookup(current->mm, *addr);
		if (!avm_view_usable(vma, s->space, &err))
			return err;
		if (s->how.protect && s->how.prot & ~avm_vma_prot(vma))
			return -EACCES;
		err = 0;
		stop = min(end, vma->vm_end);
		while (*addr < stop && !s->full && !err) {
			if (fatal_signal_pending(current))
				return -EINTR;
			if (edits)
				avm_tlb_notify_start(&s->tlb, &announced, vma,
						     *addr,
						     pmd_addr_end(*addr, stop));
			*addr = scan_some(s, vma, *addr, stop, &err);
			if (edits)
				avm_tlb_notify_end(&s->tlb, &announced);
			cond_resched();
		}
	}
	return err;
}

/*
 * Put back the bits of a page that was to be reported and could not be. Fails
 * only when killed.
 */
static int put_back(struct scan *s, unsigned long addr)
{
	struct vm_area_struct *vma = vma_lookup(current->mm, addr);
	struct avm_step step;
	int err;

	/* A window may have a quarter of a million pages. */
	cond_resched();
	if (fatal_signal_pending(current))
		return -EINTR;
	if (!avm_view_usable(vma, s->space, &err))
		return 0;
	avm_step_set(&step, vma, addr, addr + PAGE_SIZE);
	/* 512 bytes, in a case that takes a race to reach: do not give up. */
	if (avm_state_expand(step.view, step.pgoff,
			     GFP_KERNEL_ACCOUNT | __GFP_NOFAIL))
		return 0;
	if (avm_pte_lock(&step)) {
		avm_pte_mark(&step, 0, s->how.clear);
		avm_pte_unlock(&step);
	}
	return 0;
}

static void put_window_back(struct scan *s, unsigned long end)
{
	struct avm_span *span = s->copy;
	unsigned long i, addr;

	/* A task that is being killed has no further scan. */
	if (!s->how.clear || mmap_read_lock_killable(current->mm))
		return;
	if (s->arg->flags & AVM_SCAN_BITMAP) {
		for_each_set_bit(i, s->copy, (end - s->start) >> PAGE_SHIFT)
			if (put_back(s, s->start + (i << PAGE_SHIFT)))
				goto unlock;
	} else {
		for (; s->spans; s->spans--, span++)
			for (addr = max(span->addr, s->start);
			     addr < span->addr + span->length;
			     addr += PAGE_SIZE)
				if (put_back(s, addr))
					goto unlock;
	}
unlock:
	mmap_read_unlock(current->mm);
}

/* Bytes of the answer of a window from s->start to @end. */
static size_t answer_size(struct scan *s, unsigned long end)
{
	unsigned long bits = (end - s->start) >> PAGE_SHIFT;

	if (s->arg->flags & AVM_SCAN_BITMAP)
		return BITS_TO_LONGS(bits) * sizeof(long);
	return s->spans * sizeof(struct avm_span);
}

/* Where the answer of the window goes, and how much of it at most. */
static void __user *answer_place(struct scan *s, unsigned long end,
				 size_t *size)
{
	void __user *buffer = u64_to_user_ptr(s->arg->buffer);

	*size = answer_size(s, end);
	if (s->arg->flags & AVM_SCAN_BITMAP)
		return buffer + ((s->start - s->arg->addr) >> PAGE_SHIFT) / 8;
	*size = s->room * sizeof(struct avm_span);
	return buffer + (s->arg->out_spans - s->again) *
		sizeof(struct avm_span);
}

/* Spans that fit in the copy. */
static u64 copy_spans(const struct scan *s)
{
	return s->copy_bytes / sizeof(struct avm_span);
}

static unsigned long window_end(struct scan *s)
{
	unsigned long left = s->arg->addr + s->arg->length - s->start;
	unsigned long most = SLICE;

	if (s->arg->flags & AVM_SCAN_BITMAP)
		most = (unsigned long)s->copy_bytes * 8 << PAGE_SHIFT;
	return s->start + min(left, most);
}

/*
 * A span that ends where the window begins may grow in it: it is taken into
 * the copy and written again.
 */
static void window_begin(struct scan *s, unsigned long end)
{
	struct avm_span *copy = s->copy, *span;
	u64 room;

	s->again = 0;
	if (s->arg->flags & AVM_SCAN_RANGES && s->spans) {
		span = copy + s->spans - 1;
		if (span->addr + span->length == s->start) {
			*copy = *span;
			s->again = 1;
		}
	}
	room = s->arg->buffer_size / sizeof(struct avm_span) -
		s->arg->out_spans + s->again;
	s->pages = 0;
	s->spans = s->again;
	s->room = min_t(u64, copy_spans(s), room);
	s->full = false;
	if (s->arg->flags & AVM_SCAN_BITMAP)
		memset(s->copy, 0, answer_size(s, end));
}

/* Whether nothing comes after this window, which ended at @addr. */
static bool is_last(const struct scan *s, unsigned long addr)
{
	/* Full for good only when the user's buffer is. */
	if (s->full && s->room < copy_spans(s))
		return true;
	return addr == s->arg->addr + s->arg->length;
}

/* One window. Returns 0 to go on, 1 at the end, or an error. */
static int do_window(struct scan *s)
{
	unsigned long end = window_end(s), addr = s->start;
	void __user *place = NULL;
	size_t size = 0, keep;
	bool last;
	int err;

	window_begin(s, end);
	if (s->copy) {
		place = answer_place(s, end, &size);
		keep = s->again * sizeof(struct avm_span);
		if (clear_user(place + keep, size - keep))
			return -EFAULT;
	}
	if (mmap_read_lock_killable(current->mm))
		return -EINTR;
	err = scan_window(s, &addr, end);
	last = err || is_last(s, addr);
	if (last)
		avm_tlb_end(&s->tlb);
	else
		avm_tlb_park(&s->tlb);
	mmap_read_unlock(current->mm);
	if (s->copy && copy_to_user(place, s->copy, answer_size(s, end))) {
		put_window_back(s, addr);
		return -EFAULT;
	}
	s->arg->out_pages += s->pages;
	s->arg->out_spans += s->spans - s->again;
	s->arg->out_end = addr;
	s->start = addr;
	return err ?: last;
}

static int check_answer(const struct avm_scan *arg)
{
	u64 words = DIV_ROUND_UP(arg->length >> PAGE_SHIFT, 64);

	switch (arg->flags & (AVM_SCAN_BITMAP | AVM_SCAN_RANGES)) {
	case 0:
		return arg->buffer || arg->buffer_size ? -EINVAL : 0;
	case AVM_SCAN_BITMAP:
		if (arg->buffer_size < words * 8)
			return -ENOBUFS;
		break;
	case AVM_SCAN_RANGES:
		if (arg->buffer_size < sizeof(struct avm_span))
			return -ENOBUFS;
		break;
	default:
		return -EINVAL;
	}
	return arg->buffer % 8 ? -EINVAL : 0;
}

static int check(struct avm_space *space, const struct avm_scan *arg)
{
	u32 all = AVM_PAGE_DIRTY | AVM_PAGE_ACCESSED;
	int err;

	if (!PAGE_ALIGNED(arg->addr | arg->length) || !arg->length ||
	    arg->addr + arg->length < arg->addr || arg->reserved ||
	    !arg->match || (arg->match | arg->clear) & ~all)
		return -EINVAL;
	if (arg->flags & AVM_SCAN_PROTECT ? !avm_prot_valid(arg->prot) :
					    arg->prot)
		return -EINVAL;
	err = check_answer(arg);
	if (err)
		return err;
	if (mmap_read_lock_killable(current->mm))
		return -EINTR;
	err = avm_view_check(space, arg->addr, arg->addr + arg->length,
			     arg->prot);
	mmap_read_unlock(current->mm);
	return err;
}

/*
 * Room for the whole answer, if that is small. One span more than the user has
 * room for, so that a full copy does not look like a full buffer.
 */
static size_t copy_size(const struct avm_scan *arg)
{
	const u64 most = COPY_MOST / sizeof(struct avm_span);
	u64 spans = arg->buffer_size / sizeof(struct avm_span);

	if (arg->flags & AVM_SCAN_RANGES)
		return min(spans + 1, most) * sizeof(struct avm_span);
	return min_t(u64, DIV_ROUND_UP(arg->length >> PAGE_SHIFT, 64) * 8,
		     COPY_MOST);
}

/**
 * avm_scan() - AVM_IOC_SCAN
 * @space: the space
 * @arg: what the user asked for, and the answer
 */
int avm_scan(struct avm_space *space, struct avm_scan *arg)
{
	struct scan s = {
		.space = space,
		.arg = arg,
		.how.match = to_state(arg->match),
		.how.clear = to_state(arg->clear),
		.how.protect = arg->flags & AVM_SCAN_PROTECT,
		.how.prot = arg->prot,
		.start = arg->addr,
	};
	int err;

	arg->out_end = arg->addr;
	err = check(space, arg);
	if (err)
		return err;
	if (arg->buffer_size) {
		s.copy_bytes = copy_size(arg);
		s.copy = kmalloc(s.copy_bytes, AVM_GFP_TEMPORARY);
		if (!s.copy)
			return -ENOMEM;
	}
	avm_tlb_begin(&s.tlb, space, current->mm);
	do {
		err = do_window(&s);
	} while (!err);
	avm_tlb_end(&s.tlb);
	kfree(s.copy);
	return err < 0 ? err : 0;
}
