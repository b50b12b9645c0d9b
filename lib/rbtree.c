// SPDX-License-Identifier: Apache-2.0
// Red-black tree: insertion and removal with recolouring and rotations, after Cormen et al., "Introduction to Algorithms",
// ch. 13. NULL leaves count as black; the colour bit shares a word with the parent pointer.
#include "lib/rbtree.h"

#define BLACK 1u

static struct rb_node *parent_of(const struct rb_node *n)
{
	return (struct rb_node *)(n->parent_and_color & ~(uintptr_t)BLACK);
}
static bool is_black(const struct rb_node *n) { return !n || n->parent_and_color & BLACK; }
static void set_black(struct rb_node *n) { n->parent_and_color |= BLACK; }
static void set_red(struct rb_node *n) { n->parent_and_color &= ~(uintptr_t)BLACK; }
static void set_parent(struct rb_node *n, struct rb_node *parent)
{
	n->parent_and_color = (uintptr_t)parent | (n->parent_and_color & BLACK);
}
static void copy_color(struct rb_node *to, const struct rb_node *from)
{
	to->parent_and_color = (to->parent_and_color & ~(uintptr_t)BLACK) | (from->parent_and_color & BLACK);
}

// Puts `new` (may be NULL) where `old` hangs below `parent`.
static void replace_child(struct rb_root *root, struct rb_node *parent, struct rb_node *old, struct rb_node *new)
{
	if (!parent)
		root->node = new;
	else if (parent->left == old)
		parent->left = new;
	else
		parent->right = new;
}

static void rotate_left(struct rb_root *root, struct rb_node *n)
{
	struct rb_node *up = n->right, *parent = parent_of(n);

	n->right = up->left;
	if (up->left)
		set_parent(up->left, n);
	up->left = n;
	set_parent(n, up);
	set_parent(up, parent);
	replace_child(root, parent, n, up);
}

static void rotate_right(struct rb_root *root, struct rb_node *n)
{
	struct rb_node *up = n->left, *parent = parent_of(n);

	n->left = up->right;
	if (up->right)
		set_parent(up->right, n);
	up->right = n;
	set_parent(n, up);
	set_parent(up, parent);
	replace_child(root, parent, n, up);
}

void rb_insert(struct rb_root *root, struct rb_node *node, struct rb_node *parent, struct rb_node **link)
{
	node->left = node->right = NULL;
	node->parent_and_color = (uintptr_t)parent; // red
	*link = node;

	while ((parent = parent_of(node)) && !is_black(parent)) {
		struct rb_node *grand = parent_of(parent); // exists: a red node is not the root
		bool left = parent == grand->left;
		struct rb_node *uncle = left ? grand->right : grand->left;

		if (!is_black(uncle)) {
			set_black(parent);
			set_black(uncle);
			set_red(grand);
			node = grand;
			continue;
		}
		if (node == (left ? parent->right : parent->left)) { // inner grandchild: make it an outer one
			if (left)
				rotate_left(root, parent);
			else
				rotate_right(root, parent);
			node = parent;
			parent = parent_of(node);
		}
		set_black(parent);
		set_red(grand);
		if (left)
			rotate_right(root, grand);
		else
			rotate_left(root, grand);
	}
	set_black(root->node);
}

// `node` (may be NULL, below `parent`) lacks one black on its path.
static void remove_fixup(struct rb_root *root, struct rb_node *node, struct rb_node *parent)
{
	while (node != root->node && is_black(node)) {
		bool left = node == parent->left;
		struct rb_node *sibling = left ? parent->right : parent->left; // exists: black heights were equal

		if (!is_black(sibling)) {
			set_black(sibling);
			set_red(parent);
			if (left)
				rotate_left(root, parent);
			else
				rotate_right(root, parent);
			sibling = left ? parent->right : parent->left;
		}
		struct rb_node *outer = left ? sibling->right : sibling->left;
		struct rb_node *inner = left ? sibling->left : sibling->right;
		if (is_black(outer) && is_black(inner)) {
			set_red(sibling);
			node = parent;
			parent = parent_of(node);
			continue;
		}
		if (is_black(outer)) {
			set_black(inner);
			set_red(sibling);
			if (left)
				rotate_right(root, sibling);
			else
				rotate_left(root, sibling);
			sibling = left ? parent->right : parent->left;
			outer = left ? sibling->right : sibling->left;
		}
		copy_color(sibling, parent);
		set_black(parent);
		set_black(outer);
		if (left)
			rotate_left(root, parent);
		else
			rotate_right(root, parent);
		node = root->node;
	}
	if (node)
		set_black(node);
}

void rb_remove(struct rb_root *root, struct rb_node *node)
{
	struct rb_node *child, *parent;
	bool lost_black;

	if (node->left && node->right) { // its successor takes its place
		struct rb_node *next = node->right;
		while (next->left)
			next = next->left;
		child = next->right;
		lost_black = is_black(next);
		parent = parent_of(next);
		if (parent == node) {
			parent = next;
		} else {
			parent->left = child;
			if (child)
				set_parent(child, parent);
			next->right = node->right;
			set_parent(next->right, next);
		}
		next->left = node->left;
		set_parent(next->left, next);
		next->parent_and_color = node->parent_and_color;
		replace_child(root, parent_of(node), node, next);
	} else {
		child = node->left ? node->left : node->right;
		parent = parent_of(node);
		lost_black = is_black(node);
		if (child)
			set_parent(child, parent);
		replace_child(root, parent, node, child);
	}
	if (lost_black)
		remove_fixup(root, child, parent);
}

void rb_replace(struct rb_root *root, struct rb_node *old, struct rb_node *new)
{
	*new = *old;
	if (new->left)
		set_parent(new->left, new);
	if (new->right)
		set_parent(new->right, new);
	replace_child(root, parent_of(old), old, new);
}

struct rb_node *rb_first(const struct rb_root *root)
{
	struct rb_node *n = root->node;
	while (n && n->left)
		n = n->left;
	return n;
}

struct rb_node *rb_last(const struct rb_root *root)
{
	struct rb_node *n = root->node;
	while (n && n->right)
		n = n->right;
	return n;
}

struct rb_node *rb_next(const struct rb_node *node)
{
	if (node->right) {
		struct rb_node *n = node->right;
		while (n->left)
			n = n->left;
		return n;
	}
	struct rb_node *parent = parent_of(node);
	while (parent && node == parent->right) {
		node = parent;
		parent = parent_of(node);
	}
	return parent;
}

struct rb_node *rb_prev(const struct rb_node *node)
{
	if (node->left) {
		struct rb_node *n = node->left;
		while (n->right)
			n = n->right;
		return n;
	}
	struct rb_node *parent = parent_of(node);
	while (parent && node == parent->left) {
		node = parent;
		parent = parent_of(node);
	}
	return parent;
}
