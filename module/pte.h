/* SPDX-License-Identifier: GPL-2.0 */
/*
 * pte.h - the edit of one PTE, for pte.c and short.c to have inline
 *
 * The rules are at the head of pte.c.
 */
#ifndef AVM_PTE_H
#define AVM_PTE_H

#include <linux/pgtable.h>

#include "internal.h"

/* Before the first edit that may need a flush, under the page-table lock. */
static __always_inline void owe(struct avm_tlb *tlb)
{
	if (!tlb->owed) {
		tlb->owed = true;
		atomic_inc(&tlb->space->pending);
	}
}

static __always_inline u8 carried(pte_t old)
{
	return (pte_young(old) ? AVM_STATE_ACCESSED : 0) |
	       (pte_dirty(old) ? AVM_STATE_DIRTY : 0);
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

/*
 * One page, which has a byte and a page table: what take_away() and
 * change_all() of pte.c do to many. Under the page-table lock.
 */
static __always_inline void protect_page(struct avm_view *view,
					 struct mm_struct *mm, pte_t *ptep,
					 u8 *byte, unsigned long addr,
					 pgoff_t pgoff, u8 prot,
					 struct avm_tlb *tlb)
{
	pteval_t want = pgprot_val(view->pgprot[prot]), differ;
	pte_t old = ptep_get(ptep);
	u8 was = *byte;

	*byte = (was & AVM_STATE_CARRIED) | prot;
	if (!pte_present(old)) {
		if (prot && !(was & AVM_STATE_PROT) && pte_none(old))
			avm_pte_map_ahead(view, mm, addr, ptep, pgoff,
					  prot);
		return;
	}
	if (prot == AVM_PROT_NONE) {
		owe(tlb);
		old = ptep_get_and_clear(mm, addr, ptep);
		*byte |= carried(old);
	} else {
		differ = (pte_flags(old) ^ want) & (_PAGE_RW | _PAGE_NX);
		if (!differ)
			return;
		if (differ == _PAGE_RW && (want & _PAGE_RW)) {
			while (!exchange(ptep, &old, pte_mkwrite_novma(old)))
				;
			return;
		}
		owe(tlb);
		while (!exchange(ptep, &old, pte_with(view, old, prot)))
			;
	}
	tlb->pages++;
	tlb->start = min(tlb->start, addr);
	tlb->end = max(tlb->end, addr + PAGE_SIZE);
	if (pte_young(old))
		tlb->needed = true;
}

#endif /* AVM_PTE_H */
