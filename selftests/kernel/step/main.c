// SPDX-License-Identifier: GPL-2.0
/*
 * main.c - /dev/avm_step, for root alone
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/uaccess.h>

#include "step.h"

static long device_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	void __user *user = (void __user *)arg;
	union {
		struct step_run run;
		struct step_call call;
	} copy = {};
	int err;

	if (cmd != STEP_RUN && cmd != STEP_JOIN)
		return -ENOTTY;
	if (copy_from_user(&copy, user, _IOC_SIZE(cmd)))
		return -EFAULT;
	err = cmd == STEP_RUN ? step_run(&copy.run) : step_join(&copy.call);
	if (copy_to_user(user, &copy, _IOC_SIZE(cmd)))
		return -EFAULT;
	return err;
}

static const struct file_operations device_fops = {
	.owner		= THIS_MODULE,
	.unlocked_ioctl	= device_ioctl,
};

static struct miscdevice device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "avm_step",
	.fops	= &device_fops,
	.mode	= 0600,
};

static int __init step_init(void)
{
	int err = step_setup();

	if (err)
		return err;
	err = misc_register(&device);
	if (err)
		step_teardown();
	return err;
}

static void __exit step_exit(void)
{
	misc_deregister(&device);
	step_teardown();
}

module_init(step_init);
module_exit(step_exit);
MODULE_DESCRIPTION("Test of avm: a call, instruction by instruction");
MODULE_LICENSE("GPL");
