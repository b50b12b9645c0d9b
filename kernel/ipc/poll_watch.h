// SPDX-License-Identifier: Apache-2.0
// Standing on the wait queues of one file for somebody who does not sleep there: Linux AIO's polls and io_uring's.
#pragma once

#include "kernel/fs.h"
#include "kernel/poll.h"
#include "kernel/waitq.h"

struct poll_watch;

struct poll_watch_place {
	struct waiter waiter;
	struct waitq *queue;
	struct poll_watch *watch;
};

struct poll_watch {
	struct poll_table table; // file_poll() with it: from then on we stand on the queues
	bool (*wake)(struct waiter *w, unsigned events);
	unsigned used;
	bool too_many;                     // the file has more queues: we do not stand on all
	struct poll_watch_place places[4]; // a file has at most one queue a direction
};

// wake: as struct waiter's, with the queue's lock held.
void poll_watch_init(struct poll_watch *w, bool (*wake)(struct waiter *w, unsigned events));
// Off all queues, which are still there. After it nobody is in wake().
void poll_watch_leave(struct poll_watch *w);
static inline struct poll_watch *poll_watch_of(struct waiter *w)
{
	return container_of(w, struct poll_watch_place, waiter)->watch;
}
