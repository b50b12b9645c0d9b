// SPDX-License-Identifier: Apache-2.0
// Which accelerator QEMU gets.
#pragma once

#include <stdbool.h>

struct accelerator {
	bool kvm;
	char why[160]; // one line for --verbose
};

// Some hosts have /dev/kvm but run ring 0 by emulation, microseconds an instruction: runs a short ring-0 loop and times
// it. Takes a few milliseconds at most.
void accelerator_probe(struct accelerator *a);
