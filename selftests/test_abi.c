// SPDX-License-Identifier: GPL-2.0
/*
 * A plain C program, as anyone could write it from the ABI header alone: open,
 * ioctl, mmap and sigaction, no library and no test harness. It uses all six
 * primitives as a program would and says in TAP whether each did its work. The
 * binary interface, which never changes, is checked when this is compiled.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <linux/avm.h>

#define FIELD(type, field, at, bytes)						\
	_Static_assert(offsetof(struct type, field) == (at) &&			\
		       sizeof(((struct type *)0)->field) == (bytes), #type "." #field)

/* Every structure of a call begins with its size and flags. */
#define SIZE(type, bytes)							\
	_Static_assert(sizeof(struct type) == (bytes) &&			\
		       _Alignof(struct type) == 8 &&				\
		       offsetof(struct type, size) == 0 &&			\
		       sizeof(((struct type *)0)->size) == 4 &&			\
		       offsetof(struct type, flags) == 4 &&			\
		       sizeof(((struct type *)0)->flags) == 4, #type)

#define COMMAND(name, number) _Static_assert((name) == (number), #name)

SIZE(avm_query, 40);
FIELD(avm_query, out_abi_version, 8, 4);
FIELD(avm_query, out_page_size, 12, 4);
FIELD(avm_query, out_features, 16, 8);
FIELD(avm_query, out_max_size, 24, 8);
FIELD(avm_query, out_max_ranges, 32, 4);
FIELD(avm_query, out_reserved, 36, 4);

SIZE(avm_create, 16);
FIELD(avm_create, length, 8, 8);

_Static_assert(sizeof(struct avm_range) == 24, "avm_range");
FIELD(avm_range, addr, 0, 8);
FIELD(avm_range, length, 8, 8);
FIELD(avm_range, prot, 16, 4);
FIELD(avm_range, reserved, 20, 4);

SIZE(avm_batch, 32);
FIELD(avm_batch, ranges, 8, 8);
FIELD(avm_batch, count, 16, 4);
FIELD(avm_batch, out_done, 20, 4);
FIELD(avm_batch, out_bytes, 24, 8);

_Static_assert(sizeof(struct avm_span) == 16, "avm_span");
FIELD(avm_span, addr, 0, 8);
FIELD(avm_span, length, 8, 8);

SIZE(avm_scan, 80);
FIELD(avm_scan, addr, 8, 8);
FIELD(avm_scan, length, 16, 8);
FIELD(avm_scan, match, 24, 4);
FIELD(avm_scan, clear, 28, 4);
FIELD(avm_scan, prot, 32, 4);
FIELD(avm_scan, reserved, 36, 4);
FIELD(avm_scan, buffer, 40, 8);
FIELD(avm_scan, buffer_size, 48, 8);
FIELD(avm_scan, out_pages, 56, 8);
FIELD(avm_scan, out_end, 64, 8);
FIELD(avm_scan, out_spans, 72, 8);

SIZE(avm_map2, 48);
FIELD(avm_map2, addr, 8, 8);
FIELD(avm_map2, length, 16, 8);
FIELD(avm_map2, to, 24, 8);
FIELD(avm_map2, max_prot, 32, 4);
FIELD(avm_map2, prot, 36, 4);
FIELD(avm_map2, out_addr, 40, 8);

SIZE(avm_stats, 104);
FIELD(avm_stats, out_length, 8, 8);
FIELD(avm_stats, out_resident_pages, 16, 8);
FIELD(avm_stats, out_limit_pages, 24, 8);
FIELD(avm_stats, out_state_bytes, 32, 8);
FIELD(avm_stats, out_views, 40, 8);
FIELD(avm_stats, out_faults, 48, 8);
FIELD(avm_stats, out_traps, 56, 8);
FIELD(avm_stats, out_allocated, 64, 8);
FIELD(avm_stats, out_discarded, 72, 8);
FIELD(avm_stats, out_flushes, 80, 8);
FIELD(avm_stats, out_flushed_pages, 88, 8);
FIELD(avm_stats, out_upcalls, 96, 8);

SIZE(avm_trap, 48);
FIELD(avm_trap, addr, 8, 8);
FIELD(avm_trap, length, 16, 8);
FIELD(avm_trap, entry, 24, 8);
FIELD(avm_trap, arg, 32, 8);
FIELD(avm_trap, raise, 40, 4);
FIELD(avm_trap, reserved, 44, 4);

_Static_assert(sizeof(struct avm_upcall) == 72, "avm_upcall");
FIELD(avm_upcall, arg, 0, 8);
FIELD(avm_upcall, addr, 8, 8);
FIELD(avm_upcall, access, 16, 4);
FIELD(avm_upcall, reserved, 20, 4);
FIELD(avm_upcall, di, 24, 8);
FIELD(avm_upcall, ip, 32, 8);
FIELD(avm_upcall, cs, 40, 8);
FIELD(avm_upcall, flags, 48, 8);
FIELD(avm_upcall, sp, 56, 8);
FIELD(avm_upcall, ss, 64, 8);

_Static_assert(sizeof(struct avm_trap_pass) == 152, "avm_trap_pass");
FIELD(avm_trap_pass, r11, 0, 8);
FIELD(avm_trap_pass, ax, 56, 8);
FIELD(avm_trap_pass, bp, 64, 8);
FIELD(avm_trap_pass, unused, 72, 8);
FIELD(avm_trap_pass, upcall, 80, 72);

COMMAND(AVM_IOC_QUERY, 0xc028b780);
COMMAND(AVM_IOC_CREATE, 0x4010b781);
COMMAND(AVM_IOC_PROTECT, 0xc020b782);
COMMAND(AVM_IOC_DISCARD, 0xc020b783);
COMMAND(AVM_IOC_POPULATE, 0xc020b784);
COMMAND(AVM_IOC_SCAN, 0xc050b785);
COMMAND(AVM_IOC_MAP2, 0xc030b786);
COMMAND(AVM_IOC_STATS, 0xc068b787);
COMMAND(AVM_IOC_PROTECT_PAGE, 0xb788);
COMMAND(AVM_IOC_TRAP, 0x4030b789);
COMMAND(AVM_IOC_TRAP_PASS, 0xb78a);

_Static_assert(AVM_PROT_NONE == PROT_NONE && AVM_PROT_READ == PROT_READ &&
	       AVM_PROT_WRITE == PROT_WRITE && AVM_PROT_EXEC == PROT_EXEC, "protections");
_Static_assert(AVM_PAGE_DIRTY == 1 && AVM_PAGE_ACCESSED == 2, "bits of a page");
_Static_assert(AVM_SCAN_BITMAP == 1 && AVM_SCAN_RANGES == 2 && AVM_SCAN_PROTECT == 4,
	       "flags of a scan");
_Static_assert(AVM_MAP2_FIXED == 1 && AVM_FEATURE_SIGNAL == 1 &&
	       AVM_FEATURE_UPCALL == 2 && AVM_TRAP_ONSTACK == 1, "flags");
_Static_assert(AVM_ABI_VERSION == 1, "version");

#define PAGE	4096ul
#define PAGES	64ul
#define RW	(AVM_PROT_READ | AVM_PROT_WRITE)

static int space;
static char *view;
static int tests, failures;

static void tap(int ok, const char *promise)
{
	printf("%sok %d %s\n", ok ? "" : "not ", ++tests, promise);
	failures += !ok;
}

static int batch(unsigned long cmd, struct avm_range *ranges, unsigned int count)
{
	struct avm_batch arg = {
		.size = sizeof(arg), .ranges = (uintptr_t)ranges, .count = count,
	};
	int ret = ioctl(space, cmd, &arg);

	return ret == 0 && arg.out_done == count && arg.out_bytes == 0;
}

static int protect(void *addr, unsigned long pages, unsigned int prot)
{
	struct avm_range range = { (uintptr_t)addr, pages * PAGE, prot, 0 };

	return batch(AVM_IOC_PROTECT, &range, 1);
}

/* What a garbage collector or a pager does: note the page, open it, go on. */
static volatile uintptr_t trapped;
static volatile sig_atomic_t traps, trap_writes, unprot_failed;

static void on_trap(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	uintptr_t addr = (uintptr_t)info->si_addr;

	if (sig != SIGSEGV || addr - (uintptr_t)view >= PAGES * PAGE)
		_exit(1);
	trapped = addr;
	traps++;
	trap_writes += uc->uc_mcontext.gregs[REG_ERR] >> 1 & 1;
	if (!protect((void *)(addr & -PAGE), 1, RW))
		unprot_failed = 1;
}

static int begin(void)
{
	struct avm_query query = { .size = sizeof(query) };
	struct avm_create create = { .size = sizeof(create), .length = PAGES * PAGE };
	struct sigaction action = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO };
	int dev = open(AVM_DEVICE, O_RDWR | O_CLOEXEC);

	tap(dev >= 0, "the device opens");
	tap(!ioctl(dev, AVM_IOC_QUERY, &query) && query.out_abi_version == AVM_ABI_VERSION &&
	    query.out_page_size == PAGE && (query.out_features & AVM_FEATURE_SIGNAL),
	    "the module knows this version of the ABI");
	space = ioctl(dev, AVM_IOC_CREATE, &create);
	tap(space >= 0, "a space is made");
	close(dev);
	view = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, space, 0);
	tap(view != MAP_FAILED, "a view is made");
	return view != MAP_FAILED && !sigaction(SIGSEGV, &action, NULL);
}

static void test_trap(void)
{
	volatile char *p = view;

	p[5 * PAGE] = 5;
	tap(protect(view + 5 * PAGE, 1, AVM_PROT_READ), "PROT1 takes the right to write");
	tap(p[5 * PAGE] == 5 && traps == 0, "reading goes on");
	p[5 * PAGE + 123] = 6;
	tap(traps == 1 && trap_writes == 1 && !unprot_failed, "a write is a TRAP");
	tap(trapped == (uintptr_t)view + 5 * PAGE + 123, "the TRAP has the exact address");
	tap(p[5 * PAGE + 123] == 6, "after UNPROT the write is done");
	traps = 0;
	p[5 * PAGE + 124] = 7;
	tap(traps == 0, "and no further one traps");
	tap(!ioctl(space, AVM_IOC_PROTECT_PAGE, (uintptr_t)p + 5 * PAGE + AVM_PROT_READ),
	    "PROT1 and UNPROT have a call of their own");
	p[5 * PAGE]++;
	tap(traps == 1 && !ioctl(space, AVM_IOC_PROTECT_PAGE, (uintptr_t)p + 5 * PAGE + RW),
	    "which takes and gives the right to write");
}

static void test_protn(void)
{
	struct avm_range ranges[PAGES / 2];
	volatile char *p = view;
	unsigned long i;
	int sum = 0;

	for (i = 0; i < PAGES; i++)
		p[i * PAGE] = 1;
	for (i = 0; i < PAGES / 2; i++)
		ranges[i] = (struct avm_range){ (uintptr_t)view + 2 * i * PAGE, PAGE,
						i % 2 ? AVM_PROT_READ : AVM_PROT_NONE, 0 };
	tap(batch(AVM_IOC_PROTECT, ranges, PAGES / 2), "PROTN protects 32 scattered pages");
	traps = 0;
	trap_writes = 0;
	for (i = 0; i < PAGES; i++)
		sum += p[i * PAGE];
	tap(sum == PAGES && traps == PAGES / 4 && trap_writes == 0,
	    "of which half trap when read");
	traps = 0;
	for (i = 0; i < PAGES; i++)
		p[i * PAGE] = 2;
	tap(traps == PAGES / 4 && trap_writes == PAGES / 4, "and the others when written");
}

static unsigned long long dirty_pages(uint64_t *bitmap)
{
	struct avm_scan arg = {
		.size = sizeof(arg), .flags = AVM_SCAN_BITMAP,
		.addr = (uintptr_t)view, .length = PAGES * PAGE,
		.match = AVM_PAGE_DIRTY, .clear = AVM_PAGE_DIRTY,
		.buffer = (uintptr_t)bitmap, .buffer_size = sizeof(*bitmap),
	};

	return ioctl(space, AVM_IOC_SCAN, &arg) ? -1ull : arg.out_pages;
}

static void test_dirty(void)
{
	volatile char *p = view;
	uint64_t bitmap;

	tap(dirty_pages(&bitmap) == PAGES && bitmap == ~0ull, "DIRTY finds all pages written");
	tap(dirty_pages(&bitmap) == 0 && bitmap == 0, "and none the next time");
	traps = 0;
	p[0]++;
	p[33 * PAGE + 4]++;
	p[63 * PAGE + 4095]++;
	tap(dirty_pages(&bitmap) == 3 && bitmap == (1ull | 1ull << 33 | 1ull << 63),
	    "but those written since");
	tap(traps == 0, "for which no write has trapped");
}

static void test_map2(void)
{
	struct avm_map2 arg = {
		.size = sizeof(arg), .addr = (uintptr_t)view + 8 * PAGE, .length = 4 * PAGE,
		.max_prot = RW, .prot = RW,
	};
	volatile char *second;

	tap(!ioctl(space, AVM_IOC_MAP2, &arg) && arg.out_addr, "MAP2 maps pages again");
	second = (char *)(uintptr_t)arg.out_addr;
	protect(view + 8 * PAGE, 4, AVM_PROT_NONE);
	traps = 0;
	second[PAGE] = 42;
	tap(traps == 0 && second[PAGE] == 42, "where they can be written while shut in the first");
	tap(((volatile char *)view)[9 * PAGE] == 42 && traps == 1, "which sees what was written");
}

static void test_rest(void)
{
	struct avm_range range = { (uintptr_t)view, PAGES * PAGE, 0, 0 };
	struct avm_stats stats = { .size = sizeof(stats) };
	volatile char *p = view;

	protect(view, PAGES, RW);
	tap(batch(AVM_IOC_DISCARD, &range, 1) && p[9 * PAGE] == 0 && p[0] == 0,
	    "DISCARD empties pages");
	tap(batch(AVM_IOC_POPULATE, &range, 1), "POPULATE fills them");
	tap(!ioctl(space, AVM_IOC_STATS, &stats) && stats.out_resident_pages == PAGES &&
	    stats.out_length == PAGES * PAGE && stats.out_views == 2 && stats.out_traps > 0,
	    "STATS count them");
}

int main(void)
{
	printf("TAP version 13\n1..26\n");
	if (begin()) {
		test_trap();
		test_protn();
		test_dirty();
		test_map2();
		test_rest();
	}
	tap(!munmap(view, PAGES * PAGE) && !close(space), "all goes away");
	printf("# Totals: pass:%d fail:%d\n", tests - failures, failures);
	return failures || tests != 26;
}
