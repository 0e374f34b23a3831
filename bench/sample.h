/* SPDX-License-Identifier: GPL-2.0 */
/*
 * sample - the clock, samples, and how many are enough
 *
 * A figure has at least SAMPLES_LEAST samples, and more, up to SAMPLES_MOST,
 * while they take little time together. Its table shows the median. Counts of
 * instructions are compared with goals by their minimum: that is the sample
 * which nothing interrupted.
 */
#ifndef SAMPLE_H
#define SAMPLE_H

#include <signal.h>
#include <stdbool.h>

#define SAMPLES_LEAST	5
#define SAMPLES_MOST	25

/**
 * struct series - samples of one figure
 * @n: samples
 * @value: each, in the figure's unit
 */
struct series {
	int n;
	double value[SAMPLES_MOST];
};

/**
 * struct pace - the loop that takes samples
 * @n: samples begun
 * @start: when the first began
 */
struct pace {
	int n;
	double start;
};

/* The clock, in ns; what reading it takes, of which take() rids a sample. */
double now(void);
void clock_calibrate(void);

/* Set by a signal: the program ends, and writes what it has, before the next sample. */
extern volatile sig_atomic_t interrupted;

/*
 * Whether to take another sample. Ends also when SAMPLES_LEAST would take
 * longer than anyone wants to wait: then pace_slow() says so, of the loop that
 * ended last.
 */
bool pace_more(struct pace *pace);
const char *pace_slow(void);
/* The same, foretold: what one sample takes, in ns. */
const char *pace_foretold(double sample);

/* Add the time from @start to @end, divided by @per. */
void take(struct series *series, double start, double end, double per);
void series_add(struct series *series, double value);
double series_min(const struct series *series);
double series_median(const struct series *series);
double series_max(const struct series *series);

#endif /* SAMPLE_H */
