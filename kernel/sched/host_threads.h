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
void host_sleep_ms(unsigned ms);
// Futexes of the host. A deadline is of its monotonic clock; UINT64_MAX: none. Return early when the thread is kicked.
void host_futex_wait(uint32_t *word, uint32_t seen, uint64_t deadline_ns);
void host_futex_wake(uint32_t *word);
// Kicks: a signal that interrupts what the thread waits in. A thread that waits for one in host_wait_kicked() first looks at
// *work, in such a way that no kick after a change of it is lost.
struct host_self;
struct host_self *host_thread_self(void); // of the calling thread; before it can be kicked
void host_kick(struct host_self *s);
void host_wait_kicked(const uint32_t *work);
