// SPDX-License-Identifier: Apache-2.0
// What is left when no process is: /proc/cloister/leaks and the launcher's leak check. Each subsystem registers a counter
// that must be zero once every program has ended and caches were dropped.
#pragma once

#include "kernel/types.h"

struct leak_counter {
	const char *name;
	int64_t (*left)(void); // objects that should not exist any more; may drop caches first
	struct leak_counter *next;
};
void leak_counter_register(struct leak_counter *c); // levels 1-3
// So many pages more are the kernel's for good (fewer: < 0): a table that has grown with what was cached. Any context.
void leak_pages_kept(int64_t pages);
// "name count" lines of all counters that are not zero; empty when all is well.
void leak_report(char *text, size_t size);
