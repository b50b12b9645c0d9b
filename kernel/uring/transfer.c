// SPDX-License-Identifier: Apache-2.0
// Operations on open files that move or store data: IORING_OP_READ, _WRITE, their vectors and fixed buffers; _FSYNC, _SYNC_FILE_RANGE,
// _FALLOCATE, _FADVISE.
#include "internal.h"

#include "kernel/sched.h"
#include <linux/fs.h>

// ---- reads and writes ----

static bool is_write(const struct uring_request *r)
{
	return r->sqe.opcode == IORING_OP_WRITE || r->sqe.opcode == IORING_OP_WRITEV ||
	       r->sqe.opcode == IORING_OP_WRITE_FIXED;
}

static bool is_vector(const struct uring_request *r)
{
	return r->sqe.opcode == IORING_OP_READV || r->sqe.opcode == IORING_OP_WRITEV;
}

static bool is_fixed(const struct uring_request *r)
{
	return r->sqe.opcode == IORING_OP_READ_FIXED || r->sqe.opcode == IORING_OP_WRITE_FIXED;
}

int uring_transfer_prepare(struct uring_request *r)
{
	const struct io_uring_sqe *s = &r->sqe;
	int error = 0;

	r->vector.segments = r->vector.few;
	if (s->ioprio)
		error = io_priority_check(s->ioprio);
	if (!error && is_fixed(r))
		error = uring_buffer_check(r->ring, s->buf_index, s->addr, s->len);
	if (error || !is_vector(r))
		return error;
	if (s->flags & IOSQE_BUFFER_SELECT)
		return s->len == 1 ? 0 : -EINVAL;
	error = iov_import(&r->vector, (struct uptr){ s->addr }, s->len, &r->iter);
	if (error)
		iov_import_done(&r->vector);
	return error;
}

void uring_transfer_release(struct uring_request *r) { iov_import_done(&r->vector); }

// Where the data are. A buffer that the ring selects is bounded by what the entry asks for.
static int iterate(struct uring_request *r, struct iov_iter *i)
{
	uint64_t address = r->sqe.addr, size = r->sqe.len;
	int error = 0;

	if (r->sqe.flags & IOSQE_BUFFER_SELECT) {
		if (is_vector(r))
			size = 0; // the vector's length was checked to be one: as much as the buffer has
		error = uring_buffer_select(r, &address, &size);
	} else if (is_vector(r)) {
		*i = r->iter;
		return 0;
	}
	if (error)
		return error;
	if (!user_range_ok(address, size))
		return -EFAULT;
	iov_init_user(i, (struct uptr){ address }, min(size, (uint64_t)RW_MAX_BYTES));
	return 0;
}

static int check(struct uring_request *r, bool write)
{
	const struct file *f = r->file;
	uint32_t flags = (uint32_t)r->sqe.rw_flags;

	if (!(f->mode & (write ? FILE_WRITE : FILE_READ)))
		return -EBADF;
	if (flags & ~(file_transfer_flags(write) | RWF_NOWAIT))
		return -EOPNOTSUPP;
	r->nowait = flags & RWF_NOWAIT; // O_NONBLOCK alone does not keep it from waiting, as on Linux
	return !(f->mode & FILE_STREAM) && (int64_t)r->sqe.off < -1 ? -EINVAL : 0;
}

int uring_transfer_issue(struct uring_request *r, bool wait)
{
	bool write = is_write(r), positioned = !(r->file->mode & FILE_STREAM) && r->sqe.off != UINT64_MAX;
	loff_t pos = (loff_t)r->sqe.off;
	struct iov_iter i;
	size_t wanted;
	ssize_t n;
	int error = check(r, write);

	(void)wait; // TASK_NOWAIT says so
	if (!error)
		error = iterate(r, &i);
	if (error)
		return error;
	wanted = i.count;
	n = file_transfer(r->file, &i, positioned ? &pos : NULL, (int)(r->sqe.rw_flags & ~(uint32_t)RWF_NOWAIT), write);
	if (r->selected && n < 0)
		uring_buffer_recycle(r);
	else if (r->selected)
		r->cqe_flags |= uring_buffer_told(r);
	r->failed = n < (ssize_t)wanted;
	return (int)n;
}

// ---- fsync(2) ----

int uring_sync_prepare(struct uring_request *r)
{
	const struct io_uring_sqe *s = &r->sqe;

	return s->addr || s->buf_index || s->splice_fd_in || s->fsync_flags & ~IORING_FSYNC_DATASYNC ? -EINVAL : 0;
}

int uring_sync_issue(struct uring_request *r, bool wait)
{
	(void)wait;
	return file_sync(r->file, r->sqe.fsync_flags & IORING_FSYNC_DATASYNC);
}
