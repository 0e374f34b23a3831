// SPDX-License-Identifier: GPL-2.0
/*
 * peer uffd - write-protection by userfaultfd(2)
 *
 *	uffd-sigbus	a write raises SIGBUS in the thread that makes it
 *	uffd-thread	a write wakes a thread that waits for events; it waits
 *			in read(2), which is one system call less than poll(2)
 *			and read(2)
 *	uffd-async	the kernel itself opens the page (Linux 6.7 on), and
 *			PAGEMAP_SCAN tells which were, and closes them again
 *
 * It protects from writes only: there is no way to close a page to reads.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"
#include "noted.h"
#include "pagemap.h"
#include "peer.h"

/* Newer than the headers of Debian 12. */
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED	(1 << 13)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC		(1 << 15)
#endif

#define ASYNC	(UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED)

static int uffd = -1;
static pthread_t monitor;
static bool monitored;

/* A descriptor that offers what is wanted, or -1. */
static int uffd_open(uint64_t features)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = features | UFFD_FEATURE_PAGEFAULT_FLAG_WP,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0 && errno == EPERM)
		fd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api)) {
		close(fd);
		errno = EINVAL;
		fd = -1;
	}
	return fd;
}

static const char *missing_features(uint64_t features, const char *without)
{
	int fd = uffd_open(features);

	if (fd >= 0) {
		close(fd);
		return NULL;
	}
	switch (errno) {
	case EPERM:
		return "userfaultfd(2) is not allowed: be root, or set vm.unprivileged_userfaultfd";
	case ENOSYS:
		return "this kernel has no userfaultfd(2)";
	}
	return without;
}

static const char *missing_wp(void)
{
	return missing_features(UFFD_FEATURE_SIGBUS,
				"this kernel's userfaultfd cannot write-protect");
}

static const char *missing_async(void)
{
	return missing_features(ASYNC, "this kernel has no UFFD_FEATURE_WP_ASYNC (Linux 6.7)");
}

static const char *missing_wp_thp(void)
{
	const char *why = memory_huge_missing();

	return why ? why : missing_wp();
}

static const char *missing_async_thp(void)
{
	const char *why = memory_huge_missing();

	return why ? why : missing_async();
}

static void *map_with(void *p, unsigned long pages, uint64_t features)
{
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_WP };

	check(uffd < 0, "one region at a time");
	uffd = uffd_open(features);
	check(uffd >= 0, "userfaultfd");
	reg.range.start = (uintptr_t)p;
	reg.range.len = pages * PAGE;
	check(!ioctl(uffd, UFFDIO_REGISTER, &reg), "UFFDIO_REGISTER");
	return p;
}

static void *map_sigbus(unsigned long pages)
{
	return map_with(memory_map(pages), pages, UFFD_FEATURE_SIGBUS);
}

static void *map_sigbus_thp(unsigned long pages)
{
	return map_with(memory_map_huge(pages), pages, UFFD_FEATURE_SIGBUS);
}

static void *map_thread(unsigned long pages)
{
	return map_with(memory_map(pages), pages, 0);
}

static void *map_async(unsigned long pages)
{
	return map_with(memory_map(pages), pages, ASYNC);
}

static void *map_async_thp(unsigned long pages)
{
	return map_with(memory_map_huge(pages), pages, ASYNC);
}

static void unmap(void *region, unsigned long pages)
{
	close(uffd);
	uffd = -1;
	signal(SIGBUS, SIG_DFL);
	memory_unmap(region, pages);
}

/* Returns 0 or -errno; may be called by a handler. */
static int write_protect(uintptr_t address, unsigned long length, int prot)
{
	struct uffdio_writeprotect wp = {
		.range = { address, length },
		.mode = prot & AVM_PROT_WRITE ? 0 : UFFDIO_WRITEPROTECT_MODE_WP,
	};

	/* EAGAIN: the mappings are changing, which nobody does here. */
	return ioctl(uffd, UFFDIO_WRITEPROTECT, &wp) ? -errno : 0;
}

static int protect(const struct avm_range *ranges, unsigned long n)
{
	unsigned long i;
	int err = 0;

	for (i = 0; i < n && !err; i++)
		err = write_protect(ranges[i].addr, ranges[i].length,
				    ranges[i].prot);
	return err;
}

static int protect_page(void *page, int prot)
{
	return write_protect((uintptr_t)page, PAGE, prot);
}

static void must(int failed)
{
	if (failed)
		abort();
}

static void open_page(char *page)
{
	char *partner = plan_partner(page);

	if (partner)
		must(write_protect((uintptr_t)partner, PAGE, plan.closed));
	must(write_protect((uintptr_t)page, PAGE, AVM_PROT_WRITE));
}

static void on_trap(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	if (!plan_nothing())
		open_page(page_of(info->si_addr));
}

static void on_write(int sig, siginfo_t *info, void *context)
{
	char *page = page_of(info->si_addr);

	(void)context;
	if (noted(page))
		must(write_protect((uintptr_t)page, PAGE, AVM_PROT_WRITE));
	else
		signal(sig, SIG_DFL);
}

static void handle(void (*fn)(int sig, siginfo_t *info, void *context))
{
	struct sigaction sa = { .sa_sigaction = fn, .sa_flags = SA_SIGINFO };

	check(!sigaction(SIGBUS, &sa, NULL), "sigaction");
}

static void traps_sigbus(void *region, unsigned long pages)
{
	(void)region;
	(void)pages;
	handle(on_trap);
}

/* Until unmap(). */
static void untraps_sigbus(void *region)
{
	(void)region;
}

/* Wake the thread that trapped, and leave its page as it is. */
static void wake(char *page)
{
	struct uffdio_range range = { (uintptr_t)page, PAGE };

	must(ioctl(uffd, UFFDIO_WAKE, &range));
}

/*
 * The thread waits on the CPU of the one that traps (see pin()): to wake another
 * CPU takes longer, and much longer where that is emulated. A signal interrupts
 * read(2) when there is no more to be served.
 */
static void *serve(void *handle)
{
	void (*fn)(char *page) = handle;
	struct uffd_msg msg;

	while (read(uffd, &msg, sizeof(msg)) == sizeof(msg)) {
		must(msg.event != UFFD_EVENT_PAGEFAULT);
		fn(page_of((void *)(uintptr_t)msg.arg.pagefault.address));
	}
	must(errno != EINTR);
	return NULL;
}

static void on_stop(int sig)
{
	(void)sig;
}

static void thread_start(void (*fn)(char *page))
{
	struct sigaction sa = { .sa_handler = on_stop };

	check(!sigaction(SIGUSR1, &sa, NULL), "sigaction");
	check(!pthread_create(&monitor, NULL, serve, fn), "pthread_create");
	monitored = true;
}

/* Until it works: the thread may not be in read(2) yet. */
static void thread_stop(void)
{
	while (monitored && pthread_tryjoin_np(monitor, NULL)) {
		pthread_kill(monitor, SIGUSR1);
		sched_yield();
	}
	monitored = false;
}

static void serve_trap(char *page)
{
	if (plan_nothing())
		wake(page);
	else
		open_page(page);
}

static void serve_write(char *page)
{
	must(!noted(page));
	must(write_protect((uintptr_t)page, PAGE, AVM_PROT_WRITE));
}

static void traps_thread(void *region, unsigned long pages)
{
	(void)region;
	(void)pages;
	thread_start(serve_trap);
}

static void untraps_thread(void *region)
{
	(void)region;
	thread_stop();
}

static void unmap_thread(void *region, unsigned long pages)
{
	thread_stop();
	unmap(region, pages);
}

static void prepare(void *region, unsigned long pages)
{
	must(write_protect((uintptr_t)region, pages * PAGE, AVM_PROT_WRITE));
	noted_begin(region, pages);
	handle(on_write);
}

static void prepare_thread(void *region, unsigned long pages)
{
	must(write_protect((uintptr_t)region, pages * PAGE, AVM_PROT_WRITE));
	noted_begin(region, pages);
	if (!monitored)
		thread_start(serve_write);
}

static void watch(void *region, unsigned long pages)
{
	int err = write_protect((uintptr_t)region, pages * PAGE, AVM_PROT_READ);

	if (err)
		fail("UFFDIO_WRITEPROTECT: %s", strerror(-err));
}

static unsigned long find(void *region, unsigned long pages, uint64_t *bitmap)
{
	(void)region;
	(void)pages;
	return noted_take(bitmap);
}

static void prepare_async(void *region, unsigned long pages)
{
	must(write_protect((uintptr_t)region, pages * PAGE, AVM_PROT_WRITE));
}

/* Finds and protects again in one pass. */
static unsigned long find_async(void *region, unsigned long pages,
				uint64_t *bitmap)
{
	return pagemap_scan(region, pages, PAGE_IS_WRITTEN, PM_SCAN_WP_MATCHING |
			    PM_SCAN_CHECK_WPASYNC, bitmap);
}

const struct peer peer_uffd_sigbus = {
	.id = "uffd-sigbus", .title = "userfaultfd, SIGBUS", .lowest = AVM_PROT_READ,
	.missing = missing_wp, .map = map_sigbus, .unmap = unmap,
	.protect = protect, .page = protect_page,
	.traps = traps_sigbus, .untraps = untraps_sigbus,
	.prepare = prepare, .arm = watch, .find = find, .rearm = watch,
};

const struct peer peer_uffd_thread = {
	.id = "uffd-thread", .title = "userfaultfd, a thread waits",
	.lowest = AVM_PROT_READ,
	.missing = missing_wp, .map = map_thread, .unmap = unmap_thread,
	.protect = protect, .traps = traps_thread, .untraps = untraps_thread,
	.prepare = prepare_thread, .arm = watch, .find = find, .rearm = watch,
};

const struct peer peer_uffd_async = {
	.id = "uffd-async", .title = "userfaultfd, async + PAGEMAP_SCAN",
	.lowest = AVM_PROT_READ,
	.missing = missing_async, .map = map_async, .unmap = unmap,
	.protect = protect, .prepare = prepare_async, .arm = watch,
	.find = find_async,
};

const struct peer peer_uffd_sigbus_thp = {
	.id = "uffd-sigbus-thp", .title = "userfaultfd, SIGBUS, huge pages",
	.lowest = AVM_PROT_READ, .huge = true,
	.missing = missing_wp_thp, .map = map_sigbus_thp, .unmap = unmap,
	.protect = protect, .prepare = prepare, .arm = watch, .find = find, .rearm = watch,
};

const struct peer peer_uffd_async_thp = {
	.id = "uffd-async-thp", .title = "userfaultfd, async, huge pages",
	.lowest = AVM_PROT_READ, .huge = true,
	.missing = missing_async_thp, .map = map_async_thp, .unmap = unmap,
	.prepare = prepare_async, .arm = watch, .find = find_async,
};
