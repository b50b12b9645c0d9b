// SPDX-License-Identifier: Apache-2.0
// The handoff: what a loader (the ROM, or the kernel's own PVH entry) tells the x86 kernel about the machine.
//
// The loader enters the kernel's ELF entry point in 64-bit mode: interrupts off, the first 4 GiB identity-mapped by page
// tables in [HANDOFF_TABLES, HANDOFF_TABLES + 6 pages), and RDI = physical address of struct handoff. The kernel's
// PT_LOAD segments stand at their physical addresses with their BSS cleared; nothing is relocated.
#pragma once

#include <assert.h>
#include <stdint.h>

#define HANDOFF_MAGIC   UINT64_C(0x31444e4148534c43) // "CLSHAND1"
#define HANDOFF_VERSION 1u

// Low memory the loader and the start of the other CPUs use; never handed to the kernel's allocator.
#define HANDOFF_TABLES     UINT64_C(0x10000) // PML4, PDPT, four page directories (PVH loaders use what is below)
#define HANDOFF_TRAMPOLINE UINT64_C(0x8000)  // real-mode start of the other CPUs, one page
#define HANDOFF_ADDRESS    UINT64_C(0x9000)  // struct handoff
#define HANDOFF_SCRATCH    UINT64_C(0xa000)  // loader's buffers
#define HANDOFF_STACK_TOP  UINT64_C(0x20000)

// Where loaders put things: the image in [1 MiB, 4 MiB), the boot record from 4 MiB on.
#define HANDOFF_KERNEL_START UINT64_C(0x100000)
#define HANDOFF_KERNEL_LIMIT UINT64_C(0x400000)
#define HANDOFF_RECORD       UINT64_C(0x400000)

// fw_cfg files of the ROM.
#define HANDOFF_FILE_KERNEL "opt/cloister/kernel"
#define HANDOFF_FILE_RECORD "opt/cloister/boot"

struct handoff {
	uint64_t magic;
	uint32_t version;
	uint32_t size_bytes;
	uint64_t record_start, record_size_bytes; // physical; size 0: no boot record
	uint64_t low_ram_end;                     // RAM [1 MiB, low_ram_end) below 4 GiB
	uint64_t high_ram_end;                    // RAM [4 GiB, high_ram_end), or 0
	uint32_t cpu_count;                       // present at start
	uint32_t apic_id_limit;                   // local APIC identifiers are below this
};
static_assert(sizeof(struct handoff) == 56, "handoff layout");
