// SPDX-License-Identifier: Apache-2.0
// Requests to other address spaces, for the files of kernel/mm. What the rest of the kernel uses is in kernel/mm.h.
#pragma once

#include "kernel/mm.h"

void remote_init(struct mm *mm);
void remote_activate(struct mm *mm); // a host process backs it from now on; unmap_lock held
void remote_close(struct mm *mm);    // it is torn down: answers what is still queued
// Runs fn(mm, arg) with unmap_lock held, where frames can be taken out of the address space. Callers hold mobj.vma_lock.
void remote_unmap(struct mm *mm, void (*fn)(struct mm *mm, void *arg), void *arg);
// mm_access() and mm_access_checked(), by a task that runs there.
size_t remote_access(struct mm *mm, uint64_t address, void *buffer, size_t size, bool write, bool forced);
