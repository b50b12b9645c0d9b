// SPDX-License-Identifier: Apache-2.0
// Times as programs write them, and clocks by number. Owner: kernel/sched/timespec.c, cpuclock.c. clock_gettime(2).
#pragma once

#include <linux/time.h>
#include <linux/time_types.h>

#include "kernel/types.h"
#include "kernel/waitq.h"

#define TIME_NS_MAX INT64_MAX // times beyond are cut to this: 292 years

// 0, -EFAULT, or -EINVAL for negative seconds or nanoseconds out of range.
int must_check timespec_from_user(uint64_t *ns, struct uptr from);
int must_check timeval_from_user(uint64_t *ns, struct uptr from);
int must_check timespec_to_user(struct uptr to, uint64_t ns);
int must_check timeval_to_user(struct uptr to, uint64_t ns);
// Checked conversion of one already copied: -EINVAL.
int must_check timespec_to_ns(const struct __kernel_timespec *t, uint64_t *ns);
static inline struct __kernel_timespec timespec_of_ns(uint64_t ns)
{
	return (struct __kernel_timespec){ .tv_sec = (int64_t)(ns / NSEC_PER_SEC),
					   .tv_nsec = (int64_t)(ns % NSEC_PER_SEC) };
}

// Monotonic deadline `ns` from now; PARK_FOREVER when that is beyond all times.
static inline uint64_t deadline_after(uint64_t ns) { return ns >= TIME_NS_MAX ? PARK_FOREVER : port_time_ns() + ns; }
// A relative timeout in the program's memory (NULL: none) as a monotonic deadline.
int must_check deadline_from_user(uint64_t *deadline_ns, struct uptr timeout);
// How much is left until the deadline, at least 0.
uint64_t deadline_left(uint64_t deadline_ns);

// Reads any clock a program can name, CPU-time clocks of processes and threads included. -EINVAL.
int must_check clock_read(int clock, uint64_t *ns);
// Is it a clock that follows the time of day?
bool clock_is_realtime(int clock);
bool clock_is_cpu_time(int clock);
// A wall clock one may sleep or set timers on.
bool clock_is_wall(int clock);

// CPU time of a process, dead threads included.
struct process;
uint64_t process_cpu_time_ns(struct process *p);
