// SPDX-License-Identifier: GPL-2.0
/*
 * mirror.c - a secondary MMU, and a judge of who tells it what
 *
 * A device maps a page by noting what the page tables of the process say of it
 * (NOTIFIER_MAP), and then uses the page by the kernel's own mapping. It takes
 * no reference: what keeps the page from being freed is that the device is
 * told to drop it before. So it can tell when it is not told, or too late.
 *
 * NOTIFIER_TABLES: a note is dropped when an announcement begins that covers
 * it. None is made while one is under way, nor when one has begun since the
 * page tables were looked at: the count and the number of mmu_interval_read_begin().
 * So at any moment at which @lock is held and a note exists, the page tables
 * give what the note says, and have not been freed; they may be read without
 * their lock. Whoever changes them before the announcement is seen: by the
 * announcement itself, if that comes later (late), or by an access of the
 * device (broken).
 *
 * NOTIFIER_TLB: a note is made under the page-table lock, as hardware caches a
 * PTE that it has just read, and dropped by the flush that follows a change.
 * Until then it may say more than the PTE, but the page must not be freed. The
 * note does not set the accessed bit, of which hardware makes sure: the
 * stricter case.
 *
 * Once no call is under way, a note that gives more than the page tables do is
 * stale, for either kind.
 */
#include <linux/pgtable.h>
#include <linux/slab.h>
#include <linux/version.h>

#include "mirror.h"

#define MAX_PAGES	65536
#define MAX_RETRIES	20

/* The PMD entry of an address, if it has a page table. */
static pmd_t *find_table(struct mm_struct *mm, unsigned long addr)
{
	pgd_t *pgd = pgd_offset(mm, addr);
	p4d_t *p4d;
	pud_t *pud;
	pmd_t *pmd;

	if (pgd_none(*pgd))
		return NULL;
	p4d = p4d_offset(pgd, addr);
	if (p4d_none(*p4d))
		return NULL;
	pud = pud_offset(p4d, addr);
	if (pud_none(*pud))
		return NULL;
	pmd = pmd_offset(pud, addr);
	if (pmd_none(READ_ONCE(*pmd)) || pmd_trans_huge(READ_ONCE(*pmd)))
		return NULL;
	return pmd;
}

static struct note note_of(pte_t pte)
{
	pteval_t which = _PAGE_PRESENT | _PAGE_RW;

	/* As hardware sees it: core has its own idea of PROT_NONE. */
	if (!(pte_val(pte) & _PAGE_PRESENT))
		return (struct note) {};
	/* Core takes accessed and dirty bits of its own pages unannounced. */
	if (pte_special(pte))
		which |= _PAGE_ACCESSED | _PAGE_DIRTY;
	return (struct note) {
		.pfn = pte_pfn(pte), .flags = pte_val(pte) & which,
	};
}

/* What the page tables say, without their lock: see above for when. */
static struct note look(struct mm_struct *mm, unsigned long addr)
{
	pmd_t *pmd = find_table(mm, addr);

	return pmd ? note_of(READ_ONCE(*pte_offset_kernel(pmd, addr))) : (struct note) {};
}

/* Whether one that was noted as @old gives no more than @now. */
static bool covered(struct note old, struct note now)
{
	return old.pfn == now.pfn && !(old.flags & ~now.flags);
}

static bool in_window(const struct mirror *m, unsigned long addr)
{
	return addr >= m->base && addr < m->base + (m->pages << PAGE_SHIFT);
}

static struct note *find_note(struct mirror *m, unsigned long addr)
{
	return in_window(m, addr) ? m->notes + ((addr - m->base) >> PAGE_SHIFT) : NULL;
}

/* Forget a page, having looked whether it was still there to be used. */
static void drop(struct mirror *m, unsigned long i)
{
	struct note *note = m->notes + i;

	if (!page_count(pfn_to_page(note->pfn)))
		m->stats.freed++;
	else if (m->kind == NOTIFIER_TABLES &&
		 !covered(*note, look(m->mn.mm, m->base + (i << PAGE_SHIFT))))
		m->stats.late++;
	*note = (struct note) {};
	m->stats.dropped++;
	m->stats.mapped--;
}

/* Return: whether the range meets the window. */
static bool drop_range(struct mirror *m, unsigned long start, unsigned long end)
{
	unsigned long i, last;

	lockdep_assert_held(&m->lock);
	start = max(start, m->base);
	end = min(end, m->base + (m->pages << PAGE_SHIFT));
	if (start >= end)
		return false;
	i = (start - m->base) >> PAGE_SHIFT;
	last = (end - 1 - m->base) >> PAGE_SHIFT;
	for (; i <= last; i++)
		if (m->notes[i].pfn)
			drop(m, i);
	return true;
}

static struct mirror *mirror_of(struct mmu_notifier *mn)
{
	return container_of(mn, struct mirror, mn);
}

static int range_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct mirror *m = mirror_of(mn);

	spin_lock(&m->lock);
	m->busy++;
	m->seq++;
	if (drop_range(m, range->start, range->end))
		m->stats.starts++;
	spin_unlock(&m->lock);
	return 0;
}

static void range_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct mirror *m = mirror_of(mn);

	spin_lock(&m->lock);
	m->busy--;
	if (range->end > m->base && range->start < m->base + (m->pages << PAGE_SHIFT))
		m->stats.ends++;
	spin_unlock(&m->lock);
}

static void flush_range(struct mmu_notifier *mn, struct mm_struct *mm,
			unsigned long start, unsigned long end)
{
	struct mirror *m = mirror_of(mn);

	spin_lock(&m->lock);
	if (drop_range(m, start, end))
		m->stats.flushes++;
	spin_unlock(&m->lock);
}

/* The memory goes: this is the last that is heard of it. */
static void release(struct mmu_notifier *mn, struct mm_struct *mm)
{
	struct mirror *m = mirror_of(mn);

	spin_lock(&m->lock);
	drop_range(m, 0, ULONG_MAX);
	m->stats.releases++;
	spin_unlock(&m->lock);
}

static const struct mmu_notifier_ops tables_ops = {
	.release		= release,
	.invalidate_range_start	= range_start,
	.invalidate_range_end	= range_end,
};

static const struct mmu_notifier_ops tlb_ops = {
	.release		= release,
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0)
	.invalidate_range	= flush_range,
#else
	.arch_invalidate_secondary_tlbs	= flush_range,
#endif
};

/**
 * mirror_attach() - give a device the memory of the caller
 * @m: the device
 * @arg: its kind and window
 */
int mirror_attach(struct mirror *m, const struct notifier_attach *arg)
{
	int err;

	if (m->attached)
		return -EBUSY;
	if (!arg->pages || arg->pages > MAX_PAGES || !PAGE_ALIGNED(arg->base) ||
	    arg->base >= TASK_SIZE || arg->kind > NOTIFIER_TLB)
		return -EINVAL;
	m->notes = kvcalloc(arg->pages, sizeof(*m->notes), GFP_KERNEL);
	if (!m->notes)
		return -ENOMEM;
	m->base = arg->base;
	m->pages = arg->pages;
	m->kind = arg->kind;
	m->mn.ops = m->kind == NOTIFIER_TABLES ? &tables_ops : &tlb_ops;
	err = mmu_notifier_register(&m->mn, current->mm);
	if (err) {
		kvfree(m->notes);
		m->notes = NULL;
		return err;
	}
	m->attached = true;
	return 0;
}

/**
 * mirror_detach() - the reverse
 * @m: a device that nobody uses any more
 */
void mirror_detach(struct mirror *m)
{
	if (m->attached)
		mmu_notifier_unregister(&m->mn, m->mn.mm);
	m->attached = false;
	kvfree(m->notes);
	m->notes = NULL;
}

static void set_note(struct mirror *m, struct note *note, struct note now)
{
	lockdep_assert_held(&m->lock);
	if (!note->pfn)
		m->stats.mapped++;
	*note = now;
}

/* Note what the page tables hold, if no announcement has come since @seq. */
static int take_note(struct mirror *m, unsigned long addr, struct note now,
		     bool write, unsigned long seq)
{
	int err = 0;

	spin_lock(&m->lock);
	if (!now.pfn || (write && !(now.flags & _PAGE_RW))) {
		err = -EFAULT;
	} else if (m->kind == NOTIFIER_TABLES && (m->busy || m->seq != seq)) {
		m->stats.retries++;
		err = -EAGAIN;
	} else {
		if (!write)
			now.flags &= ~(pteval_t)_PAGE_RW;
		set_note(m, find_note(m, addr), now);
	}
	spin_unlock(&m->lock);
	return err;
}

/* Look at the page tables once. Return: -EAGAIN if an announcement came. */
static int try_map(struct mirror *m, unsigned long addr, bool write)
{
	struct mm_struct *mm = m->mn.mm;
	struct note now = {};
	unsigned long seq;
	spinlock_t *ptl;	/* of the page table */
	int err;
	pmd_t *pmd;

	spin_lock(&m->lock);
	seq = m->seq;
	spin_unlock(&m->lock);
	pmd = find_table(mm, addr);
	if (!pmd)
		return -EFAULT;
	ptl = pte_lockptr(mm, pmd);
	spin_lock(ptl);
	now = note_of(*pte_offset_kernel(pmd, addr));
	if (m->kind == NOTIFIER_TABLES) {
		spin_unlock(ptl);
		return take_note(m, addr, now, write, seq);
	}
	err = take_note(m, addr, now, write, seq);
	spin_unlock(ptl);
	return err;
}

/**
 * mirror_map() - have the device map a page
 * @m: the device
 * @arg: where, and whether for writing
 *
 * Return: 0; -EFAULT where the page tables do not give it; -ERANGE outside of
 * the window; -EAGAIN where announcements never end.
 */
int mirror_map(struct mirror *m, const struct notifier_access *arg)
{
	unsigned long addr = arg->addr & PAGE_MASK;
	unsigned int i;
	int err = -EAGAIN;

	if (!find_note(m, addr))
		return -ERANGE;
	for (i = 0; i < MAX_RETRIES && err == -EAGAIN; i++) {
		mmap_read_lock(m->mn.mm);
		err = find_vma(m->mn.mm, addr) ? try_map(m, addr, arg->write) : -EFAULT;
		mmap_read_unlock(m->mn.mm);
		cond_resched();
	}
	return err;
}

/* The page of a note, if the device may still use it. */
static void *use(struct mirror *m, unsigned long i)
{
	struct note note = m->notes[i];
	struct page *page = pfn_to_page(note.pfn);

	lockdep_assert_held(&m->lock);
	if (!page_count(page)) {
		m->stats.freed++;
		return NULL;
	}
	if (m->kind == NOTIFIER_TABLES &&
	    !covered(note, look(m->mn.mm, m->base + (i << PAGE_SHIFT)))) {
		m->stats.broken++;
		return NULL;
	}
	return page_address(page);
}

/**
 * mirror_access() - have the device read or write 8 bytes
 * @m: the device
 * @arg: where and what
 *
 * Return: 0; -ENXIO: not mapped; -EACCES: not for writing; -EIO: it was
 * not told of a change.
 */
int mirror_access(struct mirror *m, struct notifier_access *arg)
{
	struct note *note = find_note(m, arg->addr);
	int err = 0;
	u64 *frame;

	if (!note || arg->addr & 7)
		return -ERANGE;
	spin_lock(&m->lock);
	if (!note->pfn) {
		err = -ENXIO;
	} else if (arg->write && !(note->flags & _PAGE_RW)) {
		err = -EACCES;
	} else {
		frame = use(m, note - m->notes);
		if (!frame)
			err = -EIO;
		else if (arg->write)
			WRITE_ONCE(frame[offset_in_page(arg->addr) / 8], arg->value);
		else
			arg->value = READ_ONCE(frame[offset_in_page(arg->addr) / 8]);
	}
	spin_unlock(&m->lock);
	return err;
}

/**
 * mirror_spray() - have the device write to all pages that it may write to
 * @m: the device
 * @value: what, to the first 8 bytes of each
 *
 * Return: pages written.
 */
int mirror_spray(struct mirror *m, u64 value)
{
	unsigned long i;
	u64 *frame;
	int n = 0;

	for (i = 0; i < m->pages; i++) {
		spin_lock(&m->lock);
		frame = m->notes[i].flags & _PAGE_RW ? use(m, i) : NULL;
		if (frame) {
			WRITE_ONCE(*frame, value);
			n++;
		}
		spin_unlock(&m->lock);
	}
	return n;
}

/* How many notes give more than the page tables; these lie still. */
static unsigned long count_stale(struct mirror *m)
{
	struct mm_struct *mm = m->mn.mm;
	unsigned long i, n = 0;

	if (!m->attached || !mmget_not_zero(mm))
		return 0;
	mmap_read_lock(mm);
	spin_lock(&m->lock);
	for (i = 0; i < m->pages; i++)
		if (m->notes[i].pfn &&
		    !covered(m->notes[i], look(mm, m->base + (i << PAGE_SHIFT))))
			n++;
	spin_unlock(&m->lock);
	mmap_read_unlock(mm);
	mmput(mm);
	return n;
}

/**
 * mirror_stats() - what was seen
 * @m: the device
 * @out: the answer
 */
void mirror_stats(struct mirror *m, struct notifier_stats *out)
{
	unsigned long stale = count_stale(m);

	spin_lock(&m->lock);
	*out = m->stats;
	spin_unlock(&m->lock);
	out->stale = stale;
}
