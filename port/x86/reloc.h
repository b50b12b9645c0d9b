// SPDX-License-Identifier: Apache-2.0
// Self-relocation of the static PIE. Source: System V ABI, AMD64 supplement, R_X86_64_RELATIVE.
#pragma once

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Adds `slide` to every relocated word. A word linked at address v is found at v - `link_base` + `memory`; the image
// spans [link_start, link_end). False, with words possibly changed, on any other relocation or address.
bool elf_relocate(const Elf64_Rela *rela, size_t count, uint64_t link_base, uintptr_t memory, uint64_t link_start,
		  uint64_t link_end, uint64_t slide);
