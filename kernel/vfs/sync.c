// SPDX-License-Identifier: Apache-2.0
// fsync(2), fdatasync(2), sync(2), syncfs(2), sync_file_range(2), readahead(2), posix_fadvise(2).
#include "internal.h"

#include <linux/fadvise.h>
#include <linux/fs.h>

int file_sync(struct file *f, bool data_only)
{
	if (f->ops->fsync)
		return f->ops->fsync(f, 0, INT64_MAX, data_only);
	// In memory only: nothing is more durable than it is.
	return inode_is_reg(f->inode) || inode_is_dir(f->inode) ? 0 : -EINVAL;
}

static long sync_file(int fd, bool data_only)
{
	struct file *f = fd_get(fd);
	if (!f)
		return -EBADF;
	long result = file_sync(f, data_only);
	file_put(f);
	return result;
}

long sys_fsync(int fd) { return sync_file(fd, false); }
long sys_fdatasync(int fd) { return sync_file(fd, true); }

static void sync_super(struct super *s, void *context)
{
	if (s->ops && s->ops->sync)
		s->ops->sync(s, *(bool *)context);
}

void super_sync_all(bool stored) { super_for_each(sync_super, &stored); }

long sys_sync(void)
{
	super_sync_all(true);
	return 0;
}

long sys_syncfs(int fd)
{
	struct file *f = fd_get(fd);
	if (!f)
		return -EBADF;
	struct super *s = f->inode->super;
	long result = s->ops && s->ops->sync ? s->ops->sync(s, true) : 0;
	file_put(f);
	return result;
}

long file_sync_range(struct file *f, loff_t offset, loff_t size, unsigned flags)
{
	if (flags & ~(SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER))
		return -EINVAL;
	loff_t end;
	if (offset < 0 || size < 0 || __builtin_add_overflow(offset, size, &end))
		return -EINVAL;
	if (!inode_is_reg(f->inode) && !inode_is_dir(f->inode))
		return -ESPIPE;
	if (!f->object || !f->object->ops || !f->object->ops->write_pages || !flags)
		return 0;
	return mobj_sync(f->object, (uint64_t)offset, size ? (uint64_t)end : UINT64_MAX,
			 flags & (SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WAIT_AFTER));
}

long sys_sync_file_range(int fd, loff_t offset, loff_t size, unsigned flags)
{
	struct file *f = fd_get(fd);
	if (!f)
		return -EBADF;
	long result = file_sync_range(f, offset, size, flags);
	file_put(f);
	return result;
}

long sys_readahead(int fd, loff_t offset, size_t count)
{
	struct file *f = fd_get(fd);
	if (!f)
		return -EBADF;
	// Reading ahead is the page cache's own business; the call is a hint that it may ignore.
	long result = !(f->mode & FILE_READ) ? -EBADF : !inode_is_reg(f->inode) || offset < 0 ? -EINVAL : 0;
	file_put(f);
	return result;
}

long file_advise(struct file *f, loff_t offset, loff_t size, int advice)
{
	if (f->mode & FILE_STREAM)
		return -ESPIPE;
	if (size < 0 || advice < POSIX_FADV_NORMAL || advice > POSIX_FADV_NOREUSE)
		return -EINVAL;
	if (advice == POSIX_FADV_DONTNEED && f->object && f->object->ops && f->object->ops->read_pages)
		mobj_invalidate(f->object, (uint64_t)offset, size ? (uint64_t)offset + (uint64_t)size : UINT64_MAX);
	return 0;
}

long sys_fadvise64(int fd, loff_t offset, loff_t size, int advice)
{
	struct file *f = fd_get(fd);
	if (!f)
		return -EBADF;
	long result = file_advise(f, offset, size, advice);
	file_put(f);
	return result;
}
