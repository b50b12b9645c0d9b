// SPDX-License-Identifier: Apache-2.0
// SSE and AVX registers to and from an XSAVE area of standard format by plain moves. Emulation runs XSAVE and XRSTOR word by
// word through its slow path (some 3 us here), while it translates moves (some 0.3 us). Only for XCR0 = x87 | SSE | AVX.
#define XMM 160 // SDM vol. 1, 13.4.1
#define YMM 576 // 13.4.2: upper halves

	.section .text.hot, "ax"

// void x86_avx_save(void *area)
	.globl	x86_avx_save
x86_avx_save:
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vmovups	%xmm\n, XMM + 16 * \n(%rdi)
	vextractf128 $1, %ymm\n, YMM + 16 * \n(%rdi)
	.endr
	stmxcsr	24(%rdi)
	ret

// void x86_avx_load(const void *area)
	.globl	x86_avx_load
x86_avx_load:
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vmovups	XMM + 16 * \n(%rdi), %xmm\n
	vinsertf128 $1, YMM + 16 * \n(%rdi), %ymm\n, %ymm\n
	.endr
	ldmxcsr	24(%rdi)
	ret

// void x86_avx_load_sse(const void *area): the upper halves are zero
	.globl	x86_avx_load_sse
x86_avx_load_sse:
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vmovups	XMM + 16 * \n(%rdi), %xmm\n
	.endr
	ldmxcsr	24(%rdi)
	ret

// void x86_avx_clear(const void *area): all registers zero, MXCSR from the area
	.globl	x86_avx_clear
x86_avx_clear:
	vzeroall
	ldmxcsr	24(%rdi)
	ret

	.section .note.GNU-stack, "", @progbits
