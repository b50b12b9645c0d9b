// SPDX-License-Identifier: Apache-2.0
// The kernel is built without vector instructions, so the program's vector state stays in the registers until another
// task's is loaded. port_task.xstate_cpu and cpu.xstate_owner name each other while the registers equal the saved copy.
#include "xstate.h"

#include "amd64/cpuid.h"
#include "amd64/log.h"
#include "io.h"
#include "lib/string.h"

static uint8_t initial[4096] __attribute__((aligned(64))); // the state after execve

static inline void xsave_all(void *area)
{
	uint64_t mask = x86_features.common.xcr0;
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
	uint64_t mask = x86_features.common.xcr0;
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
	uint64_t *present = (uint64_t *)(area + AMD64_XSTATE_HEADER);
	*present = AMD64_XCR0_SSE | AMD64_XCR0_AVX;
	if (!initial_state) {
		*present |= AMD64_XCR0_X87;
		memset(area, 0, AMD64_XSTATE_MXCSR);
		memset(area + AMD64_XSTATE_ST, 0, AMD64_XSTATE_XMM - AMD64_XSTATE_ST);
		*(uint16_t *)(area + AMD64_XSTATE_FCW) = e.control;
		*(uint16_t *)(area + AMD64_XSTATE_FSW) = e.status;
	}
	return true;
}

static void load_x87_empty(const uint8_t *area, uint64_t present)
{
	if (!(present & AMD64_XCR0_X87)) {
		__asm__ volatile("fninit");
		return;
	}
	struct x87_environment e = {
		.control = *(const uint16_t *)(area + AMD64_XSTATE_FCW),
		.status = *(const uint16_t *)(area + AMD64_XSTATE_FSW),
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
	uint64_t present = *(const uint64_t *)(area + AMD64_XSTATE_HEADER);
	if (!by_moves || ((present & AMD64_XCR0_X87) && area[AMD64_XSTATE_FTW])) {
		xrstor_all(area);
		return;
	}
	load_x87_empty(area, present);
	if (present & AMD64_XCR0_SSE)
		(present & AMD64_XCR0_AVX ? x86_avx_load : x86_avx_load_sse)(area);
	else if (present & AMD64_XCR0_AVX)
		xrstor_all(area);
	else
		x86_avx_clear(area);
}

void x86_xstate_init_boot(void)
{
	struct cpuid_regs r = cpuid(0xd, 0);
	uint64_t xcr0 = amd64_xstate_choose((uint64_t)r.d << 32 | r.a);
	x86_features.common.xcr0 = xcr0;
	by_moves = x86_features.tcg && xcr0 == (AMD64_XCR0_X87 | AMD64_XCR0_SSE | AMD64_XCR0_AVX) &&
		   cpuid(0xd, 2).b == 576;
}

void x86_xstate_init_cpu(void)
{
	struct cpu_features *f = &x86_features;
	__asm__ volatile("xsetbv" : : "c"(0), "a"((uint32_t)f->common.xcr0), "d"((uint32_t)(f->common.xcr0 >> 32)));
	if (f->xstate_size_bytes)
		return;
	// The first CPU: now CPUID tells the size for this XCR0.
	f->xstate_size_bytes = cpuid(0xd, 0).b;
	if (f->xstate_size_bytes + sizeof(struct port_task) > PAGE_BYTES || f->xstate_size_bytes > sizeof(initial))
		amd64_refuse("the CPU's vector state is too large");
	amd64_xstate_detect(&f->common);
	amd64_xstate_initial(&f->common, initial);
	xrstor(initial);
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

uint64_t port_xstate_features(void) { return x86_features.common.xcr0; }

void port_xstate_get(struct port_task *p, void *buffer)
{
	if (p == current_port())
		x86_xstate_save(p);
	memcpy(buffer, p->xstate, x86_features.xstate_size_bytes);
	amd64_xstate_clear_initial(&x86_features.common, buffer);
}

static void changed(struct port_task *p)
{
	p->xstate_cpu = CPUS_MAX;
	if (p == current_port())
		x86_xstate_restore(p);
}

int port_xstate_set(struct port_task *p, const void *buffer)
{
	int error = amd64_xstate_check(&x86_features.common, buffer);
	if (error)
		return error;
	memcpy(p->xstate, buffer, x86_features.xstate_size_bytes);
	changed(p);
	return 0;
}

void port_xstate_reset(struct port_task *p)
{
	memcpy(p->xstate, initial, x86_features.xstate_size_bytes);
	changed(p);
}
