// SPDX-License-Identifier: GPL-2.0
/*
 * work calls - one page at a time, the system call included
 *
 * PROT1 and UNPROT of pages that were written, each in a call of its own, in
 * the order of addresses, which for mprotect(2) is the cheapest: the mappings
 * merge. And what it takes to have a space at all.
 */
#define _GNU_SOURCE
#include <avm.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "peer.h"
#include "record.h"

#define PAGES	100
#define RW	(AVM_PROT_READ | AVM_PROT_WRITE)

static char *region;

static void one_by_one(const struct peer *peer, int prot)
{
	int i;

	for (i = 0; i < PAGES; i++)
		if (peer->page(region + i * PAGE, prot))
			fail("%s: one page", peer->title);
}

static void measure(const struct peer *peer, const char *metric, int from, int to)
{
	struct series series = { 0 };
	struct pace pace = { 0 };
	double start;

	if (from < peer->lowest || to < peer->lowest) {
		cell_missing(metric, "cannot close a page to reads");
		return;
	}
	while (pace_more(&pace)) {
		protect_all(peer, region, PAGES, RW);
		touch(region, PAGES);
		if (from != RW)
			one_by_one(peer, from);
		start = now();
		one_by_one(peer, to);
		take(&series, start, now(), PAGES);
	}
	cell(metric, &series);
}

static void single(void)
{
	static const char *const columns[] = {
		"to r", "to none", "from r", "from none", NULL
	};
	static const struct peer *const peers[] = {
		&peer_avm, &peer_mprotect, &peer_uffd_sigbus,
	};
	size_t i;

	table_begin("PROT1 of a written page, with its flush; UNPROT", "call",
		    NULL, columns);
	point("pages=1");
	for (i = 0; i < COUNT(peers); i++) {
		if (!row_begin(peers[i]))
			continue;
		region = peers[i]->map(PAGES);
		measure(peers[i], "prot1-read", RW, AVM_PROT_READ);
		measure(peers[i], "prot1-none", RW, AVM_PROT_NONE);
		measure(peers[i], "unprot-read", AVM_PROT_READ, RW);
		measure(peers[i], "unprot-none", AVM_PROT_NONE, RW);
		peers[i]->unmap(region, PAGES);
		row_end();
	}
	table_end();
}

static void create(void)
{
	static const char *const columns[] = { "1 TiB", NULL };
	struct series series = { 0 };
	struct pace pace = { 0 };
	int dev, space;
	double start;
	void *p;

	table_begin("Make a space, map it, take both away", "call", NULL, columns);
	point("bytes=%lu", 1ul << 40);
	if (!row_begin(&peer_avm))
		return;
	while (pace_more(&pace)) {
		start = now();
		dev = avm_open();
		space = avm_create(dev, 1ul << 40);
		check(space >= 0 && !avm_map(space, 0, 1ul << 40, RW, &p), "create");
		check(!avm_unmap(p, 1ul << 40), "unmap");
		close(space);
		close(dev);
		take(&series, start, now(), 1);
	}
	cell("create", &series);
	row_end();
	table_end();
}

static void run(void)
{
	single();
	create();
}

const struct work work_calls = {
	"calls", "one page at a time, the system call included", run
};
