// SPDX-License-Identifier: Apache-2.0
// The command line of `cloister run`.
#pragma once

#include "base/machine.h"
#include "manifest/cell.h"

struct run_options {
	struct cell cell;
	const char *kernel_path, *rom_path; // NULL: beside the launcher or installed
	const char *gdb_socket;
	enum machine_accelerator accelerator;
};

extern const char run_usage[];

// Reads argv[1...] and the manifest into a validated cell. *help is set when only the usage was asked for.
bool run_options_parse(int argc, char **argv, struct run_options *o, bool *help, struct err *e);
