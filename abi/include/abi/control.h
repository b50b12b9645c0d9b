// SPDX-License-Identifier: Apache-2.0
// The control channel: messages between the launcher and the kernel.
//
// A byte stream each way (port x86: the virtio-console port named CONTROL_PORT_NAME; port hosted: a socketpair).
// A message is a header and `size_bytes` of payload. Both sides treat the other as hostile: an unknown type is
// skipped, a payload over CONTROL_PAYLOAD_MAX_BYTES ends the cell.
#pragma once

#include <assert.h>
#include <stdint.h>

#define CONTROL_PAYLOAD_MAX_BYTES 4096u

// Names of the virtio-console ports of a cell. With BOOT_OPTION_TTY only control and tty exist.
#define CONTROL_PORT_NAME "cloister.control"
#define STDIN_PORT_NAME   "cloister.stdin"
#define STDOUT_PORT_NAME  "cloister.stdout"
#define STDERR_PORT_NAME  "cloister.stderr"
#define TTY_PORT_NAME     "cloister.tty"

struct control_header {
	uint16_t type; // enum control_type
	uint16_t reserved;
	uint32_t size_bytes;
};
static_assert(sizeof(struct control_header) == 8, "control header layout");

enum control_type {
	// launcher -> kernel
	CONTROL_SIGNAL = 1,     // int32_t signal for the first process (its group, with a terminal)
	CONTROL_WINSIZE = 2,    // uint16_t rows, columns
	CONTROL_TIME_REPLY = 3, // struct control_time
	CONTROL_STDIN_EOF = 4,  // reserved: end of input is the port's close
	// struct control_usage[]: the host is about to run out of the memory it has for the cell; what its processes use, the
	// greediest first (port hosted)
	CONTROL_MEMORY_LOW = 5,
	// kernel -> launcher
	CONTROL_HELLO = 64,        // uint32_t BOOT_VERSION: the kernel runs
	CONTROL_TIME_REQUEST = 65, // uint64_t cookie
	CONTROL_EXIT = 66,         // int32_t wait status of the first process, as wait(2) encodes it
	CONTROL_LOG = 67,          // text, one or more whole lines: kernel log
	CONTROL_TRACE = 68,        // text: system-call trace
	CONTROL_SUMMARY = 69,      // text: the end-of-run summary
	CONTROL_START_FAILED = 70, // int32_t errno, then text naming the program and why it could not start
	CONTROL_LEAK = 71,         // text: what leaked, with BOOT_OPTION_LEAK_CHECK; empty text = nothing
	// uint32_t bytes: somebody in the cell reads (or polls) standard input and nothing is there; the launcher may read
	// and pass on that many bytes more (UINT32_MAX: no limit from now on). Until the first of these it reads nothing, so
	// that a program that never reads leaves the host's standard input to whoever reads it next.
	CONTROL_STDIN_WANT = 72,
	// struct control_stream_closed: the last descriptor of a standard output stream is closed in the cell. Needed because
	// the virtual machine does not pass a port's close on to the launcher.
	CONTROL_STREAM_CLOSED = 73,
};

struct control_time {
	uint64_t cookie;
	int64_t realtime_ns;
};

struct control_usage {
	int32_t process; // as the cell's kernel knows it: its number in the cell's pid namespace, where there is one
	uint32_t pages;
};
static_assert(sizeof(struct control_usage) == 8, "control usage layout");

struct control_stream_closed {
	uint32_t stream; // 1: standard output, 2: standard error
	uint32_t reserved;
	uint64_t total_bytes; // written to the port since boot; the launcher closes its side after that many
};
static_assert(sizeof(struct control_stream_closed) == 16, "control stream closed layout");

// Exit status of the virtual machine (the value written to the debug-exit device, see port/x86).
#define MACHINE_EXIT_DONE  0x10u // CONTROL_EXIT was sent before
#define MACHINE_EXIT_PANIC 0x11u
#define MACHINE_EXIT_BOOT  0x12u // the boot record or the machine was refused
