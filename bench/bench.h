/* SPDX-License-Identifier: GPL-2.0 */
/*
 * avm-bench: what its files share
 *
 *	main.c		options, the order of the works
 *	sample.[ch]	the clock, samples, how many are enough
 *	record.[ch]	figures: the table that is printed, the JSON
 *	counter.[ch]	events that perf counts
 *	kmem.[ch]	memory of the kernel
 *	limits.[ch]	the room that peers need
 *	machine.c	what it ran on
 *	peer.[ch]	what can be measured beside avm, and peer_*.c, one each
 *	noted.[ch], pagemap.[ch]	what some peers need
 *	work_*.c	what each is asked to do
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stdio.h>

#define PAGE	4096ul
#define MIB	(1024 * 1024ul)
#define COUNT(array)	(sizeof(array) / sizeof((array)[0]))

/**
 * struct options - what the command line asks for
 * @instructions: a nanosecond of the clock is an instruction (QEMU -icount)
 * @quick: smaller sizes
 * @raise_limits: give every peer room: see limits.h
 * @only: run works whose names begin so (comma between them), or NULL
 * @json: file to write the figures to, or NULL
 * @patience: seconds that a figure may take, by the clock
 */
struct options {
	bool instructions;
	bool quick;
	bool raise_limits;
	const char *only;
	const char *json;
	double patience;
};

extern struct options options;

/* One kind of work: prints its tables. */
struct work {
	const char *name;
	const char *title;
	void (*run)(void);
};

extern const struct work work_floor, work_calls, work_appel, work_dune,
	work_protn, work_dirty, work_accessed, work_map2, work_populate,
	work_memory, work_scale, work_threads, work_events;

/* End the program where something that has to work does not. */
void check(bool ok, const char *what);
void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/*
 * Keep the calling thread, and those that it will make, to one CPU, so that
 * none waits for another CPU to wake up: the nth of those that the program was
 * given. -1: to all of them again.
 */
void pin(int n);
int cpu_count(void);
/*
 * Have an emulator forget what was large: QEMU sizes its TLB by what was used in
 * the last 100 ms, and clears all of it at each flush, which takes it 2 ms after
 * a million pages. Before what is small, where the clock is time.
 */
void settle(void);
/* Memory that may be used now, in bytes; or locked, as avm's is. */
unsigned long memory_available(bool locked);
/* A string of JSON. */
void json_string(FILE *f, const char *text);
/* A member "machine" of a JSON object. */
void machine_json(FILE *f);
/* A few lines for people. */
void machine_print(void);

#endif /* BENCH_H */
