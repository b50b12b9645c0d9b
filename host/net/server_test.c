// SPDX-License-Identifier: Apache-2.0
// Does the server hand over what the rules grant and nothing else, and does a cell that does not listen to it lose nothing and hold
// nobody up? With real sockets, on the loopback.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "net/endpoint.h"
#include "net/published.h"
#include "net/server.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#define STEPS   50
#define STEP_MS 20

struct world {
	struct server server;
	int cell;      // its end of the link
	int granted;   // a TCP listener that a rule names
	int forbidden; // one that none does
	uint16_t granted_port, forbidden_port, published_tcp, published_udp;
};

static struct outside_endpoint endpoint(uint8_t last, uint16_t port)
{
	struct outside_endpoint e = { .ip = { [10] = 0xff, [11] = 0xff, 127, 0, 0, last }, .port = port };

	return e;
}

static uint16_t port_of(int fd)
{
	struct sockaddr_in a;
	socklen_t size = sizeof(a);

	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &size), 0);
	return ntohs(a.sin_port);
}

static int make(int type, uint8_t last, uint16_t port)
{
	struct outside_endpoint e = endpoint(last, port);
	int fd = socket(AF_INET, type | SOCK_NONBLOCK, 0);
	union net_sockaddr a;
	socklen_t size = net_to_sockaddr(&e, false, &a);

	assert_int_equal(bind(fd, &a.any, size), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 100), 0);
	return fd;
}

static uint16_t free_port(int type)
{
	int fd = make(type, 3, 0);
	uint16_t port = port_of(fd);

	close(fd);
	return port;
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct net_rules rules = { 0 };
	struct err e = { 0 };
	char text[64];
	int pair[2], sockets[OUTSIDE_RULES_MAX];
	unsigned count;

	w->granted = make(SOCK_STREAM, 3, 0);
	w->forbidden = make(SOCK_STREAM, 3, 0);
	w->granted_port = port_of(w->granted);
	w->forbidden_port = port_of(w->forbidden);
	w->published_tcp = free_port(SOCK_STREAM);
	w->published_udp = free_port(SOCK_DGRAM);
	snprintf(text, sizeof(text), "tcp:127.0.0.3:%u", w->granted_port);
	assert_true(net_rules_add_connect(&rules, text, &e));
	snprintf(text, sizeof(text), "127.0.0.3:%u:80", w->published_tcp);
	assert_true(net_rules_add_publish(&rules, text, &e));
	snprintf(text, sizeof(text), "127.0.0.3:%u:53/udp", w->published_udp);
	assert_true(net_rules_add_publish(&rules, text, &e));
	assert_true(net_published_bind(&rules, sockets, &count, &e));
	assert_int_equal(count, 2);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	w->cell = pair[1];
	assert_true(server_init(&w->server, pair[0], &rules, sockets));
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	server_fini(&w->server);
	close(w->cell);
	close(w->granted);
	close(w->forbidden);
	free(w);
	return 0;
}

// ---- the cell ----

static void say(struct world *w, const struct network_message *m)
{
	assert_int_equal(send(w->cell, m, sizeof(*m), 0), sizeof(*m));
	assert_true(server_step(&w->server, 0));
}

static bool hear_now(struct world *w, struct network_message *m, int *fd)
{
	static char bytes[NETWORK_MESSAGE_MAX_BYTES];
	char control[CMSG_SPACE(sizeof(int))];
	struct iovec v = { bytes, sizeof(bytes) };
	struct msghdr h = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };

	*fd = -1;
	if (recvmsg(w->cell, &h, MSG_DONTWAIT) < (ssize_t)sizeof(*m))
		return false;
	memcpy(m, bytes, sizeof(*m));
	if (CMSG_FIRSTHDR(&h))
		memcpy(fd, CMSG_DATA(CMSG_FIRSTHDR(&h)), sizeof(*fd));
	return true;
}

// The next message; false: none comes.
static bool hear(struct world *w, struct network_message *m, int *fd)
{
	for (int i = 0; i < STEPS; i++) {
		if (hear_now(w, m, fd))
			return true;
		assert_true(server_step(&w->server, STEP_MS));
	}
	return false;
}

static int connect_to(struct world *w, uint32_t channel, uint16_t port, uint32_t *error)
{
	const struct network_message ask = { .kind = NETWORK_CONNECT,
					     .channel = channel,
					     .endpoint = endpoint(3, port) };
	struct network_message m;
	int fd;

	say(w, &ask);
	assert_true(hear(w, &m, &fd));
	assert_int_equal(m.kind, NETWORK_OPENED);
	assert_int_equal(m.channel, channel);
	*error = m.value;
	assert_int_equal(fd >= 0, !m.value);
	return fd;
}

// ---- the tests ----

static void test_hands_over_what_is_granted(void **state)
{
	struct world *w = *state;
	uint32_t error;
	int fd = connect_to(w, 1, w->granted_port, &error), peer;
	char byte = 0;

	assert_int_equal(error, 0);
	peer = accept(w->granted, NULL, NULL);
	assert_int_equal(write(fd, "x", 1), 1);
	assert_int_equal(read(peer, &byte, 1), 1);
	assert_int_equal(byte, 'x');
	close(fd);
	close(peer);
}

static void test_refuses_what_is_not(void **state)
{
	struct world *w = *state;
	uint32_t error;

	assert_int_equal(connect_to(w, 1, w->forbidden_port, &error), -1);
	assert_int_equal(error, ENETUNREACH);
	assert_int_equal(accept(w->forbidden, NULL, NULL), -1);
	assert_int_equal(w->server.cell_count, 0);
}

static void test_a_descriptor_cannot_be_connected_anew(void **state)
{
	struct world *w = *state;
	const struct outside_endpoint e = endpoint(3, w->forbidden_port);
	union net_sockaddr a;
	struct iovec v = { "x", 1 };
	struct msghdr h = {
		.msg_name = &a, .msg_namelen = net_to_sockaddr(&e, false, &a), .msg_iov = &v, .msg_iovlen = 1
	};
	uint32_t error;
	int fd = connect_to(w, 1, w->granted_port, &error), peer = accept(w->granted, NULL, NULL);
	struct pollfd p = { .fd = fd };

	setsockopt(peer, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 }, sizeof(struct linger));
	close(peer);
	assert_int_equal(poll(&p, 1, 5000), 1); // its end
	for (int i = 0; i < 4; i++)
		sendmsg(fd, &h, MSG_FASTOPEN | MSG_NOSIGNAL | MSG_DONTWAIT);
	assert_int_equal(accept(w->forbidden, NULL, NULL), -1);
	close(fd);
}

static void test_tells_when_it_is_ready_once(void **state)
{
	struct world *w = *state;
	const struct network_message watch = { .kind = NETWORK_WATCH, .channel = 1, .value = EPOLLIN };
	struct network_message m;
	uint32_t error;
	int fd = connect_to(w, 1, w->granted_port, &error), peer = accept(w->granted, NULL, NULL), none;

	say(w, &watch);
	assert_false(hear(w, &m, &none));
	assert_int_equal(write(peer, "x", 1), 1);
	assert_true(hear(w, &m, &none));
	assert_int_equal(m.kind, NETWORK_READY);
	assert_int_equal(m.value & (EPOLLIN | EPOLLOUT), EPOLLIN);
	assert_int_equal(write(peer, "x", 1), 1);
	assert_false(hear(w, &m, &none)); // not asked again
	say(w, &watch);
	close(peer);
	assert_true(hear(w, &m, &none));
	close(fd);
}

static void test_incoming_as_there_is_room(void **state)
{
	struct world *w = *state;
	const struct network_message listener = {
		.kind = NETWORK_LISTEN, .channel = 1, .value = 1, .cell_port = 80, .flags = OUTSIDE_WANT_V4
	};
	const struct network_message room = { .kind = NETWORK_ROOM, .channel = 1, .value = 1 };
	const struct outside_endpoint e = endpoint(3, w->published_tcp);
	int clients[2], fd;
	struct network_message m;
	union net_sockaddr a;
	socklen_t size = net_to_sockaddr(&e, false, &a);

	say(w, &listener);
	assert_true(hear(w, &m, &fd));
	assert_int_equal(m.kind, NETWORK_OPENED);
	assert_int_equal(m.value, 0);
	for (int i = 0; i < 2; i++) {
		clients[i] = socket(AF_INET, SOCK_STREAM, 0);
		assert_int_equal(connect(clients[i], &a.any, size), 0);
	}
	for (int i = 0; i < 2; i++) {
		assert_true(hear(w, &m, &fd));
		assert_int_equal(m.kind, NETWORK_INCOMING);
		assert_int_equal(m.value, 1);
		assert_true(m.channel >= NETWORK_SERVER);
		assert_int_equal(m.endpoint.port, 80);
		assert_int_equal(m.peer.port, port_of(clients[i]));
		close(fd);
		assert_false(hear(w, &m, &fd));
		say(w, &room);
		close(clients[i]);
	}
}

// More answers than the link holds, and nobody who takes them.
static void test_a_cell_that_does_not_listen_loses_no_answer(void **state)
{
	enum { COUNT = 2000 };
	struct world *w = *state;
	static bool heard[COUNT + 1];
	struct network_message m;
	int fd;

	for (uint32_t i = 1; i <= COUNT; i++) {
		const struct network_message ask = { .kind = NETWORK_CONNECT,
						     .channel = i,
						     .endpoint = endpoint(3, w->forbidden_port) };
		say(w, &ask);
	}
	assert_false(server_has_room(&w->server));
	for (int i = 0; i < COUNT; i++) {
		assert_true(hear(w, &m, &fd));
		assert_int_equal(m.value, ENETUNREACH);
		assert_in_range(m.channel, 1, COUNT);
		assert_false(heard[m.channel]);
		heard[m.channel] = true;
	}
	assert_true(server_step(&w->server, 0));
	assert_int_equal(w->server.cell_count, 0);
}

static void test_datagrams_wait_while_the_link_is_full(void **state)
{
	struct world *w = *state;
	const struct network_message open = {
		.kind = NETWORK_DATAGRAM, .channel = 1, .cell_port = 53, .flags = OUTSIDE_WANT_V4
	};
	const struct outside_endpoint e = endpoint(3, w->published_udp);
	int fd = socket(AF_INET, SOCK_DGRAM, 0), none;
	static char data[1000];
	struct network_message m;
	union net_sockaddr a;
	socklen_t size = net_to_sockaddr(&e, false, &a);
	unsigned heard = 0;

	say(w, &open);
	assert_true(hear(w, &m, &none));
	for (int i = 0; i < 2000; i++) {
		sendto(fd, data, sizeof(data), 0, &a.any, size);
		assert_true(server_step(&w->server, 0));
	}
	assert_false(server_has_room(&w->server));
	assert_true(server_step(&w->server, 0)); // and it does not spin: nothing but the link is watched
	assert_int_equal(w->server.published[1].watch.events, 0);
	while (hear(w, &m, &none))
		heard += m.kind == NETWORK_RECEIVED;
	assert_true(heard > 100);
	sendto(fd, data, 1, 0, &a.any, size);
	assert_true(hear(w, &m, &none));
	assert_int_equal(m.kind, NETWORK_RECEIVED);
	close(fd);
}

static void test_nonsense_ends_the_conversation(void **state)
{
	struct world *w = *state;
	const struct network_message room = { .kind = NETWORK_ROOM, .channel = 1, .value = 1 };
	uint32_t error;
	int fd = connect_to(w, 1, w->granted_port, &error);

	assert_int_equal(send(w->cell, &room, sizeof(room), 0), sizeof(room));
	assert_false(server_step(&w->server, 0));
	assert_non_null(w->server.failure);
	close(fd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_hands_over_what_is_granted),
		TEST(test_refuses_what_is_not),
		TEST(test_a_descriptor_cannot_be_connected_anew),
		TEST(test_tells_when_it_is_ready_once),
		TEST(test_incoming_as_there_is_room),
		TEST(test_a_cell_that_does_not_listen_loses_no_answer),
		TEST(test_datagrams_wait_while_the_link_is_full),
		TEST(test_nonsense_ends_the_conversation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
