// SPDX-License-Identifier: Apache-2.0
// An address space: the memory of one host process below the kernel's region, and a table of the frames mapped there.
#pragma once

#include "lock.h"
#include "rewrite.h"

struct windows;

struct port_aspace {
	struct hosted_lock lock; // guards the table
	uint64_t *root;          // of the table, as a page table: NULL as long as no frame was mapped
	size_t table_pages;
	int32_t tgid;     // host process that has it; 0: not active yet, or gone. Atomic
	uint32_t threads; // host threads that run in it; atomic
	uint32_t refs;    // those, and the kernel's until port_aspace_destroy(); atomic
	bool refused;     // the host has refused to map a frame where the table has it, some time; atomic
	struct hosted_lock windows_lock; // window.c
	struct windows *windows;         // NULL before the first; atomic
	struct rewriting rewriting;
};

void hosted_aspace_enter(struct port_aspace *as); // a thread more
void hosted_aspace_leave(
	struct port_aspace *as); // one less; the last one's host process is no longer the address space's
// After a fault that the kernel has served: does the host have the frame at `va` as the table says? If it had refused to map it, it is
// asked again. True where there is none.
bool hosted_aspace_agrees(struct port_aspace *as, uint64_t va);
int hosted_memory_init(void); // boot: what the loader has left around is unmapped. -errno
