// SPDX-License-Identifier: Apache-2.0
// Does the radix tree agree with a plain array, marks included, and give back every node?
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/radix.h"

static int nodes;
static int fail_after = -1;

void *radix_node_allocate(size_t size)
{
	if (fail_after == 0)
		return NULL;
	if (fail_after > 0)
		fail_after--;
	nodes++;
	return calloc(1, size);
}

void radix_node_free(void *node, size_t size)
{
	(void)size;
	nodes--;
	free(node);
}

#define COUNT 3000
static const uint64_t bases[] = { 0, 4000, UINT64_C(1) << 40, UINT64_MAX - COUNT };

static void against_a_model(void **state)
{
	(void)state;
	static bool in[4][COUNT], dirty[4][COUNT];
	struct radix r = { 0 };
	int expected = 0;

	for (int i = 0; i < 60000; i++) {
		int b = rand() % 4, k = rand() % (b == 1 ? 40 : COUNT);
		uint64_t index = bases[b] + (uint64_t)k;
		void *value = (void *)(index * 8 + 8 ? index * 8 + 8 : 8);
		switch (rand() % 4) {
		case 0:
			assert_int_equal(radix_insert(&r, index, value), in[b][k] ? -17 : 0);
			expected += !in[b][k];
			in[b][k] = true;
			break;
		case 1:
			assert_ptr_equal(radix_remove(&r, index), in[b][k] ? value : NULL);
			expected -= in[b][k];
			in[b][k] = dirty[b][k] = false;
			break;
		case 2:
			radix_mark_set(&r, index, RADIX_MARK_DIRTY);
			dirty[b][k] |= in[b][k];
			break;
		case 3:
			radix_mark_clear(&r, index, RADIX_MARK_DIRTY);
			dirty[b][k] = false;
			break;
		}
		assert_ptr_equal(radix_lookup(&r, index), in[b][k] ? value : NULL);
		assert_int_equal(radix_mark_test(&r, index, RADIX_MARK_DIRTY), dirty[b][k]);
	}
	assert_int_equal(r.count, expected);
	uint64_t index = 0, marked = 0;
	for (int b = 0; b < 4; b++)
		for (int k = 0; k < COUNT; k++) {
			if (in[b][k]) {
				assert_non_null(radix_next(&r, &index));
				assert_true(index == bases[b] + (uint64_t)k);
				index++;
			}
			if (dirty[b][k]) {
				assert_non_null(radix_next_marked(&r, &marked, RADIX_MARK_DIRTY));
				assert_true(marked == bases[b] + (uint64_t)k);
				marked++;
			}
		}
	for (int b = 0; b < 4; b++)
		for (int k = 0; k < COUNT; k++)
			if (in[b][k])
				radix_remove(&r, bases[b] + (uint64_t)k);
	assert_int_equal(r.count, 0);
	assert_int_equal(nodes, 0);
}

static void out_of_memory_leaks_nothing(void **state)
{
	(void)state;
	struct radix r = { 0 };

	assert_int_equal(radix_insert(&r, 5, &r), 0);
	for (int n = 0; n < 12; n++) {
		fail_after = n;
		if (radix_insert(&r, UINT64_C(1) << 50, &r) == 0)
			break;
		assert_ptr_equal(radix_lookup(&r, 5), &r);
		assert_null(radix_lookup(&r, UINT64_C(1) << 50));
	}
	fail_after = -1;
	radix_remove(&r, UINT64_C(1) << 50);
	radix_remove(&r, 5);
	assert_int_equal(nodes, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(against_a_model),
					    cmocka_unit_test(out_of_memory_leaks_nothing) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
