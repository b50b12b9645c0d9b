// SPDX-License-Identifier: Apache-2.0
// Wait queues: who waits for what.
//
// The queue's lock is the memory barrier between the waker's change and the waiter's check: a waiter queues itself under it
// before it looks at its condition, a waker takes it after it has changed the condition. Hence waitq_wake_events() never
// peeks at the list without the lock.

#include "kernel/waitq.h"

#include "kernel/task.h"

// An exclusive waiter leaves the queue when it is woken, so that the next wake-up goes to the next one.
bool waiter_wake_task(struct waiter *w, unsigned events)
{
	struct task *t = w->task;

	(void)events;
	if (w->exclusive)
		list_remove(&w->node);
	task_unpark(t);
	return true;
}

void waiter_init(struct waiter *w)
{
	list_init(&w->node);
	w->wake = waiter_wake_task;
	w->task = current;
	w->exclusive = false;
}

void waitq_add(struct waitq *q, struct waiter *w)
{
	spin_lock(&q->lock);
	if (list_empty(&w->node)) {
		if (w->exclusive)
			list_add_tail(&q->waiters, &w->node);
		else
			list_add(&q->waiters, &w->node);
	}
	spin_unlock(&q->lock);
}

void waitq_remove(struct waitq *q, struct waiter *w)
{
	spin_lock(&q->lock);
	list_remove(&w->node);
	spin_unlock(&q->lock);
}

void waitq_wake_events(struct waitq *q, unsigned exclusive, unsigned events)
{
	struct waiter *w, *next;

	spin_lock(&q->lock);
	list_for_each_safe (w, next, &q->waiters, node) {
		bool is_exclusive = w->exclusive; // w may be gone once it was woken

		if (w->wake(w, events) && is_exclusive && exclusive && --exclusive == 0)
			break;
	}
	spin_unlock(&q->lock);
}
