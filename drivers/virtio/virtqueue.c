// SPDX-License-Identifier: Apache-2.0
// The virtqueue core: what split and packed rings have in common. Checks a request, keeps the queue's lock, remembers tokens.
// A kick goes: driver -> virtqueue_kick() here -> split.c or packed.c (is it needed?) -> pci.c (the doorbell).
#include "virtqueue.h"

#include "kernel/slab.h"
#include "lib/compiler.h"
#include "ring.h"

size_t virtqueue_ring_bytes(bool packed, unsigned size)
{
	if (packed)
		return sizeof(struct vring_packed_desc) * size + 2 * sizeof(struct vring_packed_desc_event);
	size_t avail_end = sizeof(struct vring_desc) * size + sizeof(uint16_t) * (3 + (size_t)size);
	return align_up(avail_end, (size_t)VRING_USED_ALIGN_SIZE) + sizeof(uint16_t) * 3 +
	       sizeof(struct vring_used_elem) * size;
}

int virtqueue_create(const struct virtqueue_config *config, struct virtqueue **out)
{
	unsigned size = config->size;
	if (!size || size > VIRTQUEUE_SIZE_MAX || !config->ring || !config->notify)
		return -EINVAL;
	if (!config->packed && (size & (size - 1)))
		return -EINVAL;
	struct virtqueue *q = kalloc(sizeof(*q) + size * sizeof(q->slots[0]));
	if (!q)
		return -ENOMEM;
	q->config = *config;
	q->ops = config->packed ? &packed_ring_ops : &split_ring_ops;
	spin_init(&q->lock);
	for (unsigned i = 0; i < size; i++)
		q->slots[i].next = (uint16_t)(i + 1);
	q->free_count = (uint16_t)size;
	q->ops->init(q);
	*out = q;
	return 0;
}

void virtqueue_destroy(struct virtqueue *q)
{
	if (!q)
		return;
	assert(!q->in_flight);
	kfree(q);
}

void virtqueue_areas(const struct virtqueue *q, paddr_t out[3]) { q->ops->areas(q, out); }
unsigned virtqueue_index(const struct virtqueue *q) { return q->config.index; }
unsigned virtqueue_size(const struct virtqueue *q) { return q->config.size; }
bool virtqueue_is_broken(const struct virtqueue *q) { return __atomic_load_n(&q->broken, __ATOMIC_ACQUIRE); }

// The most the device can write. False: an empty segment, or a sum that overflows.
static bool request_measure(struct ring_request *r)
{
	uint32_t writable = 0;
	for (unsigned i = 0; i < r->count; i++) {
		if (!r->segments[i].size)
			return false;
		if (i >= r->out_count && __builtin_add_overflow(writable, r->segments[i].size, &writable))
			return false;
	}
	r->writable_bytes = writable;
	return true;
}

int virtqueue_add(struct virtqueue *q, const struct vq_segment *segments, unsigned out_count, unsigned in_count,
		  const struct vq_table *table, void *token)
{
	struct ring_request r = { segments, out_count, out_count + in_count, NULL, 0, token };
	if (!r.count || !token || out_count > 0xffff || in_count > 0xffff || !request_measure(&r))
		return -EINVAL;
	if (q->config.indirect && table && r.count > 1 && r.count <= table->capacity)
		r.table = table;
	unsigned needed = r.table ? 1 : r.count;
	if (needed > q->config.size)
		return -EINVAL;
	int error = 0;
	spin_lock(&q->lock);
	if (q->broken)
		error = -EIO;
	else if (needed > q->free_count)
		error = -ENOSPC;
	else
		q->ops->add(q, &r);
	spin_unlock(&q->lock);
	return error;
}

void virtqueue_kick(struct virtqueue *q)
{
	spin_lock(&q->lock);
	bool needed = q->added && !q->broken && q->ops->kick_needed(q);
	q->added = 0;
	spin_unlock(&q->lock);
	if (needed)
		q->config.notify(q, q->config.notify_context);
}

void *virtqueue_take(struct virtqueue *q, uint32_t *written)
{
	struct vq_slot *slot;
	void *token = NULL;
	spin_lock(&q->lock);
	if (!q->broken && q->ops->take(q, &slot, written)) {
		token = slot->token;
		slot->token = NULL;
		q->in_flight--;
		q->ops->release(q, slot);
	}
	spin_unlock(&q->lock);
	return token;
}

bool virtqueue_enable_callback(struct virtqueue *q)
{
	spin_lock(&q->lock);
	q->ops->set_callback(q, true);
	ring_fence(); // our wish for an interrupt is visible before we look for what came before it
	bool quiet = q->broken || !q->ops->has_used(q);
	spin_unlock(&q->lock);
	return quiet;
}

void virtqueue_disable_callback(struct virtqueue *q)
{
	spin_lock(&q->lock);
	q->ops->set_callback(q, false);
	spin_unlock(&q->lock);
}

void virtqueue_interrupt(struct virtqueue *q)
{
	if (q->config.callback)
		q->config.callback(q, q->config.callback_context);
}

void virtqueue_break(struct virtqueue *q)
{
	spin_lock(&q->lock);
	ring_break(q);
	spin_unlock(&q->lock);
}

void *virtqueue_detach(struct virtqueue *q)
{
	void *token = NULL;
	spin_lock(&q->lock);
	ring_break(q);
	for (unsigned i = 0; q->in_flight && i < q->config.size && !token; i++) {
		token = q->slots[i].token;
		if (token) {
			q->slots[i].token = NULL;
			q->in_flight--;
			q->ops->release(q, &q->slots[i]);
		}
	}
	spin_unlock(&q->lock);
	return token;
}

unsigned virtqueue_free_count(struct virtqueue *q)
{
	spin_lock(&q->lock);
	unsigned n = q->free_count;
	spin_unlock(&q->lock);
	return n;
}

unsigned virtqueue_in_flight(struct virtqueue *q)
{
	spin_lock(&q->lock);
	unsigned n = q->in_flight;
	spin_unlock(&q->lock);
	return n;
}
