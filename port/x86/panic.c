// SPDX-License-Identifier: Apache-2.0
// The port's part of a panic: stop the others, walk the stack, name functions. The symbol table is made by symbols.py
// from the first link of the kernel and linked into the second; see there for its format.
#include "apic.h"
#include "cpu.h"
#include "io.h"
#include "layout.h"
#include "lib/compiler.h"
#include "log.h"
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
	x86_log("CR0 %016llx CR2 %016llx CR3 %016llx CR4 %016llx\n", (unsigned long long)read_cr0(),
		(unsigned long long)read_cr2(), (unsigned long long)read_cr3(), (unsigned long long)read_cr4());
	x86_log("EFER %llx GS %016llx user GS %016llx FS %016llx CPU %u slide %llx\n",
		(unsigned long long)rdmsr(MSR_EFER), (unsigned long long)rdmsr(MSR_GS_BASE),
		(unsigned long long)rdmsr(MSR_KERNEL_GS_BASE), (unsigned long long)rdmsr(MSR_FS_BASE), port_cpu_index(),
		(unsigned long long)x86_image_slide);
	if (x86_stack_guard_contains(read_cr2()))
		x86_log("CR2 lies in the guard of a kernel stack: it overflowed\n");
}

// ---- symbols ----
// Sorted by address: struct symbol entries, an end mark, then the names.

struct symbol {
	uint32_t address; // from x86_image_start
	uint32_t name;    // offset into the names
};

struct symbol_table {
	uint32_t count;
	uint32_t reserved;
	struct symbol symbols[];
};

extern const char x86_symbols_start[], x86_symbols_end[];

const char *port_symbol(uintptr_t address, size_t *offset)
{
	const struct symbol_table *t = (const struct symbol_table *)x86_symbols_start;
	if (x86_symbols_end - x86_symbols_start < (ptrdiff_t)sizeof(*t) || !in_text(address))
		return NULL;
	uint32_t at = (uint32_t)(address - (uint64_t)x86_image_start);
	uint32_t low = 0, high = t->count; // symbols[low].address <= at < symbols[high].address
	if (!high || at < t->symbols[0].address)
		return NULL;
	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;
		if (t->symbols[middle].address <= at)
			low = middle;
		else
			high = middle;
	}
	if (offset)
		*offset = at - t->symbols[low].address;
	return (const char *)&t->symbols[t->count] + t->symbols[low].name;
}
