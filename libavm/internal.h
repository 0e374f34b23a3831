/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libavm: what its files share. Hidden in the shared library; in the static
 * one the names are visible, hence the prefixes.
 */
#ifndef AVM_INTERNAL_H
#define AVM_INTERNAL_H

#include <stdbool.h>

#include "avm.h"

/* sys.c: system calls, with errno turned into a result. */
int avm_sys_open(const char *path);
int avm_sys_ioctl(int fd, unsigned long command, void *argument);
int avm_sys_ioctl_value(int fd, unsigned long command, unsigned long value);
int avm_sys_map(int fd, uint64_t offset, size_t length, int prot, void **out);
int avm_sys_unmap(void *addr, size_t length);
void *avm_sys_pages(size_t length);

/* trap.c: @return whether a handler took the access; safe in any signal. */
bool avm_trap_dispatch(void *addr, unsigned int access);

/* signal.c: bring denied accesses to avm_trap_dispatch(). Once a process. */
int avm_signal_install(void);

#endif /* AVM_INTERNAL_H */
