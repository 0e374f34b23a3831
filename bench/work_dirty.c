// SPDX-License-Identifier: GPL-2.0
/*
 * work dirty - find the pages that were written
 *
 *	arm	begin to watch pages that were all written before
 *	write	write to some of them
 *	find	learn which
 *	rearm	begin to watch again: nothing, where find() does
 *	sum	all of them: what a single round takes
 *	round	write, find and rearm: what each further round takes
 *
 * Spread: at equal distances. Clustered: one run, in the middle. What is found
 * is compared with what was written, page by page.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "peer.h"
#include "record.h"

enum { ARM, WRITE, FIND, REARM, END, PHASES = END };

static const char *const phases[] = { "arm", "write", "find", "rearm" };
static const int percents[] = { 0, 1, 10, 50, 100 };

static const struct peer *const peers[] = {
	&peer_avm, &peer_mprotect, &peer_mprotect_thp, &peer_uffd_sigbus,
	&peer_uffd_sigbus_thp, &peer_uffd_thread, &peer_uffd_async, &peer_uffd_async_thp,
	&peer_soft_dirty,
};

static uint64_t *bitmap;

/* The pages that are written: @n from @first on, @step apart. */
struct pattern {
	unsigned long n, first, step;
};

static struct pattern pattern(unsigned long pages, int percent, bool clustered)
{
	struct pattern p = { pages * percent / 100, 0, 1 };

	if (clustered)
		p.first = (pages - p.n) / 2;
	else if (p.n)
		p.step = pages / p.n;
	return p;
}

static void write_pages(char *region, const struct pattern *p)
{
	volatile char *page = region + p->first * PAGE;
	unsigned long i;

	for (i = 0; i < p->n; i++, page += p->step * PAGE)
		*page = 1;
}

static void verify(const struct peer *peer, const struct pattern *p,
		   unsigned long found)
{
	unsigned long i, n;

	if (found != p->n)
		fail("%s: found %lu pages of %lu", peer->title, found, p->n);
	for (i = 0; i < p->n; i++) {
		n = p->first + i * p->step;
		if (!(bitmap[n / 64] >> (n % 64) & 1))
			fail("%s: page %lu was not found", peer->title, n);
	}
}

struct times {
	struct series phase[PHASES], sum, round;
};

/* Returns why it could not be done, or NULL. */
static const char *sample(const struct peer *peer, char *region,
			  unsigned long pages, const struct pattern *p,
			  struct times *series)
{
	const char *why = NULL;
	unsigned long found;
	double t[PHASES + 1];
	int i;

	peer->prepare(region, pages);
	touch(region, pages);
	memset(bitmap, 0, (pages + 63) / 64 * sizeof(*bitmap));
	t[ARM] = now();
	peer->arm(region, pages);
	t[WRITE] = now();
	write_pages(region, p);
	t[FIND] = now();
	found = peer->find(region, pages, bitmap);
	t[REARM] = now();
	if (peer->rearm)
		peer->rearm(region, pages);
	t[END] = now();
	if (peer->trouble)
		why = peer->trouble();
	if (why)
		return why;
	verify(peer, p, found);
	for (i = ARM; i < REARM; i++)
		take(&series->phase[i], t[i], t[i + 1], pages);
	if (peer->rearm)
		take(&series->phase[REARM], t[REARM], t[END], pages);
	else
		series_add(&series->phase[REARM], 0);
	take(&series->sum, t[ARM], t[END], pages);
	take(&series->round, t[WRITE], t[END], pages);
	return NULL;
}

/*
 * What a page took when there were fewer of them, to tell in time what would
 * take too long: for each peer, each layout, each percentage.
 */
static double before[COUNT(peers)][2][COUNT(percents)];

static void all_missing(const char *why)
{
	int i;

	for (i = ARM; i < PHASES; i++)
		record_missing(phases[i], why);
	record_missing("sum", why);
	cell_missing("round", why);
}

static void measure(const struct peer *peer, char *region, unsigned long pages,
		    const struct pattern *p, double *each)
{
	const char *why = pace_foretold(*each * pages);
	struct times series = { };
	struct pace pace = { 0 };
	int i;

	if (why) {
		all_missing(why);
		return;
	}
	touch(region, pages);	/* the first time takes longest */
	while (pace_more(&pace)) {
		why = sample(peer, region, pages, p, &series);
		if (why) {
			all_missing(why);
			return;
		}
	}
	for (i = ARM; i < PHASES; i++)
		record(phases[i], &series.phase[i]);
	record("sum", &series.sum);
	cell("round", &series.round);
	*each = series_median(&series.sum);
}

static void set_point(unsigned long pages, bool clustered, int percent)
{
	point("pages=%lu layout=%s written=%d", pages,
	      clustered ? "clustered" : "spread", percent);
}

static void table(unsigned long pages, bool clustered)
{
	static const char *const columns[] = {
		"0 %", "1 %", "10 %", "50 %", "100 %", NULL
	};
	struct pattern p;
	char heading[96];
	size_t i, j;
	char *region;

	snprintf(heading, sizeof(heading),
		 "%lu MiB, written %s: a round of write, find and re-arm, per page of all",
		 pages * PAGE / MIB, clustered ? "in one cluster" : "spread");
	table_begin(heading, "page", NULL, columns);
	for (i = 0; i < COUNT(peers); i++) {
		point("pages=%lu", pages);
		if (!row_begin(peers[i]))
			continue;
		if (memory_available(peers[i]->locked) < pages * PAGE * 3 / 2) {
			cell_missing("", "not enough memory, or \"ulimit -l\" is too low");
			row_end();
			continue;
		}
		region = peers[i]->map(pages);
		for (j = 0; j < COUNT(percents); j++) {
			p = pattern(pages, percents[j], clustered);
			set_point(pages, clustered, percents[j]);
			if (peers[i]->huge && j) {
				peers[i]->unmap(region, pages);
				region = peers[i]->map(pages);
			}
			measure(peers[i], region, pages, &p,
				&before[i][clustered][j]);
		}
		peers[i]->unmap(region, pages);
		row_end();
	}
	table_end();
}

/* The phases of one case, of those that were just measured. */
static void phase_table(unsigned long pages)
{
	static const char *const columns[] = {
		"arm", "write", "find", "re-arm", "sum", NULL
	};
	char heading[96];
	size_t i;
	int j;

	snprintf(heading, sizeof(heading),
		 "The phases for %lu MiB, 10 %% written, spread, per page of all",
		 pages * PAGE / MIB);
	table_begin(heading, "page", NULL, columns);
	for (i = 0; i < COUNT(peers); i++) {
		if (!row_again(peers[i]))
			continue;
		set_point(pages, false, 10);
		for (j = ARM; j < PHASES; j++)
			cell_again(phases[j]);
		cell_again("sum");
		row_end();
	}
	table_end();
}

static void run(void)
{
	static const unsigned long all[] = { 4, 64, 1024 }, counted[] = { 4, 64 };
	const unsigned long *sizes = options.instructions ? counted : all;
	size_t n = options.quick ? 1 : options.instructions ? 2 : 3, i;
	unsigned long pages;

	for (i = 0; i < n; i++) {
		pages = sizes[i] * MIB / PAGE;
		if (memory_available(false) < sizes[i] * MIB * 3 / 2) {
			printf("\n%lu MiB: not enough memory\n", sizes[i]);
			continue;
		}
		settle();
		bitmap = calloc(pages / 64 + 1, sizeof(*bitmap));
		check(bitmap, "calloc");
		table(pages, false);
		if (sizes[i] < 1024 || options.patience >= 30)
			table(pages, true);
		else
			printf("\n%lu MiB, written in one cluster: only with --patience 30\n",
			       sizes[i]);
		phase_table(pages);
		free(bitmap);
	}
}

const struct work work_dirty = {
	"dirty", "find the pages that were written", run
};
