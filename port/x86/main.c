// SPDX-License-Identifier: Apache-2.0
// The boot CPU's way from early.c to the portable kernel.
#include "apic.h"
#include "cpu.h"
#include "early.h"
#include "io.h"
#include "kernel/upcall.h"
#include "memmap.h"
#include "pci.h"
#include "smp.h"
#include "xstate.h"

void x86_main(void)
{
	const struct handoff *h = &x86_boot_facts.handoff;
	struct cpu *cpu = x86_cpus[0];

	x86_kernel_pml4[0] = 0; // the loader's identity map
	x86_features_detect();
	x86_xstate_init_boot();
	x86_cpu_fill(cpu, 0);
	x86_idt_init();
	x86_cpu_load(cpu); // CR4.PGE changes: flushes the TLB
	x86_apic_init_boot();
	x86_apic_init_cpu(cpu);
	cpu->online = true;
	x86_time_init_start();
	x86_smp_init();
	x86_pci_init();
	x86_time_init_finish();
	kernel_upcall_boot(h->record_size_bytes ? phys_to_virt(h->record_start) : NULL, h->record_size_bytes);
}

unsigned port_memory_ranges(struct port_memory_range *out, unsigned max)
{
	const struct boot_facts *b = &x86_boot_facts;
	return memmap_ranges(b->next_free, b->handoff.low_ram_end, b->handoff.high_ram_end, out, max);
}

void port_dma_window(paddr_t *start, paddr_t *end) { memmap_window(x86_boot_facts.handoff.low_ram_end, start, end); }

uintptr_t port_image_slide(void) { return x86_image_slide; }

bool port_random64(uint64_t *out)
{
	if (!x86_features.rdrand)
		return false;
	for (unsigned i = 0; i < 10; i++) { // the SDM's advice
		unsigned char ok;
		__asm__ volatile("rdrand %0; setc %1" : "=r"(*out), "=q"(ok) : : "cc");
		if (ok)
			return true;
	}
	return false;
}
