/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How long a call keeps its CPU to itself: a thread of the highest priority
 * wakes by a timer on the same CPU and notes its longest delay. Where the clock
 * counts instructions (tools/vm/run --icount) the delay is exact, a nanosecond
 * being an instruction, and short of the true one by WATCH_PERIOD at most;
 * elsewhere it says what the machine did besides, and nothing is tested.
 */
#ifndef WATCH_H
#define WATCH_H

#include "avmtest.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <time.h>

#define WATCH_PERIOD	100000l		/* ns */
#define WATCH_MOST	5000000l	/* instructions without a reschedule */

static struct {
	pthread_t thread;
	volatile long longest;	/* ns */
	volatile long wakes;	/* looks at the clock */
	volatile bool stop;
} watch;

static inline long watch_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000l + ts.tv_nsec;
}

/* Whether a nanosecond is an instruction: a loop of a known number of them. */
static inline bool watch_is_exact(void)
{
	const long steps = 1000000;
	long n = steps, start = watch_now(), took;

	__asm__ volatile("1: dec %0\n\tjnz 1b" : "+r"(n));
	took = watch_now() - start;
	return took > 2 * steps * 0.99 && took < 2 * steps * 1.05;
}

static inline void *watch_run(void *unused)
{
	long due = watch_now(), late;
	struct timespec ts;

	while (!watch.stop) {
		due += WATCH_PERIOD;
		ts.tv_sec = due / 1000000000;
		ts.tv_nsec = due % 1000000000;
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
		late = watch_now() - due;
		watch.wakes++;
		if (late > watch.longest)
			watch.longest = late;
		/* What was missed is not made up for. */
		if (late > WATCH_PERIOD)
			due += late;
	}
	return unused;
}

/* From here on this thread and the one that watches share a CPU. */
static inline void watch_begin(void)
{
	struct sched_param param = { .sched_priority = 50 };
	pthread_attr_t attr;
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(0, &cpus);
	must(!sched_setaffinity(0, sizeof(cpus), &cpus));
	must(!pthread_attr_init(&attr));
	must(!pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED));
	must(!pthread_attr_setschedpolicy(&attr, SCHED_FIFO));
	must(!pthread_attr_setschedparam(&attr, &param));
	watch.stop = false;
	must(!pthread_create(&watch.thread, &attr, watch_run, NULL));
	pthread_attr_destroy(&attr);
}

static inline void watch_end(void)
{
	watch.stop = true;
	pthread_join(watch.thread, NULL);
}

#endif /* WATCH_H */
