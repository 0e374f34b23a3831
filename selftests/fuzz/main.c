// SPDX-License-Identifier: GPL-2.0
/*
 * main.c - fuzz: run programs, keep those that reach something new, change them
 *
 * Each program runs in a process of its own. A program that cannot be killed,
 * and whatever the kernel's log complains of, ends the run with a failure. What
 * ran last is in a ring, on a disk if there is one, so that it is known when
 * the machine is not there any more to tell.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "calls.h"
#include "corpus.h"
#include "kcov.h"
#include "log.h"
#include "mutate.h"
#include "run.h"
#include "world.h"

#define KILL_SECONDS	60	/* until a killed process is gone */
#define FRESH		8	/* one program in so many is a new one */
/* Half of what the corpus reaches: compilers differ in how many places they make. */
#define LEAST_PLACES	600U

/* How a program ended. */
enum end { ENDED, BY_ALARM, BY_KILL };

static struct coverage seen;	/* by all programs so far */
static unsigned long executed, ended[BY_KILL + 1];
static unsigned long overflows;	/* programs that were not traced to their end */

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void child(const struct program *program)
{
	alarm(PROGRAM_SECONDS);
	world_make();
	if (!kcov_begin(KCOV_FIRST))
		abort();
	program_run(program);
	_exit(0);
}

static int gone_within(pid_t pid, double seconds, int *status)
{
	double end = now() + seconds;

	do {
		if (waitpid(pid, status, WNOHANG))
			return 1;
		usleep(300);
	} while (now() < end);
	return 0;
}

/*
 * Programs may loop, as one with a trap handler that changes nothing: then their
 * alarm ends them, or where they have blocked that, we.
 */
static enum end await(pid_t pid)
{
	enum end end = ENDED;
	int status = 0;

	if (!gone_within(pid, 4 * PROGRAM_SECONDS, &status)) {
		end = BY_KILL;
		kill(-pid, SIGKILL);
		if (!gone_within(pid, KILL_SECONDS, &status))
			log_fail("a process that cannot be killed");
	}
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT)
		log_fail("a program cannot begin: no space, no view, or no KCOV any more");
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		end = BY_ALARM;
	ended[end]++;
	return end;
}

/* Those that it left behind, in a group of their own, are killed with it. */
static enum end execute(const struct program *program, struct coverage *coverage)
{
	enum end end;
	pid_t pid;

	log_program(program);
	kcov_reset();
	fflush(stdout);
	pid = fork();
	if (pid < 0) {
		printf("Bail out! fork: %s\n", strerror(errno));
		exit(1);
	}
	if (!pid) {
		setpgid(0, 0);
		child(program);
	}
	setpgid(pid, pid);
	end = await(pid);
	kill(-pid, SIGKILL);
	overflows += !kcov_read(coverage);
	executed++;
	log_check();
	return end;
}

/* Whether @has has all that is in @wanted. */
static int covers(const uint8_t *has, const uint8_t *wanted, unsigned int bytes)
{
	unsigned int i;

	for (i = 0; i < bytes; i++)
		if (wanted[i] & ~has[i])
			return 0;
	return 1;
}

/* @new: what is in @coverage and was never seen. Returns how much it is. */
static unsigned int is_new(const struct coverage *coverage, struct coverage *new)
{
	unsigned int i;

	for (i = 0; i < sizeof(seen.steps); i++)
		new->steps[i] = coverage->steps[i] & ~seen.steps[i];
	for (i = 0; i < sizeof(seen.places); i++)
		new->places[i] = coverage->places[i] & ~seen.places[i];
	return count_bits(new->steps, MAX_STEPS) + count_bits(new->places, MAX_PLACES);
}

static void see(const struct coverage *coverage)
{
	unsigned int i;

	for (i = 0; i < sizeof(seen.steps); i++)
		seen.steps[i] |= coverage->steps[i];
	for (i = 0; i < sizeof(seen.places); i++)
		seen.places[i] |= coverage->places[i];
}

/* Leave out calls without which it still reaches the places that are @wanted. */
static void minimise(struct program *program, const struct coverage *wanted)
{
	static struct coverage coverage;
	struct program less;
	unsigned int i = program->n;

	while (i--) {
		less = *program;
		program_remove(&less, i, 1);
		execute(&less, &coverage);
		if (covers(coverage.places, wanted->places, sizeof(wanted->places)))
			*program = less;
	}
}

/* Run it; if it is the first to reach something, keep it, as short as may be. */
static void try(struct program *program)
{
	static struct coverage coverage, new;

	execute(program, &coverage);
	if (!is_new(&coverage, &new))
		return;
	see(&coverage);
	/* Costs as many runs as it has calls: not for another way to known places. */
	if (count_bits(new.places, MAX_PLACES))
		minimise(program, &new);
	corpus_add(program);
}

static void progress(double begin, const char *what)
{
	printf("# %5.0f s: %s, %lu programs run, %u kept, %u places, %u steps\n", now() - begin,
	       what, executed, corpus_count(), count_bits(seen.places, MAX_PLACES),
	       count_bits(seen.steps, MAX_STEPS));
	if (ended[BY_ALARM] || ended[BY_KILL] || overflows)
		printf("#          %lu ended by their alarm, %lu killed, %lu not traced to their end\n",
		       ended[BY_ALARM], ended[BY_KILL], overflows);
	fflush(stdout);
}

static void fuzz(double begin, double seconds)
{
	struct program program;
	double next = 0;

	while (now() - begin < seconds) {
		if (now() >= next) {
			progress(begin, "fuzzing");
			next = now() + 10;
		}
		if (!corpus_count() || !random_below(FRESH)) {
			program_make(&program);
		} else {
			program = *corpus_get(random_below(corpus_count()));
			program_mutate(&program, corpus_get(random_below(corpus_count())));
		}
		try(&program);
	}
}

/* The few that reach all places: each run once more, the most useful first. */
static void reduce(double begin)
{
	static struct coverage all, best, new;
	struct program program;
	unsigned int i, n = corpus_count(), gain, most, which = 0;
	struct coverage *each = calloc(n, sizeof(*each));

	progress(begin, "reducing the corpus");
	for (i = 0; i < n; i++)
		execute(corpus_get(i), each + i);
	seen = all;
	do {
		most = 0;
		for (i = 0; i < n; i++) {
			is_new(each + i, &new);
			gain = count_bits(new.places, MAX_PLACES);
			if (gain > most) {
				most = gain;
				which = i;
				best = new;
			}
		}
		if (most) {
			see(each + which);
			program = *corpus_get(which);
			minimise(&program, &best);
			corpus_print(&program);
		}
	} while (most);
	progress(begin, "reduced");
	free(each);
}

/* A program a file: run as they are. With TAP, each has to come to its own end. */
static int replay(int argc, char **argv, int times, int tap)
{
	static struct coverage coverage;
	struct program program;
	int i, j, bad = 0, late;

	if (tap)
		printf("1..%d\n", argc + 1);
	for (i = 0; i < argc; i++) {
		corpus_load(argv[i], &program);
		for (j = 0, late = 0; j < times; j++) {
			late += execute(&program, &coverage) != ENDED;
			see(&coverage);
		}
		if (tap)
			printf("%s %d %s\n", late ? "not ok" : "ok", i + 1, argv[i]);
		else
			corpus_add(&program);
		bad += late;
	}
	fflush(stdout);
	return bad;
}

/* A corpus, or a fuzzer, that does not see the module finds nothing. */
static int judge_places(int number, int tap)
{
	unsigned int places = count_bits(seen.places, MAX_PLACES);

	printf("# %u places were reached, %u are asked for\n", places, LEAST_PLACES);
	if (tap)
		printf("%s %d the corpus reaches the module\n",
		       places >= LEAST_PLACES ? "ok" : "not ok", number);
	else if (places < LEAST_PLACES)
		printf("Bail out! the corpus does not reach the module\n");
	return places < LEAST_PLACES;
}

static void help(void)
{
	puts("usage: fuzz [--seed N] [--seconds N] [--ring DISK] [--print-corpus] FILE...\n"
	     "       fuzz --replay TIMES [--tap] FILE...\n"
	     "Run the programs in FILEs, then changed ones for so many seconds (600), in a\n"
	     "kernel with KCOV; or only replay them, with TAP output.");
	exit(2);
}

int main(int argc, char **argv)
{
	unsigned long seed = time(NULL) ^ getpid(), seconds = 600, times = 0;
	int print = 0, tap = 0, bad, i;
	double begin = now();

	for (i = 1; i < argc && argv[i][0] == '-'; i++) {
		if (!strcmp(argv[i], "--print-corpus")) {
			print = 1;
			continue;
		}
		if (!strcmp(argv[i], "--tap")) {
			tap = 1;
			continue;
		}
		if (i + 1 == argc)
			help();
		if (!strcmp(argv[i], "--seed"))
			seed = strtoul(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--seconds"))
			seconds = strtoul(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--replay"))
			times = strtoul(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--ring"))
			log_ring(argv[++i]);
		else
			help();
	}
	log_open();
	kcov_open();
	bad = replay(argc - i, argv + i, times ?: 1, tap);
	if (tap)
		return judge_places(argc - i + 1, tap) || bad;
	if (times) {
		progress(begin, "replayed");
		return 0;
	}
	if (judge_places(0, tap))
		return 1;
	printf("# seed %lu\n", seed);
	random_seed(seed);
	fuzz(begin, seconds);
	progress(begin, "done");
	if (print)
		reduce(begin);
	return 0;
}
