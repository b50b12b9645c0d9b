// SPDX-License-Identifier: Apache-2.0
// Reading and writing a file through its page cache.
//
// No lock is held while the program's memory is copied: a copy may fault, and the fault may want the very page or its
// file. Readers hold a reference of the page. Writers hold the inode's lock, which keeps other writers and truncation
// away; a page that will be overwritten whole is filled before it enters the cache.
#include "internal.h"
#include "kernel/errno.h"
#include "kernel/fs.h"
#include "kernel/sched.h"
#include "kernel/task.h"
#include "lib/string.h"

#define PREEMPT_MASK 63u // pages between preempt points

// ---- reading ----

// The page of a read, ready; *out = NULL for a hole in an object without backing.
static int read_page(struct mobj *o, uint64_t index, size_t wanted_bytes, struct page **out)
{
	struct page *p = mobj_find(o, index);
	if (likely(p && page_test(p, PAGE_UPTODATE))) {
		if (unlikely(index == o->readahead_trigger))
			readahead_hit(o, index);
		if (unlikely(!page_test(p, PAGE_ACTIVE)))
			page_test_set(p, PAGE_ACTIVE);
		*out = p;
		return 0;
	}
	if (p)
		page_put(p);
	else if (mobj_has_backing(o))
		readahead_read(o, index, (unsigned)min((wanted_bytes + PAGE_SIZE - 1) >> PAGE_SHIFT, (size_t)1024));
	if (p && index == o->readahead_trigger)
		readahead_hit(o, index);
	if (fatal_signal_pending(current))
		return -EINTR;
	return mobj_get_page(o, index, mobj_has_backing(o), out);
}

ssize_t filemap_read(struct mobj *o, struct iov_iter *to, loff_t *pos)
{
	ssize_t total = 0;
	int error = 0;
	uint64_t index = 0;
	for (unsigned pages = 1; to->count; pages++) {
		uint64_t size = mobj_size(o), at = (uint64_t)*pos;
		if (at >= size)
			break;
		size_t offset = at & ~PAGE_MASK;
		size_t n = min(min((size_t)(PAGE_SIZE - offset), to->count), (size_t)(size - at));
		struct page *p;
		index = at >> PAGE_SHIFT;
		error = read_page(o, index, min((uint64_t)to->count + offset, size - at + offset), &p);
		if (error)
			break;
		size_t copied = p ? iov_copy_to(to, (char *)page_address(p) + offset, n) : iov_zero(to, n);
		if (p)
			page_put(p);
		*pos += (loff_t)copied;
		total += (ssize_t)copied;
		if (copied < n) {
			error = -EFAULT;
			break;
		}
		if (!(pages & PREEMPT_MASK))
			sched_preempt_point();
	}
	if (total)
		o->readahead_next = index + 1;
	return total ? total : error;
}

// ---- writing ----

// Bytes between the old end of the file and the page's end may hold what a mapping stored there: they read as zeros when
// the file grows over them.
static void zero_after_end(struct mobj *o, uint64_t pos)
{
	uint64_t size = mobj_size(o);
	if (pos <= size || !(size & ~PAGE_MASK))
		return;
	struct page *p = mobj_find(o, size >> PAGE_SHIFT);
	if (!p)
		return;
	if (page_test(p, PAGE_UPTODATE)) {
		size_t offset = size & ~PAGE_MASK;
		size_t n = min((uint64_t)(PAGE_SIZE - offset), pos - size);
		memset((char *)page_address(p) + offset, 0, n);
	}
	page_put(p);
}

static void size_grow(struct mobj *o, uint64_t end)
{
	if (end > o->size_bytes)
		__atomic_store_n(&o->size_bytes, end, __ATOMIC_RELEASE);
}

// Does a write of [pos, pos + n) leave nothing of the page's present contents?
static bool covers_page(const struct mobj *o, uint64_t pos, size_t n)
{
	uint64_t page_start = align_down(pos, PAGE_SIZE), size = mobj_size(o);
	return page_start >= size || (pos == page_start && (n == PAGE_SIZE || pos + n >= size));
}

// Writes into a new page. Bytes copied; 0 with *error = 0: do it through an existing page instead.
static size_t write_new_page(struct mobj *o, struct iov_iter *from, uint64_t pos, size_t n, int *error)
{
	size_t offset = pos & ~PAGE_MASK;
	struct page *p = page_alloc(0, PAGE_USER | o->page_flags);
	if (!p) {
		*error = -ENOMEM;
		return 0;
	}
	char *address = page_address(p);
	size_t copied = iov_copy_from(address + offset, from, n);
	if (copied < n) {
		iov_revert(from, copied);
		page_put(p);
		return 0;
	}
	memset(address, 0, offset);
	memset(address + offset + n, 0, PAGE_SIZE - offset - n);
	page_test_set(p, PAGE_UPTODATE);
	*error = mobj_insert(o, pos >> PAGE_SHIFT, p);
	if (!*error) {
		size_grow(o, pos + n);
		mobj_mark_dirty(p);
	} else {
		iov_revert(from, n);
		n = 0;
		if (*error == -EEXIST) // a reader or a fault was faster
			*error = 0;
	}
	page_put(p);
	return n;
}

static size_t write_cached_page(struct mobj *o, struct iov_iter *from, uint64_t pos, size_t n, int *error)
{
	struct page *p = mobj_find(o, pos >> PAGE_SHIFT);
	if (!p || !page_test(p, PAGE_UPTODATE)) {
		if (p)
			page_put(p);
		*error = mobj_get_page(o, pos >> PAGE_SHIFT, true, &p);
		if (*error)
			return 0;
	}
	size_t copied = iov_copy_from((char *)page_address(p) + (pos & ~PAGE_MASK), from, n);
	if (copied) {
		size_grow(o, pos + copied);
		mobj_mark_dirty(p);
	}
	if (!page_test(p, PAGE_ACTIVE))
		page_test_set(p, PAGE_ACTIVE);
	page_put(p);
	if (copied < n)
		*error = -EFAULT;
	return copied;
}

static size_t write_page(struct mobj *o, struct iov_iter *from, uint64_t pos, size_t n, int *error)
{
	if (covers_page(o, pos, n)) {
		struct page *p = mobj_find(o, pos >> PAGE_SHIFT);
		if (!p) {
			size_t copied = write_new_page(o, from, pos, n, error);
			if (copied || *error)
				return copied;
		} else {
			page_put(p);
		}
	}
	return write_cached_page(o, from, pos, n, error);
}

ssize_t filemap_write(struct mobj *o, struct iov_iter *from, loff_t *pos)
{
	ssize_t total = 0;
	int error = 0;
	zero_after_end(o, (uint64_t)*pos);
	for (unsigned pages = 1; from->count && !error; pages++) {
		uint64_t at = (uint64_t)*pos;
		size_t n = min((size_t)(PAGE_SIZE - (at & ~PAGE_MASK)), from->count);
		size_t copied = write_page(o, from, at, n, &error);
		*pos += (loff_t)copied;
		total += (ssize_t)copied;
		if (!(pages & PREEMPT_MASK)) {
			sched_preempt_point();
			if (fatal_signal_pending(current))
				error = -EINTR;
			if (mobj_tracks_dirty(o))
				writeback_throttle(o);
		}
	}
	return total ? total : error;
}
