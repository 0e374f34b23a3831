/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Have the nth allocation, or copy from or to user memory, of this thread fail:
 * slab, pages and copies are counted together, from the moment of inject_arm().
 */
#ifndef INJECT_H
#define INJECT_H

#include "avmtest.h"

#include <stdbool.h>

#define DEBUGFS	"/sys/kernel/debug/"

static int inject_fd;

static inline void inject_option(const char *name, const char *value)
{
	int fd = open(name, O_WRONLY);

	must(fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value));
	close(fd);
}

/* Of this thread; a child has to open its own. */
static inline void inject_open(void)
{
	if (inject_fd > 0)
		close(inject_fd);
	inject_fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	must(inject_fd >= 0);
}

/* As it is, nothing fails that may sleep, and no single page. */
static inline void inject_setup(void)
{
	inject_option(DEBUGFS "failslab/ignore-gfp-wait", "N");
	inject_option(DEBUGFS "failslab/verbose", "0");
	inject_option(DEBUGFS "fail_page_alloc/ignore-gfp-wait", "N");
	inject_option(DEBUGFS "fail_page_alloc/ignore-gfp-highmem", "N");
	inject_option(DEBUGFS "fail_page_alloc/min-order", "0");
	inject_option(DEBUGFS "fail_page_alloc/verbose", "0");
	inject_option(DEBUGFS "fail_usercopy/verbose", "0");
	inject_open();
}

static inline void inject_arm(unsigned int n)
{
	char text[16];
	int length = snprintf(text, sizeof(text), "%u", n);

	must(pwrite(inject_fd, text, length, 0) == length);
}

/*
 * No more failures. Returns whether there was one. To read what is left is a
 * copy itself: where that is the one to fail, none has before.
 */
static inline bool inject_disarm(void)
{
	char text[16] = "";
	ssize_t got = pread(inject_fd, text, sizeof(text) - 1, 0);
	bool left = got < 0 || strtoul(text, NULL, 10) > 0;

	must(got > 0 || errno == EFAULT);
	/* The copy of this may be one that fails: then nothing is left. */
	if (pwrite(inject_fd, "0", 1, 0) != 1)
		must(pwrite(inject_fd, "0", 1, 0) == 1);
	return !left;
}

#endif /* INJECT_H */
