/* SPDX-License-Identifier: GPL-2.0 */
/*
 * pte.h - the edit of one PTE, for pte.c, short.c, scan.c and view.c to have
 *	inline
 *
 * The rules are at the head of pte.c.
 */
#ifndef AVM_PTE_H
#define AVM_PTE_H

#include <linux/io.h>
#include <linux/pgtable.h>

#include "internal.h"

/* Before the first edit that may need a flush, under the page-table lock. */
static __always_inline void owe(struct avm_space *space, bool *owed)
{
	if (!*owed) {
		*owed = true;
		atomic_inc(&space->pending);
	}
}

/*
 * The flags of a PTE among its other bits. pte_flags() takes the frame away
 * with a mask that it has to load; none of the flags asked for here is in it.
 */
static __always_inline pteval_t bits_of(pte_t pte)
{
	return native_pte_val(pte);
}

/* The accessed and dirty bits of a PTE, as the state of a page has them. */
static __always_inline u8 carried(pte_t pte)
{
	u8 bits = bits_of(pte) & (_PAGE_ACCESSED | _PAGE_DIRTY);

	BUILD_BUG_ON(_PAGE_ACCESSED != AVM_STATE_ACCESSED ||
		     _PAGE_DIRTY != AVM_STATE_DIRTY);
	if (bits_of(pte) & AVM_PTE_DIRTY & ~_PAGE_DIRTY)
		bits |= AVM_STATE_DIRTY;
	return bits;
}

static __always_inline bool exchange(pte_t *ptep, pte_t *old, pte_t new)
{
	return try_cmpxchg((long *)&ptep->pte, (long *)&old->pte,
			   *(long *)&new.pte);
}

/*
 * A present PTE with the protection @want, not none; all else in it is kept.
 * The protections of a view differ in two bits. (Not by pte_modify(), which
 * refers to a symbol that is exported to no module.)
 */
static __always_inline pte_t pte_with(pte_t pte, pteval_t want)
{
	pte = want & _PAGE_RW ? pte_mkwrite_novma(pte) : pte_wrprotect(pte);
	return want & _PAGE_NX ? pte_set_flags(pte, _PAGE_NX) : pte_mkexec(pte);
}

/*
 * A new PTE, with all bits that @prot has. (What pfn_pte() would do to them has
 * been done by vm_get_page_prot(), and concerns PTEs that are not present.)
 */
static __always_inline void set_frame(struct mm_struct *mm, unsigned long addr,
				      pte_t *ptep, struct page *page,
				      pgprot_t prot)
{
	set_pte_at(mm, addr, ptep,
		   __pte(page_to_phys(page) | pgprot_val(prot)));
}

/*
 * Map a page whose PTE is not present ahead of its use, if it has a frame. The
 * page does not count as accessed or dirty for it. Under the page-table lock.
 */
static __always_inline void map_ahead(struct avm_space *space,
				      struct avm_view *view,
				      struct mm_struct *mm, unsigned long addr,
				      pte_t *ptep, pgoff_t pgoff, u8 prot)
{
	void *frame = avm_frame_find(space, pgoff);

	if (avm_index_is_pointer(frame) && likely(pte_none(ptep_get(ptep))))
		set_frame(mm, addr, ptep, frame, view->pgprot_old[prot]);
}

/* What protect_page() did, or asks for. */
enum protected {
	PROTECTED,	/* nothing that needs a flush */
	PROTECTED_OLD,	/* an edit that nobody can have cached */
	PROTECTED_CACHED,
	PROTECTED_OPEN,	/* call map_ahead(): it may be mapped now */
};

/*
 * One page, which has a byte and a page table: what take_away() and
 * change_all() of pte.c do to many. Under the page-table lock.
 */
static __always_inline enum protected
protect_page(struct avm_space *space, struct mm_struct *mm, unsigned long addr,
	     pte_t *ptep, u8 *byte, u8 prot, pteval_t want, bool *owed)
{
	pte_t old = ptep_get(ptep);
	u8 was = *byte;
	pteval_t differ;

	*byte = (was & AVM_STATE_CARRIED) | prot;
	if (!(bits_of(old) & _PAGE_PRESENT))
		return prot && !(was & AVM_STATE_PROT) ? PROTECTED_OPEN :
							 PROTECTED;
	if (prot == AVM_PROT_NONE) {
		owe(space, owed);
		old = ptep_get_and_clear(mm, addr, ptep);
		*byte |= carried(old);
		return bits_of(old) & _PAGE_ACCESSED ? PROTECTED_CACHED : PROTECTED_OLD;
	}
	differ = (bits_of(old) ^ want) & (_PAGE_RW | _PAGE_NX);
	if (!differ)
		return PROTECTED;
	/* To w alone: a read-only entry costs a fault, no flush. */
	if (differ == _PAGE_RW && (want & _PAGE_RW)) {
		while (!exchange(ptep, &old, pte_mkwrite_novma(old)))
			;
		return PROTECTED;
	}
	owe(space, owed);
	if (differ == _PAGE_RW)
		while (!exchange(ptep, &old, pte_wrprotect(old)))
			;
	else
		while (!exchange(ptep, &old, pte_with(old, want)))
			;
	return bits_of(old) & _PAGE_ACCESSED ? PROTECTED_CACHED : PROTECTED_OLD;
}

/*
 * Resolve a fault for a page with the protection @prot, which allows the
 * access. It is at least what the PTE has, and more only by reading and
 * writing: nothing has to be flushed. Under the page-table lock.
 *
 * Returns 0 when the access can be tried again. Else nothing was done: -ENOENT
 * when the page has no frame, -EBUSY when its frame is being discarded; -EIO
 * when something that is not ours stands in the PTE.
 */
static __always_inline int map_page(struct avm_view *view, struct mm_struct *mm,
				    unsigned long addr, pte_t *ptep,
				    pgoff_t pgoff, u8 prot)
{
	pteval_t want = pgprot_val(view->pgprot[prot]);
	pte_t old = ptep_get(ptep);
	void *frame;

	if (pte_present(old)) {
		/* A first write, or a fault that another thread resolved. */
		while (!exchange(ptep, &old, pte_with(old, want)))
			;
		return 0;
	}
	if (unlikely(!pte_none(old)))
		return -EIO;
	frame = avm_frame_find(view->space, pgoff);
	if (!frame)
		return -ENOENT;
	if (xa_is_value(frame))
		return -EBUSY;
	set_frame(mm, addr, ptep, frame, __pgprot(want));
	return 0;
}

/*
 * The chunk of an address that has its page table at hand, in a view that does
 * not forbid @prot, or NULL. It has for a settled view (see short.c); in a
 * fault it is the VMA's lock, or mmap_lock, that keeps it so.
 */
static __always_inline struct avm_chunk *chunk_near(struct avm_view *view,
						    unsigned long addr, u8 prot,
						    pte_t **ptep)
{
	struct avm_chunk *chunk;
	pte_t *table;

	chunk = avm_state_chunk(view, (addr >> PMD_SHIFT) + view->chunk0);
	if ((prot | AVM_UNSETTLED) & READ_ONCE(view->forbidden) || !chunk)
		return NULL;
	/* Who sees the table sees its lock: pairs with pte.c. */
	table = smp_load_acquire(&chunk->table);
	if (!table)
		return NULL;
	*ptep = table + pte_index(addr);
	return chunk;
}

static __always_inline u8 state_of(const struct avm_step *step, unsigned int i)
{
	return step->state.bytes ? step->state.bytes[i] : step->state.uniform;
}

/* Bits of a PTE that AVM_STATE_ bits stand for. */
static __always_inline pteval_t pte_bits(u8 bits)
{
	return (bits & AVM_STATE_DIRTY ? AVM_PTE_DIRTY : 0) |
	       (bits & AVM_STATE_ACCESSED ? _PAGE_ACCESSED : 0);
}

static __always_inline u8 page_bits(const struct avm_step *step, unsigned int i)
{
	pte_t pte = step->pte ? ptep_get(step->pte + i) : __pte(0);
	u8 bits = state_of(step, i) & AVM_STATE_CARRIED;

	return bits_of(pte) & _PAGE_PRESENT ? bits | carried(pte) : bits;
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
		ptes = bits_of(ptep_get((pte_t *)ptep)) |
		       bits_of(ptep_get((pte_t *)ptep + 1)) |
		       bits_of(ptep_get((pte_t *)ptep + 2)) |
		       bits_of(ptep_get((pte_t *)ptep + 3)) |
		       bits_of(ptep_get((pte_t *)ptep + 4)) |
		       bits_of(ptep_get((pte_t *)ptep + 5)) |
		       bits_of(ptep_get((pte_t *)ptep + 6)) |
		       bits_of(ptep_get((pte_t *)ptep + 7));
	if (bytes)
		memcpy(&states, bytes, sizeof(states));
	return (ptes & pte_mask) || (states & byte_mask);
}

/*
 * The next page of a locked step, from @from on, that has any of the bits in
 * @match, or the number of its pages. The CPU may set a bit at any moment; none
 * that is set is passed over.
 */
static __always_inline unsigned int next_match(struct avm_step *step,
					       unsigned int from, u8 match)
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
		while (i % 8 == 0 && i + 8 <= n &&
		       !eight(ptep ? ptep + i : NULL, bytes ? bytes + i : NULL,
			      pte_mask, byte_mask))
			i += 8;
		if (i < n && page_bits(step, i) & match)
			return i;
	}
	return n;
}

/* A PTE without the accessed or dirty bits that @bits stand for. */
static __always_inline pte_t without(pte_t pte, u8 bits)
{
	if (bits & AVM_STATE_DIRTY)
		pte = pte_mkclean(pte);
	if (bits & AVM_STATE_ACCESSED)
		pte = pte_mkold(pte);
	return pte;
}

/*
 * Clear @bits of a page that a scan found. A bit that the CPU sets meanwhile
 * either goes with the exchange, for a page that is being reported, or stays
 * for the next scan. Under the page-table lock.
 */
static __always_inline void clear_page_bits(struct avm_step *step,
					    unsigned int i, u8 bits,
					    struct avm_tlb *tlb)
{
	unsigned long addr = step->addr + ((unsigned long)i << PAGE_SHIFT);
	pte_t *ptep = step->pte + i, old;

	if (step->state.bytes && step->state.bytes[i] & bits)
		step->state.bytes[i] &= ~bits;
	if (!step->pte)
		return;
	old = ptep_get(ptep);
	if (!(bits_of(old) & _PAGE_PRESENT) || !(carried(old) & bits))
		return;
	owe(tlb->space, &tlb->owed);
	while (!exchange(ptep, &old, without(old, bits)))
		;
	tlb->pages++;
	tlb->start = min(tlb->start, addr);
	tlb->end = max(tlb->end, addr + PAGE_SIZE);
	if (bits_of(old) & _PAGE_ACCESSED || unlikely(tlb->announced))
		tlb->needed = true;
}

#endif /* AVM_PTE_H */
