// SPDX-License-Identifier: Apache-2.0
// Signals: sending, pending queues, delivery. Owner: kernel/proc/signal*.c. signal(7), sigaction(2).
//
// Lock order: tasklist_lock -> sighand.lock -> run queue. sighand.lock is a spinlock that guards dispositions, the shared
// and private pending sets and blocked masks of all tasks of the thread group.
#pragma once

#include <asm/siginfo.h>
#include <asm/signal.h>

#include "kernel/refcount.h"
#include "kernel/types.h"
#include "kernel/waitq.h"

struct task;
struct process;

typedef uint64_t sigmask_t; // bit n-1: signal n
#define SIGMASK(sig) (UINT64_C(1) << ((sig)-1))
#define SIGNALS_MAX  64

struct sigaction_kernel { // the kernel ABI's struct sigaction
	uint64_t handler, flags, restorer, mask;
};

struct sigqueue_entry {
	struct list node;
	siginfo_t info;
	struct user *user; // charged for it (RLIMIT_SIGPENDING); NULL when preallocated
	bool preallocated; // POSIX timer's own entry: never freed here; list_empty(&node) when not queued
};

struct sigpending {
	sigmask_t set;
	struct list queue; // struct sigqueue_entry
};

struct sighand {
	struct refcount refs;
	struct spinlock lock;
	struct sigaction_kernel action[SIGNALS_MAX];
	struct waitq signalfd_wait;
	struct sighand *previous; // what exec replaced, kept for senders that still look at it
};

// Queue a signal. info may be NULL (kernel-made, SI_KERNEL). 0, -EAGAIN (real-time queue full), -ESRCH. Any context with no sighand lock held
// except where the name says locked; wakes the receiver.
int signal_send_task(struct task *t, int signal, const siginfo_t *info);
int signal_send_process(struct process *p, int signal, const siginfo_t *info);
// Queues a preallocated entry (list_init its node first; info filled in) for a task or, with t NULL, the process. 0, 1 = it is still
// queued from last time (count an overrun), -ESRCH. signal_entry_cancel(): off the queue, before its memory goes.
int signal_send_entry(struct process *p, struct task *t, struct sigqueue_entry *e);
void signal_entry_cancel(struct process *p, struct sigqueue_entry *e);
int signal_send_group(pid_t pgrp, int signal, const siginfo_t *info); // every process of it; -ESRCH when none
// The same, but for those of which `may` says no, asked with the process's first thread under tasklist_lock.
int signal_send_group_if(pid_t pgrp, int signal, const siginfo_t *info,
			 bool (*may)(const void *context, struct task *t), const void *context);
// Synchronous, cannot be blocked or ignored (SIGSEGV and kin) on the current task.
void signal_force(int signal, int code, uint64_t address);
// A filter refused call `nr` at `address`: SIGSYS with its data as si_errno.
void signal_force_syscall(int nr, uint64_t address, int error);
void signal_force_trap(int signal, int code, uint64_t address, unsigned trap, uint64_t error);
bool signal_pending_slow(struct task *t); // a deliverable signal is there
void signal_recompute(struct task *t);    // WORK_SIGNAL from masks and queues; sighand.lock held
void signal_set_blocked(sigmask_t mask);  // current task
// Used by sigsuspend, ppoll, pselect, epoll_pwait: installs `mask` until the call's end (or the handler's return).
int signal_set_user_mask(struct uptr mask, size_t size); // NULL: no-op. 0, -EINVAL, -EFAULT
void signal_restore_user_mask(bool interrupted);
// Takes the first pending signal in `mask` (signalfd, sigtimedwait): its number or 0.
int signal_dequeue(struct task *t, sigmask_t mask, siginfo_t *info);
bool signal_is_ignored(struct task *t,
		       int signal); // its action is to ignore it, or it is blocked (tty: SIGTTIN, SIGTTOU)
void signal_get_pending(struct process *p, struct task *t, sigmask_t *shared, sigmask_t *private); // for /proc
void signal_get_dispositions(struct process *p, sigmask_t *ignored, sigmask_t *caught);            // for /proc
unsigned signal_queued_count(struct process *p, uint64_t *limit); // SigQ of /proc/PID/status
