// SPDX-License-Identifier: Apache-2.0
// One-shot kernel timers on per-CPU trees (one tree where the port schedules), and time of day. Owner: kernel/sched/timer.c,
// kernel/sched/clock.c.
#pragma once

#include "kernel/spinlock.h"
#include "lib/rbtree.h"

struct ktimer {
	struct rb_node node;
	uint64_t deadline_ns;             // monotonic
	void (*expire)(struct ktimer *t); // interrupt context: no sleeping; may re-arm
	uint32_t cpu;                     // tree it is on, or was on last; changed under both trees' locks
	uint8_t state;                    // enum ktimer_state
};
enum ktimer_state { KTIMER_IDLE, KTIMER_QUEUED };

void ktimer_init(struct ktimer *t, void (*expire)(struct ktimer *t));
void ktimer_set(struct ktimer *t, uint64_t deadline_ns); // (re)arms
// Disarms. True when it was armed. Does not wait for a running expire().
bool ktimer_cancel(struct ktimer *t);
// The same, and on return expire() is not running: t may be freed. Not from expire() itself. Spins, or sleeps where the port
// schedules.
bool ktimer_cancel_sync(struct ktimer *t);
static inline bool ktimer_armed(const struct ktimer *t)
{
	return __atomic_load_n(&t->state, __ATOMIC_RELAXED) == KTIMER_QUEUED;
}

static inline uint64_t clock_monotonic_ns(void) { return port_time_ns(); }
int64_t clock_realtime_ns(void);
int64_t clock_realtime_offset_ns(void);       // realtime - monotonic
void clock_set_realtime(int64_t realtime_ns); // control channel or clock_settime; wakes TFD_TIMER_CANCEL_ON_SET waiters
// A monotonic deadline that stands for a moment of CLOCK_REALTIME, when the clock's offset is another one than when it was computed. Not 0.
uint64_t clock_deadline_moved(uint64_t deadline_ns, int64_t old_offset_ns, int64_t offset_ns);
// Grows by one with every clock_set_realtime(); the queue is woken then.
uint64_t clock_set_count(void);
struct waitq;
extern struct waitq clock_set_wait;

// Timers of a process. exec: POSIX timers go, interval timers stay. exit: all go, nothing fires afterwards. Task context, no
// spinlock held; the process has one thread left.
struct process;
void process_timers_exec(struct process *p);
void process_timers_exit(struct process *p);
void process_timers_limit(struct process *p); // RLIMIT_CPU was changed
