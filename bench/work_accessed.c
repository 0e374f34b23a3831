// SPDX-License-Identifier: GPL-2.0
/*
 * work accessed - find the pages that were used
 *
 * Half of the pages are read, spread. avm reads and clears the CPU's accessed
 * bits. mprotect(2) closes all pages to all access and its handler opens them.
 * The kernel has bits of its own for this (idle page tracking), but no stock
 * kernel of Debian is built with it; mincore(2), which is here for the cost of
 * an answer, tells what is in memory, not what was used.
 */
#define _GNU_SOURCE
#include <avm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"
#include "peer.h"
#include "record.h"

static uint64_t *bitmap;
static unsigned char *residency;

static const struct peer peer_mincore = {
	.id = "mincore", .title = "mincore (tells residency only)",
	.map = memory_map, .unmap = memory_unmap,
};

static void read_half(char *region, unsigned long pages)
{
	unsigned long i;

	for (i = 0; i < pages; i += 2)
		(void)((volatile char *)region)[i * PAGE];
}

static unsigned long ask(const struct peer *peer, char *region,
			 unsigned long pages)
{
	if (peer == &peer_mincore) {
		check(!mincore(region, pages * PAGE, residency), "mincore");
		return pages / 2;
	}
	return peer->accessed(region, pages, bitmap);
}

static void measure(const struct peer *peer, unsigned long pages)
{
	struct series use = { 0 }, find = { 0 }, sum = { 0 };
	char *region = peer->map(pages);
	struct pace pace = { 0 };
	unsigned long found;
	const char *why = NULL;
	double t0, t1, t2;

	touch(region, pages);
	while (pace_more(&pace)) {
		memset(bitmap, 0, pages / 8);
		if (peer->watch_accesses)
			peer->watch_accesses(region, pages);
		t0 = now();
		read_half(region, pages);
		t1 = now();
		found = ask(peer, region, pages);
		t2 = now();
		why = peer->trouble ? peer->trouble() : NULL;
		if (why)
			break;
		if (found != pages / 2)
			fail("%s: found %lu pages of %lu", peer->title, found,
			     pages / 2);
		take(&use, t0, t1, pages);
		take(&find, t1, t2, pages);
		take(&sum, t0, t2, pages);
	}
	if (why) {
		cell_missing("sum", why);
	} else {
		cell("use", &use);
		cell("find", &find);
		cell("sum", &sum);
	}
	peer->unmap(region, pages);
}

static void run(void)
{
	static const char *const columns[] = { "use", "find", "sum", NULL };
	static const struct peer *const peers[] = {
		&peer_avm, &peer_mprotect, &peer_mincore,
	};
	unsigned long pages = options.quick ? 1024 :
			      options.instructions ? 4096 : 16384;
	size_t i;

	bitmap = calloc(pages / 64, sizeof(*bitmap));
	residency = malloc(pages);
	check(bitmap && residency, "malloc");
	table_begin("Half of the pages read, spread; found, watched again",
		    "page", NULL, columns);
	point("pages=%lu", pages);
	for (i = 0; i < COUNT(peers); i++) {
		if (!row_begin(peers[i]))
			continue;
		measure(peers[i], pages);
		row_end();
	}
	table_end();
	free(bitmap);
	free(residency);
}

const struct work work_accessed = {
	"accessed", "find the pages that were used", run
};
