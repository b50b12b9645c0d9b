// SPDX-License-Identifier: Apache-2.0
#include "vsock/ring.h"

#include <string.h>
#include <unistd.h>

#define read_once(field)        __atomic_load_n(&(field), __ATOMIC_RELAXED)
#define read_acquire(field)     __atomic_load_n(&(field), __ATOMIC_ACQUIRE)
#define write_release(field, v) __atomic_store_n(&(field), (v), __ATOMIC_RELEASE)
#define fence()                 __atomic_thread_fence(__ATOMIC_SEQ_CST)

void *memory_at(const struct memory *m, uint64_t address, uint64_t size)
{
	for (unsigned i = 0; i < m->count; i++) {
		const struct memory_region *r = &m->regions[i];

		if (address >= r->guest && address - r->guest < r->size && size <= r->size - (address - r->guest))
			return r->host + (address - r->guest);
	}
	return NULL;
}

void *memory_at_user(const struct memory *m, uint64_t address, uint64_t size)
{
	for (unsigned i = 0; i < m->count; i++) {
		const struct memory_region *r = &m->regions[i];

		if (address >= r->user && address - r->user < r->size && size <= r->size - (address - r->user))
			return r->host + (address - r->user);
	}
	return NULL;
}

bool ring_set_addresses(struct ring *r, uint64_t descriptors, uint64_t avail, uint64_t used)
{
	struct vring_desc *d = memory_at_user(r->memory, descriptors, sizeof(*d) * r->size);
	struct vring_avail *a = memory_at_user(r->memory, avail, sizeof(*a) + sizeof(uint16_t) * (r->size + 1));
	struct vring_used *u = memory_at_user(r->memory, used,
					      sizeof(*u) + sizeof(struct vring_used_elem) * r->size + sizeof(uint16_t));

	if (!r->size || !d || !a || !u || (uintptr_t)d % 16 || (uintptr_t)a % 2 || (uintptr_t)u % 4)
		return false;
	r->descriptors = d;
	r->avail = a;
	r->used = u;
	return true;
}

bool ring_is_empty(const struct ring *r) { return !ring_works(r) || read_acquire(r->avail->idx) == r->next_avail; }

static bool fail(struct ring *r)
{
	r->broken = true;
	return false;
}

static bool add_segment(struct ring *r, struct chain *c, const struct vring_desc *d)
{
	void *at = memory_at(r->memory, d->addr, d->len);
	bool writable = d->flags & VRING_DESC_F_WRITE;
	unsigned *count = writable ? &c->in_count : &c->out_count;

	// What we read comes before what we write.
	if (!at || *count == CHAIN_SEGMENTS_MAX || (!writable && c->in_count))
		return false;
	(writable ? c->in : c->out)[(*count)++] = (struct iovec){ at, d->len };
	*(writable ? &c->in_bytes : &c->out_bytes) += d->len;
	return true;
}

// Follows a chain in a table of `size` descriptors. An indirect table holds no further one.
static bool follow(struct ring *r, struct chain *c, const struct vring_desc *table, unsigned size, unsigned index,
		   bool indirect)
{
	for (unsigned steps = 0; steps < size; steps++) {
		struct vring_desc d;
		const struct vring_desc *inner;

		if (index >= size)
			return false;
		memcpy(&d, (const void *)&table[index], sizeof(d));
		__asm__ volatile("" : : : "memory"); // the copy is what is checked and used
		if (d.flags & VRING_DESC_F_INDIRECT) {
			unsigned count = d.len / sizeof(d);

			if (indirect || d.flags & VRING_DESC_F_NEXT || !count || d.len % sizeof(d) ||
			    count > RING_SIZE_MAX)
				return false;
			inner = memory_at(r->memory, d.addr, d.len);
			return inner && follow(r, c, inner, count, 0, true);
		}
		if (!add_segment(r, c, &d))
			return false;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return true;
		index = d.next;
	}
	return false; // a loop
}

bool ring_pop(struct ring *r, struct chain *c)
{
	uint16_t waiting;

	if (!ring_works(r))
		return false;
	waiting = (uint16_t)(read_acquire(r->avail->idx) - r->next_avail);
	if (!waiting)
		return false;
	if (waiting > r->size)
		return fail(r);
	c->head = read_once(r->avail->ring[r->next_avail % r->size]);
	c->out_count = c->in_count = 0;
	c->out_bytes = c->in_bytes = 0;
	if (c->head >= r->size || !follow(r, c, r->descriptors, r->size, c->head, false))
		return fail(r);
	r->next_avail++;
	return true;
}

void ring_unpop(struct ring *r) { r->next_avail--; }

void ring_push(struct ring *r, const struct chain *c, uint32_t written)
{
	struct vring_used_elem *e = &r->used->ring[r->next_used % r->size];

	e->id = c->head;
	e->len = written;
	write_release(r->used->idx, ++r->next_used);
}

static uint16_t *used_event(struct ring *r) { return &r->avail->ring[r->size]; }
static uint16_t *avail_event(struct ring *r) { return (uint16_t *)&r->used->ring[r->size]; }

void ring_interrupt(struct ring *r)
{
	uint16_t old = r->told_used, new = r->next_used;
	uint64_t one = 1;

	if (old == new || !ring_works(r))
		return;
	fence(); // what we pushed is visible before we read what the cell wants to hear of
	r->told_used = new;
	if (r->event_index) {
		uint16_t event = read_once(*used_event(r));

		if ((uint16_t)(new - event - 1) >= (uint16_t)(new - old))
			return;
	} else if (read_once(r->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT) {
		return;
	}
	if (r->call_fd >= 0 && write(r->call_fd, &one, sizeof(one)) < 0)
		return; // a full counter is a pending interrupt
}

bool ring_enable_kick(struct ring *r)
{
	if (!ring_works(r))
		return true;
	if (r->event_index)
		write_release(*avail_event(r), r->next_avail);
	else
		write_release(r->used->flags, 0);
	fence(); // our wish is visible before we look for what came before it
	return ring_is_empty(r);
}

void ring_disable_kick(struct ring *r)
{
	if (ring_works(r) && !r->event_index)
		write_release(r->used->flags, VRING_USED_F_NO_NOTIFY);
}
