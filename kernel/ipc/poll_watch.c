// SPDX-License-Identifier: Apache-2.0
// The places on a file's wait queues.
#include "poll_watch.h"

static void stand(struct poll_table *t, struct file *f, struct waitq *q)
{
	struct poll_watch *w = container_of(t, struct poll_watch, table);
	struct poll_watch_place *p;

	(void)f;
	if (w->used == array_count(w->places)) {
		w->too_many = true;
		return;
	}
	p = &w->places[w->used++];
	waiter_init(&p->waiter);
	p->waiter.wake = w->wake;
	p->queue = q;
	p->watch = w;
	waitq_add(q, &p->waiter);
}

void poll_watch_init(struct poll_watch *w, bool (*wake)(struct waiter *w, unsigned events))
{
	w->table.queue = stand;
	w->wake = wake;
	w->used = 0;
	w->too_many = false;
}

void poll_watch_leave(struct poll_watch *w)
{
	for (unsigned i = 0; i < w->used; i++)
		waitq_remove(w->places[i].queue, &w->places[i].waiter);
}
