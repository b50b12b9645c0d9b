// SPDX-License-Identifier: Apache-2.0
// Tasks and processes as objects: caches, references, look-up, what other subsystems may ask of them.
//
// A struct task is held by its process's thread list until it is released (exit.c) and by the scheduler until it was
// switched away from for the last time. A struct process is held by each of its tasks and, until it was reaped, by the
// process list. See internal.h for the lock order.
#include "internal.h"

#include "kernel/keys.h"
#include "kernel/poll.h"
#include "kernel/init.h"
#include "kernel/leak.h"
#include "kernel/log.h"
#include "kernel/seccomp.h"
#include "lib/string.h"

#include <linux/ptrace.h>

struct slab_cache *task_cache, *process_cache, *sighand_cache;
struct spinlock tasklist_lock = SPINLOCK_INIT;
struct list process_list = LIST_INIT(process_list);
struct process *init_process;

static struct sighand kernel_sighand = {
	.refs = { 1 },
	.lock = SPINLOCK_INIT,
	.signalfd_wait = WAITQ_INIT(kernel_sighand.signalfd_wait),
};
struct process kernel_process = {
	.refs = { 1 },
	.threads = LIST_INIT(kernel_process.threads),
	.node = LIST_INIT(kernel_process.node),
	.children = LIST_INIT(kernel_process.children),
	.sibling = LIST_INIT(kernel_process.sibling),
	.pgrp_node = LIST_INIT(kernel_process.pgrp_node),
	.session_node = LIST_INIT(kernel_process.session_node),
	.tracees = LIST_INIT(kernel_process.tracees),
	.posix_timers = LIST_INIT(kernel_process.posix_timers),
	.pending = { 0, LIST_INIT(kernel_process.pending.queue) },
	.child_wait = WAITQ_INIT(kernel_process.child_wait),
	.lock = SPINLOCK_INIT,
	.sighand = &kernel_sighand,
};

static int32_t task_count, process_count; // atomic; of programs
static int64_t tasks_left(void) { return __atomic_load_n(&task_count, __ATOMIC_RELAXED); }
static int64_t processes_left(void) { return __atomic_load_n(&process_count, __ATOMIC_RELAXED); }
int process_total(void) { return __atomic_load_n(&process_count, __ATOMIC_RELAXED); }
static int64_t pids_left(void) { return pid_count(); }
static struct leak_counter task_leaks = { .name = "tasks", .left = tasks_left };
static struct leak_counter process_leaks = { .name = "processes", .left = processes_left };
static struct leak_counter pid_leaks = { .name = "pids", .left = pids_left };

static void task_caches_init(void)
{
	leak_counter_register(&task_leaks);
	leak_counter_register(&process_leaks);
	leak_counter_register(&pid_leaks);
	task_cache = slab_cache_create("task", sizeof(struct task), 64);
	process_cache = slab_cache_create("process", sizeof(struct process), 64);
	sighand_cache = slab_cache_create("sighand", sizeof(struct sighand), 64);
}
KERNEL_INIT(1, task_caches_init);

static void task_init(struct task *t)
{
	list_init(&t->thread_node);
	list_init(&t->pending.queue);
	list_init(&t->tracee_node);
	list_init(&t->mm_node);
	t->exit_signal = -1;
	t->timer_slack_ns = 50000;
}

struct task *task_alloc(void)
{
	struct task *t = slab_alloc(task_cache);
	if (!t)
		return NULL;
	task_init(t);
	refcount_set(&t->refs, 1);
	__atomic_add_fetch(&task_count, 1, __ATOMIC_RELAXED);
	return t;
}

void task_init_kernel(struct task *t, const char *name)
{
	task_init(t);
	refcount_set(&t->refs, 1);
	t->flags = TASK_KERNEL;
	t->process = &kernel_process;
	t->sighand = &kernel_sighand;
	t->cred = cred_kernel;
	t->namespaces = &namespaces_initial;
	t->blocked = ~UINT64_C(0);
	string_copy(t->comm, name, sizeof(t->comm));
}

struct task *task_alloc_kernel(const char *name)
{
	struct task *t = slab_alloc(task_cache);
	if (t)
		task_init_kernel(t, name);
	return t;
}

void task_put(struct task *t)
{
	if (!refcount_put(&t->refs))
		return;
	assert(list_empty(&t->thread_node));
	if (t->port)
		port_task_destroy(t->port);
	if (t->pid)
		pid_put(t->pid);
	seccomp_release(t);
	key_put(t->thread_keyring);
	if (t->cred && t->cred != cred_kernel)
		cred_put(t->cred);
	if (t->process && t->process != &kernel_process)
		process_put(t->process);
	if (!(t->flags & TASK_KERNEL))
		__atomic_sub_fetch(&task_count, 1, __ATOMIC_RELAXED);
	slab_free(task_cache, t);
}

struct process *process_alloc(void)
{
	struct process *p = slab_alloc(process_cache);
	if (!p)
		return NULL;
	refcount_set(&p->refs, 1);
	__atomic_add_fetch(&process_count, 1, __ATOMIC_RELAXED);
	list_init(&p->threads);
	list_init(&p->node);
	list_init(&p->children);
	list_init(&p->sibling);
	list_init(&p->pgrp_node);
	list_init(&p->session_node);
	list_init(&p->tracees);
	list_init(&p->posix_timers);
	list_init(&p->pending.queue);
	waitq_init(&p->child_wait);
	spin_init(&p->lock);
	p->login_uid = p->login_session = NO_LOGIN;
	return p;
}

void process_put(struct process *p)
{
	if (!refcount_put(&p->refs))
		return;
	assert(list_empty(&p->node) && list_empty(&p->threads));
	if (p->sighand) {
		spin_lock(&p->sighand->lock);
		signal_flush(&p->pending);
		spin_unlock(&p->sighand->lock);
		sighand_put(p->sighand);
	}
	key_put(p->session_keyring);
	key_put(p->process_keyring);
	__atomic_sub_fetch(&process_count, 1, __ATOMIC_RELAXED);
	slab_free(process_cache, p);
}

struct sighand *sighand_alloc(void)
{
	struct sighand *s = slab_alloc(sighand_cache);
	if (!s)
		return NULL;
	refcount_set(&s->refs, 1);
	spin_init(&s->lock);
	waitq_init(&s->signalfd_wait);
	return s;
}

void sighand_put(struct sighand *s)
{
	while (s && refcount_put(&s->refs)) {
		struct sighand *previous = s->previous;
		poll_queue_free(&s->signalfd_wait);
		slab_free(sighand_cache, s);
		s = previous;
	}
}

// ---- relations; tasklist_lock ----

void process_tell_parent(struct process *p)
{
	struct process *parent = p->parent;
	pid_t number = parent && parent->leader ? pid_number_in(task_pid_namespace(p->leader), parent->leader->pid) : 0;
	__atomic_store_n(&p->parent_pid, number, __ATOMIC_RELAXED);
}

void process_link(struct process *p, struct process *parent)
{
	p->parent = parent;
	process_tell_parent(p);
	if (parent)
		list_add_tail(&parent->children, &p->sibling);
	// Kept in order of age; pids wrap, so order by pid is made by process_next().
	list_add_tail(&process_list, &p->node);
}

void process_set_group(struct process *p, struct pid *pgrp)
{
	struct pid *old = p->pgrp;
	list_remove(&p->pgrp_node);
	p->pgrp = pgrp;
	if (pgrp) {
		refcount_get(&pgrp->refs);
		list_add_tail(&pgrp->group, &p->pgrp_node);
	}
	if (old) {
		pid_release_if_unused(old);
		pid_put(old);
	}
}

void process_set_session(struct process *p, struct pid *session)
{
	struct pid *old = p->session;
	list_remove(&p->session_node);
	p->session = session;
	if (session) {
		refcount_get(&session->refs);
		list_add_tail(&session->session, &p->session_node);
	}
	if (old) {
		pid_release_if_unused(old);
		pid_put(old);
	}
}

// A process group is orphaned when no member has a parent in another group of the same session (POSIX 3.264).
bool process_is_orphaned_group(struct pid *pgrp)
{
	struct process *p;
	list_for_each (p, &pgrp->group, pgrp_node) {
		// pid 1 is an ordinary program here, maybe a shell with job control: it counts for the children it made itself.
		if (p->zombie || !p->parent || p->auto_reap)
			continue;
		if (p->parent->pgrp != pgrp && p->parent->session == p->session)
			return false;
	}
	return true;
}

// ---- look-up ----

struct task *task_find_locked(pid_t tid)
{
	struct pid *p = pid_find_locked(tid);
	return p ? p->task : NULL;
}

struct process *process_find_locked(pid_t pid)
{
	struct task *t = task_find_locked(pid);
	return t && t->process->pid == pid ? t->process : NULL;
}

struct task *task_find(pid_t tid)
{
	spin_lock(&tasklist_lock);
	struct task *t = task_find_locked(tid);
	if (t)
		task_get(t);
	spin_unlock(&tasklist_lock);
	return t;
}

struct process *process_find(pid_t pid)
{
	spin_lock(&tasklist_lock);
	struct process *p = process_find_locked(pid);
	if (p)
		process_get(p);
	spin_unlock(&tasklist_lock);
	return p;
}

struct process *process_next(pid_t from)
{
	struct process *p, *best = NULL;
	spin_lock(&tasklist_lock);
	list_for_each (p, &process_list, node)
		if (p->pid >= from && (!best || p->pid < best->pid))
			best = p;
	if (best)
		process_get(best);
	spin_unlock(&tasklist_lock);
	return best;
}

struct task *process_thread_next(struct process *p, pid_t from)
{
	struct task *t, *best = NULL;
	spin_lock(&tasklist_lock);
	list_for_each (t, &p->threads, thread_node)
		if (t->tid >= from && (!best || t->tid < best->tid) && (!t->dead || t == p->leader))
			best = t;
	if (best)
		task_get(best);
	spin_unlock(&tasklist_lock);
	return best;
}

struct mm *task_mm_get(struct task *t)
{
	spin_lock(&t->lock);
	struct mm *mm = t->mm;
	if (mm) {
		refcount_get(&mm->users);
		mm_get(mm);
	}
	spin_unlock(&t->lock);
	return mm;
}

const struct cred *task_cred_get(struct task *t)
{
	spin_lock(&t->lock);
	const struct cred *c = cred_get(t->cred);
	spin_unlock(&t->lock);
	return c;
}

struct files *task_files_get(struct task *t)
{
	spin_lock(&t->lock);
	struct files *f = t->files ? files_get(t->files) : NULL;
	spin_unlock(&t->lock);
	return f;
}

uint64_t process_rlimit(struct process *p, unsigned resource)
{
	return __atomic_load_n(&p->rlimits[resource].rlim_cur, __ATOMIC_RELAXED);
}

void task_comm_get(struct task *t, char out[16])
{
	spin_lock(&t->lock);
	memcpy(out, t->comm, 16);
	spin_unlock(&t->lock);
	out[15] = 0;
}

void task_comm_set(struct task *t, const char *name)
{
	spin_lock(&t->lock);
	memset(t->comm, 0, sizeof(t->comm));
	string_copy(t->comm, name, sizeof(t->comm));
	spin_unlock(&t->lock);
}

char task_state_char(struct task *t)
{
	if (__atomic_load_n(&t->dead, __ATOMIC_RELAXED))
		return t->process->zombie || t->process->leader == t ? 'Z' : 'X';
	uint32_t jobctl = __atomic_load_n(&t->jobctl, __ATOMIC_RELAXED);
	if (jobctl & JOBCTL_TRACED)
		return 't';
	if (jobctl & JOBCTL_STOPPED)
		return 'T';
	uint32_t state = __atomic_load_n(&t->sched.state, __ATOMIC_RELAXED);
	if (state == SCHED_PARKED || state == SCHED_PARKING)
		return t->sched.park_mode == PARK_INTERRUPTIBLE ? 'S' : 'D';
	return state == SCHED_ASLEEP ? 'S' : 'R';
}

bool fatal_signal_pending(struct task *t) { return task_work_test(t, WORK_KILLED); }

bool killed_task_waits(void)
{
	struct process *p;
	struct task *t;
	bool found = false;
	spin_lock(&tasklist_lock);
	list_for_each (p, &process_list, node)
		list_for_each (t, &p->threads, thread_node)
			found |= fatal_signal_pending(t) &&
				 __atomic_load_n(&t->sched.state, __ATOMIC_RELAXED) == SCHED_PARKED &&
				 __atomic_load_n(&t->sched.park_mode, __ATOMIC_RELAXED) == PARK_UNINTERRUPTIBLE;
	spin_unlock(&tasklist_lock);
	return found;
}

void task_add_callback(struct task_callback *c)
{
	struct task *t = current;
	struct task_callback *first = __atomic_load_n(&t->callbacks, __ATOMIC_RELAXED);
	do
		c->next = first;
	while (!__atomic_compare_exchange_n(&t->callbacks, &first, c, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
	task_work_set(t, WORK_CALLBACK);
}

// ---- usage ----

void io_usage_add(struct io_usage *to, const struct io_usage *more)
{
	to->bytes_read += more->bytes_read;
	to->bytes_written += more->bytes_written;
	to->reads += more->reads;
	to->writes += more->writes;
}

void process_usage_add_task(struct process *p, struct task *t)
{
	uint64_t user_ns, system_ns;
	sched_task_times(t, &user_ns, &system_ns);
	p->dead_user_ns += user_ns;
	p->dead_system_ns += system_ns;
	p->dead_min_faults += t->min_faults;
	p->dead_maj_faults += t->maj_faults;
	if (PORT_HOST && t == current && p->thread_count == 1 && !p->borrows_mm) { // the host process goes too
		uint64_t minor, major;
		port_process_faults(&minor, &major);
		p->dead_min_faults += minor;
		p->dead_maj_faults += major;
	}
	p->dead_voluntary += t->sched.voluntary_switches;
	p->dead_involuntary += t->sched.involuntary_switches;
	io_usage_add(&p->dead_io, &t->io);
	sched_add_dead(t);
}

void process_usage_get(struct process *p, struct process_usage *out)
{
	struct task *t;
	memset(out, 0, sizeof(*out));
	sched_note_times(p);
	struct sighand *s = process_sighand_lock(p);
	out->user_ns = p->dead_user_ns;
	out->system_ns = p->dead_system_ns;
	out->min_faults = p->dead_min_faults;
	out->maj_faults = p->dead_maj_faults;
	out->voluntary = p->dead_voluntary;
	out->involuntary = p->dead_involuntary;
	out->max_rss_pages = p->max_rss_pages;
	out->io = p->dead_io;
	list_for_each (t, &p->threads, thread_node) {
		if (t->dead)
			continue; // already among the dead ones
		uint64_t user_ns, system_ns;
		sched_known_times(t, &user_ns, &system_ns);
		out->user_ns += user_ns;
		out->system_ns += system_ns;
		out->min_faults += t->min_faults;
		out->maj_faults += t->maj_faults;
		out->voluntary += t->sched.voluntary_switches;
		out->involuntary += t->sched.involuntary_switches;
		io_usage_add(&out->io, &t->io);
	}
	if (PORT_SCHEDULES_TASKS)
		sched_process_times(p, &out->user_ns, &out->system_ns);
	spin_unlock(&s->lock);
	if (PORT_HOST && p == current->process && !p->zombie) {
		uint64_t minor, major;
		port_process_faults(&minor, &major);
		out->min_faults += minor;
		out->maj_faults += major;
	}
}
