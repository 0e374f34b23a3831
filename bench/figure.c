// SPDX-License-Identifier: GPL-2.0
/*
 * figure - measure, print, compare with a goal: see figure.h
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "figure.h"

static long clock_cost = -1;
static bool judge;
static int missed;
static const char *name;

void check(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "%s: %s: %s\n", name, what, strerror(errno));
	exit(2);
}

static long now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000l + ts.tv_nsec;
}

static void smaller(long *best, long took)
{
	if (*best < 0 || took < *best)
		*best = took;
}

void figure_begin(int argc, char **argv, const char *program,
		  const char *purpose)
{
	long begin;
	int i;

	name = program;
	judge = argc == 2 && !strcmp(argv[1], "--judge");
	if (argc > 2 || (argc == 2 && !judge)) {
		printf("usage: %s [--judge]\n"
		       "%s, in ns; --judge takes a ns for an\n"
		       "instruction, as in a virtual machine that counts them, and compares\n"
		       "with the goals.\n", program, purpose);
		exit(strcmp(argv[1], "--help") ? 2 : 0);
	}
	for (i = 0; i < SAMPLES; i++) {
		begin = now();
		smaller(&clock_cost, now() - begin);
	}
	printf("%-56s %9s %-6s  %6s\n", "", judge ? "instr." : "ns", "",
	       judge ? " goal" : "");
}

/* The goal and whether it was met, for the end of a line. */
static const char *verdict(double value, double goal, bool least)
{
	static char text[32];
	bool met = least ? value >= goal : value <= goal;

	if (!goal || !judge)
		return "";
	missed += !met;
	snprintf(text, sizeof(text), "%6g  %s", goal, met ? "met" : "MISSED");
	return text;
}

void figure_measure(struct figure *f)
{
	long best = -1, begin;
	int i;

	for (i = 0; i < SAMPLES; i++) {
		f->prepare();
		begin = now();
		f->sample();
		smaller(&best, now() - begin - clock_cost);
	}
	f->best = (double)best / f->per;
	printf("%-56s %9.1f a %-4s  %s\n", f->name, f->best, f->unit,
	       verdict(f->best, f->goal, false));
	fflush(stdout);
}

void figure_ratio(const char *name, const struct figure *a,
		  const struct figure *b, double goal, bool least)
{
	double ratio = a->best / b->best;

	printf("%-56s %9.2f times   %s\n", name, ratio,
	       verdict(ratio, goal, least));
	fflush(stdout);
}

int figure_end(void)
{
	if (missed)
		printf("%s: %d goals missed\n", name, missed);
	return missed ? 1 : 0;
}
