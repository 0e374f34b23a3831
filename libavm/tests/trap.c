// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The dispatcher, in one thread, on ordinary memory: which handler, with what,
 * in which context.
 */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>

#include "tap.h"

#define READ_WRITE	(PROT_READ | PROT_WRITE)

/* What the handlers saw last. */
static struct avm_trap_info seen;
static void *seen_arg;
static volatile int traps;

static void record(const struct avm_trap_info *info, void *arg)
{
	seen = *info;
	seen_arg = arg;
	traps++;
}

static void *page_of(const void *addr)
{
	return (void *)((uintptr_t)addr & -AVM_PAGE_SIZE);
}

/* Open the page for what was tried. */
static int open_page(const struct avm_trap_info *info, void *arg)
{
	int prot = PROT_READ | (int)info->access;

	record(info, arg);
	mprotect(page_of(info->addr), AVM_PAGE_SIZE, prot);
	return AVM_TRAP_RETRY;
}

/* The compiler has to know that anything may happen at these. */
static int load(const unsigned char *p)
{
	int value = *(const volatile unsigned char *)p;

	__asm__ volatile("" : : : "memory");
	return value;
}

static void store(unsigned char *p, int value)
{
	__asm__ volatile("" : : : "memory");
	*(volatile unsigned char *)p = (unsigned char)value;
	__asm__ volatile("" : : : "memory");
}

static void check_seen(const void *addr, unsigned int access, const void *view,
		       size_t length, const void *arg)
{
	CHECK(seen.addr == addr);
	CHECK_EQ(seen.access, access);
	CHECK_EQ(seen.reserved, 0);
	CHECK(seen.view == view);
	CHECK_EQ(seen.length, length);
	CHECK(seen_arg == arg);
	CHECK_EQ(traps, 1);
	traps = 0;
}

typedef void plain_fn(void);

static void test_kinds(void)
{
	const size_t length = 4 * AVM_PAGE_SIZE;
	unsigned char *p = pages(4, READ_WRITE);
	plain_fn *code = (plain_fn *)(p + 2 * AVM_PAGE_SIZE + 5);
	unsigned char *counter = p + 3 * AVM_PAGE_SIZE + 4095;

	p[2 * AVM_PAGE_SIZE + 5] = 0xc3;	/* ret */
	*counter = 41;
	mprotect(p, length, PROT_NONE);
	traps = 0;
	REQUIRE(avm_trap(AVM_NO_SPACE, p, length, open_page, &seen, 0) == 0);

	CHECK_EQ(load(p + 17), 0);
	check_seen(p + 17, AVM_PROT_READ, p, length, &seen);
	store(p + AVM_PAGE_SIZE + 4095, 9);
	check_seen(p + AVM_PAGE_SIZE + 4095, AVM_PROT_WRITE, p, length, &seen);
	CHECK_EQ(load(p + AVM_PAGE_SIZE + 4095), 9);
	code();
	__asm__ volatile("" : : : "memory");
	check_seen((void *)code, AVM_PROT_EXEC, p, length, &seen);
	/* A read-modify-write is one trap, of a write. */
	__atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST);
	check_seen(counter, AVM_PROT_WRITE, p, length, &seen);
	CHECK_EQ(*counter, 42);

	/* A present page that forbids: SEGV_ACCERR, read and fetch and write. */
	mprotect(p, length, PROT_READ);
	store(p, 1);
	check_seen(p, AVM_PROT_WRITE, p, length, &seen);
	code();
	__asm__ volatile("" : : : "memory");
	check_seen((void *)code, AVM_PROT_EXEC, p, length, &seen);

	CHECK_EQ(avm_untrap(p), 0);
	free_pages(p, 4);
}

/* Nothing is mapped: SEGV_MAPERR, as a view without translations raises. */
static int map_page(const struct avm_trap_info *info, void *arg)
{
	record(info, arg);
	mmap(page_of(info->addr), AVM_PAGE_SIZE, READ_WRITE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	return AVM_TRAP_RETRY;
}

static void test_unmapped(void)
{
	unsigned char *p = pages(2, PROT_NONE);

	traps = 0;
	REQUIRE(avm_trap(AVM_NO_SPACE, p, 2 * AVM_PAGE_SIZE, map_page, NULL, 0) == 0);
	free_pages(p, 2);
	store(p + AVM_PAGE_SIZE + 1, 7);
	check_seen(p + AVM_PAGE_SIZE + 1, AVM_PROT_WRITE, p, 2 * AVM_PAGE_SIZE,
		   NULL);
	CHECK_EQ(load(p + AVM_PAGE_SIZE + 1), 7);
	CHECK_EQ(avm_untrap(p), 0);
	free_pages(p, 2);
}

static void test_errno(void)
{
	unsigned char *p = pages(1, PROT_NONE);

	REQUIRE(avm_trap(AVM_NO_SPACE, p, AVM_PAGE_SIZE, map_page, NULL, 0) == 0);
	errno = EXDEV;
	store(p, 1);
	CHECK_EQ(errno, EXDEV);
	CHECK_EQ(avm_untrap(p), 0);
	free_pages(p, 1);
}

static int spoil_errno(const struct avm_trap_info *info, void *arg)
{
	open_page(info, arg);
	errno = ENOTRECOVERABLE;
	return AVM_TRAP_RETRY;
}

static void test_errno_spoilt(void)
{
	unsigned char *p = pages(1, PROT_NONE);

	REQUIRE(avm_trap(AVM_NO_SPACE, p, AVM_PAGE_SIZE, spoil_errno, NULL, 0) == 0);
	errno = EXDEV;
	store(p, 1);
	CHECK_EQ(errno, EXDEV);
	CHECK_EQ(avm_untrap(p), 0);
	free_pages(p, 1);
}

static int second(const struct avm_trap_info *info, void *arg)
{
	*(int *)arg += 1;
	mprotect(page_of(info->addr), AVM_PAGE_SIZE, READ_WRITE);
	return AVM_TRAP_RETRY;
}

/* Neighbours: the boundary belongs to the upper one. */
static void test_two_ranges(void)
{
	unsigned char *p = pages(4, PROT_NONE);
	int calls = 0;

	REQUIRE(avm_trap(AVM_NO_SPACE, p + 2 * AVM_PAGE_SIZE, 2 * AVM_PAGE_SIZE, second,
			 &calls, 0) == 0);
	REQUIRE(avm_trap(AVM_NO_SPACE, p, 2 * AVM_PAGE_SIZE, open_page, &calls, 0) == 0);
	traps = 0;
	store(p + 2 * AVM_PAGE_SIZE - 1, 1);
	check_seen(p + 2 * AVM_PAGE_SIZE - 1, AVM_PROT_WRITE, p,
		   2 * AVM_PAGE_SIZE, &calls);
	CHECK_EQ(calls, 0);
	store(p + 2 * AVM_PAGE_SIZE, 1);
	CHECK_EQ(calls, 1);
	CHECK_EQ(traps, 0);
	store(p + 4 * AVM_PAGE_SIZE - 1, 1);
	CHECK_EQ(calls, 2);
	CHECK_EQ(avm_untrap(p), 0);
	CHECK_EQ(avm_untrap(p + 2 * AVM_PAGE_SIZE), 0);
	free_pages(p, 4);
}

#define DEPTH	8

static unsigned char *nest;
static int depth, deepest;
static bool on_alternate;

static int nested(const struct avm_trap_info *info, void *arg)
{
	stack_t stack;
	size_t page = (size_t)((unsigned char *)info->addr - nest) /
		      AVM_PAGE_SIZE;

	(void)arg;
	sigaltstack(NULL, &stack);
	on_alternate = on_alternate && (stack.ss_flags & SS_ONSTACK);
	depth++;
	if (depth > deepest)
		deepest = depth;
	/* Deeper first, so that all frames are there at once. */
	if (page + 1 < DEPTH)
		store(nest + (page + 1) * AVM_PAGE_SIZE, (int)page + 2);
	mprotect(nest + page * AVM_PAGE_SIZE, AVM_PAGE_SIZE, READ_WRITE);
	depth--;
	return AVM_TRAP_RETRY;
}

static void check_nested(void)
{
	depth = 0;
	deepest = 0;
	nest = pages(DEPTH, PROT_NONE);
	REQUIRE(avm_trap(AVM_NO_SPACE, nest, DEPTH * AVM_PAGE_SIZE, nested, NULL, 0) == 0);
	store(nest, 1);
	CHECK_EQ(deepest, DEPTH);
	CHECK_EQ(depth, 0);
	for (int i = 0; i < DEPTH; i++)
		CHECK_EQ(nest[i * AVM_PAGE_SIZE], i + 1);
	CHECK_EQ(avm_untrap(nest), 0);
	free_pages(nest, DEPTH);
}

static void test_nested(void)
{
	check_nested();
}

static void set_alternate(void *base, int flags)
{
	stack_t stack = {
		.ss_sp = base,
		.ss_size = 64 * AVM_PAGE_SIZE,
		.ss_flags = flags,
	};

	CHECK_EQ(sigaltstack(&stack, NULL), 0);
}

static void test_nested_alternate(void)
{
	unsigned char *stack = pages(64, READ_WRITE);

	set_alternate(stack, 0);
	on_alternate = true;
	check_nested();
	CHECK(on_alternate);
	/* Used more than once: nothing is left on it. */
	check_nested();
	set_alternate(NULL, SS_DISABLE);
	free_pages(stack, 64);
}

static sigjmp_buf way_out;

static int leave(const struct avm_trap_info *info, void *arg)
{
	record(info, arg);
	siglongjmp(way_out, 1);
}

static sigset_t current_mask(void)
{
	sigset_t mask;

	sigprocmask(SIG_SETMASK, NULL, &mask);
	return mask;
}

/* Signal by signal: the kernel fills only a part of a sigset_t. */
static bool same_mask(const sigset_t *a, const sigset_t *b)
{
	for (int sig = 1; sig < NSIG; sig++)
		if (sigismember(a, sig) != sigismember(b, sig))
			return false;
	return true;
}

/* @save_mask 0: nobody puts the mask back, so that it must not have changed. */
static void check_jumps(int save_mask)
{
	unsigned char *p = pages(1, PROT_NONE);
	sigset_t before = current_mask(), after;
	volatile int jumps = 0;

	traps = 0;
	REQUIRE(avm_trap(AVM_NO_SPACE, p, AVM_PAGE_SIZE, leave, NULL, 0) == 0);
	for (int i = 0; i < 1000; i++) {
		if (sigsetjmp(way_out, save_mask) == 0)
			store(p, 1);
		else
			jumps++;
	}
	CHECK_EQ(jumps, 1000);
	CHECK_EQ(traps, 1000);
	after = current_mask();
	CHECK(same_mask(&before, &after));
	/* Nothing is left behind that would be in the way of a change. */
	CHECK_EQ(avm_untrap(p), 0);
	REQUIRE(avm_trap(AVM_NO_SPACE, p, AVM_PAGE_SIZE, open_page, NULL, 0) == 0);
	store(p, 1);
	CHECK_EQ(traps, 1001);
	CHECK_EQ(avm_untrap(p), 0);
	free_pages(p, 1);
}

static void test_longjmp(void)
{
	unsigned char *stack = pages(64, READ_WRITE);

	check_jumps(1);
	check_jumps(0);
	set_alternate(stack, 0);
	check_jumps(0);
	set_alternate(NULL, SS_DISABLE);
	free_pages(stack, 64);
}

static sigset_t mask_inside;

static int look_at_mask(const struct avm_trap_info *info, void *arg)
{
	mask_inside = current_mask();
	return open_page(info, arg);
}

static void test_mask(void)
{
	unsigned char *p = pages(1, PROT_NONE);
	sigset_t usr1, before, after;

	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigprocmask(SIG_BLOCK, &usr1, NULL);
	before = current_mask();
	REQUIRE(avm_trap(AVM_NO_SPACE, p, AVM_PAGE_SIZE, look_at_mask, NULL, 0) == 0);
	store(p, 1);
	after = current_mask();
	CHECK(same_mask(&mask_inside, &before));
	CHECK(same_mask(&after, &before));
	CHECK_EQ(sigismember(&mask_inside, SIGSEGV), 0);
	sigprocmask(SIG_UNBLOCK, &usr1, NULL);
	CHECK_EQ(avm_untrap(p), 0);
	free_pages(p, 1);
}

/* Nothing can be mapped there, so the handler leaves. */
static void test_null(void)
{
	plain_fn *volatile none = NULL;
	unsigned char *volatile at = NULL;

	traps = 0;
	REQUIRE(avm_trap(AVM_NO_SPACE, NULL, AVM_PAGE_SIZE, leave, &seen, 0) == 0);
	/* The first trap there is, and another after those of other kinds. */
	for (volatile int i = 0; i < 2; i++) {
		if (sigsetjmp(way_out, 0) == 0)
			none();
		check_seen(NULL, AVM_PROT_EXEC, NULL, AVM_PAGE_SIZE, &seen);
		if (sigsetjmp(way_out, 0) == 0)
			store(at + 8, 1);
		check_seen(at + 8, AVM_PROT_WRITE, NULL, AVM_PAGE_SIZE, &seen);
		if (sigsetjmp(way_out, 0) == 0)
			load(at);
		check_seen(NULL, AVM_PROT_READ, NULL, AVM_PAGE_SIZE, &seen);
	}
	CHECK_EQ(avm_untrap(NULL), 0);
}

static void test_arguments(void)
{
	unsigned char *p = pages(8, PROT_NONE);
	const size_t page = AVM_PAGE_SIZE;
	void *top = (void *)-page;

	CHECK_EQ(avm_trap(AVM_NO_SPACE, p, page, NULL, NULL, 0), -EINVAL);
	CHECK_EQ(avm_trap(AVM_NO_SPACE, p + 1, page, open_page, NULL, 0), -EINVAL);
	CHECK_EQ(avm_trap(AVM_NO_SPACE, p, page + 1, open_page, NULL, 0), -EINVAL);
	CHECK_EQ(avm_trap(AVM_NO_SPACE, p, 0, open_page, NULL, 0), -EINVAL);
	CHECK_EQ(avm_trap(AVM_NO_SPACE, top, 2 * page, open_page, NULL, 0), -EINVAL);
	CHECK_EQ(avm_trap(AVM_NO_SPACE, top, page, open_page, NULL, 0), -EINVAL);
	CHECK_EQ(avm_trap(AVM_NO_SPACE, p, -page, open_page, NULL, 0), -EINVAL);
	CHECK_EQ(avm_untrap(p), -ENOENT);

	/* Every way to overlap pages 2 to 5, and the two to touch. */
	CHECK_EQ(avm_trap(AVM_NO_SPACE, p + 2 * page, 4 * page, open_page, NULL, 0), 0);
	CHECK_EQ(avm_trap(AVM_NO_SPACE, p + 2 * page, 4 * page, open_page, NULL, 0), -EEXIST);
	CHECK_EQ(avm_trap(AVM_NO_SPACE, p + 1 * page, 2 * page, open_page, NULL, 0), -EEXIST);
	CHECK_EQ(avm_trap(AVM_NO_SPACE, p + 5 * page, 2 * page, open_page, NULL, 0), -EEXIST);
	CHECK_EQ(avm_trap(AVM_NO_SPACE, p + 3 * page, 1 * page, open_page, NULL, 0), -EEXIST);
	CHECK_EQ(avm_trap(AVM_NO_SPACE, p + 0 * page, 8 * page, open_page, NULL, 0), -EEXIST);
	CHECK_EQ(avm_trap(AVM_NO_SPACE, p + 0 * page, 2 * page, open_page, NULL, 0), 0);
	CHECK_EQ(avm_trap(AVM_NO_SPACE, p + 6 * page, 2 * page, open_page, NULL, 0), 0);

	/* By its first address only. */
	CHECK_EQ(avm_untrap(p + 3 * page), -ENOENT);
	CHECK_EQ(avm_untrap(p + 2 * page), 0);
	CHECK_EQ(avm_untrap(p + 2 * page), -ENOENT);
	CHECK_EQ(avm_untrap(p), 0);
	CHECK_EQ(avm_untrap(p + 6 * page), 0);
	CHECK_EQ(avm_untrap(p + 6 * page), -ENOENT);
	free_pages(p, 8);
}

/* A descriptor that could not be had is no word for "without a space". */
static void test_negative_spaces(void)
{
	unsigned char *p = pages(1, PROT_NONE);
	int accepted = 0;

	for (int space = -5000; space < 0; space++)
		if (space != AVM_NO_SPACE)
			accepted += avm_trap(space, p, AVM_PAGE_SIZE, open_page, NULL, 0) !=
				    -EINVAL;
	CHECK_EQ(accepted, 0);
	CHECK_EQ(avm_trap(-1, p, AVM_PAGE_SIZE, open_page, NULL, 0), -EINVAL);
	CHECK_EQ(avm_trap(-EPERM, p, AVM_PAGE_SIZE, open_page, NULL, 0), -EINVAL);
	CHECK_EQ(avm_trap(INT_MIN, p, AVM_PAGE_SIZE, open_page, NULL, 0), -EINVAL);
	CHECK_EQ(avm_trap(-1, p, AVM_PAGE_SIZE, open_page, NULL, AVM_TRAP_RAISE), -EINVAL);
	CHECK_EQ(avm_untrap(p), -ENOENT);
	/* This one is. */
	CHECK_EQ(avm_trap(AVM_NO_SPACE, p, AVM_PAGE_SIZE, open_page, NULL, 0), 0);
	CHECK_EQ(avm_untrap(p), 0);
	free_pages(p, 1);
}

#define MANY	1000

/* More than the static tables hold, in an order that is neither up nor down. */
static void test_many(void)
{
	unsigned char *p = pages(2 * MANY, PROT_NONE);
	int calls[MANY] = { 0 };
	int failed = 0;

	for (int round = 0; round < 2; round++) {
		mprotect(p, 2 * MANY * AVM_PAGE_SIZE, PROT_NONE);
		memset(calls, 0, sizeof(calls));
		for (int i = 0; i < MANY; i++) {
			int n = i * 387 % MANY;

			failed += avm_trap(AVM_NO_SPACE, p + 2 * n * AVM_PAGE_SIZE,
					   AVM_PAGE_SIZE, second,
					   &calls[n], 0) != 0;
		}
		CHECK_EQ(failed, 0);
		for (int n = 0; n < MANY; n++)
			store(p + 2 * n * AVM_PAGE_SIZE + n, 1);
		for (int n = 0; n < MANY; n++)
			failed += calls[n] != 1;
		CHECK_EQ(failed, 0);
		for (int i = 0; i < MANY; i++) {
			int n = i * 613 % MANY;

			failed += avm_untrap(p + 2 * n * AVM_PAGE_SIZE) != 0;
		}
		CHECK_EQ(failed, 0);
	}
	free_pages(p, 2 * MANY);
}

/* A handler that changes the table, itself included. */
static int register_next(const struct avm_trap_info *info, void *arg)
{
	unsigned char *next = (unsigned char *)info->view + AVM_PAGE_SIZE;

	CHECK_EQ(avm_untrap(info->view), 0);
	CHECK_EQ(avm_trap(AVM_NO_SPACE, next, AVM_PAGE_SIZE, open_page, arg, 0), 0);
	return open_page(info, arg);
}

static void test_change_from_handler(void)
{
	unsigned char *p = pages(2, PROT_NONE);

	traps = 0;
	REQUIRE(avm_trap(AVM_NO_SPACE, p, AVM_PAGE_SIZE, register_next, p, 0) == 0);
	store(p + 3, 1);
	check_seen(p + 3, AVM_PROT_WRITE, p, AVM_PAGE_SIZE, p);
	store(p + AVM_PAGE_SIZE, 1);
	check_seen(p + AVM_PAGE_SIZE, AVM_PROT_WRITE, p + AVM_PAGE_SIZE,
		   AVM_PAGE_SIZE, p);
	CHECK_EQ(avm_untrap(p), -ENOENT);
	CHECK_EQ(avm_untrap(p + AVM_PAGE_SIZE), 0);
	free_pages(p, 2);
}

/* One access over a boundary of two protected pages: two traps, one result. */
static void test_across(void)
{
	unsigned char *p = pages(2, PROT_NONE);
	unsigned char *at = p + AVM_PAGE_SIZE - 3;
	const uint64_t value = 0x0123456789abcdef;
	uint64_t found;

	traps = 0;
	REQUIRE(avm_trap(AVM_NO_SPACE, p, 2 * AVM_PAGE_SIZE, open_page, NULL, 0) == 0);
	__asm__ volatile("movq %1, (%0)" : : "r"(at), "r"(value) : "memory");
	CHECK_EQ(traps, 2);
	memcpy(&found, at, sizeof(found));
	CHECK_EQ(found, value);
	CHECK_EQ(avm_untrap(p), 0);
	free_pages(p, 2);
}

static const struct tap_test tests[] = {
	TEST(test_arguments, "registration: -EINVAL, -EEXIST, -ENOENT"),
	TEST(test_negative_spaces, "a negative space: -EINVAL, but for AVM_NO_SPACE"),
	TEST(test_null, "page 0: a call through NULL is trapped, and a write and a read"),
	TEST(test_kinds, "read, write, fetch: kind, exact address, range, arg"),
	TEST(test_unmapped, "nothing mapped: trapped as well"),
	TEST(test_errno, "errno survives a handler's system calls"),
	TEST(test_errno_spoilt, "errno survives a handler that sets it"),
	TEST(test_two_ranges, "two ranges, two handlers"),
	TEST(test_across, "one store over two protected pages"),
	TEST(test_nested, "nested 8 deep"),
	TEST(test_nested_alternate, "nested 8 deep on the alternate stack"),
	TEST(test_longjmp, "siglongjmp out of a handler, with and without mask"),
	TEST(test_mask, "a handler has the signal mask of the interrupted code"),
	TEST(test_many, "1000 ranges, in any order"),
	TEST(test_change_from_handler, "a handler registers and unregisters"),
};

int main(void)
{
	return tap_run(tests, ARRAY_SIZE(tests));
}
