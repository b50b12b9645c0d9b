// SPDX-License-Identifier: Apache-2.0
// System calls that make, name and connect sockets.

#include "socket.h"

#include "kernel/socket_files.h"
#include "kernel/syscalls.h"
#include "kernel/uaccess.h"
#include "kernel/errno.h"
#include "message.h"

static const struct family *family_of(int domain)
{
	switch (domain) {
	case AF_UNIX: return &unix_family;
	case AF_INET: return &inet_family;
	case AF_INET6: return &inet6_family;
	case AF_NETLINK: return &netlink_family;
	case AF_VSOCK: return &vsock_family;
	default: return NULL;
	}
}

int net_address_from_user(struct net_address *a, struct uptr from, int size)
{
	if (size < 0 || (size_t)size > sizeof(struct __kernel_sockaddr_storage))
		return -EINVAL;
	a->size = (unsigned)size;
	memset(a->bytes, 0, sizeof(a->bytes));
	return size && copy_from_user(a->bytes, from, (size_t)size) ? -EFAULT : 0;
}

int net_address_to_user(const struct net_address *a, struct uptr to, struct uptr size)
{
	int32_t room;

	if (get_user(&room, size))
		return -EFAULT;
	if (room < 0)
		return -EINVAL;
	if (copy_to_user(to, a->bytes, min((size_t)room, (size_t)a->size)))
		return -EFAULT;
	return put_user((int32_t)a->size, size);
}

// The socket of a descriptor, borrowed. -EBADF, -ENOTSOCK.
int socket_begin(int fd, struct fd_borrow *b, struct socket **s)
{
	*b = fd_begin(fd);
	if (!b->file)
		return -EBADF;
	*s = socket_from_file(b->file);
	if (*s)
		return 0;
	fd_end(*b);
	return -ENOTSOCK;
}

// ---- making ----

static int make(int domain, int type, int protocol, struct socket **out)
{
	const struct family *f = family_of(domain);
	struct socket *s;
	int error;

	if (type & ~(SOCK_TYPE_MASK | SOCK_NONBLOCK | SOCK_CLOEXEC))
		return -EINVAL;
	if (!f)
		return -EAFNOSUPPORT;
	s = socket_create(f, type & SOCK_TYPE_MASK, net_namespace_current());
	if (!s)
		return -ENOBUFS;
	error = f->create(s, protocol);
	if (error) {
		socket_put(s);
		return error;
	}
	*out = s;
	return 0;
}

long sys_socket(int domain, int type, int protocol)
{
	struct socket *s;
	int error = make(domain, type, protocol, &s);

	return error ? error : socket_install(s, type);
}

long sys_socketpair(int domain, int type, int protocol, struct uptr user_fds)
{
	struct socket *a, *b;
	int32_t fds[2];
	int error = make(domain, type, protocol, &a);

	if (error)
		return error;
	if (domain != AF_UNIX) {
		socket_close(a);
		return -EOPNOTSUPP;
	}
	error = make(domain, type, protocol, &b);
	if (error) {
		socket_close(a);
		return error;
	}
	socket_join(a, b);
	fds[0] = socket_install(a, type);
	if (fds[0] < 0) {
		socket_close(b);
		return fds[0];
	}
	fds[1] = socket_install(b, type);
	if (fds[1] < 0) {
		fd_close(fds[0]);
		return fds[1];
	}
	if (copy_to_user(user_fds, fds, sizeof(fds))) {
		fd_close(fds[0]);
		fd_close(fds[1]);
		return -EFAULT;
	}
	return 0;
}

// ---- naming and connecting ----

long sys_bind(int fd, struct uptr user_address, int size)
{
	struct net_address a;
	struct fd_borrow b;
	struct socket *s;
	long result = socket_begin(fd, &b, &s);

	if (result)
		return result;
	result = net_address_from_user(&a, user_address, size);
	if (!result)
		result = s->family->bind(s, &a);
	fd_end(b);
	return result;
}

long sys_connect(int fd, struct uptr user_address, int size)
{
	struct net_address a;
	struct fd_borrow b;
	struct socket *s;
	long result = socket_begin(fd, &b, &s);

	if (result)
		return result;
	result = net_address_from_user(&a, user_address, size);
	if (!result)
		result = socket_connect(s, &a, b.file->flags & O_NONBLOCK);
	fd_end(b);
	return result;
}

long sys_listen(int fd, int backlog)
{
	struct fd_borrow b;
	struct socket *s;
	long result = socket_begin(fd, &b, &s);

	if (result)
		return result;
	result = socket_listen(s, backlog);
	fd_end(b);
	return result;
}

static struct file *accept_file(struct socket *s, struct uptr user_address, struct uptr user_size, int flags,
				bool nonblock)
{
	struct net_address a = { 0 };
	struct socket *child;

	if (flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC))
		return err_ptr(-EINVAL);
	child = socket_accept(s, nonblock);
	if (is_err(child))
		return err_ptr(ptr_err(child));
	if (!uptr_is_null(user_address)) {
		(void)child->family->get_name(child, true, &a);
		int error = net_address_to_user(&a, user_address, user_size);
		if (error) {
			socket_close(child);
			return err_ptr(error);
		}
	}
	return socket_file(child, flags);
}

long sys_accept4(int fd, struct uptr user_address, struct uptr user_size, int flags)
{
	struct socket *s;
	struct fd_borrow b;
	struct file *f;
	long result;

	if (flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC))
		return -EINVAL;
	result = socket_begin(fd, &b, &s);
	if (result)
		return result;
	f = accept_file(s, user_address, user_size, flags, b.file->flags & O_NONBLOCK);
	fd_end(b);
	return is_err(f) ? ptr_err(f) : fd_install_new(f, flags & SOCK_CLOEXEC);
}

long sys_accept(int fd, struct uptr address, struct uptr size) { return sys_accept4(fd, address, size, 0); }

static long get_name(int fd, struct uptr user_address, struct uptr user_size, bool peer)
{
	struct net_address a = { 0 };
	struct fd_borrow b;
	struct socket *s;
	long result = socket_begin(fd, &b, &s);

	if (result)
		return result;
	result = s->family->get_name(s, peer, &a);
	fd_end(b);
	return result ? result : net_address_to_user(&a, user_address, user_size);
}

long sys_getsockname(int fd, struct uptr address, struct uptr size) { return get_name(fd, address, size, false); }
long sys_getpeername(int fd, struct uptr address, struct uptr size) { return get_name(fd, address, size, true); }

long sys_shutdown(int fd, int how)
{
	struct fd_borrow b;
	struct socket *s;
	long result = socket_begin(fd, &b, &s);

	if (result)
		return result;
	result = socket_shutdown(s, how);
	fd_end(b);
	return result;
}

long sys_setsockopt(int fd, int level, int option, struct uptr value, int size)
{
	struct fd_borrow b;
	struct socket *s;
	long result = socket_begin(fd, &b, &s);

	if (result)
		return result;
	result = size < 0 ? -EINVAL : socket_set_option(s, level, option, value, size);
	fd_end(b);
	return result;
}

long sys_getsockopt(int fd, int level, int option, struct uptr value, struct uptr size)
{
	struct fd_borrow b;
	struct socket *s;
	long result = socket_begin(fd, &b, &s);

	if (result)
		return result;
	result = socket_get_option(s, level, option, value, size);
	fd_end(b);
	return result;
}

// ---- by file ----

int socket_address_get(struct socket_address *a, struct uptr from, int size)
{
	static_assert(sizeof(a->bytes) == sizeof(((struct net_address *)NULL)->bytes), "the same room");
	struct net_address n;
	int error = net_address_from_user(&n, from, size);

	if (error)
		return error;
	a->size = n.size;
	memcpy(a->bytes, n.bytes, sizeof(a->bytes));
	return 0;
}

struct file *socket_file_accept(struct file *f, struct uptr address, struct uptr size, int flags, bool nonblock)
{
	struct socket *s = socket_from_file(f);

	return s ? accept_file(s, address, size, flags, nonblock) : err_ptr(-ENOTSOCK);
}

int socket_file_connect(struct file *f, const struct socket_address *a, bool nonblock)
{
	struct socket *s = socket_from_file(f);
	struct net_address n = { .size = a->size };

	memcpy(n.bytes, a->bytes, sizeof(n.bytes));
	return s ? socket_connect(s, &n, nonblock) : -ENOTSOCK;
}

int socket_file_error(struct file *f)
{
	struct socket *s = socket_from_file(f);
	int error = s ? socket_take_error(s) : ENOTSOCK;

	return error ? -error : -channel_take_error(s);
}

int socket_file_shutdown(struct file *f, int how)
{
	struct socket *s = socket_from_file(f);

	return s ? socket_shutdown(s, how) : -ENOTSOCK;
}

struct file *socket_file_create(int domain, int type, int protocol)
{
	struct socket *s;
	int error = make(domain, type, protocol, &s);

	return error ? err_ptr(error) : socket_file(s, type);
}
