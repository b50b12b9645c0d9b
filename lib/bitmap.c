// SPDX-License-Identifier: Apache-2.0
// Bitmap searches, a word at a time.
#include "lib/bitmap.h"

static size_t next(const uint64_t *map, size_t bits, size_t from, uint64_t flip)
{
	while (from < bits) {
		uint64_t word = (map[from / 64] ^ flip) >> (from % 64);
		if (word) {
			size_t found = from + (size_t)__builtin_ctzll(word);
			return found < bits ? found : bits;
		}
		from = (from / 64 + 1) * 64;
	}
	return bits;
}

size_t bitmap_next_clear(const uint64_t *map, size_t bits, size_t from) { return next(map, bits, from, ~UINT64_C(0)); }
size_t bitmap_next_set(const uint64_t *map, size_t bits, size_t from) { return next(map, bits, from, 0); }

// By hand: the compiler's builtin is a libgcc call without the popcnt instruction.
static size_t count_bits(uint64_t x)
{
	x -= x >> 1 & UINT64_C(0x5555555555555555);
	x = (x & UINT64_C(0x3333333333333333)) + (x >> 2 & UINT64_C(0x3333333333333333));
	x = (x + (x >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
	return x * UINT64_C(0x0101010101010101) >> 56;
}

size_t bitmap_count(const uint64_t *map, size_t bits)
{
	size_t n = 0;
	for (size_t i = 0; i < bits / 64; i++)
		n += count_bits(map[i]);
	if (bits % 64)
		n += count_bits(map[bits / 64] & ((UINT64_C(1) << (bits % 64)) - 1));
	return n;
}
