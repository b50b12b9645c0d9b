// SPDX-License-Identifier: Apache-2.0
// Fakes for the unit tests of kernel/proc: memory from malloc, locks that only check their pairing, a current task. Include once.
#pragma once

#include "internal.h"
#include "kernel/init.h"

#include "port/fake.h"
#include "port/fake_spinlock.h"

struct slab_cache {
	size_t size;
};

void kernel_assert_failed(const char *expression, const char *file, int line);

struct slab_cache *slab_cache_create(const char *name, size_t size, size_t alignment)
{
	struct slab_cache *c = calloc(1, sizeof(*c)); // lives as long as the test
	(void)name;
	(void)alignment;
	c->size = size;
	return c;
}
void *slab_alloc(struct slab_cache *c) { return calloc(1, c->size); }
void slab_free(struct slab_cache *c, void *object)
{
	(void)c;
	free(object);
}
void *kalloc(size_t size) { return calloc(1, size); }
void *kalloc_atomic(size_t size) { return calloc(1, size); }
void kfree(void *p) { free(p); }

void spin_lock_slow(struct spinlock *l) { (void)l; }

extern const struct init_entry __start_init_table_1[] __attribute__((weak));
extern const struct init_entry __stop_init_table_1[] __attribute__((weak));
static inline void fake_run_init(void)
{
	for (const struct init_entry *e = __start_init_table_1; e < __stop_init_table_1; e++)
		e->fn();
}

uint64_t port_user_end(void) { return UINT64_C(0x7ffffffff000); }
