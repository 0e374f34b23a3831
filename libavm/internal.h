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

/*
 * Denied accesses: signal.c and upcall.c receive them, look the handler up in
 * the table that trap.c keeps (table.h), and call it.
 */

/* signal.c: receive them as SIGSEGV. Once a process. */
int avm_signal_install(void);
/* End the program as by a fault at @addr. */
void avm_signal_die(uintptr_t addr);

/* upcall.c: receive them without. */
void avm_upcall_prepare(void);	/* once a process, before the first handler */
/* @hint: where the handler is in the table. */
int avm_upcall_register(const struct avm_trap *trap, int space, size_t hint);
/* Call a handler that may use vector registers. */
int avm_call_vector(const struct avm_trap_info *info, void *arg,
		    avm_trap_fn *fn);

#endif /* AVM_INTERNAL_H */
