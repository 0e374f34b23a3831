// SPDX-License-Identifier: MIT
/*
 * The clock against made-up bits. Prints TAP; fails closed: exit status 1
 * unless each of the tests passed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

#define PAGES	10000
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

static bool used[PAGES];
static bool written[PAGES];
static int look_result;
static size_t looks;
static size_t looked_at;

/* What the module does: tell both, clear the accessed bits. */
static int look(void *arg, size_t first, size_t count, uint64_t *accessed, uint64_t *dirty)
{
	size_t n;

	if (arg != used || !count || count > CLOCK_WINDOW || first + count > PAGES)
		return -EINVAL;
	if (look_result)
		return look_result;
	looks++;
	looked_at += count;
	memset(accessed, 0, (count + 63) / 64 * 8);
	memset(dirty, 0, (count + 63) / 64 * 8);
	for (n = 0; n < count; n++) {
		accessed[n / 64] |= (uint64_t)used[first + n] << (n % 64);
		dirty[n / 64] |= (uint64_t)written[first + n] << (n % 64);
		used[first + n] = false;
	}
	return 0;
}

static struct clock clk;
static size_t victims[CLOCK_BATCH];

static void reset(size_t pages)
{
	clock_free(&clk);
	if (clock_init(&clk, pages))
		exit(EXIT_FAILURE);
	memset(used, 0, sizeof(used));
	memset(written, 0, sizeof(written));
	look_result = 0;
	looks = 0;
	looked_at = 0;
}

static int pick(size_t want)
{
	return clock_pick(&clk, want, victims, look, used);
}

/* In and used: what a page is after its trap. */
static void use(size_t page)
{
	if (!clock_has(&clk, page))
		clock_add(&clk, page);
	used[page] = true;
}

/* Pages [first, end) are in, and the hand has been past them once. */
static void idle(size_t first, size_t end)
{
	size_t page;

	for (page = first; page < end; page++) {
		clock_add(&clk, page);
		clk.used[page / 64] &= ~(1ull << (page % 64));
	}
}

static bool ascending(int count)
{
	int n;

	for (n = 1; n < count; n++)
		if (victims[n - 1] >= victims[n])
			return false;
	return true;
}

static bool empty_ring(void)
{
	reset(100);
	return pick(8) == 0 && looks == 0;
}

static bool idle_pages_go_in_ring_order(void)
{
	reset(1000);
	idle(10, 110);
	if (pick(8) != 8 || victims[0] != 10 || victims[7] != 17)
		return false;
	return pick(8) == 8 && victims[0] == 18 && clk.count == 84 && !clock_has(&clk, 10);
}

static bool used_pages_are_spared_once(void)
{
	reset(1000);
	idle(0, 100);
	used[0] = true;
	used[3] = true;
	if (pick(4) != 4 || victims[0] != 1 || victims[1] != 2 || victims[2] != 4)
		return false;
	/* The hand is at the start again: not used since, so they go. */
	clk.hand = 0;
	return pick(2) == 2 && victims[0] == 0 && victims[1] == 3;
}

static bool fresh_pages_are_spared(void)
{
	reset(1000);
	idle(0, 10);
	clock_add(&clk, 5);
	clk.count--;
	return pick(9) == 9 && clock_has(&clk, 5) && clk.count == 1;
}

static bool clean_before_dirty(void)
{
	size_t page;
	int n;

	reset(1000);
	idle(0, 100);
	for (page = 0; page < 10; page++)
		written[page] = true;
	if (pick(16) != 16)
		return false;
	for (n = 0; n < 16; n++)
		if (written[victims[n]])
			return false;
	return clk.count == 84 && clock_has(&clk, 0);
}

static bool dirty_when_clean_ones_are_few(void)
{
	size_t page;

	reset(1000);
	idle(0, 100);
	for (page = 0; page < 100; page++)
		written[page] = page != 50 && page != 3;
	/* Sixteen dirty ones were met and one clean; fifteen dirty ones go. */
	return pick(16) == 16 && ascending(16) && victims[3] == 3 &&
	       clk.count == 84 && clock_has(&clk, 16);
}

static bool all_in_use_still_yields(void)
{
	size_t page;

	reset(200);
	for (page = 0; page < 200; page++)
		use(page);
	/* One time round clears the bits, the second finds victims. */
	if (pick(8) != 8)
		return false;
	reset(4);
	for (page = 0; page < 4; page++)
		use(page);
	return pick(64) == 4 && clk.count == 0;
}

static int look_all_used(void *arg, size_t first, size_t count, uint64_t *accessed,
			 uint64_t *dirty)
{
	int err = look(arg, first, count, accessed, dirty);

	memset(accessed, 0xff, (count + 63) / 64 * 8);
	return err;
}

static bool never_idle_still_yields(void)
{
	size_t page;

	reset(200);
	for (page = 0; page < 200; page += 2)
		use(page);
	return clock_pick(&clk, 8, victims, look_all_used, used) == 8 && clk.count == 92;
}

static bool sparse_ring_wraps(void)
{
	reset(PAGES);
	idle(1, 2);
	idle(PAGES - 1, PAGES);
	clk.hand = 5000;
	return pick(64) == 2 && victims[0] == 1 && victims[1] == PAGES - 1;
}

static bool errors_come_back(void)
{
	reset(1000);
	idle(0, 100);
	look_result = -EIO;
	if (pick(8) != -EIO || clk.count != 100)
		return false;
	look_result = 0;
	return pick(8) == 8;
}

static bool scans_are_in_bulk(void)
{
	reset(PAGES);
	idle(0, 5000);
	while (clk.count)
		if (pick(CLOCK_BATCH) <= 0)
			return false;
	return looks <= 5000 / CLOCK_BATCH + 1 && looked_at <= looks * CLOCK_LOOK;
}

/*
 * A hot set that is used all the time, and a sweep over all of the file
 * beside it: the hot pages are to stay in, though the sweep brings in twenty
 * times what there is room for.
 */
static bool hot_set_stays(void)
{
	size_t frames = 512, hot = 200, page, n;
	size_t hot_misses = 0;
	int got;

	reset(PAGES);
	for (page = 0; page < PAGES; page++) {
		for (n = 0; n < 2; n++) {
			/* Spread the hot ones over all of the file. */
			size_t it = n ? page : page * 7 % hot * (PAGES / hot);

			if (!clock_has(&clk, it)) {
				hot_misses += !n;
				if (clk.count == frames) {
					got = pick(32);
					if (got <= 0 || !ascending(got))
						return false;
				}
			}
			use(it);
		}
	}
	printf("# %zu misses in %d uses of the hot set of %zu\n", hot_misses, PAGES, hot);
	return hot_misses < hot * 3;
}

/* Whatever is asked, the count stays that of the bits, and no page goes twice. */
static bool random_use(void)
{
	size_t frames = 300, round, page, n, in;
	int got;

	reset(3000);
	srandom(1);
	for (round = 0; round < 200000; round++) {
		page = random() % 3000;
		if (!clock_has(&clk, page) && clk.count == frames) {
			got = pick(1 + random() % CLOCK_BATCH);
			if (got <= 0 || !ascending(got))
				return false;
			for (n = 0; n < (size_t)got; n++) {
				if (clock_has(&clk, victims[n]))
					return false;
				written[victims[n]] = false;
			}
		}
		use(page);
		if (random() % 3 == 0)
			written[page] = true;
	}
	for (page = 0, in = 0; page < 3000; page++)
		in += clock_has(&clk, page);
	return in == clk.count && in <= frames;
}

static const struct {
	const char *name;
	bool (*run)(void);
} tests[] = {
	{ "an empty ring yields nothing", empty_ring },
	{ "idle pages go in the order of the ring", idle_pages_go_in_ring_order },
	{ "a page in use is spared once", used_pages_are_spared_once },
	{ "a page just come in is spared", fresh_pages_are_spared },
	{ "clean pages go before dirty ones", clean_before_dirty },
	{ "dirty pages go when clean ones are few", dirty_when_clean_ones_are_few },
	{ "pages all used once still yield victims", all_in_use_still_yields },
	{ "pages in use all the time still yield victims", never_idle_still_yields },
	{ "a sparse ring is gone round", sparse_ring_wraps },
	{ "an error comes back and loses no page", errors_come_back },
	{ "bits are asked for in bulk", scans_are_in_bulk },
	{ "a hot set stays in beside a sweep", hot_set_stays },
	{ "random use keeps the books", random_use },
};

int main(void)
{
	size_t n, count = ARRAY_SIZE(tests), failed = 0;

	printf("TAP version 13\n1..%zu\n", count);
	for (n = 0; n < count; n++) {
		bool ok = tests[n].run();

		printf("%sok %zu - %s\n", ok ? "" : "not ", n + 1, tests[n].name);
		failed += !ok;
	}
	clock_free(&clk);
	return failed || fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}
