// SPDX-License-Identifier: Apache-2.0
// Sockets whose other end is outside the cell: what kernel/net_channel.h promises to backends, and sending, receiving and polling
// of streams by a channel. All waiting is on the socket's queue, as for those that stay inside (transfer.c).
//
// Lock order: channel.lock -> nothing; socket.lock -> nothing of a channel's. A backend is called with neither.

#include "socket.h"

#include "kernel/signal.h"
#include "kernel/timespec.h"
#include "lib/endpoint.h"

#define ANSWER_PATIENCE_NS (10 * NSEC_PER_SEC) // of the host's process, which answers at once or is gone

static uint64_t deadline_of(uint64_t timeout_ns) { return timeout_ns ? deadline_after(timeout_ns) : PARK_FOREVER; }

static int wait_error(int error, uint64_t timeout_ns)
{
	if (error == -ETIMEDOUT)
		return -EAGAIN;
	return error == -EINTR ? (timeout_ns ? -EINTR : -ERESTARTSYS) : error;
}

// ---- which channel a socket has, and which socket a channel ----

void net_channel_init(struct net_channel *c, const struct net_channel_ops *ops)
{
	c->ops = ops;
	refcount_set(&c->refs, 1);
	spin_init(&c->lock);
}

static struct socket *owner_get(struct net_channel *c)
{
	struct socket *s;

	spin_lock(&c->lock);
	s = c->owner;
	if (s)
		socket_get(s);
	spin_unlock(&c->lock);
	return s;
}

static void set_owner(struct net_channel *c, struct socket *s)
{
	spin_lock(&c->lock);
	c->owner = s;
	spin_unlock(&c->lock);
}

struct net_channel *socket_channel_get(struct socket *s)
{
	struct net_channel *c;

	if (!__atomic_load_n(&s->channel, __ATOMIC_RELAXED))
		return NULL;
	spin_lock(&s->lock);
	c = s->channel;
	if (c)
		net_channel_get(c);
	spin_unlock(&s->lock);
	return c;
}

int socket_set_channel(struct socket *s, struct net_channel *c, enum socket_state state)
{
	int error = 0;

	spin_lock(&s->lock);
	if (s->channel || (socket_is_connection(s) && s->state != SOCKET_FREE && s->state != state))
		error = s->state == SOCKET_CONNECTING ? -EALREADY : -EISCONN;
	if (!error) {
		s->channel = c;
		if (socket_is_connection(s))
			s->state = state;
	}
	spin_unlock(&s->lock);
	if (!error)
		set_owner(c, s);
	return error;
}

void socket_drop_channel(struct socket *s, struct net_channel *c)
{
	bool mine;

	spin_lock(&s->lock);
	mine = s->channel == c;
	if (mine)
		s->channel = NULL;
	if (mine && s->state == SOCKET_CONNECTING)
		s->state = SOCKET_FREE;
	spin_unlock(&s->lock);
	if (!mine)
		return;
	set_owner(c, NULL);
	c->ops->close(c, s->flags & SOCKET_LINGER && !s->linger_seconds);
}

// ---- upcalls ----

void net_channel_changed(struct net_channel *c, unsigned events)
{
	struct socket *s = owner_get(c);

	if (!s)
		return;
	waitq_wake_events(&s->wait, 0, events);
	socket_put(s);
}

bool net_channel_awaited(struct net_channel *c)
{
	bool awaited;

	spin_lock(&c->lock);
	awaited = c->owner && !waitq_empty(&c->owner->wait);
	spin_unlock(&c->lock);
	return awaited;
}

void net_channel_connected(struct net_channel *c, int error)
{
	struct socket *s = owner_get(c);
	bool failed = false;

	c->error = error;
	__atomic_store_n(&c->answered, true, __ATOMIC_RELEASE);
	if (!s)
		return;
	spin_lock(&s->lock);
	if (s->channel == c && s->state == SOCKET_CONNECTING) {
		failed = error;
		if (failed)
			s->error = error;
		else
			s->state = SOCKET_CONNECTED;
	}
	spin_unlock(&s->lock);
	if (failed)
		socket_drop_channel(s, c);
	waitq_wake_events(&s->wait, 0, 0);
	socket_put(s);
}

void net_channel_failed(struct net_channel *c, int error)
{
	struct socket *s = owner_get(c);

	if (!s)
		return;
	spin_lock(&s->lock);
	if (s->channel == c && s->type == SOCK_STREAM) {
		s->error = error;
		s->peer_gone = s->shut_write = s->shut_read = true;
	}
	spin_unlock(&s->lock);
	waitq_wake_events(&s->wait, 0, 0);
	socket_put(s);
}

struct packet *net_datagram_create(size_t size, void **data)
{
	struct packet *p = packet_create(size);

	if (!p)
		return NULL;
	p->from = kalloc(sizeof(*p->from));
	if (!p->from) {
		packet_free(p);
		return NULL;
	}
	*data = p->data;
	return p;
}

void net_channel_datagram(struct net_channel *c, struct packet *p, const struct outside_endpoint *from)
{
	struct socket *s = owner_get(c);
	bool room = s && s->receive_bytes + p->size <= s->receive_space && s->receive_count < SOCKET_QUEUE_MAX;

	if (!room || !outside_hears(s, from, p->from) || !socket_deliver(s, p))
		packet_free(p);
	if (s)
		socket_put(s);
}

// ICMP's answers are shown to connected sockets only.
void net_channel_datagram_error(struct net_channel *c, int error)
{
	struct socket *s = owner_get(c);

	if (!s)
		return;
	if (s->state == SOCKET_CONNECTED) {
		__atomic_store_n(&s->error, error, __ATOMIC_RELAXED);
		waitq_wake_events(&s->wait, 0, EPOLLERR);
	}
	socket_put(s);
}

static struct socket *make_child(struct socket *l, struct net_channel *c)
{
	struct socket *child = socket_create(l->family, l->type, l->net);

	if (!child)
		return NULL;
	child->protocol = l->protocol;
	child->flags = l->flags & ~(SOCKET_REUSEADDR | SOCKET_REUSEPORT);
	child->send_space = l->send_space;
	child->receive_space = l->receive_space;
	child->self = l->self;
	child->channel = c;
	child->state = SOCKET_CONNECTED;
	child->connect_reported = true;
	return child;
}

int net_channel_incoming(struct net_channel *listener, struct net_channel *c)
{
	struct socket *l = owner_get(listener), *child = NULL;
	int error = -ECONNREFUSED;

	if (l && (l->domain == AF_INET6 || endpoint_is_v4(c->peer.ip)))
		child = make_child(l, c);
	if (child) {
		set_owner(c, child); // before anybody can accept and close it
		spin_lock(&l->lock);
		// The host was told how many there may be.
		if (l->state == SOCKET_LISTENING && !l->shut_read && l->channel_waiting <= l->backlog_max) {
			list_add_tail(&l->backlog, &child->backlog_node);
			l->backlog_count++;
			l->channel_waiting++;
			error = 0;
		}
		spin_unlock(&l->lock);
		if (error) {
			set_owner(c, NULL);
			child->channel = NULL;
			child->state = SOCKET_FREE;
			socket_put(child);
		}
	}
	if (!error)
		waitq_wake_events(&l->wait, 0, EPOLLIN | EPOLLRDNORM);
	if (l)
		socket_put(l);
	return error;
}

// ---- connecting ----

int socket_wait_answer(struct socket *s, struct net_channel *c, uint64_t deadline)
{
	int error = wait_event_mode(&s->wait, __atomic_load_n(&c->answered, __ATOMIC_ACQUIRE), PARK_KILLABLE,
				    min(deadline, deadline_after(ANSWER_PATIENCE_NS)));

	return error ? error : -c->error;
}

int socket_wait_connected(struct socket *s, bool nonblock)
{
	int error;

	if (nonblock)
		return -EINPROGRESS;
	error = wait_event_deadline(&s->wait, s->state != SOCKET_CONNECTING, deadline_of(s->send_timeout_ns));
	if (error)
		return error == -ETIMEDOUT ? -EINPROGRESS : wait_error(error, s->send_timeout_ns);
	if (s->state == SOCKET_CONNECTED) {
		s->connect_reported = true;
		return 0;
	}
	error = socket_take_error(s);
	return error ? -error : -ECONNABORTED;
}

// ---- waiting ----

// Until the socket may take part again: where the backend can wait itself, in `events` of its; `over`: there is nothing to wait for.
static int wait_ready(struct socket *s, struct net_channel *c, bool (*can)(struct socket *, struct net_channel *),
		      bool (*over)(const struct socket *), unsigned events, uint64_t deadline)
{
	int error;

	if (!c->ops->wait)
		return wait_event_deadline(&s->wait, can(s, c), deadline);
	error = wait_event_deadline(&s->wait, s->state != SOCKET_CONNECTING, deadline);
	return error || over(s) ? error : c->ops->wait(c, events, deadline);
}

// ---- sending ----

static int broken_pipe(const struct message *m)
{
	if (!(m->flags & MSG_NOSIGNAL))
		signal_send_task(current, SIGPIPE, NULL);
	return -EPIPE;
}

static bool may_wait(const struct message *m) { return !m->nonblock && !(m->flags & MSG_DONTWAIT); }

static bool sends_no_more(const struct socket *s) { return s->shut_write || s->peer_gone || s->error; }

static bool can_send(struct socket *s, struct net_channel *c)
{
	if (s->state == SOCKET_CONNECTING)
		return false;
	return sends_no_more(s) || c->ops->ready(c) & EPOLLOUT;
}

// One round: bytes, or -EAGAIN to wait, or the end.
static ssize_t send_some(struct socket *s, struct net_channel *c, struct message *m, bool first)
{
	int error;
	ssize_t n;

	if (s->state == SOCKET_CONNECTING)
		return -EAGAIN;
	error = socket_take_error(s);
	if (error)
		return -error;
	if (s->shut_write || s->peer_gone)
		return first ? broken_pipe(m) : -EPIPE;
	n = c->ops->send(c, m->data);
	if (n == -EPIPE && first) {
		error = socket_take_error(s);
		return error ? -error : broken_pipe(m);
	}
	return n;
}

ssize_t channel_send(struct socket *s, struct message *m)
{
	uint64_t deadline = deadline_of(s->send_timeout_ns);
	struct net_channel *c = socket_channel_get(s);
	size_t done = 0;
	ssize_t n = 0;

	if (!c || s->state == SOCKET_LISTENING) {
		if (c)
			net_channel_put(c);
		return broken_pipe(m);
	}
	while (m->data->count) {
		n = send_some(s, c, m, !done);
		if (n > 0) {
			done += (size_t)n;
			continue;
		}
		if (n != -EAGAIN || !may_wait(m))
			break;
		n = wait_ready(s, c, can_send, sends_no_more, EPOLLOUT, deadline);
		if (n) {
			n = wait_error((int)n, s->send_timeout_ns);
			break;
		}
	}
	net_channel_put(c);
	return done ? (ssize_t)done : n;
}

// ---- receiving ----

static bool receives_no_more(const struct socket *s) { return s->shut_read || s->error; }

static bool can_receive(struct socket *s, struct net_channel *c)
{
	if (s->state == SOCKET_CONNECTING)
		return false;
	return receives_no_more(s) || c->ops->ready(c) & EPOLLIN;
}

// read_lock held. As send_some(); 0: the end.
static ssize_t receive_some(struct socket *s, struct net_channel *c, struct message *m, size_t skip)
{
	bool peek = m->flags & MSG_PEEK;
	int error;
	ssize_t n;

	if (s->state == SOCKET_CONNECTING)
		return -EAGAIN;
	n = c->ops->receive(c, m->data, peek, skip);
	if (n != -EAGAIN && (n != 0 || !s->error))
		return n;
	error = socket_take_error(s);
	if (error)
		return -error;
	return s->shut_read ? 0 : n;
}

ssize_t channel_receive(struct socket *s, struct message *m)
{
	uint64_t deadline = deadline_of(s->receive_timeout_ns);
	struct net_channel *c = socket_channel_get(s);
	size_t done = 0;
	ssize_t n = 0;

	if (!c)
		return -ENOTCONN;
	mutex_lock(&s->read_lock);
	while (m->data->count) {
		n = receive_some(s, c, m, m->flags & MSG_PEEK ? done : 0);
		if (n > 0) {
			done += (size_t)n;
			if (m->flags & MSG_WAITALL)
				continue;
			break;
		}
		if (n != -EAGAIN || !may_wait(m) || (done && !(m->flags & MSG_WAITALL)))
			break;
		if (done && m->flags & MSG_PEEK)
			break;
		mutex_unlock(&s->read_lock);
		n = wait_ready(s, c, can_receive, receives_no_more, EPOLLIN, deadline);
		mutex_lock(&s->read_lock);
		if (n) {
			n = wait_error((int)n, s->receive_timeout_ns);
			break;
		}
	}
	mutex_unlock(&s->read_lock);
	net_channel_put(c);
	return done ? (ssize_t)done : n;
}

int channel_take_error(struct socket *s)
{
	struct net_channel *c = socket_channel_get(s);
	int error = c && c->ops->take_error ? c->ops->take_error(c) : 0;

	if (c)
		net_channel_put(c);
	return error;
}

// ---- readiness ----

unsigned channel_poll(struct socket *s, struct net_channel *c)
{
	unsigned events = s->error ? EPOLLERR : 0, ready;

	if (s->state == SOCKET_CONNECTING)
		return events;
	ready = c->ops->ready(c);
	events |= ready;
	if (s->shut_read)
		events |= EPOLLRDHUP | EPOLLIN | EPOLLRDNORM;
	if (s->shut_write)
		events |= EPOLLOUT | EPOLLWRNORM;
	if ((s->shut_read || ready & EPOLLRDHUP) && s->shut_write)
		events |= EPOLLHUP;
	return events;
}
