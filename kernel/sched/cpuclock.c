// SPDX-License-Identifier: Apache-2.0
// CPU time: of tasks and processes, split into user and system, of CPUs; load average; and clocks by number.
//
// What a task used in all is exact (charged at every switch). How it splits is sampled at ticks, as in Linux without
// per-entry accounting: reading the clock at each kernel entry would cost more than a short system call. Where the port
// schedules, see cputime.c.

#include "kernel/errno.h"
#include "kernel/timespec.h"

#include "internal.h"

// ---- tasks and processes ----

static uint64_t cpu_time_locked(struct task *t)
{
	uint64_t ns = t->sched.cpu_time_ns, now;

	if (t->sched.running && t->sched.state != SCHED_PARKED) {
		now = port_time_ns();
		if (now > t->sched.run_start_ns)
			ns += now - t->sched.run_start_ns;
	}
	return ns;
}

uint64_t sched_task_cpu_time_ns(struct task *t)
{
	struct run_queue *q;
	uint64_t ns;

	if (PORT_SCHEDULES_TASKS)
		return cputime_task_total_ns(t);
	q = run_queue_lock_of(t);
	ns = cpu_time_locked(t);
	spin_unlock(&q->lock);
	return ns;
}

void sched_task_times(struct task *t, uint64_t *user_ns, uint64_t *system_ns)
{
	struct sched_entity *s = &t->sched;
	uint64_t total, seen, user;
	uint32_t ticks;
	struct run_queue *q;

	if (PORT_SCHEDULES_TASKS) {
		cputime_task_get(t, user_ns, system_ns);
		return;
	}
	q = run_queue_lock_of(t);
	total = cpu_time_locked(t);
	seen = s->user_time_ns + s->system_time_ns;
	ticks = s->user_ticks + s->system_ticks;
	if (ticks)
		s->user_share = (uint32_t)((uint64_t)s->user_ticks * 256 / ticks);
	s->user_ticks = s->system_ticks = 0;
	if (total > seen) {
		user = ((total - seen) >> 8) * s->user_share;
		s->user_time_ns += user;
		s->system_time_ns += total - seen - user;
	}
	*user_ns = s->user_time_ns;
	*system_ns = s->system_time_ns;
	spin_unlock(&q->lock);
}

uint64_t process_cpu_time_ns(struct process *p)
{
	uint64_t ns = 0;
	struct task *t;

	if (PORT_SCHEDULES_TASKS)
		return cputime_process_total_ns(p);
	spin_lock(&tasklist_lock);
	list_for_each (t, &p->threads, thread_node)
		ns += sched_task_cpu_time_ns(t);
	ns += p->dead_user_ns + p->dead_system_ns;
	spin_unlock(&tasklist_lock);
	return ns;
}

// ---- CPUs ----

static void spread_evenly(struct sched_cpu_stats *out)
{
	unsigned count = port_cpu_count();

	cputime_cell_get(out);
	out->user_ns /= count;
	out->system_ns /= count;
	out->idle_ns /= count;
	out->switches = (out->switches + count) / count; // rounded up: there was one to what runs now
}

void sched_cpu_stats_get(unsigned cpu, struct sched_cpu_stats *out)
{
	struct run_queue *q = cpu < SCHED_CPUS_MAX ? run_queues[cpu] : NULL;
	uint64_t now, busy, ticks;

	*out = (struct sched_cpu_stats){ 0 };
	if (!q)
		return;
	if (PORT_SCHEDULES_TASKS) {
		spread_evenly(out);
		return;
	}
	spin_lock(&q->lock);
	now = port_time_ns();
	out->idle_ns = q->idle_ns;
	if (q->running == q->idle && now > q->idle->sched.run_start_ns)
		out->idle_ns += now - q->idle->sched.run_start_ns;
	out->switches = q->switches;
	busy = now > out->idle_ns ? now - out->idle_ns : 0;
	ticks = (uint64_t)q->user_ticks + q->nice_ticks + q->system_ticks;
	if (ticks) {
		out->user_ns = busy / ticks * q->user_ticks;
		out->nice_ns = busy / ticks * q->nice_ticks;
	}
	out->system_ns = busy - out->user_ns - out->nice_ns;
	spin_unlock(&q->lock);
}

static unsigned count_awake(void)
{
	unsigned count = 0;
	struct process *p;
	struct task *t;

	spin_lock(&tasklist_lock);
	list_for_each (p, &process_list, node)
		list_for_each (t, &p->threads, thread_node)
			if (!t->dead && __atomic_load_n(&t->sched.state, __ATOMIC_RELAXED) == SCHED_RUNNABLE)
				count++;
	spin_unlock(&tasklist_lock);
	return count;
}

unsigned sched_runnable_count(void)
{
	unsigned cpu, count = 0;

	if (PORT_SCHEDULES_TASKS)
		return count_awake();
	for (cpu = 0; cpu < port_cpu_count(); cpu++) {
		struct run_queue *q = run_queues[cpu];

		if (q)
			count += __atomic_load_n(&q->queued, __ATOMIC_RELAXED) +
				 (__atomic_load_n(&q->running, __ATOMIC_RELAXED) != q->idle);
	}
	return count;
}

// ---- load average: exponentially damped over 1, 5 and 15 minutes, sampled every 5 s (uptime(1)) ----

#define LOAD_PERIOD_NS (5 * NSEC_PER_SEC)

static struct spinlock load_lock = SPINLOCK_INIT;
static uint64_t load[3], load_next_ns = LOAD_PERIOD_NS; // load_next_ns: read racily
static struct ktimer load_timer;                        // where the port schedules
bool load_average_sampled = !PORT_SCHEDULES_TASKS;

// Catches up by whole periods: an idle cell has no ticks. What runs now stands for the time slept through, which is short
// of activity by definition.
void load_average_update(uint64_t now)
{
	static const uint32_t keep[3] = { 60296, 64453, 65173 }; // e^(-5/60), e^(-5/300), e^(-5/900), of 65536
	uint64_t active;
	unsigned i, periods;

	if (now < __atomic_load_n(&load_next_ns, __ATOMIC_RELAXED))
		return;
	active = (uint64_t)sched_runnable_count() << 16;
	if (!spin_try_lock(&load_lock))
		return;
	for (periods = 0; load_next_ns <= now && periods < 1000; periods++) {
		// The last period has the present activity, the skipped ones had none.
		uint64_t sample = load_next_ns + LOAD_PERIOD_NS > now ? active : 0;

		for (i = 0; i < 3; i++)
			load[i] = (load[i] * keep[i] + sample * (65536 - keep[i])) >> 16;
		__atomic_store_n(&load_next_ns, load_next_ns + LOAD_PERIOD_NS, __ATOMIC_RELAXED);
	}
	if (load_next_ns <= now)
		__atomic_store_n(&load_next_ns, now + LOAD_PERIOD_NS, __ATOMIC_RELAXED);
	spin_unlock(&load_lock);
}

// Without ticks a timer samples, as long as something runs.
static void load_sample(struct ktimer *t)
{
	load_average_update(port_time_ns());
	if (sched_runnable_count())
		ktimer_set(t, __atomic_load_n(&load_next_ns, __ATOMIC_RELAXED));
	else
		__atomic_store_n(&load_average_sampled, false, __ATOMIC_RELAXED);
}

void load_average_start(void)
{
	if (__atomic_exchange_n(&load_average_sampled, true, __ATOMIC_ACQUIRE))
		return;
	load_average_update(port_time_ns()); // what was slept through
	ktimer_init(&load_timer, load_sample);
	ktimer_set(&load_timer, __atomic_load_n(&load_next_ns, __ATOMIC_RELAXED));
}

void sched_load_average(uint64_t out[3])
{
	unsigned i;

	load_average_update(port_time_ns());
	spin_lock(&load_lock);
	for (i = 0; i < 3; i++)
		out[i] = load[i];
	spin_unlock(&load_lock);
}

// ---- clocks by number ----

#define CPU_CLOCK_THREAD 4 // bit of a negative clock number: of a thread, not a process
#define CPU_CLOCK_KIND   3 // 0 prof (user + system), 1 virtual (user), 2 scheduler's (exact); 3: a descriptor

bool clock_is_realtime(int clock)
{
	return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_ALARM || clock == CLOCK_TAI;
}

bool clock_is_wall(int clock)
{
	return clock_is_realtime(clock) || clock == CLOCK_MONOTONIC || clock == CLOCK_BOOTTIME ||
	       clock == CLOCK_BOOTTIME_ALARM;
}

bool clock_is_cpu_time(int clock)
{
	return clock == CLOCK_PROCESS_CPUTIME_ID || clock == CLOCK_THREAD_CPUTIME_ID ||
	       (clock < 0 && (clock & CPU_CLOCK_KIND) != 3);
}

int cpu_clock_decode(int clock, pid_t *whose)
{
	bool thread = clock == CLOCK_THREAD_CPUTIME_ID || (clock < 0 && clock & CPU_CLOCK_THREAD);

	if (!clock_is_cpu_time(clock) || (clock < 0 && (clock & CPU_CLOCK_KIND) == 1))
		return -EOPNOTSUPP;
	*whose = clock < 0 ? ~(clock >> 3) : 0;
	if (!*whose)
		*whose = pid_shown(thread ? current->tid : current->process->pid);
	return thread ? CLOCK_THREAD_CPUTIME_ID : CLOCK_PROCESS_CPUTIME_ID;
}

static uint64_t by_kind(int kind, uint64_t user, uint64_t system) { return kind == 1 ? user : user + system; }

static int read_thread_clock(pid_t tid, int kind, uint64_t *ns)
{
	struct task *t = tid ? task_find(pid_meant(tid)) : current;
	uint64_t user, system;

	if (!t)
		return -EINVAL;
	if (t->process != current->process) {
		task_put(t);
		return -EINVAL;
	}
	sched_task_times(t, &user, &system);
	*ns = by_kind(kind, user, system);
	if (tid)
		task_put(t);
	return 0;
}

static int read_process_clock(pid_t pid, int kind, uint64_t *ns)
{
	struct process *p = pid ? process_find(pid_meant(pid)) : current->process;
	struct process_usage u;

	if (!p)
		return -EINVAL;
	if (kind == 1) {
		process_usage_get(p, &u);
		*ns = u.user_ns;
	} else {
		*ns = process_cpu_time_ns(p);
	}
	if (pid)
		process_put(p);
	return 0;
}

int clock_read(int clock, uint64_t *ns)
{
	switch (clock) {
	case CLOCK_MONOTONIC:
	case CLOCK_MONOTONIC_RAW:
	case CLOCK_MONOTONIC_COARSE:
	case CLOCK_BOOTTIME:
	case CLOCK_BOOTTIME_ALARM: *ns = port_time_ns(); return 0;
	case CLOCK_REALTIME:
	case CLOCK_REALTIME_COARSE:
	case CLOCK_REALTIME_ALARM:
	case CLOCK_TAI: *ns = (uint64_t)clock_realtime_ns(); return 0;
	case CLOCK_PROCESS_CPUTIME_ID: *ns = process_cpu_time_ns(current->process); return 0;
	case CLOCK_THREAD_CPUTIME_ID: *ns = sched_task_cpu_time_ns(current); return 0;
	}
	if (!clock_is_cpu_time(clock))
		return -EINVAL;
	return clock & CPU_CLOCK_THREAD ? read_thread_clock(~(clock >> 3), clock & CPU_CLOCK_KIND, ns)
					: read_process_clock(~(clock >> 3), clock & CPU_CLOCK_KIND, ns);
}
