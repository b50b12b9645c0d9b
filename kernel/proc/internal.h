// SPDX-License-Identifier: Apache-2.0
// What the files of kernel/proc share among themselves.
//
// Lock order: tasklist_lock -> sighand->lock -> run queue; tasklist_lock -> pid table lock; task->lock and process->lock are
// leaves (task->lock is taken before vfork waiters' queues only). Nothing here is taken by fast paths but sighand->lock.
#pragma once

#include "kernel/fs.h"
#include "kernel/mm.h"
#include "kernel/slab.h"
#include "kernel/task.h"
#include "kernel/uaccess.h"

#include <linux/sched.h>
#include <linux/signal.h>

// ---- objects (task.c, pid.c) ----
extern struct slab_cache *task_cache, *process_cache, *sighand_cache;
struct task *task_alloc(void);       // refs = 1: its process's list; NULL
struct process *process_alloc(void); // refs = 1; NULL
struct sighand *sighand_alloc(void);
void sighand_put(struct sighand *s);

// A fresh number in `space` and all above it, refs = 1 (the caller's); the table holds none.
struct pid *pid_alloc(struct pid_namespace *space, int *error);
void pid_namespace_kill(struct pid_namespace *n, const struct process *except); // everything in it; tasklist_lock
bool pid_namespace_is_empty(const struct pid_namespace *n,
			    const struct process *except); // but for zombies; tasklist_lock
// Somebody in a namespace of its own is told by the numbers it knows; sighand->lock.
void signal_info_translate(siginfo_t *info, const struct task *to);
void signal_info_shown(siginfo_t *info);   // ids of users as the current task sees them
struct pid *pid_find_locked(pid_t number); // no reference; tasklist_lock
void pid_release_if_unused(struct pid *p); // frees the number when no task, group or session uses it; tasklist_lock
bool pid_has_group(const struct pid *p);

struct process *process_find_locked(pid_t pid); // no reference; tasklist_lock. Zombies too
struct task *task_find_locked(pid_t tid);

void process_link(struct process *p, struct process *parent); // tasklist_lock
void process_tell_parent(struct process *p);                  // its parent is another one
void process_set_group(struct process *p, struct pid *pgrp);
void process_set_session(struct process *p, struct pid *session);

struct task *pid_task_get(struct pid *p); // with a reference, or NULL

// ---- namespaces (user_namespace.c) ----
// One more of `kind` belongs to `n`. 0, -ENOSPC.
int user_namespace_charge(struct user_namespace *n, enum namespace_kind kind);
void user_namespace_uncharge(struct user_namespace *n, enum namespace_kind kind);

// ---- fork (fork.c) ----
struct clone_request {
	uint64_t flags; // CLONE_*, without the exit signal
	int exit_signal;
	uint64_t stack; // new stack pointer or 0
	uint64_t tls;
	struct uptr parent_tid, child_tid, pidfd;
	struct uptr set_tid;
	size_t set_tid_count;
	void (*fn)(void *); // a worker's entry: see process_worker_create()
	void *argument;
};
long task_clone(const struct clone_request *r);
void vfork_complete(struct task *t); // exec or exit: the parent may go on

// ---- exit (exit.c) ----
// A thread that was linked and cannot begin: it ends, seen by whoever has seen it.
void task_exit_unborn(struct task *t);
void process_reap(struct process *p); // zombie -> gone; tasklist_lock held at entry, dropped
void process_untraced_zombie(struct process *p);
void task_release(struct task *t); // a dead thread leaves its process; tasklist_lock; the caller puts it
void usage_to_user(const struct process_usage *u, struct rusage *out);
void process_usage_add_task(struct process *p, struct task *t);     // its counters join the process's dead ones
void process_notify_parent(struct process *p, int why, int status); // CLD_*; tasklist_lock
void process_child_wake(struct process *parent);
bool process_zap_threads(struct process *p, struct task *except); // WORK_KILLED for all live threads; sighand->lock

// ---- signals ----
static inline struct sighand *process_sighand_lock(struct process *p)
{
	for (;;) {
		struct sighand *s = __atomic_load_n(&p->sighand, __ATOMIC_ACQUIRE);
		spin_lock(&s->lock);
		if (likely(s == __atomic_load_n(&p->sighand, __ATOMIC_RELAXED)))
			return s;
		spin_unlock(&s->lock); // exec replaced it (exec keeps the old one alive)
	}
}
#define SIGMASK_KERNEL_ONLY (SIGMASK(SIGKILL) | SIGMASK(SIGSTOP))
#define SIGMASK_STOP        (SIGMASK(SIGSTOP) | SIGMASK(SIGTSTP) | SIGMASK(SIGTTIN) | SIGMASK(SIGTTOU))
#define SIGMASK_IGNORE      (SIGMASK(SIGCONT) | SIGMASK(SIGCHLD) | SIGMASK(SIGWINCH) | SIGMASK(SIGURG))
#define SIGMASK_CORE                                                                                  \
	(SIGMASK(SIGQUIT) | SIGMASK(SIGILL) | SIGMASK(SIGTRAP) | SIGMASK(SIGABRT) | SIGMASK(SIGFPE) | \
	 SIGMASK(SIGSEGV) | SIGMASK(SIGBUS) | SIGMASK(SIGSYS) | SIGMASK(SIGXCPU) | SIGMASK(SIGXFSZ))
#define SIGMASK_SYNCHRONOUS \
	(SIGMASK(SIGSEGV) | SIGMASK(SIGBUS) | SIGMASK(SIGILL) | SIGMASK(SIGTRAP) | SIGMASK(SIGFPE) | SIGMASK(SIGSYS))

enum signal_origin { SIGNAL_TO_TASK, SIGNAL_TO_PROCESS };
int signal_send_locked(struct process *p, struct task *t, int signal, const siginfo_t *info,
		       struct sigqueue_entry *preallocated);
int signal_dequeue_locked(struct task *t, sigmask_t mask, siginfo_t *info); // own first, then shared
void signal_wake(struct task *t, bool fatal);                               // makes it look at its work; sighand->lock
void signal_flush(struct sigpending *p);                                    // drops all; sighand->lock
void signal_flush_mask(struct sigpending *p, sigmask_t mask);
void signal_forget_ignored(struct process *p, sigmask_t mask); // drops them from all queues; sighand->lock
void signal_deliver(struct user_regs *regs);
int signal_permission(struct process *p, int signal, const siginfo_t *info); // 0, -EPERM
void signal_info_user(siginfo_t *info, int signal, int code);
int signal_from_user_info(siginfo_t *info, struct uptr user);

// Frames (sigframe.c). 0 or -EFAULT.
int sigframe_setup(struct user_regs *regs, int signal, const siginfo_t *info, const struct sigaction_kernel *action,
		   sigmask_t mask);
uint64_t sigframe_size_bytes(void); // AT_MINSIGSTKSZ
bool altstack_contains(const struct task *t, uint64_t sp);

// ---- registers, as debuggers and core files have them (ptrace_calls.c) ----
struct user_regs_full { // struct user_regs_struct of <sys/user.h>
	struct user_regs r;
	uint64_t fs_base, gs_base, ds, es, fs, gs;
};
static_assert(sizeof(struct user_regs_full) == 27 * 8, "user_regs_struct");
void task_user_regs(struct task *t, struct user_regs_full *out); // the current task, or one that stands still
void task_user_xstate(struct task *t, uint8_t *out);             // port_xstate_size_bytes()

// ---- ptrace (ptrace.c) ----
bool ptrace_signal_stop(struct user_regs *regs, int *signal, siginfo_t *info); // false: the tracer dropped it
void ptrace_event(unsigned event, uint64_t message);
static inline bool ptrace_wants(const struct task *t, unsigned event)
{
	return unlikely(t->tracer) && t->ptrace_options >> event & 1;
}
void ptrace_new_task(struct task *child, unsigned event, bool want); // tasklist_lock
void ptrace_tracer_exits(struct process *tracer);                    // lets all tracees go; tasklist_lock
void ptrace_unlink(struct task *t);                                  // tasklist_lock
void ptrace_trap_stop(void);                                         // JOBCTL_TRAP_STOP
void ptrace_group_stop(int signal);                                  // a traced task's part in a group stop
void ptrace_exec_done(pid_t old_tid);

// ---- rseq (rseq.c) ----
void rseq_reset(struct task *t);
void rseq_update(struct user_regs *regs); // cpu numbers, and the abort of a critical section
void task_run_callbacks(void);
