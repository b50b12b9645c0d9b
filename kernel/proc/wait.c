// SPDX-License-Identifier: Apache-2.0
// Waiting for children and tracees: wait4(2), waitid(2).
#include "internal.h"

#include "kernel/syscalls.h"
#include "lib/string.h"
#include "pidfd.h"

#include <linux/wait.h>

enum wait_which { WAIT_ANY, WAIT_PID, WAIT_GROUP, WAIT_PIDFD };

struct wait_request {
	enum wait_which which;
	int options; // WNOHANG, WEXITED, WSTOPPED, WCONTINUED, WNOWAIT, __WALL...
	pid_t number;
	struct pid *pid; // of WAIT_PIDFD and WAIT_GROUP 0
	// result
	pid_t found;
	int status; // as wait4 stores it
	siginfo_t info;
	struct process_usage usage;
	struct process *reap; // to be released once tasklist_lock is dropped
	struct task *reap_task;
};

// ---- matching; tasklist_lock held ----

static bool matches(const struct wait_request *w, const struct process *p, pid_t tid, const struct pid *pid)
{
	switch (w->which) {
	case WAIT_PID: return tid == w->number;
	case WAIT_GROUP: return p->pgrp && (w->pid ? p->pgrp == w->pid : p->pgrp->number == w->number);
	case WAIT_PIDFD: return pid == w->pid;
	default: return true;
	}
}

static bool eligible(const struct wait_request *w, const struct process *p)
{
	bool is_clone = p->leader->exit_signal != SIGCHLD;
	return (w->options & __WALL) || is_clone == !!(w->options & __WCLONE);
}

static void result(struct wait_request *w, const struct task *t, int status, int code, int value)
{
	w->found = pid_number_in(task_pid_namespace(current), t->pid);
	w->status = status;
	memset(&w->info, 0, sizeof(w->info));
	w->info.si_signo = SIGCHLD;
	w->info.si_code = code;
	w->info.si_pid = w->found;
	w->info.si_uid = uid_shown(current->cred, t->cred->uid);
	w->info.si_status = value;
}

static void result_exit(struct wait_request *w, const struct task *t, int status)
{
	bool killed = status & 0x7f;
	result(w, t, status, killed ? (status & 0x80 ? CLD_DUMPED : CLD_KILLED) : CLD_EXITED,
	       killed ? status & 0x7f : status >> 8 & 0xff);
}

// ---- children ----

static void account_child(struct process *p)
{
	struct process *me = current->process;
	struct process_usage u;
	process_usage_get(p, &u);
	spin_lock(&me->lock);
	me->children_user_ns += u.user_ns + p->children_user_ns;
	me->children_system_ns += u.system_ns + p->children_system_ns;
	me->children_min_faults += u.min_faults + p->children_min_faults;
	me->children_maj_faults += u.maj_faults + p->children_maj_faults;
	me->children_voluntary += u.voluntary + p->children_voluntary;
	me->children_involuntary += u.involuntary + p->children_involuntary;
	io_usage_add(&me->children_io, &u.io);
	io_usage_add(&me->children_io, &p->children_io);
	me->children_max_rss_pages = max(me->children_max_rss_pages, max(u.max_rss_pages, p->children_max_rss_pages));
	spin_unlock(&me->lock);
}

static void usage_with_children(struct process *p, struct process_usage *u)
{
	process_usage_get(p, u);
	u->user_ns += p->children_user_ns;
	u->system_ns += p->children_system_ns;
	u->min_faults += p->children_min_faults;
	u->maj_faults += p->children_maj_faults;
	u->voluntary += p->children_voluntary;
	u->involuntary += p->children_involuntary;
	u->max_rss_pages = max(u->max_rss_pages, p->children_max_rss_pages);
}

static bool take_zombie(struct wait_request *w, struct process *p)
{
	if (!(w->options & WEXITED))
		return false;
	struct task *leader = p->leader;
	result_exit(w, leader, p->exiting ? p->exit_code : leader->exit_code);
	usage_with_children(p, &w->usage);
	if (w->options & WNOWAIT)
		return true;
	if (p->parent != current->process) { // a tracee of somebody else's: the parent's turn comes now
		ptrace_unlink(leader);
		process_untraced_zombie(p);
		return true;
	}
	if (leader->tracer)
		ptrace_unlink(leader);
	account_child(p);
	w->reap = p;
	return true;
}

static bool take_stopped(struct wait_request *w, struct process *p)
{
	struct sighand *s = process_sighand_lock(p);
	bool found = (w->options & WSTOPPED) && p->stopped && !p->stop_reported;
	if (found) {
		result(w, p->leader, p->stop_signal << 8 | 0x7f, CLD_STOPPED, p->stop_signal);
		if (!(w->options & WNOWAIT))
			p->stop_reported = true;
	}
	spin_unlock(&s->lock);
	if (found)
		usage_with_children(p, &w->usage);
	return found;
}

static bool take_continued(struct wait_request *w, struct process *p)
{
	struct sighand *s = process_sighand_lock(p);
	bool found = (w->options & WCONTINUED) && p->continued;
	if (found) {
		result(w, p->leader, 0xffff, CLD_CONTINUED, SIGCONT);
		if (!(w->options & WNOWAIT))
			p->continued = false;
	}
	spin_unlock(&s->lock);
	if (found)
		usage_with_children(p, &w->usage);
	return found;
}

// ---- tracees ----

static bool take_dead_tracee(struct wait_request *w, struct task *t)
{
	struct process *p = t->process;
	if (t == p->leader)
		return p->zombie && take_zombie(w, p);
	if (!(w->options & WEXITED))
		return false;
	result_exit(w, t, t->exit_code);
	if (w->options & WNOWAIT)
		return true;
	ptrace_unlink(t);
	task_release(t);
	w->reap_task = t;
	return true;
}

static bool take_tracee(struct wait_request *w, struct task *t)
{
	if (t->dead)
		return take_dead_tracee(w, t);
	struct sighand *s = process_sighand_lock(t->process);
	int code = t->ptrace_stop_code;
	bool found = code && (t->jobctl & JOBCTL_TRACED);
	if (found) {
		result(w, t, code << 8 | 0x7f,
		       (code & 0x7f) == SIGSTOP && !t->ptrace_siginfo ? CLD_STOPPED : CLD_TRAPPED, code);
		if (!(w->options & WNOWAIT))
			t->ptrace_stop_code = 0;
	}
	spin_unlock(&s->lock);
	if (found)
		process_usage_get(t->process, &w->usage);
	return found;
}

// ---- the scan ----

// > 0: w has a result. 0: there are children, but nothing to report. -ECHILD. Takes and drops tasklist_lock.
static int scan(struct wait_request *w)
{
	struct process *me = current->process, *p, *next_p;
	struct task *t, *next_t;
	int r = -ECHILD;
	spin_lock(&tasklist_lock);
	list_for_each_safe (p, next_p, &me->children, sibling) {
		if (p->auto_reap || !matches(w, p, p->pid, p->leader->pid) || (!p->leader->tracer && !eligible(w, p)))
			continue;
		r = 0;
		if (p->zombie ? (!p->leader->tracer || p->leader->tracer == me) && take_zombie(w, p)
			      : !p->leader->tracer && (take_stopped(w, p) || take_continued(w, p)))
			goto found;
		if (!p->zombie && p->leader->tracer && p->leader->tracer != me && take_continued(w, p))
			goto found;
	}
	list_for_each_safe (t, next_t, &me->tracees, tracee_node) {
		if (!matches(w, t->process, t->tid, t->pid))
			continue;
		r = 0;
		if (take_tracee(w, t))
			goto found;
	}
	spin_unlock(&tasklist_lock);
	return r;
found:
	if (w->reap)
		process_reap(w->reap); // drops the lock
	else
		spin_unlock(&tasklist_lock);
	if (w->reap_task)
		task_put(w->reap_task);
	return w->found;
}

static long wait_for(struct wait_request *w)
{
	int r = 0;
	if (w->options & WNOHANG)
		return scan(w);
	int interrupted = wait_event_interruptible(&current->process->child_wait, (r = scan(w)) != 0);
	return interrupted && !r ? -ERESTARTSYS : r;
}

// ---- system calls ----

void usage_to_user(const struct process_usage *u, struct rusage *out)
{
	memset(out, 0, sizeof(*out));
	out->ru_utime.tv_sec = (long)(u->user_ns / (uint64_t)NSEC_PER_SEC);
	out->ru_utime.tv_usec = (long)(u->user_ns % (uint64_t)NSEC_PER_SEC / 1000);
	out->ru_stime.tv_sec = (long)(u->system_ns / (uint64_t)NSEC_PER_SEC);
	out->ru_stime.tv_usec = (long)(u->system_ns % (uint64_t)NSEC_PER_SEC / 1000);
	out->ru_maxrss = (long)(u->max_rss_pages * (PAGE_SIZE / 1024));
	out->ru_minflt = (long)u->min_faults;
	out->ru_majflt = (long)u->maj_faults;
	out->ru_nvcsw = (long)u->voluntary;
	out->ru_nivcsw = (long)u->involuntary;
}

static int put_usage(const struct wait_request *w, struct uptr usage)
{
	struct rusage ru;
	if (uptr_is_null(usage))
		return 0;
	usage_to_user(&w->usage, &ru);
	return put_user(ru, usage);
}

long sys_wait4(pid_t pid, struct uptr status, int options, struct uptr usage)
{
	struct wait_request w = { .options = options | WEXITED };
	if (options & ~(WNOHANG | WUNTRACED | WCONTINUED | (int)(__WNOTHREAD | __WCLONE | __WALL)))
		return -EINVAL;
	if (pid == INT32_MIN)
		return -ESRCH;
	if (pid > 0) {
		w.which = WAIT_PID;
		w.number = pid_meant(pid);
	} else if (pid != -1) {
		w.which = WAIT_GROUP;
		w.number = pid ? pid_meant(-pid) : 0;
		if (!pid)
			w.pid = current->process->pgrp;
	}
	long r = wait_for(&w);
	if (r <= 0)
		return r;
	if (!uptr_is_null(status) && put_user((int32_t)w.status, status))
		return -EFAULT;
	return put_usage(&w, usage) ? -EFAULT : r;
}

static int waitid_target(struct wait_request *w, int which, pid_t id)
{
	bool nonblock = false;
	switch (which) {
	case P_ALL: return 0;
	case P_PID:
		w->which = WAIT_PID;
		w->number = pid_meant(id);
		return id > 0 ? 0 : -EINVAL;
	case P_PGID:
		w->which = WAIT_GROUP;
		w->number = id ? pid_meant(id) : 0;
		if (!id)
			w->pid = current->process->pgrp;
		return id >= 0 ? 0 : -EINVAL;
	case P_PIDFD:
		if (id < 0)
			return -EINVAL;
		w->which = WAIT_PIDFD;
		w->pid = pidfd_get(id, &nonblock);
		if (is_err(w->pid))
			return (int)ptr_err(w->pid);
		return nonblock ? -EAGAIN : 0; // the caller makes it WNOHANG
	}
	return -EINVAL;
}

struct waitid_info { // the part of siginfo_t that waitid() fills
	int32_t signo, error, code, padding;
	int32_t pid;
	uint32_t uid;
	int32_t status;
};
static_assert(offsetof(struct waitid_info, pid) == offsetof(siginfo_t, si_pid), "siginfo_t layout");
static_assert(offsetof(struct waitid_info, status) == offsetof(siginfo_t, si_status), "siginfo_t layout");

long sys_waitid(int which, pid_t id, struct uptr info, int options, struct uptr usage)
{
	struct wait_request w = { .options = options };
	bool again = false;
	if (options & ~(WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | (int)(__WNOTHREAD | __WCLONE | __WALL)))
		return -EINVAL;
	if (!(options & (WEXITED | WSTOPPED | WCONTINUED)))
		return -EINVAL;
	int error = waitid_target(&w, which, id);
	if (error == -EAGAIN) {
		again = !(options & WNOHANG);
		w.options |= WNOHANG;
	} else if (error) {
		return error;
	}
	long r = wait_for(&w);
	if (which == P_PIDFD)
		pid_put(w.pid);
	if (r == 0 && again)
		r = -EAGAIN;
	if (r < 0)
		return r;
	struct waitid_info out = { 0 };
	if (r > 0) {
		out = (struct waitid_info){ w.info.si_signo, 0, w.info.si_code, 0, w.info.si_pid, w.info.si_uid,
					    w.info.si_status };
		if (put_usage(&w, usage))
			return -EFAULT;
	}
	return uptr_is_null(info) ? 0 : put_user(out, info);
}
