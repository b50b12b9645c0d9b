// SPDX-License-Identifier: Apache-2.0
// Where the other CPUs start: copied to a page below 1 MiB, entered in real mode at its offset 0 (CS = page << 8). They use
// the loader's top-level table, which maps low memory one to one and the kernel half as the kernel does.
#define TABLES 0x10000
#define PAGE 0x8000 // HANDOFF_TRAMPOLINE

	.section .rodata.trampoline, "a"
	.balign 16
	.globl	x86_trampoline_start, x86_trampoline_end, x86_trampoline_entry
x86_trampoline_start:
	.code16
	cli
	cld
	movw	%cs, %ax
	movw	%ax, %ds
	lgdtl	trampoline_gdt_pointer - x86_trampoline_start
	movl	%cr0, %eax
	andl	$~0x60000000, %eax
	orl	$1, %eax
	movl	%eax, %cr0
	ljmpl	$8, $(PAGE + trampoline32 - x86_trampoline_start)

	.code32
trampoline32:
	movl	$16, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	%cr4, %eax
	orl	$0x20, %eax // PAE
	movl	%eax, %cr4
	movl	$TABLES, %eax
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx
	rdmsr
	orl	$0x900, %eax // LME, NXE
	wrmsr
	movl	%cr0, %eax
	orl	$0x80000000, %eax
	movl	%eax, %cr0
	ljmpl	$24, $(PAGE + trampoline64 - x86_trampoline_start)

	.code64
trampoline64:
	movq	x86_trampoline_entry(%rip), %rax
	jmp	*%rax

	.balign 8
x86_trampoline_entry:
	.quad	0
trampoline_gdt:
	.quad	0
	.quad	0x00cf9b000000ffff
	.quad	0x00cf93000000ffff
	.quad	0x00af9b000000ffff
trampoline_gdt_pointer:
	.word	. - trampoline_gdt - 1
	.long	PAGE + trampoline_gdt - x86_trampoline_start
x86_trampoline_end:

	.section .text, "ax"
	.code64
	.globl	x86_ap_entry
x86_ap_entry: // at its final address, no stack yet: which CPU is this?
	cmpl	$0, x86_apic_ids_contiguous(%rip)
	je	2f
	xorl	%eax, %eax
	cpuid
	cmpl	$0xb, %eax
	jb	1f
	movl	$0xb, %eax
	xorl	%ecx, %ecx
	cpuid
	testl	%ebx, %ebx // zero: the leaf is not implemented
	jz	1f
	movl	%edx, %edi
	jmp	3f
1:	movl	$1, %eax
	cpuid
	shrl	$24, %ebx
	movl	%ebx, %edi
	jmp	3f
2:	movl	$1, %edi
	lock xaddl %edi, x86_next_cpu(%rip)
3:	cmpl	x86_cpu_count(%rip), %edi
	jae	4f
	leaq	x86_cpus(%rip), %rax
	movq	(%rax, %rdi, 8), %rdi
	movq	48(%rdi), %rsp // boot_stack_top
	xorl	%ebp, %ebp
	call	x86_ap_main
4:	cli // more CPUs than we can use
	hlt
	jmp	4b

	.section .note.GNU-stack, "", @progbits
