// SPDX-License-Identifier: Apache-2.0
// Attributes of files whose data is in the page cache: who owns size and mtime, and changes of size.
#include "fs.h"

static bool has_dirty_pages(struct mobj *o)
{
	uint64_t first = 0, second = 0;
	if (!__atomic_load_n(&o->on_dirty_list, __ATOMIC_ACQUIRE))
		return false;
	spin_lock(&o->lock);
	bool dirty = radix_next_marked(&o->pages, &first, RADIX_MARK_DIRTY) ||
		     radix_next_marked(&o->pages, &second, RADIX_MARK_WRITEBACK);
	spin_unlock(&o->lock);
	return dirty;
}

bool fs_owns_data(struct inode *i)
{
	struct fs_inode *fi = fs_inode_of(i);
	return inode_is_reg(i) &&
	       (fi->times_dirty || fi->writers_active || fi->writes_in_flight || has_dirty_pages(&i->data));
}

int fs_getattr(struct inode *i, struct kstat *out)
{
	struct fs_inode *fi = fs_inode_of(i);
	if (!fs_attributes_fresh(fi)) {
		int error = fs_attributes_refresh(i, NULL);
		if (error)
			return error;
	}
	fs_stat_fill(i, out);
	if (fs_owns_data(
		    i)) { // the server does not know what it will have to store: what is cached, and no more than the size
		uint64_t cached = fi->blocks + i->data.pages.count * (PAGE_SIZE / 512);
		out->blocks = max(fi->blocks, min(cached, (out->size + 511) / 512));
	}
	return 0;
}

// The server has truncated: cut the cache accordingly. Inode locked, no write in flight, none can start.
static void size_settle(struct inode *i, uint64_t size)
{
	struct fs_inode *fi = fs_inode_of(i);
	uint64_t old = i->data.size_bytes;
	__atomic_store_n(&i->data.size_bytes, size, __ATOMIC_RELEASE);
	fs_writes_unblock(fi); // before the truncation below waits for pages that wait to be written
	if (size < old)
		mobj_truncate(&i->data, size, UINT64_MAX);
	else if (size > old)
		mobj_truncate(&i->data, old, min(size, align_up(old, PAGE_SIZE)));
}

int fs_setattr(struct inode *i, const struct attr_change *change)
{
	struct fs_inode *fi = fs_inode_of(i);
	struct fs_connection *c = fs_connection_of(i);
	struct fuse_setattr_in in = { 0 };
	struct fuse_attributes a;
	uint64_t valid_ns = 0;
	bool sized = change->valid & ATTR_SIZE && inode_is_reg(i);
	struct fs_handle *h = change->file ? fs_file_handle(change->file) : NULL;
	fs_setattr_encode(change, c->writeback, &in);
	if (!in.valid)
		return 0;
	if (sized && h) {
		in.valid |= FATTR_FH;
		in.fh = h->fh;
	}
	if (sized)
		fs_writes_block(fi);
	int error = fs_setattr_call(i, &in, &a, &valid_ns);
	if (error) {
		if (sized)
			fs_writes_unblock(fi);
		return error;
	}
	bool owned = fs_owns_data(i);
	fs_attributes_changed(i);
	spin_lock(&fi->lock);
	uint64_t old_size = i->data.size_bytes;
	struct timestamp old_mtime = i->mtime;
	fs_attributes_store(i, &a, false);
	i->data.size_bytes = old_size; // size_settle() needs it, and an owned one stays
	if (owned && !(change->valid & ATTR_MTIME) && !sized)
		i->mtime = old_mtime;
	if (change->valid & ATTR_MTIME && c->writeback)
		i->mtime = change->mtime;
	fi->attr_expires_ns = fs_deadline(valid_ns);
	fi->read_granted = fi->read_granted && !(change->valid & (ATTR_MODE | ATTR_UID | ATTR_GID));
	spin_unlock(&fi->lock);
	if (sized)
		size_settle(i, (uint64_t)change->size);
	else if (!owned && inode_is_reg(i) && a.size != old_size)
		fs_attributes_stale(i); // the host changed it just now
	if (owned && change->valid & ATTR_MTIME)
		fs_times_touched(i); // writes still to come would overwrite it: it is sent again after them
	return 0;
}

static bool inode_is_quiet(struct fs_inode *fi)
{
	spin_lock(&fi->lock);
	bool quiet = !fi->writes_in_flight && !fi->times_busy;
	spin_unlock(&fi->lock);
	return quiet;
}

void fs_data_retire(struct inode *i)
{
	struct fs_inode *fi = fs_inode_of(i);
	if (i->data.inode)
		mobj_truncate(&i->data, 0, UINT64_MAX); // waits for reads and writes that use fi
	wait_event(&fi->wait, inode_is_quiet(fi));
	if (i->nlink && fi->times_dirty)
		(void)!fs_times_flush(i);
	if (fi->times_request)
		fs_request_put(fi->times_request);
}
