// SPDX-License-Identifier: Apache-2.0
// Wait queues and the one blocking primitive, parking.
//
// A task that waits (1) adds a waiter to the queue, (2) sets its state with task_prepare_park(), (3) checks its
// condition, (4) parks, (5) loops or removes the waiter and calls task_finish_park(). wait_event() and its kin do all of
// that. Whoever makes the condition true does so before waitq_wake(), which orders it before the waiter's check. An exclusive
// waiter leaves the queue when it is woken, so it does (2) before (1): else a wake-up between them would be for nothing.
//
// Lock order: anything -> waitq.lock -> run queue lock. waitq_wake() may be called in any context.
#pragma once

#include "kernel/errno.h"
#include "kernel/spinlock.h"
#include "lib/list.h"

struct waitq {
	struct spinlock lock;
	struct list waiters; // guarded by lock
};

#define WAITQ_INIT(name)                                 \
	{                                                \
		SPINLOCK_INIT, LIST_INIT((name).waiters) \
	}

struct waiter {
	struct list node; // guarded by the queue's lock
	// Called with the queue's lock held; events: POLL* bits of the wake-up, 0 = any. True: it used up an exclusive wake.
	bool (*wake)(struct waiter *w, unsigned events);
	struct task *task;
	bool exclusive;
};

static inline void waitq_init(struct waitq *q)
{
	spin_init(&q->lock);
	list_init(&q->waiters);
}
static inline bool waitq_empty(struct waitq *q) // racy hint; order it after the condition with a full barrier
{
	return __atomic_load_n(&q->waiters.next, __ATOMIC_RELAXED) == &q->waiters;
}

bool waiter_wake_task(struct waiter *w, unsigned events); // the usual .wake: unparks w->task
void waiter_init(struct waiter *w);                       // current task, not exclusive, waiter_wake_task
void waitq_add(struct waitq *q, struct waiter *w);        // exclusive waiters go to the tail
void waitq_remove(struct waitq *q, struct waiter *w);     // no-op when not queued
// Wakes every non-exclusive waiter and up to `exclusive` exclusive ones (0 = all).
void waitq_wake_events(struct waitq *q, unsigned exclusive, unsigned events);
static inline void waitq_wake_all(struct waitq *q) { waitq_wake_events(q, 0, 0); }
static inline void waitq_wake_one(struct waitq *q) { waitq_wake_events(q, 1, 0); }

// What ends a park early besides being unparked.
enum park_mode {
	PARK_UNINTERRUPTIBLE, // nothing
	PARK_KILLABLE,        // a fatal signal
	PARK_INTERRUPTIBLE,   // any deliverable signal
};
void task_prepare_park(enum park_mode mode); // sets the current task's state, full barrier
// Sleeps until task_unpark(), a signal that `mode` admits, or `deadline_ns` (monotonic; UINT64_MAX: none).
// Returns at once when unparked since task_prepare_park(). 0, -ETIMEDOUT, or -EINTR (signal pending; callers turn it into
// the restart code they want). Spurious returns are allowed: check the condition again.
int task_park(uint64_t deadline_ns);
void task_finish_park(void);
// Any context; harmless when it is not parked. A full barrier: who parks has seen what the caller stored before, or is woken.
void task_unpark(struct task *t);

#define PARK_FOREVER UINT64_MAX

#define wait_event_mode(queue, condition, mode, deadline)           \
	({                                                          \
		int wait_result_ = 0;                               \
		if (!(condition)) {                                 \
			struct waiter waiter_;                      \
			waiter_init(&waiter_);                      \
			waitq_add((queue), &waiter_);               \
			for (;;) {                                  \
				task_prepare_park(mode);            \
				if (condition) {                    \
					wait_result_ = 0;           \
					break;                      \
				}                                   \
				if (wait_result_)                   \
					break;                      \
				wait_result_ = task_park(deadline); \
			}                                           \
			task_finish_park();                         \
			waitq_remove((queue), &waiter_);            \
		}                                                   \
		wait_result_;                                       \
	})
#define wait_event(queue, condition)                    (void)wait_event_mode(queue, condition, PARK_UNINTERRUPTIBLE, PARK_FOREVER)
// 0 or -EINTR
#define wait_event_interruptible(queue, condition)      wait_event_mode(queue, condition, PARK_INTERRUPTIBLE, PARK_FOREVER)
#define wait_event_killable(queue, condition)           wait_event_mode(queue, condition, PARK_KILLABLE, PARK_FOREVER)
// 0, -EINTR or -ETIMEDOUT
#define wait_event_deadline(queue, condition, deadline) wait_event_mode(queue, condition, PARK_INTERRUPTIBLE, deadline)
