// SPDX-License-Identifier: Apache-2.0
// Split virtqueues (VIRTIO 1.2, 2.7): a descriptor table, a ring of heads from the driver, a ring of used heads from the device.
//
// Links between descriptors are kept in slots[].next; the copies in the shared table are for the device and never read back.
#include "lib/compiler.h"
#include "ring.h"

static void split_init(struct virtqueue *q)
{
	struct split_ring *s = &q->split;
	unsigned size = q->config.size;
	char *ring = q->config.ring;
	s->descriptors = (struct vring_desc *)ring;
	s->avail = (struct vring_avail *)(ring + sizeof(struct vring_desc) * size);
	size_t used = sizeof(struct vring_desc) * size + sizeof(uint16_t) * (3 + (size_t)size);
	s->used = (struct vring_used *)(ring + align_up(used, (size_t)VRING_USED_ALIGN_SIZE));
}

static void split_areas(const struct virtqueue *q, paddr_t out[3])
{
	const char *ring = q->config.ring;
	out[0] = q->config.ring_address;
	out[1] = out[0] + (paddr_t)((const char *)q->split.avail - ring);
	out[2] = out[0] + (paddr_t)((const char *)q->split.used - ring);
}

// The event indexes stand behind the rings: what index the other side waits for.
static uint16_t *split_used_event(struct virtqueue *q) { return &q->split.avail->ring[q->config.size]; }
static uint16_t *split_avail_event(struct virtqueue *q) { return (uint16_t *)&q->split.used->ring[q->config.size]; }

static void descriptor_write(struct vring_desc *d, const struct ring_request *r, unsigned i, unsigned next)
{
	d->addr = r->segments[i].address;
	d->len = r->segments[i].size;
	d->flags =
		(uint16_t)((i >= r->out_count ? VRING_DESC_F_WRITE : 0) | (i + 1 < r->count ? VRING_DESC_F_NEXT : 0));
	d->next = (uint16_t)(i + 1 < r->count ? next : 0);
}

static void split_add(struct virtqueue *q, const struct ring_request *r)
{
	struct split_ring *s = &q->split;
	uint16_t head = q->free_head, at = head;
	struct vq_slot *slot = &q->slots[head];
	if (r->table) {
		struct vring_desc *table = r->table->memory;
		for (unsigned i = 0; i < r->count; i++)
			descriptor_write(&table[i], r, i, i + 1);
		s->descriptors[head] = (struct vring_desc){ r->table->address, r->count * (uint32_t)sizeof(*table),
							    VRING_DESC_F_INDIRECT, 0 };
		at = slot->next;
		slot->descriptors = 1;
	} else {
		for (unsigned i = 0; i < r->count; i++) {
			descriptor_write(&s->descriptors[at], r, i, q->slots[at].next);
			at = q->slots[at].next;
		}
		slot->descriptors = (uint16_t)r->count;
	}
	q->free_head = at;
	q->free_count -= slot->descriptors;
	q->in_flight++;
	q->added++;
	slot->token = r->token;
	slot->writable_bytes = r->writable_bytes;
	ring_write(s->avail->ring[s->avail_index & (q->config.size - 1)], head);
	s->avail_index++;
	ring_write_release(s->avail->idx, s->avail_index); // descriptors and ring entry are visible before the index
}

static bool split_kick_needed(struct virtqueue *q)
{
	struct split_ring *s = &q->split;
	ring_fence(); // the index is visible before we look whether the device sleeps
	if (q->config.event_index)
		return vring_need_event(ring_read(*split_avail_event(q)), s->avail_index,
					(uint16_t)(s->avail_index - q->added));
	return !(ring_read(s->used->flags) & VRING_USED_F_NO_NOTIFY);
}

static bool split_has_used(struct virtqueue *q) { return ring_read(q->split.used->idx) != q->split.used_index; }

static bool split_take(struct virtqueue *q, struct vq_slot **out, uint32_t *written)
{
	struct split_ring *s = &q->split;
	uint16_t pending = (uint16_t)(ring_read_acquire(s->used->idx) - s->used_index);
	if (!pending)
		return false;
	if (pending > q->in_flight)
		goto broken;
	struct vring_used_elem *element = &s->used->ring[s->used_index & (q->config.size - 1)];
	uint32_t id = ring_read(element->id), length = ring_read(element->len);
	if (id >= q->config.size || !q->slots[id].token || length > q->slots[id].writable_bytes)
		goto broken;
	s->used_index++;
	*out = &q->slots[id];
	*written = length;
	return true;
broken:
	ring_break(q);
	return false;
}

static void split_set_callback(struct virtqueue *q, bool enabled)
{
	struct split_ring *s = &q->split;
	if (q->config.event_index) // off: an index 65535 requests away
		ring_write(*split_used_event(q), (uint16_t)(enabled ? s->used_index : s->used_index - 1));
	else
		ring_write(s->avail->flags, (uint16_t)(enabled ? 0 : VRING_AVAIL_F_NO_INTERRUPT));
}

static void split_release(struct virtqueue *q, struct vq_slot *slot)
{
	uint16_t head = (uint16_t)(slot - q->slots), tail = head;
	for (unsigned i = 1; i < slot->descriptors; i++)
		tail = q->slots[tail].next;
	q->slots[tail].next = q->free_head;
	q->free_head = head;
	q->free_count += slot->descriptors;
}

const struct ring_ops split_ring_ops = {
	.init = split_init,
	.areas = split_areas,
	.add = split_add,
	.kick_needed = split_kick_needed,
	.has_used = split_has_used,
	.take = split_take,
	.set_callback = split_set_callback,
	.release = split_release,
};
