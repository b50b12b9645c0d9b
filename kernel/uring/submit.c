// SPDX-License-Identifier: Apache-2.0
// io_uring_setup(2), io_uring_enter(2): from entries in shared memory to requests, and waiting for completions.
#include "internal.h"

#include "kernel/sched.h"
#include "kernel/syscalls.h"
#include "kernel/timespec.h"

#define SQE_FLAGS_ALL                                                                                                \
	(IOSQE_FIXED_FILE | IOSQE_IO_DRAIN | IOSQE_IO_LINK | IOSQE_IO_HARDLINK | IOSQE_ASYNC | IOSQE_BUFFER_SELECT | \
	 IOSQE_CQE_SKIP_SUCCESS)
#define LINKS (IOSQE_IO_LINK | IOSQE_IO_HARDLINK)

// ---- one entry ----

static int check_entry(struct uring_request *r)
{
	const struct io_uring_sqe *s = &r->sqe;
	int error = uring_restrictions_check(r->ring, s);

	if (error)
		return error;
	if (!r->op || s->flags & ~SQE_FLAGS_ALL)
		return -EINVAL;
	if (s->flags & IOSQE_BUFFER_SELECT && !r->op->selects)
		return -EOPNOTSUPP;
	if (s->flags & IOSQE_CQE_SKIP_SUCCESS && s->flags & IOSQE_IO_DRAIN)
		return -EOPNOTSUPP;
	return s->ioprio && !r->op->ioprio ? -EINVAL : 0;
}

static int choose_credentials(struct uring_request *r)
{
	const struct cred *c;

	if (!r->sqe.personality)
		return 0;
	c = uring_personality_get(r->ring, r->sqe.personality);
	if (!c)
		return -EINVAL;
	cred_put(r->cred);
	r->cred = c;
	return 0;
}

static int prepare(struct uring_request *r)
{
	int error = check_entry(r);

	if (!error)
		error = choose_credentials(r);
	if (!error && r->op->prepare)
		error = r->op->prepare(r);
	r->prepared = !error;
	return error;
}

// ---- chains ----

static void fail_chain(struct uring_request *head)
{
	while (head) {
		struct uring_request *next = head->next;

		head->next = NULL;
		(void)!uring_finish(head, head->error ? head->error : -ECANCELED);
		head = next;
	}
}

static bool defer(struct uring *u, struct uring_request *head)
{
	struct uring_request *r;
	bool drain = false, wait;

	for (r = head; r; r = r->next)
		drain |= (r->sqe.flags & IOSQE_IO_DRAIN) != 0;
	if (drain)
		head->sqe.flags |= IOSQE_IO_DRAIN;
	spin_lock(&u->spin);
	wait = u->draining || !list_empty(&u->deferred) || (drain && u->active);
	for (r = head; r; r = r->next) {
		r->behind_deferred = wait;
		u->active += !wait;
	}
	if (wait) {
		head->state = URING_DEFERRED;
		list_add_tail(&u->deferred, &head->queue_node);
	} else if (drain) {
		u->draining = head->drains = true;
	}
	spin_unlock(&u->spin);
	return wait;
}

static void count_active(struct uring *u, const struct uring_request *head)
{
	spin_lock(&u->spin);
	for (; head; head = head->next)
		u->active++;
	spin_unlock(&u->spin);
}

static void start_chain(struct uring *u, struct uring_request *head)
{
	struct uring_request *r;
	bool failed = false;

	for (r = head->next; r; r = r->next)
		r->state = URING_LINKED; // nobody knows the chain but us
	for (r = head; r; r = r->next)
		failed |= r->error != 0;
	if (failed) {
		count_active(u, head);
		fail_chain(head);
	} else if (!defer(u, head)) {
		uring_run(head, false);
	}
}

struct chain {
	struct uring_request *head, *last;
};

static void chain_end(struct uring *u, struct chain *c)
{
	struct uring_request *head = c->head;

	c->head = c->last = NULL;
	if (head)
		start_chain(u, head);
}

static bool follows_nothing(const struct uring_request *r, const struct chain *c)
{
	return r->sqe.opcode == IORING_OP_LINK_TIMEOUT && (!c->last || c->last->sqe.opcode == IORING_OP_LINK_TIMEOUT);
}

// False: the request cannot even be made, or was wrong and nothing after it is to be taken.
static bool submit_one(struct uring *u, struct uring_owner *o, const struct io_uring_sqe *s, struct chain *c)
{
	struct uring_request *r = uring_request_create(u, o, s);

	if (!r)
		return false;
	r->op = uring_op_of(s->opcode);
	r->error = prepare(r);
	if (!r->error && follows_nothing(r, c))
		r->error = -EINVAL;
	if (c->last)
		c->last->next = r;
	else
		c->head = r;
	c->last = r;
	bool good = !r->error; // a chain that ends may be over, and the request with it
	if (!(s->flags & LINKS))
		chain_end(u, c);
	return good;
}

uint32_t uring_submit(struct uring *u, struct uring_owner *o, uint32_t count)
{
	struct uring_shared *shared = uring_shared_of(u);
	uint32_t there = __atomic_load_n(&shared->sq_tail, __ATOMIC_ACQUIRE) - u->sq_head, taken = 0;
	struct chain c = { 0 };
	struct io_uring_sqe s;
	bool good = true;

	count = min(count, min(there, u->sq_entries));
	while (taken < count && __atomic_load_n(&u->count, __ATOMIC_RELAXED) < URING_REQUESTS_MAX) {
		bool named = uring_copy_sqe(u, u->sq_head++, &s);

		taken++;
		sched_preempt_point();
		if (!named) {
			__atomic_fetch_add(&shared->sq_dropped, 1, __ATOMIC_RELAXED);
			continue;
		}
		good = submit_one(u, o, &s, &c);
		if (!good && !(u->flags & IORING_SETUP_SUBMIT_ALL))
			break;
	}
	chain_end(u, &c);
	__atomic_store_n(&shared->sq_head, u->sq_head, __ATOMIC_RELEASE); // after the entries were read
	return taken;
}

// ---- io_uring_setup(2) ----

#define SETUP_FLAGS                                                                                               \
	(IORING_SETUP_SQPOLL | IORING_SETUP_SQ_AFF | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP |                   \
	 IORING_SETUP_ATTACH_WQ | IORING_SETUP_R_DISABLED | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | \
	 IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SQE128 | IORING_SETUP_CQE32 | IORING_SETUP_SINGLE_ISSUER |      \
	 IORING_SETUP_DEFER_TASKRUN)
#define FEATURES                                                                                                       \
	(IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_RW_CUR_POS |           \
	 IORING_FEAT_CUR_PERSONALITY | IORING_FEAT_FAST_POLL | IORING_FEAT_POLL_32BITS | IORING_FEAT_SQPOLL_NONFIXED | \
	 IORING_FEAT_EXT_ARG | IORING_FEAT_NATIVE_WORKERS | IORING_FEAT_RSRC_TAGS | IORING_FEAT_CQE_SKIP |             \
	 IORING_FEAT_LINKED_FILE)

// Combinations that Linux 6.1 refuses.
static int check_flags(uint32_t f)
{
	bool poller = f & IORING_SETUP_SQPOLL;

	if (f & ~SETUP_FLAGS)
		return -EINVAL;
	if (poller && f & (IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_DEFER_TASKRUN))
		return -EINVAL;
	if (f & IORING_SETUP_TASKRUN_FLAG && !(f & (IORING_SETUP_COOP_TASKRUN | IORING_SETUP_DEFER_TASKRUN)))
		return -EINVAL;
	if (f & IORING_SETUP_SQ_AFF && !poller)
		return -EINVAL;
	return f & IORING_SETUP_DEFER_TASKRUN && !(f & IORING_SETUP_SINGLE_ISSUER) ? -EINVAL : 0;
}

// The workers are the process's anyway: only whether there is such a ring is checked.
static int check_attach(const struct io_uring_params *p)
{
	struct file *f;

	if (!(p->flags & IORING_SETUP_ATTACH_WQ))
		return 0;
	f = fd_get((int)p->wq_fd);
	if (!f)
		return -ENXIO;
	int error = uring_of(f) ? 0 : -EINVAL;
	file_put(f);
	return error;
}

static int install(struct file *f, const struct io_uring_params *p, struct uptr user)
{
	struct uring *u = uring_of(f);
	int fd;

	if (put_user(*p, user)) {
		file_put(f);
		return -EFAULT;
	}
	if (p->flags & IORING_SETUP_SINGLE_ISSUER && !(p->flags & IORING_SETUP_R_DISABLED))
		u->issuer = current;
	fd = fd_install_new(f, true);
	return fd;
}

long sys_io_uring_setup(unsigned entries, struct uptr parameters)
{
	struct io_uring_params p;
	struct file *f;
	int error;

	if (get_user(&p, parameters))
		return -EFAULT;
	for (unsigned i = 0; i < array_count(p.resv); i++)
		if (p.resv[i])
			return -EINVAL;
	error = check_flags(p.flags);
	if (!error)
		error = check_attach(&p);
	if (error)
		return error;
	p.sq_entries = entries;
	f = uring_file_create(&p);
	if (is_err(f))
		return ptr_err(f);
	p.features = FEATURES;
	if (p.flags & IORING_SETUP_SQPOLL) {
		error = uring_poller_start(uring_of(f), &p);
		if (error) {
			file_put(f);
			return error;
		}
	}
	return install(f, &p, parameters);
}

// ---- io_uring_enter(2) ----

struct waiting {
	uint32_t least;
	uint64_t deadline_ns;
	struct uptr mask;
	size_t mask_size;
};

static int waiting_from_user(struct waiting *w, uint32_t flags, struct uptr argument, size_t size)
{
	struct io_uring_getevents_arg a;
	uint64_t ns;
	int error;

	w->deadline_ns = PARK_FOREVER;
	w->mask = argument;
	w->mask_size = size;
	if (!(flags & IORING_ENTER_EXT_ARG))
		return 0;
	if (size != sizeof(a))
		return -EINVAL;
	if (get_user(&a, argument))
		return -EFAULT;
	if (a.pad)
		return -EINVAL;
	w->mask = (struct uptr){ a.sigmask };
	w->mask_size = a.sigmask_sz;
	if (!a.ts)
		return 0;
	error = timespec_from_user(&ns, (struct uptr){ a.ts });
	if (!error)
		w->deadline_ns = deadline_after(ns);
	return error;
}

static bool has_ready(struct uring *u, struct uring_owner *o)
{
	struct uring_request *r;
	bool found = false;

	if (list_empty(&o->ready))
		return false;
	spin_lock(&o->lock);
	list_for_each (r, &o->ready, queue_node)
		found |= r->ring == u;
	spin_unlock(&o->lock);
	return found;
}

static void wait_begin(struct uring *u, struct uring_owner *o)
{
	spin_lock(&u->spin);
	__atomic_store_n(&u->waiting, o, __ATOMIC_RELAXED);
	__atomic_store_n(&u->waiters, u->waiters + 1, __ATOMIC_SEQ_CST);
	spin_unlock(&u->spin);
}

static void wait_end(struct uring *u, struct uring_owner *o)
{
	spin_lock(&u->spin);
	__atomic_store_n(&u->waiters, u->waiters - 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&u->waiting, NULL, __ATOMIC_RELAXED); // one that still waits may be another's
	spin_unlock(&u->spin);
	(void)uring_run_ready(u, o); // we were woken for it, and are about to go
}

static int wait_for_completions(struct uring *u, struct uring_owner *o, const struct waiting *w)
{
	uint32_t least = min(w->least, u->cq_entries);
	int error = 0;

	for (;;) {
		(void)uring_run_ready(u, o);
		uring_flush_overflow(u);
		if (uring_available(u) >= least || error)
			break;
		error = wait_event_deadline(&u->wait, uring_available(u) >= least || has_ready(u, o), w->deadline_ns);
	}
	return uring_available(u) ? 0 : error == -ETIMEDOUT ? -ETIME : error;
}

static long get_completions(struct uring *u, struct uring_owner *o, uint32_t least, uint32_t flags,
			    struct uptr argument, size_t size)
{
	struct waiting w = { .least = least };
	long result = waiting_from_user(&w, flags, argument, size);

	if (!result)
		result = signal_set_user_mask(w.mask, w.mask_size);
	if (result)
		return result;
	wait_begin(u, o);
	result = wait_for_completions(u, o, &w);
	wait_end(u, o);
	signal_restore_user_mask(result == -EINTR);
	return result;
}

static long submit(struct uring *u, struct uring_owner *o, uint32_t count)
{
	uint32_t taken;

	if (!count)
		return 0;
	mutex_lock(&u->submit_lock);
	if (u->flags & IORING_SETUP_SINGLE_ISSUER && u->issuer != current) {
		mutex_unlock(&u->submit_lock);
		return -EEXIST;
	}
	if (u->count >= URING_REQUESTS_MAX) {
		mutex_unlock(&u->submit_lock);
		return -EBUSY;
	}
	taken = uring_submit(u, o, count);
	mutex_unlock(&u->submit_lock);
	return taken;
}

static long enter(struct uring *u, uint32_t count, uint32_t least, uint32_t flags, struct uptr argument, size_t size)
{
	struct uring_owner *o;
	long submitted, result = 0;

	if (__atomic_load_n(&u->disabled, __ATOMIC_RELAXED))
		return -EBADFD;
	o = uring_owner_get();
	if (!o)
		return -ENOMEM;
	if (u->flags & IORING_SETUP_SQPOLL)
		submitted = uring_poller_enter(u, flags, count);
	else
		submitted = submit(u, o, count);
	if (submitted == (long)count && flags & IORING_ENTER_GETEVENTS)
		result = get_completions(u, o, least, flags, argument, size);
	else
		(void)uring_run_ready(u, o);
	uring_owner_put(o);
	return submitted ? submitted : result;
}

#define ENTER_FLAGS                                                                                      \
	(IORING_ENTER_GETEVENTS | IORING_ENTER_SQ_WAKEUP | IORING_ENTER_SQ_WAIT | IORING_ENTER_EXT_ARG | \
	 IORING_ENTER_REGISTERED_RING)

long sys_io_uring_enter(unsigned fd, uint32_t count, uint32_t least, uint32_t flags, struct uptr argument, size_t size)
{
	struct file *f;
	long result;

	if (flags & ~ENTER_FLAGS)
		return -EINVAL;
	f = flags & IORING_ENTER_REGISTERED_RING ? uring_registered_ring(fd) : uring_file_get(fd);
	if (is_err(f))
		return ptr_err(f);
	result = enter(uring_of(f), count, least, flags, argument, size);
	file_put(f);
	return result;
}
