// SPDX-License-Identifier: Apache-2.0
// Mappings that are the host's (vma_is_host()), for the files of kernel/mm. All of it only with PORT_HOST; elsewhere these do
// nothing and nobody calls them. mm.lock held, for writing unless a line says otherwise.
#pragma once

#include "kernel/mm.h"

// Makes the host map [start, end) as a mapping with these flags of `object` from its page `object_page` on, or of private memory.
// Does nothing for objects whose pages are frames. -ENOMEM, -EACCES and other errors of mmap(2).
int host_map(struct mm *mm, uint64_t start, uint64_t end, uint32_t flags, struct file *file, struct mobj *object,
	     uint64_t object_page);
int host_map_vma(struct mm *mm, const struct vma *v); // all of it
// A fault on a host's mapping that allows the access; read lock. 0: try again; FAULT_BUS; -EFAULT with *code = SEGV_*.
int host_fault(struct mm *mm, uint64_t va, bool write, int *code);
int host_populate(struct mm *mm, uint64_t start, uint64_t end, bool write); // read lock. -ENOMEM, FAULT_BUS, -EFAULT
// Advice for the part [start, end) of `v`: hints, and what may be refused. Read lock.
void host_hint(struct mm *mm, const struct vma *v, uint64_t start, uint64_t end, int advice);
// Tells the host what VMA_DONTFORK and VMA_WIPEONFORK say of the mapping.
int host_fork_advice(struct mm *mm, uint64_t start, uint64_t end, uint32_t flags);
