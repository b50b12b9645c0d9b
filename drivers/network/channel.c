// SPDX-License-Identifier: Apache-2.0
// Channels: the table by number, and their life. A channel leaves the table when its socket lets go or the server says that it came
// to nothing; its descriptor is closed with the last reference, since another thread may be about to use it.
#include "kernel/init.h"
#include "kernel/leak.h"
#include "kernel/slab.h"
#include "network.h"
#include "port/host.h"

#define BUCKETS 256u

static struct bucket {
	struct spinlock lock;
	struct list channels;
} buckets[BUCKETS];
static uint32_t channel_count; // atomic
static uint32_t last_number;   // atomic

static struct bucket *bucket_of(uint32_t number) { return &buckets[number % BUCKETS]; }

static struct network_channel *find_locked(struct bucket *b, uint32_t number)
{
	struct network_channel *n;

	list_for_each (n, &b->channels, node)
		if (n->number == number)
			return n;
	return NULL;
}

struct network_channel *network_channel_find(uint32_t number)
{
	struct bucket *b = bucket_of(number);
	struct network_channel *n;

	spin_lock(&b->lock);
	n = find_locked(b, number);
	if (n)
		net_channel_get(&n->channel);
	spin_unlock(&b->lock);
	return n;
}

static bool add(struct network_channel *n, uint32_t number)
{
	struct bucket *b = bucket_of(number);
	bool added;

	spin_lock(&b->lock);
	added = !find_locked(b, number);
	if (added) {
		n->number = number;
		n->on_table = true;
		net_channel_get(&n->channel);
		list_add(&b->channels, &n->node);
	}
	spin_unlock(&b->lock);
	return added;
}

bool network_channel_add(struct network_channel *n, uint32_t number)
{
	bool added;

	if (number)
		return add(n, number);
	do // all around, and never 0
		added = add(n, __atomic_fetch_add(&last_number, 1, __ATOMIC_RELAXED) % (NETWORK_SERVER - 1) + 1);
	while (!added);
	return true;
}

void network_channel_remove(struct network_channel *n)
{
	struct bucket *b = bucket_of(n->number);
	bool removed;

	spin_lock(&b->lock);
	removed = n->on_table;
	if (removed)
		list_remove(&n->node);
	n->on_table = false;
	spin_unlock(&b->lock);
	if (removed)
		net_channel_put(&n->channel);
}

// ---- life ----

struct network_channel *network_channel_create(enum network_channel_kind kind)
{
	struct network_channel *n = NULL;

	if (__atomic_add_fetch(&channel_count, 1, __ATOMIC_RELAXED) <= NETWORK_CHANNELS_MAX)
		n = kalloc(sizeof(*n));
	if (!n) {
		__atomic_fetch_sub(&channel_count, 1, __ATOMIC_RELAXED);
		return NULL;
	}
	net_channel_init(&n->channel, &network_channel_ops);
	n->kind = kind;
	n->fd = -1;
	list_init(&n->node);
	return n;
}

static void channel_destroy(struct net_channel *c)
{
	struct network_channel *n = network_channel_of(c);

	if (n->fd >= 0)
		port_file_close(n->fd);
	kfree(n);
	__atomic_fetch_sub(&channel_count, 1, __ATOMIC_RELAXED);
}

static void channel_close(struct net_channel *c, bool abort)
{
	struct network_channel *n = network_channel_of(c);
	const struct network_message m = { .kind = NETWORK_CLOSE, .channel = n->number, .value = abort };

	if (n->number) {
		network_channel_remove(n);
		network_tell(&m); // also of one that failed: the server may not have said so yet
	}
	net_channel_put(c);
}

static void channel_accepted(struct net_channel *c)
{
	const struct network_message m = { .kind = NETWORK_ROOM, .channel = network_channel_of(c)->number, .value = 1 };

	network_tell(&m);
}

const struct net_channel_ops network_channel_ops = {
	.send = network_connection_send,
	.receive = network_connection_receive,
	.ready = network_connection_ready,
	.queued = network_connection_queued,
	.shutdown = network_connection_shutdown,
	.wait = network_connection_wait,
	.take_error = network_connection_take_error,
	.send_datagram = network_datagram_send,
	.set_target = network_datagram_target,
	.accepted = channel_accepted,
	.close = channel_close,
	.destroy = channel_destroy,
};

static int64_t channels_left(void) { return (int64_t)__atomic_load_n(&channel_count, __ATOMIC_RELAXED); }
static struct leak_counter leak = { .name = "network-channels", .left = channels_left };

static void init(void)
{
	for (unsigned i = 0; i < BUCKETS; i++) {
		spin_init(&buckets[i].lock);
		list_init(&buckets[i].channels);
	}
	leak_counter_register(&leak);
}
KERNEL_INIT(2, init);
