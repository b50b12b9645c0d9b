// SPDX-License-Identifier: Apache-2.0
// The virtual machine of a cell: QEMU's command line and process. Everything it needs comes by descriptor.
#pragma once

#include "base/machine.h"
#include "manifest/cell.h"
#include "qemu/accelerator.h"
#include "qemu/outside.h"
#include "qemu/share.h"

#define QEMU_PATH "/usr/bin/qemu-system-x86_64"

extern const struct machine_kind qemu_machine_kind;

struct qemu_machine {
	struct accelerator accelerator;
	struct share shares[CELL_MOUNTS_MAX]; // of the cell's mounts that have a source, in order: tags fs0, fs1, ...
	unsigned share_count;
	struct outside outside; // the network, where one is granted
	int kernel_fd, rom_fd, record_fd;
};

// Builds the command line; for start() and tests. `fds`: QEMU's ends of the streams.
void qemu_command(const struct machine_spec *spec, const struct qemu_machine *q, const int fds[STREAM_COUNT],
		  struct strings *out);
