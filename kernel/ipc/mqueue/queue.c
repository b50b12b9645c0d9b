// SPDX-License-Identifier: Apache-2.0
// POSIX message queues: messages in order of priority, and waiting for them. mq_send(3), mq_receive(3).

#include "mqueue.h"

#include <linux/capability.h>
#include <linux/resource.h>

#include "kernel/mqueue.h"
#include "kernel/slab.h"
#include "kernel/task.h"

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

// -EAGAIN: full.
static int put(struct mqueue *q, struct mqueue_message *m)
{
	struct mqueue_notification n = { 0 };
	bool fits;

	spin_lock(&q->lock);
	fits = q->count < q->message_max;
	if (fits) {
		insert(q, m);
		if (q->count == 1 && !q->receivers)
			mqueue_notification_take_locked(q, &n);
	}
	spin_unlock(&q->lock);
	mqueue_notification_fire(&n);
	return fits ? 0 : -EAGAIN;
}

static struct mqueue_message *take(struct mqueue *q)
{
	struct mqueue_message *m = NULL;
	struct rb_node *node;

	spin_lock(&q->lock);
	node = rb_first(&q->messages);
	if (node) {
		rb_remove(&q->messages, node);
		m = rb_entry(node, struct mqueue_message, node);
		q->count--;
		q->bytes -= m->size;
	}
	spin_unlock(&q->lock);
	return m;
}

static void count_receiver(struct mqueue *q, int by)
{
	spin_lock(&q->lock);
	q->receivers += (unsigned)by;
	spin_unlock(&q->lock);
}

int mqueue_send(struct mqueue *q, struct mqueue_message *m, bool nonblock, uint64_t deadline)
{
	int error = put(q, m);

	if (error && !nonblock) {
		int waited = wait_event_deadline(&q->writers, !(error = put(q, m)), deadline);
		if (error)
			error = waited == -EINTR ? -ERESTARTSYS : waited;
	}
	if (!error)
		waitq_wake_events(&q->readers, 0, EPOLLIN | EPOLLRDNORM);
	return error;
}

int mqueue_receive(struct mqueue *q, bool nonblock, uint64_t deadline, struct mqueue_message **out)
{
	struct mqueue_message *m = take(q);
	int error = m ? 0 : -EAGAIN;

	if (error && !nonblock) {
		count_receiver(q, 1);
		error = wait_event_deadline(&q->readers, (m = take(q)), deadline);
		count_receiver(q, -1);
		if (m)
			error = 0;
		else if (error == -EINTR)
			error = -ERESTARTSYS;
	}
	*out = m;
	if (m)
		waitq_wake_events(&q->writers, 0, EPOLLOUT | EPOLLWRNORM);
	return error;
}
