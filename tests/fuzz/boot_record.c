// SPDX-License-Identifier: Apache-2.0
// Fuzzes the boot record: the header is made right, so that the items are reached.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/boot_config.h"
#include "kernel/slab.h"
#include "lib/sha256.h"

static void *allocated[4096];
static unsigned allocated_count;

void *kalloc(size_t size)
{
	if (allocated_count == 4096)
		return NULL;
	return allocated[allocated_count++] = calloc(1, size ? size : 1);
}

void kfree(void *p)
{
	for (unsigned i = 0; i < allocated_count; i++)
		if (allocated[i] == p) {
			allocated[i] = allocated[--allocated_count];
			free(p);
			return;
		}
	if (p)
		abort();
}

static void check_strings(const char *const *strings, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (!strings[i] || strlen(strings[i]) > BOOT_RECORD_MAX_BYTES)
			abort();
	if (count && strings[count])
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct boot_config config;
	const char *why = "";
	size_t total = sizeof(struct boot_header) + size;
	// Exactly this much: a read beyond it is caught. 8-byte aligned as the loader places it.
	uint8_t *record = malloc(total);
	struct boot_header header = { .magic = BOOT_MAGIC, .version = BOOT_VERSION, .size_bytes = (uint32_t)total };

	if (size > 0)
		header.item_count = data[0] % 32;
	if (size > 1)
		memcpy(record + sizeof(header), data + 1, size - 1);
	record[total - 1] = 0;
	sha256(record + sizeof(header), size, header.sha256);
	memcpy(record, &header, sizeof(header));
	memset(&config, 0, sizeof(config));
	if (boot_record_parse(record, total, &config, &why) == 0) {
		check_strings(config.argv, config.argc);
		check_strings(config.envp, config.envc);
		for (unsigned i = 0; i < config.mount_count; i++)
			if (strlen(config.mounts[i]->target) == 0 || !memchr(config.mounts[i]->type, 0, 16))
				abort();
	} else if (!why) {
		abort();
	}
	while (allocated_count)
		free(allocated[--allocated_count]);
	free(record);
	return 0;
}
