// SPDX-License-Identifier: Apache-2.0
// The inline part of the port contract, on a host thread: GS points at the running task's struct port_task
// (port/hosted/task.h) while the kernel runs.
#pragma once

#include <stdint.h>

#define PORT_SCHEDULES_TASKS 1
#define PORT_DEMAND_PAGING   0
#define PORT_HOST            1

struct task;

// Fixed offsets into struct port_task, asserted in port/hosted/task.h.
#define HOSTED_CURRENT_OFFSET 0
#define HOSTED_SLOT_OFFSET    8

// A host thread is one task for all its life: the compiler may keep the value.
static inline struct task *port_current(void)
{
	struct task *t;
	__asm__("movq %%gs:%c1, %0" : "=r"(t) : "i"(HOSTED_CURRENT_OFFSET));
	return t;
}

// Not the CPU, which can change at any time, but the task's share of per-CPU data: where it was made, spread evenly.
static inline unsigned port_cpu_index(void)
{
	unsigned slot;
	__asm__ volatile("movl %%gs:%c1, %0" : "=r"(slot) : "i"(HOSTED_SLOT_OFFSET));
	return slot;
}

static inline void port_cpu_relax(void) { __asm__ volatile("pause" : : : "memory"); }
