// SPDX-License-Identifier: Apache-2.0
// Requests from submission to completion.
#include "internal.h"

#include "kernel/init.h"
#include "kernel/leak.h"
#include "kernel/sched.h"

static struct slab_cache *request_cache;
static uint64_t request_count; // atomic

static int64_t requests_left(void) { return (int64_t)__atomic_load_n(&request_count, __ATOMIC_RELAXED); }
static struct leak_counter leak = { .name = "io_uring requests", .left = requests_left };

static void init(void)
{
	leak_counter_register(&leak);
	request_cache = slab_cache_create("uring_request", sizeof(struct uring_request), 64);
}
KERNEL_INIT(1, init);

// ---- objects ----

struct uring_request *uring_request_create(struct uring *u, struct uring_owner *o, const struct io_uring_sqe *sqe)
{
	struct uring_request *r = slab_alloc(request_cache);

	if (!r)
		return NULL;
	__atomic_fetch_add(&request_count, 1, __ATOMIC_RELAXED);
	refcount_set(&r->refs, 1);
	refcount_get(&u->refs);
	refcount_get(&o->refs);
	r->ring = u;
	r->owner = o;
	r->cred = cred_get(current->cred);
	r->sqe = *sqe;
	list_init(&r->node);
	list_init(&r->owner_node);
	list_init(&r->queue_node);
	spin_lock(&u->spin);
	list_add_tail(&u->requests, &r->node);
	u->count++;
	spin_lock(&o->lock);
	list_add_tail(&o->requests, &r->owner_node);
	spin_unlock(&o->lock);
	spin_unlock(&u->spin);
	return r;
}

void uring_request_put(struct uring_request *r)
{
	if (!refcount_put(&r->refs))
		return;
	if (r->watched)
		uring_request_put(r->watched);
	cred_put(r->cred);
	uring_owner_put(r->owner);
	uring_put(r->ring);
	slab_free(request_cache, r);
	__atomic_fetch_sub(&request_count, 1, __ATOMIC_RELAXED);
}

// ---- states ----

bool uring_take_locked(struct uring_request *r)
{
	switch (r->state) {
	case URING_TIMED:
	case URING_DEFERRED: list_remove(&r->queue_node); break;
	case URING_READY:
	case URING_WAITING:
		spin_lock(&r->owner->lock);
		list_remove(&r->queue_node);
		spin_unlock(&r->owner->lock);
		break;
	case URING_ARMED: break;
	default: return false;
	}
	r->state = URING_RUNNING;
	return true;
}

bool uring_settle_locked(struct uring_request *r, enum uring_state s)
{
	struct uring_owner *o = r->owner;
	bool there;

	spin_lock(&o->lock); // whoever ends the owner sees the new state, or we see that it ends
	there = !o->gone && !r->ring->dead;
	if (there) {
		if (s == URING_READY || s == URING_WAITING)
			list_add_tail(s == URING_READY ? &o->ready : &o->work, &r->queue_node);
		r->runner = NULL;
		r->state = s;
	}
	spin_unlock(&o->lock);
	return there;
}

void uring_ready_locked(struct uring_request *r)
{
	if (r->state == URING_TIMED)
		list_remove(&r->queue_node);
	// When it cannot be queued it stays as it is: whoever ends ring or owner takes it.
	(void)!uring_settle_locked(r, URING_READY);
}

void uring_wake_runner(struct uring *u, struct uring_owner *o)
{
	if (__atomic_load_n(&u->waiters, __ATOMIC_SEQ_CST) && __atomic_load_n(&u->waiting, __ATOMIC_RELAXED) == o)
		waitq_wake_all(&u->wait);
	else
		waitq_wake_one(&o->wait);
}

// ---- completions ----

bool uring_post_more(struct uring_request *r, int32_t result, uint32_t flags)
{
	struct io_uring_cqe c = { .user_data = r->sqe.user_data, .res = result, .flags = flags | IORING_CQE_F_MORE };

	return uring_post(r->ring, &c, false);
}

// Moves the chains that waited for everything before them to end, and now may begin, to `begin`. spin held.
static void take_deferred_locked(struct uring *u, struct list *begin)
{
	while (!list_empty(&u->deferred) && !u->dead) {
		struct uring_request *r = list_first(&u->deferred, struct uring_request, queue_node);
		bool drain = r->sqe.flags & IOSQE_IO_DRAIN;

		if (u->draining || (drain && u->active) || __atomic_load_n(&r->owner->gone, __ATOMIC_RELAXED))
			return;
		list_remove(&r->queue_node);
		r->state = URING_RUNNING;
		list_add_tail(begin, &r->queue_node);
		u->draining = r->drains = drain;
		for (struct uring_request *n = r; n; n = n->next) {
			n->behind_deferred = false;
			u->active++;
		}
	}
}

static bool skips_completion(const struct uring_request *r, bool failed)
{
	return r->sqe.flags & IOSQE_CQE_SKIP_SUCCESS && !failed;
}

static void release(struct uring_request *r)
{
	if (r->armed)
		(void)ktimer_cancel_sync(&r->timer);
	uring_poll_leave(r);
	if (r->prepared && r->op->release)
		r->op->release(r);
	if (r->file)
		file_put(r->file);
	r->file = NULL;
}

// The end of one request. Its link timeout, if that is to be ended too, in *limit; what may begin now, on `begin`.
static void end(struct uring_request *r, int32_t result, bool failed, struct uring_request **limit, struct list *begin)
{
	struct uring *u = r->ring;
	struct uring_owner *o = r->owner;
	struct io_uring_cqe c = { .user_data = r->sqe.user_data, .res = result, .flags = r->cqe_flags };
	bool counted = false;

	spin_lock(&u->spin);
	r->state = URING_DONE;
	r->runner = NULL;
	list_remove(&r->node);
	u->count--;
	if (!r->behind_deferred) {
		u->active--;
		if (r->drains)
			u->draining = false;
	}
	*limit = r->limit && (r->limit->state == URING_LINKED || uring_take_locked(r->limit)) ? r->limit : NULL;
	if (*limit)
		(*limit)->state = URING_RUNNING;
	r->limit = NULL;
	if (r->watched && r->watched->limit == r)
		r->watched->limit = NULL;
	if (!skips_completion(r, failed) && !u->dead) {
		u->posted += !r->op || !r->op->timeout;
		uring_post_locked(u, &c, r->extra);
		counted = !list_empty(&u->counting);
	}
	take_deferred_locked(u, begin);
	spin_lock(&o->lock);
	list_remove(&r->owner_node);
	spin_unlock(&o->lock);
	spin_unlock(&u->spin);
	if (counted)
		uring_timeouts_counted(u);
	uring_tell(u);
}

static void begin_all(struct list *begin)
{
	while (!list_empty(begin)) {
		struct uring_request *r = list_first(begin, struct uring_request, queue_node);

		list_remove(&r->queue_node);
		uring_pass_on(r);
	}
}

struct uring_request *uring_finish(struct uring_request *r, int32_t result)
{
	bool failed = result < 0 || r->failed;
	struct uring_request *next = r->next, *limit;
	struct list begin = LIST_INIT(begin);

	if (r->selected)
		uring_buffer_recycle(r);
	if (r->selected)
		r->cqe_flags |= uring_buffer_told(r);
	release(r);
	r->next = NULL;
	end(r, result, failed, &limit, &begin);
	if (limit) {
		struct uring_request *none = uring_finish(limit, -ECANCELED);
		assert(!none);
	}
	begin_all(&begin);
	if (failed && !(r->sqe.flags & IOSQE_IO_HARDLINK)) {
		while (next) { // each of them is over
			struct uring_request *after = next->next;

			next->next = NULL;
			next->cqe_flags = 0;
			(void)!uring_finish(next, next->error ? next->error : -ECANCELED);
			next = after;
		}
	}
	uring_request_put(r);
	return next;
}

void uring_pass_on(struct uring_request *r)
{
	bool queued;

	while (r) {
		spin_lock(&r->ring->spin);
		r->state = URING_RUNNING;
		queued = uring_settle_locked(r, URING_READY);
		spin_unlock(&r->ring->spin);
		if (queued) {
			uring_wake_runner(r->ring, r->owner);
			return;
		}
		r = uring_finish(r, -ECANCELED);
	}
}

// ---- running ----

static const struct cred *become(const struct cred *c)
{
	struct task *t = current;
	const struct cred *old = t->cred;

	if (old == c)
		return old;
	spin_lock(&t->lock);
	t->cred = c;
	spin_unlock(&t->lock);
	return old;
}

static int get_file(struct uring_request *r)
{
	if (!r->op->file || r->file)
		return 0;
	r->file = r->sqe.flags & IOSQE_FIXED_FILE ? uring_file_fixed(r->ring, (uint32_t)r->sqe.fd) : fd_get(r->sqe.fd);
	return r->file ? 0 : -EBADF;
}

static int issue(struct uring_request *r, bool wait)
{
	struct task *t = current;
	uint32_t flags = t->flags;
	const struct cred *its = cred_get(r->cred), *mine = become(its);
	int result = get_file(r);

	if (!wait)
		t->flags |= TASK_NOWAIT;
	if (!result)
		result = r->op->issue(r, wait); // after URING_PENDING it is not ours
	if (!(flags & TASK_NOWAIT))
		t->flags &= ~TASK_NOWAIT;
	become(mine);
	cred_put(its);
	return result;
}

// Hands it to a worker.
static struct uring_request *give_away(struct uring_request *r)
{
	struct uring_owner *o = r->owner;
	bool queued;
	int error;

	(void)get_file(r); // what it is says how a worker goes about it
	r->given = true;
	refcount_get(&o->refs);
	error = uring_workers_ensure(o);
	spin_lock(&r->ring->spin);
	queued = !error && uring_settle_locked(r, URING_WAITING);
	spin_unlock(&r->ring->spin);
	if (queued)
		waitq_wake_one(&o->wait);
	uring_owner_put(o);
	return queued ? NULL : uring_finish(r, error ? -EAGAIN : -ECANCELED);
}

static bool wants_restart(int result) { return result <= -ERESTARTSYS && result >= -ERESTART_BLOCK; }

static struct uring_request *run_one(struct uring_request *r, bool wait)
{
	for (unsigned tries = 0;; tries++) {
		enum uring_armed armed;
		unsigned ready;
		int result;

		if (__atomic_load_n(&r->cancelled, __ATOMIC_ACQUIRE))
			return uring_finish(r, -ECANCELED);
		if (!wait && (r->op->worker || r->stubborn || (r->sqe.flags & IOSQE_ASYNC && !r->given)))
			return give_away(r);
		result = issue(r, wait);
		if (result == URING_PENDING)
			return NULL;
		if (wants_restart(result)) { // a worker's wait was disturbed, by a stop say: it is begun anew
			bool over = fatal_signal_pending(current) || __atomic_load_n(&r->cancelled, __ATOMIC_ACQUIRE);

			return wait && over ? uring_finish(r, -EINTR) : give_away(r);
		}
		if (result != -EAGAIN || r->nowait)
			return uring_finish(r, result);
		if (!r->file || !r->op->events || !uring_poll_can(r->file) || tries > 2) {
			if (wait)
				return uring_finish(r, -EAGAIN);
			r->stubborn = true;
			return give_away(r);
		}
		armed = uring_poll_arm(r, r->op->events, &ready);
		if (armed == URING_ARM_PENDING)
			return NULL;
		if (armed == URING_ARM_DEAD)
			return uring_finish(r, -ECANCELED);
		if (armed == URING_ARM_IMPOSSIBLE)
			tries = 3;
	}
}

void uring_run(struct uring_request *r, bool wait)
{
	while (r) {
		struct uring_request *limit = uring_limit_attach(r);

		if (limit)
			refcount_get(&limit->refs);
		r = run_one(r, wait);
		wait = false; // what is linked decides anew
		if (limit) {
			uring_limit_start(limit);
			uring_request_put(limit);
		}
	}
}

static struct uring_request *take_ready(struct uring *u, struct uring_owner *o)
{
	struct uring_request *r, *found = NULL;

	spin_lock(&u->spin);
	spin_lock(&o->lock);
	list_for_each (r, &o->ready, queue_node)
		if (r->ring == u) {
			found = r;
			list_remove(&r->queue_node);
			r->state = URING_RUNNING;
			break;
		}
	spin_unlock(&o->lock);
	spin_unlock(&u->spin);
	return found;
}

bool uring_run_ready(struct uring *u, struct uring_owner *o)
{
	struct uring_request *r;
	bool any = false;

	while (!list_empty(&o->ready) && (r = take_ready(u, o))) { // racy: who readies one wakes us afterwards
		uring_run(r, false);
		sched_preempt_point();
		any = true;
	}
	return any;
}
