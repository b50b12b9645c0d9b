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
	CONTROL_SIGNAL = 1,      // int32_t signal for the first process (its group, with a terminal)
	CONTROL_WINSIZE = 2,     // uint16_t rows, columns
	CONTROL_TIME_REPLY = 3,  // struct control_time
	CONTROL_STDIN_EOF = 4,   // reserved: end of input is the port's close
	// kernel -> launcher
	CONTROL_HELLO = 64,      // uint32_t BOOT_VERSION: the kernel runs
	CONTROL_TIME_REQUEST = 65, // uint64_t cookie
	CONTROL_EXIT = 66,       // int32_t wait status of the first process, as wait(2) encodes it
	CONTROL_LOG = 67,        // text, one or more whole lines: kernel log
	CONTROL_TRACE = 68,      // text: system-call trace
	CONTROL_SUMMARY = 69,    // text: the end-of-run summary
	CONTROL_START_FAILED = 70, // int32_t errno, then text naming the program and why it could not start
	CONTROL_LEAK = 71,       // text: what leaked, with BOOT_OPTION_LEAK_CHECK; empty text = nothing
};

struct control_time {
	uint64_t cookie;
	int64_t realtime_ns;
};

// Exit status of the virtual machine (the value written to the debug-exit device, see port/x86).
#define MACHINE_EXIT_DONE  0x10u // CONTROL_EXIT was sent before
#define MACHINE_EXIT_PANIC 0x11u
#define MACHINE_EXIT_BOOT  0x12u // the boot record or the machine was refused
