/* SPDX-License-Identifier: GPL-2.0 */
/*
 * kcov.h - which places of the module a program reaches
 *
 * A place is where the compiler has put a call of KCOV in the module's text. A
 * step is one place after another, hashed: it tells different ways apart.
 */
#ifndef FUZZ_KCOV_H
#define FUZZ_KCOV_H

#include <stdbool.h>
#include <stdint.h>

#define MAX_PLACES	(1u << 20)	/* bytes of the module's text */
#define MAX_STEPS	(1u << 16)

enum kcov_thread { KCOV_FIRST, KCOV_SECOND, KCOV_CHILD, KCOV_THREADS };

struct coverage {
	uint8_t places[MAX_PLACES / 8];
	uint8_t steps[MAX_STEPS / 8];
};

void kcov_open(void);
bool kcov_begin(enum kcov_thread thread);
void kcov_reset(void);
bool kcov_read(struct coverage *coverage);

static inline int test_bit(const uint8_t *bits, uint32_t i)
{
	return bits[i / 8] >> (i % 8) & 1;
}

static inline void set_bit(uint8_t *bits, uint32_t i)
{
	bits[i / 8] |= 1u << (i % 8);
}

static inline unsigned int count_bits(const uint8_t *bits, uint32_t n)
{
	unsigned int sum = 0;
	uint32_t i;

	for (i = 0; i < n / 8; i++)
		sum += __builtin_popcount(bits[i]);
	return sum;
}

#endif /* FUZZ_KCOV_H */
