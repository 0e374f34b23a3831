// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * libavm: denied accesses that come as an upcall.
 *
 * The C side of arch/x86_64/upcall.S, which says what is saved and how. The
 * functions here that it calls run with the x87 and vector registers of the
 * interrupted code: like all of the library they must not touch them.
 */
#include <cpuid.h>
#include <errno.h>
#include <stddef.h>

#include "table.h"

/* What upcall.S takes for granted. */
_Static_assert(offsetof(struct avm_upcall, di) == 24, "UP_DI");
_Static_assert(offsetof(struct avm_upcall, ip) == 32, "UP_IP");
_Static_assert(offsetof(struct avm_upcall, flags) == 48, "UP_FLAGS");
_Static_assert(offsetof(struct avm_upcall, sp) == 56, "UP_SP");
_Static_assert(offsetof(struct avm_upcall, ss) == 64, "UP_SS");
_Static_assert(sizeof(struct avm_upcall) == 72, "UP_SIZE");
_Static_assert(offsetof(struct avm_trap_pass, upcall) == 80, "9 registers, ip");
_Static_assert(AVM_IOC_TRAP_PASS == 0xb78a, "TRAP_PASS");

/* In upcall.S. */
extern const char avm_upcall_entry[];
extern const char avm_upcall_onstack[];
int avm_upcall_dispatch(const struct avm_upcall *up);
void avm_upcall_lost(const struct avm_upcall *up);

/* Out of the way of the functions that every trap takes. */
#define noinline	__attribute__((noinline))

/* How avm_call_vector() saves: by FXSAVE, XSAVE or XSAVEC. */
enum { BY_FXSAVE, BY_XSAVE, BY_XSAVEC };
unsigned int avm_vector_how = BY_FXSAVE;
unsigned long avm_vector_size = 512;
unsigned int avm_vector_mask;

/*
 * State components: x87, SSE, AVX, and three of AVX-512. Not those that compiled
 * code does not use unasked: PKRU, which a handler may mean to change, and AMX.
 */
#define COMPONENTS	0xe7u

static unsigned int enabled_components(void)
{
	unsigned int low, high;

	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return low & COMPONENTS;
}

/* Room for the components: where the last of them ends, not compacted. */
static unsigned long size_of(unsigned int mask)
{
	unsigned int size, offset, c, d, i;
	unsigned long end = 512 + 64;

	for (i = 2; mask >> i; i++) {
		if (!(mask >> i & 1))
			continue;
		__cpuid_count(0xd, i, size, offset, c, d);
		if (offset + size > end)
			end = offset + size;
	}
	/* Compacted, a component may begin up to 63 bytes later. */
	return end + 64 * 8;
}

void avm_upcall_prepare(void)
{
	unsigned int a, b, c, d;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
		return;
	avm_vector_mask = enabled_components();
	avm_vector_size = size_of(avm_vector_mask);
	__cpuid_count(0xd, 1, a, b, c, d);
	avm_vector_how = a & 2 ? BY_XSAVEC : BY_XSAVE;
}

/* The argument of an upcall: what the table and AVM_IOC_TRAP_PASS want. */
#define UPCALL_ARG(space, hint)	((uint64_t)(space) << 32 | (uint32_t)(hint))
#define UPCALL_SPACE(arg)	((int)((arg) >> 32))
#define UPCALL_HINT(arg)	((uint32_t)(arg))

int avm_upcall_register(const struct avm_trap *trap, int space, size_t hint)
{
	struct avm_trap arg = *trap;

	arg.arg = UPCALL_ARG(space, hint);
	arg.entry = (uintptr_t)(arg.flags & AVM_TRAP_ONSTACK ?
				avm_upcall_onstack : avm_upcall_entry);
	return avm_sys_ioctl(space, AVM_IOC_TRAP, &arg);
}

/* Pass the access; the descriptor tells the kernel. */
static int pass(const struct avm_upcall *up)
{
	seen_set(&avm_passed, up);
	return UPCALL_SPACE(up->arg);
}

/* The access of this thread that found no handler last. */
static __thread struct seen missed __attribute__((tls_model("initial-exec")));

/* Whether this one did before, and the table is the same. */
static bool missed_again(const struct avm_upcall *up)
{
	return seen_is(&missed, up->ip, up->sp, up->addr);
}

/*
 * The kernel has a registration and the table has not. Either avm_untrap() has
 * just taken away first the one, then the other: then the next try ends as it
 * should. Or mremap(2) has moved the view, or the space was closed before
 * avm_untrap(): then the next try comes here again.
 */
static int no_handler(const struct avm_upcall *up)
{
	if (missed_again(up))
		return pass(up);
	seen_set(&missed, up);
	return -1;
}

/*
 * The handler has passed. Where the range was taken away meanwhile, the kernel
 * does all that is left, and the descriptor may be closed.
 */
static noinline int passed_by(const struct avm_upcall *up)
{
	struct handler h;

	return avm_table_find(up->addr, &h) ? pass(up) : -1;
}

static inline int dispatch_to(const struct handler *h,
			      const struct avm_upcall *up)
{
	return call_handler(h, (void *)up->addr, up->access, false) ?
		       -1 : passed_by(up);
}

static noinline int dispatch_far(const struct avm_upcall *up)
{
	struct handler h;

	return avm_table_find(up->addr, &h) ? dispatch_to(&h, up) :
					      no_handler(up);
}

/*
 * Return: negative to resume the access; else the access is none of the
 * handler's business, and this is the descriptor to say so on.
 */
int avm_upcall_dispatch(const struct avm_upcall *up)
{
	/* Asked for first: no other call is then between the table and @fn. */
	int *error = &errno, saved = *error, ret;
	struct handler h;	/* in registers, as nobody takes its address */

	avm_passed.sp = 0;
	if (find_near(up->addr, UPCALL_HINT(up->arg), &h))
		ret = dispatch_to(&h, up);
	else
		ret = dispatch_far(up);
	*error = saved;
	return ret;
}

/*
 * The kernel does not take it back: the space has been closed. If the range was
 * taken away before that, just now, the access is resumed.
 */
void avm_upcall_lost(const struct avm_upcall *up)
{
	struct handler h;

	if (missed_again(up) || avm_table_find(up->addr, &h))
		avm_signal_die(up->addr);
}
