/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libavm: the code that a denied access goes on at, and back.
 *
 * avm_upcall_entry	the frame is below the red zone of the interrupted code
 * avm_upcall_onstack	the frame may be on another stack
 * avm_call_vector	a handler that may use x87 and vector registers
 *
 * The kernel enters with rsp and rdi pointing to a struct avm_upcall (see
 * <linux/avm.h>), every other register as the interrupted code left it, and
 * the direction flag clear. It saves what a C function may change below that,
 * so that both together are a struct avm_trap_pass:
 *
 *	 16 ..  87(%rbp)	arg addr access di ip cs flags sp ss: the frame
 *	  8(%rbp)		ip again, for those who walk by frame pointers
 *	  0(%rbp)		rbp
 *	 -8 .. -64(%rbp)	rax rcx rdx rsi r8 r9 r10 r11
 *
 * All of libavm is compiled without vector code, so x87 and vector registers
 * are untouched unless the handler is one of those that need avm_call_vector.
 *
 * Call-frame information stands beside each instruction that changes where
 * something is, so that a debugger, a profiler or a C++ exception can walk
 * from any of them to the interrupted instruction. Each entry is marked a
 * signal frame: the address in the frame is of an instruction that has not
 * been executed, not one after a call.
 */

/* Offsets in struct avm_upcall. upcall.c checks them. */
#define UP_DI		24
#define UP_IP		32
#define UP_FLAGS	48
#define UP_SP		56
#define UP_SS		64
#define UP_SIZE		72
#define RED_ZONE	128
#define UP_AT		16		/* where it is, from rbp */

#define SYS_ioctl	16
#define TRAP_PASS	0xb78a		/* AVM_IOC_TRAP_PASS; checked, too */

/* DWARF numbers of registers, and what is needed of its expressions. */
#define DW_rax	0
#define DW_rdx	1
#define DW_rcx	2
#define DW_rsi	4
#define DW_rdi	5
#define DW_rbp	6
#define DW_rsp	7
#define DW_r8	8
#define DW_r9	9
#define DW_r10	10
#define DW_r11	11
#define DW_rip	16
#define DW_CFA_def_cfa_expression	0x0f
#define DW_CFA_expression		0x10
#define DW_OP_deref			0x06
#define DW_OP_breg(reg)			(0x70 + (reg))

/* CFA: the word at @offset from @base; @offset as two bytes of SLEB128. */
#define SLEB(n)		(((n) & 0x7f) | 0x80), (((n) >> 7) & 0x7f)
#define CFA_AT(base, offset)						\
	.cfi_escape DW_CFA_def_cfa_expression, 4, DW_OP_breg(base), SLEB(offset), DW_OP_deref
/* Register @reg is saved at @offset from @base. */
#define SAVED_AT(reg, base, offset)					\
	.cfi_escape DW_CFA_expression, reg, 3, DW_OP_breg(base), SLEB(offset)

	.text

/* Save what a C function may change. */
.macro SAVE
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	pushq	%rsi
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
.endm

/* The reverse; flags are restored after it. */
.macro RESTORE
	movq	-64(%rbp), %r11
	movq	-56(%rbp), %r10
	movq	-48(%rbp), %r9
	movq	-40(%rbp), %r8
	movq	-32(%rbp), %rsi
	movq	-24(%rbp), %rdx
	movq	-16(%rbp), %rcx
	movq	-8(%rbp), %rax
.endm

/* Where SAVE has put them, from CFA or from rbp; and after RESTORE. */
.macro SAVED_BELOW_CFA
	.cfi_offset	rax, -(UP_SIZE + RED_ZONE + 24)
	.cfi_offset	rcx, -(UP_SIZE + RED_ZONE + 32)
	.cfi_offset	rdx, -(UP_SIZE + RED_ZONE + 40)
	.cfi_offset	rsi, -(UP_SIZE + RED_ZONE + 48)
	.cfi_offset	r8, -(UP_SIZE + RED_ZONE + 56)
	.cfi_offset	r9, -(UP_SIZE + RED_ZONE + 64)
	.cfi_offset	r10, -(UP_SIZE + RED_ZONE + 72)
	.cfi_offset	r11, -(UP_SIZE + RED_ZONE + 80)
.endm

.macro SAVED_BELOW_RBP
	SAVED_AT(DW_rax, DW_rbp, -8)
	SAVED_AT(DW_rcx, DW_rbp, -16)
	SAVED_AT(DW_rdx, DW_rbp, -24)
	SAVED_AT(DW_rsi, DW_rbp, -32)
	SAVED_AT(DW_r8, DW_rbp, -40)
	SAVED_AT(DW_r9, DW_rbp, -48)
	SAVED_AT(DW_r10, DW_rbp, -56)
	SAVED_AT(DW_r11, DW_rbp, -64)
.endm

.macro RESTORED
	.cfi_same_value rax
	.cfi_same_value rcx
	.cfi_same_value rdx
	.cfi_same_value rsi
	.cfi_same_value r8
	.cfi_same_value r9
	.cfi_same_value r10
	.cfi_same_value r11
.endm

/*
 * The handler has passed. eax: a descriptor for the call that makes it the
 * SIGSEGV that it would have been, from which there is no return; if it cannot
 * be made, C has to decide.
 */
.macro PASS
	leaq	-64(%rbp), %rdx		/* struct avm_trap_pass */
	movl	%eax, %edi
	movl	$TRAP_PASS, %esi
	movl	$SYS_ioctl, %eax
	syscall
	leaq	UP_AT(%rbp), %rdi
	call	avm_upcall_lost
.endm

/*
 * The usual entry. CFA is rsp of the interrupted code, which is a constant
 * from the frame; everything is found from there.
 */
	.globl	avm_upcall_entry
	.hidden	avm_upcall_entry
	.type	avm_upcall_entry, @function
	.p2align 4
avm_upcall_entry:
	.cfi_startproc simple
	.cfi_signal_frame
	.cfi_def_cfa	rsp, UP_SIZE + RED_ZONE
	.cfi_offset	rip, UP_IP - UP_SIZE - RED_ZONE
	.cfi_offset	rdi, UP_DI - UP_SIZE - RED_ZONE
	pushq	UP_IP(%rsp)		/* as if called: for frame pointers */
	.cfi_adjust_cfa_offset 8
	pushq	%rbp
	.cfi_adjust_cfa_offset 8
	.cfi_offset	rbp, -(UP_SIZE + RED_ZONE + 16)
	movq	%rsp, %rbp
	.cfi_def_cfa_register rbp
	SAVE
	SAVED_BELOW_CFA
	andq	$-16, %rsp		/* as a C function expects it */
	call	avm_upcall_dispatch	/* rdi: the frame */
	testl	%eax, %eax
	jns	2f
1:	movq	UP_AT + UP_IP(%rbp), %rcx	/* the word below the red zone, that of */
	movq	%rcx, UP_AT + UP_SS(%rbp)	/* ss, is where RET will take ip from */
	movq	UP_AT + UP_DI(%rbp), %rdi
	.cfi_same_value rdi
	RESTORE
	RESTORED
	leaq	UP_AT + UP_FLAGS(%rbp), %rsp
	movq	(%rbp), %rbp
	.cfi_def_cfa	rsp, UP_SIZE + RED_ZONE - UP_FLAGS
	.cfi_same_value rbp
	/* From here to RET ip is also below rsp, but there for 128 bytes. */
	popfq
	.cfi_adjust_cfa_offset -8
	leaq	8(%rsp), %rsp		/* past sp, and no flag touched */
	.cfi_adjust_cfa_offset -8
	ret	$RED_ZONE		/* ip, and over the red zone, at once */
	/* Where the handler passed: all is as after the call. */
	.cfi_def_cfa	rbp, UP_SIZE + RED_ZONE + UP_AT
	.cfi_offset	rdi, UP_DI - UP_SIZE - RED_ZONE
	.cfi_offset	rbp, -(UP_SIZE + RED_ZONE + 16)
	SAVED_BELOW_CFA
2:	PASS
	jmp	1b
	.cfi_endproc
	.size	avm_upcall_entry, . - avm_upcall_entry

/*
 * The entry for a stack of the handler's own. Nothing can be written to that
 * of the interrupted code, so IRETQ restores ip, flags and sp together. CFA,
 * the interrupted code's rsp, is in the frame.
 */
	.globl	avm_upcall_onstack
	.hidden	avm_upcall_onstack
	.type	avm_upcall_onstack, @function
	.p2align 4
avm_upcall_onstack:
	.cfi_startproc simple
	.cfi_signal_frame
	CFA_AT(DW_rsp, UP_SP)
	SAVED_AT(DW_rip, DW_rsp, UP_IP)
	SAVED_AT(DW_rdi, DW_rsp, UP_DI)
	pushq	UP_IP(%rsp)		/* as if called: for frame pointers */
	CFA_AT(DW_rsp, 8 + UP_SP)
	SAVED_AT(DW_rip, DW_rsp, 8 + UP_IP)
	SAVED_AT(DW_rdi, DW_rsp, 8 + UP_DI)
	pushq	%rbp
	CFA_AT(DW_rsp, UP_AT + UP_SP)
	SAVED_AT(DW_rip, DW_rsp, UP_AT + UP_IP)
	SAVED_AT(DW_rdi, DW_rsp, UP_AT + UP_DI)
	SAVED_AT(DW_rbp, DW_rsp, 0)
	movq	%rsp, %rbp
	CFA_AT(DW_rbp, UP_AT + UP_SP)
	SAVED_AT(DW_rip, DW_rbp, UP_AT + UP_IP)
	SAVED_AT(DW_rdi, DW_rbp, UP_AT + UP_DI)
	SAVED_AT(DW_rbp, DW_rbp, 0)
	SAVE
	SAVED_BELOW_RBP
	andq	$-16, %rsp		/* as a C function expects it */
	call	avm_upcall_dispatch	/* rdi: the frame */
	testl	%eax, %eax
	jns	2f
1:	movq	UP_AT + UP_DI(%rbp), %rdi
	.cfi_same_value rdi
	RESTORE
	RESTORED
	leaq	UP_AT + UP_IP(%rbp), %rsp
	movq	(%rbp), %rbp
	CFA_AT(DW_rsp, UP_SP - UP_IP)
	SAVED_AT(DW_rip, DW_rsp, 0)
	.cfi_same_value rbp
	iretq				/* ip cs flags sp ss, at once */
	/* Where the handler passed: all is as after the call. */
	CFA_AT(DW_rbp, UP_AT + UP_SP)
	SAVED_AT(DW_rip, DW_rbp, UP_AT + UP_IP)
	SAVED_AT(DW_rdi, DW_rbp, UP_AT + UP_DI)
	SAVED_AT(DW_rbp, DW_rbp, 0)
	SAVED_BELOW_RBP
2:	PASS
	jmp	1b
	.cfi_endproc
	.size	avm_upcall_onstack, . - avm_upcall_onstack

/*
 * int avm_call_vector(const struct avm_trap_info *info, void *arg,
 *		       avm_trap_fn *fn)
 *
 * Calls fn(info, arg) with the x87 and vector registers saved, and, as for a
 * signal handler, the x87 unit and MXCSR in the state that a program begins
 * with. avm_vector_how says how, avm_vector_size how much room that takes,
 * avm_vector_mask which of the state components.
 */
	.globl	avm_call_vector
	.hidden	avm_call_vector
	.type	avm_call_vector, @function
	.p2align 4
avm_call_vector:
	.cfi_startproc
	pushq	%rbp
	.cfi_def_cfa_offset 16
	.cfi_offset	rbp, -16
	movq	%rsp, %rbp
	.cfi_def_cfa_register rbp
	pushq	%rbx
	.cfi_offset	rbx, -24
	movq	%rdx, %rcx		/* fn: edx is wanted for the mask */
	subq	avm_vector_size(%rip), %rsp
	andq	$-64, %rsp		/* as XSAVE wants it */
	movl	avm_vector_how(%rip), %ebx
	movl	avm_vector_mask(%rip), %eax
	xorl	%edx, %edx
	cmpl	$1, %ebx
	jb	1f
	/* XSAVE writes but some words of its header, XRSTOR wants the rest 0. */
	movq	%rdx, 512(%rsp)
	movq	%rdx, 520(%rsp)
	movq	%rdx, 528(%rsp)
	movq	%rdx, 536(%rsp)
	movq	%rdx, 544(%rsp)
	movq	%rdx, 552(%rsp)
	movq	%rdx, 560(%rsp)
	movq	%rdx, 568(%rsp)
	ja	2f
	xsave64	(%rsp)
	jmp	3f
2:	xsavec64 (%rsp)
	jmp	3f
1:	fxsave64 (%rsp)
3:	fninit
	ldmxcsr	initial_mxcsr(%rip)
	testl	$4, %eax		/* AVX: spare SSE code the slow mixture */
	jz	4f
	vzeroupper
4:	call	*%rcx
	movl	%eax, %ecx		/* what it returned */
	movl	avm_vector_mask(%rip), %eax
	xorl	%edx, %edx
	testl	%ebx, %ebx
	jz	5f
	xrstor64 (%rsp)
	jmp	6f
5:	fxrstor64 (%rsp)
6:	movl	%ecx, %eax
	movq	-8(%rbp), %rbx
	.cfi_same_value rbx
	leave
	.cfi_def_cfa	rsp, 8
	.cfi_same_value rbp
	ret
	.cfi_endproc
	.size	avm_call_vector, . - avm_call_vector

	.section .rodata
	.p2align 2
initial_mxcsr:
	.long	0x1f80

	.section .note.GNU-stack, "", @progbits
