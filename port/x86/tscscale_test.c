// SPDX-License-Identifier: Apache-2.0
// Are nanoseconds right at any frequency, and for years?
#include "tscscale.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const uint64_t frequencies[] = {
	1000000,    24000000,   999999999,  1000000000, 1000000001,
	2100000000, 2499998000, 3999999999, 4300000000, 6000000000,
};
#define COUNT (sizeof(frequencies) / sizeof(frequencies[0]))

static void a_second_is_a_second(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT; i++) {
		struct tsc_scale s = tsc_scale_make(frequencies[i], NS_PER_SECOND);
		uint64_t ns = tsc_scale(&s, frequencies[i]);
		assert_in_range(ns, NS_PER_SECOND - 10, NS_PER_SECOND);
	}
}

static void a_year_is_a_year_within_a_millisecond_a_day(void **state)
{
	(void)state;
	const uint64_t seconds = 365 * 86400;
	for (size_t i = 0; i < COUNT; i++) {
		struct tsc_scale s = tsc_scale_make(frequencies[i], NS_PER_SECOND);
		uint64_t ns = tsc_scale(&s, frequencies[i] * seconds);
		assert_in_range(ns, seconds * NS_PER_SECOND - 365 * UINT64_C(1000000), seconds * NS_PER_SECOND);
	}
}

static void time_never_goes_back(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT; i++) {
		struct tsc_scale s = tsc_scale_make(frequencies[i], NS_PER_SECOND);
		uint64_t last = 0;
		for (uint64_t t = 0; t < UINT64_C(1) << 62; t += t / 3 + 1) {
			uint64_t ns = tsc_scale(&s, t);
			assert_true(ns >= last);
			last = ns;
		}
	}
}

static void the_inverse_agrees(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT; i++) {
		struct tsc_scale there = tsc_scale_make(frequencies[i], NS_PER_SECOND);
		struct tsc_scale back = tsc_scale_make(NS_PER_SECOND, frequencies[i]);
		for (uint64_t t = 1000000; t < UINT64_C(1) << 50; t *= 3) {
			uint64_t again = tsc_scale(&back, tsc_scale(&there, t));
			uint64_t error = again > t ? again - t : t - again;
			assert_true(error <= t / 100000 + frequencies[i] / NS_PER_SECOND + 2);
		}
	}
}

static void far_deadlines_saturate(void **state)
{
	(void)state;
	struct tsc_scale s = tsc_scale_make(NS_PER_SECOND, 4000000000);
	assert_true(tsc_scale(&s, UINT64_MAX - 1) == UINT64_MAX);
}

static void clocks_are_compared_with_tolerance(void **state)
{
	(void)state;
	assert_true(hz_agree(1000000000, 1000000000));
	assert_true(hz_agree(1000000000, 1010000000));
	assert_true(hz_agree(1010000000, 1000000000));
	assert_false(hz_agree(1000000000, 1100000000));
	assert_false(hz_agree(1000000000, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_second_is_a_second),   cmocka_unit_test(a_year_is_a_year_within_a_millisecond_a_day),
		cmocka_unit_test(time_never_goes_back),   cmocka_unit_test(the_inverse_agrees),
		cmocka_unit_test(far_deadlines_saturate), cmocka_unit_test(clocks_are_compared_with_tolerance),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
