// SPDX-License-Identifier: Apache-2.0
// The virtio-vsock device: its queues, and the task that serves them.
#include "vsock.h"

#include "kernel/init.h"
#include "kernel/leak.h"
#include "kernel/log.h"
#include "kernel/sched.h"
#include "kernel/slab.h"
#include "lib/string.h"

#define RX_QUEUE       0u
#define TX_QUEUE       1u
#define EVENT_QUEUE    2u
#define QUEUE_SIZE     128u
#define RX_ORDER       3u
#define RX_BUFFERS     32u
#define EVENT_BUFFERS  8u
#define CLOSE_GRACE_NS (10 * NSEC_PER_SEC)
#define RETRY_NS       (10 * NSEC_PER_MSEC)
#define LEAK_TRIES     100u

struct vsock {
	// constant after the probe
	struct virtio_device *device;
	struct virtqueue *rx, *tx, *event;
	struct page *events; // EVENT_BUFFERS of struct virtio_vsock_event

	uint64_t cid;      // atomic
	struct waitq work; // of the task
	bool retry;        // atomic: something due could not be sent for want of memory
	struct ktimer timer;

	struct spinlock lock;     // guards what follows, and due and closing state of streams
	struct list due, closing; // struct vsock_stream, referenced
	struct list starved;      // those that wait for room in the transmit ring; referenced
};
static struct vsock *vsock; // NULL: no device. Written once, when it works

bool vsock_works(void)
{
	struct vsock *v = __atomic_load_n(&vsock, __ATOMIC_ACQUIRE);

	return v && !virtqueue_is_broken(v->tx) && !virtqueue_is_broken(v->rx);
}

uint32_t vsock_local_cid(void) { return vsock ? (uint32_t)__atomic_load_n(&vsock->cid, __ATOMIC_RELAXED) : UINT32_MAX; }

// ---- sending ----

static void collect_sent(struct vsock *v)
{
	struct page *page;
	uint32_t written;

	while ((page = virtqueue_take(v->tx, &written)))
		page_put(page);
}

bool vsock_transmit_room(void) { return virtqueue_free_count(vsock->tx) != 0 || virtqueue_is_broken(vsock->tx); }

struct page *vsock_transmit_page(size_t bytes)
{
	unsigned order = 0;

	while ((PAGE_SIZE << order) < bytes)
		order++;
	collect_sent(vsock);
	return page_alloc(order, PAGE_DEVICE);
}

int vsock_transmit(const struct virtio_vsock_hdr *h, struct page *page)
{
	struct vsock *v = vsock;
	struct vq_segment s = { page_to_frame(page), (uint32_t)sizeof(*h) + h->len };
	int error;

	memcpy(page_address(page), h, sizeof(*h));
	error = virtqueue_add(v->tx, &s, 1, 0, NULL, page);
	if (error == -ENOSPC) {
		collect_sent(v);
		error = virtqueue_add(v->tx, &s, 1, 0, NULL, page);
	}
	if (!error)
		virtqueue_kick(v->tx);
	return error;
}

void vsock_starve(struct vsock_stream *s)
{
	struct vsock *v = vsock;

	spin_lock(&v->lock);
	if (list_empty(&s->starved_node)) {
		net_channel_get(&s->channel);
		list_add_tail(&v->starved, &s->starved_node);
	}
	spin_unlock(&v->lock);
	if (!virtqueue_enable_callback(v->tx))
		waitq_wake_all(&v->work);
}

static struct vsock_stream *next_starved(struct vsock *v)
{
	struct vsock_stream *s = NULL;

	spin_lock(&v->lock);
	if (!list_empty(&v->starved) && vsock_transmit_room()) {
		s = list_first(&v->starved, struct vsock_stream, starved_node);
		list_remove(&s->starved_node);
	}
	spin_unlock(&v->lock);
	return s;
}

static void tell_starved(struct vsock *v)
{
	struct vsock_stream *s;

	while ((s = next_starved(v)) != NULL) {
		if (s->client->room)
			s->client->room(s);
		net_channel_changed(&s->channel, EPOLLOUT | EPOLLWRNORM);
		net_channel_put(&s->channel);
	}
}

// ---- what is due ----

static void note_due(struct vsock *v, struct vsock_stream *s, unsigned what)
{
	spin_lock(&v->lock);
	s->due |= what;
	if (list_empty(&s->due_node)) {
		net_channel_get(&s->channel);
		list_add_tail(&v->due, &s->due_node);
	}
	spin_unlock(&v->lock);
}

static struct vsock_stream *next_due(struct vsock *v, unsigned *due)
{
	struct vsock_stream *s = NULL;

	spin_lock(&v->lock);
	if (!list_empty(&v->due)) {
		s = list_first(&v->due, struct vsock_stream, due_node);
		list_remove(&s->due_node);
		*due = s->due;
		s->due = 0;
	}
	spin_unlock(&v->lock);
	return s;
}

// Sends what is due of all streams, as far as the ring and memory allow. Any task; several may be at it.
static void flush_due(struct vsock *v)
{
	struct vsock_stream *s;
	unsigned due;

	while ((s = next_due(v, &due)) != NULL) {
		while (due && vsock_stream_control(s, due & -due))
			due &= due - 1;
		if (due) {
			note_due(v, s, due);
			ktimer_set(&v->timer, clock_monotonic_ns() + RETRY_NS);
		}
		net_channel_put(&s->channel);
		if (due)
			return;
	}
}

void vsock_due(struct vsock_stream *s, unsigned what)
{
	note_due(vsock, s, what);
	flush_due(vsock);
}

// ---- streams that wait for the host's last word ----

void vsock_linger(struct vsock_stream *s)
{
	struct vsock *v = vsock;

	spin_lock(&v->lock);
	if (list_empty(&s->close_node)) {
		net_channel_get(&s->channel);
		s->close_deadline_ns = clock_monotonic_ns() + CLOSE_GRACE_NS;
		list_add_tail(&v->closing, &s->close_node);
		if (!ktimer_armed(&v->timer))
			ktimer_set(&v->timer, s->close_deadline_ns);
	}
	spin_unlock(&v->lock);
}

void vsock_linger_end(struct vsock_stream *s)
{
	struct vsock *v = vsock;
	bool listed;

	spin_lock(&v->lock);
	listed = !list_empty(&s->close_node);
	if (listed)
		list_remove(&s->close_node);
	spin_unlock(&v->lock);
	if (listed)
		net_channel_put(&s->channel);
}

static void expire_closing(struct vsock *v, uint64_t now)
{
	for (;;) {
		struct vsock_stream *s = NULL;

		spin_lock(&v->lock);
		if (!list_empty(&v->closing)) {
			s = list_first(&v->closing, struct vsock_stream, close_node);
			if (s->close_deadline_ns > now) {
				if (!ktimer_armed(&v->timer))
					ktimer_set(&v->timer, s->close_deadline_ns);
				s = NULL;
			} else {
				list_remove(&s->close_node);
			}
		}
		spin_unlock(&v->lock);
		if (!s)
			return;
		vsock_stream_expire(s);
		net_channel_put(&s->channel);
	}
}

// Every program has ended: streams that wait for the host's last word need not any more. What another CPU still holds is gone in
// a moment.
static int64_t streams_left(void)
{
	struct waitq nobody = WAITQ_INIT(nobody);

	if (vsock)
		expire_closing(vsock, UINT64_MAX);
	for (unsigned i = 0; i < LEAK_TRIES && vsock_stream_count(); i++)
		(void)wait_event_deadline(&nobody, false, clock_monotonic_ns() + RETRY_NS);
	return vsock_stream_count();
}
static struct leak_counter leak = { .name = "vsock streams", .left = streams_left };

static void timer_expired(struct ktimer *t)
{
	struct vsock *v = container_of(t, struct vsock, timer);

	__atomic_store_n(&v->retry, true, __ATOMIC_RELAXED);
	waitq_wake_all(&v->work);
}

// ---- receiving ----

static bool lend(struct vsock *v, struct page *page)
{
	struct vq_segment s = { page_to_frame(page), (uint32_t)(PAGE_SIZE << page->order) };

	return !virtqueue_add(v->rx, &s, 0, 1, NULL, page);
}

static void receive(struct vsock *v)
{
	struct virtio_vsock_hdr h;
	struct page *page;
	uint32_t size;

	while ((page = virtqueue_take(v->rx, &size))) {
		const char *packet = page_address(page);

		if (vsock_packet_parse(packet, size, v->cid, &h))
			vsock_stream_handle(&h, packet + sizeof(h));
		if (!lend(v, page)) {
			page_put(page);
			break;
		}
		virtqueue_kick(v->rx);
		sched_preempt_point();
	}
}

static struct vq_segment event_segment(struct vsock *v, unsigned i)
{
	return (struct vq_segment){ page_to_frame(v->events) + i * sizeof(struct virtio_vsock_event),
				    sizeof(struct virtio_vsock_event) };
}

// The only event there is: the cell has moved to another host, and no connection lives on.
static void receive_events(struct vsock *v)
{
	struct virtio_vsock_config config;
	struct virtio_vsock_event *e;
	uint32_t size;

	while ((e = virtqueue_take(v->event, &size))) {
		struct vq_segment s =
			event_segment(v, (unsigned)(e - (struct virtio_vsock_event *)page_address(v->events)));
		bool reset = size == sizeof(*e) &&
			     __atomic_load_n(&e->id, __ATOMIC_RELAXED) == VIRTIO_VSOCK_EVENT_TRANSPORT_RESET;

		if (virtqueue_add(v->event, &s, 0, 1, NULL, e))
			break;
		if (!reset)
			continue;
		virtio_config_read(v->device, 0, &config, sizeof(config));
		__atomic_store_n(&v->cid, config.guest_cid, __ATOMIC_RELAXED);
		vsock_streams_fail(ECONNRESET);
	}
	virtqueue_kick(v->event);
}

// ---- the task ----

static bool is_broken(struct vsock *v)
{
	return virtqueue_is_broken(v->rx) || virtqueue_is_broken(v->tx) || virtqueue_is_broken(v->event);
}

static bool has_work(struct vsock *v)
{
	bool quiet = virtqueue_enable_callback(v->rx);

	quiet &= virtqueue_enable_callback(v->event);
	if (!list_empty(&v->starved)) // racy: who joins it looks itself
		quiet &= virtqueue_enable_callback(v->tx);
	return !quiet || is_broken(v) || __atomic_exchange_n(&v->retry, false, __ATOMIC_RELAXED);
}

static void vsock_task(void *device)
{
	struct vsock *v = device;

	for (;;) {
		wait_event(&v->work, has_work(v));
		if (is_broken(v))
			break;
		receive(v);
		receive_events(v);
		collect_sent(v);
		flush_due(v);
		expire_closing(v, clock_monotonic_ns());
		tell_starved(v);
	}
	klog("vsock: the device broke the protocol: the network is gone");
	vsock_streams_fail(ENETDOWN);
	sched_exit_current();
}

static void interrupt(struct virtqueue *q, void *device)
{
	(void)q;
	waitq_wake_all(&((struct vsock *)device)->work);
}

// ---- start ----

static int lend_all(struct vsock *v)
{
	unsigned lent = 0;

	for (unsigned i = 0; i < RX_BUFFERS; i++) {
		struct page *page = page_alloc(RX_ORDER, PAGE_DEVICE);

		if (!page)
			page = page_alloc(0, PAGE_DEVICE);
		if (!page)
			break;
		if (!lend(v, page)) {
			page_put(page);
			break;
		}
		lent++;
	}
	for (unsigned i = 0; i < EVENT_BUFFERS; i++) {
		struct vq_segment s = event_segment(v, i);

		if (virtqueue_add(v->event, &s, 0, 1, NULL, (struct virtio_vsock_event *)page_address(v->events) + i))
			return -EIO;
	}
	return lent ? 0 : -ENOMEM;
}

static int create_queues(struct vsock *v)
{
	unsigned cpu = port_cpu_count() - 1;
	int error = virtio_queue_create(v->device, RX_QUEUE, QUEUE_SIZE, cpu, interrupt, v);

	if (!error)
		error = virtio_queue_create(v->device, TX_QUEUE, QUEUE_SIZE, cpu, interrupt, v);
	if (!error)
		error = virtio_queue_create(v->device, EVENT_QUEUE, EVENT_BUFFERS, 0, interrupt, v);
	v->rx = v->device->queues[RX_QUEUE];
	v->tx = v->device->queues[TX_QUEUE];
	v->event = v->device->queues[EVENT_QUEUE];
	return error;
}

static int vsock_probe(struct virtio_device *d)
{
	struct virtio_vsock_config config;
	struct vsock *v;
	int error = virtio_negotiate(d, 0);

	if (error)
		return error;
	virtio_config_read(d, 0, &config, sizeof(config));
	v = vsock ? NULL : kalloc(sizeof(*v)); // the cell has one network
	if (!v)
		return -ENOMEM;
	v->device = d;
	v->cid = config.guest_cid;
	waitq_init(&v->work);
	spin_init(&v->lock);
	list_init(&v->due);
	list_init(&v->closing);
	list_init(&v->starved);
	ktimer_init(&v->timer, timer_expired);
	v->events = page_alloc(0, PAGE_DEVICE | PAGE_ZERO);
	error = v->events ? create_queues(v) : -ENOMEM;
	if (!error)
		error = lend_all(v);
	if (!error && is_err(kernel_task_create("vsock", vsock_task, v)))
		error = -ENOMEM;
	if (error) { // start-up fails for good: what was allocated stays with the dead device
		virtio_stop(d);
		return error;
	}
	virtqueue_disable_callback(v->tx);
	virtio_start(d);
	__atomic_store_n(&vsock, v, __ATOMIC_RELEASE);
	vsock_outside_start();
	vsock_plain_start();
	return 0;
}

static struct virtio_driver vsock_driver = { .name = "vsock", .device_id = VIRTIO_ID_VSOCK, .probe = vsock_probe };

static void vsock_init(void)
{
	virtio_driver_register(&vsock_driver);
	leak_counter_register(&leak);
}
KERNEL_INIT(2, vsock_init);
