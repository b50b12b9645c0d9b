// SPDX-License-Identifier: Apache-2.0
// Kernel stacks: slots of a reserved area of virtual memory, mapped when first used and then kept for the next task, so
// that fork and exit neither change kernel mappings nor flush TLBs. Memory of dead tasks' stacks is bounded by the
// largest number of tasks that ever lived at once.
//
// Locks: slots_lock guards everything here; nothing is taken inside but the page allocator's.
#include "task.h"

#include "kernel/upcall.h"
#include "lock.h"

static struct x86_lock slots_lock;
static struct port_task *free_slots; // mapped
static uint64_t slots_used;          // slots [0, slots_used) were mapped at some time
static uint64_t table_pages;

static uint64_t *table_below(uint64_t *table, unsigned index)
{
	if (!(table[index] & PTE_P)) {
		void *page = kernel_upcall_page_alloc();
		if (!page)
			return NULL;
		table_pages++;
		// x86 orders the stores: the table is seen zeroed by whoever sees the entry.
		__atomic_store_n(&table[index], virt_to_phys(page) | PTE_P | PTE_W | PTE_A, __ATOMIC_RELEASE);
	}
	return phys_to_virt(table[index] & PTE_FRAME);
}

static uint64_t *stack_pte(uint64_t va)
{
	uint64_t *t = phys_to_virt(x86_kernel_pml4[va >> 39 & 511] & PTE_FRAME);
	t = table_below(t, va >> 30 & 511);
	if (t)
		t = table_below(t, va >> 21 & 511);
	return t ? &t[va >> 12 & 511] : NULL;
}

static bool map_slot(uint64_t slot)
{
	for (uint64_t va = slot + STACK_GUARD_BYTES; va < slot + STACK_SLOT_BYTES; va += PAGE_BYTES) {
		uint64_t *pte = stack_pte(va);
		if (!pte)
			return false;
		if (*pte & PTE_P)
			continue; // a former attempt got this far
		void *page = kernel_upcall_page_alloc();
		if (!page)
			return false;
		*pte = virt_to_phys(page) | PTE_P | PTE_W | PTE_A | PTE_D | PTE_G | PTE_NX;
	}
	return true;
}

struct port_task *x86_stack_alloc(void)
{
	x86_lock(&slots_lock);
	struct port_task *p = free_slots;
	if (p) {
		free_slots = p->next_free;
		x86_unlock(&slots_lock);
		return p;
	}
	uint64_t slot = x86_stacks_base + slots_used * STACK_SLOT_BYTES;
	if (slots_used < STACKS_BYTES / STACK_SLOT_BYTES && map_slot(slot)) {
		slots_used++;
		p = (struct port_task *)(slot + STACK_SLOT_BYTES - port_task_bytes());
		p->stack_top = (uint64_t)p;
	}
	x86_unlock(&slots_lock);
	return p;
}

void x86_stack_free(struct port_task *p)
{
	x86_lock(&slots_lock);
	p->next_free = free_slots;
	free_slots = p;
	x86_unlock(&slots_lock);
}

bool x86_stack_guard_contains(uint64_t address)
{
	uint64_t offset = address - x86_stacks_base;
	return offset < STACKS_BYTES && offset % STACK_SLOT_BYTES < STACK_GUARD_BYTES;
}

size_t port_held_pages(void) { return slots_used * (STACK_SLOT_BYTES - STACK_GUARD_BYTES) / PAGE_BYTES + table_pages; }
