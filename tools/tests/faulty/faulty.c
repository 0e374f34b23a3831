// SPDX-License-Identifier: GPL-2.0
/*
 * A module that does, on request, what a module must never do, so that
 * tools/tests/test_run can see whether tools/vm/run notices.
 */
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

static int pages;
module_param(pages, int, 0);
MODULE_PARM_DESC(pages, "page frames to lose");

static int slabs;
module_param(slabs, int, 0);
MODULE_PARM_DESC(slabs, "slab objects of 4 KiB to lose");

static int areas;
module_param(areas, int, 0);
MODULE_PARM_DESC(areas, "vmalloc areas of one page to lose");

static bool warn;
module_param(warn, bool, 0);
MODULE_PARM_DESC(warn, "warn");

static bool hold;
module_param(hold, bool, 0);
MODULE_PARM_DESC(hold, "never unload");

static bool refuse;
module_param(refuse, bool, 0);
MODULE_PARM_DESC(refuse, "do not load");

static int __init faulty_init(void)
{
	void *lost;
	int n;

	if (refuse)
		return -ENODEV;
	for (n = 0; n < pages; n++)
		lost = alloc_page(GFP_KERNEL);
	for (n = 0; n < slabs; n++)
		lost = kmalloc(PAGE_SIZE, GFP_KERNEL);
	for (n = 0; n < areas; n++)
		lost = vmalloc(PAGE_SIZE);
	OPTIMIZER_HIDE_VAR(lost);
	WARN_ON(warn);
	if (hold)
		__module_get(THIS_MODULE);
	return 0;
}

static void __exit faulty_exit(void)
{
}

module_init(faulty_init);
module_exit(faulty_exit);
MODULE_DESCRIPTION("What tools/vm/run has to notice");
MODULE_LICENSE("GPL");
