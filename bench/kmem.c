// SPDX-License-Identifier: GPL-2.0
/*
 * kmem - how much memory the kernel itself has in use: see kmem.h
 */
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench.h"
#include "kmem.h"

/* us, in which the kernel frees what it frees by RCU */
#define GRACE	100000

static glob_t shrinkers;
static int *shrinker_fds;

/* Once, as open files are in slabs themselves. Root only: else there is more noise. */
void kmem_open(void)
{
	size_t i;

	if (glob("/sys/kernel/slab/*/shrink", 0, NULL, &shrinkers))
		return;
	shrinker_fds = calloc(shrinkers.gl_pathc, sizeof(*shrinker_fds));
	check(shrinker_fds, "calloc");
	for (i = 0; i < shrinkers.gl_pathc; i++)
		shrinker_fds[i] = open(shrinkers.gl_pathv[i], O_WRONLY | O_CLOEXEC);
}

void kmem_close(void)
{
	size_t i;

	for (i = 0; i < shrinkers.gl_pathc; i++)
		if (shrinker_fds[i] >= 0)
			close(shrinker_fds[i]);
	free(shrinker_fds);
	shrinker_fds = NULL;
	globfree(&shrinkers);
	shrinkers.gl_pathc = 0;
}

/* Objects that are free, but kept at hand by a CPU, count as used until this. */
static void shrink_slabs(void)
{
	size_t i;

	for (i = 0; i < shrinkers.gl_pathc; i++)
		if (shrinker_fds[i] >= 0 && write(shrinker_fds[i], "1", 1) != 1)
			break;
}

/* Counters have parts in each CPU. Root can have them added up. */
static void refresh(void)
{
	int fd = open("/proc/sys/vm/stat_refresh", O_RDONLY | O_CLOEXEC);
	char c;

	if (fd < 0)
		return;
	while (read(fd, &c, 1) > 0)
		;
	close(fd);
}

double kmem_bytes(void)
{
	unsigned long a, b, c, sum = 0;
	bool objects;
	char line[256];
	FILE *f;

	usleep(GRACE);
	shrink_slabs();
	f = fopen("/proc/slabinfo", "r");
	objects = f;
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%*s %lu %lu %lu", &a, &b, &c) == 3)
			sum += a * c;
	if (f)
		fclose(f);
	refresh();
	f = fopen("/proc/meminfo", "r");
	check(f, "/proc/meminfo");
	while (fgets(line, sizeof(line), f))
		if ((!objects && sscanf(line, "Slab: %lu", &a) == 1) ||
		    sscanf(line, "PageTables: %lu", &a) == 1)
			sum += a * 1024;
	fclose(f);
	return sum;
}
