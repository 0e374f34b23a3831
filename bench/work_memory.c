// SPDX-License-Identifier: GPL-2.0
/*
 * work memory - what the kernel keeps for protections
 *
 * Every other page of 64 MiB is made read-only. How much more memory the kernel has
 * in slabs and page tables then, the median of the samples; and, for avm, the bytes
 * that it counts itself. The pages were touched, so that page tables are there:
 * userfaultfd's marks are in them.
 */
#include <avm.h>
#include <stdlib.h>

#include "bench.h"
#include "kmem.h"
#include "peer.h"
#include "record.h"

static void measure(const struct peer *peer, struct avm_range *ranges,
		    unsigned long pages)
{
	struct series kernel = { 0 }, own = { 0 };
	int err = 0, i;
	char *region;
	double before;

	for (i = 0; i < SAMPLES_LEAST && !err; i++) {
		region = peer->map(2 * pages);
		touch(region, 2 * pages);
		every_other(ranges, pages, region, AVM_PROT_READ);
		before = kmem_bytes();
		err = peer->protect(ranges, pages);
		series_add(&kernel, (kmem_bytes() - before) / (2 * pages));
		if (peer->state_bytes)
			series_add(&own, peer->state_bytes(region) / (2 * pages));
		peer->unmap(region, 2 * pages);
	}
	if (err) {
		cell_missing("kernel", protect_why(err));
		return;
	}
	cell("kernel", &kernel);
	if (peer->state_bytes)
		cell("state", &own);
	else
		cell_missing("state", "keeps no count");
}

static void run(void)
{
	static const char *const columns[] = { "kernel", "own count", NULL };
	static const struct peer *const peers[] = {
		&peer_avm, &peer_mprotect, &peer_uffd_sigbus,
	};
	unsigned long pages = 8192;
	struct avm_range *ranges = calloc(pages, sizeof(*ranges));
	size_t i;

	check(ranges, "calloc");
	kmem_open();
	table_begin("Every other page made read-only, per page of all", "page", "bytes",
		    columns);
	point("pages=%lu", pages);
	for (i = 0; i < COUNT(peers); i++) {
		if (!row_begin(peers[i]))
			continue;
		measure(peers[i], ranges, pages);
		row_end();
	}
	table_end();
	kmem_close();
	free(ranges);
}

const struct work work_memory = {
	"memory", "what the kernel keeps for protections", run
};
