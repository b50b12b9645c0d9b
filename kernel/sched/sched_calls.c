// SPDX-License-Identifier: Apache-2.0
// System calls about scheduling: sched(7), sched_setaffinity(2), setpriority(2), ioprio_set(2), getcpu(2).

#include <linux/capability.h>
#include <linux/ioprio.h>
#include <linux/sched.h>
#include <linux/sched/types.h>

#include "kernel/errno.h"
#include "kernel/syscalls.h"
#include "kernel/timespec.h"
#include "kernel/uaccess.h"

#include "internal.h"

#define ATTR_SIZE_0 48u // struct sched_attr without the utilisation clamps

// The task with `pid` as tid, 0: the caller. A reference; NULL: none.
static struct task *find(pid_t pid)
{
	if (pid)
		return pid > 0 ? task_find(pid_meant(pid)) : NULL;
	task_get(current);
	return current;
}

static bool may_change(struct task *t)
{
	const struct cred *mine = current->cred, *its;
	bool allowed;

	if (t->process == current->process || cred_capable(mine, CAP_SYS_NICE))
		return true;
	its = task_cred_get(t);
	allowed = mine->euid == its->euid || mine->euid == its->uid;
	cred_put(its);
	return allowed;
}

long sys_sched_yield(void)
{
	sched_yield_current();
	return 0;
}

// ---- affinity ----

long sys_sched_setaffinity(pid_t pid, unsigned size, struct uptr user_mask)
{
	struct cpu_mask mask = { 0 };
	struct task *t;
	long result;

	if (copy_from_user(&mask, user_mask, min((size_t)size, sizeof(mask))))
		return -EFAULT;
	t = find(pid);
	if (!t)
		return -ESRCH;
	result = may_change(t) ? sched_set_affinity(t, &mask) : -EPERM;
	task_put(t);
	return result;
}

long sys_sched_getaffinity(pid_t pid, unsigned size, struct uptr user_mask)
{
	unsigned cpu, count = min(port_cpu_count(), SCHED_CPUS_MAX);
	struct cpu_mask mask = { 0 };
	struct task *t;
	size_t bytes;

	// As many words as hold the possible CPUs, like Linux with nr_cpu_ids.
	if (size * 8 < count || size % sizeof(uint64_t))
		return -EINVAL;
	t = find(pid);
	if (!t)
		return -ESRCH;
	for (cpu = 0; cpu < count; cpu++)
		if (sched_may_run_on(&t->sched, cpu))
			bitmap_set(mask.bits, cpu);
	task_put(t);
	bytes = min((size_t)size, BITMAP_WORDS(count) * sizeof(uint64_t));
	return copy_to_user(user_mask, &mask, bytes) ? -EFAULT : (long)bytes;
}

long sys_getcpu(struct uptr cpu, struct uptr node, struct uptr cache)
{
	(void)cache; // unused since Linux 2.6.24
	if (!uptr_is_null(cpu) && put_user((uint32_t)sched_cpu_now(), cpu))
		return -EFAULT;
	return uptr_is_null(node) ? 0 : put_user((uint32_t)0, node);
}

// ---- policy ----

static bool is_rt_policy(int policy) { return policy == SCHED_FIFO || policy == SCHED_RR; }

static int check_rights(struct task *t, int policy, int priority, int nice)
{
	struct process *p = t->process;
	uint64_t rt_limit = process_rlimit(p, RLIMIT_RTPRIO), nice_limit = process_rlimit(p, RLIMIT_NICE);

	if (!may_change(t))
		return -EPERM;
	if (cred_capable(current->cred, CAP_SYS_NICE))
		return 0;
	if (is_rt_policy(policy) && (uint64_t)priority > rt_limit && priority > t->sched.rt_priority)
		return -EPERM;
	if (!is_rt_policy(policy) && nice < t->sched.nice && (uint64_t)(20 - nice) > nice_limit)
		return -EPERM;
	return 0;
}

static long set_scheduler(pid_t pid, int policy, int priority, int nice, bool set_nice)
{
	struct task *t;
	bool reset = policy & SCHED_RESET_ON_FORK;
	long result;

	t = find(pid);
	if (!t)
		return -ESRCH;
	if (policy < 0) { // sched_setparam: keep it
		policy = t->sched.policy;
		reset = t->sched.reset_on_fork;
	} else {
		policy &= ~SCHED_RESET_ON_FORK;
	}
	if (!set_nice)
		nice = t->sched.nice;
	result = policy == SCHED_DEADLINE ? -EPERM : check_rights(t, policy, priority, nice);
	if (result && policy > SCHED_DEADLINE)
		result = -EINVAL;
	if (!result)
		result = sched_set_policy(t, policy, priority);
	if (!result) {
		t->sched.reset_on_fork = reset;
		if (set_nice)
			sched_set_nice(t, nice);
	}
	task_put(t);
	return result;
}

long sys_sched_setscheduler(pid_t pid, int policy, struct uptr parameter)
{
	int32_t priority;

	if (policy < 0 || pid < 0 || uptr_is_null(parameter))
		return -EINVAL;
	if (get_user(&priority, parameter))
		return -EFAULT;
	return set_scheduler(pid, policy, priority, 0, false);
}

long sys_sched_setparam(pid_t pid, struct uptr parameter)
{
	int32_t priority;

	if (pid < 0 || uptr_is_null(parameter))
		return -EINVAL;
	if (get_user(&priority, parameter))
		return -EFAULT;
	return set_scheduler(pid, -1, priority, 0, false);
}

long sys_sched_getscheduler(pid_t pid)
{
	struct task *t;
	long policy;

	if (pid < 0)
		return -EINVAL;
	t = find(pid);
	if (!t)
		return -ESRCH;
	policy = t->sched.policy | (t->sched.reset_on_fork ? SCHED_RESET_ON_FORK : 0);
	task_put(t);
	return policy;
}

long sys_sched_getparam(pid_t pid, struct uptr parameter)
{
	struct task *t;
	int32_t priority;

	if (pid < 0 || uptr_is_null(parameter))
		return -EINVAL;
	t = find(pid);
	if (!t)
		return -ESRCH;
	priority = t->sched.rt_priority;
	task_put(t);
	return put_user(priority, parameter);
}

long sys_sched_get_priority_max(int policy)
{
	if (is_rt_policy(policy))
		return 99;
	return policy == SCHED_NORMAL || policy == SCHED_BATCH || policy == SCHED_IDLE || policy == SCHED_DEADLINE
		       ? 0
		       : -EINVAL;
}

long sys_sched_get_priority_min(int policy) { return is_rt_policy(policy) ? 1 : sys_sched_get_priority_max(policy); }

long sys_sched_rr_get_interval(pid_t pid, struct uptr interval)
{
	struct task *t;
	int policy;

	if (pid < 0)
		return -EINVAL;
	t = find(pid);
	if (!t)
		return -ESRCH;
	policy = t->sched.policy;
	task_put(t);
	return timespec_to_user(interval, policy == SCHED_RR     ? SCHED_RR_SLICE_NS
					  : policy == SCHED_FIFO ? 0
								 : SCHED_SLICE_NS);
}

long sys_sched_setattr(pid_t pid, struct uptr attributes, unsigned flags)
{
	struct sched_attr a;
	uint32_t size;
	int error;

	if (pid < 0 || uptr_is_null(attributes) || flags)
		return -EINVAL;
	if (get_user(&size, attributes))
		return -EFAULT;
	if (size == 0)
		size = ATTR_SIZE_0;
	error = size < ATTR_SIZE_0 ? -E2BIG : copy_struct_from_user(&a, sizeof(a), attributes, size);
	if (error == -E2BIG && put_user((uint32_t)sizeof(a), attributes))
		return -EFAULT;
	if (error)
		return error;
	if (a.sched_flags & ~(uint64_t)SCHED_FLAG_ALL || (int32_t)a.sched_policy < 0)
		return -EINVAL;
	if (a.sched_priority > 99)
		return -EINVAL;
	a.sched_nice = max(min(a.sched_nice, 19), -20);
	return set_scheduler(pid,
			     (int)a.sched_policy | (a.sched_flags & SCHED_FLAG_RESET_ON_FORK ? SCHED_RESET_ON_FORK : 0),
			     (int)a.sched_priority, a.sched_nice, !is_rt_policy((int)a.sched_policy));
}

long sys_sched_getattr(pid_t pid, struct uptr attributes, unsigned size, unsigned flags)
{
	struct sched_attr a = { .size = sizeof(a) };
	struct task *t;

	if (pid < 0 || uptr_is_null(attributes) || flags || size < ATTR_SIZE_0 || size > PAGE_SIZE)
		return -EINVAL;
	t = find(pid);
	if (!t)
		return -ESRCH;
	a.sched_policy = t->sched.policy;
	a.sched_flags = t->sched.reset_on_fork ? SCHED_FLAG_RESET_ON_FORK : 0;
	a.sched_priority = t->sched.rt_priority;
	if (!t->sched.rt_priority)
		a.sched_nice = t->sched.nice;
	a.sched_util_max = 1024;
	task_put(t);
	a.size = min(size, (unsigned)sizeof(a));
	return copy_to_user(attributes, &a, a.size) ? -EFAULT : 0;
}

// ---- nice values ----

static int set_one_nice(struct task *t, int nice, int error)
{
	const struct cred *mine = current->cred, *its = task_cred_get(t);
	bool owner = mine->euid == its->euid || mine->euid == its->uid;

	cred_put(its);
	if (!owner && !cred_capable(mine, CAP_SYS_NICE))
		return -EPERM;
	if (nice < t->sched.nice && !cred_capable(mine, CAP_SYS_NICE) &&
	    (uint64_t)(20 - nice) > process_rlimit(t->process, RLIMIT_NICE))
		return -EACCES;
	sched_set_nice(t, nice);
	return error == -ESRCH ? 0 : error;
}

static int get_one_nice(struct task *t, int best, int unused)
{
	(void)unused;
	return max(best, 20 - t->sched.nice);
}

// Calls fn(task, argument, result) on every thread that `which` and `who` name, collecting the result.
static int for_each_named(int which, int who, int result, int (*fn)(struct task *t, int a, int b), int argument,
			  bool set)
{
	struct process *p;
	pid_t pid;

	for (pid = 1; (p = process_next(pid)); pid = p->pid + 1, process_put(p)) {
		struct task *t;
		pid_t tid;
		bool in_group;

		spin_lock(&tasklist_lock);
		in_group = which == PRIO_PGRP && p->pgrp &&
			   (who ? p->pgrp->number == pid_meant(who) : p->pgrp == current->process->pgrp);
		spin_unlock(&tasklist_lock);
		for (tid = 0; (t = process_thread_next(p, tid)); tid = t->tid + 1, task_put(t)) {
			const struct cred *c = task_cred_get(t);
			bool user = which == PRIO_USER &&
				    c->uid == (who ? uid_meant(current->cred, (uid_t)who) : current->cred->uid);

			cred_put(c);
			if (in_group || user)
				result = set ? fn(t, argument, result) : fn(t, result, argument);
		}
	}
	return result;
}

long sys_setpriority(int which, int who, int nice)
{
	struct task *t;
	int result = -ESRCH;

	nice = max(min(nice, 19), -20);
	if (which != PRIO_PROCESS)
		return which == PRIO_PGRP || which == PRIO_USER
			       ? for_each_named(which, who, -ESRCH, set_one_nice, nice, true)
			       : -EINVAL;
	t = find(who);
	if (!t)
		return -ESRCH;
	result = set_one_nice(t, nice, -ESRCH);
	task_put(t);
	return result;
}

long sys_getpriority(int which, int who)
{
	struct task *t;
	int result;

	if (which != PRIO_PROCESS)
		return which == PRIO_PGRP || which == PRIO_USER
			       ? for_each_named(which, who, -ESRCH, get_one_nice, 0, false)
			       : -EINVAL;
	t = find(who);
	if (!t)
		return -ESRCH;
	result = get_one_nice(t, -ESRCH, 0);
	task_put(t);
	return result;
}

// ---- I/O priorities: checked and remembered in the task; requests to the broker are not ordered by them ----

int io_priority_check(int priority)
{
	int class = priority >> IOPRIO_CLASS_SHIFT, data = priority & ((1 << IOPRIO_CLASS_SHIFT) - 1);

	switch (class) {
	case IOPRIO_CLASS_RT:
		if (!cred_capable(current->cred, CAP_SYS_ADMIN) && !cred_capable(current->cred, CAP_SYS_NICE))
			return -EPERM;
		return data < IOPRIO_NR_LEVELS ? 0 : -EINVAL;
	case IOPRIO_CLASS_BE: return data < IOPRIO_NR_LEVELS ? 0 : -EINVAL;
	case IOPRIO_CLASS_IDLE: return 0;
	case IOPRIO_CLASS_NONE: return data ? -EINVAL : 0;
	default: return -EINVAL;
	}
}

long sys_ioprio_set(int which, int who, int priority)
{
	struct task *t;
	int error = io_priority_check(priority);

	if (error)
		return error;
	if (which < IOPRIO_WHO_PROCESS || which > IOPRIO_WHO_USER)
		return -EINVAL;
	if (which != IOPRIO_WHO_PROCESS)
		return 0;
	t = find(who);
	if (!t)
		return -ESRCH;
	t->sched.io_priority = (uint16_t)priority;
	task_put(t);
	return 0;
}

long sys_ioprio_get(int which, int who)
{
	struct task *t;
	long result;

	if (which < IOPRIO_WHO_PROCESS || which > IOPRIO_WHO_USER)
		return -EINVAL;
	t = find(which == IOPRIO_WHO_PROCESS ? who : 0);
	if (!t)
		return -ESRCH;
	result = t->sched.io_priority;
	if (!result)
		result = IOPRIO_CLASS_BE << IOPRIO_CLASS_SHIFT | 4; // the default of a task with nice 0
	task_put(t);
	return result;
}
