// SPDX-License-Identifier: Apache-2.0
// What early.c leaves for the rest of the port.
#pragma once

#include "abi/handoff.h"
#include "port/port.h"

struct early_jump { // read by start.S
	uint64_t cr3, stack, entry;
};

struct boot_facts {
	struct handoff handoff;
	uint32_t options;   // BOOT_OPTION_* of the boot record, 0 when it has none or is bad
	uint64_t tsc_hz;    // as the launcher measured it, 0 = unknown
	uint64_t next_free; // physical: first byte not taken by image, record and early_pages()
};

extern struct boot_facts x86_boot_facts;

// `count` zeroed pages, contiguous, kept for ever; NULL when memory is too small. Start-up only. Before the direct map
// exists (inside early.c) the pointer is physical, later direct-mapped.
void *early_pages(size_t count);

// main.c: first code at its final address. Hidden, so that early.c gets its address from RIP and not from a table that
// it has just relocated.
_Noreturn void x86_main(void) __attribute__((visibility("hidden")));
