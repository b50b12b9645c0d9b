// SPDX-License-Identifier: Apache-2.0
// mlock(2) and its family. Nothing is ever swapped: locking means populating, counting against RLIMIT_MEMLOCK, and keeping
// MADV_DONTNEED away.
#include <linux/mman.h>

#include "internal.h"
#include "kernel/errno.h"
#include "kernel/syscalls.h"
#include "kernel/task.h"
#include "map.h"
#include "vma.h"

#define CAP_IPC_LOCK_BIT 14

static bool may_lock(void)
{
	return cred_capable(current->cred, CAP_IPC_LOCK_BIT) || process_rlimit(current->process, RLIMIT_MEMLOCK) > 0;
}

// Pages of the range that are locked already: they do not count twice.
static uint64_t locked_in_range(struct mm *mm, uint64_t start, uint64_t end)
{
	uint64_t pages = 0;
	for (struct vma *v = mm_find(mm, start); v && v->start < end; v = vma_next(v))
		if (v->flags & VMA_LOCKED)
			pages += (min(v->end, end) - max(v->start, start)) >> PAGE_SHIFT;
	return pages;
}

static long lock_range(uint64_t address, uint64_t size, bool populate)
{
	struct mm *mm = current->mm;
	if (!may_lock())
		return -EPERM;
	uint64_t start = align_down(address, PAGE_SIZE);
	uint64_t bytes = align_up(size + (address - start), PAGE_SIZE);
	if (start + bytes < start || bytes < size)
		return -EINVAL;
	if (!bytes)
		return 0;
	rwsem_write_lock(&mm->lock);
	uint64_t new_pages =
		(bytes >> PAGE_SHIFT) - min(locked_in_range(mm, start, start + bytes), bytes >> PAGE_SHIFT);
	int error = mm_check_locked(mm, new_pages) ? -ENOMEM : 0;
	if (!error)
		error = mm_change_flags_locked(mm, start, start + bytes, VMA_LOCKED, 0, true);
	rwsem_write_unlock(&mm->lock);
	if (error || !populate)
		return error;
	error = mm_populate(mm, start, bytes, false);
	return error == -EFAULT ? -ENOMEM : error == -ENOMEM ? -EAGAIN : error;
}

long sys_mlock(uint64_t address, uint64_t size) { return lock_range(address, size, true); }

long sys_mlock2(uint64_t address, uint64_t size, int flags)
{
	return flags & ~MLOCK_ONFAULT ? -EINVAL : lock_range(address, size, !(flags & MLOCK_ONFAULT));
}

long sys_munlock(uint64_t address, uint64_t size)
{
	struct mm *mm = current->mm;
	uint64_t start = align_down(address, PAGE_SIZE);
	uint64_t bytes = align_up(size + (address - start), PAGE_SIZE);
	if (start + bytes < start || bytes < size)
		return -EINVAL;
	rwsem_write_lock(&mm->lock);
	int error = mm_change_flags_locked(mm, start, start + bytes, 0, VMA_LOCKED, true);
	rwsem_write_unlock(&mm->lock);
	return error;
}

static void populate_all(struct mm *mm)
{
	struct vma_info v;
	for (uint64_t at = 0; mm_next_vma(mm, at, &v); at = v.end) {
		mm_info_put(&v);
		if (v.flags & VMA_LOCKED)
			(void)mm_populate(mm, v.start, v.end - v.start, false);
		if (fatal_signal_pending(current))
			return;
	}
}

long sys_mlockall(int flags)
{
	struct mm *mm = current->mm;
	if (!flags || flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) || flags == MCL_ONFAULT)
		return -EINVAL;
	if (!may_lock())
		return -EPERM;
	int error = 0;
	rwsem_write_lock(&mm->lock);
	if (flags & MCL_CURRENT && mm_check_locked(mm, mm->total_pages - mm->locked_pages))
		error = -ENOMEM;
	if (!error) {
		mm->lock_future = flags & MCL_FUTURE ? VMA_LOCKED : 0;
		if (flags & MCL_CURRENT) // holes are no error here
			(void)mm_change_flags_locked(mm, PORT_USER_START, port_user_end(), VMA_LOCKED, 0, false);
	}
	rwsem_write_unlock(&mm->lock);
	if (!error && (flags & (MCL_CURRENT | MCL_ONFAULT)) == MCL_CURRENT)
		populate_all(mm);
	return error;
}

long sys_munlockall(void)
{
	struct mm *mm = current->mm;
	rwsem_write_lock(&mm->lock);
	mm->lock_future = 0;
	(void)mm_change_flags_locked(mm, PORT_USER_START, port_user_end(), 0, VMA_LOCKED, false);
	rwsem_write_unlock(&mm->lock);
	return 0;
}
