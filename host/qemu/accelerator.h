// SPDX-License-Identifier: Apache-2.0
// Which accelerator QEMU gets, and the host's TSC frequency.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct accelerator {
	bool kvm;
	char why[160]; // one line for --verbose
};

// Some hosts have /dev/kvm but run ring 0 by emulation, microseconds an instruction: runs a short ring-0 loop and times
// it. Takes a few milliseconds at most.
void accelerator_probe(struct accelerator *a);

struct tsc_sample {
	uint64_t tsc;
	int64_t ns; // CLOCK_MONOTONIC_RAW
};
void tsc_sample_take(struct tsc_sample *s);
// Ticks a second: exact when the host kernel tells (perf), else as measured since `earlier`, waiting until that is a few
// milliseconds ago.
uint64_t tsc_frequency(const struct tsc_sample *earlier);
