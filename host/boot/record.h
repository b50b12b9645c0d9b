// SPDX-License-Identifier: Apache-2.0
// Builds the boot record (abi/boot.h) from a cell's configuration.
#pragma once

#include "base/buffer.h"
#include "base/err.h"
#include "manifest/cell.h"

#include <stdint.h>

// What is known only at start.
struct boot_moment {
	int64_t realtime_ns;
	uint64_t tsc_hz;
	const char *tree_type; // of a granted directory: the port's file system
	unsigned char seed[64];
	unsigned stdin_closed; // bit n: standard stream n is closed
	bool merged_stderr;    // standard error is the same file as standard output
	unsigned umask;
	unsigned short tty_rows, tty_columns;
};

// Appends the finished, measured record to `out`. EXIT_USAGE when it would be over BOOT_RECORD_MAX_BYTES.
bool boot_record_build(const struct cell *cell, const struct boot_moment *moment, struct buffer *out, struct err *e);
