// SPDX-License-Identifier: Apache-2.0
// The memory of other processes: process_vm_readv(2), process_vm_writev(2), through a buffer of the kernel's; process_madvise(2).
#include <linux/mman.h>

#include "internal.h"
#include "kernel/errno.h"
#include "kernel/fs.h"
#include "kernel/slab.h"
#include "kernel/syscalls.h"
#include "kernel/task.h"
#include "map.h"

#define VECTOR_MAX  1024u                                    // UIO_MAXIOV
#define CHUNK_BYTES (PORT_HOST ? 16 * PAGE_SIZE : PAGE_SIZE) // moved at a time: each may be a request to another task

// Moves [address, address + size) of `mm` to or from the local iterator. Bytes moved.
static size_t move_segment(struct mm *mm, uint64_t address, size_t size, struct iov_iter *local, char *chunk,
			   bool write)
{
	size_t done = 0;
	while (done < size && local->count) {
		size_t n = min(min(size - done, local->count), (size_t)(CHUNK_BYTES - (address & ~PAGE_MASK)));
		size_t moved;
		if (write) {
			n = iov_copy_from(chunk, local, n);
			moved = n ? mm_access_checked(mm, address, chunk, n, true) : 0;
		} else {
			moved = mm_access_checked(mm, address, chunk, n, false);
			moved = moved ? iov_copy_to(local, chunk, moved) : 0;
		}
		done += moved;
		address += moved;
		if (moved < n || !n)
			break;
	}
	return done;
}

static long target_mm(pid_t pid, struct mm **out)
{
	struct task *t = task_find(pid_meant(pid));
	if (!t)
		return -ESRCH;
	long error = ptrace_may_access(t);
	*out = error ? NULL : task_mm_get(t);
	task_put(t);
	return error ? error : *out ? 0 : -ESRCH;
}

static long process_vm(pid_t pid, struct uptr local, uint64_t local_count, struct uptr remote, uint64_t remote_count,
		       uint64_t flags, bool write)
{
	struct iov_vector lv, rv;
	struct iov_iter li, ri;
	struct mm *mm = NULL;
	char *chunk = NULL;
	if (flags || local_count > VECTOR_MAX || remote_count > VECTOR_MAX)
		return -EINVAL;
	long result = iov_import(&lv, local, local_count, &li);
	if (result)
		goto out_local;
	result = iov_import(&rv, remote, remote_count, &ri);
	if (result || !li.count || !ri.count)
		goto out;
	result = target_mm(pid, &mm);
	if (result)
		goto out;
	chunk = kalloc(CHUNK_BYTES);
	result = chunk ? 0 : -ENOMEM;
	size_t total = 0;
	for (uint64_t i = 0; chunk && i < remote_count && li.count; i++) {
		size_t n = min((size_t)rv.segments[i].size, li.count);
		size_t moved = move_segment(mm, rv.segments[i].address, n, &li, chunk, write);
		total += moved;
		if (moved < n) {
			result = -EFAULT;
			break;
		}
	}
	if (total)
		result = (long)total;
out:
	if (mm)
		mm_release_user(mm);
	kfree(chunk);
	iov_import_done(&rv);
out_local:
	iov_import_done(&lv);
	return result;
}

long sys_process_vm_readv(pid_t pid, struct uptr local, uint64_t local_count, struct uptr remote, uint64_t remote_count,
			  uint64_t flags)
{
	return process_vm(pid, local, local_count, remote, remote_count, flags, false);
}

long sys_process_vm_writev(pid_t pid, struct uptr local, uint64_t local_count, struct uptr remote,
			   uint64_t remote_count, uint64_t flags)
{
	return process_vm(pid, local, local_count, remote, remote_count, flags, true);
}

// ---- process_madvise ----

// Only hints may be given for another process.
static bool is_hint(int advice) { return advice == MADV_COLD || advice == MADV_PAGEOUT || advice == MADV_WILLNEED; }

// The address space behind a process descriptor, as a user reference.
static long pidfd_mm_get(int fd, struct mm **out)
{
	bool nonblock;
	struct pid *pid = pidfd_get(fd, &nonblock);
	if (is_err(pid))
		return ptr_err(pid);
	struct task *t = task_find(pid->number);
	pid_put(pid);
	if (!t)
		return -ESRCH;
	long error = ptrace_may_access(t);
	*out = error ? NULL : task_mm_get(t);
	task_put(t);
	return error ? error : *out ? 0 : -ESRCH;
}

long sys_process_madvise(int fd, struct uptr vector, size_t count, int advice, unsigned flags)
{
	struct iov_vector v;
	struct iov_iter iter;
	struct mm *mm = NULL;
	if (flags)
		return -EINVAL;
	long result = iov_import(&v, vector, count, &iter);
	if (result)
		goto out;
	result = pidfd_mm_get(fd, &mm);
	if (result)
		goto out;
	if (mm != current->mm && !is_hint(advice)) {
		result = -EINVAL;
		goto out;
	}
	long done = 0;
	for (size_t i = 0; i < count && !result; i++) {
		result = mm_advise(mm, v.segments[i].address, v.segments[i].size, advice);
		if (!result)
			done += (long)v.segments[i].size;
	}
	if (done)
		result = done;
out:
	if (mm)
		mm_release_user(mm);
	iov_import_done(&v);
	return result;
}
