// SPDX-License-Identifier: GPL-2.0
/*
 * counter - events of the calling thread that the kernel counts: see counter.h
 *
 * Flushes are those that the tracepoint tlb:tlb_flush tells of with the reason
 * "local mm shootdown": each flush of a process's memory tells it once, on the
 * CPU that asks for it, whoever has asked. Its number is in tracefs, which root
 * may read.
 */
#define _GNU_SOURCE
#include <linux/perf_event.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"
#include "counter.h"

#define FLUSH_ID	"events/tlb/tlb_flush/id"
#define FLUSH_FILTER	"reason == 3"	/* TLB_LOCAL_MM_SHOOTDOWN */

static int counter(unsigned int type, unsigned long config)
{
	struct perf_event_attr attr = {
		.type = type, .size = sizeof(attr), .config = config,
	};

	return syscall(SYS_perf_event_open, &attr, 0, -1, -1,
		       PERF_FLAG_FD_CLOEXEC);
}

int counter_faults(void)
{
	return counter(PERF_TYPE_SOFTWARE, PERF_COUNT_SW_PAGE_FAULTS);
}

/* The tracepoint's number, or -1. */
static long flush_id(void)
{
	FILE *f = fopen("/sys/kernel/tracing/" FLUSH_ID, "r");
	long id = -1;

	if (!f)
		f = fopen("/sys/kernel/debug/tracing/" FLUSH_ID, "r");
	if (!f)
		return -1;
	if (fscanf(f, "%ld", &id) != 1)
		id = -1;
	fclose(f);
	return id;
}

int counter_flushes(void)
{
	long id = flush_id();
	int fd = id < 0 ? -1 : counter(PERF_TYPE_TRACEPOINT, id);

	if (fd >= 0 && ioctl(fd, PERF_EVENT_IOC_SET_FILTER, FLUSH_FILTER)) {
		close(fd);
		return -1;
	}
	return fd;
}

double counter_read(int fd)
{
	uint64_t value;

	check(read(fd, &value, sizeof(value)) == sizeof(value), "perf");
	return value;
}
