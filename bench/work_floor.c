// SPDX-License-Identifier: GPL-2.0
/*
 * work floor - what no way through the kernel can be cheaper than
 *
 * A system call that does nothing; an ioctl(2) that the module does not know,
 * which is what the kernel takes on the way there and back; and page faults that
 * only have to map what is there: the page of zeros that all anonymous memory
 * begins with, which is the cheapest, and a page in the page cache, for a read
 * and for a write. (The file is a memfd: no file system is measured.)
 */
#define _GNU_SOURCE
#include <avm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"
#include "peer.h"
#include "record.h"

#define CALLS	100
#define FAULTS	100
#define AROUND	16	/* pages that a fault looks at in the page cache */
#define LENGTH	(FAULTS * AROUND * PAGE)

const struct peer peer_floor = { .id = "floor", .title = "the kernel itself" };

static void measure_calls(const char *metric, int fd)
{
	struct series series = { 0 };
	struct pace pace = { 0 };
	double start;
	int i;

	while (pace_more(&pace)) {
		start = now();
		if (fd < 0)
			for (i = 0; i < CALLS; i++)
				syscall(SYS_getppid);
		else
			for (i = 0; i < CALLS; i++)
				syscall(SYS_ioctl, fd, _IO(AVM_IOC_MAGIC, 0xff), 0);
		take(&series, start, now(), CALLS);
	}
	cell(metric, &series);
}

/* A file of which each AROUND'th page is in the page cache. */
static volatile char *map_file(void)
{
	int fd = memfd_create("avm-bench", MFD_CLOEXEC), i;
	void *p;

	check(fd >= 0 && !ftruncate(fd, LENGTH), "memfd");
	for (i = 0; i < FAULTS; i++)
		check(pwrite(fd, "", 1, i * AROUND * PAGE) == 1, "memfd");
	p = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	check(p != MAP_FAILED, "mmap");
	close(fd);
	return p;
}

static void measure_faults(const char *metric, volatile char *pages, bool write)
{
	struct series series = { 0 };
	struct pace pace = { 0 };
	double start;
	int i;

	while (pace_more(&pace)) {
		check(!madvise((void *)pages, LENGTH, MADV_DONTNEED), "madvise");
		start = now();
		for (i = 0; i < FAULTS; i++) {
			if (write)
				pages[i * AROUND * PAGE] = 1;
			else
				(void)pages[i * AROUND * PAGE];
		}
		take(&series, start, now(), FAULTS);
	}
	cell(metric, &series);
}

static void run(void)
{
	static const char *const columns[] = {
		"getppid", "ioctl", "zero page", "cache, read", "cache, write",
		NULL
	};
	volatile char *file = map_file(), *zero = memory_map(LENGTH / PAGE);
	int dev = avm_open();

	table_begin("Bare calls and bare faults", "call", NULL, columns);
	point("pages=1");
	row_begin(&peer_floor);
	measure_calls("getppid", -1);
	if (dev >= 0)
		measure_calls("ioctl", dev);
	else
		cell_missing("ioctl", avm_strerror(dev));
	measure_faults("fault-zero", zero, false);
	measure_faults("fault-read", file, false);
	measure_faults("fault-write", file, true);
	row_end();
	table_end();
	memory_unmap((void *)zero, LENGTH / PAGE);
	munmap((void *)file, LENGTH);
	if (dev >= 0)
		close(dev);
}

const struct work work_floor = {
	"floor", "what no way through the kernel can be cheaper than", run
};
