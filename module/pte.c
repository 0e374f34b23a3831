// SPDX-License-Identifier: GPL-2.0
/*
 * pte.c - the only file that touches page tables (with pte.h, for one PTE)
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
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/pgtable.h>
#include <asm/tlbflush.h>

#include "internal.h"
#include "pte.h"

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
 * avm_pte_table() - see to it that an address has a page table
 * @mm: whose
 * @addr: the address, in a view
 *
 * apply_to_page_range() allocates as a user's fault does: at the limit of a
 * memory cgroup it has somebody killed. So what it may take is asked for
 * first, in a way that fails, and given back.
 *
 * Context: may sleep; mmap_lock or the VMA's lock held.
 * Return: 0 or -ENOMEM.
 */
int avm_pte_table(struct mm_struct *mm, unsigned long addr)
{
	pmd_t *pmd = find_pmd(mm, addr);
	struct page *pages[3];
	unsigned int i, n = pmd ? 1 : ARRAY_SIZE(pages);
	int err = 0;

	if (pmd && !pmd_none(READ_ONCE(*pmd)))
		return 0;
	for (i = 0; i < n && !err; i++) {
		pages[i] = alloc_page(AVM_GFP);
		if (!pages[i])
			err = -ENOMEM;
	}
	if (err)
		i--;
	while (i--)
		__free_page(pages[i]);
	return err ?: apply_to_page_range(mm, addr & PAGE_MASK, PAGE_SIZE, NULL,
					  NULL);
}

/**
 * avm_pte_skip() - pass over addresses that have no PMD page
 * @mm: whose page tables
 * @addr: the first
 * @end: where to stop
 *
 * Context: as for avm_pte_lock(), which has just returned false for @addr.
 * Return: the next address that may have one, beyond @addr, or @end.
 */
unsigned long avm_pte_skip(struct mm_struct *mm, unsigned long addr,
			   unsigned long end)
{
	pgd_t *pgd = pgd_offset(mm, addr);
	p4d_t *p4d;

	if (pgd_none(*pgd))
		return pgd_addr_end(addr, end);
	p4d = p4d_offset(pgd, addr);
	if (p4d_none(*p4d))
		return p4d_addr_end(addr, end);
	return pud_addr_end(addr, end);
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

/* For the short way: where a chunk has its pages, while they stay there. */
static void remember_table(struct avm_step *step)
{
	struct avm_chunk *chunk = avm_state_chunk(step->view,
			(step->pgoff + step->view->skew) >> AVM_CHUNK_SHIFT);

	if (chunk && !chunk->table) {
		chunk->ptl = step->ptl;
		/* Who sees the table sees its lock: pairs with short.c. */
		smp_store_release(&chunk->table,
				  step->pte - pte_index(step->addr));
	}
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
	remember_table(step);
locked:
	step->state = avm_state_find(step->view, step->pgoff);
	__release(step->ptl);	/* sparse: held until avm_pte_unlock() */
	return true;
}

/**
 * avm_pte_lock_again() - lock a step that was locked before
 * @step: a step that was unlocked; mmap_lock or the like held ever since
 *
 * Return: false, and nothing is locked, where there was no table before.
 */
bool avm_pte_lock_again(struct avm_step *step)
{
	if (!step->pte)
		return false;
	spin_lock(step->ptl);
	if (!step->state.bytes)
		step->state = avm_state_find(step->view, step->pgoff);
	__release(step->ptl);	/* as above */
	return true;
}

/**
 * avm_pte_unlock() - the reverse of avm_pte_lock()
 * @step: a locked step
 */
void avm_pte_unlock(struct avm_step *step)
{
	__acquire(step->ptl);	/* as above */
	spin_unlock(step->ptl);
}

/*
 * Edits of some pages that follow one another: how many of those that may need
 * a flush, and all flags that the PTEs had. Told to the struct avm_tlb when
 * they are through.
 */
struct edits {
	unsigned long count;
	pteval_t flags;
};

/* An edit of a PTE that was @old and needs a flush if it was cached. */
static __always_inline void note(struct edits *edits, pte_t old)
{
	edits->count++;
	edits->flags |= bits_of(old);
}

static __always_inline void edits_end(const struct edits *edits,
				      struct avm_tlb *tlb, unsigned long addr,
				      unsigned long end)
{
	if (!edits->count)
		return;
	tlb->pages += edits->count;
	tlb->start = min(tlb->start, addr);
	tlb->end = max(tlb->end, end);
	/* What a secondary MMU caches does not show in the accessed bit. */
	if ((edits->flags & _PAGE_ACCESSED) || unlikely(tlb->announced))
		tlb->needed = true;
}

static noinline void map_page_ahead(struct avm_step *step, unsigned int i, u8 prot)
{
	map_ahead(step->view->space, step->view, step->mm,
		  step->addr + ((unsigned long)i << PAGE_SHIFT), step->pte + i,
		  step->pgoff + i, prot);
}

/* Set the protection in the states of pages, keep what was carried over. */
static __always_inline void set_states(u8 *bytes, unsigned int n, u8 prot)
{
	const u64 each = 0x0101010101010101ull;
	u64 eight;

	for (; n >= 8; n -= 8, bytes += 8) {
		memcpy(&eight, bytes, 8);
		eight = (eight & AVM_STATE_CARRIED * each) | prot * each;
		memcpy(bytes, &eight, 8);
	}
	for (; n; n--, bytes++)
		*bytes = (*bytes & AVM_STATE_CARRIED) | prot;
}

/* PROTECT to none: take PTEs away, keep what the CPU recorded in them. */
static __always_inline void take_away(struct avm_step *step, unsigned int first,
				      unsigned int n, struct edits *edits)
{
	unsigned long addr = step->addr + ((unsigned long)first << PAGE_SHIFT);
	u8 *bytes = step->state.bytes + first;
	pte_t *ptep = step->pte + first, *last = ptep + n, old;

	set_states(bytes, n, AVM_PROT_NONE);
	for (; ptep != last; ptep++, bytes++, addr += PAGE_SIZE) {
		if (!(bits_of(ptep_get(ptep)) & _PAGE_PRESENT))
			continue;
		old = ptep_get_and_clear(step->mm, addr, ptep);
		*bytes |= carried(old);
		note(edits, old);
	}
}

/*
 * Give a present PTE another protection, not none. Lowering it or adding x is
 * an edit that wants a flush; raising it to w is not. (A read-only entry that
 * a CPU still has costs a fault that finds the PTE writable.)
 */
static void change(struct avm_step *step, pte_t *ptep, u8 prot,
		   struct edits *edits)
{
	pteval_t want = pgprot_val(step->view->pgprot[prot]);
	pte_t old = ptep_get(ptep);
	pteval_t differ = (bits_of(old) ^ want) & (_PAGE_RW | _PAGE_NX);

	if (!differ)
		return;
	while (!exchange(ptep, &old, pte_with(old, want)))
		;
	if ((differ & _PAGE_NX) || !(want & _PAGE_RW))
		note(edits, old);
}

/* Map those pages that were inaccessible, have frames, and have no PTE. */
static noinline void open_pages(struct avm_step *step, unsigned int first,
				unsigned int n, u8 prot)
{
	unsigned int i;

	for (i = first; i < first + n; i++)
		if (!(state_of(step, i) & AVM_STATE_PROT) &&
		    !pte_present(ptep_get(step->pte + i)))
			map_page_ahead(step, i, prot);
}

/* PROTECT to anything else. Most often it takes w away: that goes first. */
static __always_inline void change_all(struct avm_step *step,
				       unsigned int first, unsigned int n,
				       u8 prot, struct edits *edits)
{
	pteval_t want = pgprot_val(step->view->pgprot[prot]) &
			(_PAGE_RW | _PAGE_NX);
	/*
	 * Flags of a PTE from which only w is to be taken; where w is wanted,
	 * what no PTE can be.
	 */
	const pteval_t mask = _PAGE_RW | _PAGE_NX | _PAGE_PRESENT;
	pteval_t writable = want & _PAGE_RW ? ~mask : want | _PAGE_RW | _PAGE_PRESENT;
	pte_t *ptep = step->pte + first, *last = ptep + n, old;
	bool absent = false;

	for (; ptep != last; ptep++) {
		old = ptep_get(ptep);
		if ((bits_of(old) & mask) == writable) {
			while (!exchange(ptep, &old, pte_wrprotect(old)))
				;
			note(edits, old);
		} else if (bits_of(old) & _PAGE_PRESENT) {
			change(step, ptep, prot, edits);
		} else {
			absent = true;
		}
	}
	if (absent)
		open_pages(step, first, n, prot);
	if (step->state.bytes)
		set_states(step->state.bytes + first, n, prot);
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
	unsigned long addr = step->addr + ((unsigned long)first << PAGE_SHIFT);
	struct edits edits = {};

	lockdep_assert_held(step->ptl);
	/* All were inaccessible already, so that no PTE is there. */
	if (prot == AVM_PROT_NONE && !step->state.bytes)
		return;
	if (!step->pte) {
		if (step->state.bytes)
			set_states(step->state.bytes + first, n, prot);
		return;
	}
	owe(tlb->space, &tlb->owed);
	if (prot == AVM_PROT_NONE)
		take_away(step, first, n, &edits);
	else
		change_all(step, first, n, prot, &edits);
	edits_end(&edits, tlb, addr, addr + ((unsigned long)n << PAGE_SHIFT));
}

/* One page of a vector. The edits are noted in registers. */
static __always_inline void protect_one(struct avm_step *step, unsigned int i,
					unsigned long addr, u8 prot,
					struct avm_tlb *tlb,
					struct edits *edits)
{
	switch (protect_page(tlb->space, step->mm, addr, step->pte + i,
			     step->state.bytes + i, prot,
			     pgprot_val(step->view->pgprot[prot]),
			     &tlb->owed)) {
	case PROTECTED_OPEN:
		map_page_ahead(step, i, prot);
		break;
	case PROTECTED_CACHED:
		edits->flags = _PAGE_ACCESSED;
		fallthrough;
	case PROTECTED_OLD:
		edits->count++;
		break;
	case PROTECTED:
		break;
	}
}

/**
 * avm_pte_protect_ranges() - the ranges of a vector that lie in one step
 * @step: locked; nothing is done unless it has bytes and a table
 * @ranges: as the user gave them
 * @n: how many
 * @left: pages to do at most, or a few more; counts down
 * @tlb: notes what needs a flush
 *
 * Return: how many were done. The next one is malformed, forbidden, not all in
 * this step, or beyond @left: for the caller to find out.
 */
unsigned int avm_pte_protect_ranges(struct avm_step *step,
				    const struct avm_range *ranges,
				    unsigned int n, long *left,
				    struct avm_tlb *tlb)
{
	u8 forbidden = step->view->forbidden & AVM_PROT_RWX;
	const struct avm_range *range = ranges, *last = ranges + n;
	unsigned long start = ULONG_MAX, end = 0;
	unsigned long size = step->end - step->addr, at;
	struct edits edits = {};
	long most = *left;
	unsigned int i;

	lockdep_assert_held(step->ptl);
	if (!step->state.bytes || !step->pte)
		return 0;
	for (; range != last && most > 0; range++) {
		at = range->addr - step->addr;
		if (at >= size || range->length - 1 >= size - at ||
		    !PAGE_ALIGNED(at | range->length) || range->reserved ||
		    !avm_prot_valid(range->prot) || range->prot & forbidden)
			break;
		i = at >> PAGE_SHIFT;
		if (unlikely(range->length != PAGE_SIZE)) {
			avm_pte_protect(step, i, range->length >> PAGE_SHIFT,
					range->prot, tlb);
			most -= range->length >> PAGE_SHIFT;
			continue;
		}
		protect_one(step, i, range->addr, range->prot & AVM_PROT_RWX,
			    tlb, &edits);
		start = min_t(unsigned long, start, range->addr);
		end = max_t(unsigned long, end, range->addr);
		most--;
	}
	edits_end(&edits, tlb, start, end + PAGE_SIZE);
	*left = most;
	return range - ranges;
}

/**
 * avm_pte_empty() - whether no page of a step has a PTE
 * @step: locked
 */
bool avm_pte_empty(const struct avm_step *step)
{
	unsigned int i, n = avm_step_pages(step);

	lockdep_assert_held(step->ptl);
	if (step->pte)
		for (i = 0; i < n; i++)
			if (!pte_none(ptep_get(step->pte + i)))
				return false;
	return true;
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
		if (prot && !pte_present(ptep_get(step->pte + i)))
			map_page_ahead(step, i, prot);
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
	struct edits edits = {};
	bool going;
	pte_t old;

	lockdep_assert_held(step->ptl);
	/*
	 * A munmap in that mm may have taken our PTEs away, and not flushed:
	 * it clears them one by one under this lock, and flushes in the end.
	 */
	if (mm_tlb_flush_pending(step->mm))
		tlb->everything = true;
	/* Bits are carried over in bytes only. */
	if (!step->pte && !step->state.bytes)
		return;
	for (i = 0; i < n; i++, addr += PAGE_SIZE) {
		going = false;
		old = step->pte ? ptep_get(step->pte + i) : __pte(0);
		if (pte_present(old)) {
			/* The frame of a PTE changes only under this lock. */
			going = page_private(pte_page(old));
			if (going) {
				owe(tlb->space, &tlb->owed);
				old = ptep_get_and_clear(step->mm, addr,
							 step->pte + i);
				note(&edits, old);
			}
		} else if (state_of(step, i) & AVM_STATE_CARRIED) {
			going = avm_frame_find(step->view->space,
					       step->pgoff + i) ==
				AVM_FRAME_DYING;
		}
		if (going && step->state.bytes)
			step->state.bytes[i] &= AVM_STATE_PROT;
	}
	edits_end(&edits, tlb, step->addr, step->end);
}

/*
 * Clear bits in a present PTE and give it a protection. Returns the PTE that
 * was there in the end.
 */
static pte_t edit_match(struct avm_step *step, unsigned int i, unsigned long addr,
			const struct avm_match *how)
{
	pteval_t want = pgprot_val(step->view->pgprot[how->prot]);
	pte_t *ptep = step->pte + i;
	pte_t old, new;

	if (how->prot == AVM_PROT_NONE)
		return ptep_get_and_clear(step->mm, addr, ptep);
	old = ptep_get(ptep);
	do {
		new = pte_with(without(old, how->clear), want);
	} while (!exchange(ptep, &old, new));
	return old;
}

/**
 * avm_pte_take_protect() - clear bits of a page that matched, and protect it
 * @step: locked; has bytes
 * @i: page of the step
 * @how: what to clear, what protection to give
 * @tlb: notes what needs a flush
 */
void avm_pte_take_protect(struct avm_step *step, unsigned int i,
			  const struct avm_match *how, struct avm_tlb *tlb)
{
	unsigned long addr = step->addr + ((unsigned long)i << PAGE_SHIFT);
	u8 *byte = step->state.bytes + i;
	u8 left = *byte & AVM_STATE_CARRIED;
	struct edits edits = {};
	pte_t old;

	lockdep_assert_held(step->ptl);
	if (step->pte && pte_present(ptep_get(step->pte + i))) {
		owe(tlb->space, &tlb->owed);
		old = edit_match(step, i, addr, how);
		note(&edits, old);
		/* The PTE went, and what is not to be cleared stays. */
		if (how->prot == AVM_PROT_NONE)
			left |= carried(old);
	}
	*byte = (left & ~how->clear) | how->prot;
	edits_end(&edits, tlb, addr, addr + PAGE_SIZE);
}

/**
 * avm_pte_mark() - set bits of a page
 * @step: locked; has bytes, in which they are set: a bit in either its byte or
 *	its PTE is enough
 * @i: page of the step
 * @bits: AVM_STATE_CARRIED bits
 */
void avm_pte_mark(struct avm_step *step, unsigned int i, u8 bits)
{
	lockdep_assert_held(step->ptl);
	step->state.bytes[i] |= bits;
}
