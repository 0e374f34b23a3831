/* SPDX-License-Identifier: GPL-2.0 */
/*
 * pagemap - ask /proc/self/pagemap about pages, by PAGEMAP_SCAN or by read(2)
 */
#ifndef PAGEMAP_H
#define PAGEMAP_H

#include <linux/fs.h>
#include <stdbool.h>
#include <stdint.h>

/* Linux 6.7 on, and newer than the headers of some distributions. */
#ifndef PAGEMAP_SCAN
#include <linux/types.h>
#define PAGEMAP_SCAN		_IOWR('f', 16, struct pm_scan_arg)
#define PAGE_IS_WRITTEN		(1 << 1)
#define PAGE_IS_SOFT_DIRTY	(1 << 7)
#define PM_SCAN_WP_MATCHING	(1 << 0)
#define PM_SCAN_CHECK_WPASYNC	(1 << 1)

struct page_region {
	__u64 start;
	__u64 end;
	__u64 categories;
};

struct pm_scan_arg {
	__u64 size;
	__u64 flags;
	__u64 start;
	__u64 end;
	__u64 walk_end;
	__u64 vec;
	__u64 vec_len;
	__u64 max_pages;
	__u64 category_inverted;
	__u64 category_mask;
	__u64 category_anyof_mask;
	__u64 return_mask;
};
#endif

/* Whether the kernel has PAGEMAP_SCAN. */
bool pagemap_can_scan(void);

/*
 * Count the pages of @category, and set their bits. @flags: PM_SCAN_*. Ends the
 * program when it fails.
 */
unsigned long pagemap_scan(void *region, unsigned long pages,
			   uint64_t category, uint64_t flags, uint64_t *bitmap);

/* The same for bit @bit of the entries that read(2) gives. */
unsigned long pagemap_read(void *region, unsigned long pages, int bit,
			   uint64_t *bitmap);

#endif /* PAGEMAP_H */
