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

enum page_flag {          // atomic bits in page->flags
	PAGE_LOCKED,      // page_lock()
	PAGE_UPTODATE,    // contents are what the file says
	PAGE_DIRTY,       // to be written back; together with the object's dirty mark
	PAGE_WRITEBACK,   // being written
	PAGE_ERROR,       // reading failed
	PAGE_ACTIVE,      // used since reclaim last looked
	PAGE_SLAB,        // object: its struct slab_cache
	PAGE_WAITERS,     // somebody sleeps for LOCKED or WRITEBACK to go
	PAGE_SHARED_ZONE, // lies in the device-visible window; constant
	PAGE_BUDDY,       // head of a free block; zone lock
	PAGE_CHARGED,     // allocated with PAGE_USER
	PAGE_CACHE,       // was put into a memory object (never cleared before the page is freed): no anonymous page
	PAGE_TABLE,       // a port's page table
};

struct page {
	uint32_t flags;
	struct refcount refs; // owners: page tables (one each), page cache (one), whoever holds it now
	uint16_t order;
	uint16_t zone;
	uint32_t count;      // owner's (slab: objects in use)
	struct mobj *object; // page cache: the memory object, guarded by object->lock; else owner's
	uint64_t index;      // page cache: page number in the object
	struct list lru;     // free list, reclaim list, or owner's
	uint64_t private;    // owner's
};

#define PAGE_ZERO   1u  // zeroed
#define PAGE_SHARED 2u  // prefer the device-visible window (PAGE_ZONE_SHARED); falls back to normal memory
#define PAGE_DEVICE 4u  // must be in the window, physically contiguous for the order
#define PAGE_ATOMIC 8u  // do not sleep or reclaim
#define PAGE_USER   16u // charged as user memory: the last reserve is refused, OOM killer instead
#define PAGE_NO_OOM 32u // with PAGE_USER: rather fail than kill (read-ahead and other guesses)

#define PAGE_ORDER_MAX 10u // largest block: 4 MiB

// Takes over port_memory_ranges(). Boot, once, before anything allocates.
void page_init(void);

struct page *page_alloc(unsigned order, unsigned flags); // NULL: out of memory. refs = 1
void page_free(struct page *p);                          // refs was put to zero by the caller, order as allocated
static inline void page_get(struct page *p) { refcount_get(&p->refs); }
static inline void page_put(struct page *p)
{
	if (refcount_put(&p->refs))
		page_free(p);
}
paddr_t page_to_frame(const struct page *p);
struct page *page_from_frame(paddr_t frame);         // NULL when no page of the allocator
struct page *page_from_address(const void *address); // of a direct-mapped address
void *page_address(const struct page *p);
static inline bool page_test(const struct page *p, enum page_flag f)
{
	return __atomic_load_n(&p->flags, __ATOMIC_ACQUIRE) >> f & 1;
}
static inline bool page_test_set(struct page *p, enum page_flag f)
{
	return __atomic_fetch_or(&p->flags, 1u << f, __ATOMIC_ACQ_REL) >> f & 1;
}
static inline bool page_test_clear(struct page *p, enum page_flag f)
{
	return __atomic_fetch_and(&p->flags, ~(1u << f), __ATOMIC_ACQ_REL) >> f & 1;
}
void page_lock(struct page *p); // sleeps; pairs with page_unlock; guards contents state (uptodate, dirty, truncation)
bool page_try_lock(struct page *p);
void page_unlock(struct page *p); // any context
void page_wait_unlocked(struct page *p);
void page_wait_writeback(struct page *p);

struct page_stats {
	uint64_t total_pages, free_pages, cached_pages, dirty_pages, slab_pages, anonymous_pages, table_pages,
		shared_pages;
	uint64_t writeback_pages; // of dirty_pages' kind: on their way to the device
	uint64_t shmem_pages;     // of cached_pages: tmpfs and shared anonymous memory, which cannot be dropped
	uint64_t allocations, frees, reclaimed, oom_kills;
	uint64_t untouched_pages; // of free_pages: never used since boot
};
void page_stats_get(struct page_stats *out);

// Drops what can be dropped: clean cache pages and empty slabs; `write` writes dirty pages back first. For the leak check and
// /proc/sys/vm/drop_caches. Sleeps. Pages freed.
uint64_t page_drop_caches(bool write);
// A cache outside mm that can give memory back (dentries): called when memory is short; frees up to about `target` pages' worth of
// objects, returns how many pages it may have freed (0: nothing left). May sleep; must only try locks a caller of kalloc() may hold. Boot.
void reclaim_register(uint64_t (*shrink)(uint64_t target));
