// SPDX-License-Identifier: Apache-2.0
// What poll.c, select.c and epoll.c share: waiting for several files at once.
#pragma once

#include "kernel/fs.h"
#include "kernel/poll.h"
#include "kernel/slab.h"
#include "kernel/task.h"

struct poll_waiters;

struct poll_entry { // one wait queue of one file
	struct waiter waiter;
	struct waitq *queue;
	struct poll_waiters *owner;
	unsigned events; // what wakes us; a wake-up without events always does
};

struct poll_chunk {
	struct poll_chunk *next;
	unsigned used;
	struct poll_entry entries[30];
};

// The files stay referenced by the caller until poll_waiters_done(), and so do their wait queues.
struct poll_waiters {
	struct poll_table table; // first: the queue function finds us by it
	struct task *task;
	uint32_t triggered; // atomic
	unsigned events;    // for the file asked next
	int error;          // -ENOMEM when an entry could not be made
	unsigned used;
	struct poll_entry few[6];
	struct poll_chunk *more;
};

void poll_waiters_init(struct poll_waiters *w);
void poll_waiters_done(struct poll_waiters *w);
// Sleeps until something was triggered since poll_waiters_rearm(). 0, -ETIMEDOUT, -EINTR.
int poll_waiters_sleep(struct poll_waiters *w, uint64_t deadline_ns);
static inline void poll_waiters_rearm(struct poll_waiters *w)
{
	__atomic_exchange_n(&w->triggered, 0, __ATOMIC_SEQ_CST); // before the files are asked again
}
