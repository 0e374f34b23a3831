// SPDX-License-Identifier: GPL-2.0
/*
 * run.c - carry out the calls of a program, in the process made for it
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "calls.h"
#include "kcov.h"
#include "run.h"
#include "world.h"

struct part {
	const struct program *program;
	unsigned int from;
	unsigned int to;
};

static void run_call(const struct call *call)
{
	uint64_t args[MAX_ARGS] = { 0 };
	unsigned int i;

	for (i = 0; i < call_types[call->type].n; i++)
		args[i] = world_value(call->args + i);
	call_types[call->type].run(args);
}

static void run_part(const struct part *part)
{
	unsigned int i;

	for (i = part->from; i < part->to; i++)
		run_call(part->program->calls + i);
}

static void *thread_main(void *arg)
{
	if (!kcov_begin(KCOV_SECOND))
		abort();
	run_part(arg);
	return NULL;
}

static void child_main(const struct part *part)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(PROGRAM_SECONDS);
	kcov_begin(KCOV_CHILD);
	run_part(part);
	_exit(0);
}

static int is(const struct call *call, const char *name)
{
	return !strcmp(call_types[call->type].name, name);
}

/*
 * "thread N" has the next N calls done by a thread, "fork N" by a child, while
 * those after them are done here. There is one thread at most. All are waited
 * for.
 */
void program_run(const struct program *program)
{
	struct part part = { .program = program }, here = part;
	pthread_t thread;
	int threads = 0;
	unsigned int i, n;

	for (i = 0; i < program->n; i++) {
		const struct call *call = program->calls + i;

		part.from = i + 1;
		n = call->args[0].number % MAX_CALLS;
		part.to = part.from + n < program->n ? part.from + n : program->n;
		if (is(call, "thread") && !threads) {
			threads = !pthread_create(&thread, NULL, thread_main, &part);
			here.from = part.to;
			here.to = program->n;
			run_part(&here);
			break;
		}
		if (is(call, "fork")) {
			if (!fork())
				child_main(&part);
			i = part.to - 1;
			continue;
		}
		run_call(call);
	}
	if (threads)
		pthread_join(thread, NULL);
	while (wait(NULL) > 0)
		;
}
