// SPDX-License-Identifier: Apache-2.0
// Bringing one CPU into the kernel's state: segments, task state, control registers, system-call entry.
#include "cpu.h"

#include "amd64/cpuid.h"
#include "amd64/log.h"
#include "io.h"
#include "lib/string.h"
#include "xstate.h"

struct cpu *x86_cpus[CPUS_MAX];
unsigned x86_cpu_count = 1;
struct cpu_features x86_features;

#define CR0_MP (1u << 1)
#define CR0_EM (1u << 2)
#define CR0_TS (1u << 3)
#define CR0_NE (1u << 5)
#define CR0_WP (1u << 16)
#define CR0_AM (1u << 18)
#define CR0_NW (1u << 29)
#define CR0_CD (1u << 30)

#define CR4_DE         (1u << 3)
#define CR4_PAE        (1u << 5)
#define CR4_MCE        (1u << 6)
#define CR4_PGE        (1u << 7)
#define CR4_OSFXSR     (1u << 9)
#define CR4_OSXMMEXCPT (1u << 10)
#define CR4_UMIP       (1u << 11)
#define CR4_FSGSBASE   (1u << 16)
#define CR4_OSXSAVE    (1u << 18)
#define CR4_SMEP       (1u << 20)
#define CR4_SMAP       (1u << 21)

unsigned port_cpu_count(void) { return x86_cpu_count; }

bool port_stable_code(void) { return x86_features.tcg; }

static void detect_hypervisor(struct cpu_features *f)
{
	struct cpuid_regs h = cpuid(0x40000000, 0);
	f->hypervisor_leaf = h.a >= 0x40000000 && h.a < 0x40010000 ? h.a : 0;
	f->tcg = h.b == 0x54474354 && h.c == 0x43544743 && h.d == 0x47435447; // "TCGTCGTCGTCG"
}

void x86_features_detect(void)
{
	struct cpu_features *f = &x86_features;
	amd64_features_detect(&f->common);
	struct cpuid_regs r = cpuid(1, 0);
	if (!(r.c & 1u << 26))
		amd64_refuse("the CPU has no XSAVE");
	f->x2apic = r.c & 1u << 21;
	f->tsc_deadline = r.c & 1u << 24;
	f->rdrand = r.c & 1u << 30;
	f->hypervisor = r.c & 1u << 31;
	f->pge = r.d & 1u << 13;
	if (f->hypervisor)
		detect_hypervisor(f);
	if (f->common.max_leaf >= 7) {
		r = cpuid(7, 0);
		f->smep = r.b & 1u << 7;
		f->erms = r.b & 1u << 9;
		f->smap = r.b & 1u << 20;
		f->umip = r.c & 1u << 2;
	}
	f->rdtscp = f->common.max_extended_leaf >= 0x80000001 && (cpuid(0x80000001, 0).d & 1u << 27);
	if (f->common.max_leaf >= 0xd)
		f->xsaveopt = cpuid(0xd, 1).a & 1u;
}

static void fill_descriptors(struct cpu *cpu)
{
	uint64_t tss = (uint64_t)&cpu->tss;
	cpu->gdt[SELECTOR_KERNEL_CODE / 8] = UINT64_C(0x00af9b000000ffff);
	cpu->gdt[SELECTOR_KERNEL_DATA / 8] = UINT64_C(0x00cf93000000ffff);
	cpu->gdt[SELECTOR_USER_DATA / 8] = UINT64_C(0x00cff3000000ffff);
	cpu->gdt[SELECTOR_USER_CODE / 8] = UINT64_C(0x00affb000000ffff);
	cpu->gdt[4] = 0;
	cpu->gdt[SELECTOR_TSS / 8] =
		(sizeof(struct tss) - 1) | (tss & 0xffffff) << 16 | UINT64_C(0x89) << 40 | (tss >> 24 & 0xff) << 56;
	cpu->gdt[SELECTOR_TSS / 8 + 1] = tss >> 32;
	cpu->tss.io_map_base = sizeof(struct tss);
	cpu->tss.ist[IST_NMI - 1] = (uint64_t)cpu->nmi_stack + sizeof(cpu->nmi_stack);
	cpu->tss.ist[IST_DOUBLE_FAULT - 1] = (uint64_t)cpu->double_fault_stack + sizeof(cpu->double_fault_stack);
	cpu->tss.ist[IST_MACHINE_CHECK - 1] = (uint64_t)cpu->machine_check_stack + sizeof(cpu->machine_check_stack);
}

void x86_cpu_fill(struct cpu *cpu, unsigned index)
{
	cpu->self = cpu;
	cpu->index = index;
	cpu->boot_stack_top = (uint64_t)cpu->boot_stack + CPU_BOOT_STACK_BYTES;
	cpu->kernel_stack_top = cpu->boot_stack_top;
	cpu->timer_armed_ns = cpu->timer_wanted_ns = UINT64_MAX;
	cpu->tlb_state = TLB_ACTIVE;
	fill_descriptors(cpu);
}

static void load_segments(struct cpu *cpu)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) pointer = { sizeof(cpu->gdt) - 1, (uint64_t)cpu->gdt };
	__asm__ volatile("lgdt %0" : : "m"(pointer));
	__asm__ volatile("pushq %0; leaq 1f(%%rip), %%rax; pushq %%rax; lretq; 1:"
			 :
			 : "i"((uint64_t)SELECTOR_KERNEL_CODE)
			 : "rax", "memory");
	__asm__ volatile("movl %0, %%ss; movl %1, %%ds; movl %1, %%es; movl %1, %%fs; movl %1, %%gs"
			 :
			 : "r"(SELECTOR_KERNEL_DATA), "r"(0));
	__asm__ volatile("ltr %w0" : : "r"(SELECTOR_TSS));
	wrmsr(MSR_GS_BASE, (uint64_t)cpu);
	wrmsr(MSR_KERNEL_GS_BASE, 0);
	wrmsr(MSR_FS_BASE, 0);
}

extern char x86_syscall_entry[];

void x86_cpu_load(struct cpu *cpu)
{
	const struct cpu_features *f = &x86_features;
	load_segments(cpu);
	x86_idt_load();

	uint64_t cr0 = read_cr0() & ~(uint64_t)(CR0_EM | CR0_TS | CR0_NW | CR0_CD);
	write_cr0(cr0 | CR0_MP | CR0_NE | CR0_WP | CR0_AM);
	write_cr4(CR4_PAE | CR4_DE | CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | (f->pge ? CR4_PGE : 0) |
		  (f->umip ? CR4_UMIP : 0) | (f->common.fsgsbase ? CR4_FSGSBASE : 0) | (f->smep ? CR4_SMEP : 0) |
		  (f->smap ? CR4_SMAP : 0));
	x86_xstate_init_cpu();

	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE | EFER_NXE);
	wrmsr(MSR_STAR, (uint64_t)SYSRET_BASE << 48 | (uint64_t)SELECTOR_KERNEL_CODE << 32);
	wrmsr(MSR_LSTAR, (uint64_t)x86_syscall_entry);
	if (f->rdtscp)
		wrmsr(MSR_TSC_AUX, cpu->index); // what RDTSCP and RDPID tell programs: node 0, this CPU
	wrmsr(MSR_FMASK, FLAG_TF | FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT | FLAG_RF | FLAG_AC);
}
