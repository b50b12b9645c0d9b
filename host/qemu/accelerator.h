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

// Ticks a second, exact when the host kernel tells (perf), else as measured over a few milliseconds. 0 = unknown.
uint64_t tsc_frequency(void);
