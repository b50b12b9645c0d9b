// SPDX-License-Identifier: Apache-2.0
// The backend of kernel/outside.h: what is asked of the server, and what becomes of its answers.
#include "kernel/outside.h"

#include "lib/string.h"
#include "network.h"
#include "port/host.h"

static int positive_errno(uint32_t error) { return !error ? 0 : error < 4096 ? (int)error : EIO; }

// ---- from the server ----

// Takes the descriptor.
static void take_opened(struct network_channel *n, const struct network_message *m, int *fd)
{
	int error = positive_errno(m->value);

	if (__atomic_load_n(&n->channel.answered, __ATOMIC_ACQUIRE))
		return;
	if (!error && n->kind == NETWORK_IS_CONNECTION) {
		if (*fd < 0)
			error = ENOBUFS; // this process's table has no room for it
		n->fd = *fd;
		*fd = -1;
	}
	n->channel.local = m->endpoint;
	n->channel.peer = m->peer;
	net_channel_connected(&n->channel, error);
}

static struct network_channel *find_listener(uint32_t number)
{
	struct network_channel *n = network_channel_find(number);

	if (!n || n->kind == NETWORK_IS_LISTENER)
		return n;
	net_channel_put(&n->channel);
	return NULL;
}

static bool enter(struct network_channel *listener, struct network_channel *n)
{
	net_channel_get(&n->channel); // the socket's
	if (!net_channel_incoming(&listener->channel, &n->channel))
		return true;
	net_channel_put(&n->channel);
	return false;
}

// A connection to a published port. The reference of its making is given up here: the table and the socket have theirs.
static void take_incoming(const struct network_message *m, int *fd)
{
	const struct network_message refusal = { .kind = NETWORK_CLOSE, .channel = m->channel, .value = 1 };
	struct network_channel *listener = find_listener(m->value);
	struct network_channel *n = NULL;
	bool entered = false;

	if (m->channel >= NETWORK_SERVER && listener && *fd >= 0)
		n = network_channel_create(NETWORK_IS_CONNECTION);
	if (n && network_channel_add(n, m->channel)) {
		n->fd = *fd;
		*fd = -1;
		n->channel.local = m->endpoint;
		n->channel.peer = m->peer;
		n->channel.answered = true;
		entered = enter(listener, n);
		if (!entered)
			network_channel_remove(n);
	}
	if (n)
		net_channel_put(&n->channel);
	if (!entered)
		network_tell(&refusal);
	if (listener && !entered) // its place is free again
		listener->channel.ops->accepted(&listener->channel);
	if (listener)
		net_channel_put(&listener->channel);
}

static void take_targeted(struct network_channel *n, const struct network_message *m)
{
	if (!__atomic_exchange_n(&n->targeting, false, __ATOMIC_ACQ_REL))
		return;
	n->channel.local = m->endpoint;
	net_channel_connected(&n->channel, positive_errno(m->value));
}

static void take_ready(struct network_channel *n, uint32_t events)
{
	__atomic_fetch_and(&n->watched, ~events, __ATOMIC_SEQ_CST);
	if (events & (EPOLLERR | EPOLLHUP))
		events = 0; // all who wait
	else
		events |= (events & EPOLLIN ? EPOLLRDNORM : 0) | (events & EPOLLOUT ? EPOLLWRNORM : 0);
	net_channel_changed(&n->channel, events);
}

static void take_datagram_word(struct network_channel *n, const struct network_message *m, const void *data,
			       size_t size)
{
	switch (m->kind) {
	case NETWORK_RECEIVED: network_datagram_take(n, m, data, size); break;
	case NETWORK_TARGETED: take_targeted(n, m); break;
	case NETWORK_ERROR: net_channel_datagram_error(&n->channel, positive_errno(m->value)); break;
	}
}

static void take_word(const struct network_message *m, const void *data, size_t size, int *fd)
{
	struct network_channel *n;

	if (m->kind == NETWORK_INCOMING) {
		take_incoming(m, fd);
		return;
	}
	n = network_channel_find(m->channel);
	if (!n)
		return; // its socket is gone
	if (m->kind == NETWORK_OPENED)
		take_opened(n, m, fd);
	else if (n->kind == NETWORK_IS_DATAGRAM)
		take_datagram_word(n, m, data, size);
	else if (m->kind == NETWORK_READY && n->kind == NETWORK_IS_CONNECTION)
		take_ready(n, m->value);
	net_channel_put(&n->channel);
}

void network_take(const void *message, size_t size, int fd)
{
	struct network_message m;

	if (size >= sizeof(m)) {
		memcpy(&m, message, sizeof(m));
		take_word(&m, (const char *)message + sizeof(m), size - sizeof(m), &fd);
	}
	if (fd >= 0)
		port_file_close(fd);
}

// ---- to the server ----

static struct net_channel *outside_create(void)
{
	struct network_channel *n = network_channel_create(NETWORK_IS_CONNECTION);

	return n ? &n->channel : err_ptr(-ENOBUFS);
}

static int outside_begin(struct net_channel *c, const struct outside_request *r)
{
	struct network_channel *n = network_channel_of(c);
	struct network_message m = {
		.flags = r->flags, .value = r->room, .cell_port = r->cell_port, .endpoint = r->to
	};
	int error;

	switch (r->operation) {
	case OUTSIDE_LISTEN:
		m.kind = NETWORK_LISTEN;
		n->kind = NETWORK_IS_LISTENER;
		break;
	case OUTSIDE_DATAGRAM:
		m.kind = NETWORK_DATAGRAM;
		n->kind = NETWORK_IS_DATAGRAM;
		break;
	default: m.kind = NETWORK_CONNECT;
	}
	if (!network_channel_add(n, 0))
		return -ENOBUFS;
	m.channel = n->number;
	error = network_ask(&m, NULL, 0);
	return error == -EINTR ? -ERESTARTSYS : error;
}

static const struct outside_backend backend = { .create = outside_create, .begin = outside_begin };

void network_outside_start(void) { outside_register(&backend); }
