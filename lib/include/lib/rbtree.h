// SPDX-License-Identifier: Apache-2.0
// Red-black tree with embedded nodes (Cormen et al., ch. 13). The caller walks down to the place of insertion and links
// there; no comparison callback. No locking.
#pragma once

#include "lib/compiler.h"

struct rb_node {
	uintptr_t parent_and_color; // bit 0: black
	struct rb_node *left, *right;
};

struct rb_root {
	struct rb_node *node;
};

#define rb_entry(node, type, member) container_of(node, type, member)

// Links `node` at *link, a NULL child pointer of `parent` (or the root), and rebalances.
void rb_insert(struct rb_root *root, struct rb_node *node, struct rb_node *parent, struct rb_node **link);
void rb_remove(struct rb_root *root, struct rb_node *node);
void rb_replace(struct rb_root *root, struct rb_node *old, struct rb_node *new);
struct rb_node *rb_first(const struct rb_root *root); // NULL when empty
struct rb_node *rb_last(const struct rb_root *root);
struct rb_node *rb_next(const struct rb_node *node); // NULL past the last
struct rb_node *rb_prev(const struct rb_node *node);
