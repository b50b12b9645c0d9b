// SPDX-License-Identifier: Apache-2.0
// What the ports for this processor have in common to say about it: features, CPUs for /proc/cpuinfo and /sys, and the format of
// vector state. A port fills a struct amd64_features once, at boot; all CPUs are taken to be equal.
#pragma once

#include "port/port.h"

#define AMD64_XSTATE_COMPONENTS 32u

struct amd64_features {
	uint32_t max_leaf, max_extended_leaf;
	bool invariant_tsc;
	bool fsgsbase;       // programs may use RDFSBASE and kin
	uint64_t xcr0;       // components of vector state that programs have; the port decides
	uint32_t mxcsr_mask; // bits of MXCSR that may be set
	struct {
		uint32_t offset, size; // in the standard format; of components 2 and up
	} xstate[AMD64_XSTATE_COMPONENTS];
};

// Fills in what CPUID says; fsgsbase as the CPU has it. xcr0 and what depends on it: amd64_xstate_detect().
void amd64_features_detect(struct amd64_features *f);

// ---- vector state (xformat.c): XSAVE standard format, SDM vol. 1, chapter 13 ----

#define AMD64_XCR0_X87       UINT64_C(1)
#define AMD64_XCR0_SSE       UINT64_C(2)
#define AMD64_XCR0_AVX       UINT64_C(4)
#define AMD64_XCR0_AVX512    UINT64_C(0xe0)
// x87, SSE, AVX, and AVX-512's three. Not: MPX (gone from Linux too), PKRU (no protection keys), AMX (needs a permission request
// Linux programs make by arch_prctl).
#define AMD64_XCR0_SUPPORTED UINT64_C(0xe7)

#define AMD64_XSTATE_LEGACY_BYTES 512u
#define AMD64_XSTATE_HEADER_BYTES 64u
#define AMD64_XSTATE_FCW          0u
#define AMD64_XSTATE_FSW          2u
#define AMD64_XSTATE_FTW          4u
#define AMD64_XSTATE_MXCSR        24u
#define AMD64_XSTATE_MXCSR_MASK   28u
#define AMD64_XSTATE_ST           32u
#define AMD64_XSTATE_XMM          160u
#define AMD64_XSTATE_LEGACY_REST  416u
#define AMD64_XSTATE_HEADER       512u

#define AMD64_FCW_INITIAL   0x37fu
#define AMD64_MXCSR_INITIAL 0x1f80u

// The components to offer to programs, of those the CPU or the host has (`offered`).
uint64_t amd64_xstate_choose(uint64_t offered);
// Looks up the places of the components of f->xcr0 and mxcsr_mask. Changes no register.
void amd64_xstate_detect(struct amd64_features *f);
// Size of an area for all of f->xcr0.
uint32_t amd64_xstate_size_bytes(const struct amd64_features *f);
// Fills a zeroed area with the state after execve.
void amd64_xstate_initial(const struct amd64_features *f, void *area);
// May a program's area be loaded? 0 or -EINVAL: unknown components, the compact format, reserved bits.
int amd64_xstate_check(const struct amd64_features *f, const void *area);
// XSAVEOPT does not write components in their initial state: what stands there is of some former time. Gives them their initial
// values.
void amd64_xstate_clear_initial(const struct amd64_features *f, void *area);

// ---- description (describe.c) ----

struct amd64_cpus {
	const struct amd64_features *features;
	unsigned count;
	uint64_t tsc_hz; // 0: unknown
};

// The place of a CPU by its APIC identifier; and that of CPU `index` where nobody tells: a core each in one package.
void amd64_topology(const struct amd64_cpus *c, uint32_t apic_id, struct port_cpu_topology *out);
void amd64_topology_flat(const struct amd64_cpus *c, unsigned index, struct port_cpu_topology *out);
unsigned amd64_caches(const struct amd64_cpus *c, struct port_cpu_cache *out, unsigned max);
// The block of /proc/cpuinfo; length as snprintf.
int amd64_cpuinfo(const struct amd64_cpus *c, unsigned index, uint32_t apic_id, const struct port_cpu_topology *place,
		  char *buffer, size_t size);
uint64_t amd64_hwcap(void);
uint64_t amd64_hwcap2(const struct amd64_features *f);
