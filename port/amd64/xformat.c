// SPDX-License-Identifier: Apache-2.0
// The format of vector state in memory: what ptrace and signal frames show and accept. Source: SDM vol. 1, 10.5 and 13.4.
#include "features.h"

#include "cpuid.h"
#include "lib/string.h"

#include <asm/errno.h>

uint64_t amd64_xstate_choose(uint64_t offered)
{
	uint64_t xcr0 = offered & AMD64_XCR0_SUPPORTED;
	if ((xcr0 & AMD64_XCR0_AVX512) != AMD64_XCR0_AVX512 || !(xcr0 & AMD64_XCR0_AVX))
		xcr0 &= ~AMD64_XCR0_AVX512;
	return xcr0;
}

static uint32_t mxcsr_mask(void)
{
	uint8_t probe[AMD64_XSTATE_LEGACY_BYTES] __attribute__((aligned(64)));
	memset(probe, 0, sizeof(probe));
	__asm__ volatile("fxsave64 (%0)" : : "r"(probe) : "memory");
	uint32_t mask = *(uint32_t *)(probe + AMD64_XSTATE_MXCSR_MASK);
	return mask ? mask : 0xffbf;
}

void amd64_xstate_detect(struct amd64_features *f)
{
	for (unsigned i = 2; i < AMD64_XSTATE_COMPONENTS; i++) {
		if (!(f->xcr0 >> i & 1))
			continue;
		struct cpuid_regs r = cpuid(0xd, i);
		f->xstate[i].offset = r.b;
		f->xstate[i].size = r.a;
	}
	f->mxcsr_mask = mxcsr_mask();
}

uint32_t amd64_xstate_size_bytes(const struct amd64_features *f)
{
	uint32_t size = AMD64_XSTATE_LEGACY_BYTES + AMD64_XSTATE_HEADER_BYTES;
	for (unsigned i = 2; i < AMD64_XSTATE_COMPONENTS; i++)
		if (f->xstate[i].offset + f->xstate[i].size > size)
			size = f->xstate[i].offset + f->xstate[i].size;
	return size;
}

void amd64_xstate_initial(const struct amd64_features *f, void *area)
{
	uint8_t *a = area;
	*(uint16_t *)(a + AMD64_XSTATE_FCW) = AMD64_FCW_INITIAL;
	*(uint32_t *)(a + AMD64_XSTATE_MXCSR) = AMD64_MXCSR_INITIAL;
	*(uint32_t *)(a + AMD64_XSTATE_MXCSR_MASK) = f->mxcsr_mask;
}

int amd64_xstate_check(const struct amd64_features *f, const void *area)
{
	const uint8_t *a = area;
	const uint64_t *header = (const uint64_t *)(a + AMD64_XSTATE_HEADER);
	if ((header[0] & ~f->xcr0) || header[1])
		return -EINVAL;
	for (unsigned i = 2; i < AMD64_XSTATE_HEADER_BYTES / 8; i++)
		if (header[i])
			return -EINVAL;
	return *(const uint32_t *)(a + AMD64_XSTATE_MXCSR) & ~f->mxcsr_mask ? -EINVAL : 0;
}

void amd64_xstate_clear_initial(const struct amd64_features *f, void *area)
{
	uint8_t *a = area;
	uint64_t missing = f->xcr0 & ~*(uint64_t *)(a + AMD64_XSTATE_HEADER);
	if (missing & AMD64_XCR0_X87) {
		memset(a, 0, AMD64_XSTATE_MXCSR);
		memset(a + AMD64_XSTATE_ST, 0, AMD64_XSTATE_XMM - AMD64_XSTATE_ST);
		*(uint16_t *)(a + AMD64_XSTATE_FCW) = AMD64_FCW_INITIAL;
	}
	if (missing & AMD64_XCR0_SSE)
		memset(a + AMD64_XSTATE_XMM, 0, AMD64_XSTATE_LEGACY_REST - AMD64_XSTATE_XMM);
	for (unsigned i = 2; i < AMD64_XSTATE_COMPONENTS && missing >> i; i++)
		if (missing >> i & 1)
			memset(a + f->xstate[i].offset, 0, f->xstate[i].size);
}
