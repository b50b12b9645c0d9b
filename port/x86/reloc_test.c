// SPDX-License-Identifier: Apache-2.0
// Does self-relocation move what it must, and refuse what it must?
#include "reloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define BASE  UINT64_C(0xffffffff80000000)
#define START (BASE + 0x100)
#define END   (BASE + 0x200)

static uint8_t memory[0x200];

static bool apply(const Elf64_Rela *r, size_t count, uint64_t slide)
{
	memset(memory, 0xaa, sizeof(memory));
	return elf_relocate(r, count, BASE, (uintptr_t)memory, START, END, slide);
}

static uint64_t word(unsigned at)
{
	uint64_t v;
	memcpy(&v, memory + at, 8);
	return v;
}

static void relative_words_get_addend_and_slide(void **state)
{
	(void)state;
	const Elf64_Rela r[] = {
		{ .r_offset = START, .r_info = R_X86_64_RELATIVE, .r_addend = (int64_t)(BASE + 0x123) },
		{ .r_offset = END - 8, .r_info = R_X86_64_RELATIVE, .r_addend = (int64_t)START },
		{ .r_info = R_X86_64_NONE },
	};
	assert_true(apply(r, 3, 0x40000));
	assert_true(word(0x100) == BASE + 0x123 + 0x40000);
	assert_true(word(0x1f8) == START + 0x40000);
	assert_int_equal(memory[0x108], 0xaa);
}

static void without_slide_words_keep_their_link_values(void **state)
{
	(void)state;
	const Elf64_Rela r[] = { { .r_offset = START + 16, .r_info = R_X86_64_RELATIVE, .r_addend = (int64_t)END } };
	assert_true(apply(r, 1, 0));
	assert_true(word(0x110) == END);
}

static void other_types_are_refused(void **state)
{
	(void)state;
	const Elf64_Rela r[] = { { .r_offset = START, .r_info = R_X86_64_64 } };
	assert_false(apply(r, 1, 0));
}

static void addresses_outside_are_refused(void **state)
{
	(void)state;
	const uint64_t bad[] = { 0, START - 1, START - 8, END - 7, END, UINT64_MAX };
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const Elf64_Rela r[] = { { .r_offset = bad[i], .r_info = R_X86_64_RELATIVE } };
		assert_false(apply(r, 1, 0));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(relative_words_get_addend_and_slide),
		cmocka_unit_test(without_slide_words_keep_their_link_values),
		cmocka_unit_test(other_types_are_refused),
		cmocka_unit_test(addresses_outside_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
