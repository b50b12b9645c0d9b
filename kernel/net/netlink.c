// SPDX-License-Identifier: Apache-2.0
// AF_NETLINK, protocol NETLINK_ROUTE, as much as getifaddrs(3) and if_nameindex(3) ask: one interface, lo, with 127.0.0.1 and
// ::1. Everything else is answered with an error message. netlink(7), rtnetlink(7).

#include "message.h"

#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include "kernel/netlink.h"

#define REQUEST_MAX 4096u
#define REPLY_MAX   2048u

struct reply {
	char *data;
	size_t used;
};

static int netlink_create(struct socket *s, int protocol)
{
	if (s->type != SOCK_RAW && s->type != SOCK_DGRAM)
		return -ESOCKTNOSUPPORT;
	if (protocol != NETLINK_ROUTE)
		return -EPROTONOSUPPORT;
	s->protocol = protocol;
	return 0;
}

static struct sockaddr_nl *nl_of(struct net_address *a) { return (struct sockaddr_nl *)a->bytes; }

static int name_self(struct socket *s, uint32_t id)
{
	struct sockaddr_nl *nl = nl_of(&s->name);

	nl->nl_family = AF_NETLINK;
	nl->nl_pid = id ? id : (uint32_t)current->process->pid;
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

static void *append(struct reply *r, size_t size)
{
	void *at = r->data + r->used;

	assert(r->used + align_up(size, (size_t)NLMSG_ALIGNTO) <= REPLY_MAX);
	r->used += align_up(size, (size_t)NLMSG_ALIGNTO);
	return at;
}

static void attribute(struct reply *r, unsigned short type, const void *data, size_t size)
{
	struct rtattr *a = append(r, sizeof(*a) + size);

	a->rta_type = type;
	a->rta_len = (unsigned short)(sizeof(*a) + size);
	memcpy(a + 1, data, size);
}

static struct nlmsghdr *begin(struct reply *r, const struct nlmsghdr *request, struct socket *s, uint16_t type,
			      uint16_t flags)
{
	struct nlmsghdr *h = append(r, sizeof(*h));

	*h = (struct nlmsghdr){ .nlmsg_type = type,
				.nlmsg_flags = flags,
				.nlmsg_seq = request->nlmsg_seq,
				.nlmsg_pid = nl_of(&s->name)->nl_pid };
	return h;
}

static void end(struct reply *r, struct nlmsghdr *h) { h->nlmsg_len = (uint32_t)(r->data + r->used - (char *)h); }

static void put_link(struct reply *r, const struct nlmsghdr *request, struct socket *s, uint16_t flags)
{
	static const uint8_t no_address[6];
	struct nlmsghdr *h = begin(r, request, s, RTM_NEWLINK, flags);
	struct ifinfomsg *i = append(r, sizeof(*i));
	uint32_t mtu = 65536, queue = 1000;
	uint8_t state = 0; // IF_OPER_UNKNOWN, as lo has it

	*i = (struct ifinfomsg){ .ifi_type = ARPHRD_LOOPBACK,
				 .ifi_index = 1,
				 .ifi_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING | IFF_LOWER_UP };
	attribute(r, IFLA_IFNAME, "lo", 3);
	attribute(r, IFLA_MTU, &mtu, sizeof(mtu));
	attribute(r, IFLA_TXQLEN, &queue, sizeof(queue));
	attribute(r, IFLA_OPERSTATE, &state, sizeof(state));
	attribute(r, IFLA_ADDRESS, no_address, sizeof(no_address));
	attribute(r, IFLA_BROADCAST, no_address, sizeof(no_address));
	end(r, h);
}

static void put_address(struct reply *r, const struct nlmsghdr *request, struct socket *s, uint8_t family)
{
	static const uint8_t v4[4] = { 127, 0, 0, 1 }, v6[16] = { [15] = 1 };
	struct nlmsghdr *h = begin(r, request, s, RTM_NEWADDR, NLM_F_MULTI);
	struct ifaddrmsg *i = append(r, sizeof(*i));

	*i = (struct ifaddrmsg){ .ifa_family = family,
				 .ifa_prefixlen = family == AF_INET ? 8 : 128,
				 .ifa_flags = IFA_F_PERMANENT,
				 .ifa_scope = RT_SCOPE_HOST,
				 .ifa_index = 1 };
	if (family == AF_INET) {
		attribute(r, IFA_ADDRESS, v4, sizeof(v4));
		attribute(r, IFA_LOCAL, v4, sizeof(v4));
		attribute(r, IFA_LABEL, "lo", 3);
	} else {
		attribute(r, IFA_ADDRESS, v6, sizeof(v6));
	}
	end(r, h);
}

static void put_error(struct reply *r, const struct nlmsghdr *request, struct socket *s, int error)
{
	struct nlmsghdr *h = begin(r, request, s, NLMSG_ERROR, 0);
	struct nlmsgerr *e = append(r, sizeof(*e));

	e->error = error;
	e->msg = *request;
	end(r, h);
}

static void answer(struct socket *s, const struct nlmsghdr *request, struct reply *r)
{
	uint8_t family = request->nlmsg_len > NLMSG_HDRLEN ? *(const uint8_t *)(request + 1) : 0;
	bool dump = (request->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
	struct nlmsghdr *h;
	int32_t *status;

	if (request->nlmsg_type == RTM_GETLINK) {
		put_link(r, request, s, dump ? NLM_F_MULTI : 0);
	} else if (request->nlmsg_type == RTM_GETADDR && dump) {
		if (family != AF_INET6)
			put_address(r, request, s, AF_INET);
		if (family != AF_INET)
			put_address(r, request, s, AF_INET6);
	} else if ((request->nlmsg_type == RTM_GETROUTE || request->nlmsg_type == RTM_GETNEIGH ||
		    request->nlmsg_type == RTM_GETRULE) &&
		   dump) {
		// none
	} else {
		put_error(r, request, s, -EOPNOTSUPP);
		return;
	}
	if (dump) {
		h = begin(r, request, s, NLMSG_DONE, NLM_F_MULTI);
		status = append(r, sizeof(*status));
		*status = 0;
		end(r, h);
	}
}

static int reply_to(struct socket *s, const struct nlmsghdr *request)
{
	struct packet *p = packet_create(REPLY_MAX);
	struct reply r;

	if (!p)
		return -ENOBUFS;
	memset(p->data, 0, REPLY_MAX);
	r = (struct reply){ p->data, 0 };
	answer(s, request, &r);
	p->size = (uint32_t)r.used;
	p->from = kalloc(sizeof(*p->from));
	if (p->from)
		(void)netlink_get_name(s, true, p->from);
	if (!socket_deliver(s, p))
		packet_free(p);
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
