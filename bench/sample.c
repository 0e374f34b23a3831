// SPDX-License-Identifier: GPL-2.0
/*
 * sample - the clock, samples, and how many are enough: see sample.h
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "bench.h"
#include "sample.h"

/* Of the whole patience, what is spent on more samples than have to be. */
#define SPARE	0.02

volatile sig_atomic_t interrupted;

static double clock_cost;
static double last_sample;	/* s, mean, of the loop that ended last */

double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e9 + ts.tv_nsec;
}

#define STEPS	1000000l

/* Whether a nanosecond is an instruction: a loop of a known number of them. */
static bool counts_instructions(void)
{
	double start = now();
	long n = STEPS;

	__asm__ volatile("1: dec %0\n\tjnz 1b" : "+r"(n));
	return (now() - start) / (2 * STEPS) > 0.99 &&
	       (now() - start) / (2 * STEPS) < 1.05;
}

void clock_calibrate(void)
{
	double start, took;
	int i;

	if (options.instructions && !counts_instructions())
		fail("--instructions: this clock does not count them; see QEMU's -icount shift=0");
	for (i = 0; i < 100; i++) {
		start = now();
		took = now() - start;
		if (!i || took < clock_cost)
			clock_cost = took;
	}
}

static double spent(const struct pace *pace)
{
	return (now() - pace->start) / 1e9;
}

static bool too_slow(const struct pace *pace)
{
	return pace->n < SAMPLES_LEAST &&
	       spent(pace) / pace->n * SAMPLES_LEAST > options.patience;
}

static bool enough(const struct pace *pace)
{
	return pace->n >= SAMPLES_MOST || too_slow(pace) ||
	       (pace->n >= SAMPLES_LEAST && spent(pace) > options.patience * SPARE);
}

bool pace_more(struct pace *pace)
{
	if (interrupted)
		fail("interrupted");
	if (!pace->n) {
		pace->start = now();
	} else if (enough(pace)) {
		last_sample = spent(pace) / pace->n;
		return false;
	}
	pace->n++;
	return true;
}

static const char *slow(double seconds)
{
	static char text[80];

	snprintf(text, sizeof(text), "%d samples would take %.0f s: --patience %.0f measures it",
		 SAMPLES_LEAST, seconds, seconds * 1.5 + 1);
	return text;
}

const char *pace_slow(void)
{
	return slow(last_sample * SAMPLES_LEAST);
}

const char *pace_foretold(double sample)
{
	double seconds = sample * SAMPLES_LEAST / 1e9;

	return seconds > options.patience ? slow(seconds) : NULL;
}

void series_add(struct series *series, double value)
{
	series->value[series->n++] = value;
}

void take(struct series *series, double start, double end, double per)
{
	double took = end - start - clock_cost;

	series_add(series, (took > 0 ? took : 0) / per);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

void settle(void)
{
	const size_t length = 64 * PAGE;	/* enough for a flush of all */
	double start = now();
	char *p;

	if (options.instructions)
		return;
	p = mmap(NULL, length, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	check(p != MAP_FAILED, "mmap");
	while (now() - start < 3e8) {
		check(!mprotect(p, length, PROT_READ), "mprotect");
		check(!mprotect(p, length, PROT_READ | PROT_WRITE), "mprotect");
		memset(p, 1, length);
	}
	munmap(p, length);
}

double series_median(const struct series *series)
{
	double sorted[SAMPLES_MOST];
	int n = series->n;

	memcpy(sorted, series->value, n * sizeof(sorted[0]));
	qsort(sorted, n, sizeof(sorted[0]), compare);
	return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

double series_min(const struct series *series)
{
	double least = series->value[0];
	int i;

	for (i = 1; i < series->n; i++)
		if (series->value[i] < least)
			least = series->value[i];
	return least;
}

double series_max(const struct series *series)
{
	double most = series->value[0];
	int i;

	for (i = 1; i < series->n; i++)
		if (series->value[i] > most)
			most = series->value[i];
	return most;
}
