// SPDX-License-Identifier: Apache-2.0
// The virtio file-system device (VIRTIO 1.2, 5.11): its tag, its queues, their interrupts, and its end when it lies.
//
// Queue 0 carries FORGET and INTERRUPT, which must not wait behind ordinary requests; the others carry those. A CPU uses the
// queue of its number, and that queue interrupts that CPU.
#include <linux/virtio_fs.h>
#include <linux/virtio_ring.h>

#include "fs.h"
#include "kernel/init.h"
#include "kernel/leak.h"
#include "kernel/log.h"
#include "kernel/slab.h"
#include "kernel/timer.h"
#include "lib/string.h"

static struct fs_connection *connections; // filled by probes at start-up, constant afterwards

static void fs_queue_interrupt(struct virtqueue *queue, void *context)
{
	struct fs_queue *q = context;
	struct fs_request *r;
	uint32_t written;
	do {
		while ((r = virtqueue_take(queue, &written)))
			fs_request_finish(r, written, 0);
		fs_queue_drain(q);
	} while (!virtqueue_enable_callback(queue));
	if (virtqueue_is_broken(queue))
		fs_connection_fail(q->connection, "nonsense in its ring");
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
	klog("virtiofs: %s: device given up: %s", c->tag, why);
	virtio_stop(c->device);
	for (unsigned i = 0; i < c->queue_count; i++)
		queue_fail(&c->queues[i]);
	queue_fail(&c->urgent);
}

static int queue_start(struct fs_connection *c, struct fs_queue *q, unsigned index, unsigned cpu)
{
	q->connection = c;
	spin_init(&q->lock);
	list_init(&q->waiting);
	int error = virtio_queue_create(c->device, index, 256, cpu, fs_queue_interrupt, q);
	q->queue = c->device->queues[index];
	return error;
}

static int queues_start(struct fs_connection *c, unsigned offered)
{
	unsigned cpus = port_cpu_count();
	int error = queue_start(c, &c->urgent, 0, 0);
	c->queue_count = min(min(offered, cpus), FS_QUEUES_MAX);
	for (unsigned i = 0; i < c->queue_count && !error; i++)
		error = queue_start(c, &c->queues[i], i + 1, i);
	return error;
}

static int fs_probe(struct virtio_device *d)
{
	struct virtio_fs_config config;
	int error = virtio_negotiate(d, 0);
	if (error)
		return error;
	// A request needs more segments than a ring may have entries; every device we know of has indirect descriptors.
	if (!virtio_has(d, VIRTIO_RING_F_INDIRECT_DESC))
		return -ENODEV;
	virtio_config_read(d, 0, &config, sizeof(config));
	if (!config.num_request_queues)
		return -ENODEV;
	struct fs_connection *c = kalloc(sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->device = d;
	memcpy(c->tag, config.tag, sizeof(config.tag));
	spin_init(&c->lock);
	list_init(&c->idle);
	list_init(&c->forgets);
	list_init(&c->idle_handles);
	list_init(&c->dirty);
	waitq_init(&c->idle_wait);
	error = queues_start(c, config.num_request_queues);
	if (error) { // once per boot at most: what the queues hold stays with the dead device
		virtio_stop(d);
		return error;
	}
	d->private = c;
	c->next = connections;
	connections = c;
	virtio_start(d);
	return 0;
}

struct fs_connection *fs_connection_find(const char *tag)
{
	struct fs_connection *c = connections;
	while (c && (strcmp(c->tag, tag) != 0 || c->mounted))
		c = c->next;
	return c;
}

// ---- leak check ----

static int64_t requests_held(void)
{
	int64_t held = 0;
	for (struct fs_connection *c = connections; c; c = c->next) {
		spin_lock(&c->lock);
		held += (int64_t)c->request_count - c->idle_count - (c->forget_request ? 1 : 0);
		spin_unlock(&c->lock);
	}
	return held;
}

// Requests that nobody waits for (RELEASE, FORGET) get a moment to come back.
static int64_t requests_leaked(void)
{
	static struct waitq never = WAITQ_INIT(never);
	uint64_t patience = clock_monotonic_ns() + NSEC_PER_SEC;
	while (requests_held() && clock_monotonic_ns() < patience)
		(void)wait_event_mode(&never, false, PARK_KILLABLE, clock_monotonic_ns() + 10 * NSEC_PER_MSEC);
	return requests_held();
}
static struct leak_counter request_leaks = { .name = "virtiofs-requests", .left = requests_leaked };

static struct virtio_driver fs_driver = { .name = "virtiofs", .device_id = VIRTIO_ID_FS, .probe = fs_probe };

static void fs_device_init(void)
{
	virtio_driver_register(&fs_driver);
	leak_counter_register(&request_leaks);
}
KERNEL_INIT(2, fs_device_init);
