// SPDX-License-Identifier: Apache-2.0
// What the entries of the ports for this processor share: struct user_regs (kernel/upcall.h) as it comes to stand on a kernel stack.
// To be included by assembler files; has no code of its own.

#define USER_CODE 0x33
#define USER_DATA 0x2b
#define FRAME_BYTES 168

// offsets in struct user_regs
#define R_R11 48
#define R_AX 80
#define R_CX 88
#define R_DX 96
#define R_ORIG_AX 120
#define R_IP 128
#define R_CS 136
#define R_FLAGS 144
#define R_SP 152

	.macro PUSH_REGISTERS_BELOW_DI ax=%rax
	pushq	%rsi
	pushq	%rdx
	pushq	%rcx
	pushq	\ax
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	pushq	%rbx
	pushq	%rbp
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	.endm

	.macro POP_REGISTERS_TO_DI
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbp
	popq	%rbx
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rax
	popq	%rcx
	popq	%rdx
	popq	%rsi
	popq	%rdi
	.endm

	.cfi_sections .debug_frame

	// A debugger must not look for callers beyond an entry.
	.macro OUTERMOST
	.cfi_startproc simple
	.cfi_def_cfa rsp, 8
	.cfi_undefined rip
	.endm
