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

static u8 access_needs(unsigned int flags)
{
	if (flags & FAULT_FLAG_WRITE)
		return AVM_PROT_READ | AVM_PROT_WRITE;
	if (flags & FAULT_FLAG_INSTRUCTION)
		return AVM_PROT_READ | AVM_PROT_EXEC;
	return AVM_PROT_READ;
}

/* A touch of a page. */
struct touch {
	struct vm_fault *vmf;
	u8 need;		/* AVM_PROT_* that the access takes */
	struct avm_step step;
	struct avm_trap_target trap;
};

static __always_inline bool touch_begin(struct touch *touch,
					struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct avm_step *step = &touch->step;

	if (unlikely(vma->vm_flags & VM_UFFD_WP))
		return false;
	touch->vmf = vmf;
	touch->need = access_needs(vmf->flags);
	/* What avm_step_set() does for one page. */
	step->view = vma->vm_private_data;
	step->mm = vma->vm_mm;
	step->addr = vmf->address & PAGE_MASK;
	step->end = step->addr + PAGE_SIZE;
	step->pgoff = vmf->pgoff;
	return true;
}

/*
 * A denied access. In user mode it becomes an upcall, or SIGSEGV with the
 * exact address, from a system call EFAULT: core mm sees to the latter two.
 */
static vm_fault_t deny(struct touch *touch, bool registered)
{
	u8 others = touch->need & ~AVM_PROT_READ;

	avm_count(touch->step.view->space, traps, 1);
	if (!registered)
		return VM_FAULT_SIGSEGV;
	return avm_upcall(touch->vmf, &touch->trap, others ?: AVM_PROT_READ);
}

/*
 * With the page locked: map it, or, where its protection forbids the access,
 * see what is registered for it; @denied and @registered say so. A page that
 * is raised is mapped or left as it was.
 *
 * Return: 0; -EACCES when the access is denied and nothing raised; -ENODATA
 * when the page has to have a byte to be raised; or as avm_pte_map().
 */
static __always_inline int map_locked(struct touch *touch, bool *denied,
				      bool *registered)
{
	struct avm_step *step = &touch->step;
	u8 prot = state_of(step, 0) & AVM_STATE_PROT;
	u8 raise = 0;
	int err;

	*denied = touch->need & ~prot;
	if (*denied) {
		*registered = touch->vmf->flags & FAULT_FLAG_USER &&
			      avm_trap_find(step->view, step->pgoff,
					    &touch->trap);
		if (!*registered || touch->need & ~touch->trap.raise)
			return -EACCES;
		if (!step->state.bytes)
			return -ENODATA;
		raise = touch->trap.raise;
	}
	err = avm_pte_map(step, prot | raise);
	if (!err && raise)
		*step->state.bytes |= raise;
	return err;
}

/* Try to map the page: what ends the fault, or 0 and why not. */
static __always_inline vm_fault_t try_map(struct touch *touch, int *err)
{
	struct avm_step *step = &touch->step;
	bool denied, registered;

	if (!lock_near(step) && !avm_pte_lock(step)) {
		*err = -EAGAIN;
		return 0;
	}
	*err = map_locked(touch, &denied, &registered);
	avm_pte_unlock(step);
	if (*err && *err != -EACCES)
		return 0;
	if (denied)
		return deny(touch, registered);
	avm_count(step->view->space, faults, 1);
	return VM_FAULT_NOPAGE;
}

/*
 * A read fault comes here first, under RCU: not to sleep. It also saves a
 * fault: from 6.4 on a VMA without ->map_pages sees each of them twice.
 */
static vm_fault_t view_map_pages(struct vm_fault *vmf, pgoff_t start,
				 pgoff_t end)
{
	struct touch touch;
	int err;

	return touch_begin(&touch, vmf) ? try_map(&touch, &err) :
					  VM_FAULT_SIGBUS;
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

/* ->fault: no PTE; ->pfn_mkwrite: a write, and the PTE forbids it. */
static vm_fault_t view_fault(struct vm_fault *vmf)
{
	struct touch touch;
	vm_fault_t ret;
	int err;

	if (!touch_begin(&touch, vmf))
		return VM_FAULT_SIGBUS;
	do {
		ret = try_map(&touch, &err);
		if (ret)
			return ret;
		err = provide(&touch.step, err);
	} while (!err);
	return VM_FAULT_SIGBUS;
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
 * Context: mmap_lock held.
 * Return: 0, -ENXIO, -EBUSY or -EACCES.
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
