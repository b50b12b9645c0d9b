// SPDX-License-Identifier: Apache-2.0
// What /proc shows of an address space: its mappings one by one, and what is in them.
#include "internal.h"
#include "kernel/fs.h"
#include "lib/string.h"
#include "map.h"
#include "port/host.h"
#include "vma.h"

#define COUNT_PERIOD_NS (200 * UINT64_C(1000000))

static const char *vma_name(const struct mm *mm, const struct vma *v)
{
	if (v->name)
		return v->name;
	if (v->flags & VMA_HEAP ||
	    (!v->object && v->start < mm->brk_end && v->end > mm->brk_start && mm->brk_end > mm->brk_start))
		return "[heap]";
	if (!v->object && v->start <= mm->stack_top && v->end >= mm->stack_top)
		return "[stack]";
	return v->flags & VMA_STACK ? "[stack]" : NULL;
}

bool mm_next_vma(struct mm *mm, uint64_t address, struct vma_info *out)
{
	rwsem_read_lock(&mm->lock);
	struct vma *v = mm_find(mm, address);
	while (v && v->flags & VMA_HIDDEN)
		v = vma_next(v);
	if (v) {
		*out = (struct vma_info){ .start = v->start,
					  .end = v->end,
					  .flags = v->flags,
					  .file = v->file,
					  .name = vma_name(mm, v),
					  .offset_bytes = v->object ? v->object_page << PAGE_SHIFT : 0 };
		if (out->file)
			file_get(out->file);
	}
	rwsem_read_unlock(&mm->lock);
	return v != NULL;
}

void mm_info_put(struct vma_info *v)
{
	if (v->file)
		file_put(v->file);
	v->file = NULL;
}

static void count_page(struct vma_usage *u, const struct port_pte *pte)
{
	struct page *p = page_from_frame(pte->frame);
	if (!p || p == mm_zero_page)
		return;
	bool cached = page_test(p, PAGE_CACHE);
	int32_t maps = max(refcount_read(&p->refs) - (cached && p->object ? 1 : 0), 1);
	bool dirty = cached ? page_test(p, PAGE_DIRTY) : true;
	u->resident++;
	u->anonymous += !cached;
	u->referenced += pte->accessed;
	u->pss_bytes += PAGE_SIZE / (uint64_t)maps;
	if (maps > 1)
		*(dirty ? &u->shared_dirty : &u->shared_clean) += 1;
	else
		*(dirty ? &u->private_dirty : &u->private_clean) += 1;
}

// Which of the pages from `start` to `end` of a host's mapping are there: one byte each, at most CHUNK_PAGES. Pages looked at.
#define CHUNK_PAGES 512u
static uint64_t host_chunk(struct mm *mm, uint64_t start, uint64_t end, uint8_t *chunk)
{
	uint64_t pages = min((end - start) >> PAGE_SHIFT, (uint64_t)CHUNK_PAGES);
	if (port_aspace_resident(mm->aspace, start, start + (pages << PAGE_SHIFT), chunk))
		memset(chunk, 0, pages);
	return pages;
}

// A mapping that memory cannot fill is reserved for what is far apart (the shadow of a sanitizer: 14 TiB), and to look through it takes
// the host seconds. What little is there is not counted.
#define VAST_PAGES ((UINT64_C(64) << 30) >> PAGE_SHIFT)
static bool is_vast(uint64_t pages)
{
	struct page_stats stats;
	if (pages <= VAST_PAGES)
		return false;
	page_stats_get(&stats);
	return pages > stats.total_pages;
}

static uint64_t host_resident(struct mm *mm, uint64_t start, uint64_t end)
{
	uint8_t chunk[CHUNK_PAGES];
	uint64_t resident = 0;
	if (is_vast((end - start) >> PAGE_SHIFT))
		return 0;
	while (start < end) {
		uint64_t pages = host_chunk(mm, start, end, chunk);
		for (uint64_t i = 0; i < pages; i++)
			resident += chunk[i] & 1;
		start += pages << PAGE_SHIFT;
	}
	return resident;
}

// The host does not say whose the pages are or what was done to them: this is what they mostly are.
static void count_host(struct vma_usage *u, const struct vma *v, uint64_t resident)
{
	u->resident += resident;
	u->referenced += resident;
	u->pss_bytes += resident << PAGE_SHIFT;
	if (!v->object) {
		u->anonymous += resident;
		u->private_dirty += resident;
	} else if (v->flags & VMA_SHARED) {
		u->shared_clean += resident;
	} else {
		u->private_clean += resident;
	}
}

struct usage {
	uint64_t start, end;
	struct vma_usage *out;
};

static void usage_here(struct mm *mm, void *arg)
{
	struct usage *u = arg;
	rwsem_read_lock(&mm->lock);
	for (struct vma *v = mm_find(mm, u->start); v && v->start < u->end; v = vma_next(v)) {
		uint64_t start = max(u->start, v->start), end = min(u->end, v->end);
		if (vma_is_host(v)) {
			count_host(u->out, v, host_resident(mm, start, end));
			continue;
		}
		for (uint64_t va = start; va < end; va += PAGE_SIZE) {
			struct port_pte pte;
			port_aspace_get_page(mm->aspace, va, &pte);
			if (pte.present)
				count_page(u->out, &pte);
		}
	}
	rwsem_read_unlock(&mm->lock);
}

void mm_vma_usage(struct mm *mm, uint64_t start, uint64_t end, struct vma_usage *out)
{
	struct usage u = { .start = start, .end = end, .out = out };
	*out = (struct vma_usage){ 0 };
	(void)mm_run_in(mm, usage_here, &u, MM_RUN_SLEEPS); // or nothing, when it is going
}

static void resident_here(struct mm *mm, void *arg)
{
	uint64_t anonymous = 0, file = 0;
	rwsem_read_lock(&mm->lock);
	for (struct vma *v = mm_find(mm, 0); v; v = vma_next(v))
		if (vma_is_host(v) && v->flags & 7u) // what nobody may touch is hardly ever there, and often vast
			*(v->object ? &file : &anonymous) += host_resident(mm, v->start, v->end);
	rwsem_read_unlock(&mm->lock);
	__atomic_store_n(&mm->host_anon, anonymous, __ATOMIC_RELAXED);
	__atomic_store_n(&mm->host_file, file, __ATOMIC_RELAXED);
	__atomic_store_n(&mm->counted_ns, port_time_ns(), __ATOMIC_RELAXED);
}

static void count_now(struct mm *mm)
{
	uint64_t age = port_time_ns() - __atomic_load_n(&mm->counted_ns, __ATOMIC_RELAXED);
	// Others are not disturbed by everybody who looks.
	if (port_aspace_is_current(mm->aspace) || age > COUNT_PERIOD_NS)
		(void)mm_run_in(mm, resident_here, NULL, MM_RUN_SLEEPS); // else what was last counted
}

void mm_resident_count(struct mm *mm, uint64_t *anonymous, uint64_t *file)
{
	if (PORT_HOST)
		count_now(mm);
	(void)mm_resident_pages(mm);
	*anonymous = __atomic_load_n(&mm->resident_anon, __ATOMIC_RELAXED) +
		     __atomic_load_n(&mm->host_anon, __ATOMIC_RELAXED);
	*file = __atomic_load_n(&mm->resident_file, __ATOMIC_RELAXED) +
		__atomic_load_n(&mm->host_file, __ATOMIC_RELAXED);
}

static bool object_has(struct mobj *o, uint64_t index)
{
	struct page *p = mobj_find(o, index);
	if (p)
		page_put(p);
	return p != NULL;
}

static bool is_present(struct mm *mm, const struct vma *v, uint64_t va)
{
	struct port_pte pte;
	port_aspace_get_page(mm->aspace, va, &pte);
	return pte.present || (v->object && object_has(v->object, v->object_page + ((va - v->start) >> PAGE_SHIFT)));
}

void mm_present(struct mm *mm, uint64_t start, uint8_t *present, size_t count)
{
	memset(present, 0, count);
	rwsem_read_lock(&mm->lock);
	struct vma *v = mm_find(mm, start);
	if (v && v->object && (vma_is_host(v) || mobj_has_backing(v->object))) {
		memset(present, 1, count);
	} else if (v && vma_is_host(v)) {
		if (port_aspace_resident(mm->aspace, start, start + (count << PAGE_SHIFT), present))
			memset(present, 0, count);
		for (size_t i = 0; i < count; i++)
			present[i] &= 1;
	} else if (v) {
		for (size_t i = 0; i < count; i++)
			present[i] = is_present(mm, v, start + (i << PAGE_SHIFT));
	}
	rwsem_read_unlock(&mm->lock);
}

// Documentation/admin-guide/mm/pagemap.rst: bit 63 present, 61 file page or shared anonymous; frame numbers are not shown.
#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define PAGEMAP_FILE    (UINT64_C(1) << 61)

struct pagemap {
	uint64_t start;
	uint64_t *out;
	size_t count;
};

static uint64_t pagemap_entry(struct mm *mm, uint64_t va)
{
	struct port_pte pte;
	struct vma *v = PORT_HOST ? mm_find(mm, va) : NULL;
	if (v && va >= v->start && vma_is_host(v)) {
		bool there = host_resident(mm, va, va + PAGE_SIZE);
		return there ? PAGEMAP_PRESENT | (v->object ? PAGEMAP_FILE : 0) : 0;
	}
	port_aspace_get_page(mm->aspace, va, &pte);
	struct page *p = pte.present ? page_from_frame(pte.frame) : NULL;
	return p ? PAGEMAP_PRESENT | (page_test(p, PAGE_CACHE) ? PAGEMAP_FILE : 0) : 0;
}

static void pagemap_here(struct mm *mm, void *arg)
{
	struct pagemap *m = arg;
	rwsem_read_lock(&mm->lock);
	for (size_t i = 0; i < m->count; i++) {
		uint64_t va = m->start + i * PAGE_SIZE;
		if (va < port_user_end())
			m->out[i] = pagemap_entry(mm, va);
	}
	rwsem_read_unlock(&mm->lock);
}

void mm_pagemap(struct mm *mm, uint64_t start, uint64_t *out, size_t count)
{
	struct pagemap m = { .start = start, .out = out, .count = count };
	memset(out, 0, count * sizeof(*out));
	(void)mm_run_in(mm, pagemap_here, &m, MM_RUN_SLEEPS);
}
