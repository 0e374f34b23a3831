/* SPDX-License-Identifier: GPL-2.0 */
/*
 * coverage.h - what gcc leaves in an object that counts what it executes: its
 * own data structures, of version 12 and later, which no header declares
 */
#ifndef AVM_COVERAGE_H
#define AVM_COVERAGE_H

#include <linux/types.h>

#if __GNUC__ >= 15
#define COVERAGE_KINDS	10
#elif __GNUC__ >= 14
#define COVERAGE_KINDS	9
#else
#define COVERAGE_KINDS	8
#endif
#if defined(__GNUC__) && __GNUC__ < 12
#error "the records of this compiler are not known: use gcc 12 or later"
#endif

/* The counters of one kind in a function. */
struct coverage_counters {
	unsigned int n;
	s64 *values;
};

/* One for each kind that the object uses. */
struct coverage_function {
	const void *key;
	unsigned int ident;
	unsigned int lines;
	unsigned int graph;
	struct coverage_counters counters[];
};

/* An object. @merge is NULL for kinds that it does not use. */
struct coverage_object {
	unsigned int version;
	struct coverage_object *next;
	unsigned int stamp;
	unsigned int checksum;
	const char *filename;
	void *merge[COVERAGE_KINDS];
	unsigned int n_functions;
	struct coverage_function **functions;
};

/* Both NULL: what is between them is pointers to records. */
struct coverage_records {
	struct coverage_object **first;
	struct coverage_object **last;
};

extern struct coverage_object *avm_coverage_first;
extern struct coverage_object *avm_coverage_last;
extern struct coverage_records avm_coverage_records;

void __gcov_merge_add(s64 *counters, unsigned int n);

#endif /* AVM_COVERAGE_H */
