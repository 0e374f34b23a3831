// SPDX-License-Identifier: GPL-2.0
/*
 * work threads - two threads that trap, against one
 *
 * Each does protN+trap+unprot on 100 pages of its own, in one region. A second
 * thread costs nothing if the speedup is 2. What stands in the way is locks,
 * and that each PROTN has to flush the other CPU, too.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "peer.h"
#include "record.h"

#define N	100
#define ROUNDS	20
#define RW	(AVM_PROT_READ | AVM_PROT_WRITE)

struct worker {
	const struct peer *peer;
	char *pages;
	int cpu;
	pthread_barrier_t *start;
	double began, ended;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	int i;

	pin(w->cpu);
	touch(w->pages, N);
	pthread_barrier_wait(w->start);
	w->began = now();
	for (i = 0; i < ROUNDS; i++) {
		protect_all(w->peer, w->pages, N, w->peer->lowest);
		touch(w->pages, N);
	}
	w->ended = now();
	return NULL;
}

/* Time from when the first begins to when the last is through. */
static double run_threads(const struct peer *peer, char *region, int n)
{
	struct worker workers[2] = { };
	pthread_barrier_t start;
	pthread_t threads[2];
	double began, ended;
	int i;

	pthread_barrier_init(&start, NULL, n);
	for (i = 0; i < n; i++) {
		workers[i] = (struct worker){
			.peer = peer, .pages = region + i * N * PAGE, .cpu = i,
			.start = &start,
		};
		check(!pthread_create(&threads[i], NULL, work, &workers[i]),
		      "pthread_create");
	}
	for (i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&start);
	began = workers[0].began;
	ended = workers[0].ended;
	if (n == 2 && workers[1].began < began)
		began = workers[1].began;
	if (n == 2 && workers[1].ended > ended)
		ended = workers[1].ended;
	return ended - began;
}

static void measure(const struct peer *peer)
{
	struct series series[2] = { };
	struct pace pace = { 0 };
	char *region = peer->map(2 * N);
	int n;

	memset(&plan, 0, sizeof(plan));
	peer->traps(region, 2 * N);
	while (pace_more(&pace)) {
		for (n = 1; n <= 2; n++) {
			protect_all(peer, region, 2 * N, RW);
			series_add(&series[n - 1],
				   run_threads(peer, region, n) / (n * ROUNDS * N));
		}
	}
	peer->untraps(region);
	peer->unmap(region, 2 * N);
	cell("one", &series[0]);
	cell("two", &series[1]);
	if (series[0].n >= SAMPLES_LEAST)
		cell_count("speedup", "times",
			   series_median(&series[0]) / series_median(&series[1]));
}

static void run(void)
{
	static const char *const columns[] = {
		"1 thread", "2 threads", "speedup", NULL
	};
	static const struct peer *const peers[] = {
		&peer_avm, &peer_avm_raise, &peer_mprotect, &peer_uffd_sigbus,
	};
	size_t i;

	table_begin("protN+trap+unprot, all threads together", "trap", NULL,
		    columns);
	point("pages=%d", N);
	for (i = 0; i < COUNT(peers); i++) {
		if (!row_begin(peers[i]))
			continue;
		if (cpu_count() > 1)
			measure(peers[i]);
		else
			cell_missing("", "needs a second CPU");
		row_end();
	}
	table_end();
}

const struct work work_threads = {
	"threads", "two threads that trap, against one", run
};
