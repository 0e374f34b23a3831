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

/* A page whose protection can be changed here. */
struct target {
	struct vm_area_struct *vma;
	struct avm_chunk *chunk;
	pte_t *ptep;
	pteval_t want;
};

static __always_inline bool find_target(struct avm_space *space,
					unsigned long addr, unsigned int prot,
					struct target *t)
{
	struct avm_view *view;

	i_mmap_assert_locked(&space->mapping);
	t->vma = find_near(&space->mapping, addr);
	if (!t->vma || t->vma->vm_flags & VM_UFFD_WP ||
	    mm_has_notifiers(t->vma->vm_mm))
		return false;
	view = t->vma->vm_private_data;
	t->want = pgprot_val(view->pgprot[prot]);
	t->chunk = chunk_near(view, addr, prot, &t->ptep);
	return t->chunk && t->want;
}

/* The edit, and whether it is owed for. */
static __always_inline enum protected edit_target(struct avm_space *space,
						  unsigned long addr,
						  unsigned int prot,
						  const struct target *t,
						  bool *owed)
{
	struct mm_struct *mm = t->vma->vm_mm;
	enum protected did;

	spin_lock(t->chunk->ptl);
	did = protect_page(space, mm, addr, t->ptep,
			   t->chunk->bytes + pte_index(addr), prot, t->want,
			   owed);
	/* A munmap that has cleared PTEs and waits for us wants no new one. */
	if (did == PROTECTED_OPEN && likely(!mm_tlb_flush_pending(mm)))
		map_ahead(space, t->vma->vm_private_data, mm, addr, t->ptep,
			  avm_pgoff(t->vma, addr), prot);
	spin_unlock(t->chunk->ptl);
	return did;
}

static __always_inline bool protect_locked(struct avm_space *space,
					   unsigned long addr,
					   unsigned int prot)
{
	enum protected did;
	struct target t;
	bool owed = false;

	if (!find_target(space, addr, prot, &t))
		return false;
	did = edit_target(space, addr, prot, &t, &owed);
	if (owed || unlikely(atomic_read(&space->pending)))
		flush_page(space, addr, owed, did);
	return true;
}

static void protect_target(struct avm_space *space,
			   const struct avm_range *range,
			   const struct target *t, struct avm_tlb *tlb)
{
	enum protected did = edit_target(space, range->addr, range->prot, t,
					 &tlb->owed);

	if (did == PROTECTED_OLD || did == PROTECTED_CACHED) {
		tlb->needed |= did == PROTECTED_CACHED;
		tlb->pages++;
		tlb->start = min_t(unsigned long, tlb->start, range->addr);
		tlb->end = max_t(unsigned long, tlb->end,
				 range->addr + PAGE_SIZE);
	}
}

/* Find all pages of a vector before any is changed. */
static bool find_targets(struct avm_space *space,
			 const struct avm_range *ranges, unsigned int n,
			 struct target *t)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		if (ranges[i].length != PAGE_SIZE ||
		    avm_range_check(ranges + i) ||
		    !find_target(space, ranges[i].addr,
				 ranges[i].prot & AVM_PROT_RWX, t + i))
			return false;
	return true;
}

/**
 * avm_protect_few() - a vector of a few ranges, of one page each
 * @space: the space
 * @ranges: as the user gave them
 * @n: how many, at most AVM_FEW
 *
 * For the step of a collector or a pager that closes one page and opens
 * another, in a trap. It does all or nothing: what another thread does on the
 * strength of the first range must not be undone by having it done again.
 *
 * Return: false, with nothing done, where the long way has to be taken.
 */
bool avm_protect_few(struct avm_space *space, const struct avm_range *ranges,
		     unsigned int n)
{
	struct target targets[AVM_FEW];
	struct avm_tlb tlb;
	unsigned int i;
	bool found;

	if (!i_mmap_trylock_read(&space->mapping))
		return false;
	found = find_targets(space, ranges, n, targets);
	if (found) {
		avm_tlb_begin(&tlb, space, current->mm);
		for (i = 0; i < n; i++)
			protect_target(space, ranges + i, targets + i, &tlb);
		avm_tlb_end(&tlb);
	}
	i_mmap_unlock_read(&space->mapping);
	return found;
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
