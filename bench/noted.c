// SPDX-License-Identifier: GPL-2.0
/*
 * noted - pages that handlers have seen: see noted.h
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "noted.h"

static uint64_t *bits;
static char *first;
static unsigned long count, found;
static volatile int failed;

static size_t size(void)
{
	return (count + 63) / 64 * sizeof(*bits);
}

void noted_begin(void *region, unsigned long pages)
{
	if (pages != count) {
		free(bits);
		count = pages;
		bits = malloc(size());
		check(bits, "malloc");
	}
	first = region;
	memset(bits, 0, size());
	found = 0;
	failed = 0;
}

bool noted(char *page)
{
	unsigned long n = (page - first) / PAGE;

	if (page < first || n >= count)
		return false;
	bits[n / 64] |= 1ull << (n % 64);
	found++;
	return true;
}

void noted_fail(int error)
{
	failed = error;
}

unsigned long noted_take(uint64_t *bitmap)
{
	unsigned long n = found;

	memcpy(bitmap, bits, size());
	memset(bits, 0, size());
	found = 0;
	return n;
}

const char *noted_trouble(void)
{
	int error = failed;

	failed = 0;
	if (error == ENOMEM)
		return "ENOMEM: vm.max_map_count (--raise-limits)";
	return error ? strerror(error) : NULL;
}
