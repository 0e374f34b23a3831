// SPDX-License-Identifier: GPL-2.0
/*
 * pte.c - the only file that touches page tables
 *
 * A PTE of a view is a cache of (frame, protection), plus the accessed and
 * dirty bits, which live nowhere else. It never grants more than the state of
 * its page does. A page that may not be accessed has no PTE.
 *
 * The lock. The state and the PTE of a page are read and changed together
 * under the lock of the lowest level that exists: the lock of the page table,
 * or, where the PMD entry is none, the lock of the PMD page, under which a
 * table would be put there. avm_pte_lock() takes the right one and tells
 * which. A table that exists stays: page tables under a VM_PFNMAP area are
 * freed only with its VMA, after it has been taken off the i_mmap tree. So
 * whoever holds mmap_lock, the VMA's lock, or i_mmap_rwsem with the VMA still
 * on the tree, may walk.
 *
 * A fault thus reads the state, finds the frame and sets the PTE in one
 * critical section; a PROTECT changes the state and edits the PTE in another.
 * Whichever comes second sees what the first did: the fault is denied, or the
 * PTE that it made is taken away. The same holds for a discard: it first puts
 * AVM_FRAME_DYING in place of the frame, then takes this lock; a fault that
 * took it earlier has set a PTE that the discard finds, one that takes it
 * later sees that the frame is going. Where the discard finds no table and
 * takes the PMD lock instead, the table and so the fault come later.
 *
 * The CPU sets accessed and dirty at any moment. A present PTE is therefore
 * changed by an atomic exchange, and what follows is decided by the value
 * that the exchange returned; a bit that an edit drops goes into the state.
 *
 * Nothing here sleeps, except avm_pte_table(). Nothing here flushes: edits
 * that need it are noted in a struct avm_tlb.
 */
#include <linux/pgtable.h>
#include <asm/tlbflush.h>

#include "internal.h"

/**
 * avm_pte_table() - see to it that an address has a page table
 * @mm: whose
 * @addr: the address, in a view
 *
 * Context: may sleep; mmap_lock or the VMA's lock held.
 * Return: 0 or -ENOMEM.
 */
int avm_pte_table(struct mm_struct *mm, unsigned long addr)
{
	return apply_to_page_range(mm, addr & PAGE_MASK, PAGE_SIZE, NULL, NULL);
}

/* The PMD entry of an address, or NULL where there is no PMD page. */
static pmd_t *find_pmd(struct mm_struct *mm, unsigned long addr)
{
	pgd_t *pgd = pgd_offset(mm, addr);
	p4d_t *p4d;
	pud_t *pud;

	if (pgd_none(*pgd))
		return NULL;
	p4d = p4d_offset(pgd, addr);
	if (p4d_none(*p4d))
		return NULL;
	pud = pud_offset(p4d, addr);
	if (pud_none(*pud))
		return NULL;
	return pmd_offset(pud, addr);
}

/**
 * avm_step_set() - the pages from an address on that one lock covers
 * @step: the answer
 * @vma: a VMA of a view
 * @addr: first byte, in @vma
 * @end: byte after the last that is wanted, in @vma or its end
 *
 * Return: byte after the last that is covered.
 */
unsigned long avm_step_set(struct avm_step *step, struct vm_area_struct *vma,
			   unsigned long addr, unsigned long end)
{
	unsigned long room;

	step->view = vma->vm_private_data;
	step->mm = vma->vm_mm;
	step->addr = addr;
	step->pgoff = avm_pgoff(vma, addr);
	room = (unsigned long)avm_state_room(step->view, step->pgoff)
			<< PAGE_SHIFT;
	/* One boundary as a rule: they part only where a view was moved. */
	step->end = min3(end, pmd_addr_end(addr, end), addr + room);
	return step->end;
}

/**
 * avm_pte_lock() - lock the pages of a step
 * @step: set by avm_step_set(); gets its lock, PTEs and state
 *
 * Context: mmap_lock, the VMA's lock, or i_mmap_rwsem held.
 * Return: false, and nothing is locked, where not even a PMD page exists. No
 * page has a PTE there; avm_pte_table() makes one.
 */
bool avm_pte_lock(struct avm_step *step)
{
	pmd_t *pmd = find_pmd(step->mm, step->addr);

	step->pte = NULL;
	if (!pmd)
		return false;
	while (pmd_none(READ_ONCE(*pmd))) {
		step->ptl = pmd_lock(step->mm, pmd);
		if (likely(pmd_none(*pmd)))
			goto locked;
		spin_unlock(step->ptl);
	}
	step->ptl = pte_lockptr(step->mm, pmd);
	spin_lock(step->ptl);
	step->pte = pte_offset_kernel(pmd, step->addr);
locked:
	step->state = avm_state_find(step->view, step->pgoff);
	return true;
}

/**
 * avm_pte_unlock() - the reverse of avm_pte_lock()
 * @step: a locked step
 */
void avm_pte_unlock(struct avm_step *step)
{
	spin_unlock(step->ptl);
}

/* Edits of one step, told to the struct avm_tlb when it is through. */
struct edits {
	unsigned long first;
	unsigned long last;
	unsigned long count;
	bool cached;
};

static void edits_begin(struct edits *edits)
{
	edits->first = ULONG_MAX;
	edits->last = 0;
	edits->count = 0;
	edits->cached = false;
}

/* Before the first edit that may need a flush, under the page-table lock. */
static __always_inline void owe(struct avm_tlb *tlb)
{
	if (!tlb->owed) {
		tlb->owed = true;
		atomic_inc(&tlb->space->pending);
	}
}

/* An edit of a PTE that was @old and would need a flush if it was cached. */
static __always_inline void note(struct edits *edits, unsigned long addr,
				 pte_t old)
{
	if (!edits->count)
		edits->first = addr;
	edits->last = addr;
	edits->count++;
	edits->cached |= pte_young(old);
}

static void edits_end(struct edits *edits, struct avm_tlb *tlb)
{
	if (!edits->count)
		return;
	tlb->pages += edits->count;
	tlb->start = min(tlb->start, edits->first);
	tlb->end = max(tlb->end, edits->last + PAGE_SIZE);
	/* What a secondary MMU caches does not show in the accessed bit. */
	tlb->needed |= edits->cached || tlb->range.mm;
}

static __always_inline u8 carried(pte_t old)
{
	return (pte_young(old) ? AVM_STATE_ACCESSED : 0) |
	       (pte_dirty(old) ? AVM_STATE_DIRTY : 0);
}

static __always_inline u8 state_of(const struct avm_step *step, unsigned int i)
{
	return step->state.bytes ? step->state.bytes[i] : step->state.uniform;
}

static __always_inline bool exchange(pte_t *ptep, pte_t *old, pte_t new)
{
	return try_cmpxchg((long *)&ptep->pte, (long *)&old->pte,
			   *(long *)&new.pte);
}

/*
 * A present PTE with another protection, not none; all else in it is kept.
 * The protections of a view differ in two bits. (Not by pte_modify(), which
 * refers to a symbol that is exported to no module.)
 */
static __always_inline pte_t pte_with(struct avm_view *view, pte_t pte, u8 prot)
{
	pteval_t want = pgprot_val(view->pgprot[prot]);

	pte = want & _PAGE_RW ? pte_mkwrite_novma(pte) : pte_wrprotect(pte);
	return want & _PAGE_NX ? pte_set_flags(pte, _PAGE_NX) : pte_mkexec(pte);
}

static void set_frame(struct avm_step *step, unsigned int i, struct page *page,
		      u8 prot, bool young)
{
	unsigned long addr = step->addr + ((unsigned long)i << PAGE_SHIFT);
	pte_t pte = pfn_pte(page_to_pfn(page), step->view->pgprot[prot]);

	pte = pte_mkspecial(young ? pte_mkyoung(pte) : pte_mkold(pte));
	set_pte_at(step->mm, addr, step->pte + i, pte);
}

/* Map a page ahead of its use, if it has a frame: not accessed, not dirty. */
static void map_ahead(struct avm_step *step, unsigned int i, u8 prot)
{
	void *frame = avm_frame_find(step->view->space, step->pgoff + i);

	if (frame && !xa_is_value(frame))
		set_frame(step, i, frame, prot, false);
}

/**
 * avm_pte_map() - resolve a fault
 * @step: one page, locked
 * @need: AVM_PROT_* that the access takes
 *
 * Return: 0 when the access can be tried again; -EACCES when its protection
 * forbids it; -ENOENT when the page has no frame, -EBUSY when its frame is
 * being discarded, -EAGAIN when there is no page table; -EIO when something
 * that is not ours stands in the PTE.
 */
int avm_pte_map(struct avm_step *step, u8 need)
{
	u8 prot = state_of(step, 0) & AVM_STATE_PROT;
	pte_t old;
	void *frame;

	lockdep_assert_held(step->ptl);
	if (need & ~prot)
		return -EACCES;
	if (!step->pte)
		return -EAGAIN;
	old = ptep_get(step->pte);
	if (pte_present(old)) {
		/* A first write, or a fault that another thread resolved. */
		while (!exchange(step->pte, &old,
				 pte_with(step->view, old, prot)))
			;
		return 0;
	}
	if (unlikely(!pte_none(old)))
		return -EIO;
	frame = avm_frame_find(step->view->space, step->pgoff);
	if (!frame)
		return -ENOENT;
	if (xa_is_value(frame))
		return -EBUSY;
	set_frame(step, 0, frame, prot, true);
	return 0;
}

/* PROTECT to none: take PTEs away, keep what the CPU recorded in them. */
static void take_away(struct avm_step *step, unsigned int first, unsigned int n,
		      struct avm_tlb *tlb)
{
	unsigned long addr = step->addr + ((unsigned long)first << PAGE_SHIFT);
	u8 *bytes = step->state.bytes ? step->state.bytes + first : NULL;
	pte_t *ptep = step->pte + first, *last = ptep + n, old;
	struct edits edits;

	/* All were inaccessible already: no PTE is there. */
	if (!bytes)
		return;
	edits_begin(&edits);
	for (; ptep != last; ptep++, bytes++, addr += PAGE_SIZE) {
		*bytes &= AVM_STATE_CARRIED;
		if (!pte_present(ptep_get(ptep)))
			continue;
		owe(tlb);
		old = ptep_get_and_clear(step->mm, addr, ptep);
		*bytes |= carried(old);
		note(&edits, addr, old);
	}
	edits_end(&edits, tlb);
}

/*
 * Give a present PTE another protection, not none. Lowering it or adding x is
 * an edit that wants a flush; raising it to w is not. (A read-only entry that
 * a CPU still has costs a fault that finds the PTE writable.)
 */
static __always_inline void change(struct avm_step *step, pte_t *ptep,
				   unsigned long addr, u8 prot,
				   struct edits *edits, struct avm_tlb *tlb)
{
	pteval_t want = pgprot_val(step->view->pgprot[prot]);
	pte_t old = ptep_get(ptep), new;
	pteval_t differ = (pte_flags(old) ^ want) & (_PAGE_RW | _PAGE_NX);
	bool flush;

	if (!differ)
		return;
	flush = (differ & _PAGE_NX) || (differ & ~want & _PAGE_RW);
	if (flush)
		owe(tlb);
	do {
		new = pte_with(step->view, old, prot);
	} while (!exchange(ptep, &old, new));
	if (flush)
		note(edits, addr, old);
}

static void change_all(struct avm_step *step, unsigned int first,
		       unsigned int n, u8 prot, struct avm_tlb *tlb)
{
	unsigned long addr = step->addr + ((unsigned long)first << PAGE_SHIFT);
	u8 *bytes = step->state.bytes ? step->state.bytes + first : NULL;
	bool was_none = !bytes && !step->state.uniform;
	pte_t *ptep = step->pte + first;
	struct edits edits;
	unsigned int i;

	edits_begin(&edits);
	for (i = first; i < first + n; i++, ptep++, addr += PAGE_SIZE) {
		if (bytes) {
			was_none = !(*bytes & AVM_STATE_PROT);
			*bytes = (*bytes & AVM_STATE_CARRIED) | prot;
			bytes++;
		}
		if (pte_present(ptep_get(ptep)))
			change(step, ptep, addr, prot, &edits, tlb);
		else if (was_none && pte_none(ptep_get(ptep)))
			map_ahead(step, i, prot);
	}
	edits_end(&edits, tlb);
}

/**
 * avm_pte_protect() - give pages a protection
 * @step: locked; has bytes, or is uniformly @prot already
 * @first: first page of the step
 * @n: pages
 * @prot: AVM_PROT_*
 * @tlb: notes what needs a flush
 *
 * A page that was inaccessible, has a frame and may now be accessed is mapped
 * at once: whoever opens a page means to use it.
 */
void avm_pte_protect(struct avm_step *step, unsigned int first, unsigned int n,
		     u8 prot, struct avm_tlb *tlb)
{
	unsigned int i;

	lockdep_assert_held(step->ptl);
	if (step->pte) {
		if (prot == AVM_PROT_NONE)
			take_away(step, first, n, tlb);
		else
			change_all(step, first, n, prot, tlb);
	} else if (step->state.bytes) {
		for (i = first; i < first + n; i++)
			step->state.bytes[i] = prot |
				(step->state.bytes[i] & AVM_STATE_CARRIED);
	}
}

/**
 * avm_pte_populate() - map pages that have frames and no PTE, ahead of use
 * @step: locked
 */
void avm_pte_populate(struct avm_step *step)
{
	unsigned int i, n = avm_step_pages(step);
	u8 prot;

	lockdep_assert_held(step->ptl);
	if (!step->pte)
		return;
	for (i = 0; i < n; i++) {
		prot = state_of(step, i) & AVM_STATE_PROT;
		if (prot && pte_none(ptep_get(step->pte + i)))
			map_ahead(step, i, prot);
	}
}

/**
 * avm_pte_discard() - take away PTEs and bits of frames that are going
 * @step: locked; may be of another process
 * @tlb: notes what needs a flush
 *
 * Frames that came while the discard was running stay, with their PTEs: they
 * are not marked (see discard.c).
 */
void avm_pte_discard(struct avm_step *step, struct avm_tlb *tlb)
{
	unsigned long addr = step->addr;
	unsigned int i, n = avm_step_pages(step);
	struct edits edits;
	bool going;
	pte_t old;

	lockdep_assert_held(step->ptl);
	edits_begin(&edits);
	for (i = 0; i < n; i++, addr += PAGE_SIZE) {
		going = false;
		old = step->pte ? ptep_get(step->pte + i) : __pte(0);
		if (pte_present(old)) {
			/* The frame of a PTE changes only under this lock. */
			going = page_private(pte_page(old));
			if (going) {
				owe(tlb);
				old = ptep_get_and_clear(step->mm, addr,
							 step->pte + i);
				note(&edits, addr, old);
			}
		} else if (state_of(step, i) & AVM_STATE_CARRIED) {
			going = avm_frame_find(step->view->space,
					       step->pgoff + i) ==
				AVM_FRAME_DYING;
		}
		if (going && step->state.bytes)
			step->state.bytes[i] &= AVM_STATE_PROT;
	}
	edits_end(&edits, tlb);
}

/* Bits of a PTE that AVM_STATE_ bits stand for. */
static pteval_t pte_bits(u8 bits)
{
	return (bits & AVM_STATE_DIRTY ? AVM_PTE_DIRTY : 0) |
	       (bits & AVM_STATE_ACCESSED ? _PAGE_ACCESSED : 0);
}

static u8 page_bits(const struct avm_step *step, unsigned int i)
{
	pte_t pte = step->pte ? ptep_get(step->pte + i) : __pte(0);
	u8 bits = state_of(step, i) & AVM_STATE_CARRIED;

	return pte_present(pte) ? bits | carried(pte) : bits;
}

/*
 * Whether any of eight pages may match: may, because a PTE that is not present
 * can have any bit. What most of a scan is spent in.
 */
static __always_inline bool eight(const pte_t *ptep, const u8 *bytes,
				  pteval_t pte_mask, u64 byte_mask)
{
	pteval_t ptes = 0;
	u64 states = 0;

	if (ptep)
		ptes = pte_flags(ptep_get((pte_t *)ptep)) |
		       pte_flags(ptep_get((pte_t *)ptep + 1)) |
		       pte_flags(ptep_get((pte_t *)ptep + 2)) |
		       pte_flags(ptep_get((pte_t *)ptep + 3)) |
		       pte_flags(ptep_get((pte_t *)ptep + 4)) |
		       pte_flags(ptep_get((pte_t *)ptep + 5)) |
		       pte_flags(ptep_get((pte_t *)ptep + 6)) |
		       pte_flags(ptep_get((pte_t *)ptep + 7));
	if (bytes)
		memcpy(&states, bytes, sizeof(states));
	return (ptes & pte_mask) || (states & byte_mask);
}

/**
 * avm_pte_next() - the next page that may match
 * @step: locked
 * @from: page of the step to begin at
 * @match: AVM_STATE_CARRIED bits, any of which matches
 *
 * Return: a page, or the number of pages of the step. The CPU may set a bit
 * at any moment; none that is set is passed over.
 */
unsigned int avm_pte_next(struct avm_step *step, unsigned int from, u8 match)
{
	unsigned int i, n = avm_step_pages(step);
	u64 byte_mask = match * 0x0101010101010101ull;
	pteval_t pte_mask = pte_bits(match);
	u8 *bytes = step->state.bytes;
	pte_t *ptep = step->pte;

	lockdep_assert_held(step->ptl);
	if (!ptep && !bytes)
		return n;
	for (i = from; i < n; i++) {
		while (i + 8 <= n && !eight(ptep ? ptep + i : NULL,
					    bytes ? bytes + i : NULL,
					    pte_mask, byte_mask))
			i += 8;
		if (i < n && page_bits(step, i) & match)
			return i;
	}
	return n;
}

/*
 * Clear @bits in a present PTE, and perhaps give it a protection. Returns the
 * PTE that was there in the end.
 */
static pte_t edit_match(struct avm_step *step, unsigned int i, unsigned long addr,
			const struct avm_match *how)
{
	pte_t *ptep = step->pte + i;
	pte_t old, new;

	if (how->protect && how->prot == AVM_PROT_NONE)
		return ptep_get_and_clear(step->mm, addr, ptep);
	old = ptep_get(ptep);
	do {
		new = old;
		if (how->clear & AVM_STATE_DIRTY)
			new = pte_mkclean(new);
		if (how->clear & AVM_STATE_ACCESSED)
			new = pte_mkold(new);
		if (how->protect)
			new = pte_with(step->view, new, how->prot);
	} while (pte_val(new) != pte_val(old) && !exchange(ptep, &old, new));
	return old;
}

/**
 * avm_pte_take() - look at a page that matched, and do with it what is asked
 * @step: locked; has bytes, where @how gives a protection
 * @i: page of the step
 * @how: what to clear, what protection to give
 * @tlb: notes what needs a flush
 *
 * Return: the AVM_STATE_CARRIED bits that the page had.
 */
u8 avm_pte_take(struct avm_step *step, unsigned int i,
		const struct avm_match *how, struct avm_tlb *tlb)
{
	unsigned long addr = step->addr + ((unsigned long)i << PAGE_SHIFT);
	u8 *byte = step->state.bytes ? step->state.bytes + i : NULL;
	u8 bits = state_of(step, i) & AVM_STATE_CARRIED, left = bits;
	struct edits edits;
	pte_t old;

	lockdep_assert_held(step->ptl);
	edits_begin(&edits);
	if (step->pte && pte_present(ptep_get(step->pte + i))) {
		if (how->clear || how->protect)
			owe(tlb);
		old = edit_match(step, i, addr, how);
		bits |= carried(old);
		if (how->clear || how->protect)
			note(&edits, addr, old);
		/* The PTE went, and what is not to be cleared stays. */
		if (how->protect && how->prot == AVM_PROT_NONE)
			left = bits;
	}
	left &= ~how->clear;
	if (byte)
		*byte = left | (how->protect ? how->prot :
				*byte & AVM_STATE_PROT);
	edits_end(&edits, tlb);
	return bits;
}

/**
 * avm_pte_mark() - set bits of a page
 * @step: locked; has bytes, where the page has no PTE
 * @i: page of the step
 * @bits: AVM_STATE_CARRIED bits
 */
void avm_pte_mark(struct avm_step *step, unsigned int i, u8 bits)
{
	pte_t *ptep = step->pte + i, old, new;

	lockdep_assert_held(step->ptl);
	if (step->state.bytes) {
		step->state.bytes[i] |= bits;
		return;
	}
	old = ptep_get(ptep);
	do {
		new = old;
		if (bits & AVM_STATE_DIRTY)
			new = pte_mkdirty(new);
		if (bits & AVM_STATE_ACCESSED)
			new = pte_mkyoung(new);
	} while (!exchange(ptep, &old, new));
}
