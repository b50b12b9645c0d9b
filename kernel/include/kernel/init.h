// SPDX-License-Identifier: Apache-2.0
// Start-up order without a central list: each subsystem registers its functions at a level; kernel/core/boot.c runs the levels.
#pragma once

#include "lib/compiler.h"

struct init_entry {
	void (*fn)(void);
};

// Levels: 1 caches and tables (single CPU, no tasks yet), 2 file systems and other registries, 3 drivers (tasks run, may sleep),
// 4 late (everything is there).
#define KERNEL_INIT(level, function)                         \
	static const struct init_entry init_entry_##function \
		__attribute__((used, section("init_table_" #level), aligned(8))) = { function }
