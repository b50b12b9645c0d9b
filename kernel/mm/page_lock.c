// SPDX-License-Identifier: Apache-2.0
// Page locks and waiting for write-back. A page has no wait queue of its own: sleepers queue in a small hashed table and
// leave PAGE_WAITERS behind, so that the usual unlock is one atomic operation.
//
// Lock order: see kernel/mm.h; the queues' locks are leaves.
#include "internal.h"
#include "kernel/waitq.h"
#include "lib/hash.h"

#define QUEUES 64u

static struct waitq queues[QUEUES];

static struct waitq *queue_of(const struct page *p) { return &queues[hash_u64((uint64_t)(uintptr_t)p >> 3) % QUEUES]; }

void page_lock_init(void)
{
	for (unsigned i = 0; i < QUEUES; i++)
		waitq_init(&queues[i]);
}

// Says that somebody waits, then tries: in this order, so that whoever holds the bit sees the waiter when it lets go.
static bool lock_or_announce(struct page *p)
{
	page_test_set(p, PAGE_WAITERS);
	return !page_test_set(p, PAGE_LOCKED);
}

static bool clear_or_announce(struct page *p, enum page_flag f)
{
	page_test_set(p, PAGE_WAITERS);
	return !page_test(p, f);
}

bool page_try_lock(struct page *p) { return !page_test_set(p, PAGE_LOCKED); }

void page_lock(struct page *p)
{
	if (likely(page_try_lock(p)))
		return;
	wait_event(queue_of(p), lock_or_announce(p));
}

// Clears `f` and wakes whoever waits for any change of the page.
void page_clear_and_wake(struct page *p, enum page_flag f)
{
	uint32_t old = __atomic_fetch_and(&p->flags, ~(1u << f | 1u << PAGE_WAITERS), __ATOMIC_SEQ_CST);
	if (unlikely(old & 1u << PAGE_WAITERS))
		waitq_wake_all(queue_of(p));
}

void page_unlock(struct page *p) { page_clear_and_wake(p, PAGE_LOCKED); }

void page_wait_unlocked(struct page *p)
{
	if (page_test(p, PAGE_LOCKED))
		wait_event(queue_of(p), clear_or_announce(p, PAGE_LOCKED));
}

void page_wait_writeback(struct page *p)
{
	if (page_test(p, PAGE_WRITEBACK))
		wait_event(queue_of(p), clear_or_announce(p, PAGE_WRITEBACK));
}
