// SPDX-License-Identifier: Apache-2.0
// Radix tree from 64-bit index to pointer, 64 slots a node, with two marks (tags) a slot. Nodes come from the caller's
// allocator. No locking: the owner's lock guards all calls; lookups may run with readers only.
#pragma once

#include "lib/compiler.h"

struct radix_node;

struct radix {
	struct radix_node *root;
	unsigned height; // levels; 0 = empty
	size_t count;    // stored pointers
};

enum radix_mark { RADIX_MARK_DIRTY, RADIX_MARK_WRITEBACK, RADIX_MARKS };

// Node allocation: provided by the embedding program (kernel: slab; unit tests: malloc). Zeroed memory or NULL.
void *radix_node_allocate(size_t size);
void radix_node_free(void *node, size_t size);

void *radix_lookup(const struct radix *r, uint64_t index);        // NULL when absent
int radix_insert(struct radix *r, uint64_t index, void *pointer); // 0, -EEXIST, -ENOMEM
void *radix_remove(struct radix *r, uint64_t index);              // what was there, or NULL; frees empty nodes
void radix_mark_set(struct radix *r, uint64_t index, enum radix_mark mark);
void radix_mark_clear(struct radix *r, uint64_t index, enum radix_mark mark);
bool radix_mark_test(const struct radix *r, uint64_t index, enum radix_mark mark);
// First stored (marked) pointer at or after *index, which is set to where it was; NULL past the end.
void *radix_next(const struct radix *r, uint64_t *index);
void *radix_next_marked(const struct radix *r, uint64_t *index, enum radix_mark mark);
