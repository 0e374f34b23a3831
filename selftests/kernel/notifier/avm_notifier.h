/* SPDX-License-Identifier: GPL-2.0 */
/*
 * avm_notifier.h - what the test module and the tests that use it share
 *
 * Opening /dev/avm_notifier makes a device, NOTIFIER_ATTACH gives it the memory
 * of the calling process. It then sees those pages of its window that it has
 * been told to map, until it is told to drop them.
 */
#ifndef AVM_NOTIFIER_H
#define AVM_NOTIFIER_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define NOTIFIER_DEVICE	"/dev/avm_notifier"

/*
 * What kind of device. One has page tables of its own, filled from those of
 * the CPU, and hears of changes before and after (KVM, GPUs). The other walks
 * the CPU's page tables and has a TLB, and hears when that is to be flushed
 * (SVA).
 */
#define NOTIFIER_TABLES	0
#define NOTIFIER_TLB	1

struct notifier_attach {
	__u64 base;	/* of the window */
	__u64 pages;
	__u32 kind;
	__u32 reserved;
};

/* An access of the device: errno says how it went. */
struct notifier_access {
	__u64 addr;
	__u64 value;
	__u32 write;
	__u32 reserved;
};

/* What the module has seen. All of the second block must be 0, always. */
struct notifier_stats {
	__u64 starts;	/* of announcements that met the window */
	__u64 ends;
	__u64 flushes;	/* of the TLB, that met the window */
	__u64 releases;	/* the end of the process's memory */
	__u64 dropped;	/* pages that were mapped until then */
	__u64 mapped;	/* pages that are mapped now */
	__u64 retries;	/* mappings that met an announcement */

	__u64 late;	/* page tables were changed before the announcement */
	__u64 broken;	/* the same, found by an access of the device */
	__u64 freed;	/* the page was freed while it was mapped */
	__u64 stale;	/* mapped now, with more access than page tables give */
};

/* A fault that the device asks the kernel to resolve. */
#define NOTIFIER_FAULT_WRITE	1
#define NOTIFIER_FAULT_EXEC	2
#define NOTIFIER_FAULT_HERE	4	/* in the caller, not in a kernel thread */

struct notifier_fault {
	__u64 addr;
	__u32 flags;
	__u32 out_fault;	/* VM_FAULT_*; NOPAGE is 0x100, SIGSEGV 0x40 */
};

/* Other ways to a page that drivers have. */
#define NOTIFIER_GET		0	/* get_user_pages_remote() */
#define NOTIFIER_PIN		1	/* pin_user_pages_remote() */
#define NOTIFIER_GET_FAST	2
#define NOTIFIER_PIN_FAST	3
#define NOTIFIER_FIXUP		4	/* fixup_user_fault() */
#define NOTIFIER_FOLLOW		5	/* follow_pte() or follow_pfnmap_start() */

struct notifier_other {
	__u64 addr;
	__u32 how;
	__u32 write;		/* FOLLOW: the answer */
};

#define NOTIFIER_ATTACH	_IOW(0xB8, 0, struct notifier_attach)
#define NOTIFIER_MAP	_IOW(0xB8, 1, struct notifier_access)
#define NOTIFIER_ACCESS	_IOWR(0xB8, 2, struct notifier_access)
#define NOTIFIER_SPRAY	_IOW(0xB8, 3, struct notifier_access)
#define NOTIFIER_STATS	_IOR(0xB8, 4, struct notifier_stats)
#define NOTIFIER_FAULT	_IOWR(0xB8, 5, struct notifier_fault)
#define NOTIFIER_OTHER	_IOWR(0xB8, 6, struct notifier_other)

#endif /* AVM_NOTIFIER_H */
