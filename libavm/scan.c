// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * libavm: which pages were written or accessed (DIRTY).
 */
#include <assert.h>

#include "internal.h"

/* Why: see the head of space.c. */
static_assert(sizeof(struct avm_scan) == 80, "avm_scan(): see space.c");

int avm_scan(int space, struct avm_scan *scan)
{
	scan->size = sizeof(*scan);
	return avm_sys_ioctl(space, AVM_IOC_SCAN, scan);
}

/*
 * A NULL bitmap of some size is no wish for a mere count but an allocation
 * that failed: the module refuses it, with nothing cleared.
 */
static int64_t get_and_clear(int space, void *addr, size_t length,
			     uint32_t bits, uint64_t *bitmap,
			     size_t bitmap_bytes)
{
	struct avm_scan scan = {
		.flags = bitmap || bitmap_bytes ? AVM_SCAN_BITMAP : 0,
		.addr = (uintptr_t)addr,
		.length = length,
		.match = bits,
		.clear = bits,
		.buffer = (uintptr_t)bitmap,
		.buffer_size = bitmap_bytes,
	};
	int ret = avm_scan(space, &scan);

	return ret < 0 ? ret : (int64_t)scan.out_pages;
}

int64_t avm_dirty(int space, void *addr, size_t length, uint64_t *bitmap,
		  size_t bitmap_bytes)
{
	return get_and_clear(space, addr, length, AVM_PAGE_DIRTY, bitmap,
			     bitmap_bytes);
}

int64_t avm_accessed(int space, void *addr, size_t length, uint64_t *bitmap,
		     size_t bitmap_bytes)
{
	return get_and_clear(space, addr, length, AVM_PAGE_ACCESSED, bitmap,
			     bitmap_bytes);
}

int64_t avm_dirty_spans(int space, void *addr, size_t length,
			struct avm_span *spans, size_t max_spans, void **end)
{
	struct avm_scan scan = {
		.flags = AVM_SCAN_RANGES,
		.addr = (uintptr_t)addr,
		.length = length,
		.match = AVM_PAGE_DIRTY,
		.clear = AVM_PAGE_DIRTY,
		.buffer = (uintptr_t)spans,
		.out_end = (uintptr_t)addr,	/* if the module writes none */
	};
	int ret;

	/* A product that wraps would ask for less than the caller has. */
	if (__builtin_mul_overflow(max_spans, sizeof(*spans),
				   &scan.buffer_size))
		scan.buffer_size = UINT64_MAX / sizeof(*spans) * sizeof(*spans);
	ret = avm_scan(space, &scan);
	if (end)
		*end = (void *)(uintptr_t)scan.out_end;
	return ret < 0 ? ret : (int64_t)scan.out_spans;
}
