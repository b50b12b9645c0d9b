// SPDX-License-Identifier: Apache-2.0
// Page frames: descriptor, allocator. Owner: kernel/mm/page.c. Buddy allocator with per-CPU caches; frames never used
// yet are handed out from a frontier, so that boot does not touch all of memory.
//
// Lock order: mobj.lock -> zone lock. page_alloc() may reclaim and therefore sleep unless PAGE_ATOMIC.
#pragma once

#include "kernel/refcount.h"
#include "kernel/types.h"
#include "lib/list.h"

struct mobj;

enum page_flag { // atomic bits in page->flags
	PAGE_LOCKED, PAGE_UPTODATE, PAGE_DIRTY, PAGE_WRITEBACK, PAGE_ERROR, PAGE_ACTIVE, PAGE_SLAB, PAGE_WAITERS, PAGE_SHARED_ZONE,
};

struct page {
	uint32_t flags;
	struct refcount refs; // owners: page tables (one each), page cache (one), whoever holds it now
	int32_t map_count;    // page tables that map it; atomic
	uint16_t order;
	uint16_t zone;
	struct mobj *object;  // page cache: the memory object, guarded by object->lock; else owner's
	uint64_t index;       // page cache: page number in the object
	struct list lru;      // free list, reclaim list, or owner's
	uint64_t private;     // owner's
};

#define PAGE_ZERO   1u // zeroed
#define PAGE_SHARED 2u // prefer the device-visible window (PAGE_ZONE_SHARED); falls back to normal memory
#define PAGE_DEVICE 4u // must be in the window, physically contiguous for the order
#define PAGE_ATOMIC 8u // do not sleep or reclaim
#define PAGE_USER   16u // charged as user memory: the last reserve is refused, OOM killer instead

struct page *page_alloc(unsigned order, unsigned flags); // NULL: out of memory. refs = 1
void page_free(struct page *p);                           // refs was put to zero by the caller, order as allocated
static inline void page_get(struct page *p) { refcount_get(&p->refs); }
static inline void page_put(struct page *p)
{
	if (refcount_put(&p->refs))
		page_free(p);
}
paddr_t page_to_frame(const struct page *p);
struct page *page_from_frame(paddr_t frame);
void *page_address(const struct page *p);
static inline bool page_test(const struct page *p, enum page_flag f) { return __atomic_load_n(&p->flags, __ATOMIC_ACQUIRE) >> f & 1; }
static inline bool page_test_set(struct page *p, enum page_flag f) { return __atomic_fetch_or(&p->flags, 1u << f, __ATOMIC_ACQ_REL) >> f & 1; }
static inline bool page_test_clear(struct page *p, enum page_flag f) { return __atomic_fetch_and(&p->flags, ~(1u << f), __ATOMIC_ACQ_REL) >> f & 1; }
void page_lock(struct page *p); // sleeps; pairs with page_unlock; guards contents state (uptodate, dirty, truncation)
bool page_try_lock(struct page *p);
void page_unlock(struct page *p);
void page_wait_writeback(struct page *p);

struct page_stats {
	uint64_t total_pages, free_pages, cached_pages, dirty_pages, slab_pages, anonymous_pages, table_pages, shared_pages;
};
void page_stats_get(struct page_stats *out);
