// SPDX-License-Identifier: Apache-2.0
// UDP: each datagram is a message to or from the server, which has the socket.
#include "kernel/fs.h"
#include "kernel/slab.h"
#include "lib/string.h"
#include "network.h"

#define SMALL_BYTES 512u

int network_datagram_send(struct net_channel *c, struct iov_iter *from, const struct outside_endpoint *to)
{
	const struct network_message m = { .kind = NETWORK_SEND,
					   .channel = network_channel_of(c)->number,
					   .endpoint = *to };
	const size_t size = from->count;
	char small[SMALL_BYTES], *data = size <= sizeof(small) ? small : kalloc(size);
	int error = 0;

	if (!data)
		return -ENOBUFS;
	if (iov_copy_from(data, from, size) != size)
		error = -EFAULT;
	if (!error)
		error = network_ask(&m, data, size);
	if (data != small)
		kfree(data);
	return error == -EINTR ? -ERESTARTSYS : error;
}

int network_datagram_target(struct net_channel *c, const struct outside_endpoint *to)
{
	struct network_channel *n = network_channel_of(c);
	const struct network_message m = { .kind = NETWORK_TARGET, .channel = n->number, .endpoint = *to };
	bool one = true;
	int error;

	// Before `targeting`, so that who is told that another is at it can wait for the answer.
	if (!__atomic_compare_exchange_n(&c->answered, &one, false, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return -EALREADY;
	__atomic_store_n(&n->targeting, true, __ATOMIC_RELEASE);
	error = network_ask(&m, NULL, 0);
	if (error) {
		__atomic_store_n(&n->targeting, false, __ATOMIC_RELEASE);
		net_channel_connected(c, -error);
	}
	return error == -EINTR ? -ERESTARTSYS : error;
}

void network_datagram_take(struct network_channel *n, const struct network_message *m, const void *data, size_t size)
{
	void *room;
	struct packet *p = size <= OUTSIDE_DATAGRAM_MAX ? net_datagram_create(size, &room) : NULL;

	if (!p)
		return;
	memcpy(room, data, size);
	net_channel_datagram(&n->channel, p, &m->endpoint);
}
