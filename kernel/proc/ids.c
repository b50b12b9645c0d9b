// SPDX-License-Identifier: Apache-2.0
// Process, group and session identifiers. getpid(2), setpgid(2), setsid(2), credentials(7).
#include "internal.h"

#include "kernel/syscalls.h"
#include "kernel/tty.h"

long sys_getpid(void) { return current->process->own_pid; }
long sys_gettid(void) { return current->own_tid; }
long sys_getppid(void) { return __atomic_load_n(&current->process->parent_pid, __ATOMIC_RELAXED); }

long sys_set_tid_address(struct uptr word)
{
	current->clear_child_tid = word.address;
	return current->own_tid;
}

// What `pid` names for getpgid() and getsid(); 0: the caller. tasklist_lock held.
static struct process *target(pid_t pid)
{
	if (!pid)
		return current->process;
	struct task *t = task_find_locked(pid_meant(pid));
	return t ? t->process : NULL;
}

static long number_of(pid_t pid, bool session)
{
	spin_lock(&tasklist_lock);
	struct process *p = target(pid);
	struct pid *id = !p ? NULL : session ? p->session : p->pgrp;
	long r = id ? pid_number_in(task_pid_namespace(current), id) : -ESRCH;
	spin_unlock(&tasklist_lock);
	return r;
}

long sys_getpgid(pid_t pid) { return number_of(pid, false); }
long sys_getpgrp(void) { return number_of(0, false); }
long sys_getsid(pid_t pid) { return number_of(pid, true); }

// tasklist_lock held.
static int check_setpgid(struct process *p, pid_t pgid, struct pid **out)
{
	struct process *me = current->process;
	if (!p)
		return -ESRCH;
	if (p->parent == me && p != me) {
		if (p->session != me->session)
			return -EPERM;
		if (p->leader->did_exec)
			return -EACCES;
	} else if (p != me) {
		return -ESRCH;
	}
	if (p->is_session_leader)
		return -EPERM;
	if (pgid == p->pid) {
		*out = p->leader->pid;
		return 0;
	}
	struct pid *g = pid_find_locked(pgid);
	if (!g || list_empty(&g->group) || list_first(&g->group, struct process, pgrp_node)->session != me->session)
		return -EPERM;
	*out = g;
	return 0;
}

long sys_setpgid(pid_t pid, pid_t pgid)
{
	struct pid *group = NULL;
	if (pgid < 0 || (!pgid && pid < 0))
		return -EINVAL;
	pid = pid ? pid_meant(pid) : current->process->pid;
	pgid = pgid ? pid_meant(pgid) : pid;
	spin_lock(&tasklist_lock);
	struct process *p = process_find_locked(pid);
	int r = check_setpgid(p, pgid, &group);
	if (!r && p->pgrp != group)
		process_set_group(p, group);
	spin_unlock(&tasklist_lock);
	return r;
}

long sys_setsid(void)
{
	struct process *p = current->process;
	spin_lock(&tasklist_lock);
	struct pid *own = p->leader->pid;
	// A group of that number must not live on in the old session.
	if (p->is_session_leader || !list_empty(&own->group)) {
		spin_unlock(&tasklist_lock);
		return -EPERM;
	}
	p->is_session_leader = true;
	process_set_session(p, own);
	process_set_group(p, own);
	spin_unlock(&tasklist_lock);
	tty_process_release(p);
	return p->own_pid;
}
