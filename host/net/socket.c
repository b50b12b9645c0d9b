// SPDX-License-Identifier: Apache-2.0
// Sources: tcp(7), udp(7), ipv6(7).
#include "net/socket.h"

#include "net/endpoint.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <unistd.h>

bool net_socket_name(int fd, struct outside_endpoint *out, bool peer)
{
	union net_sockaddr a;
	socklen_t size = sizeof(a);

	if (peer ? getpeername(fd, &a.any, &size) : getsockname(fd, &a.any, &size))
		return false;
	*out = net_from_sockaddr(&a);
	return true;
}

void net_stream_settle(int fd)
{
	int on = 1;

	// What the cell's program wrote at once arrives at once. Its own wish for probes is not known here; they do no harm.
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

int net_stream_connect(const struct outside_endpoint *to, bool *connected)
{
	union net_sockaddr a;
	socklen_t size = net_to_sockaddr(to, false, &a);
	int fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error;

	*connected = false;
	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE)
			errno = ENOBUFS;
		return -1;
	}
	net_stream_settle(fd);
	*connected = !connect(fd, &a.any, size);
	if (*connected || errno == EINPROGRESS)
		return fd;
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

int net_stream_accept(int listener, struct outside_endpoint *peer)
{
	union net_sockaddr a;
	socklen_t size = sizeof(a);
	int fd = accept4(listener, &a.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return -1;
	*peer = net_from_sockaddr(&a);
	net_stream_settle(fd);
	return fd;
}

int net_datagram_create(bool v6)
{
	int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), off = 0;
	union net_sockaddr a = { .any.sa_family = v6 ? AF_INET6 : AF_INET };

	if (fd < 0)
		return -1;
	if (v6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (!bind(fd, &a.any, v6 ? sizeof(a.in6) : sizeof(a.in)))
		return fd;
	close(fd);
	return -1;
}

bool net_datagram_target(int fd, bool v6, const struct outside_endpoint *to)
{
	union net_sockaddr a = { .any.sa_family = AF_UNSPEC };
	socklen_t size = to->port ? net_to_sockaddr(to, v6, &a) : sizeof(a);

	return !connect(fd, &a.any, size);
}

int net_stream_finish(int fd, const struct outside_endpoint *to, struct outside_endpoint *local,
		      struct outside_endpoint *peer)
{
	union net_sockaddr a;
	socklen_t size = sizeof(int), address_size = net_to_sockaddr(to, false, &a);
	int error = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size))
		return errno;
	if (!error && connect(fd, &a.any, address_size) && errno != EISCONN)
		error = errno;
	if (!error && (!net_socket_name(fd, local, false) || !net_socket_name(fd, peer, true)))
		error = errno;
	return error;
}
