// SPDX-License-Identifier: Apache-2.0
// Mappings, for the files of kernel/mm. mm.lock held for writing, unless a line says otherwise.
#pragma once

#include "kernel/mm.h"

#define VMA_COUNT_MAX     65530u             // /proc/sys/vm/max_map_count
#define STACK_GUARD_BYTES (256u * PAGE_SIZE) // kept free below a growing stack

// Is it the host's mapping (port/host.h): private anonymous memory, or a file of the host? All others show frames. Never, where
// there is no host.
static inline bool vma_is_host(const struct vma *v) { return PORT_HOST && (!v->object || v->object->ops->host_file); }

// As mm_find() and vma_next(), for the program's calls: the port's own pages (VMA_HIDDEN) are holes to it.
static inline struct vma *vma_find_shown(struct mm *mm, uint64_t address)
{
	struct vma *v = mm_find(mm, address);

	while (v && v->flags & VMA_HIDDEN)
		v = mm_find(mm, v->end);
	return v;
}
static inline struct vma *vma_next_shown(const struct vma *v) { return vma_find_shown(v->mm, v->end); }

void vma_module_init(void);
struct vma *vma_create(struct mm *mm, uint64_t start, uint64_t end, uint32_t flags);          // not linked; NULL
void vma_attach(struct vma *v, struct file *file, struct mobj *object, uint64_t object_page); // takes references
void vma_free(struct vma *v); // not linked; drops its references; may sleep: without mm.lock if they may be the last
void vma_link(struct mm *mm, struct vma *v);
// Behind `last`, the highest there is; on the object's list behind `parent`, whose copy it is.
void vma_link_last(struct mm *mm, struct vma *v, struct vma *last, struct vma *parent);
void vma_unlink(struct vma *v);                               // its translations stay
void vma_unlink_final(struct vma *v);                         // from its object only: the tree is thrown away whole
void vma_resize(struct vma *v, uint64_t start, uint64_t end); // moves object_page with start
void vma_set_flags(struct vma *v, uint32_t flags);            // neither VMA_SHARED nor VMA_MAY_WRITE may change
int vma_split(struct vma *v, uint64_t at);                    // [start, at) stays v. -ENOMEM
struct vma *vma_merge(struct vma *v);      // with its neighbours where they are alike; the merged one
struct vma *vma_next(const struct vma *v); // reading suffices, as for the next three
struct vma *vma_prev(const struct vma *v);
struct vma *vma_first(struct mm *mm);
struct vma *vma_last(struct mm *mm);
uint64_t vma_find_gap(struct mm *mm, uint64_t size); // top-down; 0: none
uint64_t vma_find_gap_up(struct mm *mm, uint64_t low, uint64_t limit,
			 uint64_t size); // bottom-up in [low, limit); 0: none
