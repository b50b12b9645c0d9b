// SPDX-License-Identifier: Apache-2.0
// The life of a virtio device: reset, features, queues, DRIVER_OK (VIRTIO 1.2, 3.1.1), and which driver takes it.
#include "virtio.h"

#include "kernel/errno.h"
#include "kernel/log.h"
#include "kernel/page.h"
#include "kernel/sched.h"
#include "kernel/timer.h"
#include "lib/compiler.h"
#include "lib/string.h"

#include <linux/virtio_ring.h>

#define RESET_PATIENCE_NS (100 * NSEC_PER_MSEC)

static struct virtio_driver *drivers; // filled at start-up level 2, constant afterwards

void virtio_driver_register(struct virtio_driver *d)
{
	d->next = drivers;
	drivers = d;
}

static void status_add(struct virtio_device *d, uint8_t bits)
{
	d->transport->set_status(d, (uint8_t)(d->transport->get_status(d) | bits));
}

// A device has reset once its status reads zero. One that never does gets no second chance: false.
static bool device_reset(struct virtio_device *d)
{
	d->transport->set_status(d, 0);
	uint64_t deadline = clock_monotonic_ns() + RESET_PATIENCE_NS;
	while (d->transport->get_status(d)) {
		if (clock_monotonic_ns() > deadline)
			return false;
		port_cpu_relax();
	}
	return true;
}

struct virtio_device *virtio_devices;

void virtio_device_add(struct virtio_device *d)
{
	d->next = virtio_devices;
	virtio_devices = d;
	struct virtio_driver *driver = drivers;
	while (driver && driver->device_id != d->device_id)
		driver = driver->next;
	if (!driver)
		return;
	int error = -EIO;
	if (device_reset(d)) {
		status_add(d, VIRTIO_CONFIG_S_ACKNOWLEDGE);
		status_add(d, VIRTIO_CONFIG_S_DRIVER);
		error = driver->probe(d);
	}
	trace_event("device", d->device_id, clock_monotonic_ns());
	if (error) {
		klog("virtio: %s: device not usable: error %d", driver->name, error);
		d->transport->set_status(d, VIRTIO_CONFIG_S_FAILED);
	}
}

int virtio_negotiate(struct virtio_device *d, uint64_t features)
{
	uint64_t offered = d->transport->get_features(d);
	if (!(offered >> VIRTIO_F_VERSION_1 & 1))
		return -ENODEV; // legacy interface only
	features |= UINT64_C(1) << VIRTIO_F_VERSION_1 | UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX |
		    UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC | UINT64_C(1) << VIRTIO_F_RING_PACKED;
	d->features = offered & features;
	d->transport->set_features(d, d->features);
	status_add(d, VIRTIO_CONFIG_S_FEATURES_OK);
	return d->transport->get_status(d) & VIRTIO_CONFIG_S_FEATURES_OK ? 0 : -ENODEV;
}

void virtio_config_read(struct virtio_device *d, unsigned offset, void *out, size_t size)
{
	for (unsigned i = 0; i < 8; i++) { // a device whose configuration never stands still is given up on
		uint8_t before = d->transport->config_generation(d);
		d->transport->config_read(d, offset, out, size);
		if (d->transport->config_generation(d) == before)
			return;
	}
}

int virtio_queue_create(struct virtio_device *d, unsigned index, unsigned size_max, unsigned cpu,
			void (*callback)(struct virtqueue *q, void *context), void *context)
{
	if (index >= VIRTIO_QUEUES_MAX || d->queues[index])
		return -EINVAL;
	unsigned size = d->transport->queue_size(d, index);
	if (!size)
		return -ENODEV;
	size = min(size, min(size_max, VIRTQUEUE_SIZE_MAX));
	while (size & (size - 1))
		size &= size - 1;
	bool packed = virtio_has(d, VIRTIO_F_RING_PACKED);
	size_t bytes = virtqueue_ring_bytes(packed, size);
	unsigned order = 0;
	while ((PAGE_SIZE << order) < bytes)
		order++;
	struct page *ring = page_alloc(order, PAGE_DEVICE | PAGE_ZERO);
	if (!ring)
		return -ENOMEM;
	struct virtqueue_config config = {
		.index = index,
		.size = size,
		.packed = packed,
		.event_index = virtio_has(d, VIRTIO_RING_F_EVENT_IDX),
		.indirect = virtio_has(d, VIRTIO_RING_F_INDIRECT_DESC),
		.ring = page_address(ring),
		.ring_address = page_to_frame(ring),
		.notify = d->transport->notify,
		.notify_context = d,
		.callback = callback,
		.callback_context = context,
	};
	struct virtqueue *q;
	int error = virtqueue_create(&config, &q);
	if (error)
		goto free_ring;
	error = d->transport->queue_enable(d, q, cpu);
	if (error)
		goto destroy;
	d->queues[index] = q;
	if (index >= d->queue_count)
		d->queue_count = index + 1;
	return 0;
destroy:
	virtqueue_destroy(q);
free_ring:
	page_put(ring);
	return error;
}

void virtio_start(struct virtio_device *d)
{
	__atomic_store_n(&d->started, true, __ATOMIC_RELEASE); // after all that interrupts look at
	status_add(d, VIRTIO_CONFIG_S_DRIVER_OK);
	for (unsigned i = 0; i < d->queue_count;
	     i++) // buffers may have been added before the device could hear of them
		if (d->queues[i])
			virtqueue_kick(d->queues[i]);
}

void virtio_interrupt(struct virtio_device *d, struct virtqueue *q)
{
	if (__atomic_load_n(&d->started, __ATOMIC_ACQUIRE))
		virtqueue_interrupt(q);
}

void virtio_stop(struct virtio_device *d)
{
	d->dead = true;
	for (unsigned i = 0; i < d->queue_count; i++)
		if (d->queues[i])
			virtqueue_break(d->queues[i]);
	if (!device_reset(d))
		klog("virtio: device %u does not reset", d->device_id);
}
