// SPDX-License-Identifier: Apache-2.0
// IOCB_CMD_POLL: a request that ends when a file is ready.
//
// Its waiters stand on the file's queues, which are woken under locks of all kinds: a wake-up only puts the poll on a list. One kernel task,
// made for the first poll that has to wait, asks the file again and tells. Whoever takes a poll off its context's list finishes it: that task,
// a cancellation, or the submitter who finds the file ready after all.
//
// Lock order: waitq.lock -> fired_lock. aio_context.lock and fired_lock are never held together.

#include "aio.h"
#include "poll_watch.h"

#include "kernel/sched.h"
#include "kernel/slab.h"
#include "kernel/task.h"

struct aio_poll {
	struct aio_request request;
	struct refcount refs; // the context's list, the fired list, and whoever is at work on it
	struct poll_watch watch;
	struct list node;       // context->polls; context->lock
	struct list fired_node; // fired_lock
	unsigned events;
};

static struct mutex start_lock = MUTEX_INIT(start_lock);
static struct task *teller; // start_lock
static struct spinlock fired_lock = SPINLOCK_INIT;
static struct list fired = LIST_INIT(fired); // struct aio_poll.fired_node
static struct waitq fired_wait = WAITQ_INIT(fired_wait);

static void put(struct aio_poll *p)
{
	if (!refcount_put(&p->refs))
		return;
	file_put(p->request.file);
	if (p->request.notify)
		file_put(p->request.notify);
	aio_context_put(p->request.context);
	kfree(p);
}

// True: it was on its context's list, and this was its end.
static bool finish(struct aio_poll *p, unsigned result)
{
	struct aio_context *c = p->request.context;
	bool mine;

	spin_lock(&c->lock);
	mine = !list_empty(&p->node);
	if (mine)
		list_remove(&p->node);
	spin_unlock(&c->lock);
	if (!mine)
		return false;
	poll_watch_leave(&p->watch);
	aio_complete(&p->request, result);
	put(p);
	return true;
}

// ---- wake-ups ----

static struct aio_poll *take_fired(void)
{
	struct aio_poll *p = NULL;

	spin_lock(&fired_lock);
	if (!list_empty(&fired)) {
		p = list_first(&fired, struct aio_poll, fired_node);
		list_remove(&p->fired_node);
	}
	spin_unlock(&fired_lock);
	return p;
}

static void tell_fired(void *unused)
{
	struct aio_poll *p;
	unsigned events;

	(void)unused;
	for (;;) {
		wait_event(&fired_wait, !list_empty(&fired));
		while ((p = take_fired())) {
			events = file_poll(p->request.file, NULL) & p->events;
			if (events)
				(void)finish(p, events);
			put(p);
		}
	}
}

static bool fire(struct waiter *w, unsigned events)
{
	struct aio_poll *p = container_of(poll_watch_of(w), struct aio_poll, watch);

	if (events && !(events & p->events))
		return false;
	spin_lock(&fired_lock);
	if (list_empty(&p->fired_node)) {
		refcount_get(&p->refs);
		list_add_tail(&fired, &p->fired_node);
	}
	spin_unlock(&fired_lock);
	waitq_wake_all(&fired_wait);
	return false;
}

// ---- start ----

static int start_teller(void)
{
	int error = 0;

	mutex_lock(&start_lock);
	if (!teller) {
		struct task *t = kernel_task_create("aio", tell_fired, NULL);

		if (is_err(t))
			error = (int)ptr_err(t);
		else
			teller = t;
	}
	mutex_unlock(&start_lock);
	return error;
}

static struct aio_poll *poll_create(const struct aio_request *r, unsigned events)
{
	struct aio_poll *p = kalloc(sizeof(*p));

	if (!p)
		return NULL;
	p->request = *r;
	refcount_set(&p->refs, 1);
	poll_watch_init(&p->watch, fire);
	list_init(&p->node);
	list_init(&p->fired_node);
	p->events = events;
	return p;
}

// Not to be told: its references stay the caller's. A wake-up may still have it on the fired list.
static int give_up(struct aio_poll *p, int error)
{
	poll_watch_leave(&p->watch);
	file_get(p->request.file);
	if (p->request.notify)
		file_get(p->request.notify);
	refcount_get(&p->request.context->refs);
	put(p);
	return error;
}

int aio_poll_start(const struct aio_request *r, unsigned events)
{
	struct aio_context *c = r->context;
	struct aio_poll *p;
	unsigned ready;
	int error;

	if (r->file->ops->poll_by_caller)
		return -EINVAL;
	error = start_teller();
	if (error)
		return error;
	p = poll_create(r, events | EPOLLERR | EPOLLHUP);
	if (!p)
		return -ENOMEM;
	ready = file_poll(r->file, &p->watch.table) & p->events;
	if (p->watch.too_many || (!ready && !p->watch.used))
		return give_up(p, -EINVAL);
	refcount_get(&p->refs);
	spin_lock(&c->lock);
	list_add_tail(&c->polls, &p->node);
	spin_unlock(&c->lock);
	// What woke it up before it was on the list was for nothing: asked once more.
	ready = file_poll(r->file, NULL) & p->events;
	if (ready)
		(void)finish(p, ready);
	else if (__atomic_load_n(&c->dead, __ATOMIC_ACQUIRE)) // too late for aio_poll_cancel_all()
		(void)finish(p, 0);
	put(p);
	return 0;
}

// ---- cancel ----

static struct aio_poll *find(struct aio_context *c, bool any, uint64_t block)
{
	struct aio_poll *p, *found = NULL;

	spin_lock(&c->lock);
	list_for_each (p, &c->polls, node)
		if (any || p->request.block == block) {
			found = p;
			refcount_get(&p->refs);
			break;
		}
	spin_unlock(&c->lock);
	return found;
}

static bool cancel(struct aio_context *c, bool any, uint64_t block, bool *done)
{
	struct aio_poll *p = find(c, any, block);

	if (!p)
		return false;
	*done = finish(p, 0);
	put(p);
	return true;
}

bool aio_poll_cancel(struct aio_context *c, uint64_t block)
{
	bool done = false;

	return cancel(c, false, block, &done) && done;
}

void aio_poll_cancel_all(struct aio_context *c)
{
	bool done;

	while (cancel(c, true, 0, &done))
		;
}
