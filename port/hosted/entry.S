// SPDX-License-Identifier: Apache-2.0
// Every way into the kernel and out of it, on a host thread.
//
// In: (a) a rewritten call site (rewrite.c) jumps to hosted_entry_*; (b) a host signal (signal.c) whose handler has filled
// the program's frame and leaves to hosted_trap_main. Out: one way, hosted_leave_*. Between hosted_leave_* and the jump to the
// program a kick may have set task->work behind the check: the signal handler sees the address and starts over at hosted_again_*
// (the frame is whole until the jump). So no work is lost.
//
// These ways exist twice (struct hosted_ways, pkeys.h): plain, and keyed for a kernel whose region a protection key closes while the
// program runs. Keyed ways open it first and close it last, and while it is closed they access the entry area only.
//
// A frame is struct user_regs at the top of the task's kernel stack, 168 bytes below a 16-byte boundary, hence the 8 bytes around
// calls into C. Vector registers are the program's all the time.

#include "amd64/frame.S"

#include <asm/prctl.h>
#include <asm/unistd.h>

#define P_CURRENT 0
#define P_KICKED 12
#define P_STACK_TOP 16
#define P_USER_SP 24
#define P_USER_IP 32
#define P_GS_USER 40
#define P_GS_BASE 48
#define P_MOVED_SP 56

#define TID_WAITED_FOR 0x40000000

// struct entry_area, from GS
#define ENTRY_AREA 0x40000000
#define E_DX (ENTRY_AREA)
#define E_CX (ENTRY_AREA+8)
#define E_AX (ENTRY_AREA+16)
#define E_IP (ENTRY_AREA+24)

#define WAYS_LEAVE 8

// struct hosted_handoff
#define HANDOFF_FLAGS 184
#define FLAG_FSGSBASE 1

// PKRU (SDM vol. 3, 4.6.2): in the kernel everything is open; for programs all keys but 0 are closed, as Linux starts them
#define PKRU_KERNEL 0
#define PKRU_PROGRAM 0x55555554

	// Changes no flags; AX, CX and DX are lost.
	.macro SET_PKRU value
	movl	$\value, %eax
	movl	$0, %ecx
	movl	$0, %edx
	wrpkru
	.endm

	.section .text.hot, "ax"

	.macro WAYS name, keyed

// ---- from a rewritten call site: RAX = number, RCX = return address; R11 may be used, as `syscall` does ----
	.balign 64
	.globl	hosted_entry_\name
hosted_entry_\name:
	OUTERMOST
	.if \keyed
	movq	%rax, %gs:E_AX
	movq	%rdx, %gs:E_DX
	movq	%rcx, %r11
	SET_PKRU PKRU_KERNEL
	movq	%r11, %rcx
	movq	%gs:E_DX, %rdx
	movq	%gs:E_AX, %rax
	.endif
	movq	%rsp, %gs:P_USER_SP
	movq	%gs:P_STACK_TOP, %rsp
	pushq	$USER_DATA
	pushq	%gs:P_USER_SP
	pushfq
	movq	(%rsp), %r11
	pushq	$USER_CODE
	pushq	%rcx
	pushq	%rax // orig_ax
	pushq	%rdi
	PUSH_REGISTERS_BELOW_DI ax=$-38 // -ENOSYS until somebody says otherwise, as ptrace expects
	cld
	movq	%rsp, %rdi
	xorl	%ebp, %ebp // ends backtraces
	subq	$8, %rsp
	call	kernel_upcall_syscall
	addq	$8, %rsp

	.globl	hosted_leave_\name
hosted_leave_\name: // RSP = frame
	movq	%gs:P_CURRENT, %rax
	cmpl	$0, (%rax) // task->work
	jne	leave_work_\name
	cmpq	$0, %gs:P_GS_USER
	jne	leave_with_gs_\name
leave_now_\name:
	testb	$1, R_FLAGS+1(%rsp) // TF: the program's next instruction is to trap, not ours
	jnz	leave_by_iret_\name
	POP_REGISTERS_TO_DI
	addq	$8, %rsp
	.if \keyed
	movq	%rax, %gs:E_AX
	movq	%rcx, %gs:E_CX
	movq	%rdx, %gs:E_DX
	popq	%gs:E_IP
	.else
	popq	%gs:P_USER_IP
	.endif
	addq	$8, %rsp
	popfq
	popq	%rsp
	.if \keyed
	SET_PKRU PKRU_PROGRAM
	movq	%gs:E_AX, %rax
	movq	%gs:E_CX, %rcx
	movq	%gs:E_DX, %rdx
	.globl	hosted_leave_jump_\name
hosted_leave_jump_\name:
	jmpq	*%gs:E_IP
	.else
	.globl	hosted_leave_jump_\name
hosted_leave_jump_\name:
	jmpq	*%gs:P_USER_IP
	.endif
leave_with_gs_\name: // the program has set GS itself: nothing after that may use ours
	movq	%gs:P_GS_BASE, %rsi
	testl	$FLAG_FSGSBASE, hosted+HANDOFF_FLAGS(%rip)
	jz	set_gs_by_call_\name
	wrgsbase %rsi
	jmp	leave_by_iret_\name
set_gs_by_call_\name:
	movl	$ARCH_SET_GS, %edi
	movl	$__NR_arch_prctl, %eax
	syscall
leave_by_iret_\name:
	.if \keyed
	leaq	ENTRY_AREA+FRAME_BYTES(%rsp), %rdi
	movq	R_DX(%rsp), %rax
	movq	%rax, (%rdi)
	movq	R_CX(%rsp), %rax
	movq	%rax, 8(%rdi)
	movq	R_AX(%rsp), %rax
	movq	%rax, 16(%rdi)
	addq	$24, %rdi
	leaq	R_IP(%rsp), %rsi
	movl	$5, %ecx
	cld
	rep movsq
	POP_REGISTERS_TO_DI
	leaq	ENTRY_AREA+FRAME_BYTES-R_ORIG_AX(%rsp), %rsp
	SET_PKRU PKRU_PROGRAM
	popq	%rdx
	popq	%rcx
	popq	%rax
	.else
	POP_REGISTERS_TO_DI
	addq	$8, %rsp
	.endif
	.globl	hosted_leave_iret_\name
hosted_leave_iret_\name:
	iretq
leave_work_\name: // some bits of task->work stay: a kick, not the word, tells that there is more
	movl	$0, %gs:P_KICKED
	movq	%rsp, %rdi
	subq	$8, %rsp
	call	kernel_upcall_user_return
	addq	$8, %rsp
	cmpl	$0, %gs:P_KICKED
	jne	leave_work_\name
	cmpq	$0, %gs:P_GS_USER
	jne	leave_with_gs_\name
	jmp	leave_now_\name
	.globl	hosted_again_\name
hosted_again_\name: // RSP = frame; registers, flags and PKRU may be the program's already
	.if \keyed
	SET_PKRU PKRU_KERNEL
	.endif
	cld
	jmp	hosted_leave_\name
	.globl	hosted_leave_end_\name
hosted_leave_end_\name:
	.cfi_endproc

// ---- the host's signals ----
// The host enters here on the signal stack, with PKRU as it starts programs: EDI = signal, RSI = siginfo, RDX = ucontext.
	.globl	hosted_signal_\name
hosted_signal_\name:
	OUTERMOST
	.if \keyed
	movq	%rdx, %r8
	SET_PKRU PKRU_KERNEL
	movq	%r8, %rdx
	.endif
	cld
	movq	%rsp, %rcx
	subq	$8, %rsp // the host has pushed the address of hosted_signal_return
	call	hosted_signal
	addq	$8, %rsp
	ret
	.cfi_endproc

	.pushsection .data.rel.ro, "aw"
	.globl	hosted_ways_\name
hosted_ways_\name: // struct hosted_ways
	.quad	hosted_entry_\name, hosted_leave_\name, hosted_leave_jump_\name, hosted_leave_iret_\name
	.quad	hosted_leave_end_\name, hosted_again_\name, hosted_signal_\name
	.popsection
	.endm

	WAYS	plain, 0
	WAYS	keyed, 1

	.globl	hosted_signal_return
hosted_signal_return:
	movl	$__NR_rt_sigreturn, %eax
	syscall
	ud2

	.globl	hosted_enter_user
	OUTERMOST
hosted_enter_user: // RDI = frame at the top of the kernel stack
	movq	%rdi, %rsp
	xorl	%ebp, %ebp
	movq	hosted_ways(%rip), %rax
	jmpq	*WAYS_LEAVE(%rax)
	.cfi_endproc

// hosted_trap_main(fn, frame, a, b, c): from the signal stack to the kernel stack; fn(frame, a, b, c), then to the program.
	.globl	hosted_trap_main
	OUTERMOST
hosted_trap_main:
	movq	%rdi, %rax
	movq	%rsi, %rdi
	movq	%rdi, %rsp
	movq	%rdx, %rsi
	movq	%rcx, %rdx
	movq	%r8, %rcx
	xorl	%ebp, %ebp
	subq	$8, %rsp
	call	*%rax
	addq	$8, %rsp
	movq	hosted_ways(%rip), %rax
	jmpq	*WAYS_LEAVE(%rax)
	.cfi_endproc

// ---- calls that wait ----
// long hosted_call_interruptible(nr, a, b, c, d, e, f). The signal handler moves a thread between _start and _wait to _kicked.
	.globl	hosted_call_interruptible
hosted_call_interruptible:
	movq	%rdi, %rax
	movq	%rsi, %rdi
	movq	%rdx, %rsi
	movq	%rcx, %rdx
	movq	%r8, %r10
	movq	%r9, %r8
	movq	8(%rsp), %r9
	.globl	hosted_wait_start
hosted_wait_start:
	cmpl	$0, %gs:P_KICKED
	jne	hosted_wait_kicked
	.globl	hosted_wait_call
hosted_wait_call:
	syscall
	ret
	.globl	hosted_wait_kicked
hosted_wait_kicked:
	movl	$0, %gs:P_KICKED
	movq	$-4, %rax // -EINTR
	ret

// ---- threads ----
// long hosted_clone(flags, child_stack, tid): the thread's number, or -errno. The child finds its struct port_task on its stack.
	.globl	hosted_clone
hosted_clone:
	movl	$__NR_clone, %eax
	xorl	%r10d, %r10d
	xorl	%r8d, %r8d
	syscall
	testq	%rax, %rax
	jz	1f
	ret
	OUTERMOST
1:	xorl	%ebp, %ebp
	popq	%rdi
	call	hosted_child_main
	ud2
	.cfi_endproc

// hosted_thread_end(tid): the stack this runs on may be another thread's as soon as *tid is 0.
	.globl	hosted_thread_end
hosted_thread_end:
	xorl	%eax, %eax
	xchgl	%eax, (%rdi)
	testl	$TID_WAITED_FOR, %eax
	jz	1f
	movl	$1, %esi // FUTEX_WAKE
	movl	$0x7fffffff, %edx
	movl	$__NR_futex, %eax
	syscall
1:	xorl	%edi, %edi
	movl	$__NR_exit, %eax
	syscall
	ud2

// long hosted_migrate(p): goes on as another host process's thread, by hosted_resume(); this thread ends on its signal stack.
	.globl	hosted_migrate
hosted_migrate:
	pushq	%rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rsp, P_MOVED_SP(%rdi)
	leaq	ENTRY_AREA(%rdi), %rsp
	call	hosted_migrate_post
	ud2

// void hosted_resume(sp)
	.globl	hosted_resume
hosted_resume:
	movq	%rdi, %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	xorl	%eax, %eax
	ret

// ---- user memory: what faults goes on at the fixup ----
	.macro FIXUP at, to
	.pushsection .fixups, "a"
	.long	\at - .
	.long	\to - .
	.popsection
	.endm

// size_t hosted_move(to, from, size): bytes not moved
	.globl	hosted_move
	.balign	16
hosted_move:
	movq	%rdx, %rcx
1:	rep movsb
2:	movq	%rcx, %rax
	ret
	FIXUP	1b, 2b

// size_t hosted_window_move(to, from, size, probe): bytes not moved, all where *probe faults
	.globl	hosted_window_move
	.balign	16
hosted_window_move:
1:	movb	(%rcx), %al
	movq	%rdx, %rcx
2:	rep movsb
3:	movq	%rcx, %rax
	ret
4:	movq	%rdx, %rax
	ret
	FIXUP	1b, 4b
	FIXUP	2b, 3b

// size_t hosted_clear(to, size): bytes not cleared
	.globl	hosted_clear
hosted_clear:
	movq	%rsi, %rcx
	xorl	%eax, %eax
1:	rep stosb
2:	movq	%rcx, %rax
	ret
	FIXUP	1b, 2b

// size_t hosted_moveN(to, from): 0, or N when it faulted
	.macro MOVE name, size, register, mov
	.globl	\name
	.balign	16
\name:
1:	\mov	(%rsi), \register
2:	\mov	\register, (%rdi)
	xorl	%eax, %eax
	ret
3:	movl	$\size, %eax
	ret
	FIXUP	1b, 3b
	FIXUP	2b, 3b
	.endm
	MOVE	hosted_move1, 1, %al, movb
	MOVE	hosted_move2, 2, %ax, movw
	MOVE	hosted_move4, 4, %eax, movl
	MOVE	hosted_move8, 8, %rax, movq

// int hosted_load32(const uint32_t *from, uint32_t *seen): 0, or nonzero when it faulted
	.globl	hosted_load32
hosted_load32:
1:	movl	(%rdi), %eax
	movl	%eax, (%rsi)
	xorl	%eax, %eax
	ret
2:	movl	$1, %eax
	ret
	FIXUP	1b, 2b

// int hosted_cmpxchg32(uint32_t *at, uint32_t old, uint32_t new, uint32_t *seen)
	.globl	hosted_cmpxchg32
hosted_cmpxchg32:
	movl	%esi, %eax
1:	lock cmpxchgl %edx, (%rdi)
	movl	%eax, (%rcx)
	xorl	%eax, %eax
	ret
2:	movl	$1, %eax
	ret
	FIXUP	1b, 2b

// long hosted_string(char *to, const char *from, size_t size): length without NUL; size: no NUL; -1: faulted
	.globl	hosted_string
hosted_string:
	xorl	%ecx, %ecx
1:	cmpq	%rdx, %rcx
	je	3f
2:	movb	(%rsi,%rcx), %al
	movb	%al, (%rdi,%rcx)
	testb	%al, %al
	jz	3f
	incq	%rcx
	jmp	1b
3:	movq	%rcx, %rax
	ret
4:	movq	$-1, %rax
	ret
	FIXUP	2b, 4b

// ---- start ----
	.section .head.text, "ax"
	.globl	hosted_start
hosted_start: // RDI = hand-off, RSP = boot stack
	OUTERMOST
	xorl	%ebp, %ebp
	andq	$-16, %rsp
	call	hosted_main
	ud2
	.cfi_endproc

	.section .note.GNU-stack, "", @progbits
