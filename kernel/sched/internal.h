// SPDX-License-Identifier: Apache-2.0
// What the files of kernel/sched share among themselves.
#pragma once

#include "kernel/sched.h"
#include "kernel/task.h"
#include "kernel/timer.h"

#define SCHED_SLICE_NS        (3 * NSEC_PER_MSEC)  // of a fair task while others wait
#define SCHED_TICK_ALONE_NS   (10 * NSEC_PER_MSEC) // sampling of a task that has the CPU for itself
#define SCHED_WAKE_GRAIN_NS   NSEC_PER_MSEC        // lead in run time a woken task needs to preempt
#define SCHED_SLEEP_CREDIT_NS (3 * NSEC_PER_MSEC)  // how far behind the others a sleeper may be put
#define SCHED_RR_SLICE_NS     (100 * NSEC_PER_MSEC)
// A waker that usually runs no longer than the first is about to park: see sched_place(). Runs count no more than the second,
// so that the host taking a CPU away now and then does not make a short runner a long one.
#define SCHED_SHORT_RUN_NS    (400 * NSEC_PER_USEC)
#define SCHED_RUN_COUNTED_NS  (600 * NSEC_PER_USEC)
#define SCHED_STEAL_AGE_NS    (300 * NSEC_PER_USEC) // a task queued more recently will run soon where it is
#define SCHED_NEVER           UINT64_MAX

// ---- runqueue.c: one CPU's runnable tasks, without what runs now ----

struct run_queue {
	struct spinlock lock;
	uint32_t cpu;
	uint32_t queued; // tasks in the tree and the list; read racily by others
	uint32_t rt_queued;
	uint32_t kicked;       // atomic: a kick is under way, another is not needed
	bool in_preempt_point; // own CPU: an interrupt now hits the kernel, not the program
	struct task *running;
	struct task *idle;
	struct rb_root fair; // by vruntime_ns
	struct rb_node *fair_first;
	struct list rt;           // by priority, first come first served among equals
	uint64_t min_vruntime_ns; // never goes back; read racily by others
	uint64_t clock_ns;        // when the last switch or tick was
	uint64_t tick_ns;         // when the next tick is due; SCHED_NEVER: none. Own CPU
	uint64_t idle_ns, switches;
	uint32_t user_ticks, nice_ticks, system_ticks; // samples of what ran at ticks
};

void run_queue_init(struct run_queue *q, unsigned cpu, struct task *idle);
void run_queue_add(struct run_queue *q, struct task *t);
// Puts a preempted task back: a real-time one before its equals unless its slice was used up.
void run_queue_put_back(struct run_queue *q, struct task *t, bool slice_used);
void run_queue_remove(struct run_queue *q, struct task *t);
// Takes out the task that is to run next; the idle task when there is none.
struct task *run_queue_pick(struct run_queue *q);
// A task the CPU `to` may take over, removed; NULL: none. While a short runner has the CPU, only one that has waited a while.
struct task *run_queue_steal(struct run_queue *q, unsigned to, uint64_t now);
// Has somebody waited so long that another CPU should have it?
bool run_queue_is_slow(const struct run_queue *q, uint64_t now);
// Charges `t`, which runs here, for the time since run_start_ns.
void run_queue_charge(struct run_queue *q, struct task *t, uint64_t now);
// Should `woken`, just added, take the CPU from what runs?
bool run_queue_preempts(const struct run_queue *q, const struct task *woken);
// Should what runs make room at a tick?
bool run_queue_tick_preempts(const struct run_queue *q, uint64_t now);
// Places a woken or new task's virtual time relative to the queue it is going to; `from` is the one it was on, or NULL.
void run_queue_place(const struct run_queue *q, const struct run_queue *from, struct task *t);

static inline bool sched_is_short_runner(const struct sched_entity *s)
{
	return s->average_run_ns < SCHED_SHORT_RUN_NS;
}
static inline bool sched_is_rt(const struct sched_entity *s) { return sched_rt_rank(s) != 0; }
static inline bool sched_may_run_on(const struct sched_entity *s, unsigned cpu)
{
	return bitmap_test(s->affinity.bits, cpu);
}
void sched_weigh(struct sched_entity *s); // weight from policy and nice
uint64_t sched_weighted_ns(const struct sched_entity *s, uint64_t ns);

// ---- sched.c ----

extern struct run_queue *run_queues[SCHED_CPUS_MAX]; // NULL: not up yet
static inline struct run_queue *run_queue_here(void) { return run_queues[port_cpu_index()]; }
void sched_block(void);                     // the current task, when it is still PARKING
void sched_leave_idle(struct run_queue *q); // the idle task gives way to what is queued
void sched_wake(struct task *t);            // the caller made it RUNNABLE from PARKED
// Where the port schedules: `t` passes sched_reschedule() before it runs in user mode again, soon when it is there now.
void sched_nudge(struct task *t);
struct run_queue *run_queue_lock_of(
	struct task *t); // the queue of t's CPU, locked: t is on that or on none, until it is unlocked
void run_queue_lock_two(struct run_queue *a, struct run_queue *b); // may be the same
void run_queue_unlock_two(struct run_queue *a, struct run_queue *b);

// ---- placement.c ----

unsigned sched_place(struct task *t, bool new); // the CPU for a woken or new task
void sched_note_idle(unsigned cpu, bool idle);
int sched_find_idle(const struct cpu_mask *allowed); // an idle CPU, or -1
void sched_kick_cpu(struct run_queue *q);
bool sched_pull(struct run_queue *q); // idle CPU: takes a waiting task from the fullest other CPU
extern unsigned sched_cpu_count;

// ---- timer.c ----

void timer_init_cpu(unsigned cpu);         // kallocs but for CPU 0; where the port schedules there is only that
void timer_tick_set(uint64_t deadline_ns); // this CPU's scheduler tick

// ---- cpuclock.c ----
// Which of CLOCK_PROCESS_CPUTIME_ID and CLOCK_THREAD_CPUTIME_ID it is, and whose, as the caller's namespace numbers them.
// -EOPNOTSUPP: it is no clock of CPU time, or of that in user mode only.
int cpu_clock_decode(int clock, pid_t *whose);

// ---- posix_timer.c ----

void posix_cpu_timers_check(struct process *p); // interrupt context
// CPU time the process, or one of its threads (*thread_ns), may use before the first armed timer on CPU time is due; SCHED_NEVER.
// A thread that sleeps does not count and looks by itself. process.lock held. `now`: the process's CPU time.
void posix_cpu_timers_left(struct process *p, uint64_t now, uint64_t *process_ns, uint64_t *thread_ns);
// Has the threads that have such a timer look at it themselves, where the port schedules. Any context.
void posix_cpu_timers_nudge(struct process *p);

// ---- itimer.c, cpuclock.c ----

// Interrupt context: the current task ran `ns` since the last tick, in user mode or in the kernel.
void cputimer_charge(struct task *t, uint64_t ns, bool user);
// The process used that much CPU time since the last time, `used_ns` in all: counts down and sends what is due. Any context.
void cputimer_charge_process(struct process *p, uint64_t user_ns, uint64_t total_ns, uint64_t used_ns);
void load_average_update(uint64_t now);
// Where the port schedules the load is sampled by a timer, which stops when nothing runs: something runs again.
extern bool load_average_sampled; // racy
void load_average_start(void);
static inline void load_average_wake(void)
{
	if (unlikely(!load_average_sampled))
		load_average_start();
}

// ---- cputimer.c: where the port schedules and there are no ticks ----

void cputimer_task_starts(struct process *p);
void cputimer_check_current(void);          // in sched_reschedule()
void cputimer_changed(struct process *p);   // a timer or limit was set; process.lock not held
void cputimer_exit(struct process *p);      // nothing is armed any more
bool cputimer_sleeps(const struct task *t); // uses no CPU time

// ---- cputime.c: where the port schedules ----

void cputime_note_current(void); // asks the port
void cputime_task_get(struct task *t, uint64_t *user_ns, uint64_t *system_ns);
uint64_t cputime_task_total_ns(struct task *t);
uint64_t cputime_process_total_ns(struct process *p); // no spinlock held
void cputime_cell_get(struct sched_cpu_stats *out);   // of all CPUs together
