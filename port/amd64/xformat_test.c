// SPDX-License-Identifier: Apache-2.0
// Is hostile vector state refused, and is nothing of a former time shown?
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "features.h"

static struct amd64_features f;
static uint8_t area[4096] __attribute__((aligned(64)));

static uint64_t *header(unsigned word) { return (uint64_t *)(area + AMD64_XSTATE_HEADER) + word; }

static int set_up(void **state)
{
	(void)state;
	f = (struct amd64_features){ .xcr0 = 7 };
	amd64_xstate_detect(&f);
	memset(area, 0, sizeof(area));
	amd64_xstate_initial(&f, area);
	return 0;
}

static void are_avx512s_components_taken_together_or_not(void **state)
{
	(void)state;
	assert_int_equal(amd64_xstate_choose(3), 3);
	assert_int_equal(amd64_xstate_choose(7), 7);
	assert_int_equal(amd64_xstate_choose(0xe7), 0xe7);
	assert_int_equal(amd64_xstate_choose(0x67), 7);
	assert_int_equal(amd64_xstate_choose(0xe3), 3);
	assert_int_equal(amd64_xstate_choose(UINT64_MAX), 0xe7);
}

static void is_the_initial_state_accepted(void **state)
{
	(void)state;
	assert_int_equal(amd64_xstate_check(&f, area), 0);
	*header(0) = 7;
	assert_int_equal(amd64_xstate_check(&f, area), 0);
	assert_int_equal(amd64_xstate_size_bytes(&f), 832);
}

static void is_nonsense_refused(void **state)
{
	(void)state;
	*header(0) = 8; // a component the program does not have
	assert_int_equal(amd64_xstate_check(&f, area), -EINVAL);
	*header(0) = UINT64_C(1) << 63;
	assert_int_equal(amd64_xstate_check(&f, area), -EINVAL);
	*header(0) = 7;
	for (unsigned i = 1; i < 8; i++) {
		*header(i) = UINT64_C(1) << 63; // 1: the compact format
		assert_int_equal(amd64_xstate_check(&f, area), -EINVAL);
		*header(i) = 0;
	}
	*(uint32_t *)(area + AMD64_XSTATE_MXCSR) = 0x80000000;
	assert_int_equal(amd64_xstate_check(&f, area), -EINVAL);
}

static bool all_zero(unsigned from, unsigned to)
{
	for (; from < to; from++)
		if (area[from])
			return false;
	return true;
}

static void is_what_was_not_saved_cleared_and_nothing_else(void **state)
{
	(void)state;
	memset(area, 0xaa, sizeof(area));
	memset(header(0), 0, AMD64_XSTATE_HEADER_BYTES);
	*header(0) = AMD64_XCR0_SSE;
	amd64_xstate_clear_initial(&f, area);
	assert_int_equal(*(uint16_t *)(area + AMD64_XSTATE_FCW), AMD64_FCW_INITIAL);
	assert_true(all_zero(2, AMD64_XSTATE_MXCSR));
	assert_int_equal(area[AMD64_XSTATE_MXCSR], 0xaa);
	assert_true(all_zero(AMD64_XSTATE_ST, AMD64_XSTATE_XMM));
	assert_int_equal(area[AMD64_XSTATE_XMM], 0xaa);
	assert_int_equal(area[AMD64_XSTATE_LEGACY_REST - 1], 0xaa);
	assert_true(all_zero(576, 832));
	assert_int_equal(area[832], 0xaa);
	*header(0) = AMD64_XCR0_X87 | AMD64_XCR0_AVX;
	area[600] = 1;
	amd64_xstate_clear_initial(&f, area);
	assert_true(all_zero(AMD64_XSTATE_XMM, AMD64_XSTATE_LEGACY_REST));
	assert_int_equal(area[600], 1);
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(are_avx512s_components_taken_together_or_not),
		TEST(is_the_initial_state_accepted),
		TEST(is_nonsense_refused),
		TEST(is_what_was_not_saved_cleared_and_nothing_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
