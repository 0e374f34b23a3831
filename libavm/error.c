// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * libavm: what errors mean, and which version this is.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "internal.h"

#ifndef AVM_VERSION
#error "AVM_VERSION comes from the Makefile, which reads it from VERSION"
#endif

/* Sparse, and indexed by errno: constant text, hence safe anywhere. */
static const char *const texts[] = {
	[0] = "success",
	[EACCES] =
		"no access to /dev/avm (see its mode), or more protection than the mapping allows",
	[EBADF] =
		"descriptor not open: pass what avm_open() or avm_create() returned",
	[EBUSY] =
		"userfaultfd is registered on the view: unregister it first",
	[EEXIST] =
		"overlaps what is there: avm_untrap() the other range first, or map elsewhere",
	[EFAULT] =
		"an array or structure cannot be read or written: check its address and size",
	[EINTR] = "the calling thread is being killed",
	[EINVAL] =
		"bad argument: whole pages, not empty or wrapping; none, r, rw, rx or rwx",
	[EMFILE] =
		"too many open files in this process: close some, or raise \"ulimit -n\"",
	[ENFILE] =
		"too many open files in the system: close some, or raise fs.file-max",
	[ENOBUFS] =
		"buffer too small: 8 bytes for each 64 pages begun, or room for one span",
	[ENODEV] =
		"no avm module loaded: run \"modprobe avm\", or \"make load\" in its source",
	[ENOENT] =
		"no trap handler begins there: pass the address that avm_trap() was given",
	[ENOMEM] =
		"no memory, or past a limit: discard pages, or raise \"ulimit -l\" or the cgroup's",
	[ENOSPC] =
		"too many trap handlers in one view: register larger ranges, or use more views",
	[ENOTTY] =
		"wrong descriptor (device for space, or a stranger), or the module is too old",
	[ENXIO] =
		"some of the range is not mapped, or not as a view of this space",
	[EOPNOTSUPP] =
		"the module does not know a flag: it is too old, see avm_query()",
	[EPERM] = "refused by a security policy",
	[E2BIG] =
		"too many ranges: split the call, see avm_query(); or the module is too old",
};

const char *avm_strerror(int err)
{
	const size_t count = sizeof(texts) / sizeof(*texts);

	/* INT_MIN has no negation. */
	if (err < 0 && err > INT_MIN)
		err = -err;
	if (err >= 0 && (size_t)err < count && texts[err])
		return texts[err];
	return strerror(err);
}

const char *avm_version(void)
{
	return AVM_VERSION;
}
