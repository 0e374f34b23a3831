/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * avm: virtual-memory primitives for user programs, by ioctl.
 *
 * The primitives are those of Appel and Li, "Virtual Memory Primitives for
 * User Programs" (ASPLOS 1991): TRAP, PROT1, PROTN, UNPROT, DIRTY and MAP2.
 */
#ifndef _UAPI_LINUX_AVM_H
#define _UAPI_LINUX_AVM_H

#include <linux/ioctl.h>
#include <linux/types.h>

/**
 * DOC: General interface
 *
 * Open /dev/avm and make a *space* with AVM_IOC_CREATE: a file that owns page
 * frames. mmap(2) of that file, MAP_SHARED, makes a *view*: one mapping, in
 * one process, with a protection of its own for each of its pages. Several
 * views of the same part of a space show the same pages. All other calls are
 * made on the descriptor of the space and concern views of it in the calling
 * process.
 *
 * A user access that the protection of its page forbids calls the code that
 * AVM_IOC_TRAP has registered for the page. Where there is none, or it cannot
 * be called, the access raises SIGSEGV with the exact address in si_addr.
 * si_code is SEGV_MAPERR, but SEGV_ACCERR, and no call, where a fetch meets a page
 * that is mapped and may not be executed, and where the mapping as a whole forbids
 * the read or write (a write to a view that was mapped PROT_READ). A system call
 * that meets such a page fails with EFAULT, without a signal. A touch for which no
 * memory can be had raises SIGBUS (EFAULT from a system call).
 *
 * Pages of a view are no ordinary memory to the kernel: what pins user pages
 * refuses them with EFAULT (O_DIRECT, registered buffers, process_vm_readv(2),
 * futexes that are shared between processes, and with them the stacks of
 * pthreads, whose end pthread_join(3) awaits by one). mprotect(2) is refused
 * (EACCES). A child of fork(2) does not inherit views.
 *
 * Every structure begins with its size in bytes and flags. A smaller size
 * than the first version of the structure had is EINVAL; a larger one than
 * the kernel knows is accepted when the rest is zero, and E2BIG otherwise, as
 * is a size above the page size. Addresses, offsets and lengths are in bytes
 * and multiples of the page size. Fields named out_* are written by the
 * kernel, on success and on failure alike once the structure has been
 * accepted; all others are only read.
 *
 * A call may be made from any thread; none of them is a cancellation point
 * and none returns early for a signal that is not fatal. 32-bit programs use
 * the same structures with the same layout.
 *
 * Errors, for every call:
 *
 *  - EBADF: the descriptor is not open.
 *  - ENOTTY: the descriptor is not of this kind, or the command is unknown.
 *  - EINVAL: size too small; a length or count of zero; an address, offset
 *    or length not a multiple of the page size, or wrapping; a protection
 *    that does not exist; a field that must be zero is not.
 *  - EOPNOTSUPP: an unknown flag.
 *  - E2BIG: size too large, as above; a count above the limit that
 *    AVM_IOC_QUERY reports.
 *  - EFAULT: the structure, or an array that it points to, cannot be read or
 *    written.
 *  - ENXIO: some of the range is not mapped, or not by a view of this space.
 *  - EACCES: a protection above what the mapping itself allows.
 *  - EBUSY: userfaultfd is registered on the view (which only its WP_ASYNC
 *    mode can be); touches raise SIGBUS meanwhile. After it has gone, protect
 *    the view again: pages that were read-only may be writable.
 *  - ENOMEM: no memory, or past RLIMIT_MEMLOCK or the memory cgroup's limit.
 *  - EINTR: the calling thread is being killed.
 *
 * A call that fails has changed nothing, unless it says how much it did.
 */

/** define AVM_ABI_VERSION - the version of the interface in this header. */
#define AVM_ABI_VERSION	1

/** define AVM_DEVICE - the device to open. */
#define AVM_DEVICE	"/dev/avm"

#define AVM_IOC_MAGIC	0xB7

/*
 * Protections have the values of PROT_NONE, PROT_READ, PROT_WRITE and
 * PROT_EXEC. The sets that exist are none, r, rw, rx and rwx.
 */
#define AVM_PROT_NONE	0x0
#define AVM_PROT_READ	0x1
#define AVM_PROT_WRITE	0x2
#define AVM_PROT_EXEC	0x4

/* What a scan can match and clear. */
#define AVM_PAGE_DIRTY		(1u << 0)
#define AVM_PAGE_ACCESSED	(1u << 1)

/* Bits of out_features. */
#define AVM_FEATURE_SIGNAL	(1ull << 0)	/* traps by SIGSEGV */
#define AVM_FEATURE_UPCALL	(1ull << 1)	/* traps by AVM_IOC_TRAP */

/**
 * struct avm_query - ioctl(AVM_IOC_QUERY), on the device or a space
 * @size: sizeof(struct avm_query)
 * @flags: must be 0
 * @out_abi_version: AVM_ABI_VERSION of the module
 * @out_page_size: bytes a page
 * @out_features: AVM_FEATURE_* that the module has
 * @out_max_size: bytes that a space may have at most
 * @out_max_ranges: ranges that one call may name at most
 * @out_reserved: 0
 *
 * What this module offers.
 */
struct avm_query {
	__u32 size;
	__u32 flags;
	__u32 out_abi_version;
	__u32 out_page_size;
	__aligned_u64 out_features;
	__aligned_u64 out_max_size;
	__u32 out_max_ranges;
	__u32 out_reserved;
};

#define AVM_IOC_QUERY	_IOWR(AVM_IOC_MAGIC, 0x80, struct avm_query)

/**
 * struct avm_create - ioctl(AVM_IOC_CREATE), on the device
 * @size: sizeof(struct avm_create)
 * @flags: must be 0
 * @length: bytes in the space, a multiple of the page size, at most
 *	out_max_size
 *
 * Make a space. Its pages read as zeros until written; each is allocated when
 * it is first touched, cannot be swapped, and counts as locked memory of the
 * user who called, against the RLIMIT_MEMLOCK that holds now (no limit with
 * CAP_IPC_LOCK), and against the memory cgroup of the thread that touches it.
 *
 * Return: the descriptor of the space, close-on-exec. Errors besides the
 * general ones: EMFILE, ENFILE.
 */
struct avm_create {
	__u32 size;
	__u32 flags;
	__aligned_u64 length;
};

#define AVM_IOC_CREATE	_IOW(AVM_IOC_MAGIC, 0x81, struct avm_create)

/**
 * struct avm_range - some pages of a view
 * @addr: first byte, a multiple of the page size
 * @length: bytes, a multiple of the page size, not 0
 * @prot: AVM_PROT_* that the pages are to have, in AVM_IOC_PROTECT; must be 0
 *	in other calls
 * @reserved: must be 0
 *
 * A range may cross from one view of the space into an adjacent one.
 */
struct avm_range {
	__aligned_u64 addr;
	__aligned_u64 length;
	__u32 prot;
	__u32 reserved;
};

/**
 * struct avm_batch - ioctl(AVM_IOC_PROTECT, _DISCARD, _POPULATE), on a space
 * @size: sizeof(struct avm_batch)
 * @flags: must be 0
 * @ranges: address of an array of struct avm_range
 * @count: ranges in it, at least 1
 * @out_done: ranges that were done completely, in the order given
 * @out_bytes: bytes of the range after these that were done, from its start
 *
 * Ranges are done in order; where they overlap the last one wins. The first
 * that cannot be done ends the call: the error is its error, and @out_done
 * and @out_bytes say what had been done before.
 *
 * AVM_IOC_PROTECT (PROT1, PROTN, UNPROT) gives the pages of each range the
 * protection that it names, with at most one TLB flush for the whole call.
 * When it returns, no thread on any CPU gets through on the old protection;
 * a call that only raises protection flushes nothing (but raising to execute
 * does). Protection is kept for pages that were never touched, too.
 *
 * AVM_IOC_DISCARD frees the pages. Every view of the space, in every process,
 * loses them: they read as zeros, are neither dirty nor accessed, and keep
 * the protection that they have in each view.
 *
 * AVM_IOC_POPULATE allocates the pages and maps those that their protection
 * lets be accessed, so that a first touch takes no fault. It makes no page
 * dirty or accessed.
 *
 * Errors besides the general ones: none.
 */
struct avm_batch {
	__u32 size;
	__u32 flags;
	__aligned_u64 ranges;
	__u32 count;
	__u32 out_done;
	__aligned_u64 out_bytes;
};

#define AVM_IOC_PROTECT		_IOWR(AVM_IOC_MAGIC, 0x82, struct avm_batch)
#define AVM_IOC_DISCARD		_IOWR(AVM_IOC_MAGIC, 0x83, struct avm_batch)
#define AVM_IOC_POPULATE	_IOWR(AVM_IOC_MAGIC, 0x84, struct avm_batch)

/**
 * define AVM_IOC_PROTECT_PAGE - give one page a protection, on a space
 *
 * What AVM_IOC_PROTECT does, for a single page and at half the cost (PROT1,
 * UNPROT). The argument of the ioctl is no address of a structure but the
 * address of the page, in whose low bits AVM_PROT_* is added.
 *
 * Errors: those of AVM_IOC_PROTECT.
 */
#define AVM_IOC_PROTECT_PAGE	_IO(AVM_IOC_MAGIC, 0x88)

/* Flags of struct avm_scan: the form of the answer, at most one of the two. */
#define AVM_SCAN_BITMAP		(1u << 0)
#define AVM_SCAN_RANGES		(1u << 1)
/* Give the pages that match the protection @prot as well. */
#define AVM_SCAN_PROTECT	(1u << 2)

/**
 * struct avm_span - a run of pages that a scan found
 * @addr: first byte
 * @length: bytes
 */
struct avm_span {
	__aligned_u64 addr;
	__aligned_u64 length;
};

/**
 * struct avm_scan - ioctl(AVM_IOC_SCAN), on a space (DIRTY)
 * @size: sizeof(struct avm_scan)
 * @flags: AVM_SCAN_*
 * @addr: first byte to look at
 * @length: bytes to look at, not 0
 * @match: AVM_PAGE_* that are looked for, at least one; a page that has any
 *	of them matches
 * @clear: AVM_PAGE_* to clear in the pages that match, or 0
 * @prot: with AVM_SCAN_PROTECT, the protection that pages that match get;
 *	must be 0 otherwise
 * @reserved: must be 0
 * @buffer: address of the answer, a multiple of 8; must be 0 without
 *	AVM_SCAN_BITMAP and AVM_SCAN_RANGES
 * @buffer_size: bytes at @buffer
 * @out_pages: pages that matched
 * @out_end: address where the scan ended: @addr + @length, or less when
 *	@buffer had no room for more or the call failed
 * @out_spans: with AVM_SCAN_RANGES, number of spans written
 *
 * Tell which pages were written (AVM_PAGE_DIRTY) or accessed at all
 * (AVM_PAGE_ACCESSED) through this view since the bit was last cleared, as
 * the CPU recorded it: no page is write-protected for it. What other views
 * did to the same pages is theirs. Between a scan that clears and the next,
 * no write is lost: one that the first does not report, the second does.
 * Writes of a secondary MMU (KVM, SVA) are not recorded.
 *
 * AVM_SCAN_BITMAP: bit n of the array of __u64 at @buffer (n % 64 of word
 * n / 64) is page n of the range. @buffer_size must be enough for the whole
 * range. All bits of the words that the range covers are written.
 *
 * AVM_SCAN_RANGES: an array of struct avm_span, in ascending order, never
 * touching one another. When it is full the scan ends early, before the next
 * match; go on at @out_end.
 *
 * With neither, only @out_pages is told.
 *
 * @match, @clear and @prot are carried out in one pass with at most one TLB
 * flush. A page written during the call is reported now, next time, or both.
 *
 * Errors besides the general ones: ENOBUFS when @buffer_size is too small for
 * the bitmap, or for one span. When @buffer is unmapped by another thread
 * while the call runs (EFAULT), the pages from @out_end on have not been
 * reported and will be by the next scan, but some may have got the protection
 * @prot, and those that matched count as having all of @clear.
 */
struct avm_scan {
	__u32 size;
	__u32 flags;
	__aligned_u64 addr;
	__aligned_u64 length;
	__u32 match;
	__u32 clear;
	__u32 prot;
	__u32 reserved;
	__aligned_u64 buffer;
	__aligned_u64 buffer_size;
	__aligned_u64 out_pages;
	__aligned_u64 out_end;
	__aligned_u64 out_spans;
};

#define AVM_IOC_SCAN	_IOWR(AVM_IOC_MAGIC, 0x85, struct avm_scan)

/* Flag of struct avm_map2: map at @to and nowhere else. */
#define AVM_MAP2_FIXED	(1u << 0)

/**
 * struct avm_map2 - ioctl(AVM_IOC_MAP2), on a space
 * @size: sizeof(struct avm_map2)
 * @flags: AVM_MAP2_*
 * @addr: first byte of what is to be seen twice, in one view of this space
 * @length: bytes
 * @to: where to map; a hint without AVM_MAP2_FIXED, 0 for anywhere
 * @max_prot: AVM_PROT_* that the new view allows at most
 * @prot: AVM_PROT_* that each page has to begin with, within @max_prot
 * @out_addr: address of the new view
 *
 * Make a second view of the same pages, with protections and dirty and
 * accessed bits of its own. mmap(2) of the space does the same for a part
 * that is known by its offset; there, @prot and @max_prot are the same.
 *
 * Errors besides the general ones: EEXIST when AVM_MAP2_FIXED names a place
 * that is in use, and those of mmap(2).
 */
struct avm_map2 {
	__u32 size;
	__u32 flags;
	__aligned_u64 addr;
	__aligned_u64 length;
	__aligned_u64 to;
	__u32 max_prot;
	__u32 prot;
	__aligned_u64 out_addr;
};

#define AVM_IOC_MAP2	_IOWR(AVM_IOC_MAGIC, 0x86, struct avm_map2)

/**
 * struct avm_stats - ioctl(AVM_IOC_STATS), on a space
 * @size: sizeof(struct avm_stats)
 * @flags: must be 0
 * @out_length: bytes in the space
 * @out_resident_pages: pages that are allocated now
 * @out_limit_pages: locked pages that the creator may have at most, over all
 *	that is charged to the same user; all ones when there is no limit
 * @out_state_bytes: bytes that hold the state of pages, one a page, in all its
 *	views; what finds them takes some 5 percent more, and pages whose
 *	protection was never changed, or by whole 2 MiB before they were
 *	touched, have none
 * @out_views: views that exist now
 * @out_faults: faults that mapped a page or found it mapped
 * @out_traps: accesses that were denied or raised a page (AVM_IOC_TRAP)
 * @out_allocated: pages ever allocated
 * @out_discarded: pages ever freed by AVM_IOC_DISCARD
 * @out_flushes: TLB flushes
 * @out_flushed_pages: translations taken away or lowered by these flushes;
 *	divided by @out_flushes, pages per flush
 * @out_upcalls: those of @out_traps that were delivered without a signal
 *
 * Counts since the space was made, over all views and processes. They are
 * read without stopping anyone: each is exact, but not at the same instant.
 */
struct avm_stats {
	__u32 size;
	__u32 flags;
	__aligned_u64 out_length;
	__aligned_u64 out_resident_pages;
	__aligned_u64 out_limit_pages;
	__aligned_u64 out_state_bytes;
	__aligned_u64 out_views;
	__aligned_u64 out_faults;
	__aligned_u64 out_traps;
	__aligned_u64 out_allocated;
	__aligned_u64 out_discarded;
	__aligned_u64 out_flushes;
	__aligned_u64 out_flushed_pages;
	__aligned_u64 out_upcalls;
};

#define AVM_IOC_STATS	_IOWR(AVM_IOC_MAGIC, 0x87, struct avm_stats)

/* Flag of struct avm_trap: use the thread's alternate stack. */
#define AVM_TRAP_ONSTACK	(1u << 0)

/**
 * struct avm_trap - ioctl(AVM_IOC_TRAP), on a space
 * @size: sizeof(struct avm_trap)
 * @flags: AVM_TRAP_*
 * @addr: first byte of the pages, all in one view of this space
 * @length: bytes
 * @entry: address of the code to call, or 0 to take a registration away
 * @arg: handed to the code
 * @raise: AVM_PROT_NONE, or AVM_PROT_READ with or without AVM_PROT_WRITE: a
 *	protection to add to that of a page before the code is called, where
 *	that allows the access
 * @reserved: must be 0
 *
 * Have user accesses that the protection of these pages forbids delivered by
 * an upcall: the thread goes on at @entry, with a struct avm_upcall on its
 * stack, and resumes the access without a system call. No signal is involved;
 * SIGSEGV may be blocked or handled by somebody else.
 *
 * With @raise a denied access that @raise allows first gives its page that
 * much more protection, and maps it, which counts as an access; of a page that
 * was mapped before, the access itself does, when it is resumed. So a write
 * barrier costs no call: the write succeeds then. A second thread
 * that touches the page meanwhile is not stopped.
 *
 * The registration is one of pages of the view: it follows them in mremap(2),
 * covers every VMA of the view, and goes with the view. Other pages of the
 * view, and other views, may have registrations of their own; a page has one
 * at most.
 *
 * With @entry 0, and @arg, @raise and @flags too, the pages of the range have
 * no registration any more, whatever they had: all of one, parts of several.
 * The range may have holes (which lose what their neighbours lose), and what is
 * there besides views of this space is passed over. When the call returns,
 * another thread may be in an upcall, or about to make one: what @entry and @arg
 * stand for has to be there until every thread that may have touched the pages
 * has run in user mode since.
 *
 * An upcall is made for 64-bit user code alone. The access gets its SIGSEGV,
 * as if nothing had been registered (but the page raised, if that was asked
 * for), when
 *
 *  - the thread is stepped through (TF, ptrace, uprobes);
 *  - it is in a restartable sequence: rseq_cs is not 0, or not readable;
 *  - shadow stacks are on;
 *  - the frame cannot be written to the stack, or AVM_TRAP_ONSTACK meets an
 *    alternate stack that is SS_AUTODISARM or, in a nested upcall, full;
 *  - the protection allows reading and not executing, the page has been
 *    touched, and a fetch meets it; or the mapping as a whole forbids the
 *    access: these never reach avm;
 *  - there is no memory to call from a safer place what cannot be called at
 *    once (a stack page that is swapped out, or shared after fork(2)).
 *
 * A system call that meets such a page fails with EFAULT and raises nothing.
 *
 * Errors besides the general ones: EEXIST when a page has a registration,
 * EFAULT when @entry is no user address, ENOSPC when the view has 4,096
 * registrations, ENOENT when there is none to take away. EACCES when the view
 * does not allow @raise. To take one away needs memory, and can fail with
 * ENOMEM or ENOSPC, only where a part is cut out of its middle; others in the
 * range may then be gone, as they may after EINTR.
 */
struct avm_trap {
	__u32 size;
	__u32 flags;
	__aligned_u64 addr;
	__aligned_u64 length;
	__aligned_u64 entry;
	__aligned_u64 arg;
	__u32 raise;
	__u32 reserved;
};

#define AVM_IOC_TRAP	_IOW(AVM_IOC_MAGIC, 0x89, struct avm_trap)

/**
 * struct avm_upcall - what the code that AVM_IOC_TRAP registered finds
 * @arg: as registered
 * @addr: the exact address of the access
 * @access: what was tried: AVM_PROT_READ, AVM_PROT_WRITE (a read-modify-write
 *	too) or AVM_PROT_EXEC
 * @reserved: 0
 * @di: register rdi of the interrupted code
 * @ip: and its rip: the instruction that is to be resumed
 * @cs: and its cs
 * @flags: and its rflags
 * @sp: and its rsp
 * @ss: and its ss
 *
 * At @entry, rsp and rdi point to it. The direction, alignment-check and
 * nested-task flags are clear. All else is as the interrupted code left it,
 * the x87 and vector registers too: the code has to save what it uses.
 *
 * The frame ends 128 bytes (the red zone) below @sp. With AVM_TRAP_ONSTACK it
 * is, aligned to 16 bytes, at the top of the stack that the thread has given
 * to sigaltstack(2), unless it has none or is on it.
 *
 * To resume: restore the registers, rdi too, and leave with rsp pointing to
 * @ip by IRETQ, which takes @ip to @ss from there. Where the frame is below the red
 * zone a faster way is to move @ip over @ss, POPFQ @flags, skip @sp, and RET
 * $128. (Memory below rsp does not last, once it is more than 128 bytes: a
 * signal may come at any moment.) Instead of resuming, code may leave for any
 * other place (longjmp(3)). Nothing in the kernel waits for it.
 */
struct avm_upcall {
	__aligned_u64 arg;
	__aligned_u64 addr;
	__u32 access;
	__u32 reserved;
	__aligned_u64 di;
	__aligned_u64 ip;
	__aligned_u64 cs;
	__aligned_u64 flags;
	__aligned_u64 sp;
	__aligned_u64 ss;
};

/**
 * struct avm_trap_pass - argument of AVM_IOC_TRAP_PASS
 * @r11: this and the next eight: registers of the interrupted code
 * @r10: .
 * @r9: .
 * @r8: .
 * @si: .
 * @dx: .
 * @cx: .
 * @ax: .
 * @bp: .
 * @unused: not read
 * @upcall: the frame, as it was found
 *
 * The registers that are not here are those of the caller. cs and ss are not
 * used.
 */
struct avm_trap_pass {
	__aligned_u64 r11;
	__aligned_u64 r10;
	__aligned_u64 r9;
	__aligned_u64 r8;
	__aligned_u64 si;
	__aligned_u64 dx;
	__aligned_u64 cx;
	__aligned_u64 ax;
	__aligned_u64 bp;
	__aligned_u64 unused;
	struct avm_upcall upcall;
};

/**
 * define AVM_IOC_TRAP_PASS - make a trap the SIGSEGV that it would have been,
 *	on a space
 *
 * For the code that AVM_IOC_TRAP registered, when the access is none of its
 * business. The argument is the address of a struct avm_trap_pass. On success
 * the call does not return: the thread has the registers given, is back at
 * the access, and gets SIGSEGV with the address and access given, forced on
 * it as any fault's (a blocked or ignored SIGSEGV kills).
 *
 * Errors: EFAULT, ENOMEM; EOPNOTSUPP where no upcall is ever made: in 32-bit
 * code, and with shadow stacks on.
 */
#define AVM_IOC_TRAP_PASS	_IO(AVM_IOC_MAGIC, 0x8A)

#endif /* _UAPI_LINUX_AVM_H */
