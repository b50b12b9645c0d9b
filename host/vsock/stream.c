// SPDX-License-Identifier: Apache-2.0
// Streams: their table, what is due of them, and both directions of their bytes.
#include "vsock/device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CREDIT_STEP (STREAM_BUFFER_BYTES / 4)
#define PORT_FIRST  1024u

static struct ring *rx_ring(struct device *d) { return &d->vhost.rings[VHOST_RING_RX]; }

// ---- life ----

static struct list *bucket(struct device *d, uint32_t cell_port, uint32_t host_port)
{
	return &d->buckets[(cell_port * 31 + host_port) % (sizeof(d->buckets) / sizeof(*d->buckets))];
}

struct stream *stream_find(struct device *d, uint32_t cell_port, uint32_t host_port)
{
	struct stream *s;

	list_for_each (s, bucket(d, cell_port, host_port), node)
		if (s->cell_port == cell_port && s->host_port == host_port)
			return s;
	return NULL;
}

struct stream *stream_create(struct device *d, uint32_t cell_port, uint32_t host_port)
{
	struct stream *s = d->stream_count < STREAMS_MAX ? calloc(1, sizeof(*s)) : NULL;

	if (!s)
		return NULL;
	s->device = d;
	s->cell_port = cell_port;
	s->host_port = host_port;
	list_init(&s->due_node);
	list_add(bucket(d, cell_port, host_port), &s->node);
	d->stream_count++;
	return s;
}

// Off the tables; its memory goes when nothing can point to it any more.
void stream_kill(struct stream *s)
{
	if (s->state == STREAM_DEAD)
		return;
	s->state = STREAM_DEAD;
	s->device->ops->closed(s);
	list_remove(&s->node);
	list_remove(&s->due_node);
	list_add(&s->device->dead, &s->node);
	s->device->stream_count--;
}

void device_bury(struct device *d)
{
	while (!list_empty(&d->dead)) {
		struct stream *s = list_first(&d->dead, struct stream, node);

		list_remove(&s->node);
		free(s->in.data);
		free(s->out);
		free(s->user);
		free(s);
	}
}

void stream_due(struct stream *s, unsigned what)
{
	if (s->state == STREAM_DEAD)
		return;
	s->due |= what;
	if (list_empty(&s->due_node))
		list_add_tail(&s->device->due, &s->due_node);
}

struct stream *stream_open(struct device *d, uint32_t cell_port, void *user)
{
	struct stream *s;

	do {
		if (++d->next_port < PORT_FIRST)
			d->next_port = PORT_FIRST;
	} while (stream_find(d, cell_port, d->next_port));
	s = stream_create(d, cell_port, d->next_port);
	if (!s)
		return NULL;
	s->state = STREAM_ASKED;
	s->user = user;
	stream_due(s, DUE_REQUEST);
	return s;
}

uint32_t stream_credit(const struct stream *s)
{
	uint32_t used = s->sent - s->cell_taken;

	return used < s->cell_buffer ? s->cell_buffer - used : 0;
}

void stream_send(struct stream *s, const void *data, size_t size)
{
	size_t left = stream_queued(s);

	if (left && s->out_done)
		memmove(s->out, s->out + s->out_done, left);
	s->out = realloc(s->out, left + size);
	if (!s->out)
		abort();
	memcpy(s->out + left, data, size);
	s->out_size = left + size;
	s->out_done = 0;
	stream_due(s, DUE_DATA);
}

void stream_end(struct stream *s)
{
	if (!s->ended)
		stream_due(s, DUE_END);
	s->ended = true;
}

void stream_reset(struct stream *s) { stream_due(s, DUE_RESET); }

// ---- what the cell sent and is not taken yet ----

void stream_append(struct stream *s, const char *data, size_t size)
{
	struct fifo *f = &s->in;

	if (!f->data) {
		f->data = malloc(STREAM_BUFFER_BYTES);
		if (!f->data)
			abort();
		f->start = 0;
	}
	while (size) {
		uint32_t at = (f->start + f->used) % STREAM_BUFFER_BYTES;
		size_t n = STREAM_BUFFER_BYTES - at < size ? STREAM_BUFFER_BYTES - at : size;

		memcpy(f->data + at, data, n);
		f->used += (uint32_t)n;
		data += n;
		size -= n;
	}
}

unsigned stream_input(const struct stream *s, struct iovec v[2])
{
	const struct fifo *f = &s->in;
	uint32_t first = STREAM_BUFFER_BYTES - f->start < f->used ? STREAM_BUFFER_BYTES - f->start : f->used;

	if (!f->used)
		return 0;
	v[0] = (struct iovec){ f->data + f->start, first };
	v[1] = (struct iovec){ f->data, f->used - first };
	return v[1].iov_len ? 2 : 1;
}

bool stream_peek(const struct stream *s, size_t offset, void *to, size_t size)
{
	const struct fifo *f = &s->in;

	if (f->used < offset || f->used - offset < size)
		return false;
	for (size_t i = 0; i < size; i++)
		((char *)to)[i] = f->data[(f->start + offset + i) % STREAM_BUFFER_BYTES];
	return true;
}

void stream_taken(struct stream *s, uint32_t bytes)
{
	s->taken += bytes;
	if (s->taken - s->taken_told >= CREDIT_STEP && !s->cell_ended)
		stream_due(s, DUE_CREDIT);
}

void stream_drop(struct stream *s, uint32_t bytes)
{
	struct fifo *f = &s->in;

	f->start = (f->start + bytes) % STREAM_BUFFER_BYTES;
	f->used -= bytes;
	if (!f->used) {
		free(f->data);
		f->data = NULL;
	}
	stream_taken(s, bytes);
}

// ---- to the cell ----

// A buffer of the cell's that has room for a header. NULL: none now.
struct chain *device_rx_buffer(struct device *d, struct chain *c)
{
	if (!vhost_ring_runs(&d->vhost, VHOST_RING_RX))
		return NULL;
	if (!ring_pop(rx_ring(d), c))
		return NULL;
	if (!c->in_count || c->in_bytes < sizeof(struct virtio_vsock_hdr) || c->out_count) {
		rx_ring(d)->broken = true;
		return NULL;
	}
	return c;
}

static void scatter(const struct iovec *v, unsigned count, size_t offset, const void *data, size_t size)
{
	for (unsigned i = 0; i < count && size; i++) {
		size_t n;

		if (offset >= v[i].iov_len) {
			offset -= v[i].iov_len;
			continue;
		}
		n = v[i].iov_len - offset < size ? v[i].iov_len - offset : size;
		memcpy((char *)v[i].iov_base + offset, data, n);
		data = (const char *)data + n;
		size -= n;
		offset = 0;
	}
}

void device_put_packet(struct device *d, const struct chain *c, struct virtio_vsock_hdr *h, uint32_t size)
{
	h->src_cid = HOST_CID;
	h->dst_cid = d->vhost.cid;
	h->type = VIRTIO_VSOCK_TYPE_STREAM;
	h->len = size;
	scatter(c->in, c->in_count, 0, h, sizeof(*h));
	ring_push(rx_ring(d), c, (uint32_t)sizeof(*h) + size);
}

static struct virtio_vsock_hdr header_of(struct stream *s, uint16_t operation, uint32_t flags)
{
	s->taken_told = s->taken;
	return (struct virtio_vsock_hdr){ .src_port = s->host_port,
					  .dst_port = s->cell_port,
					  .op = operation,
					  .flags = flags,
					  .buf_alloc = STREAM_BUFFER_BYTES,
					  .fwd_cnt = s->taken };
}

static bool send_control(struct stream *s, uint16_t operation, uint32_t flags)
{
	struct virtio_vsock_hdr h = header_of(s, operation, flags);
	struct chain c;

	if (!device_rx_buffer(s->device, &c))
		return false;
	device_put_packet(s->device, &c, &h, 0);
	return true;
}

static bool send_out(struct stream *s)
{
	while (s->out) {
		struct virtio_vsock_hdr h = header_of(s, VIRTIO_VSOCK_OP_RW, 0);
		size_t n = s->out_size - s->out_done;
		struct chain c;

		if (!stream_credit(s))
			return true; // comes back with the next credit
		if (!device_rx_buffer(s->device, &c))
			return false;
		if (n > stream_credit(s))
			n = stream_credit(s);
		if (n > c.in_bytes - sizeof(h))
			n = c.in_bytes - sizeof(h);
		scatter(c.in, c.in_count, sizeof(h), s->out + s->out_done, n);
		device_put_packet(s->device, &c, &h, (uint32_t)n);
		s->sent += (uint32_t)n;
		s->out_done += n;
		if (s->out_done == s->out_size) {
			free(s->out);
			s->out = NULL;
		}
	}
	return true;
}

// Leaves out the first `skip` bytes and what is beyond `limit`.
unsigned vector_narrow(const struct iovec *from, unsigned count, size_t skip, size_t limit, struct iovec *to)
{
	unsigned used = 0;

	for (unsigned i = 0; i < count && limit; i++) {
		size_t size = from[i].iov_len;

		if (skip >= size) {
			skip -= size;
			continue;
		}
		size -= skip;
		if (size > limit)
			size = limit;
		to[used++] = (struct iovec){ (char *)from[i].iov_base + skip, size };
		limit -= size;
		skip = 0;
	}
	return used;
}

ssize_t stream_send_from(struct stream *s, int fd)
{
	struct virtio_vsock_hdr h;
	struct iovec v[CHAIN_SEGMENTS_MAX];
	uint32_t credit = stream_credit(s);
	struct chain c;
	unsigned count;
	ssize_t n;

	errno = EAGAIN;
	if (!credit || s->out || !device_rx_buffer(s->device, &c))
		return -1;
	count = vector_narrow(c.in, c.in_count, sizeof(h), credit, v);
	n = readv(fd, v, (int)count);
	if (n <= 0) {
		int error = errno;

		ring_unpop(rx_ring(s->device));
		errno = error;
		return n;
	}
	s->sent += (uint32_t)n;
	h = header_of(s, VIRTIO_VSOCK_OP_RW, 0);
	device_put_packet(s->device, &c, &h, (uint32_t)n);
	return n;
}

// Sends what is due of a stream. False: the cell lends no buffer.
bool stream_flush(struct stream *s)
{
	static const struct {
		unsigned due;
		uint16_t operation;
	} controls[] = {
		{ DUE_REQUEST, VIRTIO_VSOCK_OP_REQUEST },
		{ DUE_RESPONSE, VIRTIO_VSOCK_OP_RESPONSE },
		{ DUE_CREDIT, VIRTIO_VSOCK_OP_CREDIT_UPDATE },
	};

	for (size_t i = 0; i < sizeof(controls) / sizeof(*controls); i++) {
		if (!(s->due & controls[i].due))
			continue;
		if (!send_control(s, controls[i].operation, 0))
			return false;
		s->due &= ~controls[i].due;
	}
	if (s->state == STREAM_OPEN && s->due & DUE_DATA) {
		if (!send_out(s))
			return false;
		if (!s->out)
			s->due &= ~DUE_DATA;
	}
	if (s->due & DUE_END && !s->out) {
		if (!send_control(s, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND))
			return false;
		s->due &= ~DUE_END;
	}
	if (s->due & DUE_RESET) {
		if (!send_control(s, VIRTIO_VSOCK_OP_RST, 0))
			return false;
		stream_kill(s);
	}
	return true;
}
