/* SPDX-License-Identifier: GPL-2.0 */
/* mirror.h - what the files of the module share */
#ifndef MIRROR_H
#define MIRROR_H

#include <linux/mm.h>
#include <linux/mmu_notifier.h>

#include "avm_notifier.h"

/**
 * struct note - a page that the device has mapped
 * @pfn: its number, 0 for none
 * @flags: what the PTE said of it: present, writable, and for PTEs that no one
 *	but a driver edits accessed and dirty
 */
struct note {
	unsigned long pfn;
	pteval_t flags;
};

/**
 * struct mirror - a device
 * @mn: the subscription; mn.mm is the memory
 * @attached: @mn is registered
 * @kind: NOTIFIER_TABLES or NOTIFIER_TLB
 * @base: first byte of the window
 * @pages: pages of the window
 * @lock: guards all below; inside of page-table locks
 * @busy: announcements that have begun and not ended
 * @seq: announcements that have begun
 * @notes: one for each page of the window
 * @stats: what was seen
 */
struct mirror {
	struct mmu_notifier mn;
	bool attached;
	u32 kind;
	unsigned long base;
	unsigned long pages;
	spinlock_t lock;	/* inside of page-table locks */
	unsigned int busy;
	unsigned long seq;
	struct note *notes;
	struct notifier_stats stats;
};

/* mirror.c */
int mirror_attach(struct mirror *m, const struct notifier_attach *arg);
void mirror_detach(struct mirror *m);
int mirror_map(struct mirror *m, const struct notifier_access *arg);
int mirror_access(struct mirror *m, struct notifier_access *arg);
int mirror_spray(struct mirror *m, u64 value);
void mirror_stats(struct mirror *m, struct notifier_stats *out);

/* others.c */
int others_fault(struct mm_struct *mm, struct notifier_fault *arg);
int others_get(struct mm_struct *mm, struct notifier_other *arg);

#endif /* MIRROR_H */
