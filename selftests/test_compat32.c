// SPDX-License-Identifier: GPL-2.0
/*
 * A 32-bit program on the 64-bit kernel: the structures are the same, byte for
 * byte, and every call does what it does for others. Built with -m32.
 */
#define _FILE_OFFSET_BITS 64
#include <stddef.h>

#include "avmtest.h"
#include "harness.h"

_Static_assert(sizeof(void *) == 4, "this is to be a 32-bit program");
_Static_assert(sizeof(struct avm_query) == 40, "query");
_Static_assert(sizeof(struct avm_create) == 16, "create");
_Static_assert(sizeof(struct avm_range) == 24, "range");
_Static_assert(sizeof(struct avm_batch) == 32, "batch");
_Static_assert(sizeof(struct avm_span) == 16, "span");
_Static_assert(sizeof(struct avm_scan) == 80, "scan");
_Static_assert(sizeof(struct avm_map2) == 48, "map2");
_Static_assert(sizeof(struct avm_stats) == 104, "stats");
_Static_assert(sizeof(struct avm_trap) == 48, "trap");
_Static_assert(sizeof(struct avm_upcall) == 72, "upcall");
_Static_assert(sizeof(struct avm_trap_pass) == 152, "pass");
_Static_assert(offsetof(struct avm_batch, out_bytes) == 24, "out_bytes");
_Static_assert(offsetof(struct avm_scan, out_spans) == 72, "out_spans");
_Static_assert(AVM_IOC_CREATE == 0x4010b781 && AVM_IOC_SCAN == 0xc050b785, "numbers");

#define N	64

TEST(a_query_tells_the_same)
{
	struct avm_query arg = { .size = sizeof(arg) };

	ASSERT_EQ(0, call(space_new(1), AVM_IOC_QUERY, &arg));
	EXPECT_EQ(AVM_ABI_VERSION, arg.out_abi_version);
	EXPECT_EQ(PAGE, arg.out_page_size);
	EXPECT_LT(1ull << 32, arg.out_max_size);
}

TEST(a_space_may_be_larger_than_the_address_space)
{
	const uint64_t pages = 1ull << 28; /* 1 TiB */
	int fd = space_new(pages);
	char *p;

	EXPECT_EQ(pages * PAGE, stats(fd).out_length);
	p = mmap(NULL, 2 * PAGE, RW, MAP_SHARED, fd, (pages - 2) * PAGE);
	ASSERT_NE(MAP_FAILED, p);
	p[PAGE] = 1;
	EXPECT_EQ(1, dirty(fd, p, 2, NULL));
}

TEST(protect_works_and_traps_have_the_exact_address)
{
	int fd = space_new(N);
	char *p = view_new(fd, 0, N, RW);
	struct avm_range ranges[] = {
		{ (uintptr_t)p, PAGE, NONE, 0 }, { (uintptr_t)p + 2 * PAGE, 2 * PAGE, R, 0 },
		{ (uintptr_t)p + 1, PAGE, R, 0 },
	};
	struct avm_batch out;

	denied_setup();
	memset(p, 1, N * PAGE);
	EXPECT_EQ(0, batch(fd, AVM_IOC_PROTECT, ranges, 2, &out));
	EXPECT_EQ(2, out.out_done);
	EXPECT_EQ(SIGSEGV, try_read(p + 77));
	EXPECT_EQ(p + 77, denied.addr);
	EXPECT_EQ(0, try_write(p + PAGE, 1));
	EXPECT_EQ(0, try_read(p + 3 * PAGE));
	EXPECT_EQ(SIGSEGV, try_write(p + 3 * PAGE, 1));
	EXPECT_EQ(-EINVAL, batch(fd, AVM_IOC_PROTECT, ranges, 3, &out));
	EXPECT_EQ(2, out.out_done);
	EXPECT_EQ(0, protect(fd, p, 4, RW));
	EXPECT_EQ(0, try_write(p, 1));
}

TEST(protect_page_works)
{
	int fd = space_new(N);
	char *p = view_new(fd, 0, N, RW);

	denied_setup();
	p[0] = 1;
	EXPECT_EQ(0, call(fd, AVM_IOC_PROTECT_PAGE, p + PAGE + R));
	EXPECT_EQ(0, try_read(p + PAGE));
	EXPECT_EQ(SIGSEGV, try_write(p + PAGE, 1));
	EXPECT_EQ(0, call(fd, AVM_IOC_PROTECT_PAGE, p + PAGE + RW));
	EXPECT_EQ(0, try_write(p + PAGE, 1));
	EXPECT_EQ(-EINVAL, call(fd, AVM_IOC_PROTECT_PAGE, p + 8));
	EXPECT_EQ(-ENXIO, call(fd, AVM_IOC_PROTECT_PAGE, (void *)(0xfffff000 + R)));
	EXPECT_EQ(0, try_write(p, 1));
}

TEST(scan_works)
{
	int fd = space_new(N);
	char *p = view_new(fd, 0, N, RW);
	struct avm_span spans[4] = {};
	struct avm_scan arg = {
		.size = sizeof(arg), .flags = AVM_SCAN_RANGES | AVM_SCAN_PROTECT,
		.addr = (uintptr_t)p, .length = N * PAGE, .match = AVM_PAGE_DIRTY,
		.clear = AVM_PAGE_DIRTY, .prot = R, .buffer = (uintptr_t)spans,
		.buffer_size = sizeof(spans),
	};
	uint64_t bits;

	denied_setup();
	p[3 * PAGE] = 1;
	p[4 * PAGE] = 1;
	p[63 * PAGE] = 1;
	EXPECT_EQ(3, scan(fd, p, N, AVM_PAGE_DIRTY, 0, &bits));
	EXPECT_EQ(3ull << 3 | 1ull << 63, bits);
	EXPECT_EQ(0, call(fd, AVM_IOC_SCAN, &arg));
	EXPECT_EQ(3, arg.out_pages);
	EXPECT_EQ(2, arg.out_spans);
	EXPECT_EQ((uintptr_t)p + 3 * PAGE, spans[0].addr);
	EXPECT_EQ(2 * PAGE, spans[0].length);
	EXPECT_EQ((uintptr_t)p + 63 * PAGE, spans[1].addr);
	EXPECT_EQ((uintptr_t)p + N * PAGE, arg.out_end);
	EXPECT_EQ(SIGSEGV, try_write(p + 4 * PAGE, 1));
	EXPECT_EQ(0, dirty(fd, p, N, NULL));
}

TEST(map2_works)
{
	int fd = space_new(N);
	char *p = view_new(fd, 0, N, RW), *q;

	denied_setup();
	p[PAGE] = 5;
	q = map2(fd, p, N, RW, R);
	EXPECT_EQ(5, q[PAGE]);
	EXPECT_EQ(SIGSEGV, try_write(q, 1));
	EXPECT_EQ(0, protect(fd, q, 1, RW));
	EXPECT_EQ(0, try_write(q, 9));
	EXPECT_EQ(9, ((volatile char *)p)[0]);
	EXPECT_EQ(2, stats(fd).out_views);
}

TEST(discard_and_populate_work)
{
	int fd = space_new(N);
	volatile char *p = view_new(fd, 0, N, RW);

	p[0] = 1;
	EXPECT_EQ(0, populate(fd, (char *)p, N));
	EXPECT_EQ(N, stats(fd).out_resident_pages);
	EXPECT_EQ(1, p[0]);
	EXPECT_EQ(0, discard(fd, (char *)p, N));
	EXPECT_EQ(0, stats(fd).out_resident_pages);
	EXPECT_EQ(N, stats(fd).out_discarded);
	EXPECT_EQ(0, p[0]);
}

TEST(bad_input_is_refused)
{
	int fd = space_new(N);
	char *p = view_new(fd, 0, N, RW);
	struct avm_range high = { 1ull << 32 | (uintptr_t)p, PAGE, R, 0 };
	struct avm_batch arg = { .size = sizeof(arg), .count = 1 };

	EXPECT_EQ(-ENXIO, batch(fd, AVM_IOC_PROTECT, &high, 1, NULL));
	EXPECT_EQ(-EFAULT, call(fd, AVM_IOC_PROTECT, NULL));
	EXPECT_EQ(-EFAULT, call(fd, AVM_IOC_PROTECT, (void *)0xfffffff0));
	EXPECT_EQ(-ENOTTY, call(fd, AVM_IOC_CREATE, &arg));
	/* An address of an array that 32 bits cannot hold. */
	arg.ranges = 1ull << 32 | (uintptr_t)&high;
	EXPECT_EQ(-EFAULT, call(fd, AVM_IOC_PROTECT, &arg));
	EXPECT_EQ(0, arg.out_done);
	arg.size = 28;
	EXPECT_EQ(-EINVAL, call(fd, AVM_IOC_PROTECT, &arg));
}

/* Code that an upcall would go on at. */
static void never(void)
{
	_exit(99);
}

static int trap(int fd, const char *addr, unsigned long pages, uint32_t raise, uint32_t flags,
		void (*entry)(void))
{
	struct avm_trap arg = {
		.size = sizeof(arg), .flags = flags, .addr = (uintptr_t)addr,
		.length = pages * PAGE, .entry = (uintptr_t)entry, .raise = raise,
	};

	return call(fd, AVM_IOC_TRAP, &arg);
}

/* Registering works as for others; an upcall is for 64-bit code alone. */
TEST(a_trap_is_always_a_signal)
{
	static const unsigned int flags[] = { 0, AVM_TRAP_ONSTACK };
	int fd = space_new(N), i;
	char *p = view_new(fd, 0, N, RW);

	denied_setup();
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(0, trap(fd, p, N, NONE, flags[i], never));
		EXPECT_EQ(-EEXIST, trap(fd, p + PAGE, 1, NONE, flags[i], never));
		EXPECT_EQ(0, protect(fd, p, N, NONE));
		EXPECT_EQ(SIGSEGV, try_read(p + PAGE + 77));
		EXPECT_EQ(p + PAGE + 77, denied.addr);
		EXPECT_EQ(SEGV_MAPERR, denied.code);
		EXPECT_EQ(SIGSEGV, try_write(p + 2 * PAGE, 1));
		EXPECT_EQ(2, denied.error & 2);
		EXPECT_EQ(SIGSEGV, try_fetch(p));
		EXPECT_EQ(0, trap(fd, p, N, NONE, 0, NULL));
		EXPECT_EQ(-ENOENT, trap(fd, p, N, NONE, 0, NULL));
	}
	EXPECT_EQ(6, stats(fd).out_traps);
	EXPECT_EQ(0, stats(fd).out_upcalls);
}

TEST(a_trap_raises_the_page_and_is_a_signal)
{
	int fd = space_new(N);
	char *p = view_new(fd, 0, N, RW);

	denied_setup();
	EXPECT_EQ(0, trap(fd, p, N, RW, 0, never));
	EXPECT_EQ(0, protect(fd, p, N, NONE));
	EXPECT_EQ(SIGSEGV, try_write(p + 5, 1));
	EXPECT_EQ(0, try_write(p + 5, 1));
	EXPECT_EQ(SIGSEGV, try_read(p + PAGE));
	EXPECT_EQ(0, try_write(p + PAGE, 1));
	EXPECT_EQ(2, stats(fd).out_traps);
	EXPECT_EQ(0, stats(fd).out_upcalls);
}

TEST(a_bad_trap_is_refused)
{
	int fd = space_new(N);
	char *p = view_new(fd, 0, N, RW);

	EXPECT_EQ(-EINVAL, trap(fd, p + 1, 1, NONE, 0, never));
	EXPECT_EQ(-EOPNOTSUPP, trap(fd, p, 1, NONE, 2, never));
	EXPECT_EQ(-EACCES, trap(fd, view_new(fd, 0, 1, R), 1, RW, 0, never));
	EXPECT_EQ(-ENXIO, trap(fd, p + (N - 1) * PAGE, 2, NONE, 0, never));
	EXPECT_EQ(-ENOENT, trap(fd, p, 1, NONE, 0, NULL));
}

TEST(pass_is_EOPNOTSUPP)
{
	struct avm_trap_pass pass = {};

	EXPECT_EQ(-EOPNOTSUPP, call(space_new(1), AVM_IOC_TRAP_PASS, &pass));
	EXPECT_EQ(-EOPNOTSUPP, call(space_new(1), AVM_IOC_TRAP_PASS, NULL));
}

TEST_HARNESS_MAIN
