// SPDX-License-Identifier: Apache-2.0
// The device's side of a split virtqueue in a cell's memory. Virtual I/O Device (VIRTIO) 1.2, section 2.7.
//
// The ring and what it points to are hostile and change at any time: each field is read once, into private memory, and checked;
// addresses count only as far as they lie within the memory the machine gave us. A ring that makes no sense is broken for good.
#pragma once

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define MEMORY_REGIONS_MAX 8u
#define RING_SIZE_MAX      1024u
#define CHAIN_SEGMENTS_MAX 64u

struct memory_region {
	uint64_t guest, user, size; // where it is for the cell, and in QEMU
	char *host;                 // where it is here
	void *map;
	size_t map_size;
};

struct memory {
	unsigned count;
	struct memory_region regions[MEMORY_REGIONS_MAX];
};

// `size` bytes at a guest-physical (memory_at) or QEMU's (memory_at_user) address; NULL when not all of it is there.
void *memory_at(const struct memory *m, uint64_t address, uint64_t size);
void *memory_at_user(const struct memory *m, uint64_t address, uint64_t size);

struct ring {
	const struct memory *memory;
	unsigned size;
	struct vring_desc *descriptors; // NULL: not set up
	struct vring_avail *avail;
	struct vring_used *used;
	bool event_index, broken;
	uint16_t next_avail, next_used;
	uint16_t told_used; // next_used at the last look at whether to interrupt
	int kick_fd, call_fd;
};

struct chain {
	uint16_t head;
	unsigned out_count, in_count; // what we read, what we write
	size_t out_bytes, in_bytes;
	struct iovec out[CHAIN_SEGMENTS_MAX], in[CHAIN_SEGMENTS_MAX];
};

// All three parts must lie in memory and be aligned. False: refused.
bool ring_set_addresses(struct ring *r, uint64_t descriptors, uint64_t avail, uint64_t used);
static inline bool ring_works(const struct ring *r) { return r->descriptors && !r->broken; }
bool ring_is_empty(const struct ring *r); // also when it does not work
// The next request. False: none, or the ring was found broken.
bool ring_pop(struct ring *r, struct chain *c);
void ring_unpop(struct ring *r); // the last one popped was not used: it comes again
void ring_push(struct ring *r, const struct chain *c, uint32_t written);
void ring_interrupt(struct ring *r); // tells the cell of what was pushed, if it wants to know
// Asks for a kick when something comes. False: something is there already.
bool ring_enable_kick(struct ring *r);
void ring_disable_kick(struct ring *r);
