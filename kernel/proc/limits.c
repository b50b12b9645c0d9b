// SPDX-License-Identifier: Apache-2.0
// Resource limits and usage. getrlimit(2), prlimit(2), getrusage(2).
#include "internal.h"

#include "kernel/syscalls.h"
#include "lib/string.h"

#include <linux/capability.h>

#define NOFILE_CEILING UINT64_C(1048576) // fs.nr_open

static int limit_check(const struct rlimit64 *new, const struct rlimit64 *old, unsigned resource)
{
	if (new->rlim_cur > new->rlim_max)
		return -EINVAL;
	if (resource == RLIMIT_NOFILE && new->rlim_max > NOFILE_CEILING)
		return -EPERM;
	if (new->rlim_max > old->rlim_max && !cred_capable(current->cred, CAP_SYS_RESOURCE))
		return -EPERM;
	return 0;
}

static int limit_exchange(struct process *p, unsigned resource, const struct rlimit64 *new, struct rlimit64 *old)
{
	if (resource >= RLIM_NLIMITS)
		return -EINVAL;
	spin_lock(&p->lock);
	struct rlimit64 before = p->rlimits[resource];
	int r = new ? limit_check(new, &before, resource) : 0;
	if (!r && new)
		p->rlimits[resource] = *new;
	spin_unlock(&p->lock);
	if (!r && new &&resource == RLIMIT_CPU)
		process_timers_limit(p);
	if (old)
		*old = before;
	return r;
}

long sys_getrlimit(unsigned resource, struct uptr limit)
{
	struct rlimit64 l;
	int r = limit_exchange(current->process, resource, NULL, &l);
	return r ? r : put_user(l, limit);
}

long sys_setrlimit(unsigned resource, struct uptr limit)
{
	struct rlimit64 l;
	if (get_user(&l, limit))
		return -EFAULT;
	return limit_exchange(current->process, resource, &l, NULL);
}

static int may_limit(struct task *t)
{
	const struct cred *c = current->cred;
	if (t->process == current->process)
		return 0;
	const struct cred *o = task_cred_get(t);
	bool same = c->uid == o->euid && c->uid == o->suid && c->uid == o->uid && c->gid == o->egid &&
		    c->gid == o->sgid && c->gid == o->gid;
	bool may = same || cred_capable_in(c, cred_namespace(o), CAP_SYS_RESOURCE);
	cred_put(o);
	return may ? 0 : -EPERM;
}

long sys_prlimit64(pid_t pid, unsigned resource, struct uptr new_limit, struct uptr old_limit)
{
	struct rlimit64 new, old;
	bool set = !uptr_is_null(new_limit);
	if (set && get_user(&new, new_limit))
		return -EFAULT;
	struct task *t = pid ? task_find(pid_meant(pid)) : current;
	if (!t)
		return -ESRCH;
	int r = may_limit(t);
	if (!r)
		r = limit_exchange(t->process, resource, set ? &new : NULL, &old);
	if (pid)
		task_put(t);
	if (!r && !uptr_is_null(old_limit))
		r = put_user(old, old_limit);
	return r;
}

static void usage_of_children(struct process *p, struct process_usage *u)
{
	spin_lock(&p->lock);
	*u = (struct process_usage){
		.user_ns = p->children_user_ns,
		.system_ns = p->children_system_ns,
		.min_faults = p->children_min_faults,
		.maj_faults = p->children_maj_faults,
		.voluntary = p->children_voluntary,
		.involuntary = p->children_involuntary,
		.max_rss_pages = p->children_max_rss_pages,
	};
	spin_unlock(&p->lock);
}

static void usage_of_thread(struct task *t, struct process_usage *u)
{
	*u = (struct process_usage){
		.min_faults = t->min_faults,
		.maj_faults = t->maj_faults,
		.voluntary = t->sched.voluntary_switches,
		.involuntary = t->sched.involuntary_switches,
	};
	sched_task_times(t, &u->user_ns, &u->system_ns);
}

long sys_getrusage(int who, struct uptr usage)
{
	struct task *t = current;
	struct process_usage u;
	struct rusage out;
	switch (who) {
	case RUSAGE_SELF: process_usage_get(t->process, &u); break;
	case RUSAGE_CHILDREN: usage_of_children(t->process, &u); break;
	case RUSAGE_THREAD: usage_of_thread(t, &u); break;
	default: return -EINVAL;
	}
	if (who != RUSAGE_CHILDREN)
		u.max_rss_pages = max(u.max_rss_pages, t->mm->peak_resident);
	usage_to_user(&u, &out);
	return put_user(out, usage);
}
