// SPDX-License-Identifier: Apache-2.0
// Signals that files send to their owner: on readiness (O_ASYNC), and on urgent data. fcntl(2), "Managing signals".
//
// A file with O_ASYNC has a waiter on each queue that its poll operation names. Queues are woken under locks of all kinds, so a
// waiter only notes what happened; one kernel task, made for the first such file, sends the signals.
//
// Lock order: setting_lock -> waitq.lock -> pending_lock. The task sends with none of them held.
#include "internal.h"

#include <linux/fcntl.h>

#include "kernel/poll.h"

struct async_waiter {
	struct waiter waiter;
	struct waitq *queue;
	struct file_async *async;
};

struct file_async {
	struct poll_table table;
	struct file *file; // not counted: file_async_release() comes before anything of it goes
	int fd;            // what si_fd says
	unsigned events;   // pending_lock: not told yet
	struct list pending_node;
	unsigned used;
	struct async_waiter waiters[4]; // a file has at most one queue a direction
};

// What the sending task needs to know; the file may go meanwhile.
struct notice {
	struct file_owner owner;
	int fd;
	unsigned events;
};

static struct mutex setting_lock = MUTEX_INIT(setting_lock);
static struct spinlock pending_lock = SPINLOCK_INIT;
static struct list pending = LIST_INIT(pending); // struct file_async.pending_node
static struct waitq pending_wait = WAITQ_INIT(pending_wait);
static struct task *sender; // setting_lock

// ---- sending ----

static bool may_signal(const void *owner, struct task *t)
{
	const struct file_owner *o = owner;
	const struct cred *c = task_cred_get(t);
	bool may = !o->euid || o->euid == c->uid || o->euid == c->suid || o->uid == c->uid || o->uid == c->suid;

	cred_put(c);
	return may;
}

static int send_one(const struct file_owner *o, struct task *t, int signal, const siginfo_t *info)
{
	if (!may_signal(o, t))
		return 0;
	return o->type == F_OWNER_TID ? signal_send_task(t, signal, info)
				      : signal_send_process(t->process, signal, info);
}

// A full queue of a real-time signal: plain SIGIO instead.
static void send(const struct file_owner *o, int signal, const siginfo_t *info)
{
	struct task *t;
	int error;

	if (o->type == F_OWNER_PGRP) {
		if (signal_send_group_if(o->pid, signal, info, may_signal, o) == -EAGAIN)
			(void)signal_send_group_if(o->pid, SIGIO, NULL, may_signal, o);
		return;
	}
	t = task_find(o->pid);
	if (!t)
		return;
	error = send_one(o, t, signal, info);
	if (error == -EAGAIN)
		(void)send_one(o, t, SIGIO, NULL);
	task_put(t);
}

void file_send_signal(struct file *f, int signal)
{
	struct file_owner owner = f->owner;

	if (owner.pid)
		send(&owner, signal, NULL);
}

static void tell(const struct file_owner *o, int fd, int code, unsigned band)
{
	siginfo_t info = { .si_signo = o->signal, .si_code = code };

	if (!o->pid)
		return;
	if (!o->signal) {
		send(o, SIGIO, NULL);
		return;
	}
	info.si_band = band;
	info.si_fd = fd;
	send(o, o->signal, &info);
}

void file_owner_tell(const struct file_owner *o, int fd) { tell(o, fd, POLL_MSG, EPOLLIN | EPOLLRDNORM | EPOLLMSG); }

static void tell_all(const struct notice *n)
{
	if (n->events & EPOLLIN)
		tell(&n->owner, n->fd, POLL_IN, EPOLLIN | EPOLLRDNORM);
	else if (n->events & EPOLLPRI)
		tell(&n->owner, n->fd, POLL_PRI, EPOLLPRI | EPOLLRDBAND);
	else if (n->events & (EPOLLHUP | EPOLLERR))
		tell(&n->owner, n->fd, POLL_HUP, EPOLLHUP | EPOLLERR);
	if (n->events & EPOLLOUT)
		tell(&n->owner, n->fd, POLL_OUT, EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND);
}

static bool take(struct notice *n)
{
	struct file_async *a = NULL;

	spin_lock(&pending_lock);
	if (!list_empty(&pending)) {
		a = list_first(&pending, struct file_async, pending_node);
		list_remove(&a->pending_node);
		*n = (struct notice){ a->file->owner, a->fd, a->events };
		a->events = 0;
	}
	spin_unlock(&pending_lock);
	return a != NULL;
}

static void send_pending(void *unused)
{
	struct notice n;

	(void)unused;
	for (;;) {
		wait_event(&pending_wait, !list_empty(&pending));
		while (take(&n))
			tell_all(&n);
	}
}

// ---- watching ----

static bool note(struct waiter *w, unsigned events)
{
	struct file_async *a = container_of(w, struct async_waiter, waiter)->async;

	spin_lock(&pending_lock);
	a->events |= events ? events : (unsigned)EPOLLIN;
	if (list_empty(&a->pending_node))
		list_add_tail(&pending, &a->pending_node);
	spin_unlock(&pending_lock);
	waitq_wake_all(&pending_wait);
	return false;
}

static void watch(struct poll_table *t, struct file *f, struct waitq *q)
{
	struct file_async *a = container_of(t, struct file_async, table);
	struct async_waiter *w = &a->waiters[a->used++];

	(void)f;
	assert(a->used <= array_count(a->waiters));
	waiter_init(&w->waiter);
	w->waiter.wake = note;
	w->queue = q;
	w->async = a;
	waitq_add(q, &w->waiter);
}

void file_async_release(struct file *f)
{
	struct file_async *a = f->async;

	for (unsigned i = 0; i < a->used; i++)
		waitq_remove(a->waiters[i].queue, &a->waiters[i].waiter);
	spin_lock(&pending_lock);
	list_remove(&a->pending_node);
	spin_unlock(&pending_lock);
	f->async = NULL;
	kfree(a);
}

static int start(struct file *f, int fd)
{
	struct file_async *a = kalloc(sizeof(*a));

	if (!a)
		return -ENOMEM;
	if (!sender) {
		struct task *t = kernel_task_create("sigio", send_pending, NULL);
		if (is_err(t)) {
			kfree(a);
			return (int)ptr_err(t);
		}
		sender = t;
	}
	*a = (struct file_async){ .table.queue = watch, .file = f, .fd = fd };
	list_init(&a->pending_node);
	f->async = a;
	(void)file_poll(f, &a->table);
	return 0;
}

int file_set_async(struct file *f, int fd, bool on)
{
	int error = 0;

	if (!f->ops->async)
		return 0;
	mutex_lock(&setting_lock);
	if (on && !f->async)
		error = start(f, fd);
	else if (on)
		f->async->fd = fd;
	else if (f->async)
		file_async_release(f);
	mutex_unlock(&setting_lock);
	return error;
}
