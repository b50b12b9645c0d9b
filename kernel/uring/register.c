// SPDX-License-Identifier: Apache-2.0
// io_uring_register(2), but for what files.c, buffers.c and groups.c do.
#include "files.h"

#include "../ipc/eventfd.h"
#include "kernel/syscalls.h"
#include "kernel/timespec.h"

// ---- restrictions ----

struct uring_restrictions {
	bool active; // from IORING_REGISTER_ENABLE_RINGS on
	uint64_t operations;
	uint64_t registers;
	uint8_t flags_allowed, flags_required;
};

int uring_restrictions_check(struct uring *u, const struct io_uring_sqe *s)
{
	const struct uring_restrictions *r = __atomic_load_n(&u->restrictions, __ATOMIC_ACQUIRE);

	if (likely(!r || !__atomic_load_n(&r->active, __ATOMIC_ACQUIRE)))
		return 0;
	if (s->opcode >= IORING_OP_LAST || !(r->operations >> s->opcode & 1))
		return -EACCES;
	if ((s->flags & r->flags_required) != r->flags_required)
		return -EACCES;
	return s->flags & ~(r->flags_allowed | r->flags_required) ? -EACCES : 0;
}

static int restrict_one(struct uring_restrictions *r, const struct io_uring_restriction *wanted)
{
	switch (wanted->opcode) {
	case IORING_RESTRICTION_REGISTER_OP:
		if (wanted->register_op >= IORING_REGISTER_LAST)
			return -EINVAL;
		r->registers |= UINT64_C(1) << wanted->register_op;
		return 0;
	case IORING_RESTRICTION_SQE_OP:
		if (wanted->sqe_op >= IORING_OP_LAST)
			return -EINVAL;
		r->operations |= UINT64_C(1) << wanted->sqe_op;
		return 0;
	case IORING_RESTRICTION_SQE_FLAGS_ALLOWED: r->flags_allowed = wanted->sqe_flags; return 0;
	case IORING_RESTRICTION_SQE_FLAGS_REQUIRED: r->flags_required = wanted->sqe_flags; return 0;
	default: return -EINVAL;
	}
}

static int restrict_ring(struct uring *u, struct uptr user, unsigned count)
{
	struct uring_restrictions *r;
	int error = 0;

	if (!u->disabled)
		return -EBADFD;
	if (u->restrictions)
		return -EBUSY;
	if (uptr_is_null(user) || count > IORING_REGISTER_LAST + IORING_OP_LAST)
		return -EINVAL;
	r = kalloc(sizeof(*r));
	if (!r)
		return -ENOMEM;
	for (unsigned i = 0; i < count && !error; i++) {
		struct io_uring_restriction one;

		error = get_user(&one, uptr_add(user, i * sizeof(one)));
		if (!error)
			error = restrict_one(r, &one);
	}
	if (error)
		kfree(r);
	else
		__atomic_store_n(&u->restrictions, r, __ATOMIC_RELEASE);
	return error;
}

static int enable(struct uring *u)
{
	if (!u->disabled)
		return -EBADFD;
	if (u->flags & IORING_SETUP_SINGLE_ISSUER && !u->issuer)
		u->issuer = current;
	if (u->restrictions)
		__atomic_store_n(&u->restrictions->active, true, __ATOMIC_RELEASE);
	__atomic_store_n(&u->disabled, false, __ATOMIC_RELEASE);
	waitq_wake_all(&u->wait);
	return u->flags & IORING_SETUP_SQPOLL ? (int)uring_poller_enter(u, IORING_ENTER_SQ_WAKEUP, 0) : 0;
}

// ---- credentials ----

const struct cred *uring_personality_get(struct uring *u, uint16_t number)
{
	const struct cred *c = NULL;

	mutex_lock(&u->lock);
	if (number < array_count(u->personalities))
		c = u->personalities[number];
	if (c)
		c = cred_get(c);
	mutex_unlock(&u->lock);
	return c;
}

static int add_personality(struct uring *u)
{
	for (unsigned i = 1; i < array_count(u->personalities); i++)
		if (!u->personalities[i]) {
			u->personalities[i] = cred_get(current->cred);
			return (int)i;
		}
	return -ENOSPC;
}

static int remove_personality(struct uring *u, unsigned number)
{
	if (number >= array_count(u->personalities) || !u->personalities[number])
		return -EINVAL;
	cred_put(u->personalities[number]);
	u->personalities[number] = NULL;
	return 0;
}

// ---- who is told ----

static void set_eventfd(struct uring *u, struct file *f, bool async)
{
	struct file *old;

	spin_lock(&u->spin);
	old = u->eventfd;
	u->eventfd = f;
	u->eventfd_async = async;
	spin_unlock(&u->spin);
	if (old)
		file_put(old);
}

static int register_eventfd(struct uring *u, struct uptr user, bool async)
{
	struct file *f;
	int32_t fd;

	if (u->eventfd)
		return -EBUSY;
	if (get_user(&fd, user))
		return -EFAULT;
	f = fd_get(fd);
	if (!f)
		return -EBADF;
	if (!file_is_eventfd(f)) {
		file_put(f);
		return -EINVAL;
	}
	set_eventfd(u, f, async);
	return 0;
}

static int unregister_eventfd(struct uring *u)
{
	if (!u->eventfd)
		return -ENXIO;
	set_eventfd(u, NULL, false);
	return 0;
}

// ---- what there is ----

static int probe(struct uptr user, unsigned count)
{
	struct io_uring_probe head, zero = { 0 };
	unsigned most = min(count, (unsigned)IORING_OP_LAST);

	if (count > 256)
		return -EINVAL;
	if (get_user(&head, user))
		return -EFAULT;
	if (memcmp(&head, &zero, sizeof(head)))
		return -EINVAL;
	head.last_op = IORING_OP_LAST - 1;
	head.ops_len = (uint8_t)most;
	if (put_user(head, user))
		return -EFAULT;
	for (unsigned i = 0; i < most; i++) {
		struct io_uring_probe_op op = { .op = (uint8_t)i,
						.flags = uring_op_of((uint8_t)i) ? IO_URING_OP_SUPPORTED : 0 };

		if (put_user(op, uptr_add(user, sizeof(head) + i * sizeof(op))))
			return -EFAULT;
	}
	return 0;
}

// ---- workers ----

static int set_workers(struct uptr user)
{
	struct uring_owner *o;
	uint32_t counts[2], old[2];

	if (copy_from_user(counts, user, sizeof(counts)))
		return -EFAULT;
	if (counts[0] > INT32_MAX || counts[1] > INT32_MAX)
		return -EINVAL;
	o = uring_owner_get();
	if (!o)
		return -ENOMEM;
	spin_lock(&o->lock);
	old[0] = o->most_bounded;
	old[1] = o->most_unbounded;
	if (counts[0])
		o->most_bounded = min(counts[0], URING_WORKERS_MAX);
	if (counts[1])
		o->most_unbounded = min(counts[1], URING_WORKERS_MAX);
	spin_unlock(&o->lock);
	uring_owner_put(o);
	return copy_to_user(user, old, sizeof(old));
}

// ---- cancellation ----

static int sync_cancel(struct uring *u, struct uptr user)
{
	struct io_uring_sync_cancel_reg c;
	uint64_t deadline = PARK_FOREVER, ns;
	int result;

	if (get_user(&c, user))
		return -EFAULT;
	if (c.flags & ~(IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ANY |
			IORING_ASYNC_CANCEL_FD_FIXED) ||
	    c.pad[0] || c.pad[1] || c.pad[2] || c.pad[3])
		return -EINVAL;
	if (c.timeout.tv_sec != -1 || c.timeout.tv_nsec != -1) {
		result = timespec_to_ns(&c.timeout, &ns);
		if (result)
			return result;
		deadline = deadline_after(ns);
	}
	for (;;) {
		result = uring_cancel_by(u, c.flags, c.addr, c.fd, NULL);
		if (result != -EALREADY)
			return result;
		// One runs: until it has ended, which a completion tells.
		result = wait_event_deadline(&u->wait, false, min(deadline, deadline_after(10 * NSEC_PER_MSEC)));
		if (result == -EINTR)
			return -EINTR;
		if (!deadline_left(deadline))
			return -ETIME;
	}
}

// ---- the rings a thread has registered for itself ----

static int register_rings(struct uptr user, unsigned count)
{
	unsigned done;
	int error = 0;

	if (!count || count > TASK_RINGS)
		return -EINVAL;
	for (done = 0; done < count; done++) {
		struct io_uring_rsrc_update one;
		struct uptr at = uptr_add(user, done * sizeof(one));
		struct file *f = NULL;
		unsigned slot = 0;

		if (get_user(&one, at))
			error = -EFAULT;
		else if (one.resv || (one.offset != UINT32_MAX && one.offset >= TASK_RINGS))
			error = -EINVAL;
		if (error)
			break;
		f = uring_file_get((unsigned)one.data);
		if (is_err(f)) {
			error = (int)ptr_err(f);
			break;
		}
		error = uring_task_ring_add(f, one.offset, &slot);
		if (error)
			break;
		one.offset = slot;
		if (put_user(one, at)) {
			(void)uring_task_ring_remove(slot);
			error = -EFAULT;
			break;
		}
	}
	return done ? (int)done : error;
}

static int unregister_rings(struct uptr user, unsigned count)
{
	unsigned done;

	if (!count || count > TASK_RINGS)
		return -EINVAL;
	for (done = 0; done < count; done++) {
		struct io_uring_rsrc_update one;

		if (get_user(&one, uptr_add(user, done * sizeof(one))))
			return done ? (int)done : -EFAULT;
		if (one.resv || one.data || uring_task_ring_remove(one.offset))
			return done ? (int)done : -EINVAL;
	}
	return (int)done;
}

// ---- the call ----

// Structures with tags, whose size the program tells in place of a count.
static int resources_from_user(struct io_uring_rsrc_register *r, struct uptr user, unsigned size)
{
	if (size != sizeof(*r))
		return -EINVAL;
	if (get_user(r, user))
		return -EFAULT;
	return !r->nr || r->resv2 || r->flags & ~IORING_RSRC_REGISTER_SPARSE ||
			       (r->flags & IORING_RSRC_REGISTER_SPARSE && r->data)
		       ? -EINVAL
		       : 0;
}

static long register_resources(struct uring *u, struct uptr user, unsigned size, bool files)
{
	struct io_uring_rsrc_register r;
	int error = resources_from_user(&r, user, size);
	struct uptr data = { r.data }, tags = { r.tags };

	if (error)
		return error;
	return files ? uring_files_register(u, data, tags, r.nr) : uring_buffers_register(u, data, tags, r.nr);
}

static long update_resources(struct uring *u, struct uptr user, unsigned size, bool files)
{
	struct io_uring_rsrc_update2 r;

	if (size != sizeof(r))
		return -EINVAL;
	if (get_user(&r, user))
		return -EFAULT;
	if (!r.nr || r.resv || r.resv2)
		return -EINVAL;
	struct uptr data = { r.data }, tags = { r.tags };
	return files ? uring_files_update(u, r.offset, data, tags, r.nr)
		     : uring_buffers_update(u, r.offset, data, tags, r.nr);
}

static long update_files(struct uring *u, struct uptr user, unsigned count)
{
	struct io_uring_rsrc_update r;

	if (!count)
		return -EINVAL;
	if (get_user(&r, user))
		return -EFAULT;
	return r.resv ? -EINVAL : uring_files_update(u, r.offset, (struct uptr){ r.data }, (struct uptr){ 0 }, count);
}

static long do_register(struct uring *u, unsigned what, struct uptr user, unsigned count)
{
	const struct uptr none = { 0 };
	bool null = uptr_is_null(user);

	switch (what) {
	case IORING_REGISTER_BUFFERS: return null ? -EFAULT : uring_buffers_register(u, user, none, count);
	case IORING_UNREGISTER_BUFFERS: return !null || count ? -EINVAL : uring_buffers_unregister(u);
	case IORING_REGISTER_FILES: return null ? -EFAULT : uring_files_register(u, user, none, count);
	case IORING_UNREGISTER_FILES: return !null || count ? -EINVAL : uring_files_unregister(u);
	case IORING_REGISTER_FILES_UPDATE: return update_files(u, user, count);
	case IORING_REGISTER_EVENTFD: return count != 1 ? -EINVAL : register_eventfd(u, user, false);
	case IORING_REGISTER_EVENTFD_ASYNC: return count != 1 ? -EINVAL : register_eventfd(u, user, true);
	case IORING_UNREGISTER_EVENTFD: return !null || count ? -EINVAL : unregister_eventfd(u);
	case IORING_REGISTER_PROBE: return null ? -EINVAL : probe(user, count);
	case IORING_REGISTER_PERSONALITY: return !null || count ? -EINVAL : add_personality(u);
	case IORING_UNREGISTER_PERSONALITY: return !null ? -EINVAL : remove_personality(u, count);
	case IORING_REGISTER_RESTRICTIONS: return restrict_ring(u, user, count);
	case IORING_REGISTER_ENABLE_RINGS: return !null || count ? -EINVAL : enable(u);
	case IORING_REGISTER_FILES2: return register_resources(u, user, count, true);
	case IORING_REGISTER_FILES_UPDATE2: return update_resources(u, user, count, true);
	case IORING_REGISTER_BUFFERS2: return register_resources(u, user, count, false);
	case IORING_REGISTER_BUFFERS_UPDATE: return update_resources(u, user, count, false);
	case IORING_REGISTER_IOWQ_MAX_WORKERS: return null || count != 2 ? -EINVAL : set_workers(user);
	case IORING_REGISTER_RING_FDS: return register_rings(user, count);
	case IORING_UNREGISTER_RING_FDS: return unregister_rings(user, count);
	case IORING_REGISTER_PBUF_RING: return null || count != 1 ? -EINVAL : uring_groups_register(u, user);
	case IORING_UNREGISTER_PBUF_RING: return null || count != 1 ? -EINVAL : uring_groups_unregister(u, user);
	case IORING_REGISTER_FILE_ALLOC_RANGE: return null || count ? -EINVAL : uring_files_alloc_range(u, user);
	default: return -EINVAL;
	}
}

static bool is_restricted(const struct uring *u, unsigned what)
{
	return u->restrictions && u->restrictions->active && !(u->restrictions->registers >> what & 1);
}

long sys_io_uring_register(unsigned fd, unsigned what, struct uptr argument, unsigned count)
{
	struct uring *u;
	struct file *f;
	long result;

	if (what >= IORING_REGISTER_LAST)
		return -EINVAL;
	f = uring_file_get(fd);
	if (is_err(f))
		return ptr_err(f);
	u = uring_of(f);
	if (u->flags & IORING_SETUP_SINGLE_ISSUER && u->issuer && u->issuer != current) {
		result = -EEXIST;
	} else if (what == IORING_REGISTER_SYNC_CANCEL) { // waits
		result = is_restricted(u, what)                 ? -EACCES
			 : uptr_is_null(argument) || count != 1 ? -EINVAL
								: sync_cancel(u, argument);
	} else {
		mutex_lock(&u->lock);
		result = is_restricted(u, what) ? -EACCES : do_register(u, what, argument, count);
		mutex_unlock(&u->lock);
	}
	file_put(f);
	return result;
}

void uring_registered_drop(struct uring *u)
{
	uring_files_drop(u);
	uring_buffers_drop(u);
	uring_groups_drop(u);
	set_eventfd(u, NULL, false);
	for (unsigned i = 0; i < array_count(u->personalities); i++)
		if (u->personalities[i])
			cred_put(u->personalities[i]);
	kfree(u->restrictions);
	u->restrictions = NULL;
}
