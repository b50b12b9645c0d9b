// SPDX-License-Identifier: Apache-2.0
// Timers and limits on CPU time where there are no ticks (PORT_SCHEDULES_TASKS): ITIMER_VIRTUAL, ITIMER_PROF, POSIX timers on
// CPU time, RLIMIT_CPU.
//
// While a process has one of them, and only then, a kernel timer looks at its clocks at the earliest moment something can be due:
// CPU time passes at most as fast as all its threads can run at once. Clocks of other processes lag by a tick of the host, so a look may
// come in vain and is repeated, not more often than every millisecond and less and less often while the process uses no time.
// When all its threads sleep there is no timer either: each of them is told to look before it runs in user mode again
// (sched_nudge()). Timers on one thread's time are looked at by that thread.
//
// Lock order: process.lock -> timer tree lock. The clocks are read, and signals sent, with neither.

#include "kernel/task.h"
#include "kernel/timespec.h"

#include "internal.h"

#define SHORTEST_NS     NSEC_PER_MSEC
#define VAIN_ROUNDS_MAX 6u // the shortest wait doubles that often

static bool is_limited(const struct process *p) { return p->rlimits[RLIMIT_CPU].rlim_cur != RLIM64_INFINITY; }

// Racy; whoever makes it true calls cputimer_changed() afterwards.
static bool is_wanted(const struct process *p)
{
	return (p->virtual_left_ns | p->prof_left_ns | p->cpu_timers) || is_limited(p);
}

// CPU time the process may use before something of it as a whole is due. process.lock held.
static uint64_t process_left(const struct process *p, uint64_t used)
{
	const struct rlimit64 *l = &p->rlimits[RLIMIT_CPU];
	uint64_t left = SCHED_NEVER, limit = min(l->rlim_cur, l->rlim_max);

	if (p->virtual_left_ns)
		left = min(left, p->virtual_left_ns);
	if (p->prof_left_ns)
		left = min(left, p->prof_left_ns);
	if (limit < UINT64_MAX / NSEC_PER_SEC)
		left = min(left, limit * NSEC_PER_SEC > used ? limit * NSEC_PER_SEC - used : 0);
	return left;
}

// How long `left` takes at least, when so many threads run.
static uint64_t soonest(const struct process *p, uint64_t left, unsigned threads)
{
	unsigned parallel = min(max(threads, 1u), port_cpu_count());

	return max(left / parallel, (uint64_t)SHORTEST_NS << p->cpu_timer_rounds);
}

static void look_expired(struct ktimer *t);

// Sets the timer for the next look; `used`: the process's CPU time now.
static void arm(struct process *p, uint64_t used)
{
	uint64_t left, posix, thread, wait = SCHED_NEVER;

	spin_lock(&p->lock);
	left = process_left(p, used);
	posix_cpu_timers_left(p, used, &posix, &thread);
	left = min(left, posix);
	if (left != SCHED_NEVER)
		wait = soonest(p, left, p->live_count);
	if (thread != SCHED_NEVER)
		wait = min(wait, soonest(p, thread, 1));
	if (!p->cpu_timer.expire)
		ktimer_init(&p->cpu_timer, look_expired);
	if (wait == SCHED_NEVER || p->timers_gone)
		ktimer_cancel(&p->cpu_timer);
	else
		ktimer_set(&p->cpu_timer, deadline_after(min(wait, (uint64_t)TIME_NS_MAX - 1)));
	spin_unlock(&p->lock);
}

// Counts what was used since the last time and sends what is due; the process's CPU time. look: the timer asks.
static uint64_t count(struct process *p, bool look)
{
	struct process_usage u;
	uint64_t used, user_passed, passed;

	process_usage_get(p, &u);
	used = u.user_ns + u.system_ns;
	spin_lock(&p->lock);
	user_passed = u.user_ns - min(u.user_ns, p->cpu_timer_user_ns); // two looks at once may come in the wrong order
	passed = used - min(used, p->cpu_timer_total_ns);
	p->cpu_timer_user_ns += user_passed;
	p->cpu_timer_total_ns += passed;
	if (passed || !look)
		p->cpu_timer_rounds = 0;
	else if (p->cpu_timer_rounds < VAIN_ROUNDS_MAX)
		p->cpu_timer_rounds++;
	spin_unlock(&p->lock);
	cputimer_charge_process(p, user_passed, passed, used);
	return used;
}

bool cputimer_sleeps(const struct task *t)
{
	uint32_t state = __atomic_load_n(&t->sched.state, __ATOMIC_SEQ_CST);

	return t->dead || state == SCHED_PARKED || state == SCHED_ASLEEP;
}

// With nudge: and if so, they look when they run again. That comes first: who is seen asleep afterwards sees it.
static bool all_sleep(struct process *p, bool nudge)
{
	bool all = true;
	struct task *t;

	spin_lock(&tasklist_lock);
	list_for_each (t, &p->threads, thread_node) {
		if (nudge)
			task_work_set(t, WORK_RESCHEDULE);
		if (!cputimer_sleeps(t))
			all = false;
	}
	spin_unlock(&tasklist_lock);
	return all;
}

static void look_expired(struct ktimer *t)
{
	struct process *p = container_of(t, struct process, cpu_timer);
	uint64_t used = count(p, true);

	if (p->cpu_timers)
		posix_cpu_timers_nudge(p);
	if (!all_sleep(p, false) || !all_sleep(p, true))
		arm(p, used);
}

void cputimer_check_current(void)
{
	struct process *p = current->process;

	if (is_wanted(p))
		arm(p, count(p, false));
}

void cputimer_changed(struct process *p) { arm(p, count(p, false)); }

void cputimer_task_starts(struct process *p)
{
	if (unlikely(is_wanted(p))) // it has a limit from its parent, or uses its time faster from now on
		cputimer_changed(p);
}

void cputimer_exit(struct process *p)
{
	spin_lock(&p->lock);
	p->timers_gone = true;
	spin_unlock(&p->lock);
	if (p->cpu_timer.expire)
		ktimer_cancel_sync(&p->cpu_timer);
}

void process_timers_limit(struct process *p)
{
	if (PORT_SCHEDULES_TASKS)
		cputimer_changed(p);
}
