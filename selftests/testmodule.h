/* SPDX-License-Identifier: GPL-2.0 */
/*
 * testmodule.h - the modules in kernel/ that are for tests only. They lie
 * beside the test program: tools/check and tools/mutants see to that.
 */
#ifndef TESTMODULE_H
#define TESTMODULE_H

#include "avmtest.h"

#include <limits.h>
#include <sys/syscall.h>

static inline void module_load(const char *name)
{
	char path[PATH_MAX + 64];
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX);
	int fd;

	must(n > 0);
	path[n] = 0;
	sprintf(strrchr(path, '/'), "/%s.ko", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	must(fd >= 0);
	must(!syscall(SYS_finit_module, fd, "", 0) || errno == EEXIST);
	close(fd);
}

static inline void module_unload(const char *name)
{
	must(!syscall(SYS_delete_module, name, O_NONBLOCK));
}

#endif /* TESTMODULE_H */
