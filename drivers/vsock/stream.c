// SPDX-License-Identifier: Apache-2.0
// Streams: the table, the life of a connection, credit (VIRTIO 1.2, 5.10.6).
//
// A stream is made by a socket of ours (vsock_stream_connect) or by a host that opens one to the outside service's port. It leaves
// the table with the host's reset, ours, or when the host does not answer our close in time. send.c and receive.c move its bytes.
#include "vsock.h"

#include "kernel/init.h"
#include "kernel/random.h"
#include "kernel/slab.h"
#include "lib/string.h"

#define BUCKETS 64u

static struct bucket {
	struct spinlock lock;
	struct list streams;
} buckets[BUCKETS];
static uint32_t stream_count; // atomic
static uint32_t streams_max;  // constant after start-up

static struct bucket *bucket_of(uint32_t local_port, uint32_t remote_port)
{
	return &buckets[(local_port * 31 + remote_port) % BUCKETS];
}

// ---- the table ----

static struct vsock_stream *find_locked(struct bucket *b, uint32_t local_port, uint32_t remote_port)
{
	struct vsock_stream *s;

	list_for_each (s, &b->streams, node)
		if (s->local_port == local_port && s->remote_port == remote_port)
			return s;
	return NULL;
}

struct vsock_stream *vsock_stream_find(uint32_t local_port, uint32_t remote_port)
{
	struct bucket *b = bucket_of(local_port, remote_port);
	struct vsock_stream *s;

	spin_lock(&b->lock);
	s = find_locked(b, local_port, remote_port);
	if (s)
		net_channel_get(&s->channel);
	spin_unlock(&b->lock);
	return s;
}

static bool table_add(struct vsock_stream *s, uint32_t local_port, uint32_t remote_port)
{
	struct bucket *b = bucket_of(local_port, remote_port);
	bool added = false;

	spin_lock(&b->lock);
	if (!find_locked(b, local_port, remote_port)) {
		s->local_port = local_port;
		s->remote_port = remote_port;
		net_channel_get(&s->channel);
		list_add(&b->streams, &s->node);
		added = s->on_table = true;
	}
	spin_unlock(&b->lock);
	return added;
}

static void table_remove(struct vsock_stream *s)
{
	struct bucket *b = bucket_of(s->local_port, s->remote_port);
	bool removed;

	spin_lock(&b->lock);
	removed = s->on_table;
	if (removed)
		list_remove(&s->node);
	s->on_table = false;
	spin_unlock(&b->lock);
	if (removed)
		net_channel_put(&s->channel);
}

// ---- life ----

uint32_t vsock_stream_count(void) { return __atomic_load_n(&stream_count, __ATOMIC_RELAXED); }

struct vsock_stream *vsock_stream_create(const struct net_channel_ops *ops, const struct vsock_client *client)
{
	struct vsock_stream *s = NULL;

	if (__atomic_add_fetch(&stream_count, 1, __ATOMIC_RELAXED) <= streams_max)
		s = kalloc(sizeof(*s));
	if (!s) {
		__atomic_fetch_sub(&stream_count, 1, __ATOMIC_RELAXED);
		return NULL;
	}
	net_channel_init(&s->channel, ops);
	s->client = client;
	s->room_wanted = 1;
	spin_init(&s->lock);
	list_init(&s->node);
	list_init(&s->chunks);
	list_init(&s->due_node);
	list_init(&s->close_node);
	list_init(&s->starved_node);
	return s;
}

void vsock_stream_destroy(struct net_channel *c)
{
	struct vsock_stream *s = vsock_stream_of(c);

	vsock_chunks_free(s);
	kfree(s);
	__atomic_fetch_sub(&stream_count, 1, __ATOMIC_RELAXED);
}

int vsock_stream_connect(struct vsock_stream *s, uint32_t local_port, uint32_t remote_port)
{
	unsigned tries = local_port ? 1 : 64;
	bool added = false;

	if (!vsock_works())
		return -ENETDOWN;
	while (!added && tries--)
		added = table_add(s, local_port ? local_port : VSOCK_PORT_FIRST + (uint32_t)random_u64() % (1u << 30),
				  remote_port);
	if (!added)
		return -EADDRINUSE;
	spin_lock(&s->lock);
	s->state = VSOCK_ASKED;
	spin_unlock(&s->lock);
	vsock_due(s, VSOCK_DUE_REQUEST);
	return 0;
}

// The stream is over; the socket, if it still has one, hears why.
static void end_stream(struct vsock_stream *s, int error)
{
	enum vsock_state before;

	spin_lock(&s->lock);
	before = s->state;
	s->state = VSOCK_OVER;
	s->peer_ended = s->peer_deaf = true;
	spin_unlock(&s->lock);
	if (before == VSOCK_OVER)
		return;
	table_remove(s);
	vsock_linger_end(s);
	if (!__atomic_load_n(&s->channel.answered, __ATOMIC_ACQUIRE))
		net_channel_connected(&s->channel, before == VSOCK_ASKED ? s->client->refused : error);
	else
		net_channel_failed(&s->channel, error);
}

void vsock_stream_reset(struct vsock_stream *s, int error)
{
	bool tell = s->state != VSOCK_OVER;

	if (tell)
		vsock_due(s, VSOCK_DUE_RESET);
	end_stream(s, error);
}

void vsock_stream_expire(struct vsock_stream *s)
{
	if (s->state != VSOCK_OVER)
		vsock_stream_reset(s, ETIMEDOUT);
}

void vsock_streams_fail(int error)
{
	for (unsigned i = 0; i < BUCKETS; i++) {
		for (;;) {
			struct vsock_stream *s = NULL;

			spin_lock(&buckets[i].lock);
			if (!list_empty(&buckets[i].streams)) {
				s = list_first(&buckets[i].streams, struct vsock_stream, node);
				net_channel_get(&s->channel);
			}
			spin_unlock(&buckets[i].lock);
			if (!s)
				break;
			end_stream(s, error);
			net_channel_put(&s->channel);
		}
	}
}

// What was read to its end is closed politely; the host answers with a reset. Otherwise the other side is told that its words
// were lost.
void vsock_stream_close(struct net_channel *c, bool abort)
{
	struct vsock_stream *s = vsock_stream_of(c);
	bool lost;
	enum vsock_state state;

	spin_lock(&s->lock);
	s->closed = s->ended = true;
	state = s->state;
	lost = abort || s->received_bytes;
	spin_unlock(&s->lock);
	if (state == VSOCK_OPEN && !lost) {
		vsock_linger(s); // first: the answer may come at once
		vsock_due(s, VSOCK_DUE_CLOSE);
	} else if (state != VSOCK_NEW) {
		vsock_stream_reset(s, 0);
	}
	net_channel_put(c);
}

// ---- what the host says ----

static void on_data(struct vsock_stream *s, const char *data, uint32_t size)
{
	bool wrong, unwanted;

	spin_lock(&s->lock);
	unwanted = s->closed;
	wrong = s->state != VSOCK_OPEN || s->peer_ended || size > VSOCK_BUFFER_BYTES - s->received_bytes;
	if (unwanted)
		s->taken += size;
	spin_unlock(&s->lock);
	if (unwanted)
		return;
	if (wrong || vsock_stream_append(s, data, size)) {
		vsock_stream_reset(s, ECONNRESET);
		return;
	}
	if (s->client->received(s))
		net_channel_changed(&s->channel, EPOLLIN | EPOLLRDNORM);
}

static void on_response(struct vsock_stream *s)
{
	bool ours;

	spin_lock(&s->lock);
	ours = s->state == VSOCK_ASKED;
	if (ours)
		s->state = VSOCK_OPEN;
	spin_unlock(&s->lock);
	if (!ours) {
		vsock_stream_reset(s, ECONNRESET);
	} else if (s->closed) {
		vsock_stream_reset(s, 0);
	} else {
		s->client->opened(s);
	}
}

static void on_shutdown(struct vsock_stream *s, uint32_t flags)
{
	spin_lock(&s->lock);
	s->peer_ended |= (flags & VIRTIO_VSOCK_SHUTDOWN_SEND) != 0;
	s->peer_deaf |= (flags & VIRTIO_VSOCK_SHUTDOWN_RCV) != 0;
	spin_unlock(&s->lock);
	net_channel_changed(&s->channel, 0);
}

static void on_credit(struct vsock_stream *s, const struct virtio_vsock_hdr *h)
{
	bool more;

	spin_lock(&s->lock);
	more = !vsock_credit_locked(s) || h->fwd_cnt != s->peer_taken;
	s->peer_buffer = h->buf_alloc;
	s->peer_taken = h->fwd_cnt;
	more &= vsock_credit_locked(s) != 0;
	spin_unlock(&s->lock);
	if (!more || s->state != VSOCK_OPEN)
		return;
	if (s->client->room)
		s->client->room(s);
	net_channel_changed(&s->channel, EPOLLOUT | EPOLLWRNORM);
}

// A stream the host opens: to the outside service only.
static void on_request(const struct virtio_vsock_hdr *h)
{
	struct vsock_stream *s;

	if (h->dst_port != OUTSIDE_PORT)
		return;
	s = vsock_stream_create(&vsock_outside_ops, &vsock_incoming_client);
	if (!s)
		return;
	s->state = VSOCK_OPEN;
	s->peer_buffer = h->buf_alloc;
	s->peer_taken = h->fwd_cnt;
	if (table_add(s, h->dst_port, h->src_port)) {
		vsock_due(s, VSOCK_DUE_RESPONSE);
		vsock_linger(s); // until it has said what it is for
	}
	net_channel_put(&s->channel);
}

// To a stream that does not exist, or no more.
static void refuse(const struct virtio_vsock_hdr *h)
{
	struct virtio_vsock_hdr answer = { .src_cid = vsock_local_cid(),
					   .dst_cid = VSOCK_HOST,
					   .src_port = h->dst_port,
					   .dst_port = h->src_port,
					   .type = VIRTIO_VSOCK_TYPE_STREAM,
					   .op = VIRTIO_VSOCK_OP_RST };
	struct page *page;

	if (h->op == VIRTIO_VSOCK_OP_RST)
		return;
	page = vsock_transmit_page(sizeof(answer)); // lost when there is none: the host will see
	if (page && vsock_transmit(&answer, page))
		page_put(page);
}

void vsock_stream_handle(const struct virtio_vsock_hdr *h, const char *data)
{
	struct vsock_stream *s = vsock_stream_find(h->dst_port, h->src_port);

	if (!s && h->op == VIRTIO_VSOCK_OP_REQUEST) {
		on_request(h);
		s = vsock_stream_find(h->dst_port, h->src_port);
		if (!s)
			refuse(h);
		else
			net_channel_put(&s->channel);
		return;
	}
	if (!s) {
		refuse(h);
		return;
	}
	on_credit(s, h);
	switch (h->op) {
	case VIRTIO_VSOCK_OP_RESPONSE: on_response(s); break;
	case VIRTIO_VSOCK_OP_RST: end_stream(s, ECONNRESET); break;
	case VIRTIO_VSOCK_OP_SHUTDOWN: on_shutdown(s, h->flags); break;
	case VIRTIO_VSOCK_OP_RW: on_data(s, data, h->len); break;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST: vsock_due(s, VSOCK_DUE_CREDIT); break;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE: break;
	default: vsock_stream_reset(s, ECONNRESET); break;
	}
	net_channel_put(&s->channel);
}

// What all streams together may hold back for their readers is half of memory.
static void init(void)
{
	struct page_stats memory;

	page_stats_get(&memory);
	streams_max =
		(uint32_t)min(memory.total_pages * PAGE_SIZE / VSOCK_BUFFER_BYTES / 2, (uint64_t)VSOCK_STREAMS_MAX);
	for (unsigned i = 0; i < BUCKETS; i++) {
		spin_init(&buckets[i].lock);
		list_init(&buckets[i].streams);
	}
}
KERNEL_INIT(2, init);
