// SPDX-License-Identifier: Apache-2.0
// Waiting for files: IORING_OP_POLL_ADD, and every request that would have had to wait.
//
// The waiters stand on the file's queues from the first time on, until the request ends. A wake-up readies the request if it is ARMED;
// otherwise somebody is at work on it, who asks the file again after arming.
#include "internal.h"

#include "../ipc/poll_watch.h"

#define EVENTS_ALWAYS (EPOLLERR | EPOLLHUP)
#define EVENTS_FLAGS  (EPOLLET | EPOLLONESHOT | EPOLLEXCLUSIVE | EPOLLWAKEUP)

struct uring_poll {
	struct poll_watch watch;
	struct uring_request *request;
	unsigned events;
	bool fired; // while it ran; ring->spin
};

bool uring_poll_can(const struct file *f) { return f->ops->poll && !f->ops->poll_by_caller; }

static bool fire(struct waiter *w, unsigned events)
{
	struct uring_request *r = container_of(poll_watch_of(w), struct uring_poll, watch)->request;
	struct uring *u = r->ring;
	struct uring_owner *o = r->owner;
	bool ready;

	if (events && !(events & __atomic_load_n(&r->poll->events, __ATOMIC_RELAXED)))
		return false;
	spin_lock(&u->spin);
	ready = r->state == URING_ARMED;
	if (ready)
		uring_ready_locked(r);
	else
		r->poll->fired = true;
	spin_unlock(&u->spin);
	if (ready)
		uring_wake_runner(u, o); // we are on the file's queue: whoever ends the request waits for its lock
	return false;
}

void uring_poll_leave(struct uring_request *r)
{
	struct uring_poll *p = r->poll;

	if (!p)
		return;
	poll_watch_leave(&p->watch);
	r->poll = NULL; // nobody is at it any more
	kfree(p);
}

static struct uring_poll *poll_create(struct uring_request *r)
{
	struct uring_poll *p = kalloc(sizeof(*p));

	if (!p)
		return NULL;
	poll_watch_init(&p->watch, fire);
	p->request = r; // before it stands on a queue
	r->poll = p;
	return p;
}

static bool disarm(struct uring_request *r)
{
	bool mine;

	spin_lock(&r->ring->spin);
	mine = r->state == URING_ARMED;
	if (mine)
		r->state = URING_RUNNING;
	spin_unlock(&r->ring->spin);
	return mine;
}

static enum uring_armed arm(struct uring_request *r, bool *dead)
{
	spin_lock(&r->ring->spin);
	*dead = !uring_settle_locked(r, URING_ARMED);
	spin_unlock(&r->ring->spin);
	return *dead ? URING_ARM_DEAD : URING_ARM_PENDING;
}

enum uring_armed uring_poll_arm(struct uring_request *r, unsigned events, unsigned *ready)
{
	struct uring_poll *p = r->poll;
	struct file *f = r->file;
	bool dead;

	events |= EVENTS_ALWAYS;
	*ready = 0;
	if (!p) {
		if (uring_workers_ensure(r->owner))
			return URING_ARM_IMPOSSIBLE;
		p = poll_create(r);
		if (!p)
			return URING_ARM_IMPOSSIBLE;
		p->events = events;
		*ready = file_poll(f, &p->watch.table) & events;
		if (p->watch.too_many || (!*ready && !p->watch.used)) {
			uring_poll_leave(r);
			return URING_ARM_IMPOSSIBLE;
		}
		if (*ready)
			return URING_ARM_READY;
	}
	__atomic_store_n(&p->events, events, __ATOMIC_RELAXED);
	refcount_get(&r->refs); // once it is armed, others may end it
	file_get(f);
	if (arm(r, &dead) == URING_ARM_PENDING) {
		// What woke it up before it was armed was for nothing: asked once more.
		*ready = file_poll(f, NULL) & events;
		if (!*ready || !disarm(r))
			*ready = 0;
	}
	file_put(f);
	uring_request_put(r);
	return dead ? URING_ARM_DEAD : *ready ? URING_ARM_READY : URING_ARM_PENDING;
}

// ---- IORING_OP_POLL_ADD ----

static unsigned events_of(const struct io_uring_sqe *s) { return s->poll32_events & ~EVENTS_FLAGS; }

int uring_poll_prepare(struct uring_request *r)
{
	const struct io_uring_sqe *s = &r->sqe;

	if (s->buf_index || s->off || s->addr)
		return -EINVAL;
	if (s->len & ~(IORING_POLL_ADD_MULTI | IORING_POLL_ADD_LEVEL))
		return -EINVAL;
	return s->len & IORING_POLL_ADD_MULTI && s->flags & IOSQE_CQE_SKIP_SUCCESS ? -EINVAL : 0;
}

// Waits for what comes from here on. False: something came since *ready was asked.
static bool arm_for_more(struct uring_request *r, bool *dead)
{
	bool armed = false;

	*dead = false;
	spin_lock(&r->ring->spin);
	if (!r->poll->fired) {
		armed = uring_settle_locked(r, URING_ARMED);
		*dead = !armed;
	}
	spin_unlock(&r->ring->spin);
	return armed;
}

static unsigned ask(struct uring_request *r)
{
	spin_lock(&r->ring->spin);
	r->poll->fired = false;
	spin_unlock(&r->ring->spin);
	return file_poll(r->file, NULL) & (events_of(&r->sqe) | EVENTS_ALWAYS);
}

int uring_poll_issue(struct uring_request *r, bool wait)
{
	bool multi = r->sqe.len & IORING_POLL_ADD_MULTI, dead;
	unsigned ready;

	(void)wait;
	if (r->file->ops->poll_by_caller)
		return -EINVAL;  // its queue may go before the file
	if (!r->file->ops->poll) // always
		return (int)(events_of(&r->sqe) & (EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLWRNORM));
	for (;;) {
		ready = r->poll ? ask(r) : 0;
		if (!ready) {
			switch (uring_poll_arm(r, events_of(&r->sqe), &ready)) {
			case URING_ARM_PENDING: return URING_PENDING;
			case URING_ARM_READY: break;
			case URING_ARM_IMPOSSIBLE: return -EINVAL;
			case URING_ARM_DEAD: return -ECANCELED;
			}
		}
		if (!multi || !uring_post_more(r, (int32_t)ready, 0))
			return (int)ready;
		if (arm_for_more(r, &dead))
			return URING_PENDING;
		if (dead)
			return -ECANCELED;
	}
}

// ---- IORING_OP_POLL_REMOVE: and update ----

int uring_poll_remove_prepare(struct uring_request *r)
{
	const struct io_uring_sqe *s = &r->sqe;
	bool events = s->len & IORING_POLL_UPDATE_EVENTS, data = s->len & IORING_POLL_UPDATE_USER_DATA;

	if (s->buf_index || s->splice_fd_in ||
	    s->len & ~(IORING_POLL_UPDATE_EVENTS | IORING_POLL_UPDATE_USER_DATA | IORING_POLL_ADD_MULTI))
		return -EINVAL;
	if (s->len == IORING_POLL_ADD_MULTI || (!data && s->off) || (!events && s->poll32_events))
		return -EINVAL;
	return 0;
}

// The poll with these data, taken over; NULL: there is none (-ENOENT) or it is just being told (-EALREADY).
static struct uring_request *take_poll(struct uring *u, uint64_t user_data, int *error)
{
	struct uring_request *p, *found = NULL;

	*error = -ENOENT;
	spin_lock(&u->spin);
	list_for_each (p, &u->requests, node) {
		if (p->sqe.user_data != user_data || !p->op || p->op->issue != uring_poll_issue)
			continue;
		*error = p->state == URING_ARMED ? 0 : -EALREADY;
		if (!*error) {
			p->state = URING_RUNNING;
			found = p;
		}
		break;
	}
	spin_unlock(&u->spin);
	return found;
}

int uring_poll_remove_issue(struct uring_request *r, bool wait)
{
	const struct io_uring_sqe *s = &r->sqe;
	int error;
	struct uring_request *p = take_poll(r->ring, s->addr, &error);

	(void)wait;
	if (!p)
		return error;
	if (!(s->len & (IORING_POLL_UPDATE_EVENTS | IORING_POLL_UPDATE_USER_DATA))) {
		uring_pass_on(uring_finish(p, -ECANCELED));
		return 0;
	}
	if (s->len & IORING_POLL_UPDATE_EVENTS) {
		p->sqe.poll32_events = s->poll32_events;
		p->sqe.len = s->len & IORING_POLL_ADD_MULTI;
		if (p->poll)
			__atomic_store_n(&p->poll->events, events_of(&p->sqe) | EVENTS_ALWAYS, __ATOMIC_RELAXED);
	}
	if (s->len & IORING_POLL_UPDATE_USER_DATA)
		p->sqe.user_data = s->off;
	uring_pass_on(p);
	return 0;
}
