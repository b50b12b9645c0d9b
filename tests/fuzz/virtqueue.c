// SPDX-License-Identifier: Apache-2.0
// Fuzzes virtqueues against a device that writes anything anywhere in the ring, at any time.
//
// Whatever it does: no token comes back that was not handed over, none twice, no length is beyond what there was room
// for, and after a reset every token is recovered and every descriptor free.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/slab.h"
#include "kernel/spinlock.h"
#include "virtqueue.h"

void *kalloc(size_t size) { return calloc(1, size); }
void kfree(void *p) { free(p); }
void spin_lock(struct spinlock *l)
{
	if (l->word++)
		abort();
}
void spin_unlock(struct spinlock *l)
{
	if (--l->word)
		abort();
}

#define SIZE 8u

struct token {
	bool in_flight;
	uint32_t room;
};

static uint8_t ring[8192] __attribute__((aligned(4096)));
static uint8_t tables[SIZE][16 * 16] __attribute__((aligned(16)));
static struct token tokens[SIZE];
static void notify(struct virtqueue *q, void *context) { (void)q, (void)context; }
static void callback(struct virtqueue *q, void *context) { (void)q, (void)context; }

static void add(struct virtqueue *q, const uint8_t *command, bool indirect)
{
	struct vq_segment segments[8];
	unsigned out = command[0] % 4, in = command[1] % 4, slot = command[2] % SIZE;
	uint32_t room = 0;

	if (out + in == 0 || tokens[slot].in_flight)
		return;
	for (unsigned i = 0; i < out + in; i++) {
		segments[i] = (struct vq_segment){ 0x1000 * (i + 1), command[3] * 16u + 1 };
		room += i >= out ? segments[i].size : 0;
	}
	struct vq_table table = { tables[slot], 0x20000000 + slot * sizeof(tables[0]), 16 };
	if (virtqueue_add(q, segments, out, in, indirect ? &table : NULL, &tokens[slot]) == 0)
		tokens[slot] = (struct token){ true, room };
}

static void returned(struct token *token, uint32_t written)
{
	if (token < tokens || token >= tokens + SIZE || !token->in_flight || written > token->room)
		abort();
	token->in_flight = false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct virtqueue *q;
	uint32_t written;
	void *token;

	if (size < 8)
		return 0;
	bool packed = data[0] & 1, indirect = data[0] & 4;
	struct virtqueue_config c = { .size = SIZE,
				      .packed = packed,
				      .event_index = data[0] & 2,
				      .indirect = indirect,
				      .ring = ring,
				      .ring_address = 0x10000000,
				      .notify = notify,
				      .callback = callback };
	size_t bytes = virtqueue_ring_bytes(packed, SIZE);
	memset(ring, 0, sizeof(ring));
	memset(tokens, 0, sizeof(tokens));
	if (bytes > sizeof(ring) || virtqueue_create(&c, &q) != 0)
		abort();
	for (size_t at = 1; at + 6 <= size; at += 6) {
		const uint8_t *x = data + at;
		switch (x[0] % 8) {
		case 0:
		case 1: add(q, x + 1, indirect && x[5] & 1); break;
		case 2: virtqueue_kick(q); break;
		case 3:
			if ((token = virtqueue_take(q, &written)) != NULL)
				returned(token, written);
			break;
		case 4: // the device writes two bytes anywhere, the driver's part included
			memcpy(ring + (x[1] | x[2] << 8) % (bytes - 1), x + 3, 2);
			break;
		case 5: // a used element that may be right, in the split layout's used ring or the packed descriptors
			memcpy(ring + (x[1] % (bytes / 4)) * 4, x + 2, 4);
			break;
		case 6:
			if (!virtqueue_enable_callback(q))
				virtqueue_disable_callback(q);
			break;
		case 7: virtqueue_interrupt(q); break;
		}
		if (virtqueue_in_flight(q) > SIZE || virtqueue_free_count(q) > SIZE)
			abort();
	}
	virtqueue_break(q);
	while ((token = virtqueue_detach(q)) != NULL)
		returned(token, 0);
	for (unsigned i = 0; i < SIZE; i++)
		if (tokens[i].in_flight)
			abort();
	if (virtqueue_free_count(q) != SIZE || virtqueue_in_flight(q) != 0)
		abort();
	virtqueue_destroy(q);
	return 0;
}
