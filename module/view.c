// SPDX-License-Identifier: GPL-2.0
/*
 * view.c - mappings of a space, and what happens when one is touched
 *
 * Owns struct avm_view and the vm_operations. What the flags of a view's VMA
 * are for:
 *
 *	VM_SHARED	checked; a private view would have to copy on write.
 *	VM_PFNMAP	PTEs are special: core mm takes no part in their
 *			lives. No reclaim, no migration, no NUMA hints, no THP,
 *			no get_user_pages, nobody clears accessed or dirty.
 *	VM_IO		the same for ptrace (which asks ->access), and keeps
 *			MADV_DOFORK from undoing
 *	VM_DONTCOPY	a child does not get the view.
 *	VM_DONTEXPAND	mremap does not grow it; VMAs do not merge.
 *	VM_DONTDUMP	not in core dumps.
 *
 * Munmap of a part, mremap and mmap over it split or move the VMA; each part
 * keeps pointing to the same view, whose state is found by the number of the
 * page in the space.
 */
#include <linux/slab.h>
#include <linux/sched/signal.h>

#include "internal.h"
#include "pte.h"
#include "upcall.h"

static struct kmem_cache *view_cache;

static void view_free(struct avm_view *view)
{
	avm_trap_destroy(view);
	avm_state_destroy(view);
	atomic_long_dec(&view->space->views);
	kmem_cache_free(view_cache, view);
}

/*
 * A part was split off, or mremap is about to move PTEs: it makes the new VMA,
 * calls this, puts the VMA on the i_mmap tree, and only then begins.
 */
static void view_open(struct vm_area_struct *vma)
{
	struct avm_view *view = vma->vm_private_data;

	WRITE_ONCE(view->forbidden, view->forbidden | AVM_UNSETTLED);
	refcount_inc(&view->refs);
}

/*
 * The PTEs of this VMA are gone, flushed, and it is off the i_mmap tree.
 * vm_file still holds the space.
 */
static void view_close(struct vm_area_struct *vma)
{
	struct avm_view *view = vma->vm_private_data;

	if (refcount_dec_and_test(&view->refs))
		view_free(view);
}

/* Some other protection than that of avm would be one too many. */
static int view_mprotect(struct vm_area_struct *vma, unsigned long start,
			 unsigned long end, unsigned long newflags)
{
	return -EACCES;
}

static __always_inline u8 access_needs(unsigned int flags)
{
	if (flags & FAULT_FLAG_WRITE)
		return AVM_PROT_READ | AVM_PROT_WRITE;
	if (flags & FAULT_FLAG_INSTRUCTION)
		return AVM_PROT_READ | AVM_PROT_EXEC;
	return AVM_PROT_READ;
}

/* A touch of a page that faulted. */
struct touch {
	struct vm_area_struct *vma;
	struct avm_view *view;
	unsigned long addr;	/* of the page */
	pgoff_t pgoff;
	unsigned int flags;	/* FAULT_FLAG_* */
	u8 need;		/* AVM_PROT_* that the access takes */
};

static __always_inline struct touch touch_of(const struct vm_fault *vmf)
{
	return (struct touch) {
		.vma = vmf->vma,
		.view = vmf->vma->vm_private_data,
		.addr = vmf->address & PAGE_MASK,
		.pgoff = vmf->pgoff,
		.flags = vmf->flags,
		.need = access_needs(vmf->flags),
	};
}

/* What is to come of a touch, once its page is unlocked. */
struct verdict {
	bool denied;
	bool upcall;		/* with: */
	unsigned long code;
	u64 arg;
	u8 how;
};

/*
 * Decide, and map the page at once if it is to be. A denied access may be one
 * that raises its page: then the page is raised and mapped, or left as it was.
 * Under the page-table lock.
 *
 * Return: 0; -EACCES when the access is denied and nothing raised; -ENODATA
 * when the page lacks a byte to be raised, -EAGAIN when it lacks a table; or
 * as map_page().
 */
static __always_inline int decide(const struct touch *touch, u8 prot,
				  u8 *byte, pte_t *ptep,
				  struct verdict *verdict)
{
	const struct avm_trap_entry *entry = NULL;
	u8 raise = 0;
	int err;

	verdict->upcall = false;
	verdict->denied = touch->need & ~prot;
	if (verdict->denied) {
		/* By the thread itself: an SVA device's faults are REMOTE. */
		if ((touch->flags & (FAULT_FLAG_USER | FAULT_FLAG_REMOTE)) ==
		    FAULT_FLAG_USER)
			entry = avm_trap_find(touch->view, touch->pgoff);
		if (!entry)
			return -EACCES;
		verdict->code = READ_ONCE(entry->code);
		if (unlikely(!verdict->code))
			return -EACCES;
		verdict->upcall = true;
		verdict->arg = entry->arg;
		verdict->how = entry->how;
		raise = entry->raise;
		if (touch->need & ~raise)
			return -EACCES;
		if (!byte)
			return -ENODATA;
	}
	if (!ptep)
		return -EAGAIN;
	err = map_page(touch->view, touch->vma->vm_mm, touch->addr, ptep,
		       touch->pgoff, prot | raise);
	if (!err && raise)
		*byte |= raise;
	return err;
}

/*
 * What ends the fault. A denied access in user mode becomes an upcall, or
 * SIGSEGV with the exact address, from a system call EFAULT: core mm sees to
 * the latter two.
 */
static __always_inline vm_fault_t carry_out(const struct vm_fault *vmf,
					    const struct touch *touch,
					    const struct verdict *verdict)
{
	u8 access = touch->need & ~AVM_PROT_READ;

	if (!verdict->denied) {
		avm_count(touch->view->space, faults, 1);
		return VM_FAULT_NOPAGE;
	}
	avm_count(touch->view->space, traps, 1);
	if (!verdict->upcall)
		return VM_FAULT_SIGSEGV;
	return avm_upcall(vmf, verdict->code, verdict->arg,
			  verdict->how | (access ?: AVM_PROT_READ));
}

/*
 * The fault of a page whose state and page table are at hand, as those of most
 * traps are. Returns what ends the fault; or 0, with nothing done: the long way
 * will see to it.
 */
static __always_inline vm_fault_t fault_near(const struct vm_fault *vmf)
{
	const struct touch touch = touch_of(vmf);
	struct avm_chunk *chunk;
	struct verdict verdict;
	pte_t *ptep;
	u8 *byte;
	int err;

	chunk = chunk_near(touch.view, touch.addr, 0, &ptep);
	if (!chunk || touch.vma->vm_flags & VM_UFFD_WP)
		return 0;
	byte = chunk->bytes + pte_index(touch.addr);
	spin_lock(chunk->ptl);
	err = decide(&touch, *byte & AVM_STATE_PROT, byte, ptep, &verdict);
	spin_unlock(chunk->ptl);
	if (err && err != -EACCES)
		return 0;
	return carry_out(vmf, &touch, &verdict);
}

/* The same for any page. @err: why nothing was done. */
static vm_fault_t fault_far(const struct vm_fault *vmf, struct avm_step *step,
			    int *err)
{
	const struct touch touch = touch_of(vmf);
	struct verdict verdict;
	u8 prot;

	if (!avm_view_usable(touch.vma, NULL, err))
		return VM_FAULT_SIGBUS;
	avm_step_set(step, touch.vma, touch.addr, touch.addr + PAGE_SIZE);
	*err = -EAGAIN;
	if (!avm_pte_lock(step))
		return 0;
	prot = state_of(step, 0) & AVM_STATE_PROT;
	*err = decide(&touch, prot, step->state.bytes, step->pte, &verdict);
	avm_pte_unlock(step);
	if (*err && *err != -EACCES)
		return 0;
	return carry_out(vmf, &touch, &verdict);
}

static noinline vm_fault_t map_pages_far(const struct vm_fault *vmf)
{
	struct avm_step step;
	int err;

	return fault_far(vmf, &step, &err);
}

/*
 * A read fault comes here first, under RCU: not to sleep. It also saves a
 * fault: from 6.4 on a VMA without ->map_pages sees each of them twice.
 */
static vm_fault_t view_map_pages(struct vm_fault *vmf, pgoff_t start,
				 pgoff_t end)
{
	return fault_near(vmf) ?: map_pages_far(vmf);
}

/* Get what a fault lacks. */
static int provide(struct avm_step *step, int lack)
{
	int err;

	switch (lack) {
	case -EAGAIN:
		return avm_pte_table(step->mm, step->addr);
	case -ENODATA:
		return avm_state_expand(step->view, step->pgoff, AVM_GFP);
	case -ENOENT:
		err = avm_frame_alloc(step->view->space, step->pgoff);
		if (err != -EBUSY)
			return err;
		fallthrough;
	case -EBUSY:
		/* Fails when killed: then SIGBUS does no harm. */
		return avm_frame_wait(step->view->space);
	}
	return lack;
}

static noinline vm_fault_t view_fault_far(const struct vm_fault *vmf)
{
	struct avm_step step;
	vm_fault_t ret;
	int err;

	do {
		ret = fault_far(vmf, &step, &err);
		if (ret)
			return ret;
		err = provide(&step, err);
	} while (!err);
	return VM_FAULT_SIGBUS;
}

/* ->fault: no PTE; ->pfn_mkwrite: a write, and the PTE forbids it. */
static vm_fault_t view_fault(struct vm_fault *vmf)
{
	return fault_near(vmf) ?: view_fault_far(vmf);
}

/*
 * Read or write one page for a debugger, whatever its protection. A write
 * needs a frame and leaves the page dirty.
 */
static int access_page(struct vm_area_struct *vma, unsigned long addr,
		       void *buf, int len, bool write)
{
	unsigned long start = addr & PAGE_MASK;
	struct avm_step step;
	void *frame;
	int err = 0;

	avm_step_set(&step, vma, start, start + PAGE_SIZE);
	err = avm_pte_table(step.mm, start);
	if (err)
		return err;
	if (write) {
		err = avm_state_expand(step.view, step.pgoff, AVM_GFP);
		if (!err)
			err = avm_frame_alloc(step.view->space, step.pgoff);
		if (err)
			return err;
	}
	if (WARN_ON_ONCE(!avm_pte_lock(&step)))
		return -EIO;
	/* Under this lock the frame does not go: see pte.c. */
	frame = avm_frame_find(step.view->space, step.pgoff);
	if (xa_is_value(frame))
		err = -EBUSY;
	else if (!frame && write)
		err = -EBUSY;
	else if (!frame)
		memset(buf, 0, len);
	else if (!write)
		memcpy(buf, page_address(frame) + (addr - start), len);
	else
		memcpy(page_address(frame) + (addr - start), buf, len);
	if (!err && write)
		avm_pte_mark(&step, 0, AVM_STATE_CARRIED);
	avm_pte_unlock(&step);
	return err;
}

static int view_access(struct vm_area_struct *vma, unsigned long addr,
		       void *buf, int len, int write)
{
	struct avm_view *view = vma->vm_private_data;
	int done = 0, n, err;

	while (done < len) {
		if (addr + done >= vma->vm_end)
			break;
		n = min_t(int, len - done,
			  PAGE_SIZE - offset_in_page(addr + done));
		err = access_page(vma, addr + done, buf + done, n, write);
		if (err == -EBUSY)
			err = avm_frame_wait(view->space) ?: -EAGAIN;
		if (err == -EAGAIN)
			continue;
		if (err)
			return done ?: err;
		done += n;
	}
	return done;
}

static const struct vm_operations_struct view_ops = {
	.open		= view_open,
	.close		= view_close,
	.mprotect	= view_mprotect,
	.fault		= view_fault,
	.map_pages	= view_map_pages,
	.pfn_mkwrite	= view_fault,
	.access		= view_access,
};

/**
 * avm_view_usable() - whether avm may work on a VMA
 * @vma: any VMA, or NULL
 * @space: whose view it has to be, or NULL where @vma is known to be a view
 * @error: why not: -ENXIO or -EBUSY
 *
 * From 6.7 on userfaultfd can be registered on any area (with WP_ASYNC). It
 * puts markers in place of PTEs: hands off. When it goes it may leave PTEs that
 * are dirty and were read-only writable; so a PROTECT looks at every PTE, even
 * if the state says that there is nothing to do.
 */
bool avm_view_usable(struct vm_area_struct *vma, struct avm_space *space,
		     int *error)
{
	if (space) {
		*error = -ENXIO;
		if (!vma || vma->vm_ops != &view_ops ||
		    ((struct avm_view *)vma->vm_private_data)->space != space)
			return false;
	}
	*error = -EBUSY;
	return !(vma->vm_flags & VM_UFFD_WP);
}

/**
 * avm_view_check() - whether all of a range is in views of a space
 * @space: the space
 * @addr: first byte
 * @end: byte after the last
 * @prot: a protection that all of it has to allow
 *
 * Context: mmap_lock held; may sleep.
 * Return: 0, -ENXIO, -EBUSY, -EACCES, or -EINTR when killed.
 */
int avm_view_check(struct avm_space *space, unsigned long addr,
		   unsigned long end, u8 prot)
{
	struct vm_area_struct *vma;
	int err;

	lockdep_assert_held(&current->mm->mmap_lock);
	while (addr < end) {
		vma = vma_lookup(current->mm, addr);
		if (!avm_view_usable(vma, space, &err))
			return err;
		if (prot & ~avm_vma_prot(vma))
			return -EACCES;
		addr = vma->vm_end;
		/* There may be tens of thousands of them. */
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

/**
 * avm_view_find() - the view that has all of a range, its pages in a row
 * @space: the space
 * @addr: first byte
 * @end: byte after the last
 * @prot: a protection that all of it has to allow
 * @view: the view
 * @first: page of the space that is at @addr
 *
 * One view may be several VMAs: madvise() of a part of it makes some, and tens
 * of thousands are possible.
 *
 * Context: mmap_lock held; may sleep.
 * Return: 0, -ENXIO, -EBUSY, -EACCES, or -EINTR when killed.
 */
int avm_view_find(struct avm_space *space, unsigned long addr,
		  unsigned long end, u8 prot, struct avm_view **view,
		  pgoff_t *first)
{
	struct vm_area_struct *vma;
	pgoff_t pgoff = 0;
	int err;

	lockdep_assert_held(&current->mm->mmap_lock);
	for (*view = NULL; addr < end; addr = vma->vm_end) {
		vma = vma_lookup(current->mm, addr);
		if (!avm_view_usable(vma, space, &err))
			return err;
		if (prot & ~avm_vma_prot(vma))
			return -EACCES;
		if (!*view) {
			*view = vma->vm_private_data;
			*first = pgoff = avm_pgoff(vma, addr);
		}
		if (*view != vma->vm_private_data ||
		    avm_pgoff(vma, addr) != pgoff)
			return -ENXIO;
		pgoff += (vma->vm_end - addr) >> PAGE_SHIFT;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

static void set_pgprots(struct avm_view *view, vm_flags_t flags)
{
	unsigned int prot;
	pgprotval_t bits;

	flags &= ~(VM_READ | VM_WRITE | VM_EXEC);
	for (prot = 0; prot <= AVM_PROT_RWX; prot++) {
		if (!avm_prot_valid(prot))
			continue;
		bits = pgprot_val(vm_get_page_prot(flags | prot));
		view->pgprot[prot] = __pgprot(bits | _PAGE_SPECIAL);
		view->pgprot_old[prot] = __pgprot((bits | _PAGE_SPECIAL) &
						  ~_PAGE_ACCESSED);
	}
}

/**
 * avm_view_mmap() - mmap(2) of a space
 * @file: the space
 * @vma: the new mapping
 *
 * Return: 0; -EINVAL for a private mapping or one beyond the end; -ENOMEM.
 */
int avm_view_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct avm_space *space = avm_space_of(file);
	struct avm_view *view;

	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (vma->vm_pgoff >= space->pages ||
	    vma_pages(vma) > space->pages - vma->vm_pgoff)
		return -EINVAL;
	view = kmem_cache_zalloc(view_cache, AVM_GFP);
	if (!view)
		return -ENOMEM;
	refcount_set(&view->refs, 1);
	view->space = space;
	mutex_init(&view->trap_lock);
	view->initial = avm_vma_prot(vma);
	view->forbidden = AVM_PROT_RWX & ~view->initial;
	if (READ_ONCE(space->map2_task) == current)
		view->initial = space->map2_prot;
	view->skew = ((vma->vm_start >> PAGE_SHIFT) - vma->vm_pgoff) &
			(AVM_CHUNK_PAGES - 1);
	view->chunk0 = ((vma->vm_pgoff + view->skew) >> AVM_CHUNK_SHIFT) -
			(vma->vm_start >> PMD_SHIFT);
	/* Chunks are counted from the start of the space, skewed. */
	avm_index_init(&view->state, AVM_INDEX_SMALL,
		       (space->pages >> AVM_CHUNK_SHIFT) + 2);
	set_pgprots(view, vma->vm_flags);
	atomic_long_inc(&space->views);

	vm_flags_set(vma, VM_PFNMAP | VM_IO | VM_DONTCOPY | VM_DONTEXPAND |
		     VM_DONTDUMP);
	vma->vm_private_data = view;
	vma->vm_ops = &view_ops;
	return 0;
}

int avm_view_setup(void)
{
	BUILD_BUG_ON(VM_READ != AVM_PROT_READ || VM_WRITE != AVM_PROT_WRITE ||
		     VM_EXEC != AVM_PROT_EXEC);
	view_cache = KMEM_CACHE(avm_view, SLAB_ACCOUNT);
	return view_cache ? 0 : -ENOMEM;
}

void avm_view_teardown(void)
{
	kmem_cache_destroy(view_cache);
}
