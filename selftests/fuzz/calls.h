/* SPDX-License-Identifier: GPL-2.0 */
/*
 * calls.h - the calls that fuzz programs are made of
 */
#ifndef FUZZ_CALLS_H
#define FUZZ_CALLS_H

#include "program.h"

/* What an argument is, for who makes up a value. */
enum hint {
	H_SPACE_SLOT,	/* number of a slot that the call fills */
	H_VIEW_SLOT,
	H_SPACE,	/* a descriptor */
	H_DEVICE,
	H_WHERE,	/* address of a structure */
	H_SIZE,		/* of a structure: call_type.size */
	H_FLAGS,
	H_ADDR,		/* in a view */
	H_LENGTH,
	H_OFFSET,	/* in a space */
	H_PROT,
	H_COUNT,
	H_BUFFER,	/* address of an array */
	H_BYTES,	/* of a buffer */
	H_MATCH,	/* AVM_PAGE_* */
	H_ZERO,		/* a reserved field */
	H_CODE,
	H_SMALL,
	H_COMMAND,	/* of an ioctl */
};

struct call_type {
	const char *name;
	long (*run)(const uint64_t *args);
	uint16_t size;			/* of the structure, or 0 */
	uint8_t n;
	uint8_t hints[MAX_ARGS];
};

extern const struct call_type call_types[];
extern const unsigned int n_call_types;

void program_run(const struct program *program);

#endif /* FUZZ_CALLS_H */
