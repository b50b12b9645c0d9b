// SPDX-License-Identifier: Apache-2.0
// Do split and packed virtqueues carry requests to a model device and back, and survive a device that lies?
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/slab.h"
#include "port/fake.h"
#include "port/fake_spinlock.h"
#include "ring.h"
#include "virtqueue.h"

void *kalloc(size_t size) { return calloc(1, size); }
void kfree(void *p) { free(p); }

#define SIZE      8u
#define RING_BASE UINT64_C(0x10000000)

static char ring[8192] __attribute__((aligned(4096)));
static unsigned notified, called;

static void notify(struct virtqueue *q, void *context) { notified++; }
static void callback(struct virtqueue *q, void *context) { called++; }

static struct virtqueue *make(bool packed, bool event_index, bool indirect)
{
	memset(ring, 0, sizeof(ring));
	notified = called = 0;
	assert_true(virtqueue_ring_bytes(packed, SIZE) <= sizeof(ring));
	struct virtqueue_config c = { .size = SIZE,
				      .packed = packed,
				      .event_index = event_index,
				      .indirect = indirect,
				      .ring = ring,
				      .ring_address = RING_BASE,
				      .notify = notify,
				      .callback = callback };
	struct virtqueue *q;
	assert_int_equal(virtqueue_create(&c, &q), 0);
	return q;
}

static void unmake(struct virtqueue *q)
{
	while (virtqueue_detach(q))
		;
	assert_int_equal(virtqueue_free_count(q), SIZE);
	virtqueue_destroy(q);
}

// ---- the model device: what it sees of the ring, through the shared memory only ----

struct seen { // one request as the device finds it
	uint16_t id;
	unsigned count, position;
	struct {
		uint64_t address;
		uint32_t size;
		bool writable;
	} segments[16];
};
struct device {
	struct virtqueue *q;
	uint16_t avail, used; // split: indexes. packed: positions
	bool avail_wrap, used_wrap;
};

static struct device device_for(struct virtqueue *q) { return (struct device){ q, 0, 0, true, true }; }

static void see(struct seen *s, uint64_t address, uint32_t size, bool writable)
{
	assert_true(s->count < 16);
	s->segments[s->count].address = address;
	s->segments[s->count].size = size;
	s->segments[s->count++].writable = writable;
}

// The test's indirect tables live in this array, at this device address.
static char tables[8][256] __attribute__((aligned(16)));
#define TABLE_BASE UINT64_C(0x20000000)

static bool split_pop(struct device *d, struct seen *s)
{
	struct split_ring *r = &d->q->split;
	if (r->avail->idx == d->avail)
		return false;
	*s = (struct seen){ .id = r->avail->ring[d->avail++ % SIZE] };
	struct vring_desc *t = r->descriptors;
	unsigned at = s->id;
	if (t[at].flags & VRING_DESC_F_INDIRECT) {
		t = (struct vring_desc *)(tables[0] + (t[at].addr - TABLE_BASE));
		at = 0;
	}
	for (;;) {
		see(s, t[at].addr, t[at].len, t[at].flags & VRING_DESC_F_WRITE);
		if (!(t[at].flags & VRING_DESC_F_NEXT))
			return true;
		at = t[at].next;
	}
}

static void split_push(struct device *d, uint32_t id, uint32_t length)
{
	struct split_ring *r = &d->q->split;
	r->used->ring[d->used % SIZE] = (struct vring_used_elem){ id, length };
	r->used->idx = ++d->used;
}

#define AVAIL (1u << 7)
#define USED  (1u << 15)

static bool packed_pop(struct device *d, struct seen *s)
{
	struct packed_ring *r = &d->q->packed;
	unsigned flags = r->descriptors[d->avail].flags;
	if (!!(flags & AVAIL) != d->avail_wrap || !!(flags & USED) == d->avail_wrap)
		return false;
	*s = (struct seen){ .position = d->avail };
	for (;;) {
		struct vring_packed_desc *t = &r->descriptors[d->avail];
		flags = t->flags;
		s->id = t->id;
		if (flags & VRING_DESC_F_INDIRECT) {
			struct vring_packed_desc *i = (struct vring_packed_desc *)(tables[0] + (t->addr - TABLE_BASE));
			for (unsigned n = 0; n < t->len / 16; n++)
				see(s, i[n].addr, i[n].len, i[n].flags & VRING_DESC_F_WRITE);
		} else {
			see(s, t->addr, t->len, flags & VRING_DESC_F_WRITE);
		}
		if (++d->avail == SIZE) {
			d->avail = 0;
			d->avail_wrap = !d->avail_wrap;
		}
		if (!(flags & VRING_DESC_F_NEXT))
			return true;
	}
}

static void packed_push(struct device *d, uint16_t id, uint32_t length, unsigned descriptors)
{
	struct vring_packed_desc *t = &d->q->packed.descriptors[d->used];
	t->id = id;
	t->len = length;
	t->flags = (uint16_t)((d->used_wrap ? AVAIL | USED : 0) | VRING_DESC_F_WRITE);
	d->used += descriptors;
	if (d->used >= SIZE) {
		d->used -= SIZE;
		d->used_wrap = !d->used_wrap;
	}
}

static bool pop(struct device *d, struct seen *s) { return d->q->config.packed ? packed_pop(d, s) : split_pop(d, s); }
static void push(struct device *d, const struct seen *s, uint32_t length, bool indirect)
{
	if (d->q->config.packed)
		packed_push(d, s->id, length, indirect ? 1 : s->count);
	else
		split_push(d, s->id, length);
}

static int token_store[64];
static void *token(unsigned i) { return &token_store[i]; }

// ---- questions ----

static void carries(bool packed, bool event_index, bool indirect)
{
	struct virtqueue *q = make(packed, event_index, indirect);
	struct device d = device_for(q);
	for (unsigned round = 0; round < 1000; round++) {
		unsigned batch = round % 3 + 1, length = indirect ? round % 9 + 2 : round % 2 + 1;
		for (unsigned i = 0; i < batch; i++) {
			struct vq_segment s[16];
			for (unsigned j = 0; j < length; j++)
				s[j] = (struct vq_segment){ 0x1000 * (j + 1), 100 + i };
			struct vq_table t = { tables[i], TABLE_BASE + sizeof(tables[0]) * i, 16 };
			assert_int_equal(virtqueue_add(q, s, 1, length - 1, &t, token(i)), 0);
		}
		unsigned before = notified;
		virtqueue_kick(q);
		assert_true(event_index || notified == before + 1);
		struct seen seen[3];
		for (unsigned i = 0; i < batch; i++) {
			assert_true(pop(&d, &seen[i]));
			assert_int_equal(seen[i].count, length);
			assert_int_equal(seen[i].segments[0].address, 0x1000);
			assert_false(seen[i].segments[0].writable);
			if (length > 1)
				assert_true(seen[i].segments[length - 1].writable);
		}
		struct seen none;
		assert_false(pop(&d, &none));
		uint32_t written;
		assert_null(virtqueue_take(q, &written));
		for (unsigned i = 0; i < batch;
		     i++) // packed: used in any order; the ring positions follow the order of use
			push(&d, &seen[(i + round) % batch], length > 1 ? 7 : 0, indirect);
		for (unsigned i = 0; i < batch; i++) {
			assert_ptr_equal(virtqueue_take(q, &written), token((i + round) % batch));
			assert_int_equal(written, length > 1 ? 7 : 0);
		}
		assert_null(virtqueue_take(q, &written));
		assert_int_equal(virtqueue_free_count(q), SIZE);
	}
	assert_false(virtqueue_is_broken(q));
	unmake(q);
}

static void test_carries_split(void **state)
{
	carries(false, false, false);
	carries(false, true, true);
}
static void test_carries_packed(void **state)
{
	carries(true, false, false);
	carries(true, true, true);
}

static void full(bool packed)
{
	struct virtqueue *q = make(packed, false, false);
	struct device d = device_for(q);
	struct vq_segment s[SIZE + 1];
	for (unsigned i = 0; i <= SIZE; i++)
		s[i] = (struct vq_segment){ 0x1000, 1 };
	for (unsigned i = 0; i < SIZE; i++)
		assert_int_equal(virtqueue_add(q, s, 0, 1, NULL, token(i)), 0);
	assert_int_equal(virtqueue_add(q, s, 0, 1, NULL, token(0)), -ENOSPC);
	assert_int_equal(virtqueue_add(q, s, SIZE + 1, 0, NULL, token(0)), -EINVAL);
	struct seen seen;
	uint32_t written;
	assert_true(pop(&d, &seen));
	push(&d, &seen, 1, false);
	assert_ptr_equal(virtqueue_take(q, &written), token(0));
	assert_int_equal(virtqueue_add(q, s, 0, 2, NULL, token(0)), -ENOSPC);
	assert_int_equal(virtqueue_add(q, s, 0, 1, NULL, token(0)), 0);
	unmake(q);
}
static void test_says_when_full(void **state)
{
	full(false);
	full(true);
}

static void test_refuses_nonsense_requests(void **state)
{
	struct virtqueue *q = make(false, false, true);
	struct vq_segment empty = { 0x1000, 0 }, huge[2] = { { 0x1000, UINT32_MAX }, { 0x1000, 1 } };
	assert_int_equal(virtqueue_add(q, &empty, 0, 1, NULL, token(0)), -EINVAL);
	assert_int_equal(virtqueue_add(q, huge, 0, 2, NULL, token(0)), -EINVAL);
	assert_int_equal(virtqueue_add(q, huge, 0, 0, NULL, token(0)), -EINVAL);
	assert_int_equal(virtqueue_add(q, huge, 1, 0, NULL, NULL), -EINVAL);
	unmake(q);
	struct virtqueue_config c = { .size = 7, .ring = ring, .notify = notify };
	assert_int_equal(virtqueue_create(&c, &q), -EINVAL);
	c.size = VIRTQUEUE_SIZE_MAX * 2;
	assert_int_equal(virtqueue_create(&c, &q), -EINVAL);
}

static void test_event_index_suppresses_kicks(void **state)
{
	struct vq_segment s = { 0x1000, 1 };
	for (int packed = 0; packed < 2; packed++) {
		struct virtqueue *q = make(packed, true, false);
		if (packed) // wants to hear of position 2
			*q->packed.device_event =
				(struct vring_packed_desc_event){ 2 | 1 << 15, VRING_PACKED_EVENT_FLAG_DESC };
		else
			q->split.used->ring[SIZE].id = 2; // avail_event
		for (unsigned i = 0; i < 4; i++) {
			assert_int_equal(virtqueue_add(q, &s, 0, 1, NULL, token(i)), 0);
			virtqueue_kick(q);
			assert_int_equal(notified, i >= 2 ? 1 : 0);
		}
		unmake(q);
	}
}

static void test_enable_callback_sees_what_came_before(void **state)
{
	struct vq_segment s = { 0x1000, 1 };
	for (int mode = 0; mode < 4; mode++) {
		struct virtqueue *q = make(mode & 1, mode & 2, false);
		struct device d = device_for(q);
		struct seen seen;
		uint32_t written;
		virtqueue_disable_callback(q);
		assert_true(virtqueue_enable_callback(q));
		assert_int_equal(virtqueue_add(q, &s, 0, 1, NULL, token(0)), 0);
		assert_true(pop(&d, &seen));
		push(&d, &seen, 1, false);
		assert_false(virtqueue_enable_callback(q));
		assert_ptr_equal(virtqueue_take(q, &written), token(0));
		assert_true(virtqueue_enable_callback(q));
		virtqueue_interrupt(q);
		assert_int_equal(called, 1);
		unmake(q);
	}
}

// ---- lies ----

static void broken_by(struct virtqueue *q)
{
	struct vq_segment s = { 0x1000, 4 };
	uint32_t written;
	for (int i = 0; i < 3; i++)
		assert_null(virtqueue_take(q, &written));
	assert_true(virtqueue_is_broken(q));
	assert_int_equal(virtqueue_add(q, &s, 0, 1, NULL, token(1)), -EIO);
	unsigned before = notified;
	virtqueue_kick(q);
	assert_int_equal(notified, before);
	assert_ptr_equal(virtqueue_detach(q), token(0));
	assert_null(virtqueue_detach(q));
	unmake(q);
}

static struct virtqueue *one_in_flight(bool packed, struct device *d, struct seen *seen)
{
	struct virtqueue *q = make(packed, false, false);
	struct vq_segment s[2] = { { 0x1000, 4 }, { 0x2000, 4 } };
	*d = device_for(q);
	assert_int_equal(virtqueue_add(q, s, 1, 1, NULL, token(0)), 0);
	assert_true(pop(d, seen));
	return q;
}

static void test_survives_lies_on_a_split_ring(void **state)
{
	struct device d;
	struct seen seen;
	struct virtqueue *q = one_in_flight(false, &d, &seen);
	split_push(&d, SIZE, 0); // id out of range
	broken_by(q);
	q = one_in_flight(false, &d, &seen);
	split_push(&d, 0xffffffff, 0);
	broken_by(q);
	q = one_in_flight(false, &d, &seen);
	split_push(&d, q->slots[seen.id].next, 0); // the middle of a chain
	broken_by(q);
	q = one_in_flight(false, &d, &seen);
	split_push(&d, seen.id, 5); // more than there was room for
	broken_by(q);
	q = one_in_flight(false, &d, &seen);
	d.used = 100; // an index far ahead
	split_push(&d, seen.id, 0);
	broken_by(q);
	q = one_in_flight(false, &d, &seen);
	split_push(&d, seen.id, 4); // twice the same
	split_push(&d, seen.id, 4);
	broken_by(q);
	// A descriptor table full of loops is the device's business only.
	q = one_in_flight(false, &d, &seen);
	for (unsigned i = 0; i < SIZE; i++)
		q->split.descriptors[i] = (struct vring_desc){ 0, 0, VRING_DESC_F_NEXT, (uint16_t)i };
	split_push(&d, seen.id, 4);
	uint32_t written;
	assert_ptr_equal(virtqueue_take(q, &written), token(0));
	assert_int_equal(virtqueue_free_count(q), SIZE);
	unmake(q);
}

static void test_survives_lies_on_a_packed_ring(void **state)
{
	struct device d;
	struct seen seen;
	struct virtqueue *q = one_in_flight(true, &d, &seen);
	packed_push(&d, SIZE, 0, 1);
	broken_by(q);
	q = one_in_flight(true, &d, &seen);
	packed_push(&d, 5, 0, 1); // a free id
	broken_by(q);
	q = one_in_flight(true, &d, &seen);
	packed_push(&d, seen.id, 5, 2);
	broken_by(q);
	q = one_in_flight(true, &d, &seen);
	packed_push(&d, seen.id, 4, 2);
	packed_push(&d, seen.id, 4, 2); // again
	uint32_t written;
	assert_ptr_equal(virtqueue_take(q, &written), token(0));
	assert_null(virtqueue_take(q, &written));
	assert_true(virtqueue_is_broken(q));
	unmake(q);
}

// Whatever is in the ring, each take ends, nothing is returned twice, nothing is lost.
static void test_survives_random_rings(void **state)
{
	srand(1);
	for (unsigned run = 0; run < 4000; run++) {
		struct virtqueue *q = make(run & 1, run & 2, run & 4);
		struct vq_segment s[3] = { { 0x1000, 16 }, { 0x2000, 16 }, { 0x3000, 16 } };
		bool out[8] = { false };
		unsigned added = 0, returned = 0;
		for (unsigned i = 0; i < 8; i++) {
			struct vq_table t = { tables[i], TABLE_BASE + sizeof(tables[0]) * i, 16 };
			if (virtqueue_add(q, s, 1, 2, &t, token(i)))
				continue;
			out[i] = true;
			added++;
		}
		for (unsigned step = 0; step < 64; step++) {
			ring[(size_t)rand() % virtqueue_ring_bytes(run & 1, SIZE)] = (char)rand();
			uint32_t written;
			int *t = virtqueue_take(q, &written);
			virtqueue_kick(q);
			(void)!virtqueue_enable_callback(q);
			if (!t)
				continue;
			assert_true(written <= 32);
			assert_true(out[t - token_store]);
			out[t - token_store] = false;
			returned++;
		}
		for (int *t; (t = virtqueue_detach(q)); returned++) {
			assert_true(out[t - token_store]);
			out[t - token_store] = false;
		}
		assert_int_equal(added, returned);
		unmake(q);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_carries_split),
		cmocka_unit_test(test_carries_packed),
		cmocka_unit_test(test_says_when_full),
		cmocka_unit_test(test_refuses_nonsense_requests),
		cmocka_unit_test(test_event_index_suppresses_kicks),
		cmocka_unit_test(test_enable_callback_sees_what_came_before),
		cmocka_unit_test(test_survives_lies_on_a_split_ring),
		cmocka_unit_test(test_survives_lies_on_a_packed_ring),
		cmocka_unit_test(test_survives_random_rings),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
