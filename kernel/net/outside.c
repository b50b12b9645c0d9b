// SPDX-License-Identifier: Apache-2.0
// AF_INET and AF_INET6 to the outside, over whatever backend the port has (kernel/outside.h).
//
// The boot record lists the network grants; they decide here what leaves the cell and what stays, and once more outside, where
// it counts. A destination that no grant names stays inside: loopback, or unreachable. They belong to the first network namespace: from others there is
// no way out. Published ports: a TCP socket that
// listens on the wildcard address also listens outside; a UDP socket bound to it also receives from there, and may answer
// whom it heard from lately.
//
// A UDP socket keeps its place in the cell's own table beside its channel. Its peers: socket.lock.

#include "inet.h"

#include "kernel/boot_config.h"
#include "kernel/outside.h"
#include "kernel/timespec.h"
#include "lib/endpoint.h"

#define PEERS_MAX 64u // as many as the host's side remembers

struct peers { // socket.private of a UDP socket with a published port
	uint64_t clock;
	unsigned count;
	struct {
		struct outside_endpoint endpoint;
		uint64_t used;
	} list[PEERS_MAX];
};

static const struct outside_backend *backend;

void outside_register(const struct outside_backend *b) { __atomic_store_n(&backend, b, __ATOMIC_RELEASE); }

static enum outside_protocol protocol_of(const struct socket *s)
{
	return s->type == SOCK_STREAM ? OUTSIDE_TCP : OUTSIDE_UDP;
}

static struct outside_endpoint to_outside(const struct endpoint *e)
{
	struct outside_endpoint out = { .port = e->port };

	memcpy(out.ip, e->ip, sizeof(out.ip));
	return out;
}

static struct endpoint from_outside(const struct outside_endpoint *o)
{
	struct endpoint e = { .port = o->port, .v4 = endpoint_is_v4(o->ip), .any = endpoint_is_any(o->ip) };

	memcpy(e.ip, o->ip, sizeof(e.ip));
	return e;
}

// ---- what the grants say ----

static bool granted(enum outside_protocol protocol, const struct outside_endpoint *to)
{
	for (unsigned i = 0; i < boot_config.net_rule_count; i++)
		if (outside_rule_admits(boot_config.net_rules[i], protocol, to))
			return true;
	return false;
}

// Kinds of peers a socket can name; those of an IPv6 socket may be IPv4 too.
static uint16_t wants(const struct socket *s)
{
	if (s->domain == AF_INET)
		return OUTSIDE_WANT_V4;
	return s->flags & SOCKET_V6ONLY ? OUTSIDE_WANT_V6 : OUTSIDE_WANT_V4 | OUTSIDE_WANT_V6;
}

// The port a socket is bound to, if it is a published one and bound to the wildcard address; else 0.
static uint16_t published_port(const struct socket *s)
{
	struct endpoint e;

	if (s->net != &net_namespace_first || !s->named || inet_endpoint_of(&s->name, &e) || !e.any)
		return 0;
	for (unsigned i = 0; i < boot_config.net_rule_count; i++) {
		const struct outside_rule *r = boot_config.net_rules[i];

		if (r->kind == OUTSIDE_RULE_PUBLISH && r->protocol == protocol_of(s) && r->cell_port == e.port &&
		    wants(s) & (endpoint_is_v4(r->address) ? OUTSIDE_WANT_V4 : OUTSIDE_WANT_V6))
			return e.port;
	}
	return 0;
}

// ---- whom a published UDP socket heard from ----

static int find_peer_locked(const struct peers *p, const struct outside_endpoint *e)
{
	for (unsigned i = 0; i < p->count; i++)
		if (endpoint_equal(&p->list[i].endpoint, e))
			return (int)i;
	return -1;
}

static bool is_peer(struct socket *s, const struct outside_endpoint *e)
{
	bool found;

	spin_lock(&s->lock);
	found = s->private && find_peer_locked(s->private, e) >= 0;
	spin_unlock(&s->lock);
	return found;
}

static void note_peer(struct socket *s, const struct outside_endpoint *e)
{
	struct peers *p;
	unsigned oldest = 0;
	int i;

	spin_lock(&s->lock);
	p = s->private;
	if (p) {
		i = find_peer_locked(p, e);
		if (i < 0 && p->count < PEERS_MAX)
			i = (int)p->count++;
		for (unsigned k = 1; i < 0 && k < PEERS_MAX; k++)
			if (p->list[k].used < p->list[oldest].used)
				oldest = k;
		if (i < 0)
			i = (int)oldest;
		p->list[i].endpoint = *e;
		p->list[i].used = ++p->clock;
	}
	spin_unlock(&s->lock);
}

// Does a datagram of the socket to `e` leave the cell?
static bool leaves(struct socket *s, const struct endpoint *e)
{
	struct outside_endpoint to = to_outside(e);

	if (s->net != &net_namespace_first || !__atomic_load_n(&backend, __ATOMIC_ACQUIRE) || e->any)
		return false;
	return granted(protocol_of(s), &to) || (s->type == SOCK_DGRAM && is_peer(s, &to));
}

// ---- TCP ----

static int connect_stream(struct socket *s, const struct endpoint *e, const struct net_address *a, bool nonblock)
{
	struct outside_request r = { .operation = OUTSIDE_CONNECT, .to = to_outside(e) };
	struct net_channel *c;
	int error = socket_take_error(s); // of an earlier try nobody asked about

	if (error)
		return -error;
	c = backend->create();
	if (is_err(c))
		return (int)ptr_err(c);
	error = socket_set_channel(s, c, SOCKET_CONNECTING);
	if (error) {
		c->ops->close(c, false);
		return error;
	}
	s->peer_name = *a;
	s->connect_reported = !nonblock;
	error = backend->begin(c, &r);
	if (error) {
		socket_drop_channel(s, c);
		return error;
	}
	return socket_wait_connected(s, nonblock);
}

int outside_listen(struct socket *s)
{
	struct outside_request r = { .operation = OUTSIDE_LISTEN, .room = s->backlog_max + 1, .flags = wants(s) };
	struct net_channel *c;
	int error;

	r.cell_port = published_port(s);
	if (!r.cell_port || !backend || s->channel)
		return 0;
	c = backend->create();
	if (is_err(c))
		return (int)ptr_err(c);
	error = socket_set_channel(s, c, SOCKET_LISTENING);
	if (error) { // another thread was faster
		c->ops->close(c, false);
		return 0;
	}
	net_channel_get(c);
	error = backend->begin(c, &r);
	if (!error)
		error = socket_wait_answer(s, c, PARK_FOREVER);
	if (error) {
		socket_drop_channel(s, c);
		spin_lock(&s->lock);
		if (s->state == SOCKET_LISTENING)
			s->state = SOCKET_FREE;
		spin_unlock(&s->lock);
	}
	net_channel_put(c);
	return error;
}

// ---- UDP ----

static int prepare_peers(struct socket *s)
{
	struct peers *p = kalloc(sizeof(*p));

	if (!p)
		return -ENOBUFS;
	spin_lock(&s->lock);
	if (!s->private) {
		s->private = p;
		p = NULL;
	}
	spin_unlock(&s->lock);
	kfree(p);
	return 0;
}

// The channel has a port of the host; the socket takes that number too, if it is free in the cell.
static int take_name(struct socket *s, const struct net_channel *c)
{
	struct endpoint e = { .port = c->local.port, .any = true, .v4 = s->domain == AF_INET };

	if (s->named)
		return 0;
	if (e.v4)
		memcpy(e.ip, endpoint_v4_prefix, sizeof(endpoint_v4_prefix));
	return inet_bind_endpoint(s, &e) ? inet_autobind(s) : 0;
}

// The socket's channel, once another thread has opened it. NULL: there is none; err_ptr.
static struct net_channel *opened_channel(struct socket *s)
{
	struct net_channel *c = socket_channel_get(s);
	int error = 0;

	if (c && !__atomic_load_n(&c->answered, __ATOMIC_ACQUIRE))
		error = socket_wait_answer(s, c, PARK_FOREVER);
	if (!error)
		return c;
	net_channel_put(c);
	return err_ptr(error);
}

// The socket's channel, opened if need be; referenced; err_ptr.
static struct net_channel *datagram_channel(struct socket *s)
{
	struct outside_request r = { .operation = OUTSIDE_DATAGRAM, .cell_port = published_port(s), .flags = wants(s) };
	struct net_channel *c = opened_channel(s);
	int error;

	if (c)
		return c;
	error = r.cell_port ? prepare_peers(s) : 0;
	if (error)
		return err_ptr(error);
	c = backend->create();
	if (is_err(c))
		return c;
	error = socket_set_channel(s, c, SOCKET_FREE);
	if (error) { // another thread was faster
		c->ops->close(c, false);
		c = opened_channel(s);
		return c ? c : err_ptr(-ENETDOWN);
	}
	net_channel_get(c);
	error = backend->begin(c, &r);
	if (error)
		net_channel_connected(c, -error); // other threads may wait for it
	else
		error = socket_wait_answer(s, c, PARK_FOREVER);
	if (!error)
		error = take_name(s, c);
	if (!error)
		return c;
	socket_drop_channel(s, c);
	net_channel_put(c);
	return err_ptr(error);
}

int outside_bound(struct socket *s)
{
	struct net_channel *c;

	if (!backend || !published_port(s))
		return 0;
	c = datagram_channel(s);
	if (is_err(c))
		return (int)ptr_err(c);
	net_channel_put(c);
	return 0;
}

static int set_target(struct socket *s, struct net_channel *c, const struct outside_endpoint *to)
{
	int error;

	while ((error = c->ops->set_target(c, to)) == -EAGAIN || error == -EALREADY) {
		if (error == -EALREADY) // another thread's
			error = wait_event_killable(&s->wait, __atomic_load_n(&c->answered, __ATOMIC_ACQUIRE));
		else
			error = wait_event_killable(&s->wait, c->ops->ready(c) & EPOLLOUT);
		if (error)
			return error;
	}
	return error ? error : socket_wait_answer(s, c, PARK_FOREVER);
}

// It connects to somebody inside, or to nobody.
static void dissolve(struct socket *s)
{
	struct outside_endpoint nobody = { .port = 0 };
	struct net_channel *c = s->outside ? socket_channel_get(s) : NULL;

	if (!c)
		return;
	(void)set_target(s, c, &nobody);
	net_channel_put(c);
}

static int connect_datagram(struct socket *s, const struct endpoint *e, const struct net_address *a)
{
	struct outside_endpoint to = to_outside(e);
	struct net_channel *c = datagram_channel(s);
	struct socket *old;
	int error;

	if (is_err(c))
		return (int)ptr_err(c);
	error = set_target(s, c, &to);
	net_channel_put(c);
	if (error)
		return error;
	spin_lock(&s->lock);
	old = s->peer;
	s->peer = NULL;
	s->state = SOCKET_CONNECTED;
	s->outside = true;
	s->peer_name = *a;
	spin_unlock(&s->lock);
	if (old)
		socket_put(old);
	return 0;
}

static bool may_wait(const struct message *m) { return !m->nonblock && !(m->flags & MSG_DONTWAIT); }

static ssize_t send_datagram(struct socket *s, struct message *m, const struct endpoint *e)
{
	struct outside_endpoint to = to_outside(e);
	struct net_channel *c = datagram_channel(s);
	ssize_t size = (ssize_t)m->data->count;
	int error;

	if (is_err(c))
		return ptr_err(c);
	while ((error = c->ops->send_datagram(c, m->data, &to)) == -EAGAIN && may_wait(m)) {
		uint64_t timeout = s->send_timeout_ns;

		error = wait_event_deadline(&s->wait, c->ops->ready(c) & EPOLLOUT,
					    timeout ? deadline_after(timeout) : PARK_FOREVER);
		if (error) {
			error = error == -ETIMEDOUT ? -EAGAIN : timeout ? -EINTR : -ERESTARTSYS;
			break;
		}
	}
	net_channel_put(c);
	if (error == -EPIPE)
		error = -ENETDOWN; // nobody is there to carry it
	return error ? error : size;
}

ssize_t outside_send(struct socket *s, struct message *m)
{
	struct endpoint e;

	if (!backend)
		return SEND_INSIDE;
	if (m->address.size) {
		if (inet_endpoint_of(&m->address, &e) || (s->domain == AF_INET && m->address.family != AF_INET) ||
		    !leaves(s, &e))
			return SEND_INSIDE;
	} else if (!s->outside || inet_endpoint_of(&s->peer_name, &e)) {
		return SEND_INSIDE;
	}
	return send_datagram(s, m, &e);
}

bool outside_hears(struct socket *s, const struct outside_endpoint *from, struct net_address *name)
{
	struct endpoint e = from_outside(from), peer;

	if (s->domain == AF_INET && !e.v4)
		return false;
	if (s->state == SOCKET_CONNECTED && !s->outside)
		return false;
	if (s->state == SOCKET_CONNECTED &&
	    (inet_endpoint_of(&s->peer_name, &peer) || peer.port != e.port || memcmp(peer.ip, e.ip, sizeof(e.ip))))
		return false;
	note_peer(s, from);
	inet_address_of(s->domain, &e, name);
	return true;
}

// ---- both ----

int outside_connect(struct socket *s, const struct net_address *a, bool nonblock)
{
	struct endpoint e;

	if (a->family == AF_UNSPEC || inet_endpoint_of(a, &e) || (s->domain == AF_INET && a->family != AF_INET) ||
	    !leaves(s, &e)) {
		dissolve(s);
		return 1;
	}
	return s->type == SOCK_STREAM ? connect_stream(s, &e, a, nonblock) : connect_datagram(s, &e, a);
}

bool outside_name(struct socket *s, bool peer, struct net_address *out)
{
	struct net_channel *c = socket_channel_get(s);
	struct endpoint e;
	bool known;

	if (!c)
		return false;
	known = s->type == SOCK_STREAM ? s->state == SOCKET_CONNECTED : s->outside && !peer;
	if (known) {
		e = from_outside(peer ? &c->peer : &c->local);
		inet_address_of(s->domain, &e, out);
	}
	net_channel_put(c);
	return known;
}
