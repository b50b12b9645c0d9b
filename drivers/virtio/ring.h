// SPDX-License-Identifier: Apache-2.0
// Inside of a virtqueue: what virtqueue.c shares with the two ring layouts, split.c and packed.c.
#pragma once

#include <linux/virtio_ring.h>

#include "kernel/errno.h"
#include "kernel/spinlock.h"
#include "virtqueue.h"

// One request in the device's hands, by the id the device returns: the head descriptor (split) or the buffer id (packed).
// A slot without token is free. Guarded by the queue's lock.
struct vq_slot {
	void *token;
	uint32_t writable_bytes; // the most the device can have written
	uint16_t descriptors;    // ring descriptors it takes
	uint16_t next;           // packed: free list. split: link of descriptor `id`, in a chain or the free list
};

struct split_ring {
	struct vring_desc *descriptors;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t avail_index; // next to publish; what we wrote last to avail->idx
	uint16_t used_index;  // next to take
};

struct packed_ring {
	struct vring_packed_desc *descriptors;
	struct vring_packed_desc_event *driver_event, *device_event;
	uint16_t next_avail, next_used;
	bool avail_wrap, used_wrap;
};

struct virtqueue {
	// constant
	const struct ring_ops *ops;
	struct virtqueue_config config;

	struct spinlock lock; // guards everything below, and our side of the ring
	bool broken;          // written under lock, read anywhere
	uint16_t free_count, free_head;
	uint16_t in_flight;
	uint16_t added; // ring descriptors made available since the last kick
	union {
		struct split_ring split;
		struct packed_ring packed;
	};
	struct vq_slot slots[];
};

// A request as it enters the ring: checked, indirect or not decided.
struct ring_request {
	const struct vq_segment *segments;
	unsigned out_count, count;    // count: with in segments
	const struct vq_table *table; // NULL: direct
	uint32_t writable_bytes;
	void *token;
};

struct ring_ops { // all with the queue's lock held
	void (*init)(struct virtqueue *q);
	void (*areas)(const struct virtqueue *q, paddr_t out[3]);
	void (*add)(struct virtqueue *q, const struct ring_request *r); // there is room
	bool (*kick_needed)(struct virtqueue *q);
	bool (*has_used)(struct virtqueue *q);
	// One used element, already consumed from the ring: false when there is none or the queue was found broken.
	bool (*take)(struct virtqueue *q, struct vq_slot **slot, uint32_t *written);
	void (*set_callback)(struct virtqueue *q, bool enabled);
	void (*release)(struct virtqueue *q, struct vq_slot *slot); // its descriptors are free again
};
extern const struct ring_ops split_ring_ops, packed_ring_ops;

// Shared memory the other side writes: read exactly once.
#define ring_read(field)                 __atomic_load_n(&(field), __ATOMIC_RELAXED)
#define ring_read_acquire(field)         __atomic_load_n(&(field), __ATOMIC_ACQUIRE)
#define ring_write(field, value)         __atomic_store_n(&(field), (value), __ATOMIC_RELAXED)
#define ring_write_release(field, value) __atomic_store_n(&(field), (value), __ATOMIC_RELEASE)
// Orders our write to one shared field before our read of another (avail index against event index and the reverse).
#define ring_fence()                     __atomic_thread_fence(__ATOMIC_SEQ_CST)

static inline void ring_break(struct virtqueue *q) { __atomic_store_n(&q->broken, true, __ATOMIC_RELEASE); }
