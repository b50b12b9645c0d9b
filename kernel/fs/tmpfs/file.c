// SPDX-License-Identifier: Apache-2.0
// tmpfs: regular files, and the seals of memfds (fcntl(2), F_ADD_SEALS).
#include "tmpfs.h"

#include <linux/falloc.h>
#include <linux/fcntl.h>

#include "kernel/sched.h"
#include "kernel/task.h"

#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020 // Linux 6.3; older headers lack it
#endif
#define SEALS_ALL (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE | F_SEAL_EXEC)

static unsigned seals_of(const struct inode *i) { return __atomic_load_n(&tmpfs_of(i)->seals, __ATOMIC_RELAXED); }

// ---- size ----

static int set_size(struct inode *i, uint64_t size)
{
	struct mobj *o = i->object;
	uint64_t old = o->size_bytes;
	unsigned seals = seals_of(i);
	if ((size < old && (seals & F_SEAL_SHRINK)) || (size > old && (seals & F_SEAL_GROW)))
		return -EPERM;
	if (size < old)
		__atomic_store_n(&o->size_bytes, size, __ATOMIC_RELEASE); // no fault finds a page beyond any more
	// Growing: a mapping may have stored beyond the old end in its last page, which now becomes visible as zeros.
	mobj_truncate(o, min(size, old), UINT64_MAX);
	__atomic_store_n(&o->size_bytes, size, __ATOMIC_RELEASE);
	return 0;
}

int tmpfs_setattr(struct inode *i, const struct attr_change *c)
{
	if ((c->valid & ATTR_MODE) && (seals_of(i) & F_SEAL_EXEC) && ((c->mode ^ i->mode) & 0111))
		return -EPERM;
	if (c->valid & ATTR_SIZE) {
		int error = i->object ? set_size(i, (uint64_t)c->size) : -EINVAL;
		if (error)
			return error;
	}
	generic_setattr(i, c);
	return 0;
}

static void zero_edge(struct mobj *o, uint64_t start, uint64_t end)
{
	struct page *p;
	if (mobj_get_page(o, start >> PAGE_SHIFT, false, &p) || !p)
		return;
	char *at = page_address(p);
	for (uint64_t k = start; k < end; k++)
		at[k & ~PAGE_MASK] = 0;
	page_put(p);
}

static int punch_hole(struct inode *i, uint64_t start, uint64_t end)
{
	if (seals_of(i) & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
		return -EPERM;
	uint64_t first = align_up(start, PAGE_SIZE), last = align_down(end, PAGE_SIZE);
	if (first > last) { // within one page
		zero_edge(i->object, start, end);
		return 0;
	}
	if (start < first)
		zero_edge(i->object, start, first);
	if (last < end)
		zero_edge(i->object, last, end);
	if (first < last)
		mobj_truncate(i->object, first, last);
	return 0;
}

static int allocate(struct inode *i, uint64_t start, uint64_t end)
{
	for (uint64_t index = start >> PAGE_SHIFT; index < (end + PAGE_SIZE - 1) >> PAGE_SHIFT; index++) {
		struct page *p;
		int error = mobj_get_page(i->object, index, true, &p);
		if (error)
			return error;
		if (p)
			page_put(p);
		if (fatal_signal_pending(current))
			return -EINTR;
		sched_preempt_point();
	}
	return 0;
}

static long fallocate_locked(struct inode *i, int mode, uint64_t start, uint64_t end)
{
	if (mode & FALLOC_FL_PUNCH_HOLE)
		return punch_hole(i, start, end);
	bool grows = !(mode & FALLOC_FL_KEEP_SIZE) && end > i->object->size_bytes;
	if (grows && (seals_of(i) & F_SEAL_GROW))
		return -EPERM;
	struct tmpfs_super *t = i->super->private;
	if (t->pages_max && (end - start) >> PAGE_SHIFT > t->pages_max)
		return -ENOSPC; // before filling memory to find out
	int error = allocate(i, start, end);
	if (error)
		return error;
	if (grows)
		__atomic_store_n(&i->object->size_bytes, end, __ATOMIC_RELEASE);
	i->mtime = i->ctime = timestamp_now();
	return 0;
}

static long fallocate(struct file *f, int mode, loff_t offset, loff_t size)
{
	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE))
		return -EOPNOTSUPP;
	mutex_lock(&f->inode->lock);
	long result = fallocate_locked(f->inode, mode, (uint64_t)offset, (uint64_t)offset + (uint64_t)size);
	mutex_unlock(&f->inode->lock);
	return result;
}

// ---- seeking data and holes ----

static bool has_page(struct mobj *o, uint64_t index)
{
	spin_lock(&o->lock);
	bool found = radix_lookup(&o->pages, index) != NULL;
	spin_unlock(&o->lock);
	return found;
}

static loff_t seek_data(struct mobj *o, loff_t offset)
{
	uint64_t index = (uint64_t)offset >> PAGE_SHIFT, first = index;
	spin_lock(&o->lock);
	bool found = radix_next(&o->pages, &index) != NULL;
	spin_unlock(&o->lock);
	if (!found || index << PAGE_SHIFT >= o->size_bytes)
		return -ENXIO;
	return index == first ? offset : (loff_t)(index << PAGE_SHIFT);
}

static loff_t seek_hole(struct mobj *o, loff_t offset)
{
	uint64_t index = (uint64_t)offset >> PAGE_SHIFT, first = index, size = o->size_bytes;
	while (index << PAGE_SHIFT < size && has_page(o, index))
		index++;
	return index == first ? offset : (loff_t)min(index << PAGE_SHIFT, size);
}

static loff_t seek(struct file *f, loff_t offset, int whence)
{
	if (whence != 3 && whence != 4)
		return generic_seek(f, offset, whence);
	if (offset < 0 || (uint64_t)offset >= f->object->size_bytes)
		return -ENXIO;
	loff_t result = whence == 3 ? seek_data(f->object, offset) : seek_hole(f->object, offset);
	if (result >= 0)
		f->position = result;
	return result;
}

// ---- reading, writing, mapping ----

static ssize_t write(struct file *f, struct iov_iter *from, loff_t *pos)
{
	unsigned seals = seals_of(f->inode);
	if (unlikely(seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE | F_SEAL_GROW))) {
		uint64_t size = f->object->size_bytes, start = f->flags & O_APPEND ? size : (uint64_t)*pos;
		if (from->count && ((seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) || start + from->count > size))
			return -EPERM;
	}
	return generic_file_write(f, from, pos);
}

static int map(struct file *f, uint64_t *page, uint64_t size, unsigned *vma_flags, struct mobj **object)
{
	if ((seals_of(f->inode) & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) && (*vma_flags & VMA_SHARED)) {
		if (*vma_flags & VMA_WRITE)
			return -EPERM;
		*vma_flags &= ~VMA_MAY_WRITE;
	}
	mobj_get(f->object);
	*object = f->object;
	return 0;
}

static int sync(struct file *f, loff_t start, loff_t end, bool data_only) { return 0; }

const struct file_ops tmpfs_regular_file_ops = {
	.read = generic_file_read,
	.write = write,
	.seek = seek,
	.mmap = map,
	.fsync = sync,
	.fallocate = fallocate,
};

const struct inode_ops tmpfs_file_ops = {
	.getattr = tmpfs_getattr,
	.setattr = tmpfs_setattr,
	.getxattr = tmpfs_getxattr,
	.setxattr = tmpfs_setxattr,
	.listxattr = tmpfs_listxattr,
	.removexattr = tmpfs_removexattr,
};

// ---- seals ----

static bool has_writable_mapping(struct mobj *o)
{
	bool found = false;
	struct vma *v;
	mutex_lock(&o->vma_lock);
	list_for_each (v, &o->vmas, object_node)
		found |= (v->flags & (VMA_SHARED | VMA_MAY_WRITE)) == (VMA_SHARED | VMA_MAY_WRITE);
	mutex_unlock(&o->vma_lock);
	return found;
}

long tmpfs_add_seals(struct file *f, unsigned seals)
{
	struct inode *i = f->inode;
	struct tmpfs_inode *t = tmpfs_of(i);
	if (!(f->mode & FILE_WRITE))
		return -EPERM;
	if (seals & ~(unsigned)SEALS_ALL)
		return -EINVAL;
	long result = 0;
	mutex_lock(&i->lock);
	if (t->seals & F_SEAL_SEAL)
		result = -EPERM;
	else if ((seals & ~t->seals & F_SEAL_WRITE) && has_writable_mapping(i->object))
		result = -EBUSY;
	else
		t->seals |= seals;
	mutex_unlock(&i->lock);
	return result;
}

long tmpfs_get_seals(struct file *f) { return seals_of(f->inode); }
void tmpfs_allow_seals(struct file *f) { tmpfs_of(f->inode)->seals = 0; }
