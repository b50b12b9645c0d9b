// SPDX-License-Identifier: Apache-2.0
// Address spaces of programs, as the rest of the port sees them.
#pragma once

#include "cpu.h"
#include "lock.h"
#include "pte.h"

#define ASPACE_CACHE_ENTRIES 32u

struct port_aspace {
	uint64_t *pml4;
	paddr_t pml4_frame;
	uint32_t refs;              // atomic: its owner, and each CPU that has it loaded
	uint32_t table_pages;       // atomic
	struct x86_lock table_lock; // guards the installation of tables
	struct port_aspace *next_dead;
	// Region number and frame of its lowest-level table, packed; see aspace.c. Entries are single words, valid for ever
	// once written: tables are freed with the address space only. Atomic.
	uint64_t cache[ASPACE_CACHE_ENTRIES];
	uint64_t cpus[CPUS_MAX / 64]; // atomic: CPUs that may hold translations
};

// Scheduler: makes `as` (NULL: whatever is loaded, lazily) the address space of the task that runs next. Atomic.
void x86_aspace_switch(struct cpu *cpu, struct port_aspace *as);
// Frees what this CPU's switches left behind. Task context, no locks.
void x86_aspace_reap(struct cpu *cpu);
// The lowest-level table of `va`, NULL when there is none.
uint64_t *x86_aspace_table(struct port_aspace *as, uint64_t va);
