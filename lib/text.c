// SPDX-License-Identifier: Apache-2.0
// String helpers that libc does not have; ordinary programs use them too.
#include "lib/string.h"

size_t string_copy(char *to, const char *from, size_t size)
{
	size_t length = strlen(from), n = length < size ? length : size - 1;

	memcpy(to, from, n);
	to[n] = '\0';
	return length;
}

static unsigned digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned)(c - '0');
	if (c >= 'a' && c <= 'z')
		return (unsigned)(c - 'a') + 10;
	if (c >= 'A' && c <= 'Z')
		return (unsigned)(c - 'A') + 10;
	return 36;
}

bool string_to_u64(const char *s, unsigned base, uint64_t *out)
{
	uint64_t value = 0;

	if (base == 0) {
		base = 10;
		if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X')) {
			base = 16;
			s += 2;
		} else if (s[0] == '0' && s[1]) {
			base = 8;
			s++;
		}
	}
	if (!*s)
		return false;
	for (; *s; s++) {
		unsigned d = digit_value(*s);
		if (d >= base || __builtin_mul_overflow(value, base, &value) ||
		    __builtin_add_overflow(value, d, &value))
			return false;
	}
	*out = value;
	return true;
}
