/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libavm: the virtual-memory primitives of avm, for user programs.
 */
#ifndef AVM_H
#define AVM_H

#if !defined(__x86_64__) || defined(__ILP32__)
#error "libavm supports x86-64 (64-bit programs) only"
#endif

#include <stddef.h>
#include <stdint.h>

#include <linux/avm.h>

/**
 * DOC: The library
 *
 * The six primitives have the names that the paper gives them: Appel and Li,
 * "Virtual Memory Primitives for User Programs", ASPLOS 1991: TRAP
 * (avm_trap()), PROT1 (avm_prot1()), PROTN (avm_protn()), UNPROT
 * (avm_unprot()), DIRTY (avm_dirty()) and MAP2 (avm_map2()).
 *
 * A *space* is a file that owns pages; a *view* is a mapping of a part of it
 * in this process; each page of a view has a protection of its own. What the
 * calls do, to the last detail, is said once, in <linux/avm.h>.
 *
 * Units: addresses, offsets and lengths are in bytes and multiples of
 * AVM_PAGE_SIZE. Protections are AVM_PROT_*, equal to PROT_* of mmap(2); the
 * sets that exist are none, r, rw, rx and rwx.
 *
 * Results: 0 or a count, or an error number, negated (-EINVAL); errno is left
 * at any value. avm_strerror() tells what an error means and what to do. The
 * errors that <linux/avm.h> lists for every call are not repeated below.
 *
 * Context: unless it is said otherwise, a function is one system call, keeps
 * nothing in memory, and may be called from any thread, from a trap handler and
 * from a signal handler. The library starts no thread and has no state but what
 * belongs to traps: the table of their handlers, and the SIGSEGV handler that
 * was there before its own.
 *
 * The structures that the caller hands in have the sizes of this header. If
 * one of them grows, the function that takes it gets a new symbol version,
 * and programs that were linked before go on with the old one.
 */

/** define AVM_PAGE_SIZE - bytes in a page. */
#define AVM_PAGE_SIZE	4096UL

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

/**
 * avm_open() - open the device
 *
 * The descriptor is for avm_query() and avm_create(), is close-on-exec, and is
 * closed by close(2); spaces made with it do not need it any more.
 *
 * Return: a descriptor, or -ENODEV (the module is not loaded), -EACCES (the
 * device is there and not for this user), -EMFILE, -ENFILE, -ENOMEM.
 */
int avm_open(void);

/**
 * avm_query() - what the module offers
 * @fd: the device, or a space
 * @q: filled in; need not be initialised
 *
 * Return: 0, or an error.
 */
int avm_query(int fd, struct avm_query *q);

/**
 * avm_create() - make a space
 * @dev: from avm_open()
 * @length: bytes that it can hold; memory is taken for pages that are touched
 *	and for no others
 *
 * The space lives as long as its descriptor or a view of it, and is closed by
 * close(2).
 *
 * Return: a descriptor of the space, close-on-exec; or an error, among them
 * -EINVAL (length 0, not whole pages, or more than out_max_size of
 * avm_query()), -EMFILE, -ENFILE.
 */
int avm_create(int dev, uint64_t length);

/**
 * avm_map() - make a view of a part of a space, at an address of the kernel's
 *	choice
 * @space: from avm_create()
 * @offset: first byte of the part
 * @length: bytes, not 0
 * @prot: protection of each page, and the most that it can ever be raised to
 * @out: the address; written on success only
 *
 * This is mmap(2) with MAP_SHARED, which the program may call itself where it
 * wants a view at a place of its own. A child does not get the view by
 * fork(2).
 *
 * Return: 0, or an error of mmap(2).
 */
int avm_map(int space, uint64_t offset, size_t length, int prot, void **out);

/**
 * avm_unmap() - take a view, or a part of one, away
 * @addr: first byte
 * @length: bytes, not 0
 *
 * This is munmap(2). The pages stay in the space. A handler that avm_trap()
 * registered stays too, until avm_untrap().
 *
 * Return: 0, or an error of munmap(2).
 */
int avm_unmap(void *addr, size_t length);

/**
 * avm_prot1() - PROT1: lower the protection of one page
 * @space: from avm_create()
 * @page: address of the page, in a view of @space
 * @prot: protection that it is to have
 *
 * When the call returns, no thread on any CPU gets through on the old
 * protection.
 *
 * Return: 0, or an error.
 */
int avm_prot1(int space, void *page, int prot);

/**
 * avm_protn() - PROTN: give many pages new protections with one TLB flush
 * @space: from avm_create()
 * @ranges: the pages of each and their protection; scattered or not, in views
 *	of @space, done in order
 * @count: ranges, from 1 to out_max_ranges of avm_query()
 * @done: ranges that were done completely, written on success and on failure;
 *	may be NULL
 *
 * Protections may go up in some ranges and down in others. The range after
 * the @done that were done may have been done in part; doing it again is
 * harmless.
 *
 * Return: 0, or the error of the first range that could not be done.
 */
int avm_protn(int space, const struct avm_range *ranges, uint32_t count,
	      uint32_t *done);

/**
 * avm_protect() - give one range of pages a protection, higher or lower
 * @space: from avm_create()
 * @addr: first byte, in a view of @space
 * @length: bytes, not 0
 * @prot: protection that the pages are to have
 *
 * Return: 0, or an error; then some of the pages, from the first on, may have
 * got the protection (-ENXIO, -ENOMEM, -EINTR).
 */
int avm_protect(int space, void *addr, size_t length, int prot);

/**
 * avm_unprot() - UNPROT: raise the protection of one page
 * @space: from avm_create()
 * @page: address of the page, in a view of @space
 * @prot: protection that it is to have
 *
 * Raising to read or write flushes no TLB. (The module sees for itself which
 * way a protection goes: avm_prot1() and avm_unprot() tell it to the reader.)
 *
 * Return: 0, or an error.
 */
int avm_unprot(int space, void *page, int prot);

/**
 * avm_dirty() - DIRTY: which pages were written since the last such call
 * @space: from avm_create()
 * @addr: first byte, in a view of @space
 * @length: bytes, not 0
 * @bitmap: bit n % 64 of word n / 64 becomes that of page n of the range; all
 *	bits of the words that the range covers are written
 * @bitmap_bytes: bytes at @bitmap: at least 8 for each 64 pages begun
 *
 * Get and clear in one: a write that this call does not tell, the next one
 * does. It is about writes through this view; no page is write-protected for
 * it. With @bitmap NULL and @bitmap_bytes 0, pages are counted and cleared
 * only.
 *
 * Return: pages found; or an error, among them -ENOBUFS (@bitmap_bytes too
 * small; nothing is cleared). After -EFAULT (@bitmap unmapped in mid-call)
 * use avm_scan(), which says how far it got, if that has to be known.
 */
int64_t avm_dirty(int space, void *addr, size_t length, uint64_t *bitmap,
		  size_t bitmap_bytes);

/**
 * avm_dirty_spans() - DIRTY, answered as runs of pages
 * @space: from avm_create()
 * @addr: first byte, in a view of @space
 * @length: bytes, not 0
 * @spans: the runs found, in ascending order
 * @max_spans: room at @spans, at least 1
 * @end: where the call ended: @addr + @length, or, when @spans was full,
 *	before it, where the next call goes on; written on success and on
 *	failure; may be NULL
 *
 * Gets and clears as avm_dirty() does, up to *@end.
 *
 * Return: spans written; or an error, among them -ENOBUFS (@max_spans is 0).
 */
int64_t avm_dirty_spans(int space, void *addr, size_t length,
			struct avm_span *spans, size_t max_spans, void **end);

/**
 * avm_accessed() - which pages were accessed since the last such call
 * @space: from avm_create()
 * @addr: first byte, in a view of @space
 * @length: bytes, not 0
 * @bitmap: as for avm_dirty()
 * @bitmap_bytes: as for avm_dirty()
 *
 * As avm_dirty(), for accesses of any kind.
 *
 * Return: pages found, or an error as of avm_dirty().
 */
int64_t avm_accessed(int space, void *addr, size_t length, uint64_t *bitmap,
		     size_t bitmap_bytes);

/**
 * avm_scan() - all that AVM_IOC_SCAN can do
 * @space: from avm_create()
 * @scan: what to do, and the answer; @scan->size is filled in
 *
 * For all that avm_dirty() and avm_accessed() do not offer: looking without
 * clearing, both bits at once, and giving the pages that match a protection
 * in the same pass.
 *
 * Return: 0, or an error, among them -ENOBUFS.
 */
int avm_scan(int space, struct avm_scan *scan);

/**
 * avm_map2() - MAP2: the same pages at a second address
 * @space: from avm_create()
 * @addr: first byte of what is to be seen twice, in one view of @space
 * @length: bytes, not 0
 * @max_prot: the most that the new view allows
 * @prot: protection of each of its pages to begin with, within @max_prot
 * @out: address of the new view; written on success only
 *
 * The new view has protections and dirty and accessed bits of its own, and is
 * taken away by avm_unmap().
 *
 * Return: 0, or an error, those of mmap(2) among them.
 */
int avm_map2(int space, const void *addr, size_t length, int max_prot,
	     int prot, void **out);

/**
 * avm_populate() - allocate and map pages ahead, so that no touch faults
 * @space: from avm_create()
 * @addr: first byte, in a view of @space
 * @length: bytes, not 0
 *
 * Makes no page dirty or accessed.
 *
 * Return: 0, or an error; then some of the pages, from the first on, may have
 * been populated.
 */
int avm_populate(int space, void *addr, size_t length);

/**
 * avm_populaten() - avm_populate() for many ranges
 * @space: from avm_create()
 * @ranges: the pages; prot must be 0 in each
 * @count: ranges, from 1 to out_max_ranges of avm_query()
 * @done: ranges that were done completely, written on success and on failure;
 *	may be NULL
 *
 * Return: 0, or the error of the first range that could not be done.
 */
int avm_populaten(int space, const struct avm_range *ranges, uint32_t count,
		  uint32_t *done);

/**
 * avm_discard() - free pages; they read as zeros from then on
 * @space: from avm_create()
 * @addr: first byte, in a view of @space
 * @length: bytes, not 0
 *
 * Every view of the space loses the pages, in every process; they are clean
 * and keep their protections.
 *
 * Return: 0, or an error; then some of the pages, from the first on, may have
 * been freed.
 */
int avm_discard(int space, void *addr, size_t length);

/**
 * avm_discardn() - avm_discard() for many ranges
 * @space: from avm_create()
 * @ranges: the pages; prot must be 0 in each
 * @count: ranges, from 1 to out_max_ranges of avm_query()
 * @done: ranges that were done completely, written on success and on failure;
 *	may be NULL
 *
 * Return: 0, or the error of the first range that could not be done.
 */
int avm_discardn(int space, const struct avm_range *ranges, uint32_t count,
		 uint32_t *done);

/**
 * avm_stats() - what a space has taken and what was done with it
 * @space: from avm_create()
 * @st: filled in; need not be initialised
 *
 * Return: 0, or an error.
 */
int avm_stats(int space, struct avm_stats *st);

/**
 * enum avm_trap_verdict - what a handler returns
 * @AVM_TRAP_RETRY: the access is to be made again; if its page still forbids
 *	it, the handler is called again
 * @AVM_TRAP_PASS: not mine: the access ends as it would have without avm, in
 *	the program's SIGSEGV handler or in its death. Any value but
 *	AVM_TRAP_RETRY counts as this
 */
enum avm_trap_verdict {
	AVM_TRAP_RETRY = 0,
	AVM_TRAP_PASS = 1
};

/**
 * struct avm_trap_info - an access that was denied
 * @addr: the exact address, not rounded to its page
 * @access: what was tried, one of AVM_PROT_READ, AVM_PROT_WRITE (a
 *	read-modify-write too) and AVM_PROT_EXEC
 * @reserved: 0
 * @view: first byte of the range that was registered
 * @length: bytes of the range that was registered
 *
 * Made by the library, valid until the handler returns. Later versions add
 * fields at its end.
 */
struct avm_trap_info {
	void *addr;
	unsigned int access;
	unsigned int reserved;
	void *view;
	size_t length;
};

/**
 * typedef avm_trap_fn - a trap handler
 * @info: the access
 * @arg: what avm_trap() was given
 *
 * Context: the thread whose access was denied, between two of its
 * instructions; so a handler takes no lock that this thread may hold there,
 * that of malloc(3) included if the access may be malloc's. With the signal
 * mask of the interrupted code; errno is restored after it, and so is every
 * register. The x87 unit and MXCSR are in their initial state (with
 * AVM_TRAP_NOVECTOR: as the interrupted code has them). A handler may itself
 * make accesses that are denied, take signals, call any function of this
 * library, and leave by longjmp(3), siglongjmp(3) or a C++ exception (the
 * interrupted code then needs -fnon-call-exceptions; as after a signal handler,
 * rounding modes and the like are then those of the handler). It is called the
 * same way by an upcall and by a signal, which is what an upcall falls back to.
 *
 * Return: AVM_TRAP_RETRY or AVM_TRAP_PASS.
 */
typedef int avm_trap_fn(const struct avm_trap_info *info, void *arg);

/* The @space of avm_trap() for memory that is no view. No error is this. */
#define AVM_NO_SPACE		(-4096)

/*
 * Flags of avm_trap(), besides AVM_TRAP_ONSTACK of <linux/avm.h>.
 *
 * AVM_TRAP_NOVECTOR: @fn, and all that it calls, uses no x87, MMX, SSE or AVX
 * register (gcc -mgeneral-regs-only; no function of libc but bare system
 * calls; the six primitives do not). They are then not saved.
 *
 * AVM_TRAP_RAISE: pages get AVM_PROT_READ | AVM_PROT_WRITE before @fn is called
 * for a read or a write: a write barrier needs no call of avm_unprot().
 */
#define AVM_TRAP_NOVECTOR	(1u << 16)
#define AVM_TRAP_RAISE		(1u << 17)

/**
 * avm_trap() - TRAP: have accesses that a page forbids handled
 * @space: the space; or AVM_NO_SPACE
 * @addr: first byte of a range, a multiple of AVM_PAGE_SIZE
 * @length: bytes, a multiple of AVM_PAGE_SIZE, not 0; must overlap no other
 *	range that is registered
 * @fn: called for each denied access in the range, by any thread
 * @arg: handed to @fn
 * @flags: AVM_TRAP_ONSTACK, AVM_TRAP_NOVECTOR, AVM_TRAP_RAISE
 *
 * With a space the range is in one view of it, and accesses come by an upcall
 * (AVM_IOC_TRAP): without a signal, even if SIGSEGV is blocked or the program
 * has a handler of its own for it. What cannot be delivered so is by SIGSEGV:
 * in a thread that is stepped through, in a restartable sequence, with shadow
 * stacks on, or whose stack cannot be written. The descriptor has to stay open
 * until avm_untrap(), and until no thread is in @fn any more: if it is closed
 * before, an access that @fn passes, or that finds no handler, ends the program
 * by SIGSEGV without a handler of that. With AVM_TRAP_ONSTACK handlers run on
 * the alternate stack of a thread that has set one by sigaltstack(2), without
 * SS_AUTODISARM; for each level of nesting it must hold, beside what @fn needs,
 * 2 KiB (4 KiB with AVX-512; 256 bytes with AVM_TRAP_NOVECTOR), and, as for
 * signal handlers, only a guard page below it stops those that outgrow it.
 * Without it they run on the thread's own stack, below what the interrupted
 * code uses.
 *
 * Without a space the range is one of addresses, whatever is mapped there: all
 * or part of a view, several of them, or memory that mprotect(2) protects;
 * accesses come by SIGSEGV, on the alternate stack of a thread that has one,
 * and @flags is 0.
 *
 * Accesses that a system call makes are not trapped: it fails with EFAULT.
 *
 * The first call in a process installs a handler of SIGSEGV, and what it does
 * not handle goes to the one that was there before. A program that installs
 * its own later takes the traps by signal away, unless it calls the one it
 * replaced; so does a thread that blocks SIGSEGV: an access that is delivered
 * by it then kills the program.
 *
 * A handler is one of addresses: if mremap(2) moves pages of the view, accesses
 * at the new place are plain SIGSEGVs until that is registered, which may be
 * done before or after the old place is given to avm_untrap().
 *
 * The handlers are the process's: a child of fork(2) has them too (though not
 * the views), a program started by execve(2) has not. Handlers of different
 * ranges have nothing to do with one another.
 *
 * Context: any thread, and trap handlers. Not async-signal-safe: not to be
 * called from a signal handler, nor from a handler of a trap that a signal
 * handler, or avm_trap() or avm_untrap() itself, took (its stack, say, being
 * a view). The same holds for avm_untrap(). One system call with a space, none
 * without; two more the first time, and one when the table has to grow.
 *
 * Return: 0; -EINVAL (range not whole pages, empty or wrapping; @fn NULL; an
 * unknown flag, or one without a space); -EEXIST (overlaps a range that is
 * registered); -ENOSPC (4,096 ranges in the view); -ENXIO (the range is not in
 * one view of @space); -EACCES (AVM_TRAP_RAISE, and the view may not be
 * written); -ENOMEM.
 */
int avm_trap(int space, void *addr, size_t length, avm_trap_fn *fn, void *arg,
	     unsigned int flags);

/**
 * avm_untrap() - take a handler away
 * @addr: first byte of the range as it was registered
 *
 * A handler that runs in another thread, or is just being called there, is
 * not waited for: keep what @arg points to until no thread can be in it. What
 * has become of the view in the meantime, unmapped or moved, all or part of
 * it, makes no difference.
 *
 * Context: as of avm_trap(). One system call where the range was registered
 * with a space, else none.
 *
 * Return: 0; -ENOENT (no range that was registered begins at @addr); -ENOMEM
 * and -ENOSPC (only where a part of the view, and not the rest, has since been
 * moved to be next to other parts of it; nothing has changed); -EINTR.
 */
int avm_untrap(void *addr);

/**
 * avm_strerror() - what an error of this library means, and what to do next
 * @err: the error number, negated (as returned) or not
 *
 * Context: any; no system call. From a signal handler, only for errors that
 * this header and <linux/avm.h> name.
 *
 * Return: text that is constant for these errors; for others, strerror(3)'s.
 */
const char *avm_strerror(int err);

/**
 * avm_version() - version of the library that is linked
 *
 * Context: any; no system call.
 *
 * Return: constant text, such as "0.1.0".
 */
const char *avm_version(void);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif /* AVM_H */
