// SPDX-License-Identifier: Apache-2.0
// The host's time stamp counter: how fast it runs, and whether it can be used for time at all.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct tsc_sample {
	uint64_t tsc;
	int64_t ns; // of the clock that was asked
};
// The TSC and a clock (CLOCK_MONOTONIC_RAW, CLOCK_MONOTONIC) at the same moment, as closely as can be.
void tsc_sample_take(struct tsc_sample *s, int clock);

struct tsc_rate {
	uint64_t hz;
	bool exact;      // the host kernel or the processor told; else measured, to some parts in a hundred thousand
	bool invariant;  // it runs at one speed in every state of power
	bool good_clock; // invariant, and the host kernel itself does not distrust it
};
// Measures, when nobody tells, since `earlier` (CLOCK_MONOTONIC_RAW), waiting until that is a few milliseconds ago.
void tsc_rate_find(const struct tsc_sample *earlier, struct tsc_rate *out);
