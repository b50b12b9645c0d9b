// SPDX-License-Identifier: Apache-2.0
// Time from the TSC, deadlines by the local APIC's timer.
//
// The TSC's frequency comes, in this order, from the hypervisor (CPUID 0x40000010), from CPUID 0x15 or 0x16, from the
// boot record (the launcher measured the host's TSC, which is ours under emulation too), or from calibration. The local
// APIC's timer runs at 1 GHz in QEMU and KVM; the two are compared over the time the rest of the port takes to start, so
// that no time is spent waiting. When they disagree the timer is right: a hypervisor makes it from its own clock.
#include "amd64/log.h"
#include "apic.h"
#include "early.h"
#include "amd64/cpuid.h"
#include "io.h"
#include "kernel/upcall.h"
#include "lib/compiler.h"
#include "tscscale.h"

#define MSR_TSC_DEADLINE 0x6e0u
#define APIC_HZ_VIRTUAL  NS_PER_SECOND
#define COMPARE_NS       200000u
#define CALIBRATE_NS     5000000u

static uint64_t tsc_base, tsc_hz;
static struct tsc_scale tsc_to_ns, ns_to_tsc, ns_to_apic;
static uint64_t started_tsc;
static uint32_t started_apic;

static uint64_t tsc_hz_from_cpuid(void)
{
	const struct cpu_features *f = &x86_features;
	if (f->hypervisor_leaf >= 0x40000010) {
		uint64_t khz = cpuid(0x40000010, 0).a;
		if (khz)
			return khz * 1000;
	}
	if (f->common.max_leaf >= 0x15) {
		struct cpuid_regs r = cpuid(0x15, 0);
		if (r.a && r.b && r.c)
			return (uint64_t)r.c * r.b / r.a;
	}
	if (f->common.max_leaf >= 0x16 && !f->tcg)
		return (uint64_t)(cpuid(0x16, 0).a & 0xffff) * 1000000;
	return 0;
}

// Both clocks at one moment. The host may take the CPU away between two reads: of several tries the shortest counts.
static void sample_clocks(uint64_t *tsc, uint32_t *left)
{
	uint64_t best = UINT64_MAX; // of that many cycles
	for (unsigned i = 0; i < 8; i++) {
		uint64_t before = rdtsc();
		uint32_t seen = x86_apic_timer_left();
		uint64_t window = rdtsc() - before;
		if (window >= best)
			continue;
		best = window;
		*tsc = before + window / 2;
		*left = seen;
	}
}

void x86_time_init_start(void)
{
	tsc_base = rdtsc();
	x86_apic_timer_start(UINT32_MAX);
	sample_clocks(&started_tsc, &started_apic);
}

// What the APIC's timer and the TSC have counted since x86_time_init_start(), at least `ns`. *ticks 0: the timer has run out.
static void read_clocks(uint64_t ns, uint64_t *tsc, uint64_t *ticks)
{
	uint64_t now = 0;
	uint32_t left = 0;
	do {
		sample_clocks(&now, &left);
		*ticks = left ? started_apic - left : 0;
		*tsc = now - started_tsc;
	} while (*ticks < ns && *ticks);
}

static bool clocks_agree(void)
{
	// The host may take the CPU away between the two reads.
	for (unsigned i = 0; i < 3; i++) {
		uint64_t tsc, ticks;
		read_clocks(COMPARE_NS, &tsc, &ticks);
		if (ticks && tsc < UINT64_C(1) << 33 && hz_agree(tsc * APIC_HZ_VIRTUAL / ticks, tsc_hz))
			return true;
	}
	return false;
}

static void calibrate(void)
{
	uint64_t tsc, ticks;
	x86_time_init_start();
	read_clocks(CALIBRATE_NS, &tsc, &ticks);
	tsc_hz = ticks ? tsc * APIC_HZ_VIRTUAL / ticks : 0;
}

void x86_time_init_finish(void)
{
	tsc_hz = tsc_hz_from_cpuid();
	if (!tsc_hz)
		tsc_hz = x86_boot_facts.tsc_hz;
	if (!tsc_hz || !clocks_agree())
		calibrate();
	x86_apic_timer_start(0);
	x86_apic_timer_mode(x86_features.tsc_deadline);
	if (tsc_hz < 1000000)
		amd64_refuse("the time-stamp counter does not count");
	tsc_to_ns = tsc_scale_make(tsc_hz, NS_PER_SECOND);
	ns_to_tsc = tsc_scale_make(NS_PER_SECOND, tsc_hz);
	ns_to_apic = tsc_scale_make(NS_PER_SECOND, APIC_HZ_VIRTUAL);
}

uint64_t port_time_ns(void) { return tsc_scale(&tsc_to_ns, rdtsc() - tsc_base); }

bool port_time_tsc(uint64_t *base, uint32_t *mult, uint32_t *shift)
{
	*base = tsc_base;
	*mult = tsc_to_ns.mult;
	*shift = tsc_to_ns.shift;
	return true;
}

uint64_t port_tsc_hz(void) { return tsc_hz; }

// ---- deadlines ----
// Reprogramming the timer is slow in a virtual machine, and most deadlines are moved away or cancelled before they come: a
// timer armed for earlier is left alone, and its interrupt arms it again for what is wanted by then.

static void arm(struct cpu *cpu, uint64_t deadline_ns)
{
	cpu->timer_armed_ns = deadline_ns;
	if (x86_features.tsc_deadline) {
		__asm__ volatile("mfence; lfence" : : : "memory");
		wrmsr(MSR_TSC_DEADLINE, tsc_base + tsc_scale(&ns_to_tsc, deadline_ns) + 1);
		return;
	}
	uint64_t now = port_time_ns();
	uint64_t ticks = deadline_ns > now ? tsc_scale(&ns_to_apic, deadline_ns - now) : 0;
	x86_apic_timer_start(ticks < UINT32_MAX ? (uint32_t)ticks + 1 : UINT32_MAX);
}

void port_timer_set(uint64_t deadline_ns)
{
	struct cpu *cpu = this_cpu();
	cpu->timer_wanted_ns = deadline_ns;
	if (deadline_ns < cpu->timer_armed_ns)
		arm(cpu, deadline_ns);
}

void x86_timer_interrupt(struct cpu *cpu)
{
	cpu->timer_armed_ns = UINT64_MAX;
	if (cpu->timer_wanted_ns == UINT64_MAX)
		return;
	if (port_time_ns() < cpu->timer_wanted_ns) {
		arm(cpu, cpu->timer_wanted_ns);
		return;
	}
	cpu->timer_wanted_ns = UINT64_MAX;
	kernel_upcall_timer();
}
