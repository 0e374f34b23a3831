// SPDX-License-Identifier: GPL-2.0
/*
 * peer soft-dirty - /proc/self/clear_refs and /proc/self/pagemap
 *
 * Clearing is for the whole process. Bits are found by PAGEMAP_SCAN where the
 * kernel has it, which is the cheaper way, and by read(2) elsewhere.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <unistd.h>

#include "bench.h"
#include "pagemap.h"
#include "peer.h"

#define PM_SOFT_DIRTY	55	/* bit of an entry */

static void clear(void)
{
	static int fd = -1;

	if (fd < 0)
		fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
	check(fd >= 0 && pwrite(fd, "4", 1, 0) == 1, "/proc/self/clear_refs");
}

/* Without CONFIG_MEM_SOFT_DIRTY no page ever has the bit. */
static const char *missing(void)
{
	static const char *why;
	static bool known;
	uint64_t bits = 0;
	void *p;

	if (known)
		return why;
	p = memory_map(1);
	touch(p, 1);
	if (!pagemap_read(p, 1, PM_SOFT_DIRTY, &bits))
		why = "this kernel has no soft-dirty bits";
	memory_unmap(p, 1);
	known = true;
	return why;
}

static void prepare(void *region, unsigned long pages)
{
	(void)region;
	(void)pages;
}

static void watch(void *region, unsigned long pages)
{
	(void)region;
	(void)pages;
	clear();
}

static unsigned long find(void *region, unsigned long pages, uint64_t *bitmap)
{
	static int can = -1;

	if (can < 0)
		can = pagemap_can_scan();
	if (can)
		return pagemap_scan(region, pages, PAGE_IS_SOFT_DIRTY, 0, bitmap);
	return pagemap_read(region, pages, PM_SOFT_DIRTY, bitmap);
}

const struct peer peer_soft_dirty = {
	.id = "soft-dirty", .title = "soft-dirty", .missing = missing,
	.map = memory_map, .unmap = memory_unmap,
	.prepare = prepare, .arm = watch, .find = find, .rearm = watch,
};
