// SPDX-License-Identifier: Apache-2.0
// Mapping, unmapping and protecting ranges of an address space: what mmap, munmap, mprotect, brk and exec do.
//
// mm.lock is held for writing while the tree changes. References that mappings held are dropped after it is released: the last
// one of a file may talk to its file system.
#include "map.h"

#include <linux/mman.h>

#include "host.h"
#include "internal.h"
#include "kernel/errno.h"
#include "kernel/sched.h"
#include "kernel/task.h"
#include "vma.h"

// ---- pages go ----

#define GONE_BATCH 32u

struct gone {
	struct mm *mm;
	int64_t anonymous, file;
	unsigned count;
	struct page *pages[GONE_BATCH];
};

static void gone_flush(struct gone *g)
{
	page_free_batch(g->pages, g->count);
	g->count = 0;
}

static void page_gone(void *context, uint64_t va, const struct port_pte *pte)
{
	struct gone *g = context;
	struct page *p = page_from_frame(pte->frame);
	if (p == mm_zero_page)
		return;
	if (p->flags & 1u << PAGE_CACHE)
		g->file++;
	else
		g->anonymous++;
	if (refcount_put(&p->refs)) {
		g->pages[g->count++] = p;
		if (g->count == GONE_BATCH)
			gone_flush(g);
	}
}

uint64_t mm_resident_pages(struct mm *mm)
{
	int64_t anonymous = (int64_t)__atomic_load_n(&mm->resident_anon, __ATOMIC_RELAXED);
	int64_t file = (int64_t)__atomic_load_n(&mm->resident_file, __ATOMIC_RELAXED);
	uint64_t now = (uint64_t)max(anonymous + file, INT64_C(0));
	if (PORT_HOST)
		now += __atomic_load_n(&mm->host_anon, __ATOMIC_RELAXED) +
		       __atomic_load_n(&mm->host_file, __ATOMIC_RELAXED);
	if (now > mm->peak_resident)
		mm->peak_resident = now;
	return now;
}

void mm_unmap_pages(struct mm *mm, uint64_t start, uint64_t end)
{
	mutex_lock(&mm->unmap_lock);
	mm_unmap_pages_locked(mm, start, end);
	mutex_unlock(&mm->unmap_lock);
}

void mm_unmap_pages_locked(struct mm *mm, uint64_t start, uint64_t end)
{
	struct gone g = { .mm = mm };
	port_aspace_unmap(mm->aspace, start, end, page_gone, &g);
	gone_flush(&g);
	if (!(g.anonymous | g.file))
		return;
	mm_resident_pages(mm);
	__atomic_fetch_sub(&mm->resident_anon, (uint64_t)g.anonymous, __ATOMIC_RELAXED);
	__atomic_fetch_sub(&mm->resident_file, (uint64_t)g.file, __ATOMIC_RELAXED);
}

// ---- limits ----

static uint64_t limit_pages(unsigned resource)
{
	struct process *p = current ? current->process : NULL;
	return p ? process_rlimit(p, resource) >> PAGE_SHIFT : UINT64_MAX >> PAGE_SHIFT;
}

static bool is_data(uint32_t flags)
{
	return (flags & (VMA_WRITE | VMA_SHARED | VMA_STACK | VMA_GROWSDOWN)) == VMA_WRITE;
}

int mm_check_limits(struct mm *mm, uint64_t pages, uint32_t flags)
{
	if (mm->total_pages + pages > limit_pages(RLIMIT_AS))
		return -ENOMEM;
	if (is_data(flags) && mm->data_pages + pages > limit_pages(RLIMIT_DATA))
		return -ENOMEM;
	// Overcommit as Linux's heuristic: only what can never be had is refused. A host judges for itself.
	if (PORT_DEMAND_PAGING && (flags & (VMA_WRITE | VMA_NORESERVE | VMA_SHARED)) == VMA_WRITE &&
	    pages > page_total_count())
		return -ENOMEM;
	return 0;
}

int mm_check_locked(struct mm *mm, uint64_t pages)
{
	if (!current || cred_capable(current->cred, 14)) // CAP_IPC_LOCK
		return 0;
	return mm->locked_pages + pages > limit_pages(RLIMIT_MEMLOCK) ? -EAGAIN : 0;
}

// ---- unmap ----

// What is left of the range is unmapped around the port's own pages (VMA_HIDDEN): the program does not know that they are there.
int mm_unmap_locked(struct mm *mm, uint64_t start, uint64_t end, struct list *gone)
{
	struct vma *v = mm_find(mm, start);
	if (!v || v->start >= end)
		return 0;
	int error = v->start < start ? vma_split(v, start) : 0;
	if (error)
		return error;
	struct vma *last = mm_find(mm, end - 1);
	if (last && last->start < end && last->end > end)
		error = vma_split(last, end);
	if (error)
		return error;
	v = mm_find(mm, start);
	while (v && v->start < end) {
		struct vma *next = vma_next(v);
		if (v->flags & VMA_HIDDEN) {
			if (start < v->start)
				mm_unmap_pages(mm, start, v->start);
			start = v->end;
		} else {
			vma_unlink(v);
			list_add(gone, &v->object_node);
		}
		v = next;
	}
	if (start < end)
		mm_unmap_pages(mm, start, end);
	return 0;
}

void vma_list_free(struct list *gone)
{
	while (!list_empty(gone)) {
		struct vma *v = list_first(gone, struct vma, object_node);
		list_remove(&v->object_node);
		vma_free(v);
	}
}

int mm_unmap(struct mm *mm, uint64_t start, uint64_t size)
{
	if (start & ~PAGE_MASK || !size || !user_range_ok(start, size))
		return -EINVAL;
	size = align_up(size, PAGE_SIZE);
	struct list gone = LIST_INIT(gone);
	rwsem_write_lock(&mm->lock);
	int error = mm_unmap_locked(mm, start, start + size, &gone);
	rwsem_write_unlock(&mm->lock);
	vma_list_free(&gone);
	return error;
}

// ---- map ----

static bool range_free(struct mm *mm, uint64_t start, uint64_t size)
{
	struct vma *v = mm_find(mm, start);
	return !v || v->start >= start + size;
}

// Is there anything that the program knows of?
static bool range_shown(struct mm *mm, uint64_t start, uint64_t size)
{
	struct vma *v = vma_find_shown(mm, start);
	return v && v->start < start + size;
}

// Chooses and, for MAP_FIXED, clears the place of a new mapping. Address or -errno.
long mm_choose_address(struct mm *mm, uint64_t hint, uint64_t size, unsigned map_flags, struct list *gone)
{
	uint64_t user_end = port_user_end();
	if (size > user_end)
		return -ENOMEM;
	if (map_flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
		if (hint & ~PAGE_MASK)
			return -EINVAL;
		if (!user_range_ok(hint, size))
			return -ENOMEM;
		if (hint < PORT_USER_START)
			return -EPERM;
		if (map_flags & MAP_FIXED_NOREPLACE && range_shown(mm, hint, size))
			return -EEXIST;
		int error = code_pages_leave(mm, hint, hint + size, gone);
		if (!error && !(map_flags & MAP_FIXED_NOREPLACE))
			error = mm_unmap_locked(mm, hint, hint + size, gone);
		return error ? error : (long)hint;
	}
	if (hint) {
		hint = max(align_up(hint, PAGE_SIZE), PORT_USER_START);
		uint64_t limit = map_flags & MAP_32BIT ? UINT64_C(0x80000000) : user_end;
		struct vma *next = mm_find(mm, hint);
		bool guarded = next && next->flags & VMA_GROWSDOWN && next->start < hint + size + STACK_GUARD_BYTES;
		if (user_range_ok(hint, size) && hint + size <= limit && range_free(mm, hint, size) && !guarded)
			return (long)hint;
	}
	uint64_t start =
		map_flags & MAP_32BIT ? vma_find_gap_up(mm, 0x40000000, 0x80000000, size) : vma_find_gap(mm, size);
	return start ? (long)start : -ENOMEM;
}

// Grows the neighbour instead of making a mapping that would be merged at once: the usual case for anonymous memory.
static bool extend_neighbour(struct mm *mm, uint64_t start, uint64_t end, uint32_t flags)
{
	struct vma *next = mm_find(mm, start);
	struct vma *prev = next ? vma_prev(next) : vma_last(mm);
	if (flags & (VMA_GROWSDOWN | VMA_SPECIAL))
		return false;
	if (prev && prev->end == start && !prev->object && !prev->name && !((prev->flags ^ flags) & ~VMA_HAS_ANON)) {
		vma_resize(prev, prev->start, end);
		vma_merge(prev);
		return true;
	}
	if (next && next->start == end && !next->object && !next->name && !((next->flags ^ flags) & ~VMA_HAS_ANON)) {
		vma_resize(next, start, next->end);
		return true;
	}
	return false;
}

int mm_map_locked(struct mm *mm, uint64_t start, uint64_t end, uint32_t flags, struct file *file, struct mobj *object,
		  uint64_t object_page, const char *name)
{
	int error = host_map(mm, start, end, flags, file, object, object_page);
	if (error)
		return error;
	// The host's copies on write come unseen.
	if (PORT_HOST && (!object || object->ops->host_file) && (flags & (VMA_SHARED | VMA_WRITE)) == VMA_WRITE)
		flags |= VMA_HAS_ANON;
	if (!object && !name && extend_neighbour(mm, start, end, flags))
		return 0;
	struct vma *v = mm->vma_count < VMA_COUNT_MAX ? vma_create(mm, start, end, flags) : NULL;
	if (!v) {
		if (PORT_HOST)
			mm_unmap_pages(mm, start, end);
		return -ENOMEM;
	}
	v->name = name;
	vma_attach(v, file, object, object_page);
	vma_link(mm, v);
	if (object)
		vma_merge(v);
	return 0;
}

long mm_map(struct mm *mm, uint64_t hint, uint64_t size, unsigned flags, unsigned map_flags, struct file *file,
	    struct mobj *object, uint64_t object_page, const char *name)
{
	struct list gone = LIST_INIT(gone);
	size = align_up(size, PAGE_SIZE);
	if (!size)
		return -ENOMEM;
	if (!hint && object && !object_page && !(map_flags & (MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_32BIT)) &&
	    !(flags & VMA_SHARED))
		hint = placement_of_library(object, size);
	rwsem_write_lock(&mm->lock);
	flags |= mm->lock_future;
	long start = mm_choose_address(mm, hint, size, map_flags, &gone);
	int error = start < 0 ? (int)start : mm_check_limits(mm, size >> PAGE_SHIFT, flags);
	if (!error && flags & VMA_LOCKED)
		error = mm_check_locked(mm, size >> PAGE_SHIFT);
	if (!error)
		error = mm_map_locked(mm, (uint64_t)start, (uint64_t)start + size, flags, file, object, object_page,
				      name);
	rwsem_write_unlock(&mm->lock);
	vma_list_free(&gone);
	if (error)
		return error;
	if ((flags & VMA_LOCKED || map_flags & MAP_POPULATE) && !(map_flags & MAP_NONBLOCK) &&
	    flags & (VMA_READ | VMA_WRITE | VMA_EXEC))
		(void)mm_populate(mm, (uint64_t)start, size, false);
	return start;
}

// ---- protect ----

static int may_protect(const struct vma *v, unsigned prot)
{
	uint32_t may = (v->flags & VMA_MAY_READ ? VMA_READ : 0) | (v->flags & VMA_MAY_WRITE ? VMA_WRITE : 0) |
		       (v->flags & VMA_MAY_EXEC ? VMA_EXEC : 0);
	return prot & ~may ? -EACCES : 0;
}

static int protect_one(struct mm *mm, struct vma *v, uint64_t start, uint64_t end, unsigned prot, struct vma **merged)
{
	uint32_t flags = (v->flags & ~7u) | prot;
	*merged = v;
	if (flags == v->flags)
		return 0;
	if (is_data(flags) && !is_data(v->flags)) {
		int error = mm->data_pages + ((end - start) >> PAGE_SHIFT) > limit_pages(RLIMIT_DATA) ? -ENOMEM : 0;
		if (error)
			return error;
	}
	int error = vma_split(v, start);
	if (!error && v->start < start)
		v = vma_next(v);
	if (!error)
		error = vma_split(v, end);
	if (error)
		return error;
	if (PORT_HOST && (flags & (VMA_SHARED | VMA_WRITE)) == VMA_WRITE)
		flags |= VMA_HAS_ANON;
	vma_set_flags(v, flags);
	// Whether a page may be written is for the next fault to say: it may be shared with a child or clean in the page cache. A host
	// keeps that to itself.
	if (v->flags & VMA_HAS_ANON || v->object || PORT_HOST)
		port_aspace_protect(mm->aspace, start, end, prot, !PORT_HOST, NULL, NULL);
	*merged = vma_merge(v);
	return 0;
}

int mm_protect_locked(struct mm *mm, uint64_t start, uint64_t end, unsigned prot)
{
	struct vma *v = vma_find_shown(mm, start);
	if (!v || v->start > start)
		return -ENOMEM;
	uint64_t at = start;
	while (at < end) {
		if (!v || v->start > at)
			return -ENOMEM;
		uint64_t until = min(v->end, end);
		int error = v->flags & VMA_SPECIAL && prot & VMA_WRITE ? -EACCES : may_protect(v, prot);
		if (!error)
			error = protect_one(mm, v, at, until, prot, &v);
		if (error)
			return error;
		at = until;
		if (v->end <= at)
			v = vma_next_shown(v);
	}
	return 0;
}

int mm_protect(struct mm *mm, uint64_t start, uint64_t size, unsigned prot)
{
	rwsem_write_lock(&mm->lock);
	int error = mm_protect_locked(mm, start, start + align_up(size, PAGE_SIZE), prot);
	rwsem_write_unlock(&mm->lock);
	return error;
}
