// SPDX-License-Identifier: GPL-2.0
/*
 * ioctl.c - from a command to its function
 *
 * Looks the command up, checks size and flags, copies the structure in and
 * the answers out. Nothing else: what the fields mean is the functions'.
 *
 * Before a function runs, zeros are written to the out_ fields. A structure
 * that cannot be written thus fails before anything is changed, and out_
 * fields have a meaning however the call ends.
 */
#include <linux/nospec.h>
#include <linux/uaccess.h>

#include "internal.h"

union arg {
	struct avm_query query;
	struct avm_create create;
	struct avm_batch batch;
	struct avm_scan scan;
	struct avm_map2 map2;
	struct avm_stats stats;
	struct avm_trap trap;
};

struct command {
	unsigned int cmd;
	u16 size;	/* of the structure */
	u16 min_size;	/* of its first version */
	u16 out;	/* where the out_ fields begin: they come last */
	u32 flags;	/* that exist */
	long (*run)(struct file *file, union arg *arg);
};

#define COMMAND(_cmd, _struct, _last, _out, _flags, _run) {		\
	.cmd = (_cmd),							\
	.size = sizeof(struct _struct) +				\
		BUILD_BUG_ON_ZERO(sizeof(struct _struct) % 8) +		\
		BUILD_BUG_ON_ZERO(offsetof(struct _struct, size)) +	\
		BUILD_BUG_ON_ZERO(offsetof(struct _struct, flags) != 4),\
	.min_size = offsetofend(struct _struct, _last),			\
	.out = (_out) + BUILD_BUG_ON_ZERO((_out) % 4),			\
	.flags = (_flags),						\
	.run = (_run),							\
}

static long run_query(struct file *file, union arg *arg)
{
	arg->query.out_abi_version = AVM_ABI_VERSION;
	arg->query.out_page_size = PAGE_SIZE;
	arg->query.out_features = AVM_FEATURE_SIGNAL | AVM_FEATURE_UPCALL;
	arg->query.out_max_size = AVM_MAX_SIZE;
	arg->query.out_max_ranges = AVM_MAX_RANGES;
	return 0;
}

static long run_create(struct file *file, union arg *arg)
{
	return avm_space_create(&arg->create);
}

static long run_protect(struct file *file, union arg *arg)
{
	return avm_batch_protect(avm_space_of(file), &arg->batch);
}

static long run_discard(struct file *file, union arg *arg)
{
	return avm_batch_discard(avm_space_of(file), &arg->batch);
}

static long run_populate(struct file *file, union arg *arg)
{
	return avm_batch_populate(avm_space_of(file), &arg->batch);
}

static long run_scan(struct file *file, union arg *arg)
{
	return avm_scan(avm_space_of(file), &arg->scan);
}

static long run_map2(struct file *file, union arg *arg)
{
	return avm_map2(file, &arg->map2);
}

static long run_stats(struct file *file, union arg *arg)
{
	return avm_space_stats(avm_space_of(file), &arg->stats);
}

static long run_trap(struct file *file, union arg *arg)
{
	return avm_trap(avm_space_of(file), &arg->trap);
}

static const struct command query_command =
	COMMAND(AVM_IOC_QUERY, avm_query, out_reserved,
		offsetof(struct avm_query, out_abi_version), 0, run_query);

static const struct command create_command =
	COMMAND(AVM_IOC_CREATE, avm_create, length, sizeof(struct avm_create),
		0, run_create);

#define SPACE_COMMAND(_cmd, ...)					\
	[_IOC_NR(_cmd) - _IOC_NR(AVM_IOC_PROTECT)] = COMMAND(_cmd, __VA_ARGS__)

static const struct command space_commands[] = {
	SPACE_COMMAND(AVM_IOC_PROTECT, avm_batch, out_bytes,
		      offsetof(struct avm_batch, out_done), 0, run_protect),
	SPACE_COMMAND(AVM_IOC_DISCARD, avm_batch, out_bytes,
		      offsetof(struct avm_batch, out_done), 0, run_discard),
	SPACE_COMMAND(AVM_IOC_POPULATE, avm_batch, out_bytes,
		      offsetof(struct avm_batch, out_done), 0, run_populate),
	SPACE_COMMAND(AVM_IOC_SCAN, avm_scan, out_spans,
		      offsetof(struct avm_scan, out_pages),
		      AVM_SCAN_BITMAP | AVM_SCAN_RANGES | AVM_SCAN_PROTECT,
		      run_scan),
	SPACE_COMMAND(AVM_IOC_MAP2, avm_map2, out_addr,
		      offsetof(struct avm_map2, out_addr), AVM_MAP2_FIXED, run_map2),
	SPACE_COMMAND(AVM_IOC_STATS, avm_stats, out_upcalls,
		      offsetof(struct avm_stats, out_length), 0, run_stats),
	SPACE_COMMAND(AVM_IOC_TRAP, avm_trap, reserved, sizeof(struct avm_trap),
		      AVM_TRAP_ONSTACK, run_trap),
};

/*
 * The structure as this module knows it: a few words, so a loop of loads is
 * cheaper by half than a general copy. Any other size takes the general way.
 */
static int copy_in(union arg *arg, void __user *from, u32 size,
		   const struct command *command)
{
	u64 *words = (u64 *)arg;
	unsigned int i;

	if (size != command->size) {
		if (size < command->min_size)
			return -EINVAL;
		if (size > PAGE_SIZE)
			return -E2BIG;
		return copy_struct_from_user(arg, command->size, from, size);
	}
	if (!user_read_access_begin(from, size))
		return -EFAULT;
	for (i = 0; i < size / 8; i++)
		unsafe_get_user(words[i], (u64 __user *)from + i, fault);
	user_read_access_end();
	return 0;

fault:
	user_read_access_end();
	return -EFAULT;
}

/* Write the out_ fields that the user's structure has. */
static int copy_out(const union arg *arg, void __user *to, u32 size,
		    const struct command *command)
{
	u32 end = min_t(u32, size, command->size), at;

	if (command->out >= end)
		return 0;
	if (!user_write_access_begin(to, end))
		return -EFAULT;
	for (at = command->out; at < end; at += 4)
		unsafe_put_user(*(u32 *)((u8 *)arg + at), (u32 __user *)(to + at),
				fault);
	user_write_access_end();
	return 0;

fault:
	user_write_access_end();
	return -EFAULT;
}

static long run(const struct command *command, struct file *file,
		void __user *user)
{
	union arg arg;
	long ret, err;
	u32 size;

	if (get_user(size, (u32 __user *)user))
		return -EFAULT;
	err = copy_in(&arg, user, size, command);
	if (err)
		return err;
	if (arg.query.flags & ~command->flags)
		return -EOPNOTSUPP;
	memset((u8 *)&arg + command->out, 0, command->size - command->out);
	err = copy_out(&arg, user, size, command);
	if (err)
		return err;
	ret = command->run(file, &arg);
	return copy_out(&arg, user, size, command) ?: ret;
}

/*
 * The number of a command has the size of its structure, which may have grown
 * since the program was built, or may be larger than what is known here: the
 * structure itself says what it is.
 */
static bool is_command(unsigned int cmd, unsigned int known)
{
	return !((cmd ^ known) & ~IOCSIZE_MASK);
}

/**
 * avm_device_ioctl() - ioctl(2) on /dev/avm
 * @file: the device
 * @cmd: AVM_IOC_QUERY or AVM_IOC_CREATE
 * @arg: address of its structure
 */
long avm_device_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	if (is_command(cmd, AVM_IOC_QUERY))
		return run(&query_command, file, (void __user *)arg);
	if (is_command(cmd, AVM_IOC_CREATE))
		return run(&create_command, file, (void __user *)arg);
	return -ENOTTY;
}

/**
 * avm_space_ioctl() - ioctl(2) on a space
 * @file: the space
 * @cmd: any command but AVM_IOC_CREATE
 * @arg: address of its structure, or its argument
 */
long avm_space_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	unsigned int nr;

	/* Those whose argument is not a structure with a size and flags. */
	if (cmd == AVM_IOC_PROTECT_PAGE)
		return avm_protect_page(file->private_data, arg);
	if (unlikely(cmd == AVM_IOC_TRAP_PASS))
		return avm_trap_pass(file, (void __user *)arg);
	nr = _IOC_NR(cmd) - _IOC_NR(AVM_IOC_PROTECT);
	if (nr < ARRAY_SIZE(space_commands)) {
		nr = array_index_nospec(nr, ARRAY_SIZE(space_commands));
		if (is_command(cmd, space_commands[nr].cmd))
			return run(&space_commands[nr], file,
				   (void __user *)arg);
	}
	if (is_command(cmd, AVM_IOC_QUERY))
		return run(&query_command, file, (void __user *)arg);
	return -ENOTTY;
}
