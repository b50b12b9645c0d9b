// SPDX-License-Identifier: Apache-2.0
// Is an address given the name of its function?
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "symbols.h"

// As symbols.py writes it.
static const struct {
	uint32_t count, reserved;
	uint32_t symbols[3][2];
	char names[16];
} table = { 3, 0, { { 0x10, 0 }, { 0x40, 6 }, { 0x48, 0 } }, "first\0other" }, empty = { 0 };

static const char *find(uint32_t at, size_t *offset)
{
	return amd64_symbol_find((const char *)&table, (const char *)(&table + 1), at, offset);
}

static void each_address_has_the_function_before_it(void **state)
{
	size_t offset;

	(void)state;
	assert_string_equal(find(0x10, &offset), "first");
	assert_int_equal(offset, 0);
	assert_string_equal(find(0x3f, &offset), "first");
	assert_int_equal(offset, 0x2f);
	assert_string_equal(find(0x40, NULL), "other");
	assert_string_equal(find(0x47, NULL), "other");
	assert_string_equal(find(0xffffffff, NULL), "first");
}

static void what_is_in_no_function_has_no_name(void **state)
{
	(void)state;
	assert_null(find(0xf, NULL));
	assert_null(amd64_symbol_find((const char *)&empty, (const char *)(&empty + 1), 0x10, NULL));
	assert_null(
		amd64_symbol_find((const char *)&table, (const char *)&table, 0x10, NULL)); // the first link has none
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_address_has_the_function_before_it),
		cmocka_unit_test(what_is_in_no_function_has_no_name),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
