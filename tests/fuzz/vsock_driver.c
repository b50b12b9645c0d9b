// SPDX-License-Identifier: Apache-2.0
// Fuzzes the virtio-vsock driver against a host that sends any packet at any time, while sockets of the cell come and go.
//
// Whatever it does: no stream holds more than the credit it gave, nothing is sent beyond the credit that was given, and in the
// end all memory is returned (LeakSanitizer).
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/fs.h"
#include "kernel/init.h"
#include "kernel/outside.h"
#include "kernel/random.h"
#include "kernel/slab.h"
#include "kernel/vsock.h"
#include "vsock.h"

#define CID        3u
#define PAGES_MAX  4096u
#define STREAMS    8u
#define LINGER_MAX 256u

void *kalloc(size_t size) { return calloc(1, size); }
void kfree(void *p) { free(p); }
void spin_lock(struct spinlock *l)
{
	if (l->word++)
		abort();
}
void spin_unlock(struct spinlock *l)
{
	if (--l->word)
		abort();
}
uint64_t random_u64(void)
{
	static uint64_t x = 1;

	return x = x * UINT64_C(6364136223846793005) + 1442695040888963407;
}

// ---- pages ----

void page_stats_get(struct page_stats *out) { *out = (struct page_stats){ .total_pages = 1 << 14 }; }

static struct page *pages[PAGES_MAX];
static unsigned page_count;

struct page *page_alloc(unsigned order, unsigned flags)
{
	struct page *p = calloc(1, sizeof(*p));

	(void)flags;
	if (page_count == PAGES_MAX)
		abort();
	p->order = (uint16_t)order;
	p->private = (uintptr_t)malloc(PAGE_SIZE << order);
	refcount_set(&p->refs, 1);
	pages[page_count++] = p;
	return p;
}
void page_free(struct page *p)
{
	for (unsigned i = 0; i < page_count; i++) {
		if (pages[i] != p)
			continue;
		pages[i] = pages[--page_count];
		free((void *)p->private);
		free(p);
		return;
	}
	abort();
}
void *page_address(const struct page *p) { return (void *)p->private; }
struct page *page_from_address(const void *address)
{
	for (unsigned i = 0; i < page_count; i++)
		if ((void *)pages[i]->private == address)
			return pages[i];
	abort();
}

// ---- buffers: the kernel kind only ----

void iov_init_kernel(struct iov_iter *i, void *buffer, size_t size)
{
	*i = (struct iov_iter){ .kernel = buffer, .count = size };
}
size_t iov_copy_to(struct iov_iter *to, const void *from, size_t size)
{
	memcpy(to->kernel, from, size);
	to->kernel += size;
	to->count -= size;
	return size;
}
size_t iov_copy_from(void *to, struct iov_iter *from, size_t size)
{
	memcpy(to, from->kernel, size);
	from->kernel += size;
	from->count -= size;
	return size;
}
void iov_revert(struct iov_iter *i, size_t size)
{
	i->kernel -= size;
	i->count += size;
}

// ---- the device ----

static bool ring_full, dead;
static struct vsock_stream *lingering[LINGER_MAX];
static unsigned linger_count;

bool vsock_works(void) { return !dead; }
uint32_t vsock_local_cid(void) { return CID; }
bool vsock_transmit_room(void) { return !ring_full; }
struct page *vsock_transmit_page(size_t bytes)
{
	unsigned order = 0;

	while ((PAGE_SIZE << order) < bytes)
		order++;
	return page_alloc(order, 0);
}
int vsock_transmit(const struct virtio_vsock_hdr *h, struct page *page)
{
	if (h->src_cid != CID || h->dst_cid != VSOCK_HOST || h->len + sizeof(*h) > PAGE_SIZE << page->order)
		abort();
	if (ring_full)
		return -ENOSPC;
	if (dead)
		return -EIO;
	page_put(page);
	return 0;
}
void vsock_due(struct vsock_stream *s, unsigned what)
{
	for (; what; what &= what - 1)
		(void)vsock_stream_control(s, what & -what);
}
void vsock_starve(struct vsock_stream *s) { (void)s; }
void vsock_linger(struct vsock_stream *s)
{
	if (linger_count == LINGER_MAX) {
		vsock_stream_expire(s);
		return;
	}
	net_channel_get(&s->channel);
	lingering[linger_count++] = s;
}

void vsock_linger_end(struct vsock_stream *s)
{
	for (unsigned i = 0; i < linger_count; i++) {
		if (lingering[i] != s)
			continue;
		lingering[i] = lingering[--linger_count];
		net_channel_put(&s->channel);
		return;
	}
}

static void end_lingering(void)
{
	while (linger_count) {
		struct vsock_stream *s = lingering[--linger_count];

		vsock_stream_expire(s);
		net_channel_put(&s->channel);
	}
}

// ---- the sockets ----

static struct net_channel *sockets[STREAMS];
static const struct outside_backend *outside;
static const struct vsock_backend *plain;
static bool refuse_incoming;

void outside_register(const struct outside_backend *b) { outside = b; }
void vsock_register(const struct vsock_backend *b) { plain = b; }
void net_channel_init(struct net_channel *c, const struct net_channel_ops *ops)
{
	c->ops = ops;
	refcount_set(&c->refs, 1);
}
void net_channel_changed(struct net_channel *c, unsigned events) { (void)c, (void)events; }
void net_channel_connected(struct net_channel *c, int error)
{
	if (error < 0 || error > 4095)
		abort();
	c->error = error;
	c->answered = true;
}
void net_channel_failed(struct net_channel *c, int error) { (void)c, (void)error; }
void net_channel_datagram_error(struct net_channel *c, int error) { (void)c, (void)error; }
struct packet *net_datagram_create(size_t size, void **data)
{
	*data = malloc(size + 1);
	return *data;
}
void net_channel_datagram(struct net_channel *c, struct packet *p, const struct outside_endpoint *from)
{
	(void)c, (void)from;
	free(p);
}
int net_channel_incoming(struct net_channel *listener, struct net_channel *child)
{
	(void)listener;
	for (unsigned i = 0; i < STREAMS && !refuse_incoming; i++) {
		if (sockets[i])
			continue;
		sockets[i] = child;
		return 0;
	}
	return -ECONNREFUSED;
}

// ---- what happens ----

static char bytes[70000];

static void open_socket(unsigned slot, unsigned kind)
{
	struct outside_request r = { .operation = 1 + kind % 3 };
	struct net_channel *c;

	if (sockets[slot])
		return;
	c = kind % 4 == 3 ? plain->create() : outside->create();
	if (is_err(c))
		return;
	if (kind % 4 == 3 ? plain->begin(c, 0, 100) : outside->begin(c, &r))
		c->ops->close(c, false);
	else
		sockets[slot] = c;
}

static void use_socket(unsigned slot, const uint8_t *x)
{
	struct net_channel *c = sockets[slot];
	struct outside_endpoint to = { .port = x[1] };
	size_t size = (size_t)(x[1] | x[2] << 8) + 1;
	struct iov_iter i;

	if (!c)
		return;
	iov_init_kernel(&i, bytes, size);
	switch (x[0] % 8) {
	case 0: (void)c->ops->send(c, &i); break;
	case 1: (void)c->ops->receive(c, &i, x[1] & 1, x[2]); break;
	case 2: (void)c->ops->ready(c); break;
	case 3: c->ops->shutdown(c, false, true); break;
	case 4:
		c->ops->close(c, x[1] & 1);
		sockets[slot] = NULL;
		break;
	case 5:
		if (c->ops->accepted)
			c->ops->accepted(c);
		break;
	case 6:
		if (c->ops->set_target)
			(void)c->ops->set_target(c, &to);
		break;
	case 7:
		i.count = min(size, (size_t)OUTSIDE_DATAGRAM_MAX);
		if (c->ops->send_datagram)
			(void)c->ops->send_datagram(c, &i, &to);
		break;
	}
}

// A packet like those of a real host, as far as the input lets it be one.
static size_t host_packet(const uint8_t *x, size_t left)
{
	struct virtio_vsock_hdr h = { .src_cid = VSOCK_HOST,
				      .dst_cid = CID,
				      .src_port = x[1] % 4,
				      .dst_port = OUTSIDE_PORT,
				      .type = x[2] == 0xff ? 2 : VIRTIO_VSOCK_TYPE_STREAM,
				      .op = x[3] % 9,
				      .flags = x[4] % 4,
				      .buf_alloc = x[5] << 12,
				      .fwd_cnt = x[6] << 8 };
	struct net_channel *c = sockets[x[2] % STREAMS];
	size_t size = 0, given = 0, total;
	static char packet[sizeof(h) + 256 * 64];

	if (c) {
		h.src_port = vsock_stream_of(c)->remote_port;
		h.dst_port = vsock_stream_of(c)->local_port;
	}
	if (h.op == VIRTIO_VSOCK_OP_RW) {
		size = (size_t)x[7] * 64;
		given = min(min(size, left),
			    (size_t)64); // heads come from the input, the rest is what was there before
		h.len = (uint32_t)size + (x[4] == 0xff);
	}
	memcpy(packet, &h, sizeof(h));
	memcpy(packet + sizeof(h), x + 8, given);
	total = sizeof(h) + size - (x[5] == 0xff);
	if (vsock_packet_parse(packet, total, CID, &h)) {
		if (h.len > total - sizeof(h))
			abort();
		vsock_stream_handle(&h, packet + sizeof(h));
	}
	return given;
}

static void check_socket(struct net_channel *c)
{
	const struct vsock_stream *s;

	if (!c)
		return;
	s = vsock_stream_of(c);
	if (s->received_bytes > VSOCK_BUFFER_BYTES)
		abort();
}

static void start(void)
{
	extern const struct init_entry __start_init_table_2[], __stop_init_table_2[];

	if (outside)
		return;
	for (const struct init_entry *e = __start_init_table_2; e < __stop_init_table_2; e++)
		e->fn();
	vsock_outside_start();
	vsock_plain_start();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	start();
	ring_full = dead = refuse_incoming = false;
	for (size_t at = 0; at + 8 <= size; at += 8) {
		const uint8_t *x = data + at;

		switch (x[0] % 8) {
		case 0: open_socket(x[1] % STREAMS, x[2]); break;
		case 1: use_socket(x[1] % STREAMS, x + 2); break;
		case 2: ring_full = x[1] & 1; break;
		case 3: refuse_incoming = x[1] & 1; break;
		case 4:
			if (x[1] == 0xff)
				vsock_streams_fail(ENETDOWN);
			else if (x[1] == 0xfe)
				end_lingering();
			break;
		default: at += host_packet(x, size - at - 8); break;
		}
		for (unsigned i = 0; i < STREAMS; i++)
			check_socket(sockets[i]);
	}
	for (unsigned i = 0; i < STREAMS; i++) {
		if (sockets[i])
			sockets[i]->ops->close(sockets[i], false);
		sockets[i] = NULL;
	}
	end_lingering();
	vsock_streams_fail(ENETDOWN);
	if (page_count)
		abort();
	return 0;
}
