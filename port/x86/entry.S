// SPDX-License-Identifier: Apache-2.0
// Every way into the kernel and out of it. Interrupts are off in ring 0, so nothing here can be interrupted but by NMI,
// double fault and machine check, which have stacks of their own and do not come back to interrupted kernel code.
//
// A frame is 168 bytes below a 16-byte boundary (the CPU aligns there), hence the 8 bytes around calls into C.
// A frame is struct user_regs; it always ends at the top of the current task's kernel stack when it is a program's.
// Source: SDM vol. 2 SYSCALL, SYSRET, SWAPGS, IRET; vol. 3, 6.14 (64-bit interrupt frames).

#include "amd64/frame.S"

#define CPU_CURRENT 0
#define CPU_KERNEL_STACK 16
#define CPU_USER_SP 24

#define MSR_GS_BASE 0xc0000101

	.section .text.hot, "ax"

// ---- system calls: RCX = return address, R11 = flags ----
	.balign 64
	.globl	x86_syscall_entry
x86_syscall_entry:
	OUTERMOST
	swapgs
	movq	%rsp, %gs:CPU_USER_SP
	movq	%gs:CPU_KERNEL_STACK, %rsp
	pushq	$USER_DATA
	pushq	%gs:CPU_USER_SP
	pushq	%r11
	pushq	$USER_CODE
	pushq	%rcx
	pushq	%rax // orig_ax
	pushq	%rdi
	PUSH_REGISTERS_BELOW_DI ax=$-38 // -ENOSYS until somebody says otherwise, as ptrace expects
	movq	%rsp, %rdi
	xorl	%ebp, %ebp // ends backtraces
	subq	$8, %rsp
	call	kernel_upcall_syscall
	addq	$8, %rsp

	movq	%gs:CPU_CURRENT, %rax
	cmpl	$0, (%rax) // task->work
	jne	user_work
	// SYSRET faults in ring 0 on a non-canonical address, and it loads RIP and RFLAGS from RCX and R11: only when
	// the frame is what SYSCALL made of it, as it nearly always is.
try_sysret:
	movq	R_IP(%rsp), %rcx
	movq	R_FLAGS(%rsp), %r11
	cmpq	R_CX(%rsp), %rcx
	jne	return_by_iret
	cmpq	R_R11(%rsp), %r11
	jne	return_by_iret
	movq	%rcx, %rax
	shrq	$47, %rax
	jnz	return_by_iret
	movl	%r11d, %eax
	andl	$0x3f7300, %eax // TF IF IOPL NT RF VM AC VIF VIP ID
	cmpl	$0x200, %eax    // only IF
	jne	return_by_iret
	cmpq	$USER_CODE, R_CS(%rsp)
	jne	return_by_iret
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbp
	popq	%rbx
	addq	$8, %rsp
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rax
	addq	$8, %rsp
	popq	%rdx
	popq	%rsi
	popq	%rdi
	movq	(R_SP - R_ORIG_AX)(%rsp), %rsp
	swapgs
	sysretq

user_work:
	movq	%rsp, %rdi
	subq	$8, %rsp
	call	kernel_upcall_user_return
	addq	$8, %rsp
	jmp	try_sysret
	.cfi_endproc

	.globl	x86_enter_user
	OUTERMOST
x86_enter_user: // RDI = frame at the top of the kernel stack: work, then user mode
	movq	%rdi, %rsp
	xorl	%ebp, %ebp
return_after_trap:
	movq	%gs:CPU_CURRENT, %rax
	cmpl	$0, (%rax)
	je	return_by_iret
	movq	%rsp, %rdi
	subq	$8, %rsp
	call	kernel_upcall_user_return
	addq	$8, %rsp
return_by_iret:
	movq	%rsp, %rdi
	subq	$8, %rsp
	call	x86_check_user_frame // nonzero: the frame was bad, a signal was queued
	addq	$8, %rsp
	testl	%eax, %eax
	jnz	return_after_trap
	POP_REGISTERS_TO_DI
	addq	$8, %rsp
	swapgs
	iretq
	.cfi_endproc

// ---- first run of a task ----
	.globl	x86_task_first
	OUTERMOST
x86_task_first: // R12 = fn or 0, R13 = argument, RAX = the task that ran before
	movq	%rax, %rdi
	xorl	%ebp, %ebp
	subq	$8, %rsp
	call	kernel_upcall_task_started
	addq	$8, %rsp
	testq	%r12, %r12
	jz	1f
	movq	%r13, %rdi
	subq	$8, %rsp
	call	*%r12
	ud2
1:	movq	%rsp, %rdi
	jmp	x86_enter_user
	.cfi_endproc

// struct task *x86_stack_switch(uint64_t *save, uint64_t load, struct task *prev): returns prev, on the other stack
	.globl	x86_stack_switch
x86_stack_switch:
	pushq	%rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rsp, (%rdi)
	movq	%rsi, %rsp
	movq	%rdx, %rax
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	ret

// ---- exceptions and interrupts ----
	.balign 16
	OUTERMOST
trap_common: // DI was pushed, EDI = vector, the error code (or 0) is in orig_ax's place
	cld
	PUSH_REGISTERS_BELOW_DI
	movl	%edi, %esi
	movq	%rsp, %rdi
	movq	R_ORIG_AX(%rsp), %rdx
	movq	$-1, R_ORIG_AX(%rsp)
	testb	$3, R_CS(%rsp)
	jz	trap_from_kernel
	swapgs
	// SYSCALL clears AC, a trap does not: a program must not choose whether SMAP holds.
	testl	$0x40000, R_FLAGS(%rsp)
	jnz	clear_ac
ac_clear:
	xorl	%ebp, %ebp
	subq	$8, %rsp
	call	x86_user_trap // (regs, vector, error)
	addq	$8, %rsp
	jmp	return_after_trap

clear_ac:
	pushfq
	andq	$~0x40000, (%rsp)
	popfq
	jmp	ac_clear

trap_from_kernel:
	subq	$8, %rsp
	call	x86_kernel_trap // returns from interrupts only
	addq	$8, %rsp
	POP_REGISTERS_TO_DI
	addq	$8, %rsp
	iretq
	.cfi_endproc

	.section .text.entry, "ax"
	// One stub a vector, 16 bytes each: x86_idt_init() computes their addresses.
	.balign 16
	.globl	x86_trap_stubs
x86_trap_stubs:
	vector = 0
	.rept 256
	.balign 16
	// These exceptions push an error code.
	.if (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
	.else
	pushq	$0
	.endif
	pushq	%rdi
	movl	$vector, %edi
	jmp	trap_common
	vector = vector + 1
	.endr

// NMI: another CPU panics. Touches neither GS nor the interrupted state.
	.balign 16
	.globl	x86_nmi_entry
x86_nmi_entry:
	cmpl	$0, x86_panic_stop(%rip)
	jne	1f
	iretq
1:	cli
	hlt
	jmp	1b

// Double fault and machine check: on their own stacks, from anywhere, GS unknown. They do not return.
	.macro FATAL name, vector
	.balign 16
	.globl	\name
\name:
	.if \vector == 18
	pushq	$0
	.endif
	pushq	%rdi
	cld
	PUSH_REGISTERS_BELOW_DI
	movl	$MSR_GS_BASE, %ecx
	rdmsr
	testl	%edx, %edx
	js	1f // the kernel's base is negative
	swapgs
1:	movq	%rsp, %rdi
	movl	$\vector, %esi
	movq	R_ORIG_AX(%rsp), %rdx
	subq	$8, %rsp
	call	x86_fatal_trap
	ud2
	.endm
	FATAL x86_double_fault_entry, 8
	FATAL x86_machine_check_entry, 18

	.section .note.GNU-stack, "", @progbits
