// SPDX-License-Identifier: Apache-2.0
// Files open at the server.
//
// A handle is shared: every reader of an inode uses one, every writer another (opened for reading too, since a partial write may read
// its page first). Handles of closed files are kept, least recently used first to go, so that the next open costs no round trip;
// a writer's goes once its data is written, because the host cannot execute a file that is open for writing.
//
// RELEASE is sent without waiting. A handle's last reference may go in an interrupt (the end of a read): the finished request
// then carries the RELEASE. With PORT_HOST a handle of a file is the host's descriptor: that is closed here, and the server is told
// nothing.
#include "fs.h"

#include <linux/fcntl.h>

#include "kernel/slab.h"
#include "lib/string.h"
#include "port/host.h"

#define IDLE_HANDLES_MAX 1024u

struct fs_handle *fs_handle_create(struct fs_connection *c, uint64_t nodeid, const struct fuse_opened *o,
				   uint32_t flags, bool directory, int file)
{
	struct fs_handle *h = kalloc(sizeof(*h));
	if (!h) {
		if (PORT_HOST && file >= 0)
			port_file_close(file);
		return NULL; // the server keeps it open until the connection ends
	}
	refcount_set(&h->refs, 1);
	h->nodeid = nodeid;
	h->fh = o->fh;
	h->open_flags = o->flags;
	h->flags = flags;
	h->file = file;
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
	bool silent = PORT_HOST && !h->directory;
	if (PORT_HOST && h->file >= 0)
		port_file_close(h->file);
	if (r && !silent)
		fs_request_reuse(r, opcode, h->nodeid);
	else if (!silent)
		r = fs_request_get(c, opcode, h->nodeid);
	kfree(h);
	if (silent && r)
		fs_request_put(r);
	if (silent || is_err(r))
		return;
	r->complete = release_done;
	fs_arg(r, &in, sizeof(in));
	fs_send(r);
}

// OPEN. 0 with an answer, its descriptor in *file.
static int open_call(struct inode *i, uint32_t flags, struct fuse_opened *o, int *file)
{
	struct fs_connection *c = fs_connection_of(i);
	struct fuse_open_in in = { .flags = flags };
	struct fs_request *r = fs_request_get(c, FUSE_OPEN, fs_node(i));
	if (is_err(r))
		return (int)ptr_err(r);
	fs_arg(r, &in, sizeof(in));
	fs_reply_room(r, sizeof(struct fuse_open_out));
	r->wants_file = PORT_HOST;
	int error = fs_call(r);
	if (!PORT_HOST && error == -ENOSYS && c->parameters.flags & FUSE_NO_OPEN_SUPPORT) {
		*o = (struct fuse_opened){ 0, FOPEN_KEEP_CACHE }; // a server without open files
		error = 0;
	} else if (!error) {
		error = fuse_decode_opened(r->reply, r->reply_bytes, o);
	}
	*file = PORT_HOST && !error ? fs_request_file(r) : -1;
	if (PORT_HOST && !error && *file < 0)
		error = -EIO; // it is all we could read and write through
	fs_request_put(r);
	return error;
}

struct fs_handle *fs_handle_open(struct inode *i, uint32_t flags)
{
	struct fuse_opened o;
	int file = -1, error = open_call(i, flags, &o, &file);
	if (error)
		return err_ptr(error);
	struct fs_handle *h = fs_handle_create(fs_connection_of(i), fs_node(i), &o, flags, false, file);
	return h ? h : err_ptr(-ENOMEM);
}

// A writer that can read too, if the server lets us.
static struct fs_handle *open_writer(struct inode *i)
{
	struct fs_handle *h = fs_handle_open(i, O_RDWR);
	if (is_err(h) && (ptr_err(h) == -EACCES || ptr_err(h) == -EPERM))
		h = fs_handle_open(i, O_WRONLY);
	return h;
}

bool fs_handle_fits(const struct fs_handle *h, bool write)
{
	unsigned mode = h ? h->flags & O_ACCMODE : 0;
	return h && (write ? mode != O_RDONLY : mode != O_WRONLY);
}

struct fs_handle *fs_handle_cached(struct inode *i, bool write)
{
	struct fs_inode *fi = fs_inode_of(i);
	spin_lock(&fi->lock);
	struct fs_handle *h = !write && fi->reader ? fi->reader : fi->writer;
	if (!fs_handle_fits(h, write))
		h = NULL;
	if (h)
		refcount_get(&h->refs);
	spin_unlock(&fi->lock);
	return h;
}

void fs_handle_remember(struct inode *i, struct fs_handle *h, bool write)
{
	struct fs_inode *fi = fs_inode_of(i);
	spin_lock(&fi->lock);
	struct fs_handle **slot = write ? &fi->writer : &fi->reader;
	if (!*slot) {
		refcount_get(&h->refs);
		*slot = h;
	}
	if (fs_handle_fits(h, false))
		fi->read_granted = true;
	spin_unlock(&fi->lock);
}

void fs_handle_prefer(struct inode *i, struct fs_handle *h)
{
	struct fs_inode *fi = fs_inode_of(i);
	refcount_get(&h->refs);
	spin_lock(&fi->lock);
	struct fs_handle *before = fi->reader;
	fi->reader = h;
	spin_unlock(&fi->lock);
	fs_handle_put(fi->connection, before, NULL);
}

struct fs_handle *fs_handle_get(struct inode *i, bool write)
{
	struct fs_handle *h = fs_handle_cached(i, write);
	if (h)
		return h;
	h = write ? open_writer(i) : fs_handle_open(i, O_RDONLY);
	if (!is_err(h))
		fs_handle_remember(i, h, write);
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
			if (!fs_inode_hold(fi->inode))
				fi = NULL; // going: it releases them itself
		}
		spin_unlock(&c->lock);
		if (!fi)
			return some;
		handles_drop(fi);
		fs_inode_unhold(fi->inode);
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

void fs_handle_keep(struct inode *i, struct fs_handle *h)
{
	struct fs_inode *fi = fs_inode_of(i);
	fs_handle_remember(i, h, (h->flags & O_ACCMODE) != O_RDONLY);
	fs_handle_put(fi->connection, h, NULL);
	if (!__atomic_load_n(&fi->open_files, __ATOMIC_RELAXED)) // else the last close puts it there
		idle_enter(fi);
}

// ---- open files ----

void fs_handle_adopt(struct inode *i, struct file *f, struct fs_handle *h)
{
	struct fs_inode *fi = fs_inode_of(i);
	bool write = (f->flags & O_ACCMODE) != O_RDONLY;
	spin_lock(&fi->lock);
	fi->open_files++;
	fi->open_writers += write;
	spin_unlock(&fi->lock);
	idle_leave(fi);
	f->private = h;
	f->object = i->object;
	f->ops = &fs_file_ops;
}

void fs_handle_release(struct file *f)
{
	struct fs_inode *fi = fs_inode_of(f->inode);
	bool write = (f->flags & O_ACCMODE) != O_RDONLY;
	spin_lock(&fi->lock);
	bool last = --fi->open_files == 0;
	fi->open_writers -= write;
	spin_unlock(&fi->lock);
	fs_handle_put(fi->connection, f->private, NULL);
	if (write && !fs_owns_data(f->inode))
		fs_handle_put(fi->connection, fs_writer_retire(fi), NULL);
	if (last)
		idle_enter(fi);
}

// The last writer is gone and so is its data: the server's descriptor goes.
struct fs_handle *fs_writer_retire(struct fs_inode *fi)
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
