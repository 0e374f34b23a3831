/* SPDX-License-Identifier: MIT */
/*
 * Which pages are to go out: the clock algorithm over the pages of a file.
 *
 * This part knows bits, not memory: it never touches a page, makes no system
 * call and takes no lock, so that a test can run it against made-up bits.
 */
#ifndef PAGER_CLOCK_H
#define PAGER_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Victims that one call picks at most. */
#define CLOCK_BATCH	64
/*
 * Pages whose bits are looked at in one go at most, and of these, pages that
 * are in; and words for as many. Every look at pages that were used costs a
 * TLB flush: so few looks, each at many.
 */
#define CLOCK_WINDOW	4096
#define CLOCK_LOOK	(4 * CLOCK_BATCH)
#define CLOCK_WORDS	(CLOCK_WINDOW / 64)

/**
 * clock_look_fn - tell the accessed and dirty bits of a window of pages
 * @arg: what clock_pick() was given
 * @first: first page
 * @count: pages, at most CLOCK_WINDOW
 * @accessed: answer, bit n is page @first + n: used since this was last asked;
 *	the asking clears it
 * @dirty: answer likewise: written since it came in; the asking does not
 *	clear it
 *
 * Return: 0 or -errno.
 */
typedef int (*clock_look_fn)(void *arg, size_t first, size_t count,
			     uint64_t *accessed, uint64_t *dirty);

/**
 * struct clock - the pages that are in, as a ring with a hand
 * @resident: a bit a page: it is in
 * @used: a bit a page: it was used, or came in, since the hand last passed;
 *	as far as is known here, that is, without what the next look will tell
 * @pages: pages of the file
 * @count: pages that are in
 * @hand: the page where the next search begins
 */
struct clock {
	uint64_t *resident;
	uint64_t *used;
	size_t pages;
	size_t count;
	size_t hand;
};

int clock_init(struct clock *clock, size_t pages);
void clock_free(struct clock *clock);

bool clock_has(const struct clock *clock, size_t page);
void clock_add(struct clock *clock, size_t page);

/**
 * clock_pick - choose pages that are to go out, and take them off the ring
 * @clock: the ring
 * @want: how many, at most CLOCK_BATCH
 * @victims: answer, room for @want, in ascending order
 * @look: tells the bits
 * @arg: for @look
 *
 * A page that was used since the hand last passed is spared once. Of the
 * others the clean ones go first: a dirty one is only taken when the hand has
 * met @want of them, or has gone round twice, without finding clean ones
 * enough. When every page is in use all the time, some are taken all the
 * same.
 *
 * Return: how many, at least one unless the ring is empty; or what @look
 * failed with, and then the ring is as it was but for the hand.
 */
int clock_pick(struct clock *clock, size_t want, size_t *victims,
	       clock_look_fn look, void *arg);

#endif /* PAGER_CLOCK_H */
