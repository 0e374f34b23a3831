// SPDX-License-Identifier: GPL-2.0
/*
 * work appel - Appel and Li's own benchmark, and Dune's two forms of it
 *
 * Appel and Li (ASPLOS 1991; their program is called vmpup): 100 pages,
 * written in random order, closed to all access.
 *
 *	trap		a trap whose handler does nothing
 *	prot1		the handler closes the page that was written before
 *			this one, and opens this one
 *	protn		all 100 are closed by one call, the handler opens one
 *	rating		3000 / the sum of the three in us: the fault services
 *			in a ms; a Sun 3/60 has 1.00
 *
 * Dune (Belay and others, OSDI 2012): 100 pages in the order of addresses,
 * closed to writes only.
 *
 *	appel1		the handler opens the page and closes the page 100
 *			pages ahead
 *	appel2		as protn
 *
 * Peers that cannot close a page to reads are measured with writes only.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>

#include "bench.h"
#include "peer.h"
#include "record.h"

#define N	100
#define RW	(AVM_PROT_READ | AVM_PROT_WRITE)

static const struct peer *const peers[] = {
	&peer_avm, &peer_avm_raise, &peer_avm_vector, &peer_avm_signal,
	&peer_mprotect, &peer_uffd_sigbus, &peer_uffd_thread,
};

static const struct peer *peer;
static char *region;
static int order[N];
static int closed;
static unsigned long span;	/* pages of the region */

static void shuffle(void)
{
	int i, j, t;

	srand(1991);
	for (i = 0; i < N; i++)
		order[i] = i;
	for (i = N - 1; i; i--) {
		j = rand() % (i + 1);
		t = order[i];
		order[i] = order[j];
		order[j] = t;
	}
}

static void write_all(void)
{
	int i;

	for (i = 0; i < N; i++)
		((volatile char *)region)[order[i] * PAGE] = 1;
}

static void open_all(unsigned long pages)
{
	protect_all(peer, region, pages, RW);
	touch(region, pages);
}

static void trap(void)
{
	((volatile char *)region)[0] = 1;
}

static void prepare_trap(void)
{
	open_all(N);
	protect_all(peer, region, N, closed);
	plan.left = N;
}

static void prepare_prot1(void)
{
	open_all(N);
	protect_all(peer, region, N, closed);
	plan.last = region + order[N - 1] * PAGE;
	plan.swap = true;
	protect_all(peer, plan.last, 1, RW);
	*plan.last = 1;
}

static void prepare_protn(void)
{
	open_all(N);
}

static void protn(void)
{
	protect_all(peer, region, N, closed);
	write_all();
}

static void prepare_appel1(void)
{
	open_all(2 * N);
	protect_all(peer, region, N, closed);
	plan.ahead = N * PAGE;
}

static void appel1(void)
{
	touch(region, N);
}

static void prepare_appel2(void)
{
	open_all(N);
}

static void appel2(void)
{
	protect_all(peer, region, N, closed);
	touch(region, N);
}

static double cycles(void)
{
	return __rdtsc();
}

/* Traps are asked for anew each time, as what the peer does depends on plan. */
static void measure(const char *metric, void (*prepare)(void), void (*sample)(void),
		    double (*clock)(void), double per)
{
	struct series series = { 0 };
	struct pace pace = { 0 };
	double start, end;

	while (pace_more(&pace)) {
		memset(&plan, 0, sizeof(plan));
		plan.closed = closed;
		prepare();
		peer->traps(region, span);
		start = clock();
		sample();
		end = clock();
		peer->untraps(region);
		if (clock == now)
			take(&series, start, end, per);
		else
			series_add(&series, (end - start) / per);
	}
	cell(metric, &series);
}

static void rating(void)
{
	const struct series *parts[] = {
		recorded("trap"), recorded("prot1"), recorded("protn"),
	};
	double sum = 0;
	size_t i;

	for (i = 0; i < COUNT(parts); i++) {
		if (!parts[i]) {
			cell_missing("rating", "a part of it is missing");
			return;
		}
		sum += series_median(parts[i]);
	}
	cell_count("rating", "fault services/ms", 3000 / (sum / 1000));
}

static void run_appel(void)
{
	static const char *const columns[] = {
		"trap", "prot1", "protN", "rating", NULL
	};
	size_t i;

	span = N;
	shuffle();
	table_begin("100 pages in random order: trap; prot1+trap+unprot; protN+trap+unprot",
		    "trap", NULL, columns);
	point("pages=%d", N);
	for (i = 0; i < COUNT(peers); i++) {
		peer = peers[i];
		if (!row_begin(peer))
			continue;
		closed = peer->lowest;
		region = peer->map(span);
		measure("trap", prepare_trap, trap, now, N);
		measure("prot1", prepare_prot1, write_all, now, N);
		measure("protn", prepare_protn, protn, now, N);
		if (options.instructions)
			cell_missing("rating", "a rating is of time");
		else
			rating();
		peer->unmap(region, span);
		row_end();
	}
	table_end();
}

static void run_dune(void)
{
	static const char *const columns[] = { "appel1", "appel2", NULL };
	double (*clock)(void) = options.instructions ? now : cycles;
	size_t i;

	span = 2 * N;
	table_begin("100 pages in order, closed to writes", "loop",
		    options.instructions ? NULL : "TSC cycles", columns);
	point("pages=%d", N);
	for (i = 0; i < COUNT(peers); i++) {
		peer = peers[i];
		if (!row_begin(peer))
			continue;
		closed = AVM_PROT_READ;
		region = peer->map(span);
		measure("appel1", prepare_appel1, appel1, clock, 1);
		measure("appel2", prepare_appel2, appel2, clock, 1);
		peer->unmap(region, span);
		row_end();
	}
	table_end();
}

const struct work work_appel = {
	"appel", "Appel and Li's benchmark", run_appel
};

const struct work work_dune = {
	"dune", "Dune's two forms of it", run_dune
};
