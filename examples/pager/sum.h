/* SPDX-License-Identifier: MIT */
/*
 * SHA-256, by two programs that share no code: Nettle's, over memory, and
 * sha256sum(1), over the file.
 */
#ifndef PAGER_SUM_H
#define PAGER_SUM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* A SHA-256 in hexadecimal digits, with its final zero. */
#define SUM_TEXT	65

/* Called every so often; a false answer ends the sum. */
typedef bool (*sum_tick_fn)(void *arg, size_t done);

/* Return: true, or false when @tick ended it. */
bool sum_memory(const void *from, size_t size, char text[SUM_TEXT],
		sum_tick_fn tick, void *arg);

/* sha256sum(1), running beside this program. */
struct sum_child {
	pid_t pid;
	int from;
};

/* Return: 0, or -errno after the reason was told on the standard error. */
int sum_start(struct sum_child *child, const char *path);
int sum_wait(struct sum_child *child, char text[SUM_TEXT]);
void sum_stop(struct sum_child *child);

#endif /* PAGER_SUM_H */
