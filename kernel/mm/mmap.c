// SPDX-License-Identifier: Apache-2.0
// mmap(2), munmap(2), mprotect(2), brk(2), remap_file_pages(2), pkey_*(2).
//
// Decode and check everything, then call map.c. Errors in the order Linux finds them, where programs can tell.
#include <linux/mman.h>
#include <linux/mount.h>

#include "internal.h"
#include "kernel/errno.h"
#include "kernel/fs.h"
#include "kernel/syscalls.h"
#include "kernel/task.h"
#include "map.h"
#include "vma.h"

#define PROT_KNOWN (PROT_READ | PROT_WRITE | PROT_EXEC | PROT_SEM)
#define LEGACY_FLAGS                                                                                                 \
	(MAP_SHARED | MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_DENYWRITE | MAP_EXECUTABLE | MAP_UNINITIALIZED | \
	 MAP_GROWSDOWN | MAP_LOCKED | MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK | MAP_STACK | MAP_HUGETLB |        \
	 MAP_32BIT)

static unsigned prot_to_vma(int prot)
{
	return (prot & PROT_READ ? VMA_READ : 0) | (prot & PROT_WRITE ? VMA_WRITE : 0) |
	       (prot & PROT_EXEC ? VMA_EXEC : 0);
}

// ---- mmap ----

static bool mount_forbids_exec(const struct file *f) { return f->path.mount && f->path.mount->flags & MS_NOEXEC; }

// Rights a file mapping needs, and may get later by mprotect().
static int file_flags(const struct file *f, int prot, bool shared, unsigned *flags)
{
	if (!(f->mode & FILE_READ))
		return -EACCES;
	if (shared && prot & PROT_WRITE && !(f->mode & FILE_WRITE))
		return -EACCES;
	if (mount_forbids_exec(f) && prot & PROT_EXEC)
		return -EPERM;
	*flags |= VMA_MAY_READ | (!shared || f->mode & FILE_WRITE ? VMA_MAY_WRITE : 0) |
		  (mount_forbids_exec(f) ? 0 : VMA_MAY_EXEC);
	return 0;
}

// The object a file's mapping shows, with a reference, and from which page on.
static int file_object(struct file *f, uint64_t *page, uint64_t size, unsigned *flags, struct mobj **out)
{
	*out = NULL;
	if (f->ops->mmap)
		return f->ops->mmap(f, page, size, flags, out);
	struct mobj *o = f->object ? f->object : f->inode ? f->inode->object : NULL;
	if (!o || !inode_is_reg(f->inode))
		return -ENODEV;
	mobj_get(o);
	*out = o;
	return 0;
}

static long map_file(struct mm *mm, uint64_t address, uint64_t size, int prot, int flags, struct file *f, uint64_t page)
{
	bool shared = (flags & MAP_TYPE) != MAP_PRIVATE;
	unsigned vma_flags = prot_to_vma(prot) | (shared ? VMA_SHARED : 0);
	struct mobj *o;
	if ((flags & MAP_TYPE) == MAP_SHARED_VALIDATE &&
	    flags & ~(int)(LEGACY_FLAGS | MAP_SHARED_VALIDATE | MAP_FIXED_NOREPLACE))
		return -EOPNOTSUPP;
	int error = file_flags(f, prot, shared, &vma_flags);
	if (error)
		return error;
	if (flags & MAP_GROWSDOWN)
		return -EINVAL;
	if (flags & MAP_NORESERVE)
		vma_flags |= VMA_NORESERVE;
	if (flags & MAP_LOCKED)
		vma_flags |= VMA_LOCKED;
	error = file_object(f, &page, size, &vma_flags, &o);
	if (error)
		return error;
	long result = mm_map(mm, address, size, vma_flags, (unsigned)flags, f, o, page, NULL);
	if (o)
		mobj_put(o);
	return result;
}

static long map_anonymous(struct mm *mm, uint64_t address, uint64_t size, int prot, int flags)
{
	unsigned vma_flags = prot_to_vma(prot) | VMA_MAY_READ | VMA_MAY_WRITE | VMA_MAY_EXEC;
	if (flags & MAP_LOCKED)
		vma_flags |= VMA_LOCKED;
	if (flags & MAP_NORESERVE)
		vma_flags |= VMA_NORESERVE;
	if ((flags & MAP_TYPE) == MAP_PRIVATE) {
		if (flags & MAP_GROWSDOWN)
			vma_flags |= VMA_GROWSDOWN;
		return mm_map(mm, address, size, vma_flags, (unsigned)flags, NULL, NULL, 0, NULL);
	}
	if ((flags & MAP_TYPE) != MAP_SHARED || flags & MAP_GROWSDOWN)
		return -EINVAL;
	struct mobj *o = mobj_create_anonymous(size);
	if (!o)
		return -ENOMEM;
	long result =
		mm_map(mm, address, size, vma_flags | VMA_SHARED, (unsigned)flags, NULL, o, 0, "/dev/zero (deleted)");
	mobj_put(o);
	return result;
}

long sys_mmap(uint64_t address, uint64_t size, int prot, int flags, int fd, uint64_t offset)
{
	struct mm *mm = current->mm;
	struct file *f = NULL;
	long result = -EINVAL;
	if (offset & ~PAGE_MASK)
		return -EINVAL;
	if (!(flags & MAP_ANONYMOUS)) {
		f = fd_get(fd);
		if (!f)
			return -EBADF;
		if (flags & MAP_HUGETLB)
			goto out;
	} else if (flags & MAP_HUGETLB) {
		return -ENOMEM; // no page is reserved for it
	}
	if (!size)
		goto out;
	result = -ENOMEM;
	uint64_t bytes = align_up(size, PAGE_SIZE);
	if (!bytes)
		goto out;
	result = -EOVERFLOW;
	if ((offset >> PAGE_SHIFT) + (bytes >> PAGE_SHIFT) < offset >> PAGE_SHIFT)
		goto out;
	if (f && (offset >> PAGE_SHIFT) + (bytes >> PAGE_SHIFT) > INT64_MAX >> PAGE_SHIFT)
		goto out;
	result = -EINVAL;
	unsigned type = flags & MAP_TYPE;
	if (type != MAP_SHARED && type != MAP_PRIVATE && (type != MAP_SHARED_VALIDATE || !f))
		goto out;
	result = -EAGAIN;
	if (flags & MAP_LOCKED && mm_check_locked(mm, bytes >> PAGE_SHIFT))
		goto out;
	// A hint below what may be mapped counts as the lowest place, as Linux rounds it.
	if (!(flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)))
		address = address && address < PORT_USER_START ? PORT_USER_START : align_down(address, PAGE_SIZE);
	result = f ? map_file(mm, address, bytes, prot, flags, f, offset >> PAGE_SHIFT)
		   : map_anonymous(mm, address, bytes, prot, flags);
out:
	if (f)
		file_put(f);
	return result;
}

long sys_munmap(uint64_t address, uint64_t size) { return mm_unmap(current->mm, address, size); }

// ---- mprotect ----

static long protect(uint64_t address, uint64_t size, int prot)
{
	struct mm *mm = current->mm;
	int grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP);
	prot &= ~(PROT_GROWSDOWN | PROT_GROWSUP);
	if (grows == (PROT_GROWSDOWN | PROT_GROWSUP) || address & ~PAGE_MASK)
		return -EINVAL;
	if (!size)
		return 0;
	size = align_up(size, PAGE_SIZE);
	if (!size || address + size <= address)
		return -ENOMEM;
	if (prot & ~PROT_KNOWN)
		return -EINVAL;
	rwsem_write_lock(&mm->lock);
	uint64_t start = address;
	int error = 0;
	if (grows) {
		struct vma *v = mm_find(mm, address);
		if (!v || v->start >= address + size)
			error = -ENOMEM;
		else if (grows & PROT_GROWSUP || !(v->flags & VMA_GROWSDOWN))
			error = -EINVAL;
		else
			start = v->start;
	}
	if (!error)
		error = mm_protect_locked(mm, start, address + size, prot_to_vma(prot));
	rwsem_write_unlock(&mm->lock);
	return error;
}

long sys_mprotect(uint64_t address, uint64_t size, int prot) { return protect(address, size, prot); }

// Protection keys, as on a CPU without them: pkeys(7).
long sys_pkey_mprotect(uint64_t address, uint64_t size, int prot, int key)
{
	return key == -1 ? protect(address, size, prot) : -EINVAL;
}

long sys_pkey_alloc(uint64_t flags, uint64_t rights)
{
	if (flags || rights & ~UINT64_C(3))
		return -EINVAL;
	return -ENOSPC;
}

long sys_pkey_free(int key)
{
	(void)key;
	return -EINVAL;
}

// ---- brk ----

static long brk_shrink(struct mm *mm, uint64_t end, uint64_t old_page, uint64_t new_page)
{
	struct list gone = LIST_INIT(gone);
	int error = mm_unmap_locked(mm, new_page, old_page, &gone);
	long result = (long)mm->brk_end;
	if (!error) {
		mm->brk_end = end;
		result = (long)end;
	}
	rwsem_write_unlock(&mm->lock);
	vma_list_free(&gone);
	return result;
}

static bool brk_may_grow(struct mm *mm, uint64_t end, uint64_t old_page, uint64_t new_page, uint32_t flags)
{
	uint64_t limit = process_rlimit(current->process, RLIMIT_DATA);
	struct vma *next = mm_find(mm, old_page);
	uint64_t room = next && next->flags & VMA_GROWSDOWN ? STACK_GUARD_BYTES : 0;
	if (end - mm->brk_start > limit || new_page > port_user_end())
		return false;
	if (next && next->start < new_page + room)
		return false;
	if (mm_check_limits(mm, (new_page - old_page) >> PAGE_SHIFT, flags))
		return false;
	return !(flags & VMA_LOCKED) || !mm_check_locked(mm, (new_page - old_page) >> PAGE_SHIFT);
}

long sys_brk(uint64_t end)
{
	struct mm *mm = current->mm;
	rwsem_write_lock(&mm->lock);
	long old = (long)mm->brk_end;
	if (end < mm->brk_start || end >= port_user_end())
		goto out;
	uint64_t old_page = align_up(mm->brk_end, PAGE_SIZE), new_page = align_up(end, PAGE_SIZE);
	if (new_page < old_page)
		return brk_shrink(mm, end, old_page, new_page);
	uint32_t flags =
		VMA_READ | VMA_WRITE | VMA_MAY_READ | VMA_MAY_WRITE | VMA_MAY_EXEC | VMA_HEAP | mm->lock_future;
	if (new_page > old_page) {
		if (!brk_may_grow(mm, end, old_page, new_page, flags))
			goto out;
		if (mm_map_locked(mm, old_page, new_page, flags, NULL, NULL, 0, NULL))
			goto out;
	}
	mm->brk_end = end;
	rwsem_write_unlock(&mm->lock);
	if (flags & VMA_LOCKED && new_page > old_page)
		(void)mm_populate(mm, old_page, new_page - old_page, true);
	return (long)end;
out:
	rwsem_write_unlock(&mm->lock);
	return old;
}

// ---- remap_file_pages: as Linux emulates it, by mapping the part anew ----

long sys_remap_file_pages(uint64_t address, uint64_t size, uint64_t prot, uint64_t page, uint64_t flags)
{
	struct mm *mm = current->mm;
	struct list gone = LIST_INIT(gone);
	address = align_down(address, PAGE_SIZE);
	size = align_down(size, PAGE_SIZE);
	if (prot || address + size <= address || page + (size >> PAGE_SHIFT) < page)
		return -EINVAL;
	(void)flags;
	long error = -EINVAL;
	rwsem_write_lock(&mm->lock);
	struct vma *v = mm_find(mm, address);
	if (v && v->start <= address && v->flags & VMA_SHARED && v->object && address + size <= v->end) {
		struct mobj *o = v->object;
		struct file *f = v->file;
		const char *name = v->name;
		uint32_t vma_flags = v->flags;
		mobj_get(o);
		if (f)
			file_get(f);
		error = mm_unmap_locked(mm, address, address + size, &gone);
		if (!error)
			error = mm_map_locked(mm, address, address + size, vma_flags, f, o, page, name);
		rwsem_write_unlock(&mm->lock);
		mobj_put(o);
		if (f)
			file_put(f);
	} else {
		rwsem_write_unlock(&mm->lock);
	}
	vma_list_free(&gone);
	return error;
}
