/* SPDX-License-Identifier: GPL-2.0 */
/*
 * noted - pages that handlers have seen, for peers that find pages by traps
 */
#ifndef NOTED_H
#define NOTED_H

#include <stdbool.h>
#include <stdint.h>

/* From now on, pages of this region; none has been seen. */
void noted_begin(void *region, unsigned long pages);
/* In a handler. False where the page is none of them: a fault of our own. */
bool noted(char *page);
/* In a handler: it cannot go on as it should. noted_trouble() says why. */
void noted_fail(int error);
/* How many, and which; none has been seen then. */
unsigned long noted_take(uint64_t *bitmap);
/* Why what is noted is not to be believed, or NULL; asked once. */
const char *noted_trouble(void);

#endif /* NOTED_H */
