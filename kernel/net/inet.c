// SPDX-License-Identifier: Apache-2.0
// AF_INET and AF_INET6 on a namespace's own loopback interface: TCP-like streams and UDP-like datagrams between programs of one
// cell. What goes outside is outside.c's business; any other address but the loopback ones is unreachable. ip(7), ipv6(7),
// tcp(7), udp(7).
//
// A bound socket stands in a table by port, those of all namespaces in one. An IPv4 address met by an IPv6 socket is kept as such and shown as ::ffff:a.b.c.d.
// ports_lock guards the table and the names of the sockets in it.

#include "inet.h"

#include <linux/capability.h>
#include <linux/tcp.h>

#include "kernel/random.h"
#include "kernel/uaccess.h"
#include "message.h"

#define BUCKETS    256u
#define PORT_FIRST 32768u // net.ipv4.ip_local_port_range
#define PORT_LAST  60999u

static struct spinlock ports_lock = SPINLOCK_INIT;
static struct list ports[BUCKETS]; // struct socket.name_node

static uint16_t swap16(uint16_t x) { return (uint16_t)(x << 8 | x >> 8); }

// ---- addresses: everything is compared in IPv6 form ----

static const uint8_t mapped_prefix[12] = { [10] = 0xff, [11] = 0xff };

int inet_endpoint_of(const struct net_address *a, struct endpoint *e)
{
	static const uint8_t zero[16];

	memset(e, 0, sizeof(*e));
	if (a->size >= sizeof(a->in) && a->family == AF_INET) {
		memcpy(e->ip, mapped_prefix, 12);
		memcpy(e->ip + 12, &a->in.sin_addr, 4);
		e->port = swap16(a->in.sin_port);
		e->any = a->in.sin_addr.s_addr == 0;
		e->v4 = true;
		return 0;
	}
	if (a->size >= 24 && a->family == AF_INET6) { // SIN6_LEN_RFC2133
		memcpy(e->ip, &a->in6.sin6_addr, 16);
		e->port = swap16(a->in6.sin6_port);
		e->v4 = !memcmp(e->ip, mapped_prefix, 12);
		e->any = !memcmp(e->ip, zero, 16) || (e->v4 && !memcmp(e->ip + 12, zero, 4));
		return 0;
	}
	return a->family == AF_INET || a->family == AF_INET6 ? -EINVAL : -EAFNOSUPPORT;
}

bool inet_is_loopback(const struct endpoint *e)
{
	static const uint8_t one[16] = { [15] = 1 };

	return e->any || (e->v4 ? e->ip[12] == 127 : !memcmp(e->ip, one, 16));
}

void inet_address_of(int domain, const struct endpoint *e, struct net_address *out)
{
	*out = (struct net_address){ 0 };
	if (domain == AF_INET) {
		out->in.sin_family = AF_INET;
		out->in.sin_port = swap16(e->port);
		memcpy(&out->in.sin_addr, e->ip + 12, 4);
		out->size = sizeof(out->in);
	} else {
		out->in6.sin6_family = AF_INET6;
		out->in6.sin6_port = swap16(e->port);
		memcpy(&out->in6.sin6_addr, e->ip, 16);
		out->size = sizeof(out->in6);
	}
}

void inet_set_loopback(struct endpoint *e)
{
	memset(e->ip, 0, 16);
	e->any = false;
	if (e->v4) {
		memcpy(e->ip, mapped_prefix, 12);
		e->ip[12] = 127;
	}
	e->ip[15] = 1;
}

// ---- the table ----

static struct list *bucket(uint16_t port)
{
	struct list *l = &ports[port % BUCKETS];

	if (!l->next)
		list_init(l);
	return l;
}

static bool covers(const struct socket *s, const struct endpoint *bound, const struct endpoint *e)
{
	if (bound->any)
		return bound->v4 == e->v4 || (!bound->v4 && !(s->flags & SOCKET_V6ONLY));
	return !memcmp(bound->ip, e->ip, 16);
}

static bool conflicts(struct socket *s, const struct endpoint *e)
{
	struct socket *other;

	list_for_each (other, bucket(e->port), name_node) {
		struct endpoint b;

		if (other->net != s->net || other->protocol != s->protocol || inet_endpoint_of(&other->name, &b) ||
		    b.port != e->port)
			continue;
		if (!covers(other, &b, e) && !covers(s, e, &b))
			continue;
		if (other->flags & s->flags & SOCKET_REUSEPORT)
			continue;
		// TCP: two that both reuse may share while neither listens.
		if (other->flags & s->flags & SOCKET_REUSEADDR &&
		    (s->type == SOCK_DGRAM || other->state != SOCKET_LISTENING))
			continue;
		return true;
	}
	return false;
}

// ports_lock held.
static int pick_port(struct socket *s, struct endpoint *e)
{
	unsigned range = PORT_LAST - PORT_FIRST + 1, start = (unsigned)(random_u64() % range), i;

	for (i = 0; i < range; i++) {
		e->port = (uint16_t)(PORT_FIRST + (start + i) % range);
		if (!conflicts(s, e))
			return 0;
	}
	return -EADDRINUSE;
}

int inet_bind_endpoint(struct socket *s, struct endpoint *e)
{
	int error = 0;

	spin_lock(&ports_lock);
	if (s->named)
		error = -EINVAL;
	else if (e->port)
		error = conflicts(s, e) ? -EADDRINUSE : 0;
	else
		error = pick_port(s, e);
	if (!error) {
		inet_address_of(s->domain, e, &s->name);
		list_add(bucket(e->port), &s->name_node);
		s->named = true;
	}
	spin_unlock(&ports_lock);
	return error;
}

static int inet_bind(struct socket *s, const struct net_address *a)
{
	struct endpoint e;
	int error = inet_endpoint_of(a, &e);

	if (error)
		return error;
	if (a->family != s->domain && !(s->domain == AF_INET && a->family == AF_UNSPEC))
		return s->domain == AF_INET ? -EAFNOSUPPORT : -EINVAL;
	if (!inet_is_loopback(&e) ||
	    (!e.any && !e.v4 && !lo_is_up(s->net))) // IPv4 addresses may be had before they are there
		return -EADDRNOTAVAIL;
	if (e.port && e.port < 1024 && !net_capable(current->cred, s->net, CAP_NET_BIND_SERVICE))
		return -EACCES;
	error = inet_bind_endpoint(s, &e);
	return error || s->type != SOCK_DGRAM ? error : outside_bound(s);
}

int inet_autobind(struct socket *s)
{
	struct endpoint e = { .any = true, .v4 = s->domain == AF_INET };

	if (s->named)
		return 0;
	if (e.v4)
		memcpy(e.ip, mapped_prefix, 12);
	return inet_bind_endpoint(s, &e);
}

// A connected UDP socket hears its peer only, who may have come after it.
static bool hears(const struct socket *s, const struct socket *from)
{
	struct endpoint peer, e;

	if (s->state != SOCKET_CONNECTED || s->peer)
		return s->state != SOCKET_CONNECTED || s->peer == from;
	if (s->outside || inet_endpoint_of(&s->peer_name, &peer) || inet_endpoint_of(&from->name, &e))
		return false;
	return peer.port == e.port && (e.any || !memcmp(peer.ip, e.ip, sizeof(e.ip)));
}

// Best match first: a bound address beats the wildcard.
static struct socket *inet_find(struct socket *s, const struct net_address *a)
{
	struct socket *other, *best = NULL;
	struct endpoint e;
	int error = inet_endpoint_of(a, &e);

	if (error)
		return err_ptr(error);
	if (s->domain == AF_INET && a->family != AF_INET)
		return err_ptr(-EAFNOSUPPORT);
	if (!inet_is_loopback(&e) || !lo_is_up(s->net))
		return err_ptr(-ENETUNREACH);
	if (e.any) // to nobody in particular: to this host
		inet_set_loopback(&e);
	spin_lock(&ports_lock);
	list_for_each (other, bucket(e.port), name_node) {
		struct endpoint b;

		if (other->net != s->net || other->protocol != s->protocol || inet_endpoint_of(&other->name, &b) ||
		    b.port != e.port || !covers(other, &b, &e))
			continue;
		if (socket_is_connection(s) && other->state != SOCKET_LISTENING)
			continue;
		if (!socket_is_connection(s) && !hears(other, s))
			continue;
		if (!best || !b.any || other->peer == s)
			best = other;
	}
	if (best)
		socket_get(best);
	spin_unlock(&ports_lock);
	return best ? best : err_ptr(-ECONNREFUSED);
}

// Once connected, a socket bound to the wildcard shows the address it talks from.
int inet_get_name(struct socket *s, bool peer, struct net_address *out)
{
	struct endpoint e = { .any = true, .v4 = s->domain == AF_INET }, other;
	const struct net_address *a = peer ? &s->peer_name : &s->name;

	if (outside_name(s, peer, out))
		return 0;
	if (peer && (!s->peer_name.size || (s->state != SOCKET_CONNECTED && !s->peer_gone)))
		return -ENOTCONN;
	if (e.v4)
		memcpy(e.ip, mapped_prefix, 12);
	if (a->size && inet_endpoint_of(a, &e))
		return -ENOTCONN;
	if (e.any && (peer || s->state == SOCKET_CONNECTED)) {
		if (!peer && s->peer_name.size && !inet_endpoint_of(&s->peer_name, &other))
			e.v4 = other.v4;
		inet_set_loopback(&e);
	}
	inet_address_of(s->domain, &e, out);
	return 0;
}

// A socket bound to the wildcard sends from the loopback address of its target's kind.
static void inet_source(struct socket *s, const struct net_address *to, int domain, struct net_address *out)
{
	struct endpoint e, target;

	if (inet_endpoint_of(&s->name, &e))
		return;
	if (e.any) {
		if (!inet_endpoint_of(to, &target))
			e.v4 = target.v4;
		inet_set_loopback(&e);
	}
	inet_address_of(domain, &e, out);
}

void inet_unbind(struct socket *s)
{
	spin_lock(&ports_lock);
	if (s->named)
		list_remove(&s->name_node);
	s->named = false;
	spin_unlock(&ports_lock);
}

static bool is_ping(const struct socket *s, int protocol)
{
	return s->type == SOCK_DGRAM && protocol == (s->domain == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6);
}

static int inet_create(struct socket *s, int protocol)
{
	if (is_ping(s, protocol)) {
		ping_create(s);
		return 0;
	}
	switch (s->type) {
	case SOCK_STREAM: s->protocol = IPPROTO_TCP; break;
	case SOCK_DGRAM: s->protocol = IPPROTO_UDP; break;
	case SOCK_RAW: return net_capable(current->cred, s->net, CAP_NET_RAW) ? -EPROTONOSUPPORT : -EPERM;
	default: return -ESOCKTNOSUPPORT;
	}
	return protocol && protocol != s->protocol ? -EPROTONOSUPPORT : 0;
}

// ---- options: those that mean nothing on lo are kept and given back ----

struct kept_option {
	int level, option;
	int32_t initial;
};

static const struct kept_option kept[] = {
	{ IPPROTO_TCP, TCP_NODELAY, 0 },
	{ IPPROTO_TCP, TCP_CORK, 0 },
	{ IPPROTO_TCP, TCP_KEEPIDLE, 7200 },
	{ IPPROTO_TCP, TCP_KEEPINTVL, 75 },
	{ IPPROTO_TCP, TCP_KEEPCNT, 9 },
	{ IPPROTO_TCP, TCP_QUICKACK, 1 },
	{ IPPROTO_TCP, TCP_USER_TIMEOUT, 0 },
	{ IPPROTO_TCP, TCP_DEFER_ACCEPT, 0 },
	{ IPPROTO_TCP, TCP_SYNCNT, 6 },
	{ IPPROTO_TCP, TCP_LINGER2, 60 },
	{ IPPROTO_TCP, TCP_MAXSEG, 65483 },
	{ IPPROTO_TCP, TCP_FASTOPEN, 0 },
	{ IPPROTO_TCP, TCP_NOTSENT_LOWAT, 0 },
	{ IPPROTO_IP, IP_TOS, 0 },
	{ IPPROTO_IP, IP_TTL, 64 },
	{ IPPROTO_IP, IP_MTU_DISCOVER, 1 },
	{ IPPROTO_IP, IP_RECVERR, 0 },
	{ IPPROTO_IP, IP_PKTINFO, 0 },
	{ IPPROTO_IP, IP_RECVTTL, 0 },
	{ IPPROTO_IPV6, IPV6_UNICAST_HOPS, 64 },
	{ IPPROTO_IPV6, IPV6_TCLASS, 0 },
	{ IPPROTO_IPV6, IPV6_RECVPKTINFO, 0 },
	{ IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 0 },
	{ IPPROTO_IPV6, IPV6_RECVERR, 0 },
	{ IPPROTO_IP, IP_RETOPTS, 0 },
	{ IPPROTO_IP, IP_FREEBIND, 0 },
	{ IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 0 },
};
static_assert(array_count(kept) <= array_count(((struct socket *)0)->protocol_options), "room for kept options");

static int kept_index(const struct socket *s, int level, int option)
{
	if (level == IPPROTO_TCP && s->type != SOCK_STREAM)
		return -1;
	for (unsigned i = 0; i < array_count(kept); i++)
		if (kept[i].level == level && kept[i].option == option)
			return (int)i;
	return -1;
}

int32_t inet_kept_option(const struct socket *s, int level, int option)
{
	int i = kept_index(s, level, option);

	assert(i >= 0);
	return s->protocol_options[i] + kept[i].initial;
}

int inet_set_option(struct socket *s, int level, int option, struct uptr value, int size)
{
	int i = kept_index(s, level, option);
	int32_t v = 0;
	uint8_t byte;

	if (level == IPPROTO_TCP && option == TCP_CONGESTION)
		return 0;
	if (size >= (int)sizeof(v)) {
		if (get_user(&v, value))
			return -EFAULT;
	} else if (size >= 1 && level == IPPROTO_IP) {
		if (get_user(&byte, value))
			return -EFAULT;
		v = byte;
	} else {
		return -EINVAL;
	}
	if (level == IPPROTO_IPV6 && option == IPV6_V6ONLY && s->domain == AF_INET6) {
		if (s->named)
			return -EINVAL;
		s->flags = v ? s->flags | SOCKET_V6ONLY : s->flags & ~SOCKET_V6ONLY;
		return 0;
	}
	if (i < 0)
		return -ENOPROTOOPT;
	s->protocol_options[i] = v - kept[i].initial;
	return 0;
}

int inet_get_option(struct socket *s, int level, int option, struct uptr value, struct uptr size)
{
	int i = kept_index(s, level, option);
	int32_t v;

	if (level == IPPROTO_TCP && option == TCP_CONGESTION)
		return option_put(value, size, "cubic", 6);
	if (level == IPPROTO_TCP && option == TCP_INFO && s->type == SOCK_STREAM) {
		struct tcp_info info = { .tcpi_state = s->state == SOCKET_LISTENING   ? 10
						       : s->state == SOCKET_CONNECTED ? 1
										      : 7,
					 .tcpi_snd_mss = 65483,
					 .tcpi_rcv_mss = 65483 };

		return option_put(value, size, &info, sizeof(info));
	}
	if (level == IPPROTO_IPV6 && option == IPV6_V6ONLY)
		v = (s->flags & SOCKET_V6ONLY) != 0;
	else if (i >= 0)
		v = s->protocol_options[i] + kept[i].initial;
	else
		return level == IPPROTO_TCP || level == IPPROTO_IP || level == IPPROTO_IPV6 ? -ENOPROTOOPT
											    : -EOPNOTSUPP;
	return option_put(value, size, &v, sizeof(v));
}

#define INET_FAMILY(domain_, name_)                                                                                    \
	{                                                                                                              \
		.domain = domain_, .name = name_, .create = inet_create, .bind = inet_bind, .autobind = inet_autobind, \
		.find = inet_find, .get_name = inet_get_name, .source = inet_source, .unbind = inet_unbind,            \
		.set_option = inet_set_option, .get_option = inet_get_option, .connect_outside = outside_connect,      \
		.listen_outside = outside_listen, .send_outside = outside_send, .refuses_async = true,                 \
	}

const struct family inet_family = INET_FAMILY(AF_INET, "INET"), inet6_family = INET_FAMILY(AF_INET6, "INET6");
