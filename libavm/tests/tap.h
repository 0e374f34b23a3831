/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A test program is a table of functions. The plan comes first: a program
 * that dies on the way has then promised more than it printed, and fails.
 */
#ifndef TAP_H
#define TAP_H

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "avm.h"

struct tap_test {
	void (*run)(void);
	const char *name;
};

#define TEST(function, name)	{ function, name }
#define ARRAY_SIZE(a)		(sizeof(a) / sizeof((a)[0]))

static bool tap_bad;
static const char *tap_skipped;

/* Go on after a failure: the next lines may tell more. */
#define CHECK(condition) do {						\
	if (!(condition)) {						\
		printf("# %s:%d: %s\n", __FILE__, __LINE__, #condition);	\
		tap_bad = true;						\
	}								\
} while (0)

#define CHECK_EQ(a, b) do {						\
	long long tap_a = (long long)(a), tap_b = (long long)(b);	\
									\
	if (tap_a != tap_b) {						\
		printf("# %s:%d: %s is %lld (0x%llx), not %s, %lld (0x%llx)\n", \
		       __FILE__, __LINE__, #a, tap_a,			\
		       (unsigned long long)tap_a, #b, tap_b,		\
		       (unsigned long long)tap_b);			\
		tap_bad = true;						\
	}								\
} while (0)

/* The rest of a test makes no sense without it. */
#define REQUIRE(condition) do {						\
	if (!(condition)) {						\
		printf("# %s:%d: needed: %s\n", __FILE__, __LINE__,	\
		       #condition);					\
		tap_bad = true;						\
		return;							\
	}								\
} while (0)

static inline void tap_skip(const char *reason)
{
	tap_skipped = reason;
}

static int tap_run(const struct tap_test *tests, size_t count)
{
	size_t failed = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("1..%zu\n", count);
	for (size_t i = 0; i < count; i++) {
		tap_bad = false;
		tap_skipped = NULL;
		/* A test that hangs is a test that fails. */
		alarm(60);
		tests[i].run();
		alarm(0);
		printf("%s %zu - %s%s%s\n", tap_bad ? "not ok" : "ok", i + 1,
		       tests[i].name, tap_skipped ? " # SKIP " : "",
		       tap_skipped ? tap_skipped : "");
		failed += tap_bad;
	}
	return failed != 0;
}

/* Ordinary pages, standing in for a view. */
static inline unsigned char *pages(size_t count, int prot)
{
	void *p = mmap(NULL, count * AVM_PAGE_SIZE, prot,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		perror("# mmap");
		exit(1);
	}
	return p;
}

static inline void free_pages(void *p, size_t count)
{
	munmap(p, count * AVM_PAGE_SIZE);
}

/*
 * Run @run in a child and return its wait status. Its exit status is 0 when
 * nothing in it failed; it prints its own diagnostics.
 */
static inline int in_child(void (*run)(void))
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		tap_bad = false;
		alarm(20);
		run();
		fflush(stdout);
		_exit(tap_bad);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		perror("# fork");
		exit(1);
	}
	return status;
}

#define CHECK_CHILD_PASSES(run)	CHECK_EQ(in_child(run), 0)

#define CHECK_CHILD_DIES(run, signal) do {				\
	int tap_status = in_child(run);					\
									\
	CHECK(WIFSIGNALED(tap_status));					\
	CHECK_EQ(WTERMSIG(tap_status), signal);				\
} while (0)

#endif /* TAP_H */
