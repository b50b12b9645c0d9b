// SPDX-License-Identifier: Apache-2.0
// Waiting for several files at once: one waiter on each of their queues, all waking one task.
//
// A wake-up between asking the files and going to sleep is kept in `triggered`.

#include "poll_wait.h"

static bool poll_wake(struct waiter *waiter, unsigned events)
{
	struct poll_entry *e = container_of(waiter, struct poll_entry, waiter);

	if (events && !(events & e->events))
		return false;
	__atomic_store_n(&e->owner->triggered, 1, __ATOMIC_SEQ_CST);
	task_unpark(waiter->task);
	return true;
}

static struct poll_entry *entry_new(struct poll_waiters *w)
{
	struct poll_chunk *c = w->more;

	if (w->used < array_count(w->few))
		return &w->few[w->used++];
	if (!c || c->used == array_count(c->entries)) {
		c = kalloc(sizeof(*c));
		if (!c)
			return NULL;
		c->next = w->more;
		w->more = c;
	}
	return &c->entries[c->used++];
}

static void poll_queue(struct poll_table *t, struct file *f, struct waitq *q)
{
	struct poll_waiters *w = container_of(t, struct poll_waiters, table);
	struct poll_entry *e = entry_new(w);

	(void)f;
	if (!e) {
		w->error = -ENOMEM;
		return;
	}
	waiter_init(&e->waiter);
	e->waiter.wake = poll_wake;
	e->queue = q;
	e->owner = w;
	e->events = w->events;
	waitq_add(q, &e->waiter);
}

void poll_waiters_init(struct poll_waiters *w)
{
	w->table.queue = poll_queue;
	w->task = current;
	w->triggered = 0;
	w->error = 0;
	w->used = 0;
	w->more = NULL;
}

void poll_waiters_done(struct poll_waiters *w)
{
	struct poll_chunk *c, *next;
	unsigned i;

	for (i = 0; i < w->used; i++)
		waitq_remove(w->few[i].queue, &w->few[i].waiter);
	for (c = w->more; c; c = next) {
		for (i = 0; i < c->used; i++)
			waitq_remove(c->entries[i].queue, &c->entries[i].waiter);
		next = c->next;
		kfree(c);
	}
}

int poll_waiters_sleep(struct poll_waiters *w, uint64_t deadline_ns)
{
	int result = 0;

	task_prepare_park(PARK_INTERRUPTIBLE);
	while (!__atomic_load_n(&w->triggered, __ATOMIC_ACQUIRE)) {
		result = task_park(deadline_ns);
		if (result)
			break;
		task_prepare_park(PARK_INTERRUPTIBLE);
	}
	task_finish_park();
	return result;
}
