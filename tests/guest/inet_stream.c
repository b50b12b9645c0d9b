// SPDX-License-Identifier: Apache-2.0
// Do TCP sockets on loopback connect, refuse, tell names, carry bytes, half-close and report readiness?
#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static struct sockaddr_in loopback(unsigned port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_port = htons((uint16_t)port),
				     .sin_addr = { htonl(INADDR_LOOPBACK) } };
}

static unsigned port_of(int fd)
{
	struct sockaddr_in a;
	socklen_t size = sizeof(a);

	CHECK_OK(getsockname(fd, (struct sockaddr *)&a, &size));
	return ntohs(a.sin_port);
}

static int server(unsigned *port)
{
	struct sockaddr_in a = loopback(0);
	int fd = CHECK_OK(socket(AF_INET, SOCK_STREAM, 0));

	CHECK_OK(bind(fd, (struct sockaddr *)&a, sizeof(a)));
	CHECK_OK(listen(fd, 5));
	*port = port_of(fd);
	return fd;
}

static int client(unsigned port, int flags)
{
	struct sockaddr_in a = loopback(port);
	int fd = CHECK_OK(socket(AF_INET, SOCK_STREAM | flags, 0));

	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) && errno != EINPROGRESS) {
		int error = errno;

		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

static int free_port(void)
{
	unsigned port;
	int fd = server(&port);

	close(fd);
	return (int)port;
}

static int events_of(int fd, int timeout)
{
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP };

	CHECK(poll(&p, 1, timeout) >= 0);
	return p.revents;
}

static void names(void)
{
	struct sockaddr_in a, b;
	socklen_t size = sizeof(a);
	unsigned port;
	int l = server(&port), c = CHECK_OK(client(port, 0));
	int s = CHECK_OK(accept(l, (struct sockaddr *)&a, &size));

	CHECK_EQ(size, sizeof(a));
	size = sizeof(b);
	CHECK_OK(getsockname(c, (struct sockaddr *)&b, &size));
	CHECK_EQ(memcmp(&a, &b, 8), 0);
	CHECK_EQ(b.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	CHECK_OK(getpeername(c, (struct sockaddr *)&b, &size));
	CHECK_EQ(ntohs(b.sin_port), port);
	CHECK_OK(getsockname(s, (struct sockaddr *)&b, &size));
	CHECK_EQ(ntohs(b.sin_port), port);
	CHECK_ERR(getpeername(l, (struct sockaddr *)&b, &size), ENOTCONN);
	CHECK_ERR(connect(c, (struct sockaddr *)&a, sizeof(a)), EISCONN);
	CHECK_ERR(connect(l, (struct sockaddr *)&a, sizeof(a)), EISCONN);
	close(c);
	close(s);
	close(l);
}

static void refusals(void)
{
	struct sockaddr_in a = loopback((unsigned)free_port());
	int value, fd = CHECK_OK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
	socklen_t size = sizeof(value);

	CHECK_ERR(client(ntohs(a.sin_port), 0), ECONNREFUSED);
	CHECK_ERR(send(fd, "x", 1, MSG_NOSIGNAL), EPIPE);
	CHECK_ERR(recv(fd, &value, 1, 0), ENOTCONN);
	CHECK_ERR(shutdown(fd, SHUT_RDWR), ENOTCONN);
	CHECK_ERR(connect(fd, (struct sockaddr *)&a, sizeof(a)), EINPROGRESS);
	CHECK(events_of(fd, 10000) & POLLERR);
	CHECK_OK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &size));
	CHECK_EQ(value, ECONNREFUSED);
	CHECK_OK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &size));
	CHECK_EQ(value, 0);
	close(fd);
}

static void a_connect_that_does_not_wait(void)
{
	unsigned port;
	int value, l = server(&port), c = CHECK_OK(client(port, SOCK_NONBLOCK));
	socklen_t size = sizeof(value);
	struct sockaddr_in a = loopback(port);

	CHECK_EQ(events_of(c, 10000), POLLOUT);
	CHECK_OK(getsockopt(c, SOL_SOCKET, SO_ERROR, &value, &size));
	CHECK_EQ(value, 0);
	CHECK_OK(getpeername(c, (struct sockaddr *)&a, (socklen_t[]){ sizeof(a) }));
	CHECK_ERR(recv(c, &value, 1, 0), EAGAIN);
	close(c);
	close(l);
}

static void half_close(void)
{
	char buffer[16];
	unsigned port;
	int waiting, l = server(&port), c = CHECK_OK(client(port, 0)), s = CHECK_OK(accept(l, NULL, NULL));

	CHECK_EQ(events_of(s, 0), POLLOUT);
	CHECK_EQ(send(c, "hello", 5, 0), 5);
	CHECK_OK(shutdown(c, SHUT_WR));
	CHECK_ERR(send(c, "x", 1, MSG_NOSIGNAL), EPIPE);
	WAIT_UNTIL(events_of(s, 0) & POLLRDHUP);
	CHECK_EQ(events_of(s, 0), POLLIN | POLLOUT | POLLRDHUP);
	CHECK_OK(ioctl(s, FIONREAD, &waiting));
	CHECK_EQ(waiting, 5);
	CHECK_EQ(recv(s, buffer, sizeof(buffer), MSG_PEEK), 5);
	CHECK_EQ(recv(s, buffer, 2, 0), 2);
	CHECK_EQ(recv(s, buffer, sizeof(buffer), MSG_WAITALL), 3);
	CHECK_EQ(recv(s, buffer, sizeof(buffer), 0), 0);
	CHECK_EQ(send(s, "back", 4, 0), 4);
	CHECK_EQ(recv(c, buffer, sizeof(buffer), 0), 4);
	close(s);
	WAIT_UNTIL(events_of(c, 0) & POLLHUP);
	CHECK_EQ(recv(c, buffer, sizeof(buffer), 0), 0);
	close(c);
	close(l);
}

static void unread_data_resets(void)
{
	char byte;
	unsigned port;
	int l = server(&port), c = CHECK_OK(client(port, 0)), s = CHECK_OK(accept(l, NULL, NULL));

	CHECK_EQ(send(c, "x", 1, 0), 1);
	WAIT_UNTIL(events_of(s, 0) & POLLIN);
	close(s);
	WAIT_UNTIL(events_of(c, 0) & POLLERR);
	CHECK_ERR(recv(c, &byte, 1, 0), ECONNRESET);
	close(c);
	close(l);
}

static void options_and_timeouts(void)
{
	struct timeval limit = { 0, 50000 };
	unsigned port;
	char byte;
	int on = 1, value = 0, l = server(&port), c = CHECK_OK(client(port, 0));
	socklen_t size = sizeof(value);

	CHECK_OK(setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)));
	CHECK_OK(getsockopt(c, IPPROTO_TCP, TCP_NODELAY, &value, &size));
	CHECK_EQ(value, 1);
	CHECK_OK(setsockopt(c, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)));
	CHECK_OK(setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)));
	CHECK_ERR(recv(c, &byte, 1, 0), EAGAIN);
	CHECK_OK(getsockopt(l, SOL_SOCKET, SO_ACCEPTCONN, &value, &size));
	CHECK_EQ(value, 1);
	close(c);
	close(l);
}

static void edge_triggered(void)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLET };
	unsigned port;
	char byte;
	int l = server(&port), c = CHECK_OK(client(port, 0)), s = CHECK_OK(accept(l, NULL, NULL));
	int epoll = CHECK_OK(epoll_create1(0));

	CHECK_OK(epoll_ctl(epoll, EPOLL_CTL_ADD, s, &e));
	CHECK_EQ(epoll_wait(epoll, &e, 1, 0), 0);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(send(c, "x", 1, 0), 1);
		CHECK_EQ(epoll_wait(epoll, &e, 1, 10000), 1);
		CHECK_EQ(epoll_wait(epoll, &e, 1, 0), 0);
	}
	CHECK_EQ(recv(s, &byte, 1, 0), 1);
	close(epoll);
	close(s);
	close(c);
	close(l);
}

static void ipv6(void)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6 }, b;
	struct sockaddr_in four = loopback(0);
	socklen_t size = sizeof(b);
	int s, c, l = socket(AF_INET6, SOCK_STREAM, 0);

	if (l < 0)
		return; // this machine has none
	CHECK_OK(bind(l, (struct sockaddr *)&a, sizeof(a)));
	CHECK_OK(listen(l, 1));
	CHECK_OK(getsockname(l, (struct sockaddr *)&a, &size));
	four.sin_port = a.sin6_port;
	c = CHECK_OK(socket(AF_INET, SOCK_STREAM, 0));
	CHECK_OK(connect(c, (struct sockaddr *)&four, sizeof(four)));
	s = CHECK_OK(accept(l, (struct sockaddr *)&b, &size));
	CHECK(IN6_IS_ADDR_V4MAPPED(&b.sin6_addr));
	close(s);
	close(c);
	close(l);
}

int main(void)
{
	names();
	refusals();
	a_connect_that_does_not_wait();
	half_close();
	unread_data_resets();
	options_and_timeouts();
	edge_triggered();
	ipv6();
	return check_done();
}
