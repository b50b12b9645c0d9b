// SPDX-License-Identifier: Apache-2.0
// Ending requests early: IORING_OP_ASYNC_CANCEL, IORING_REGISTER_SYNC_CANCEL, and the end of rings and processes.
#include "internal.h"

#include "kernel/uring.h"

// A worker is at work on it: it is asked to leave its wait. spin held.
static int interrupt_locked(struct uring_request *r)
{
	if (r->state != URING_RUNNING || !r->runner)
		return -ENOENT;
	__atomic_store_n(&r->cancelled, true, __ATOMIC_RELEASE);
	task_work_set(r->runner, WORK_SIGNAL); // nothing is there: its wait ends, and it looks at `cancelled`
	sched_kick_task(r->runner);
	return -EALREADY;
}

// spin held; it is the caller's when 0.
static int take_locked(struct uring_request *r) { return uring_take_locked(r) ? 0 : interrupt_locked(r); }

int uring_cancel_one(struct uring_request *r)
{
	int error;

	spin_lock(&r->ring->spin);
	error = take_locked(r);
	spin_unlock(&r->ring->spin);
	if (!error)
		uring_pass_on(uring_finish(r, -ECANCELED));
	return error;
}

static bool matches(const struct uring_request *r, const struct uring_match *m)
{
	if (m->any)
		return true;
	if (r->state == URING_DEFERRED || r->state == URING_LINKED || r->state == URING_DONE)
		return false;
	if (m->flags & IORING_ASYNC_CANCEL_ANY)
		return true;
	if (m->flags & IORING_ASYNC_CANCEL_FD && r->file != m->file)
		return false;
	if (m->flags & IORING_ASYNC_CANCEL_OP && r->sqe.opcode != m->opcode)
		return false;
	if (m->flags & IORING_ASYNC_CANCEL_USERDATA || !(m->flags & (IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_OP)))
		return r->sqe.user_data == m->user_data;
	return true;
}

// One that matches, taken over; *error when there was none.
static struct uring_request *take_match(struct uring *u, const struct uring_match *m,
					const struct uring_request *except, int *error)
{
	struct uring_request *r;
	int this;

	*error = -ENOENT;
	list_for_each (r, &u->requests, node) {
		if (r == except || !matches(r, m))
			continue;
		this = take_locked(r);
		if (!this)
			return r;
		if (this == -EALREADY)
			*error = this;
	}
	return NULL;
}

int uring_cancel(struct uring *u, const struct uring_match *m, const struct uring_request *except)
{
	struct uring_request *r;
	int count = 0, error;

	do {
		spin_lock(&u->spin);
		r = take_match(u, m, except, &error);
		spin_unlock(&u->spin);
		if (r) {
			uring_pass_on(uring_finish(r, -ECANCELED));
			count++;
		}
	} while (r && (m->any || m->flags & (IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY)));
	return count ? count : error;
}

// ---- IORING_OP_ASYNC_CANCEL ----

#define CANCEL_FLAGS \
	(IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_FD_FIXED)

int uring_cancel_prepare(struct uring_request *r)
{
	const struct io_uring_sqe *s = &r->sqe;

	if (s->off || s->len || s->splice_fd_in || s->cancel_flags & ~CANCEL_FLAGS)
		return -EINVAL;
	return s->cancel_flags & IORING_ASYNC_CANCEL_FD && s->cancel_flags & IORING_ASYNC_CANCEL_ANY ? -EINVAL : 0;
}

int uring_cancel_by(struct uring *u, uint32_t flags, uint64_t user_data, int fd, const struct uring_request *except)
{
	struct uring_match m = { .flags = flags, .user_data = user_data };
	int result;

	if (flags & IORING_ASYNC_CANCEL_FD) {
		m.file = flags & IORING_ASYNC_CANCEL_FD_FIXED ? uring_file_fixed(u, (uint32_t)fd) : fd_get(fd);
		if (!m.file)
			return -EBADF;
	}
	result = uring_cancel(u, &m, except);
	if (m.file)
		file_put(m.file);
	if (flags & (IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY))
		return result == -ENOENT ? 0 : result;
	return result > 0 ? 0 : result;
}

int uring_cancel_issue(struct uring_request *r, bool wait)
{
	(void)wait;
	return uring_cancel_by(r->ring, r->sqe.cancel_flags, r->sqe.addr, r->sqe.fd, r);
}

// ---- the end of an owner ----

static struct uring_request *next_of(struct uring_owner *o)
{
	struct uring_request *r = NULL;

	spin_lock(&o->lock);
	if (!list_empty(&o->requests)) {
		r = list_first(&o->requests, struct uring_request, owner_node);
		list_remove(&r->owner_node);
		refcount_get(&r->refs);
	}
	spin_unlock(&o->lock);
	return r;
}

static void owner_end(struct uring_owner *o)
{
	struct uring_request *r;

	spin_lock(&o->lock);
	__atomic_store_n(&o->gone, true, __ATOMIC_RELEASE);
	spin_unlock(&o->lock);
	while ((r = next_of(o))) { // what runs ends by itself: its worker is being killed
		(void)uring_cancel_one(r);
		uring_request_put(r);
	}
}

void uring_process_exit(struct process *p)
{
	struct uring_owner *o, *next;

	if (likely(!p->uring_owners))
		return;
	spin_lock(&p->lock);
	o = p->uring_owners;
	p->uring_owners = NULL;
	spin_unlock(&p->lock);
	for (; o; o = next) {
		next = o->next;
		owner_end(o);
		uring_owner_put(o);
	}
}
