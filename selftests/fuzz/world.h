/* SPDX-License-Identifier: GPL-2.0 */
/*
 * world.h - what is there while a fuzz program runs: descriptors, views,
 * memory for arguments, and a way out of accesses that are denied
 */
#ifndef FUZZ_WORLD_H
#define FUZZ_WORLD_H

#include <setjmp.h>
#include <signal.h>
#include <stdint.h>

#include "program.h"

#define PAGE		4096ul
#define MEMORY_PAGES	16

struct world {
	int device;
	int other;
	volatile int spaces[N_SPACES];
	volatile uint64_t views[N_VIEWS];
	char *memory;
	char *readonly;
};

extern struct world world;
extern __thread sigjmp_buf way_out;
extern __thread volatile sig_atomic_t armed;
extern char upcall_entry[];

void world_make(void);
uint64_t world_value(const struct value *value);
void world_signal(unsigned int how);

/* Carry out a statement that may be denied; what is left of it is left out. */
#define attempt(statement) do {						\
	armed = 1;							\
	if (!sigsetjmp(way_out, 1)) {					\
		statement;						\
	}								\
	armed = 0;							\
} while (0)

#endif /* FUZZ_WORLD_H */
