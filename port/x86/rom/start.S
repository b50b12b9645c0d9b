// SPDX-License-Identifier: Apache-2.0
// The ROM's way from the reset vector to 64-bit C. Source: SDM vol. 3, 9.1 (state after reset) and 9.8.5 (IA-32e mode).
//
// The ROM is the last 64 KiB below 4 GiB; at reset CS has base 0xffff0000, so 16-bit offsets are offsets into the ROM.
// The first 4 GiB are identity-mapped with 2 MiB pages (1 GiB pages are optional) in low memory; see abi/handoff.h.
#define TABLES 0x10000
#define STACK_TOP 0x20000

	.section .text.start, "ax"
	.code16
start16:
	cli
	cld
	lgdtl	%cs:(gdt_pointer - start16)
	movl	%cr0, %eax
	andl	$~0x60000000, %eax // caches on
	orl	$1, %eax
	movl	%eax, %cr0
	ljmpl	$8, $start32

	.code32
start32:
	movl	$16, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	$STACK_TOP, %esp

	// PML4[0] -> PDPT[0..3] -> four page directories
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
	movl	$0x83, %eax // present, writable, 2 MiB
1:	movl	%eax, (%edi)
	movl	$0, 4(%edi)
	addl	$8, %edi
	addl	$0x200000, %eax
	jnc	1b

	movl	%cr4, %eax
	orl	$0x20, %eax // PAE
	movl	%eax, %cr4
	movl	$TABLES, %eax
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx // EFER
	rdmsr
	orl	$0x100, %eax // LME
	wrmsr
	movl	%cr0, %eax
	orl	$0x80000000, %eax
	movl	%eax, %cr0
	ljmpl	$24, $start64

	.code64
start64:
	xorl	%ebp, %ebp
	call	rom_main // returns RAX = kernel entry; RDI is set below
	movl	$0x9000, %edi // HANDOFF_ADDRESS
	jmp	*%rax

	.balign 8
gdt:
	.quad	0
	.quad	0x00cf9b000000ffff // 32-bit code
	.quad	0x00cf93000000ffff // data
	.quad	0x00af9b000000ffff // 64-bit code
gdt_pointer:
	.word	. - gdt - 1
	.long	gdt

	.section .reset, "ax"
	.code16
	.globl	reset
reset:
	jmp	start16
	.byte	0
	.ascii	"cloister"
	.balign 16

	.section .note.GNU-stack, "", @progbits
