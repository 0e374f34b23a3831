// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * libavm: the device, spaces and views: making them, asking about them, and
 * the memory behind their pages.
 */
#include <assert.h>
#include <errno.h>

#include "internal.h"

/*
 * A program brings these structures itself, with the size that its header had
 * when it was compiled. Writing more into one than it had then would overrun
 * it: a structure that has grown needs a new symbol version of its function,
 * and the old one goes on with the old size. (Until the first release, it is
 * enough to change the number here.)
 */
static_assert(sizeof(struct avm_query) == 40, "avm_query(): see above");
static_assert(sizeof(struct avm_stats) == 104, "avm_stats(): see above");

int avm_open(void)
{
	int fd = avm_sys_open(AVM_DEVICE);

	/* No node, or one that has outlived its module: one cause, one error. */
	if (fd == -ENOENT || fd == -ENXIO)
		return -ENODEV;
	return fd;
}

int avm_query(int fd, struct avm_query *q)
{
	*q = (struct avm_query){ .size = sizeof(*q) };
	return avm_sys_ioctl(fd, AVM_IOC_QUERY, q);
}

int avm_create(int dev, uint64_t length)
{
	struct avm_create create = {
		.size = sizeof(create),
		.length = length,
	};

	return avm_sys_ioctl(dev, AVM_IOC_CREATE, &create);
}

int avm_map(int space, uint64_t offset, size_t length, int prot, void **out)
{
	return avm_sys_map(space, offset, length, prot, out);
}

int avm_unmap(void *addr, size_t length)
{
	return avm_sys_unmap(addr, length);
}

int avm_map2(int space, const void *addr, size_t length, int max_prot,
	     int prot, void **out)
{
	struct avm_map2 map2 = {
		.size = sizeof(map2),
		.addr = (uintptr_t)addr,
		.length = length,
		.max_prot = (__u32)max_prot,
		.prot = (__u32)prot,
	};
	int ret = avm_sys_ioctl(space, AVM_IOC_MAP2, &map2);

	if (ret < 0)
		return ret;
	*out = (void *)(uintptr_t)map2.out_addr;
	return 0;
}

int avm_stats(int space, struct avm_stats *st)
{
	*st = (struct avm_stats){ .size = sizeof(*st) };
	return avm_sys_ioctl(space, AVM_IOC_STATS, st);
}
