// SPDX-License-Identifier: Apache-2.0
// ptrace(2): stops of a traced task, and who traces whom. The requests are in ptrace_calls.c.
//
// A tracee is on its tracer's (a process's) list, under tasklist_lock. A stop is JOBCTL_TRACED, under sighand->lock: the tracee
// sets it, tells the tracer, and parks until the tracer (or a fatal signal) clears it.
#include "internal.h"

#include "kernel/ptrace.h"
#include "ptrace_internal.h"
#include "lib/string.h"

#include <asm/processor-flags.h>
#include <linux/capability.h>
#include <linux/ptrace.h>

int ptrace_may_access(struct task *t)
{
	const struct cred *c = current->cred;
	if (t->process == current->process || cred_capable(c, CAP_SYS_PTRACE))
		return 0;
	const struct cred *o = task_cred_get(t);
	bool same = c->fsuid == o->euid && c->fsuid == o->suid && c->fsuid == o->uid && c->fsgid == o->egid &&
		    c->fsgid == o->sgid && c->fsgid == o->gid && c->user_namespace == o->user_namespace &&
		    !(o->cap_permitted & ~c->cap_permitted);
	bool capable = cred_capable_in(c, cred_namespace(o), CAP_SYS_PTRACE);
	cred_put(o);
	if (capable)
		return 0;
	spin_lock(&t->lock);
	bool dumpable = t->mm && t->mm->dumpable;
	spin_unlock(&t->lock);
	return same && dumpable ? 0 : -EPERM;
}

// ---- stopping; the tracee ----

static void tell_tracer(struct task *t, int code, int why)
{
	siginfo_t info;
	spin_lock(&tasklist_lock);
	struct process *tracer = t->tracer;
	if (tracer) {
		memset(&info, 0, sizeof(info));
		info.si_signo = SIGCHLD;
		info.si_code = why;
		info.si_pid = t->tid;
		info.si_uid = t->cred->uid;
		info.si_status = code & 0x7f;
		struct sighand *s = process_sighand_lock(tracer);
		const struct sigaction_kernel *a = &s->action[SIGCHLD - 1];
		if (a->handler != (uint64_t)SIG_IGN && !(a->flags & SA_NOCLDSTOP))
			(void)signal_send_locked(tracer, NULL, SIGCHLD, &info, NULL);
		spin_unlock(&s->lock);
		process_child_wake(tracer);
	}
	spin_unlock(&tasklist_lock);
}

static void park_traced(struct task *t)
{
	for (;;) {
		task_prepare_park(PARK_KILLABLE);
		if (!(__atomic_load_n(&t->jobctl, __ATOMIC_ACQUIRE) & JOBCTL_TRACED) || fatal_signal_pending(t))
			break;
		(void)task_park(PARK_FOREVER);
	}
	task_finish_park();
}

// Stops until the tracer lets it go on; t->ptrace_signal is what with.
static void stop(int code, int why, siginfo_t *info)
{
	struct task *t = current;
	struct sighand *s = process_sighand_lock(t->process);
	t->ptrace_signal = 0;
	if (!t->tracer || fatal_signal_pending(t)) {
		spin_unlock(&s->lock);
		return;
	}
	t->ptrace_stop_code = code;
	t->ptrace_siginfo = info;
	__atomic_or_fetch(&t->jobctl, JOBCTL_TRACED, __ATOMIC_SEQ_CST);
	spin_unlock(&s->lock);
	tell_tracer(t, code, why);
	park_traced(t);
	s = process_sighand_lock(t->process);
	__atomic_and_fetch(&t->jobctl, ~(JOBCTL_TRACED | JOBCTL_LISTENING), __ATOMIC_SEQ_CST);
	t->ptrace_stop_code = 0;
	t->ptrace_siginfo = NULL;
	signal_recompute(t);
	spin_unlock(&s->lock);
}

static void trap_info(siginfo_t *info, int code)
{
	memset(info, 0, sizeof(*info));
	info->si_signo = SIGTRAP;
	info->si_code = code;
	info->si_pid = current->own_tid;
	info->si_uid = current->cred->uid;
}

void ptrace_event(unsigned event, uint64_t message)
{
	siginfo_t info;
	int code = SIGTRAP | (int)event << 8;
	current->ptrace_message = message;
	trap_info(&info, code);
	stop(code, CLD_TRAPPED, &info);
}

bool ptrace_signal_stop(struct user_regs *regs, int *signal, siginfo_t *info)
{
	struct task *t = current;
	(void)regs;
	stop(*signal, CLD_TRAPPED, info);
	int next = t->ptrace_signal;
	if (!next || fatal_signal_pending(t))
		return false;
	if (next != *signal) {
		memset(info, 0, sizeof(*info));
		info->si_signo = next;
		info->si_code = SI_USER;
		spin_lock(&tasklist_lock);
		info->si_pid = t->tracer ? t->tracer->pid : 0;
		spin_unlock(&tasklist_lock);
		*signal = next;
	}
	if (t->blocked & SIGMASK(next)) {
		(void)signal_send_task(t, next, info);
		return false;
	}
	return true;
}

void ptrace_group_stop(int signal)
{
	bool seized = current->ptrace_seized;
	stop(seized ? signal | PTRACE_EVENT_STOP << 8 : signal, CLD_STOPPED, NULL);
}

void ptrace_trap_stop(void)
{
	siginfo_t info;
	struct process *p = current->process;
	int signal = p->stopped || p->stop_count ? p->stop_signal : SIGTRAP;
	int code = signal | PTRACE_EVENT_STOP << 8;
	trap_info(&info, code);
	stop(code, CLD_TRAPPED, signal == SIGTRAP ? &info : NULL);
}

void ptrace_syscall_stop(struct user_regs *regs, bool enter)
{
	struct task *t = current;
	siginfo_t info;
	int code = SIGTRAP | (t->ptrace_options & PTRACE_O_TRACESYSGOOD ? 0x80 : 0);
	if (!t->tracer)
		return;
	t->ptrace_message = enter ? PTRACE_EVENTMSG_SYSCALL_ENTRY : PTRACE_EVENTMSG_SYSCALL_EXIT;
	if (enter)
		regs->ax = (uint64_t)-ENOSYS;
	trap_info(&info, code);
	stop(code, CLD_TRAPPED, &info);
	if (t->ptrace_signal)
		(void)signal_send_task(t, t->ptrace_signal, NULL);
}

void ptrace_exec_done(pid_t old_tid)
{
	struct task *t = current;
	if (likely(!t->tracer))
		return;
	if (ptrace_wants(t, PTRACE_EVENT_EXEC))
		ptrace_event(PTRACE_EVENT_EXEC, (uint64_t)old_tid);
	else if (!t->ptrace_seized)
		(void)signal_send_task(t, SIGTRAP, NULL);
}

// ---- who traces whom; tasklist_lock held ----

void ptrace_link(struct task *t, struct process *tracer, bool seized, uint32_t options)
{
	t->tracer = tracer;
	t->ptrace_seized = seized;
	t->ptrace_options = options;
	t->ptrace_stop_code = 0;
	list_add_tail(&tracer->tracees, &t->tracee_node);
}

void ptrace_unlink(struct task *t)
{
	struct sighand *s = process_sighand_lock(t->process);
	list_remove(&t->tracee_node);
	t->tracer = NULL;
	t->ptrace_options = 0;
	t->ptrace_seized = false;
	t->ptrace_stop_code = 0;
	t->jobctl &= ~(JOBCTL_TRAP_STOP | JOBCTL_LISTENING);
	task_work_clear(t, WORK_PTRACE);
	// A stopped process stays stopped: its thread joins the others.
	if (!t->dead && t->process->stopped && !t->process->exiting) {
		t->jobctl |= JOBCTL_STOP_PENDING;
		t->process->stop_count++;
		task_work_set(t, WORK_SIGNAL);
	}
	if (t->jobctl & JOBCTL_TRACED) {
		__atomic_and_fetch(&t->jobctl, ~JOBCTL_TRACED, __ATOMIC_SEQ_CST);
		task_unpark(t);
	}
	spin_unlock(&s->lock);
}

void ptrace_new_task(struct task *child, unsigned event, bool want)
{
	struct task *me = current;
	if (!me->tracer || !(want || ptrace_wants(me, event)))
		return;
	ptrace_link(child, me->tracer, me->ptrace_seized, me->ptrace_options);
	struct sighand *s = process_sighand_lock(child->process);
	if (child->ptrace_seized)
		child->jobctl |= JOBCTL_TRAP_STOP;
	else
		child->pending.set |= SIGMASK(SIGSTOP);
	task_work_set(child, WORK_SIGNAL);
	spin_unlock(&s->lock);
}

void ptrace_tracer_exits(struct process *tracer)
{
	while (!list_empty(&tracer->tracees)) {
		struct task *t = list_first(&tracer->tracees, struct task, tracee_node);
		bool kill = t->ptrace_options & PTRACE_O_EXITKILL, dead = t->dead;
		struct process *p = t->process;
		ptrace_unlink(t);
		if (kill)
			(void)signal_send_process(p, SIGKILL, NULL);
		if (!dead)
			continue;
		if (t != p->leader) {
			task_release(t);
			task_put(t); // not the last reference where that would sleep: the memory goes, nothing else
		} else if (p->zombie && p->parent != tracer) {
			process_untraced_zombie(p);
		}
	}
}
