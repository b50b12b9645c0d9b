// SPDX-License-Identifier: Apache-2.0
// Datagram sockets of ICMP and ICMPv6, as ping(8) opens them: they send echo requests and hear the answers. icmp(7).
//
// Only the loopback interface answers, at once: the request comes back to its sender's queue as the reply. Nothing leaves the cell.
// A socket's port is the identifier of its requests.
#include "inet.h"
#include "message.h"

#define BYTES_MAX 65515u // of one IPv4 packet, without its header

// Types of RFC 792 and RFC 4443: <linux/icmp.h> drags the C library in.
enum { REPLY_V4 = 0, REQUEST_V4 = 8, REQUEST_V6 = 128, REPLY_V6 = 129 };

struct echo { // of either protocol
	uint8_t type, code;
	uint16_t checksum, id, sequence; // network order
};
static_assert(sizeof(struct echo) == 8, "an ICMP header");

static uint16_t swap16(uint16_t x) { return (uint16_t)(x << 8 | x >> 8); }

static bool is_v4(const struct socket *s) { return s->domain == AF_INET; }

// RFC 1071, over what stands in network order; `sum`: of what is counted but not sent.
static uint16_t checksum(const char *data, size_t size, uint64_t sum)
{
	uint16_t word;

	for (size_t at = 0; at + 1 < size; at += 2) {
		memcpy(&word, data + at, sizeof(word));
		sum += word;
	}
	if (size & 1)
		sum += (uint8_t)data[size - 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

// RFC 8200, 8.1: what a packet from ::1 to ::1 adds.
static uint64_t pseudo_header_v6(size_t size)
{
	return 2 * (uint64_t)swap16(1) + swap16((uint16_t)(size >> 16)) + swap16((uint16_t)size) +
	       swap16(IPPROTO_ICMPV6);
}

static int check_address(const struct socket *s, const struct net_address *a, struct endpoint *e)
{
	int error = inet_endpoint_of(a, e);

	if (error)
		return error;
	if (a->family != s->domain)
		return is_v4(s) ? -EAFNOSUPPORT : -EINVAL;
	return e->v4 == is_v4(s) ? 0 : -EINVAL;
}

static int ping_bind(struct socket *s, const struct net_address *a)
{
	struct endpoint e;
	int error = check_address(s, a, &e);

	if (error)
		return error;
	return inet_is_loopback(&e) ? inet_bind_endpoint(s, &e) : -EADDRNOTAVAIL;
}

// To connect: nobody is found, but where it may be sent to is known.
static struct socket *ping_find(struct socket *s, const struct net_address *a)
{
	struct endpoint e;
	int error = check_address(s, a, &e);

	if (error)
		return err_ptr(error);
	return err_ptr(inet_is_loopback(&e) && lo_is_up(s->net) ? -ECONNREFUSED : -ENETUNREACH);
}

// The request in `p` becomes the answer of `from`.
static void turn_round(const struct socket *s, struct packet *p, const struct endpoint *from)
{
	struct echo *h = (struct echo *)p->data;
	struct endpoint name;

	h->type = is_v4(s) ? REPLY_V4 : REPLY_V6;
	h->id = inet_endpoint_of(&s->name, &name) ? 0 : swap16(name.port);
	h->checksum = 0;
	h->checksum = checksum(p->data, p->size, is_v4(s) ? 0 : pseudo_header_v6(p->size));
	inet_address_of(s->domain, from, p->from);
}

static int target_of(const struct socket *s, const struct message *m, struct endpoint *e)
{
	if (!m->address.size && s->state != SOCKET_CONNECTED)
		return -EDESTADDRREQ;
	int error = check_address(s, m->address.size ? &m->address : &s->peer_name, e);
	if (error)
		return error;
	if (!inet_is_loopback(e) || !lo_is_up(s->net))
		return -ENETUNREACH;
	if (e->any)
		inet_set_loopback(e);
	e->port = 0;
	return 0;
}

// A packet with the request, checked. err_ptr.
static struct packet *take_request(const struct socket *s, struct message *m)
{
	size_t size = m->data->count;

	if (size > BYTES_MAX)
		return err_ptr(-EMSGSIZE);
	if (size < sizeof(struct echo))
		return err_ptr(-EINVAL);
	void *data;
	struct packet *p = net_datagram_create(size, &data);
	if (!p)
		return err_ptr(-ENOBUFS);
	int error = iov_copy_from(data, m->data, size) == size ? 0 : -EFAULT;
	const struct echo *h = data;
	if (!error && (h->type != (is_v4(s) ? REQUEST_V4 : REQUEST_V6) || h->code))
		error = -EINVAL;
	if (!error)
		return p;
	packet_free(p);
	return err_ptr(error);
}

static ssize_t ping_send(struct socket *s, struct message *m)
{
	ssize_t size = (ssize_t)m->data->count;
	struct endpoint to;
	int error = socket_take_error(s);

	if (error)
		return -error;
	if (m->flags & MSG_OOB)
		return -EOPNOTSUPP;
	error = inet_autobind(s);
	if (error)
		return error;
	struct packet *p = take_request(s, m);
	if (is_err(p))
		return ptr_err(p);
	error = target_of(s, m, &to);
	if (error) {
		packet_free(p);
		return error;
	}
	turn_round(s, p, &to);
	bool room = s->receive_bytes + p->size <= s->receive_space && s->receive_count < SOCKET_QUEUE_MAX;
	if (!room || !socket_deliver(s, p))
		packet_free(p);
	return size;
}

static bool ping_tells_hops(const struct socket *s)
{
	return is_v4(s) ? inet_kept_option(s, IPPROTO_IP, IP_RECVTTL)
			: inet_kept_option(s, IPPROTO_IPV6, IPV6_RECVHOPLIMIT);
}

#define PING_FAMILY(domain_, name_)                                                                                \
	{                                                                                                          \
		.domain = domain_, .name = name_, .bind = ping_bind, .autobind = inet_autobind, .find = ping_find, \
		.get_name = inet_get_name, .unbind = inet_unbind, .set_option = inet_set_option,                   \
		.get_option = inet_get_option, .tells_hops = ping_tells_hops, .send = ping_send,                   \
		.refuses_async = true,                                                                             \
	}

static const struct family ping_family = PING_FAMILY(AF_INET, "PING"), ping6_family = PING_FAMILY(AF_INET6, "PINGv6");

void ping_create(struct socket *s)
{
	s->family = is_v4(s) ? &ping_family : &ping6_family;
	s->flags |= SOCKET_REUSEADDR; // identifiers may be shared
	s->protocol = is_v4(s) ? IPPROTO_ICMP : IPPROTO_ICMPV6;
}
