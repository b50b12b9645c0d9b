// SPDX-License-Identifier: Apache-2.0
// Open files, and the handles the server gave for them.
//
// A handle is shared: every reader of an inode uses one, every writer another (opened for reading too, since a partial write
// reads its page first). Handles of closed files are kept, least recently used first to go, so that the next open costs no round trip;
// a writer's goes once its data is written, because the host cannot execute a file that is open for writing. Where the server has
// let us read a file before, opening it for reading asks nothing at all: the handle is made when pages are missing.
//
// RELEASE is sent without waiting. A handle's last reference may go in an interrupt (the end of a read): the finished request
// then carries the RELEASE.
#include "fs.h"

#include <linux/falloc.h>
#include <linux/fcntl.h>

#include "kernel/slab.h"
#include "kernel/task.h"
#include "lib/string.h"

#define IDLE_HANDLES_MAX 512u
#define SEEK_DATA_WHENCE 3
#define SEEK_HOLE_WHENCE 4

// ---- handles ----

struct fs_handle *fs_handle_create(uint64_t nodeid, const struct fuse_opened *o, uint32_t flags, bool directory)
{
	struct fs_handle *h = kalloc(sizeof(*h));
	if (!h)
		return NULL;
	refcount_set(&h->refs, 1);
	h->nodeid = nodeid;
	h->fh = o->fh;
	h->open_flags = o->flags;
	h->flags = flags;
	h->directory = directory;
	return h;
}

static void release_done(struct fs_request *r) { fs_request_put(r); }

void fs_handle_put(struct fs_connection *c, struct fs_handle *h, struct fs_request *r)
{
	if (!h || !refcount_put(&h->refs)) {
		if (r)
			fs_request_put(r);
		return;
	}
	struct fuse_release_in in = { .fh = h->fh, .flags = h->flags };
	unsigned opcode = h->directory ? FUSE_RELEASEDIR : FUSE_RELEASE;
	if (r)
		fs_request_reuse(r, opcode, h->nodeid);
	else
		r = fs_request_get(c, opcode, h->nodeid);
	kfree(h);
	if (is_err(r))
		return;
	r->complete = release_done;
	fs_arg(r, &in, sizeof(in));
	fs_send(r);
}

static struct fs_handle *open_call(struct inode *i, uint32_t flags)
{
	struct fs_connection *c = fs_connection_of(i);
	struct fuse_open_in in = { .flags = flags };
	struct fuse_opened o;
	struct fs_request *r = fs_request_get(c, FUSE_OPEN, fs_node(i));
	if (is_err(r))
		return err_ptr(ptr_err(r));
	fs_arg(r, &in, sizeof(in));
	fs_reply_room(r, sizeof(struct fuse_open_out));
	int error = fs_call(r);
	if (error == -ENOSYS && c->parameters.flags & FUSE_NO_OPEN_SUPPORT) {
		o = (struct fuse_opened){ 0, FOPEN_KEEP_CACHE }; // a server without open files
		error = 0;
	} else if (!error) {
		error = fuse_decode_opened(r->reply, r->reply_bytes, &o);
	}
	fs_request_put(r);
	if (error)
		return err_ptr(error);
	struct fs_handle *h = fs_handle_create(fs_node(i), &o, flags, false);
	return h ? h : err_ptr(-ENOMEM);
}

// A writer that can read too, if the server lets us.
static struct fs_handle *open_writer(struct inode *i)
{
	struct fs_handle *h = open_call(i, O_RDWR);
	if (is_err(h) && (ptr_err(h) == -EACCES || ptr_err(h) == -EPERM))
		h = open_call(i, O_WRONLY);
	return h;
}

static bool handle_fits(const struct fs_handle *h, bool write)
{
	unsigned mode = h ? h->flags & O_ACCMODE : 0;
	return h && (write ? mode != O_RDONLY : mode != O_WRONLY);
}

// The cached handle for it, referenced, or NULL.
static struct fs_handle *handle_cached(struct fs_inode *fi, bool write)
{
	spin_lock(&fi->lock);
	struct fs_handle *h = !write && fi->reader ? fi->reader : fi->writer;
	if (!handle_fits(h, write))
		h = NULL;
	if (h)
		refcount_get(&h->refs);
	spin_unlock(&fi->lock);
	return h;
}

// Caches a fresh handle, unless somebody was faster.
static void handle_remember(struct fs_inode *fi, struct fs_handle *h, bool write)
{
	spin_lock(&fi->lock);
	struct fs_handle **slot = write ? &fi->writer : &fi->reader;
	if (!*slot) {
		refcount_get(&h->refs);
		*slot = h;
	}
	if (handle_fits(h, false))
		fi->read_granted = true;
	spin_unlock(&fi->lock);
}

struct fs_handle *fs_handle_get(struct inode *i, bool write)
{
	struct fs_inode *fi = fs_inode_of(i);
	struct fs_handle *h = handle_cached(fi, write);
	if (h)
		return h;
	h = write ? open_writer(i) : open_call(i, O_RDONLY);
	if (!is_err(h))
		handle_remember(fi, h, write);
	return h;
}

// ---- handles of closed files ----

// Gives up the cached handles of an inode nobody has open.
static void handles_drop(struct fs_inode *fi)
{
	spin_lock(&fi->lock);
	struct fs_handle *reader = fi->open_files ? NULL : fi->reader, *writer = fi->open_files ? NULL : fi->writer;
	if (reader)
		fi->reader = NULL;
	if (writer)
		fi->writer = NULL;
	spin_unlock(&fi->lock);
	fs_handle_put(fi->connection, reader, NULL);
	fs_handle_put(fi->connection, writer, NULL);
}

bool fs_handles_trim(struct fs_connection *c, unsigned keep)
{
	bool some = false;
	for (;;) {
		struct fs_inode *fi = NULL;
		spin_lock(&c->lock);
		while (!fi && c->idle_handle_count > keep) {
			fi = list_first(&c->idle_handles, struct fs_inode, idle_node);
			list_remove(&fi->idle_node);
			c->idle_handle_count--;
			if (!refcount_get_unless_zero(&fi->inode->refs))
				fi = NULL; // going: it releases them itself
		}
		spin_unlock(&c->lock);
		if (!fi)
			return some;
		handles_drop(fi);
		inode_put(fi->inode);
		some = true;
	}
}

static void idle_enter(struct fs_inode *fi)
{
	struct fs_connection *c = fi->connection;
	spin_lock(&c->lock);
	if (list_empty(&fi->idle_node) && (fi->reader || fi->writer)) {
		list_add_tail(&c->idle_handles, &fi->idle_node);
		c->idle_handle_count++;
	}
	bool full = c->idle_handle_count > IDLE_HANDLES_MAX;
	spin_unlock(&c->lock);
	if (full)
		fs_handles_trim(c, IDLE_HANDLES_MAX - 16);
}

static void idle_leave(struct fs_inode *fi)
{
	struct fs_connection *c = fi->connection;
	if (list_empty(&fi->idle_node)) // open_files is raised already: nobody puts it there now
		return;
	spin_lock(&c->lock);
	if (!list_empty(&fi->idle_node)) {
		list_remove(&fi->idle_node);
		c->idle_handle_count--;
	}
	spin_unlock(&c->lock);
}

// ---- open and close ----

struct fs_handle *fs_file_handle(const struct file *f) { return f->private; }

void fs_file_adopt(struct inode *i, struct file *f, struct fs_handle *h)
{
	struct fs_inode *fi = fs_inode_of(i);
	bool write = (f->flags & O_ACCMODE) != O_RDONLY;
	spin_lock(&fi->lock);
	fi->open_files++;
	fi->open_writers += write;
	spin_unlock(&fi->lock);
	idle_leave(fi);
	if (h)
		handle_remember(fi, h, write);
	f->private = h;
	f->object = i->object;
	f->ops = &fs_file_ops;
}

static int fs_file_open(struct inode *i, struct file *f)
{
	struct fs_inode *fi = fs_inode_of(i);
	bool write = (f->flags & O_ACCMODE) != O_RDONLY;
	struct fs_handle *h = handle_cached(fi, write);
	if (!h && (write || !fi->read_granted))
		h = fs_handle_get(i, write);
	if (is_err(h))
		return (int)ptr_err(h);
	fs_file_adopt(i, f, h);
	return 0;
}

// The last writer is gone and so is its data: the server's descriptor goes.
static struct fs_handle *writer_retire(struct fs_inode *fi)
{
	struct fs_handle *h = NULL;
	spin_lock(&fi->lock);
	if (!fi->open_writers && !fi->writes_in_flight) {
		h = fi->writer;
		fi->writer = NULL;
	}
	spin_unlock(&fi->lock);
	return h;
}

static void fs_file_release(struct file *f)
{
	struct inode *i = f->inode;
	struct fs_inode *fi = fs_inode_of(i);
	struct fs_handle *h = f->private;
	bool write = (f->flags & O_ACCMODE) != O_RDONLY;
	spin_lock(&fi->lock);
	bool last = --fi->open_files == 0;
	fi->open_writers -= write;
	spin_unlock(&fi->lock);
	fs_handle_put(fi->connection, h, NULL);
	if (write && !fs_owns_data(i))
		fs_handle_put(fi->connection, writer_retire(fi), NULL);
	if (last)
		idle_enter(fi);
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
	uint64_t expires = __atomic_load_n(&fs_inode_of(i)->attr_expires_ns, __ATOMIC_RELAXED);
	if ((uint64_t)end <= i->data.size_bytes || expires == UINT64_MAX || (expires && port_time_ns() < expires))
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
	.release = fs_file_release,
	.flush = fs_file_flush,
	.read = fs_file_read,
	.write = fs_file_write,
	.seek = fs_file_seek,
	.fsync = fs_file_fsync,
	.fallocate = fs_file_fallocate,
	.copy_range = fs_copy_range,
};
