// SPDX-License-Identifier: Apache-2.0
// The scheduler: per-CPU run queues, fair by virtual run time with nice weights, real-time classes above. Owner: kernel/sched/.
//
// Where the port schedules (PORT_SCHEDULES_TASKS) nothing is ever queued: a started task is a host thread, which runs, parks and
// ends by itself. Policies and nice values are only recorded there, and a run queue is nothing but the lock of its tasks'
// scheduling entities (sched_entity.cpu stays what it was at first).
//
// Lock order: waitq.lock -> run queue lock (two run queues: lower CPU first).
#pragma once

#include "kernel/spinlock.h"
#include "lib/bitmap.h"
#include "lib/list.h"
#include "lib/rbtree.h"
#include "port/host.h"

struct process;
struct task;

#define SCHED_CPUS_MAX 256u // limit of the affinity masks, not of per-CPU data
struct cpu_mask {
	uint64_t bits[BITMAP_WORDS(SCHED_CPUS_MAX)];
};

enum sched_state {      // sched_entity.state
	SCHED_RUNNABLE, // on a run queue or running
	SCHED_PARKING,  // task_prepare_park() was called, still running
	SCHED_PARKED,   // off the run queue; set under the run queue's lock
	SCHED_DEAD,     // never runs again
	SCHED_ASLEEP,   // waits in a call of port/host.h: see sched_sleep_begin()
};

struct sched_entity {
	// Park state. Whoever moves `state` from PARKED to RUNNABLE must queue the task, and alone may change `cpu` until it did.
	uint32_t state;     // atomic, enum sched_state
	uint32_t park_mode; // enum park_mode; own task
	uint32_t cpu;       // run queue it is on, or ran on last; lock of that run queue
	// The run queue's lock guards the rest, unless noted.
	bool on_queue;       // waits in a run queue's tree or list
	bool running;        // a CPU executes it or has not yet saved its registers; cleared with release order
	bool migrate;        // to be queued on another CPU once its registers are saved
	bool is_idle;        // a CPU's idle task
	uint8_t policy;      // SCHED_OTHER, SCHED_BATCH, SCHED_IDLE, SCHED_FIFO, SCHED_RR
	int8_t nice;         // -20..19
	uint8_t rt_priority; // 1..99 for FIFO and RR
	uint8_t boost;       // the highest priority of those who wait for its locks (futex_pi.c); 0: none
	bool reset_on_fork;
	bool owns_pi;                    // somebody has waited for it in futex_pi.c; atomic, never cleared
	uint16_t io_priority;            // ioprio_set(2), kept for ioprio_get
	uint32_t weight, inverse_weight; // of nice and policy: share of the CPU, and 2^32 / weight
	uint32_t average_run_ns;         // moving average of how long it runs between two parks
	struct rb_node node;             // fair queue
	struct list rt_node;             // real-time queue
	uint64_t vruntime_ns, slice_start_ns, run_start_ns;
	uint64_t queued_ns;                    // when it was queued, by the queue's clock (its last switch or tick)
	uint64_t cpu_time_ns;                  // total, up to run_start_ns
	uint64_t user_time_ns, system_time_ns; // split of cpu_time_ns as of the last sched_task_times()
	uint32_t user_ticks, system_ticks;     // samples since then
	uint32_t user_share;                   // of 256, at the last time there were samples
	uint64_t timer_seen_ns;                // cpu_time_ns when CPU-time timers were last charged; own CPU
	uint64_t voluntary_switches, involuntary_switches;
	struct cpu_mask affinity;
	// With PORT_SCHEDULES_TASKS (cputime.c): times_lock guards these, unless noted, and the times above.
	struct spinlock times_lock;
	uint64_t earlier_ns;   // CPU time of host threads the task was before its present one
	uint64_t thread_ns;    // of the present one, when last asked
	uint32_t last_cpu;     // seen on at that time; atomic
	bool affinity_changed; // by another task: to be passed on before user mode; atomic
	bool sample_wanted;    // somebody looks at its times: note them at the next park; atomic
	bool times_final;      // it is about to end, its times stand; own task
};

void sched_init(void);           // boot CPU; the calling context becomes its idle task. Needs port_cpu_count() only
_Noreturn void sched_idle(void); // the rest of the idle task
// Entity of a new task. parent: whose policy, nice value and affinity it inherits; NULL: the defaults.
void sched_task_init(struct task *t, const struct task *parent);
// Makes a new task runnable. Takes the scheduler's own reference, which is put after the task's last switch.
void sched_start(struct task *t);
// The same for a thread of the current process whose host thread was not made yet (PORT_HOST). -EAGAIN, -ENOMEM: it does not run.
int sched_start_thread(struct task *t);
void sched_yield_current(void);
void sched_reschedule(void);    // lets others run if they should; from user return and preempt points
void sched_preempt_point(void); // in long kernel loops, no spinlock held: takes interrupts, reschedules when due
_Noreturn void sched_exit_current(void); // last act of a task; its memory goes when it was switched away from
void sched_tick(void);                   // interrupt context: slice accounting
static inline void sched_account_user_enter(void) {}                 // times are sampled, see sched_task_times()
int sched_set_affinity(struct task *t, const struct cpu_mask *mask); // -EINVAL when no CPU is left
// The CPU the caller runs on at this moment, and the one a task was last seen on.
static inline unsigned sched_cpu_now(void) { return PORT_HOST ? port_cpu_now() : port_cpu_index(); }
unsigned sched_task_cpu(struct task *t);
// Around a call of port/host.h that may wait long for something from outside: the task counts as sleeping.
void sched_sleep_begin(void);
void sched_sleep_end(void);
uint64_t sched_task_cpu_time_ns(struct task *t);
// CPU time split into user and system. Their sum is sched_task_cpu_time_ns(). With PORT_SCHEDULES_TASKS exact for threads of the
// current process only; what another process's thread used lately is known to sched_thread_times().
void sched_task_times(struct task *t, uint64_t *user_ns, uint64_t *system_ns);
void sched_thread_times(struct task *t, uint64_t *user_ns, uint64_t *system_ns); // any process's; no spinlock held
// The same as far as known, without asking anybody: for sums under a lock.
void sched_known_times(struct task *t, uint64_t *user_ns, uint64_t *system_ns);
void sched_note_times(struct process *p); // before that: asks, when it is the current process
// The current task exits: what it has used by now is what it will have used. Task context.
void sched_exit_times(void);
void sched_add_dead(struct task *t); // and now counts among the cell's dead; tasklist_lock held
// CPU time of a process as its threads' sums say, corrected by what is known of it as a whole, never less than it was before.
// sighand->lock of the process held.
void sched_process_times(struct process *p, uint64_t *user_ns, uint64_t *system_ns);
// The current task, which ran in another process's memory (process.borrows_mm), is about to get its own.
void sched_exec_times(void);
// A bit of t->work was set: wakes t when it is parked interruptibly or killably, takes it out of user mode when it runs on
// another CPU. Any context.
void sched_kick_task(struct task *t);
// -EINVAL: no such policy or priority. Rights are the caller's business.
int sched_set_policy(struct task *t, int policy, int rt_priority);
// The real-time priority it runs with, 0: none; and the part of it that others lend it.
static inline unsigned sched_rt_rank(const struct sched_entity *s)
{
	return s->rt_priority > s->boost ? s->rt_priority : s->boost;
}
void sched_boost(struct task *t, unsigned rt_priority); // any context
void sched_set_nice(struct task *t, int nice);
int io_priority_check(int priority); // may the current task ask for it? 0, -EINVAL, -EPERM. ioprio_set(2)
// A kernel task, started; err_ptr. It ends when fn returns; the pointer is good until then and no reference.
struct task *kernel_task_create(const char *name, void (*fn)(void *), void *arg);
struct sched_cpu_stats {
	uint64_t user_ns, nice_ns, system_ns, idle_ns, switches;
};
// With PORT_SCHEDULES_TASKS the cell's times, spread evenly: which CPU a thread ran on is not known.
void sched_cpu_stats_get(unsigned cpu, struct sched_cpu_stats *out);
void sched_load_average(uint64_t out[3]); // fixed point, 16 bits of fraction
unsigned sched_runnable_count(void);
