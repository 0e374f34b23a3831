/* SPDX-License-Identifier: GPL-2.0 */
/*
 * peer - what can be measured beside avm, and avm itself
 *
 * A peer has the operations that it has: a work takes the peers that have
 * those it needs. They work on a region: pages that were mapped by map(),
 * read-write and present.
 *
 * Ordinary memory is advised against huge pages, as most of this is about
 * single pages of a large range, where a huge page is split once and no more.
 * Where whole ranges are closed or found clean, huge pages make it cheaper: the
 * peers whose names end in -thp have them.
 */
#ifndef PEER_H
#define PEER_H

#include <linux/avm.h>
#include <stdbool.h>
#include <stdint.h>

/**
 * struct trap_plan - what a handler does with the page of a trap
 * @left: traps until it does anything at all
 * @swap: close the page that was opened by the trap before
 * @ahead: or else close the page so many bytes ahead
 * @last: page opened by the trap before
 * @closed: protection of a page that is closed
 *
 * There is one, for one thread that traps; its handler may run in another.
 */
struct trap_plan {
	long left;
	bool swap;
	long ahead;
	char *last;
	int closed;
};

extern struct trap_plan plan;

/* The page to close in a trap on @page, or NULL. */
static inline char *plan_partner(char *page)
{
	char *partner = plan.last;

	if (plan.ahead)
		return page + plan.ahead;
	if (!plan.swap)
		return (char *)0;
	plan.last = page;
	return partner;
}

/* Whether the trap is one of those that are to do nothing. */
static inline bool plan_nothing(void)
{
	return plan.left > 0 && --plan.left;
}

static inline char *page_of(const void *address)
{
	return (char *)((uintptr_t)address & -4096ul);
}

/**
 * struct peer - a way to do what avm does
 * @id: in the JSON and in bench/goals
 * @title: in the table
 * @missing: why it cannot be had here, or NULL; @missing itself is NULL where
 *	it always can
 * @lowest: the least that protect() can grant
 * @locked: its pages are locked ones: RLIMIT_MEMLOCK
 * @huge: a region is not what it was once its huge pages have been split
 * @map: new pages
 * @unmap: what @map made
 * @protect: PROTN; 0 or -errno
 * @page: PROT1 and UNPROT, of a page of the region mapped last; the same
 * @traps: have accesses to these pages handled as plan says
 * @untraps: no more
 * @prepare: make a region ready for arm(): nothing watched, nothing closed
 * @arm: watch from now on
 * @find: pages written since; into bitmap, whose bits are set
 * @rearm: watch from now on, if find() has not begun to again; or NULL
 * @trouble: why what find() or accessed() told is not to be believed, or NULL
 * @watch_accesses: watch reads and writes from now on
 * @accessed: pages used since, and watch again
 * @populate: have all pages present; 0 or -errno
 * @state_bytes: bytes that the kernel keeps for its protections
 *
 * All that have no result end the program when they fail.
 */
struct peer {
	const char *id;
	const char *title;
	const char *(*missing)(void);
	int lowest;
	bool locked;
	bool huge;
	void *(*map)(unsigned long pages);
	void (*unmap)(void *region, unsigned long pages);
	int (*protect)(const struct avm_range *ranges, unsigned long n);
	int (*page)(void *page, int prot);
	void (*traps)(void *region, unsigned long pages);
	void (*untraps)(void *region);
	void (*prepare)(void *region, unsigned long pages);
	void (*arm)(void *region, unsigned long pages);
	unsigned long (*find)(void *region, unsigned long pages,
			      uint64_t *bitmap);
	void (*rearm)(void *region, unsigned long pages);
	const char *(*trouble)(void);
	void (*watch_accesses)(void *region, unsigned long pages);
	unsigned long (*accessed)(void *region, unsigned long pages,
				  uint64_t *bitmap);
	int (*populate)(void *region, unsigned long pages);
	double (*state_bytes)(void *region);
};

/* Calls of avm, by what they use; the ways in which it delivers a trap. */
extern const struct peer peer_avm, peer_avm_raise, peer_avm_vector,
	peer_avm_signal;
extern const struct peer peer_mprotect, peer_mprotect_thp;
extern const struct peer peer_uffd_sigbus, peer_uffd_thread, peer_uffd_async;
extern const struct peer peer_uffd_sigbus_thp, peer_uffd_async_thp;
extern const struct peer peer_soft_dirty;
/* The kernel's own floor: nothing but a name. */
extern const struct peer peer_floor;

/*
 * An address for a region: at the start of a page table, as what a call costs
 * depends on how many it meets, and nothing else there.
 */
void *place(unsigned long pages);
/* Ordinary memory, for peers. */
void *memory_map(unsigned long pages);
/* The same of huge pages, and why there are none. */
void *memory_map_huge(unsigned long pages);
const char *memory_huge_missing(void);
void memory_unmap(void *region, unsigned long pages);
/* Why protect() could not. */
const char *protect_why(int err);
/* Protect pages in a row, or end the program. */
void protect_all(const struct peer *peer, void *region, unsigned long pages, int prot);
/* @n ranges: every other page, from @region on. */
void every_other(struct avm_range *ranges, unsigned long n, void *region, int prot);
/* Write to each page. */
void touch(void *region, unsigned long pages);

#endif /* PEER_H */
