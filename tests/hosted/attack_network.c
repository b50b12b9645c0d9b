// SPDX-License-Identifier: Apache-2.0
// Forged messages to the server of the network grants (abi/network.h), and connections of the host used for what they are not.
//
//     attack network rules PORT             asks for 127.0.0.1:PORT, which is not granted, in every way
//     attack network open MINE PORT         127.0.0.2:MINE is granted and ends by a reset what is sent "reset": the same by that
//     attack network over MINE PORT         connection, while it lasts or after its end
//     attack network nonsense SEED | flood
//
// "sent N" tells how much was said. Whether something was reached the host's side sees.
#define _GNU_SOURCE
#include "abi/network.h"
#include "attack.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define TRIES 100

static unsigned sent;

static unsigned list_sockets(int *out, unsigned max)
{
	unsigned count = 0, mode;

	for (int fd = 0; fd < FDS_MAX && count < max; fd++)
		if (host_fd(fd, &mode) && S_ISSOCK(mode))
			out[count++] = fd;
	return count;
}

// Descriptors stand in the order of enum hosted_stream: the control channel is the first socket.
static int find_link(void)
{
	int sockets[2];

	return list_sockets(sockets, 2) == 2 ? sockets[1] : -1;
}

static long say(int link, const struct network_message *m, const void *data, size_t size)
{
	struct iovec v[2] = { { (void *)m, sizeof(*m) }, { (void *)data, size } };
	struct msghdr h = { .msg_iov = v, .msg_iovlen = size ? 2 : 1 };
	long n = HOST(SYS_sendmsg, link, &h, MSG_NOSIGNAL | MSG_DONTWAIT);

	sent += n > 0;
	return n;
}

// ---- rules ----

static struct outside_endpoint endpoint(const char *ip, uint16_t port)
{
	struct outside_endpoint e = { .port = port };

	if (inet_pton(AF_INET6, ip, e.ip) != 1)
		abort();
	return e;
}

static int ask_for(int link, uint16_t port)
{
	static const char *const places[] = { "::ffff:127.0.0.1",  "::1", "::ffff:0.0.0.0", "::", "::127.0.0.1",
					      "64:ff9b::127.0.0.1" };
	struct network_message open = { .kind = NETWORK_DATAGRAM,
					.channel = 70000,
					.flags = OUTSIDE_WANT_V4 | OUTSIDE_WANT_V6 };

	say(link, &open, NULL, 0);
	for (unsigned i = 0; i < sizeof(places) / sizeof(*places); i++) {
		struct network_message m = { .kind = NETWORK_CONNECT,
					     .channel = 80000 + i,
					     .endpoint = endpoint(places[i], port) };

		say(link, &m, NULL, 0);
		m.kind = NETWORK_SEND;
		m.channel = open.channel;
		say(link, &m, "GOT", 3);
		m.kind = NETWORK_TARGET;
		say(link, &m, NULL, 0);
		m.kind = NETWORK_SEND;
		say(link, &m, "GOT", 3);
	}
	for (unsigned p = 1; p < 200; p++) {
		const struct network_message m = { .kind = NETWORK_LISTEN,
						   .channel = 90000 + p,
						   .value = 100,
						   .cell_port = (uint16_t)(p < 100 ? p : port - 100 + p),
						   .flags = OUTSIDE_WANT_V4 };
		say(link, &m, NULL, 0);
	}
	return 0;
}

// ---- a connection ----

static long send_to(int fd, const struct sockaddr *to, unsigned size, unsigned flags)
{
	struct iovec v = { "GOT", 3 };
	struct msghdr h = { .msg_name = (void *)to, .msg_namelen = size, .msg_iov = &v, .msg_iovlen = 1 };
	long n = HOST(SYS_sendmsg, fd, &h, MSG_NOSIGNAL | MSG_DONTWAIT | flags);

	sent++;
	return n;
}

static void try_everything(int fd, const struct sockaddr_in *to)
{
	const struct sockaddr nowhere = { .sa_family = AF_UNSPEC };

	for (unsigned i = 0; i < 4; i++) {
		send_to(fd, (const struct sockaddr *)to, sizeof(*to), 0);
		send_to(fd, (const struct sockaddr *)to, sizeof(*to), MSG_FASTOPEN);
		send_to(fd, &nowhere, sizeof(nowhere), MSG_FASTOPEN);
		send_to(fd, NULL, 0, MSG_FASTOPEN);
	}
}

static int misuse(uint16_t mine, uint16_t port, bool over)
{
	struct sockaddr_in granted = { .sin_family = AF_INET,
				       .sin_port = htons(mine),
				       .sin_addr.s_addr = htonl(0x7f000002) };
	const struct sockaddr_in forbidden = { .sin_family = AF_INET,
					       .sin_port = htons(port),
					       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int before[FDS_MAX], after[FDS_MAX], s = socket(AF_INET, SOCK_STREAM, 0), fd = -1;
	unsigned had = list_sockets(before, FDS_MAX), has;
	char byte;

	if (connect(s, (struct sockaddr *)&granted, sizeof(granted)))
		return 3;
	has = list_sockets(after, FDS_MAX);
	for (unsigned i = 0; i < has; i++)
		if (i >= had || after[i] != before[i]) {
			fd = after[i];
			break;
		}
	if (fd < 0)
		return 4;
	if (!over)
		try_everything(fd, &forbidden);
	if (send(s, "reset", 5, MSG_NOSIGNAL) != 5)
		return 5;
	while (recv(s, &byte, 1, 0) > 0)
		;
	if (over)
		try_everything(fd, &forbidden);
	return 0;
}

// ---- nonsense ----

static int chatter(int link, unsigned seed)
{
	char data[1 << 17];
	long n = 0;

	srandom(seed);
	for (unsigned i = 0; i < TRIES && n != -EPIPE && n != -ECONNRESET; i++) {
		struct network_message m = { .kind = (uint16_t)(random() % 10), .channel = (uint32_t)random() % 4 };
		size_t size = random() % 4 ? 0 : (size_t)random() % sizeof(data);

		for (char *p = (char *)&m.value; random() % 8 && p < (char *)(&m + 1); p++)
			*p = (char)random();
		memset(data, 'x', size);
		n = say(link, &m, data, size);
	}
	return 0;
}

static int flood(int link)
{
	for (unsigned i = 0; i < 100000; i++) {
		const struct network_message m = { .kind = i % 2 ? NETWORK_CONNECT : NETWORK_DATAGRAM,
						   .channel = 100000 + i,
						   .flags = OUTSIDE_WANT_V4,
						   .endpoint = endpoint("::ffff:127.0.0.2", 9) };
		if (say(link, &m, NULL, 0) == -EPIPE)
			break;
	}
	return 0;
}

int attack_network(const char *what, int argc, char **argv)
{
	const int link = find_link(), first = argc > 0 ? atoi(argv[0]) : 0, second = argc > 1 ? atoi(argv[1]) : 0;
	int result = 2;

	if (link < 0)
		return 6;
	if (!strcmp(what, "rules"))
		result = ask_for(link, (uint16_t)first);
	else if (!strcmp(what, "open") || !strcmp(what, "over"))
		result = misuse((uint16_t)first, (uint16_t)second, what[1] == 'v');
	else if (!strcmp(what, "nonsense"))
		result = chatter(link, (unsigned)first);
	else if (!strcmp(what, "flood"))
		result = flood(link);
	printf("sent %u\n", sent);
	fflush(stdout);
	usleep(300000); // for the server to do what it was told
	return result;
}
