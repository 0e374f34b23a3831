// SPDX-License-Identifier: GPL-2.0
/*
 * space.c - a space: a file that owns page frames
 *
 * Owns struct avm_space from AVM_IOC_CREATE to the release of the file, its
 * frames, and who pays for them. The file is an anonymous inode's, which all
 * such files share; so each space has an address_space of its own, in the
 * file's f_mapping. Its i_mmap tree holds all views of this space, and nothing
 * else.
 *
 * A frame is charged twice, when it is allocated: to the memory cgroup of
 * whoever touches it, and to the locked memory of the user who made the
 * space. It is never mapped before it is zeroed.
 */
#include <linux/anon_inodes.h>
#include <linux/capability.h>
#include <linux/file.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>
#include <linux/slab.h>

#include "internal.h"

static int charge(struct avm_space *space)
{
	unsigned long locked;

	locked = atomic_long_inc_return(&space->user->locked_vm);
	if (locked > space->memlock_limit) {
		atomic_long_dec(&space->user->locked_vm);
		return -ENOMEM;
	}
	atomic_long_inc(&space->resident);
	return 0;
}

static void uncharge(struct avm_space *space)
{
	atomic_long_dec(&space->resident);
	atomic_long_dec(&space->user->locked_vm);
}

/**
 * avm_frame_free() - give a frame back
 * @space: the space
 * @page: the frame, which no PTE, TLB or secondary MMU can reach
 */
void avm_frame_free(struct avm_space *space, struct page *page)
{
	set_page_private(page, 0);
	__free_page(page);
	uncharge(space);
}

/**
 * avm_frame_alloc() - see to it that a page has a frame
 * @space: the space
 * @pgoff: number of the page
 *
 * Context: may sleep; mmap_lock or a VMA's lock may be held, no page-table
 * lock.
 * Return: 0; -ENOMEM: no memory, or past a limit; -EBUSY: being discarded,
 * see avm_frame_wait(). A discard may take the frame away at once: the caller
 * looks again, under the page-table lock.
 */
int avm_frame_alloc(struct avm_space *space, pgoff_t pgoff)
{
	void **slot = avm_index_slot(&space->frames, pgoff, AVM_GFP);
	struct page *page;
	int err;

	if (!slot)
		return -ENOMEM;
	if (READ_ONCE(*slot))
		return xa_is_value(*slot) ? -EBUSY : 0;
	err = charge(space);
	if (err)	/* perhaps because somebody paid for this very page */
		return READ_ONCE(*slot) ? 0 : err;
	page = alloc_page(AVM_GFP | __GFP_ZERO);
	if (!page) {
		uncharge(space);
		return -ENOMEM;
	}
	if (cmpxchg(slot, NULL, page)) {
		/* Somebody was faster, who may be in its discard by now. */
		avm_frame_free(space, page);
		return 0;
	}
	avm_count(space, allocated, 1);
	return 0;
}

/**
 * avm_frame_wait() - wait until no frame is AVM_FRAME_DYING any more
 * @space: the space
 *
 * Context: sleeps; mmap_lock or a VMA's lock may be held.
 * Return: 0 or -EINTR, when killed.
 */
int avm_frame_wait(struct avm_space *space)
{
	/* The lock is had without a look at signals if it is free. */
	if (fatal_signal_pending(current) ||
	    mutex_lock_killable(&space->discard_lock))
		return -EINTR;
	mutex_unlock(&space->discard_lock);
	return 0;
}

static void space_free(struct avm_space *space)
{
	unsigned long i = 0;
	void **slot;

	/* No VMA is left, so nobody can reach a frame or add one. */
	while ((slot = avm_index_next(&space->frames, &i, space->pages - 1))) {
		avm_frame_free(space, *slot);
		i++;
		cond_resched();
	}
	avm_index_destroy(&space->frames);
	WARN_ON_ONCE(atomic_long_read(&space->resident) ||
		     atomic_long_read(&space->state_bytes) ||
		     atomic_read(&space->pending));
	free_uid(space->user);
	free_percpu(space->counters);
	kfree(space);
}

static struct avm_space *space_alloc(u64 length)
{
	struct avm_space *space = kzalloc(sizeof(*space), AVM_GFP);

	if (!space)
		return NULL;
	space->counters = alloc_percpu_gfp(struct avm_counters, AVM_GFP);
	if (!space->counters) {
		kfree(space);
		return NULL;
	}
	address_space_init_once(&space->mapping);
	space->mapping.a_ops = &empty_aops;
	spin_lock_init(&space->parked_lock);
	INIT_LIST_HEAD(&space->parked);
	mutex_init(&space->discard_lock);
	mutex_init(&space->map2_lock);
	space->pages = length >> PAGE_SHIFT;
	avm_index_init(&space->frames, AVM_INDEX_LARGE, space->pages);
	space->user = get_uid(current_user());
	space->memlock_limit = ULONG_MAX;
	/* Fixed now: what a fault may take does not depend on who faults. */
	if (rlimit(RLIMIT_MEMLOCK) != RLIM_INFINITY && !capable(CAP_IPC_LOCK))
		space->memlock_limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	return space;
}

static int space_release(struct inode *inode, struct file *file)
{
	space_free(file->private_data);
	return 0;
}

static const struct file_operations space_fops = {
	.owner		= THIS_MODULE,
	.release	= space_release,
	.mmap		= avm_view_mmap,
	.fsync		= noop_fsync,	/* msync(2) has nothing to write */
	.unlocked_ioctl	= avm_space_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
	.llseek		= noop_llseek,
};

/**
 * avm_space_of() - the space behind a file
 * @file: a file whose operations are those of a space
 */
struct avm_space *avm_space_of(struct file *file)
{
	return file->private_data;
}

static struct file *space_file(struct avm_space *space)
{
	struct file *file;

	file = anon_inode_getfile("[avm]", &space_fops, space, O_RDWR);
	if (!IS_ERR(file)) {
		space->mapping.host = file_inode(file);
		file->f_mapping = &space->mapping;
	}
	return file;
}

/**
 * avm_space_create() - AVM_IOC_CREATE
 * @arg: what the user asked for
 *
 * Return: the descriptor of the new space, or an error.
 */
int avm_space_create(struct avm_create *arg)
{
	struct avm_space *space;
	struct file *file;
	int fd;

	if (!arg->length || !PAGE_ALIGNED(arg->length) ||
	    arg->length > AVM_MAX_SIZE)
		return -EINVAL;
	space = space_alloc(arg->length);
	if (!space)
		return -ENOMEM;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		goto free_space;
	file = space_file(space);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		fd = PTR_ERR(file);
		goto free_space;
	}
	fd_install(fd, file);
	return fd;

free_space:
	space_free(space);
	return fd;
}

/**
 * avm_space_stats() - AVM_IOC_STATS
 * @space: the space
 * @arg: the answer
 */
int avm_space_stats(struct avm_space *space, struct avm_stats *arg)
{
	const struct avm_counters *c;
	int cpu;

	arg->out_length = (u64)space->pages << PAGE_SHIFT;
	arg->out_resident_pages = atomic_long_read(&space->resident);
	arg->out_limit_pages = space->memlock_limit;
	arg->out_state_bytes = atomic_long_read(&space->state_bytes);
	arg->out_views = atomic_long_read(&space->views);
	for_each_possible_cpu(cpu) {
		c = per_cpu_ptr(space->counters, cpu);
		arg->out_faults += READ_ONCE(c->faults);
		arg->out_traps += READ_ONCE(c->traps);
		arg->out_allocated += READ_ONCE(c->allocated);
		arg->out_discarded += READ_ONCE(c->discarded);
		arg->out_flushes += READ_ONCE(c->flushes);
		arg->out_flushed_pages += READ_ONCE(c->flushed_pages);
		arg->out_upcalls += READ_ONCE(c->upcalls);
	}
	return 0;
}
