// SPDX-License-Identifier: Apache-2.0
// The inline part of the port contract, on x86: GS points at this CPU's struct cpu (port/x86/cpu.h).
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#define PORT_SCHEDULES_TASKS 0
#define PORT_DEMAND_PAGING   1
#define PORT_HOST            0

struct task;

// Fixed offsets into struct cpu, asserted in port/x86/cpu.h.
#define X86_CPU_CURRENT_OFFSET 0
#define X86_CPU_INDEX_OFFSET   8
#define X86_CPU_REQUEST_OFFSET 12

// The current task cannot change under a running function except across a switch, after which the same task
// runs again: hence neither volatile nor a memory clobber, the compiler may keep the value.
static inline struct task *port_current(void)
{
	struct task *t;
	__asm__("movq %%gs:%c1, %0" : "=r"(t) : "i"(X86_CPU_CURRENT_OFFSET));
	return t;
}

static inline unsigned port_cpu_index(void)
{
	unsigned cpu;
	__asm__ volatile("movl %%gs:%c1, %0" : "=r"(cpu) : "i"(X86_CPU_INDEX_OFFSET));
	return cpu;
}

void x86_cpu_serve_requests(void);

static inline void port_cpu_relax(void)
{
	uint32_t request;
	__asm__ volatile("pause; movl %%gs:%c1, %0" : "=r"(request) : "i"(X86_CPU_REQUEST_OFFSET) : "memory");
	if (request)
		x86_cpu_serve_requests();
}
