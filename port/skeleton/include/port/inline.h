// SPDX-License-Identifier: Apache-2.0
// The inline part of the port contract, as stubs: one CPU, no task. Compiled, never run.
#pragma once

#include <stddef.h>

#define PORT_SCHEDULES_TASKS 1
#define PORT_DEMAND_PAGING   0
#define PORT_HOST            1

struct task;

extern struct task *skeleton_current; // port.c; unknown to the compiler, so that it does not reason about NULL
static inline struct task *port_current(void) { return skeleton_current; }
static inline unsigned port_cpu_index(void) { return 0; }
static inline void port_cpu_relax(void) {}
