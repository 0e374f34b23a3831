// SPDX-License-Identifier: GPL-2.0
/*
 * calls.c - what each call of a fuzz program does; arguments have been turned
 * into numbers, and none of them is trusted
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <linux/avm.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "calls.h"
#include "world.h"

#define MOST_TOUCHES	600

/* Where the caller wants a structure to be: a view, the end of memory, nowhere. */
static void put(uint64_t where, const void *from, size_t n)
{
	volatile char *to = (char *)where;
	const char *bytes = from;
	size_t i;

	for (i = 0; i < n; i++)
		attempt(to[i] = bytes[i]);
}

static long put_and_call(uint64_t fd, unsigned long cmd, uint64_t where,
			 const void *arg, size_t n)
{
	put(where, arg, n);
	return ioctl((int)fd, cmd, where);
}

static long run_create(const uint64_t *a)
{
	struct avm_create arg = { .size = a[3], .flags = a[4], .length = a[5] };
	long fd = put_and_call(a[1], AVM_IOC_CREATE, a[2], &arg, sizeof(arg));

	if (fd >= 0)
		world.spaces[a[0] % N_SPACES] = fd;
	return fd;
}

static long run_query(const uint64_t *a)
{
	struct avm_query arg = { .size = a[2], .flags = a[3] };

	return put_and_call(a[0], AVM_IOC_QUERY, a[1], &arg, 8);
}

static long run_stats(const uint64_t *a)
{
	struct avm_stats arg = { .size = a[2], .flags = a[3] };

	return put_and_call(a[0], AVM_IOC_STATS, a[1], &arg, 8);
}

/* One of the array that a batch names. */
static long run_range(const uint64_t *a)
{
	struct avm_range range = {
		.addr = a[1],
		.length = a[2],
		.prot = a[3],
		.reserved = a[4],
	};

	put(a[0], &range, sizeof(range));
	return 0;
}

static long batch(unsigned long cmd, const uint64_t *a)
{
	struct avm_batch arg = {
		.size = a[2],
		.flags = a[3],
		.ranges = a[4],
		.count = a[5],
	};

	return put_and_call(a[0], cmd, a[1], &arg, sizeof(arg));
}

static long run_protect(const uint64_t *a)
{
	return batch(AVM_IOC_PROTECT, a);
}

static long run_discard(const uint64_t *a)
{
	return batch(AVM_IOC_DISCARD, a);
}

static long run_populate(const uint64_t *a)
{
	return batch(AVM_IOC_POPULATE, a);
}

static long run_protect_page(const uint64_t *a)
{
	return ioctl((int)a[0], AVM_IOC_PROTECT_PAGE, a[1] + a[2]);
}

static long run_scan(const uint64_t *a)
{
	struct avm_scan arg = {
		.size = a[2],
		.flags = a[3],
		.addr = a[4],
		.length = a[5],
		.match = a[6],
		.clear = a[7],
		.prot = a[8],
		.reserved = a[9],
		.buffer = a[10],
		.buffer_size = a[11],
	};

	return put_and_call(a[0], AVM_IOC_SCAN, a[1], &arg, sizeof(arg));
}

static long run_map2(const uint64_t *a)
{
	struct avm_map2 arg = {
		.size = a[3],
		.flags = a[4],
		.addr = a[5],
		.length = a[6],
		.to = a[7],
		.max_prot = a[8],
		.prot = a[9],
	};
	long ret = put_and_call(a[1], AVM_IOC_MAP2, a[2], &arg, sizeof(arg));
	struct avm_map2 out = { 0 };

	if (!ret)
		attempt(out = *(volatile struct avm_map2 *)a[2]);
	if (out.out_addr)
		world.views[a[0] % N_VIEWS] = out.out_addr;
	return ret;
}

static long run_trap(const uint64_t *a)
{
	struct avm_trap arg = {
		.size = a[2],
		.flags = a[3],
		.addr = a[4],
		.length = a[5],
		.entry = a[6],
		.arg = a[7],
		.raise = a[8],
		.reserved = a[9],
	};

	return put_and_call(a[0], AVM_IOC_TRAP, a[1], &arg, sizeof(arg));
}

/* With registers that say where to go on: at code, or nowhere. */
static long run_trap_pass(const uint64_t *a)
{
	struct avm_trap_pass arg = {
		.upcall.addr = a[2],
		.upcall.access = a[3],
		.upcall.ip = a[4],
		.upcall.flags = a[5],
		.upcall.sp = a[6],
	};
	long ret = -1;

	put(a[1], &arg, sizeof(arg));
	attempt(ret = ioctl((int)a[0], AVM_IOC_TRAP_PASS, a[1]));
	return ret;
}

static long run_ioctl(const uint64_t *a)
{
	static const unsigned long commands[] = {
		AVM_IOC_QUERY, AVM_IOC_CREATE, AVM_IOC_PROTECT, AVM_IOC_DISCARD,
		AVM_IOC_POPULATE, AVM_IOC_SCAN, AVM_IOC_MAP2, AVM_IOC_STATS,
		AVM_IOC_PROTECT_PAGE, AVM_IOC_TRAP, AVM_IOC_TRAP_PASS,
		_IO(AVM_IOC_MAGIC, 0x8b), _IO(AVM_IOC_MAGIC, 0x7f),
	};
	unsigned int n = sizeof(commands) / sizeof(*commands);

	/* A known command, some of whose bits are turned over. */
	return ioctl((int)a[0], commands[a[1] % n] ^ a[2], a[3]);
}

static void keep_view(uint64_t slot, const void *p)
{
	if (p != MAP_FAILED)
		world.views[slot % N_VIEWS] = (uintptr_t)p;
}

/* Only where nothing of the program's own is: at a view, or wherever it fits. */
static long run_mmap(const uint64_t *a)
{
	void *p = mmap((void *)a[6], a[2], a[3], a[4], (int)a[5], a[1]);

	keep_view(a[0], p);
	return p == MAP_FAILED ? -1 : 0;
}

static long run_munmap(const uint64_t *a)
{
	return munmap((void *)a[0], a[1]);
}

static long run_mremap(const uint64_t *a)
{
	void *p = mremap((void *)a[1], a[2], a[3], a[4], (void *)a[5]);

	keep_view(a[0], p);
	return p == MAP_FAILED ? -1 : 0;
}

static long run_madvise(const uint64_t *a)
{
	return madvise((void *)a[0], a[1], a[2]);
}

static long run_mprotect(const uint64_t *a)
{
	return mprotect((void *)a[0], a[1], a[2]);
}

static long run_lock(const uint64_t *a)
{
	return a[2] & 1 ? mlock((void *)a[0], a[1]) : munlock((void *)a[0], a[1]);
}

static long run_sync(const uint64_t *a)
{
	return msync((void *)a[0], a[1], a[2]);
}

static void touch(uint64_t addr, unsigned int how)
{
	volatile char *p = (char *)addr;

	switch (how % 3) {
	case 0:
		attempt(*p);
		break;
	case 1: /* RET, for those that are executed afterwards */
		attempt(*p = (char)0xc3);
		break;
	default:
		attempt(((void (*)(void))addr)());
	}
}

static long run_touch(const uint64_t *a)
{
	uint64_t i;

	for (i = 0; i < a[2] && i < MOST_TOUCHES; i++)
		touch(a[0] + i * PAGE, a[1]);
	return 0;
}

/* The kernel's own accesses, and one that pins. */
static long run_copy(const uint64_t *a)
{
	size_t n = a[1] < 4 * PAGE ? a[1] : 4 * PAGE;
	struct iovec here = { (void *)a[0], n }, there = { world.memory, n };
	int zero;
	long ret;

	switch (a[2] % 4) {
	case 0:
		return write(world.other, (void *)a[0], n); /* reads nothing */
	case 1:
		zero = open("/dev/zero", O_RDONLY);
		ret = read(zero, (void *)a[0], n);
		close(zero);
		return ret;
	case 2:
		return process_vm_readv(getpid(), &there, 1, &here, 1, 0);
	default:
		return syscall(SYS_mincore, a[0], n, world.memory);
	}
}

static long run_dup(const uint64_t *a)
{
	int fd = dup((int)a[1]);

	if (fd >= 0)
		world.spaces[a[0] % N_SPACES] = fd;
	return fd;
}

static long run_close(const uint64_t *a)
{
	return a[0] > 2 ? close((int)a[0]) : -1;
}

static long run_signal(const uint64_t *a)
{
	world_signal(a[0]);
	return 0;
}

static long run_limit(const uint64_t *a)
{
	struct rlimit limit = { a[0], a[0] };

	return setrlimit(RLIMIT_MEMLOCK, &limit);
}

/* The next call, or what the kernel does for it, gets no memory once. */
static long run_fail(const uint64_t *a)
{
	char text[24];
	int fd = open("/proc/thread-self/fail-nth", O_RDWR);
	long ret;

	if (fd < 0)
		return -1;
	snprintf(text, sizeof(text), "%u", (unsigned int)(a[0] % 64));
	ret = write(fd, text, strlen(text));
	close(fd);
	return ret;
}

static long run_uffd(const uint64_t *a)
{
	struct uffdio_api api = { .api = UFFD_API, .features = 1 << 15 /* WP_ASYNC */ };
	struct uffdio_register what = {
		.range = { a[0], a[1] },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	long ret = -1;

	if (fd < 0)
		return -1;
	if (!ioctl(fd, UFFDIO_API, &api))
		ret = ioctl(fd, UFFDIO_REGISTER, &what);
	if (ret || a[2] & 1)
		close(fd);
	return ret;
}

static long run_sched(const uint64_t *a)
{
	(void)a;
	return usleep(1);
}

/* These two are for program_run(): the next calls, elsewhere. */
static long run_elsewhere(const uint64_t *a)
{
	(void)a;
	return 0;
}

#define BATCH_HINTS	{ H_SPACE, H_WHERE, H_SIZE, H_FLAGS, H_BUFFER, H_COUNT }

/*
 * Each kind of call: a run function, and a line here. What works on a descriptor has
 * that in struct world.
 */
const struct call_type call_types[] = {
	{ "create", run_create, sizeof(struct avm_create), 6,
	  { H_SPACE_SLOT, H_DEVICE, H_WHERE, H_SIZE, H_FLAGS, H_LENGTH } },
	{ "query", run_query, sizeof(struct avm_query), 4,
	  { H_SPACE, H_WHERE, H_SIZE, H_FLAGS } },
	{ "stats", run_stats, sizeof(struct avm_stats), 4,
	  { H_SPACE, H_WHERE, H_SIZE, H_FLAGS } },
	{ "range", run_range, 0, 5,
	  { H_BUFFER, H_ADDR, H_LENGTH, H_PROT, H_ZERO } },
	{ "protect", run_protect, sizeof(struct avm_batch), 6, BATCH_HINTS },
	{ "discard", run_discard, sizeof(struct avm_batch), 6, BATCH_HINTS },
	{ "populate", run_populate, sizeof(struct avm_batch), 6, BATCH_HINTS },
	{ "protect-page", run_protect_page, 0, 3, { H_SPACE, H_ADDR, H_PROT } },
	{ "scan", run_scan, sizeof(struct avm_scan), 12,
	  { H_SPACE, H_WHERE, H_SIZE, H_FLAGS, H_ADDR, H_LENGTH, H_MATCH, H_MATCH,
	    H_ZERO, H_ZERO, H_BUFFER, H_BYTES } },
	{ "map2", run_map2, sizeof(struct avm_map2), 10,
	  { H_VIEW_SLOT, H_SPACE, H_WHERE, H_SIZE, H_ZERO, H_ADDR, H_LENGTH, H_ZERO,
	    H_PROT, H_PROT } },
	{ "trap", run_trap, sizeof(struct avm_trap), 10,
	  { H_SPACE, H_WHERE, H_SIZE, H_FLAGS, H_ADDR, H_LENGTH, H_CODE, H_SMALL,
	    H_PROT, H_ZERO } },
	{ "trap-pass", run_trap_pass, 0, 7,
	  { H_SPACE, H_WHERE, H_ADDR, H_PROT, H_CODE, H_FLAGS, H_ADDR } },
	{ "ioctl", run_ioctl, 0, 4, { H_SPACE, H_COMMAND, H_ZERO, H_WHERE } },
	{ "mmap", run_mmap, 0, 7,
	  { H_VIEW_SLOT, H_OFFSET, H_LENGTH, H_PROT, H_SMALL, H_SPACE, H_ZERO } },
	{ "munmap", run_munmap, 0, 2, { H_ADDR, H_LENGTH } },
	{ "mremap", run_mremap, 0, 6,
	  { H_VIEW_SLOT, H_ADDR, H_LENGTH, H_LENGTH, H_SMALL, H_ADDR } },
	{ "madvise", run_madvise, 0, 3, { H_ADDR, H_LENGTH, H_SMALL } },
	{ "mprotect", run_mprotect, 0, 3, { H_ADDR, H_LENGTH, H_PROT } },
	{ "lock", run_lock, 0, 3, { H_ADDR, H_LENGTH, H_SMALL } },
	{ "sync", run_sync, 0, 3, { H_ADDR, H_LENGTH, H_SMALL } },
	{ "touch", run_touch, 0, 3, { H_ADDR, H_SMALL, H_COUNT } },
	{ "copy", run_copy, 0, 3, { H_ADDR, H_LENGTH, H_SMALL } },
	{ "dup", run_dup, 0, 2, { H_SPACE_SLOT, H_SPACE } },
	{ "close", run_close, 0, 1, { H_SPACE } },
	{ "signal", run_signal, 0, 1, { H_SMALL } },
	{ "limit", run_limit, 0, 1, { H_LENGTH } },
	{ "fail", run_fail, 0, 1, { H_SMALL } },
	{ "uffd", run_uffd, 0, 3, { H_ADDR, H_LENGTH, H_SMALL } },
	{ "pause", run_sched, 0, 0, { 0 } },
	{ "thread", run_elsewhere, 0, 1, { H_SMALL } },
	{ "fork", run_elsewhere, 0, 1, { H_SMALL } },
};

const unsigned int n_call_types = sizeof(call_types) / sizeof(*call_types);
