// SPDX-License-Identifier: Apache-2.0
// Virtio devices and their drivers, whatever bus they are on. Virtual I/O Device (VIRTIO) 1.2, sections 2 and 3.
//
// A transport (pci.c; later mmio and vhost-user) finds devices and calls virtio_device_add(); the driver registered for that
// kind of device is probed in task context. All memory a device is told about comes from the shared window (PAGE_DEVICE).
#pragma once

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>

#include "kernel/types.h"
#include "virtqueue.h"

struct virtio_device;

#define VIRTIO_QUEUES_MAX 64u

// What a transport does for a device. Task context unless noted.
struct virtio_transport {
	uint8_t (*get_status)(struct virtio_device *d);
	void (*set_status)(struct virtio_device *d, uint8_t status);
	uint64_t (*get_features)(struct virtio_device *d);
	void (*set_features)(struct virtio_device *d, uint64_t features);
	uint8_t (*config_generation)(struct virtio_device *d);
	void (*config_read)(struct virtio_device *d, unsigned offset, void *out, size_t size); // beyond the end: zeroes
	unsigned (*queue_size)(struct virtio_device *d, unsigned index); // the device's limit; 0: no such queue
	// Tells the device where the ring is, routes its interrupt to `cpu`, enables it. After an error nobody knows of `q`.
	int (*queue_enable)(struct virtio_device *d, struct virtqueue *q, unsigned cpu);
	void (*notify)(struct virtqueue *q, void *device); // any context
};

struct virtio_device {
	const struct virtio_transport *transport;
	uint32_t device_id; // VIRTIO_ID_*
	uint64_t features;  // negotiated
	bool started;       // atomic: before that a device has nothing to say, and its interrupts are none
	bool dead;          // reset for good: nothing will be answered
	unsigned queue_count;
	struct virtqueue *queues[VIRTIO_QUEUES_MAX];
	void *private;              // the driver's
	struct virtio_device *next; // in virtio_devices
};
extern struct virtio_device
	*virtio_devices; // all that were ever added, newest first; start-up writes it, debuggers read it

struct virtio_driver {
	const char *name;
	uint32_t device_id;
	int (*probe)(struct virtio_device *d); // 0, or -errno: the device is left reset. Task context
	struct virtio_driver *next;
};
void virtio_driver_register(struct virtio_driver *d); // start-up level 2
void virtio_device_add(struct virtio_device *d);      // transports, level 3; d lives for ever

static inline bool virtio_has(const struct virtio_device *d, unsigned feature) { return d->features >> feature & 1; }

// Steps of a probe, in this order (3.1.1). features: those the driver understands; ring features are added here.
int must_check virtio_negotiate(struct virtio_device *d, uint64_t features);
void virtio_config_read(struct virtio_device *d, unsigned offset, void *out, size_t size); // consistent snapshot
// Sets up queue `index`, of at most `size_max` descriptors. callback: interrupt context.
int must_check virtio_queue_create(struct virtio_device *d, unsigned index, unsigned size_max, unsigned cpu,
				   void (*callback)(struct virtqueue *q, void *context), void *context);
void virtio_start(struct virtio_device *d); // DRIVER_OK: queues work from here on
// Resets the device for good and breaks its queues; the driver then detaches what was in flight.
void virtio_stop(struct virtio_device *d);
// A transport: the device has interrupted for `q`. Interrupt context.
void virtio_interrupt(struct virtio_device *d, struct virtqueue *q);
