// SPDX-License-Identifier: Apache-2.0
// The CPUs of this machine, as port/amd64 describes them by CPUID. Their places follow from their APIC identifiers.
#include "amd64/features.h"
#include "cpu.h"

static struct amd64_cpus cpus(void)
{
	return (struct amd64_cpus){ &x86_features.common, x86_cpu_count, port_tsc_hz() };
}

static uint32_t identifier(unsigned index)
{
	const struct cpu *cpu = x86_cpus[index < x86_cpu_count ? index : 0];
	return cpu->online ? cpu->apic_id : index;
}

void port_cpu_topology(unsigned index, struct port_cpu_topology *out)
{
	struct amd64_cpus c = cpus();
	amd64_topology(&c, identifier(index), out);
}

unsigned port_cpu_caches(struct port_cpu_cache *out, unsigned max)
{
	struct amd64_cpus c = cpus();
	return amd64_caches(&c, out, max);
}

int port_cpuinfo(unsigned index, char *buffer, size_t size)
{
	struct amd64_cpus c = cpus();
	struct port_cpu_topology place;
	port_cpu_topology(index, &place);
	return amd64_cpuinfo(&c, index, identifier(index), &place, buffer, size);
}

uint64_t port_hwcap(void) { return amd64_hwcap(); }
uint64_t port_hwcap2(void) { return amd64_hwcap2(&x86_features.common); }
