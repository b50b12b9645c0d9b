// SPDX-License-Identifier: Apache-2.0
// Read-ahead: which pages of a file to read before they are asked for.
//
// A sequential reader gets windows that double from 128 KiB to 1 MiB; when it reaches the start of the latest window the
// next one is asked for, so that the device works while the program does. A fault reads the aligned 256 KiB around it.
// The state in struct mobj is a hint: races cost a needless or a missing request, nothing else.
#include "internal.h"
#include "kernel/errno.h"

#define WINDOW_MIN_PAGES 32u
#define WINDOW_MAX_PAGES 256u
#define REQUEST_PAGES    128u // at most, in one request
#define FAULT_PAGES      64u

static void pages_submit(struct mobj *o, struct page **pages, unsigned count)
{
	if (!count)
		return;
	int error = o->ops->read_pages(o, pages, count);
	for (unsigned i = 0; error && i < count; i++)
		mobj_read_done(pages[i], error);
}

// A new locked page at `index`, for reading into. The reference is the cache's alone: the lock keeps it there.
static int page_create_locked(struct mobj *o, uint64_t index, unsigned flags, struct page **out)
{
	struct page *p = page_alloc(0, PAGE_USER | flags | o->page_flags);
	if (!p)
		return -ENOMEM;
	page_test_set(p, PAGE_LOCKED);
	int error = mobj_insert(o, index, p);
	if (error)
		page_test_clear(p, PAGE_LOCKED);
	page_put(p);
	*out = p;
	return error;
}

int readahead_one(struct mobj *o, uint64_t index)
{
	struct page *p;
	int error = page_create_locked(o, index, 0, &p);
	if (!error)
		pages_submit(o, &p, 1);
	return error;
}

static bool page_present(struct mobj *o, uint64_t index)
{
	spin_lock(&o->lock);
	bool present = radix_lookup(&o->pages, index) != NULL;
	spin_unlock(&o->lock);
	return present;
}

unsigned readahead_start(struct mobj *o, uint64_t index, unsigned count)
{
	struct page *pages[REQUEST_PAGES];
	uint64_t size_pages = (mobj_size(o) + PAGE_SIZE - 1) >> PAGE_SHIFT;
	uint64_t end = min(index + count, size_pages);
	unsigned run = 0, started = 0;
	if (!mobj_has_backing(o))
		return 0;
	for (; index < end; index++) {
		int error = page_present(o, index) ? -EEXIST : page_create_locked(o, index, PAGE_NO_OOM, &pages[run]);
		if (!error) {
			run++;
			started++;
		}
		if (error || run == REQUEST_PAGES) {
			pages_submit(o, pages, run);
			run = 0;
		}
		if (error && error != -EEXIST)
			break;
	}
	pages_submit(o, pages, run);
	return started;
}

void readahead_fault(struct mobj *o, uint64_t index)
{
	readahead_start(o, align_down(index, (uint64_t)FAULT_PAGES), FAULT_PAGES);
}

void readahead_read(struct mobj *o, uint64_t index, unsigned wanted)
{
	bool sequential = index == 0 || index == o->readahead_next || index == o->readahead_end;
	wanted = max(wanted, 1u);
	if (!sequential) {
		o->readahead_pages = 0;
		o->readahead_trigger = UINT64_MAX;
		readahead_start(o, index, min(wanted, WINDOW_MAX_PAGES));
		return;
	}
	unsigned window = min(max(max(o->readahead_pages * 2, wanted * 2), WINDOW_MIN_PAGES), WINDOW_MAX_PAGES);
	o->readahead_pages = window;
	o->readahead_end = index + window;
	o->readahead_trigger = index + window / 2;
	readahead_start(o, index, window);
}

void readahead_hit(struct mobj *o, uint64_t index)
{
	uint64_t start = o->readahead_end;
	if (index >= start || !o->readahead_pages)
		return;
	unsigned window = min(o->readahead_pages * 2, WINDOW_MAX_PAGES);
	o->readahead_pages = window;
	o->readahead_trigger = start;
	o->readahead_end = start + window;
	readahead_start(o, start, window);
}

void mobj_readahead(struct mobj *o, uint64_t start, uint64_t size)
{
	uint64_t first = start >> PAGE_SHIFT, count = (size + PAGE_SIZE - 1) >> PAGE_SHIFT;
	while (count) {
		unsigned part = (unsigned)min(count, (uint64_t)WINDOW_MAX_PAGES);
		readahead_start(o, first, part);
		first += part;
		count -= part;
		if (first << PAGE_SHIFT >= mobj_size(o))
			break;
	}
}
