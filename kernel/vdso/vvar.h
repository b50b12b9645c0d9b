// SPDX-License-Identifier: Apache-2.0
// The page the kernel writes and the vDSO reads. It stands directly before the vDSO's text in every program.
#pragma once

#include <stdint.h>

#define VVAR_PAGE_BYTES 4096u

struct vvar {
	uint32_t sequence;   // odd while the kernel writes
	uint32_t tsc_usable; // 0: the program must ask the kernel
	uint64_t tsc_base;
	uint32_t mult, shift;       // ns since boot = ((tsc - tsc_base) * mult) >> shift
	int64_t realtime_offset_ns; // realtime - monotonic
	uint32_t cpu_by_segment;    // the limit of the segment VVAR_CPU_SELECTOR is the CPU's number
};
#define VVAR_CPU_SELECTOR 0x7bu
