/* SPDX-License-Identifier: GPL-2.0 */
/*
 * upcall.S - what an upcall enters: makes a struct avm_trap_pass of the
 * registers and the frame, calls upcall(), and resumes
 */
	.text
	.globl upcall_entry
	.type upcall_entry, @function
upcall_entry:
	pushq $0
	pushq %rbp
	pushq %rax
	pushq %rcx
	pushq %rdx
	pushq %rsi
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	movq %rsp, %rdi
	movq %rsp, %rbp
	andq $-16, %rsp
	call upcall
	movq %rbp, %rsp
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rsi
	popq %rdx
	popq %rcx
	popq %rax
	popq %rbp
	leaq 8(%rsp), %rsp
	/* ip over ss; then flags, past sp, and back over the red zone */
	movq 32(%rsp), %rdi
	movq %rdi, 64(%rsp)
	movq 24(%rsp), %rdi
	leaq 48(%rsp), %rsp
	popfq
	leaq 8(%rsp), %rsp
	ret $128
	.size upcall_entry, . - upcall_entry

	.section .note.GNU-stack, "", @progbits
