// SPDX-License-Identifier: Apache-2.0
// The kernel is built without vector instructions, so the program's vector state stays in the registers until another
// task's is loaded. port_task.xstate_cpu and cpu.xstate_owner name each other while the registers equal the saved copy.
#include "xstate.h"

#include "io.h"
#include "lib/string.h"
#include "log.h"

#include <asm/errno.h>

// x87, SSE, AVX, and AVX-512's three. Not: MPX (gone from Linux too), PKRU (no protection keys), AMX (needs a
// permission request Linux programs make by arch_prctl).
#define XCR0_SUPPORTED UINT64_C(0xe7)
#define XCR0_AVX512    UINT64_C(0xe0)
#define XCR0_X87       UINT64_C(1)
#define XCR0_SSE       UINT64_C(2)
#define XCR0_AVX       UINT64_C(4)
#define LEGACY_BYTES   512u
#define HEADER_BYTES   64u

#define OFFSET_FCW         0u
#define OFFSET_FSW         2u
#define OFFSET_FTW         4u
#define OFFSET_MXCSR       24u
#define OFFSET_MXCSR_MASK  28u
#define OFFSET_ST          32u
#define OFFSET_XMM         160u
#define OFFSET_LEGACY_REST 416u
#define OFFSET_HEADER      512u

static uint32_t mxcsr_mask = 0xffbf;
static uint8_t initial[4096] __attribute__((aligned(64))); // the state after execve

static inline void xsave_all(void *area)
{
	uint64_t mask = x86_features.xcr0;
	if (x86_features.xsaveopt)
		__asm__ volatile("xsaveopt64 (%0)"
				 :
				 : "r"(area), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32))
				 : "memory");
	else
		__asm__ volatile("xsave64 (%0)"
				 :
				 : "r"(area), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32))
				 : "memory");
}

static inline void xrstor_all(const void *area)
{
	uint64_t mask = x86_features.xcr0;
	__asm__ volatile("xrstor64 (%0)" : : "r"(area), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32)) : "memory");
}

// ---- the same by moves, for emulation: see xstate_fast.S ----

void x86_avx_save(void *area);
void x86_avx_load(const void *area);
void x86_avx_load_sse(const void *area);
void x86_avx_clear(const void *area);

static bool by_moves;

struct x87_environment { // FNSTENV, 32-bit protected-mode format
	uint16_t control, r0, status, r1, tag, r2;
	uint32_t pointers[4];
};

// Saves the x87 state when all its registers are empty, as they nearly always are between calls of functions. False: they
// are not, and nothing has changed.
static bool save_x87_empty(uint8_t *area)
{
	struct x87_environment e;
	__asm__ volatile("fnstenv %0" : "=m"(e));
	bool initial_state = e.control == 0x37f && !e.status;
	if (!initial_state)
		__asm__ volatile("fldenv %0" : : "m"(e)); // FNSTENV has masked the exceptions
	if (e.tag != 0xffff)
		return false;
	uint64_t *present = (uint64_t *)(area + OFFSET_HEADER);
	*present = XCR0_SSE | XCR0_AVX;
	if (!initial_state) {
		*present |= XCR0_X87;
		memset(area, 0, OFFSET_MXCSR);
		memset(area + OFFSET_ST, 0, OFFSET_XMM - OFFSET_ST);
		*(uint16_t *)(area + OFFSET_FCW) = e.control;
		*(uint16_t *)(area + OFFSET_FSW) = e.status;
	}
	return true;
}

static void load_x87_empty(const uint8_t *area, uint64_t present)
{
	if (!(present & XCR0_X87)) {
		__asm__ volatile("fninit");
		return;
	}
	struct x87_environment e = {
		.control = *(const uint16_t *)(area + OFFSET_FCW),
		.status = *(const uint16_t *)(area + OFFSET_FSW),
		.tag = 0xffff,
	};
	__asm__ volatile("fldenv %0" : : "m"(e));
}

static inline void xsave(uint8_t *area)
{
	if (by_moves && save_x87_empty(area))
		x86_avx_save(area);
	else
		xsave_all(area);
}

static inline void xrstor(const uint8_t *area)
{
	uint64_t present = *(const uint64_t *)(area + OFFSET_HEADER);
	if (!by_moves || ((present & XCR0_X87) && area[OFFSET_FTW])) {
		xrstor_all(area);
		return;
	}
	load_x87_empty(area, present);
	if (present & XCR0_SSE)
		(present & XCR0_AVX ? x86_avx_load : x86_avx_load_sse)(area);
	else if (present & XCR0_AVX)
		xrstor_all(area);
	else
		x86_avx_clear(area);
}

void x86_xstate_init_boot(void)
{
	struct cpuid_regs r = cpuid(0xd, 0);
	uint64_t offered = (uint64_t)r.d << 32 | r.a;
	uint64_t xcr0 = offered & XCR0_SUPPORTED;
	if ((xcr0 & XCR0_AVX512) != XCR0_AVX512 || !(xcr0 & 4))
		xcr0 &= ~XCR0_AVX512;
	x86_features.xcr0 = xcr0;
	by_moves = x86_features.tcg && xcr0 == (XCR0_X87 | XCR0_SSE | XCR0_AVX) && cpuid(0xd, 2).b == 576;
}

void x86_xstate_init_cpu(void)
{
	struct cpu_features *f = &x86_features;
	__asm__ volatile("xsetbv" : : "c"(0), "a"((uint32_t)f->xcr0), "d"((uint32_t)(f->xcr0 >> 32)));
	if (f->xstate_size_bytes)
		return;
	// The first CPU: now CPUID tells the size for this XCR0.
	f->xstate_size_bytes = cpuid(0xd, 0).b;
	if (f->xstate_size_bytes + sizeof(struct port_task) > PAGE_BYTES || f->xstate_size_bytes > sizeof(initial))
		x86_refuse("the CPU's vector state is too large");
	*(uint16_t *)(initial + OFFSET_FCW) = 0x37f;
	*(uint32_t *)(initial + OFFSET_MXCSR) = 0x1f80;
	xrstor(initial);
	uint8_t probe[1024] __attribute__((aligned(64)));
	memset(probe, 0, sizeof(probe));
	__asm__ volatile("fxsave64 (%0)" : : "r"(probe) : "memory");
	uint32_t mask = *(uint32_t *)(probe + OFFSET_MXCSR_MASK);
	if (mask)
		mxcsr_mask = mask;
	*(uint32_t *)(initial + OFFSET_MXCSR_MASK) = mxcsr_mask;
}

void x86_xstate_save(struct port_task *p)
{
	struct cpu *cpu = this_cpu();
	xsave(p->xstate);
	p->xstate_cpu = cpu->index;
	cpu->xstate_owner = p;
}

void x86_xstate_restore(struct port_task *p)
{
	struct cpu *cpu = this_cpu();
	if (cpu->xstate_owner == p && p->xstate_cpu == cpu->index)
		return;
	xrstor(p->xstate);
	cpu->xstate_owner = p;
	p->xstate_cpu = cpu->index;
}

size_t port_xstate_size_bytes(void) { return x86_features.xstate_size_bytes; }

uint64_t port_xstate_features(void) { return x86_features.xcr0; }

// XSAVEOPT does not write components in their initial state: what stands there is some former task's. The program must
// not see it.
static void clear_initial(uint8_t *area)
{
	uint64_t missing = x86_features.xcr0 & ~*(uint64_t *)(area + OFFSET_HEADER);
	if (missing & 1) {
		memset(area, 0, OFFSET_MXCSR);
		memset(area + OFFSET_ST, 0, OFFSET_XMM - OFFSET_ST);
		*(uint16_t *)(area + OFFSET_FCW) = 0x37f;
	}
	if (missing & 2)
		memset(area + OFFSET_XMM, 0, OFFSET_LEGACY_REST - OFFSET_XMM);
	for (unsigned i = 2; i < 64 && missing >> i; i++) {
		if (!(missing >> i & 1))
			continue;
		struct cpuid_regs r = cpuid(0xd, i);
		memset(area + r.b, 0, r.a);
	}
}

void port_xstate_get(struct port_task *p, void *buffer)
{
	if (p == current_port())
		x86_xstate_save(p);
	memcpy(buffer, p->xstate, x86_features.xstate_size_bytes);
	clear_initial(buffer);
}

static void changed(struct port_task *p)
{
	p->xstate_cpu = CPUS_MAX;
	if (p == current_port())
		x86_xstate_restore(p);
}

int port_xstate_set(struct port_task *p, const void *buffer)
{
	const uint8_t *b = buffer;
	const uint64_t *header = (const uint64_t *)(b + OFFSET_HEADER);
	if ((header[0] & ~x86_features.xcr0) || header[1])
		return -EINVAL;
	for (unsigned i = 2; i < HEADER_BYTES / 8; i++)
		if (header[i])
			return -EINVAL;
	if (*(const uint32_t *)(b + OFFSET_MXCSR) & ~mxcsr_mask)
		return -EINVAL;
	memcpy(p->xstate, b, x86_features.xstate_size_bytes);
	changed(p);
	return 0;
}

void port_xstate_reset(struct port_task *p)
{
	memcpy(p->xstate, initial, x86_features.xstate_size_bytes);
	changed(p);
}
