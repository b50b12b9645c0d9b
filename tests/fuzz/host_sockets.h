// SPDX-License-Identifier: Apache-2.0
// The host's sockets as fuzzers of the network process have them: pairs, whose other ends the input plays. Only GRANTED may be
// connected or sent to. To be included once, before any other use of these calls.
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ENDS_MAX 16u
#define GRANTED  9u // 127.0.0.9

static int ends[ENDS_MAX];
static unsigned end_count;
static bool incoming;

static int make_pair(int type)
{
	int pair[2];

	if (end_count == ENDS_MAX || socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, pair)) {
		errno = EMFILE;
		return -1;
	}
	ends[end_count++] = pair[1];
	return pair[0];
}

static void check_address(const struct sockaddr *a)
{
	const struct sockaddr_in *in = (const void *)a;
	const struct sockaddr_in6 *in6 = (const void *)a;

	if (a->sa_family == AF_INET ? ntohl(in->sin_addr.s_addr) != (127u << 24 | GRANTED)
				    : a->sa_family == AF_INET6 && in6->sin6_addr.s6_addr[15] != GRANTED)
		abort();
}

int socket(int domain, int type, int protocol)
{
	(void)domain, (void)protocol;
	return make_pair(type & 15);
}
int bind(int fd, const struct sockaddr *a, socklen_t size)
{
	(void)fd, (void)a, (void)size;
	return 0;
}
int connect(int fd, const struct sockaddr *a, socklen_t size)
{
	static unsigned calls;

	(void)fd, (void)size;
	check_address(a);
	errno = ++calls % 3 ? EINPROGRESS : ECONNREFUSED;
	return calls % 2 ? -1 : 0;
}
int listen(int fd, int backlog)
{
	(void)fd, (void)backlog;
	return 0;
}
int accept4(int fd, struct sockaddr *a, socklen_t *size, int flags)
{
	(void)fd, (void)flags;
	memset(a, 0, *size);
	if (!incoming) {
		errno = EAGAIN;
		return -1;
	}
	incoming = false;
	return make_pair(SOCK_STREAM);
}
ssize_t sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *to, socklen_t to_size)
{
	(void)fd, (void)data, (void)flags, (void)to_size;
	if (to->sa_family == AF_INET && ((const struct sockaddr_in *)to)->sin_addr.s_addr)
		check_address(to); // or a peer of the published socket, who has no address here
	return (ssize_t)size;
}

static void play(const uint8_t *x)
{
	static char bytes[65536];
	unsigned i = end_count ? x[1] % end_count : 0;

	if (!end_count)
		return;
	if (x[2] & 1) {
		while (read(ends[i], bytes, sizeof(bytes)) > 0)
			;
	} else if (x[2] & 2) {
		shutdown(ends[i], SHUT_RDWR);
	} else if (send(ends[i], bytes, x[3] * 16u + 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
		return; // full
	}
}
