// SPDX-License-Identifier: Apache-2.0
#include "vsock/device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

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

// ---- what goes to the cell ----

static bool flush_refusals(struct device *d)
{
	while (d->refusal_count) {
		struct virtio_vsock_hdr h = { .op = VIRTIO_VSOCK_OP_RST };
		struct chain c;

		if (!device_rx_buffer(d, &c))
			return false;
		d->refusal_count--;
		h.src_port = d->refusals[d->refusal_count].host_port;
		h.dst_port = d->refusals[d->refusal_count].cell_port;
		device_put_packet(d, &c, &h, 0);
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
			room = stream_flush(s);
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
	struct stream *s = stream_create(d, h->src_port, h->dst_port);

	if (!s) {
		refuse(d, h);
		return;
	}
	s->state = STREAM_OPEN;
	s->cell_buffer = h->buf_alloc;
	s->cell_taken = h->fwd_cnt;
	if (d->ops->accept(d, s)) {
		stream_due(s, DUE_RESPONSE);
		return;
	}
	stream_kill(s);
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
		unsigned n = vector_narrow(v, count, taken, size - taken, rest);

		for (unsigned i = 0; i < n; i++)
			stream_append(s, rest[i].iov_base, rest[i].iov_len);
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
	s = h->type == VIRTIO_VSOCK_TYPE_STREAM ? stream_find(d, h->src_port, h->dst_port) : NULL;
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
			stream_kill(s);
		return;
	case VIRTIO_VSOCK_OP_SHUTDOWN: on_shutdown(s, h->flags); break;
	case VIRTIO_VSOCK_OP_RW: on_data(s, v, count, h->len); break;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE: break;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST: stream_due(s, DUE_CREDIT); break;
	default: stream_reset(s); break;
	}
	if (s->state == STREAM_OPEN) {
		if (s->out)
			stream_due(s, DUE_DATA);
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
				on_packet(d, &h, data, vector_narrow(c.out, c.out_count, sizeof(h), h.len, data));
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
	device_bury(d);
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
	*d = (struct device){ .ops = ops, .service = service };
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
			stream_kill(list_first(&d->buckets[i], struct stream, node));
	device_bury(d);
	vhost_fini(&d->vhost);
	close(d->epoll);
	close(d->sockets_epoll);
}
