// SPDX-License-Identifier: Apache-2.0
// Do UDP sockets on loopback name themselves, send, connect and dissolve, and hear only whom they should?
#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

static int bound(struct sockaddr_in *a)
{
	socklen_t size = sizeof(*a);
	int fd = CHECK_OK(socket(AF_INET, SOCK_DGRAM, 0));

	*a = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	CHECK_OK(bind(fd, (struct sockaddr *)a, size));
	CHECK_OK(getsockname(fd, (struct sockaddr *)a, &size));
	return fd;
}

static bool readable(int fd, int timeout)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, timeout) == 1 && p.revents & POLLIN;
}

static void unconnected(void)
{
	struct sockaddr_in a, from, self;
	socklen_t size = sizeof(from);
	char buffer[16];
	int receiver = bound(&a), sender = CHECK_OK(socket(AF_INET, SOCK_DGRAM, 0));

	CHECK_ERR(send(sender, "x", 1, 0), EDESTADDRREQ);
	CHECK_ERR(getpeername(sender, (struct sockaddr *)&from, &size), ENOTCONN);
	CHECK_EQ(sendto(sender, "hello", 5, 0, (struct sockaddr *)&a, sizeof(a)), 5);
	CHECK_EQ(recvfrom(receiver, buffer, 3, MSG_TRUNC | MSG_PEEK, (struct sockaddr *)&from, &size), 5);
	CHECK_EQ(recvfrom(receiver, buffer, 3, 0, (struct sockaddr *)&from, &size), 3);
	CHECK_ERR(recv(receiver, buffer, 1, MSG_DONTWAIT), EAGAIN); // the rest is gone
	CHECK_OK(getsockname(sender, (struct sockaddr *)&self, &size));
	CHECK_EQ(from.sin_port, self.sin_port);
	CHECK_EQ(from.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	CHECK_EQ(sendto(sender, "", 0, 0, (struct sockaddr *)&a, sizeof(a)), 0);
	CHECK_EQ(recv(receiver, buffer, 1, 0), 0);
	CHECK_EQ(sendto(receiver, "back", 4, 0, (struct sockaddr *)&from, sizeof(from)), 4);
	CHECK_EQ(recv(sender, buffer, sizeof(buffer), 0), 4);
	close(sender);
	close(receiver);
}

static void connected(void)
{
	struct sockaddr_in a, b, self, none = { .sin_family = AF_UNSPEC };
	socklen_t size = sizeof(self);
	char buffer[16];
	int one = bound(&a), other = bound(&b), fd = CHECK_OK(socket(AF_INET, SOCK_DGRAM, 0));

	CHECK_OK(connect(fd, (struct sockaddr *)&a, sizeof(a)));
	CHECK_OK(getpeername(fd, (struct sockaddr *)&self, &size));
	CHECK_EQ(self.sin_port, a.sin_port);
	CHECK_OK(getsockname(fd, (struct sockaddr *)&self, &size));
	CHECK_EQ(self.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	CHECK_EQ(send(fd, "x", 1, 0), 1);
	CHECK_EQ(recv(one, buffer, sizeof(buffer), 0), 1);
	CHECK_EQ(sendto(other, "no", 2, 0, (struct sockaddr *)&self, sizeof(self)), 2); // heard by nobody
	CHECK_EQ(sendto(one, "yes", 3, 0, (struct sockaddr *)&self, sizeof(self)), 3);
	CHECK_EQ(recv(fd, buffer, sizeof(buffer), 0), 3);
	CHECK(!readable(fd, 0));
	CHECK_OK(connect(fd, (struct sockaddr *)&b, sizeof(b)));
	CHECK_EQ(send(fd, "xy", 2, 0), 2);
	CHECK_EQ(recv(other, buffer, sizeof(buffer), 0), 2);
	CHECK_OK(connect(fd, (struct sockaddr *)&none, sizeof(none)));
	CHECK_ERR(getpeername(fd, (struct sockaddr *)&self, &size), ENOTCONN);
	CHECK_ERR(send(fd, "x", 1, 0), EDESTADDRREQ);
	close(fd);
	close(one);
	close(other);
}

static void nobody_there(void)
{
	struct sockaddr_in a;
	char byte;
	int value, gone = bound(&a), fd = CHECK_OK(socket(AF_INET, SOCK_DGRAM, 0));
	socklen_t size = sizeof(value);

	close(gone);
	CHECK_EQ(sendto(fd, "x", 1, 0, (struct sockaddr *)&a, sizeof(a)), 1); // nobody tells an unconnected socket
	CHECK_ERR(recv(fd, &byte, 1, MSG_DONTWAIT), EAGAIN);
	CHECK_OK(connect(fd, (struct sockaddr *)&a, sizeof(a)));
	CHECK_EQ(send(fd, "x", 1, 0), 1);
	CHECK(poll(&(struct pollfd){ .fd = fd }, 1, 10000) == 1);
	CHECK_ERR(recv(fd, &byte, 1, MSG_DONTWAIT), ECONNREFUSED);
	CHECK_OK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &size));
	CHECK_EQ(value, 0);
	close(fd);
}

int main(void)
{
	unconnected();
	connected();
	nobody_there();
	return check_done();
}
