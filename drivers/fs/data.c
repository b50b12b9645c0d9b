// SPDX-License-Identifier: Apache-2.0
// A file's data: pages read for and written from the page cache, and direct I/O.
//
// Page-cache pages come from the device's window when there is room in it, and the server reads and writes them in place; pages from
// elsewhere go through a bounce page each. Reads and writes are sent without waiting, as many as there are, and finished by
// interrupt.
#include "fs.h"

#include <linux/fcntl.h>

#include "kernel/slab.h"
#include "kernel/task.h"
#include "lib/string.h"

#define DIRECT_ORDER 5u // 128 KiB at a time

// Gives request `r` the page `k` of its array as payload of `size` bytes. False: no bounce page to be had.
static bool attach_page(struct fs_request *r, unsigned k, struct page *p, uint32_t size, bool out)
{
	struct page *seen = p;
	r->pages[k] = p;
	r->page_count = k + 1;
	if (!page_test(p, PAGE_SHARED_ZONE)) {
		if (!r->bounce)
			r->bounce = kalloc_array(FS_IO_PAGES, sizeof(struct page *));
		seen = r->bounce ? page_alloc(0, PAGE_DEVICE) : NULL;
		if (!seen)
			return false;
		r->bounce[k] = seen;
		if (out)
			memcpy(page_address(seen), page_address(p), size);
	} else {
		if (r->bounce)
			r->bounce[k] = NULL;
		if (!out)
			port_page_expect_device(page_address(p));
	}
	fs_payload(r, page_to_frame(seen), size, out);
	return true;
}

static void bounce_release(struct fs_request *r)
{
	for (unsigned i = 0; r->bounce && i < r->page_count; i++)
		if (r->bounce[i])
			page_put(r->bounce[i]);
	kfree(r->bounce);
	r->bounce = NULL;
}

// ---- page-cache reads ----

static void zero_tail(struct page *p, size_t from)
{
	if (!from)
		port_zero_page(page_address(p));
	else if (from < PAGE_SIZE)
		memset((char *)page_address(p) + from, 0, PAGE_SIZE - from);
}

static void read_done(struct fs_request *r)
{
	struct fs_inode *fi = r->inode;
	size_t got = r->error ? 0 : min(r->reply_bytes, (size_t)r->page_count * PAGE_SIZE);
	if (!r->error && got < r->bytes) // shorter than we thought: the host cut it
		fs_attributes_stale(fi->inode);
	for (unsigned i = 0; i < r->page_count; i++) {
		struct page *p = r->pages[i];
		size_t have = got > i * PAGE_SIZE ? min(got - i * PAGE_SIZE, (size_t)PAGE_SIZE) : 0;
		if (!r->error) {
			if (r->bounce && r->bounce[i])
				memcpy(page_address(p), page_address(r->bounce[i]), have);
			zero_tail(p, have);
		}
		mobj_read_done(p, r->error); // after the last one the inode may go: fi is not touched any more
	}
	bounce_release(r);
	fs_handle_put(r->connection, r->handle, r);
}

// One READ of consecutive pages. 0, or -errno with nothing sent. Consumes a reference of the handle on success.
static int read_send(struct mobj *o, struct fs_handle *h, struct page **pages, unsigned count)
{
	struct inode *i = o->inode;
	uint64_t offset = pages[0]->index << PAGE_SHIFT, size = __atomic_load_n(&o->size_bytes, __ATOMIC_ACQUIRE);
	struct fs_request *r = fs_request_get(fs_connection_of(i), FUSE_READ, fs_node(i));
	if (is_err(r))
		return (int)ptr_err(r);
	struct fuse_read_in in = {
		.fh = h->fh, .offset = offset, .size = count * (uint32_t)PAGE_SIZE, .flags = h->flags
	};
	fs_arg(r, &in, sizeof(in));
	for (unsigned k = 0; k < count; k++)
		if (!attach_page(r, k, pages[k], PAGE_SIZE, false)) {
			fs_request_put(r);
			return -ENOMEM;
		}
	r->inode = fs_inode_of(i);
	r->handle = h;
	r->bytes = size > offset ? (uint32_t)min(size - offset, (uint64_t)in.size) : 0;
	r->complete = read_done;
	fs_send(r);
	return 0;
}

static int fs_read_pages(struct mobj *o, struct page **pages, unsigned count)
{
	struct inode *i = o->inode;
	struct fs_connection *c = fs_connection_of(i);
	unsigned done = 0, io_pages = c->io_bytes / PAGE_SIZE;
	int error = 0;
	struct fs_handle *h = fs_handle_get(i, false);
	if (is_err(h))
		return (int)ptr_err(h);
	while (done < count && !error) {
		unsigned n = min(count - done, io_pages);
		refcount_get(&h->refs);
		error = read_send(o, h, pages + done, n);
		if (error)
			fs_handle_put(c, h, NULL);
		else
			done += n;
	}
	fs_handle_put(c, h, NULL);
	if (!done)
		return error;
	for (; done < count; done++)
		mobj_read_done(pages[done], error);
	return 0;
}

// ---- page-cache writes ----

static bool writes_allowed(struct fs_inode *fi)
{
	spin_lock(&fi->lock);
	bool allowed = !fi->writes_blocked;
	if (allowed)
		fi->writes_in_flight++;
	spin_unlock(&fi->lock);
	return allowed;
}

// One write through `h` less in flight. When it was the last and nobody has the file open for writing, the inode gives up its
// cached reference of h (the caller still has one).
static void write_leave(struct fs_inode *fi, struct fs_handle *h)
{
	spin_lock(&fi->lock);
	bool last = --fi->writes_in_flight == 0;
	if (last && !fi->open_writers && fi->writer == h) {
		fi->writer = NULL;
		(void)!refcount_put(&h->refs);
	}
	if (last)
		waitq_wake_all(&fi->wait);
	spin_unlock(&fi->lock);
	if (last)
		fs_times_writes_over(fi);
}

void fs_writes_block(struct fs_inode *fi)
{
	spin_lock(&fi->lock);
	fi->writes_blocked = true;
	spin_unlock(&fi->lock);
	wait_event(&fi->wait, !__atomic_load_n(&fi->writes_in_flight, __ATOMIC_ACQUIRE));
}

void fs_writes_unblock(struct fs_inode *fi)
{
	spin_lock(&fi->lock);
	fi->writes_blocked = false;
	spin_unlock(&fi->lock);
	waitq_wake_all(&fi->wait);
}

static void write_done(struct fs_request *r)
{
	struct fs_inode *fi = r->inode;
	struct fs_handle *h = r->handle;
	struct page *last = r->pages[r->page_count - 1];
	uint32_t written;
	int error = r->error;
	if (!error)
		error = fuse_decode_written(r->reply, r->reply_bytes, r->bytes, &written);
	if (!error && written < r->bytes)
		error = -ENOSPC; // what a full or limited file system does; the next try would say so
	for (unsigned i = 0; i + 1 < r->page_count; i++)
		mobj_write_done(r->pages[i], error);
	bounce_release(r);
	write_leave(fi, h);
	mobj_write_done(last, error); // whoever evicts the inode waits for this page: fi is not touched any more
	fs_handle_put(r->connection, h, r);
}

// One WRITE of consecutive pages, `bytes` in all. Counted in writes_in_flight. Consumes a handle reference on success.
static int write_send(struct mobj *o, struct fs_handle *h, struct page **pages, unsigned count, uint64_t bytes)
{
	struct inode *i = o->inode;
	struct fs_request *r = fs_request_get(fs_connection_of(i), FUSE_WRITE, fs_node(i));
	if (is_err(r))
		return (int)ptr_err(r);
	struct fuse_write_in in = { .fh = h->fh,
				    .offset = pages[0]->index << PAGE_SHIFT,
				    .size = (uint32_t)bytes,
				    .write_flags = FUSE_WRITE_CACHE,
				    .flags = h->flags };
	fs_arg(r, &in, sizeof(in));
	fs_reply_room(r, sizeof(struct fuse_write_out));
	r->split_head = true;
	for (unsigned k = 0; k < count; k++)
		if (!attach_page(r, k, pages[k], (uint32_t)min(bytes - k * PAGE_SIZE, PAGE_SIZE), true)) {
			fs_request_put(r);
			return -ENOMEM;
		}
	r->inode = fs_inode_of(i);
	r->handle = h;
	r->bytes = (uint32_t)bytes;
	r->complete = write_done;
	fs_send(r);
	return 0;
}

static void write_run(struct mobj *o, struct fs_handle *h, struct page **pages, unsigned count)
{
	struct fs_inode *fi = fs_inode_of(o->inode);
	wait_event(&fi->wait, writes_allowed(fi));
	uint64_t offset = pages[0]->index << PAGE_SHIFT, size = __atomic_load_n(&o->size_bytes, __ATOMIC_ACQUIRE);
	uint64_t bytes = size > offset ? min(size - offset, (uint64_t)count << PAGE_SHIFT) : 0;
	unsigned used = (unsigned)((bytes + PAGE_SIZE - 1) >> PAGE_SHIFT);
	for (unsigned k = used; k < count; k++)
		mobj_write_done(pages[k], 0); // truncated away meanwhile
	int error = 0;
	if (used) {
		refcount_get(&h->refs);
		error = write_send(o, h, pages, used, bytes);
		if (!error)
			return;
		fs_handle_put(fi->connection, h, NULL);
	}
	write_leave(fi, h);
	for (unsigned k = 0; k < used; k++)
		mobj_write_done(pages[k], error);
}

static int fs_write_pages(struct mobj *o, struct page **pages, unsigned count)
{
	struct inode *i = o->inode;
	struct fs_connection *c = fs_connection_of(i);
	unsigned io_pages = c->io_bytes / PAGE_SIZE;
	struct fs_handle *h = fs_handle_get(i, true);
	if (is_err(h))
		return (int)ptr_err(h);
	if (!fs_inode_of(i)->times_dirty) { // stored through a mapping: this is when it counts as modified
		i->mtime = i->ctime = timestamp_now();
		fs_times_touched(i);
	}
	for (unsigned done = 0; done < count; done += io_pages)
		write_run(o, h, pages + done, min(count - done, io_pages));
	fs_handle_put(c, h, NULL);
	return 0;
}

const struct mobj_ops fs_mobj_ops = { .read_pages = fs_read_pages, .write_pages = fs_write_pages };

// ---- direct ----

// A block of window pages for at most `size` bytes; smaller when there is none so large.
static struct page *direct_block(size_t size, size_t *room)
{
	unsigned order = 0;
	struct page *p;
	while (order < DIRECT_ORDER && (PAGE_SIZE << order) < size)
		order++;
	while (!(p = page_alloc(order, PAGE_DEVICE)) && order)
		order--;
	*room = PAGE_SIZE << order;
	return p;
}

// One READ or WRITE of up to `size` bytes at `offset` through `block`. Bytes or -errno.
static ssize_t direct_call(struct inode *i, struct fs_handle *h, struct page *block, uint64_t offset, uint32_t size,
			   bool write)
{
	struct fs_request *r = fs_request_get(fs_connection_of(i), write ? FUSE_WRITE : FUSE_READ, fs_node(i));
	if (is_err(r))
		return ptr_err(r);
	struct fuse_write_in in = { .fh = h->fh, .offset = offset, .size = size, .flags = h->flags };
	static_assert(sizeof(struct fuse_write_in) == sizeof(struct fuse_read_in), "the same head");
	uint32_t written;
	fs_arg(r, &in, sizeof(in));
	if (write)
		fs_reply_room(r, sizeof(struct fuse_write_out));
	r->split_head = write;
	fs_payload(r, page_to_frame(block), size, write);
	ssize_t n = fs_call(r);
	if (!n && write)
		n = fuse_decode_written(r->reply, r->reply_bytes, size, &written) ? -EIO : (ssize_t)written;
	else if (!n)
		n = (ssize_t)min(r->reply_bytes, (size_t)size);
	fs_request_put(r);
	return n;
}

static ssize_t direct_read_loop(struct inode *i, struct fs_handle *h, struct iov_iter *to, loff_t *pos)
{
	ssize_t total = 0, n = 0;
	while (to->count) {
		size_t room, copied = 0;
		struct page *block = direct_block(to->count, &room);
		if (!block)
			return total ? total : -ENOMEM;
		size_t wanted = min(min(to->count, room), (size_t)fs_connection_of(i)->io_bytes);
		n = direct_call(i, h, block, (uint64_t)*pos, (uint32_t)wanted, false);
		if (n > 0)
			copied = iov_copy_to(to, page_address(block), (size_t)n);
		page_put(block);
		*pos += (loff_t)copied;
		total += (ssize_t)copied;
		if (n > 0 && copied < (size_t)n)
			n = -EFAULT;
		if (n < (ssize_t)wanted)
			break;
	}
	return total ? total : n;
}

ssize_t fs_direct_read(struct file *f, struct iov_iter *to, loff_t *pos)
{
	struct inode *i = f->inode;
	int error = mobj_sync(&i->data, (uint64_t)*pos, (uint64_t)*pos + to->count, true);
	if (error)
		return error;
	struct fs_handle *h = fs_handle_get(i, false);
	if (is_err(h))
		return ptr_err(h);
	ssize_t n = direct_read_loop(i, h, to, pos);
	fs_handle_put(fs_connection_of(i), h, NULL);
	return n;
}

static ssize_t direct_write_loop(struct inode *i, struct fs_handle *h, struct iov_iter *from, loff_t *pos)
{
	ssize_t total = 0, n = 0;
	while (from->count) {
		size_t room;
		struct page *block = direct_block(from->count, &room);
		if (!block)
			return total ? total : -ENOMEM;
		size_t wanted = min(min(from->count, room), (size_t)fs_connection_of(i)->io_bytes);
		size_t copied = iov_copy_from(page_address(block), from, wanted);
		n = copied ? direct_call(i, h, block, (uint64_t)*pos, (uint32_t)copied, true) : -EFAULT;
		page_put(block);
		if (n > 0) {
			*pos += n;
			total += n;
		}
		if (n < (ssize_t)wanted) {
			iov_revert(from, copied - (size_t)max(n, (ssize_t)0));
			break;
		}
	}
	return total ? total : n;
}

static ssize_t direct_write_locked(struct file *f, struct fs_handle *h, struct iov_iter *from, loff_t *pos)
{
	struct inode *i = f->inode;
	struct mobj *o = &i->data;
	if (f->flags & O_APPEND)
		*pos = (loff_t)o->size_bytes;
	if (__builtin_add_overflow(*pos, (loff_t)from->count, &(loff_t){ 0 }))
		return -EFBIG;
	uint64_t start = (uint64_t)*pos;
	int error = mobj_sync(o, start, start + from->count, true);
	if (error)
		return error;
	ssize_t n = direct_write_loop(i, h, from, pos);
	if (n > 0) {
		if ((uint64_t)*pos > o->size_bytes)
			__atomic_store_n(&o->size_bytes, (uint64_t)*pos, __ATOMIC_RELEASE);
		// Cached copies are out of date; whole pages, so that their other bytes come from the server again.
		mobj_truncate(o, align_down(start, PAGE_SIZE), align_up((uint64_t)*pos, PAGE_SIZE));
		fs_attributes_changed(i);
		fs_attributes_stale(i);
	}
	return n;
}

ssize_t fs_direct_write(struct file *f, struct iov_iter *from, loff_t *pos)
{
	struct inode *i = f->inode;
	if (!from->count)
		return 0;
	struct fs_handle *h = fs_handle_get(i, true);
	if (is_err(h))
		return ptr_err(h);
	mutex_lock(&i->lock);
	ssize_t n = direct_write_locked(f, h, from, pos);
	mutex_unlock(&i->lock);
	fs_handle_put(fs_connection_of(i), h, NULL);
	return n;
}
