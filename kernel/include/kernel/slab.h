// SPDX-License-Identifier: Apache-2.0
// Object caches and general allocation, with per-CPU magazines. Owner: kernel/mm/slab.c. Sleeps unless the name says
// atomic; memory is zeroed. Debug builds poison freed objects.
#pragma once

#include "kernel/types.h"

struct slab_cache;

void slab_init(void); // boot CPU, after page_init()

struct slab_cache *slab_cache_create(const char *name, size_t object_size,
				     size_t alignment); // boot only; never fails after boot
void *slab_alloc(struct slab_cache *c);                 // zeroed, or NULL
void *slab_alloc_atomic(struct slab_cache *c);          // under spinlocks: may fail under pressure
void slab_free(struct slab_cache *c, void *object);

void *kalloc(size_t size);        // zeroed, or NULL; any size (whole pages from 8 KiB up)
void *kalloc_atomic(size_t size); // under spinlocks: may fail under pressure
void kfree(void *p);              // NULL is fine; any context
size_t kalloc_size(const void *p);
char *kstrdup(const char *s);
static inline void *kalloc_array(size_t count, size_t size)
{
	size_t bytes;
	return __builtin_mul_overflow(count, size, &bytes) ? NULL : kalloc(bytes);
}

// For /proc/slabinfo and the leak check.
struct slab_info {
	const char *name;
	size_t object_bytes;
	unsigned objects_per_slab, pages_per_slab;
	uint64_t slabs, objects_used, objects_total; // used: given out, not yet freed
};
bool slab_info_get(unsigned index, struct slab_info *out); // false past the last cache
