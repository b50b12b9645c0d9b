// SPDX-License-Identifier: Apache-2.0
// System calls of Linux AIO: io_setup(2), io_destroy(2), io_submit(2), io_cancel(2), io_getevents(2), io_pgetevents(2).
//
// Reads, writes and syncs are carried out in io_submit(), as Linux does with all that goes through its page cache, and with pipes and sockets:
// there, too, one that has to wait does so in the call. Only polls end later.

#include "aio.h"
#include "eventfd.h"
#include "kernel/sched.h"
#include "kernel/syscalls.h"
#include "kernel/task.h"
#include "kernel/timespec.h"
#include "kernel/uaccess.h"

#define KEY 0u // what io_submit() writes to aio_key, and io_cancel() wants there

static_assert(sizeof(struct iocb) == 64, "as Linux");

long sys_io_setup(unsigned count, struct uptr context)
{
	uint64_t address;
	struct aio_context *c;
	long error = 0;

	if (get_user(&address, context))
		return -EFAULT;
	if (address || !count || count > AIO_RING_BYTES_MAX / sizeof(struct io_event) / 2)
		return -EINVAL;
	c = aio_context_create(count);
	if (is_err(c))
		return ptr_err(c);
	if (put_user(c->address, context)) {
		(void)aio_context_destroy(c);
		error = -EFAULT;
	}
	aio_context_put(c);
	return error;
}

long sys_io_destroy(uint64_t context)
{
	struct aio_context *c = aio_context_find(context);
	bool destroyed;

	if (!c)
		return -EINVAL;
	destroyed = aio_context_destroy(c);
	aio_context_put(c);
	return destroyed ? 0 : -EINVAL;
}

// ---- io_submit ----

static int check_transfer(const struct file *f, const struct iocb *b, bool write)
{
	if (b->aio_flags & IOCB_FLAG_IOPRIO) {
		int error = io_priority_check(b->aio_reqprio);
		if (error)
			return error;
	}
	if (b->aio_rw_flags & ~file_transfer_flags(write))
		return -EOPNOTSUPP;
	if (!(f->mode & (write ? FILE_WRITE : FILE_READ)))
		return -EBADF;
	return write ? f->ops->write ? 0 : -EINVAL : f->ops->read ? 0 : -EINVAL;
}

static int import(const struct iocb *b, bool vector, struct iov_vector *v, struct iov_iter *i)
{
	if (vector)
		return iov_import(v, (struct uptr){ b->aio_buf }, b->aio_nbytes, i);
	v->segments = v->few;
	if (!user_range_ok(b->aio_buf, b->aio_nbytes))
		return -EFAULT;
	iov_init_user(i, (struct uptr){ b->aio_buf }, min(b->aio_nbytes, RW_MAX_BYTES));
	return 0;
}

static int transfer(struct file *f, const struct iocb *b, bool write, bool vector, int64_t *result)
{
	struct iov_vector v;
	struct iov_iter i;
	loff_t pos = b->aio_offset;
	int error = check_transfer(f, b, write);

	if (error)
		return error;
	error = import(b, vector, &v, &i);
	if (!error && pos < 0)
		error = -EINVAL;
	if (!error)
		*result = file_transfer(f, &i, &pos, (int)b->aio_rw_flags, write);
	if (!error && *result <= -ERESTARTSYS && *result >= -ERESTART_BLOCK)
		*result = -EINTR; // the call as a whole cannot be begun anew
	iov_import_done(&v);
	return error;
}

static int sync(struct file *f, const struct iocb *b, bool data_only, int64_t *result)
{
	if (b->aio_buf || b->aio_offset || b->aio_nbytes || b->aio_rw_flags)
		return -EINVAL;
	*result = file_sync(f, data_only);
	return *result == -EINVAL ? -EINVAL : 0; // nothing of the kind that is synced
}

static int start_poll(const struct aio_request *r, const struct iocb *b)
{
	if (b->aio_buf > UINT16_MAX || b->aio_offset || b->aio_nbytes || b->aio_rw_flags)
		return -EINVAL;
	return aio_poll_start(r, (unsigned)b->aio_buf);
}

static int carry_out(struct file *f, const struct iocb *b, int64_t *result)
{
	switch (b->aio_lio_opcode) {
	case IOCB_CMD_PREAD: return transfer(f, b, false, false, result);
	case IOCB_CMD_PWRITE: return transfer(f, b, true, false, result);
	case IOCB_CMD_PREADV: return transfer(f, b, false, true, result);
	case IOCB_CMD_PWRITEV: return transfer(f, b, true, true, result);
	case IOCB_CMD_FSYNC: return sync(f, b, false, result);
	case IOCB_CMD_FDSYNC: return sync(f, b, true, result);
	default: return -EINVAL; // IOCB_CMD_NOOP too, as on Linux
	}
}

static int request_init(struct aio_request *r, const struct iocb *b)
{
	r->file = fd_get((int)b->aio_fildes);
	if (!r->file)
		return -EBADF;
	if (!(b->aio_flags & IOCB_FLAG_RESFD))
		return 0;
	r->notify = fd_get((int)b->aio_resfd);
	if (!r->notify)
		return -EBADF;
	return file_is_eventfd(r->notify) ? 0 : -EINVAL;
}

static void request_fini(struct aio_request *r)
{
	if (r->file)
		file_put(r->file);
	if (r->notify)
		file_put(r->notify);
}

// The request's references: a poll that was started keeps them, everything else is done with them here.
static int run(struct aio_context *c, struct uptr user, const struct iocb *b)
{
	struct aio_request r = { .context = c, .data = b->aio_data, .block = user.address };
	int64_t result = 0;
	int error = request_init(&r, b);

	if (!error)
		error = put_user(KEY, uptr_add(user, offsetof(struct iocb, aio_key)));
	if (!error && b->aio_lio_opcode == IOCB_CMD_POLL) {
		refcount_get(&c->refs);
		error = start_poll(&r, b);
		if (!error)
			return 0;
		aio_context_put(c);
	} else if (!error) {
		error = carry_out(r.file, b, &result);
		if (!error)
			aio_complete(&r, result);
	}
	request_fini(&r);
	return error;
}

static int submit(struct aio_context *c, struct uptr user)
{
	struct iocb b;
	int error;

	if (get_user(&b, user))
		return -EFAULT;
	if (b.aio_reserved2 || (int64_t)b.aio_nbytes < 0)
		return -EINVAL;
	if (!aio_reserve(c))
		return -EAGAIN;
	error = run(c, user, &b);
	if (error)
		aio_unreserve(c);
	return error;
}

long sys_io_submit(uint64_t context, int64_t count, struct uptr blocks)
{
	struct aio_context *c;
	struct uptr block;
	int64_t done = 0;
	int error = 0;

	if (count < 0)
		return -EINVAL;
	c = aio_context_find(context);
	if (!c)
		return -EINVAL;
	count = min(count, (int64_t)c->event_count);
	while (done < count && !error) {
		error = get_user(&block, uptr_add(blocks, (uint64_t)done * sizeof(block)));
		if (!error)
			error = submit(c, block);
		if (!error)
			done++;
	}
	aio_context_put(c);
	return done ? done : error;
}

long sys_io_cancel(uint64_t context, struct uptr block, struct uptr event)
{
	struct aio_context *c;
	uint32_t key;
	bool cancelled;

	(void)event; // the ring has it, as on Linux
	if (get_user(&key, uptr_add(block, offsetof(struct iocb, aio_key))))
		return -EFAULT;
	if (key != KEY)
		return -EINVAL;
	c = aio_context_find(context);
	if (!c)
		return -EINVAL;
	cancelled = aio_poll_cancel(c, block.address);
	aio_context_put(c);
	return cancelled ? -EINPROGRESS : -EINVAL;
}

// ---- io_getevents ----

static bool is_dead(struct aio_context *c) { return __atomic_load_n(&c->dead, __ATOMIC_ACQUIRE); }

// deadline_ns 0: do not wait.
static long collect(struct aio_context *c, int64_t least, int64_t most, struct uptr events, uint64_t deadline_ns)
{
	int64_t done = 0;
	long n;
	int error = 0;

	for (;;) {
		n = is_dead(c) ? -EINVAL
			       : aio_take(c, uptr_add(events, (uint64_t)done * sizeof(struct io_event)), most - done);
		if (n < 0)
			return done ? done : n;
		done += n;
		if (done >= least || error || !deadline_ns)
			break;
		error = wait_event_deadline(&c->wait, aio_has_events(c) || is_dead(c), deadline_ns);
	}
	return done || error == -ETIMEDOUT ? done : error;
}

// As on Linux: the parts are not checked but added up, and a time that has passed never comes. 0: do not wait.
static int unchecked_deadline(struct uptr timeout, uint64_t *deadline_ns)
{
	struct __kernel_timespec t;
	int64_t ns;

	*deadline_ns = PARK_FOREVER;
	if (uptr_is_null(timeout))
		return 0;
	if (get_user(&t, timeout))
		return -EFAULT;
	if (!__builtin_mul_overflow((int64_t)t.tv_sec, (int64_t)NSEC_PER_SEC, &ns) &&
	    !__builtin_add_overflow(ns, (int64_t)t.tv_nsec, &ns) && ns >= 0)
		*deadline_ns = ns ? deadline_after((uint64_t)ns) : 0;
	return 0;
}

static long get_events(uint64_t context, int64_t least, int64_t most, struct uptr events, struct uptr timeout)
{
	struct aio_context *c;
	uint64_t deadline;
	long result = unchecked_deadline(timeout, &deadline);

	if (result)
		return result;
	c = aio_context_find(context);
	if (!c)
		return -EINVAL;
	result = least < 0 || least > most ? -EINVAL : collect(c, least, most, events, deadline);
	aio_context_put(c);
	return result;
}

long sys_io_getevents(uint64_t context, int64_t least, int64_t most, struct uptr events, struct uptr timeout)
{
	return get_events(context, least, most, events, timeout);
}

// What the program's signal mask argument is.
struct masked {
	struct uptr mask;
	size_t size;
};
static_assert(sizeof(struct masked) == 16, "struct __aio_sigset");

long sys_io_pgetevents(uint64_t context, int64_t least, int64_t most, struct uptr events, struct uptr timeout,
		       struct uptr signals)
{
	struct masked m = { 0 };
	long result;

	if (!uptr_is_null(signals) && get_user(&m, signals))
		return -EFAULT;
	result = signal_set_user_mask(m.mask, m.size);
	if (result)
		return result;
	result = get_events(context, least, most, events, timeout);
	signal_restore_user_mask(result == -EINTR);
	return result;
}
