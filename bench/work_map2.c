// SPDX-License-Identifier: GPL-2.0
/*
 * work map2 - the same pages at a second address
 *
 *	make	map them there, every other page read-only
 *	use	read each page there for the first time
 *	remove	take the second address away
 *	sum	all three
 *
 * The peer is a memfd that is mapped twice, and mprotect(2); once with
 * MAP_POPULATE, so that no read there takes a fault.
 */
#define _GNU_SOURCE
#include <avm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"
#include "peer.h"
#include "record.h"

#define RW	(AVM_PROT_READ | AVM_PROT_WRITE)

/* One way to have pages at two addresses. */
struct alias {
	const struct peer *peer;
	int fd;
	char *first;
	char *second;
	struct avm_range *ranges;	/* every other page of the second */
	unsigned long pages;
};

static const struct peer peer_memfd = {
	.id = "memfd", .title = "memfd mapped twice, mprotect",
};

static const struct peer peer_memfd_populated = {
	.id = "memfd-populate", .title = "the same, MAP_POPULATE",
};

static void must(int err, const char *what)
{
	if (err < 0)
		fail("%s: %s", what, avm_strerror(err));
}

static void alias_open(struct alias *a)
{
	size_t length = a->pages * PAGE;
	void *p;
	int dev;

	if (a->peer == &peer_avm) {
		dev = avm_open();
		a->fd = avm_create(dev, length);
		close(dev);
		must(a->fd, "create");
		must(avm_map(a->fd, 0, length, RW, &p), "map");
	} else {
		a->fd = memfd_create("avm-bench", MFD_CLOEXEC);
		check(a->fd >= 0 && !ftruncate(a->fd, length), "memfd");
		p = mmap(NULL, length, RW, MAP_SHARED, a->fd, 0);
		check(p != MAP_FAILED, "mmap");
	}
	a->first = p;
	touch(a->first, a->pages);
}

static void alias_make(struct alias *a)
{
	int populate = a->peer == &peer_memfd_populated ? MAP_POPULATE : 0;
	size_t length = a->pages * PAGE;
	void *p;

	if (a->peer == &peer_avm) {
		must(avm_map2(a->fd, a->first, length, RW, RW, &p), "map2");
	} else {
		p = mmap(NULL, length, RW, MAP_SHARED | populate, a->fd, 0);
		check(p != MAP_FAILED, "mmap");
	}
	a->second = p;
}

static void alias_protect(struct alias *a)
{
	unsigned long n = a->pages / 2;

	every_other(a->ranges, n, a->second, AVM_PROT_READ);
	if (a->peer == &peer_avm)
		must(avm_protn(a->fd, a->ranges, n, NULL), "protn");
	else
		check(!peer_mprotect.protect(a->ranges, n), "mprotect");
}

static void alias_use(struct alias *a)
{
	unsigned long i;

	for (i = 0; i < a->pages; i++)
		(void)((volatile char *)a->second)[i * PAGE];
}

static void measure(struct alias *a)
{
	struct series make = { 0 }, use = { 0 }, end = { 0 }, sum = { 0 };
	struct pace pace = { 0 };
	double t[4];

	while (pace_more(&pace)) {
		t[0] = now();
		alias_make(a);
		alias_protect(a);
		t[1] = now();
		alias_use(a);
		t[2] = now();
		check(!munmap(a->second, a->pages * PAGE), "munmap");
		t[3] = now();
		take(&make, t[0], t[1], a->pages);
		take(&use, t[1], t[2], a->pages);
		take(&end, t[2], t[3], a->pages);
		take(&sum, t[0], t[3], a->pages);
	}
	cell("make", &make);
	cell("use", &use);
	cell("remove", &end);
	cell("sum", &sum);
}

static void run(void)
{
	static const char *const columns[] = {
		"make", "use", "remove", "sum", NULL
	};
	static const struct peer *const peers[] = {
		&peer_avm, &peer_memfd, &peer_memfd_populated,
	};
	struct alias a = {
		.pages = options.quick ? 1024 : options.instructions ? 4096 : 16384,
	};
	size_t i;

	a.ranges = calloc(a.pages / 2, sizeof(*a.ranges));
	check(a.ranges, "calloc");
	table_begin("A second address, every other page read-only there", "page",
		    NULL, columns);
	point("pages=%lu", a.pages);
	for (i = 0; i < COUNT(peers); i++) {
		if (!row_begin(peers[i]))
			continue;
		a.peer = peers[i];
		alias_open(&a);
		measure(&a);
		check(!munmap(a.first, a.pages * PAGE), "munmap");
		close(a.fd);
		row_end();
	}
	table_end();
	free(a.ranges);
}

const struct work work_map2 = {
	"map2", "the same pages at a second address", run
};
