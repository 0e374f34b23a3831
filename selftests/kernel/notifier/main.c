// SPDX-License-Identifier: GPL-2.0
/*
 * main.c - /dev/avm_notifier: a device for each open file, for root alone
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "mirror.h"

union argument {
	struct notifier_attach attach;
	struct notifier_access access;
	struct notifier_stats stats;
	struct notifier_fault fault;
	struct notifier_other other;
};

static int device_open(struct inode *inode, struct file *file)
{
	struct mirror *m = kzalloc(sizeof(*m), GFP_KERNEL);

	if (!m)
		return -ENOMEM;
	spin_lock_init(&m->lock);
	file->private_data = m;
	return 0;
}

static int device_release(struct inode *inode, struct file *file)
{
	struct mirror *m = file->private_data;

	mirror_detach(m);
	kfree(m);
	return 0;
}

static int dispatch(struct mirror *m, unsigned int cmd, union argument *arg)
{
	/* What was seen can be asked when the memory is gone. */
	if (cmd == NOTIFIER_STATS) {
		mirror_stats(m, &arg->stats);
		return 0;
	}
	if (cmd == NOTIFIER_ATTACH)
		return mirror_attach(m, &arg->attach);
	if (!m->attached || m->mn.mm != current->mm)
		return -ESRCH;
	switch (cmd) {
	case NOTIFIER_MAP:
		return mirror_map(m, &arg->access);
	case NOTIFIER_ACCESS:
		return mirror_access(m, &arg->access);
	case NOTIFIER_SPRAY:
		return mirror_spray(m, arg->access.value);
	case NOTIFIER_FAULT:
		return others_fault(m->mn.mm, &arg->fault);
	case NOTIFIER_OTHER:
		return others_get(m->mn.mm, &arg->other);
	}
	return -ENOTTY;
}

static long device_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	void __user *user = (void __user *)arg;
	union argument copy = {};
	int err;

	if (_IOC_SIZE(cmd) > sizeof(copy))
		return -ENOTTY;
	if ((_IOC_DIR(cmd) & _IOC_WRITE) && copy_from_user(&copy, user, _IOC_SIZE(cmd)))
		return -EFAULT;
	err = dispatch(file->private_data, cmd, &copy);
	if ((_IOC_DIR(cmd) & _IOC_READ) && copy_to_user(user, &copy, _IOC_SIZE(cmd)))
		return -EFAULT;
	return err;
}

static const struct file_operations device_fops = {
	.owner		= THIS_MODULE,
	.open		= device_open,
	.release	= device_release,
	.unlocked_ioctl	= device_ioctl,
};

static struct miscdevice device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "avm_notifier",
	.fops	= &device_fops,
	.mode	= 0600,
};

module_misc_device(device);
MODULE_DESCRIPTION("Test of avm: a model of a secondary MMU");
MODULE_LICENSE("GPL");
