// SPDX-License-Identifier: Apache-2.0
// ELF parser. Everything in the file is hostile: each field is bounded before it is used, sums are checked for overflow.
#include "lib/elf.h"
#include "lib/string.h"

#include <linux/errno.h>

#define PAGE        UINT64_C(4096)
#define ADDRESS_MAX (UINT64_C(1) << 47)

int elf_parse_header(const void *data, size_t size, struct elf_image *out, size_t *phdr_bytes)
{
	Elf64_Ehdr h;

	if (size < sizeof(h))
		return -ENOEXEC;
	memcpy(&h, data, sizeof(h));
	if (memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 || h.e_ident[EI_CLASS] != ELFCLASS64 ||
	    h.e_ident[EI_DATA] != ELFDATA2LSB)
		return -ENOEXEC;
	if (h.e_machine != EM_X86_64 || (h.e_type != ET_EXEC && h.e_type != ET_DYN))
		return -ENOEXEC;
	if (h.e_phentsize != sizeof(Elf64_Phdr) || h.e_phnum == 0 || h.e_phnum > 65536 / sizeof(Elf64_Phdr))
		return -ENOEXEC;
	if (h.e_phoff > INT64_MAX - 65536)
		return -ENOEXEC;
	memset(out, 0, sizeof(*out));
	out->position_independent = h.e_type == ET_DYN;
	out->entry = h.e_entry;
	out->phdr_offset = h.e_phoff;
	out->phdr_count = h.e_phnum;
	*phdr_bytes = h.e_phnum * sizeof(Elf64_Phdr);
	return 0;
}

static int add_load(struct elf_image *image, const Elf64_Phdr *p)
{
	uint64_t end, file_end;

	if (p->p_memsz == 0)
		return 0;
	if (p->p_filesz > p->p_memsz || image->segment_count == ELF_SEGMENTS_MAX)
		return -ENOEXEC;
	if (__builtin_add_overflow(p->p_vaddr, p->p_memsz, &end) || end > ADDRESS_MAX)
		return -ENOEXEC;
	if (__builtin_add_overflow(p->p_offset, p->p_filesz, &file_end) || file_end > INT64_MAX)
		return -ENOEXEC;
	if ((p->p_vaddr - p->p_offset) % PAGE != 0)
		return -ENOEXEC;
	if (p->p_align & (p->p_align - 1))
		return -ENOEXEC;
	if (image->segment_count) {
		const struct elf_segment *last = &image->segments[image->segment_count - 1];
		if (p->p_vaddr < last->vaddr + last->memory_size) // PT_LOADs ascend and do not overlap
			return -ENOEXEC;
	} else {
		image->load_start = p->p_vaddr & ~(PAGE - 1);
	}
	image->segments[image->segment_count++] = (struct elf_segment){
		.vaddr = p->p_vaddr,
		.file_offset = p->p_offset,
		.file_size = p->p_filesz,
		.memory_size = p->p_memsz,
		.flags = p->p_flags,
	};
	image->load_end = (end + PAGE - 1) & ~(PAGE - 1);
	if (p->p_align > image->alignment && p->p_align <= (UINT64_C(1) << 30))
		image->alignment = p->p_align;
	return 0;
}

// Where the program headers are mapped: PT_PHDR, or the segment that contains them.
static void find_phdrs(struct elf_image *image)
{
	uint64_t end = image->phdr_offset + image->phdr_count * sizeof(Elf64_Phdr);

	for (unsigned i = 0; i < image->segment_count && !image->phdr_vaddr; i++) {
		const struct elf_segment *s = &image->segments[i];
		if (image->phdr_offset >= s->file_offset && end <= s->file_offset + s->file_size)
			image->phdr_vaddr = s->vaddr + (image->phdr_offset - s->file_offset);
	}
}

int elf_parse_segments(const void *phdrs, size_t size, struct elf_image *image)
{
	image->alignment = PAGE;
	image->exec_stack = false; // without PT_GNU_STACK too: Linux since 5.8, on CPUs with NX
	if (size < image->phdr_count * sizeof(Elf64_Phdr))
		return -ENOEXEC;
	for (unsigned i = 0; i < image->phdr_count; i++) {
		Elf64_Phdr p;
		memcpy(&p, (const char *)phdrs + i * sizeof(p), sizeof(p));
		switch (p.p_type) {
		case PT_LOAD: {
			int error = add_load(image, &p);
			if (error)
				return error;
			break;
		}
		case PT_INTERP:
			if (image->interp_size || p.p_filesz < 2 || p.p_filesz > 4096 || p.p_offset > INT64_MAX - 4096)
				return -ENOEXEC;
			image->interp_offset = p.p_offset;
			image->interp_size = p.p_filesz;
			break;
		case PT_GNU_STACK: image->exec_stack = p.p_flags & PF_X; break;
		}
	}
	if (!image->segment_count)
		return -ENOEXEC;
	find_phdrs(image);
	return 0;
}
