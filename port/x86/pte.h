// SPDX-License-Identifier: Apache-2.0
// Page-table entries of programs: encoding and table arithmetic, without state; unit-tested on the host.
//
// Every table, at each level, uses two bits the CPU ignores in addition to what the CPU wants:
//   bit 9   SOFT_PRESENT  a page is installed, even if the program may not touch it (PROT_NONE)
//   bit 10  LOCK          in entry 0 of a lowest-level table: the region's lock
//   bit 11  OCCUPIED      in entry 64 * g: entries [64 * g, 64 * g + 64) may be in use; else they are all empty
// A table is therefore scanned in 8 looks plus its occupied groups. Source: SDM vol. 3, 4.5.4.
#pragma once

#include "layout.h"

#define PTE_SOFT_PRESENT (UINT64_C(1) << 9)
#define PTE_LOCK         (UINT64_C(1) << 10)
#define PTE_OCCUPIED     (UINT64_C(1) << 11)
#define PTE_GOING        (UINT64_C(1) << 58)       // taken out by unmap, not yet handed to gone(): see range.c
#define PTE_META         (PTE_LOCK | PTE_OCCUPIED) // belongs to the table, not to the page

// A page that unmap has taken out but not yet handed to gone(): not present for the CPU, not installed for the kernel.
#define PTE_GOING (UINT64_C(1) << 58)

#define GROUP_ENTRIES 64u

static inline unsigned pte_index(uint64_t va, unsigned level) // level 0: lowest
{
	return va >> (12 + 9 * level) & 511;
}

static inline uint64_t pte_encode(paddr_t frame, unsigned prot)
{
	uint64_t pte = frame | PTE_SOFT_PRESENT;
	if (prot & (PORT_PROT_READ | PORT_PROT_WRITE | PORT_PROT_EXEC))
		pte |= PTE_P | PTE_U;
	if (prot & PORT_PROT_WRITE)
		pte |= PTE_W;
	if (!(prot & PORT_PROT_EXEC))
		pte |= PTE_NX;
	return pte;
}

static inline bool pte_installed(uint64_t pte) { return pte & PTE_SOFT_PRESENT; }

static inline void pte_decode(uint64_t pte, struct port_pte *out)
{
	*out = (struct port_pte){ .present = pte_installed(pte), .busy = pte & PTE_GOING };
	if (!out->present)
		return;
	out->frame = pte & PTE_FRAME;
	if (pte & PTE_P)
		out->prot = (uint8_t)(PORT_PROT_READ | (pte & PTE_W ? PORT_PROT_WRITE : 0) |
				      (pte & PTE_NX ? 0 : PORT_PROT_EXEC));
	out->dirty = pte & PTE_D;
	out->accessed = pte & PTE_A;
}

// Must a TLB that may hold `old` be flushed when `new` takes its place? Only when it allows more or leads elsewhere.
static inline bool pte_needs_flush(uint64_t old, uint64_t new)
{
	if (!(old & PTE_P))
		return false;
	if (!(new &PTE_P) || ((old ^ new) & PTE_FRAME))
		return true;
	return (old & PTE_W & ~new) || (new &PTE_NX & ~old);
}

// First address after `va` that a table of `level` (one entry of level + 1) does not cover; `end` if that is less.
static inline uint64_t pte_span_end(uint64_t va, unsigned level, uint64_t end)
{
	uint64_t size = UINT64_C(1) << (12 + 9 * (level + 1));
	uint64_t next = (va & ~(size - 1)) + size;
	return next < end && next ? next : end;
}
