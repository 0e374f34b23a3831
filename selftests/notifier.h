/* SPDX-License-Identifier: GPL-2.0 */
/*
 * notifier.h - the test module kernel/notifier/, a model of a secondary MMU, as tests
 * use it. Calls under test return 0 (or a count) or -errno.
 */
#ifndef NOTIFIER_H
#define NOTIFIER_H

#include "testmodule.h"
#include "kernel/notifier/avm_notifier.h"

/* A device that has no memory yet. */
static inline int notifier_open(void)
{
	int dev = open(NOTIFIER_DEVICE, O_RDWR | O_CLOEXEC);

	must(dev >= 0);
	return dev;
}

static inline void notifier_attach(int dev, uint32_t kind, const void *base,
				   uint64_t pages)
{
	struct notifier_attach arg = {
		.base = (uintptr_t)base, .pages = pages, .kind = kind,
	};

	must(call(dev, NOTIFIER_ATTACH, &arg) == 0);
}

/* Have the device map a page, as the CPU's page tables have it. */
static inline int device_map(int dev, const void *addr, int write)
{
	struct notifier_access arg = { .addr = (uintptr_t)addr, .write = write };

	return call(dev, NOTIFIER_MAP, &arg);
}

static inline int device_read(int dev, const void *addr, uint64_t *value)
{
	struct notifier_access arg = { .addr = (uintptr_t)addr };
	int err = call(dev, NOTIFIER_ACCESS, &arg);

	*value = arg.value;
	return err;
}

static inline int device_write(int dev, const void *addr, uint64_t value)
{
	struct notifier_access arg = {
		.addr = (uintptr_t)addr, .value = value, .write = 1,
	};

	return call(dev, NOTIFIER_ACCESS, &arg);
}

/* To every page that it may write to. */
static inline int device_spray(int dev, uint64_t value)
{
	struct notifier_access arg = { .value = value };

	return call(dev, NOTIFIER_SPRAY, &arg);
}

static inline struct notifier_stats device_stats(int dev)
{
	struct notifier_stats arg;

	must(call(dev, NOTIFIER_STATS, &arg) == 0);
	return arg;
}

/* What was done to the device that must not be, while nothing is under way. */
static inline unsigned long device_wrongs(int dev)
{
	struct notifier_stats s = device_stats(dev);
	unsigned long n = s.late + s.broken + s.freed + s.stale +
			  (s.starts != s.ends);

	if (n)
		printf("# late %lu, broken %lu, freed %lu, stale %lu, begun %lu, ended %lu\n",
		       (unsigned long)s.late, (unsigned long)s.broken,
		       (unsigned long)s.freed, (unsigned long)s.stale,
		       (unsigned long)s.starts, (unsigned long)s.ends);
	return n;
}

#endif /* NOTIFIER_H */
