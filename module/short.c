// SPDX-License-Identifier: GPL-2.0
/*
 * short.c - PROT1 and UNPROT: one page, or a few, the short way
 *
 * AVM_IOC_PROTECT_PAGE, and AVM_IOC_PROTECT of a few pages, which a trap
 * handler calls. It does what batch.c does, for the case that nothing has to
 * be allocated and nobody is in the way; whatever is not so is left to
 * batch.c.
 *
 * It saves the look-up of the VMA by finding it on the i_mmap tree of the
 * space, which has but a few. i_mmap_rwsem then takes the place of mmap_lock,
 * as it does for core mm's rmap: a VMA that is on the tree has its page tables,
 * vm_start and vm_pgoff change only under that lock, and so does the
 * registration of an MMU notifier. The flush is made before the lock is given
 * up, as tlb.c asks.
 *
 * It saves the walk to the page table by finding that in the chunk, where the
 * long way has left it. Both hold only for a settled view. i_mmap_rwsem does
 * not keep mremap from moving single PTEs; but view_open() unsettles the
 * view before the VMA that they are moved to is put on the tree, for which
 * mremap has to wait for this lock.
 *
 * What core mm's rmap never does, and this does, is to add a PTE: an UNPROT
 * maps the page. A munmap in its course may have cleared the PTEs and wait for
 * the lock to take the VMA off the tree. But it has raised
 * mm->tlb_flush_pending before it took the page-table lock to clear them, and
 * lowers it when it is through; then the page is left to be mapped by a fault.
 */
#include <linux/mm.h>
#include <linux/mm_inline.h>

#include "internal.h"
#include "pte.h"

/* The caller's VMA around an address, if it is near the root of the tree. */
static __always_inline struct vm_area_struct *
find_near(struct address_space *mapping, unsigned long addr)
{
	struct rb_node *root = mapping->i_mmap.rb_root.rb_node, *node = root;
	struct vm_area_struct *vma;
	unsigned int i;

	for (i = 0; root && i < 3; i++) {
		if (node) {
			vma = rb_entry(node, struct vm_area_struct, shared.rb);
			if (addr >= vma->vm_start && addr < vma->vm_end &&
			    vma->vm_mm == current->mm)
				return vma;
		}
		node = i ? root->rb_right : root->rb_left;
	}
	return NULL;
}

/* The flush, if it needs one. Not inline, so as not to weigh on UNPROT. */
static noinline void flush_page(struct avm_space *space, unsigned long addr,
				bool owed, enum protected did)
{
	struct avm_tlb tlb;

	avm_tlb_begin(&tlb, space, current->mm);
	tlb.owed = owed;
	tlb.needed = did == PROTECTED_CACHED;
	tlb.pages = 1;
	tlb.start = addr;
	tlb.end = addr + PAGE_SIZE;
	avm_tlb_end(&tlb);
}

/* The edit of one page, if it can be done here, and whether it is owed for. */
static __always_inline bool edit_page(struct avm_space *space,
				      unsigned long addr, unsigned int prot,
				      bool *owed, enum protected *did)
{
	struct vm_area_struct *vma = find_near(&space->mapping, addr);
	struct avm_chunk *chunk;
	struct avm_view *view;
	pteval_t want;
	pte_t *ptep;

	if (!vma || vma->vm_flags & VM_UFFD_WP || mm_has_notifiers(vma->vm_mm))
		return false;
	view = vma->vm_private_data;
	want = pgprot_val(view->pgprot[prot]);
	chunk = chunk_near(view, addr, prot, &ptep);
	if (!chunk || !want)
		return false;
	spin_lock(chunk->ptl);
	*did = protect_page(space, vma->vm_mm, addr, ptep,
			    chunk->bytes + pte_index(addr), prot, want, owed);
	/* A munmap that has cleared PTEs and waits for us wants no new one. */
	if (*did == PROTECTED_OPEN &&
	    likely(!mm_tlb_flush_pending(vma->vm_mm)))
		map_ahead(space, view, vma->vm_mm, addr, ptep,
			  avm_pgoff(vma, addr), prot);
	spin_unlock(chunk->ptl);
	return true;
}

static __always_inline bool protect_locked(struct avm_space *space,
					   unsigned long addr,
					   unsigned int prot)
{
	enum protected did;
	bool owed = false;

	if (!edit_page(space, addr, prot, &owed, &did))
		return false;
	if (owed || unlikely(atomic_read(&space->pending)))
		flush_page(space, addr, owed, did);
	return true;
}

static bool protect_range(struct avm_space *space,
			  const struct avm_range *range, struct avm_tlb *tlb)
{
	enum protected did;

	if (range->length != PAGE_SIZE || avm_range_check(range) ||
	    !edit_page(space, range->addr, range->prot & AVM_PROT_RWX,
		       &tlb->owed, &did))
		return false;
	if (did == PROTECTED_OLD || did == PROTECTED_CACHED) {
		tlb->needed |= did == PROTECTED_CACHED;
		tlb->pages++;
		tlb->start = min_t(unsigned long, tlb->start, range->addr);
		tlb->end = max_t(unsigned long, tlb->end,
				 range->addr + PAGE_SIZE);
	}
	return true;
}

/**
 * avm_protect_few() - a vector of a few ranges, of one page each
 * @space: the space
 * @ranges: as the user gave them
 * @n: how many
 *
 * For the step of a collector or a pager that closes one page and opens
 * another, in a trap.
 *
 * Return: false where the long way has to be taken, for all of them: the first
 * may have been done, and flushed for, and are done again to no effect.
 */
bool avm_protect_few(struct avm_space *space, const struct avm_range *ranges,
		     unsigned int n)
{
	struct avm_tlb tlb;
	unsigned int i;

	if (!i_mmap_trylock_read(&space->mapping))
		return false;
	avm_tlb_begin(&tlb, space, current->mm);
	for (i = 0; i < n; i++)
		if (!protect_range(space, ranges + i, &tlb))
			break;
	avm_tlb_end(&tlb);
	i_mmap_unlock_read(&space->mapping);
	return i == n;
}

/**
 * avm_protect_page() - AVM_IOC_PROTECT_PAGE
 * @space: the space
 * @arg: address of the page, AVM_PROT_* in its low bits
 *
 * Return: 0 or an error.
 */
long avm_protect_page(struct avm_space *space, unsigned long arg)
{
	unsigned int prot = arg & AVM_PROT_RWX;
	unsigned long addr = arg & PAGE_MASK;
	bool done;

	if (unlikely(arg != (addr | prot)))
		return -EINVAL;
	if (likely(i_mmap_trylock_read(&space->mapping))) {
		done = protect_locked(space, addr, prot);
		i_mmap_unlock_read(&space->mapping);
		if (likely(done))
			return 0;
	}
	return avm_protect_page_long(space, addr, prot);
}
