// SPDX-License-Identifier: Apache-2.0
// Page tables of programs: creation, loading, single pages. Ranges are in range.c, TLB shootdown in tlb.c.
//
// Locks: the region lock is a bit in the lowest-level table itself, which every fault touches anyway. aspace.table_lock
// guards only the installation of tables. Tables live as long as the address space, so a table pointer once found stays
// good, and a small cache in struct port_aspace spares the walk.
//
// A CPU that runs a kernel task keeps the last program's tables loaded (lazy). The tables are freed when the owner and
// all such CPUs have let go.
#include "aspace.h"

#include "io.h"
#include "kernel/upcall.h"
#include "lib/compiler.h"
#include "lib/string.h"
#include "tlb.h"

#include <asm/errno.h>

#define TABLE_FLAGS (PTE_P | PTE_W | PTE_U | PTE_A)

uint64_t port_user_end(void) { return USER_END; }

// ---- walking ----

// A cache entry: region number + 1 (27 bits) above the table's frame number (28 bits); 0 = none.
#define CACHE_FRAME_BITS 28u

static inline uint64_t cache_entry(uint64_t va, paddr_t table)
{
	return ((va >> 21) + 1) << CACHE_FRAME_BITS | table >> 12;
}

static inline uint64_t *cache_slot(struct port_aspace *as, uint64_t va)
{
	// Neighbouring regions, and the few areas a program has, fall into different slots.
	return &as->cache[(va >> 21 ^ va >> 30 ^ va >> 39) % ASPACE_CACHE_ENTRIES];
}

static uint64_t *walk(struct port_aspace *as, uint64_t va)
{
	uint64_t *t = as->pml4;
	for (unsigned level = 3; level > 0; level--) {
		uint64_t e = __atomic_load_n(&t[pte_index(va, level)], __ATOMIC_RELAXED);
		if (!(e & PTE_P))
			return NULL;
		t = phys_to_virt(e & PTE_FRAME);
	}
	__atomic_store_n(cache_slot(as, va), cache_entry(va, virt_to_phys(t)), __ATOMIC_RELAXED);
	return t;
}

uint64_t *x86_aspace_table(struct port_aspace *as, uint64_t va)
{
	uint64_t e = __atomic_load_n(cache_slot(as, va), __ATOMIC_RELAXED);
	if (likely(e >> CACHE_FRAME_BITS == (va >> 21) + 1))
		return phys_to_virt((e & ((UINT64_C(1) << CACHE_FRAME_BITS) - 1)) << 12);
	return walk(as, va);
}

static void mark_occupied(uint64_t *table, unsigned index)
{
	uint64_t *head = &table[index & ~(GROUP_ENTRIES - 1)];
	if (!(__atomic_load_n(head, __ATOMIC_RELAXED) & PTE_OCCUPIED))
		__atomic_fetch_or(head, PTE_OCCUPIED, __ATOMIC_RELAXED);
}

static bool install_table(struct port_aspace *as, uint64_t *table, unsigned index)
{
	void *page = kernel_upcall_page_alloc();
	if (!page)
		return false;
	x86_lock(&as->table_lock);
	bool mine = !(table[index] & PTE_P);
	if (mine) {
		__atomic_fetch_or(&table[index], virt_to_phys(page) | TABLE_FLAGS, __ATOMIC_RELEASE);
		mark_occupied(table, index);
		as->table_pages++;
	}
	x86_unlock(&as->table_lock);
	if (!mine)
		kernel_upcall_page_free(page);
	return true;
}

static uint64_t *walk_install(struct port_aspace *as, uint64_t va)
{
	uint64_t *t = as->pml4;
	for (unsigned level = 3; level > 0; level--) {
		unsigned i = pte_index(va, level);
		if (!(__atomic_load_n(&t[i], __ATOMIC_ACQUIRE) & PTE_P) && !install_table(as, t, i))
			return NULL;
		t = phys_to_virt(t[i] & PTE_FRAME);
	}
	return t;
}

// ---- creation and destruction ----

int port_aspace_create(struct port_aspace **out)
{
	x86_aspace_reap(this_cpu());
	struct port_aspace *as = kernel_upcall_alloc(sizeof(*as));
	if (!as)
		return -ENOMEM;
	as->pml4 = kernel_upcall_page_alloc();
	if (!as->pml4) {
		kernel_upcall_free(as);
		return -ENOMEM;
	}
	for (unsigned i = 256; i < 512; i++)
		if (x86_kernel_pml4[i])
			as->pml4[i] = x86_kernel_pml4[i];
	as->pml4_frame = virt_to_phys(as->pml4);
	as->table_pages = 1;
	as->refs = 1;
	*out = as;
	return 0;
}

// Frees `table` and the tables below it; `top` is the number of its entries that belong to programs.
static void free_tables(uint64_t *table, unsigned level, unsigned top)
{
	for (unsigned g = 0; level > 0 && g < top; g += GROUP_ENTRIES) {
		if (!(table[g] & PTE_OCCUPIED))
			continue;
		for (unsigned i = g; i < g + GROUP_ENTRIES; i++)
			if (table[i] & PTE_P)
				free_tables(phys_to_virt(table[i] & PTE_FRAME), level - 1, 512);
	}
	kernel_upcall_page_free(table);
}

static void destroy_now(struct port_aspace *as)
{
	free_tables(as->pml4, 3, 256);
	kernel_upcall_free(as);
}

static bool put(struct port_aspace *as) { return __atomic_sub_fetch(&as->refs, 1, __ATOMIC_ACQ_REL) == 0; }

void port_aspace_destroy(struct port_aspace *as)
{
	struct cpu *cpu = this_cpu();
	if (cpu->aspace == as)
		port_aspace_activate(NULL);
	x86_aspace_reap(cpu);
	if (put(as))
		destroy_now(as);
}

void x86_aspace_reap(struct cpu *cpu)
{
	while (cpu->dead_aspaces) {
		struct port_aspace *as = cpu->dead_aspaces;
		cpu->dead_aspaces = as->next_dead;
		destroy_now(as);
	}
}

size_t port_aspace_table_bytes(struct port_aspace *as) { return as->table_pages * PAGE_BYTES; }

// ---- loading ----

static void load(struct cpu *cpu, struct port_aspace *as)
{
	struct port_aspace *old = cpu->aspace;
	uint64_t bit = UINT64_C(1) << cpu->index % 64;
	cpu->aspace = as;
	if (as) {
		__atomic_add_fetch(&as->refs, 1, __ATOMIC_RELAXED);
		// Ordered before the load of CR3 by its own serialisation: whoever changes an entry after we could have read it
		// finds us in the mask.
		__atomic_fetch_or(&as->cpus[cpu->index / 64], bit, __ATOMIC_SEQ_CST);
		write_cr3(as->pml4_frame);
	} else {
		write_cr3(virt_to_phys(x86_kernel_pml4));
	}
	if (!old)
		return;
	__atomic_fetch_and(&old->cpus[cpu->index / 64], ~bit, __ATOMIC_SEQ_CST);
	if (put(old)) {
		old->next_dead = cpu->dead_aspaces;
		cpu->dead_aspaces = old;
	}
}

void x86_aspace_switch(struct cpu *cpu, struct port_aspace *as)
{
	if (!as) {
		if (cpu->aspace && cpu->tlb_state == TLB_ACTIVE)
			__atomic_store_n(&cpu->tlb_state, TLB_LAZY, __ATOMIC_RELEASE);
		return;
	}
	bool stale = cpu->tlb_state != TLB_ACTIVE &&
		     __atomic_exchange_n(&cpu->tlb_state, TLB_ACTIVE, __ATOMIC_SEQ_CST) == TLB_LAZY_STALE;
	if (cpu->aspace != as)
		load(cpu, as);
	else if (stale)
		write_cr3(as->pml4_frame);
}

void port_aspace_activate(struct port_aspace *as)
{
	struct cpu *cpu = this_cpu();
	if (as) {
		x86_aspace_switch(cpu, as);
	} else if (cpu->aspace) {
		load(cpu, NULL);
		__atomic_store_n(&cpu->tlb_state, TLB_ACTIVE, __ATOMIC_RELEASE);
	}
}

// ---- single pages ----

int port_aspace_lock(struct port_aspace *as, uint64_t va)
{
	uint64_t *t = x86_aspace_table(as, va);
	if (unlikely(!t)) {
		t = walk_install(as, va);
		if (!t)
			return -ENOMEM;
	}
	while (__atomic_fetch_or(t, PTE_LOCK, __ATOMIC_ACQUIRE) & PTE_LOCK)
		while (__atomic_load_n(t, __ATOMIC_RELAXED) & PTE_LOCK)
			port_cpu_relax();
	return 0;
}

void port_aspace_unlock(struct port_aspace *as, uint64_t va)
{
	__atomic_fetch_and(x86_aspace_table(as, va), ~PTE_LOCK, __ATOMIC_RELEASE);
}

void port_aspace_get_page(struct port_aspace *as, uint64_t va, struct port_pte *out)
{
	uint64_t *t = x86_aspace_table(as, va);
	pte_decode(t ? __atomic_load_n(&t[pte_index(va, 0)], __ATOMIC_RELAXED) : 0, out);
}

void port_aspace_set_page(struct port_aspace *as, uint64_t va, paddr_t frame, unsigned prot)
{
	uint64_t *t = x86_aspace_table(as, va);
	unsigned i = pte_index(va, 0);
	uint64_t new = pte_encode(frame, prot);
	// The fault that asks for the page is about to use it: spares the CPU (and a software CPU much more) the update.
	new |= PTE_A | (prot & PORT_PROT_WRITE ? PTE_D : 0);
	uint64_t old = __atomic_exchange_n(&t[i], new | (t[i] & PTE_META), __ATOMIC_ACQ_REL);
	mark_occupied(t, i);
	if (pte_needs_flush(old, new))
		x86_tlb_flush(as, va, va + PAGE_BYTES);
	// A wider right needs none: a CPU that still has the old translation faults, which drops it, and finds the new one.
}
