// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A program that uses the library as it was installed; C11 and C++17. Refers
 * to every function, so that one that is not exported does not link.
 */
#include <avm.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef void (*any_fn)(void);

static const any_fn functions[] = {
	(any_fn)avm_open, (any_fn)avm_query, (any_fn)avm_create,
	(any_fn)avm_map, (any_fn)avm_unmap, (any_fn)avm_prot1,
	(any_fn)avm_protn, (any_fn)avm_protect, (any_fn)avm_unprot,
	(any_fn)avm_dirty, (any_fn)avm_dirty_spans, (any_fn)avm_accessed,
	(any_fn)avm_scan, (any_fn)avm_map2, (any_fn)avm_populate,
	(any_fn)avm_populaten, (any_fn)avm_discard, (any_fn)avm_discardn,
	(any_fn)avm_stats, (any_fn)avm_trap, (any_fn)avm_untrap,
	(any_fn)avm_strerror, (any_fn)avm_version,
};

static int open_page(const struct avm_trap_info *info, void *arg)
{
	*(unsigned int *)arg = info->access;
	mprotect(info->view, info->length, PROT_READ | PROT_WRITE);
	return AVM_TRAP_RETRY;
}

int main(void)
{
	unsigned int access_kind = 0;
	struct avm_query query;
	void *page;
	int fd;

	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
		if (!functions[i])
			return 1;
	if (strcmp(avm_version(), WANT_VERSION))
		return 2;

	fd = avm_open();
	if (access(AVM_DEVICE, F_OK) == 0) {
		if (fd < 0 && fd != -EACCES)
			return 3;
		if (fd >= 0 && avm_query(fd, &query))
			return 4;
	} else if (fd != -ENODEV || !strstr(avm_strerror(fd), "modprobe avm")) {
		return 5;
	}

	page = mmap(NULL, AVM_PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
		    -1, 0);
	if (page == MAP_FAILED)
		return 6;
	if (avm_trap(AVM_NO_SPACE, page, AVM_PAGE_SIZE, open_page, &access_kind, 0))
		return 7;
	*(volatile char *)page = 1;
	if (access_kind != AVM_PROT_WRITE)
		return 8;
	if (avm_untrap(page))
		return 9;
	return 0;
}
