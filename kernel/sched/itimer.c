// SPDX-License-Identifier: Apache-2.0
// Interval timers: setitimer(2), alarm(2); and what ticks do for CPU-time limits (RLIMIT_CPU, setrlimit(2)).
//
// ITIMER_REAL is a kernel timer in struct process. The two CPU-time timers are counted down at ticks, as precise as those, or,
// where the port schedules and there are none, when cputimer.c looks.
//
// Lock order: process.lock -> timer tree lock; process.lock -> nothing of signals: they are sent after it is released.

#include "kernel/errno.h"
#include "kernel/syscalls.h"
#include "kernel/timespec.h"
#include "kernel/uaccess.h"

#include "internal.h"

struct interval {
	uint64_t left_ns, interval_ns; // left 0: off
};

// Interrupt context. A timer that was set anew meanwhile is armed again, one that was stopped has no deadline.
static void real_expired(struct ktimer *t)
{
	struct process *p = container_of(t, struct process, real_timer);
	bool due;

	spin_lock(&p->lock);
	due = !ktimer_armed(t) && t->deadline_ns != SCHED_NEVER;
	if (due && p->real_interval_ns)
		ktimer_set(t, max(t->deadline_ns + p->real_interval_ns, port_time_ns() + p->real_interval_ns / 2));
	else if (due)
		t->deadline_ns = SCHED_NEVER;
	spin_unlock(&p->lock);
	if (due)
		signal_send_process(p, SIGALRM, NULL);
}

// process.lock held.
static struct interval real_get(struct process *p)
{
	struct ktimer *t = &p->real_timer;
	struct interval v = { 0, p->real_interval_ns };

	if (t->expire && t->deadline_ns != SCHED_NEVER)
		v.left_ns = max(deadline_left(t->deadline_ns), UINT64_C(1000)); // due, not yet seen: not off
	return v;
}

static void real_set(struct process *p, const struct interval *v)
{
	struct ktimer *t = &p->real_timer;

	if (!t->expire) {
		ktimer_init(t, real_expired);
		t->deadline_ns = SCHED_NEVER;
	}
	ktimer_cancel(t);
	t->deadline_ns = SCHED_NEVER;
	p->real_interval_ns = v->interval_ns;
	if (v->left_ns && deadline_after(v->left_ns) != PARK_FOREVER)
		ktimer_set(t, deadline_after(v->left_ns));
}

// Exchanges the timer `which`; new may be NULL.
static int exchange(int which, const struct interval *new, struct interval *old)
{
	struct process *p = current->process;
	uint64_t *left = which == ITIMER_VIRTUAL ? &p->virtual_left_ns : &p->prof_left_ns;
	uint64_t *interval = which == ITIMER_VIRTUAL ? &p->virtual_interval_ns : &p->prof_interval_ns;

	if (which < ITIMER_REAL || which > ITIMER_PROF)
		return -EINVAL;
	if (PORT_SCHEDULES_TASKS && which != ITIMER_REAL)
		cputimer_changed(p); // counts up to now
	spin_lock(&p->lock);
	if (which == ITIMER_REAL) {
		*old = real_get(p);
		if (new)
			real_set(p, new);
	} else {
		*old = (struct interval){ *left, *interval };
		if (new) {
			*left = new->left_ns;
			*interval = new->interval_ns;
		}
	}
	spin_unlock(&p->lock);
	if (PORT_SCHEDULES_TASKS && which != ITIMER_REAL && new)
		cputimer_changed(p);
	return 0;
}

static int interval_to_user(struct uptr to, const struct interval *v)
{
	return timeval_to_user(to, v->interval_ns) ||
			       timeval_to_user(uptr_add(to, sizeof(struct __kernel_old_timeval)), v->left_ns)
		       ? -EFAULT
		       : 0;
}

long sys_getitimer(int which, struct uptr value)
{
	struct interval v;
	int error = exchange(which, NULL, &v);

	return error ? error : interval_to_user(value, &v);
}

long sys_setitimer(int which, struct uptr value, struct uptr old_value)
{
	struct interval new = { 0, 0 }, old;
	int error = 0;

	if (!uptr_is_null(value)) { // NULL stops the timer, as Linux does
		error = timeval_from_user(&new.interval_ns, value);
		if (!error)
			error = timeval_from_user(&new.left_ns, uptr_add(value, sizeof(struct __kernel_old_timeval)));
		if (error)
			return error;
	}
	error = exchange(which, &new, &old);
	if (error || uptr_is_null(old_value))
		return error;
	return interval_to_user(old_value, &old);
}

long sys_alarm(unsigned seconds)
{
	struct interval new = { (uint64_t)seconds * NSEC_PER_SEC, 0 }, old;

	(void)exchange(ITIMER_REAL, &new, &old);
	if (!old.left_ns)
		return 0;
	// Rounded, but never 0 while armed.
	return max((long)((old.left_ns + NSEC_PER_SEC / 2) / NSEC_PER_SEC), 1L);
}

// ---- ticks ----

static bool count_down(uint64_t *left, uint64_t interval, uint64_t ns)
{
	if (!*left)
		return false;
	if (*left > ns) {
		*left -= ns;
		return false;
	}
	*left = interval;
	return true;
}

static void check_limit(struct process *p, uint64_t used_ns)
{
	struct rlimit64 *l = &p->rlimits[RLIMIT_CPU];
	uint64_t seconds = used_ns / NSEC_PER_SEC;
	int signal = 0;

	spin_lock(&p->lock);
	if (seconds >= l->rlim_max) {
		signal = SIGKILL;
	} else if (seconds >= l->rlim_cur) {
		signal = SIGXCPU;
		l->rlim_cur = seconds + 1; // again every second
	}
	spin_unlock(&p->lock);
	if (signal)
		signal_send_process(p, signal, NULL);
}

void cputimer_charge_process(struct process *p, uint64_t user_ns, uint64_t total_ns, uint64_t used)
{
	bool virtual = false, prof = false;

	if (unlikely(p->virtual_left_ns | p->prof_left_ns)) {
		spin_lock(&p->lock);
		virtual = user_ns && count_down(&p->virtual_left_ns, p->virtual_interval_ns, user_ns);
		prof = count_down(&p->prof_left_ns, p->prof_interval_ns, total_ns);
		spin_unlock(&p->lock);
		if (virtual)
			signal_send_process(p, SIGVTALRM, NULL);
		if (prof)
			signal_send_process(p, SIGPROF, NULL);
	}
	if (unlikely(p->rlimits[RLIMIT_CPU].rlim_cur != RLIM64_INFINITY))
		check_limit(p, used);
	if (unlikely(p->cpu_timers))
		posix_cpu_timers_check(p);
}

void cputimer_charge(struct task *t, uint64_t ns, bool user)
{
	struct process *p = t->process;

	if (p && !(t->flags & TASK_KERNEL))
		cputimer_charge_process(p, user ? ns : 0, ns,
					__atomic_add_fetch(&p->cpu_charged_ns, ns, __ATOMIC_RELAXED));
}
