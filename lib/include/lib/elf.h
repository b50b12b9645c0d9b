// SPDX-License-Identifier: Apache-2.0
// Parser of x86-64 ELF executables and shared objects (System V ABI gABI ch. 4-5, <linux/elf.h>). Works on the first
// bytes of a file as read from an untrusted source; never reads outside what it was given.
#pragma once

#include <linux/elf.h>

#include "lib/compiler.h"

#define ELF_SEGMENTS_MAX 64u // more PT_LOADs than any linker makes; beyond: -ENOEXEC

struct elf_segment {
	uint64_t vaddr, file_offset, file_size, memory_size;
	uint32_t flags; // PF_R | PF_W | PF_X
};

struct elf_image {
	bool position_independent; // ET_DYN
	uint64_t entry;
	uint64_t phdr_vaddr; // of the program headers in memory (unrelocated), 0 = not mapped
	uint64_t phdr_offset;
	uint16_t phdr_count;
	uint64_t load_start, load_end;       // page aligned span of all PT_LOADs
	uint64_t alignment;                  // largest PT_LOAD alignment, a power of two, >= 4096
	uint64_t interp_offset, interp_size; // PT_INTERP; size 0 = static
	bool exec_stack;
	unsigned segment_count;
	struct elf_segment segments[ELF_SEGMENTS_MAX];
};

// Checks the file header: 0 and the program header table's place, -ENOEXEC when no x86-64 ELF program,
// -EINVAL (ELF of another machine counts as -ENOEXEC too).
int elf_parse_header(const void *data, size_t size, struct elf_image *out, size_t *phdr_bytes);
// Parses the program headers (phdr_bytes from elf_parse_header). -ENOEXEC on overlap, overflow, absurd sizes.
int elf_parse_segments(const void *phdrs, size_t size, struct elf_image *image);
