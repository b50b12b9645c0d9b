// SPDX-License-Identifier: Apache-2.0
// The way back to user mode: deferred work, rescheduling, and signals: which is next, what its action is, stopping, dying,
// restarting the interrupted system call. signal(7), "Interruption of system calls and library functions by signal handlers".
#include "coredump.h"
#include "internal.h"

#include "kernel/ptrace.h"
#include "kernel/syscalls.h"
#include "kernel/upcall.h"
#include "lib/string.h"

#include <asm/processor-flags.h>
#include <asm/sigcontext.h>
#include <asm/unistd_64.h>

// ---- job control ----

// The current task's process stops with `signal`: every thread is to join. sighand->lock held.
static void group_stop_begin(struct process *p, int signal)
{
	struct task *t;
	p->stop_signal = signal;
	list_for_each (t, &p->threads, thread_node) {
		if (t->dead || (t->flags & TASK_EXITING) || (t->jobctl & (JOBCTL_STOP_PENDING | JOBCTL_STOPPED)))
			continue;
		t->jobctl |= JOBCTL_STOP_PENDING;
		p->stop_count++;
		if (t != current)
			signal_wake(t, false);
	}
}

static void park_while_stopped(struct task *t)
{
	for (;;) {
		task_prepare_park(PARK_KILLABLE);
		if (!(__atomic_load_n(&t->jobctl, __ATOMIC_ACQUIRE) & JOBCTL_STOPPED) || fatal_signal_pending(t))
			break;
		(void)task_park(PARK_FOREVER);
	}
	task_finish_park();
}

// One thread fewer to wait for; true: the whole process has stopped now and the parent is to be told. sighand->lock held.
static bool group_stop_joined(struct process *p)
{
	if (p->stop_count == 0 || --p->stop_count)
		return false;
	p->stopped = true;
	p->stop_reported = false;
	p->continued = false;
	return true;
}

static void tell_parent(struct process *p, int why, int status)
{
	spin_lock(&tasklist_lock);
	process_notify_parent(p, why, status);
	spin_unlock(&tasklist_lock);
}

// Joins the group stop and stays in it. sighand->lock held at entry and exit, not between.
static void group_stop_join(struct task *t, struct sighand *s)
{
	struct process *p = t->process;
	int signal = p->stop_signal;
	t->jobctl &= ~JOBCTL_STOP_PENDING;
	if (t->tracer) {
		bool last = group_stop_joined(p);
		spin_unlock(&s->lock);
		if (last)
			tell_parent(p, CLD_STOPPED, signal);
		ptrace_group_stop(signal);
		spin_lock(&s->lock);
		return;
	}
	__atomic_or_fetch(&t->jobctl, JOBCTL_STOPPED, __ATOMIC_SEQ_CST);
	bool last = group_stop_joined(p);
	spin_unlock(&s->lock);
	if (last)
		tell_parent(p, CLD_STOPPED, signal);
	park_while_stopped(t);
	spin_lock(&s->lock);
	__atomic_and_fetch(&t->jobctl, ~JOBCTL_STOPPED, __ATOMIC_SEQ_CST);
}

// A stop signal with default action was dequeued. sighand->lock held at entry and exit; tasklist_lock must come before it.
static void stop_by_signal(struct task *t, struct sighand *s, int signal)
{
	struct process *p = t->process;
	bool orphaned = false;
	t->jobctl |= JOBCTL_STOP_DEQUEUED;
	if (signal != SIGSTOP) {
		spin_unlock(&s->lock);
		spin_lock(&tasklist_lock);
		orphaned = process_is_orphaned_group(p->pgrp);
		spin_lock(&s->lock);
		spin_unlock(&tasklist_lock);
	}
	// SIGCONT or SIGKILL may have come in between: it wins.
	if (!orphaned && (t->jobctl & JOBCTL_STOP_DEQUEUED) && !p->exiting)
		group_stop_begin(p, signal);
	t->jobctl &= ~JOBCTL_STOP_DEQUEUED;
}

// ---- choosing ----

// sighand->lock held.
_Noreturn static void die_of(struct process *p, struct sighand *s, int signal, const siginfo_t *info)
{
	struct core_dump *core = NULL;
	if (SIGMASK_CORE & SIGMASK(signal)) {
		spin_unlock(&s->lock);
		core = core_dump_prepare(signal);
		s = process_sighand_lock(p);
	}
	if (!p->exiting) {
		p->exiting = true;
		p->exit_code = signal;
		process_zap_threads(p, current);
		if (core && !p->execing) // who execs waits for the others, and would not come
			core_dump_begin(core);
	}
	spin_unlock(&s->lock);
	if (core)
		core_dump_end(core, info);
	task_exit(p->exit_code);
}

// What must be done before any signal is looked at. False: nothing was; true: look again.
static bool housekeeping(struct task *t, struct sighand *s)
{
	struct process *p = t->process;
	if (p->exiting || (p->execing && p->exec_task != t)) {
		int status = p->exiting ? p->exit_code : 0;
		spin_unlock(&s->lock);
		task_exit(status);
	}
	if (unlikely(p->notify)) {
		int why = p->notify;
		p->notify = 0;
		spin_unlock(&s->lock);
		tell_parent(p, why, why == CLD_CONTINUED ? SIGCONT : p->stop_signal);
		spin_lock(&s->lock);
		return true;
	}
	if (t->jobctl & JOBCTL_STOP_PENDING) {
		group_stop_join(t, s);
		return true;
	}
	if (unlikely(t->jobctl & JOBCTL_TRAP_STOP)) {
		t->jobctl &= ~JOBCTL_TRAP_STOP;
		spin_unlock(&s->lock);
		ptrace_trap_stop();
		spin_lock(&s->lock);
		return true;
	}
	return false;
}

// The next signal that has a handler, with its action; 0: none. Acts on all others.
static int next_handled(struct user_regs *regs, siginfo_t *info, struct sigaction_kernel *action)
{
	struct task *t = current;
	struct process *p = t->process;
	struct sighand *s = process_sighand_lock(p);
	int signal;
	for (;;) {
		if (housekeeping(t, s))
			continue;
		signal = signal_dequeue_locked(t, ~t->blocked, info);
		if (!signal)
			break;
		signal_info_shown(info);
		if (unlikely(t->tracer) && signal != SIGKILL) {
			if (SIGMASK_STOP & SIGMASK(signal))
				t->jobctl |= JOBCTL_STOP_DEQUEUED;
			spin_unlock(&s->lock);
			bool keep = ptrace_signal_stop(regs, &signal, info);
			spin_lock(&s->lock);
			if (!keep)
				continue;
		}
		struct sigaction_kernel *a = &s->action[signal - 1];
		if (a->handler == (uint64_t)SIG_IGN)
			continue;
		if (a->handler != (uint64_t)SIG_DFL) {
			*action = *a;
			if (a->flags & SA_RESETHAND)
				a->handler = (uint64_t)SIG_DFL;
			break;
		}
		if ((SIGMASK_IGNORE & SIGMASK(signal)) ||
		    (unlikely(p->unkillable) && !(SIGMASK_KERNEL_ONLY & SIGMASK(signal))))
			continue;
		if (!(SIGMASK_STOP & SIGMASK(signal)))
			die_of(p, s, signal, info);
		stop_by_signal(t, s, signal);
	}
	signal_recompute(t);
	spin_unlock(&s->lock);
	return signal;
}

// ---- system-call restart ----

#define SYSCALL_INSTRUCTION_BYTES 2

static void restart(struct user_regs *regs, uint64_t nr)
{
	regs->ax = nr;
	regs->ip -= SYSCALL_INSTRUCTION_BYTES;
}

static void restart_with_handler(struct user_regs *regs, uint64_t sa_flags)
{
	if ((int64_t)regs->orig_ax < 0)
		return;
	switch ((int64_t)regs->ax) {
	case -ERESTART_BLOCK:
	case -ERESTARTNOHAND: regs->ax = (uint64_t)-EINTR; break;
	case -ERESTARTSYS:
		if (!(sa_flags & SA_RESTART)) {
			regs->ax = (uint64_t)-EINTR;
			break;
		}
		restart(regs, regs->orig_ax);
		break;
	case -ERESTARTNOINTR: restart(regs, regs->orig_ax); break;
	}
}

static void restart_without_handler(struct user_regs *regs)
{
	if ((int64_t)regs->orig_ax < 0)
		return;
	switch ((int64_t)regs->ax) {
	case -ERESTARTNOHAND:
	case -ERESTARTSYS:
	case -ERESTARTNOINTR: restart(regs, regs->orig_ax); break;
	case -ERESTART_BLOCK: restart(regs, __NR_restart_syscall); break;
	}
}

long sys_restart_syscall(void)
{
	struct restart_block *r = &current->restart;
	return r->fn ? r->fn(r) : -EINTR;
}

// ---- delivery ----

static void retarget(struct task *t, sigmask_t newly)
{
	struct task *other;
	newly &= t->process->pending.set;
	if (likely(!newly))
		return;
	list_for_each (other, &t->process->threads, thread_node)
		if (other != t && !other->dead && (newly & ~other->blocked) && !task_work_test(other, WORK_SIGNAL))
			signal_wake(other, false);
}

static void set_blocked(sigmask_t mask)
{
	struct task *t = current;
	struct sighand *s = process_sighand_lock(t->process);
	mask &= ~SIGMASK_KERNEL_ONLY;
	retarget(t, mask & ~t->blocked); // signals of the process that this thread might have been chosen for
	t->blocked = mask;
	signal_recompute(t);
	spin_unlock(&s->lock);
}

void signal_set_blocked(sigmask_t mask)
{
	struct task *t = current;
	if (t->blocked == (mask & ~SIGMASK_KERNEL_ONLY))
		return;
	set_blocked(mask);
}

static void frame_failed(int signal)
{
	struct task *t = current;
	if (signal == SIGSEGV) {
		// Its own handler cannot be reached: no second try.
		struct sighand *s = process_sighand_lock(t->process);
		s->action[SIGSEGV - 1].handler = (uint64_t)SIG_DFL;
		spin_unlock(&s->lock);
	}
	signal_force(SIGSEGV, SI_KERNEL, 0);
}

static void run_handler(struct user_regs *regs, int signal, const siginfo_t *info,
			const struct sigaction_kernel *action)
{
	struct task *t = current;
	bool restore = task_work_test(t, WORK_RESTORE_MASK);
	restart_with_handler(regs, action->flags);
	if (sigframe_setup(regs, signal, info, action, restore ? t->saved_blocked : t->blocked)) {
		frame_failed(signal);
		return;
	}
	// As a function is entered: DF clear; and neither single-stepped nor resumed over a breakpoint.
	regs->flags &= ~(uint64_t)(X86_EFLAGS_DF | X86_EFLAGS_RF | X86_EFLAGS_TF);
	if (restore)
		task_work_clear(t, WORK_RESTORE_MASK);
	sigmask_t mask = t->blocked | action->mask;
	if (!(action->flags & SA_NODEFER))
		mask |= SIGMASK(signal);
	set_blocked(mask);
}

void signal_deliver(struct user_regs *regs)
{
	struct task *t = current;
	struct sigaction_kernel action;
	siginfo_t info;
	int signal = next_handled(regs, &info, &action);
	if (signal) {
		run_handler(regs, signal, &info, &action);
		return;
	}
	restart_without_handler(regs);
	if (task_work_test(t, WORK_RESTORE_MASK)) {
		task_work_clear(t, WORK_RESTORE_MASK);
		set_blocked(t->saved_blocked);
	}
}

// ---- masks that last as long as a system call ----

int signal_set_user_mask(struct uptr mask, size_t size)
{
	struct task *t = current;
	sigmask_t set;
	if (uptr_is_null(mask))
		return 0;
	if (size != sizeof(set))
		return -EINVAL;
	if (get_user(&set, mask))
		return -EFAULT;
	t->saved_blocked = t->blocked;
	task_work_set(t, WORK_RESTORE_MASK);
	set_blocked(set);
	return 0;
}

void signal_restore_user_mask(bool interrupted)
{
	struct task *t = current;
	// Interrupted: the handler runs with the temporary mask, and its frame (or the way out) restores the old one.
	if (interrupted || !task_work_test(t, WORK_RESTORE_MASK))
		return;
	task_work_clear(t, WORK_RESTORE_MASK);
	set_blocked(t->saved_blocked);
}

// ---- upcalls ----

static void run_callbacks(struct task *t)
{
	task_work_clear(t, WORK_CALLBACK);
	if (t->set_child_tid) { // a new task's first way to user mode
		uint64_t address = t->set_child_tid;
		t->set_child_tid = 0;
		(void)put_user((int32_t)t->own_tid, (struct uptr){ address });
	}
	struct task_callback *c = __atomic_exchange_n(&t->callbacks, NULL, __ATOMIC_ACQUIRE);
	while (c) {
		struct task_callback *next = c->next;
		c->fn(c);
		c = next;
	}
}

void task_run_callbacks(void) { run_callbacks(current); }

void task_worker_pause(void) { kernel_upcall_user_return(port_task_regs(current->port)); }

void kernel_upcall_user_return(struct user_regs *regs)
{
	struct task *t = current;
	uint32_t work;
	while ((work = __atomic_load_n(&t->work, __ATOMIC_ACQUIRE) & ~(WORK_TRACE | WORK_PTRACE | WORK_SECCOMP))) {
		if (work & WORK_CALLBACK)
			run_callbacks(t);
		if (work & WORK_RESCHEDULE)
			sched_reschedule();
		if (PORT_HOST && work & WORK_REMOTE)
			mm_serve();
		if (work & WORK_RSEQ)
			rseq_update(regs);
		if (work & (WORK_SIGNAL | WORK_STOP | WORK_KILLED | WORK_RESTORE_MASK)) {
			if (t->rseq_area && (work & WORK_SIGNAL))
				rseq_update(regs); // a handler must not run inside a critical section
			signal_deliver(regs);
		}
	}
}

// Which of the six floating-point conditions it was: status word and its masks (SDM vol. 1, 8.5 and 11.5).
static int fpe_code(struct task *t, unsigned vector)
{
	uint8_t *x = kalloc(port_xstate_size_bytes());
	unsigned raised = 0;
	if (x) {
		struct _fpstate_64 *f = (void *)x;
		port_xstate_get(t->port, x);
		raised = vector == 16 ? f->swd & ~f->cwd & 0x3f : f->mxcsr & ~(f->mxcsr >> 7) & 0x3f;
		kfree(x);
	}
	if (raised & 1)
		return FPE_FLTINV;
	if (raised & 4)
		return FPE_FLTDIV;
	if (raised & 8)
		return FPE_FLTOVF;
	if (raised & (2 | 16))
		return FPE_FLTUND;
	return raised & 32 ? FPE_FLTRES : 0;
}

// Intel SDM vol. 3, table 6-1, and which signal Linux makes of each.
void kernel_upcall_trap(struct user_regs *regs, unsigned vector, uint64_t error, uint64_t address)
{
	static const struct {
		uint8_t signal;
		int8_t code;
	} map[32] = {
		[0] = { SIGFPE, FPE_INTDIV }, [1] = { SIGTRAP, TRAP_TRACE }, [3] = { SIGTRAP, 0 },
		[4] = { SIGSEGV, 0 },         [5] = { SIGSEGV, 0 },          [6] = { SIGILL, ILL_ILLOPN },
		[7] = { SIGSEGV, 0 },         [9] = { SIGFPE, 0 },           [10] = { SIGSEGV, 0 },
		[11] = { SIGBUS, 0 },         [12] = { SIGBUS, 0 },          [13] = { SIGSEGV, 0 },
		[16] = { SIGFPE, 0 },         [17] = { SIGBUS, BUS_ADRALN }, [19] = { SIGFPE, 0 },
	};
	struct task *t = current;
	int signal = vector < 32 && map[vector].signal ? map[vector].signal : SIGSEGV;
	int code = vector < 32 ? map[vector].code : 0;
	t->trap_number = vector;
	t->trap_error = error;
	bool located = code != 0; // the others carry SI_KERNEL and no address
	if (vector == 1) {
		// The trap flag was the tracer's wish or the program's own; either way it traps once an instruction.
		code = regs->flags & X86_EFLAGS_TF ? TRAP_TRACE : TRAP_BRKPT;
		if (t->ptrace_stepping)
			regs->flags &= ~(uint64_t)X86_EFLAGS_TF;
		t->ptrace_stepping = false;
	} else if (vector == 16 || vector == 19) {
		code = fpe_code(t, vector);
		located = true;
	}
	signal_force(signal, code ? code : SI_KERNEL, located ? (address ? address : regs->ip) : 0);
}
