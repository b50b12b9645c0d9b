// SPDX-License-Identifier: Apache-2.0
// Does the memory map hold its promises for every size of machine we claim?
#include "memmap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define MIB        (UINT64_C(1) << 20)
#define GIB        (UINT64_C(1) << 30)
#define FIRST_FREE (6 * MIB)

struct machine {
	uint64_t low_end, high_end;
};

// QEMU's q35 rule.
static struct machine machine_of(uint64_t ram)
{
	if (ram < UINT64_C(0xb0000000))
		return (struct machine){ ram, 0 };
	return (struct machine){ 2 * GIB, 4 * GIB + ram - 2 * GIB };
}

static void check(uint64_t ram)
{
	struct machine m = machine_of(ram);
	struct port_memory_range r[MEMMAP_RANGES_MAX];
	unsigned n = memmap_ranges(FIRST_FREE, m.low_end, m.high_end, r, MEMMAP_RANGES_MAX);
	uint64_t total = 0, window = 0, last = FIRST_FREE, window_start, window_end;
	memmap_window(m.low_end, &window_start, &window_end);
	for (unsigned i = 0; i < n; i++) {
		assert_true(r[i].start < r[i].end);
		assert_true(r[i].start >= last);
		assert_int_equal(r[i].start % 4096, 0);
		assert_int_equal(r[i].end % 4096, 0);
		assert_true(r[i].end <= m.low_end || r[i].start >= 4 * GIB);
		total += r[i].end - r[i].start;
		last = r[i].end;
		if (r[i].shared_window) {
			window += r[i].end - r[i].start;
			assert_int_equal(r[i].start, window_start);
			assert_int_equal(r[i].end, window_end);
		}
	}
	assert_int_equal(total, ram - FIRST_FREE); // nothing lost
	assert_true(window >= 16 * MIB);
}

static void every_size_is_covered(void **state)
{
	(void)state;
	for (uint64_t ram = 64 * MIB; ram <= 4 * GIB; ram += 2 * MIB)
		check(ram);
	for (uint64_t ram = 4 * GIB; ram <= 512 * GIB; ram += GIB)
		check(ram);
}

static void window_is_where_the_design_says(void **state)
{
	(void)state;
	uint64_t start, end;
	memmap_window(896 * MIB, &start, &end);
	assert_int_equal(start, 648 * MIB);
	assert_int_equal(end, 896 * MIB);
	memmap_window(2 * GIB, &start, &end);
	assert_int_equal(start, 648 * MIB);
	memmap_window(256 * MIB, &start, &end);
	assert_int_equal(start, 192 * MIB);
	assert_int_equal(end, 256 * MIB);
	memmap_window(894 * MIB, &start, &end);
	assert_int_equal(end, 894 * MIB);
	assert_true(start >= 670 * MIB && start < 672 * MIB);
}

static void window_below_first_free_is_cut(void **state)
{
	(void)state;
	struct port_memory_range r[MEMMAP_RANGES_MAX];
	unsigned n = memmap_ranges(700 * MIB, 1024 * MIB, 0, r, MEMMAP_RANGES_MAX);
	assert_int_equal(n, 2);
	assert_int_equal(r[0].start, 700 * MIB);
	assert_true(r[0].shared_window);
	assert_int_equal(r[1].start, 896 * MIB);
	n = memmap_ranges(900 * MIB, 1024 * MIB, 0, r, MEMMAP_RANGES_MAX);
	assert_int_equal(n, 1);
	assert_int_equal(r[0].start, 900 * MIB);
	assert_false(r[0].shared_window);
}

static void room_for_fewer_ranges_is_respected(void **state)
{
	(void)state;
	struct port_memory_range r[2];
	assert_int_equal(memmap_ranges(FIRST_FREE, 2 * GIB, 512 * GIB, r, 2), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_size_is_covered),
		cmocka_unit_test(window_is_where_the_design_says),
		cmocka_unit_test(window_below_first_free_is_cut),
		cmocka_unit_test(room_for_fewer_ranges_is_respected),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
