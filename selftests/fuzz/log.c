// SPDX-License-Identifier: GPL-2.0
/*
 * log.c - which programs ran last, and what the kernel said of it
 *
 * The ring is written past any cache before a program runs, so that a machine
 * that dies of it has told: a number and the text, each MAX_TEXT bytes, one
 * behind the other. tools/fuzz reads it.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

#define RING	8

static int kernel = -1, ring = -1;
static unsigned long number;
static char last[RING][MAX_TEXT] __attribute__((aligned(4096)));

void log_open(void)
{
	kernel = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (kernel < 0) {
		puts("Bail out! cannot read /dev/kmsg");
		exit(1);
	}
	lseek(kernel, 0, SEEK_END);
}

void log_ring(const char *disk)
{
	ring = open(disk, O_WRONLY | O_DIRECT | O_CLOEXEC);
	if (ring < 0) {
		printf("Bail out! cannot write to %s\n", disk);
		exit(1);
	}
}

void log_program(const struct program *program)
{
	char *text = last[number % RING];
	int n;

	memset(text, 0, MAX_TEXT);
	n = snprintf(text, MAX_TEXT, "# program %lu\n", number);
	program_print(program, text + n, MAX_TEXT - n);
	if (ring >= 0 &&
	    pwrite(ring, text, MAX_TEXT, number % RING * MAX_TEXT) != MAX_TEXT) {
		puts("Bail out! the ring cannot be written");
		exit(1);
	}
	number++;
}

/* The last programs, the latest at the end. */
void log_fail(const char *why)
{
	unsigned long i = number > RING ? number - RING : 0;

	printf("not ok %s\n", why);
	for (; i < number; i++)
		puts(last[i % RING]);
	fflush(stdout);
	exit(1);
}

/* The host judges the whole log; here, only to stop where it happens. */
void log_check(void)
{
	static const char *const bad[] = {
		"WARNING: ", "BUG: ", "Call Trace", "KASAN", "INFO: ", "UBSAN", "ODEBUG",
		"corruption", "Bad page", "Out of memory",
	};
	char line[2048];
	unsigned int i;
	ssize_t n;

	while ((n = read(kernel, line, sizeof(line) - 1)) > 0) {
		line[n] = 0;
		for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
			if (strstr(line, bad[i])) {
				printf("# kernel: %s\n", line);
				usleep(500000); /* for the rest of it */
				log_fail("the kernel complains");
			}
		}
	}
}
