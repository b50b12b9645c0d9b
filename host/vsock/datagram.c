// SPDX-License-Identifier: Apache-2.0
// UDP: one stream carries the datagrams of one socket of the cell. It stands for a host socket of its own, for what the rules let
// the cell send to, and for the published ones of its port. Those answer only whom they heard from lately.
#include "vsock/service.h"

#include "net/endpoint.h"
#include "net/peers.h"
#include "net/socket.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#define QUEUED_MAX 4096u

struct datagram {
	struct host_socket *socket;
	bool v6;                // of the cell's socket, and of ours
	struct net_peers peers; // that published ports have heard from
};

static char buffer[sizeof(struct outside_datagram) + OUTSIDE_DATAGRAM_MAX]; // one thread

// ---- to the cell ----

static void send_record(struct host_socket *h, enum outside_datagram_kind kind, int error,
			const struct outside_endpoint *e)
{
	struct outside_datagram r = { .kind = (uint16_t)kind, .error = (uint16_t)error };

	if (kind == OUTSIDE_ERROR && h->stream->out) // something is on its way: an error may be lost, as in the network
		return;
	if (e)
		r.endpoint = *e;
	stream_send(h->stream, &r, sizeof(r));
}

// Reads one datagram. False: none.
static bool receive(struct host_socket *h, int fd, struct published *through)
{
	struct outside_datagram *r = (struct outside_datagram *)buffer;
	union net_sockaddr a;
	socklen_t size = sizeof(a);
	ssize_t n = recvfrom(fd, buffer + sizeof(*r), OUTSIDE_DATAGRAM_MAX, 0, &a.any, &size);

	if (n < 0) {
		if (errno == EAGAIN)
			return false;
		send_record(h, OUTSIDE_ERROR, errno, NULL);
		return true;
	}
	*r = (struct outside_datagram){ .size_bytes = (uint32_t)n,
					.kind = OUTSIDE_DATA,
					.endpoint = net_from_sockaddr(&a) };
	if (through)
		net_peers_note(&h->datagram->peers, &r->endpoint, through);
	else if (!net_rules_admit(&service_of(h->stream)->rules, OUTSIDE_UDP, &r->endpoint))
		return true; // not from anybody it may talk to
	stream_send(h->stream, buffer, sizeof(*r) + (size_t)n);
	return true;
}

static bool may_receive(const struct host_socket *h)
{
	const struct stream *s = h->stream;

	return s->state == STREAM_OPEN && !s->out && !s->ended && !s->cell_deaf && stream_credit(s);
}

static void own_ready(struct watch *w, uint32_t events)
{
	struct host_socket *h = container_of(w, struct host_socket, watch);

	(void)events;
	if (may_receive(h))
		receive(h, w->fd, NULL);
	datagram_update(h);
}

void datagram_published(struct published *p)
{
	if (p->datagram && may_receive(p->datagram->socket))
		receive(p->datagram->socket, p->watch.fd, p);
	if (p->datagram)
		datagram_update(p->datagram->socket);
	else
		watch_set(&p->service->device, &p->watch, 0);
}

void datagram_update(struct host_socket *h)
{
	struct service *service = service_of(h->stream);
	uint32_t events = may_receive(h) ? EPOLLIN : 0;

	if (!h->datagram)
		return;
	watch_set(h->stream->device, &h->watch, events);
	for (unsigned i = 0; i < service->published_count; i++)
		if (service->published[i].datagram == h->datagram)
			watch_set(h->stream->device, &service->published[i].watch, events);
}

// ---- from the cell ----

static void send_data(struct host_socket *h, const struct outside_datagram *r, const char *data)
{
	struct net_peer *p = net_peers_find(&h->datagram->peers, &r->endpoint);
	struct published *through = p ? p->through : NULL;
	int fd = p ? through->watch.fd : h->watch.fd;
	bool v6 = p ? !endpoint_is_v4(through->rule->address) : h->datagram->v6;
	union net_sockaddr a;
	socklen_t size = net_to_sockaddr(&r->endpoint, v6, &a);

	if (!p && !net_rules_admit(&service_of(h->stream)->rules, OUTSIDE_UDP, &r->endpoint)) {
		send_record(h, OUTSIDE_ERROR, ENETUNREACH, NULL);
		return;
	}
	if (p)
		net_peers_use(&h->datagram->peers, p);
	if (sendto(fd, data, r->size_bytes, MSG_NOSIGNAL, &a.any, size) < 0 && errno != EAGAIN)
		send_record(h, OUTSIDE_ERROR, errno, NULL);
}

static void set_target(struct host_socket *h, const struct outside_endpoint *to)
{
	struct net_peer *p = net_peers_find(&h->datagram->peers, to);
	const bool granted = !to->port || net_rules_admit(&service_of(h->stream)->rules, OUTSIDE_UDP, to);
	struct outside_endpoint local = { 0 };
	int error = 0;

	if (p) { // it stays the published socket
		send_record(h, OUTSIDE_NAME, 0, &((struct published *)p->through)->local);
		return;
	}
	if (!granted)
		error = ENETUNREACH;
	else if (!net_datagram_target(h->watch.fd, h->datagram->v6, to) || !net_socket_name(h->watch.fd, &local, false))
		error = errno;
	send_record(h, OUTSIDE_NAME, error, &local);
}

void datagram_input(struct host_socket *h)
{
	struct outside_datagram r;

	// While answers wait, so do requests.
	while (stream_queued(h->stream) < QUEUED_MAX && stream_peek(h->stream, 0, &r, sizeof(r))) {
		if (r.size_bytes > OUTSIDE_DATAGRAM_MAX || (r.kind != OUTSIDE_DATA && r.size_bytes)) {
			stream_reset(h->stream);
			return;
		}
		if (!stream_peek(h->stream, sizeof(r), buffer, r.size_bytes))
			return;
		stream_drop(h->stream, (uint32_t)sizeof(r) + r.size_bytes);
		if (r.kind == OUTSIDE_DATA)
			send_data(h, &r, buffer);
		else if (r.kind == OUTSIDE_TARGET)
			set_target(h, &r.endpoint);
	}
}

// ---- life ----

void datagram_open(struct host_socket *h, const struct outside_request *r)
{
	struct service *service = service_of(h->stream);
	struct datagram *g = calloc(1, sizeof(*g));
	struct outside_endpoint local = { 0 };

	if (!g)
		abort();
	g->socket = h;
	g->v6 = r->flags & OUTSIDE_WANT_V6;
	h->watch = (struct watch){ .fd = net_datagram_create(g->v6), .ready = own_ready };
	if (h->watch.fd < 0 || !net_socket_name(h->watch.fd, &local, false)) {
		free(g);
		host_socket_reply(h, ENOBUFS, NULL, NULL);
		return;
	}
	h->datagram = g;
	h->kind = SOCKET_DATAGRAM;
	for (unsigned i = 0; i < service->published_count && r->cell_port; i++) {
		struct published *p = &service->published[i];
		bool v4 = endpoint_is_v4(p->rule->address);

		if (p->rule->protocol == OUTSIDE_UDP && p->rule->cell_port == r->cell_port && !p->datagram &&
		    r->flags & (v4 ? OUTSIDE_WANT_V4 : OUTSIDE_WANT_V6))
			p->datagram = g;
	}
	host_socket_reply(h, 0, &local, NULL);
	datagram_input(h);
}

void datagram_closed(struct host_socket *h)
{
	struct service *service = service_of(h->stream);

	for (unsigned i = 0; i < service->published_count; i++) {
		struct published *p = &service->published[i];

		if (p->datagram != h->datagram)
			continue;
		p->datagram = NULL;
		watch_set(&service->device, &p->watch, 0);
	}
	free(h->datagram);
	h->datagram = NULL;
}
