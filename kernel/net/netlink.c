// SPDX-License-Identifier: Apache-2.0
// AF_NETLINK: sockets and messages. What is answered stands in route.c (NETLINK_ROUTE) and sock_diag.c (NETLINK_SOCK_DIAG); everything else
// gets an error message. A cell's devices neither come nor go: NETLINK_KOBJECT_UEVENT has nothing to say. netlink(7).
//
// Answers are made when the question is sent, in packets of up to NETLINK_PACKET_BYTES.

#include "message.h"
#include "netlink.h"

#include "kernel/netlink.h"

#define REQUEST_MAX 4096u

static int netlink_create(struct socket *s, int protocol)
{
	if (s->type != SOCK_RAW && s->type != SOCK_DGRAM)
		return -ESOCKTNOSUPPORT;
	if (protocol != NETLINK_ROUTE && protocol != NETLINK_SOCK_DIAG && protocol != NETLINK_KOBJECT_UEVENT)
		return -EPROTONOSUPPORT;
	s->protocol = protocol;
	return 0;
}

static struct sockaddr_nl *nl_of(struct net_address *a) { return (struct sockaddr_nl *)a->bytes; }

static int name_self(struct socket *s, uint32_t id, uint32_t groups)
{
	struct sockaddr_nl *nl = nl_of(&s->name);

	nl->nl_family = AF_NETLINK;
	nl->nl_pid = id ? id : (uint32_t)current->process->own_pid;
	nl->nl_groups = groups;
	s->name.size = sizeof(*nl);
	return 0;
}

static int netlink_bind(struct socket *s, const struct net_address *a)
{
	const struct sockaddr_nl *nl = (const struct sockaddr_nl *)a->bytes;

	if (a->size < sizeof(*nl) || a->family != AF_NETLINK)
		return -EINVAL;
	return name_self(s, nl->nl_pid, nl->nl_groups);
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
	struct nlattr *a = netlink_append(r, sizeof(*a) + size);

	a->nla_type = type;
	a->nla_len = (unsigned short)(sizeof(*a) + size);
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

static void put_error(struct netlink_reply *r, int error)
{
	struct nlmsghdr *h = netlink_begin(r, NLMSG_ERROR, 0);
	struct nlmsgerr *e = netlink_append(r, sizeof(*e));

	e->error = error;
	e->msg = *r->request;
	netlink_end(r, h);
}

static int answer(struct netlink_reply *r)
{
	switch (r->socket->protocol) {
	case NETLINK_ROUTE: return route_answer(r);
	case NETLINK_SOCK_DIAG: return sock_diag_answer(r);
	default: return -EPERM; // nobody makes events of devices
	}
}

static int reply_to(struct socket *s, const struct nlmsghdr *request)
{
	struct netlink_reply r = { .socket = s, .request = request };
	struct nlmsghdr *h;
	int error = netlink_reserve(&r, SMALL_REPLY_BYTES);

	if (error)
		return error;
	error = answer(&r);
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
		(void)name_self(s, 0, 0);
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
