// SPDX-License-Identifier: Apache-2.0
// Bitmaps of 64-bit words. No locking, except where a name says atomic.
#pragma once

#include "lib/compiler.h"

#define BITMAP_WORDS(bits) (((bits) + 63) / 64)

static inline bool bitmap_test(const uint64_t *map, size_t bit) { return map[bit / 64] >> (bit % 64) & 1; }
static inline void bitmap_set(uint64_t *map, size_t bit) { map[bit / 64] |= UINT64_C(1) << (bit % 64); }
static inline void bitmap_clear(uint64_t *map, size_t bit) { map[bit / 64] &= ~(UINT64_C(1) << (bit % 64)); }

// The first clear (set) bit at or after `from`, or `bits` when there is none.
size_t bitmap_next_clear(const uint64_t *map, size_t bits, size_t from);
size_t bitmap_next_set(const uint64_t *map, size_t bits, size_t from);
size_t bitmap_count(const uint64_t *map, size_t bits);
