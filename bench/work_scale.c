// SPDX-License-Identifier: GPL-2.0
/*
 * work scale - whether a trap costs more where more pages are closed
 *
 * So many pages are closed to all access, every other one. 100 of them, in
 * random order, are written, and opened by the handler. What closes them again
 * is not measured. (How PROTN and DIRTY grow, their own works tell.)
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "peer.h"
#include "record.h"

#define N	100
#define MOST	1000000ul
#define RW	(AVM_PROT_READ | AVM_PROT_WRITE)

static struct avm_range chosen[N];

/* Distinct, and far apart: one in each hundredth. */
static void choose(char *region, unsigned long pages)
{
	unsigned long part = pages / N;
	struct avm_range t;
	int i, j;

	srand(7);
	for (i = 0; i < N; i++)
		every_other(&chosen[i], 1, region + 2 * (i * part + rand() % part) * PAGE,
			    AVM_PROT_NONE);
	for (i = N - 1; i; i--) {
		j = rand() % (i + 1);
		t = chosen[i];
		chosen[i] = chosen[j];
		chosen[j] = t;
	}
}

static int close_all(const struct peer *peer, char *region, unsigned long pages)
{
	struct avm_range *ranges = calloc(pages, sizeof(*ranges));
	int err;

	check(ranges, "calloc");
	every_other(ranges, pages, region, AVM_PROT_NONE);
	err = peer->protect(ranges, pages);
	free(ranges);
	return err;
}

static void write_chosen(void)
{
	int i;

	for (i = 0; i < N; i++)
		*(volatile char *)chosen[i].addr = 1;
}

static void measure(const struct peer *peer, unsigned long pages)
{
	char *region = peer->map(2 * pages);
	struct series series = { 0 };
	struct pace pace = { 0 };
	double start;
	int err;

	memset(&plan, 0, sizeof(plan));
	choose(region, pages);
	err = close_all(peer, region, pages);
	if (err) {
		cell_missing("trap", protect_why(err));
		peer->unmap(region, 2 * pages);
		return;
	}
	peer->traps(region, 2 * pages);
	write_chosen();		/* for the first time: they are allocated */
	check(!peer->protect(chosen, N), "protect");
	while (pace_more(&pace)) {
		start = now();
		write_chosen();
		take(&series, start, now(), N);
		check(!peer->protect(chosen, N), "protect");
	}
	peer->untraps(region);
	peer->unmap(region, 2 * pages);
	cell("trap", &series);
}

/* Why not so many, or NULL. */
static const char *too_many(const struct peer *peer, unsigned long pages)
{
	if (options.quick && pages > 10000)
		return "not with --quick";
	if (options.instructions && pages > 100000)
		return "not when instructions are counted";
	if (peer == &peer_mprotect && pages > 100000 && options.patience < 60)
		return "a million mappings take a minute to make: --patience 60 does";
	return NULL;
}

static void run(void)
{
	static const char *const columns[] = {
		"1,000", "10,000", "100,000", "1,000,000", NULL
	};
	static const struct peer *const peers[] = {
		&peer_avm, &peer_avm_raise, &peer_mprotect,
	};
	unsigned long pages;
	const char *why;
	size_t i;

	table_begin("trap+unprot, 100 pages of so many that are closed", "trap",
		    NULL, columns);
	for (i = 0; i < COUNT(peers); i++) {
		point("pages=%lu", MOST);
		if (!row_begin(peers[i]))
			continue;
		for (pages = 1000; pages <= MOST; pages *= 10) {
			point("pages=%lu", pages);
			why = too_many(peers[i], pages);
			if (why)
				cell_missing("trap", why);
			else
				measure(peers[i], pages);
		}
		row_end();
	}
	table_end();
}

const struct work work_scale = {
	"scale", "whether a trap costs more where more pages are closed", run
};
