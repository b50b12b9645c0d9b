// SPDX-License-Identifier: Apache-2.0
// TCP: connecting, published ports, and telling when a connection that was handed over is ready.
#include "net/server.h"

#include "net/endpoint.h"
#include "net/socket.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#define ACCEPTS_AT_ONCE 16u
#define ENDS            (EPOLLERR | EPOLLHUP)

// ---- connections ----

static void connect_done(struct channel *c)
{
	const int error = net_stream_finish(c->watch.fd, &c->peer, &c->local, &c->peer);

	if (error) {
		watch_close(c->server, &c->watch);
		channel_fail(c, error);
		return;
	}
	watch_set(c->server, &c->watch, 0);
	c->kind = CHANNEL_CONNECTION;
	channel_due(c, DUE_OPENED);
}

// An end is every event that was asked for, and the last one.
static void connection_ready(struct watch *w, uint32_t events)
{
	struct channel *c = container_of(w, struct channel, watch);

	if (c->kind == CHANNEL_CONNECTING) {
		connect_done(c);
		return;
	}
	if (events & ENDS)
		events |= w->events;
	watch_set(c->server, w, w->events & ~events);
	c->ready |= events;
	channel_due(c, DUE_READY);
}

void connection_open(struct channel *c, const struct network_message *m)
{
	bool connected;

	if (!net_rules_admit(&c->server->rules, OUTSIDE_TCP, &m->endpoint)) {
		channel_fail(c, ENETUNREACH);
		return;
	}
	c->watch = (struct watch){ .fd = net_stream_connect(&m->endpoint, &connected), .ready = connection_ready };
	c->peer = m->endpoint;
	if (c->watch.fd < 0)
		channel_fail(c, errno);
	else if (connected)
		connect_done(c);
	else if (!watch_set(c->server, &c->watch, EPOLLOUT))
		channel_fail(c, ENOBUFS);
}

void connection_watch(struct channel *c, uint32_t events)
{
	events &= EPOLLIN | EPOLLOUT | EPOLLRDHUP;
	if (watch_set(c->server, &c->watch, c->watch.events | events))
		return;
	c->ready |= events; // it cannot be watched: let the cell look
	channel_due(c, DUE_READY);
}

void connection_shutdown(struct channel *c, uint32_t how)
{
	if (c->kind == CHANNEL_LISTENER) {
		if (how & NETWORK_SHUT_READ)
			listener_close(c);
		return;
	}
	if (how & NETWORK_SHUT_WRITE)
		shutdown(c->watch.fd, SHUT_WR);
	if (how & NETWORK_SHUT_READ)
		shutdown(c->watch.fd, SHUT_RD);
}

void connection_reset(struct channel *c)
{
	const struct linger none = { .l_onoff = 1 };

	if (c->kind == CHANNEL_CONNECTION)
		setsockopt(c->watch.fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
}

// ---- published ports ----

bool published_suits(const struct published *p, unsigned wants)
{
	return wants & (endpoint_is_v4(p->rule->address) ? OUTSIDE_WANT_V4 : OUTSIDE_WANT_V6);
}

static bool takes(const struct channel *c, const struct published *p)
{
	return published_reaches(p, OUTSIDE_TCP, c->cell_port) && published_suits(p, c->wants);
}

// A listener of the port; with room for another connection if `room`. The first in turn where there are several.
static struct channel *find_listener(struct published *p, bool room)
{
	struct channel *c;

	list_for_each (c, &p->server->listeners, kind_node)
		if (takes(c, p) && (!room || c->room))
			return c;
	return NULL;
}

static void watch_listener(struct published *p)
{
	bool room = find_listener(p, true) && !p->server->exhausted;

	watch_set(p->server, &p->watch, room ? EPOLLIN : 0);
}

static void watch_listeners(struct server *s, uint16_t cell_port)
{
	for (unsigned i = 0; i < s->published_count; i++)
		if (published_reaches(&s->published[i], OUTSIDE_TCP, cell_port))
			watch_listener(&s->published[i]);
}

static uint32_t next_number(struct server *s)
{
	do
		s->next_number++;
	while (channel_find(s, NETWORK_SERVER | s->next_number));
	return NETWORK_SERVER | s->next_number;
}

static void incoming(struct published *p, struct channel *listener, int fd, const struct outside_endpoint *peer)
{
	struct channel *c = channel_create(p->server, next_number(p->server), CHANNEL_CONNECTION);

	if (!c) {
		close(fd);
		return;
	}
	c->watch = (struct watch){ .fd = fd, .ready = connection_ready };
	if (!net_socket_name(fd, &c->local, false))
		c->local = p->local;
	c->local.port = p->rule->cell_port; // the cell's program knows its port by this number
	c->peer = *peer;
	c->listener = listener->number;
	channel_due(c, DUE_INCOMING);
	listener->room--;
	list_remove(&listener->kind_node); // the others' turn
	list_add_tail(&p->server->listeners, &listener->kind_node);
}

// Nothing is accepted that there is no channel or descriptor for: it waits in the host's queue until one is free.
void published_ready(struct watch *w, uint32_t events)
{
	struct published *p = container_of(w, struct published, watch);
	struct server *s = p->server;
	struct channel *listener;

	(void)events;
	for (unsigned i = 0; i < ACCEPTS_AT_ONCE && (listener = find_listener(p, true)); i++) {
		struct outside_endpoint peer;
		int fd = -1;

		s->exhausted = s->own_count >= NETWORK_CHANNELS_MAX;
		if (!s->exhausted) {
			fd = net_stream_accept(w->fd, &peer);
			s->exhausted =
				fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM);
		}
		if (fd < 0)
			break;
		incoming(p, listener, fd, &peer);
	}
	watch_listener(p);
}

void server_relieve(struct server *s)
{
	if (!s->exhausted)
		return;
	s->exhausted = false;
	for (unsigned i = 0; i < s->published_count; i++)
		if (s->published[i].rule->protocol == OUTSIDE_TCP)
			watch_listener(&s->published[i]);
}

// The host's port accepts connections from now on, and only while somebody listens in the cell.
void listener_open(struct channel *c, const struct network_message *m)
{
	struct server *s = c->server;
	int error = EADDRNOTAVAIL;

	c->cell_port = m->cell_port;
	c->wants = m->flags;
	c->room = m->value;
	for (unsigned i = 0; i < s->published_count; i++) {
		if (!takes(c, &s->published[i]))
			continue;
		error = listen(s->published[i].watch.fd, SOMAXCONN) ? errno : 0;
		if (error)
			break;
	}
	if (error) {
		channel_fail(c, error);
		return;
	}
	list_add_tail(&s->listeners, &c->kind_node);
	channel_due(c, DUE_OPENED);
	watch_listeners(s, c->cell_port);
}

void listener_room(struct channel *c, uint32_t more)
{
	c->room += more;
	watch_listeners(c->server, c->cell_port);
}

void listener_close(struct channel *c)
{
	struct server *s = c->server;

	if (list_empty(&c->kind_node)) // it never was one
		return;
	list_remove(&c->kind_node);
	list_init(&c->kind_node);
	for (unsigned i = 0; i < s->published_count; i++) {
		struct published *p = &s->published[i];

		if (!takes(c, p))
			continue;
		watch_listener(p);
		if (!find_listener(p, false))
			shutdown(p->watch.fd, SHUT_RD); // stays bound, refuses again
	}
}
