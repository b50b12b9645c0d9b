// SPDX-License-Identifier: Apache-2.0
// The scheduler: per-CPU run queues, fair by virtual run time with nice weights, real-time classes above. Owner: kernel/sched/.
// Used only where !PORT_SCHEDULES_TASKS does the run-queue part exist; task_park/unpark (waitq.h) work on every port.
//
// Lock order: waitq.lock -> run queue lock (two run queues: lower CPU first).
#pragma once

#include "kernel/spinlock.h"
#include "lib/bitmap.h"
#include "lib/list.h"
#include "lib/rbtree.h"

struct task;

#define SCHED_CPUS_MAX 256u // limit of the affinity masks, not of per-CPU data
struct cpu_mask {
	uint64_t bits[BITMAP_WORDS(SCHED_CPUS_MAX)];
};

enum sched_state { // guarded by sched_entity.lock (park state) unless noted
	SCHED_RUNNABLE, // on a run queue or running
	SCHED_PARKING,  // task_prepare_park() was called, still running
	SCHED_PARKED,   // off the run queue
	SCHED_DEAD,     // never runs again
};

struct sched_entity {
	uint32_t state;       // atomic, enum sched_state
	uint32_t park_mode;   // enum park_mode
	uint32_t cpu;         // run queue it is on, or ran on last
	bool on_queue, running;
	uint8_t policy;       // SCHED_OTHER, SCHED_BATCH, SCHED_IDLE, SCHED_FIFO, SCHED_RR
	int8_t nice;          // -20..19
	uint8_t rt_priority;  // 1..99 for FIFO and RR
	bool reset_on_fork;
	struct rb_node node;  // fair queue
	struct list rt_node;  // real-time queue
	uint64_t vruntime_ns, slice_start_ns, run_start_ns;
	uint64_t cpu_time_ns; // total, user + system
	uint64_t user_time_ns, system_time_ns;
	uint64_t voluntary_switches, involuntary_switches;
	struct cpu_mask affinity;
};

void sched_init(void);           // boot CPU
_Noreturn void sched_idle(void); // the calling context becomes this CPU's idle task
void sched_task_init(struct task *t, const struct task *parent); // entity of a new task
void sched_start(struct task *t); // makes a new task runnable
void sched_yield_current(void);
void sched_reschedule(void);      // lets others run if they should; from user return and preempt points
void sched_preempt_point(void);   // in long kernel loops, no spinlock held: takes interrupts, reschedules when due
_Noreturn void sched_exit_current(void); // last act of a task; its memory goes when it was switched away from
void sched_tick(void);            // interrupt context: slice accounting
void sched_account_user_enter(void); // cheap time split user/system; may be empty
int sched_set_affinity(struct task *t, const struct cpu_mask *mask); // -EINVAL when no CPU is left
uint64_t sched_task_cpu_time_ns(struct task *t);
struct task *kernel_task_create(const char *name, void (*fn)(void *), void *arg); // a kernel task, started; err_ptr
struct sched_cpu_stats { uint64_t user_ns, nice_ns, system_ns, idle_ns, switches; };
void sched_cpu_stats_get(unsigned cpu, struct sched_cpu_stats *out);
void sched_load_average(uint64_t out[3]); // fixed point, 16 bits of fraction
unsigned sched_runnable_count(void);
