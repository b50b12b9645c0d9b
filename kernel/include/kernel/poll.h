// SPDX-License-Identifier: Apache-2.0
// Readiness: how files tell poll, select and epoll. Owner: kernel/ipc/poll.c, epoll.c.
//
// A file's poll operation calls poll_wait() on each wait queue that will be woken when readiness changes, then returns the
// present events. Wake-ups pass the events to waitq_wake_events().
#pragma once

#include <linux/eventpoll.h>
#include <asm/poll.h>

#include "kernel/waitq.h"

struct file;
struct poll_table {
	void (*queue)(struct poll_table *t, struct file *f, struct waitq *q); // NULL: only the present state is asked
};
static inline void poll_wait(struct poll_table *t, struct file *f, struct waitq *q)
{
	if (t && t->queue)
		t->queue(t, f, q);
}

// Before a wait queue goes that files of others may be watched through (sighand's, for signalfd): epoll lets go of it.
void poll_queue_free(struct waitq *q);
