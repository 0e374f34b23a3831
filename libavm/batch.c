// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * libavm: the calls that take ranges of pages: PROT1, PROTN, UNPROT, populate
 * and discard. A single range is a batch of one; a single page has a call of
 * its own, which costs half.
 */
#include <errno.h>

#include "internal.h"

static int batch(int space, unsigned long command,
		 const struct avm_range *ranges, uint32_t count, uint32_t *done)
{
	struct avm_batch batch = {
		.size = sizeof(batch),
		.ranges = (uintptr_t)ranges,
		.count = count,
	};
	int ret = avm_sys_ioctl(space, command, &batch);

	/* Zero if the call failed before the module wrote it. */
	if (done)
		*done = batch.out_done;
	return ret;
}

static int one(int space, unsigned long command, void *addr, size_t length,
	       int prot)
{
	const struct avm_range range = {
		.addr = (uintptr_t)addr,
		.length = length,
		.prot = (__u32)prot,
	};

	return batch(space, command, &range, 1, NULL);
}

/* The module takes the page and its protection in one word. */
static int one_page(int space, const void *page, int prot)
{
	unsigned long addr = (uintptr_t)page;

	if (addr % AVM_PAGE_SIZE || prot < 0 || (unsigned long)prot >= AVM_PAGE_SIZE)
		return -EINVAL;
	return avm_sys_ioctl_value(space, AVM_IOC_PROTECT_PAGE,
				   addr | (unsigned long)prot);
}

int avm_prot1(int space, void *page, int prot)
{
	return one_page(space, page, prot);
}

int avm_protn(int space, const struct avm_range *ranges, uint32_t count,
	      uint32_t *done)
{
	return batch(space, AVM_IOC_PROTECT, ranges, count, done);
}

int avm_protect(int space, void *addr, size_t length, int prot)
{
	return one(space, AVM_IOC_PROTECT, addr, length, prot);
}

int avm_unprot(int space, void *page, int prot)
{
	return one_page(space, page, prot);
}

int avm_populate(int space, void *addr, size_t length)
{
	return one(space, AVM_IOC_POPULATE, addr, length, AVM_PROT_NONE);
}

int avm_populaten(int space, const struct avm_range *ranges, uint32_t count,
		  uint32_t *done)
{
	return batch(space, AVM_IOC_POPULATE, ranges, count, done);
}

int avm_discard(int space, void *addr, size_t length)
{
	return one(space, AVM_IOC_DISCARD, addr, length, AVM_PROT_NONE);
}

int avm_discardn(int space, const struct avm_range *ranges, uint32_t count,
		 uint32_t *done)
{
	return batch(space, AVM_IOC_DISCARD, ranges, count, done);
}
