// SPDX-License-Identifier: Apache-2.0
// Fuzzes the loader's parser of kernel images: what it accepts must be possible to place, with every relocation within the
// writable segments.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "hosted/image.h"

static void check(const struct image *im)
{
	uint64_t last = 0;

	if (im->load_count == 0 || im->load_count > IMAGE_LOADS_MAX || im->end > IMAGE_MAX_BYTES || im->end % 4096)
		abort();
	for (unsigned i = 0; i < im->load_count; i++) {
		const struct image_load *l = &im->loads[i];

		if (l->start / 4096 * 4096 < last || l->start + l->size_bytes > im->end ||
		    l->file_bytes > l->size_bytes || l->file_offset + l->file_bytes > im->file_size ||
		    (l->start - l->file_offset) % 4096)
			abort();
		if (l->writable && (l->executable || l->start < im->data_start))
			abort();
		if (!l->writable && l->start + l->size_bytes > im->data_start)
			abort();
		last = (l->start + l->size_bytes + 4095) / 4096 * 4096;
	}
	if (im->entry < im->text_start || im->entry >= im->text_end || im->text_end > im->data_start ||
	    im->data_start % 4096 || im->data_start >= im->end)
		abort();
	if (im->relro_start != im->relro_end &&
	    (im->relro_start > im->relro_end || im->relro_start < im->data_start || im->relro_end > im->end))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct image image;

	if (image_parse(data, size, &image))
		return 0;
	check(&image);
	unsigned char *memory = calloc(1, image.end - image.data_start);
	image_fill_data(&image, UINT64_C(0x7f0000000000), memory);
	free(memory);
	return 0;
}
