// SPDX-License-Identifier: Apache-2.0
// Do the small helpers agree with libc, and with published test vectors?
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/bitmap.h"
#include "lib/fmt.h"
#include "lib/hash.h"
#include "lib/sha256.h"

size_t string_copy(char *to, const char *from, size_t size);
bool string_to_u64(const char *s, unsigned base, uint64_t *out);

#define SAME(...)                                                                   \
	do {                                                                        \
		char ours[128], theirs[128];                                        \
		int n = fmt_print(ours, sizeof(ours), __VA_ARGS__);                 \
		assert_int_equal(n, snprintf(theirs, sizeof(theirs), __VA_ARGS__)); \
		assert_string_equal(ours, theirs);                                  \
	} while (0)

static void fmt_is_printf(void **state)
{
	(void)state;
	SAME("%d %i %u %5d|%-5d|%05d|%+d|% d", -3, 7, 9u, 42, 42, 42, 42, 42);
	SAME("%x %X %#x %#o %08lx %llx", 255u, 255u, 255u, 8u, 0xdeadbeefUL, 0x123456789abcdefULL);
	SAME("%hhd %hd %hhu %zu %jd %td", (signed char)-1, (short)-2, (unsigned char)200, (size_t)7, (intmax_t)-9,
	     (ptrdiff_t)3);
	SAME("%s|%10s|%-10s|%.2s|%*s|%.*s", "abc", "abc", "abc", "abc", 6, "abc", 1, "abc");
	SAME("%c%c%% %p", 'a', 'b', (void *)0x1234);
	SAME("%.3d|%8.3d|%.0d|%ld", 5, 5, 0, LONG_MIN);
	char small[4];
	assert_int_equal(fmt_print(small, sizeof(small), "%s", "abcdef"), 6);
	assert_string_equal(small, "abc");
	assert_int_equal(fmt_print(NULL, 0, "%d", 1234), 4);
}

static void bitmap_finds(void **state)
{
	(void)state;
	uint64_t map[3] = { 0 };

	assert_int_equal(bitmap_next_set(map, 130, 0), 130);
	bitmap_set(map, 0);
	bitmap_set(map, 129);
	assert_int_equal(bitmap_next_set(map, 130, 1), 129);
	assert_int_equal(bitmap_next_clear(map, 130, 0), 1);
	assert_int_equal(bitmap_count(map, 130), 2);
	memset(map, 0xff, sizeof(map));
	assert_int_equal(bitmap_next_clear(map, 130, 0), 130);
	assert_int_equal(bitmap_count(map, 130), 130);
}

static void sha256_vectors(void **state)
{
	(void)state;
	uint8_t digest[32];
	const uint8_t abc[32] = { 0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
				  0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
				  0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad };
	const uint8_t two_blocks[32] = { 0x24, 0x8d, 0x6a, 0x61, 0xd2, 0x06, 0x38, 0xb8, 0xe5, 0xc0, 0x26,
					 0x93, 0x0c, 0x3e, 0x60, 0x39, 0xa3, 0x3c, 0xe4, 0x59, 0x64, 0xff,
					 0x21, 0x67, 0xf6, 0xec, 0xed, 0xd4, 0x19, 0xdb, 0x06, 0xc1 };

	sha256("abc", 3, digest);
	assert_memory_equal(digest, abc, 32);
	sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56, digest);
	assert_memory_equal(digest, two_blocks, 32);
}

static void hash_depends_on_key_and_length(void **state)
{
	(void)state;
	assert_true(hash_bytes(1, "abc", 3) != hash_bytes(2, "abc", 3));
	assert_true(hash_bytes(1, "abc\0", 4) != hash_bytes(1, "abc", 3));
	assert_true(hash_bytes(1, "12345678", 8) == hash_bytes(1, "12345678", 8));
}

static void text_helpers(void **state)
{
	(void)state;
	char buffer[4];
	uint64_t v;

	assert_int_equal(string_copy(buffer, "abcdef", 4), 6);
	assert_string_equal(buffer, "abc");
	assert_true(string_to_u64("0x1F", 0, &v) && v == 31);
	assert_true(string_to_u64("18446744073709551615", 10, &v) && v == UINT64_MAX);
	assert_false(string_to_u64("18446744073709551616", 10, &v));
	assert_false(string_to_u64("12a", 10, &v));
	assert_false(string_to_u64("", 10, &v));
	assert_true(string_to_u64("0755", 0, &v) && v == 0755);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fmt_is_printf),  cmocka_unit_test(bitmap_finds),
		cmocka_unit_test(sha256_vectors), cmocka_unit_test(hash_depends_on_key_and_length),
		cmocka_unit_test(text_helpers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
