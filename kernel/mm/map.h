// SPDX-License-Identifier: Apache-2.0
// Changing mappings with mm.lock already held for writing, for the system calls in this directory.
#pragma once

#include "kernel/mm.h"
#include "kernel/uaccess.h"
#include "lib/list.h"

void vma_list_free(
	struct list *gone); // mappings taken out of the tree, linked by object_node; after mm.lock was released

extern struct page *mm_zero_page; // mapped read-only wherever anonymous memory was only read; not counted

void mm_unmap_pages(struct mm *mm, uint64_t start, uint64_t end);        // translations only, or what the host maps
void mm_unmap_pages_locked(struct mm *mm, uint64_t start, uint64_t end); // unmap_lock held
// The port's own pages (VMA_HIDDEN) in [start, end) make room, what jumps there is put back (code.c). -EAGAIN, -ENOMEM.
int code_pages_leave(struct mm *mm, uint64_t start, uint64_t end, struct list *gone);
int mm_unmap_locked(struct mm *mm, uint64_t start, uint64_t end, struct list *gone);
long mm_choose_address(struct mm *mm, uint64_t hint, uint64_t size, unsigned map_flags, struct list *gone);
int mm_map_locked(struct mm *mm, uint64_t start, uint64_t end, uint32_t flags, struct file *file, struct mobj *object,
		  uint64_t object_page, const char *name);
int mm_protect_locked(struct mm *mm, uint64_t start, uint64_t end, unsigned prot);
int mm_check_limits(struct mm *mm, uint64_t pages, uint32_t flags); // -ENOMEM
int mm_check_locked(struct mm *mm, uint64_t pages);                 // RLIMIT_MEMLOCK: -EAGAIN
int mm_change_flags_locked(struct mm *mm, uint64_t start, uint64_t end, uint32_t set, uint32_t clear, bool strict);
void mm_info_put(struct vma_info *v);
// May ptrace (forced), or a process with mere access, touch this mapping?
bool mm_may_access(const struct vma *v, bool write, bool forced);
// Makes the page at `va` one that a forced access finds once its protection is lifted (PORT_HOST). mm.lock write.
int mm_prepare_forced(struct mm *mm, struct vma *v, uint64_t va, bool write);
// As mm_access(), within what the mappings' protection allows.
size_t mm_access_checked(struct mm *mm, uint64_t address, void *buffer, size_t size, bool write);
int mm_advise(struct mm *mm, uint64_t address, uint64_t size, int advice); // madvise(2)
