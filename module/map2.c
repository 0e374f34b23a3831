// SPDX-License-Identifier: GPL-2.0
/*
 * map2.c - AVM_IOC_MAP2: the same pages at a second address
 *
 * An mmap of the space, made for the user, whose pages begin with a protection
 * of the user's choice: avm_view_mmap() takes it from the space if the task
 * that is in map2 is the one that maps.
 */
#include <linux/mman.h>

#include "internal.h"

/* Where in the space the pages are that @arg names. */
static int find_offset(struct avm_space *space, const struct avm_map2 *arg,
		       unsigned long *offset)
{
	struct mm_struct *mm = current->mm;
	struct avm_view *view;
	pgoff_t first;
	int err;

	if (mmap_read_lock_killable(mm))
		return -EINTR;
	err = avm_view_find(space, arg->addr, arg->addr + arg->length,
			    AVM_PROT_NONE, &view, &first);
	mmap_read_unlock(mm);
	if (!err)
		*offset = first << PAGE_SHIFT;
	return err;
}

/**
 * avm_map2() - AVM_IOC_MAP2
 * @file: the space
 * @arg: what the user asked for, and the answer
 */
int avm_map2(struct file *file, struct avm_map2 *arg)
{
	unsigned long flags = MAP_SHARED, offset, addr;
	struct avm_space *space = avm_space_of(file);
	int err;

	if (!PAGE_ALIGNED(arg->addr | arg->length | arg->to) || !arg->length ||
	    arg->addr + arg->length < arg->addr ||
	    !avm_prot_valid(arg->max_prot) || !avm_prot_valid(arg->prot))
		return -EINVAL;
	if (arg->prot & ~arg->max_prot)
		return -EACCES;
	if (arg->flags & AVM_MAP2_FIXED)
		flags |= MAP_FIXED_NOREPLACE;
	err = find_offset(space, arg, &offset);
	if (err)
		return err;

	if (mutex_lock_killable(&space->map2_lock))
		return -EINTR;
	space->map2_prot = arg->prot;
	WRITE_ONCE(space->map2_task, current);
	addr = vm_mmap(file, arg->to, arg->length, arg->max_prot, flags,
		       offset);
	WRITE_ONCE(space->map2_task, NULL);
	mutex_unlock(&space->map2_lock);
	if (IS_ERR_VALUE(addr))
		return addr;
	arg->out_addr = addr;
	return 0;
}
