// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * libavm: system calls, one a function, with errno turned into a result.
 * Knows nothing of avm's structures.
 *
 * ioctl(2) is made without libc: trap handlers make it, for which every
 * instruction counts, and which may not touch what libc does (errno, and
 * vector registers where a first call is resolved).
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "internal.h"

int avm_sys_open(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static inline int raw_ioctl(int fd, unsigned long command, unsigned long arg)
{
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "0"((long)SYS_ioctl), "D"((long)fd), "S"(command),
			   "d"(arg)
			 : "rcx", "r11", "memory");
	return (int)ret;
}

int avm_sys_ioctl(int fd, unsigned long command, void *argument)
{
	return raw_ioctl(fd, command, (unsigned long)argument);
}

int avm_sys_ioctl_value(int fd, unsigned long command, unsigned long value)
{
	return raw_ioctl(fd, command, value);
}

int avm_sys_map(int fd, uint64_t offset, size_t length, int prot, void **out)
{
	void *addr = mmap(NULL, length, prot, MAP_SHARED, fd, (off_t)offset);

	if (addr == MAP_FAILED)
		return -errno;
	*out = addr;
	return 0;
}

int avm_sys_unmap(void *addr, size_t length)
{
	return munmap(addr, length) < 0 ? -errno : 0;
}

/* Zeroed memory of the library's own, or NULL. */
void *avm_sys_pages(size_t length)
{
	void *addr = mmap(NULL, length, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return addr == MAP_FAILED ? NULL : addr;
}
