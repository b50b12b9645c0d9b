// SPDX-License-Identifier: Apache-2.0
// Operations that are calls of their own: IORING_OP_FALLOCATE, _SYNC_FILE_RANGE, _FADVISE, _MADVISE, _EPOLL_CTL, _SPLICE, _TEE, extended
// attributes; and IORING_OP_MSG_RING.
#include "files.h"

#include <linux/eventpoll.h>

#include "kernel/syscalls.h"

// ---- files ----

int uring_allocate_prepare(struct uring_request *r)
{
	const struct io_uring_sqe *s = &r->sqe;

	return s->buf_index || s->rw_flags || s->splice_fd_in ? -EINVAL : 0;
}

int uring_allocate_issue(struct uring_request *r, bool wait)
{
	(void)wait;
	return (int)file_preallocate(r->file, (int)r->sqe.len, (loff_t)r->sqe.off, (loff_t)r->sqe.addr);
}

int uring_sync_range_prepare(struct uring_request *r)
{
	const struct io_uring_sqe *s = &r->sqe;

	return s->addr || s->buf_index || s->splice_fd_in ? -EINVAL : 0;
}

int uring_sync_range_issue(struct uring_request *r, bool wait)
{
	(void)wait;
	return (int)file_sync_range(r->file, (loff_t)r->sqe.off, r->sqe.len, r->sqe.sync_range_flags);
}

int uring_advise_prepare(struct uring_request *r)
{
	const struct io_uring_sqe *s = &r->sqe;

	return s->buf_index || s->splice_fd_in || (s->opcode == IORING_OP_FADVISE ? s->addr : s->off) ? -EINVAL : 0;
}

int uring_file_advise_issue(struct uring_request *r, bool wait)
{
	(void)wait;
	return (int)file_advise(r->file, (loff_t)r->sqe.off, r->sqe.len, (int)r->sqe.fadvise_advice);
}

int uring_memory_advise_issue(struct uring_request *r, bool wait)
{
	(void)wait;
	return (int)sys_madvise(r->sqe.addr, r->sqe.len, (int)r->sqe.fadvise_advice);
}

// ---- splice(2), tee(2) ----

int uring_splice_prepare(struct uring_request *r)
{
	const struct io_uring_sqe *s = &r->sqe;

	return s->opcode == IORING_OP_TEE && (s->splice_off_in || s->off) ? -EINVAL : 0;
}

int uring_splice_issue(struct uring_request *r, bool wait)
{
	const struct io_uring_sqe *s = &r->sqe;
	unsigned flags = s->splice_flags & ~SPLICE_F_FD_IN_FIXED;
	loff_t in_pos = (loff_t)s->splice_off_in, out_pos = (loff_t)s->off;
	struct file *in = s->splice_flags & SPLICE_F_FD_IN_FIXED ? uring_file_fixed(r->ring, (uint32_t)s->splice_fd_in)
								 : fd_get(s->splice_fd_in);
	long n;

	(void)wait;
	if (!in)
		return -EBADF;
	if (!s->len)
		n = 0;
	else if (s->opcode == IORING_OP_TEE)
		n = file_tee(in, r->file, s->len, flags);
	else
		n = file_splice(in, in_pos == -1 ? NULL : &in_pos, r->file, out_pos == -1 ? NULL : &out_pos, s->len,
				flags);
	file_put(in);
	r->failed = n != (long)s->len;
	return (int)n;
}

// ---- epoll_ctl(2) ----

int uring_epoll_prepare(struct uring_request *r)
{
	const struct io_uring_sqe *s = &r->sqe;

	return s->buf_index || s->splice_fd_in || s->flags & IOSQE_FIXED_FILE ? -EINVAL : 0;
}

int uring_epoll_issue(struct uring_request *r, bool wait)
{
	const struct io_uring_sqe *s = &r->sqe;

	(void)wait;
	return (int)sys_epoll_ctl(s->fd, (int)s->len, (int)s->off, (struct uptr){ s->addr });
}

// ---- extended attributes ----

int uring_xattr_prepare(struct uring_request *r)
{
	if (r->sqe.flags & IOSQE_FIXED_FILE)
		return -EBADF;
	return 0;
}

int uring_xattr_issue(struct uring_request *r, bool wait)
{
	const struct io_uring_sqe *s = &r->sqe;
	struct uptr name = { s->addr }, value = { s->addr2 }, path = { s->addr3 };

	(void)wait;
	switch (s->opcode) {
	case IORING_OP_SETXATTR: return (int)sys_setxattr(path, name, value, s->len, (int)s->xattr_flags);
	case IORING_OP_FSETXATTR: return (int)sys_fsetxattr(s->fd, name, value, s->len, (int)s->xattr_flags);
	case IORING_OP_GETXATTR: return s->xattr_flags ? -EINVAL : (int)sys_getxattr(path, name, value, s->len);
	default: return s->xattr_flags ? -EINVAL : (int)sys_fgetxattr(s->fd, name, value, s->len);
	}
}

// ---- IORING_OP_MSG_RING ----

int uring_tell_ring_prepare(struct uring_request *r)
{
	const struct io_uring_sqe *s = &r->sqe;

	return s->buf_index || s->personality || s->msg_ring_flags & ~IORING_MSG_RING_CQE_SKIP ? -EINVAL : 0;
}

// The registered file addr3 of this ring becomes one of the other ring, which is told so.
static int send_file(struct uring_request *r, struct uring *to)
{
	const struct io_uring_sqe *s = &r->sqe;
	struct io_uring_cqe c = { .user_data = s->off };
	struct file *f;
	int result;

	if (to == r->ring)
		return -EINVAL;
	f = uring_file_fixed(r->ring, (uint32_t)s->addr3);
	if (!f)
		return -EBADF;
	result = uring_files_install(to, f, s->file_index);
	if (result < 0 || s->msg_ring_flags & IORING_MSG_RING_CQE_SKIP)
		return result;
	c.res = result;
	return uring_post(to, &c, true) ? result : -EOVERFLOW;
}

int uring_tell_ring_issue(struct uring_request *r, bool wait)
{
	const struct io_uring_sqe *s = &r->sqe;
	struct io_uring_cqe c = { .user_data = s->off, .res = (int32_t)s->len };
	struct uring *to = uring_of(r->file);

	(void)wait;
	if (!to)
		return -EBADFD;
	if (__atomic_load_n(&to->disabled, __ATOMIC_RELAXED))
		return -EBADFD;
	switch (s->addr) {
	case IORING_MSG_DATA:
		if (s->addr3 || s->msg_ring_flags || s->splice_fd_in)
			return -EINVAL;
		return uring_post(to, &c, true) ? 0 : -EOVERFLOW;
	case IORING_MSG_SEND_FD: return send_file(r, to);
	default: return -EINVAL;
	}
}
