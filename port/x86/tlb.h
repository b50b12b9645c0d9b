// SPDX-License-Identifier: Apache-2.0
// TLB shootdown.
#pragma once

#include "aspace.h"

// Returns when no CPU can use a translation of [start, end) of `as` that was removed before the call. Atomic.
void x86_tlb_flush(struct port_aspace *as, uint64_t start, uint64_t end);
