// SPDX-License-Identifier: GPL-2.0
/*
 * kcov.c - KCOV, for the module's text alone
 */
#include <fcntl.h>
#include <linux/kcov.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kcov.h"

#define ENTRIES		(256u << 10)	/* of the whole kernel, in a program */
#define KERNEL_TEXT	0xffffffff81000000ul	/* where it is linked */

static int files[KCOV_THREADS];
static uint64_t *areas[KCOV_THREADS];
static uint64_t text_begin, text_end;

static void fail(const char *what)
{
	printf("Bail out! %s: is this a kernel with CONFIG_KCOV, and avm loaded?\n", what);
	exit(1);
}

/* KCOV tells addresses as they would be if the kernel had not been moved. */
static unsigned long kernel_moved_by(void)
{
	FILE *file = fopen("/proc/kallsyms", "r");
	unsigned long address, text = 0;
	char line[512], name[256];

	while (file && !text && fgets(line, sizeof(line), file))
		if (sscanf(line, "%lx %*c %255s", &address, name) == 2 &&
		    !strcmp(name, "_text"))
			text = address;
	if (file)
		fclose(file);
	if (!text)
		fail("no _text in /proc/kallsyms");
	return text - KERNEL_TEXT;
}

/* The line of the module: name size refs by state address. */
static void find_text(void)
{
	FILE *file = fopen("/proc/modules", "r");
	char line[256], name[64];
	unsigned long size, address;

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%63s %lu %*s %*s %*s %lx", name, &size, &address) == 3 &&
		    !strcmp(name, "avm")) {
			text_begin = address - kernel_moved_by();
			text_end = text_begin + size;
		}
	}
	if (file)
		fclose(file);
	if (!text_begin || text_end - text_begin > MAX_PLACES)
		fail("no address of the module in /proc/modules");
}

void kcov_open(void)
{
	int i;

	find_text();
	for (i = 0; i < KCOV_THREADS; i++) {
		files[i] = open("/sys/kernel/debug/kcov", O_RDWR | O_CLOEXEC);
		if (files[i] < 0 || ioctl(files[i], KCOV_INIT_TRACE, ENTRIES))
			fail("no /sys/kernel/debug/kcov");
		areas[i] = mmap(NULL, ENTRIES * sizeof(uint64_t), PROT_READ | PROT_WRITE,
				MAP_SHARED, files[i], 0);
		if (areas[i] == MAP_FAILED)
			fail("KCOV cannot be mapped");
	}
}

/* Until the thread ends. Returns whether it does: of children only one at a time. */
bool kcov_begin(enum kcov_thread thread)
{
	return !ioctl(files[thread], KCOV_ENABLE, KCOV_TRACE_PC);
}

void kcov_reset(void)
{
	int i;

	for (i = 0; i < KCOV_THREADS; i++)
		__atomic_store_n(areas[i], 0, __ATOMIC_SEQ_CST);
}

/* Returns whether all was traced, or there was no room for it. */
bool kcov_read(struct coverage *coverage)
{
	bool all = true;
	uint32_t place, last, hash;
	uint64_t i, n;
	int thread;

	memset(coverage, 0, sizeof(*coverage));
	for (thread = 0; thread < KCOV_THREADS; thread++) {
		n = __atomic_load_n(areas[thread], __ATOMIC_SEQ_CST);
		last = 0;
		all = all && n < ENTRIES - 1;
		for (i = 1; i <= n && i < ENTRIES; i++) {
			if (areas[thread][i] < text_begin || areas[thread][i] >= text_end)
				continue;
			place = areas[thread][i] - text_begin;
			hash = (last * 0x9e3779b1u ^ place) * 0x85ebca6bu;
			set_bit(coverage->places, place);
			set_bit(coverage->steps, hash >> 16);
			last = place;
		}
	}
	return all;
}
