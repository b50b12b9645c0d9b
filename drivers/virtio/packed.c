// SPDX-License-Identifier: Apache-2.0
// Packed virtqueues (VIRTIO 1.2, 2.8): one ring of descriptors that driver and device take turns in writing. Who owns an entry
// follows from two flag bits compared with a wrap counter that flips at each turn round the ring.
//
// The device overwrites descriptors with used ones, so what a request occupies is known only from slots[] (by buffer id).
#include "lib/compiler.h"
#include "ring.h"

#define FLAG_AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define FLAG_USED  (1u << VRING_PACKED_DESC_F_USED)
#define WRAP_BIT   (1u << VRING_PACKED_EVENT_F_WRAP_CTR)

static void packed_init(struct virtqueue *q)
{
	struct packed_ring *p = &q->packed;
	p->descriptors = q->config.ring;
	p->driver_event = (struct vring_packed_desc_event *)(p->descriptors + q->config.size);
	p->device_event = p->driver_event + 1;
	p->avail_wrap = p->used_wrap = true;
}

static void packed_areas(const struct virtqueue *q, paddr_t out[3])
{
	out[0] = q->config.ring_address;
	out[1] = out[0] + sizeof(struct vring_packed_desc) * q->config.size;
	out[2] = out[1] + sizeof(struct vring_packed_desc_event);
}

static uint16_t packed_avail_flags(const struct packed_ring *p)
{
	return (uint16_t)(p->avail_wrap ? FLAG_AVAIL : FLAG_USED);
}

// Fills the next entry but for its flags, which it returns, and steps on.
static uint16_t packed_fill(struct virtqueue *q, uint64_t address, uint32_t size, uint16_t id, unsigned flags)
{
	struct packed_ring *p = &q->packed;
	struct vring_packed_desc *d = &p->descriptors[p->next_avail];
	d->addr = address;
	d->len = size;
	d->id = id;
	flags |= packed_avail_flags(p);
	if (++p->next_avail == q->config.size) {
		p->next_avail = 0;
		p->avail_wrap = !p->avail_wrap;
	}
	return (uint16_t)flags;
}

static void packed_add(struct virtqueue *q, const struct ring_request *r)
{
	struct packed_ring *p = &q->packed;
	uint16_t id = q->free_head;
	struct vq_slot *slot = &q->slots[id];
	struct vring_packed_desc *head = &p->descriptors[p->next_avail];
	uint16_t head_flags = 0;
	if (r->table) {
		struct vring_packed_desc *table = r->table->memory;
		for (unsigned i = 0; i < r->count; i++)
			table[i] = (struct vring_packed_desc){ r->segments[i].address, r->segments[i].size, 0,
							       (uint16_t)(i >= r->out_count ? VRING_DESC_F_WRITE : 0) };
		head_flags = packed_fill(q, r->table->address, r->count * (uint32_t)sizeof(*table), id,
					 VRING_DESC_F_INDIRECT);
		slot->descriptors = 1;
	} else {
		for (unsigned i = 0; i < r->count; i++) {
			struct vring_packed_desc *d = &p->descriptors[p->next_avail];
			uint16_t flags = packed_fill(q, r->segments[i].address, r->segments[i].size, id,
						     (i >= r->out_count ? VRING_DESC_F_WRITE : 0) |
							     (i + 1 < r->count ? VRING_DESC_F_NEXT : 0));
			if (i)
				ring_write(d->flags, flags);
			else
				head_flags = flags;
		}
		slot->descriptors = (uint16_t)r->count;
	}
	q->free_head = slot->next;
	q->free_count -= slot->descriptors;
	q->in_flight++;
	q->added += slot->descriptors;
	slot->token = r->token;
	slot->writable_bytes = r->writable_bytes;
	ring_write_release(head->flags, head_flags); // the rest of the chain is visible before its head
}

static bool packed_kick_needed(struct virtqueue *q)
{
	struct packed_ring *p = &q->packed;
	ring_fence(); // the flags are visible before we look whether the device sleeps
	uint32_t event = ring_read(*(uint32_t *)p->device_event); // both halves in one read
	uint16_t off_wrap = (uint16_t)event, flags = (uint16_t)(event >> 16);
	if (flags != VRING_PACKED_EVENT_FLAG_DESC || !q->config.event_index)
		return flags != VRING_PACKED_EVENT_FLAG_DISABLE;
	uint16_t wanted = (uint16_t)(off_wrap & ~WRAP_BIT);
	if ((off_wrap & WRAP_BIT ? true : false) != p->avail_wrap)
		wanted = (uint16_t)(wanted - q->config.size);
	return vring_need_event(wanted, p->next_avail, (uint16_t)(p->next_avail - q->added));
}

static bool packed_is_used(const struct packed_ring *p, uint16_t flags)
{
	bool avail = flags & FLAG_AVAIL, used = flags & FLAG_USED;
	return avail == used && used == p->used_wrap;
}

static bool packed_has_used(struct virtqueue *q)
{
	return packed_is_used(&q->packed, ring_read(q->packed.descriptors[q->packed.next_used].flags));
}

static bool packed_take(struct virtqueue *q, struct vq_slot **out, uint32_t *written)
{
	struct packed_ring *p = &q->packed;
	struct vring_packed_desc *d = &p->descriptors[p->next_used];
	uint16_t flags = ring_read_acquire(d->flags); // id and length are read after it
	if (!packed_is_used(p, flags))
		return false;
	uint16_t id = ring_read(d->id);
	if (id >= q->config.size || !q->slots[id].token) {
		ring_break(q);
		return false;
	}
	// The length counts only when the device could write. 2.8.9 has it say so by a flag, but QEMU (7.2) never sets that.
	uint32_t length = q->slots[id].writable_bytes ? ring_read(d->len) : 0;
	if (length > q->slots[id].writable_bytes) {
		ring_break(q);
		return false;
	}
	p->next_used += q->slots[id].descriptors;
	if (p->next_used >= q->config.size) {
		p->next_used -= q->config.size;
		p->used_wrap = !p->used_wrap;
	}
	*out = &q->slots[id];
	*written = length;
	return true;
}

static void packed_set_callback(struct virtqueue *q, bool enabled)
{
	struct packed_ring *p = &q->packed;
	if (!enabled) {
		ring_write(p->driver_event->flags, VRING_PACKED_EVENT_FLAG_DISABLE);
		return;
	}
	if (!q->config.event_index) {
		ring_write(p->driver_event->flags, VRING_PACKED_EVENT_FLAG_ENABLE);
		return;
	}
	ring_write(p->driver_event->off_wrap, (uint16_t)(p->next_used | (p->used_wrap ? WRAP_BIT : 0)));
	ring_write_release(p->driver_event->flags, VRING_PACKED_EVENT_FLAG_DESC); // after the position it refers to
}

static void packed_release(struct virtqueue *q, struct vq_slot *slot)
{
	slot->next = q->free_head;
	q->free_head = (uint16_t)(slot - q->slots);
	q->free_count += slot->descriptors;
}

const struct ring_ops packed_ring_ops = {
	.init = packed_init,
	.areas = packed_areas,
	.add = packed_add,
	.kick_needed = packed_kick_needed,
	.has_used = packed_has_used,
	.take = packed_take,
	.set_callback = packed_set_callback,
	.release = packed_release,
};
