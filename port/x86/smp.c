// SPDX-License-Identifier: Apache-2.0
// Starting the other CPUs, and asking something of a running one.
//
// They start when the first program is about to run, so they delay nothing: each enters at the trampoline, finds its
// struct cpu by its APIC identifier and calls kernel_upcall_cpu_started(). Until then a kick for it is only remembered.
//
// Not earlier: drivers change the machine's memory map (BARs, device start). QEMU 7.2's emulation publishes the new map
// before the other CPUs have dropped what they cached of the old one, and an access of theirs to the APIC then lands in
// another device; QEMU was seen to die of it (msix_table_mmio_write: assertion).
// Source: SDM vol. 3, 8.4.
#include "smp.h"

#include "abi/handoff.h"
#include "apic.h"
#include "aspace.h"
#include "early.h"
#include "io.h"
#include "kernel/upcall.h"
#include "lib/string.h"
#include "pci.h"

bool x86_smp_started;
uint32_t x86_next_cpu = 1; // trampoline.S: next index when identifiers are not contiguous
uint32_t x86_apic_ids_contiguous;

extern char x86_trampoline_start[], x86_trampoline_end[];
extern uint64_t x86_trampoline_entry; // in the copied page: where to go in 64-bit mode
void x86_ap_entry(void);

void x86_smp_init(void)
{
	const struct handoff *h = &x86_boot_facts.handoff;
	unsigned count = h->cpu_count;
	if (count > CPUS_MAX)
		count = CPUS_MAX;
	x86_apic_ids_contiguous = h->apic_id_limit == h->cpu_count;
	unsigned made = 1;
	for (; made < count; made++) {
		struct cpu *cpu = early_pages(sizeof(struct cpu) / PAGE_BYTES);
		if (!cpu)
			break;
		x86_cpu_fill(cpu, made);
		x86_cpus[made] = cpu;
	}
	x86_cpu_count = made;
}

void x86_smp_start(void)
{
	x86_smp_started = true;
	if (x86_cpu_count == 1)
		return;
	size_t size = (size_t)(x86_trampoline_end - x86_trampoline_start);
	uint8_t *page = phys_to_virt(HANDOFF_TRAMPOLINE);
	memcpy(page, x86_trampoline_start, size);
	*(uint64_t *)(page + ((char *)&x86_trampoline_entry - x86_trampoline_start)) = (uint64_t)x86_ap_entry;
	x86_apic_start_others((unsigned)(HANDOFF_TRAMPOLINE >> 12));
}

// The loader's top-level table stays as it is: a CPU may be on its way in at any time.
_Noreturn void x86_ap_main(struct cpu *cpu);
_Noreturn void x86_ap_main(struct cpu *cpu)
{
	write_cr3(virt_to_phys(x86_kernel_pml4));
	x86_cpu_load(cpu);
	x86_apic_init_cpu(cpu);
	__atomic_store_n(&cpu->online, true, __ATOMIC_SEQ_CST);
	// A kick that came before `online` was remembered; make it an interrupt now.
	if (__atomic_load_n(&cpu->request, __ATOMIC_SEQ_CST))
		x86_apic_send(cpu->apic_id, VECTOR_REQUEST);
	x86_pci_take_interrupts(cpu);
	kernel_upcall_cpu_started();
}

void port_cpu_kick(unsigned index)
{
	struct cpu *cpu = x86_cpus[index];
	if (__atomic_fetch_or(&cpu->request, REQUEST_KICK, __ATOMIC_SEQ_CST) & REQUEST_KICK)
		return; // one is on its way
	if (__atomic_load_n(&cpu->online, __ATOMIC_SEQ_CST))
		x86_apic_send(cpu->apic_id, VECTOR_REQUEST);
}

void port_cpu_idle(void)
{
	struct cpu *cpu = this_cpu();
	x86_aspace_reap(cpu);
	// STI takes effect after the next instruction: an interrupt that is pending ends the HLT.
	__asm__ volatile("sti; hlt; cli" : : : "memory");
}

void port_preempt_point(void) { __asm__ volatile("sti; nop; cli" : : : "memory"); }

void port_lock_wait(uint32_t *word, uint32_t seen)
{
	(void)word;
	(void)seen;
	port_cpu_relax();
}

void port_lock_wake(uint32_t *word) { (void)word; }
