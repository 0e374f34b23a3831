// SPDX-License-Identifier: GPL-2.0
/*
 * peer - what the peers share: see peer.h
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"
#include "peer.h"

#define RW	(PROT_READ | PROT_WRITE)
#define HUGE	(2 * MIB)	/* what a page table is for */

struct trap_plan plan;

void *place(unsigned long pages)
{
	size_t length = pages * PAGE + HUGE;
	void *p = mmap(NULL, length, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	check(p != MAP_FAILED && !munmap(p, length), "mmap");
	return (void *)(((uintptr_t)p + HUGE - 1) & -HUGE);
}

static void *map_advised(unsigned long pages, int advice)
{
	void *p = mmap(place(pages), pages * PAGE, RW, MAP_PRIVATE |
		       MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

	check(p != MAP_FAILED, "mmap");
	check(!madvise(p, pages * PAGE, advice), "madvise");
	return p;
}

void *memory_map(unsigned long pages)
{
	return map_advised(pages, MADV_NOHUGEPAGE);
}

void *memory_map_huge(unsigned long pages)
{
	return map_advised(pages, MADV_HUGEPAGE);
}

const char *memory_huge_missing(void)
{
	FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
	char line[64] = "";

	if (f) {
		if (!fgets(line, sizeof(line), f))
			line[0] = '\0';
		fclose(f);
	}
	return !line[0] || strstr(line, "[never]") ?
		       "huge pages are off (transparent_hugepage/enabled)" : NULL;
}

void memory_unmap(void *region, unsigned long pages)
{
	check(!munmap(region, pages * PAGE), "munmap");
}

void touch(void *region, unsigned long pages)
{
	unsigned long i;

	for (i = 0; i < pages; i++)
		((volatile char *)region)[i * PAGE] = 1;
}

const char *protect_why(int err)
{
	return err == -ENOMEM ? "ENOMEM: no memory, or vm.max_map_count (--raise-limits)" :
				strerror(-err);
}

void protect_all(const struct peer *peer, void *region, unsigned long pages, int prot)
{
	struct avm_range all = { (uintptr_t)region, pages * PAGE, prot, 0 };
	int err = peer->protect(&all, 1);

	if (err)
		fail("%s: protect: %s", peer->title, protect_why(err));
}

void every_other(struct avm_range *ranges, unsigned long n, void *region, int prot)
{
	unsigned long i;

	for (i = 0; i < n; i++) {
		ranges[i].addr = (uintptr_t)region + 2 * i * PAGE;
		ranges[i].length = PAGE;
		ranges[i].prot = prot;
		ranges[i].reserved = 0;
	}
}
