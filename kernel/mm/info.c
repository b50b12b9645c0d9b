// SPDX-License-Identifier: Apache-2.0
// What /proc shows of an address space: its mappings one by one, and what is in them.
#include "internal.h"
#include "kernel/fs.h"
#include "map.h"
#include "vma.h"

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

void mm_vma_usage(struct mm *mm, uint64_t start, uint64_t end, struct vma_usage *out)
{
	*out = (struct vma_usage){ 0 };
	rwsem_read_lock(&mm->lock);
	for (struct vma *v = mm_find(mm, start); v && v->start < end; v = vma_next(v)) {
		for (uint64_t va = max(start, v->start); va < min(end, v->end); va += PAGE_SIZE) {
			struct port_pte pte;
			port_aspace_get_page(mm->aspace, va, &pte);
			if (pte.present)
				count_page(out, &pte);
		}
	}
	rwsem_read_unlock(&mm->lock);
}

// Documentation/admin-guide/mm/pagemap.rst: bit 63 present, 61 file page or shared anonymous; frame numbers are not shown.
void mm_pagemap(struct mm *mm, uint64_t start, uint64_t *out, size_t count)
{
	rwsem_read_lock(&mm->lock);
	for (size_t i = 0; i < count; i++) {
		struct port_pte pte;
		uint64_t va = start + i * PAGE_SIZE;
		out[i] = 0;
		if (va >= port_user_end())
			continue;
		port_aspace_get_page(mm->aspace, va, &pte);
		struct page *p = pte.present ? page_from_frame(pte.frame) : NULL;
		if (p)
			out[i] = UINT64_C(1) << 63 | (page_test(p, PAGE_CACHE) ? UINT64_C(1) << 61 : 0);
	}
	rwsem_read_unlock(&mm->lock);
}
