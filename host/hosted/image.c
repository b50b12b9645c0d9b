// SPDX-License-Identifier: Apache-2.0
// Sources: System V ABI, gABI chapter 5 (dynamic section, relocation), AMD64 supplement 4.4.
#include "hosted/image.h"

#include "lib/elf.h"

#include <string.h>

#define R_X86_64_NONE     0
#define R_X86_64_RELATIVE 8
#define DT_RELRSZ         35 // <linux/elf.h> is older

static_assert(IMAGE_LOADS_MAX >= ELF_SEGMENTS_MAX, "room for every segment");

static uint64_t page_down(uint64_t v) { return v & ~(IMAGE_PAGE_BYTES - 1); }
static uint64_t page_up(uint64_t v) { return page_down(v + IMAGE_PAGE_BYTES - 1); }

// ---- segments ----

// The order, and that protections never meet in a page.
static const char *check_order(const struct image *im, const struct image_load *l)
{
	const struct image_load *last = im->load_count ? &im->loads[im->load_count - 1] : NULL;

	if (last && page_up(last->start + last->size_bytes) > page_down(l->start))
		return "two segments share a page";
	if (l->writable && l->executable)
		return "a segment is writable and executable";
	if (last && last->writable && !l->writable)
		return "a read-only segment follows a writable one";
	if (l->executable && im->text_end)
		return "more than one executable segment";
	return NULL;
}

static const char *add_load(struct image *im, const struct elf_segment *s)
{
	struct image_load l = {
		.start = s->vaddr - im->link_start,
		.size_bytes = s->memory_size,
		.file_offset = s->file_offset,
		.file_bytes = s->file_size,
		.writable = s->flags & PF_W,
		.executable = s->flags & PF_X,
	};
	const char *why = check_order(im, &l);

	if (why)
		return why;
	if (!(s->flags & PF_R))
		return "a segment is not readable";
	if (l.file_offset > im->file_size || l.file_bytes > im->file_size - l.file_offset)
		return "a segment lies outside the file";
	if (!l.writable && l.file_bytes != l.size_bytes)
		return "a read-only segment is larger than its file part";
	if (l.executable) {
		im->text_start = l.start;
		im->text_end = l.start + l.size_bytes;
	}
	if (l.writable && !im->data_start)
		im->data_start = page_down(l.start);
	im->loads[im->load_count++] = l;
	return NULL;
}

static const char *take_segments(struct image *im, const struct elf_image *elf)
{
	im->link_start = elf->load_start;
	if (elf->load_end - elf->load_start > IMAGE_MAX_BYTES)
		return "it is too large";
	im->end = elf->load_end - elf->load_start;
	for (unsigned i = 0; i < elf->segment_count; i++) {
		const char *why = add_load(im, &elf->segments[i]);

		if (why)
			return why;
	}
	if (!im->text_end)
		return "it has no executable segment";
	if (!im->data_start)
		return "it has no writable segment, or nothing before it";
	im->entry = elf->entry - im->link_start;
	if (im->entry < im->text_start || im->entry >= im->text_end)
		return "its entry is not in its text";
	return NULL;
}

// The file's part of [start, start + size) of the memory image; NULL when it is not all in the file part of one segment.
static const unsigned char *file_of(const struct image *im, uint64_t start, uint64_t size)
{
	for (unsigned i = 0; i < im->load_count; i++) {
		const struct image_load *l = &im->loads[i];

		if (start >= l->start && start - l->start <= l->file_bytes &&
		    size <= l->file_bytes - (start - l->start))
			return im->file + l->file_offset + (start - l->start);
	}
	return NULL;
}

// ---- relocations ----

// The writable segment that holds all of [start, start + size); NULL.
static const struct image_load *in_writable(const struct image *im, uint64_t start, uint64_t size)
{
	for (unsigned i = 0; i < im->load_count; i++) {
		const struct image_load *l = &im->loads[i];

		if (l->writable && start >= l->start && start - l->start <= l->size_bytes &&
		    size <= l->size_bytes - (start - l->start))
			return l;
	}
	return NULL;
}

static Elf64_Rela reloc_at(const struct image *im, size_t i)
{
	Elf64_Rela r;

	memcpy(&r, im->relocs + i * sizeof(r), sizeof(r));
	return r;
}

static const char *check_relocs(const struct image *im)
{
	for (size_t i = 0; i < im->reloc_count; i++) {
		Elf64_Rela r = reloc_at(im, i);

		if (ELF64_R_TYPE(r.r_info) == R_X86_64_NONE)
			continue;
		if (ELF64_R_TYPE(r.r_info) != R_X86_64_RELATIVE || ELF64_R_SYM(r.r_info))
			return "it has a relocation that is not relative";
		if (!in_writable(im, r.r_offset - im->link_start, sizeof(uint64_t)))
			return "it has a relocation in read-only memory";
	}
	return NULL;
}

static const char *take_dynamic(struct image *im, const unsigned char *entries, size_t size)
{
	uint64_t relocs = 0, bytes = 0, entry_bytes = sizeof(Elf64_Rela);

	for (size_t at = 0; at + sizeof(Elf64_Dyn) <= size; at += sizeof(Elf64_Dyn)) {
		Elf64_Dyn d;

		memcpy(&d, entries + at, sizeof(d));
		if (d.d_tag == DT_NULL)
			break;
		switch (d.d_tag) {
		case DT_RELA: relocs = d.d_un.d_ptr; break;
		case DT_RELASZ: bytes = d.d_un.d_val; break;
		case DT_RELAENT: entry_bytes = d.d_un.d_val; break;
		case DT_NEEDED: return "it needs a shared library";
		case DT_TEXTREL: return "it has a relocation in read-only memory";
		case DT_RELSZ:
		case DT_PLTRELSZ:
		case DT_RELRSZ:
			if (d.d_un.d_val)
				return "it has relocations of an unknown form";
			break;
		}
	}
	if (!bytes)
		return NULL;
	if (entry_bytes != sizeof(Elf64_Rela) || bytes % sizeof(Elf64_Rela) ||
	    bytes / sizeof(Elf64_Rela) > IMAGE_RELOCS_MAX)
		return "its relocation table is damaged";
	im->relocs = file_of(im, relocs - im->link_start, bytes);
	if (!im->relocs)
		return "its relocation table lies outside the file";
	im->reloc_count = bytes / sizeof(Elf64_Rela);
	return check_relocs(im);
}

// ---- other program headers ----

// It usually begins where its segment does, somewhere in a page; its last page may be shared with other data.
static const char *take_relro(struct image *im, const Elf64_Phdr *p)
{
	uint64_t start = p->p_vaddr - im->link_start;
	const struct image_load *l = in_writable(im, start, p->p_memsz);

	if (!p->p_memsz)
		return NULL;
	if (!l)
		return "its PT_GNU_RELRO is not in a writable segment";
	im->relro_start = start == l->start ? page_down(start) : page_up(start);
	im->relro_end = page_down(start + p->p_memsz);
	if (im->relro_end < im->relro_start)
		im->relro_end = im->relro_start;
	return NULL;
}

static const char *take_header(struct image *im, const Elf64_Phdr *p)
{
	switch (p->p_type) {
	case PT_DYNAMIC:
		if (p->p_offset > im->file_size || p->p_filesz > im->file_size - p->p_offset)
			return "its dynamic section lies outside the file";
		return take_dynamic(im, im->file + p->p_offset, p->p_filesz);
	case PT_GNU_RELRO: return take_relro(im, p);
	case PT_TLS: return "it has thread-local storage";
	default: return NULL;
	}
}

const char *image_parse(const void *file, size_t size, struct image *out)
{
	struct elf_image elf;
	const char *why;
	size_t bytes;

	*out = (struct image){ .file = file, .file_size = size };
	if (elf_parse_header(file, size, &elf, &bytes) || !elf.position_independent)
		return "it is no position-independent x86-64 ELF file";
	if (bytes > IMAGE_PHDRS_BYTES || elf.phdr_offset > size || bytes > size - elf.phdr_offset)
		return "its program headers lie outside the file";
	if (elf_parse_segments(out->file + elf.phdr_offset, bytes, &elf))
		return "its program headers are damaged";
	if (elf.interp_size)
		return "it wants a program interpreter";
	why = take_segments(out, &elf);
	for (unsigned i = 0; !why && i < elf.phdr_count; i++) {
		Elf64_Phdr p;

		memcpy(&p, out->file + elf.phdr_offset + i * sizeof(p), sizeof(p));
		why = take_header(out, &p);
	}
	return why;
}

void image_fill_data(const struct image *im, uint64_t base, unsigned char *data)
{
	for (unsigned i = 0; i < im->load_count; i++) {
		const struct image_load *l = &im->loads[i];

		if (l->writable)
			memcpy(data + (l->start - im->data_start), im->file + l->file_offset, l->file_bytes);
	}
	for (size_t i = 0; i < im->reloc_count; i++) {
		Elf64_Rela r = reloc_at(im, i);
		uint64_t value = base + (uint64_t)r.r_addend - im->link_start;

		if (ELF64_R_TYPE(r.r_info) == R_X86_64_RELATIVE)
			memcpy(data + (r.r_offset - im->link_start - im->data_start), &value, sizeof(value));
	}
}
