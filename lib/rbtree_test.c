// SPDX-License-Identifier: Apache-2.0
// Is the tree sorted, balanced and complete after any sequence of insertions and removals?
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/rbtree.h"

#define COUNT 500

struct item {
	struct rb_node node;
	int key;
	bool in;
};

static struct item items[COUNT];
static struct rb_root root;

static void add(struct item *item)
{
	struct rb_node **link = &root.node, *parent = NULL;

	while (*link) {
		parent = *link;
		link = item->key < rb_entry(parent, struct item, node)->key ? &parent->left : &parent->right;
	}
	rb_insert(&root, &item->node, parent, link);
	item->in = true;
}

// Black height of the subtree; checks order and that no red node has a red child.
static int black_height(struct rb_node *n, int low, int high)
{
	if (!n)
		return 1;
	int key = rb_entry(n, struct item, node)->key;
	bool black = n->parent_and_color & 1;
	assert_true(key > low && key < high);
	if (!black) {
		assert_true(!n->left || n->left->parent_and_color & 1);
		assert_true(!n->right || n->right->parent_and_color & 1);
	}
	int left = black_height(n->left, low, key);
	assert_int_equal(left, black_height(n->right, key, high));
	return left + black;
}

static void check(void)
{
	struct rb_node *n = rb_first(&root), *last = NULL;

	black_height(root.node, -1, COUNT);
	for (int i = 0; i < COUNT; i++)
		if (items[i].in) {
			assert_ptr_equal(n, &items[i].node);
			assert_ptr_equal(rb_prev(n), last);
			last = n;
			n = rb_next(n);
		}
	assert_null(n);
	assert_ptr_equal(rb_last(&root), last);
}

static void random_operations(void **state)
{
	(void)state;
	for (int i = 0; i < COUNT; i++)
		items[i].key = i;
	for (int i = 0; i < 20000; i++) {
		struct item *item = &items[rand() % COUNT];
		if (item->in) {
			rb_remove(&root, &item->node);
			item->in = false;
		} else {
			add(item);
		}
		if (i % 97 == 0)
			check();
	}
	check();
}

static void replace_keeps_the_place(void **state)
{
	(void)state;
	struct rb_root saved = root;
	struct item a = { .key = 1 }, b = { .key = 2 }, c = { .key = 3 }, other = { .key = 2 };

	root.node = NULL;
	add(&a);
	add(&b);
	add(&c);
	rb_replace(&root, &b.node, &other.node);
	assert_ptr_equal(rb_next(&a.node), &other.node);
	assert_ptr_equal(rb_next(&other.node), &c.node);
	root = saved;
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(random_operations),
					    cmocka_unit_test(replace_keeps_the_place) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
