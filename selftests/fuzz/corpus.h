/* SPDX-License-Identifier: GPL-2.0 */
#ifndef FUZZ_CORPUS_H
#define FUZZ_CORPUS_H

#include "program.h"

unsigned int corpus_count(void);
const struct program *corpus_get(unsigned int i);
void corpus_add(const struct program *program);
void corpus_load(const char *path, struct program *program);
void corpus_print(const struct program *program);

#endif /* FUZZ_CORPUS_H */
