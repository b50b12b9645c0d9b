// SPDX-License-Identifier: Apache-2.0
// Sources: abi/network.h; unix(7), epoll(7).
#include "net/server.h"

#include "net/endpoint.h"
#include "net/socket.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS_AT_ONCE   64
#define MESSAGES_AT_ONCE 64u

static char buffer[NETWORK_MESSAGE_MAX_BYTES + 1]; // one thread

// ---- descriptors ----

bool watch_set(struct server *s, struct watch *w, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.ptr = w };
	const int operation = !w->events ? EPOLL_CTL_ADD : events ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;

	if (w->fd < 0 || events == w->events)
		return true;
	if (epoll_ctl(s->epoll, operation, w->fd, &e))
		return false;
	w->events = events;
	return true;
}

void watch_close(struct server *s, struct watch *w)
{
	if (w->fd < 0)
		return;
	watch_set(s, w, 0);
	close(w->fd);
	w->fd = -1;
}

// ---- to the cell ----

void server_refuse(struct server *s, const char *why)
{
	s->failure = why;
	s->ended = true;
}

bool server_has_room(const struct server *s) { return !(s->link.events & EPOLLOUT); }

bool server_send(struct server *s, const struct network_message *m, const void *data, size_t size, int fd)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .header = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct iovec v[2] = { { (void *)m, sizeof(*m) }, { (void *)data, size } };
	struct msghdr h = { .msg_iov = v, .msg_iovlen = size ? 2 : 1 };

	if (fd >= 0) {
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
		h.msg_control = &control;
		h.msg_controllen = sizeof(control);
	}
	if (sendmsg(s->link.fd, &h, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
		return true;
	if (errno == EAGAIN)
		watch_set(s, &s->link, EPOLLIN | EPOLLOUT);
	return false;
}

// What a channel's message of one kind says.
static struct network_message message_of(const struct channel *c, unsigned due)
{
	struct network_message m = { .channel = c->number };

	switch (due) {
	case DUE_INCOMING:
		m.kind = NETWORK_INCOMING;
		m.value = c->listener;
		break;
	case DUE_OPENED:
		m.kind = NETWORK_OPENED;
		m.value = c->error;
		break;
	case DUE_TARGETED:
		m.kind = NETWORK_TARGETED;
		m.value = (uint32_t)c->datagram->target_error;
		m.endpoint = c->datagram->target_local;
		return m;
	case DUE_ERROR:
		m.kind = NETWORK_ERROR;
		m.value = (uint32_t)c->datagram->error;
		return m;
	default:
		m.kind = NETWORK_READY;
		m.value = c->ready;
		return m;
	}
	m.endpoint = c->local;
	m.peer = c->peer;
	return m;
}

static bool send_one(struct channel *c, unsigned due, int fd)
{
	const struct network_message m = message_of(c, due);

	if (!server_send(c->server, &m, NULL, 0, fd))
		return false;
	c->due &= ~due;
	return true;
}

// The connection, with the message that says so. False: not now. When the host lets no more descriptors lie in the cell's socket, it
// ends.
static bool hand_over(struct channel *c, unsigned due)
{
	if (send_one(c, due, c->watch.fd))
		return true;
	if (errno == EAGAIN)
		return false;
	watch_close(c->server, &c->watch);
	c->error = ENOBUFS;
	return true;
}

// Everything that is due of a channel, which may be gone then. False: the link is full.
static bool flush_channel(struct channel *c)
{
	static const unsigned rest[] = { DUE_TARGETED, DUE_ERROR, DUE_READY };

	if (c->due & DUE_INCOMING && !hand_over(c, DUE_INCOMING))
		return false;
	if (c->due & DUE_OPENED && c->kind == CHANNEL_CONNECTION && !hand_over(c, DUE_OPENED))
		return false;
	if (c->due & DUE_OPENED && !send_one(c, DUE_OPENED, -1))
		return false;
	if (c->error) {
		channel_destroy(c);
		return true;
	}
	for (size_t i = 0; i < sizeof(rest) / sizeof(*rest); i++)
		if (c->due & rest[i] && !send_one(c, rest[i], -1))
			return false;
	c->ready = 0;
	return true;
}

static void flush(struct server *s)
{
	while (!list_empty(&s->due)) {
		struct channel *c = list_first(&s->due, struct channel, due_node);

		list_remove(&c->due_node);
		list_init(&c->due_node);
		if (!flush_channel(c)) {
			list_add(&s->due, &c->due_node);
			return;
		}
	}
}

// ---- channels ----

static struct list *bucket(struct server *s, uint32_t number) { return &s->buckets[number % SERVER_BUCKETS]; }

struct channel *channel_find(struct server *s, uint32_t number)
{
	struct channel *c;

	list_for_each (c, bucket(s, number), node)
		if (c->number == number)
			return c;
	return NULL;
}

static unsigned *count_of(struct server *s, uint32_t number)
{
	return number >= NETWORK_SERVER ? &s->own_count : &s->cell_count;
}

struct channel *channel_create(struct server *s, uint32_t number, enum channel_kind kind)
{
	struct channel *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->watch.fd = -1;
	c->server = s;
	c->number = number;
	c->kind = kind;
	list_init(&c->due_node);
	list_init(&c->kind_node);
	list_add(bucket(s, number), &c->node);
	++*count_of(s, number);
	return c;
}

void channel_due(struct channel *c, unsigned what)
{
	c->due |= what;
	if (list_empty(&c->due_node))
		list_add_tail(&c->server->due, &c->due_node);
}

void channel_fail(struct channel *c, int error)
{
	c->error = (uint32_t)error;
	channel_due(c, DUE_OPENED);
}

// A connection the cell has not heard of leaves its place at the listener.
static void return_room(struct channel *c)
{
	struct channel *listener = c->due & DUE_INCOMING ? channel_find(c->server, c->listener) : NULL;

	if (listener && listener->kind == CHANNEL_LISTENER)
		listener_room(listener, 1);
}

void channel_destroy(struct channel *c)
{
	struct server *s = c->server;

	list_remove(&c->node);
	list_remove(&c->due_node);
	list_add(&s->dead, &c->node);
	--*count_of(s, c->number);
	if (c->kind == CHANNEL_LISTENER)
		listener_close(c);
	if (c->kind == CHANNEL_DATAGRAM)
		datagram_close(c);
	watch_close(s, &c->watch);
	return_room(c);
	server_relieve(s);
}

// When no event can point to them any more.
static void bury(struct server *s)
{
	while (!list_empty(&s->dead)) {
		struct channel *c = list_first(&s->dead, struct channel, node);

		list_remove(&c->node);
		free(c->datagram);
		free(c);
	}
}

// ---- from the cell ----

static void open_channel(struct server *s, const struct network_message *m)
{
	static const enum channel_kind kinds[] = { [NETWORK_CONNECT] = CHANNEL_CONNECTING,
						   [NETWORK_LISTEN] = CHANNEL_LISTENER,
						   [NETWORK_DATAGRAM] = CHANNEL_DATAGRAM };
	struct channel *c;

	if (m->channel >= NETWORK_SERVER || channel_find(s, m->channel) || s->cell_count >= NETWORK_CHANNELS_MAX) {
		server_refuse(s, "the cell opened a channel that is none");
		return;
	}
	c = channel_create(s, m->channel, kinds[m->kind]);
	if (!c)
		server_refuse(s, "out of memory");
	else if (m->kind == NETWORK_CONNECT)
		connection_open(c, m);
	else if (m->kind == NETWORK_LISTEN)
		listener_open(c, m);
	else
		datagram_open(c, m);
}

static bool suits(const struct channel *c, unsigned kind)
{
	switch (kind) {
	case NETWORK_ROOM: return c->kind == CHANNEL_LISTENER;
	case NETWORK_WATCH: return c->kind == CHANNEL_CONNECTION;
	case NETWORK_SHUTDOWN: return c->kind == CHANNEL_CONNECTION || c->kind == CHANNEL_LISTENER;
	case NETWORK_SEND:
	case NETWORK_TARGET: return c->kind == CHANNEL_DATAGRAM;
	default: return kind == NETWORK_CLOSE;
	}
}

static void serve(struct server *s, const struct network_message *m, const void *data, size_t size)
{
	struct channel *c;

	if (size && (m->kind != NETWORK_SEND || size > OUTSIDE_DATAGRAM_MAX)) {
		server_refuse(s, "the cell sent nonsense");
		return;
	}
	if (m->kind >= NETWORK_CONNECT && m->kind <= NETWORK_DATAGRAM) {
		open_channel(s, m);
		return;
	}
	c = channel_find(s, m->channel);
	if (!c || c->error) { // it failed, which the cell will hear
		if (c && m->kind == NETWORK_CLOSE)
			channel_destroy(c);
		return;
	}
	if (!suits(c, m->kind)) {
		server_refuse(s, "the cell asked for what a channel cannot do");
		return;
	}
	switch (m->kind) {
	case NETWORK_ROOM: listener_room(c, m->value); break;
	case NETWORK_WATCH: connection_watch(c, m->value); break;
	case NETWORK_SHUTDOWN: connection_shutdown(c, m->value); break;
	case NETWORK_SEND: datagram_send(c, &m->endpoint, data, size); break;
	case NETWORK_TARGET: datagram_target(c, &m->endpoint); break;
	case NETWORK_CLOSE:
		if (m->value)
			connection_reset(c);
		channel_destroy(c);
		break;
	}
}

static void link_input(struct server *s)
{
	struct network_message m;

	for (unsigned i = 0; i < MESSAGES_AT_ONCE && !s->ended; i++) {
		ssize_t n = recv(s->link.fd, buffer, sizeof(buffer), MSG_DONTWAIT | MSG_TRUNC);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			s->ended = true;
			return;
		}
		if ((size_t)n < sizeof(m) || (size_t)n > NETWORK_MESSAGE_MAX_BYTES) {
			server_refuse(s, "the cell sent nonsense");
			return;
		}
		memcpy(&m, buffer, sizeof(m));
		serve(s, &m, buffer + sizeof(m), (size_t)n - sizeof(m));
	}
}

static void link_ready(struct watch *w, uint32_t events)
{
	struct server *s = container_of(w, struct server, link);

	if (events & EPOLLOUT) {
		watch_set(s, w, EPOLLIN);
		flush(s);
		if (server_has_room(s))
			datagram_resume(s);
	}
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		link_input(s);
}

// ---- life ----

bool server_step(struct server *s, int timeout_ms)
{
	struct epoll_event events[EVENTS_AT_ONCE];
	int n = epoll_wait(s->epoll, events, EVENTS_AT_ONCE, timeout_ms);

	if (n < 0 && errno != EINTR)
		server_refuse(s, "epoll failed");
	for (int i = 0; i < n && !s->ended; i++) {
		struct watch *w = events[i].data.ptr;

		if (w->fd >= 0)
			w->ready(w, events[i].events);
	}
	if (server_has_room(s))
		flush(s);
	bury(s);
	return !s->ended;
}

bool server_init(struct server *s, int link, const struct net_rules *rules, const int *sockets)
{
	*s = (struct server){ .link = { .fd = link, .ready = link_ready },
			      .rules = *rules,
			      .epoll = epoll_create1(EPOLL_CLOEXEC) };
	for (unsigned i = 0; i < SERVER_BUCKETS; i++)
		list_init(&s->buckets[i]);
	list_init(&s->due);
	list_init(&s->dead);
	list_init(&s->listeners);
	list_init(&s->paused);
	for (unsigned i = 0; i < rules->count; i++) {
		struct published *p = &s->published[s->published_count];

		if (s->rules.list[i].kind != OUTSIDE_RULE_PUBLISH)
			continue;
		*p = (struct published){ .watch = { .fd = sockets[s->published_count] },
					 .rule = &s->rules.list[i],
					 .server = s };
		p->watch.ready = p->rule->protocol == OUTSIDE_TCP ? published_ready : datagram_published;
		s->published_count++;
		if (!net_socket_name(p->watch.fd, &p->local, false))
			return false;
		p->local.port = p->rule->cell_port;
	}
	return s->epoll >= 0 && watch_set(s, &s->link, EPOLLIN);
}

void server_fini(struct server *s)
{
	for (unsigned i = 0; i < SERVER_BUCKETS; i++)
		while (!list_empty(&s->buckets[i]))
			channel_destroy(list_first(&s->buckets[i], struct channel, node));
	bury(s);
	for (unsigned i = 0; i < s->published_count; i++)
		watch_close(s, &s->published[i].watch);
	watch_close(s, &s->link);
	close(s->epoll);
}
