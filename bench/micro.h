// SPDX-License-Identifier: Apache-2.0
// What the measuring program is made of: each file brings a table of measures, micro.c runs them.
#pragma once

#include <stddef.h>

struct measure {
	const char *name;
	long count; // operations in a batch
	void (*run)(long count);
	void (*start)(void);
	void (*stop)(void);
};

struct measures {
	const struct measure *list;
	size_t count;
};

// Tables, each in the file of its name.
extern const struct measures calls_measures, exchange_measures, files_measures, memory_measures, process_measures;

// Where micro's caller has put files for it: $BENCH_DIRECTORY, or the current directory.
const char *micro_directory(void);

_Noreturn void die(const char *what);
