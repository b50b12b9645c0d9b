// SPDX-License-Identifier: Apache-2.0
// Streams: the table, the life of a connection, credit (VIRTIO 1.2, 5.10.6).
//
// A stream is made by a socket of ours (vsock_stream_connect) or by a host that opens one to the outside service's port. It leaves
// the table with the host's reset, ours, or when the host does not answer our close in time. The bytes of one packet are copied by
// the receiving task alone, those it hands to readers are announced under the lock; so copies need no lock.
#include "vsock.h"

#include "kernel/fs.h"
#include "kernel/init.h"
#include "kernel/random.h"
#include "kernel/slab.h"
#include "lib/string.h"

#define BUCKETS     64u
#define CREDIT_STEP (VSOCK_BUFFER_BYTES / 4)

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

static void chunk_free(struct vsock_chunk *c) { page_put(page_from_address(c)); }

void vsock_stream_destroy(struct net_channel *c)
{
	struct vsock_stream *s = vsock_stream_of(c);

	while (!list_empty(&s->chunks)) {
		struct vsock_chunk *chunk = list_first(&s->chunks, struct vsock_chunk, node);

		list_remove(&chunk->node);
		chunk_free(chunk);
	}
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
	// One that came from the host and has found its socket is none of ours any more.
	if (s->state != VSOCK_OVER && (s->closed || !__atomic_load_n(&s->channel.answered, __ATOMIC_ACQUIRE)))
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
void vsock_stream_close(struct net_channel *c)
{
	struct vsock_stream *s = vsock_stream_of(c);
	bool lost;
	enum vsock_state state;

	spin_lock(&s->lock);
	s->closed = s->ended = true;
	state = s->state;
	lost = s->received_bytes;
	spin_unlock(&s->lock);
	if (state == VSOCK_OPEN && !lost) {
		vsock_due(s, VSOCK_DUE_CLOSE);
		vsock_linger(s);
	} else if (state != VSOCK_NEW) {
		vsock_stream_reset(s, 0);
	}
	net_channel_put(c);
}

// ---- sending ----

static uint32_t credit_locked(const struct vsock_stream *s)
{
	uint32_t used = s->sent - s->peer_taken;

	return used < s->peer_buffer ? s->peer_buffer - used : 0;
}

static struct virtio_vsock_hdr header_locked(struct vsock_stream *s, uint16_t operation, uint32_t size)
{
	s->taken_told = s->taken;
	return (struct virtio_vsock_hdr){ .src_cid = vsock_local_cid(),
					  .dst_cid = VSOCK_HOST,
					  .src_port = s->local_port,
					  .dst_port = s->remote_port,
					  .len = size,
					  .type = VIRTIO_VSOCK_TYPE_STREAM,
					  .op = operation,
					  .buf_alloc = VSOCK_BUFFER_BYTES,
					  .fwd_cnt = s->taken };
}

bool vsock_stream_control(struct vsock_stream *s, unsigned due)
{
	static const struct {
		unsigned due;
		uint16_t operation;
		uint32_t flags;
	} packets[] = {
		{ VSOCK_DUE_REQUEST, VIRTIO_VSOCK_OP_REQUEST, 0 },
		{ VSOCK_DUE_RESPONSE, VIRTIO_VSOCK_OP_RESPONSE, 0 },
		{ VSOCK_DUE_CREDIT, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0 },
		{ VSOCK_DUE_END, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND },
		{ VSOCK_DUE_CLOSE, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND | VIRTIO_VSOCK_SHUTDOWN_RCV },
		{ VSOCK_DUE_RESET, VIRTIO_VSOCK_OP_RST, 0 },
	};
	struct page *page = vsock_transmit_page(sizeof(struct virtio_vsock_hdr));
	struct virtio_vsock_hdr h;
	unsigned i = 0;
	int error;

	if (!page)
		return false;
	while (packets[i].due != due)
		i++;
	spin_lock(&s->lock);
	h = header_locked(s, packets[i].operation, 0);
	spin_unlock(&s->lock);
	h.flags = packets[i].flags;
	error = vsock_transmit(&h, page);
	if (error)
		page_put(page);
	return error != -ENOSPC; // with a dead device nothing is due any more
}

// Takes credit for what is to be sent: at most `most`, all of it or nothing with `all`. Bytes or -errno.
static ssize_t reserve(struct vsock_stream *s, size_t most, bool all, struct virtio_vsock_hdr *h)
{
	ssize_t n;

	spin_lock(&s->lock);
	n = (ssize_t)min(most, (size_t)credit_locked(s));
	if (s->state != VSOCK_OPEN || s->ended || s->peer_deaf)
		n = -EPIPE;
	else if (!n || (all && (size_t)n < most))
		n = -EAGAIN;
	if (n > 0) {
		s->sent += (uint32_t)n;
		*h = header_locked(s, VIRTIO_VSOCK_OP_RW, (uint32_t)n);
	}
	spin_unlock(&s->lock);
	return n;
}

static void give_back(struct vsock_stream *s, uint32_t bytes)
{
	spin_lock(&s->lock);
	s->sent -= bytes;
	spin_unlock(&s->lock);
}

static uint32_t credit(struct vsock_stream *s)
{
	uint32_t n;

	spin_lock(&s->lock);
	n = credit_locked(s);
	if (s->state != VSOCK_OPEN || s->ended || s->peer_deaf)
		n = UINT32_MAX; // no reason to wait
	spin_unlock(&s->lock);
	return n;
}

static int transmit(struct vsock_stream *s, struct virtio_vsock_hdr *h, struct page *page)
{
	int error = vsock_transmit(h, page);

	if (!error)
		return 0;
	give_back(s, h->len);
	if (error != -ENOSPC)
		return -EPIPE;
	vsock_starve(s);
	return -EAGAIN;
}

// A page for a packet of up to `size` bytes; less when memory is in pieces and that will do.
static struct page *packet_page(size_t *size, bool all)
{
	struct page *page = vsock_transmit_page(sizeof(struct virtio_vsock_hdr) + *size);

	if (!page && !all && *size > PAGE_SIZE / 2) {
		*size = PAGE_SIZE - sizeof(struct virtio_vsock_hdr);
		page = vsock_transmit_page(PAGE_SIZE);
	}
	return page;
}

static char *packet_data(struct page *page) { return (char *)page_address(page) + sizeof(struct virtio_vsock_hdr); }

ssize_t vsock_stream_send(struct net_channel *c, struct iov_iter *from)
{
	struct vsock_stream *s = vsock_stream_of(c);
	size_t size = min(from->count, (size_t)(VSOCK_PACKET_BYTES - sizeof(struct virtio_vsock_hdr)));
	struct virtio_vsock_hdr h;
	struct page *page;
	ssize_t n = 0;
	int error;

	size = min(size, (size_t)credit(s));
	if (!size)
		return -EAGAIN;
	if (!vsock_transmit_room()) {
		vsock_starve(s);
		return -EAGAIN;
	}
	page = packet_page(&size, false);
	if (!page)
		return -ENOBUFS;
	size = min(size, from->count);
	if (iov_copy_from(packet_data(page), from, size) != size)
		n = -EFAULT;
	if (!n)
		n = reserve(s, size, false, &h);
	if (n < 0) {
		iov_revert(from, n == -EFAULT ? 0 : size);
		page_put(page);
		return n;
	}
	iov_revert(from, size - (size_t)n); // another thread took some of the credit
	error = transmit(s, &h, page);
	if (!error)
		return n;
	iov_revert(from, (size_t)n);
	page_put(page);
	return error;
}

int vsock_stream_send_all(struct vsock_stream *s, const void *head, size_t head_size, struct iov_iter *data)
{
	size_t data_size = data ? data->count : 0, size = head_size + data_size;
	struct virtio_vsock_hdr h;
	struct page *page;
	ssize_t n = 0;

	if (credit(s) < size)
		return -EAGAIN;
	page = packet_page(&size, true);
	if (!page)
		return -ENOBUFS;
	memcpy(packet_data(page), head, head_size);
	if (data && iov_copy_from(packet_data(page) + head_size, data, data_size) != data_size)
		n = -EFAULT;
	if (!n)
		n = reserve(s, size, true, &h);
	if (n > 0)
		n = transmit(s, &h, page);
	if (!n)
		return 0;
	if (data && n != -EFAULT)
		iov_revert(data, data_size);
	page_put(page);
	return (int)n;
}

void vsock_stream_end(struct net_channel *c)
{
	struct vsock_stream *s = vsock_stream_of(c);
	bool tell;

	spin_lock(&s->lock);
	tell = !s->ended && s->state == VSOCK_OPEN;
	s->ended = true;
	spin_unlock(&s->lock);
	if (tell)
		vsock_due(s, VSOCK_DUE_END);
}

// ---- receiving: the task's side ----

static struct vsock_chunk *chunk_create(size_t bytes)
{
	unsigned order = bytes > PAGE_SIZE / 2 ? 2 : 0;
	struct page *page = page_alloc(order, 0);
	struct vsock_chunk *c;

	if (!page && order)
		page = page_alloc(order = 0, 0);
	if (!page)
		return NULL;
	c = page_address(page);
	list_init(&c->node);
	c->start = c->size = 0;
	c->capacity = (uint32_t)((PAGE_SIZE << order) - sizeof(*c));
	return c;
}

// The chunk that has room for more bytes, made if need be; NULL: out of memory. Only the task that receives calls it.
static struct vsock_chunk *tail(struct vsock_stream *s, size_t bytes)
{
	struct vsock_chunk *c = NULL;

	spin_lock(&s->lock);
	if (!list_empty(&s->chunks)) {
		c = list_last(&s->chunks, struct vsock_chunk, node);
		if (c->start == c->size)
			c->start = c->size = 0;
		if (c->size == c->capacity)
			c = NULL;
	}
	spin_unlock(&s->lock);
	if (c)
		return c;
	c = chunk_create(bytes);
	if (!c)
		return NULL;
	spin_lock(&s->lock);
	list_add_tail(&s->chunks, &c->node);
	spin_unlock(&s->lock);
	return c;
}

static int append(struct vsock_stream *s, const char *data, uint32_t size)
{
	while (size) {
		struct vsock_chunk *c = tail(s, size);
		uint32_t n;

		if (!c)
			return -ENOBUFS;
		n = min(size, c->capacity - c->size);
		memcpy(c->data + c->size, data, n);
		spin_lock(&s->lock);
		c->size += n;
		s->received_bytes += n;
		spin_unlock(&s->lock);
		data += n;
		size -= n;
	}
	return 0;
}

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
	if (wrong || append(s, data, size)) {
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
	more = !credit_locked(s) || h->fwd_cnt != s->peer_taken;
	s->peer_buffer = h->buf_alloc;
	s->peer_taken = h->fwd_cnt;
	more &= credit_locked(s) != 0;
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

// ---- receiving: the reader's side ----

// The chunk and place `skip` bytes ahead; 0: nothing there.
static uint32_t look(struct vsock_stream *s, size_t skip, struct vsock_chunk **chunk, uint32_t *at)
{
	struct vsock_chunk *c;
	uint32_t there = 0;

	spin_lock(&s->lock);
	list_for_each (c, &s->chunks, node) {
		uint32_t n = c->size - c->start;

		if (skip < n) {
			*chunk = c;
			*at = c->start + (uint32_t)skip;
			there = n - (uint32_t)skip;
			break;
		}
		skip -= n;
	}
	spin_unlock(&s->lock);
	return there;
}

// `bytes` of the first chunk that has any are read. Chunks emptied go, but the last, which takes more.
static void consume(struct vsock_stream *s, uint32_t bytes)
{
	struct vsock_chunk *c, *next;
	struct list empty = LIST_INIT(empty);
	bool tell;

	spin_lock(&s->lock);
	list_for_each_safe (c, next, &s->chunks, node) {
		uint32_t n = min(bytes, c->size - c->start);

		c->start += n;
		bytes -= n;
		s->received_bytes -= n;
		s->taken += n;
		if (c->start < c->size)
			break;
		if (&next->node != &s->chunks) {
			list_remove(&c->node);
			list_add(&empty, &c->node);
		}
		if (!bytes)
			break;
	}
	tell = s->taken - s->taken_told >= CREDIT_STEP && s->state == VSOCK_OPEN && !s->peer_ended;
	spin_unlock(&s->lock);
	while (!list_empty(&empty)) {
		c = list_first(&empty, struct vsock_chunk, node);
		list_remove(&c->node);
		chunk_free(c);
	}
	if (tell)
		vsock_due(s, VSOCK_DUE_CREDIT);
}

ssize_t vsock_stream_receive(struct net_channel *c, struct iov_iter *to, bool peek, size_t skip)
{
	struct vsock_stream *s = vsock_stream_of(c);
	struct vsock_chunk *chunk;
	size_t done = 0;
	uint32_t at, n;

	while (to->count && (n = look(s, peek ? skip + done : 0, &chunk, &at)) != 0) {
		size_t size = min((size_t)n, to->count);
		size_t copied = iov_copy_to(to, chunk->data + at, size);

		done += copied;
		if (!peek && copied)
			consume(s, (uint32_t)copied);
		if (copied < size)
			return done ? (ssize_t)done : -EFAULT;
	}
	if (done)
		return (ssize_t)done;
	return __atomic_load_n(&s->peer_ended, __ATOMIC_ACQUIRE) && !look(s, skip, &chunk, &at) ? 0 : -EAGAIN;
}

bool vsock_stream_peek(struct vsock_stream *s, void *to, size_t size)
{
	struct iov_iter i;

	iov_init_kernel(&i, to, size);
	return vsock_stream_queued(&s->channel) >= size &&
	       vsock_stream_receive(&s->channel, &i, true, 0) == (ssize_t)size;
}

void vsock_stream_take(struct vsock_stream *s, void *to, size_t size)
{
	struct iov_iter i;

	if (to) {
		iov_init_kernel(&i, to, size);
		(void)vsock_stream_receive(&s->channel, &i, false, 0);
	} else {
		consume(s, (uint32_t)size);
	}
}

size_t vsock_stream_queued(struct net_channel *c)
{
	return __atomic_load_n(&vsock_stream_of(c)->received_bytes, __ATOMIC_ACQUIRE);
}

unsigned vsock_stream_ready(struct net_channel *c)
{
	struct vsock_stream *s = vsock_stream_of(c);
	unsigned events = 0;
	bool stuck = false;

	spin_lock(&s->lock);
	if (s->received_bytes || s->peer_ended)
		events |= EPOLLIN | EPOLLRDNORM;
	if (s->peer_ended)
		events |= EPOLLRDHUP;
	if (s->state != VSOCK_OPEN || s->ended || s->peer_deaf || credit_locked(s) >= s->room_wanted) {
		stuck = s->state == VSOCK_OPEN && !vsock_transmit_room();
		if (!stuck)
			events |= EPOLLOUT | EPOLLWRNORM;
	}
	spin_unlock(&s->lock);
	if (stuck)
		vsock_starve(s);
	return events;
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
