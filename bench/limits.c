// SPDX-License-Identifier: GPL-2.0
/*
 * limits - give every peer the room that its manual knows of: see limits.h
 *
 * With vm.max_map_count at its default of 65,530, mprotect(2) ends at some
 * 32,000 scattered pages. A reader might call that unfair, so it is raised for
 * the run, and the table "memory" tells what it takes then.
 *
 * A child puts it back: it waits for the end of a pipe that ends with us,
 * whatever we die of.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bench.h"
#include "limits.h"

#define MAPS		"/proc/sys/vm/max_map_count"
#define MAPS_WANTED	4200000

static long read_number(const char *file)
{
	FILE *f = fopen(file, "r");
	long value = -1;

	if (f) {
		if (fscanf(f, "%ld", &value) != 1)
			value = -1;
		fclose(f);
	}
	return value;
}

static bool write_number(const char *file, long value)
{
	FILE *f = fopen(file, "w");

	if (!f)
		return false;
	fprintf(f, "%ld\n", value);
	return !fclose(f);
}

/* In a child, in a session of its own: what ends us is not to end it. */
static void put_back_at_end(long maps)
{
	int ends[2];
	pid_t pid;
	char c;

	check(!pipe(ends), "pipe");
	pid = fork();
	check(pid >= 0, "fork");
	if (pid) {
		close(ends[0]);
		return;
	}
	setsid();
	close(ends[1]);
	close(STDIN_FILENO);
	close(STDOUT_FILENO);
	close(STDERR_FILENO);
	while (read(ends[0], &c, 1) > 0)
		;
	write_number(MAPS, maps);
	_exit(0);
}

static void locked_raise(void)
{
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };

	/* As far as one may. */
	if (setrlimit(RLIMIT_MEMLOCK, &all) && !getrlimit(RLIMIT_MEMLOCK, &all)) {
		all.rlim_cur = all.rlim_max;
		setrlimit(RLIMIT_MEMLOCK, &all);
	}
}

void limits_raise(void)
{
	long maps = read_number(MAPS);

	locked_raise();
	if (maps < 0 || maps >= MAPS_WANTED)
		return;
	if (!options.raise_limits) {
		printf("vm.max_map_count: %ld (--raise-limits raises it for the run)\n",
		       maps);
		return;
	}
	fflush(stdout);
	put_back_at_end(maps);
	if (!write_number(MAPS, MAPS_WANTED))
		fail("--raise-limits: cannot raise vm.max_map_count: be root");
	printf("vm.max_map_count: %d for this run, for mprotect's sake, and %ld again after\n",
	       MAPS_WANTED, maps);
}
