// SPDX-License-Identifier: Apache-2.0
// Connections: connect, listen, accept, shutdown, close. connect(2), listen(2), accept(2), shutdown(2), unix(7), tcp(7).
//
// A connection to a listening socket is complete at once: connect() makes the server's end and puts it on the backlog, both
// ends hold each other. Closing takes that apart; what the peer sent before stays readable.

#include "socket.h"

#include "kernel/timespec.h"

static void wake_all(struct socket *s, unsigned events) { waitq_wake_events(&s->wait, 0, events); }

static uint64_t deadline_of(uint64_t timeout_ns) { return timeout_ns ? deadline_after(timeout_ns) : PARK_FOREVER; }

void socket_join(struct socket *a, struct socket *b)
{
	socket_get(a);
	socket_get(b);
	a->peer = b;
	b->peer = a;
	a->state = b->state = SOCKET_CONNECTED;
	a->peer_cred = b->self;
	b->peer_cred = a->self;
}

// ---- connect ----

static bool backlog_has_room(struct socket *l)
{
	bool room;

	spin_lock(&l->lock);
	room = l->state != SOCKET_LISTENING || l->backlog_count <= l->backlog_max;
	spin_unlock(&l->lock);
	return room;
}

// Connects `s` to `child`, the server's end, and puts that on the backlog. -ECONNREFUSED: listens no more; -EAGAIN: full. The
// lock of the one that connects nests in the listener's; nobody is both.
static int enter_backlog(struct socket *l, struct socket *s, struct socket *child, const struct net_address *peer_name)
{
	int result = 0;

	spin_lock(&l->lock);
	if (l->state != SOCKET_LISTENING || l->shut_read) {
		result = -ECONNREFUSED;
	} else if (l->backlog_count > l->backlog_max) {
		result = -EAGAIN;
	} else {
		spin_lock(&s->lock);
		if (s->state == SOCKET_FREE) {
			socket_join(s, child);
			s->peer_name = *peer_name;
		} else {
			result = s->state == SOCKET_CONNECTED ? -EISCONN : -EINVAL;
		}
		spin_unlock(&s->lock);
	}
	if (!result) {
		list_add_tail(&l->backlog, &child->backlog_node);
		l->backlog_count++;
		socket_get(child);
	}
	spin_unlock(&l->lock);
	return result;
}

// A socket ready to be the server's end of a connection to `l`.
static struct socket *server_end(struct socket *l, struct socket *client)
{
	struct socket *child = socket_create(l->family, l->type, client->net);

	if (!child)
		return NULL;
	child->protocol = l->protocol;
	child->domain = l->domain;
	child->name = l->name;
	child->flags = l->flags & ~(SOCKET_REUSEADDR | SOCKET_REUSEPORT);
	child->send_space = l->send_space;
	child->receive_space = l->receive_space;
	child->self = l->self;
	(void)client->family->get_name(client, false, &child->peer_name);
	return child;
}

static int connect_stream(struct socket *s, struct socket *l, const struct net_address *a, bool nonblock)
{
	uint64_t deadline = deadline_of(s->send_timeout_ns);
	struct socket *child;
	int error;

	if (l->type != s->type)
		return -EPROTOTYPE;
	child = server_end(l, s);
	if (!child)
		return -ENOMEM;
	if (s->family->refuses_async) // the server's end answers from the address that was asked for
		child->name = *a;
	while ((error = enter_backlog(l, s, child, s->family->refuses_async ? a : &l->name)) == -EAGAIN) {
		if (nonblock)
			break;
		error = wait_event_deadline(&l->wait, backlog_has_room(l), deadline);
		if (error) {
			error = error == -EINTR ? -ERESTARTSYS : -EAGAIN;
			break;
		}
	}
	if (!error)
		wake_all(l, EPOLLIN | EPOLLRDNORM);
	socket_put(child);
	return error;
}

// A datagram socket's default target, which may not be there (yet). a: NULL dissolves it.
static int connect_datagram(struct socket *s, struct socket *target, const struct net_address *a)
{
	struct socket *old;

	if (target)
		socket_get(target);
	spin_lock(&s->lock);
	old = s->peer;
	s->peer = target;
	s->state = a ? SOCKET_CONNECTED : SOCKET_FREE;
	s->peer_name = a ? *a : (struct net_address){ 0 };
	s->outside = false;
	spin_unlock(&s->lock);
	if (old)
		socket_put(old);
	return 0;
}

int socket_connect(struct socket *s, const struct net_address *a, bool nonblock)
{
	struct socket *target;
	int error = 0;

	if (a->size < sizeof(a->family))
		return -EINVAL;
	if (a->family == AF_UNSPEC) {
		if (s->type == SOCK_DGRAM && s->family->connect_outside)
			(void)s->family->connect_outside(s, a, nonblock);
		if (s->type == SOCK_DGRAM)
			return connect_datagram(s, NULL, NULL);
		return s->family->refuses_async ? socket_shutdown(s, SHUT_RDWR) : -EINVAL;
	}
	if (socket_is_connection(s) && s->state == SOCKET_CONNECTING)
		return nonblock ? -EALREADY : socket_wait_connected(s, false);
	if (socket_is_connection(s) && s->state != SOCKET_FREE) {
		if (s->state == SOCKET_CONNECTED && !s->connect_reported) { // the second call of a non-blocking connect
			s->connect_reported = true;
			return 0;
		}
		return s->state == SOCKET_LISTENING && !s->family->refuses_async ? -EINVAL : -EISCONN;
	}
	if (s->family->connect_outside) {
		error = s->family->connect_outside(s, a, nonblock);
		if (error <= 0)
			return error;
		error = 0;
	}
	target = s->family->find(s, a);
	if (is_err(target)) {
		error = (int)ptr_err(target);
		if (error != -ECONNREFUSED || !s->family->refuses_async)
			return error;
		if (s->type == SOCK_DGRAM) { // whether anybody is there shows when something is sent
			error = s->family->autobind(s);
			return error ? error : connect_datagram(s, NULL, a);
		}
		if (!nonblock)
			return error;
		s->error = ECONNREFUSED; // told by SO_ERROR
		wake_all(s, 0);
		return -EINPROGRESS;
	}
	if (s->family->autobind)
		error = s->family->autobind(s);
	if (!error)
		error = socket_is_connection(s) ? connect_stream(s, target, a, nonblock)
						: connect_datagram(s, target, a);
	socket_put(target);
	if (!error && socket_is_connection(s)) {
		s->connect_reported = !(nonblock && s->family->refuses_async);
		if (!s->connect_reported)
			error = -EINPROGRESS;
	}
	return error;
}

// ---- listen and accept ----

int socket_listen(struct socket *s, int backlog)
{
	int error = 0;

	if (!socket_is_connection(s))
		return -EOPNOTSUPP;
	if (!s->name.size) {
		if (!s->family->refuses_async)
			return -EINVAL; // unix: nobody could find it
		error = s->family->autobind(s);
		if (error)
			return error;
	}
	if ((unsigned)backlog > SOMAXCONN)
		backlog = SOMAXCONN;
	spin_lock(&s->lock);
	if (s->state != SOCKET_FREE && s->state != SOCKET_LISTENING)
		error = -EINVAL;
	else
		s->state = SOCKET_LISTENING;
	s->backlog_max = (unsigned)backlog;
	s->self = socket_current_cred();
	spin_unlock(&s->lock);
	wake_all(s, EPOLLOUT);
	if (!error && s->family->listen_outside)
		error = s->family->listen_outside(s);
	return min(error, 0);
}

// 1: *out has one; 0: none yet; -EINVAL: does not listen.
static int take_from_backlog(struct socket *s, struct socket **out)
{
	int result = 0;

	spin_lock(&s->lock);
	if (s->state != SOCKET_LISTENING || s->shut_read) {
		result = -EINVAL;
	} else if (!list_empty(&s->backlog)) {
		*out = list_first(&s->backlog, struct socket, backlog_node);
		list_remove(&(*out)->backlog_node);
		s->backlog_count--;
		if ((*out)->channel) // nobody else knows it yet
			s->channel_waiting--;
		result = 1;
	}
	spin_unlock(&s->lock);
	return result;
}

static void tell_accepted(struct socket *s)
{
	struct net_channel *c = socket_channel_get(s);

	if (!c)
		return;
	c->ops->accepted(c);
	net_channel_put(c);
}

struct socket *socket_accept(struct socket *s, bool nonblock)
{
	struct socket *child = NULL;
	int result;

	if (!socket_is_connection(s))
		return err_ptr(-EOPNOTSUPP);
	result = take_from_backlog(s, &child);
	if (!result && nonblock)
		return err_ptr(-EAGAIN);
	if (!result) {
		int error = wait_event_deadline(&s->wait, (result = take_from_backlog(s, &child)) != 0,
						deadline_of(s->receive_timeout_ns));

		if (error)
			return err_ptr(error == -ETIMEDOUT ? -EAGAIN : s->receive_timeout_ns ? -EINTR : -ERESTARTSYS);
	}
	if (result < 0)
		return err_ptr(result);
	wake_all(s, EPOLLOUT); // connectors wait for room
	if (child->channel)
		tell_accepted(s);
	return child;
}

// ---- the end ----

int socket_shutdown(struct socket *s, int how)
{
	struct socket *peer;
	struct net_channel *channel;
	bool read = how == SHUT_RD || how == SHUT_RDWR, write = how == SHUT_WR || how == SHUT_RDWR;

	if (how < SHUT_RD || how > SHUT_RDWR)
		return -EINVAL;
	spin_lock(&s->lock);
	if (s->state != SOCKET_CONNECTED && !(s->state == SOCKET_LISTENING && s->family->refuses_async) &&
	    s->domain != AF_UNIX) {
		spin_unlock(&s->lock);
		return -ENOTCONN;
	}
	s->shut_read |= read;
	s->shut_write |= write;
	peer = socket_is_connection(s) ? s->peer : NULL;
	if (peer)
		socket_get(peer);
	spin_unlock(&s->lock);
	channel = socket_is_connection(s) ? socket_channel_get(s) : NULL;
	if (channel) {
		channel->ops->shutdown(channel, read, write);
		net_channel_put(channel);
	}
	if (peer) {
		spin_lock(&peer->lock);
		// TCP cannot tell the other end that nobody reads.
		if (!s->family->refuses_async)
			peer->shut_write |= read;
		peer->shut_read |= write;
		spin_unlock(&peer->lock);
		wake_all(peer, 0);
		socket_put(peer);
	}
	wake_all(s, 0);
	return 0;
}

static void leave_peer(struct socket *s, struct socket *peer, bool reset)
{
	bool was_mine;

	spin_lock(&peer->lock);
	was_mine = peer->peer == s;
	if (was_mine) {
		peer->peer = NULL;
		peer->peer_gone = true;
		peer->shut_read = peer->shut_write = true;
		if (reset) {
			peer->error = ECONNRESET;
			if (peer->family->refuses_async)
				peer->peer_name.size = 0; // it is connected to nobody
		}
	}
	spin_unlock(&peer->lock);
	if (was_mine) {
		wake_all(peer, 0);
		socket_put(s); // the peer's reference
	}
}

void socket_close(struct socket *s)
{
	struct list packets = LIST_INIT(packets), waiting = LIST_INIT(waiting);
	struct socket *peer, *child;
	struct net_channel *channel;
	bool connection = socket_is_connection(s), reset;

	spin_lock(&s->lock);
	channel = s->channel;
	if (channel)
		net_channel_get(channel);
	s->state = SOCKET_CLOSED;
	s->shut_read = s->shut_write = true;
	peer = s->peer;
	s->peer = NULL;
	reset = !list_empty(&s->receive) ||
		(s->family->refuses_async && s->flags & SOCKET_LINGER && !s->linger_seconds);
	s->urgent_mark = NULL;
	s->urgent_unread = false;
	list_splice_tail(&packets, &s->receive);
	list_splice_tail(&waiting, &s->backlog);
	s->receive_bytes = s->receive_count = s->backlog_count = 0;
	spin_unlock(&s->lock);
	if (peer) {
		if (connection)
			leave_peer(s, peer, reset);
		socket_put(peer);
	}
	if (channel) {
		socket_drop_channel(s, channel);
		net_channel_put(channel);
	}
	s->family->unbind(s);
	wake_all(s, 0);
	while (!list_empty(&waiting)) { // never accepted: the other end sees a reset
		child = list_first(&waiting, struct socket, backlog_node);
		list_remove(&child->backlog_node);
		peer = socket_peer_get(child);
		if (peer) {
			peer->error = ECONNRESET;
			socket_put(peer);
		}
		child->flags |= SOCKET_LINGER; // with no time: a reset
		child->linger_seconds = 0;
		socket_close(child);
	}
	while (!list_empty(&packets)) {
		struct packet *p = list_first(&packets, struct packet, node);

		list_remove(&p->node);
		packet_free(p);
	}
	if (s->domain == AF_UNIX)
		rights_collect();
	socket_put(s);
}
