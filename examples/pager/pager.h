/* SPDX-License-Identifier: MIT */
/*
 * A demand pager in user space: a file that can be read and written as memory
 * while no more than a given number of its pages are in.
 */
#ifndef PAGER_PAGER_H
#define PAGER_PAGER_H

#include <stdbool.h>
#include <stddef.h>

/* Fewer frames could be all in use by the instructions of a few threads. */
#define PAGER_MIN_FRAMES	16

/**
 * struct pager_setup - what pager_open() is to do
 * @file: descriptor of the file; stays the caller's, and open until
 *	pager_close()
 * @size: bytes of the file, not 0
 * @writable: the view can be written, and what was written goes to the file;
 *	else a write through the view is a SIGSEGV
 * @frames: pages that may be in at any time, at least PAGER_MIN_FRAMES
 * @fail: called in a trap when the page cannot be had, after the reason was
 *	told on the standard error: the access cannot go on. Must not return,
 *	use nothing but system calls, and not touch the view. No page is
 *	written back while it runs
 */
struct pager_setup {
	int file;
	size_t size;
	bool writable;
	size_t frames;
	void (*fail)(void);
};

/**
 * struct pager_counts - what a pager has done
 * @traps: accesses that trapped
 * @upcalls: traps that came without a signal, as the module counts them
 * @met: traps that found the page in: another thread had just brought it
 * @in: pages brought in
 * @out: pages put out
 * @written: pages of these that were written back to the file
 * @flushes: TLB flushes, as the module counts them
 * @flushed_pages: translations that these took away
 * @resident: pages that the space held when it was last looked at, as the
 *	module counts them
 * @most_resident: the most that were ever seen
 */
struct pager_counts {
	unsigned long traps;
	unsigned long upcalls;
	unsigned long met;
	unsigned long in;
	unsigned long out;
	unsigned long written;
	unsigned long flushes;
	unsigned long flushed_pages;
	unsigned long resident;
	unsigned long most_resident;
};

struct pager;

/**
 * pager_open() - show a file as memory
 * @setup: how
 * @out: the pager, on success
 *
 * Any number of threads may use the view at once. A system call that is
 * handed a pointer into it fails with EFAULT where a page is not in.
 *
 * Return: 0, or -errno after the reason was told on the standard error.
 */
int pager_open(const struct pager_setup *setup, struct pager **out);

/* The file as memory; beyond its end, to the end of the page, are zeros. */
void *pager_view(const struct pager *p);

/* What was done so far. Return: as pager_open(). */
int pager_watch(struct pager *p, struct pager_counts *out);

/**
 * pager_close() - write back what was written, and free everything
 * @p: the pager; no thread may use the view any more
 * @out: what it has done; may be NULL
 *
 * Return: 0, or -errno after the reason was told on the standard error; the
 * pager is gone in any case.
 */
int pager_close(struct pager *p, struct pager_counts *out);

#endif /* PAGER_PAGER_H */
