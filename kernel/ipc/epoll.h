// SPDX-License-Identifier: Apache-2.0
// What epoll.c and epoll_calls.c share.
#pragma once

#include "kernel/fs.h"
#include "kernel/poll.h"
#include "kernel/slab.h"
#include "kernel/task.h"

#define EPOLL_PRIVATE_BITS (EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE)
#define EPOLL_NESTING_MAX  5u

struct epitem;

struct eventpoll {
	struct mutex lock;    // guards items and serialises scans of the ready list
	struct rb_root items; // struct epitem, by file and descriptor
	struct spinlock ready_lock;
	struct list ready;       // struct epitem.ready_node; ready_lock
	uint64_t scan;           // number of the present scan; lock
	struct waitq wait;       // epoll_wait() sleeps here
	struct waitq poll_queue; // whoever polls this epoll instance itself
	bool polled;             // somebody has ever polled this instance
	unsigned item_count;
};

struct epwaiter {
	struct waiter waiter;
	struct waitq *queue; // NULL once the queue went away under us; queue_free_lock
	struct epitem *item;
	struct epwaiter *next;
};

struct epitem {
	struct rb_node node;
	struct eventpoll *poll;
	struct file *file; // not counted: its last reference removes us
	int fd;
	struct epoll_event event; // ep->lock; the events are read racily by wake-ups
	struct list file_node;    // file->epoll_items; file->epoll_lock
	struct list ready_node;   // poll->ready_lock
	uint64_t seen;            // scan that last asked it; lock
	struct epwaiter first;    // most files have one queue
	struct epwaiter *more;
	int error; // -ENOMEM while waiters are made
};

extern struct mutex epoll_mutex; // before eventpoll.lock: nesting, and the end of files and instances
extern const struct file_ops epoll_ops;

// ep->lock held by all of these.
struct epitem *epoll_find(struct eventpoll *ep, struct file *f, int fd);
int epoll_insert(struct eventpoll *ep, struct file *f, int fd, const struct epoll_event *event);
void epoll_modify(struct epitem *i, const struct epoll_event *event);
void epoll_remove(struct epitem *i);

// Would watching `target` from `ep` close a circle or nest too deep? epoll_mutex held.
bool epoll_makes_loop(struct eventpoll *ep, struct file *target);
// Up to `count` events into the program's memory: how many, 0, or -EFAULT.
long epoll_collect(struct eventpoll *ep, struct uptr events, unsigned count);
static inline bool epoll_has_ready(struct eventpoll *ep)
{
	return __atomic_load_n(&ep->ready.next, __ATOMIC_ACQUIRE) != &ep->ready;
}
