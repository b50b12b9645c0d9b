// SPDX-License-Identifier: Apache-2.0
// What a stream has received and nobody has read: chunks of pages, filled by the receiving task, emptied by one reader at a time.
//
// Only the task writes behind a chunk's `size`, only the reader reads before it, and both move their marks under stream.lock: so
// the copies need no lock. The last chunk is the task's to reuse once it is read to its end; a reader never frees it.
#include "vsock.h"

#include "kernel/fs.h"
#include "lib/string.h"

#define CREDIT_STEP (VSOCK_BUFFER_BYTES / 4)

static void chunk_free(struct vsock_chunk *c) { page_put(page_from_address(c)); }

void vsock_chunks_free(struct vsock_stream *s)
{
	while (!list_empty(&s->chunks)) {
		struct vsock_chunk *chunk = list_first(&s->chunks, struct vsock_chunk, node);

		list_remove(&chunk->node);
		chunk_free(chunk);
	}
}

// ---- the task's side ----

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

int vsock_stream_append(struct vsock_stream *s, const char *data, uint32_t size)
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

// ---- the reader's side ----

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
	if (s->state != VSOCK_OPEN || s->ended || s->peer_deaf || vsock_credit_locked(s) >= s->room_wanted) {
		stuck = s->state == VSOCK_OPEN && !vsock_transmit_room();
		if (!stuck)
			events |= EPOLLOUT | EPOLLWRNORM;
	}
	spin_unlock(&s->lock);
	if (stuck)
		vsock_starve(s);
	return events;
}
