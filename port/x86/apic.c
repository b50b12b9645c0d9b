// SPDX-License-Identifier: Apache-2.0
// Local APIC in xAPIC mode (memory-mapped) or x2APIC mode (MSRs). Source: SDM vol. 3, chapter 10.
#include "apic.h"

#include "io.h"

#define MSR_APIC_BASE    0x1bu
#define APIC_BASE_ENABLE (UINT64_C(1) << 11)
#define APIC_BASE_X2     (UINT64_C(1) << 10)
#define MSR_X2APIC       0x800u

// registers, as memory offsets; the x2APIC MSR is 0x800 + offset / 16
#define REG_ID            0x20u
#define REG_TPR           0x80u
#define REG_EOI           0xb0u
#define REG_SPURIOUS      0xf0u
#define REG_ICR           0x300u
#define REG_ICR_HIGH      0x310u
#define REG_LVT_TIMER     0x320u
#define REG_LVT_LINT0     0x350u
#define REG_LVT_LINT1     0x360u
#define REG_TIMER_INITIAL 0x380u
#define REG_TIMER_CURRENT 0x390u
#define REG_TIMER_DIVIDE  0x3e0u

#define LVT_MASKED       (1u << 16)
#define LVT_TSC_DEADLINE (2u << 17)
#define ICR_NMI          (4u << 8)
#define ICR_INIT         (5u << 8)
#define ICR_STARTUP      (6u << 8)
#define ICR_ASSERT       (1u << 14)
#define ICR_PENDING      (1u << 12)
#define ICR_ALL_BUT_SELF (3u << 18)

#define PIT_CHANNEL0 0x40u
#define PIT_COMMAND  0x43u
#define PIC1_DATA    0x21u
#define PIC2_DATA    0xa1u

static volatile uint8_t *registers; // NULL: x2APIC

static uint32_t apic_read(unsigned reg)
{
	if (!registers)
		return (uint32_t)rdmsr(MSR_X2APIC + reg / 16);
	return *(volatile uint32_t *)(registers + reg);
}

static void apic_write(unsigned reg, uint32_t value)
{
	if (!registers)
		wrmsr(MSR_X2APIC + reg / 16, value);
	else
		*(volatile uint32_t *)(registers + reg) = value;
}

static void send(uint32_t destination, uint32_t command)
{
	if (!registers) {
		// The MSR write does not order earlier stores; the target must see what we ask of it.
		__asm__ volatile("mfence; lfence" : : : "memory");
		wrmsr(MSR_X2APIC + REG_ICR / 16, (uint64_t)destination << 32 | command);
		return;
	}
	while (apic_read(REG_ICR) & ICR_PENDING)
		__asm__ volatile("pause");
	apic_write(REG_ICR_HIGH, destination << 24);
	apic_write(REG_ICR, command);
}

void x86_apic_init_boot(void)
{
	if (!x86_features.x2apic)
		registers = phys_to_virt(APIC_BASE);
	// The legacy controllers are never used. The timer chip would wake the machine 18 times a second until it is told
	// to count once.
	out8(PIC1_DATA, 0xff);
	out8(PIC2_DATA, 0xff);
	out8(PIT_COMMAND, 0x30);
	out8(PIT_CHANNEL0, 1);
	out8(PIT_CHANNEL0, 0);
}

uint32_t x86_apic_id(void)
{
	uint32_t id = apic_read(REG_ID);
	return registers ? id >> 24 : id;
}

void x86_apic_init_cpu(struct cpu *cpu)
{
	uint64_t base = rdmsr(MSR_APIC_BASE);
	uint64_t wanted = base | APIC_BASE_ENABLE | (x86_features.x2apic ? APIC_BASE_X2 : 0);
	if (wanted != base)
		wrmsr(MSR_APIC_BASE, wanted);
	apic_write(REG_LVT_LINT0, LVT_MASKED);
	apic_write(REG_LVT_LINT1, LVT_MASKED);
	apic_write(REG_TPR, 0);
	apic_write(REG_SPURIOUS, 0x100 | VECTOR_SPURIOUS);
	apic_write(REG_TIMER_DIVIDE, 0xb);                            // by 1
	x86_apic_timer_mode(cpu->index && x86_features.tsc_deadline); // the boot CPU counts first, to compare clocks
	cpu->apic_id = x86_apic_id();
}

void x86_apic_eoi(void) { apic_write(REG_EOI, 0); }

void x86_apic_send(uint32_t apic_id, unsigned vector) { send(apic_id, vector | ICR_ASSERT); }

void x86_apic_send_nmi_others(void) { send(0, ICR_NMI | ICR_ASSERT | ICR_ALL_BUT_SELF); }

void x86_apic_start_others(unsigned page)
{
	// No delays: virtual CPUs take INIT at once. The second start-up is for those that missed the first, a running CPU
	// ignores it.
	send(0, ICR_INIT | ICR_ASSERT | ICR_ALL_BUT_SELF);
	send(0, ICR_STARTUP | ICR_ASSERT | ICR_ALL_BUT_SELF | page);
	send(0, ICR_STARTUP | ICR_ASSERT | ICR_ALL_BUT_SELF | page);
}

void x86_apic_timer_mode(bool tsc_deadline)
{
	apic_write(REG_LVT_TIMER, VECTOR_TIMER | (tsc_deadline ? LVT_TSC_DEADLINE : 0));
	// Under xAPIC the mode is written to memory and the deadline to an MSR: the one must be there before the other.
	__asm__ volatile("mfence" : : : "memory");
}

void x86_apic_timer_start(uint32_t count) { apic_write(REG_TIMER_INITIAL, count); }

uint32_t x86_apic_timer_left(void) { return apic_read(REG_TIMER_CURRENT); }
