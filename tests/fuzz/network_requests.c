// SPDX-License-Identifier: Apache-2.0
// Fuzzes the server of the network grants (host/net) against a cell that says anything by its link.
//
// Nothing is connected or sent to but what the rules grant; no UDP socket, and no connection that is not made, is handed over; nothing
// is kept in the end (LeakSanitizer, and the number of descriptors).
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host_sockets.h"
#include "net/server.h"

#define NUMBERS 8u // of channels the cell opens

// ---- the cell ----

static int cell;

static void check_descriptor(const struct network_message *m, int fd)
{
	int type;
	socklen_t size = sizeof(type);

	if (m->kind != NETWORK_INCOMING && (m->kind != NETWORK_OPENED || m->value))
		abort();
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) || type != SOCK_STREAM ||
	    !(fcntl(fd, F_GETFL) & O_NONBLOCK))
		abort();
	close(fd);
}

// What the server has said.
static void hear(void)
{
	static char message[NETWORK_MESSAGE_MAX_BYTES];
	char control[CMSG_SPACE(4 * sizeof(int))];
	struct network_message m;
	int fd;

	for (;;) {
		struct iovec v = { message, sizeof(message) };
		struct msghdr h = {
			.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
		};
		ssize_t n = recvmsg(cell, &h, MSG_DONTWAIT);

		if (n <= 0)
			return;
		if ((size_t)n < sizeof(m) || h.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
			abort();
		memcpy(&m, message, sizeof(m));
		if (m.kind < NETWORK_OPENED || m.kind > NETWORK_ERROR ||
		    ((size_t)n > sizeof(m) && m.kind != NETWORK_RECEIVED))
			abort();
		if (!CMSG_FIRSTHDR(&h))
			continue;
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&h)), sizeof(fd));
		check_descriptor(&m, fd);
	}
}

// A message like those of a real cell, as far as the input lets it be one.
static void say(const uint8_t *x)
{
	static char message[NETWORK_MESSAGE_MAX_BYTES + 4096];
	struct network_message m = { .kind = x[1] % 10,
				     .channel = x[2] % NUMBERS + (x[3] & 1 ? NETWORK_SERVER : 0),
				     .value = x[3] >> 1,
				     .flags = x[4] % 4,
				     .cell_port = x[4] & 4 ? 80 : x[4] };
	size_t size = m.kind == NETWORK_SEND ? (size_t)x[7] << 4 : 0;

	memcpy(m.endpoint.ip, (uint8_t[12]){ [10] = 0xff, [11] = 0xff }, 12);
	memcpy(m.endpoint.ip + 12, (uint8_t[4]){ 127, 0, 0, x[5] & 1 ? GRANTED : x[5] }, 4);
	m.endpoint.port = x[6];
	memcpy(message, &m, sizeof(m));
	if (x[7] == 0xff)
		(void)!write(cell, message, x[6]);
	else
		(void)!write(cell, message, sizeof(m) + size);
}

static unsigned count_descriptors(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct server server;
	struct net_rules rules = { 0 };
	const unsigned before = count_descriptors();
	int pair[2], published[2] = { make_pair(SOCK_STREAM), make_pair(SOCK_DGRAM) };
	struct err error;

	if (!net_rules_add_connect(&rules, "tcp:127.0.0.9:*", &error) ||
	    !net_rules_add_connect(&rules, "udp:127.0.0.9:*", &error) ||
	    !net_rules_add_publish(&rules, "127.0.0.9:80:80", &error) ||
	    !net_rules_add_publish(&rules, "127.0.0.9:80:80/udp", &error) || published[1] < 0)
		abort();
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) || !server_init(&server, pair[0], &rules, published))
		abort();
	cell = pair[1];
	fcntl(cell, F_SETFL, O_NONBLOCK);
	for (size_t at = 0; at + 8 <= size && !server.ended; at += 8) {
		const uint8_t *x = data + at;

		switch (x[0] % 8) {
		case 0: play(x); break;
		case 1: incoming = x[1] & 1; break;
		case 2: hear(); break;
		default: say(x); break;
		}
		server_step(&server, 0);
	}
	hear();
	server_fini(&server);
	close(cell);
	while (end_count)
		close(ends[--end_count]);
	if (count_descriptors() != before)
		abort();
	return 0;
}
