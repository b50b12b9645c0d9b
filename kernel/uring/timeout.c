// SPDX-License-Identifier: Apache-2.0
// IORING_OP_TIMEOUT, _TIMEOUT_REMOVE and _LINK_TIMEOUT.
//
// A timer that expires, or a count that is reached, readies the request; whoever runs it then tells the result.
#include "internal.h"

#include "kernel/timespec.h"

#define CLOCKS (IORING_TIMEOUT_BOOTTIME | IORING_TIMEOUT_REALTIME)

// What a timespec means on the monotonic clock. A clock that is set afterwards moves nothing.
static uint64_t deadline_of(uint64_t ns, uint32_t flags)
{
	if (!(flags & IORING_TIMEOUT_ABS))
		return deadline_after(ns);
	if (flags & IORING_TIMEOUT_REALTIME) {
		int64_t offset = clock_realtime_offset_ns();

		return (int64_t)ns <= offset ? 0 : ns - (uint64_t)offset;
	}
	return ns;
}

static void expire(struct ktimer *t)
{
	struct uring_request *r = container_of(t, struct uring_request, timer);
	struct uring *u = r->ring;
	struct uring_owner *o = r->owner;
	bool ready;

	spin_lock(&u->spin);
	ready = r->state == URING_TIMED;
	if (ready) {
		r->expired = true;
		uring_ready_locked(r);
	}
	spin_unlock(&u->spin);
	if (ready)
		uring_wake_runner(u, o); // it is not freed before ktimer_cancel_sync()
}

static int read_time(struct uring_request *r, uint64_t address, uint32_t flags)
{
	uint64_t ns;
	int error = timespec_from_user(&ns, (struct uptr){ address });

	if (!error)
		r->deadline_ns = deadline_of(ns, flags);
	return error;
}

int uring_timeout_prepare(struct uring_request *r)
{
	const struct io_uring_sqe *s = &r->sqe;

	if (s->buf_index || s->len != 1 || s->splice_fd_in)
		return -EINVAL;
	if (s->timeout_flags & ~(IORING_TIMEOUT_ABS | CLOCKS | IORING_TIMEOUT_ETIME_SUCCESS) ||
	    (s->timeout_flags & CLOCKS) == CLOCKS)
		return -EINVAL;
	return read_time(r, s->addr, s->timeout_flags);
}

// Waits; its timer is not yet set. spin held.
static bool wait_locked(struct uring_request *r)
{
	if (!uring_settle_locked(r, URING_TIMED))
		return false;
	r->armed = true;
	ktimer_init(&r->timer, expire);
	return true;
}

static bool count_reached(const struct uring *u, const struct uring_request *r)
{
	return (uint32_t)r->sqe.off && (int32_t)(u->posted - r->target) >= 0;
}

static int timeout_result(struct uring_request *r)
{
	if (!r->expired)
		return 0;
	r->failed = !(r->sqe.timeout_flags & IORING_TIMEOUT_ETIME_SUCCESS);
	return -ETIME;
}

static bool limits_only(const struct uring_request *r) { return r->sqe.timeout_flags & IORING_TIMEOUT_ETIME_SUCCESS; }

int uring_timeout_issue(struct uring_request *r, bool wait)
{
	struct uring *u = r->ring;
	bool pending;

	(void)wait;
	if (r->armed)
		return timeout_result(r);
	if (uring_workers_ensure(r->owner))
		return -EAGAIN;
	refcount_get(&r->refs);
	spin_lock(&u->spin);
	r->target = u->posted + (uint32_t)r->sqe.off;
	pending = wait_locked(r);
	if (pending) {
		if (r->sqe.off)
			list_add_tail(&u->counting, &r->queue_node);
		ktimer_set(&r->timer, r->deadline_ns);
	}
	spin_unlock(&u->spin);
	uring_request_put(r);
	return pending ? URING_PENDING : -ECANCELED;
}

// Readies one whose count has come: whose it is, with a reference; NULL. spin held.
static struct uring_owner *ready_counted_locked(struct uring *u)
{
	struct uring_request *r;

	list_for_each (r, &u->counting, queue_node)
		if (r->state == URING_TIMED && count_reached(u, r)) {
			struct uring_owner *o = r->owner;

			refcount_get(&o->refs);
			uring_ready_locked(r);
			return o;
		}
	return NULL;
}

void uring_timeouts_counted(struct uring *u)
{
	struct uring_owner *o;

	do {
		spin_lock(&u->spin);
		o = ready_counted_locked(u);
		spin_unlock(&u->spin);
		if (o) {
			uring_wake_runner(u, o);
			uring_owner_put(o);
		}
	} while (o);
}

// ---- IORING_OP_TIMEOUT_REMOVE ----

int uring_timeout_remove_prepare(struct uring_request *r)
{
	const struct io_uring_sqe *s = &r->sqe;
	uint32_t flags = s->timeout_flags;

	if (s->buf_index || s->len || s->splice_fd_in)
		return -EINVAL;
	if (!(flags & IORING_TIMEOUT_UPDATE_MASK))
		return flags ? -EINVAL : 0;
	if ((flags & CLOCKS) == CLOCKS || flags & ~(IORING_TIMEOUT_UPDATE_MASK | IORING_TIMEOUT_ABS | CLOCKS))
		return -EINVAL;
	return read_time(r, s->addr2, flags);
}

static bool is_timeout(const struct uring_request *r, bool limit)
{
	return r->op && r->op->issue == (limit ? uring_limit_issue : uring_timeout_issue);
}

// The timeout with these data, taken over.
static struct uring_request *take_timeout(struct uring *u, uint64_t user_data, bool limit, int *error)
{
	struct uring_request *t, *found = NULL;

	*error = -ENOENT;
	spin_lock(&u->spin);
	list_for_each (t, &u->requests, node) {
		if (t->sqe.user_data != user_data || !is_timeout(t, limit))
			continue;
		if (t->state == URING_TIMED && uring_take_locked(t))
			found = t;
		else
			*error = -EALREADY;
		break;
	}
	spin_unlock(&u->spin);
	return found;
}

int uring_timeout_remove_issue(struct uring_request *r, bool wait)
{
	uint32_t flags = r->sqe.timeout_flags;
	bool limit = flags & IORING_LINK_TIMEOUT_UPDATE, pending;
	int error;
	struct uring_request *t = take_timeout(r->ring, r->sqe.addr, limit, &error);

	(void)wait;
	if (!t)
		return error;
	if (!(flags & IORING_TIMEOUT_UPDATE_MASK)) {
		uring_pass_on(uring_finish(t, -ECANCELED));
		return 0;
	}
	(void)ktimer_cancel_sync(&t->timer);
	spin_lock(&r->ring->spin);
	t->deadline_ns = r->deadline_ns;
	pending = uring_settle_locked(t, URING_TIMED);
	if (pending) {
		if (t->sqe.off && !limit)
			list_add_tail(&r->ring->counting, &t->queue_node);
		ktimer_set(&t->timer, t->deadline_ns);
	}
	spin_unlock(&r->ring->spin);
	if (!pending)
		uring_pass_on(uring_finish(t, -ECANCELED));
	return 0;
}

// ---- IORING_OP_LINK_TIMEOUT ----

int uring_limit_prepare(struct uring_request *r) { return r->sqe.off ? -EINVAL : uring_timeout_prepare(r); }

struct uring_request *uring_limit_attach(struct uring_request *r)
{
	struct uring_request *limit = r->next;

	if (!limit || !is_timeout(limit, true))
		return r->limit;
	r->next = limit->next;
	limit->next = NULL;
	refcount_get(&r->refs);
	limit->watched = r;
	r->limit = limit;
	return limit;
}

void uring_limit_start(struct uring_request *limit)
{
	struct uring *u = limit->ring;

	(void)uring_workers_ensure(limit->owner);
	spin_lock(&u->spin);
	if (limit->state == URING_LINKED && wait_locked(limit))
		ktimer_set(&limit->timer, limit->deadline_ns);
	spin_unlock(&u->spin);
}

int uring_limit_issue(struct uring_request *r, bool wait)
{
	int error = uring_cancel_one(r->watched);

	(void)wait;
	r->failed = !limits_only(r);
	return error && error != -ENOENT ? error : -ETIME;
}
