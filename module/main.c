// SPDX-License-Identifier: GPL-2.0
/*
 * main.c - load, unload, and the device /dev/avm
 */
#include <linux/miscdevice.h>
#include <linux/module.h>

#include "internal.h"

static const struct file_operations device_fops = {
	.owner		= THIS_MODULE,
	.unlocked_ioctl	= avm_device_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
	.llseek		= noop_llseek,
};

static struct miscdevice device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "avm",
	.fops	= &device_fops,
	.mode	= 0660,
};

static int __init avm_init(void)
{
	int err;

	err = avm_tlb_setup() ?: avm_upcall_setup();
	if (err)
		return err;
	err = avm_index_setup();
	if (err)
		return err;
	err = avm_state_setup();
	if (err)
		goto index_teardown;
	err = avm_view_setup();
	if (err)
		goto state_teardown;
	err = misc_register(&device);
	if (err)
		goto view_teardown;
	return 0;

view_teardown:
	avm_view_teardown();
state_teardown:
	avm_state_teardown();
index_teardown:
	avm_index_teardown();
	return err;
}

/* No space is left: each of them holds the module. */
static void __exit avm_exit(void)
{
	misc_deregister(&device);
	avm_upcall_teardown();
	avm_trap_teardown();
	avm_view_teardown();
	avm_state_teardown();
	avm_index_teardown();
}

module_init(avm_init);
module_exit(avm_exit);
MODULE_LICENSE("GPL");
MODULE_AUTHOR("The avm authors");
MODULE_DESCRIPTION("Virtual-memory primitives for user programs");
MODULE_VERSION(AVM_VERSION);
