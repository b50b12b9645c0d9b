// SPDX-License-Identifier: Apache-2.0
// What the CPUs are: the host's, as CPUID tells every program, in one package.
#include "cpu.h"

#include "layout.h"
#include "port/host.h"

struct amd64_features hosted_features;

void hosted_features_init(void)
{
	uint32_t low, high;

	amd64_features_detect(&hosted_features);
	hosted_features.fsgsbase = hosted.flags & HOSTED_FLAG_FSGSBASE;
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	hosted_features.xcr0 = amd64_xstate_choose((uint64_t)high << 32 | low);
	amd64_xstate_detect(&hosted_features);
}

static struct amd64_cpus cpus(void) { return (struct amd64_cpus){ &hosted_features, hosted.cpu_count, port_tsc_hz() }; }

void port_cpu_topology(unsigned cpu, struct port_cpu_topology *out)
{
	struct amd64_cpus c = cpus();
	amd64_topology_flat(&c, cpu, out);
}

unsigned port_cpu_caches(struct port_cpu_cache *out, unsigned max)
{
	struct amd64_cpus c = cpus();
	return amd64_caches(&c, out, max);
}

int port_cpuinfo(unsigned cpu, char *buffer, size_t size)
{
	struct amd64_cpus c = cpus();
	struct port_cpu_topology place;

	amd64_topology_flat(&c, cpu, &place);
	return amd64_cpuinfo(&c, cpu, cpu, &place, buffer, size);
}

uint64_t port_hwcap(void) { return amd64_hwcap(); } // what C libraries give for the host's is another word
uint64_t port_hwcap2(void) { return hosted.hwcap2; }
