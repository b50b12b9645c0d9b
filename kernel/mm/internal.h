// SPDX-License-Identifier: Apache-2.0
// What the files of kernel/mm share among themselves.
#pragma once

#include "kernel/mm.h"
#include "kernel/page.h"
#include "kernel/types.h"

// ---- page.c ----

// Free pages of all zones, per-CPU caches left out. A racy sum.
uint64_t page_free_count(void);
uint64_t page_total_count(void);
// The amount below which reclaim should work ahead.
uint64_t page_low_watermark(void);
// Gives the pages in per-CPU caches back to the zones, so that they can merge and count as free.
void page_drain_caches(void);

void page_free_batch(struct page **pages, unsigned count); // references already put to zero
void page_charge_adjust(int64_t pages);                    // counts pages as user memory that were not allocated so

enum mm_counter { // monotonic or balanced event counts; atomic
	COUNT_CACHED,
	COUNT_SHMEM,
	COUNT_DIRTY,
	COUNT_WRITEBACK,
	COUNT_SLAB,
	COUNT_TABLES,
	COUNT_RECLAIMED,
	COUNT_OOM_KILLS,
	MM_COUNTERS,
};
extern int64_t mm_counters[MM_COUNTERS];
static inline void mm_count(enum mm_counter c, int64_t n) { __atomic_fetch_add(&mm_counters[c], n, __ATOMIC_RELAXED); }
static inline int64_t mm_counted(enum mm_counter c) { return __atomic_load_n(&mm_counters[c], __ATOMIC_RELAXED); }

// ---- page_lock.c ----

void page_lock_init(void);
void page_clear_and_wake(struct page *p, enum page_flag f);

// ---- reclaim.c ----

// Puts a page-cache page under reclaim's eye, or takes it away (with reclaim not holding it on return).
void reclaim_add(struct page *p);
void reclaim_remove(struct page *p);
// Frees up to `target` clean cache pages, preferring those of the device window when `shared`. remember: memory is short, and whoever
// waits for one of them soon is thrashing (thrash.c). Sleeps. Pages freed.
uint64_t reclaim_pages(uint64_t target, bool shared, bool remember);
// Called when an allocation of `order` found nothing: reclaims, writes back, kills. True: try again.
bool reclaim_for_allocation(unsigned order, unsigned flags, unsigned attempt);

// Pages of files in the cache that could be dropped without writing. A racy estimate.
uint64_t reclaim_clean_count(void);

// ---- thrash.c ----

void thrash_note_dropped(const struct mobj *o, uint64_t index);
// A fault will wait for a page of a file. True: it was dropped a moment ago; call thrash_wait_end() when the page is there, which may kill
// the greediest process. No spinlock may be held.
bool thrash_wait_begin(const struct mobj *o, uint64_t index);
void thrash_wait_end(void);

// ---- writeback.c ----

void writeback_kick(void); // write now: memory is short
void writeback_start(void);
void writeback_sync_all(void);                     // writes everything that is dirty, and waits
bool writeback_is_flusher(void);                   // does the flusher task run this?
bool writeback_wait_progress(uint64_t timeout_ns); // false: nothing is dirty
void writeback_throttle(struct mobj *o);           // a writer made pages dirty
void mobj_dirty_list_add(struct mobj *o);
void mobj_dirty_list_remove(struct mobj *o); // and waits until the flusher let go

// ---- slab.c ----

uint64_t slab_reclaim(void); // frees empty slabs; pages
void slab_init(void);

// ---- oom.c ----

struct process;
uint64_t process_oom_score_locked(struct process *p);
void oom_forget(struct mm *mm); // it was torn down: no victim to wait for any more

// ---- mobj.c ----

// Inserts a locked or ready page at `index`; takes the cache's reference. -EEXIST (another came first), -ENOMEM, -ENOSPC.
int mobj_insert(struct mobj *o, uint64_t index, struct page *p);
struct page *mobj_find(struct mobj *o, uint64_t index); // reference, or NULL; whatever its state
static inline bool mobj_has_backing(const struct mobj *o) { return o->ops && o->ops->read_pages; }
static inline bool mobj_tracks_dirty(const struct mobj *o) { return o->ops && o->ops->write_pages; }
static inline uint64_t mobj_size(const struct mobj *o) { return __atomic_load_n(&o->size_bytes, __ATOMIC_ACQUIRE); }
// Removes all translations of [first, last] pages of the object from all address spaces; private copies too when asked.
void mobj_unmap_all(struct mobj *o, uint64_t first, uint64_t last, bool private_copies);
// Takes write permission from all shared mappings of the page, so that the next store faults and marks it dirty again.
void mobj_write_protect(struct mobj *o, uint64_t index);
bool mobj_try_unmap_page(struct mobj *o, uint64_t index); // false: the mappings are being changed; does not wait
void mobj_module_init(void);
// Removes a page that only the cache and the caller hold. False: somebody else has it, or it is dirty.
bool mobj_evict(struct mobj *o, struct page *p, unsigned expected_refs);

// ---- readahead.c ----

// Reads the absent page `index`, or starts to. -EEXIST: another came first; -ENOMEM; -EIO.
int readahead_one(struct mobj *o, uint64_t index);
// Starts reading absent pages of [index, index + count); waits for nothing. Pages started.
unsigned readahead_start(struct mobj *o, uint64_t index, unsigned count);
// Makes a missing page appear: reads around it (a fault) or ahead of it (a read of `wanted` pages).
void readahead_fault(struct mobj *o, uint64_t index);
void readahead_read(struct mobj *o, uint64_t index, unsigned wanted);
// A cached page was read: time to start the next window?
void readahead_hit(struct mobj *o, uint64_t index);

// ---- mm.c, fault.c ----

#define FAULT_BUS (-512) // no errno: beyond the end of the object, or it cannot be read

void mm_module_init(void);
void fault_module_init(void);
