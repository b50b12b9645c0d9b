// SPDX-License-Identifier: Apache-2.0
// Where things are: the one region of address space that is the kernel's in every process of the cell (abi/hosted.h).
//
//	user_end      windows (window.c): the one part of this that each process has for itself
//	image_start   text and constants, read-only
//	data_start    .data and .bss; offset 0 of memory_fd
//	              hand-off, filter, boot record
//	arena_start   frames: struct page and what the page allocator hands out
//	stacks_start  task blocks (task.h), up to arena_end
//	              their entry areas, each HOSTED_OPEN_BYTES behind its block
//
// A physical address (paddr_t) is an offset in memory_fd.
#pragma once

#include "abi/hosted.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_BYTES       UINT64_C(4096)
#define STACKS_MAX_BYTES (UINT64_C(1) << 30) // 32,768 tasks; at most a quarter of the arena
#define USER_LIMIT       UINT64_C(0x7ffffffff000)

extern struct hosted_handoff hosted; // a checked copy
extern uint64_t hosted_stacks_start;

static_assert(STACKS_MAX_BYTES <= HOSTED_OPEN_BYTES, "entry areas stand behind all blocks");

// Linker script.
extern char hosted_image_start[], hosted_text_end[], hosted_data_start[], hosted_image_end[];

static inline int in_kernel_text(uint64_t ip) { return ip - hosted.text_start < hosted.text_end - hosted.text_start; }
