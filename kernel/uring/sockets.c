// SPDX-License-Identifier: Apache-2.0
// Operations on sockets: IORING_OP_SEND, _RECV, _SENDMSG, _RECVMSG, _ACCEPT, _CONNECT, _SHUTDOWN, _SOCKET.
//
// Each first tries without waiting, whatever the socket's O_NONBLOCK says, and then waits for the socket as a poll does.
#include "files.h"

#include "kernel/socket_files.h"

#define DONTWAIT 0x40u  // MSG_DONTWAIT
#define WAITALL  0x100u // MSG_WAITALL

// ---- sending and receiving ----

static bool is_receive(const struct uring_request *r)
{
	return r->sqe.opcode == IORING_OP_RECV || r->sqe.opcode == IORING_OP_RECVMSG;
}

static bool is_header(const struct uring_request *r)
{
	return r->sqe.opcode == IORING_OP_SENDMSG || r->sqe.opcode == IORING_OP_RECVMSG;
}

static bool is_multishot(const struct uring_request *r) { return r->sqe.ioprio & IORING_RECV_MULTISHOT; }

int uring_message_prepare(struct uring_request *r)
{
	const struct io_uring_sqe *s = &r->sqe;
	uint16_t allowed = IORING_RECVSEND_POLL_FIRST;
	struct socket_header *h;
	int error;

	if (s->off || s->splice_fd_in)
		return -EINVAL;
	if (s->opcode == IORING_OP_RECV)
		allowed |= IORING_RECV_MULTISHOT;
	if (s->ioprio & ~allowed)
		return -EINVAL;
	if (is_multishot(r) && (!(s->flags & IOSQE_BUFFER_SELECT) || s->len || s->msg_flags & WAITALL))
		return -EINVAL;
	r->nowait = s->msg_flags & DONTWAIT;
	if (!is_header(r))
		return 0;
	error = socket_header_get(&h, (struct uptr){ s->addr }, is_receive(r));
	if (!error)
		r->data = h;
	return error;
}

void uring_message_release(struct uring_request *r)
{
	if (is_header(r))
		socket_header_free(r->data);
}

static ssize_t receive(struct uring_request *r, struct iov_iter *i, unsigned flags, bool wait)
{
	return is_header(r) ? socket_file_receive_header(r->file, r->data,
							 r->sqe.flags & IOSQE_BUFFER_SELECT ? i : NULL, flags, !wait)
			    : socket_file_receive(r->file, i, flags, !wait);
}

static int buffer_of(struct uring_request *r, struct iov_iter *i)
{
	uint64_t address = r->sqe.addr, size = r->sqe.len;
	int error = 0;

	if (r->sqe.flags & IOSQE_BUFFER_SELECT)
		error = uring_buffer_select(r, &address, &size);
	else if (is_header(r))
		return 0;
	if (error)
		return error;
	if (!user_range_ok(address, size))
		return -EFAULT;
	iov_init_user(i, (struct uptr){ address + r->moved }, min(size, (uint64_t)RW_MAX_BYTES) - r->moved);
	return 0;
}

// MSG_WAITALL: what is missing is waited for.
static bool goes_on(struct uring_request *r, ssize_t n, const struct iov_iter *i)
{
	if (is_header(r) || !(r->sqe.msg_flags & WAITALL) || n <= 0 || !i->count)
		return false;
	r->moved += (uint64_t)n;
	return true;
}

static int told(struct uring_request *r, ssize_t n, bool whole)
{
	if (r->moved && n >= 0)
		n += (ssize_t)r->moved;
	else if (r->moved && n != -EAGAIN)
		n = (ssize_t)r->moved;
	r->failed = n >= 0 && !whole && r->sqe.msg_flags & WAITALL;
	return (int)n;
}

static int transfer(struct uring_request *r, bool wait)
{
	struct iov_iter i = { 0 };
	ssize_t n;
	int error = buffer_of(r, &i);

	if (error)
		return error;
	if (is_receive(r))
		n = receive(r, &i, r->sqe.msg_flags, wait);
	else
		n = is_header(r) ? socket_file_send_header(r->file, r->data, r->sqe.msg_flags, !wait)
				 : socket_file_send(r->file, &i, r->sqe.msg_flags, !wait);
	if (goes_on(r, n, &i))
		return -EAGAIN;
	if (r->selected && n < 0)
		uring_buffer_recycle(r);
	else if (r->selected)
		r->cqe_flags = uring_buffer_told(r);
	return told(r, n, !i.count);
}

// Every piece is a completion, until there is none, an error, or no room.
static int receive_many(struct uring_request *r)
{
	for (;;) {
		int n = transfer(r, false);

		if (n <= 0)
			return n;
		if (!uring_post_more(r, n, r->cqe_flags))
			return n;
		r->cqe_flags = 0;
	}
}

int uring_message_issue(struct uring_request *r, bool wait)
{
	if (r->sqe.ioprio & IORING_RECVSEND_POLL_FIRST && !r->poll && !wait)
		return -EAGAIN;
	return is_multishot(r) ? receive_many(r) : transfer(r, wait);
}

// ---- accept(2) ----

int uring_accept_prepare(struct uring_request *r)
{
	const struct io_uring_sqe *s = &r->sqe;
	bool many = s->ioprio & IORING_ACCEPT_MULTISHOT;

	if (s->len || s->buf_index || s->ioprio & ~IORING_ACCEPT_MULTISHOT)
		return -EINVAL;
	if (s->file_index && s->accept_flags & O_CLOEXEC)
		return -EINVAL;
	if (s->accept_flags & ~(uint32_t)(O_NONBLOCK | O_CLOEXEC))
		return -EINVAL;
	return many && s->file_index && s->file_index != IORING_FILE_INDEX_ALLOC ? -EINVAL : 0;
}

static int accept_one(struct uring_request *r, bool wait)
{
	const struct io_uring_sqe *s = &r->sqe;
	struct file *f = socket_file_accept(r->file, (struct uptr){ s->addr }, (struct uptr){ s->addr2 },
					    (int)s->accept_flags, !wait);

	if (is_err(f))
		return (int)ptr_err(f);
	return s->file_index ? uring_files_install(r->ring, f, s->file_index)
			     : fd_install_new(f, s->accept_flags & O_CLOEXEC);
}

int uring_accept_issue(struct uring_request *r, bool wait)
{
	bool many = r->sqe.ioprio & IORING_ACCEPT_MULTISHOT;

	for (;;) {
		int result = accept_one(r, wait && !many);

		if (!many || result < 0 || !uring_post_more(r, result, 0))
			return result;
	}
}

// ---- connect(2), shutdown(2), socket(2) ----

int uring_connect_prepare(struct uring_request *r)
{
	const struct io_uring_sqe *s = &r->sqe;
	struct socket_address *a;
	int error;

	if (s->len || s->buf_index || s->rw_flags || s->splice_fd_in)
		return -EINVAL;
	a = kalloc(sizeof(*a));
	if (!a)
		return -ENOMEM;
	error = s->off > INT32_MAX ? -EINVAL : socket_address_get(a, (struct uptr){ s->addr }, (int)s->off);
	if (error)
		kfree(a);
	else
		r->data = a;
	return error;
}

void uring_connect_release(struct uring_request *r) { kfree(r->data); }

int uring_connect_issue(struct uring_request *r, bool wait)
{
	int error;

	if (r->moved) { // it was begun: the socket says how it went
		if (!(file_poll(r->file, NULL) & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
			return -EAGAIN;
		return socket_file_error(r->file);
	}
	error = socket_file_connect(r->file, r->data, !wait);
	if (error != -EINPROGRESS)
		return error;
	r->moved = 1;
	return -EAGAIN;
}

int uring_shutdown_prepare(struct uring_request *r)
{
	const struct io_uring_sqe *s = &r->sqe;

	return s->off || s->addr || s->rw_flags || s->buf_index || s->splice_fd_in ? -EINVAL : 0;
}

int uring_shutdown_issue(struct uring_request *r, bool wait)
{
	(void)wait;
	return socket_file_shutdown(r->file, (int)r->sqe.len);
}

int uring_socket_prepare(struct uring_request *r)
{
	const struct io_uring_sqe *s = &r->sqe;

	if (s->addr || s->rw_flags || s->buf_index)
		return -EINVAL;
	return s->file_index && s->off & O_CLOEXEC ? -EINVAL : 0;
}

int uring_socket_issue(struct uring_request *r, bool wait)
{
	const struct io_uring_sqe *s = &r->sqe;
	struct file *f = socket_file_create(s->fd, (int)s->off, (int)s->len);

	(void)wait;
	if (is_err(f))
		return (int)ptr_err(f);
	return s->file_index ? uring_files_install(r->ring, f, s->file_index) : fd_install_new(f, s->off & O_CLOEXEC);
}
