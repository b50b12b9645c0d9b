// SPDX-License-Identifier: Apache-2.0
// One port of a virtio console: a byte channel each way (VIRTIO 1.2, 5.3).
//
// Input: the host fills pages we lend it; a page is lent again once its reader has emptied it, so a slow reader makes the
// host wait. Output: bytes are copied to a page of the shared window and lent; finished pages are collected by the next
// writer, and interrupts for them are asked for only while somebody waits for room or for a flush.
//
// Locks: port.lock (spinlock) -> the queue's own. Interrupt handlers take it too.
#include <linux/virtio_console.h>

#include "console.h"
#include "kernel/errno.h"
#include "kernel/page.h"
#include "lib/compiler.h"
#include "lib/string.h"

static struct port *to_port(struct channel *c) { return container_of(c, struct port, channel); }

// ---- input ----

static int lend_input(struct port *p, struct page *page)
{
	struct vq_segment s = { page_to_frame(page), PAGE_SIZE };
	return virtqueue_add(p->rx, &s, 0, 1, NULL, page);
}

// Takes what the host has filled. Lock held. Bounded: pages go back to the host only from readers.
static void collect_input(struct port *p)
{
	struct page *page;
	uint32_t bytes;
	while ((page = virtqueue_take(p->rx, &bytes))) {
		page->private = 0;
		page->count = bytes;
		list_add_tail(&p->received, &page->lru);
	}
}

void port_rx_interrupt(struct virtqueue *q, void *port)
{
	struct port *p = port;
	spin_lock(&p->lock);
	do
		collect_input(p);
	while (!virtqueue_enable_callback(q));
	bool broken = virtqueue_is_broken(q);
	spin_unlock(&p->lock);
	waitq_wake_events(&p->channel.wait, 0, broken ? 0 : EPOLLIN | EPOLLRDNORM);
}

static bool input_ended(const struct port *p) { return p->host == HOST_CLOSED || virtqueue_is_broken(p->rx); }

static bool input_ready(struct port *p)
{
	spin_lock(&p->lock);
	bool ready = !list_empty(&p->received) || input_ended(p);
	spin_unlock(&p->lock);
	return ready;
}

// Moves what is there. Lock held. Pages emptied go back to the host: *lent counts them.
static size_t take_input(struct port *p, char *to, size_t size, unsigned *lent)
{
	size_t done = 0;
	while (done < size && !list_empty(&p->received)) {
		struct page *page = list_first(&p->received, struct page, lru);
		size_t n = min(size - done, (size_t)page->count);
		memcpy(to + done, (char *)page_address(page) + page->private, n);
		page->private += n;
		page->count -= (uint32_t)n;
		done += n;
		if (page->count)
			break;
		list_remove(&page->lru);
		if (lend_input(p, page))
			page_put(page);
		else
			++*lent;
	}
	return done;
}

static ssize_t port_read(struct channel *c, void *buffer, size_t size, bool nonblock)
{
	struct port *p = to_port(c);
	if (!size)
		return 0;
	for (;;) {
		unsigned lent = 0;
		spin_lock(&p->lock);
		size_t n = take_input(p, buffer, size, &lent);
		bool ended = list_empty(&p->received) && input_ended(p);
		spin_unlock(&p->lock);
		if (lent)
			virtqueue_kick(p->rx);
		if (n)
			return (ssize_t)n;
		if (ended)
			return 0;
		if (nonblock)
			return -EAGAIN;
		if (wait_event_interruptible(&c->wait, input_ready(p)))
			return -ERESTARTSYS;
	}
}

// ---- output ----

static void keep_page(struct port *p, struct page *page) // lock held
{
	if (p->tx_free_count >= 2) {
		page_put(page);
		return;
	}
	list_add(&p->tx_free, &page->lru);
	p->tx_free_count++;
}

static void collect_output(struct port *p) // lock held
{
	struct page *page;
	uint32_t written;
	while ((page = virtqueue_take(p->tx, &written))) {
		p->tx_in_flight--;
		keep_page(p, page);
	}
}

// Asks for an interrupt and looks once more, so that nothing taken before goes unnoticed. Lock held.
static void watch_output(struct port *p)
{
	do
		collect_output(p);
	while (!virtqueue_enable_callback(p->tx));
}

void port_tx_interrupt(struct virtqueue *q, void *port)
{
	struct port *p = port;
	spin_lock(&p->lock);
	collect_output(p);
	if (p->tx_waiters)
		watch_output(p);
	spin_unlock(&p->lock);
	waitq_wake_events(&p->channel.wait, 0, EPOLLOUT | EPOLLWRNORM);
}

static bool output_stuck(const struct port *p) { return p->host == HOST_CLOSED || virtqueue_is_broken(p->tx); }

static bool output_room(struct port *p)
{
	spin_lock(&p->lock);
	collect_output(p);
	if (p->tx_in_flight >= PORT_TX_PAGES)
		watch_output(p);
	bool ready = p->tx_in_flight < PORT_TX_PAGES || output_stuck(p);
	spin_unlock(&p->lock);
	return ready;
}

static bool output_drained(struct port *p)
{
	spin_lock(&p->lock);
	watch_output(p);
	bool drained = !p->tx_in_flight || output_stuck(p);
	spin_unlock(&p->lock);
	return drained;
}

static void output_waiters_add(struct port *p, int n)
{
	spin_lock(&p->lock);
	p->tx_waiters += n;
	if (!p->tx_waiters)
		virtqueue_disable_callback(p->tx);
	spin_unlock(&p->lock);
}

// A page to write into, or NULL: none free in *full, else out of memory.
static struct page *output_page(struct port *p, bool *full)
{
	struct page *page = NULL;
	spin_lock(&p->lock);
	collect_output(p);
	*full = p->tx_in_flight >= PORT_TX_PAGES;
	if (!*full) {
		p->tx_in_flight++; // ours from now on
		if (!list_empty(&p->tx_free)) {
			page = list_first(&p->tx_free, struct page, lru);
			list_remove(&page->lru);
			p->tx_free_count--;
		}
	}
	spin_unlock(&p->lock);
	if (!*full && !page)
		page = page_alloc(0, PAGE_DEVICE);
	return page;
}

static void output_page_return(struct port *p, struct page *page)
{
	spin_lock(&p->lock);
	p->tx_in_flight--;
	if (page)
		keep_page(p, page);
	spin_unlock(&p->lock);
}

// Lends one page of data to the host. Bytes, 0 when the ring is full, -errno.
static ssize_t write_page(struct port *p, const char *data, size_t size)
{
	bool full;
	struct page *page = output_page(p, &full);
	if (full)
		return 0;
	if (!page) {
		output_page_return(p, NULL);
		return -ENOMEM;
	}
	size_t n = min(size, (size_t)PAGE_SIZE);
	memcpy(page_address(page), data, n);
	struct vq_segment s = { page_to_frame(page), (uint32_t)n };
	int error = virtqueue_add(p->tx, &s, 1, 0, NULL, page);
	if (error)
		output_page_return(p, page);
	return error == -ENOSPC ? 0 : error ? error : (ssize_t)n;
}

static ssize_t port_write(struct channel *c, const void *data, size_t size, bool nonblock)
{
	struct port *p = to_port(c);
	size_t done = 0;
	if (!size)
		return 0;
	for (;;) {
		ssize_t n = 0;
		if (__atomic_load_n(&p->host, __ATOMIC_RELAXED) == HOST_CLOSED)
			return -EPIPE;
		while (done < size && (n = write_page(p, (const char *)data + done, size - done)) > 0)
			done += (size_t)n;
		virtqueue_kick(p->tx);
		if (done)
			return (ssize_t)done;
		if (n < 0)
			return n;
		if (nonblock) {
			(void)output_room(p); // the wake-up that poll(2) relies on
			return -EAGAIN;
		}
		output_waiters_add(p, 1);
		int error = wait_event_interruptible(&c->wait, output_room(p));
		output_waiters_add(p, -1);
		if (error)
			return -ERESTARTSYS;
	}
}

static unsigned port_ready(struct channel *c)
{
	struct port *p = to_port(c);
	unsigned events = output_room(p) ? EPOLLOUT | EPOLLWRNORM : 0;
	spin_lock(&p->lock);
	if (!list_empty(&p->received) || input_ended(p))
		events |= EPOLLIN | EPOLLRDNORM;
	if (p->host == HOST_CLOSED)
		events |= EPOLLHUP;
	spin_unlock(&p->lock);
	return events;
}

static void port_flush(struct channel *c)
{
	struct port *p = to_port(c);
	output_waiters_add(p, 1);
	(void)wait_event_killable(&c->wait, output_drained(p));
	output_waiters_add(p, -1);
}

static void port_close_write(struct channel *c)
{
	struct port *p = to_port(c);
	port_flush(c);
	console_post(p->console, p->id, VIRTIO_CONSOLE_PORT_OPEN, 0);
}

static const struct channel_ops port_channel_ops = {
	.read = port_read,
	.write = port_write,
	.close_write = port_close_write,
	.ready = port_ready,
	.flush = port_flush,
};

// ---- life ----

int port_init(struct port *p, struct console *c, unsigned id, struct virtqueue *rx, struct virtqueue *tx)
{
	p->console = c;
	p->id = id;
	p->rx = rx;
	p->tx = tx;
	p->channel.ops = &port_channel_ops;
	p->channel.name = p->name;
	waitq_init(&p->channel.wait);
	spin_init(&p->lock);
	list_init(&p->received);
	list_init(&p->tx_free);
	virtqueue_disable_callback(tx);
	for (unsigned i = 0; i < PORT_RX_PAGES; i++) {
		struct page *page = page_alloc(0, PAGE_DEVICE);
		if (!page)
			return i ? 0 : -ENOMEM;
		if (lend_input(p, page)) {
			page_put(page);
			break;
		}
	}
	virtqueue_kick(rx);
	return 0;
}

void port_register(struct port *p, const char *name)
{
	if (p->registered || !string_copy(p->name, name, sizeof(p->name)))
		return;
	p->registered = true;
	channel_register(&p->channel);
}

void port_host_changed(struct port *p, bool open)
{
	spin_lock(&p->lock);
	collect_input(p); // what was sent before the close is read before the end of file
	__atomic_store_n(&p->host, open ? HOST_OPEN : HOST_CLOSED, __ATOMIC_RELAXED);
	spin_unlock(&p->lock);
	waitq_wake_all(&p->channel.wait);
}

void port_broken(struct port *p) { waitq_wake_all(&p->channel.wait); }
