// SPDX-License-Identifier: GPL-2.0
/*
 * symbol.c - functions of the kernel that are exported to no module
 *
 * Who uses one calls it by a static call, which is direct: nobody takes the
 * address of these functions in the kernel, so that with IBT an indirect call
 * of one is an exception.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kprobes.h>
#include <asm/ibt.h>

#include "internal.h"

/**
 * avm_symbol() - address of a function, at load
 * @name: its name
 *
 * A kprobe that is never armed resolves it; where functions begin with ENDBR
 * the probe stands behind that, and the function is 4 bytes before.
 *
 * Return: the address; or NULL, and a line in the log that says why not.
 */
void *avm_symbol(const char *name)
{
	struct kprobe probe = {
		.symbol_name = name,
		.flags = KPROBE_FLAG_DISABLED,
	};
	void *addr;
	int err;

	err = register_kprobe(&probe);
	if (err) {
		pr_err("cannot find %s in this kernel (error %d): is it built with CONFIG_KPROBES and CONFIG_KALLSYMS?\n",
		       name, err);
		return NULL;
	}
	addr = probe.addr;
	unregister_kprobe(&probe);
	if (IS_ENABLED(CONFIG_X86_KERNEL_IBT) &&
	    is_endbr(*(u32 *)(addr - ENDBR_INSN_SIZE)))
		addr -= ENDBR_INSN_SIZE;
	return addr;
}
