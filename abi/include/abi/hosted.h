// SPDX-License-Identifier: Apache-2.0
// The hand-off on port hosted: what the launcher's loader tells the kernel that it has placed in a process.
//
// The loader reserves one region of address space, at a random place near the top of what programs may use, and fills it:
//
//	image_start    the kernel's read-only segments (text, constants): private mapping of the image file
//	data_start     its writable segments, relocated; here the cell's memory begins, one memfd (memory_fd) mapped MAP_SHARED
//	handoff        page aligned: this structure, then the filter program, the boot record, a guard page, the boot stack
//	arena_start    free frames up to arena_end, all zero
//	arena_end      HOSTED_OPEN_BYTES for what must stay accessible while a protection key closes the rest, all zero
//
// Offset 0 of memory_fd is data_start. The loader then jumps to the image's ELF entry with RDI = address of this structure
// and RSP = boot_stack_top, in a process with one thread, no signal handlers, every signal unblocked and none ignored but
// SIGPIPE and SIGXFSZ (writes then say EPIPE and EFBIG). The text does not cross a multiple of 4 GiB. Everything mapped
// outside [image_start, arena_end + HOSTED_OPEN_BYTES) is the loader's and is unmapped by the kernel, which then installs the filter.
#pragma once

#include <assert.h>
#include <stdint.h>

#define HOSTED_MAGIC        UINT64_C(0x31545348534c4f43) // "COLSHST1"
#define HOSTED_VERSION      2u
#define HOSTED_OPEN_BYTES   (UINT64_C(1) << 30)
#define HOSTED_CHANNELS_MAX 8u
#define HOSTED_CPUS_MAX     256u
#define HOSTED_KICK_SIGNAL  23 // SIGURG: takes a thread out of program code

#define HOSTED_FLAG_FSGSBASE     1u  // programs may use rdfsbase and kin
#define HOSTED_FLAG_NAMESPACES   2u  // the cell has a pid namespace of its own
#define HOSTED_FLAG_TSC_MEASURED 4u  // tsc_hz is good to some parts in a hundred thousand only: worth refining
#define HOSTED_FLAG_PKEYS        8u  // the kernel is to close its region by a protection key while programs run
#define HOSTED_FLAG_HUGE_DATA    16u // the first 2 MiB from data_start are one huge page

enum hosted_stream {
	HOSTED_STDIN,
	HOSTED_STDOUT,
	HOSTED_STDERR,
	HOSTED_TTY,
	HOSTED_CONTROL,
	HOSTED_LOG,      // what port_log_write() says
	HOSTED_NETWORK,  // no stream: a blocking SOCK_SEQPACKET socket to the server of network grants (abi/network.h)
	HOSTED_DOORBELL, // no stream: an eventfd for the kernel's own use, to get a task out of port_file_poll()
	HOSTED_STREAMS
};

struct hosted_handoff {
	uint64_t magic;
	uint32_t version, size_bytes;
	uint64_t image_start, text_start, text_end, data_start,
		image_end; // addresses; image_end: page aligned end of .bss
	uint64_t arena_start, arena_end;
	uint64_t boot_stack_top;
	uint64_t record_start, record_size_bytes;
	uint64_t filter_start; // array of struct sock_filter
	uint32_t filter_count;
	int32_t memory_fd;
	// Descriptors: byte streams of the launcher (pipes and stream sockets), -1 = none. Non-blocking but for HOSTED_NETWORK.
	int32_t streams[HOSTED_STREAMS];
	// SOCK_SEQPACKET sockets to the broker (abi/broker.h); events: what it tells unasked, -1 = none.
	uint32_t channel_count;
	int32_t channels[HOSTED_CHANNELS_MAX];
	int32_t events;
	uint32_t flags; // HOSTED_FLAG_*
	uint32_t cpu_count;
	uint16_t cpus[HOSTED_CPUS_MAX]; // the host's numbers, ascending: the cell's CPU n is the host's cpus[n]
	uint64_t hwcap, hwcap2;
	// Time: at the same moment the TSC was tsc_base and CLOCK_MONOTONIC monotonic_ns. 0 = no usable TSC.
	uint64_t tsc_hz, tsc_base;
	int64_t monotonic_ns;
};
static_assert(sizeof(struct hosted_handoff) == 744, "hosted handoff layout");
