// SPDX-License-Identifier: GPL-2.0
/*
 * shared.c - threads that share their pages
 *
 * Nobody can know what each operation will result in. But in any order:
 *
 *  1. No write is lost to DIRTY: one that was made between two scans that clear
 *     is reported by the second; one that was made while a scan was running is
 *     reported by that or by the next.
 *  2. No write gets through a page after the call that closed it has returned.
 *  3. What was written is there, in another view, until it is written again.
 *
 * The same pages are in two views, where threads write, each to bytes of its
 * own, one thread scans and one closes and opens pages; and in a third view, to
 * look at. One more thread maps, unmaps and discards what is beside them.
 */
#include "stress.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>

#define VIEWS		2
#define PAGES		48u	/* shared; a page table ends in the middle */
#define BESIDE		600u	/* pages after them, for the disturber */
#define WRITERS		8
#define MEMORY		64	/* scans that are remembered */

static struct {
	int fd;
	char *view[VIEWS], *alias, *beside;
	/* 2 n: scan n is next; 2 n + 1: it runs. */
	_Atomic uint32_t epoch[VIEWS];
	/* What writers ask of scans: those that must have one report, and 1 more. */
	_Atomic uint64_t claim[VIEWS][WRITERS][PAGES];
	uint64_t reported[VIEWS][PAGES];	/* by the last scans, a bit each */
	_Atomic uint64_t writes, scans, closed;
	_Atomic int stop;
	uint64_t seed;
	unsigned int writers;
} all;

struct worker {
	pthread_t id;
	void (*run)(struct worker *w);
	struct random random;
	unsigned int number;
	int view;
	char last[VIEWS][PAGES];	/* that a writer has written */
};

static void failure(const char *what, int view, unsigned int page, unsigned long a,
		    unsigned long b)
{
	if (atomic_exchange(&all.stop, 2) == 2)
		return;
	printf("DIFFERENCE, --shared --seed %lu: %s (view %d, page %u: %lu, %lu)\n", all.seed,
	       what, view, page, a, b);
	fflush(stdout);
}

/* Each writer has a byte in each page for each view. */
static unsigned int byte_of(int view, unsigned int writer)
{
	return (view * WRITERS + writer) * 64;
}

static void claim(struct worker *w, int view, unsigned int page, uint32_t before)
{
	uint64_t low = before / 2, high = ((uint64_t)all.epoch[view] + 1) / 2;
	uint64_t nothing = 0;

	atomic_compare_exchange_strong(&all.claim[view][w->number][page], &nothing,
				       (low << 32 | high) + 1);
}

static void check_byte(struct worker *w, int view, unsigned int page, const char *what)
{
	const volatile char *at = all.alias + page * PAGE + byte_of(view, w->number);
	char is = *at;

	if (is != w->last[view][page])
		failure(what, view, page, w->last[view][page], is);
}

static void writer(struct worker *w)
{
	int view = below(&w->random, VIEWS), sig;
	unsigned int page = below(&w->random, PAGES);
	char value = next(&w->random);
	uint32_t before = all.epoch[view];

	check_byte(w, view, page, "a write is not there any more");
	sig = try_write(all.view[view] + page * PAGE + byte_of(view, w->number), value);
	if (sig == SIGSEGV)
		return;
	if (sig)
		failure("another signal than SIGSEGV", view, page, SIGSEGV, sig);
	w->last[view][page] = value;
	claim(w, view, page, before);
	all.writes++;
	check_byte(w, view, page, "a write is not there");
}

/* After scan @n has told what it found. */
static void settle(int view, unsigned int writer, unsigned int page, uint32_t n)
{
	uint64_t claim = all.claim[view][writer][page];
	uint32_t low = (claim - 1) >> 32, high = claim - 1;
	uint64_t which;

	if (!claim || high > n)
		return;
	all.claim[view][writer][page] = 0;
	if (n - low >= MEMORY)
		return;
	which = (2ull << (n - low)) - (1ull << (n - high));
	if (!(all.reported[view][page] & which))
		failure("no scan has reported a write", view, page, low, high);
}

static void count(int view, const uint64_t *found, uint32_t n)
{
	unsigned int page, i;

	for (page = 0; page < PAGES; page++) {
		all.reported[view][page] = all.reported[view][page] << 1 | bit(found, page);
		for (i = 0; i < all.writers; i++)
			settle(view, i, page, n);
	}
}

/* The scanner opens odd pages again; the others are the closer's to open. */
static void open_odd(const char *view)
{
	struct avm_range ranges[PAGES / 2];
	unsigned int i;

	for (i = 0; i < PAGES / 2; i++)
		ranges[i] = (struct avm_range) {
			.addr = (uintptr_t)view + (2 * i + 1) * PAGE, .length = PAGE, .prot = RW,
		};
	must(!batch(all.fd, AVM_IOC_PROTECT, ranges, PAGES / 2, NULL));
}

static void scanner(struct worker *w)
{
	char *view = all.view[w->view];
	bool closes = !below(&w->random, 3);
	uint64_t found = 0;
	struct avm_scan arg = {
		.size = sizeof(arg),
		.flags = AVM_SCAN_BITMAP | (closes ? AVM_SCAN_PROTECT : 0),
		.addr = (uintptr_t)view,
		.length = PAGES * PAGE,
		.match = AVM_PAGE_DIRTY,
		.clear = AVM_PAGE_DIRTY | (below(&w->random, 2) ? AVM_PAGE_ACCESSED : 0),
		.prot = closes ? (below(&w->random, 2) ? R : NONE) : 0,
		.buffer = (uintptr_t)&found,
		.buffer_size = sizeof(found),
	};
	uint32_t n = all.epoch[w->view]++ / 2;

	must(!call(all.fd, AVM_IOC_SCAN, &arg));
	all.epoch[w->view]++;
	count(w->view, &found, n);
	all.scans++;
	if (closes)
		open_odd(view);
	if (below(&w->random, 2))
		sched_yield();
}

static void read_bytes(int view, unsigned int page, char *bytes)
{
	unsigned int i;

	for (i = 0; i < all.writers; i++)
		bytes[i] = *(volatile char *)(all.alias + page * PAGE + byte_of(view, i));
}

static void close_page(struct worker *w, char *page, int prot)
{
	if (below(&w->random, 2))
		must(!call(all.fd, AVM_IOC_PROTECT_PAGE, page + prot));
	else
		must(!protect(all.fd, page, 1, prot));
}

static void closer(struct worker *w)
{
	unsigned int page = 2 * below(&w->random, PAGES / 2), i, rest;
	char before[WRITERS], after[WRITERS];
	char *at = all.view[w->view] + page * PAGE;

	close_page(w, at, below(&w->random, 2) ? R : NONE);
	read_bytes(w->view, page, before);
	for (rest = below(&w->random, 6); rest; rest--)
		sched_yield();
	read_bytes(w->view, page, after);
	for (i = 0; i < all.writers; i++)
		if (before[i] != after[i])
			failure("a write got through a closed page", w->view, page, before[i],
				after[i]);
	close_page(w, at, RW);
	all.closed++;
}

static void disturber(struct worker *w)
{
	unsigned int first = below(&w->random, BESIDE - 20), i;
	char *p;

	for (i = 0; i < 10; i++)
		must(!try_write(all.beside + (first + i) * PAGE, 1));
	must(!discard(all.fd, all.beside + first * PAGE, 20));
	p = view_new(all.fd, 0, PAGES, RW);
	for (i = 0; i < PAGES; i++)
		must(!try_read(p + i * PAGE));
	must(!munmap(p, PAGES * PAGE));
}

static void *work(void *arg)
{
	struct worker *w = arg;

	while (!all.stop)
		w->run(w);
	return NULL;
}

static void *fixed(char *at, unsigned int first, unsigned int pages)
{
	void *p = mmap(at, pages * PAGE, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_FIXED_NOREPLACE, all.fd, first * PAGE);

	must(p == at);
	return p;
}

static void set_up(void)
{
	char *at = (char *)ARENAS + 512 * PAGE - PAGES / 2 * PAGE;
	int i;

	denied_setup();
	all.fd = space_new(PAGES + BESIDE);
	for (i = 0; i < VIEWS; i++)
		all.view[i] = fixed(at + i * 512 * PAGE, 0, PAGES);
	all.alias = fixed(at + VIEWS * 512 * PAGE, 0, PAGES);
	all.beside = fixed(at + (VIEWS + 1) * 512 * PAGE, PAGES, BESIDE);
}

static unsigned int make_workers(struct worker *w)
{
	unsigned int n;
	int i;

	for (n = 0; n < all.writers; n++)
		w[n] = (struct worker) { .run = writer, .number = n };
	for (i = 0; i < VIEWS; i++) {
		w[n++] = (struct worker) { .run = scanner, .view = i };
		w[n++] = (struct worker) { .run = closer, .view = i };
	}
	w[n++] = (struct worker) { .run = disturber };
	return n;
}

/* Return: 0, or 1 when something did not hold. */
int shared_mode(uint64_t seed, unsigned int threads, unsigned int seconds)
{
	struct worker workers[WRITERS + 2 * VIEWS + 1];
	unsigned int n, i;

	all.seed = seed;
	all.writers = threads < WRITERS ? threads : WRITERS;
	set_up();
	n = make_workers(workers);
	printf("# shared: seed %lu, %u writers, %u s\n", seed, all.writers, seconds);
	fflush(stdout);
	for (i = 0; i < n; i++) {
		workers[i].random.state = (seed * 64 + i) * 2654435761u;
		must(!pthread_create(&workers[i].id, NULL, work, &workers[i]));
	}
	for (i = 0; i < seconds && !all.stop; i++)
		sleep(1);
	atomic_compare_exchange_strong(&all.stop, &(int) { 0 }, 1);
	for (i = 0; i < n; i++)
		must(!pthread_join(workers[i].id, NULL));
	printf("%lu writes, %lu scans, %lu pages closed%s\n", all.writes, all.scans, all.closed,
	       all.stop == 1 ? ", all invariants held" : "");
	/* In the slowest machine a second has ten times as many. */
	if (all.writes < 10ul * seconds || all.scans < seconds || all.closed < seconds) {
		printf("not enough for %u s: is one of the threads stuck?\n", seconds);
		return 1;
	}
	return all.stop != 1;
}
