// SPDX-License-Identifier: Apache-2.0
#include "vsock/device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define DUE_REQUEST  1u
#define DUE_RESPONSE 2u
#define DUE_CREDIT   4u
#define DUE_END      8u
#define DUE_RESET    16u
#define DUE_DATA     32u // `out`
#define CREDIT_STEP  (STREAM_BUFFER_BYTES / 4)
#define PORT_FIRST   1024u

static struct ring *rx_ring(struct device *d) { return &d->vhost.rings[VHOST_RING_RX]; }
static struct ring *tx_ring(struct device *d) { return &d->vhost.rings[VHOST_RING_TX]; }

// ---- watches ----

static bool watch_in(int epoll, struct watch *w, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.ptr = w };
	int operation = !w->events ? EPOLL_CTL_ADD : events ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;

	if (w->events == events)
		return true;
	if (w->fd < 0 || epoll_ctl(epoll, operation, w->fd, &e))
		return false;
	w->events = events;
	return true;
}

bool watch_set(struct device *d, struct watch *w, uint32_t events) { return watch_in(d->sockets_epoll, w, events); }

void watch_close(struct device *d, struct watch *w)
{
	watch_set(d, w, 0);
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
	w->events = 0;
}

// ---- streams ----

static struct list *bucket(struct device *d, uint32_t cell_port, uint32_t host_port)
{
	return &d->buckets[(cell_port * 31 + host_port) % (sizeof(d->buckets) / sizeof(*d->buckets))];
}

struct stream *device_find_stream(struct device *d, uint32_t cell_port, uint32_t host_port)
{
	struct stream *s;

	list_for_each (s, bucket(d, cell_port, host_port), node)
		if (s->cell_port == cell_port && s->host_port == host_port)
			return s;
	return NULL;
}

static struct stream *create(struct device *d, uint32_t cell_port, uint32_t host_port)
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
static void kill_stream(struct stream *s)
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

static void bury(struct device *d)
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

static void set_due(struct stream *s, unsigned what)
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
	} while (device_find_stream(d, cell_port, d->next_port));
	s = create(d, cell_port, d->next_port);
	if (!s)
		return NULL;
	s->state = STREAM_ASKED;
	s->user = user;
	set_due(s, DUE_REQUEST);
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
	set_due(s, DUE_DATA);
}

void stream_end(struct stream *s)
{
	if (!s->ended)
		set_due(s, DUE_END);
	s->ended = true;
}

void stream_reset(struct stream *s) { set_due(s, DUE_RESET); }

// ---- what the cell sent and is not taken yet ----

static void fifo_append(struct fifo *f, const char *data, size_t size)
{
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
		set_due(s, DUE_CREDIT);
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
static struct chain *rx_buffer(struct device *d, struct chain *c)
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

static void put_packet(struct device *d, const struct chain *c, struct virtio_vsock_hdr *h, uint32_t size)
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

	if (!rx_buffer(s->device, &c))
		return false;
	put_packet(s->device, &c, &h, 0);
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
		if (!rx_buffer(s->device, &c))
			return false;
		if (n > stream_credit(s))
			n = stream_credit(s);
		if (n > c.in_bytes - sizeof(h))
			n = c.in_bytes - sizeof(h);
		scatter(c.in, c.in_count, sizeof(h), s->out + s->out_done, n);
		put_packet(s->device, &c, &h, (uint32_t)n);
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
static unsigned narrow(const struct iovec *from, unsigned count, size_t skip, size_t limit, struct iovec *to)
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
	if (!credit || s->out || !rx_buffer(s->device, &c))
		return -1;
	count = narrow(c.in, c.in_count, sizeof(h), credit, v);
	n = readv(fd, v, (int)count);
	if (n <= 0) {
		int error = errno;

		ring_unpop(rx_ring(s->device));
		errno = error;
		return n;
	}
	s->sent += (uint32_t)n;
	h = header_of(s, VIRTIO_VSOCK_OP_RW, 0);
	put_packet(s->device, &c, &h, (uint32_t)n);
	return n;
}

// Sends what is due of a stream. False: the cell lends no buffer.
static bool flush_stream(struct stream *s)
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
		kill_stream(s);
	}
	return true;
}

static bool flush_refusals(struct device *d)
{
	while (d->refusal_count) {
		struct virtio_vsock_hdr h = { .op = VIRTIO_VSOCK_OP_RST };
		struct chain c;

		if (!rx_buffer(d, &c))
			return false;
		d->refusal_count--;
		h.src_port = d->refusals[d->refusal_count].host_port;
		h.dst_port = d->refusals[d->refusal_count].cell_port;
		put_packet(d, &c, &h, 0);
	}
	return true;
}

void device_flush(struct device *d)
{
	bool room = flush_refusals(d);
	struct list waiting = LIST_INIT(waiting);

	list_splice_tail(&waiting, &d->due);
	while (!list_empty(&waiting)) {
		struct stream *s = list_first(&waiting, struct stream, due_node);

		list_remove(&s->due_node);
		if (room)
			room = flush_stream(s);
		if (!room && s->state != STREAM_DEAD) {
			list_add_tail(&d->due, &s->due_node);
		} else if (s->state == STREAM_OPEN && !s->out) {
			d->ops->output(s);
		}
	}
	ring_interrupt(rx_ring(d));
}

// ---- from the cell ----

static void refuse(struct device *d, const struct virtio_vsock_hdr *h)
{
	if (h->op == VIRTIO_VSOCK_OP_RST)
		return;
	d->refusals[d->refusal_count].cell_port = h->src_port;
	d->refusals[d->refusal_count++].host_port = h->dst_port;
}

static void on_request(struct device *d, const struct virtio_vsock_hdr *h)
{
	struct stream *s = create(d, h->src_port, h->dst_port);

	if (!s) {
		refuse(d, h);
		return;
	}
	s->state = STREAM_OPEN;
	s->cell_buffer = h->buf_alloc;
	s->cell_taken = h->fwd_cnt;
	if (d->ops->accept(d, s)) {
		set_due(s, DUE_RESPONSE);
		return;
	}
	kill_stream(s);
	refuse(d, h);
}

static void on_data(struct stream *s, const struct iovec *v, unsigned count, uint32_t size)
{
	size_t taken = 0;

	// More than we gave credit for, or after its own end.
	if (s->state != STREAM_OPEN || s->cell_ended || size > STREAM_BUFFER_BYTES - s->in.used) {
		stream_reset(s);
		return;
	}
	if (!s->in.used)
		taken = s->device->ops->take(s, v, count, size);
	if (s->state == STREAM_DEAD)
		return;
	stream_taken(s, (uint32_t)taken);
	if (taken < size) {
		struct iovec rest[CHAIN_SEGMENTS_MAX];
		unsigned n = narrow(v, count, taken, size - taken, rest);

		for (unsigned i = 0; i < n; i++)
			fifo_append(&s->in, rest[i].iov_base, rest[i].iov_len);
		s->device->ops->input(s);
	}
}

static void on_shutdown(struct stream *s, uint32_t flags)
{
	s->cell_ended |= (flags & VIRTIO_VSOCK_SHUTDOWN_SEND) != 0;
	s->cell_deaf |= (flags & VIRTIO_VSOCK_SHUTDOWN_RCV) != 0;
	s->device->ops->input(s);
}

static void on_packet(struct device *d, const struct virtio_vsock_hdr *h, const struct iovec *v, unsigned count)
{
	struct stream *s;

	if (h->src_cid != d->vhost.cid || h->dst_cid != HOST_CID)
		return;
	s = h->type == VIRTIO_VSOCK_TYPE_STREAM ? device_find_stream(d, h->src_port, h->dst_port) : NULL;
	if (!s) {
		if (h->op == VIRTIO_VSOCK_OP_REQUEST && h->type == VIRTIO_VSOCK_TYPE_STREAM)
			on_request(d, h);
		else
			refuse(d, h);
		return;
	}
	s->cell_buffer = h->buf_alloc;
	s->cell_taken = h->fwd_cnt;
	switch (h->op) {
	case VIRTIO_VSOCK_OP_RESPONSE:
		if (s->state == STREAM_ASKED) {
			s->state = STREAM_OPEN;
			d->ops->opened(s);
		}
		break;
	case VIRTIO_VSOCK_OP_RST:
		// A cell that closed has forgotten the stream; what it sent before is still to be passed on.
		if (!(s->cell_ended && s->cell_deaf && s->in.used))
			kill_stream(s);
		return;
	case VIRTIO_VSOCK_OP_SHUTDOWN: on_shutdown(s, h->flags); break;
	case VIRTIO_VSOCK_OP_RW: on_data(s, v, count, h->len); break;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE: break;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST: set_due(s, DUE_CREDIT); break;
	default: stream_reset(s); break;
	}
	if (s->state == STREAM_OPEN) {
		if (s->out)
			set_due(s, DUE_DATA);
		else
			d->ops->output(s);
	}
}

static void gather_header(const struct chain *c, struct virtio_vsock_hdr *h)
{
	size_t done = 0;

	for (unsigned i = 0; i < c->out_count && done < sizeof(*h); i++) {
		size_t n = c->out[i].iov_len < sizeof(*h) - done ? c->out[i].iov_len : sizeof(*h) - done;

		memcpy((char *)h + done, c->out[i].iov_base, n);
		done += n;
	}
}

void device_process_tx(struct device *d)
{
	const unsigned refusals_max = sizeof(d->refusals) / sizeof(*d->refusals);
	struct iovec data[CHAIN_SEGMENTS_MAX];
	struct virtio_vsock_hdr h;
	struct chain c;

	if (!vhost_ring_runs(&d->vhost, VHOST_RING_TX))
		return;
	ring_disable_kick(tx_ring(d));
	do {
		while (d->refusal_count < refusals_max && ring_pop(tx_ring(d), &c)) {
			if (c.out_bytes < sizeof(h) || c.in_count) {
				tx_ring(d)->broken = true;
				return;
			}
			gather_header(&c, &h);
			if (h.op == VIRTIO_VSOCK_OP_RW ? h.len <= c.out_bytes - sizeof(h) : true)
				on_packet(d, &h, data, narrow(c.out, c.out_count, sizeof(h), h.len, data));
			ring_push(tx_ring(d), &c, 0);
		}
		device_flush(d);
		ring_interrupt(tx_ring(d));
		if (d->refusal_count == refusals_max)
			return; // goes on when the cell lends buffers
	} while (!ring_enable_kick(tx_ring(d)));
}

bool device_drain(struct device *d)
{
	bool left = false;

	for (size_t i = 0; i < sizeof(d->buckets) / sizeof(*d->buckets); i++) {
		struct stream *s, *next;

		list_for_each_safe (s, next, &d->buckets[i], node) {
			s->cell_ended = s->cell_deaf = true;
			d->ops->input(s);
			left |= s->state != STREAM_DEAD && s->in.used;
		}
	}
	return left;
}

// ---- the loop ----

// Host sockets are looked at only while there is a buffer to read into. Everything due goes first.
static void watch_sockets(struct device *d)
{
	bool room = vhost_ring_runs(&d->vhost, VHOST_RING_RX) && !ring_is_empty(rx_ring(d));

	if (!room && vhost_ring_runs(&d->vhost, VHOST_RING_RX))
		room = !ring_enable_kick(rx_ring(d));
	watch_in(d->epoll, &d->sockets_watch, room || d->ended ? EPOLLIN : 0);
	bury(d);
}

static void drain_eventfd(int fd)
{
	uint64_t count;

	if (read(fd, &count, sizeof(count)) < 0)
		return; // somebody was faster
}

static struct device *device_of_kick(struct watch *w, unsigned ring)
{
	return (struct device *)((char *)(w - ring) - offsetof(struct device, kicks));
}

static void rx_kicked(struct watch *w, uint32_t events)
{
	struct device *d = device_of_kick(w, VHOST_RING_RX);

	(void)events;
	drain_eventfd(w->fd);
	device_flush(d);
	device_process_tx(d);
}

static void tx_kicked(struct watch *w, uint32_t events)
{
	(void)events;
	drain_eventfd(w->fd);
	device_process_tx(device_of_kick(w, VHOST_RING_TX));
}

static void vhost_ready(struct watch *w, uint32_t events)
{
	struct device *d = container_of(w, struct device, vhost_watch);

	(void)events;
	if (vhost_serve(&d->vhost, &d->failure))
		return;
	device_process_tx(d); // what the cell sent last
	d->ended = true;
	watch_in(d->epoll, &d->vhost_watch, 0);
}

static void serve_set(int epoll, int timeout_ms)
{
	struct epoll_event events[64];
	int n = epoll_wait(epoll, events, 64, timeout_ms);

	for (int i = 0; i < n; i++) {
		struct watch *w = events[i].data.ptr;

		if (w->events)
			w->ready(w, events[i].events);
	}
}

static void sockets_ready(struct watch *w, uint32_t events)
{
	struct device *d = container_of(w, struct device, sockets_watch);

	(void)events;
	serve_set(d->sockets_epoll, 0);
	device_flush(d);
}

static void on_stopping(struct vhost *v, void *context)
{
	(void)v;
	device_process_tx(context);
}

static void on_changed(struct vhost *v, void *context)
{
	struct device *d = context;

	for (unsigned i = 0; i < VHOST_RINGS; i++) {
		int fd = vhost_ring_runs(v, i) ? v->rings[i].kick_fd : -1;

		if (d->kicks[i].fd == fd)
			continue;
		// A descriptor that was closed has left the set by itself.
		d->kicks[i].fd = fd;
		d->kicks[i].events = 0;
		if (fd >= 0)
			watch_in(d->epoll, &d->kicks[i], EPOLLIN);
	}
	device_process_tx(d);
}

bool device_step(struct device *d, int timeout_ms)
{
	watch_sockets(d);
	serve_set(d->epoll, timeout_ms);
	for (unsigned i = 0; i < VHOST_RINGS && !d->failure; i++)
		if (d->vhost.rings[i].broken)
			d->failure = "the cell's kernel broke the protocol of its vsock rings";
	return !d->failure;
}

bool device_init(struct device *d, int vhost_fd, uint64_t cid, const struct service_ops *ops, void *service)
{
	*d = (struct device){ .ops = ops, .service = service, .next_port = PORT_FIRST };
	for (size_t i = 0; i < sizeof(d->buckets) / sizeof(*d->buckets); i++)
		list_init(&d->buckets[i]);
	list_init(&d->due);
	list_init(&d->dead);
	vhost_init(&d->vhost, vhost_fd, cid);
	d->vhost.stopping = on_stopping;
	d->vhost.changed = on_changed;
	d->vhost.context = d;
	d->epoll = epoll_create1(EPOLL_CLOEXEC);
	d->sockets_epoll = epoll_create1(EPOLL_CLOEXEC);
	d->vhost_watch = (struct watch){ .fd = vhost_fd, .ready = vhost_ready };
	d->sockets_watch = (struct watch){ .fd = d->sockets_epoll, .ready = sockets_ready };
	d->kicks[VHOST_RING_RX] = (struct watch){ .fd = -1, .ready = rx_kicked };
	d->kicks[VHOST_RING_TX] = (struct watch){ .fd = -1, .ready = tx_kicked };
	return d->epoll >= 0 && d->sockets_epoll >= 0 && watch_in(d->epoll, &d->vhost_watch, EPOLLIN);
}

void device_fini(struct device *d)
{
	for (size_t i = 0; i < sizeof(d->buckets) / sizeof(*d->buckets); i++)
		while (!list_empty(&d->buckets[i]))
			kill_stream(list_first(&d->buckets[i], struct stream, node));
	bury(d);
	vhost_fini(&d->vhost);
	close(d->epoll);
	close(d->sockets_epoll);
}
