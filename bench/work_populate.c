// SPDX-License-Identifier: GPL-2.0
/*
 * work populate - have pages before they are touched
 *
 *	fill	the call, or the touches, that allocate and map
 *	touch	a write to each page after it
 *
 * Clearing the page is most of it: a page is 4,096 bytes, and QEMU counts each
 * step of the string instruction that clears it.
 */
#define _GNU_SOURCE
#include <avm.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "bench.h"
#include "peer.h"
#include "record.h"

#define RW	(PROT_READ | PROT_WRITE)

/* Linux 5.14 on. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE	23
#endif

enum how { AVM_POPULATE, AVM_TOUCH, MAP_POPULATED, MADVISE, TOUCH };

static const char *avm_missing(void)
{
	return peer_avm.missing();
}

static const struct peer peers[] = {
	[AVM_POPULATE] = { .id = "avm", .title = "avm", .missing = avm_missing },
	[AVM_TOUCH] = { .id = "avm-touch", .title = "avm, by touching",
			.missing = avm_missing },
	[MAP_POPULATED] = { .id = "map-populate", .title = "mmap, MAP_POPULATE" },
	[MADVISE] = { .id = "madvise", .title = "MADV_POPULATE_WRITE" },
	[TOUCH] = { .id = "touch", .title = "by touching" },
};

static void *begin(enum how how, unsigned long pages)
{
	void *p;

	if (how == AVM_POPULATE || how == AVM_TOUCH)
		return peer_avm.map(pages);
	if (how != MAP_POPULATED)
		return memory_map(pages);
	/* madvise(2) would come too late. */
	check(!prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), "prctl");
	p = mmap(NULL, pages * PAGE, RW,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	check(p != MAP_FAILED, "mmap");
	check(!prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0), "prctl");
	return p;
}

static void end(enum how how, void *region, unsigned long pages)
{
	if (how == AVM_POPULATE || how == AVM_TOUCH)
		peer_avm.unmap(region, pages);
	else
		memory_unmap(region, pages);
}

static void measure(enum how how, unsigned long pages)
{
	struct series fill = { 0 }, again = { 0 };
	struct pace pace = { 0 };
	double start, middle;
	void *region;

	while (pace_more(&pace)) {
		start = now();
		region = begin(how, pages);
		if (how == AVM_POPULATE)
			check(!peer_avm.populate(region, pages), "populate");
		else if (how == MADVISE)
			check(!madvise(region, pages * PAGE, MADV_POPULATE_WRITE),
			      "MADV_POPULATE_WRITE");
		else if (how != MAP_POPULATED)
			touch(region, pages);
		middle = now();
		touch(region, pages);
		take(&fill, start, middle, pages);
		take(&again, middle, now(), pages);
		end(how, region, pages);
	}
	cell("fill", &fill);
	cell("touch", &again);
}

static void run(void)
{
	static const char *const columns[] = { "fill", "touch", NULL };
	unsigned long pages = options.quick ? 512 : 16384;
	size_t i;

	if (options.instructions)
		pages = 512;
	table_begin("Map and fill, without huge pages", "page",
		    NULL, columns);
	point("pages=%lu", pages);
	for (i = 0; i < COUNT(peers); i++) {
		if (!row_begin(&peers[i]))
			continue;
		measure(i, pages);
		row_end();
	}
	table_end();
}

const struct work work_populate = {
	"populate", "have pages before they are touched", run
};
