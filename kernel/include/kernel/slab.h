// SPDX-License-Identifier: Apache-2.0
// Object caches and general allocation, with per-CPU magazines. Owner: kernel/mm/slab.c. Sleeps unless the name says
// atomic; memory is zeroed. Debug builds poison freed objects.
#pragma once

#include "kernel/types.h"

struct slab_cache;

struct slab_cache *slab_cache_create(const char *name, size_t object_size, size_t alignment); // boot only; never fails after boot
void *slab_alloc(struct slab_cache *c); // zeroed, or NULL
void slab_free(struct slab_cache *c, void *object);

void *kalloc(size_t size);        // zeroed, or NULL; any size (whole pages from 8 KiB up)
void *kalloc_atomic(size_t size); // under spinlocks: may fail under pressure
void kfree(void *p);              // NULL is fine
size_t kalloc_size(const void *p);
char *kstrdup(const char *s);
static inline void *kalloc_array(size_t count, size_t size)
{
	size_t bytes;
	return __builtin_mul_overflow(count, size, &bytes) ? NULL : kalloc(bytes);
}
