// SPDX-License-Identifier: Apache-2.0
// Fuzzes the ELF parser: whatever a file contains, what it accepts must make sense.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/elf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct elf_image image;
	size_t phdr_bytes = 0;

	memset(&image, 0, sizeof(image));
	if (elf_parse_header(data, size, &image, &phdr_bytes) != 0)
		return 0;
	// The program headers may lie anywhere in the file; give exactly as much as is there.
	if (image.phdr_offset > size || phdr_bytes > size - image.phdr_offset)
		return 0;
	uint8_t *headers = malloc(phdr_bytes ? phdr_bytes : 1);
	memcpy(headers, data + image.phdr_offset, phdr_bytes);
	if (elf_parse_segments(headers, phdr_bytes, &image) == 0) {
		if (image.segment_count == 0 || image.segment_count > ELF_SEGMENTS_MAX ||
		    image.load_start > image.load_end || image.load_start % 4096 || image.load_end % 4096 ||
		    image.alignment < 4096 || (image.alignment & (image.alignment - 1)))
			abort();
		uint64_t last = 0;
		for (unsigned i = 0; i < image.segment_count; i++) {
			const struct elf_segment *s = &image.segments[i];
			if (s->file_size > s->memory_size || s->vaddr + s->memory_size < s->vaddr || s->vaddr < last ||
			    s->vaddr < image.load_start || s->vaddr + s->memory_size > image.load_end ||
			    s->file_offset + s->file_size < s->file_offset)
				abort();
			last = s->vaddr + s->memory_size;
		}
	}
	free(headers);
	return 0;
}
