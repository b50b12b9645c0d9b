// SPDX-License-Identifier: Apache-2.0
// Owners, and their workers: threads of the process that carry out what the program does not wait for.
//
// A worker is a thread as clone(2) makes it, shares all a thread shares, and is listed in /proc/PID/task as on Linux; it never runs the program.
// Only so has it the process's memory wherever the port keeps that. As long as anything waits for a file or a timer one worker listens;
// one that is about to wait inside a request leaves another to listen. All but one go after some seconds without work.
//
// Lock order: see internal.h; process.lock -> owner.lock.
#include "internal.h"

#include "kernel/sched.h"
#include "kernel/timespec.h"
#include "kernel/uring.h"
#include "lib/fmt.h"

#define IDLE_NS         (5 * (uint64_t)NSEC_PER_SEC)
#define BOUNDED_PER_CPU 4u

// ---- owners ----

void uring_owner_put(struct uring_owner *o)
{
	if (refcount_put(&o->refs))
		kfree(o);
}

static struct uring_owner *find_locked(struct process *p)
{
	struct uring_owner *o;

	for (o = p->uring_owners; o; o = o->next)
		if (o->files == current->files && o->fs == current->fs) {
			refcount_get(&o->refs);
			return o;
		}
	return NULL;
}

static struct uring_owner *owner_create(void)
{
	struct uring_owner *o = kalloc(sizeof(*o));

	if (!o)
		return NULL;
	refcount_set(&o->refs, 1);
	o->files = current->files;
	o->fs = current->fs;
	spin_init(&o->lock);
	list_init(&o->ready);
	list_init(&o->work);
	list_init(&o->requests);
	waitq_init(&o->wait);
	o->most_bounded = BOUNDED_PER_CPU * port_cpu_count();
	o->most_unbounded = URING_WORKERS_MAX;
	return o;
}

struct uring_owner *uring_owner_get(void)
{
	struct process *p = current->process;
	struct uring_owner *o, *fresh;

	if (current->uring_owner) { // a worker's
		refcount_get(&current->uring_owner->refs);
		return current->uring_owner;
	}
	spin_lock(&p->lock);
	o = find_locked(p);
	spin_unlock(&p->lock);
	if (o)
		return o;
	fresh = owner_create();
	if (!fresh)
		return NULL;
	spin_lock(&p->lock);
	o = find_locked(p);
	if (!o) {
		refcount_get(&fresh->refs);
		fresh->next = p->uring_owners;
		o = p->uring_owners = fresh;
		fresh = NULL;
	}
	spin_unlock(&p->lock);
	if (fresh)
		uring_owner_put(fresh);
	return o;
}

// ---- workers ----

static bool is_bounded(const struct uring_request *r) { return r->file && !uring_poll_can(r->file); }

// The next thing to do, RUNNING. What may wait (*wait) is only taken as long as not too many of its kind do.
static struct uring_request *peek_locked(struct uring_owner *o, bool *wait)
{
	struct uring_request *r;

	*wait = false;
	if (!list_empty(&o->ready))
		return list_first(&o->ready, struct uring_request, queue_node);
	*wait = true;
	list_for_each (r, &o->work, queue_node)
		if (!is_bounded(r) || o->busy_bounded < o->most_bounded)
			return r;
	return NULL;
}

static bool claim(struct uring_request *r, bool wait)
{
	bool mine;

	spin_lock(&r->ring->spin);
	mine = r->state == (wait ? URING_WAITING : URING_READY) && uring_take_locked(r);
	if (mine)
		r->runner = current;
	spin_unlock(&r->ring->spin);
	return mine;
}

static struct uring_request *take(struct uring_owner *o, bool *wait)
{
	for (;;) {
		struct uring_request *r;
		bool mine;

		spin_lock(&o->lock);
		r = peek_locked(o, wait);
		if (r)
			refcount_get(&r->refs);
		spin_unlock(&o->lock);
		if (!r)
			return NULL;
		mine = claim(r, *wait);
		uring_request_put(r); // while it is ours it does not end
		if (mine)
			return r;
	}
}

static bool has_work(struct uring_owner *o)
{
	bool wait, any;

	spin_lock(&o->lock);
	any = peek_locked(o, &wait) != NULL;
	spin_unlock(&o->lock);
	return any;
}

// False: nothing came for a while, and another one listens.
static bool sleep(struct uring_owner *o)
{
	uint64_t deadline = deadline_after(IDLE_NS);
	struct waiter w;
	bool stay = true;

	while (!has_work(o) && !signal_pending(current)) {
		waiter_init(&w);
		w.exclusive = true;
		task_prepare_park(PARK_INTERRUPTIBLE); // first: a wake-up takes an exclusive waiter off the queue
		waitq_add(&o->wait, &w);
		if (!has_work(o) && !signal_pending(current) && task_park(deadline) == -ETIMEDOUT)
			stay = false;
		task_finish_park();
		waitq_remove(&o->wait, &w);
		if (!stay)
			break;
	}
	spin_lock(&o->lock);
	stay |= o->idle == 1;
	if (!stay) {
		o->workers--;
		o->idle--;
	}
	spin_unlock(&o->lock);
	return stay;
}

static void run(struct uring_owner *o, struct uring_request *r, bool wait)
{
	bool bounded = wait && is_bounded(r),
	     polls = r->file && uring_poll_can(r->file) && r->op->events && !r->stubborn;

	spin_lock(&o->lock);
	o->idle--;
	o->busy_bounded += bounded;
	spin_unlock(&o->lock);
	if (wait)
		(void)uring_workers_ensure(o);
	uring_run(r, wait && !polls);
	spin_lock(&o->lock);
	o->idle++;
	o->busy_bounded -= bounded;
	spin_unlock(&o->lock);
}

static void worker_main(void *arg)
{
	struct uring_owner *o = arg;
	struct uring_request *r;
	bool wait;

	do {
		task_worker_pause();
		while (!signal_pending(current) && (r = take(o, &wait))) {
			run(o, r, wait);
			sched_preempt_point();
		}
	} while (sleep(o));
	task_exit(0);
}

void uring_worker_exit(struct task *t)
{
	struct uring_owner *o = t->uring_owner;

	if (t->uring_poller)
		uring_poller_exit(t);
	t->uring_owner = NULL;
	uring_owner_put(o);
}

// A new one for an owner that has nobody who listens.
static int worker_create(struct uring_owner *o)
{
	char name[16];
	int error;

	fmt_print(name, sizeof(name), "iou-wrk-%d", current->process->pid);
	refcount_get(&o->refs);
	error = process_worker_create(name, worker_main, o, o);
	if (!error)
		return 0;
	spin_lock(&o->lock);
	o->workers--;
	o->idle--;
	spin_unlock(&o->lock);
	uring_owner_put(o);
	return error;
}

int uring_workers_ensure(struct uring_owner *o)
{
	bool create, any;
	int error;

	if (__atomic_load_n(&o->idle, __ATOMIC_RELAXED)) // racy: whoever stops listening makes sure itself
		return 0;
	spin_lock(&o->lock);
	any = o->workers;
	create = !o->idle && o->workers < o->most_bounded + o->most_unbounded + 1;
	o->workers += create;
	o->idle += create; // so nobody makes another before it has begun
	spin_unlock(&o->lock);
	if (!create)
		return 0;
	error = worker_create(o);
	return any ? 0 : error;
}
