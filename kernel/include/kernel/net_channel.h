// SPDX-License-Identifier: Apache-2.0
// A socket's way out of the cell: a byte stream, a listening port or a datagram port that some backend carries: drivers/vsock where
// there is such a device, drivers/network where there are descriptors of a host. Owner: kernel/net/channel.c.
//
// A channel belongs to one socket until that closes it. Both sides count references: the socket its own, the backend its own, and
// whoever calls an operation. Operations never wait for the outside, so that kernel/net does all the blocking: a backend that
// cannot go on answers -EAGAIN and says net_channel_changed() when it can.
//
// Locks: operations are called with no spinlock held, but `ready` and `queued`, which may be called in any context. Upcalls are made
// in task context with no spinlock held, but net_channel_changed(), which is safe anywhere but under the waiters' locks.
// channel.lock -> nothing.
#pragma once

#include "abi/outside.h"
#include "kernel/poll.h"
#include "kernel/refcount.h"
#include "kernel/spinlock.h"

struct iov_iter;
struct packet;
struct socket;

struct net_channel;
struct net_channel_ops {
	// Bytes taken (>= 1), -EAGAIN, -EPIPE, -EFAULT, -ENOBUFS.
	ssize_t (*send)(struct net_channel *c, struct iov_iter *from);
	// Bytes moved, 0 at the end of the stream, -EAGAIN, -EFAULT. A peek leaves them there and begins `skip` bytes later. One
	// reader at a time.
	ssize_t (*receive)(struct net_channel *c, struct iov_iter *to, bool peek, size_t skip);
	// Datagrams go whole. -EAGAIN, -EFAULT, -ENOBUFS.
	int (*send_datagram)(struct net_channel *c, struct iov_iter *from, const struct outside_endpoint *to);
	// Asks for datagrams to and from `to` only (port 0: from anybody); answered by net_channel_connected().
	int (*set_target)(struct net_channel *c, const struct outside_endpoint *to);
	void (*accepted)(struct net_channel *c);  // a listener's socket took one connection: room for another
	unsigned (*ready)(struct net_channel *c); // EPOLLIN (at the end too), EPOLLOUT, EPOLLRDHUP
	size_t (*queued)(struct net_channel *c);  // bytes that wait to be received
	void (*shutdown)(struct net_channel *c, bool read,
			 bool write); // write: no more will be sent; read: nobody will look
	// Waits until one of `events` (EPOLLIN, EPOLLOUT) may have come, or the deadline. 0, -ETIMEDOUT, -EINTR (signal pending). NULL:
	// net_channel_changed() tells of them. A shutdown ends it. Not before the channel is connected.
	int (*wait)(struct net_channel *c, unsigned events, uint64_t deadline_ns);
	int (*take_error)(
		struct net_channel *c); // a positive errno that nobody was told of yet, else 0. NULL: there is none
	// The socket has let go; consumes its reference. abort: what was sent may be lost, and the other side is to know.
	void (*close)(struct net_channel *c, bool abort);
	void (*destroy)(struct net_channel *c); // last reference
};

struct net_channel {
	const struct net_channel_ops *ops;
	struct refcount refs;
	struct spinlock lock;
	struct socket *owner;                // lock; not counted: cleared before the socket goes
	bool answered;                       // the outside has said yes or no; atomic
	int error;                           // positive; before `answered`
	struct outside_endpoint local, peer; // real addresses; before `answered`
};

// For backends.
void net_channel_init(struct net_channel *c, const struct net_channel_ops *ops); // refs = 1, the socket's
static inline void net_channel_get(struct net_channel *c) { refcount_get(&c->refs); }
static inline void net_channel_put(struct net_channel *c)
{
	if (refcount_put(&c->refs))
		c->ops->destroy(c);
}
void net_channel_changed(struct net_channel *c, unsigned events);
// Does anybody wait for net_channel_changed()? Who looked before must have done so with a full barrier in between.
bool net_channel_awaited(struct net_channel *c);
// What was asked for (a connection, a listening port, a target) is there, or failed with a positive errno.
void net_channel_connected(struct net_channel *c, int error);
void net_channel_failed(struct net_channel *c, int error); // it ended before its time; what came before stays readable
// A datagram came: a packet with room for it, to be filled and handed over (consumed). One that the socket has no room for is dropped,
// as in any network.
struct packet *net_datagram_create(size_t size, void **data); // NULL
void net_channel_datagram(struct net_channel *c, struct packet *p, const struct outside_endpoint *from);
void net_channel_datagram_error(struct net_channel *c, int error); // positive: of something sent before
// A connection came to a listener. 0: `child` has found its socket, whose reference it is; else the caller closes it.
int must_check net_channel_incoming(struct net_channel *listener, struct net_channel *child);
