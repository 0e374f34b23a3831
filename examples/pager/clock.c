// SPDX-License-Identifier: MIT
/*
 * The clock: an approximation of "least recently used" that needs no more
 * than one bit a page, the one that the CPU sets when it uses the page.
 *
 * The hand goes round the file in the order of addresses, not in the order in
 * which the pages came in. So the pages that it looks at together lie side by
 * side: one scan tells the bits of a whole window, and what goes out together
 * is often one run of the file, one range to close and one write to the disk.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

static bool bit_get(const uint64_t *map, size_t n)
{
	return map[n / 64] >> (n % 64) & 1;
}

static void bit_set(uint64_t *map, size_t n)
{
	map[n / 64] |= 1ull << (n % 64);
}

static void bit_clear(uint64_t *map, size_t n)
{
	map[n / 64] &= ~(1ull << (n % 64));
}

/* The first bit set in [from, end), or end. */
static size_t bit_next(const uint64_t *map, size_t from, size_t end)
{
	while (from < end) {
		uint64_t word = map[from / 64] >> (from % 64);

		if (word) {
			from += __builtin_ctzll(word);
			return from < end ? from : end;
		}
		from = (from / 64 + 1) * 64;
	}
	return end;
}

int clock_init(struct clock *clock, size_t pages)
{
	size_t words = pages / 64 + 1;

	memset(clock, 0, sizeof(*clock));
	clock->pages = pages;
	clock->resident = calloc(words, sizeof(uint64_t));
	clock->used = calloc(words, sizeof(uint64_t));
	if (!clock->resident || !clock->used) {
		clock_free(clock);
		return -ENOMEM;
	}
	return 0;
}

void clock_free(struct clock *clock)
{
	free(clock->resident);
	free(clock->used);
	memset(clock, 0, sizeof(*clock));
}

bool clock_has(const struct clock *clock, size_t page)
{
	return bit_get(clock->resident, page);
}

/*
 * A page that came in counts as used, or it could go out before anyone has
 * seen it: the thread that trapped on it has still to go back and try again.
 */
void clock_add(struct clock *clock, size_t page)
{
	bit_set(clock->resident, page);
	bit_set(clock->used, page);
	clock->count++;
}

static void clock_remove(struct clock *clock, size_t page)
{
	bit_clear(clock->resident, page);
	bit_clear(clock->used, page);
	clock->count--;
}

static void clock_put_back(struct clock *clock, const size_t *pages, size_t count)
{
	while (count--) {
		bit_set(clock->resident, pages[count]);
		clock->count++;
	}
}

/*
 * The next window at the hand, which is moved to its first page: it begins
 * and ends with one that is in, and has at most CLOCK_LOOK of them.
 */
static size_t next_window(struct clock *clock)
{
	size_t max = CLOCK_LOOK;
	size_t last, page, end;

	clock->hand = bit_next(clock->resident, clock->hand, clock->pages);
	if (clock->hand == clock->pages)
		clock->hand = bit_next(clock->resident, 0, clock->pages);

	end = clock->pages;
	if (end - clock->hand > CLOCK_WINDOW)
		end = clock->hand + CLOCK_WINDOW;
	for (page = last = clock->hand; page < end && max--;) {
		last = page;
		page = bit_next(clock->resident, page + 1, end);
	}
	return last - clock->hand + 1;
}

/*
 * What a search has met so far: pages not used, taken off the ring. @want is
 * how many of either kind are enough.
 */
struct search {
	size_t clean[CLOCK_BATCH];
	size_t dirty[CLOCK_BATCH];
	size_t n_clean;
	size_t n_dirty;
	size_t want;
	size_t seen;
};

static bool enough(const struct search *s)
{
	return s->n_clean == s->want || s->n_dirty == s->want;
}

/*
 * The looking has cleared the accessed bits of all of the window, and the
 * search may end in the middle of it. So they are all taken over first: a bit
 * that is cleared and not noted would be a use forgotten.
 */
static void note_used(struct clock *clock, size_t count, const uint64_t *accessed)
{
	size_t n;

	for (n = bit_next(accessed, 0, count); n < count; n = bit_next(accessed, n + 1, count))
		bit_set(clock->used, clock->hand + n);
}

static void judge_window(struct clock *clock, struct search *s, size_t count,
			 const uint64_t *dirty, bool spare)
{
	size_t first = clock->hand, end = first + count;
	size_t page;

	for (page = first; page < end && !enough(s); page = clock->hand) {
		clock->hand = bit_next(clock->resident, page + 1, end);
		s->seen++;
		if (spare && bit_get(clock->used, page)) {
			bit_clear(clock->used, page);
			continue;
		}
		clock_remove(clock, page);
		if (bit_get(dirty, page - first))
			s->dirty[s->n_dirty++] = page;
		else
			s->clean[s->n_clean++] = page;
	}
	if (clock->hand == clock->pages)
		clock->hand = 0;
}

/* Look at pages, at most some more than limit, until enough are found. */
static int search(struct clock *clock, struct search *s, size_t limit, bool spare,
		  clock_look_fn look, void *arg)
{
	uint64_t accessed[CLOCK_WORDS], dirty[CLOCK_WORDS];

	while (clock->count && s->seen < limit && !enough(s)) {
		size_t count = next_window(clock);
		int err;

		err = look(arg, clock->hand, count, accessed, dirty);
		if (err)
			return err;
		note_used(clock, count, accessed);
		judge_window(clock, s, count, dirty, spare);
	}
	return 0;
}

/* At most a batch, and no memory may be asked for in a trap: no qsort(). */
static void sort(size_t *pages, size_t count)
{
	size_t i, j;

	for (i = 1; i < count; i++) {
		size_t page = pages[i];

		for (j = i; j > 0 && pages[j - 1] > page; j--)
			pages[j] = pages[j - 1];
		pages[j] = page;
	}
}

int clock_pick(struct clock *clock, size_t want, size_t *victims,
	       clock_look_fn look, void *arg)
{
	struct search s = { .want = want };
	size_t n_dirty;
	int err;

	if (s.want > CLOCK_BATCH)
		s.want = CLOCK_BATCH;

	err = search(clock, &s, 2 * clock->count, true, look, arg);
	if (!err && !s.n_clean && !s.n_dirty)
		err = search(clock, &s, s.seen + s.want, false, look, arg);
	if (err) {
		clock_put_back(clock, s.clean, s.n_clean);
		clock_put_back(clock, s.dirty, s.n_dirty);
		return err;
	}

	/* Clean ones first; of the dirty ones those that the hand met first. */
	n_dirty = s.want - s.n_clean;
	if (n_dirty > s.n_dirty)
		n_dirty = s.n_dirty;
	memcpy(victims, s.clean, s.n_clean * sizeof(*victims));
	memcpy(victims + s.n_clean, s.dirty, n_dirty * sizeof(*victims));
	clock_put_back(clock, s.dirty + n_dirty, s.n_dirty - n_dirty);
	sort(victims, s.n_clean + n_dirty);
	return s.n_clean + n_dirty;
}
