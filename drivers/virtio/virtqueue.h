// SPDX-License-Identifier: Apache-2.0
// Virtqueues: how requests travel to a device and come back. Virtual I/O Device (VIRTIO) 1.2, sections 2.6 to 2.8.
//
// A driver hands over a request as a list of segments of device-visible memory (what the device reads first, then what it
// writes) and a token; after the device has used it, virtqueue_take() returns the token and how much was written. Split
// and packed rings look the same from here.
//
// The device is hostile. What we must remember about a request (its token, how many descriptors it took, how much the device
// may have written) lives in private memory; ring memory is written for the device and, of what the device writes, each
// field is read once and checked. An answer that makes no sense marks the queue broken: from then on it takes and returns
// nothing, and the driver fails its requests with -EIO after a reset (virtqueue_detach()).
//
// Locking: one spinlock a queue, taken inside. Every function may be called from task and interrupt context. This file
// knows no transport, no page allocator and no task: unit tests and fuzzers run it against a device of their own.
#pragma once

#include "kernel/types.h"

#define VIRTQUEUE_SIZE_MAX 1024u

struct virtqueue;

struct vq_segment {
	paddr_t address; // as the device sees it
	uint32_t size;   // bytes, > 0
};

// Room for an indirect descriptor table, in device-visible memory; it belongs to the request until that is taken back.
struct vq_table {
	void *memory;
	paddr_t address;
	unsigned capacity; // descriptors of 16 bytes
};

struct virtqueue_config {
	unsigned index;
	unsigned size;    // descriptors, at most VIRTQUEUE_SIZE_MAX; a split ring's is a power of two
	bool packed;      // VIRTIO_F_RING_PACKED
	bool event_index; // VIRTIO_RING_F_EVENT_IDX
	bool indirect;    // VIRTIO_RING_F_INDIRECT_DESC
	void *ring;       // virtqueue_ring_bytes() of zeroed device-visible memory, 16-byte aligned; stays the caller's
	paddr_t ring_address;
	void (*notify)(struct virtqueue *q, void *context);   // tells the device: the transport's doorbell
	void (*callback)(struct virtqueue *q, void *context); // interrupt context: something was used. May be NULL
	void *notify_context, *callback_context;
};

size_t virtqueue_ring_bytes(bool packed, unsigned size);
// -EINVAL, -ENOMEM.
int must_check virtqueue_create(const struct virtqueue_config *config, struct virtqueue **out);
void virtqueue_destroy(struct virtqueue *q); // nothing is in flight: reset and detached

// Where the three parts of the ring stand, for the transport: descriptors, driver area, device area.
void virtqueue_areas(const struct virtqueue *q, paddr_t out[3]);
unsigned virtqueue_index(const struct virtqueue *q);
unsigned virtqueue_size(const struct virtqueue *q);

// Makes a request available: `out_count` segments the device reads, then `in_count` it writes. `table` may be NULL; with it, and
// if the device knows indirect descriptors, the request takes one ring entry. The device may see it at once, but is only sure
// to look after virtqueue_kick(). 0; -ENOSPC: ring full now; -EINVAL: can never fit; -EIO: broken.
int must_check virtqueue_add(struct virtqueue *q, const struct vq_segment *segments, unsigned out_count,
			     unsigned in_count, const struct vq_table *table, void *token);
// Notifies the device of what was added since the last kick, unless it said that it does not need to be told.
void virtqueue_kick(struct virtqueue *q);
// The next used request's token, or NULL. *written: bytes the device says it wrote; never more than there was room for.
void *virtqueue_take(struct virtqueue *q, uint32_t *written);

// Interrupts: a queue starts with its callback enabled. enable returns false when something was used meanwhile: take it,
// then enable again. Disabling is a hint; a callback may come all the same.
bool must_check virtqueue_enable_callback(struct virtqueue *q);
void virtqueue_disable_callback(struct virtqueue *q);
// The transport calls this when the device interrupts for this queue.
void virtqueue_interrupt(struct virtqueue *q);

bool virtqueue_is_broken(const struct virtqueue *q);
void virtqueue_break(struct virtqueue *q); // from now on -EIO: the device is being removed or lied elsewhere
void *virtqueue_detach(
	struct virtqueue *q); // after a device reset: some token still in flight, or NULL when none is left
unsigned virtqueue_free_count(struct virtqueue *q); // ring entries left
unsigned virtqueue_in_flight(struct virtqueue *q);  // requests the device has
