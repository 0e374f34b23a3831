// SPDX-License-Identifier: GPL-2.0
/*
 * peer avm - what all the others stand beside, through libavm
 *
 * Each region is a view of a space of its own. A trap comes in four ways: by
 * upcall and opened by one call of the handler; raised by the trap; by upcall
 * to a handler that may use vector registers, as any C code may; by signal.
 */
#define _GNU_SOURCE
#include <avm.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"
#include "peer.h"

#define RW	(AVM_PROT_READ | AVM_PROT_WRITE)
#define REGIONS	4
#define LEAST	(512 * MIB)	/* that works take without asking */

/* Handlers like those of a collector, which keeps to general registers. */
#define BARE	__attribute__((target("general-regs-only")))

static struct {
	char *region;
	unsigned long length;
	int space;
} regions[REGIONS];

static int last_space;

static void must(int err, const char *what)
{
	if (err < 0)
		fail("%s: %s", what, avm_strerror(err));
}

static int space_of(const void *address)
{
	int i;

	for (i = 0; i < REGIONS; i++)
		if ((uintptr_t)address - (uintptr_t)regions[i].region <
		    regions[i].length)
			return regions[i].space;
	fail("%p is in no view", address);
}

/* Bytes that avm may lock, or an error. */
static int limit(unsigned long *bytes)
{
	int dev = avm_open(), space, err = dev;
	struct avm_stats st;

	if (dev < 0)
		return err;
	space = avm_create(dev, PAGE);
	close(dev);
	if (space < 0)
		return space;
	err = avm_stats(space, &st);
	close(space);
	*bytes = st.out_limit_pages > ULONG_MAX / PAGE ? ULONG_MAX :
							 st.out_limit_pages * PAGE;
	return err;
}

static const char *missing(void)
{
	static char text[128];
	unsigned long bytes;
	int err = limit(&bytes);

	if (err)
		return avm_strerror(err);
	if (bytes >= LEAST)
		return NULL;
	snprintf(text, sizeof(text), "it may lock %lu KiB, and needs %lu: be root, or raise \"ulimit -l\"",
		 bytes / 1024, LEAST / 1024);
	return text;
}

static void *map(unsigned long pages)
{
	int dev = avm_open(), i = 0;
	void *p;

	must(dev, AVM_DEVICE);
	while (regions[i].region)
		check(++i < REGIONS, "too many views");
	regions[i].space = avm_create(dev, pages * PAGE);
	must(regions[i].space, "create");
	p = mmap(place(pages), pages * PAGE, RW, MAP_SHARED | MAP_FIXED_NOREPLACE,
		 regions[i].space, 0);
	check(p != MAP_FAILED, "mmap");
	regions[i].region = p;
	regions[i].length = pages * PAGE;
	last_space = regions[i].space;
	close(dev);
	return p;
}

static void unmap(void *region, unsigned long pages)
{
	int i = 0;

	while (regions[i].region != region)
		i++;
	must(avm_unmap(region, pages * PAGE), "unmap");
	close(regions[i].space);
	memset(&regions[i], 0, sizeof(regions[i]));
}

static int protect(const struct avm_range *ranges, unsigned long n)
{
	return avm_protn(space_of((void *)ranges[0].addr), ranges, n, NULL);
}

static int protect_page(void *page, int prot)
{
	return avm_prot1(last_space, page, prot);
}

static BARE int space_of_trap(void *arg)
{
	return (int)(intptr_t)arg;
}

/* One call for both pages. */
static BARE int on_trap(const struct avm_trap_info *info, void *arg)
{
	int space = space_of_trap(arg);
	char *page = page_of(info->addr), *partner;
	struct avm_range ranges[2];

	if (plan_nothing())
		return AVM_TRAP_RETRY;
	partner = plan_partner(page);
	if (!partner)
		return avm_unprot(space, page, RW);
	ranges[0].addr = (uintptr_t)partner;
	ranges[0].length = PAGE;
	ranges[0].prot = plan.closed;
	ranges[0].reserved = 0;
	ranges[1].addr = (uintptr_t)page;
	ranges[1].length = PAGE;
	ranges[1].prot = RW;
	ranges[1].reserved = 0;
	return avm_protn(space, ranges, 2, NULL);
}

/* The page is open already, and that is all. */
static BARE int on_raised_only(const struct avm_trap_info *info, void *arg)
{
	(void)info;
	(void)arg;
	return AVM_TRAP_RETRY;
}

/* The page is open already; there is another one to be closed. */
static BARE int on_raised(const struct avm_trap_info *info, void *arg)
{
	return avm_prot1(space_of_trap(arg),
			 plan_partner(page_of(info->addr)), plan.closed);
}

static void trap(int space, void *region, unsigned long pages,
		 avm_trap_fn *fn, unsigned int flags)
{
	void *arg = (void *)(intptr_t)space_of(region);

	must(avm_trap(space, region, pages * PAGE, fn, arg, flags), "trap");
}

static void traps(void *region, unsigned long pages)
{
	trap(space_of(region), region, pages, on_trap, AVM_TRAP_NOVECTOR);
}

/* To do nothing is not what a trap that raises can do. */
static void traps_raise(void *region, unsigned long pages)
{
	if (plan.left)
		traps(region, pages);
	else
		trap(space_of(region), region, pages,
		     plan.swap || plan.ahead ? on_raised : on_raised_only,
		     AVM_TRAP_NOVECTOR | AVM_TRAP_RAISE);
}

static void traps_vector(void *region, unsigned long pages)
{
	trap(space_of(region), region, pages, on_trap, 0);
}

static void traps_signal(void *region, unsigned long pages)
{
	trap(AVM_NO_SPACE, region, pages, on_trap, 0);
}

static void untraps(void *region)
{
	must(avm_untrap(region), "untrap");
}

static void prepare(void *region, unsigned long pages)
{
	must(avm_protect(space_of(region), region, pages * PAGE, RW), "protect");
}

/* All that was written before is of no interest. */
static void arm(void *region, unsigned long pages)
{
	int64_t n = avm_dirty(space_of(region), region, pages * PAGE, NULL, 0);

	must(n < 0 ? (int)n : 0, "dirty");
}

/* Get and clear: it is watched again. */
static unsigned long find(void *region, unsigned long pages, uint64_t *bitmap)
{
	int64_t n = avm_dirty(space_of(region), region, pages * PAGE, bitmap,
			      (pages + 63) / 64 * sizeof(*bitmap));

	must(n < 0 ? (int)n : 0, "dirty");
	return n;
}

static unsigned long accessed(void *region, unsigned long pages,
			      uint64_t *bitmap)
{
	int64_t n = avm_accessed(space_of(region), region, pages * PAGE, bitmap,
				 (pages + 63) / 64 * sizeof(*bitmap));

	must(n < 0 ? (int)n : 0, "accessed");
	return n;
}

static void watch_accesses(void *region, unsigned long pages)
{
	int64_t n = avm_accessed(space_of(region), region, pages * PAGE, NULL, 0);

	must(n < 0 ? (int)n : 0, "accessed");
}

static int populate(void *region, unsigned long pages)
{
	return avm_populate(space_of(region), region, pages * PAGE);
}

static double state_bytes(void *region)
{
	struct avm_stats stats;

	must(avm_stats(space_of(region), &stats), "stats");
	return stats.out_state_bytes;
}

#define CALLS								\
	.missing = missing, .locked = true, .map = map, .unmap = unmap, .protect = protect, \
	.page = protect_page,						\
	.untraps = untraps, .prepare = prepare, .arm = arm, .find = find, \
	.watch_accesses = watch_accesses, .accessed = accessed,		\
	.populate = populate, .state_bytes = state_bytes

const struct peer peer_avm = {
	.id = "avm", .title = "avm", CALLS, .traps = traps,
};

const struct peer peer_avm_raise = {
	.id = "avm-raise", .title = "avm, raised by the trap", CALLS,
	.traps = traps_raise,
};

const struct peer peer_avm_vector = {
	.id = "avm-vector", .title = "avm, vector registers saved", CALLS,
	.traps = traps_vector,
};

const struct peer peer_avm_signal = {
	.id = "avm-signal", .title = "avm, by signal", CALLS,
	.traps = traps_signal,
};
