// SPDX-License-Identifier: Apache-2.0
// Turns the calling process into a cell's kernel: places the image, makes the cell's memory, and jumps, as abi/hosted.h says.
#pragma once

#include "abi/hosted.h"
#include "hosted/image.h"

#include <stdbool.h>

#define LOADER_FAILED 0x7f // exit status

struct loader_spec {
	const struct image *image; // parsed; the file stays mapped
	int image_fd;
	uint64_t arena_bytes; // of free frames
	const void *record;
	size_t record_size;
	bool no_aslr;                // a fixed address
	bool stop;                   // before the kernel's first instruction, by SIGSTOP: for a debugger
	int streams[HOSTED_STREAMS]; // -1: none
	int channels[HOSTED_CHANNELS_MAX];
	unsigned channel_count;
	int events;     // -1
	uint32_t flags; // HOSTED_FLAG_* the caller knows; the loader adds those of the processor
	uint16_t cpus[HOSTED_CPUS_MAX];
	unsigned cpu_count;
	uint64_t tsc_hz;
};

// The process has one thread and no signal handlers, and gives up all descriptors that are not in `spec`. On failure one
// line on standard error and _exit(LOADER_FAILED).
_Noreturn void loader_enter(const struct loader_spec *spec);
