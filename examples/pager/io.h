/* SPDX-License-Identifier: MIT */
/*
 * The file and the terminal, by plain system calls: all of this may be called
 * in a trap handler, where stdio's locks may be held by the very thread that
 * trapped.
 */
#ifndef PAGER_IO_H
#define PAGER_IO_H

#include <stddef.h>

/*
 * All of the bytes or an error: 0 or -errno. A signal or a short transfer is
 * no error; a file that ends too soon is -ENODATA.
 */
int io_read(int fd, void *to, size_t length, size_t at);
int io_write(int fd, const void *from, size_t length, size_t at);

/* What was written is on the disk, if there is one. Return: 0 or -errno. */
int io_sync(int fd);

/* "pager: ...", one line to the standard error. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif /* PAGER_IO_H */
