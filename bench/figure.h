/* SPDX-License-Identifier: GPL-2.0 */
/*
 * figure - measure, print, compare with a goal
 *
 * Meant for a virtual machine whose clock counts instructions (make cost):
 * there a nanosecond is an instruction, the figures repeat exactly, and each
 * is compared with its goal. On a real machine the same programs print
 * nanoseconds, and no verdict.
 *
 * A figure is the minimum of SAMPLES, each short enough that some are not
 * interrupted, less what reading the clock takes.
 */
#ifndef FIGURE_H
#define FIGURE_H

#include <stdbool.h>

#define SAMPLES	25

/**
 * struct figure - what to measure
 * @name: printed
 * @unit: of what
 * @per: how many of these a sample has
 * @goal: per unit, at most; 0 for none
 * @prepare: what to do before each sample
 * @sample: the sample
 * @best: the result: per unit
 */
struct figure {
	const char *name;
	const char *unit;
	long per;
	long goal;
	void (*prepare)(void);
	void (*sample)(void);
	double best;
};

/* End the program where something that has to work does not. */
void check(bool ok, const char *what);

/* Options, and the head of the table. */
void figure_begin(int argc, char **argv, const char *program,
		  const char *purpose);
void figure_measure(struct figure *f);
/* @a / @b is to be at most (or, @least, at least) @goal; 0 for no goal. */
void figure_ratio(const char *name, const struct figure *a,
		  const struct figure *b, double goal, bool least);
/* What the program exits with. */
int figure_end(void);

#endif /* FIGURE_H */
