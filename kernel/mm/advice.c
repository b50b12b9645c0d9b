// SPDX-License-Identifier: Apache-2.0
// What programs tell and ask about their memory: madvise(2), msync(2), mincore(2).
#include <linux/falloc.h>
#include <linux/mman.h>

#include "host.h"
#include "internal.h"
#include "kernel/errno.h"
#include "kernel/fs.h"
#include "kernel/syscalls.h"
#include "kernel/task.h"
#include "lib/string.h"
#include "map.h"
#include "port/host.h"
#include "vma.h"

// Sets and clears flags on all mappings of [start, end); a hole gives -ENOMEM after the rest was done, or at once with `strict`.
int mm_change_flags_locked(struct mm *mm, uint64_t start, uint64_t end, uint32_t set, uint32_t clear, bool strict)
{
	int hole = 0;
	uint64_t at = start;
	while (at < end) {
		struct vma *v = vma_find_shown(mm, at);
		if (!v || v->start > at)
			hole = -ENOMEM;
		if (!v || v->start >= end || (strict && hole))
			break;
		at = max(at, v->start);
		uint64_t until = min(v->end, end);
		uint32_t flags = (v->flags & ~clear) | set;
		if (flags != v->flags && !(v->flags & VMA_SPECIAL)) {
			int error = vma_split(v, at);
			if (!error && v->start < at)
				v = vma_next(v);
			if (!error)
				error = vma_split(v, until);
			if (error)
				return error;
			vma_set_flags(v, flags);
			vma_merge(v);
		}
		at = until;
	}
	return hole;
}

// ---- madvise ----

static bool is_private_anonymous(const struct vma *v) { return !v->object && !(v->flags & VMA_SPECIAL); }

// Drops the pages of a part of a mapping: private ones read as zeros or the file again, shared ones stay in their object.
static int drop_pages(struct mm *mm, struct vma *v, uint64_t start, uint64_t end, int advice)
{
	if (v->flags & VMA_SPECIAL || (v->flags & VMA_LOCKED && advice != 24)) // MADV_DONTNEED_LOCKED
		return -EINVAL;
	if (advice == MADV_FREE && !is_private_anonymous(v))
		return -EINVAL;
	if (vma_is_host(v))
		return port_aspace_advise(mm->aspace, start, end, advice == MADV_FREE ? MADV_FREE : MADV_DONTNEED);
	mm_unmap_pages(mm, start, end);
	v->ahead_pages = 0;
	return 0;
}

struct object_part { // of a mapping, to be used after mm.lock was released
	struct mobj *object;
	struct file *file;
	uint64_t offset, size;
	uint64_t host_start; // where the host maps it, or 0
};

static void part_take(struct object_part *p, const struct vma *v, uint64_t start, uint64_t end)
{
	*p = (struct object_part){ .object = v->object,
				   .file = v->file,
				   .offset = (v->object_page << PAGE_SHIFT) + (start - v->start),
				   .size = end - start,
				   .host_start = vma_is_host(v) ? start : 0 };
	if (p->object)
		mobj_get(p->object);
	if (p->file)
		file_get(p->file);
}

static void part_put(struct object_part *p)
{
	if (p->object)
		mobj_put(p->object);
	if (p->file)
		file_put(p->file);
}

static int remove_part(const struct object_part *p)
{
	if (!p->file) {
		mobj_truncate(p->object, p->offset, p->offset + p->size);
		return 0;
	}
	if (!p->file->ops->fallocate)
		return -EOPNOTSUPP;
	return (int)p->file->ops->fallocate(p->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (loff_t)p->offset,
					    (loff_t)p->size);
}

// Advice that works on pages, mapping by mapping; [start, end) lies in `v`. mm.lock read.
static int advise_part(struct mm *mm, struct vma *v, uint64_t start, uint64_t end, int advice,
		       struct object_part *later)
{
	switch (advice) {
	case MADV_DONTNEED:
	case MADV_FREE:
	case 24: // MADV_DONTNEED_LOCKED
		return drop_pages(mm, v, start, end, advice);
	case MADV_WILLNEED:
		if (v->object && !vma_is_host(v))
			part_take(later, v, start, end);
		else
			host_hint(mm, v, start, end, advice);
		return 0;
	case MADV_REMOVE:
		if (v->flags & VMA_LOCKED || !v->object)
			return -EINVAL;
		if ((v->flags & (VMA_SHARED | VMA_WRITE)) != (VMA_SHARED | VMA_WRITE))
			return -EACCES;
		part_take(later, v, start, end);
		return 0;
	default: host_hint(mm, v, start, end, advice); return 0;
	}
}

static int advise_pages(struct mm *mm, uint64_t start, uint64_t end, int advice)
{
	int hole = 0, error = 0;
	for (uint64_t at = start; at < end && !error;) {
		struct object_part later = { 0 };
		rwsem_read_lock(&mm->lock);
		struct vma *v = vma_find_shown(mm, at);
		if (!v || v->start > at)
			hole = -ENOMEM;
		if (!v || v->start >= end) {
			rwsem_read_unlock(&mm->lock);
			break;
		}
		at = max(at, v->start);
		uint64_t until = min(v->end, end);
		error = advise_part(mm, v, at, until, advice, &later);
		rwsem_read_unlock(&mm->lock);
		if (!error && later.object && advice == MADV_WILLNEED)
			mobj_readahead(later.object, later.offset, later.size);
		else if (!error && later.object)
			error = remove_part(&later);
		part_put(&later);
		at = until;
	}
	return error ? error : hole;
}

// Tells the host what became of the flags that say what fork() does.
static int advise_host(struct mm *mm, uint64_t start, uint64_t end, int advice)
{
	int error = 0;
	if (!PORT_HOST || advice == MADV_DONTDUMP || advice == MADV_DODUMP)
		return 0;
	for (struct vma *v = vma_find_shown(mm, start); v && v->start < end && !error; v = vma_next_shown(v))
		if (vma_is_host(v) || advice == MADV_DOFORK) // pages of frames: as fork_host() leaves them
			error = port_aspace_advise(mm->aspace, max(start, v->start), min(end, v->end), advice);
	return error;
}

static int advise_flags(struct mm *mm, uint64_t start, uint64_t end, int advice)
{
	static const struct {
		int advice;
		uint32_t set, clear;
	} table[] = {
		{ MADV_DONTFORK, VMA_DONTFORK, 0 },     { MADV_DOFORK, 0, VMA_DONTFORK },
		{ MADV_WIPEONFORK, VMA_WIPEONFORK, 0 }, { MADV_KEEPONFORK, 0, VMA_WIPEONFORK },
		{ MADV_DONTDUMP, VMA_DONTDUMP, 0 },     { MADV_DODUMP, 0, VMA_DONTDUMP },
	};
	int error = 0;
	rwsem_write_lock(&mm->lock);
	if (advice == MADV_WIPEONFORK)
		for (struct vma *v = vma_find_shown(mm, start); v && v->start < end; v = vma_next_shown(v))
			if (!is_private_anonymous(v))
				error = -EINVAL;
	if (!error)
		error = advise_host(mm, start, end, advice);
	for (unsigned i = 0; i < array_count(table) && !error; i++)
		if (table[i].advice == advice)
			error = mm_change_flags_locked(mm, start, end, table[i].set, table[i].clear, false);
	rwsem_write_unlock(&mm->lock);
	return error;
}

static int advise_populate(struct mm *mm, uint64_t start, uint64_t end, bool write)
{
	int error = 0;
	rwsem_read_lock(&mm->lock);
	uint64_t at = start;
	for (struct vma *v = vma_find_shown(mm, start); at < end && !error; v = vma_find_shown(mm, at)) {
		if (!v || v->start > at)
			error = -ENOMEM;
		else if (v->flags & VMA_SPECIAL || !(v->flags & (write ? VMA_WRITE : 7u)))
			error = -EINVAL;
		else
			at = v->end;
	}
	rwsem_read_unlock(&mm->lock);
	return error ? error : mm_populate(mm, start, end - start, write);
}

static int check_advice(int advice)
{
	switch (advice) {
	case MADV_NORMAL:
	case MADV_RANDOM:
	case MADV_SEQUENTIAL:
	case MADV_WILLNEED:
	case MADV_DONTNEED:
	case MADV_FREE:
	case MADV_REMOVE:
	case MADV_DONTFORK:
	case MADV_DOFORK:
	case MADV_MERGEABLE:
	case MADV_UNMERGEABLE:
	case MADV_HUGEPAGE:
	case MADV_NOHUGEPAGE:
	case MADV_DONTDUMP:
	case MADV_DODUMP:
	case MADV_WIPEONFORK:
	case MADV_KEEPONFORK:
	case MADV_COLD:
	case MADV_PAGEOUT:
	case MADV_POPULATE_READ:
	case MADV_POPULATE_WRITE:
	case 24: return 0;
	default: return -EINVAL;
	}
}

int mm_advise(struct mm *mm, uint64_t address, uint64_t size, int advice)
{
	int error = check_advice(advice);
	uint64_t end = address + align_up(size, PAGE_SIZE);
	if (error || address & ~PAGE_MASK || (size && !align_up(size, PAGE_SIZE)) || end < address)
		return -EINVAL;
	if (end == address)
		return 0;
	if (end > port_user_end())
		return -ENOMEM;
	switch (advice) {
	case MADV_DONTFORK:
	case MADV_DOFORK:
	case MADV_WIPEONFORK:
	case MADV_KEEPONFORK:
	case MADV_DONTDUMP:
	case MADV_DODUMP: return advise_flags(mm, address, end, advice);
	case MADV_POPULATE_READ:
	case MADV_POPULATE_WRITE: return advise_populate(mm, address, end, advice == MADV_POPULATE_WRITE);
	default: return advise_pages(mm, address, end, advice);
	}
}

long sys_madvise(uint64_t address, uint64_t size, int advice) { return mm_advise(current->mm, address, size, advice); }

// ---- msync ----

static int sync_part(struct mm *mm, const struct object_part *p)
{
	if (PORT_HOST && p->host_start) { // what another thread has mapped there meanwhile does not mind
		int error = port_aspace_sync(mm->aspace, p->host_start, p->host_start + p->size, MS_SYNC);
		return error == -ENOMEM ? 0 : error;
	}
	if (p->file && p->file->ops->fsync)
		return p->file->ops->fsync(p->file, (loff_t)p->offset, (loff_t)(p->offset + p->size), true);
	return mobj_sync(p->object, p->offset, p->offset + p->size, true);
}

long sys_msync(uint64_t address, uint64_t size, int flags)
{
	struct mm *mm = current->mm;
	if (flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC) || address & ~PAGE_MASK ||
	    (flags & (MS_ASYNC | MS_SYNC)) == (MS_ASYNC | MS_SYNC))
		return -EINVAL;
	uint64_t end = address + align_up(size, PAGE_SIZE);
	if (end < address)
		return -ENOMEM;
	int hole = 0, error = 0;
	for (uint64_t at = address; at < end && !error;) {
		struct object_part part = { 0 };
		rwsem_read_lock(&mm->lock);
		struct vma *v = vma_find_shown(mm, at);
		if (!v || v->start > at)
			hole = -ENOMEM;
		if (v && v->start < end) {
			at = max(at, v->start);
			uint64_t until = min(v->end, end);
			if (flags & MS_INVALIDATE && v->flags & VMA_LOCKED)
				error = -EBUSY;
			else if (flags & MS_SYNC && v->flags & VMA_SHARED && v->object)
				part_take(&part, v, at, until);
			at = until;
		} else {
			at = end;
		}
		rwsem_read_unlock(&mm->lock);
		if (part.object && !error)
			error = sync_part(mm, &part);
		part_put(&part);
	}
	return error ? error : hole;
}

// ---- mincore ----

static bool page_in_core(struct mm *mm, struct vma *v, uint64_t va)
{
	struct port_pte pte;
	port_aspace_get_page(mm->aspace, va, &pte);
	if (pte.present || !v->object)
		return pte.present;
	struct page *p = mobj_find(v->object, v->object_page + ((va - v->start) >> PAGE_SHIFT));
	bool in = p && page_test(p, PAGE_UPTODATE);
	if (p)
		page_put(p);
	return in;
}

// Says for [start, start + pages), which begins in `v`, what is in memory, as far as it goes in one step. Pages.
static unsigned chunk_in_core(struct mm *mm, struct vma *v, uint64_t start, unsigned pages, uint8_t *chunk)
{
	pages = (unsigned)min((uint64_t)pages, (v->end - start) >> PAGE_SHIFT);
	if (vma_is_host(v)) {
		if (port_aspace_resident(mm->aspace, start, start + pages * PAGE_SIZE, chunk))
			memset(chunk, 0, pages);
		return pages;
	}
	for (unsigned i = 0; i < pages; i++)
		chunk[i] = page_in_core(mm, v, start + i * PAGE_SIZE);
	return pages;
}

long sys_mincore(uint64_t address, uint64_t size, struct uptr vector)
{
	struct mm *mm = current->mm;
	uint8_t chunk[256];
	if (address & ~PAGE_MASK)
		return -EINVAL;
	if (!user_range_ok(address, size))
		return -ENOMEM;
	uint64_t end = address + align_up(size, PAGE_SIZE);
	if (!user_range_ok(vector.address, (end - address) >> PAGE_SHIFT))
		return -EFAULT;
	while (address < end) {
		unsigned n = 0;
		int error = 0;
		rwsem_read_lock(&mm->lock);
		while (n < sizeof(chunk) && address < end && !error) {
			struct vma *v = vma_find_shown(mm, address);
			unsigned pages = (unsigned)min(sizeof(chunk) - n, (end - address) >> PAGE_SHIFT);
			if (!v || v->start > address) {
				error = -ENOMEM;
			} else {
				pages = chunk_in_core(mm, v, address, pages, chunk + n);
				n += pages;
				address += pages * PAGE_SIZE;
			}
		}
		rwsem_read_unlock(&mm->lock);
		if (error)
			return error;
		if (copy_to_user(vector, chunk, n))
			return -EFAULT;
		vector = uptr_add(vector, n);
	}
	return 0;
}
