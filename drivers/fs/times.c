// SPDX-License-Identifier: Apache-2.0
// Telling the server the mtime of files written here, and syncing what is dirty.
//
// The server's own mtime changes with each WRITE it gets, in the order we happen to send them; make(1) needs the order in which
// programs wrote. So mtime is kept here and sent (SETATTR) after the last write under way: by fsync and sync at once, by close
// without waiting, from the interrupt that completes the last write.
#include "fs.h"

#include "lib/string.h"

void fs_dirty_add(struct fs_inode *fi)
{
	struct fs_connection *c = fi->connection;
	spin_lock(&c->lock);
	if (list_empty(&fi->dirty_node))
		list_add_tail(&c->dirty, &fi->dirty_node);
	spin_unlock(&c->lock);
}

static void touched_locked(struct fs_inode *fi) // fi->lock
{
	fi->attr_changed = __atomic_add_fetch(&fi->connection->attr_clock, 1, __ATOMIC_ACQ_REL);
	fi->times_dirty = true;
	fi->times_version++;
	fi->ctime_ours = true;
}

void fs_times_touched(struct inode *i)
{
	struct fs_inode *fi = fs_inode_of(i);
	spin_lock(&fi->lock);
	bool first = !fi->times_dirty;
	touched_locked(fi);
	spin_unlock(&fi->lock);
	if (first)
		fs_dirty_add(fi);
}

void fs_write_begin(struct inode *i)
{
	struct fs_inode *fi = fs_inode_of(i);
	spin_lock(&fi->lock);
	fi->writers_active++;
	spin_unlock(&fi->lock);
}

void fs_write_end(struct inode *i, bool written)
{
	struct fs_inode *fi = fs_inode_of(i);
	spin_lock(&fi->lock);
	bool first = written && !fi->times_dirty;
	if (written)
		touched_locked(fi);
	fi->writers_active--;
	spin_unlock(&fi->lock);
	if (first)
		fs_dirty_add(fi);
}

static void times_done(struct fs_request *r)
{
	struct fs_inode *fi = r->inode;
	struct inode *i = fi->inode;
	struct fuse_attributes a;
	uint64_t valid_ns;
	bool good = !r->error && !fuse_decode_attributes(r->reply, r->reply_bytes, &a, &valid_ns);
	spin_lock(&fi->lock);
	if (fi->times_version == r->offset) { // nothing was written since; an error will not get better
		fi->times_dirty = false;
		if (good && !fi->writers_active && fi->attr_changed <= r->clock && a.size == i->data.size_bytes) {
			fi->blocks = a.blocks;
			i->ctime = (struct timestamp){ a.ctime.seconds, a.ctime.nanoseconds };
			i->mtime = (struct timestamp){ a.mtime.seconds, a.mtime.nanoseconds };
			fi->attr_expires_ns = fs_deadline(valid_ns);
		} else {
			fi->attr_expires_ns = 0;
		}
	}
	fi->times_busy = false; // an evictor waits for this and then frees fi: it gets the lock after the wake-up
	waitq_wake_all(&fi->wait);
	spin_unlock(&fi->lock);
	fs_request_put(r);
}

static void times_encode(struct fs_request *r, struct inode *i)
{
	struct fs_inode *fi = fs_inode_of(i);
	struct fuse_setattr_in in = { .valid = FATTR_MTIME };
	spin_lock(&fi->lock);
	in.mtime = (uint64_t)i->mtime.seconds;
	in.mtimensec = i->mtime.nanoseconds;
	r->offset = fi->times_version;
	r->clock = fs_clock_now(fi->connection);
	spin_unlock(&fi->lock);
	r->inode = fi;
	r->complete = times_done;
	fs_arg(r, &in, sizeof(in));
	fs_reply_room(r, sizeof(struct fuse_attr_out));
}

// Sends a stashed request when nothing is being written and none is under way.
static void times_try_send(struct fs_inode *fi)
{
	spin_lock(&fi->lock);
	struct fs_request *r = fi->writes_in_flight || fi->times_busy ? NULL : fi->times_request;
	if (r) {
		fi->times_request = NULL;
		fi->times_busy = true;
	}
	spin_unlock(&fi->lock);
	if (r)
		fs_send(r);
}

void fs_times_writes_over(struct fs_inode *fi)
{
	if (fi->times_request)
		times_try_send(fi);
}

static struct fs_request *times_stash(struct inode *i)
{
	struct fs_inode *fi = fs_inode_of(i);
	struct fs_request *r = fs_request_get(fs_connection_of(i), FUSE_SETATTR, fs_node(i)), *old;
	if (is_err(r))
		return r;
	times_encode(r, i);
	spin_lock(&fi->lock);
	old = fi->times_request;
	fi->times_request = r;
	spin_unlock(&fi->lock);
	if (old)
		fs_request_put(old);
	return NULL;
}

void fs_times_schedule(struct inode *i)
{
	if (!fs_inode_of(i)->times_dirty || is_err(times_stash(i)))
		return;
	times_try_send(fs_inode_of(i));
}

static bool times_are_settled(struct fs_inode *fi)
{
	spin_lock(&fi->lock);
	bool settled = !fi->times_busy && !fi->times_request;
	bool ready = !fi->times_busy && !fi->writes_in_flight;
	spin_unlock(&fi->lock);
	if (!settled && ready)
		times_try_send(fi);
	return settled;
}

int fs_times_flush(struct inode *i)
{
	struct fs_inode *fi = fs_inode_of(i);
	if (!fi->times_dirty)
		return 0;
	struct fs_request *failed = times_stash(i);
	if (is_err(failed))
		return (int)ptr_err(failed);
	times_try_send(fi);
	wait_event(&fi->wait, times_are_settled(fi));
	return 0;
}

// ---- sync ----

// One dirty inode with a reference, off the list; NULL when there is none.
static struct fs_inode *dirty_take(struct fs_connection *c)
{
	struct fs_inode *found = NULL;
	spin_lock(&c->lock);
	while (!found && !list_empty(&c->dirty)) {
		found = list_first(&c->dirty, struct fs_inode, dirty_node);
		list_remove(&found->dirty_node);
		if (!refcount_get_unless_zero(&found->inode->refs)) // on its way out, where it is written too
			found = NULL;
	}
	spin_unlock(&c->lock);
	return found;
}

int fs_sync_all(struct fs_connection *c)
{
	struct fs_inode *fi;
	int error = 0;
	while ((fi = dirty_take(c))) {
		struct inode *i = fi->inode;
		int e = mobj_sync(&i->data, 0, UINT64_MAX, true);
		if (!e)
			e = fs_times_flush(i);
		if (!error)
			error = e;
		inode_put(i);
	}
	return error;
}
