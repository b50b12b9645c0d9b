// SPDX-License-Identifier: Apache-2.0
// The end of tasks and processes: giving up what they hold, zombies, orphans, who is told. exit(2), wait(2), credits of
// POSIX 2.2.2 (process groups that become orphaned).
//
// A thread that is not its process's leader goes at once; the leader stays as a zombie until the process was waited for. The
// last thread to go, whichever it is, makes the process a zombie. When the first process ends, the cell ends.
#include "coredump.h"
#include "internal.h"

#include "kernel/core.h"
#include "kernel/futex.h"
#include "kernel/log.h"
#include "kernel/seccomp.h"
#include "kernel/sysv.h"
#include "kernel/syscalls.h"
#include "kernel/tty.h"
#include "kernel/uring.h"
#include "lib/string.h"

#include <linux/ptrace.h>

static struct waitq process_gone = WAITQ_INIT(process_gone); // process_kill_all() waits here

// ---- giving up resources; the task's own context ----

static void leave_mm(struct task *t)
{
	struct mm *mm = t->mm;
	spin_lock(&t->lock);
	t->mm = NULL;
	spin_unlock(&t->lock);
	if (PORT_HOST)
		mm_leave(mm, t);
	mm_release_user(mm); // the last one also unloads it from this CPU
}

static void exit_mm(struct task *t)
{
	struct mm *mm = t->mm;
	if (!mm)
		return;
	futex_exit_robust(t);
	if (t->clear_child_tid) {
		// Nobody is left to see it when no other task runs in this memory.
		if (refcount_read(&mm->users) > 1) {
			struct uptr word = { t->clear_child_tid };
			if (!put_user((int32_t)0, word))
				(void)futex_wake_address(word, 1, true);
		}
		t->clear_child_tid = 0;
	}
	struct process *p = t->process;
	(void)mm_resident_pages(mm); // brings the peak up to date
	p->max_rss_pages = max(p->max_rss_pages, mm->peak_resident);
	leave_mm(t);
}

static void exit_namespaces(struct task *t)
{
	spin_lock(&t->lock);
	struct namespaces *s = t->namespaces;
	t->namespaces = NULL;
	spin_unlock(&t->lock);
	namespaces_put(s);
}

static void exit_files(struct task *t)
{
	spin_lock(&t->lock);
	struct files *files = t->files;
	struct fs_context *fs = t->fs;
	t->files = NULL;
	t->fs = NULL;
	spin_unlock(&t->lock);
	if (files)
		files_put(files);
	if (fs)
		fs_context_put(fs);
}

// From here on no signal is taken; those of the process are another thread's. True: the last thread begins to exit.
static bool exit_signals(struct task *t, int status)
{
	struct process *p = t->process;
	struct task *other;
	bool stopped = false;
	struct sighand *s = process_sighand_lock(p);
	const bool worker = t->flags & TASK_WORKER; // they have nothing to show
	while (unlikely(p->core) && !worker && t == current) {
		spin_unlock(&s->lock);
		core_dump_join();
		s = process_sighand_lock(p);
	}
	if (unlikely(p->core) && !worker)
		core_dump_miss(p);
	t->exit_code = p->exiting ? p->exit_code : status;
	t->flags |= TASK_EXITING;
	bool last = !worker && --p->live_count == 0;
	if (last && p->uring_owners && !p->exiting) { // workers go with the program
		p->exiting = true;
		p->exit_code = p->leader->exit_code;
		process_zap_threads(p, t);
	}
	if (t->jobctl & JOBCTL_STOP_PENDING) {
		t->jobctl &= ~JOBCTL_STOP_PENDING;
		if (p->stop_count && --p->stop_count == 0 && !p->exiting) {
			p->stopped = true;
			p->stop_reported = false;
			stopped = true;
		}
	}
	if (p->pending.set && !last && !p->exiting)
		list_for_each (other, &p->threads, thread_node)
			if (other != t && !(other->flags & TASK_EXITING) && (p->pending.set & ~other->blocked))
				signal_wake(other, false);
	spin_unlock(&s->lock);
	if (stopped) {
		spin_lock(&tasklist_lock);
		process_notify_parent(p, CLD_STOPPED, p->stop_signal);
		spin_unlock(&tasklist_lock);
	}
	return last;
}

// ---- telling the parent; tasklist_lock held ----

void process_child_wake(struct process *parent) { waitq_wake_all(&parent->child_wait); }

static void child_info(siginfo_t *info, struct process *p, int code, int status)
{
	struct process_usage usage;
	memset(info, 0, sizeof(*info));
	info->si_signo = SIGCHLD;
	info->si_code = code;
	info->si_pid = p->pid;
	info->si_uid = p->leader ? p->leader->cred->uid : 0;
	info->si_status = status;
	process_usage_get(p, &usage);
	info->si_utime = (long)(usage.user_ns / (NSEC_PER_SEC / 100));
	info->si_stime = (long)(usage.system_ns / (NSEC_PER_SEC / 100));
}

// CLD_STOPPED and CLD_CONTINUED.
void process_notify_parent(struct process *p, int why, int status)
{
	struct process *parent = p->parent;
	siginfo_t info;
	if (!parent || p->auto_reap)
		return;
	child_info(&info, p, why, status);
	struct sighand *s = process_sighand_lock(parent);
	const struct sigaction_kernel *a = &s->action[SIGCHLD - 1];
	if (a->handler != (uint64_t)SIG_IGN && !(a->flags & SA_NOCLDSTOP))
		(void)signal_send_locked(parent, NULL, SIGCHLD, &info, NULL);
	spin_unlock(&s->lock);
	process_child_wake(parent);
}

static int process_status(const struct process *p) { return p->exiting ? p->exit_code : p->leader->exit_code; }

// A zombie is shown to its parent. True: the parent does not want it, it is to be reaped at once.
static bool notify_exit(struct process *p)
{
	struct process *parent = p->parent;
	int signal = p->leader->exit_signal, status = process_status(p);
	siginfo_t info;
	if (p->auto_reap || !parent)
		return p->auto_reap;
	bool killed = status & 0x7f, reap = false;
	child_info(&info, p, killed ? (status & 0x80 ? CLD_DUMPED : CLD_KILLED) : CLD_EXITED,
		   killed ? status & 0x7f : status >> 8 & 0xff);
	info.si_signo = signal;
	struct sighand *s = process_sighand_lock(parent);
	if (signal == SIGCHLD) {
		const struct sigaction_kernel *a = &s->action[SIGCHLD - 1];
		bool ignored = a->handler == (uint64_t)SIG_IGN;
		reap = ignored || (a->flags & SA_NOCLDWAIT);
		if (ignored)
			signal = 0;
	}
	if (signal > 0)
		(void)signal_send_locked(parent, NULL, signal, &info, NULL);
	spin_unlock(&s->lock);
	process_child_wake(parent);
	return reap;
}

// ---- reaping ----

// Takes a dead task out of its process. tasklist_lock and sighand->lock held. The caller puts its reference afterwards.
static void unlink_task(struct task *t)
{
	list_remove(&t->thread_node);
	signal_flush(&t->pending);
	seccomp_release(t);
	t->pid->task = NULL;
	pid_release_if_unused(t->pid);
	__atomic_sub_fetch(&t->cred->user->tasks, 1, __ATOMIC_RELAXED);
}

void task_release(struct task *t)
{
	struct sighand *s = process_sighand_lock(t->process);
	unlink_task(t);
	spin_unlock(&s->lock);
}

static void process_unlink(struct process *p)
{
	struct task *leader = p->leader;
	struct sighand *s = process_sighand_lock(p);
	unlink_task(leader);
	signal_flush(&p->pending);
	spin_unlock(&s->lock);
	list_remove(&p->sibling);
	list_remove(&p->node);
	process_set_group(p, NULL);
	process_set_session(p, NULL);
	if (p->is_inner_init)
		leader->pid->space->init = NULL;
	p->reaped = true;
	p->leader = NULL;
	if (p == init_process)
		init_process = NULL;
	waitq_wake_events(&leader->pid->exit_wait, 0, EPOLLIN | EPOLLHUP);
	waitq_wake_all(&process_gone);
}

void process_reap(struct process *p)
{
	struct task *leader = p->leader;
	process_unlink(p);
	spin_unlock(&tasklist_lock);
	task_put(leader);
	process_put(p);
}

// ---- orphans; tasklist_lock held ----

// The first process of a child's pid namespace, or a subreaper below that.
static struct process *find_reaper(struct process *p, const struct pid_namespace *space)
{
	struct process *init = space->level ? space->init : init_process;
	if (p->has_child_subreaper)
		for (struct process *q = p->parent; q && q != init; q = q->parent)
			if (q->is_subreaper && !q->zombie && !q->exiting && q->leader &&
			    task_pid_namespace(q->leader) == space)
				return q;
	return p == init || (init && init->zombie) ? p == init_process ? NULL : init_process : init;
}

static bool group_has_stopped(struct pid *pgrp)
{
	struct process *p;
	list_for_each (p, &pgrp->group, pgrp_node)
		if (p->stopped)
			return true;
	return false;
}

// POSIX exit(): a group that has just become orphaned and has stopped members gets SIGHUP and SIGCONT.
static void rouse_orphaned_group(struct process *p, const struct process *parent)
{
	struct pid *g = p->pgrp;
	struct process *member;
	if (!parent || parent->pgrp == g || parent->session != p->session || !process_is_orphaned_group(g) ||
	    !group_has_stopped(g))
		return;
	list_for_each (member, &g->group, pgrp_node) {
		(void)signal_send_process(member, SIGHUP, NULL);
		(void)signal_send_process(member, SIGCONT, NULL);
	}
}

static void send_death_signal(struct process *child)
{
	struct task *t;
	list_for_each (t, &child->threads, thread_node)
		if (t->parent_death_signal && !t->dead)
			(void)signal_send_process(child, t->parent_death_signal, NULL);
}

static struct task *any_thread(struct process *p, const struct task *but)
{
	struct task *t;
	list_for_each (t, &p->threads, thread_node)
		if (t != but && !t->dead)
			return t;
	return NULL;
}

// A thread that is not the last of its process ends: another one takes over the children it made, who hear of it as of a parent's death.
static void hand_over_children(struct task *t)
{
	struct process *p = t->process, *child;
	struct task *heir = any_thread(p, t);
	list_for_each (child, &p->children, sibling) {
		if (child->maker != t)
			continue;
		child->maker = heir;
		send_death_signal(child);
	}
}

// Gives p's children a new parent. Zombies nobody wants are put on `dead`, by their sibling node.
static void reparent_children(struct process *p, struct list *dead)
{
	struct process *child, *next;
	list_for_each_safe (child, next, &p->children, sibling) {
		struct process *reaper =
			find_reaper(p, child->leader ? task_pid_namespace(child->leader) : &pid_namespace_first);
		list_remove(&child->sibling);
		child->parent = reaper;
		child->maker = reaper ? any_thread(reaper, NULL) : NULL;
		if (child->leader)
			process_tell_parent(child);
		// The program did not make it: unless it asked for orphans, it need not know about them.
		child->auto_reap = !reaper || (reaper == init_process && !reaper->is_subreaper);
		if (reaper)
			list_add_tail(&reaper->children, &child->sibling);
		if (child->leader)
			child->leader->exit_signal = SIGCHLD;
		send_death_signal(child);
		rouse_orphaned_group(child, p);
		if (child->zombie && !(child->leader && child->leader->tracer) && notify_exit(child)) {
			list_remove(&child->sibling);
			list_add_tail(dead, &child->sibling);
		}
	}
}

static void reap_list(struct list *dead)
{
	while (!list_empty(dead)) {
		struct process *p = list_first(dead, struct process, sibling);
		struct task *leader = p->leader;
		process_unlink(p); // takes it off the list
		spin_unlock(&tasklist_lock);
		task_put(leader);
		process_put(p);
		spin_lock(&tasklist_lock);
	}
}

// A zombie whose tracer has let go of it: is it the parent's business, or nobody's? tasklist_lock held; may drop and retake it.
void process_untraced_zombie(struct process *p)
{
	struct list dead = LIST_INIT(dead);
	if (!notify_exit(p))
		return;
	list_remove(&p->sibling);
	list_add_tail(&dead, &p->sibling);
	reap_list(&dead);
}

// ---- the last steps ----

// The process's last thread is gone. tasklist_lock held, maybe dropped and retaken.
static void process_dies(struct process *p)
{
	struct list dead = LIST_INIT(dead);
	p->zombie = true;
	reparent_children(p, &dead);
	rouse_orphaned_group(p, p->parent);
	waitq_wake_events(&p->leader->pid->exit_wait, 0, EPOLLIN | EPOLLRDNORM);
	if (p == init_process)
		; // the cell ends: exit_notify()
	else if (p->leader->tracer && p->leader->tracer != p->parent)
		process_child_wake(p->leader->tracer); // the tracer sees it first
	else if (notify_exit(p) && !p->leader->tracer) {
		list_remove(&p->sibling);
		list_add_tail(&dead, &p->sibling);
	}
	if (!list_empty(&dead))
		reap_list(&dead);
	waitq_wake_all(&process_gone);
}

// With the first process of a pid namespace all others in it go, and those it would wait for are reaped.
static void reap_children(struct process *p)
{
	struct list dead = LIST_INIT(dead);
	struct process *child, *next;
	list_for_each_safe (child, next, &p->children, sibling)
		if (child->zombie && !(child->leader && child->leader->tracer)) {
			list_remove(&child->sibling);
			list_add_tail(&dead, &child->sibling);
		}
	reap_list(&dead);
}

static bool namespace_has_ended(struct pid_namespace *n, struct process *init)
{
	spin_lock(&tasklist_lock);
	reap_children(init);
	bool ended = pid_namespace_is_empty(n, init);
	spin_unlock(&tasklist_lock);
	return ended;
}

static void end_namespace(struct process *p)
{
	struct pid_namespace *n = p->leader->pid->space;
	spin_lock(&tasklist_lock);
	pid_namespace_kill(n, p);
	spin_unlock(&tasklist_lock);
	(void)wait_event_mode(&process_gone, namespace_has_ended(n, p), PARK_UNINTERRUPTIBLE, PARK_FOREVER);
}

static void exit_notify(struct task *t)
{
	struct process *p = t->process;
	bool release = false;
	spin_lock(&tasklist_lock);
	struct sighand *s = process_sighand_lock(p);
	process_usage_add_task(p, t);
	__atomic_store_n(&t->dead, true, __ATOMIC_RELAXED);
	bool last = --p->thread_count == 0;
	if (p->exec_task)
		task_unpark(p->exec_task);
	if (t != p->leader && !t->tracer) {
		unlink_task(t);
		release = true;
	}
	spin_unlock(&s->lock);
	if (unlikely(last && !list_empty(&p->tracees)))
		ptrace_tracer_exits(p);
	if (unlikely(t->tracer))
		process_child_wake(t->tracer);
	if (last)
		process_dies(p);
	else
		hand_over_children(t);
	int status = p->leader ? process_status(p) : 0;
	spin_unlock(&tasklist_lock);
	if (last && p == init_process)
		cell_shutdown(status);
	if (release)
		task_put(t); // the scheduler holds another
}

_Noreturn void task_exit(int status)
{
	struct task *t = current;
	struct process *p = t->process;
	if (unlikely(ptrace_wants(t, PTRACE_EVENT_EXIT)))
		ptrace_event(PTRACE_EVENT_EXIT, (uint64_t)status);
	bool last = exit_signals(t, status);
	task_run_callbacks();
	if (last) {
		process_timers_exit(p);
		sysv_process_exit(p->pid);
		uring_process_exit(p);
	}
	if (t->uring_rings)
		uring_task_exit(t);
	if (t->uring_owner)
		uring_worker_exit(t);
	exit_mm(t);
	vfork_complete(t);
	exit_files(t);
	task_run_callbacks(); // closing files may have left some
	exit_namespaces(t);
	if (last && p->is_session_leader)
		tty_disassociate(p, true);
	if (last)
		tty_process_release(p);
	if (unlikely(last && p->is_inner_init))
		end_namespace(p);
	sched_exit_times();
	exit_notify(t);
	sched_exit_current();
}

void task_exit_unborn(struct task *t)
{
	(void)exit_signals(t, 0);
	leave_mm(t);
	vfork_complete(t);
	exit_files(t);
	exit_namespaces(t);
	t->sched.times_final = true;
	exit_notify(t);
}

_Noreturn void process_exit_group(int status)
{
	struct task *t = current;
	struct process *p = t->process;
	struct sighand *s = process_sighand_lock(p);
	if (!p->exiting && !(p->execing && p->exec_task != t)) {
		p->exiting = true;
		p->exit_code = status;
		if (p->thread_count > 1)
			process_zap_threads(p, t);
	}
	spin_unlock(&s->lock);
	task_exit(status);
}

long sys_exit(int status) { task_exit((status & 0xff) << 8); }

long sys_exit_group(int status) { process_exit_group((status & 0xff) << 8); }

// ---- the end of the cell ----

static bool others_left(void)
{
	bool left = false;
	struct process *p;
	spin_lock(&tasklist_lock);
	list_for_each (p, &process_list, node)
		if (!p->zombie)
			left = true;
	spin_unlock(&tasklist_lock);
	return left;
}

void process_kill_all(void)
{
	struct process *p;
	spin_lock(&tasklist_lock);
	list_for_each (p, &process_list, node)
		(void)signal_send_process(p, SIGKILL, NULL);
	spin_unlock(&tasklist_lock);
	// What hangs in a device that does not answer must not keep the cell from ending.
	uint64_t deadline = clock_monotonic_ns() + 5 * (uint64_t)NSEC_PER_SEC;
	(void)wait_event_mode(&process_gone, !others_left(), PARK_UNINTERRUPTIBLE, deadline);
	spin_lock(&tasklist_lock);
	struct list dead = LIST_INIT(dead), *node, *next;
	for (node = process_list.next; node != &process_list; node = next) {
		next = node->next;
		p = list_entry(node, struct process, node);
		if (!p->zombie)
			continue;
		list_remove(&p->sibling);
		list_add_tail(&dead, &p->sibling);
	}
	reap_list(&dead);
	spin_unlock(&tasklist_lock);
}
