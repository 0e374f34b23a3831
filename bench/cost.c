// SPDX-License-Identifier: GPL-2.0
/*
 * cost - what each call costs, per page or per call
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/avm.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "figure.h"

#define PAGE	4096ul
#define CALLS	100		/* single calls in a sample */
#define PAGES	1000		/* pages in a vector */
#define MANY	16384		/* pages in a scan */
#define RW	(AVM_PROT_READ | AVM_PROT_WRITE)

static int space;
static char *view;
static struct avm_range ranges[PAGES];
static unsigned long pages[PAGES];	/* the same, for PROTECT_PAGE */
static uint64_t bitmap[MANY / 64];
static void protect(struct avm_range *first, unsigned int n)
{
	struct avm_batch arg = {
		.size = sizeof(arg),
		.ranges = (uintptr_t)first,
		.count = n,
	};

	check(!ioctl(space, AVM_IOC_PROTECT, &arg), "protect");
}

/* Ranges for PAGES pages, each @stride pages after the last. */
static void set_ranges(unsigned int stride, int prot)
{
	unsigned int i;

	for (i = 0; i < PAGES; i++) {
		ranges[i].addr = (uintptr_t)view + i * stride * PAGE;
		ranges[i].length = PAGE;
		ranges[i].prot = prot;
		pages[i] = ranges[i].addr | prot;
	}
}

static void protect_all(int prot)
{
	struct avm_range all = {
		.addr = (uintptr_t)view,
		.length = MANY * PAGE,
		.prot = prot,
	};

	protect(&all, 1);
}

static void touch(unsigned long pages)
{
	unsigned long i;

	protect_all(RW);
	for (i = 0; i < pages; i++)
		((volatile char *)view)[i * PAGE] = 1;
}

static unsigned long scan_pages;

static void scan(uint32_t clear)
{
	struct avm_scan arg = {
		.size = sizeof(arg),
		.flags = AVM_SCAN_BITMAP,
		.addr = (uintptr_t)view,
		.length = scan_pages * PAGE,
		.match = AVM_PAGE_DIRTY,
		.clear = clear,
		.buffer = (uintptr_t)bitmap,
		.buffer_size = sizeof(bitmap),
	};

	check(!ioctl(space, AVM_IOC_SCAN, &arg), "scan");
}

static void nothing(void)
{
}

static void do_getppid(void)
{
	int i;

	for (i = 0; i < CALLS; i++)
		syscall(SYS_getppid);
}

/* No such command: what ioctl(2) takes on the way to the module. */
static void do_nothing(void)
{
	int i;

	for (i = 0; i < CALLS; i++)
		syscall(SYS_ioctl, space, _IO(AVM_IOC_MAGIC, 0xff), NULL);
}

static void touched(void)
{
	touch(2 * PAGES);
}

static void one_by_one(int prot)
{
	int i;

	set_ranges(1, prot);
	for (i = 0; i < CALLS; i++)
		protect(&ranges[i], 1);
}

/* The ranges are set outside of what is measured. */
static void prot1_prepare(void)
{
	touched();
	set_ranges(1, AVM_PROT_READ);
}

static void prot1_none_prepare(void)
{
	touched();
	set_ranges(1, AVM_PROT_NONE);
}

static void unprot_prepare(void)
{
	touched();
	one_by_one(AVM_PROT_READ);
	set_ranges(1, RW);
}

static void unprot_none_prepare(void)
{
	touched();
	one_by_one(AVM_PROT_NONE);
	set_ranges(1, RW);
}

/* As bare as do_getppid(): what is measured is the kernel's part. */
static void singles(void)
{
	int i;

	for (i = 0; i < CALLS; i++)
		if (syscall(SYS_ioctl, space, AVM_IOC_PROTECT_PAGE, pages[i]))
			check(false, "protect");
}

static void scattered_prepare(void)
{
	touched();
	set_ranges(2, AVM_PROT_NONE);
}

static void scattered_read_prepare(void)
{
	touched();
	set_ranges(2, AVM_PROT_READ);
}

static void shuffled_prepare(void)
{
	unsigned int i, j, seed = 1;
	struct avm_range r;

	scattered_prepare();
	for (i = PAGES - 1; i; i--) {
		seed = seed * 1103515245 + 12345;
		j = (seed >> 8) % (i + 1);
		r = ranges[i];
		ranges[i] = ranges[j];
		ranges[j] = r;
	}
}

static void vector(void)
{
	protect(ranges, PAGES);
}

static void contiguous_prepare(void)
{
	touch(MANY);
	set_ranges(1, AVM_PROT_NONE);
	ranges[0].length = MANY * PAGE;
}

static void contiguous_read_prepare(void)
{
	contiguous_prepare();
	ranges[0].prot = AVM_PROT_READ;
}

static void single(void)
{
	protect(ranges, 1);
}

static void clean_prepare(void)
{
	scan_pages = MANY;
	touch(MANY);
	scan(AVM_PAGE_DIRTY);
}

static void scan_get(void)
{
	scan(0);
}

static void half_dirty_prepare(void)
{
	unsigned long i;

	scan_pages = 2 * PAGES;
	touch(2 * PAGES);
	scan(AVM_PAGE_DIRTY);
	for (i = 0; i < 2 * PAGES; i += 2)
		((volatile char *)view)[i * PAGE] = 1;
}

static void scan_clear(void)
{
	scan(AVM_PAGE_DIRTY);
}

/* Rewriting pages after their dirty bits were cleared: no fault, no call. */
static void rewrite_prepare(void)
{
	scan_pages = 2 * PAGES;
	touch(2 * PAGES);
	scan(AVM_PAGE_DIRTY);
}

static void rewrite(void)
{
	unsigned long i;

	for (i = 0; i < PAGES; i++)
		((volatile char *)view)[i * PAGE] = 1;
}

static void create(void)
{
	struct avm_create arg = { .size = sizeof(arg), .length = 1ull << 40 };
	int dev = open(AVM_DEVICE, O_RDWR), fd;
	void *p;

	check(dev >= 0, AVM_DEVICE);
	fd = ioctl(dev, AVM_IOC_CREATE, &arg);
	check(fd >= 0, "create");
	p = mmap(NULL, 1ul << 40, RW, MAP_SHARED, fd, 0);
	check(p != MAP_FAILED, "mmap");
	munmap(p, 1ul << 40);
	close(fd);
	close(dev);
}

static struct figure figures[] = {
	{ "getppid, for comparison", "call", CALLS, 0, nothing, do_getppid, 0 },
	{ "ioctl that does nothing, for comparison", "call", CALLS, 0, nothing,
	  do_nothing, 0 },
	{ "PROT1 to read-only, with its flush", "call", CALLS, 1100,
	  prot1_prepare, singles, 0 },
	{ "PROT1 to none, with its flush", "call", CALLS, 1100,
	  prot1_none_prepare, singles, 0 },
	{ "UNPROT from read-only", "call", CALLS, 800, unprot_prepare,
	  singles, 0 },
	{ "UNPROT from none", "call", CALLS, 800, unprot_none_prepare,
	  singles, 0 },
	{ "PROTN of 1,000 scattered pages to none", "page", PAGES, 120,
	  scattered_prepare, vector, 0 },
	{ "PROTN of 1,000 scattered pages to read-only", "page", PAGES, 120,
	  scattered_read_prepare, vector, 0 },
	{ "the same to none, in random order", "page", PAGES, 0,
	  shuffled_prepare, vector, 0 },
	{ "PROTN of 16,384 contiguous pages to none", "page", MANY, 25,
	  contiguous_prepare, single, 0 },
	{ "PROTN of 16,384 contiguous pages to read-only", "page", MANY, 25,
	  contiguous_read_prepare, single, 0 },
	{ "scan of 16,384 clean pages", "page", MANY, 10, clean_prepare,
	  scan_get, 0 },
	{ "1,000 of 2,000 pages written: found, cleared", "page", 2 * PAGES, 0,
	  half_dirty_prepare, scan_clear, 0 },
	{ "write after its dirty bit was cleared", "page", PAGES, 10,
	  rewrite_prepare, rewrite, 0 },
	{ "create and map a space of 1 TiB, and remove it", "call", 1, 0,
	  nothing, create, 0 },
};

int main(int argc, char **argv)
{
	struct avm_create arg = { .size = sizeof(arg), .length = MANY * PAGE };
	unsigned int i;
	int dev;

	figure_begin(argc, argv, "cost", "Measure what avm's calls cost");
	dev = open(AVM_DEVICE, O_RDWR);
	check(dev >= 0, AVM_DEVICE);
	space = ioctl(dev, AVM_IOC_CREATE, &arg);
	check(space >= 0, "create");
	view = mmap(NULL, MANY * PAGE, RW, MAP_SHARED, space, 0);
	check(view != MAP_FAILED, "mmap");
	for (i = 0; i < sizeof(figures) / sizeof(figures[0]); i++)
		figure_measure(&figures[i]);
	return figure_end();
}
