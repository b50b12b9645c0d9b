// SPDX-License-Identifier: Apache-2.0
// Host threads for the unit tests of kernel/sched, behind a face without libc types: its headers and the kernel's do not mix.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct host_thread;
struct host_thread *host_thread_start(void (*fn)(void *), void *arg);
void host_thread_join(struct host_thread *t);
// What a parked task sleeps on: waits until *state is not `seen`.
void host_sleep_while(uint32_t *state, uint32_t seen);
void host_wake_all(void); // after a change of any state
void host_yield(void);
