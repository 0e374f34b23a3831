// SPDX-License-Identifier: GPL-2.0
/*
 * work events - what can be counted without a clock
 *
 *	protn		TLB flushes to close 1,000 written pages, every other one:
 *			to all access, or to writes where that is all that can be
 *	unprot		to open them again
 *	untouched	to close 1,000 pages that nobody has touched
 *	faults		page faults of a write to a page that is watched for
 *			writes, the first time
 *	mappings	lines of /proc/self/maps that 1,000 pages need of which
 *			every other one is read-only
 */
#define _GNU_SOURCE
#include <avm.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "counter.h"
#include "peer.h"
#include "record.h"

#define N	1000
#define RW	(AVM_PROT_READ | AVM_PROT_WRITE)

static struct avm_range ranges[N];

/* TLB flushes of one call. */
static double flushes(const struct peer *peer, int counter, char *region, int prot)
{
	double before;

	every_other(ranges, N, region, prot);
	before = counter_read(counter);
	check(!peer->protect(ranges, N), "protect");
	return counter_read(counter) - before;
}

static void flushes_missing(const char *why)
{
	cell_missing("protn", why);
	cell_missing("unprot", why);
	cell_missing("untouched", why);
}

static void count_flushes(const struct peer *peer)
{
	char *region;
	int counter;

	if (!peer->protect) {
		flushes_missing("protects nothing");
		return;
	}
	counter = counter_flushes();
	if (counter < 0) {
		flushes_missing("the tracepoint tlb:tlb_flush cannot be read: be root, mount tracefs");
		return;
	}
	region = peer->map(2 * N);
	touch(region, 2 * N);
	cell_count("protn", "flushes", flushes(peer, counter, region, peer->lowest));
	cell_count("unprot", "flushes", flushes(peer, counter, region, RW));
	peer->unmap(region, 2 * N);
	region = peer->map(2 * N);
	cell_count("untouched", "flushes", flushes(peer, counter, region, peer->lowest));
	peer->unmap(region, 2 * N);
	close(counter);
}

static void count_faults(const struct peer *peer)
{
	int counter = counter_faults();
	char *region;
	double before;

	if (counter < 0) {
		cell_missing("faults", "perf_event_open(2) is not allowed here");
		return;
	}
	region = peer->map(N);
	touch(region, N);
	peer->prepare(region, N);
	peer->arm(region, N);
	before = counter_read(counter);
	touch(region, N);
	cell_count("faults", "faults/write", (counter_read(counter) - before) / N);
	peer->unmap(region, N);
	close(counter);
}

static int mappings(char *region, unsigned long pages)
{
	uintptr_t start, end, from = (uintptr_t)region, to = from + pages * PAGE;
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512];
	int n = 0;

	check(f, "/proc/self/maps");
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx-%lx", &start, &end) == 2)
			n += start < to && end > from;
	fclose(f);
	return n;
}

static void count_mappings(const struct peer *peer)
{
	char *region;

	if (!peer->protect) {
		cell_missing("mappings", "protects nothing");
		return;
	}
	region = peer->map(2 * N);
	touch(region, 2 * N);
	every_other(ranges, N, region, AVM_PROT_READ);
	check(!peer->protect(ranges, N), "protect");
	cell_count("mappings", "mappings", mappings(region, 2 * N));
	peer->unmap(region, 2 * N);
}

static void run(void)
{
	static const char *const columns[] = {
		"protn", "unprot", "untouched", "faults", "mappings", NULL
	};
	static const struct peer *const peers[] = {
		&peer_avm, &peer_mprotect, &peer_uffd_sigbus, &peer_uffd_async,
		&peer_soft_dirty,
	};
	size_t i;

	table_begin("TLB flushes for 1,000 pages; faults a first write; mappings for 2,000 pages",
		    NULL, "counts", columns);
	point("pages=%d", N);
	for (i = 0; i < COUNT(peers); i++) {
		if (!row_begin(peers[i]))
			continue;
		count_flushes(peers[i]);
		count_faults(peers[i]);
		count_mappings(peers[i]);
		row_end();
	}
	table_end();
}

const struct work work_events = {
	"events", "what can be counted without a clock", run
};
