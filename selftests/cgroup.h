/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A memory cgroup for tests of what happens at its limit. The test makes it and
 * removes it; its child enters it.
 */
#ifndef CGROUP_H
#define CGROUP_H

#include "avmtest.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define GROUP	"/sys/fs/cgroup/avmtest"

static inline void put(const char *file, const char *text)
{
	int fd = open(file, O_WRONLY);

	must(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

/* A number from a file: the first, or the one after @key. */
static inline long get(const char *file, const char *key)
{
	char text[8192] = "", *at = text;
	int fd = open(file, O_RDONLY);

	must(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	if (key) {
		at = strstr(text, key);
		must(at);
		at += strlen(key);
	}
	return strtol(at, NULL, 10);
}

/*
 * In the group, with all of the program's own memory in place, so that what
 * hits the limit is avm's. (A page of the program's own would be a reason to
 * kill it.) @room is what the group may take on top.
 */
static inline void group_enter(unsigned long room)
{
	volatile char stack[64 * 1024];
	char text[32];
	unsigned int i;

	for (i = 0; i < sizeof(stack); i += 1024)
		stack[i] = 1;
	put(GROUP "/cgroup.procs", "0");
	must(!mlockall(MCL_CURRENT | MCL_FUTURE));
	snprintf(text, sizeof(text), "%lu", get(GROUP "/memory.current", NULL) + room);
	put(GROUP "/memory.max", text);
}

#endif /* CGROUP_H */
