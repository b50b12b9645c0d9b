// SPDX-License-Identifier: Apache-2.0
// What the CPUs are: the host's, as far as CPUID tells every program.
#include "layout.h"
#include "lib/fmt.h"
#include "port/port.h"

int port_cpuinfo(unsigned cpu, char *buffer, size_t size)
{
	return fmt_print(buffer, size, "processor\t: %u\n\n", cpu);
}
void port_cpu_topology(unsigned cpu, struct port_cpu_topology *out)
{
	*out = (struct port_cpu_topology){ .core_id = cpu, .threads_per_core = 1, .cores_per_package = hosted.cpu_count };
}
unsigned port_cpu_caches(struct port_cpu_cache *out, unsigned max) { return (void)out, (void)max, 0; }
uint64_t port_hwcap(void) { return hosted.hwcap; }
uint64_t port_hwcap2(void) { return hosted.hwcap2; }
