// SPDX-License-Identifier: Apache-2.0
// The virtio file-system device (VIRTIO 1.2, 5.11): its tag, its queues, their interrupts, and its end when it lies.
//
// Queue 0 carries FORGET and INTERRUPT, which must not wait behind ordinary requests; the others carry those. A CPU uses the
// queue of its number, and that queue interrupts that CPU.
#include <linux/virtio_fs.h>
#include <linux/virtio_ring.h>

#include "fs.h"
#include "kernel/core.h"
#include "kernel/init.h"
#include "kernel/log.h"
#include "kernel/slab.h"
#include "kernel/task.h"
#include "kernel/timer.h"
#include "lib/string.h"
#include "virtio/virtio.h"

#define QUEUES_MAX   8u
#define WATCH_NS     (10 * (uint64_t)NSEC_PER_SEC)
#define SILENT_LOOKS 3u // of the watch, before a device that answers nothing is given up

static_assert(sizeof(struct fs_segment) == sizeof(struct vq_segment) &&
		      offsetof(struct fs_segment, size) == offsetof(struct vq_segment, size),
	      "a request's segments are the ring's");

struct fs_queue {
	struct virtqueue *queue;
	struct fs_device *device;
	struct spinlock lock; // guards waiting, and the order of additions
	struct list waiting;  // struct fs_request.node: the ring was full
};

struct fs_device {
	struct fs_connection connection; // first
	struct virtio_device *device;
	struct fs_queue urgent; // FORGET and INTERRUPT
	struct fs_queue queues[QUEUES_MAX];
	unsigned queue_count;
	struct ktimer watch; // armed while the device has requests
	uint64_t answers;    // atomic
	uint64_t answers_seen;
	unsigned silent_looks; // the watch's
};

const char fs_transport_name[] = "virtiofs";
const unsigned fs_transport_forgets = 1;

static struct fs_connection *connections; // filled by probes at start-up, constant afterwards

static inline struct fs_device *device_of(struct fs_connection *c)
{
	return container_of(c, struct fs_device, connection);
}

struct fs_connection *fs_connections(void) { return connections; }

// ---- sending ----

static int ring_add(struct fs_queue *q, struct fs_request *r)
{
	unsigned out_count, in_count;
	const struct fs_segment *s = fs_request_segments(r, &out_count, &in_count);
	struct vq_table table = { fs_request_arena(r) + FS_ARENA_TABLE, page_to_frame(r->arena) + FS_ARENA_TABLE,
				  FS_SEGMENTS };
	return virtqueue_add(q->queue, (const struct vq_segment *)s, out_count, in_count, &table, r);
}

void fs_transport_send(struct fs_request *r)
{
	struct fs_device *d = device_of(r->connection);
	struct fs_queue *q = r->queued_urgent ? &d->urgent : &d->queues[port_cpu_index() % d->queue_count];
	bool added = false;
	int error = -EIO;
	spin_lock(&q->lock);
	if (!__atomic_load_n(&r->connection->dead, __ATOMIC_ACQUIRE)) {
		error = list_empty(&q->waiting) ? ring_add(q, r) : -ENOSPC;
		added = !error;
		if (error == -ENOSPC) {
			list_add_tail(&q->waiting, &r->node);
			error = 0;
		}
	}
	spin_unlock(&q->lock);
	if (added)
		virtqueue_kick(q->queue);
	if (!ktimer_armed(&d->watch))
		ktimer_set(&d->watch, clock_monotonic_ns() + WATCH_NS);
	if (error)
		fs_request_finish(r, 0, -EIO);
}

static void queue_drain(struct fs_queue *q) // ring space may be free
{
	bool added = false;
	spin_lock(&q->lock);
	while (!list_empty(&q->waiting)) {
		struct fs_request *r = list_first(&q->waiting, struct fs_request, node);
		if (ring_add(q, r)) // full again, or broken: then the connection fails as a whole
			break;
		list_remove(&r->node);
		added = true;
	}
	spin_unlock(&q->lock);
	if (added)
		virtqueue_kick(q->queue);
}

// ---- interrupts ----

static void fs_queue_interrupt(struct virtqueue *queue, void *context)
{
	struct fs_queue *q = context;
	struct fs_request *r;
	uint32_t written;
	do {
		while ((r = virtqueue_take(queue, &written))) {
			__atomic_fetch_add(&q->device->answers, 1, __ATOMIC_RELAXED);
			fs_request_finish(r, written, 0);
		}
		queue_drain(q);
	} while (!virtqueue_enable_callback(queue));
	if (virtqueue_is_broken(queue))
		fs_connection_fail(&q->device->connection, "nonsense in its ring");
}

static void queue_fail(struct fs_queue *q)
{
	struct fs_request *r, *next;
	struct list waiting = LIST_INIT(waiting);
	while ((r = virtqueue_detach(q->queue)))
		fs_request_finish(r, 0, -EIO);
	spin_lock(&q->lock);
	list_splice_tail(&waiting, &q->waiting);
	spin_unlock(&q->lock);
	list_for_each_safe (r, next, &waiting, node) {
		list_remove(&r->node);
		fs_request_finish(r, 0, -EIO);
	}
}

void fs_connection_fail(struct fs_connection *c, const char *why)
{
	if (__atomic_exchange_n(&c->dead, true, __ATOMIC_SEQ_CST))
		return;
	struct fs_device *d = device_of(c);
	klog("virtiofs: %s: device given up: %s", c->tag, why);
	virtio_stop(d->device);
	for (unsigned i = 0; i < d->queue_count; i++)
		queue_fail(&d->queues[i]);
	queue_fail(&d->urgent);
}

static bool has_requests(struct fs_device *d)
{
	bool some = virtqueue_in_flight(d->urgent.queue) > 0;
	for (unsigned i = 0; i < d->queue_count; i++)
		some |= virtqueue_in_flight(d->queues[i].queue) > 0;
	return some;
}

// A server may take its time; but when it answers nothing at all, and somebody who was killed waits or the cell wants to end, its time
// is limited.
static void watch_expired(struct ktimer *t)
{
	struct fs_device *d = container_of(t, struct fs_device, watch);
	uint64_t answers = __atomic_load_n(&d->answers, __ATOMIC_RELAXED);
	bool silent = answers == d->answers_seen && has_requests(d) && (cell_is_ending() || killed_task_waits());
	d->answers_seen = answers;
	d->silent_looks = silent ? d->silent_looks + 1 : 0;
	if (d->silent_looks == SILENT_LOOKS)
		fs_connection_fail(&d->connection, "it is silent");
	else if (has_requests(d))
		ktimer_set(t, clock_monotonic_ns() + WATCH_NS);
}

static int queue_start(struct fs_device *d, struct fs_queue *q, unsigned index, unsigned cpu)
{
	q->device = d;
	spin_init(&q->lock);
	list_init(&q->waiting);
	int error = virtio_queue_create(d->device, index, 256, cpu, fs_queue_interrupt, q);
	q->queue = d->device->queues[index];
	return error;
}

static int queues_start(struct fs_device *d, unsigned offered)
{
	unsigned cpus = port_cpu_count();
	int error = queue_start(d, &d->urgent, 0, 0);
	d->queue_count = min(min(offered, cpus), QUEUES_MAX);
	for (unsigned i = 0; i < d->queue_count && !error; i++)
		error = queue_start(d, &d->queues[i], i + 1, i);
	return error;
}

static int fs_probe(struct virtio_device *v)
{
	struct virtio_fs_config config;
	int error = virtio_negotiate(v, 0);
	if (error)
		return error;
	// A request needs more segments than a ring may have entries; every device we know of has indirect descriptors.
	if (!virtio_has(v, VIRTIO_RING_F_INDIRECT_DESC))
		return -ENODEV;
	virtio_config_read(v, 0, &config, sizeof(config));
	if (!config.num_request_queues)
		return -ENODEV;
	struct fs_device *d = kalloc(sizeof(*d));
	if (!d)
		return -ENOMEM;
	struct fs_connection *c = &d->connection;
	d->device = v;
	memcpy(c->tag, config.tag, sizeof(config.tag));
	fs_connection_init(c);
	ktimer_init(&d->watch, watch_expired);
	error = queues_start(d, config.num_request_queues);
	if (error) { // once per boot at most: what the queues hold stays with the dead device
		virtio_stop(v);
		return error;
	}
	v->private = c;
	c->next = connections;
	connections = c;
	virtio_start(v);
	return 0;
}

struct fs_connection *fs_connection_find(const char *tag)
{
	struct fs_connection *c = connections;
	while (c && (strcmp(c->tag, tag) != 0 || c->mounted))
		c = c->next;
	return c;
}

static struct virtio_driver fs_driver = { .name = "virtiofs", .device_id = VIRTIO_ID_FS, .probe = fs_probe };

static void fs_device_init(void) { virtio_driver_register(&fs_driver); }
KERNEL_INIT(2, fs_device_init);
