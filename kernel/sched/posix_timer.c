// SPDX-License-Identifier: Apache-2.0
// POSIX per-process timers: timer_create(2) and kin.
//
// A timer owns the queue entry of its signal, so it can never fail to fire for lack of memory and has at most one signal
// pending; expirations meanwhile are counted as overruns. Timers on CPU time are looked at in ticks, or by cputimer.c where there
// are none.
//
// Lifetime: a timer is on its process's list, under process.lock, and has one reference for that and one for every call
// that uses it. The kernel timer's expire() takes process.lock, so deleting stops it first, without the lock.
//
// Lock order: clock_set_wait's -> process.lock -> timer tree lock. Signals are sent without process.lock.

#include "kernel/errno.h"
#include "kernel/slab.h"
#include "kernel/syscalls.h"
#include "kernel/timespec.h"
#include "kernel/uaccess.h"
#include "kernel/waitq.h"

#include "internal.h"

#define TIMERS_PER_PROCESS_MAX 1024u
// Shorter intervals are not slept for one by one; the expirations between are counted.
#define SHORTEST_PERIOD_NS     (100 * (uint64_t)NSEC_PER_USEC)

struct posix_timer {
	struct list node; // process->posix_timers; process.lock guards what follows
	struct refcount refs;
	struct process *process; // not counted: its exit deletes the timer
	struct task *target;     // SIGEV_THREAD_ID, with a reference; else NULL
	struct task *timed; // whose CPU time it is that passes, with a reference; NULL: the process's, or no CPU time
	int id, clock, notify;
	bool deleted, armed;
	uint64_t interval_ns;
	uint64_t deadline_ns;     // on the monotonic clock, or of CPU time
	uint64_t overruns;        // since the signal was last queued
	bool follows_clock;       // the deadline is a moment of CLOCK_REALTIME,
	int64_t offset_ns;        // computed by this offset of it
	struct waiter set_waiter; // on clock_set_wait while that matters
	struct ktimer timer;
	struct sigqueue_entry entry;
};

static void timer_put(struct posix_timer *t)
{
	if (!refcount_put(&t->refs))
		return;
	waitq_remove(&clock_set_wait, &t->set_waiter);
	if (t->target)
		task_put(t->target);
	if (t->timed)
		task_put(t->timed);
	kfree(t);
}

static struct posix_timer *timer_find(int id)
{
	struct process *p = current->process;
	struct posix_timer *t, *found = NULL;

	spin_lock(&p->lock);
	list_for_each (t, &p->posix_timers, node) {
		if (t->id == id) {
			refcount_get(&t->refs);
			found = t;
			break;
		}
	}
	spin_unlock(&p->lock);
	return found;
}

// Any context, no lock held.
static void fire(struct posix_timer *t, uint64_t expirations)
{
	int queued;

	if (t->notify == SIGEV_NONE)
		return;
	queued = signal_send_entry(t->process, t->target, &t->entry);
	if (queued == 0)
		t->overruns = expirations - 1;
	else if (queued == 1)
		t->overruns += expirations;
	t->entry.info.si_overrun = (int)min(t->overruns, (uint64_t)INT32_MAX);
}

// Moves an interval timer past `now`; how often it expired. process.lock held.
static uint64_t advance(struct posix_timer *t, uint64_t now)
{
	uint64_t count = 1;

	if (!t->interval_ns) {
		t->armed = false;
		return 1;
	}
	if (now > t->deadline_ns)
		count += (now - t->deadline_ns) / t->interval_ns;
	t->deadline_ns += count * t->interval_ns;
	return count;
}

static void arm(struct posix_timer *t)
{
	ktimer_set(&t->timer, t->interval_ns && t->interval_ns < SHORTEST_PERIOD_NS
				      ? max(t->deadline_ns, port_time_ns() + SHORTEST_PERIOD_NS)
				      : t->deadline_ns);
}

static void wall_expired(struct ktimer *timer)
{
	struct posix_timer *t = container_of(timer, struct posix_timer, timer);
	struct process *p = t->process;
	uint64_t now = port_time_ns(), count = 0;

	spin_lock(&p->lock);
	if (t->armed && !t->deleted && !ktimer_armed(timer) && t->deadline_ns <= now) {
		count = advance(t, now);
		if (t->armed)
			arm(t);
	}
	spin_unlock(&p->lock);
	if (count)
		fire(t, count);
}

// The clock was set: the deadline stays what it is by that clock.
static bool clock_was_set(struct waiter *w, unsigned events)
{
	struct posix_timer *t = container_of(w, struct posix_timer, set_waiter);
	struct process *p = t->process;
	int64_t offset = clock_realtime_offset_ns();

	(void)events;
	spin_lock(&p->lock);
	if (t->armed && t->follows_clock) {
		t->deadline_ns = clock_deadline_moved(t->deadline_ns, t->offset_ns, offset);
		t->offset_ns = offset;
		arm(t);
	}
	spin_unlock(&p->lock);
	return true;
}

void posix_cpu_timers_check(struct process *p)
{
	uint64_t process_now = process_cpu_time_ns(p), thread_now = sched_task_cpu_time_ns(current);
	struct posix_timer *t, *due;

	do {
		uint64_t count = 0;

		due = NULL;
		spin_lock(&p->lock);
		list_for_each (t, &p->posix_timers, node) {
			uint64_t now = t->timed ? thread_now : process_now;

			if (!t->armed || !clock_is_cpu_time(t->clock) || t->deadline_ns > now)
				continue;
			if (t->timed && t->timed != current)
				continue;
			count = advance(t, now);
			if (!t->armed)
				p->cpu_timers--;
			refcount_get(&t->refs);
			due = t;
			break;
		}
		spin_unlock(&p->lock);
		if (due) {
			fire(due, count);
			if (due->deleted) // meanwhile: the signal must not outlive the timer
				signal_entry_cancel(p, &due->entry);
			timer_put(due);
		}
	} while (due);
}

// Also tells it to look when it runs again; who is seen asleep after that sees it.
static bool timed_sleeps(struct task *t)
{
	if (!cputimer_sleeps(t))
		return false;
	task_work_set(t, WORK_RESCHEDULE);
	return cputimer_sleeps(t);
}

static bool is_armed_on_cpu_time(const struct posix_timer *t) { return t->armed && clock_is_cpu_time(t->clock); }

void posix_cpu_timers_left(struct process *p, uint64_t now, uint64_t *process_ns, uint64_t *thread_ns)
{
	struct posix_timer *t;

	*process_ns = *thread_ns = SCHED_NEVER;
	if (!p->cpu_timers)
		return;
	list_for_each (t, &p->posix_timers, node) {
		uint64_t *least = t->timed ? thread_ns : process_ns, user, system, used = now;

		if (!is_armed_on_cpu_time(t) || (t->timed && timed_sleeps(t->timed)))
			continue;
		if (t->timed) {
			sched_known_times(t->timed, &user, &system);
			used = user + system;
		}
		*least = min(*least, t->deadline_ns > used ? t->deadline_ns - used : 0);
	}
}

void posix_cpu_timers_nudge(struct process *p)
{
	struct posix_timer *t;

	spin_lock(&p->lock);
	list_for_each (t, &p->posix_timers, node)
		if (is_armed_on_cpu_time(t) && t->timed)
			sched_nudge(t->timed);
	spin_unlock(&p->lock);
}

// ---- system calls ----

// One of the caller's process; with a reference. NULL: there is none.
static struct task *thread_find(pid_t number)
{
	struct task *t = task_find(pid_meant(number));

	if (t && t->process != current->process) {
		task_put(t);
		return NULL;
	}
	return t;
}

// The C library asks for the caller's own clocks of CPU time by their other numbers.
static int choose_clock(int clock, struct posix_timer *t)
{
	uint64_t ns;
	pid_t whose;
	int error = clock_read(clock, &ns);

	t->clock = clock;
	if (error)
		return -EINVAL;
	if (clock_is_wall(clock))
		return 0;
	t->clock = cpu_clock_decode(clock, &whose);
	if (t->clock == CLOCK_THREAD_CPUTIME_ID) {
		t->timed = thread_find(whose);
		return t->timed ? 0 : -EINVAL;
	}
	return t->clock < 0 || pid_meant(whose) != current->process->pid ? -EOPNOTSUPP : 0;
}

static int choose_target(const struct sigevent *e, struct task **target)
{
	*target = NULL;
	if (e->sigev_notify == SIGEV_NONE)
		return 0;
	if ((e->sigev_notify & ~SIGEV_THREAD_ID) != SIGEV_SIGNAL && e->sigev_notify != SIGEV_THREAD)
		return -EINVAL;
	if (e->sigev_signo < 1 || e->sigev_signo > SIGNALS_MAX)
		return -EINVAL;
	if (!(e->sigev_notify & SIGEV_THREAD_ID))
		return 0;
	*target = thread_find(e->_sigev_un._tid);
	return *target ? 0 : -EINVAL;
}

// The smallest free number. process.lock held.
static int free_id(struct process *p, struct list **before)
{
	struct posix_timer *t;
	unsigned count = 0;
	int id = 0;

	*before = &p->posix_timers;
	list_for_each (t, &p->posix_timers, node) { // sorted
		if (t->id != id) {
			*before = &t->node;
			return id;
		}
		id++;
		if (++count >= TIMERS_PER_PROCESS_MAX)
			return -EAGAIN;
	}
	return id;
}

static void timer_delete(struct posix_timer *t)
{
	struct process *p = t->process;

	spin_lock(&p->lock);
	if (t->deleted) {
		spin_unlock(&p->lock);
		return;
	}
	t->deleted = true;
	if (t->armed && clock_is_cpu_time(t->clock))
		p->cpu_timers--;
	t->armed = false;
	list_remove(&t->node);
	spin_unlock(&p->lock);
	waitq_remove(&clock_set_wait, &t->set_waiter); // nothing arms it again
	ktimer_cancel_sync(&t->timer);
	signal_entry_cancel(p, &t->entry);
	timer_put(t);
}

long sys_timer_create(int clock, struct uptr event, struct uptr id)
{
	struct process *p = current->process;
	struct sigevent e = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM };
	bool default_value = uptr_is_null(event);
	struct posix_timer *t;
	struct list *before;
	int error;

	if (!default_value && get_user(&e, event))
		return -EFAULT;
	t = kalloc(sizeof(*t));
	if (!t)
		return -EAGAIN;
	refcount_set(&t->refs, 1);
	list_init(&t->set_waiter.node);
	error = choose_clock(clock, t);
	if (!error)
		error = choose_target(&e, &t->target);
	if (error) {
		timer_put(t);
		return error;
	}
	refcount_set(&t->refs, 2);
	t->process = p;
	t->notify = e.sigev_notify;
	ktimer_init(&t->timer, wall_expired);
	t->set_waiter.wake = clock_was_set;
	list_init(&t->entry.node);
	t->entry.preallocated = true;
	t->entry.info.si_signo = e.sigev_signo;
	t->entry.info.si_code = SI_TIMER;
	spin_lock(&p->lock);
	t->id = free_id(p, &before);
	if (t->id >= 0)
		list_add_tail(before, &t->node);
	spin_unlock(&p->lock);
	if (t->id < 0) {
		refcount_set(&t->refs, 1);
		timer_put(t);
		return -EAGAIN;
	}
	t->entry.info.si_tid = t->id;
	t->entry.info._sifields._timer._sigval = e.sigev_value;
	if (default_value)
		t->entry.info._sifields._timer._sigval.sival_int = t->id;
	error = put_user(t->id, id);
	if (error)
		timer_delete(t);
	timer_put(t);
	return error;
}

static uint64_t clock_now(const struct posix_timer *t)
{
	if (t->timed)
		return sched_task_cpu_time_ns(t->timed);
	return t->clock == CLOCK_PROCESS_CPUTIME_ID ? process_cpu_time_ns(t->process) : port_time_ns();
}

static int value_to_user(struct uptr to, uint64_t left, uint64_t interval)
{
	struct __kernel_itimerspec v = { timespec_of_ns(interval), timespec_of_ns(left) };

	return put_user(v, to);
}

// process.lock held.
static uint64_t left_of(const struct posix_timer *t, uint64_t now)
{
	if (!t->armed)
		return 0;
	if (t->deadline_ns > now)
		return t->deadline_ns - now;
	return t->notify == SIGEV_NONE ? 0 : 1; // due, not yet fired: not off
}

long sys_timer_settime(int id, int flags, struct uptr value, struct uptr old)
{
	struct process *p = current->process;
	struct __kernel_itimerspec v;
	uint64_t ns, interval, now, old_left, old_interval;
	struct posix_timer *t;
	bool cpu, follows, was_armed;

	if (uptr_is_null(value))
		return -EINVAL;
	if (get_user(&v, value))
		return -EFAULT;
	if (timespec_to_ns(&v.it_value, &ns) || timespec_to_ns(&v.it_interval, &interval))
		return -EINVAL;
	t = timer_find(id);
	if (!t)
		return -EINVAL;
	cpu = clock_is_cpu_time(t->clock);
	now = clock_now(t);
	follows = flags & TIMER_ABSTIME && clock_is_realtime(t->clock);
	if (follows)
		waitq_add(&clock_set_wait, &t->set_waiter);
	spin_lock(&p->lock);
	t->follows_clock = follows;
	t->offset_ns = clock_realtime_offset_ns();
	old_left = left_of(t, now);
	old_interval = t->interval_ns;
	was_armed = t->armed;
	ktimer_cancel(&t->timer);
	t->interval_ns = interval;
	t->armed = ns != 0 && !t->deleted;
	if (t->armed) {
		if (!(flags & TIMER_ABSTIME))
			t->deadline_ns = ns >= TIME_NS_MAX ? (uint64_t)TIME_NS_MAX : now + ns;
		else if (follows)
			t->deadline_ns = (uint64_t)max((int64_t)ns - t->offset_ns, INT64_C(0));
		else
			t->deadline_ns = ns;
		if (!cpu)
			ktimer_set(&t->timer, t->deadline_ns);
	}
	if (cpu)
		p->cpu_timers += (uint32_t)t->armed - (uint32_t)was_armed;
	t->overruns = 0;
	spin_unlock(&p->lock);
	if (PORT_SCHEDULES_TASKS && cpu)
		cputimer_changed(p);
	timer_put(t);
	return uptr_is_null(old) ? 0 : value_to_user(old, old_left, old_interval);
}

long sys_timer_gettime(int id, struct uptr value)
{
	struct process *p = current->process;
	struct posix_timer *t = timer_find(id);
	uint64_t now, left, interval;

	if (!t)
		return -EINVAL;
	now = clock_now(t);
	spin_lock(&p->lock);
	left = left_of(t, now);
	interval = t->interval_ns;
	spin_unlock(&p->lock);
	timer_put(t);
	return value_to_user(value, left, interval);
}

long sys_timer_getoverrun(int id)
{
	struct posix_timer *t = timer_find(id);
	long overruns;

	if (!t)
		return -EINVAL;
	overruns = (long)min(t->overruns, (uint64_t)INT32_MAX);
	timer_put(t);
	return overruns;
}

long sys_timer_delete(int id)
{
	struct posix_timer *t = timer_find(id);

	if (!t)
		return -EINVAL;
	timer_delete(t);
	timer_put(t);
	return 0;
}

void process_timers_exec(struct process *p)
{
	for (;;) {
		struct posix_timer *t = NULL;

		spin_lock(&p->lock);
		if (!list_empty(&p->posix_timers)) {
			t = list_first(&p->posix_timers, struct posix_timer, node);
			refcount_get(&t->refs);
		}
		spin_unlock(&p->lock);
		if (!t)
			return;
		timer_delete(t);
		timer_put(t);
	}
}

void process_timers_exit(struct process *p)
{
	process_timers_exec(p);
	if (PORT_SCHEDULES_TASKS)
		cputimer_exit(p);
	if (!p->real_timer.expire)
		return;
	spin_lock(&p->lock);
	p->real_interval_ns = 0;
	p->real_timer.deadline_ns = SCHED_NEVER;
	spin_unlock(&p->lock);
	ktimer_cancel_sync(&p->real_timer);
}
