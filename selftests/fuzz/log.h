/* SPDX-License-Identifier: GPL-2.0 */
#ifndef FUZZ_LOG_H
#define FUZZ_LOG_H

#include "program.h"

void log_open(void);
void log_ring(const char *disk);
void log_program(const struct program *program);
void log_check(void);
void log_fail(const char *why);

#endif /* FUZZ_LOG_H */
