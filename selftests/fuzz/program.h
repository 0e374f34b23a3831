/* SPDX-License-Identifier: GPL-2.0 */
/*
 * program.h - a fuzz program: a few calls with arguments, and its text
 *
 * An argument is a number, or a number added to something that is known only
 * when the program runs: a descriptor, the address of a view, of scratch memory.
 *
 *	create 0 d m 0x10 0 0x40000	# into slot 0: s0
 *	mmap 0 0 0x40000 3 1 s0 0	# into slot 0: v0
 *	protect-page s0 v0+0x3000 1
 *	touch v0+0x3000 1 1
 */
#ifndef FUZZ_PROGRAM_H
#define FUZZ_PROGRAM_H

#include <stddef.h>
#include <stdint.h>

#define MAX_ARGS	12
#define MAX_CALLS	24
#define N_SPACES	4
#define N_VIEWS		8
#define MAX_TEXT	8192	/* of a program */

enum symbol {
	SYM_NONE,
	SYM_DEVICE,			/* a descriptor of /dev/avm */
	SYM_OTHER,			/* one of something else */
	SYM_SPACE,			/* s0 to s3: of a space */
	SYM_VIEW = SYM_SPACE + N_SPACES,	/* v0 to v7: address of a view */
	SYM_MEMORY = SYM_VIEW + N_VIEWS,	/* scratch memory; nothing behind it */
	SYM_READONLY,			/* a page that is read-only */
	SYM_CODE,			/* what AVM_IOC_TRAP may register */
	N_SYMBOLS,
};

struct value {
	uint8_t symbol;
	uint64_t number;
};

struct call {
	uint8_t type;			/* index in call_types */
	struct value args[MAX_ARGS];
};

struct program {
	unsigned int n;
	struct call calls[MAX_CALLS];
};

size_t program_print(const struct program *program, char *text, size_t size);
const char *program_parse(struct program *program, const char *text);

#endif /* FUZZ_PROGRAM_H */
