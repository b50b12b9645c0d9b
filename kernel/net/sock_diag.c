// SPDX-License-Identifier: Apache-2.0
// NETLINK_SOCK_DIAG: a namespace's sockets, as ss(8) asks for them. sock_diag(7).
//
// Whole lists only: of a request's filters its states count, and not its byte code, which ss applies to what it gets once more.

#include "netlink.h"
#include "tables.h"

#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>

#include "lib/string.h"

#define MESSAGE_MAX 512u // of one socket, with its name
#define FAMILIES    46u  // AF_MAX

static uint64_t peer_inode(struct socket *s)
{
	struct socket *peer = socket_peer_get(s);
	uint64_t inode = 0;

	if (!peer)
		return 0;
	spin_lock(&peer->lock);
	if (peer->file)
		inode = peer->file->inode->ino;
	spin_unlock(&peer->lock);
	socket_put(peer);
	return inode;
}

// What is queued and what may be, as Linux counts it: bytes, or connections that wait to be accepted.
static void queues_of(const struct socket_view *v, uint32_t *receive, uint32_t *send)
{
	bool listens = v->socket->state == SOCKET_LISTENING;

	*receive = listens ? v->backlog_count : (uint32_t)v->receive_bytes;
	*send = listens ? v->backlog_max : (uint32_t)__atomic_load_n(&v->socket->sent_bytes, __ATOMIC_RELAXED);
}

static void put_shutdown(struct netlink_reply *r, unsigned short type, const struct socket *s)
{
	uint8_t shut = (s->shut_read ? 1 : 0) | (s->shut_write ? 2 : 0);

	netlink_attribute(r, type, &shut, sizeof(shut));
}

// ---- internet ----

static void put_endpoint(struct socket *s, bool peer, __be16 *port, __be32 address[4])
{
	struct net_address a;

	if (s->family->get_name(s, peer, &a))
		return;
	*port = s->domain == AF_INET ? a.in.sin_port : a.in6.sin6_port;
	if (s->domain == AF_INET)
		memcpy(address, &a.in.sin_addr, sizeof(a.in.sin_addr));
	else
		memcpy(address, &a.in6.sin6_addr, sizeof(a.in6.sin6_addr));
}

// Neither the wildcard nor an IPv4 address in disguise: a socket with that name hears IPv6 only.
static bool is_ipv6_address(const __be32 a[4])
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	return memcmp(a, mapped, sizeof(mapped)) != 0 && (a[0] | a[1] | a[2] | a[3]);
}

static void put_internet(struct netlink_reply *r, const struct socket_view *v)
{
	struct socket *s = v->socket;
	struct nlmsghdr *h = netlink_begin(r, SOCK_DIAG_BY_FAMILY, NLM_F_MULTI);
	struct inet_diag_msg *m = netlink_append(r, sizeof(*m));

	*m = (struct inet_diag_msg){ .idiag_family = (uint8_t)s->domain,
				     .idiag_state = (uint8_t)v->state,
				     .idiag_uid = s->self.uid,
				     .idiag_inode = (uint32_t)v->inode,
				     .id.idiag_cookie = { (uint32_t)v->inode } };
	put_endpoint(s, false, &m->id.idiag_sport, m->id.idiag_src);
	put_endpoint(s, true, &m->id.idiag_dport, m->id.idiag_dst);
	queues_of(v, &m->idiag_rqueue, &m->idiag_wqueue);
	put_shutdown(r, INET_DIAG_SHUTDOWN, s);
	if (s->domain == AF_INET6 && (v->state == TCP_LISTEN || v->state == TCP_CLOSE)) {
		uint8_t only = s->flags & SOCKET_V6ONLY || is_ipv6_address(m->id.idiag_src);
		netlink_attribute(r, INET_DIAG_SKV6ONLY, &only, sizeof(only));
	}
	netlink_end(r, h);
}

static int list_internet(struct netlink_reply *r, const struct inet_diag_req_v2 *q)
{
	int type = q->sdiag_protocol == IPPROTO_TCP ? SOCK_STREAM : q->sdiag_protocol == IPPROTO_UDP ? SOCK_DGRAM : 0;
	struct socket *s = NULL;
	int error = 0;

	while (type && (s = socket_next(s))) {
		if (error || s->net != r->socket->net || s->domain != q->sdiag_family)
			continue;
		struct socket_view v = socket_look(s);
		if (!socket_in_table(&v, q->sdiag_family, type) || !(q->idiag_states >> v.state & 1))
			continue;
		error = netlink_reserve(r, MESSAGE_MAX);
		if (!error)
			put_internet(r, &v);
	}
	return type ? error : -ENOENT;
}

// ---- unix ----

static unsigned unix_state(const struct socket *s)
{
	return s->state == SOCKET_LISTENING ? TCP_LISTEN : s->state == SOCKET_CONNECTED ? TCP_ESTABLISHED : TCP_CLOSE;
}

static void put_unix_name(struct netlink_reply *r, struct socket *s)
{
	const unsigned first = offsetof(struct sockaddr_un, sun_path);
	struct net_address a;

	if (s->family->get_name(s, false, &a) || a.size <= first)
		return;
	netlink_attribute(r, UNIX_DIAG_NAME, a.un.sun_path, min(a.size, (unsigned)sizeof(a.un)) - first);
}

static void put_unix_place(struct netlink_reply *r, struct socket *s)
{
	struct unix_diag_vfs vfs;
	dev_t dev = 0;
	ino_t ino = 0;

	spin_lock(&s->lock);
	struct dentry *d = s->bound_path.dentry;
	if (d)
		inode_identify(d->inode, &dev, &ino);
	spin_unlock(&s->lock);
	vfs = (struct unix_diag_vfs){ (uint32_t)ino, (uint32_t)dev };
	if (d)
		netlink_attribute(r, UNIX_DIAG_VFS, &vfs, sizeof(vfs));
}

static void put_unix(struct netlink_reply *r, const struct socket_view *v, uint32_t show)
{
	struct socket *s = v->socket;
	struct nlmsghdr *h = netlink_begin(r, SOCK_DIAG_BY_FAMILY, NLM_F_MULTI);
	struct unix_diag_msg *m = netlink_append(r, sizeof(*m));

	*m = (struct unix_diag_msg){ .udiag_family = AF_UNIX,
				     .udiag_type = (uint8_t)s->type,
				     .udiag_state = (uint8_t)unix_state(s),
				     .udiag_ino = (uint32_t)v->inode,
				     .udiag_cookie = { (uint32_t)v->inode } };
	if (show & UDIAG_SHOW_NAME)
		put_unix_name(r, s);
	if (show & UDIAG_SHOW_VFS)
		put_unix_place(r, s);
	uint32_t peer = show & UDIAG_SHOW_PEER ? (uint32_t)peer_inode(s) : 0;
	if (peer)
		netlink_attribute(r, UNIX_DIAG_PEER, &peer, sizeof(peer));
	if (show & UDIAG_SHOW_RQLEN) {
		struct unix_diag_rqlen length;
		queues_of(v, &length.udiag_rqueue, &length.udiag_wqueue);
		netlink_attribute(r, UNIX_DIAG_RQLEN, &length, sizeof(length));
	}
	if (show & UDIAG_SHOW_UID)
		netlink_attribute(r, UNIX_DIAG_UID, &s->self.uid, sizeof(s->self.uid));
	put_shutdown(r, UNIX_DIAG_SHUTDOWN, s);
	netlink_end(r, h);
}

static int list_unix(struct netlink_reply *r, const struct unix_diag_req *q)
{
	struct socket *s = NULL;
	int error = 0;

	while ((s = socket_next(s))) {
		if (error || s->net != r->socket->net || s->domain != AF_UNIX || s->state == SOCKET_CLOSED ||
		    !(q->udiag_states >> unix_state(s) & 1))
			continue;
		struct socket_view v = socket_look(s);
		error = netlink_reserve(r, MESSAGE_MAX);
		if (!error)
			put_unix(r, &v, q->udiag_show);
	}
	return error;
}

// ---- requests ----

int sock_diag_answer(struct netlink_reply *r)
{
	const struct nlmsghdr *h = r->request;
	size_t size = h->nlmsg_len - sizeof(*h);
	const struct sock_diag_req *q = (const void *)(h + 1);

	if (h->nlmsg_type != SOCK_DIAG_BY_FAMILY || !netlink_is_dump(h))
		return -EOPNOTSUPP;
	if (size < sizeof(*q))
		return -EINVAL;
	switch (q->sdiag_family) {
	case AF_INET:
	case AF_INET6:
		return size < sizeof(struct inet_diag_req_v2) ? -EINVAL
							      : list_internet(r, (const struct inet_diag_req_v2 *)q);
	case AF_UNIX:
		return size < sizeof(struct unix_diag_req) ? -EINVAL : list_unix(r, (const struct unix_diag_req *)q);
	}
	return q->sdiag_family < FAMILIES ? -ENOENT : -EINVAL;
}
