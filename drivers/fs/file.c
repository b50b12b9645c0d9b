// SPDX-License-Identifier: Apache-2.0
// Open files whose data is in the page cache. Where the server has let us read a file before, opening it for reading asks
// nothing at all: the handle (handle.c) is made when pages are missing.
#include "fs.h"

#include <linux/falloc.h>
#include <linux/fcntl.h>

#include "kernel/slab.h"
#include "kernel/task.h"
#include "lib/string.h"

#define SEEK_DATA_WHENCE 3
#define SEEK_HOLE_WHENCE 4

// ---- open and close ----

static int fs_file_open(struct inode *i, struct file *f)
{
	bool write = (f->flags & O_ACCMODE) != O_RDONLY;
	struct fs_handle *h = fs_handle_cached(i, write);
	if (!h && (write || !fs_inode_of(i)->read_granted))
		h = fs_handle_get(i, write);
	if (is_err(h))
		return (int)ptr_err(h);
	fs_handle_adopt(i, f, h);
	if (h)
		fs_handle_remember(i, h, write);
	return 0;
}

static int fs_file_flush(struct file *f)
{
	struct inode *i = f->inode;
	struct fs_connection *c = fs_connection_of(i);
	if (!(f->mode & FILE_WRITE) || !fs_owns_data(i))
		return 0;
	// With write-back caching, close(2) starts the writing and leaves it at that; without, it waits and reports.
	int error = mobj_sync(&i->data, 0, UINT64_MAX, !c->writeback);
	if (!c->writeback && !error)
		return fs_times_flush(i);
	fs_times_schedule(i);
	return error ? error : __atomic_load_n(&i->data.write_error, __ATOMIC_RELAXED);
}

// ---- reading and writing ----

static bool file_is_direct(const struct file *f)
{
	const struct fs_handle *h = f->private;
	return f->flags & O_DIRECT || (h && h->open_flags & FOPEN_DIRECT_IO);
}

// At the end of the file as we know it, what we know must be fresh: somebody may have appended on the host.
static int size_refresh(struct inode *i, loff_t end)
{
	if ((uint64_t)end <= i->data.size_bytes || fs_attributes_fresh(fs_inode_of(i)))
		return 0;
	return fs_owns_data(i) ? 0 : fs_attributes_refresh(i, NULL);
}

static ssize_t fs_file_read(struct file *f, struct iov_iter *to, loff_t *pos)
{
	if (unlikely(file_is_direct(f)))
		return fs_direct_read(f, to, pos);
	int error = size_refresh(f->inode, *pos + (loff_t)to->count);
	return error ? error : generic_file_read(f, to, pos);
}

static ssize_t fs_file_write(struct file *f, struct iov_iter *from, loff_t *pos)
{
	struct inode *i = f->inode;
	if (unlikely(file_is_direct(f)))
		return fs_direct_write(f, from, pos);
	int error = f->flags & O_APPEND ? size_refresh(i, INT64_MAX) : 0;
	if (error)
		return error;
	fs_write_begin(i);
	ssize_t n = generic_file_write(f, from, pos);
	fs_write_end(i, n > 0);
	if (n <= 0 || likely(fs_connection_of(i)->writeback))
		return n;
	error = mobj_sync(&i->data, (uint64_t)(*pos - n), (uint64_t)*pos, true);
	return error ? error : n;
}

static loff_t fs_file_seek(struct file *f, loff_t offset, int whence)
{
	struct inode *i = f->inode;
	struct fs_connection *c = fs_connection_of(i);
	if (whence == 2 && !fs_owns_data(i)) {
		int error = size_refresh(i, INT64_MAX);
		if (error)
			return error;
	}
	if ((whence != SEEK_DATA_WHENCE && whence != SEEK_HOLE_WHENCE) || !fs_supports(c, FUSE_LSEEK))
		return generic_seek(f, offset, whence);
	int error = mobj_sync(&i->data, 0, UINT64_MAX, true);
	if (error)
		return error;
	struct fs_handle *h = fs_handle_get(i, false);
	if (is_err(h))
		return ptr_err(h);
	struct fuse_lseek_in in = { .fh = h->fh, .offset = (uint64_t)offset, .whence = (uint32_t)whence };
	struct fs_request *r = fs_request_get(c, FUSE_LSEEK, fs_node(i));
	int64_t found = 0;
	if (is_err(r)) {
		fs_handle_put(c, h, NULL);
		return ptr_err(r);
	}
	fs_arg(r, &in, sizeof(in));
	fs_reply_room(r, sizeof(struct fuse_lseek_out));
	error = fs_call(r);
	if (!error)
		error = fuse_decode_seek(r->reply, r->reply_bytes, &found);
	fs_handle_put(c, h, NULL);
	fs_request_put(r);
	if (error == -ENOSYS)
		return generic_seek(f, offset, whence);
	if (error)
		return error;
	f->position = found;
	return found;
}

// ---- the rest ----

// A call with one structure that answers nothing but its success.
static int plain_call(struct inode *i, unsigned opcode, const void *in, size_t size)
{
	struct fs_request *r = fs_request_get(fs_connection_of(i), opcode, fs_node(i));
	if (is_err(r))
		return (int)ptr_err(r);
	fs_arg(r, in, size);
	int error = fs_call(r);
	fs_request_put(r);
	return error;
}

static int fs_file_fsync(struct file *f, loff_t start, loff_t end, bool data_only)
{
	struct inode *i = f->inode;
	struct fs_connection *c = fs_connection_of(i);
	int error = mobj_sync(&i->data, 0, UINT64_MAX, true);
	if (!error)
		error = fs_times_flush(i);
	if (error || !fs_supports(c, FUSE_FSYNC))
		return error;
	struct fs_handle *h = fs_handle_get(i, (f->flags & O_ACCMODE) != O_RDONLY);
	if (is_err(h))
		return (int)ptr_err(h);
	struct fuse_fsync_in in = { .fh = h->fh, .fsync_flags = data_only ? FUSE_FSYNC_FDATASYNC : 0 };
	error = plain_call(i, FUSE_FSYNC, &in, sizeof(in));
	fs_handle_put(c, h, NULL);
	return error == -ENOSYS ? 0 : error;
}

static int fallocate_call(struct inode *i, struct fs_handle *h, int mode, loff_t offset, loff_t size)
{
	struct fuse_fallocate_in in = {
		.fh = h->fh, .offset = (uint64_t)offset, .length = (uint64_t)size, .mode = (uint32_t)mode
	};
	int error = plain_call(i, FUSE_FALLOCATE, &in, sizeof(in));
	return error == -ENOSYS ? -EOPNOTSUPP : error;
}

static int fallocate_locked(struct inode *i, struct fs_handle *h, int mode, loff_t offset, loff_t size)
{
	struct mobj *o = &i->data;
	bool holes = mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE);
	uint64_t end = (uint64_t)offset + (uint64_t)size;
	int error = holes ? mobj_sync(o, (uint64_t)offset, end, true) : 0;
	if (!error)
		error = fallocate_call(i, h, mode, offset, size);
	if (error)
		return error;
	if (holes)
		mobj_truncate(o, (uint64_t)offset, end);
	if (!(mode & FALLOC_FL_KEEP_SIZE) && end > o->size_bytes)
		__atomic_store_n(&o->size_bytes, end, __ATOMIC_RELEASE);
	i->mtime = i->ctime = timestamp_now();
	fs_times_touched(i);
	fs_attributes_stale(i); // blocks
	return 0;
}

static long fs_file_fallocate(struct file *f, int mode, loff_t offset, loff_t size)
{
	struct inode *i = f->inode;
	struct fs_connection *c = fs_connection_of(i);
	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) ||
	    !fs_supports(c, FUSE_FALLOCATE))
		return -EOPNOTSUPP;
	struct fs_handle *h = fs_handle_get(i, true);
	if (is_err(h))
		return ptr_err(h);
	bool locked = mutex_is_mine(&i->lock);
	if (!locked)
		mutex_lock(&i->lock);
	int error = fallocate_locked(i, h, mode, offset, size);
	if (!locked)
		mutex_unlock(&i->lock);
	fs_handle_put(c, h, NULL);
	return error;
}

const struct file_ops fs_file_ops = {
	.open = fs_file_open,
	.release = fs_handle_release,
	.flush = fs_file_flush,
	.read = fs_file_read,
	.write = fs_file_write,
	.seek = fs_file_seek,
	.fsync = fs_file_fsync,
	.fallocate = fs_file_fallocate,
	.copy_range = fs_copy_range,
};
