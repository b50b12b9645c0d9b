// SPDX-License-Identifier: Apache-2.0
// Sockets as objects and as files.
//
// No packet ever leaves the cell: a socket's peer is another struct socket, and sending appends a packet to the receiver's
// queue. Address families (unix.c, inet.c) only supply names: bind, look up, report. All blocking, buffering and polling is
// common to them (connection.c, transfer.c). Those that reach the outside have a channel instead of a peer (channel.c).
//
// A sender may have `send_space` bytes of packets unread at receivers; packets hold a reference to their sender for that.
//
// References: a file holds its socket; connected sockets hold each other until either closes; a backlog holds the sockets in
// it. A socket's memory goes with the last of these.
//
// All sockets stand on one list, for /proc/net (tables.c).
//
// Lock order: epoll/file locks -> read_lock -> family's name lock -> socket.lock (never two at once, except socket_join())
//             -> waitq.lock. sockets_lock -> nothing.

#include "socket.h"

#include <asm/ioctls.h>
#include <linux/sockios.h>

#include "kernel/init.h"
#include "kernel/leak.h"
#include "kernel/uaccess.h"
#include "lib/fmt.h"

uint64_t socket_count;
static struct slab_cache *socket_cache;

static struct spinlock sockets_lock = SPINLOCK_INIT;
static struct list sockets = LIST_INIT(sockets); // struct socket.all_node, until the last reference goes. sockets_lock

static int64_t sockets_left(void) { return (int64_t)__atomic_load_n(&socket_count, __ATOMIC_RELAXED); }
static struct leak_counter leak = { .name = "sockets", .left = sockets_left };

static void init(void)
{
	socket_cache = slab_cache_create("socket", sizeof(struct socket), 64);
	leak_counter_register(&leak);
}
KERNEL_INIT(1, init);

struct ucred socket_current_cred(void)
{
	const struct cred *c = current->cred;

	return (struct ucred){ current->process->pid, c ? c->euid : 0, c ? c->egid : 0 }; // kernel tasks have none
}

struct ucred socket_cred_shown(struct ucred c)
{
	const struct cred *mine = current->cred;

	if (c.uid != ID_NONE) // somebody's
		c = (struct ucred){ pid_shown(c.pid), uid_shown(mine, c.uid), gid_shown(mine, c.gid) };
	return c;
}

struct socket *socket_create(const struct family *f, int type, struct net_namespace *net)
{
	struct socket *s = slab_alloc(socket_cache);

	if (!s)
		return NULL;
	refcount_set(&s->refs, 1);
	s->family = f;
	s->net = net;
	net_namespace_get(net);
	s->domain = f->domain;
	s->type = type;
	waitq_init(&s->wait);
	mutex_init(&s->read_lock);
	spin_init(&s->lock);
	list_init(&s->receive);
	list_init(&s->backlog);
	list_init(&s->backlog_node);
	list_init(&s->name_node);
	list_init(&s->inflight_node);
	s->self = socket_current_cred();
	s->peer_cred = (struct ucred){ 0, UINT32_MAX, UINT32_MAX };
	s->send_space = s->receive_space = SOCKET_SPACE_DEFAULT;
	s->receive_low = 1;
	__atomic_fetch_add(&socket_count, 1, __ATOMIC_RELAXED);
	spin_lock(&sockets_lock);
	list_add_tail(&sockets, &s->all_node);
	spin_unlock(&sockets_lock);
	return s;
}

void socket_put(struct socket *s)
{
	if (!refcount_put(&s->refs))
		return;
	assert(list_empty(&s->receive) && !s->peer && !s->channel && !s->named);
	spin_lock(&sockets_lock);
	list_remove(&s->all_node);
	s->net->gone_packets += s->lo_packets;
	s->net->gone_bytes += s->lo_bytes;
	spin_unlock(&sockets_lock);
	kfree(s->private);
	net_namespace_put(s->net);
	slab_free(socket_cache, s);
	__atomic_fetch_sub(&socket_count, 1, __ATOMIC_RELAXED);
}

struct socket *socket_next(struct socket *previous)
{
	struct list *at;
	struct socket *next = NULL;

	spin_lock(&sockets_lock);
	for (at = previous ? previous->all_node.next : sockets.next; at != &sockets; at = at->next) {
		struct socket *s = container_of(at, struct socket, all_node);

		if (refcount_get_unless_zero(&s->refs)) {
			next = s;
			break;
		}
	}
	spin_unlock(&sockets_lock);
	if (previous)
		socket_put(previous);
	return next;
}

void socket_loopback_count(const struct net_namespace *net, uint64_t *packets, uint64_t *bytes)
{
	struct socket *s;

	spin_lock(&sockets_lock); // all the while: a socket that goes would be counted twice or not at all
	*packets = net->gone_packets;
	*bytes = net->gone_bytes;
	list_for_each (s, &sockets, all_node) {
		if (s->net != net)
			continue;
		*packets += __atomic_load_n(&s->lo_packets, __ATOMIC_RELAXED);
		*bytes += __atomic_load_n(&s->lo_bytes, __ATOMIC_RELAXED);
	}
	spin_unlock(&sockets_lock);
}

struct socket *socket_peer_get(struct socket *s)
{
	struct socket *peer;

	spin_lock(&s->lock);
	peer = s->peer;
	if (peer)
		socket_get(peer);
	spin_unlock(&s->lock);
	return peer;
}

// ---- packets ----

struct packet *packet_create(size_t size)
{
	size_t total = sizeof(struct packet) + size;
	struct packet *p;
	unsigned order = 0;

	if (total <= 2048) {
		p = kalloc(total);
		if (p)
			p->order = PACKET_SMALL;
	} else {
		struct page *page; // not zeroed, unlike kalloc()

		while ((PAGE_SIZE << order) < total)
			order++;
		page = order <= PAGE_ORDER_MAX ? page_alloc(order, 0) : NULL;
		p = page ? page_address(page) : NULL;
		if (p) {
			*p = (struct packet){ .order = (uint8_t)order };
		}
	}
	if (!p)
		return NULL;
	list_init(&p->node);
	p->size = (uint32_t)size;
	p->data = (char *)(p + 1);
	p->charge = (uint32_t)(p->order == PACKET_SMALL ? total : PAGE_SIZE << order);
	return p;
}

void packet_free(struct packet *p)
{
	struct socket *owner = p->owner;

	if (owner) {
		size_t before = __atomic_fetch_sub(&owner->sent_bytes, p->charge, __ATOMIC_SEQ_CST);

		// Writers wait for any space, pollers for a good part of it.
		if (before >= owner->send_space || before * 4 > owner->send_space)
			waitq_wake_events(&owner->wait, 0, EPOLLOUT | EPOLLWRNORM);
		socket_put(owner);
	}
	if (p->rights)
		rights_drop(p->rights);
	kfree(p->from);
	if (p->order == PACKET_SMALL)
		kfree(p);
	else
		page_put(page_from_address(p));
}

// ---- files ----

struct socket *socket_from_file(struct file *f) { return f->ops == &socket_file_ops ? f->private : NULL; }

struct file *socket_file(struct socket *s, int flags)
{
	struct file *f = file_create_anonymous("socket:", &socket_file_ops, s, O_RDWR | (flags & SOCK_NONBLOCK),
					       S_IFSOCK | 0777);

	if (is_err(f)) {
		socket_close(s);
		return f;
	}
	spin_lock(&s->lock);
	s->file = f;
	spin_unlock(&s->lock);
	return f;
}

int socket_install(struct socket *s, int flags)
{
	struct file *f = socket_file(s, flags);

	return is_err(f) ? (int)ptr_err(f) : fd_install_new(f, flags & SOCK_CLOEXEC);
}

static ssize_t file_socket_read(struct file *f, struct iov_iter *to, loff_t *pos)
{
	struct message m = { .data = to, .nonblock = file_nonblock(f) };
	ssize_t result;

	(void)pos;
	if (!to->count && socket_is_connection(f->private))
		return 0;
	result = socket_receive(f->private, &m);
	if (m.rights)
		rights_drop(m.rights);
	return result;
}

static ssize_t file_socket_write(struct file *f, struct iov_iter *from, loff_t *pos)
{
	struct message m = { .data = from, .nonblock = file_nonblock(f) };
	struct socket *s = f->private;

	(void)pos;
	return s->family->send ? s->family->send(s, &m) : socket_send(s, &m);
}

static unsigned file_socket_poll(struct file *f, struct poll_table *t)
{
	struct socket *s = f->private;

	poll_wait(t, f, &s->wait);
	return socket_poll(s);
}

static long file_socket_ioctl(struct file *f, unsigned command, uint64_t argument)
{
	struct socket *s = f->private;
	struct net_channel *channel;
	struct packet *p;
	int32_t value;

	switch (command) {
	case FIONREAD: // of a datagram socket: the next datagram
		channel = socket_channel_get(s);
		spin_lock(&s->lock);
		value = s->state == SOCKET_LISTENING ? -EINVAL : (int32_t)s->receive_bytes;
		if (s->type == SOCK_DGRAM && !list_empty(&s->receive)) {
			p = list_first(&s->receive, struct packet, node);
			value = (int32_t)p->size;
		}
		spin_unlock(&s->lock);
		if (channel) {
			if (value >= 0 && s->type == SOCK_STREAM)
				value = (int32_t)channel->ops->queued(channel);
			net_channel_put(channel);
		}
		return value < 0 ? value : put_user(value, (struct uptr){ argument });
	case SIOCATMARK: value = urgent_at_mark(s); return put_user(value, (struct uptr){ argument });
	case FIOSETOWN:
	case SIOCSPGRP: return get_user(&value, (struct uptr){ argument }) ? -EFAULT : file_set_owner(f, value);
	case FIOGETOWN:
	case SIOCGPGRP:
		value = f->owner.pid ? pid_shown(f->owner.pid) : 0;
		if (f->owner.type == F_OWNER_PGRP)
			value = -value;
		return put_user(value, (struct uptr){ argument });
	case SIOCOUTQ:
		value = (int32_t)__atomic_load_n(&s->sent_bytes, __ATOMIC_RELAXED);
		return put_user(value, (struct uptr){ argument });
	}
	return interface_ioctl(s, command, argument);
}

static void file_socket_release(struct file *f)
{
	struct socket *s = f->private;

	spin_lock(&s->lock);
	s->file = NULL;
	spin_unlock(&s->lock);
	socket_close(s);
}

const struct file_ops socket_file_ops = {
	.read = file_socket_read,
	.write = file_socket_write,
	.poll = file_socket_poll,
	.async = true,
	.ioctl = file_socket_ioctl,
	.release = file_socket_release,
	.stream = true,
};
