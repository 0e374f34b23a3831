/* SPDX-License-Identifier: GPL-2.0 */
/*
 * avmtest.h - what the selftests share: the calls, as short as a test wants
 * them, straight on the ABI, and a way to see an access denied.
 *
 * Functions that set something up end the program when they fail: a test that
 * cannot run is a failure, not a skip. Calls under test return 0 or -errno.
 */
#ifndef AVMTEST_H
#define AVMTEST_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <linux/avm.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE	4096ul
#define NONE	AVM_PROT_NONE
#define R	AVM_PROT_READ
#define RW	(AVM_PROT_READ | AVM_PROT_WRITE)
#define RX	(AVM_PROT_READ | AVM_PROT_EXEC)
#define RWX	(AVM_PROT_READ | AVM_PROT_WRITE | AVM_PROT_EXEC)

#define must(cond) do {							\
	if (!(cond)) {							\
		printf("Bail out! %s:%d: %s (errno %d, %s)\n",		\
		       __FILE__, __LINE__, #cond, errno,		\
		       strerror(errno));				\
		fflush(stdout);						\
		_exit(1);						\
	}								\
} while (0)

/* In a machine that is ten times slower: what only takes long is done less often. */
static inline int slow(void)
{
	return !!getenv("AVM_SLOW");
}

/* Keep the calling thread on a CPU. */
static inline void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	must(!sched_setaffinity(0, sizeof(set), &set));
}

static inline int call(int fd, unsigned long cmd, void *arg)
{
	int ret = ioctl(fd, cmd, arg);

	return ret < 0 ? -errno : ret;
}

/* A space of so many pages. */
static inline int space_new(uint64_t pages)
{
	struct avm_create arg = { .size = sizeof(arg), .length = pages * PAGE };
	int dev = open(AVM_DEVICE, O_RDWR | O_CLOEXEC), fd;

	must(dev >= 0);
	fd = ioctl(dev, AVM_IOC_CREATE, &arg);
	must(fd >= 0);
	close(dev);
	return fd;
}

/* A view of pages [first, first + pages) of a space. */
static inline char *view_new(int space, uint64_t first, uint64_t pages,
			     int prot)
{
	char *p = mmap(NULL, pages * PAGE, prot, MAP_SHARED, space,
		       first * PAGE);

	must(p != MAP_FAILED);
	return p;
}

static inline int batch(int space, unsigned long cmd,
			const struct avm_range *ranges, uint32_t count,
			struct avm_batch *out)
{
	struct avm_batch arg = {
		.size = sizeof(arg),
		.ranges = (uintptr_t)ranges,
		.count = count,
	};
	int ret = call(space, cmd, &arg);

	if (out)
		*out = arg;
	return ret;
}

static inline int one(int space, unsigned long cmd, const void *addr,
		      uint64_t pages, uint32_t prot)
{
	struct avm_range range = {
		.addr = (uintptr_t)addr,
		.length = pages * PAGE,
		.prot = prot,
	};

	return batch(space, cmd, &range, 1, NULL);
}

static inline int protect(int space, const void *addr, uint64_t pages, int prot)
{
	return one(space, AVM_IOC_PROTECT, addr, pages, prot);
}

static inline int discard(int space, const void *addr, uint64_t pages)
{
	return one(space, AVM_IOC_DISCARD, addr, pages, 0);
}

static inline int populate(int space, const void *addr, uint64_t pages)
{
	return one(space, AVM_IOC_POPULATE, addr, pages, 0);
}

/* Pages that match, or -errno; @bitmap (a bit a page) may be NULL. */
static inline long scan(int space, const void *addr, uint64_t pages,
			uint32_t match, uint32_t clear, uint64_t *bitmap)
{
	struct avm_scan arg = {
		.size = sizeof(arg),
		.flags = bitmap ? AVM_SCAN_BITMAP : 0,
		.addr = (uintptr_t)addr,
		.length = pages * PAGE,
		.match = match,
		.clear = clear,
		.buffer = (uintptr_t)bitmap,
		.buffer_size = bitmap ? (pages + 63) / 64 * 8 : 0,
	};
	int ret = call(space, AVM_IOC_SCAN, &arg);

	return ret < 0 ? ret : (long)arg.out_pages;
}

/* DIRTY: get and clear. */
static inline long dirty(int space, const void *addr, uint64_t pages,
			 uint64_t *bitmap)
{
	return scan(space, addr, pages, AVM_PAGE_DIRTY, AVM_PAGE_DIRTY, bitmap);
}

static inline long accessed(int space, const void *addr, uint64_t pages,
			    uint64_t *bitmap)
{
	return scan(space, addr, pages, AVM_PAGE_ACCESSED, AVM_PAGE_ACCESSED,
		    bitmap);
}

static inline int bit(const uint64_t *bitmap, unsigned long i)
{
	return bitmap[i / 64] >> (i % 64) & 1;
}

static inline char *map2(int space, const void *addr, uint64_t pages,
			 int max_prot, int prot)
{
	struct avm_map2 arg = {
		.size = sizeof(arg),
		.addr = (uintptr_t)addr,
		.length = pages * PAGE,
		.max_prot = max_prot,
		.prot = prot,
	};

	must(call(space, AVM_IOC_MAP2, &arg) == 0);
	return (char *)(uintptr_t)arg.out_addr;
}

static inline struct avm_stats stats(int space)
{
	struct avm_stats arg = { .size = sizeof(arg) };

	must(call(space, AVM_IOC_STATS, &arg) == 0);
	return arg;
}

/*
 * Whether an access goes through. SIGSEGV and SIGBUS are caught for the thread
 * that tries; what they said is in `denied`.
 */
struct denied {
	int sig;	/* 0: the access went through */
	int code;
	void *addr;
	unsigned long error;	/* the CPU's error code: 2 write, 16 fetch */
};

static __thread sigjmp_buf denied_jump;
static __thread volatile sig_atomic_t denied_armed;
static __thread struct denied denied;

static inline void denied_handler(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	if (!denied_armed) {
		signal(sig, SIG_DFL);
		return;
	}
	denied.sig = sig;
	denied.code = info->si_code;
	denied.addr = info->si_addr;
	denied.error = uc->uc_mcontext.gregs[REG_ERR];
	siglongjmp(denied_jump, 1);
}

/* Once a process, before the next three. */
static inline void denied_setup(void)
{
	struct sigaction sa = {
		.sa_sigaction = denied_handler,
		.sa_flags = SA_SIGINFO | SA_NODEFER,
	};

	must(!sigaction(SIGSEGV, &sa, NULL) && !sigaction(SIGBUS, &sa, NULL));
}

/* How a child ends. */
static inline int status_of(pid_t pid)
{
	int status;

	must(pid > 0 && waitpid(pid, &status, 0) == pid);
	return status;
}

static inline int died_by(int status)
{
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static inline int exited_with(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* In a child: die by SIGALRM, which is not what is hoped for, if it hangs. */
static inline void child_begins(void)
{
	signal(SIGALRM, SIG_DFL);
	alarm(60);
}

/* What a program may have done with SIGSEGV. */
static inline void ignore_segv(void)
{
	signal(SIGSEGV, SIG_IGN);
}

static inline void default_segv(void)
{
	signal(SIGSEGV, SIG_DFL);
}

static inline void block_segv(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGSEGV);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

/* 0 when the read went through, or the signal. */
static inline int try_read(const volatile void *addr)
{
	memset(&denied, 0, sizeof(denied));
	denied_armed = 1;
	if (!sigsetjmp(denied_jump, 1))
		*(const volatile char *)addr;
	denied_armed = 0;
	return denied.sig;
}

static inline int try_write(volatile void *addr, char value)
{
	memset(&denied, 0, sizeof(denied));
	denied_armed = 1;
	if (!sigsetjmp(denied_jump, 1))
		*(volatile char *)addr = value;
	denied_armed = 0;
	return denied.sig;
}

/* Calls the code at @addr, which has to return. */
static inline int try_fetch(const void *addr)
{
	memset(&denied, 0, sizeof(denied));
	denied_armed = 1;
	if (!sigsetjmp(denied_jump, 1))
		((void (*)(void))(uintptr_t)addr)();
	denied_armed = 0;
	return denied.sig;
}

#endif /* AVMTEST_H */
