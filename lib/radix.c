// SPDX-License-Identifier: Apache-2.0
// Radix tree with 64-way nodes. A node at height h (leaves: 1) covers 64^h indices. Marks are summarised upwards: a
// node's mark bit for a child says that something below it is marked.
#include "lib/radix.h"
#include "lib/bitmap.h"

#include <linux/errno.h>

#define BITS  6
#define SLOTS 64

struct radix_node {
	void *slots[SLOTS];
	uint64_t marks[RADIX_MARKS];
	uint64_t used; // bit map of the slots that are not NULL
};

static unsigned slot_of(uint64_t index, unsigned height) { return index >> ((height - 1) * BITS) & (SLOTS - 1); }
static bool covers(const struct radix *r, uint64_t index)
{
	return r->height && (r->height * BITS >= 64 || index >> (r->height * BITS) == 0);
}

void *radix_lookup(const struct radix *r, uint64_t index)
{
	const struct radix_node *n = r->root;

	if (!covers(r, index))
		return NULL;
	for (unsigned h = r->height; h > 1 && n; h--)
		n = n->slots[slot_of(index, h)];
	return n ? n->slots[slot_of(index, 1)] : NULL;
}

static int grow(struct radix *r, uint64_t index)
{
	while (!covers(r, index)) {
		struct radix_node *n = radix_node_allocate(sizeof(*n));
		if (!n)
			return -ENOMEM;
		if (r->root) {
			n->slots[0] = r->root;
			n->used = 1; // slot 0
			for (unsigned m = 0; m < RADIX_MARKS; m++)
				n->marks[m] = r->root->marks[m] != 0;
		}
		r->root = n;
		r->height++;
	}
	return 0;
}

// Frees the empty nodes on the path to `index`, bottom up, and a root that has become empty.
static void trim(struct radix *r, struct radix_node **path, uint64_t index)
{
	for (unsigned h = 1; h <= r->height; h++) {
		struct radix_node *n = path[h];
		if (n->used)
			return;
		radix_node_free(n, sizeof(*n));
		if (h == r->height) {
			r->root = NULL;
			r->height = 0;
			return;
		}
		path[h + 1]->slots[slot_of(index, h + 1)] = NULL;
		path[h + 1]->used &= ~(UINT64_C(1) << slot_of(index, h + 1));
	}
}

#define HEIGHT_MAX 12

static bool walk(const struct radix *r, uint64_t index, struct radix_node **path)
{
	struct radix_node *n = r->root;

	if (!covers(r, index))
		return false;
	for (unsigned h = r->height; h >= 1; h--) {
		path[h] = n;
		n = n->slots[slot_of(index, h)];
		if (!n)
			return false;
	}
	return true;
}

int radix_insert(struct radix *r, uint64_t index, void *pointer)
{
	struct radix_node *path[HEIGHT_MAX] = { 0 };
	unsigned h;

	int error = grow(r, index);
	if (error)
		return error;
	path[r->height] = r->root;
	for (h = r->height; h > 1; h--) {
		struct radix_node **child = (struct radix_node **)&path[h]->slots[slot_of(index, h)];
		if (!*child) {
			*child = radix_node_allocate(sizeof(**child));
			if (!*child)
				goto no_memory;
			path[h]->used |= UINT64_C(1) << slot_of(index, h);
		}
		path[h - 1] = *child;
	}
	void **slot = &path[1]->slots[slot_of(index, 1)];
	if (*slot)
		return -EEXIST;
	*slot = pointer;
	path[1]->used |= UINT64_C(1) << slot_of(index, 1);
	r->count++;
	return 0;

no_memory: // nodes made on the way down are empty: give them back
	for (; h <= r->height && !path[h]->used; h++) {
		radix_node_free(path[h], sizeof(*path[h]));
		if (h == r->height) {
			r->root = NULL;
			r->height = 0;
			break;
		}
		path[h + 1]->slots[slot_of(index, h + 1)] = NULL;
		path[h + 1]->used &= ~(UINT64_C(1) << slot_of(index, h + 1));
	}
	return -ENOMEM;
}

static void mark_clear_path(struct radix *r, struct radix_node **path, uint64_t index, enum radix_mark mark)
{
	for (unsigned h = 1; h <= r->height; h++) {
		path[h]->marks[mark] &= ~(UINT64_C(1) << slot_of(index, h));
		if (path[h]->marks[mark])
			return;
	}
}

void *radix_remove(struct radix *r, uint64_t index)
{
	struct radix_node *path[HEIGHT_MAX];

	if (!walk(r, index, path))
		return NULL;
	for (unsigned m = 0; m < RADIX_MARKS; m++)
		mark_clear_path(r, path, index, m);
	unsigned slot = slot_of(index, 1);
	void *pointer = path[1]->slots[slot];
	path[1]->slots[slot] = NULL;
	path[1]->used &= ~(UINT64_C(1) << slot);
	r->count--;
	trim(r, path, index);
	return pointer;
}

void radix_mark_set(struct radix *r, uint64_t index, enum radix_mark mark)
{
	struct radix_node *path[HEIGHT_MAX];

	if (!walk(r, index, path))
		return;
	for (unsigned h = 1; h <= r->height; h++)
		path[h]->marks[mark] |= UINT64_C(1) << slot_of(index, h);
}

void radix_mark_clear(struct radix *r, uint64_t index, enum radix_mark mark)
{
	struct radix_node *path[HEIGHT_MAX];

	if (walk(r, index, path))
		mark_clear_path(r, path, index, mark);
}

bool radix_mark_test(const struct radix *r, uint64_t index, enum radix_mark mark)
{
	struct radix_node *path[HEIGHT_MAX];

	return walk(r, index, path) && path[1]->marks[mark] >> slot_of(index, 1) & 1;
}

// First pointer at or after *index below `n`; mark < 0: any.
static void *next_below(const struct radix_node *n, unsigned height, uint64_t *index, int mark)
{
	uint64_t span = UINT64_C(1) << ((height - 1) * BITS);
	unsigned first = slot_of(*index, height);
	uint64_t map = (mark < 0 ? n->used : n->marks[mark]) & ~UINT64_C(0) << first;

	for (; map; map &= map - 1) {
		unsigned slot = (unsigned)__builtin_ctzll(map);
		uint64_t below = *index;
		if (slot != first) // start of that child's range
			below = (*index / span + (slot - first)) * span;
		void *found = height == 1 ? n->slots[slot] : next_below(n->slots[slot], height - 1, &below, mark);
		if (found) {
			*index = below;
			return found;
		}
	}
	return NULL;
}

void *radix_next(const struct radix *r, uint64_t *index)
{
	return covers(r, *index) ? next_below(r->root, r->height, index, -1) : NULL;
}

void *radix_next_marked(const struct radix *r, uint64_t *index, enum radix_mark mark)
{
	return covers(r, *index) ? next_below(r->root, r->height, index, (int)mark) : NULL;
}
