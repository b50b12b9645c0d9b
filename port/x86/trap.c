// SPDX-License-Identifier: Apache-2.0
// Exceptions and interrupts, from the program and from the kernel.
//
// The kernel never touches user memory through user addresses (copy.c walks the page tables), so an exception in ring 0
// is always a bug of ours and there is no fixup table. Interrupts reach ring 0 only in port_cpu_idle() and
// port_preempt_point(). Source: SDM vol. 3, chapter 6.
#include "trap.h"

#include "apic.h"
#include "cpu.h"
#include "io.h"
#include "kernel/upcall.h"
#include "tlb.h"

#define VECTOR_GENERAL_PROTECTION 13u
#define VECTOR_PAGE_FAULT         14u

struct idt_gate {
	uint16_t offset_low, selector;
	uint8_t ist, type;
	uint16_t offset_middle;
	uint32_t offset_high, reserved;
};

static struct idt_gate idt[256] __attribute__((aligned(16)));
uint32_t x86_panic_stop; // read by the NMI entry

extern char x86_trap_stubs[], x86_nmi_entry[], x86_double_fault_entry[], x86_machine_check_entry[];

static void set_gate(unsigned vector, const char *entry, unsigned ist, unsigned privilege)
{
	uint64_t at = (uint64_t)entry;
	idt[vector] = (struct idt_gate){
		.offset_low = (uint16_t)at,
		.selector = SELECTOR_KERNEL_CODE,
		.ist = (uint8_t)ist,
		.type = (uint8_t)(0x8e | privilege << 5), // present, interrupt gate
		.offset_middle = (uint16_t)(at >> 16),
		.offset_high = (uint32_t)(at >> 32),
	};
}

void x86_idt_init(void)
{
	for (unsigned v = 0; v < 256; v++)
		set_gate(v, x86_trap_stubs + 16 * v, IST_NONE,
			 v == 3 || v == 4 ? 3 : 0); // INT3 and INTO are the program's
	set_gate(2, x86_nmi_entry, IST_NMI, 0);
	set_gate(8, x86_double_fault_entry, IST_DOUBLE_FAULT, 0);
	set_gate(18, x86_machine_check_entry, IST_MACHINE_CHECK, 0);
}

void x86_idt_load(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) pointer = { sizeof(idt) - 1, (uint64_t)idt };
	__asm__ volatile("lidt %0" : : "m"(pointer));
}

static void interrupt(struct cpu *cpu, unsigned vector)
{
	if (vector == VECTOR_TIMER) {
		x86_apic_eoi();
		x86_timer_interrupt(cpu);
	} else if (vector == VECTOR_REQUEST) {
		x86_apic_eoi();
		uint32_t request = __atomic_fetch_and(&cpu->request, ~REQUEST_KICK, __ATOMIC_ACQ_REL);
		if (request & REQUEST_FLUSH)
			x86_cpu_serve_requests();
		if (request & REQUEST_KICK)
			kernel_upcall_interrupt();
	} else if (vector >= VECTOR_DEVICE_FIRST && vector <= VECTOR_DEVICE_LAST) {
		x86_apic_eoi();
		struct irq_slot *s = &cpu->irqs[vector - VECTOR_DEVICE_FIRST];
		if (s->handler)
			s->handler(s->context);
		kernel_upcall_interrupt();
	}
	// Spurious vectors, and what the legacy controller may have latched before it was masked, need no answer.
}

static void user_page_fault(struct user_regs *regs, uint64_t error)
{
	uint64_t address = read_cr2();
	unsigned flags = UPCALL_FAULT_USER;
	if (error & 2)
		flags |= UPCALL_FAULT_WRITE;
	if (error & 16)
		flags |= UPCALL_FAULT_EXEC;
	kernel_upcall_page_fault(regs, address, flags);
}

void x86_user_trap(struct user_regs *regs, unsigned vector, uint64_t error)
{
	if (vector == VECTOR_PAGE_FAULT)
		user_page_fault(regs, error);
	else if (vector >= 32)
		interrupt(this_cpu(), vector);
	else
		kernel_upcall_trap(regs, vector, error, regs->ip);
}

static const char *exception_name(unsigned vector)
{
	switch (vector) {
	case 0: return "divide error in the kernel";
	case 1: return "debug exception in the kernel";
	case 3: return "breakpoint in the kernel";
	case 6: return "invalid opcode in the kernel";
	case 8: return "double fault: the kernel stack overflowed, or worse";
	case VECTOR_GENERAL_PROTECTION: return "general protection in the kernel";
	case VECTOR_PAGE_FAULT: return "page fault in the kernel";
	case 18: return "machine check";
	default: return "exception in the kernel";
	}
}

void x86_kernel_trap(struct user_regs *regs, unsigned vector, uint64_t error)
{
	if (vector >= 32) {
		interrupt(this_cpu(), vector);
		return;
	}
	regs->orig_ax = error;
	kernel_upcall_panic(exception_name(vector), regs->ip, vector == VECTOR_PAGE_FAULT ? read_cr2() : 0, regs);
}

void x86_fatal_trap(struct user_regs *regs, unsigned vector, uint64_t error)
{
	regs->orig_ax = error;
	kernel_upcall_panic(exception_name(vector), regs->ip, read_cr2(), regs);
}

// Before an IRET to the program: the frame may have been written by sigreturn or ptrace. Ring 3, sane flags; a
// non-canonical address would fault in ring 0.
int x86_check_user_frame(struct user_regs *regs)
{
	regs->cs = SELECTOR_USER_CODE;
	regs->ss = SELECTOR_USER_DATA;
	regs->flags = (regs->flags & FLAGS_USER) | FLAG_IF | 2;
	if (regs->ip < (UINT64_C(1) << 47))
		return 0;
	uint64_t bad = regs->ip;
	regs->ip = 0; // whatever becomes of the signal, this frame can be returned to
	kernel_upcall_trap(regs, VECTOR_GENERAL_PROTECTION, 0, bad);
	return 1;
}
