// SPDX-License-Identifier: Apache-2.0
// What a cell runs on, as the launcher's loop sees it: one process that is the whole machine, byte streams to and from the kernel in
// it, perhaps helpers it cannot do without. host/qemu makes one of a virtual machine, host/hosted one of a confined process.
#pragma once

#include "base/process.h"

#include <stdint.h>

#define MACHINE_HELPERS_MAX 17u

enum machine_stream {
	STREAM_CONTROL,
	STREAM_TTY,
	STREAM_STDIN,
	STREAM_STDOUT,
	STREAM_STDERR,
	STREAM_LOG,
	STREAM_COUNT
};

enum machine_accelerator { ACCEL_AUTO, ACCEL_TCG, ACCEL_KVM };

struct cell;
struct control_usage;
struct buffer;
struct tsc_rate;

struct machine_spec {
	const struct cell *cell;
	const char *kernel_path, *rom_path; // NULL: beside the launcher or installed
	const char *gdb_socket; // it stops before the first instruction; qemu waits there, hosted by SIGSTOP; NULL
	enum machine_accelerator accelerator;
	const struct buffer *record; // start() only: the boot record
	const struct tsc_rate *tsc;  // start() only
	// One line for --verbose.
	void (*say)(void *context, const char *text);
	void *say_context;
};

// What the machine's process says by its end.
enum machine_end {
	MACHINE_DONE,    // the kernel ended it
	MACHINE_PANIC,   // the kernel panicked
	MACHINE_REFUSED, // the kernel did not like its boot record or its machine
	MACHINE_BROKEN,  // anything else: explain() knows
};

struct machine;
struct machine_kind {
	const char *name;
	const char *tree_type; // of a granted directory in the boot record
	// Finds parts and starts helpers. What fails here is the host's fault.
	bool (*prepare)(struct machine *m, const struct machine_spec *spec, struct err *e);
	bool (*start)(struct machine *m, const struct machine_spec *spec, struct err *e);
	enum machine_end (*end)(const struct machine *m);
	// Was part of it killed, so that the program's status may come of that? NULL: never.
	bool (*killed)(const struct machine *m);
	bool (*explain)(const struct machine *m, struct err *e); // MACHINE_BROKEN in one line; always false
	// The kernel told how the program ended, which is the last it has to say: what is left may go at once. NULL: it goes by itself.
	void (*finished)(struct machine *m);
	void (*ended)(struct machine *m); // its process was reaped; NULL: nothing to do
	// machine.notice was ready, a moment ago or now: who uses how much, when somebody has to go, else 0.
	unsigned (*memory_low)(struct machine *m, struct control_usage *out, unsigned max);
	// Ends and frees whatever is there; idempotent. `flush`: the cell ended by itself, and helpers may take some seconds to pass
	// on what it sent.
	void (*stop)(struct machine *m, bool flush);
};

struct machine {
	const struct machine_kind *kind;
	struct process process;
	int streams[STREAM_COUNT]; // the launcher's ends, non-blocking; -1
	struct process *helpers[MACHINE_HELPERS_MAX];
	unsigned helper_count;
	int notice; // ready with these events of poll(2) when the host may soon have no memory for the cell; -1
	short notice_events;
	void *private; // the kind's
};

void machine_init(struct machine *m, const struct machine_kind *kind);
void machine_close_streams(struct machine *m);
void machine_say(const struct machine_spec *spec, const char *format, ...) __attribute__((format(printf, 2, 3)));
// Which streams a cell has: a terminal, or three plain ones.
bool machine_stream_used(bool tty, enum machine_stream s);
