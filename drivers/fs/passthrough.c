// SPDX-License-Identifier: Apache-2.0
// Open files that are the host's descriptors: reads and writes go straight between the program's buffers and the host, whose page
// cache is the only one. Positions, O_APPEND and limits are kept here, since one descriptor serves many open files.
//
// The host does not fault pages of the program in that this kernel has not mapped yet (tmpfs, shared memory): where it stopped short
// of one, that is made present and the rest goes on (iov_fault_in()).
#include "fs.h"

#include <linux/fcntl.h>
#include <linux/fs.h>
#include <linux/uio.h>

#include <asm/stat.h>

#include "kernel/slab.h"
#include "kernel/task.h"
#include "lib/string.h"
#include "port/host.h"

#define FEW_SEGMENTS     16u
#define SEEK_END_WHENCE  2
#define SEEK_DATA_WHENCE 3
#define SEEK_HOLE_WHENCE 4

// ---- vectors ----

struct vector {
	struct iovec *items;
	unsigned count;
	struct iovec few[FEW_SEGMENTS];
};

static_assert(sizeof(struct iovec) == sizeof(struct iov_segment), "a segment is what the host's iovec is");

// What is left of `i`, as the host wants it.
static int vector_make(struct vector *v, const struct iov_iter *i)
{
	v->items = v->few;
	v->count = 1;
	if (!i->segments) {
		v->few[0] = (struct iovec){ i->kernel, i->count };
		return 0;
	}
	size_t left = i->count, skip = i->segment_offset;
	if (i->segment_count > FEW_SEGMENTS) {
		v->items = kalloc_array(i->segment_count, sizeof(struct iovec));
		if (!v->items)
			return -ENOMEM;
	}
	v->count = 0;
	for (unsigned k = 0; k < i->segment_count && left; k++, skip = 0) {
		size_t size = min((size_t)i->segments[k].size - skip, left);
		if (!size)
			continue;
		v->items[v->count++] = (struct iovec){ (void *)(i->segments[k].address + skip), size };
		left -= size;
	}
	return 0;
}

static void vector_free(struct vector *v)
{
	if (v->items != v->few)
		kfree(v->items);
}

// ---- one transfer ----

// The host's call; a kick does not end it, as nothing but the end of the process ends a read of a disk.
static ssize_t transfer_once(int file, struct iov_iter *i, loff_t pos, int flags, bool write)
{
	struct vector v;
	bool kicked = false;
	ssize_t n = vector_make(&v, i);
	if (n)
		return n;
	for (;;) {
		n = write ? port_file_write(file, v.items, v.count, pos, flags)
			  : port_file_read(file, v.items, v.count, pos, flags);
		if (likely(n != -EINTR))
			break;
		kicked = true;
		if (fatal_signal_pending(current))
			break;
	}
	if (unlikely(kicked))
		port_task_kick(current->port);
	vector_free(&v);
	return n == -EINTR ? -ERESTARTNOINTR : n;
}

// Did a short transfer perhaps end at a page the host could not reach?
static bool at_page_edge(const struct iov_iter *i)
{
	if (!i->segments || !i->count)
		return false;
	return !i->segment_offset || i->segment_offset == i->segments->size ||
	       !((i->segments->address + i->segment_offset) & ~PAGE_MASK);
}

// Bytes moved, or -errno when it was none. pos is not advanced.
static ssize_t transfer(int file, struct iov_iter *i, loff_t pos, int flags, bool write)
{
	ssize_t done = 0, n;
	bool faulted = false;
	for (;;) {
		n = transfer_once(file, i, pos + done, flags, write);
		if (n > 0) {
			iov_advance(i, (size_t)n);
			done += n;
			faulted = false;
			if (likely(!at_page_edge(i)))
				break;
		} else if (n != -EFAULT || faulted || iov_fault_in(i, !write)) {
			break;
		} else {
			faulted = true;
		}
	}
	return done ? done : n;
}

// ---- read(2), write(2) ----

static ssize_t read_small(struct file *f, struct iov_iter *to, loff_t pos)
{
	size_t count = to->count;
	if (likely(fs_window_read(f, to, pos)))
		return (ssize_t)count;
	uint64_t started = port_window_clock();
	ssize_t n = transfer(fs_file_handle(f)->file, to, pos, 0, false);
	if (n > 0)
		fs_window_missed(f, pos, started);
	return n;
}

static ssize_t passthrough_read(struct file *f, struct iov_iter *to, loff_t *pos)
{
	if (!to->count)
		return 0;
	ssize_t n = fs_window_serves(f, to) ? read_small(f, to, *pos)
					    : transfer(fs_file_handle(f)->file, to, *pos, 0, false);
	if (n > 0)
		*pos += n;
	return n;
}

static int write_flags(const struct file *f)
{
	return (f->flags & O_SYNC) == O_SYNC ? RWF_SYNC : f->flags & O_DSYNC ? RWF_DSYNC : 0;
}

static ssize_t write_limited(struct file *f, struct iov_iter *from, loff_t *pos, int flags)
{
	size_t count = from->count;
	int error = write_limit(f, *pos, &count);
	if (error)
		return error;
	size_t beyond = from->count - count;
	from->count = count;
	ssize_t n = transfer(fs_file_handle(f)->file, from, *pos, flags, true);
	from->count += beyond;
	if (n > 0) {
		*pos += n;
		if (unlikely(f->inode->mode & (S_ISUID | S_ISGID))) // the host takes these away
			fs_attributes_stale(f->inode);
	}
	return n;
}

static int64_t size_now(const struct fs_handle *h)
{
	struct stat s;
	int error = port_file_stat(h->file, &s);
	return error ? error : s.st_size < 0 ? -EIO : s.st_size;
}

static ssize_t passthrough_write(struct file *f, struct iov_iter *from, loff_t *pos)
{
	if (!from->count)
		return 0;
	if (likely(!(f->flags & O_APPEND) && !from->append))
		return write_limited(f, from, pos, write_flags(f));
	mutex_lock(&f->inode->lock); // of appends only: the position afterwards is the end this one made
	int64_t end = size_now(fs_file_handle(f));
	ssize_t n = end;
	if (end >= 0) {
		*pos = end;
		n = write_limited(f, from, pos, write_flags(f) | RWF_APPEND);
	}
	mutex_unlock(&f->inode->lock);
	return n;
}

static loff_t passthrough_seek(struct file *f, loff_t offset, int whence)
{
	struct inode *i = f->inode;
	struct fs_handle *h = fs_file_handle(f);
	if (whence == SEEK_END_WHENCE && (fs_inode_of(i)->open_writers || !fs_attributes_fresh(fs_inode_of(i)))) {
		int64_t size = size_now(h);
		if (size < 0)
			return size;
		if (__builtin_add_overflow(offset, size, &offset))
			return -EOVERFLOW;
		whence = 0;
	}
	if (whence != SEEK_DATA_WHENCE && whence != SEEK_HOLE_WHENCE)
		return generic_seek(f, offset, whence);
	int64_t found = port_file_seek(h->file, offset, whence);
	if (found >= 0)
		f->position = found;
	return found;
}

// ---- the rest ----

static int passthrough_fsync(struct file *f, loff_t start, loff_t end, bool data_only)
{
	return port_file_sync(fs_file_handle(f)->file, data_only);
}

static long passthrough_fallocate(struct file *f, int mode, loff_t offset, loff_t size)
{
	return port_file_allocate(fs_file_handle(f)->file, mode, offset, size);
}

static ssize_t passthrough_copy_range(struct file *in, loff_t in_pos, struct file *out, loff_t out_pos, size_t size)
{
	if (in->ops != &fs_file_ops || out->ops != &fs_file_ops)
		return -EOPNOTSUPP;
	ssize_t n = port_file_copy(fs_file_handle(in)->file, in_pos, fs_file_handle(out)->file, out_pos, size);
	return n == -ENOSYS || n == -EXDEV || n == -EINVAL || n == -EBADF ? -EOPNOTSUPP : n;
}

// O_DIRECT and O_NOATIME belong to a descriptor: such a file gets one of its own.
static struct fs_handle *open_special(struct inode *i, uint32_t flags)
{
	struct fs_handle *h = fs_handle_open(i, flags);
	if (is_err(h) && ptr_err(h) == -EPERM && flags & O_NOATIME) // not the host's owner: access times move
		h = fs_handle_open(i, flags & ~(uint32_t)O_NOATIME);
	return h;
}

static int passthrough_open(struct inode *i, struct file *f)
{
	bool write = (f->flags & O_ACCMODE) != O_RDONLY;
	uint32_t special = f->flags & (O_DIRECT | O_NOATIME);
	struct fs_handle *h = unlikely(special) ? open_special(i, special | (write ? O_RDWR : O_RDONLY))
			      : write           ? fs_handle_get(i, true)
						: fs_handle_get_ahead(f->path.dentry);
	if (is_err(h))
		return (int)ptr_err(h);
	fs_handle_adopt(i, f, h);
	return 0;
}

// What the last writer left is what a stat(2) will ask for: seen now, it costs no round trip then.
static void passthrough_release(struct file *f)
{
	struct inode *i = f->inode;
	fs_window_close(f);
	if ((f->flags & O_ACCMODE) != O_RDONLY) {
		fs_attributes_changed(i);
		fs_attributes_stale(i);
		if (fs_inode_of(i)->open_writers == 1)
			(void)!fs_host_refresh(i, fs_file_handle(f), NULL);
	}
	fs_handle_release(f);
}

// Who has the file open elsewhere, too, keeps nothing of it in memory here.
static int passthrough_flush(struct file *f)
{
	fs_window_close(f);
	return 0;
}

const struct file_ops fs_file_ops = {
	.open = passthrough_open,
	.flush = passthrough_flush,
	.release = passthrough_release,
	.read = passthrough_read,
	.write = passthrough_write,
	.seek = passthrough_seek,
	.fsync = passthrough_fsync,
	.fallocate = passthrough_fallocate,
	.copy_range = passthrough_copy_range,
};

// ---- mappings ----

static int host_file(struct mobj *o, struct file *f)
{
	return f && f->ops == &fs_file_ops ? fs_file_handle(f)->file : -ENODEV;
}

// No page of such a file is ever in the kernel's hands.
static int read_pages(struct mobj *o, struct page **pages, unsigned count) { return -EIO; }

const struct mobj_ops fs_mobj_ops = { .read_pages = read_pages, .host_file = host_file };
