// SPDX-License-Identifier: Apache-2.0
// Write-back: dirty page-cache pages go to their file by fsync, by age, when there are too many, or when memory is short.
//
// A page is written like this: under its lock, DIRTY becomes WRITEBACK and the shared mappings lose write permission
// (a later store faults and makes it dirty again); the lock is dropped; the file system writes; mobj_write_done().
// Objects with dirty pages are on one list; the flusher task walks it. It sleeps for ever when the list is empty.
//
// Lock order: page lock -> mobj.vma_lock (here; nobody takes a page lock under vma_lock except by trying) -> region lock;
// list_lock -> mobj.lock.
#include "internal.h"
#include "kernel/errno.h"
#include "kernel/sched.h"
#include "kernel/spinlock.h"
#include "kernel/task.h"
#include "kernel/timer.h"
#include "kernel/waitq.h"

#define WRITE_PAGES      128u // at most, in one request
#define AGE_NS           (5 * NSEC_PER_SEC)
#define BACKGROUND_PAGES 4096u // 16 MiB: where the flusher starts early at the latest

static struct spinlock list_lock; // guards dirty_objects, mobj.on_dirty_list, mobj.flushing
static struct list dirty_objects = LIST_INIT(dirty_objects);
static struct waitq flusher_wait = WAITQ_INIT(flusher_wait);
static struct waitq progress = WAITQ_INIT(progress); // fewer pages under write-back, or an object let go
static struct task *flusher;
static bool kicked;

static uint64_t dirty_limit(void) { return page_total_count() / 6; }

static uint64_t background_limit(void) { return min(page_total_count() / 16, (uint64_t)BACKGROUND_PAGES); }

static uint64_t dirty_total(void)
{
	int64_t n = mm_counted(COUNT_DIRTY) + mm_counted(COUNT_WRITEBACK);
	return n > 0 ? (uint64_t)n : 0;
}

// ---- one object ----

struct write_batch {
	struct mobj *object;
	struct page *pages[WRITE_PAGES];
	unsigned count;
};

static void batch_submit(struct write_batch *b)
{
	if (!b->count)
		return;
	int error = b->object->ops->write_pages(b->object, b->pages, b->count);
	for (unsigned i = 0; error && i < b->count; i++)
		mobj_write_done(b->pages[i], error);
	b->count = 0;
}

void mobj_write_done(struct page *p, int error)
{
	struct mobj *o = p->object; // constant while WRITEBACK is set
	spin_lock(&o->lock);
	radix_mark_clear(&o->pages, p->index, RADIX_MARK_WRITEBACK);
	if (error && !o->write_error)
		o->write_error = error;
	spin_unlock(&o->lock);
	mm_count(COUNT_WRITEBACK, -1);
	page_clear_and_wake(p, PAGE_WRITEBACK);
	if (!waitq_empty(&progress))
		waitq_wake_all(&progress);
	page_put(p);
}

// Turns a dirty page into one under write-back, with a reference that mobj_write_done() drops. Before it waits for anything it sends
// what is in the batch: others may wait for those pages while holding this one.
static bool page_begin_write(struct write_batch *b, struct page *p, bool wait)
{
	struct mobj *o = b->object;
	if (!page_test(p, PAGE_DIRTY) || (!wait && page_test(p, PAGE_WRITEBACK)))
		return false;
	if (!page_try_lock(p)) {
		batch_submit(b);
		page_lock(p);
	}
	if (page_test(p, PAGE_WRITEBACK)) {
		batch_submit(b);
		page_wait_writeback(p);
	}
	spin_lock(&o->lock);
	bool ours = p->object == o && page_test_clear(p, PAGE_DIRTY);
	if (ours) {
		radix_mark_clear(&o->pages, p->index, RADIX_MARK_DIRTY);
		radix_mark_set(&o->pages, p->index, RADIX_MARK_WRITEBACK);
		page_test_set(p, PAGE_WRITEBACK);
		page_get(p);
		mm_count(COUNT_DIRTY, -1);
		mm_count(COUNT_WRITEBACK, 1);
	}
	spin_unlock(&o->lock);
	if (ours)
		mobj_write_protect(o, p->index);
	page_unlock(p);
	return ours;
}

// The next page marked `mark` at or after *index, with a reference.
static struct page *next_marked(struct mobj *o, uint64_t *index, uint64_t last, enum radix_mark mark)
{
	spin_lock(&o->lock);
	struct page *p = radix_next_marked(&o->pages, index, mark);
	if (p && *index > last)
		p = NULL;
	if (p)
		page_get(p);
	spin_unlock(&o->lock);
	return p;
}

static void write_dirty(struct mobj *o, uint64_t first, uint64_t last, bool wait)
{
	struct write_batch batch = { .object = o };
	struct page *p;
	uint64_t index = first;
	while (index <= last && (p = next_marked(o, &index, last, RADIX_MARK_DIRTY)) != NULL) {
		if (page_begin_write(&batch, p, wait)) {
			if (batch.count &&
			    (batch.pages[batch.count - 1]->index + 1 != index || batch.count == WRITE_PAGES))
				batch_submit(&batch);
			batch.pages[batch.count++] = p;
		}
		page_put(p);
		if (index++ == UINT64_MAX)
			break;
	}
	batch_submit(&batch);
}

static void wait_written(struct mobj *o, uint64_t first, uint64_t last)
{
	struct page *p;
	uint64_t index = first;
	while (index <= last && (p = next_marked(o, &index, last, RADIX_MARK_WRITEBACK)) != NULL) {
		page_wait_writeback(p);
		page_put(p);
		if (index++ == UINT64_MAX)
			break;
	}
}

int mobj_sync(struct mobj *o, uint64_t start, uint64_t end, bool wait)
{
	if (!mobj_tracks_dirty(o) || start >= end)
		return 0;
	uint64_t first = start >> PAGE_SHIFT, last = (end - 1) >> PAGE_SHIFT;
	write_dirty(o, first, last, wait);
	if (!wait)
		return 0;
	wait_written(o, first, last);
	return __atomic_exchange_n(&o->write_error, 0, __ATOMIC_ACQ_REL);
}

// ---- the list, and the flusher ----

void mobj_dirty_list_add(struct mobj *o)
{
	spin_lock(&list_lock);
	bool first = list_empty(&dirty_objects);
	if (!o->on_dirty_list) {
		list_add_tail(&dirty_objects, &o->dirty_node);
		__atomic_store_n(&o->on_dirty_list, true, __ATOMIC_RELEASE);
	}
	spin_unlock(&list_lock);
	if (first)
		waitq_wake_all(&flusher_wait);
}

static bool try_remove(struct mobj *o)
{
	spin_lock(&list_lock);
	bool busy = o->flushing > 0;
	if (!busy && o->on_dirty_list) {
		list_remove(&o->dirty_node);
		o->on_dirty_list = false;
	}
	spin_unlock(&list_lock);
	return !busy;
}

void mobj_dirty_list_remove(struct mobj *o)
{
	if (o->ops && o->ops->write_pages)
		wait_event(&progress, try_remove(o));
}

// Takes the object off the list unless it became dirty again.
static void flush_finish(struct mobj *o)
{
	uint64_t index = 0;
	spin_lock(&list_lock);
	o->flushing--;
	list_remove(&o->dirty_node);
	__atomic_store_n(&o->on_dirty_list, false, __ATOMIC_SEQ_CST);
	spin_lock(&o->lock);
	bool dirty = radix_next_marked(&o->pages, &index, RADIX_MARK_DIRTY) != NULL;
	spin_unlock(&o->lock);
	if (dirty) {
		list_add_tail(&dirty_objects, &o->dirty_node);
		o->on_dirty_list = true;
	}
	spin_unlock(&list_lock);
	waitq_wake_all(&progress);
}

static unsigned dirty_object_count(void)
{
	unsigned n = 0;
	struct mobj *o;
	spin_lock(&list_lock);
	list_for_each (o, &dirty_objects, dirty_node)
		n++;
	spin_unlock(&list_lock);
	return n;
}

// While it runs, this task's own allocations must not evict inodes (TASK_IO_FLUSHER): eviction waits for flushers.
static void flush_all(void)
{
	uint32_t flag = current->flags & TASK_IO_FLUSHER;
	current->flags |= TASK_IO_FLUSHER;
	for (unsigned left = dirty_object_count(); left > 0; left--) {
		spin_lock(&list_lock);
		struct mobj *o =
			list_empty(&dirty_objects) ? NULL : list_first(&dirty_objects, struct mobj, dirty_node);
		if (o) {
			o->flushing++;
			list_remove(&o->dirty_node); // to the tail: the next turn takes another
			list_add_tail(&dirty_objects, &o->dirty_node);
		}
		spin_unlock(&list_lock);
		if (!o)
			break;
		write_dirty(o, 0, UINT64_MAX >> PAGE_SHIFT, false);
		flush_finish(o);
		sched_preempt_point();
	}
	current->flags = (current->flags & ~TASK_IO_FLUSHER) | flag;
}

void writeback_sync_all(void)
{
	flush_all();
	(void)wait_event_mode(&progress, mm_counted(COUNT_WRITEBACK) <= 0, PARK_KILLABLE,
			      port_time_ns() + 10 * NSEC_PER_SEC);
}

static void flusher_main(void *argument)
{
	(void)argument;
	for (;;) {
		wait_event(&flusher_wait, !list_empty(&dirty_objects));
		uint64_t deadline = port_time_ns() + AGE_NS;
		(void)wait_event_mode(&flusher_wait, __atomic_load_n(&kicked, __ATOMIC_ACQUIRE), PARK_UNINTERRUPTIBLE,
				      deadline);
		__atomic_store_n(&kicked, false, __ATOMIC_SEQ_CST);
		flush_all();
	}
}

void writeback_start(void)
{
	struct task *t = kernel_task_create("flusher", flusher_main, NULL);
	if (!is_err(t))
		flusher = t;
}

void writeback_kick(void)
{
	if (!__atomic_exchange_n(&kicked, true, __ATOMIC_ACQ_REL))
		waitq_wake_all(&flusher_wait);
}

bool writeback_is_flusher(void) { return flusher && flusher == current; }

bool writeback_wait_progress(uint64_t timeout_ns)
{
	uint64_t before = dirty_total();
	if (!before || !flusher)
		return false;
	writeback_kick();
	(void)wait_event_mode(&progress, dirty_total() < before, PARK_KILLABLE, port_time_ns() + timeout_ns);
	return dirty_total() < before;
}

void writeback_throttle(struct mobj *o)
{
	uint64_t n = dirty_total();
	if (likely(n < background_limit()))
		return;
	writeback_kick();
	if (n < dirty_limit())
		return;
	mobj_sync(o, 0, UINT64_MAX, false); // the writer helps
	(void)wait_event_mode(&progress, dirty_total() < dirty_limit(), PARK_KILLABLE, port_time_ns() + NSEC_PER_SEC);
}
