// SPDX-License-Identifier: Apache-2.0
// Per-CPU state: descriptor tables, stacks, what is loaded. GS points at it in ring 0; the program's GS base is in
// MSR_KERNEL_GS_BASE meanwhile. A field is touched by its own CPU with interrupts off, unless it says otherwise.
// Source: SDM vol. 3, chapters 3 (segments), 6 (interrupts), 7 (TSS).
#pragma once

#include "amd64/features.h"
#include "layout.h"
#include "port/inline.h"
#include "port/port.h"

#define SELECTOR_KERNEL_CODE 0x08u
#define SELECTOR_KERNEL_DATA 0x10u
#define SELECTOR_USER_DATA   0x2bu // order fixed by SYSRET: data at base + 8, 64-bit code at base + 16
#define SELECTOR_USER_CODE   0x33u
#define SELECTOR_TSS         0x38u
#define SYSRET_BASE          0x23u

#define CPU_BOOT_STACK_BYTES 16384u
#define CPU_CACHE_LINE       64

#define MSR_EFER           0xc0000080u
#define MSR_STAR           0xc0000081u
#define MSR_LSTAR          0xc0000082u
#define MSR_FMASK          0xc0000084u
#define MSR_FS_BASE        0xc0000100u
#define MSR_GS_BASE        0xc0000101u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_TSC_AUX        0xc0000103u

#define EFER_SCE 0x001u
#define EFER_NXE 0x800u

#define FLAG_TF    0x00000100u
#define FLAG_IF    0x00000200u
#define FLAG_DF    0x00000400u
#define FLAG_IOPL  0x00003000u
#define FLAG_NT    0x00004000u
#define FLAG_RF    0x00010000u
#define FLAG_AC    0x00040000u
#define FLAGS_USER 0x00250dd5u // what a program may choose: ID AC RF OF DF TF SF ZF AF PF CF

struct tss {
	uint32_t reserved0;
	uint64_t rsp[3];
	uint64_t reserved1;
	uint64_t ist[7];
	uint64_t reserved2;
	uint16_t reserved3, io_map_base;
} __attribute__((packed));
static_assert(sizeof(struct tss) == 104, "TSS layout");

enum cpu_ist { IST_NONE, IST_NMI, IST_DOUBLE_FAULT, IST_MACHINE_CHECK };

// Bits of cpu->request: what other CPUs want of this one. Atomic.
#define REQUEST_KICK  1u // kernel_upcall_interrupt(), in the interrupt
#define REQUEST_FLUSH 2u // TLB shootdown, see tlb.c; served in spin loops too

// cpu->tlb_state, atomic: whether the loaded address space is in use.
#define TLB_ACTIVE     0u
#define TLB_LAZY       1u // a kernel task runs on it: flushes may wait
#define TLB_LAZY_STALE 2u // lazy, and a flush was skipped

#define CPUS_MAX 256u

// One page-table flush, owned by the CPU that asks for it; pending is decremented by the others.
struct shootdown {
	struct port_aspace *aspace;
	uint64_t start, end;
	uint32_t pending;
};

struct irq_slot {
	void (*handler)(void *);
	void *context;
	volatile uint32_t *moves_here; // MSI-X entry that goes to the boot CPU until this one is up; pci.c, irq_lock
};

#define VECTOR_DEVICE_FIRST 0x30u
#define VECTOR_DEVICE_LAST  0xdfu
#define VECTOR_TIMER        0xeeu
#define VECTOR_REQUEST      0xefu
#define VECTOR_SPURIOUS     0xffu

struct cpu {
	struct task *current; // offsets of the first six are known to assembly
	uint32_t index;
	uint32_t request;               // atomic
	uint64_t kernel_stack_top;      // of the current task
	uint64_t user_sp;               // scratch of the system-call entry
	struct port_aspace *aspace;     // loaded; NULL: the kernel's own tables
	struct port_task *xstate_owner; // whose vector state is in the registers
	uint64_t boot_stack_top;
	struct cpu *self;

	uint32_t tlb_state; // atomic
	uint32_t apic_id;
	bool online;                      // atomic; APIC identifier is known
	struct port_aspace *dead_aspaces; // to be freed outside of the scheduler

	// time.c
	uint64_t timer_armed_ns, timer_wanted_ns;

	// tlb.c
	struct shootdown shootdown;
	uint64_t flush_from[CPUS_MAX / 64]
		__attribute__((aligned(CPU_CACHE_LINE))); // atomic: CPUs whose shootdown waits for us

	uint64_t gdt[9] __attribute__((aligned(64)));
	struct tss tss;
	struct irq_slot irqs[VECTOR_DEVICE_LAST - VECTOR_DEVICE_FIRST + 1];
	uint8_t nmi_stack[4096] __attribute__((aligned(4096)));
	uint8_t double_fault_stack[4096];
	uint8_t machine_check_stack[4096];
	uint8_t boot_stack[CPU_BOOT_STACK_BYTES];
} __attribute__((aligned(4096)));
static_assert(offsetof(struct cpu, current) == X86_CPU_CURRENT_OFFSET, "known to port/inline.h");
static_assert(offsetof(struct cpu, index) == X86_CPU_INDEX_OFFSET, "known to port/inline.h");
static_assert(offsetof(struct cpu, request) == X86_CPU_REQUEST_OFFSET, "known to port/inline.h");
static_assert(offsetof(struct cpu, kernel_stack_top) == 16, "known to entry.S");
static_assert(offsetof(struct cpu, user_sp) == 24, "known to entry.S");
static_assert(offsetof(struct cpu, boot_stack_top) == 48, "known to trampoline.S");

extern struct cpu *x86_cpus[CPUS_MAX];
extern unsigned x86_cpu_count;

static inline struct cpu *this_cpu(void)
{
	struct cpu *cpu;
	__asm__ volatile("movq %%gs:%c1, %0" : "=r"(cpu) : "i"(offsetof(struct cpu, self)));
	return cpu;
}

// What the boot CPU found; the others are assumed equal.
struct cpu_features {
	bool tcg; // QEMU's software emulation
	bool hypervisor, x2apic, tsc_deadline, xsaveopt, smep, smap, umip, pge, rdrand, erms, rdtscp;
	uint32_t hypervisor_leaf; // highest 0x400000xx leaf, 0 = none
	uint32_t xstate_size_bytes;
	struct amd64_features common;
};
extern struct cpu_features x86_features;

void x86_features_detect(void);
void x86_cpu_fill(struct cpu *cpu, unsigned index); // fields and descriptor tables; on the boot CPU
void x86_cpu_load(struct cpu *cpu);                 // control registers, tables, MSRs; on `cpu` itself
void x86_idt_init(void);
void x86_idt_load(void);
