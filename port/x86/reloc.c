// SPDX-License-Identifier: Apache-2.0
// See reloc.h.
#include "reloc.h"

bool elf_relocate(const Elf64_Rela *rela, size_t count, uint64_t link_base, uintptr_t memory, uint64_t link_start,
		  uint64_t link_end, uint64_t slide)
{
	for (size_t i = 0; i < count; i++) {
		if (ELF64_R_TYPE(rela[i].r_info) == R_X86_64_NONE)
			continue;
		if (ELF64_R_TYPE(rela[i].r_info) != R_X86_64_RELATIVE || rela[i].r_offset < link_start ||
		    rela[i].r_offset > link_end - sizeof(uint64_t))
			return false;
		*(uint64_t *)(memory + (rela[i].r_offset - link_base)) = (uint64_t)rela[i].r_addend + slide;
	}
	return true;
}
