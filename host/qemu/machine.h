// SPDX-License-Identifier: Apache-2.0
// The virtual machine of a cell: QEMU's command line and process. Everything it needs comes by descriptor.
#pragma once

#include "base/process.h"
#include "manifest/cell.h"
#include "qemu/accelerator.h"
#include "qemu/outside.h"
#include "qemu/share.h"

#define QEMU_PATH "/usr/bin/qemu-system-x86_64"

enum machine_stream {
	STREAM_CONTROL,
	STREAM_TTY,
	STREAM_STDIN,
	STREAM_STDOUT,
	STREAM_STDERR,
	STREAM_LOG,
	STREAM_COUNT
};

struct machine {
	struct process process;
	int streams[STREAM_COUNT]; // the launcher's ends, non-blocking; -1
};

struct machine_spec {
	const struct cell *cell;
	const struct accelerator *accelerator;
	const struct share *shares; // of the cell's mounts that have a source, in order: tags fs0, fs1, ...
	unsigned share_count;
	int vsock_fd; // vhost-user socket of the cell's network, -1: it has none
	int kernel_fd, rom_fd, record_fd;
	const char *gdb_socket; // path: QEMU stops before the first instruction and waits there; NULL
};

bool machine_check_installed(struct err *e);
// Builds the command line; for machine_start() and tests. `fds`: QEMU's ends of the streams.
void machine_command(const struct machine_spec *spec, const int fds[STREAM_COUNT], struct strings *out);
bool machine_start(struct machine *m, const struct machine_spec *spec, struct err *e);
