// SPDX-License-Identifier: Apache-2.0
// Making tasks: fork, vfork, clone, clone3. clone(2).
//
// Everything that can fail is done first, on a task nobody else can see; then it is linked under tasklist_lock and started,
// which cannot fail. Undoing is releasing what the unfinished task has by then. But with PORT_HOST the host's thread of a thread is made
// last, so that it need not wait for the rest: when the host refuses, the task ends before it began.
#include "internal.h"

#include "kernel/keys.h"
#include "kernel/core.h"
#include "kernel/log.h"
#include "kernel/ptrace.h"
#include "kernel/seccomp.h"
#include "kernel/syscalls.h"
#include "kernel/tty.h"
#include "lib/string.h"
#include "pidfd.h"

#include <linux/capability.h>
#include <linux/ptrace.h>

#define FLAGS_NOT_YET     CLONE_NEWTIME
#define FLAGS_CLONE3_ONLY (CLONE_CLEAR_SIGHAND | CLONE_INTO_CGROUP)

// Are children born in the namespace that the current task is in?
static bool is_born_here(void)
{
	return current->namespaces->of[NAMESPACE_PID] == &task_pid_namespace(current)->common;
}

static int flags_check(const struct clone_request *r)
{
	uint64_t f = r->flags;
	if (f & FLAGS_NOT_YET) {
		// As in a kernel built without them.
		return cred_capable_own(current->cred, CAP_SYS_ADMIN) || (f & CLONE_NEWUSER) ? -EINVAL : -EPERM;
	}
	if ((f & CLONE_NEWUSER) && (f & (CLONE_FS | CLONE_THREAD)))
		return -EINVAL;
	if (((f & CLONE_NEWIPC) && (f & CLONE_SYSVSEM)) || ((f & CLONE_NEWNS) && (f & CLONE_FS)))
		return -EINVAL;
	if ((f & CLONE_THREAD) && !(f & CLONE_SIGHAND))
		return -EINVAL;
	if ((f & CLONE_SIGHAND) && !(f & CLONE_VM))
		return -EINVAL;
	if ((f & CLONE_CLEAR_SIGHAND) && (f & CLONE_SIGHAND))
		return -EINVAL;
	if ((f & CLONE_PARENT) && (current->process == init_process || current->process->is_inner_init))
		return -EINVAL;
	if ((f & CLONE_THREAD) && ((f & CLONE_NEWPID) || !is_born_here()))
		return -EINVAL;
	if ((f & CLONE_PIDFD) && (f & (CLONE_THREAD | CLONE_DETACHED)))
		return -EINVAL;
	return 0;
}

// ---- the parts ----

static int copy_cred(struct task *t, uint64_t flags)
{
	const struct cred *mine = current->cred;
	if (likely(!(flags & CLONE_NEWUSER))) {
		t->cred = cred_get(mine);
		return 0;
	}
	struct cred *c = cred_copy(mine, mine->group_count);
	t->cred = c;
	return c ? user_namespace_create(c) : -ENOMEM;
}

static int copy_limits(struct task *t, struct process *p)
{
	const struct cred *c = t->cred;
	int32_t n = __atomic_add_fetch(&c->user->tasks, 1, __ATOMIC_RELAXED);
	if ((uint64_t)n > process_rlimit(p, RLIMIT_NPROC) && c->uid != 0 && !cred_capable(c, CAP_SYS_RESOURCE) &&
	    !cred_capable(c, CAP_SYS_ADMIN)) {
		__atomic_sub_fetch(&c->user->tasks, 1, __ATOMIC_RELAXED);
		return -EAGAIN;
	}
	return 0;
}

static int copy_sighand(struct process *child, struct process *parent, uint64_t flags)
{
	if (flags & CLONE_SIGHAND) {
		refcount_get(&parent->sighand->refs);
		child->sighand = parent->sighand;
		return 0;
	}
	struct sighand *s = sighand_alloc();
	if (!s)
		return -ENOMEM;
	struct sighand *from = process_sighand_lock(parent);
	memcpy(s->action, from->action, sizeof(s->action));
	spin_unlock(&from->lock);
	if (flags & CLONE_CLEAR_SIGHAND)
		for (unsigned i = 0; i < SIGNALS_MAX; i++)
			if (s->action[i].handler != (uint64_t)SIG_IGN)
				memset(&s->action[i], 0, sizeof(s->action[i]));
	child->sighand = s;
	return 0;
}

static int copy_process(struct task *t, const struct clone_request *r)
{
	struct process *parent = current->process;
	if (r->flags & CLONE_THREAD) {
		process_get(parent);
		t->process = parent;
		t->sighand = parent->sighand;
		return 0;
	}
	struct process *p = process_alloc();
	if (!p)
		return -ENOMEM;
	int error = copy_sighand(p, parent, r->flags);
	if (error) {
		process_put(p);
		return error;
	}
	spin_lock(&parent->lock);
	memcpy(p->rlimits, parent->rlimits, sizeof(p->rlimits));
	p->oom_score_adjust = parent->oom_score_adjust;
	keys_fork(p, parent);
	p->login_uid = parent->login_uid;
	p->login_session = parent->login_session;
	spin_unlock(&parent->lock);
	p->has_child_subreaper = parent->has_child_subreaper || parent->is_subreaper;
	p->start_ns = t->start_ns;
	p->leader = t;
	process_get(p); // one for the list, one for the task
	t->process = p;
	t->sighand = p->sighand;
	return 0;
}

static int copy_files(struct task *t, uint64_t flags)
{
	struct task *me = current;
	if (flags & CLONE_FILES) {
		t->files = files_get(me->files);
	} else {
		t->files = files_copy(me->files);
		if (is_err(t->files)) {
			int error = (int)ptr_err(t->files);
			t->files = NULL;
			return error;
		}
	}
	if (flags & CLONE_FS) {
		refcount_get(&me->fs->refs);
		t->fs = me->fs;
	} else {
		t->fs = fs_context_copy(me->fs);
	}
	return t->fs ? 0 : -ENOMEM;
}

static int copy_namespaces(struct task *t, uint64_t flags)
{
	struct namespaces *s = namespaces_for_child(flags, t->cred, t->fs);
	if (is_err(s))
		return (int)ptr_err(s);
	t->namespaces = s;
	return 0;
}

static int copy_mm(struct task *t, uint64_t flags)
{
	struct mm *mm = current->mm;
	if (flags & CLONE_VM) {
		refcount_get(&mm->users);
		mm_get(mm);
		t->mm = mm;
		if (!(flags & CLONE_THREAD))
			t->process->borrows_mm = true;
		return PORT_HOST && !(flags & CLONE_THREAD) ? port_task_spawn(t->port, mm->aspace) : 0;
	}
	mm = mm_fork(mm, t->port);
	if (is_err(mm))
		return (int)ptr_err(mm);
	t->mm = mm;
	return 0;
}

static void copy_own(struct task *t, const struct clone_request *r)
{
	struct task *me = current;
	bool thread = r->flags & CLONE_THREAD;
	memcpy(t->comm, me->comm, sizeof(t->comm));
	t->blocked = me->blocked;
	t->timer_slack_ns = me->timer_slack_ns;
	t->personality = me->personality;
	t->flags = TASK_FORKED_NO_EXEC;
	t->start_ns = clock_monotonic_ns();
	t->exit_signal = thread ? -1 : r->flags & CLONE_PARENT ? me->process->leader->exit_signal : r->exit_signal;
	if (r->flags & CLONE_CHILD_SETTID) {
		t->set_child_tid = r->child_tid.address;
		t->work |= WORK_CALLBACK; // stored by the child itself, in its own memory
	}
	if (r->flags & CLONE_CHILD_CLEARTID)
		t->clear_child_tid = r->child_tid.address;
	// A new stack and memory of its own keep the alternate stack; another thread must not share it.
	if ((r->flags & (CLONE_VM | CLONE_VFORK)) != CLONE_VM) {
		t->altstack_base = me->altstack_base;
		t->altstack_size = me->altstack_size;
		t->altstack_flags = me->altstack_flags;
	} else {
		t->altstack_flags = SS_DISABLE;
	}
	if (!(r->flags & CLONE_VM)) {
		t->rseq_area = me->rseq_area;
		t->rseq_size = me->rseq_size;
		t->rseq_signature = me->rseq_signature;
		if (t->rseq_area)
			t->work |= WORK_RSEQ;
	}
	t->work |= task_work_test(me, WORK_TRACE) ? WORK_TRACE : 0;
	t->did_exec = false;
}

static int copy_port(struct task *t, const struct clone_request *r)
{
	int error = port_task_create(t, &t->port);
	if (error) {
		t->port = NULL;
		return error;
	}
	if (r->fn)
		port_task_set_entry(t->port, r->fn, r->argument);
	else
		port_task_fork(t->port, r->stack);
	if (r->flags & CLONE_SETTLS)
		port_task_set_fs_base(t->port, r->tls);
	return 0;
}

// Releases a task that was never linked.
static void unmake(struct task *t)
{
	if (PORT_HOST && t->port)
		port_task_release(t->port, false);
	if (t->mm)
		mm_release_user(t->mm);
	if (t->fs)
		fs_context_put(t->fs);
	if (t->files)
		files_put(t->files);
	namespaces_put(t->namespaces);
	struct process *p = t->process;
	if (p && p->leader == t && p != current->process) {
		p->leader = NULL;
		process_put(p);
	}
	task_put(t);
}

// Workers, too, are made where children are born elsewhere.
static struct pid_namespace *pid_namespace_for(const struct task *t, uint64_t flags)
{
	return flags & CLONE_THREAD ? task_pid_namespace(current)
				    : container_of(t->namespaces->of[NAMESPACE_PID], struct pid_namespace, common);
}

static struct task *make(const struct clone_request *r, int *error)
{
	struct task *t = task_alloc();
	*error = -ENOMEM;
	if (!t)
		return NULL;
	if ((*error = copy_cred(t, r->flags)) || (*error = copy_limits(t, current->process)))
		goto free;
	copy_own(t, r);
	if ((*error = copy_process(t, r)) || (*error = copy_files(t, r->flags)) ||
	    (*error = copy_namespaces(t, r->flags)) || (*error = copy_port(t, r)))
		goto undo;
	t->pid = pid_alloc(pid_namespace_for(t, r->flags), error);
	if (!t->pid)
		goto undo;
	t->tid = t->pid->number;
	t->own_tid = pid_number_in(task_pid_namespace(t), t->pid);
	if (t->process != current->process) {
		t->process->pid = t->tid;
		t->process->own_pid = t->own_tid;
	}
	*error = copy_mm(t, r->flags); // last: the dearest to undo
	if (*error)
		goto undo;
	sched_task_init(t, current);
	return t;
undo:
	__atomic_sub_fetch(&t->cred->user->tasks, 1, __ATOMIC_RELAXED);
free:
	unmake(t);
	return NULL;
}

// ---- linking ----

static void link_process(struct task *t, uint64_t flags)
{
	struct process *p = t->process, *me = current->process;
	bool sibling = flags & CLONE_PARENT && me->parent;
	process_link(p, sibling ? me->parent : me);
	p->maker = sibling ? me->maker : current;
	tty_process_inherit(p, me);
	process_set_group(p, me->pgrp);
	process_set_session(p, me->session);
}

// -ERESTARTNOINTR, -EAGAIN: must not be born any more.
static int link(struct task *t, const struct clone_request *r, unsigned event, bool traced)
{
	struct task *me = current;
	struct process *p = t->process;
	int error = 0;
	spin_lock(&tasklist_lock);
	struct sighand *s = process_sighand_lock(me->process);
	if (me->process->exiting || (me->process->execing && me->process->exec_task != me))
		error = -ERESTARTNOINTR; // dying: it will not see the result
	if (t->pid->space && t->pid->space->dying)
		error = -ENOMEM;
	if (error) {
		spin_unlock(&s->lock);
		spin_unlock(&tasklist_lock);
		return error;
	}
	if (unlikely(t->pid->space && t->own_tid == 1)) {
		t->pid->space->init = p;
		p->is_inner_init = p->unkillable = true;
	}
	if (r->flags & CLONE_THREAD && (me->jobctl & JOBCTL_STOP_PENDING)) {
		t->jobctl |= JOBCTL_STOP_PENDING;
		t->work |= WORK_SIGNAL;
		p->stop_count++;
	}
	seccomp_inherit(t, me);
	t->pid->task = t;
	list_add_tail(&p->threads, &t->thread_node);
	p->thread_count++;
	p->live_count += !(t->flags & TASK_WORKER);
	spin_unlock(&s->lock);
	if (!(r->flags & CLONE_THREAD))
		link_process(t, r->flags);
	if (traced)
		ptrace_new_task(t, event, r->flags & CLONE_PTRACE);
	spin_unlock(&tasklist_lock);
	return 0;
}

// ---- vfork ----

void vfork_complete(struct task *t)
{
	if (likely(!__atomic_load_n(&t->vfork_done, __ATOMIC_ACQUIRE)))
		return;
	spin_lock(&t->lock); // the queue is on the parent's stack: it leaves only under this lock
	struct waitq *q = t->vfork_done;
	if (q) {
		__atomic_store_n(&t->vfork_done, NULL, __ATOMIC_RELEASE);
		waitq_wake_all(q);
	}
	spin_unlock(&t->lock);
}

static void vfork_wait(struct task *child, struct waitq *q)
{
	(void)wait_event_killable(q, !__atomic_load_n(&child->vfork_done, __ATOMIC_ACQUIRE));
	spin_lock(&child->lock);
	child->vfork_done = NULL; // killed: the child must not touch the queue any more
	spin_unlock(&child->lock);
}

// ---- the call ----

static unsigned trace_event_of(const struct clone_request *r)
{
	if (r->flags & CLONE_VFORK)
		return PTRACE_EVENT_VFORK;
	return r->exit_signal != SIGCHLD ? PTRACE_EVENT_CLONE : PTRACE_EVENT_FORK;
}

static int report_ids(struct task *t, const struct clone_request *r, int pidfd)
{
	if ((r->flags & CLONE_PIDFD) && put_user((int32_t)pidfd, r->pidfd))
		return -EFAULT;
	if (r->flags & CLONE_PARENT_SETTID)
		(void)put_user((int32_t)pid_number_in(task_pid_namespace(current), t->pid),
			       r->parent_tid); // Linux ignores a fault here too
	return 0;
}

static int start(struct task *t, uint64_t flags)
{
	if (!PORT_HOST || !(flags & CLONE_THREAD)) {
		sched_start(t);
		return 0;
	}
	int error = sched_start_thread(t);
	if (error)
		task_exit_unborn(t);
	return error;
}

// What the maker has yet to do for a child that was started and is `tid` to it.
static void stay_with(struct task *t, pid_t tid, const struct clone_request *r, unsigned event, bool traced,
		      struct waitq *done)
{
	if (traced && ptrace_wants(current, event))
		ptrace_event(event, (uint64_t)tid);
	if (r->flags & CLONE_VFORK) {
		vfork_wait(t, done);
		if (traced && ptrace_wants(current, PTRACE_EVENT_VFORK_DONE))
			ptrace_event(PTRACE_EVENT_VFORK_DONE, (uint64_t)tid);
	}
}

long task_clone(const struct clone_request *r)
{
	int error = flags_check(r), pidfd = -1;
	struct file *pidfd_file = NULL;
	struct waitq done;
	if (error)
		return error;
	unsigned event = r->flags & CLONE_UNTRACED ? 0 : trace_event_of(r);
	bool traced = current->tracer && (ptrace_wants(current, event) || (r->flags & CLONE_PTRACE));
	struct task *t = make(r, &error);
	if (!t)
		return error;
	if (r->flags & CLONE_PIDFD) {
		pidfd = pidfd_prepare(t->pid, 0, &pidfd_file);
		if (pidfd < 0) {
			error = pidfd;
			goto undo;
		}
	}
	error = report_ids(t, r, pidfd);
	if (error)
		goto undo;
	if (r->flags & CLONE_VFORK) {
		waitq_init(&done);
		t->vfork_done = &done;
		t->flags |= TASK_VFORKED;
	}
	error = link(t, r, event, traced);
	if (error)
		goto undo;
	if (PORT_HOST)
		mm_enter(t->mm, t);
	if (pidfd >= 0)
		fd_install(pidfd, pidfd_file);
	pid_t tid = pid_number_in(task_pid_namespace(current), t->pid);
	bool stay = (r->flags & CLONE_VFORK) || traced;
	if (stay)
		task_get(t);
	error = start(t, r->flags);
	if (unlikely(stay)) {
		if (!error)
			stay_with(t, tid, r, event, traced, &done);
		task_put(t);
	}
	return error ? error : tid;
undo:
	if (pidfd >= 0) {
		fd_cancel(pidfd);
		file_put(pidfd_file);
	}
	__atomic_sub_fetch(&t->cred->user->tasks, 1, __ATOMIC_RELAXED);
	unmake(t);
	return error;
}

// ---- workers ----

int process_worker_create(const char *name, void (*fn)(void *), void *arg, struct uring_owner *owner)
{
	struct clone_request r = { .flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD,
				   .fn = fn,
				   .argument = arg };
	int error;
	struct task *t = make(&r, &error);

	if (!t)
		return error;
	task_comm_set(t, name);
	t->flags |= TASK_WORKER;
	t->blocked = ~SIGMASK_KERNEL_ONLY;
	error = link(t, &r, 0, false);
	if (error) {
		__atomic_sub_fetch(&t->cred->user->tasks, 1, __ATOMIC_RELAXED);
		unmake(t);
		return -EAGAIN;
	}
	t->uring_owner = owner;
	if (PORT_HOST)
		mm_enter(t->mm, t);
	return start(t, r.flags);
}

// ---- system calls ----

long sys_fork(void)
{
	struct clone_request r = { .exit_signal = SIGCHLD };
	return task_clone(&r);
}

long sys_vfork(void)
{
	struct clone_request r = { .flags = CLONE_VFORK | CLONE_VM, .exit_signal = SIGCHLD };
	return task_clone(&r);
}

long sys_clone(uint64_t flags, uint64_t stack, struct uptr parent_tid, struct uptr child_tid, uint64_t tls)
{
	struct clone_request r = {
		.flags = (uint32_t)flags & ~(uint64_t)CSIGNAL,
		.exit_signal = (int)(flags & CSIGNAL),
		.stack = stack,
		.tls = tls,
		.parent_tid = parent_tid,
		.child_tid = child_tid,
		.pidfd = parent_tid,
	};
	if ((r.flags & CLONE_PIDFD) && (r.flags & CLONE_PARENT_SETTID))
		return -EINVAL; // both want the same pointer
	if (r.flags & CLONE_NEWTIME)
		r.flags &= ~(uint64_t)CLONE_NEWTIME; // that bit is part of CSIGNAL in clone(2)
	if ((r.flags & CLONE_SETTLS) && tls >= port_user_end())
		return -EPERM;
	return task_clone(&r);
}

static int clone3_check(const struct clone_args *a)
{
	const uint64_t known = UINT64_C(0xffffffff) | FLAGS_CLONE3_ONLY;
	if (a->set_tid_size > 32 || (!a->set_tid && a->set_tid_size) || (a->set_tid && !a->set_tid_size))
		return -EINVAL;
	if ((a->exit_signal & ~(uint64_t)CSIGNAL) || a->exit_signal > SIGNALS_MAX)
		return -EINVAL;
	if (a->flags & ~known || (a->flags & (CLONE_DETACHED | (CSIGNAL & ~CLONE_NEWTIME))))
		return -EINVAL;
	if ((a->flags & (CLONE_SIGHAND | CLONE_CLEAR_SIGHAND)) == (CLONE_SIGHAND | CLONE_CLEAR_SIGHAND))
		return -EINVAL;
	if ((a->flags & (CLONE_THREAD | CLONE_PARENT)) && a->exit_signal)
		return -EINVAL;
	if ((a->flags & CLONE_INTO_CGROUP))
		return a->cgroup > INT32_MAX ? -EINVAL
					     : -EBADF; // there is no cgroup file system to have a descriptor of
	if (!a->stack != !a->stack_size || !user_range_ok(a->stack, a->stack_size))
		return -EINVAL;
	if (a->set_tid_size)
		return cred_capable(current->cred, CAP_SYS_ADMIN) ? -EINVAL : -EPERM;
	return 0;
}

long sys_clone3(struct uptr arguments, size_t size)
{
	struct clone_args a;
	if (size > PAGE_SIZE)
		return -E2BIG;
	if (size < CLONE_ARGS_SIZE_VER0)
		return -EINVAL;
	int error = copy_struct_from_user(&a, sizeof(a), arguments, size);
	if (!error)
		error = clone3_check(&a);
	if (error)
		return error;
	struct clone_request r = {
		.flags = a.flags,
		.exit_signal = (int)a.exit_signal,
		.stack = a.stack ? a.stack + a.stack_size : 0,
		.tls = a.tls,
		.parent_tid = { a.parent_tid },
		.child_tid = { a.child_tid },
		.pidfd = { a.pidfd },
	};
	if ((r.flags & CLONE_SETTLS) && r.tls >= port_user_end())
		return -EPERM;
	return task_clone(&r);
}
