// SPDX-License-Identifier: Apache-2.0
// Entry points of the kernel image. Everything here runs at physical addresses; x86_early_boot() prepares the final page
// tables and the jump to them. See abi/handoff.h; PVH: Xen's docs/misc/pvh, "x86/HVM direct boot ABI".
#define TABLES 0x10000
#define STACK_TOP 0x20000

	.section .head.text, "ax"
	.globl	x86_start, x86_start_pvh
	.code64
x86_start: // RDI = struct handoff, 64-bit mode, identity-mapped
	cli
	cld
	movl	$STACK_TOP, %esp
	xorl	%ebp, %ebp
	call	x86_early_boot // returns struct early_jump *
	movq	0(%rax), %rcx  // CR3
	movq	8(%rax), %rsp
	movq	16(%rax), %rdx // entry
	movq	%rcx, %cr3
	xorl	%ebp, %ebp
	pushq	$0
	jmp	*%rdx

	.code32
x86_start_pvh: // EBX = struct hvm_start_info, 32-bit protected mode, paging off
	cli
	cld
	movl	$STACK_TOP, %esp
	// Identity tables as the ROM makes them.
	xorl	%eax, %eax
	movl	$TABLES, %edi
	movl	$2048, %ecx
	rep stosl
	movl	$(TABLES + 0x1000 + 3), TABLES
	movl	$(TABLES + 0x2000 + 3), TABLES + 0x1000
	movl	$(TABLES + 0x3000 + 3), TABLES + 0x1008
	movl	$(TABLES + 0x4000 + 3), TABLES + 0x1010
	movl	$(TABLES + 0x5000 + 3), TABLES + 0x1018
	movl	$(TABLES + 0x2000), %edi
	movl	$0x83, %eax
1:	movl	%eax, (%edi)
	movl	$0, 4(%edi)
	addl	$8, %edi
	addl	$0x200000, %eax
	jnc	1b

	movl	%cr4, %eax
	orl	$0x20, %eax
	movl	%eax, %cr4
	movl	$TABLES, %eax
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx
	rdmsr
	orl	$0x100, %eax
	wrmsr
	movl	%cr0, %eax
	orl	$0x80000001, %eax
	movl	%eax, %cr0
	// The image is not relocated and may be position-independent only: the GDT pointer goes on the stack.
	call	2f
2:	popl	%esi
	subl	$(2b - early_gdt), %esi
	pushl	%esi
	pushw	$(3 * 8 - 1)
	lgdtl	(%esp)
	addl	$(pvh64 - early_gdt), %esi
	pushl	$8
	pushl	%esi
	lret

	.balign 8
early_gdt:
	.quad	0
	.quad	0x00af9b000000ffff // 64-bit code
	.quad	0x00cf93000000ffff // data

	.code64
pvh64:
	movl	$16, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	$STACK_TOP, %esp
	movl	%ebx, %edi
	call	x86_pvh_handoff // returns struct handoff *, or ends the machine
	movq	%rax, %rdi
	jmp	x86_start

	.section .note.GNU-stack, "", @progbits
