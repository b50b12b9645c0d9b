// SPDX-License-Identifier: Apache-2.0
// TCP: connecting, listening, passing bytes on. And which request makes what of a stream.
#include "vsock/service.h"

#include "net/endpoint.h"
#include "net/socket.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#define READS_AT_ONCE   8u
#define ACCEPTS_AT_ONCE 16u

static void update(struct host_socket *h);

struct host_socket *host_socket_create(void)
{
	struct host_socket *h = calloc(1, sizeof(*h));

	if (!h)
		abort();
	h->watch.fd = -1;
	return h;
}

void host_socket_reply(struct host_socket *h, int error, const struct outside_endpoint *local,
		       const struct outside_endpoint *peer)
{
	struct outside_reply r = { .error = error };

	if (local)
		r.local = *local;
	if (peer)
		r.peer = *peer;
	stream_send(h->stream, &r, sizeof(r));
	if (!error)
		return;
	h->kind = SOCKET_OVER;
	stream_end(h->stream);
}

// ---- a TCP connection ----

// A broken connection is a reset on both sides; a close with both directions done, the end.
static void finish(struct host_socket *h)
{
	watch_close(h->stream->device, &h->watch);
	h->kind = SOCKET_OVER;
	stream_reset(h->stream);
}

// Both directions are over for the cell, and nothing is left to pass on.
static bool over(const struct host_socket *h)
{
	return h->stream->cell_ended && h->stream->cell_deaf && !h->stream->in.used;
}

static void relay_to_host(struct host_socket *h)
{
	struct stream *s = h->stream;
	struct iovec v[2];
	unsigned count;

	while ((count = stream_input(s, v)) != 0) {
		struct msghdr m = { .msg_iov = v, .msg_iovlen = count };
		ssize_t n = sendmsg(h->watch.fd, &m, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			finish(h);
			return;
		}
		stream_drop(s, (uint32_t)n);
	}
	if (s->cell_ended && !h->write_ended) {
		h->write_ended = true;
		shutdown(h->watch.fd, SHUT_WR);
	}
	if (over(h))
		finish(h);
}

static void relay_to_cell(struct host_socket *h)
{
	for (unsigned i = 0; i < READS_AT_ONCE && !h->stream->ended; i++) {
		ssize_t n = stream_send_from(h->stream, h->watch.fd);

		if (n < 0) {
			if (errno != EAGAIN)
				finish(h);
			return;
		}
		if (n == 0)
			stream_end(h->stream);
	}
}

static size_t relay_take(struct host_socket *h, const struct iovec *v, unsigned count)
{
	struct msghdr m = { .msg_iov = (struct iovec *)v, .msg_iovlen = count };
	ssize_t n = sendmsg(h->watch.fd, &m, MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN)
		finish(h);
	return n > 0 ? (size_t)n : 0;
}

static void connect_done(struct host_socket *h)
{
	struct outside_endpoint local = { 0 }, peer = { 0 };
	socklen_t size = sizeof(int);
	int error = 0;

	if (getsockopt(h->watch.fd, SOL_SOCKET, SO_ERROR, &error, &size))
		error = errno;
	if (!error && (!net_socket_name(h->watch.fd, &local, false) || !net_socket_name(h->watch.fd, &peer, true)))
		error = errno;
	if (error)
		watch_close(h->stream->device, &h->watch);
	else
		h->kind = SOCKET_RELAY;
	host_socket_reply(h, error, &local, &peer);
}

static void socket_ready(struct watch *w, uint32_t events)
{
	struct host_socket *h = container_of(w, struct host_socket, watch);

	if (h->stream->state == STREAM_DEAD)
		return;
	if (h->kind == SOCKET_CONNECTING) {
		connect_done(h);
	} else if (h->kind == SOCKET_RELAY) {
		if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && w->events & EPOLLIN)
			relay_to_cell(h);
		if (h->kind == SOCKET_RELAY && events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
			relay_to_host(h);
	}
	if (h->kind == SOCKET_RELAY && events & EPOLLERR && h->stream->ended)
		finish(h); // nobody would read it
	update(h);
}

static void open_connection(struct host_socket *h, const struct outside_request *r)
{
	bool connected;
	int fd;

	if (!net_rules_admit(&service_of(h->stream)->rules, OUTSIDE_TCP, &r->to)) {
		host_socket_reply(h, ENETUNREACH, NULL, NULL);
		return;
	}
	fd = net_stream_connect(&r->to, &connected);
	if (fd < 0) {
		host_socket_reply(h, errno, NULL, NULL);
		return;
	}
	h->watch = (struct watch){ .fd = fd, .ready = socket_ready };
	h->kind = SOCKET_CONNECTING;
	if (connected)
		connect_done(h);
}

// ---- published ports ----

static bool reaches(const struct published *p, enum outside_protocol protocol, uint16_t cell_port)
{
	return p->rule->protocol == protocol && p->rule->cell_port == cell_port;
}

// Its peers must be such that the cell's socket can name them.
static bool takes(const struct host_socket *h, const struct published *p)
{
	return reaches(p, OUTSIDE_TCP, h->cell_port) &&
	       h->wants & (endpoint_is_v4(p->rule->address) ? OUTSIDE_WANT_V4 : OUTSIDE_WANT_V6);
}

// A listener of the port; with room for another connection if `room`. The first in turn where there are several.
static struct host_socket *find_listener(struct published *p, bool room)
{
	struct host_socket *h;

	list_for_each (h, &p->service->listeners, listener_node)
		if (takes(h, p) && (!room || h->room))
			return h;
	return NULL;
}

static void watch_listener(struct published *p)
{
	bool room = find_listener(p, true) && !p->service->exhausted;

	watch_set(&p->service->device, &p->watch, room ? EPOLLIN : 0);
}

static void watch_listeners(struct service *service, uint16_t cell_port)
{
	for (unsigned i = 0; i < service->published_count; i++)
		if (reaches(&service->published[i], OUTSIDE_TCP, cell_port))
			watch_listener(&service->published[i]);
}

// The cell did not take a connection: its place at the listener is free again.
static void return_room(struct host_socket *h)
{
	struct stream *s = stream_find(h->stream->device, h->incoming.listener, OUTSIDE_PORT);
	struct host_socket *listener = s ? s->user : NULL;

	if (!listener || listener->kind != SOCKET_LISTENER)
		return;
	listener->room++;
	watch_listeners(service_of(h->stream), listener->cell_port);
}

static void incoming(struct published *p, struct host_socket *listener, int fd, const struct outside_endpoint *peer)
{
	struct host_socket *h = host_socket_create();

	h->watch = (struct watch){ .fd = fd, .ready = socket_ready };
	h->kind = SOCKET_INCOMING;
	h->incoming.listener = listener->stream->cell_port;
	if (!net_socket_name(fd, &h->incoming.local, false))
		h->incoming.local = p->local;
	h->incoming.local.port = p->rule->cell_port; // the cell's program knows its port by this number
	h->incoming.peer = *peer;
	h->stream = stream_open(&p->service->device, OUTSIDE_PORT, h);
	if (!h->stream) {
		close(fd);
		free(h);
		return;
	}
	listener->room--;
	list_remove(&listener->listener_node); // the others' turn
	list_add_tail(&p->service->listeners, &listener->listener_node);
}

// Nothing is accepted that there is no stream or descriptor for: it waits in the host's queue until one is free.
static void accept_some(struct published *p)
{
	for (unsigned i = 0; i < ACCEPTS_AT_ONCE; i++) {
		struct host_socket *listener = find_listener(p, true);
		struct outside_endpoint peer;
		int fd;

		if (!listener)
			return;
		p->service->exhausted = p->service->device.stream_count >= STREAMS_MAX;
		if (p->service->exhausted)
			return;
		fd = net_stream_accept(p->watch.fd, &peer);
		p->service->exhausted =
			fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM);
		if (fd < 0)
			return;
		incoming(p, listener, fd, &peer);
	}
}

static void published_ready(struct watch *w, uint32_t events)
{
	struct published *p = container_of(w, struct published, watch);

	(void)events;
	if (p->rule->protocol == OUTSIDE_UDP) {
		datagram_published(p);
		return;
	}
	accept_some(p);
	watch_listener(p);
}

// Something was closed that others may be waiting for.
static void relieve(struct service *service)
{
	if (!service->exhausted)
		return;
	service->exhausted = false;
	for (unsigned i = 0; i < service->published_count; i++)
		if (service->published[i].rule->protocol == OUTSIDE_TCP)
			watch_listener(&service->published[i]);
}

// The host's port accepts connections from now on, and only while somebody listens in the cell.
static void open_listener(struct host_socket *h, const struct outside_request *r)
{
	struct service *service = service_of(h->stream);
	int error = EADDRNOTAVAIL;

	h->cell_port = r->cell_port;
	h->room = r->room;
	h->wants = r->flags;
	for (unsigned i = 0; i < service->published_count; i++) {
		if (!takes(h, &service->published[i]))
			continue;
		error = listen(service->published[i].watch.fd, SOMAXCONN) ? errno : 0;
		if (error)
			break;
	}
	if (!error) {
		h->kind = SOCKET_LISTENER;
		list_add_tail(&service->listeners, &h->listener_node);
	}
	host_socket_reply(h, error, NULL, NULL);
	watch_listeners(service, r->cell_port);
}

static void listener_closed(struct host_socket *h)
{
	struct service *service = service_of(h->stream);

	h->kind = SOCKET_OVER;
	list_remove(&h->listener_node);
	for (unsigned i = 0; i < service->published_count; i++) {
		struct published *p = &service->published[i];

		if (!takes(h, p))
			continue;
		watch_listener(p);
		if (!find_listener(p, false))
			shutdown(p->watch.fd, SHUT_RD); // stays bound, refuses again
	}
}

static void listener_input(struct host_socket *h)
{
	struct outside_room room;

	while (stream_peek(h->stream, 0, &room, sizeof(room))) {
		stream_drop(h->stream, sizeof(room));
		h->room += room.more;
	}
	if (h->stream->cell_ended)
		listener_closed(h);
	else
		watch_listeners(service_of(h->stream), h->cell_port);
}

// ---- streams ----

static void update(struct host_socket *h)
{
	struct stream *s = h->stream;
	uint32_t events = 0;

	if (s->state == STREAM_DEAD)
		return;
	if (h->kind == SOCKET_CONNECTING) {
		events = EPOLLOUT;
	} else if (h->kind == SOCKET_RELAY) {
		if (!s->ended && !s->cell_deaf && !s->out && stream_credit(s))
			events |= EPOLLIN;
		if (s->in.used)
			events |= EPOLLOUT;
	} else if (h->kind == SOCKET_DATAGRAM) {
		datagram_update(h);
		return;
	}
	watch_set(s->device, &h->watch, events);
}

static void first_request(struct host_socket *h)
{
	struct outside_request r;

	if (!stream_peek(h->stream, 0, &r, sizeof(r))) {
		if (h->stream->cell_ended)
			finish(h);
		return;
	}
	stream_drop(h->stream, sizeof(r));
	switch (r.operation) {
	case OUTSIDE_CONNECT: open_connection(h, &r); break;
	case OUTSIDE_LISTEN: open_listener(h, &r); break;
	case OUTSIDE_DATAGRAM: datagram_open(h, &r); break;
	default: host_socket_reply(h, EOPNOTSUPP, NULL, NULL); break;
	}
}

static void on_input(struct stream *s)
{
	struct host_socket *h = s->user;

	if (s->state == STREAM_DEAD)
		return;
	if (h->kind == SOCKET_NEW)
		first_request(h);
	else if (h->kind == SOCKET_RELAY)
		relay_to_host(h);
	else if (h->kind == SOCKET_LISTENER)
		listener_input(h);
	else if (h->kind == SOCKET_DATAGRAM && !s->cell_ended)
		datagram_input(h);
	if (h->kind == SOCKET_OVER || (s->cell_ended && h->kind != SOCKET_RELAY)) {
		if (s->in.used)
			stream_drop(s, s->in.used);
		if (s->cell_ended)
			finish(h);
	}
	update(h);
}

static bool on_accept(struct device *d, struct stream *s)
{
	struct host_socket *h;

	(void)d;
	if (s->host_port != OUTSIDE_PORT)
		return false;
	h = host_socket_create();
	h->stream = s;
	s->user = h;
	return true;
}

static void on_opened(struct stream *s)
{
	struct host_socket *h = s->user;

	stream_send(s, &h->incoming, sizeof(h->incoming));
	h->kind = SOCKET_RELAY;
	update(h);
}

static size_t on_take(struct stream *s, const struct iovec *v, unsigned count, size_t bytes)
{
	struct host_socket *h = s->user;

	if (h->kind == SOCKET_OVER)
		return bytes;
	return h->kind == SOCKET_RELAY ? relay_take(h, v, count) : 0;
}

static void on_output(struct stream *s)
{
	struct host_socket *h = s->user;

	if (h->kind == SOCKET_DATAGRAM && s->in.used)
		datagram_input(h);
	update(h);
}

static void on_closed(struct stream *s)
{
	struct host_socket *h = s->user;

	if (!h)
		return;
	if (h->kind == SOCKET_INCOMING)
		return_room(h);
	if (h->kind == SOCKET_LISTENER)
		listener_closed(h);
	if (h->datagram)
		datagram_closed(h);
	if (h->kind == SOCKET_RELAY) // the cell let go before the end: so do we
		setsockopt(h->watch.fd, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 }, sizeof(struct linger));
	watch_close(s->device, &h->watch);
	h->kind = SOCKET_OVER;
	relieve(service_of(s));
}

static const struct service_ops ops = {
	.accept = on_accept,
	.opened = on_opened,
	.take = on_take,
	.input = on_input,
	.output = on_output,
	.closed = on_closed,
};

bool service_init(struct service *s, int vhost_fd, uint64_t cid, const struct net_rules *rules, const int *sockets)
{
	*s = (struct service){ .rules = *rules };
	list_init(&s->listeners);
	for (unsigned i = 0; i < rules->count; i++) {
		struct published *p = &s->published[s->published_count];

		if (s->rules.list[i].kind != OUTSIDE_RULE_PUBLISH)
			continue;
		*p = (struct published){ .watch = { .fd = sockets[s->published_count], .ready = published_ready },
					 .rule = &s->rules.list[i],
					 .service = s };
		if (!net_socket_name(p->watch.fd, &p->local, false))
			return false;
		p->local.port = p->rule->cell_port;
		s->published_count++;
	}
	return device_init(&s->device, vhost_fd, cid, &ops, s);
}

void service_fini(struct service *s)
{
	device_fini(&s->device);
	for (unsigned i = 0; i < s->published_count; i++)
		close(s->published[i].watch.fd);
}
