// SPDX-License-Identifier: Apache-2.0
// Saturating reference counts.
#pragma once

#include "lib/compiler.h"

struct refcount {
	int32_t count;
};

static inline void refcount_set(struct refcount *r, int32_t n) { __atomic_store_n(&r->count, n, __ATOMIC_RELAXED); }
static inline int32_t refcount_read(const struct refcount *r) { return __atomic_load_n(&r->count, __ATOMIC_RELAXED); }
static inline void refcount_get(struct refcount *r)
{
	int32_t old = __atomic_fetch_add(&r->count, 1, __ATOMIC_RELAXED);
	assert(old > 0);
	(void)old;
}
// Takes a reference unless the count is already zero (lookups in tables that hold none).
static inline bool refcount_get_unless_zero(struct refcount *r)
{
	int32_t old = refcount_read(r);
	while (old > 0)
		if (__atomic_compare_exchange_n(&r->count, &old, old + 1, true, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return true;
	return false;
}
// Drops a reference; true when it was the last: the caller destroys. Orders all earlier accesses before that.
static inline bool must_check refcount_put(struct refcount *r)
{
	int32_t old = __atomic_fetch_sub(&r->count, 1, __ATOMIC_ACQ_REL);
	assert(old > 0);
	return old == 1;
}
