// SPDX-License-Identifier: GPL-2.0
/*
 * pagemap - ask /proc/self/pagemap about pages: see pagemap.h
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "bench.h"
#include "pagemap.h"

#define ENTRIES	8192	/* that one read(2) asks for */

static int pagemap_fd(void)
{
	static int fd = -1;

	if (fd < 0)
		fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	check(fd >= 0, "/proc/self/pagemap");
	return fd;
}

bool pagemap_can_scan(void)
{
	struct pm_scan_arg arg = { .size = sizeof(arg) };

	return !ioctl(pagemap_fd(), PAGEMAP_SCAN, &arg);
}

static void set_bits(uint64_t *bitmap, unsigned long from, unsigned long to)
{
	for (; from < to; from++)
		bitmap[from / 64] |= 1ull << (from % 64);
}

/*
 * There is room for as many spans as there can be, so that one call does it.
 * (To go on where walk_end says would be wrong: Linux 6.12 may leave that at
 * where it emptied a buffer of its own, and tell the rest twice.)
 */
unsigned long pagemap_scan(void *region, unsigned long pages,
			   uint64_t category, uint64_t flags, uint64_t *bitmap)
{
	static struct page_region *spans;
	static unsigned long room;
	const uint64_t start = (uintptr_t)region, end = start + pages * PAGE;
	struct pm_scan_arg arg = {
		.size = sizeof(arg), .flags = flags, .start = start, .end = end,
		.category_mask = category, .return_mask = category,
	};
	unsigned long found = 0;
	int n, i;

	if (room < pages / 2 + 1) {
		room = pages / 2 + 1;
		free(spans);
		spans = calloc(room, sizeof(*spans));
		check(spans, "calloc");
	}
	arg.vec = (uintptr_t)spans;
	arg.vec_len = room;
	n = ioctl(pagemap_fd(), PAGEMAP_SCAN, &arg);
	check(n >= 0, "PAGEMAP_SCAN");
	for (i = 0; i < n; i++) {
		set_bits(bitmap, (spans[i].start - start) / PAGE,
			 (spans[i].end - start) / PAGE);
		found += (spans[i].end - spans[i].start) / PAGE;
	}
	return found;
}

unsigned long pagemap_read(void *region, unsigned long pages, int bit,
			   uint64_t *bitmap)
{
	static uint64_t entries[ENTRIES];
	unsigned long found = 0, done = 0, i;
	ssize_t n;

	while (done < pages) {
		n = pages - done < ENTRIES ? pages - done : ENTRIES;
		n = pread(pagemap_fd(), entries, n * sizeof(entries[0]),
			  ((uintptr_t)region / PAGE + done) * sizeof(entries[0]));
		check(n > 0, "/proc/self/pagemap");
		n /= sizeof(entries[0]);
		for (i = 0; i < (unsigned long)n; i++) {
			if (entries[i] >> bit & 1) {
				set_bits(bitmap, done + i, done + i + 1);
				found++;
			}
		}
		done += n;
	}
	return found;
}
