// SPDX-License-Identifier: Apache-2.0
// Arithmetic of the physical memory map: pure functions, unit-tested for machines of 128 MiB to 512 GiB.
#pragma once

#include "port/port.h"

#define MEMMAP_WINDOW_START UINT64_C(0x28800000) // 648 MiB
#define MEMMAP_WINDOW_END   UINT64_C(0x38000000) // 896 MiB
#define MEMMAP_RANGES_MAX   8u
#define MEMMAP_RAM_MIN      (UINT64_C(64) << 20)

// The device-visible window of a machine with RAM below 4 GiB up to low_end: [648, 896) MiB when RAM reaches that far,
// else the top quarter of RAM.
void memmap_window(uint64_t low_end, uint64_t *start, uint64_t *end);

// Free ranges: [first_free, low_end) and [4 GiB, high_end), the window split off as a range of its own. Ascending and
// disjoint, page aligned; count, at most MEMMAP_RANGES_MAX.
unsigned memmap_ranges(uint64_t first_free, uint64_t low_end, uint64_t high_end, struct port_memory_range *out,
		       unsigned max);
