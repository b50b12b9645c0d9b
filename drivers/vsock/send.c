// SPDX-License-Identifier: Apache-2.0
// Sending on a stream: credit is taken before a packet goes into the ring, and given back when the ring has no room. No copy is
// made under a lock.
#include "vsock.h"

#include "kernel/fs.h"
#include "lib/string.h"

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
	n = (ssize_t)min(most, (size_t)vsock_credit_locked(s));
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
	n = vsock_credit_locked(s);
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

void vsock_stream_shutdown(struct net_channel *c, bool read, bool write)
{
	struct vsock_stream *s = vsock_stream_of(c);
	bool tell;

	(void)read; // the socket itself looks no more
	if (!write)
		return;
	spin_lock(&s->lock);
	tell = !s->ended && s->state == VSOCK_OPEN;
	s->ended = true;
	spin_unlock(&s->lock);
	if (tell)
		vsock_due(s, VSOCK_DUE_END);
}
