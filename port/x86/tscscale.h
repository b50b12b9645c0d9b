// SPDX-License-Identifier: Apache-2.0
// Conversion between counter ticks and nanoseconds; pure, unit-tested on the host.
#pragma once

#include <stdint.h>

#define NS_PER_SECOND UINT64_C(1000000000)

struct tsc_scale {
	uint32_t mult, shift; // out = (in * mult) >> shift
};

// From counts at `from_hz` to counts at `to_hz` (below 2^32 each way apart, to_hz < 2^34): the largest shift, at most 30,
// for which mult fits its word. from_hz > 0.
static inline struct tsc_scale tsc_scale_make(uint64_t from_hz, uint64_t to_hz)
{
	struct tsc_scale s = { .shift = 30 };
	uint64_t mult;
	while ((mult = (to_hz << s.shift) / from_hz) > UINT32_MAX)
		s.shift--;
	s.mult = (uint32_t)mult;
	return s;
}

// Rounds down; saturates.
static inline uint64_t tsc_scale(const struct tsc_scale *s, uint64_t count)
{
	unsigned __int128 out = (unsigned __int128)count * s->mult >> s->shift;
	return out > UINT64_MAX ? UINT64_MAX : (uint64_t)out;
}

// Are two frequencies the same within 1/2^6?
static inline int hz_agree(uint64_t a, uint64_t b)
{
	uint64_t d = a > b ? a - b : b - a;
	return d <= a >> 6;
}
