// SPDX-License-Identifier: Apache-2.0
// Anonymous memory: its first touch, its making and unmaking.
#define _GNU_SOURCE
#include "micro.h"

#include <sys/mman.h>

static void faults(long count)
{
	size_t size = count * 4096ul;
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		die("mmap");
	madvise(memory, size, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < size; i += 4096)
		*(volatile char *)(memory + i) = 1;
	munmap(memory, size);
}

// 64 KiB, not touched.
static void mmap_munmaps(long count)
{
	for (long i = 0; i < count; i++) {
		char *memory = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (memory == MAP_FAILED)
			die("mmap");
		if (munmap(memory, 65536) < 0)
			die("munmap");
	}
}

static const struct measure list[] = {
	{ "fault", 4000, faults, NULL, NULL },
	{ "mmap_munmap", 10000, mmap_munmaps, NULL, NULL },
};
const struct measures memory_measures = { list, sizeof(list) / sizeof(list[0]) };
