/* SPDX-License-Identifier: GPL-2.0 */
/*
 * mutate.h - make up programs, and change them
 */
#ifndef FUZZ_MUTATE_H
#define FUZZ_MUTATE_H

#include "program.h"

void random_seed(uint64_t seed);
uint64_t random_below(uint64_t n);
void program_make(struct program *program);
void program_mutate(struct program *program, const struct program *other);
void program_remove(struct program *program, unsigned int i, unsigned int n);

#endif /* FUZZ_MUTATE_H */
