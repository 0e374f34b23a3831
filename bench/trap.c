// SPDX-License-Identifier: GPL-2.0
/*
 * trap - what a trap costs, beside mprotect(2) and SIGSEGV
 *
 * The work is that of Appel and Li's benchmark: 100 pages in random order,
 * each written once, closed to all access before.
 *
 *	prot1+trap+unprot	the handler closes the page that was opened
 *				last, and opens this one
 *	protN+trap+unprot	all are closed at once, the handler opens one
 *
 * The floor for any trap is a page fault that ends in user mode where it came
 * from: a minor fault on a page that is in the page cache.
 */
#define _GNU_SOURCE
#include <avm.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "figure.h"

#define PAGE	AVM_PAGE_SIZE
#define N	100		/* pages */
#define AROUND	16		/* pages that a fault looks at in the cache */
#define RW	(AVM_PROT_READ | AVM_PROT_WRITE)

static int space;
static volatile char *view;	/* N pages of it */
static volatile char *memory;	/* N pages of ordinary memory */
static volatile char *file;	/* every AROUND'th page is in the page cache */
static int order[N];
static char *last;		/* page that is open */
static int left;		/* traps until the page is opened */

static void *page_of(const void *addr)
{
	return (void *)((uintptr_t)addr & -PAGE);
}

static void shuffle(void)
{
	unsigned int seed = 1;
	int i, j, t;

	for (i = 0; i < N; i++)
		order[i] = i;
	for (i = N - 1; i; i--) {
		seed = seed * 1103515245 + 12345;
		j = (seed >> 8) % (i + 1);
		t = order[i];
		order[i] = order[j];
		order[j] = t;
	}
}

static void write_all(volatile char *pages, int stride)
{
	int i;

	for (i = 0; i < N; i++)
		pages[(long)order[i] * stride * PAGE] = 1;
}

/*
 * Handlers. Like those of a collector they use no vector registers, and what
 * they call does not either.
 */
static int on_trap_open(const struct avm_trap_info *info, void *arg)
{
	return avm_unprot(space, page_of(info->addr), RW);
}

static int on_trap_count(const struct avm_trap_info *info, void *arg)
{
	return --left ? AVM_TRAP_RETRY : on_trap_open(info, arg);
}

static int on_trap_nothing(const struct avm_trap_info *info, void *arg)
{
	return AVM_TRAP_RETRY;
}

static int on_trap_swap(const struct avm_trap_info *info, void *arg)
{
	struct avm_range ranges[2] = {
		{ (uintptr_t)last, PAGE, AVM_PROT_NONE, 0 },
		{ (uintptr_t)info->addr & -PAGE, PAGE, RW, 0 },
	};

	last = page_of(info->addr);
	return avm_protn(space, ranges, 2, NULL);
}

static int on_trap_close(const struct avm_trap_info *info, void *arg)
{
	char *page = last;

	last = page_of(info->addr);
	return avm_prot1(space, page, AVM_PROT_NONE);
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
	char *page = page_of(info->si_addr);

	(void)sig;
	(void)context;
	if (last)
		mprotect(last, PAGE, PROT_NONE);
	mprotect(page, PAGE, PROT_READ | PROT_WRITE);
	if (last)
		last = page;
}

/* What is measured. */
static void cache_prepare(void)
{
	check(!madvise((void *)file, N * AROUND * PAGE, MADV_DONTNEED),
	      "madvise");
}

static void cache_write(void)
{
	write_all(file, AROUND);
}

static void cache_read(void)
{
	int i;

	for (i = 0; i < N; i++)
		(void)file[(long)order[i] * AROUND * PAGE];
}

static void register_trap(avm_trap_fn *fn, unsigned int flags)
{
	int err = avm_untrap((void *)view);

	check(!err || err == -ENOENT, "untrap");
	check(!avm_trap(space, (void *)view, N * PAGE, fn, NULL,
			flags | AVM_TRAP_NOVECTOR), "trap");
}

static void close_all(void)
{
	check(!avm_protect(space, (void *)view, N * PAGE, AVM_PROT_NONE),
	      "protect");
}

static void open_all(void)
{
	check(!avm_protect(space, (void *)view, N * PAGE, RW), "protect");
	memset((void *)view, 1, N * PAGE);
}

static void bare_prepare(void)
{
	open_all();
	close_all();
	left = N;
	register_trap(on_trap_count, 0);
}

static void vector_prepare(void)
{
	bare_prepare();
	check(!avm_untrap((void *)view), "untrap");
	check(!avm_trap(space, (void *)view, N * PAGE, on_trap_count, NULL, 0),
	      "trap");
}

static void bare(void)
{
	view[0] = 1;
}

static void signal_prepare(void)
{
	bare_prepare();
	check(!avm_untrap((void *)view), "untrap");
	check(!avm_trap(AVM_NO_SPACE, (void *)view, N * PAGE, on_trap_count,
			NULL, 0), "trap");
}

static void protn_prepare(void)
{
	open_all();
	register_trap(on_trap_open, 0);
}

static void protn_raise_prepare(void)
{
	open_all();
	register_trap(on_trap_nothing, AVM_TRAP_RAISE);
}

static void protn(void)
{
	close_all();
	write_all(view, 1);
}

/* All but one page closed, that one being the last of the order. */
static void prot1_prepare(void)
{
	open_all();
	close_all();
	last = (char *)view + order[N - 1] * PAGE;
	check(!avm_unprot(space, last, RW), "unprot");
	*last = 1;
}

static void prot1_swap_prepare(void)
{
	prot1_prepare();
	register_trap(on_trap_swap, 0);
}

static void prot1_raise_prepare(void)
{
	prot1_prepare();
	register_trap(on_trap_close, AVM_TRAP_RAISE);
}

static void prot1(void)
{
	write_all(view, 1);
}

static void mprotect_all(int prot)
{
	check(!mprotect((void *)memory, N * PAGE, prot), "mprotect");
}

/* On the handler that libavm has installed meanwhile. */
static void mprotect_prepare(void)
{
	struct sigaction sa = {
		.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO,
	};

	check(!sigaction(SIGSEGV, &sa, NULL), "sigaction");
	last = NULL;
	mprotect_all(PROT_READ | PROT_WRITE);
	memset((void *)memory, 1, N * PAGE);
}

static void mprotect_protn(void)
{
	mprotect_all(PROT_NONE);
	write_all(memory, 1);
}

static void mprotect_prot1_prepare(void)
{
	mprotect_prepare();
	mprotect_all(PROT_NONE);
	last = (char *)memory + order[N - 1] * PAGE;
	check(!mprotect(last, PAGE, PROT_READ | PROT_WRITE), "mprotect");
	*last = 1;
}

static void mprotect_prot1(void)
{
	write_all(memory, 1);
}

enum {
	READ_CACHE, WRITE_CACHE, BARE, VECTOR, SIGNAL, PROTN, PROTN_RAISE, PROT1,
	PROT1_RAISE, MPROTECT_PROTN, MPROTECT_PROT1, FIGURES
};

static struct figure figures[FIGURES] = {
	[READ_CACHE] = { "minor fault on a page-cache page, read", "page", N, 0,
			 cache_prepare, cache_read, 0 },
	[WRITE_CACHE] = { "minor fault on a page-cache page, write", "page", N, 0,
			  cache_prepare, cache_write, 0 },
	[BARE] = { "bare trap and resume", "trap", N, 0, bare_prepare, bare, 0 },
	[VECTOR] = { "the same, handler with vector registers", "trap", N, 0,
		     vector_prepare, bare, 0 },
	[PROTN] = { "protN+trap+unprot", "page", N, 0, protn_prepare, protn, 0 },
	[PROTN_RAISE] = { "protN+trap+unprot, raised by the trap", "page", N, 0,
			  protn_raise_prepare, protn, 0 },
	[PROT1] = { "prot1+trap+unprot, one call for both pages", "page", N, 0,
		    prot1_swap_prepare, prot1, 0 },
	[PROT1_RAISE] = { "prot1+trap+unprot, raised by the trap", "page", N, 0,
			  prot1_raise_prepare, prot1, 0 },
	[SIGNAL] = { "bare trap and resume, by signal", "trap", N, 0,
		     signal_prepare, bare, 0 },
	[MPROTECT_PROTN] = { "mprotect + SIGSEGV: protN+trap+unprot", "page", N, 0,
			     mprotect_prepare, mprotect_protn, 0 },
	[MPROTECT_PROT1] = { "mprotect + SIGSEGV: prot1+trap+unprot", "page", N, 0,
			     mprotect_prot1_prepare, mprotect_prot1, 0 },
};

static volatile char *map_file(void)
{
	char name[] = "/tmp/trap.XXXXXX";
	int fd = mkstemp(name), i;
	void *p;

	check(fd >= 0 && !unlink(name), name);
	check(!ftruncate(fd, N * AROUND * PAGE), name);
	for (i = 0; i < N; i++)
		check(pwrite(fd, "", 1, i * AROUND * PAGE) == 1, name);
	p = mmap(NULL, N * AROUND * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
		 fd, 0);
	check(p != MAP_FAILED, name);
	close(fd);
	return p;
}

static void setup(void)
{
	int dev = avm_open();
	void *p;

	check(dev >= 0, AVM_DEVICE);
	space = avm_create(dev, N * PAGE);
	check(space >= 0, "create");
	check(!avm_map(space, 0, N * PAGE, RW, &p), "map");
	view = p;
	p = mmap(NULL, N * PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(p != MAP_FAILED, "mmap");
	memory = p;
	file = map_file();
	shuffle();
}

/* mprotect is dearer on 6.1 than on later kernels, so the goal is higher. */
static double goal(void)
{
	struct utsname u;

	check(!uname(&u), "uname");
	return strncmp(u.release, "6.1.", 4) ? 6.5 : 10;
}

int main(int argc, char **argv)
{
	const struct figure *f = figures, *floor;
	int i;

	figure_begin(argc, argv, "trap", "Measure what a trap costs");
	setup();
	for (i = 0; i < FIGURES; i++)
		figure_measure(&figures[i]);
	floor = f[READ_CACHE].best < f[WRITE_CACHE].best ? f + READ_CACHE :
							   f + WRITE_CACHE;
	figure_ratio("bare trap to minor fault", f + BARE, floor, 1.3, false);
	figure_ratio("mprotect to avm, protN+trap+unprot, raised",
		     f + MPROTECT_PROTN, f + PROTN_RAISE, goal(), true);
	figure_ratio("mprotect to avm, protN+trap+unprot, one call a page",
		     f + MPROTECT_PROTN, f + PROTN, 0, true);
	figure_ratio("mprotect to avm, prot1+trap+unprot, raised",
		     f + MPROTECT_PROT1, f + PROT1_RAISE, goal(), true);
	figure_ratio("mprotect to avm, prot1+trap+unprot, one call for both",
		     f + MPROTECT_PROT1, f + PROT1, 0, true);
	return figure_end();
}
