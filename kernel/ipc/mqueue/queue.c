// SPDX-License-Identifier: Apache-2.0
// POSIX message queues: messages in order of priority, and waiting for them. mq_send(3), mq_receive(3).

#include "mqueue.h"

#include <linux/capability.h>
#include <linux/resource.h>

#include "kernel/mqueue.h"
#include "kernel/slab.h"
#include "kernel/task.h"

// A task that waits, on its stack. Receivers are handed a message by a sender; of senders the message is put into the queue by a receiver.
struct mqueue_waiter {
	struct list node;
	struct task *task;
	int rank; // as Linux's prio: less comes first
	struct mqueue_message *message;
	bool served; // off the list: the message has come, or gone. Atomic
};

#define PRIORITIES   32768
#define MESSAGE_COST 48 // what Linux charges for a message, and for each priority in use, beside its text

// ---- life ----

static int check_size(int64_t message_max, int64_t size_max)
{
	bool may_exceed = cred_capable(current->cred, CAP_SYS_RESOURCE);
	int64_t messages = may_exceed ? MQUEUE_MESSAGES_HARD_MAX : mqueue_limits.msg_max;
	int64_t bytes = may_exceed ? MQUEUE_BYTES_HARD_MAX : mqueue_limits.msgsize_max;

	return message_max > 0 && size_max > 0 && message_max <= messages && size_max <= bytes ? 0 : -EINVAL;
}

static int charge(struct mqueue *q)
{
	struct user *u = current->cred->user;
	uint64_t bytes = (uint64_t)(q->message_max * q->size_max + q->message_max * MESSAGE_COST +
				    min(q->message_max, (int64_t)PRIORITIES) * MESSAGE_COST);

	if (__atomic_add_fetch(&u->mqueue_bytes, bytes, __ATOMIC_RELAXED) >
	    process_rlimit(current->process, RLIMIT_MSGQUEUE)) {
		__atomic_sub_fetch(&u->mqueue_bytes, bytes, __ATOMIC_RELAXED);
		return -EMFILE;
	}
	q->user = user_get(u);
	q->charged_bytes = bytes;
	return 0;
}

struct mqueue *mqueue_create(int64_t message_max, int64_t size_max)
{
	struct mqueue *q;
	int error = check_size(message_max, size_max);

	if (error)
		return err_ptr(error);
	q = kalloc(sizeof(*q));
	if (!q)
		return err_ptr(-ENOMEM);
	waitq_init(&q->readers);
	waitq_init(&q->writers);
	spin_init(&q->lock);
	list_init(&q->receivers);
	list_init(&q->senders);
	q->message_max = message_max;
	q->size_max = size_max;
	error = charge(q);
	if (!error)
		return q;
	kfree(q);
	return err_ptr(error);
}

void mqueue_destroy(struct mqueue *q)
{
	struct rb_node *node;

	while ((node = rb_first(&q->messages))) {
		rb_remove(&q->messages, node);
		kfree(rb_entry(node, struct mqueue_message, node));
	}
	mqueue_notification_cancel(&q->notification);
	__atomic_sub_fetch(&q->user->mqueue_bytes, q->charged_bytes, __ATOMIC_RELAXED);
	user_put(q->user);
	kfree(q);
}

// ---- messages ----

static void insert(struct mqueue *q, struct mqueue_message *m)
{
	struct rb_node **link = &q->messages.node, *parent = NULL;

	while (*link) {
		parent = *link;
		// Newer than all of its priority: behind them.
		bool before = m->priority > rb_entry(parent, struct mqueue_message, node)->priority;
		link = before ? &parent->left : &parent->right;
	}
	rb_insert(&q->messages, &m->node, parent, link);
	q->count++;
	q->bytes += m->size;
}

static int rank_of(const struct task *t) { return t->sched.rt_priority ? -t->sched.rt_priority : 20 + t->sched.nice; }

// Behind those of its own rank.
static void queue_waiter_locked(struct list *waiters, struct mqueue_waiter *w)
{
	struct mqueue_waiter *other;

	list_for_each (other, waiters, node)
		if (other->rank > w->rank)
			break;
	list_add_tail(&other->node, &w->node); // before it; the head when there is none
}

// The first to be served leaves the list.
static struct mqueue_waiter *first_locked(struct list *waiters)
{
	struct mqueue_waiter *w = list_first(waiters, struct mqueue_waiter, node);

	list_remove(&w->node);
	return w;
}

static void serve_locked(struct mqueue_waiter *w)
{
	__atomic_store_n(&w->served, true, __ATOMIC_RELEASE);
	task_unpark(w->task); // it takes the lock before it goes on
}

// Gives the message to who waits for one, who are nobody while there are others, or queues it; else the sender waits, if it is to. -EAGAIN: full.
static int put(struct mqueue *q, struct mqueue_message *m, struct mqueue_waiter *sender)
{
	struct mqueue_notification n = { 0 };
	bool waited_for, queued = false;

	spin_lock(&q->lock);
	waited_for = !list_empty(&q->receivers);
	if (waited_for) {
		struct mqueue_waiter *receiver = first_locked(&q->receivers);
		receiver->message = m;
		serve_locked(receiver);
	} else if (q->count < q->message_max) {
		queued = true;
		insert(q, m);
		if (q->count == 1)
			mqueue_notification_take_locked(q, &n);
	} else if (sender) {
		queue_waiter_locked(&q->senders, sender);
	}
	spin_unlock(&q->lock);
	mqueue_notification_fire(&n);
	if (queued)
		waitq_wake_events(&q->readers, 0, EPOLLIN | EPOLLRDNORM);
	return waited_for || queued ? 0 : -EAGAIN;
}

static struct mqueue_message *take_locked(struct mqueue *q)
{
	struct rb_node *node = rb_first(&q->messages);
	struct mqueue_message *m;

	if (!node)
		return NULL;
	rb_remove(&q->messages, node);
	m = rb_entry(node, struct mqueue_message, node);
	q->count--;
	q->bytes -= m->size;
	if (!list_empty(&q->senders)) { // its place is who waits for it first's
		struct mqueue_waiter *sender = first_locked(&q->senders);
		insert(q, sender->message);
		serve_locked(sender);
	}
	return m;
}

// 0: served; -ETIMEDOUT, -EINTR.
static int wait_served(struct mqueue *q, struct mqueue_waiter *w, uint64_t deadline)
{
	int error = 0;

	for (;;) {
		task_prepare_park(PARK_INTERRUPTIBLE);
		if (__atomic_load_n(&w->served, __ATOMIC_ACQUIRE) || error)
			break;
		error = task_park(deadline);
	}
	task_finish_park();
	spin_lock(&q->lock);
	if (w->served)
		error = 0;
	else
		list_remove(&w->node);
	spin_unlock(&q->lock);
	return error;
}

int mqueue_send(struct mqueue *q, struct mqueue_message *m, bool nonblock, uint64_t deadline)
{
	struct mqueue_waiter w = { .task = current, .rank = rank_of(current), .message = m };
	int error = put(q, m, nonblock ? NULL : &w);

	if (!error || nonblock)
		return error;
	error = wait_served(q, &w, deadline);
	return error == -EINTR ? -ERESTARTSYS : error;
}

int mqueue_receive(struct mqueue *q, bool nonblock, uint64_t deadline, struct mqueue_message **out)
{
	struct mqueue_waiter w = { .task = current, .rank = rank_of(current) };
	bool room;
	int error = 0;

	spin_lock(&q->lock);
	*out = take_locked(q);
	if (!*out && !nonblock)
		queue_waiter_locked(&q->receivers, &w);
	room = q->count < q->message_max;
	spin_unlock(&q->lock);
	if (*out) {
		if (room)
			waitq_wake_events(&q->writers, 0, EPOLLOUT | EPOLLWRNORM);
		return 0;
	}
	if (nonblock)
		return -EAGAIN;
	error = wait_served(q, &w, deadline);
	*out = w.message;
	return error == -EINTR ? -ERESTARTSYS : error;
}
