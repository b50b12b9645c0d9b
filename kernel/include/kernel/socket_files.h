// SPDX-License-Identifier: Apache-2.0
// System calls of sockets by their files, for io_uring. Owner: kernel/net/calls.c, message.c.
//
// `f` may be any file: -ENOTSOCK. nonblock: -EAGAIN rather than wait. flags: MSG_*. Task context.
#pragma once

#include "kernel/fs.h"

struct socket_address {
	unsigned size;
	char bytes[128];
};
int socket_address_get(struct socket_address *a, struct uptr from, int size); // 0, -EINVAL, -EFAULT

// A struct msghdr of the program's with its vector and, to send, its address, copied.
struct socket_header;
int socket_header_get(struct socket_header **out, struct uptr user, bool receive);
void socket_header_free(struct socket_header *h);

long socket_file_send_header(struct file *f, struct socket_header *h, unsigned flags, bool nonblock);
// `instead`: where the data go, not what the header says; NULL.
long socket_file_receive_header(struct file *f, struct socket_header *h, struct iov_iter *instead, unsigned flags,
				bool nonblock);
long socket_file_send(struct file *f, struct iov_iter *data, unsigned flags, bool nonblock);
long socket_file_receive(struct file *f, struct iov_iter *data, unsigned flags, bool nonblock);
// flags: SOCK_*. address and size: where the program wants the peer's name; NULL. err_ptr.
struct file *socket_file_accept(struct file *f, struct uptr address, struct uptr size, int flags, bool nonblock);
int socket_file_connect(struct file *f, const struct socket_address *a, bool nonblock);
int socket_file_error(struct file *f); // takes the pending error: 0 or -errno
int socket_file_shutdown(struct file *f, int how);
struct file *socket_file_create(int domain, int type, int protocol); // err_ptr
