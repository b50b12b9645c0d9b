// SPDX-License-Identifier: Apache-2.0
// Is thrashing told from other reads of files, and does it end somebody?
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "internal.h"
#include "kernel/timer.h"
#include "port/fake_spinlock.h"

#define MS    ((uint64_t)NSEC_PER_SEC / 1000)
#define TOTAL UINT64_C(16000) // pages

static uint64_t now, clean_pages;
static unsigned kills;
static struct mobj file, other;

uint64_t port_time_ns(void) { return now; }
uint64_t reclaim_clean_count(void) { return clean_pages; }
uint64_t page_total_count(void) { return TOTAL; }
bool process_oom_kill(void)
{
	kills++;
	return true;
}

static int start(void **state)
{
	(void)state;
	now += 100 * (uint64_t)NSEC_PER_SEC;
	clean_pages = TOTAL / 100;
	kills = 0;
	return 0;
}

// A program that runs for `run` ms and then waits for a page that was dropped meanwhile for `wait` ms, again and again.
static void refaults(unsigned count, unsigned run, unsigned wait)
{
	for (unsigned i = 0; i < count; i++) {
		thrash_note_dropped(&file, i);
		now += run * MS;
		assert_true(thrash_wait_begin(&file, i));
		now += wait * MS;
		thrash_wait_end();
	}
}

static void only_what_was_dropped_counts(void **state)
{
	(void)state;
	assert_false(thrash_wait_begin(&file, 7));
	thrash_note_dropped(&file, 7);
	assert_false(thrash_wait_begin(&file, 8));
	assert_false(thrash_wait_begin(&other, 7));
	assert_true(thrash_wait_begin(&file, 7));
	thrash_wait_end();
	assert_false(thrash_wait_begin(&file, 7)); // once
	assert_int_equal(kills, 0);
}

static void waiting_most_of_the_time_kills_within_seconds(void **state)
{
	(void)state;
	refaults(100, 4, 6); // one second
	assert_int_equal(kills, 0);
	refaults(300, 4, 6);
	assert_in_range(kills, 1, 2);
}

static void waiting_now_and_then_kills_nobody(void **state)
{
	(void)state;
	refaults(1000, 6, 4);
	assert_int_equal(kills, 0);
	refaults(20, 5000, 1000); // rare and long
	assert_int_equal(kills, 0);
}

static void a_page_cache_to_spare_kills_nobody(void **state)
{
	(void)state;
	clean_pages = TOTAL / 8;
	refaults(1000, 1, 9);
	assert_int_equal(kills, 0);
}

// Time in which two wait is lost once.
static void waiting_at_once_counts_once(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		now += 6 * MS;
		thrash_note_dropped(&file, i);
		assert_true(thrash_wait_begin(&file, i));
		thrash_note_dropped(&other, i); // not both before: they may have the same slot
		assert_true(thrash_wait_begin(&other, i));
		now += 4 * MS;
		thrash_wait_end();
		thrash_wait_end();
	}
	assert_int_equal(kills, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(only_what_was_dropped_counts, start),
		cmocka_unit_test_setup(waiting_most_of_the_time_kills_within_seconds, start),
		cmocka_unit_test_setup(waiting_now_and_then_kills_nobody, start),
		cmocka_unit_test_setup(a_page_cache_to_spare_kills_nobody, start),
		cmocka_unit_test_setup(waiting_at_once_counts_once, start),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
