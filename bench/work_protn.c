// SPDX-License-Identifier: GPL-2.0
/*
 * work protn - close many pages at once
 *
 * All pages were written since they were last closed, so that every CPU that
 * ran the program may have their translations. With another thread running,
 * the flush has to reach its CPU too. The time ends with the call: that each page
 * touched afterwards has to be looked up in the page table again, because one
 * flush took more translations than it had to, is not in it. (It is in "dirty",
 * where the pages are written between two rounds.)
 *
 * Scattered: every other page. mprotect(2) then needs a mapping for each.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "peer.h"
#include "record.h"

#define RW	(AVM_PROT_READ | AVM_PROT_WRITE)
#define MOST	1000000ul

enum layout { CONTIGUOUS, SCATTERED, SHUFFLED };

static const char *const layouts[] = { "contiguous", "scattered", "shuffled" };

static struct avm_range *ranges;
static unsigned long range_count;
static unsigned long available;	/* bytes, before the first page is touched */

static void set_ranges(void *region, unsigned long pages, enum layout layout,
		       int prot)
{
	unsigned long i, j, t;

	range_count = layout == CONTIGUOUS ? 1 : pages;
	ranges = calloc(range_count, sizeof(*ranges));
	check(ranges, "calloc");
	every_other(ranges, range_count, region, prot);
	if (layout == CONTIGUOUS)
		ranges[0].length = pages * PAGE;
	srand(1);
	for (i = range_count - 1; layout == SHUFFLED && i; i--) {
		j = rand() % (i + 1);
		t = ranges[i].addr;
		ranges[i].addr = ranges[j].addr;
		ranges[j].addr = t;
	}
}

/* One table: a case that each peer is measured in. */
struct setting {
	enum layout layout;
	int prot;
	int others;	/* threads that run at the same time */
};

static const unsigned long sizes[] = {
	1, 10, 100, 1000, 10000, 100000, MOST
};

static const char *prot_name(int prot)
{
	return prot ? "r" : "none";
}

static void set_point(const struct setting *s, unsigned long pages)
{
	point("pages=%lu layout=%s to=%s others=%d", pages, layouts[s->layout],
	      prot_name(s->prot), s->others);
}

/* Open what is closed, and touch what is to be closed. */
static int open_all(const struct peer *peer, char *region, unsigned long span,
		    unsigned long step)
{
	struct avm_range all = { (uintptr_t)region, span * PAGE, RW, 0 };
	unsigned long i;
	int err = peer->protect(&all, 1);

	for (i = 0; !err && i < span; i += step)
		((volatile char *)region)[i * PAGE] = 1;
	return err;
}

static void measure(const struct peer *peer, char *region, unsigned long pages,
		    const struct setting *s)
{
	unsigned long step = s->layout == CONTIGUOUS ? 1 : 2;
	struct series series = { 0 };
	struct pace pace = { 0 };
	double start;
	int err;

	set_ranges(region, pages, s->layout, s->prot);
	err = open_all(peer, region, step * pages, step);
	while (!err && pace_more(&pace)) {
		err = open_all(peer, region, step * pages, step);
		start = now();
		err = err ?: peer->protect(ranges, range_count);
		take(&series, start, now(), pages);
	}
	if (err)
		record_missing("protn", protect_why(err));
	else
		record("protn", &series);
	free(ranges);
}

/*
 * Whether there is memory for so many: they are touched, and so are as many
 * that are every other one, of which half are among the former.
 */
static bool room_for(unsigned long pages)
{
	return available > pages / 2 * 3 * (PAGE + 300);
}

/* Why not so many, or NULL. @each: what a page took when they were fewer. */
static const char *too_many(const struct peer *peer, const struct setting *s,
			    unsigned long pages, double each)
{
	if (options.quick && pages > 10000)
		return "not with --quick";
	if (options.instructions && pages > 100000)
		return "not when instructions are counted";
	if (pages > 100000 && (s->layout == SHUFFLED || !s->prot) &&
	    options.patience < 30)
		return "left out for time: --patience 30 measures it";
	if (!room_for(pages))
		return peer->locked ? "not enough memory, or \"ulimit -l\" is too low" :
				      "not enough memory";
	/* To open them again takes as long as to close them. */
	return pace_foretold(2 * each * pages);
}

/* One size in one setting. *each is what a page took when there were fewer. */
static void measure_or_not(const struct peer *peer, char *region,
			   unsigned long pages, const struct setting *s,
			   double *each)
{
	const char *why = too_many(peer, s, pages, *each);

	set_point(s, pages);
	if (why)
		record_missing("protn", why);
	else
		measure(peer, region, pages, s);
	if (recorded("protn"))
		*each = series_median(recorded("protn"));
}

static void print_table(const struct setting *s, const struct peer *const *peers)
{
	static const char *const columns[] = {
		"1", "10", "100", "1,000", "10,000", "100,000", "1,000,000", NULL
	};
	char heading[96];
	size_t i;

	snprintf(heading, sizeof(heading),
		 "PROTN to %s, %s pages, %d other thread%s running",
		 s->prot ? "read-only" : "none", layouts[s->layout], s->others,
		 s->others == 1 ? "" : "s");
	table_begin(heading, "page", NULL, columns);
	for (; *peers; peers++) {
		if (!row_again(*peers))
			continue;
		for (i = 0; i < COUNT(sizes); i++) {
			set_point(s, sizes[i]);
			cell_again("protn");
		}
		row_end();
	}
	table_end();
}

static volatile int spinning;

static void *spin(void *arg)
{
	(void)arg;
	pin(1);
	spinning = 1;
	while (spinning)
		__builtin_ia32_pause();
	return NULL;
}

/* Another thread of the process, that does nothing but run. */
static void other_begin(pthread_t *other)
{
	check(!pthread_create(other, NULL, spin, NULL), "pthread_create");
	while (!spinning)
		;
}

static void other_end(pthread_t other)
{
	spinning = 0;
	pthread_join(other, NULL);
}

static const struct peer *const all_peers[] = {
	&peer_avm, &peer_mprotect, &peer_mprotect_thp, &peer_uffd_sigbus,
	&peer_uffd_sigbus_thp, NULL
};

/* Those of them that can do it, and for which it makes sense. */
static bool takes_part(const struct peer *peer, const struct setting *s)
{
	if (peer->huge && s->layout != CONTIGUOUS)
		return false;
	return s->prot >= peer->lowest;
}

static const struct setting settings[] = {
	{ CONTIGUOUS, AVM_PROT_READ, 0 }, { SCATTERED, AVM_PROT_READ, 0 },
	{ SHUFFLED, AVM_PROT_READ, 0 },
	{ CONTIGUOUS, AVM_PROT_NONE, 0 }, { SCATTERED, AVM_PROT_NONE, 0 },
	{ CONTIGUOUS, AVM_PROT_READ, 1 }, { SCATTERED, AVM_PROT_READ, 1 },
};

static bool possible(const struct setting *s)
{
	return !s->others || cpu_count() > 1;
}

static void measure_setting(const struct peer *peer, char *region,
			    unsigned long pages, const struct setting *s,
			    double *each)
{
	pthread_t other;

	if (!takes_part(peer, s))
		return;
	if (!possible(s)) {
		set_point(s, pages);
		record_missing("protn", "needs a second CPU");
		return;
	}
	if (s->others)
		other_begin(&other);
	measure_or_not(peer, region, pages, s, each);
	if (s->others)
		other_end(other);
}

/*
 * All tables of a peer, on one region: to fill it is what takes longest. The
 * large sizes come last: see settle().
 */
static void measure_peer(const struct peer *peer)
{
	double each[COUNT(settings)] = { 0 };
	char *region;
	size_t i, j;

	settle();
	available = memory_available(peer->locked);
	region = peer->map(2 * MOST);
	for (i = 0; i < COUNT(sizes); i++) {
		progress("%s: %lu pages", peer->title, sizes[i]);
		for (j = 0; j < COUNT(settings); j++)
			measure_setting(peer, region, sizes[i], &settings[j],
					&each[j]);
	}
	peer->unmap(region, 2 * MOST);
}

static void run(void)
{
	const struct peer *rows[COUNT(all_peers)];
	size_t i, j, n;

	record_unit("page", NULL);
	for (i = 0; all_peers[i]; i++)
		if (row_silent(all_peers[i]))
			measure_peer(all_peers[i]);
	for (i = 0; i < COUNT(settings); i++) {
		for (j = 0, n = 0; all_peers[j]; j++)
			if (takes_part(all_peers[j], &settings[i]))
				rows[n++] = all_peers[j];
		rows[n] = NULL;
		print_table(&settings[i], rows);
	}
}

const struct work work_protn = {
	"protn", "close many pages at once", run
};
