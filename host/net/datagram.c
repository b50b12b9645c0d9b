// SPDX-License-Identifier: Apache-2.0
// UDP: a channel stands for a host socket of its own, for what the rules let the cell send to, and for the published ones of its
// port. Those answer only whom they heard from lately. Each datagram is checked. What the link or the host has no room for is
// lost, as in any network.
#include "net/server.h"

#include "net/endpoint.h"
#include "net/socket.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#define DATAGRAMS_AT_ONCE 16u

static char buffer[OUTSIDE_DATAGRAM_MAX]; // one thread

static void note_error(struct channel *c, int error)
{
	c->datagram->error = error;
	channel_due(c, DUE_ERROR);
}

// ---- to the cell ----

// One datagram. False: none, or there is no room for more.
static bool receive(struct channel *c, int fd, struct published *through)
{
	struct network_message m = { .kind = NETWORK_RECEIVED, .channel = c->number };
	union net_sockaddr a;
	socklen_t size = sizeof(a);
	ssize_t n = recvfrom(fd, buffer, sizeof(buffer), 0, &a.any, &size);

	if (n < 0) {
		if (errno != EAGAIN)
			note_error(c, errno);
		return false;
	}
	m.endpoint = net_from_sockaddr(&a);
	if (through)
		net_peers_note(&c->datagram->peers, &m.endpoint, through);
	else if (!net_rules_admit(&c->server->rules, OUTSIDE_UDP, &m.endpoint))
		return true; // not from anybody it may talk to
	return server_send(c->server, &m, buffer, (size_t)n, -1);
}

static void watch_all(struct channel *c, uint32_t events)
{
	struct server *s = c->server;

	watch_set(s, &c->watch, events);
	for (unsigned i = 0; i < s->published_count; i++)
		if (s->published[i].datagram == c)
			watch_set(s, &s->published[i].watch, events);
}

// While the link is full, datagrams wait in the host.
static void receive_some(struct channel *c, int fd, struct published *through)
{
	for (unsigned i = 0; i < DATAGRAMS_AT_ONCE && server_has_room(c->server); i++)
		if (!receive(c, fd, through))
			break;
	if (server_has_room(c->server))
		return;
	watch_all(c, 0);
	list_remove(&c->kind_node);
	list_add_tail(&c->server->paused, &c->kind_node);
}

static void own_ready(struct watch *w, uint32_t events)
{
	(void)events;
	receive_some(container_of(w, struct channel, watch), w->fd, NULL);
}

void datagram_published(struct watch *w, uint32_t events)
{
	struct published *p = container_of(w, struct published, watch);

	(void)events;
	if (p->datagram)
		receive_some(p->datagram, w->fd, p);
}

void datagram_resume(struct server *s)
{
	while (!list_empty(&s->paused)) {
		struct channel *c = list_first(&s->paused, struct channel, kind_node);

		list_remove(&c->kind_node);
		list_init(&c->kind_node);
		watch_all(c, EPOLLIN);
	}
}

// ---- from the cell ----

void datagram_send(struct channel *c, const struct outside_endpoint *to, const void *data, size_t size)
{
	struct net_peer *p = net_peers_find(&c->datagram->peers, to);
	struct published *through = p ? p->through : NULL;
	int fd = p ? through->watch.fd : c->watch.fd;
	bool v6 = p ? !endpoint_is_v4(through->rule->address) : c->datagram->v6;
	union net_sockaddr a;
	socklen_t address_size = net_to_sockaddr(to, v6, &a);

	if (!p && !net_rules_admit(&c->server->rules, OUTSIDE_UDP, to)) {
		note_error(c, ENETUNREACH);
		return;
	}
	if (p)
		net_peers_use(&c->datagram->peers, p);
	if (sendto(fd, data, size, MSG_NOSIGNAL, &a.any, address_size) < 0 && errno != EAGAIN)
		note_error(c, errno);
}

void datagram_target(struct channel *c, const struct outside_endpoint *to)
{
	struct datagram *g = c->datagram;
	struct net_peer *p = net_peers_find(&g->peers, to);

	g->target_error = 0;
	if (p) // it stays the published socket
		g->target_local = ((struct published *)p->through)->local;
	else if (to->port && !net_rules_admit(&c->server->rules, OUTSIDE_UDP, to))
		g->target_error = ENETUNREACH;
	else if (!net_datagram_target(c->watch.fd, g->v6, to) || !net_socket_name(c->watch.fd, &g->target_local, false))
		g->target_error = errno;
	channel_due(c, DUE_TARGETED);
}

// ---- life ----

void datagram_open(struct channel *c, const struct network_message *m)
{
	struct server *s = c->server;
	struct datagram *g = c->datagram = calloc(1, sizeof(*g));

	if (!g) {
		channel_fail(c, ENOBUFS);
		return;
	}
	g->v6 = m->flags & OUTSIDE_WANT_V6;
	c->watch = (struct watch){ .fd = net_datagram_create(g->v6), .ready = own_ready };
	if (c->watch.fd < 0 || !net_socket_name(c->watch.fd, &c->local, false)) {
		channel_fail(c, ENOBUFS);
		return;
	}
	for (unsigned i = 0; i < s->published_count && m->cell_port; i++) {
		struct published *p = &s->published[i];

		if (published_reaches(p, OUTSIDE_UDP, m->cell_port) && published_suits(p, m->flags) && !p->datagram)
			p->datagram = c;
	}
	channel_due(c, DUE_OPENED);
	watch_all(c, EPOLLIN);
}

void datagram_close(struct channel *c)
{
	struct server *s = c->server;

	list_remove(&c->kind_node);
	for (unsigned i = 0; i < s->published_count; i++) {
		struct published *p = &s->published[i];

		if (p->datagram != c)
			continue;
		p->datagram = NULL;
		watch_set(s, &p->watch, 0);
	}
}
