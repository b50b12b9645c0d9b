// SPDX-License-Identifier: Apache-2.0
// TLB shootdown: the asking CPU describes the flush in its struct cpu, marks itself in flush_from of every CPU that has
// the address space loaded, interrupts them, and waits. A CPU answers in the interrupt, or while it spins on a lock
// (port_cpu_relax), so two CPUs that wait for each other both get on.
//
// The answer also means that the CPU is not in the middle of a copy to or from user memory: copy.c relies on it.
//
// CPUs that run a kernel task with the address space still loaded are not interrupted: they flush when they leave that
// state. Their page tables stay allocated, so what their hardware may read ahead is harmless.
#include "tlb.h"

#include "apic.h"
#include "io.h"
#include "lib/compiler.h"

// Beyond this many pages a full flush is cheaper. Emulation takes some 0.6 us for a page and 7 us for everything.
#define FLUSH_PAGES_MAX     32u
#define FLUSH_PAGES_MAX_TCG 10u

static void flush_local(struct cpu *cpu, struct port_aspace *as, uint64_t start, uint64_t end)
{
	if (cpu->aspace != as)
		return;
	if ((end - start) >> 12 > (x86_features.tcg ? FLUSH_PAGES_MAX_TCG : FLUSH_PAGES_MAX)) {
		write_cr3(as->pml4_frame);
		return;
	}
	for (uint64_t va = start; va < end; va += PAGE_BYTES)
		invlpg(va);
}

// REQUEST_FLUSH is cleared first: a mark that comes after it makes a new request.
static void serve_flush(struct cpu *cpu)
{
	__atomic_fetch_and(&cpu->request, ~REQUEST_FLUSH, __ATOMIC_SEQ_CST);
	for (unsigned w = 0; w < array_count(cpu->flush_from); w++) {
		if (!__atomic_load_n(&cpu->flush_from[w], __ATOMIC_RELAXED))
			continue;
		uint64_t from = __atomic_exchange_n(&cpu->flush_from[w], 0, __ATOMIC_SEQ_CST);
		for (; from; from &= from - 1) {
			struct shootdown *s = &x86_cpus[64 * w + (unsigned)__builtin_ctzll(from)]->shootdown;
			flush_local(cpu, s->aspace, s->start, s->end);
			__atomic_sub_fetch(&s->pending, 1, __ATOMIC_RELEASE);
		}
	}
}

void x86_cpu_serve_requests(void)
{
	struct cpu *cpu = this_cpu();
	if (__atomic_load_n(&cpu->request, __ATOMIC_RELAXED) & REQUEST_FLUSH)
		serve_flush(cpu);
}

// A lazy CPU is only marked stale. False: it is active and must be interrupted.
static bool skip_lazy(struct cpu *target)
{
	uint32_t state = __atomic_load_n(&target->tlb_state, __ATOMIC_ACQUIRE);
	while (state != TLB_ACTIVE)
		if (__atomic_compare_exchange_n(&target->tlb_state, &state, TLB_LAZY_STALE, false, __ATOMIC_SEQ_CST,
						__ATOMIC_ACQUIRE))
			return true;
	return false;
}

static void ask(struct cpu *cpu, struct cpu *target)
{
	__atomic_add_fetch(&cpu->shootdown.pending, 1, __ATOMIC_RELAXED);
	__atomic_fetch_or(&target->flush_from[cpu->index / 64], UINT64_C(1) << cpu->index % 64, __ATOMIC_SEQ_CST);
	if (!(__atomic_fetch_or(&target->request, REQUEST_FLUSH, __ATOMIC_SEQ_CST) & REQUEST_FLUSH))
		x86_apic_send(target->apic_id, VECTOR_REQUEST);
}

void x86_tlb_flush(struct port_aspace *as, uint64_t start, uint64_t end)
{
	struct cpu *cpu = this_cpu();
	bool described = false;
	for (unsigned w = 0; w < array_count(as->cpus); w++) {
		uint64_t others = __atomic_load_n(&as->cpus[w], __ATOMIC_SEQ_CST);
		if (cpu->index / 64 == w)
			others &= ~(UINT64_C(1) << cpu->index % 64);
		for (; others; others &= others - 1) {
			struct cpu *target = x86_cpus[64 * w + (unsigned)__builtin_ctzll(others)];
			if (skip_lazy(target))
				continue;
			if (!described) {
				cpu->shootdown.aspace = as;
				cpu->shootdown.start = start;
				cpu->shootdown.end = end;
				described = true;
			}
			ask(cpu, target);
		}
	}
	flush_local(cpu, as, start, end);
	while (described && __atomic_load_n(&cpu->shootdown.pending, __ATOMIC_ACQUIRE))
		port_cpu_relax();
}
