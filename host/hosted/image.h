// SPDX-License-Identifier: Apache-2.0
// The kernel image of port hosted, as a file: a static PIE whose read-only segments come first. Everything is checked here, so
// that placing it in memory cannot fail for the image's sake.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IMAGE_MAX_BYTES   (64u << 20)
#define IMAGE_LOADS_MAX   64u
#define IMAGE_PAGE_BYTES  UINT64_C(4096)
#define IMAGE_RELOCS_MAX  (1u << 20)
#define IMAGE_PHDRS_BYTES 65536u

// Addresses are offsets from the image's start, which is page aligned.
struct image_load {
	uint64_t start, size_bytes;       // in memory; start need not be page aligned
	uint64_t file_offset, file_bytes; // file_offset and start are equal modulo the page size
	bool writable, executable;
};

struct image {
	const unsigned char *file; // the caller's, as long as the image is used
	size_t file_size;
	struct image_load loads[IMAGE_LOADS_MAX]; // ascending; no two share a page, the read-only ones first
	unsigned load_count;
	uint64_t link_start;           // what was subtracted from the file's addresses
	uint64_t text_start, text_end; // of the one executable segment
	uint64_t data_start;           // page aligned: the first writable segment
	uint64_t end;                  // page aligned
	uint64_t entry;
	uint64_t relro_start, relro_end; // page aligned: read-only once it is relocated; may be empty
	const unsigned char *relocs;     // Elf64_Rela in the file, unaligned
	size_t reloc_count;
};

// NULL, or why it is no kernel image.
const char *image_parse(const void *file, size_t size, struct image *out);

// Writes the writable segments' contents to `data`, (end - data_start) zeroed bytes, relocated for an image that starts at address
// `base`.
void image_fill_data(const struct image *image, uint64_t base, unsigned char *data);
