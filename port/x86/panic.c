// SPDX-License-Identifier: Apache-2.0
// The port's part of a panic: stop the others, walk the stack, name functions.
#include "amd64/log.h"
#include "amd64/symbols.h"
#include "apic.h"
#include "cpu.h"
#include "io.h"
#include "layout.h"
#include "lib/compiler.h"
#include "smp.h"
#include "task.h"

extern uint32_t x86_panic_stop; // trap.c; the others' NMI entry halts when it is set

bool port_panic_enter(void)
{
	__asm__ volatile("cli");
	if (__atomic_exchange_n(&x86_panic_stop, 1, __ATOMIC_SEQ_CST))
		return false;
	if (x86_smp_started && x86_cpu_count > 1)
		x86_apic_send_nmi_others();
	return true;
}

// ---- backtrace ----

static bool mapped(uint64_t va)
{
	if (va >> 47 != 0x1ffff || va % 8)
		return false;
	uint64_t *t = phys_to_virt(read_cr3() & PTE_FRAME);
	for (unsigned level = 3;; level--) {
		uint64_t e = t[va >> (12 + 9 * level) & 511];
		if (!(e & PTE_P))
			return false;
		if (!level || (e & PTE_HUGE))
			return true;
		t = phys_to_virt(e & PTE_FRAME);
	}
}

extern char x86_image_start[], x86_text_end[];

static bool in_text(uint64_t address)
{
	return address >= (uint64_t)x86_image_start && address < (uint64_t)x86_text_end;
}

static unsigned walk_frames(uint64_t bp, uintptr_t *out, unsigned max)
{
	unsigned count = 0;
	while (count < max && mapped(bp) && mapped(bp + 8)) {
		const uint64_t *frame = (const uint64_t *)bp;
		if (!in_text(frame[1]))
			break;
		out[count++] = frame[1];
		if (frame[0] <= bp)
			break; // stacks grow down: callers are above
		bp = frame[0];
	}
	return count;
}

unsigned port_backtrace(uintptr_t *out, unsigned max)
{
	return walk_frames((uint64_t)__builtin_frame_address(0), out, max);
}

void port_panic_registers(void)
{
	amd64_log("CR0 %016llx CR2 %016llx CR3 %016llx CR4 %016llx\n", (unsigned long long)read_cr0(),
		  (unsigned long long)read_cr2(), (unsigned long long)read_cr3(), (unsigned long long)read_cr4());
	amd64_log("EFER %llx GS %016llx user GS %016llx FS %016llx CPU %u slide %llx\n",
		  (unsigned long long)rdmsr(MSR_EFER), (unsigned long long)rdmsr(MSR_GS_BASE),
		  (unsigned long long)rdmsr(MSR_KERNEL_GS_BASE), (unsigned long long)rdmsr(MSR_FS_BASE),
		  port_cpu_index(), (unsigned long long)x86_image_slide);
	if (x86_stack_guard_contains(read_cr2()))
		amd64_log("CR2 lies in the guard of a kernel stack: it overflowed\n");
}

extern const char x86_symbols_start[], x86_symbols_end[];

const char *port_symbol(uintptr_t address, size_t *offset)
{
	if (!in_text(address))
		return NULL;
	return amd64_symbol_find(x86_symbols_start, x86_symbols_end, (uint32_t)(address - (uint64_t)x86_image_start),
				 offset);
}
