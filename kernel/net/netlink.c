// SPDX-License-Identifier: Apache-2.0
// AF_NETLINK. Protocol NETLINK_ROUTE, as much as getifaddrs(3) and if_nameindex(3) ask, and to bring the interface up and down:
// each namespace has one, lo, with 127.0.0.1 and ::1. NETLINK_SOCK_DIAG is in sock_diag.c. Everything else is answered with an
// error message. netlink(7), rtnetlink(7).
//
// Answers are made when the question is sent, in packets of up to NETLINK_PACKET_BYTES.

#include "message.h"
#include "netlink.h"

#include <linux/capability.h>
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include "kernel/netlink.h"

#define REQUEST_MAX       4096u
#define SMALL_REPLY_BYTES 512u        // holds all that is known of lo, or an error
enum { OPER_UNKNOWN, OPER_DOWN = 2 }; // IF_OPER_*: <linux/if.h> drags the C library in

static int netlink_create(struct socket *s, int protocol)
{
	if (s->type != SOCK_RAW && s->type != SOCK_DGRAM)
		return -ESOCKTNOSUPPORT;
	if (protocol != NETLINK_ROUTE && protocol != NETLINK_SOCK_DIAG)
		return -EPROTONOSUPPORT;
	s->protocol = protocol;
	return 0;
}

static struct sockaddr_nl *nl_of(struct net_address *a) { return (struct sockaddr_nl *)a->bytes; }

static int name_self(struct socket *s, uint32_t id)
{
	struct sockaddr_nl *nl = nl_of(&s->name);

	nl->nl_family = AF_NETLINK;
	nl->nl_pid = id ? id : (uint32_t)current->process->own_pid;
	s->name.size = sizeof(*nl);
	return 0;
}

static int netlink_bind(struct socket *s, const struct net_address *a)
{
	if (a->size < sizeof(struct sockaddr_nl) || a->family != AF_NETLINK)
		return -EINVAL;
	return name_self(s, ((const struct sockaddr_nl *)a->bytes)->nl_pid);
}

static struct socket *netlink_find(struct socket *s, const struct net_address *a)
{
	(void)s;
	(void)a;
	return err_ptr(-ECONNREFUSED);
}

static int netlink_get_name(struct socket *s, bool peer, struct net_address *out)
{
	*out = peer ? (struct net_address){ 0 } : s->name;
	out->family = AF_NETLINK;
	out->size = sizeof(struct sockaddr_nl);
	return 0;
}

static void netlink_unbind(struct socket *s) { (void)s; }

// ---- messages ----

static void flush(struct netlink_reply *r)
{
	struct packet *p = r->packet;

	if (!p)
		return;
	r->packet = NULL;
	p->size = r->used;
	p->from = kalloc(sizeof(*p->from));
	if (p->from)
		(void)netlink_get_name(r->socket, true, p->from);
	if (!r->used || !socket_deliver(r->socket, p))
		packet_free(p);
}

int netlink_reserve(struct netlink_reply *r, size_t size)
{
	assert(size <= NETLINK_PACKET_BYTES);
	if (r->packet && r->used + size <= NETLINK_PACKET_BYTES)
		return 0;
	flush(r);
	if (r->socket->receive_count > SOCKET_QUEUE_MAX)
		return -ENOBUFS;
	r->packet = packet_create(NETLINK_PACKET_BYTES);
	if (!r->packet)
		return -ENOBUFS;
	memset(r->packet->data, 0, NETLINK_PACKET_BYTES);
	r->used = 0;
	return 0;
}

void *netlink_append(struct netlink_reply *r, size_t size)
{
	void *at = r->packet->data + r->used;

	assert(r->used + align_up(size, (size_t)NLMSG_ALIGNTO) <= NETLINK_PACKET_BYTES);
	r->used += (uint32_t)align_up(size, (size_t)NLMSG_ALIGNTO);
	return at;
}

void netlink_attribute(struct netlink_reply *r, unsigned short type, const void *data, size_t size)
{
	struct rtattr *a = netlink_append(r, sizeof(*a) + size);

	a->rta_type = type;
	a->rta_len = (unsigned short)(sizeof(*a) + size);
	memcpy(a + 1, data, size);
}

struct nlmsghdr *netlink_begin(struct netlink_reply *r, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *h = netlink_append(r, sizeof(*h));

	*h = (struct nlmsghdr){ .nlmsg_type = type,
				.nlmsg_flags = flags,
				.nlmsg_seq = r->request->nlmsg_seq,
				.nlmsg_pid = nl_of(&r->socket->name)->nl_pid };
	return h;
}

void netlink_end(struct netlink_reply *r, struct nlmsghdr *h)
{
	h->nlmsg_len = (uint32_t)(r->packet->data + r->used - (char *)h);
}

static void put_link(struct netlink_reply *r, uint16_t flags)
{
	const struct net_namespace *net = r->socket->net;
	static const uint8_t no_address[6];
	struct nlmsghdr *h = netlink_begin(r, RTM_NEWLINK, flags);
	struct ifinfomsg *i = netlink_append(r, sizeof(*i));
	uint32_t mtu = 65536, queue = 1000;
	uint8_t state = lo_is_up(net) ? OPER_UNKNOWN : OPER_DOWN; // as lo has it

	*i = (struct ifinfomsg){ .ifi_type = ARPHRD_LOOPBACK,
				 .ifi_index = LO_INDEX,
				 .ifi_flags = lo_flags(net) | (lo_is_up(net) ? IFF_LOWER_UP : 0) };
	netlink_attribute(r, IFLA_IFNAME, "lo", 3);
	netlink_attribute(r, IFLA_MTU, &mtu, sizeof(mtu));
	netlink_attribute(r, IFLA_TXQLEN, &queue, sizeof(queue));
	netlink_attribute(r, IFLA_OPERSTATE, &state, sizeof(state));
	netlink_attribute(r, IFLA_ADDRESS, no_address, sizeof(no_address));
	netlink_attribute(r, IFLA_BROADCAST, no_address, sizeof(no_address));
	netlink_end(r, h);
}

static void put_address(struct netlink_reply *r, uint8_t family)
{
	static const uint8_t v4[4] = { 127, 0, 0, 1 }, v6[16] = { [15] = 1 };
	struct nlmsghdr *h = netlink_begin(r, RTM_NEWADDR, NLM_F_MULTI);
	struct ifaddrmsg *i = netlink_append(r, sizeof(*i));

	*i = (struct ifaddrmsg){ .ifa_family = family,
				 .ifa_prefixlen = family == AF_INET ? 8 : 128,
				 .ifa_flags = IFA_F_PERMANENT,
				 .ifa_scope = RT_SCOPE_HOST,
				 .ifa_index = LO_INDEX };
	if (family == AF_INET) {
		netlink_attribute(r, IFA_ADDRESS, v4, sizeof(v4));
		netlink_attribute(r, IFA_LOCAL, v4, sizeof(v4));
		netlink_attribute(r, IFA_LABEL, "lo", 3);
	} else {
		netlink_attribute(r, IFA_ADDRESS, v6, sizeof(v6));
	}
	netlink_end(r, h);
}

static void put_error(struct netlink_reply *r, int error)
{
	struct nlmsghdr *h = netlink_begin(r, NLMSG_ERROR, 0);
	struct nlmsgerr *e = netlink_append(r, sizeof(*e));

	e->error = error;
	e->msg = *r->request;
	netlink_end(r, h);
}

// ---- NETLINK_ROUTE: 0 or -errno, to be answered ----

// The rest of a request behind its fixed part of `size` bytes: attributes. NULL: it has none of that type and at least that long.
static const void *find_attribute(const struct nlmsghdr *h, size_t size, unsigned short type, size_t least)
{
	size_t at = NLMSG_HDRLEN + NLMSG_ALIGN(size);

	while (at + sizeof(struct rtattr) <= h->nlmsg_len) {
		const struct rtattr *a = (const void *)((const char *)h + at);

		if (a->rta_len < sizeof(*a) || a->rta_len > h->nlmsg_len - at)
			return NULL;
		if (a->rta_type == type && a->rta_len - sizeof(*a) >= least)
			return a + 1;
		at += RTA_ALIGN(a->rta_len);
	}
	return NULL;
}

// The fixed part of a request. NULL: it is too short.
static const void *fixed_part(const struct nlmsghdr *h, size_t size)
{
	return h->nlmsg_len >= NLMSG_HDRLEN + size ? h + 1 : NULL;
}

// Does a request for one interface mean lo?
static bool means_lo(const struct nlmsghdr *h, const struct ifinfomsg *i)
{
	if (i->ifi_index)
		return i->ifi_index == LO_INDEX;
	const char *name = find_attribute(h, sizeof(*i), IFLA_IFNAME, 3);
	return name && !strncmp(name, "lo", 3);
}

// Whoever opened the socket may have handed it to somebody with more rights, or less.
static bool may_change(const struct socket *s)
{
	return net_capable(current->cred, s->net, CAP_NET_ADMIN) &&
	       (!s->file || net_capable(s->file->cred, s->net, CAP_NET_ADMIN));
}

static int get_link(struct netlink_reply *r)
{
	const struct ifinfomsg *i = fixed_part(r->request, sizeof(*i));

	if (netlink_is_dump(r->request)) {
		put_link(r, NLM_F_MULTI);
		return 0;
	}
	if (!i)
		return -EINVAL;
	if (!means_lo(r->request, i))
		return -ENODEV;
	put_link(r, 0);
	return 0;
}

static int set_link(struct netlink_reply *r)
{
	const struct nlmsghdr *h = r->request;
	const struct ifinfomsg *i = fixed_part(h, sizeof(*i));
	struct net_namespace *net = r->socket->net;

	if (!may_change(r->socket))
		return -EPERM;
	if (!i)
		return -EINVAL;
	if (!means_lo(h, i))
		return h->nlmsg_flags & NLM_F_CREATE ? -EOPNOTSUPP : -ENODEV;
	if (h->nlmsg_flags & NLM_F_EXCL)
		return -EEXIST;
	if (!i->ifi_flags && !i->ifi_change)
		return 0;
	uint32_t change = i->ifi_change ? i->ifi_change : UINT32_MAX;
	if (change & IFF_UP)
		lo_set_flags(net, i->ifi_flags);
	return 0;
}

static int add_address(struct netlink_reply *r)
{
	const struct ifaddrmsg *i = fixed_part(r->request, sizeof(*i));

	if (!may_change(r->socket))
		return -EPERM;
	if (!i)
		return -EINVAL;
	if (i->ifa_index != LO_INDEX)
		return -ENODEV;
	const void *local = find_attribute(r->request, sizeof(*i), IFA_LOCAL, sizeof(uint32_t));
	if (i->ifa_family != AF_INET || !local)
		return -EOPNOTSUPP;
	uint32_t address;
	memcpy(&address, local, sizeof(address));
	int error = lo_add_address(r->socket->net, address);
	return error == -EEXIST && !(r->request->nlmsg_flags & NLM_F_EXCL) ? 0 : error;
}

static int list_addresses(struct netlink_reply *r)
{
	const struct net_namespace *net = r->socket->net;
	uint8_t family = r->request->nlmsg_len > NLMSG_HDRLEN ? *(const uint8_t *)(r->request + 1) : 0;

	if (!netlink_is_dump(r->request))
		return -EOPNOTSUPP;
	if (family != AF_INET6 && lo_is_addressed(net))
		put_address(r, AF_INET);
	if (family != AF_INET && lo_is_up(net))
		put_address(r, AF_INET6);
	return 0;
}

static int answer_route(struct netlink_reply *r)
{
	switch (r->request->nlmsg_type) {
	case RTM_GETLINK: return get_link(r);
	case RTM_NEWLINK:
	case RTM_SETLINK: return set_link(r);
	case RTM_NEWADDR: return add_address(r);
	case RTM_GETADDR: return list_addresses(r);
	case RTM_GETROUTE:
	case RTM_GETNEIGH:
	case RTM_GETRULE: return netlink_is_dump(r->request) ? 0 : -EOPNOTSUPP; // there are none
	}
	return -EOPNOTSUPP;
}

static int reply_to(struct socket *s, const struct nlmsghdr *request)
{
	struct netlink_reply r = { .socket = s, .request = request };
	struct nlmsghdr *h;
	int error = netlink_reserve(&r, SMALL_REPLY_BYTES);

	if (error)
		return error;
	error = s->protocol == NETLINK_SOCK_DIAG ? sock_diag_answer(&r) : answer_route(&r);
	if (!netlink_reserve(&r, SMALL_REPLY_BYTES)) {
		if (error || (request->nlmsg_flags & NLM_F_ACK && !netlink_is_dump(request))) {
			put_error(&r, error);
		} else if (netlink_is_dump(request)) {
			h = netlink_begin(&r, NLMSG_DONE, NLM_F_MULTI);
			(void)netlink_append(&r, sizeof(int32_t)); // its status: 0
			netlink_end(&r, h);
		}
	}
	flush(&r);
	return 0;
}

static ssize_t netlink_send(struct socket *s, struct message *m)
{
	size_t size = m->data->count, at = 0;
	char *request;
	int error = 0;

	if (size > REQUEST_MAX)
		return -EMSGSIZE;
	if (s->receive_count > SOCKET_QUEUE_MAX)
		return -ENOBUFS;
	request = kalloc(size + sizeof(struct nlmsghdr));
	if (!request)
		return -ENOBUFS;
	if (iov_copy_from(request, m->data, size) != size)
		error = -EFAULT;
	if (!s->name.size)
		(void)name_self(s, 0);
	while (!error && at + sizeof(struct nlmsghdr) <= size) {
		const struct nlmsghdr *h = (const struct nlmsghdr *)(request + at);

		if (h->nlmsg_len < sizeof(*h) || h->nlmsg_len > size - at)
			break;
		if (h->nlmsg_flags & NLM_F_REQUEST)
			error = reply_to(s, h);
		at += align_up((size_t)h->nlmsg_len, (size_t)NLMSG_ALIGNTO);
	}
	kfree(request);
	return error ? error : (ssize_t)size;
}

static int netlink_set_option(struct socket *s, int level, int option, struct uptr value, int size)
{
	(void)s;
	(void)option;
	(void)value;
	(void)size;
	return level == 270
		       ? 0
		       : -ENOPROTOOPT; // SOL_NETLINK: memberships, extended acknowledgements: nothing ever happens on lo
}

const struct family netlink_family = {
	.domain = AF_NETLINK,
	.name = "NETLINK",
	.create = netlink_create,
	.bind = netlink_bind,
	.find = netlink_find,
	.get_name = netlink_get_name,
	.unbind = netlink_unbind,
	.set_option = netlink_set_option,
	.send = netlink_send,
};

// ---- messages of other parts of the kernel ----

struct netlink_note {
	struct socket *socket; // a reference
	struct packet *packet;
};

// The netlink socket of a descriptor, referenced; err_ptr.
static struct socket *socket_of_fd(int fd)
{
	struct file *f = fd_get(fd);
	struct socket *s = f ? socket_from_file(f) : err_ptr(-EBADF);

	if (!s)
		s = err_ptr(-ENOTSOCK);
	else if (!is_err(s) && s->family != &netlink_family)
		s = err_ptr(-EINVAL);
	if (!is_err(s))
		socket_get(s);
	file_put(f);
	return s;
}

int netlink_note_create(int fd, const void *data, size_t size, struct netlink_note **out)
{
	struct netlink_note *n;
	struct socket *s = socket_of_fd(fd);

	if (is_err(s))
		return (int)ptr_err(s);
	n = kalloc(sizeof(*n));
	if (n)
		n->packet = packet_create(size);
	if (!n || !n->packet || s->receive_count > SOCKET_QUEUE_MAX) {
		int error = n && n->packet ? -EAGAIN : -ENOMEM;
		if (n && n->packet)
			packet_free(n->packet);
		kfree(n);
		socket_put(s);
		return error;
	}
	memcpy(n->packet->data, data, size);
	n->packet->size = (uint32_t)size;
	n->socket = s;
	*out = n;
	return 0;
}

void netlink_note_send(struct netlink_note *n, char last)
{
	n->packet->data[n->packet->size - 1] = last;
	if (!socket_deliver(n->socket, n->packet))
		packet_free(n->packet);
	socket_put(n->socket);
	kfree(n);
}

void netlink_note_drop(struct netlink_note *n)
{
	packet_free(n->packet);
	socket_put(n->socket);
	kfree(n);
}
