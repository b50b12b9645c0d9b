// SPDX-License-Identifier: Apache-2.0
// Sending signals: what happens at once (stops cancelled, continues done, fatal ones start the group's exit), queueing, and
// the choice of the thread that is to take a process's signal. signal(7).
//
// Everything here runs under the receiver's sighand->lock and may run in interrupt context: nothing sleeps.
#include "internal.h"

#include "lib/string.h"

#include <linux/audit.h>

// ---- queue entries ----

static struct sigqueue_entry *entry_alloc(struct process *p, struct task *t, bool over_limit)
{
	struct task *charged = t ? t : p->leader;
	spin_lock(&charged->lock); // it may be changing its credentials
	struct user *u = user_get(charged->cred->user);
	spin_unlock(&charged->lock);
	int32_t n = __atomic_add_fetch(&u->pending_signals, 1, __ATOMIC_RELAXED);
	struct sigqueue_entry *e = NULL;
	if (over_limit || (uint64_t)n <= process_rlimit(p, RLIMIT_SIGPENDING))
		e = kalloc_atomic(sizeof(*e));
	if (!e) {
		__atomic_sub_fetch(&u->pending_signals, 1, __ATOMIC_RELAXED);
		user_put(u);
		return NULL;
	}
	list_init(&e->node);
	e->user = u;
	return e;
}

static void entry_free(struct sigqueue_entry *e)
{
	list_remove(&e->node);
	if (e->preallocated)
		return;
	__atomic_sub_fetch(&e->user->pending_signals, 1, __ATOMIC_RELAXED);
	user_put(e->user);
	kfree(e);
}

void signal_flush(struct sigpending *q) { signal_flush_mask(q, ~UINT64_C(0)); }

void signal_flush_mask(struct sigpending *q, sigmask_t mask)
{
	struct sigqueue_entry *e, *next;
	if (!(q->set & mask))
		return;
	q->set &= ~mask;
	list_for_each_safe (e, next, &q->queue, node)
		if (mask & SIGMASK(e->info.si_signo))
			entry_free(e);
}

// ---- waking ----

void signal_wake(struct task *t, bool fatal)
{
	task_work_set(t, fatal ? WORK_SIGNAL | WORK_KILLED : WORK_SIGNAL);
	sched_kick_task(t);
}

// Only a task itself clears its bit: another could race with it on the way to a decision.
void signal_recompute(struct task *t)
{
	if (((t->pending.set | t->process->pending.set) & ~t->blocked) ||
	    (t->jobctl & (JOBCTL_STOP_PENDING | JOBCTL_TRAP_STOP)) || t->process->notify)
		task_work_set(t, WORK_SIGNAL);
	else if (t == current && task_work_test(t, WORK_SIGNAL))
		task_work_clear(t, WORK_SIGNAL);
}

// ---- rules ----

// From within its namespace the first process of one takes no signal that it does not handle, from outside SIGKILL and SIGSTOP only.
static bool passes_by(const struct process *p, const struct task *t, int signal)
{
	if (likely(!p->unkillable) || p->sighand->action[signal - 1].handler != (uint64_t)SIG_DFL)
		return false;
	return !(SIGMASK_KERNEL_ONLY & SIGMASK(signal)) ||
	       pid_namespace_is_below(task_pid_namespace(current), t->pid->space);
}

static bool is_ignored(struct process *p, struct task *t, int signal)
{
	// A blocked signal is kept: the action may be another one when it is unblocked. A tracer sees them all.
	if ((t->blocked | t->real_blocked) & SIGMASK(signal))
		return false;
	if (passes_by(p, t, signal))
		return true;
	if (t->tracer && signal != SIGKILL)
		return false;
	uint64_t handler = p->sighand->action[signal - 1].handler;
	return handler == (uint64_t)SIG_IGN || (handler == (uint64_t)SIG_DFL && (SIGMASK_IGNORE & SIGMASK(signal)));
}

static bool is_fatal(struct process *p, int signal)
{
	return p->sighand->action[signal - 1].handler == (uint64_t)SIG_DFL &&
	       !((SIGMASK_IGNORE | SIGMASK_STOP) & SIGMASK(signal));
}

static struct task *any_live(struct process *p)
{
	struct task *t;
	if (p->leader && !p->leader->dead)
		return p->leader;
	list_for_each (t, &p->threads, thread_node)
		if (!t->dead)
			return t;
	return NULL;
}

static void flush_everywhere(struct process *p, sigmask_t mask)
{
	struct task *t;
	signal_flush_mask(&p->pending, mask);
	list_for_each (t, &p->threads, thread_node)
		signal_flush_mask(&t->pending, mask);
}

static void continue_process(struct process *p)
{
	struct task *t;
	flush_everywhere(p, SIGMASK_STOP);
	list_for_each (t, &p->threads, thread_node) {
		t->jobctl &= ~(JOBCTL_STOP_PENDING | JOBCTL_STOP_DEQUEUED);
		if (t->jobctl & JOBCTL_LISTENING) { // PTRACE_LISTEN: the tracer is told that the stop ended
			__atomic_store_n(&t->jobctl,
					 (t->jobctl & ~(JOBCTL_LISTENING | JOBCTL_TRACED)) | JOBCTL_TRAP_STOP,
					 __ATOMIC_SEQ_CST);
			task_work_set(t, WORK_SIGNAL);
			task_unpark(t);
		}
		if (t->jobctl & JOBCTL_STOPPED) {
			__atomic_and_fetch(&t->jobctl, ~JOBCTL_STOPPED, __ATOMIC_SEQ_CST);
			task_unpark(t);
		}
	}
	if (!p->stopped && !p->stop_count)
		return;
	// The parent is told by the first thread that comes along: here tasklist_lock may be held by somebody else.
	p->notify = p->stopped ? CLD_CONTINUED : CLD_STOPPED;
	p->continued = p->stopped;
	p->stopped = false;
	p->stop_count = 0;
	t = any_live(p);
	if (t)
		task_work_set(t, WORK_SIGNAL);
}

// The immediate effects. False: the signal goes no further.
static bool prepare(struct process *p, struct task *t, int signal)
{
	if (p->exiting) {
		p->core_abandoned |= signal == SIGKILL;
		return false;
	}
	if (SIGMASK_STOP & SIGMASK(signal))
		flush_everywhere(p, SIGMASK(SIGCONT));
	else if (signal == SIGCONT)
		continue_process(p);
	return !is_ignored(p, t, signal);
}

static bool wants(struct task *t, int signal)
{
	if ((t->blocked & SIGMASK(signal)) || t->dead || (t->flags & TASK_EXITING))
		return false;
	if (signal == SIGKILL)
		return true;
	if (t->jobctl & (JOBCTL_STOPPED | JOBCTL_TRACED))
		return false;
	return !task_work_test(t, WORK_SIGNAL);
}

bool process_zap_threads(struct process *p, struct task *except)
{
	struct task *t;
	bool others = false;
	p->stop_count = 0;
	list_for_each (t, &p->threads, thread_node) {
		t->jobctl &= ~(JOBCTL_STOP_PENDING | JOBCTL_TRAP_STOP);
		if (t == except || t->dead)
			continue;
		others = true;
		t->pending.set |= SIGMASK(SIGKILL);
		signal_wake(t, true);
	}
	return others;
}

static struct task *choose(struct process *p, struct task *only, int signal)
{
	struct task *t;
	if (only)
		return wants(only, signal) ? only : NULL;
	if (p->leader && wants(p->leader, signal))
		return p->leader;
	if (p->thread_count > 1 || (p->leader && p->leader->dead))
		list_for_each (t, &p->threads, thread_node)
			if (wants(t, signal))
				return t;
	return NULL;
}

static void complete(struct process *p, struct task *only, int signal)
{
	struct task *t = choose(p, only, signal);
	if (!t)
		return; // all block it, or are on their way to the queues anyway
	if (is_fatal(p, signal) && !(t->real_blocked & SIGMASK(signal)) && (signal == SIGKILL || !t->tracer) &&
	    !(SIGMASK_CORE & SIGMASK(signal))) {
		p->exiting = true;
		p->exit_code = signal;
		process_zap_threads(p, NULL);
		return;
	}
	signal_wake(t, signal == SIGKILL);
}

int signal_send_locked(struct process *p, struct task *t, int signal, const siginfo_t *info, struct sigqueue_entry *e)
{
	struct task *subject = t ? t : any_live(p);
	if (!subject || subject->dead || (subject->flags & TASK_KERNEL) || !prepare(p, subject, signal))
		return 0;
	struct sigpending *q = t ? &t->pending : &p->pending;
	if (e && !list_empty(&e->node))
		return 1;
	if (signal < 32 && (q->set & SIGMASK(signal)))
		return e ? 1 : 0; // one instance of an ordinary signal is enough
	if (!e && signal != SIGKILL) {
		bool from_kernel = !info || info->si_code >= 0;
		e = entry_alloc(p, t, signal < 32 && from_kernel);
		if (!e && signal >= 32 && info && info->si_code != SI_USER)
			return -EAGAIN; // sigqueue(3) and timers: must not be lost silently
		if (e && info) {
			e->info = *info;
			if (unlikely(subject->pid && subject->pid->space))
				signal_info_translate(&e->info, subject);
		} else if (e)
			e->info.si_code = SI_KERNEL;
	}
	if (e) {
		e->info.si_signo = signal;
		list_add_tail(&q->queue, &e->node);
	}
	q->set |= SIGMASK(signal);
	if (!waitq_empty(&p->sighand->signalfd_wait))
		waitq_wake_events(&p->sighand->signalfd_wait, 0, EPOLLIN);
	complete(p, t, signal);
	return 0;
}

// ---- what the rest of the kernel calls ----

int signal_send_task(struct task *t, int signal, const siginfo_t *info)
{
	struct process *p = t->process;
	struct sighand *s = process_sighand_lock(p);
	int r = t->dead && t != p->leader ? -ESRCH : signal ? signal_send_locked(p, t, signal, info, NULL) : 0;
	spin_unlock(&s->lock);
	return r;
}

int signal_send_process(struct process *p, int signal, const siginfo_t *info)
{
	struct sighand *s = process_sighand_lock(p);
	int r = signal ? signal_send_locked(p, NULL, signal, info, NULL) : 0;
	spin_unlock(&s->lock);
	return r;
}

int signal_send_entry(struct process *p, struct task *t, struct sigqueue_entry *e)
{
	struct sighand *s = process_sighand_lock(p);
	e->preallocated = true;
	int r = t && t->dead ? -ESRCH : signal_send_locked(p, t, e->info.si_signo, &e->info, e);
	spin_unlock(&s->lock);
	return r;
}

void signal_entry_cancel(struct process *p, struct sigqueue_entry *e)
{
	struct sighand *s = process_sighand_lock(p);
	if (!list_empty(&e->node))
		list_remove(&e->node); // its bit may stay: dequeueing copes
	spin_unlock(&s->lock);
}

int signal_send_group_if(pid_t pgrp, int signal, const siginfo_t *info,
			 bool (*may)(const void *context, struct task *t), const void *context)
{
	int result = -ESRCH;
	spin_lock(&tasklist_lock);
	struct pid *g = pid_find_locked(pgrp);
	struct process *p;
	if (g)
		list_for_each (p, &g->group, pgrp_node) {
			int r = may && !may(context, p->leader) ? 0 : signal_send_process(p, signal, info);
			if (result)
				result = r;
		}
	spin_unlock(&tasklist_lock);
	return result;
}

int signal_send_group(pid_t pgrp, int signal, const siginfo_t *info)
{
	return signal_send_group_if(pgrp, signal, info, NULL, NULL);
}

// A fault of the current task: cannot be held back. Blocked or ignored, it gets its default action.
static void force(const siginfo_t *info)
{
	struct task *t = current;
	struct process *p = t->process;
	int signal = info->si_signo;
	struct sighand *s = process_sighand_lock(p);
	struct sigaction_kernel *a = &s->action[signal - 1];
	if (a->handler == (uint64_t)SIG_IGN || (t->blocked & SIGMASK(signal))) {
		a->handler = (uint64_t)SIG_DFL;
		t->blocked &= ~SIGMASK(signal);
	}
	if (a->handler == (uint64_t)SIG_DFL)
		p->unkillable = false; // its own fault ends it
	signal_send_locked(p, t, signal, info, NULL);
	task_work_set(t, WORK_SIGNAL);
	spin_unlock(&s->lock);
}

void signal_force(int signal, int code, uint64_t address)
{
	siginfo_t info;
	memset(&info, 0, sizeof(info));
	info.si_signo = signal;
	info.si_code = code;
	info.si_addr = (void *)address;
	force(&info);
}

void signal_force_syscall(int nr, uint64_t address, int error)
{
	siginfo_t info;
	memset(&info, 0, sizeof(info));
	info.si_signo = SIGSYS;
	info.si_code = SYS_SECCOMP;
	info.si_errno = error;
	info.si_call_addr = (void *)address;
	info.si_syscall = nr;
	info.si_arch = AUDIT_ARCH_X86_64;
	force(&info);
}

void signal_force_trap(int signal, int code, uint64_t address, unsigned trap, uint64_t error)
{
	struct task *t = current;
	t->trap_number = trap;
	t->trap_error = error;
	t->trap_address = address;
	signal_force(signal, code, address);
}

// ---- taking ----

static int first_signal(sigmask_t ready)
{
	// Faults of the task itself come first: their frames must show the faulting instruction.
	if (ready & SIGMASK_SYNCHRONOUS)
		ready &= SIGMASK_SYNCHRONOUS;
	return ready ? __builtin_ctzll(ready) + 1 : 0;
}

static void collect(struct sigpending *q, int signal, siginfo_t *info)
{
	struct sigqueue_entry *e, *found = NULL;
	bool more = false;
	list_for_each (e, &q->queue, node)
		if (e->info.si_signo == signal) {
			if (found) {
				more = true;
				break;
			}
			found = e;
		}
	if (!more)
		q->set &= ~SIGMASK(signal);
	if (found) {
		*info = found->info;
		entry_free(found);
	} else {
		memset(info, 0, sizeof(*info));
		info->si_signo = signal;
	}
}

int signal_dequeue_locked(struct task *t, sigmask_t mask, siginfo_t *info)
{
	struct sigpending *q = &t->pending;
	int signal = first_signal(q->set & mask);
	if (!signal) {
		q = &t->process->pending;
		signal = first_signal(q->set & mask);
	}
	if (signal)
		collect(q, signal, info);
	return signal;
}

int signal_dequeue(struct task *t, sigmask_t mask, siginfo_t *info)
{
	struct sighand *s = process_sighand_lock(t->process);
	int signal = signal_dequeue_locked(t, mask & ~SIGMASK_KERNEL_ONLY, info);
	signal_recompute(t);
	spin_unlock(&s->lock);
	signal_info_shown(info);
	return signal;
}

bool signal_pending_slow(struct task *t) { return ((t->pending.set | t->process->pending.set) & ~t->blocked) != 0; }

void signal_forget_ignored(struct process *p, sigmask_t mask) { flush_everywhere(p, mask); }

bool signal_is_ignored(struct task *t, int signal)
{
	struct sighand *s = process_sighand_lock(t->process);
	bool ignored = (t->blocked & SIGMASK(signal)) || s->action[signal - 1].handler == (uint64_t)SIG_IGN;
	spin_unlock(&s->lock);
	return ignored;
}

void signal_get_pending(struct process *p, struct task *t, sigmask_t *shared, sigmask_t *private)
{
	struct sighand *s = process_sighand_lock(p);
	*shared = p->pending.set;
	*private = t->pending.set;
	spin_unlock(&s->lock);
}

void signal_get_dispositions(struct process *p, sigmask_t *ignored, sigmask_t *caught)
{
	*ignored = *caught = 0;
	struct sighand *s = process_sighand_lock(p);
	for (int i = 1; i <= SIGNALS_MAX; i++) {
		uint64_t handler = s->action[i - 1].handler;
		if (handler == (uint64_t)SIG_IGN)
			*ignored |= SIGMASK(i);
		else if (handler != (uint64_t)SIG_DFL)
			*caught |= SIGMASK(i);
	}
	spin_unlock(&s->lock);
}

unsigned signal_queued_count(struct process *p, uint64_t *limit)
{
	*limit = process_rlimit(p, RLIMIT_SIGPENDING);
	unsigned n = 0;
	spin_lock(&tasklist_lock);
	if (p->leader)
		n = (unsigned)__atomic_load_n(&p->leader->cred->user->pending_signals, __ATOMIC_RELAXED);
	spin_unlock(&tasklist_lock);
	return n;
}
