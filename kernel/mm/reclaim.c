// SPDX-License-Identifier: Apache-2.0
// Reclaim: what happens when an allocation finds nothing. Clean page-cache pages are dropped, least recently used first; other
// caches shrink; dirty pages are written back; and when nothing is left, the greediest process dies.
//
// Cache pages of files are on one list, oldest at the tail. A page used since it was last looked at (PAGE_ACTIVE) goes round once more.
// A page on the list has a reference (the cache's) until reclaim_remove(), which takes list_lock: so list_lock and a look at the list
// suffice to take another.
//
// Lock order: list_lock is a leaf. Nothing here allocates. Everything but add and remove may sleep, and no spinlock may be held.
#include "internal.h"
#include "kernel/sched.h"
#include "kernel/spinlock.h"
#include "kernel/task.h"
#include "kernel/timer.h"

#define SHRINKERS_MAX 8u

static struct spinlock list_lock;
static struct list pages = LIST_INIT(pages);
static uint64_t page_count; // on the list
static uint64_t (*shrinkers[SHRINKERS_MAX])(uint64_t target);
static unsigned shrinker_count;
static struct waitq memory_wait = WAITQ_INIT(memory_wait);

void reclaim_register(uint64_t (*shrink)(uint64_t target))
{
	assert(shrinker_count < SHRINKERS_MAX);
	shrinkers[shrinker_count++] = shrink;
}

void reclaim_add(struct page *p)
{
	spin_lock(&list_lock);
	list_add(&pages, &p->lru);
	page_count++;
	spin_unlock(&list_lock);
}

void reclaim_remove(struct page *p)
{
	spin_lock(&list_lock);
	if (!list_empty(&p->lru)) {
		list_remove(&p->lru);
		page_count--;
	}
	spin_unlock(&list_lock);
}

uint64_t reclaim_clean_count(void)
{
	int64_t clean = (int64_t)__atomic_load_n(&page_count, __ATOMIC_RELAXED) - mm_counted(COUNT_DIRTY) -
			mm_counted(COUNT_WRITEBACK);
	return clean > 0 ? (uint64_t)clean : 0;
}

// Takes the oldest page off the list, with a reference.
static struct page *isolate_oldest(void)
{
	struct page *p = NULL;
	spin_lock(&list_lock);
	if (!list_empty(&pages)) {
		p = list_last(&pages, struct page, lru);
		list_remove(&p->lru);
		page_count--;
		page_get(p);
	}
	spin_unlock(&list_lock);
	return p;
}

static void put_back(struct page *p)
{
	spin_lock(&list_lock);
	// A page that left its object meanwhile must not return: its remover has looked already.
	if (__atomic_load_n(&p->object, __ATOMIC_ACQUIRE) && list_empty(&p->lru)) {
		list_add(&pages, &p->lru);
		page_count++;
	}
	spin_unlock(&list_lock);
}

// True: the page was freed. The isolated page's reference is ours (2 with the cache's).
static bool try_evict(struct page *p, bool remember)
{
	if (page_test(p, PAGE_DIRTY) || page_test(p, PAGE_WRITEBACK) || !page_try_lock(p))
		return false;
	struct mobj *o = p->object; // the lock keeps it there
	bool gone = false;
	if (o) {
		if (refcount_read(&p->refs) > 2)
			mobj_try_unmap_page(o, p->index);
		gone = mobj_evict(o, p, 2);
		if (gone && remember)
			thrash_note_dropped(o, p->index);
	}
	page_unlock(p);
	return gone;
}

uint64_t reclaim_pages(uint64_t target, bool shared, bool remember)
{
	uint64_t freed = 0;
	uint64_t budget =
		2 * __atomic_load_n(&page_count, __ATOMIC_RELAXED) + 1; // each page twice: once for PAGE_ACTIVE
	uint64_t give_up = 8 * target + 4096; // when everything is dirty or in use, the writer is asked sooner
	for (uint64_t i = 0; i < min(budget, give_up) && freed < target; i++) {
		struct page *p = isolate_oldest();
		if (!p)
			break;
		bool wanted = !shared || page_test(p, PAGE_SHARED_ZONE);
		if (!wanted || page_test_clear(p, PAGE_ACTIVE) || !try_evict(p, remember))
			put_back(p);
		else
			freed++;
		page_put(p);
		if (!(i & 127))
			sched_preempt_point();
	}
	mm_count(COUNT_RECLAIMED, (int64_t)freed);
	return freed;
}

static uint64_t shrink_others(uint64_t target)
{
	uint64_t freed = 0;
	for (unsigned i = 0; i < shrinker_count; i++)
		freed += shrinkers[i](target);
	return freed;
}

uint64_t page_drop_caches(bool write)
{
	uint64_t before = page_free_count();
	for (unsigned round = 0; round < 8; round++) {
		if (write)
			writeback_sync_all();
		uint64_t freed = shrink_others(UINT64_MAX);
		freed += reclaim_pages(UINT64_MAX / 16, false, false);
		freed += slab_reclaim();
		if (!freed)
			break;
	}
	page_drain_caches();
	return page_free_count() - min(before, page_free_count());
}

// Nothing could be dropped: wait for the disk, or let somebody die. True: try again.
static bool last_resort(unsigned order, unsigned flags, unsigned attempt)
{
	if (!writeback_is_flusher() && writeback_wait_progress(100 * NSEC_PER_MSEC))
		return true;
	if (!(flags & PAGE_USER) || flags & PAGE_NO_OOM || order > 0 || fatal_signal_pending(current))
		return false;
	if (!process_oom_kill())
		return false;
	uint32_t serving = current->flags & TASK_SERVING;
	current->flags |= TASK_SERVING; // mm.lock may be held: no time to serve others (remote.c)
	(void)wait_event_mode(&memory_wait, page_free_count() > page_low_watermark(), PARK_KILLABLE,
			      port_time_ns() + 20 * NSEC_PER_MSEC);
	current->flags ^= serving ^ TASK_SERVING;
	page_drain_caches();
	return attempt < 2000;
}

bool reclaim_for_allocation(unsigned order, unsigned flags, unsigned attempt)
{
	if (!current) // boot
		return false;
	uint64_t target = max(UINT64_C(64), UINT64_C(2) << order);
	uint64_t freed = reclaim_pages(target, flags & PAGE_DEVICE, true);
	if (mm_counted(COUNT_DIRTY) > 0)
		writeback_kick();
	if (!freed || attempt > 0) {
		if (!(current->flags & TASK_IO_FLUSHER))
			freed += shrink_others(target);
		freed += slab_reclaim();
	}
	page_drain_caches();
	if (freed && attempt < (order ? 8u : 64u))
		return true;
	if (flags & PAGE_NO_OOM)
		return false;
	return last_resort(order, flags, attempt);
}
