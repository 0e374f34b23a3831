// SPDX-License-Identifier: MIT
/*
 * Transfers that go on until they are complete, and complaints.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "io.h"

int io_read(int fd, void *to, size_t length, size_t at)
{
	char *p = to;

	while (length) {
		ssize_t n = pread(fd, p, length, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA;
		p += n;
		at += n;
		length -= n;
	}
	return 0;
}

int io_write(int fd, const void *from, size_t length, size_t at)
{
	const char *p = from;

	while (length) {
		ssize_t n = pwrite(fd, p, length, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		p += n;
		at += n;
		length -= n;
	}
	return 0;
}

/* A disk may refuse late what it seemed to take. EINVAL: it cannot be asked. */
int io_sync(int fd)
{
	while (fdatasync(fd)) {
		if (errno == EINVAL)
			break;
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

void complain(const char *format, ...)
{
	static const char name[] = "pager: ";
	char line[1024];
	size_t length = sizeof(name) - 1;
	va_list ap;
	int n;

	__builtin_memcpy(line, name, length);
	va_start(ap, format);
	n = vsnprintf(line + length, sizeof(line) - length - 1, format, ap);
	va_end(ap);
	if (n < 0)
		return;
	length += n;
	if (length > sizeof(line) - 2)
		length = sizeof(line) - 2;
	line[length++] = '\n';
	/* If the standard error is gone, there is nobody to tell. */
	if (write(STDERR_FILENO, line, length) < 0)
		return;
}
