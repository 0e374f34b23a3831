// SPDX-License-Identifier: GPL-2.0
/*
 * peer mprotect - mprotect(2) and a handler of SIGSEGV
 *
 * What programs do since 1991. Dirty pages are found the way collectors find
 * them: all are made read-only, the handler notes the page that is written
 * and opens it. To watch again takes one call, which also merges the mappings
 * that the handler split.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"
#include "noted.h"
#include "peer.h"

#define RW	(PROT_READ | PROT_WRITE)

static char *watched;	/* region */
static unsigned long watched_length;
static struct sigaction before;	/* while handled */
static bool handled;

static int protect(const struct avm_range *ranges, unsigned long n)
{
	unsigned long i;

	for (i = 0; i < n; i++)
		if (mprotect((void *)ranges[i].addr, ranges[i].length,
			     ranges[i].prot))
			return -errno;
	return 0;
}

static int protect_page(void *page, int prot)
{
	return mprotect(page, PAGE, prot) ? -errno : 0;
}

/* In a handler nothing can be said but that it did not work. */
static void must(int failed)
{
	if (failed)
		abort();
}

static void on_trap(int sig, siginfo_t *info, void *context)
{
	char *page = page_of(info->si_addr), *partner;

	(void)sig;
	(void)context;
	if (plan_nothing())
		return;
	partner = plan_partner(page);
	if (partner)
		must(mprotect(partner, PAGE, plan.closed));
	must(mprotect(page, PAGE, RW));
}

/*
 * A mapping too many: all pages are opened, so that the program can go on, and
 * what is noted is of no use.
 */
static void on_write(int sig, siginfo_t *info, void *context)
{
	char *page = page_of(info->si_addr);

	(void)context;
	if (!noted(page)) {
		signal(sig, SIG_DFL);
	} else if (mprotect(page, PAGE, RW)) {
		noted_fail(errno);
		must(mprotect(watched, watched_length, RW));
	}
}

static void handle(void (*fn)(int sig, siginfo_t *info, void *context))
{
	struct sigaction sa = { .sa_sigaction = fn, .sa_flags = SA_SIGINFO };

	check(!sigaction(SIGSEGV, &sa, handled ? NULL : &before), "sigaction");
	handled = true;
}

/* The handler that was there may be libavm's. */
static void unhandle(void)
{
	if (handled)
		check(!sigaction(SIGSEGV, &before, NULL), "sigaction");
	handled = false;
}

static void traps(void *region, unsigned long pages)
{
	(void)region;
	(void)pages;
	handle(on_trap);
}

static void untraps(void *region)
{
	(void)region;
	unhandle();
}

static void unmap(void *region, unsigned long pages)
{
	unhandle();
	memory_unmap(region, pages);
}

static void prepare(void *region, unsigned long pages)
{
	watched = region;
	watched_length = pages * PAGE;
	check(!mprotect(region, watched_length, RW), "mprotect");
	noted_begin(region, pages);
	handle(on_write);
}

static void watch(void *region, unsigned long pages)
{
	check(!mprotect(region, pages * PAGE, PROT_READ), "mprotect");
}

static unsigned long find(void *region, unsigned long pages, uint64_t *bitmap)
{
	(void)region;
	(void)pages;
	return noted_take(bitmap);
}

static void watch_accesses(void *region, unsigned long pages)
{
	prepare(region, pages);
	check(!mprotect(region, pages * PAGE, PROT_NONE), "mprotect");
}

static unsigned long accessed(void *region, unsigned long pages,
			      uint64_t *bitmap)
{
	unsigned long n = find(region, pages, bitmap);

	check(!mprotect(region, pages * PAGE, PROT_NONE), "mprotect");
	return n;
}

const struct peer peer_mprotect = {
	.id = "mprotect", .title = "mprotect + SIGSEGV",
	.map = memory_map, .unmap = unmap, .protect = protect,
	.page = protect_page,
	.traps = traps, .untraps = untraps,
	.prepare = prepare, .arm = watch, .find = find, .rearm = watch,
	.trouble = noted_trouble,
	.watch_accesses = watch_accesses, .accessed = accessed,
};

const struct peer peer_mprotect_thp = {
	.id = "mprotect-thp", .title = "mprotect, huge pages",
	.missing = memory_huge_missing, .huge = true,
	.map = memory_map_huge, .unmap = unmap, .protect = protect,
	.prepare = prepare, .arm = watch, .find = find, .rearm = watch,
	.trouble = noted_trouble,
};
