/* SPDX-License-Identifier: GPL-2.0 */
/*
 * registers.h - run a few instructions with every register as the caller wants
 * it, and see every register as they leave it.
 *
 * regs_run() loads all that user code has from regs_in, jumps to the stub that
 * regs_stub points to, which ends by a jump to regs_store, and stores it all in
 * regs_out. Nothing but the stub's own instructions runs in between, and no
 * stack but the one that regs_in names is used. So whatever differs between two
 * runs of one stub was done by what happened meanwhile.
 *
 * x87 and vector registers are in the standard format of XSAVE, whatever of
 * them the machine has.
 */
#ifndef REGISTERS_H
#define REGISTERS_H

#include <cpuid.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* In the order of struct regs. */
enum reg {
	RAX, RBX, RCX, RDX, RSI, RDI, RBP, R8, R9, R10, R11, R12, R13, R14, R15, RSP, REGS
};

#define FLAG_CF		0x000001ul
#define FLAG_PF		0x000004ul
#define FLAG_AF		0x000010ul
#define FLAG_ZF		0x000040ul
#define FLAG_SF		0x000080ul
#define FLAG_TF		0x000100ul
#define FLAG_IF		0x000200ul
#define FLAG_DF		0x000400ul
#define FLAG_OF		0x000800ul
#define FLAG_NT		0x004000ul
#define FLAG_AC		0x040000ul
#define FLAG_ID		0x200000ul
#define FLAGS_ALWAYS	(FLAG_IF | 2)
#define FLAGS_ARITH	(FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)

/* Of the stack: the red zone, and some of what is in use above it. */
#define RED_ZONE	128
#define WINDOW		(RED_ZONE + 64)

/* Components: x87, SSE, AVX, AVX-512. Others are no registers of code like this. */
#define VEC_MASK	0xe7u
#define VEC_SIZE	2816

/* What has a place of its own in the area of XSAVE. */
#define VEC_FCW		0
#define VEC_FSW		2
#define VEC_FTW		4
#define VEC_POINTERS	6	/* of the last x87 instruction: not saved by all CPUs */
#define VEC_MXCSR	24
#define VEC_ST		32
#define VEC_XMM		160
#define VEC_LEGACY	416
#define VEC_HEADER	512

struct regs {
	uint64_t gpr[REGS];
	uint64_t flags;
	uint16_t selector[8];
	uint64_t window_size;	/* bytes of the window that are there to be copied */
	uint8_t window[WINDOW];	/* from rsp - 128 on, rsp being that of regs_in */
	uint8_t vec[VEC_SIZE] __attribute__((aligned(64)));
};

/* What the assembly takes for granted. */
_Static_assert(offsetof(struct regs, gpr[RSP]) == 120, "rsp");
_Static_assert(offsetof(struct regs, flags) == 128, "flags");
_Static_assert(offsetof(struct regs, selector) == 136, "selector");
_Static_assert(offsetof(struct regs, window_size) == 152, "window_size");
_Static_assert(offsetof(struct regs, window) == 160, "window");
_Static_assert(offsetof(struct regs, vec) == 384, "vec");

struct regs regs_in, regs_out;
const void *regs_stub;
uint32_t regs_mask;	/* VEC_MASK, as far as the machine goes */
uint64_t regs_own_rsp;

void regs_run(void);
extern const char regs_store[];

__asm__("	.text\n"
"	.p2align 4\n"
"regs_run:\n"
"	pushq	%rbx\n"
"	pushq	%rbp\n"
"	pushq	%r12\n"
"	pushq	%r13\n"
"	pushq	%r14\n"
"	pushq	%r15\n"
"	subq	$24, %rsp\n"
"	stmxcsr	(%rsp)\n"
"	fnstcw	8(%rsp)\n"
"	movq	%rsp, regs_own_rsp(%rip)\n"
"	movl	regs_mask(%rip), %eax\n"
"	xorl	%edx, %edx\n"
"	xrstor64 regs_in+384(%rip)\n"
"	leaq	regs_in+160(%rip), %rsi\n"
"	movq	regs_in+120(%rip), %rdi\n"
"	subq	$128, %rdi\n"
"	movq	regs_in+152(%rip), %rcx\n"
"	cld\n"
"	rep movsb\n"
"	pushq	regs_in+128(%rip)\n"
"	popfq\n"
/* From here to the stub no instruction changes a flag. */
"	movq	regs_in(%rip), %rax\n"
"	movq	regs_in+8(%rip), %rbx\n"
"	movq	regs_in+16(%rip), %rcx\n"
"	movq	regs_in+24(%rip), %rdx\n"
"	movq	regs_in+32(%rip), %rsi\n"
"	movq	regs_in+40(%rip), %rdi\n"
"	movq	regs_in+48(%rip), %rbp\n"
"	movq	regs_in+56(%rip), %r8\n"
"	movq	regs_in+64(%rip), %r9\n"
"	movq	regs_in+72(%rip), %r10\n"
"	movq	regs_in+80(%rip), %r11\n"
"	movq	regs_in+88(%rip), %r12\n"
"	movq	regs_in+96(%rip), %r13\n"
"	movq	regs_in+104(%rip), %r14\n"
"	movq	regs_in+112(%rip), %r15\n"
"	movq	regs_in+120(%rip), %rsp\n"
"	jmpq	*regs_stub(%rip)\n"
"	.p2align 4\n"
"regs_store:\n"
"	movq	%rax, regs_out(%rip)\n"
"	movq	%rbx, regs_out+8(%rip)\n"
"	movq	%rcx, regs_out+16(%rip)\n"
"	movq	%rdx, regs_out+24(%rip)\n"
"	movq	%rsi, regs_out+32(%rip)\n"
"	movq	%rdi, regs_out+40(%rip)\n"
"	movq	%rbp, regs_out+48(%rip)\n"
"	movq	%r8, regs_out+56(%rip)\n"
"	movq	%r9, regs_out+64(%rip)\n"
"	movq	%r10, regs_out+72(%rip)\n"
"	movq	%r11, regs_out+80(%rip)\n"
"	movq	%r12, regs_out+88(%rip)\n"
"	movq	%r13, regs_out+96(%rip)\n"
"	movq	%r14, regs_out+104(%rip)\n"
"	movq	%r15, regs_out+112(%rip)\n"
"	movq	%rsp, regs_out+120(%rip)\n"
"	movq	regs_own_rsp(%rip), %rsp\n"
"	pushfq\n"
"	popq	regs_out+128(%rip)\n"
"	pushq	$0x202\n"
"	popfq\n"
"	movw	%cs, regs_out+136(%rip)\n"
"	movw	%ds, regs_out+138(%rip)\n"
"	movw	%es, regs_out+140(%rip)\n"
"	movw	%fs, regs_out+142(%rip)\n"
"	movw	%gs, regs_out+144(%rip)\n"
"	movw	%ss, regs_out+146(%rip)\n"
"	movq	regs_in+120(%rip), %rsi\n"
"	subq	$128, %rsi\n"
"	leaq	regs_out+160(%rip), %rdi\n"
"	movq	regs_in+152(%rip), %rcx\n"
"	rep movsb\n"
"	movl	regs_mask(%rip), %eax\n"
"	xorl	%edx, %edx\n"
"	xsave64	regs_out+384(%rip)\n"
"	fninit\n"
"	fldcw	8(%rsp)\n"
"	ldmxcsr	(%rsp)\n"
"	addq	$24, %rsp\n"
"	popq	%r15\n"
"	popq	%r14\n"
"	popq	%r13\n"
"	popq	%r12\n"
"	popq	%rbp\n"
"	popq	%rbx\n"
"	ret\n"
);

/* Where a component is in the area, and its bytes. */
static inline void regs_component(unsigned int i, unsigned int *offset, unsigned int *size)
{
	unsigned int c, d;

	__cpuid_count(0xd, i, *size, *offset, c, d);
}

/* Once, before anything else. False: a CPU without XSAVE, from before 2011. */
static inline bool regs_setup(void)
{
	unsigned int a, b, c, d;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
		return false;
	__asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
	regs_mask = a & VEC_MASK;
	return true;
}

static inline uint8_t regs_noise(unsigned int seed, unsigned int i)
{
	uint32_t x = (seed * 0x9e3779b1u + i + 1) * 0x85ebca6bu;

	x ^= x >> 15;
	x *= 0xc2b2ae35u;
	return x >> 24;
}

static inline void regs_put(uint8_t *at, uint64_t value, unsigned int bytes)
{
	memcpy(at, &value, bytes);
}

static inline uint64_t regs_get(const uint8_t *at, unsigned int bytes)
{
	uint64_t value = 0;

	memcpy(&value, at, bytes);
	return value;
}

/* Noise in every register, but a state of x87 and SSE that exists. */
static inline void regs_vec_fill(uint8_t *vec, unsigned int seed)
{
	unsigned int i, j, offset, size;

	memset(vec, 0, VEC_SIZE);
	for (i = VEC_XMM; i < VEC_LEGACY; i++)
		vec[i] = regs_noise(seed, i);
	/* Ordinary numbers, near 1. */
	for (i = 0; i < 8; i++) {
		for (j = 0; j < 8; j++)
			vec[VEC_ST + 16 * i + j] = regs_noise(seed, 16 * i + j) | (j == 7) << 7;
		regs_put(&vec[VEC_ST + 16 * i + 8], 0x3fff - 4 + i + seed % 4, 2);
	}
	for (i = 2; regs_mask >> i; i++) {
		if (!(regs_mask >> i & 1))
			continue;
		regs_component(i, &offset, &size);
		for (j = 0; j < size; j++)
			vec[offset + j] = regs_noise(seed, offset + j);
	}
	regs_put(&vec[VEC_HEADER], regs_mask, 8);
	regs_put(&vec[VEC_FCW], 0x37f, 2);
	regs_put(&vec[VEC_MXCSR], 0x1f80, 4);
}

/* One of the eight 32-bit lanes of a ymm register. */
static inline void regs_lane(uint8_t *vec, unsigned int reg, unsigned int lane, uint32_t value)
{
	unsigned int offset, size;

	if (lane < 4) {
		regs_put(&vec[VEC_XMM + 16 * reg + 4 * lane], value, 4);
	} else {
		regs_component(2, &offset, &size);
		regs_put(&vec[offset + 16 * reg + 4 * (lane - 4)], value, 4);
	}
}

static const char *const reg_names[REGS] = {
	"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8", "r9", "r10", "r11", "r12", "r13",
	"r14", "r15", "rsp"
};

#define REGS_TEXT	128

static inline bool regs_same_bytes(const char *what, const uint8_t *a, const uint8_t *b,
				   unsigned int first, unsigned int end, char *text)
{
	for (; first < end; first++) {
		if (a[first] == b[first])
			continue;
		snprintf(text, REGS_TEXT, "%s: byte %u is %#x, not %#x", what, first, b[first],
			 a[first]);
		return false;
	}
	return true;
}

static inline bool regs_same_vec(const uint8_t *a, const uint8_t *b, bool pointers, char *text)
{
	unsigned int i, offset, size;

	if (!regs_same_bytes("x87 control, status, tags", a, b, 0, VEC_POINTERS, text) ||
	    !regs_same_bytes("MXCSR", a, b, VEC_MXCSR, VEC_MXCSR + 4, text) ||
	    !regs_same_bytes("x87 stack", a, b, VEC_ST, VEC_XMM, text) ||
	    !regs_same_bytes("xmm", a, b, VEC_XMM, VEC_LEGACY, text))
		return false;
	if (pointers && !regs_same_bytes("x87 pointers", a, b, VEC_POINTERS, VEC_MXCSR, text))
		return false;
	for (i = 2; regs_mask >> i; i++) {
		if (!(regs_mask >> i & 1))
			continue;
		regs_component(i, &offset, &size);
		if (!regs_same_bytes("ymm or beyond", a, b, offset, offset + size, text))
			return false;
	}
	return true;
}

/* Whether two snapshots are the same; if not, @text says what @b has instead. */
static inline bool regs_same(const struct regs *a, const struct regs *b, bool pointers, char *text)
{
	int i;

	for (i = 0; i < REGS; i++) {
		if (a->gpr[i] == b->gpr[i])
			continue;
		snprintf(text, REGS_TEXT, "%s is %#lx, not %#lx", reg_names[i], b->gpr[i],
			 a->gpr[i]);
		return false;
	}
	if (a->flags != b->flags) {
		snprintf(text, REGS_TEXT, "flags are %#lx, not %#lx", b->flags, a->flags);
		return false;
	}
	return regs_same_bytes("selectors", (const uint8_t *)a->selector,
			       (const uint8_t *)b->selector, 0, 12, text) &&
	       regs_same_bytes("red zone and stack", a->window, b->window, 0, WINDOW, text) &&
	       regs_same_vec(a->vec, b->vec, pointers, text);
}

#endif /* REGISTERS_H */
