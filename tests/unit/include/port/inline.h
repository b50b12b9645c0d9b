// SPDX-License-Identifier: Apache-2.0
// The inline part of the port contract for unit tests on the host: a test sets the fake current task and CPU itself.
#pragma once

#include <stddef.h>

// A test of the other kind of port is compiled with -DPORT_HOST=1.
#ifndef PORT_HOST
#define PORT_HOST 0
#endif
#define PORT_SCHEDULES_TASKS PORT_HOST
#define PORT_DEMAND_PAGING   !PORT_HOST

struct task;

// A test file that needs them defines them once each by including "port/fake.h".
extern _Thread_local struct task *fake_current;
extern _Thread_local unsigned fake_cpu;

static inline struct task *port_current(void) { return fake_current; }
static inline unsigned port_cpu_index(void) { return fake_cpu; }
static inline void port_cpu_relax(void) {}
