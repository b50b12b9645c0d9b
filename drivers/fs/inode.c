// SPDX-License-Identifier: Apache-2.0
// Inodes of the server: their attributes, how long those are believed, and who owns size and mtime.
//
// Attributes come with most answers and are good for as long as the server says. With write-back caching, size and mtime of a
// file written here are ours until the server has been told; everything else, and every file not being written here, is
// the server's: a changed size or mtime means that the host changed the file, and the cached pages go.
//
// Answers and local changes race. connection.attr_clock ticks at each local change; an answer to a question asked before the
// inode's last change is not believed.
#include "fs.h"

#include "kernel/slab.h"
#include "kernel/task.h"
#include "kernel/timer.h"
#include "lib/string.h"

uint64_t fs_deadline(uint64_t valid_ns)
{
	uint64_t deadline;
	// An hour or more is for ever: a clock is not worth reading then.
	if (valid_ns >= 3600 * (uint64_t)NSEC_PER_SEC ||
	    __builtin_add_overflow(clock_monotonic_ns(), valid_ns, &deadline))
		return UINT64_MAX;
	return valid_ns ? deadline : 0;
}

static struct timestamp time_of(struct fuse_time t) { return (struct timestamp){ t.seconds, t.nanoseconds }; }

static bool time_equal(struct timestamp a, struct timestamp b)
{
	return a.seconds == b.seconds && a.nanoseconds == b.nanoseconds;
}

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

void fs_attributes_stale(struct inode *i) { __atomic_store_n(&fs_inode_of(i)->attr_expires_ns, 0, __ATOMIC_RELEASE); }

void fs_attributes_changed(struct inode *i)
{
	struct fs_inode *fi = fs_inode_of(i);
	uint64_t tick = __atomic_add_fetch(&fi->connection->attr_clock, 1, __ATOMIC_ACQ_REL);
	spin_lock(&fi->lock);
	fi->attr_changed = tick;
	fi->ctime_ours = true;
	spin_unlock(&fi->lock);
}

static bool data_differs(const struct inode *i, const struct fuse_attributes *a)
{
	return i->data.size_bytes != a->size || !time_equal(i->mtime, time_of(a->mtime)) ||
	       (!fs_inode_of(i)->ctime_ours && !time_equal(i->ctime, time_of(a->ctime)));
}

// Stores what is the server's. fi->lock held.
static void attributes_store(struct inode *i, const struct fuse_attributes *a, bool owned)
{
	struct fs_inode *fi = fs_inode_of(i);
	if (i->mode != a->mode || i->uid != a->uid || i->gid != a->gid) {
		fi->read_granted = false;
		__atomic_and_fetch(&i->state, ~INODE_NOSUID_CLEAN, __ATOMIC_RELAXED);
	}
	i->mode = a->mode;
	i->uid = a->uid;
	i->gid = a->gid;
	i->nlink = a->nlink;
	i->atime = time_of(a->atime);
	fi->ino = a->ino;
	fi->blocks = a->blocks;
	fi->block_size = a->block_size;
	if (owned)
		return;
	i->mtime = time_of(a->mtime);
	i->ctime = time_of(a->ctime);
	fi->ctime_ours = false;
	__atomic_store_n(&i->data.size_bytes, a->size, __ATOMIC_RELEASE);
}

// The host changed a file of which we have pages. They go, unless somebody here writes it just now: writers hold the inode's
// lock, so whoever cannot get that leaves things as they are and the next look asks again.
static void host_changed(struct inode *i, const struct fuse_attributes *a, uint64_t valid_ns, uint64_t clock)
{
	struct fs_inode *fi = fs_inode_of(i);
	bool mine = mutex_is_mine(&i->lock);
	if (!mine && !mutex_try_lock(&i->lock)) {
		fs_attributes_stale(i);
		return;
	}
	spin_lock(&fi->lock);
	bool believe = fi->attr_changed <= clock && !fs_owns_data(i);
	if (believe)
		attributes_store(i, a, false);
	fi->attr_expires_ns = believe ? fs_deadline(valid_ns) : 0;
	spin_unlock(&fi->lock);
	if (believe && i->data.shared_writers) // a mapping may make pages dirty at any time: those are not thrown away
		mobj_invalidate(&i->data, 0, UINT64_MAX);
	else if (believe) // other mappings lose their pages too; private copies stay
		mobj_truncate(&i->data, 0, (uint64_t)INT64_MAX & PAGE_MASK);
	if (!mine)
		mutex_unlock(&i->lock);
}

void fs_attributes_apply(struct inode *i, const struct fuse_attributes *a, uint64_t valid_ns, uint64_t clock)
{
	struct fs_inode *fi = fs_inode_of(i);
	spin_lock(&fi->lock);
	bool old_news = fi->attr_changed > clock, owned = fs_owns_data(i);
	bool changed = !old_news && !owned && inode_is_reg(i) && i->data.pages.count && data_differs(i, a);
	if (!old_news && !changed)
		attributes_store(i, a, owned);
	fi->attr_expires_ns = old_news ? 0 : fs_deadline(valid_ns);
	spin_unlock(&fi->lock);
	if (changed)
		host_changed(i, a, valid_ns, clock);
}

// ---- life ----

static void operations_set(struct inode *i, const struct fuse_attributes *a)
{
	i->mode = a->mode;
	i->object = NULL;
	mobj_init(&i->data, &fs_mobj_ops, NULL); // attributes keep the size there, whatever the type
	switch (a->mode & S_IFMT) {
	case S_IFREG:
		i->data.inode = i;
		i->data.page_flags = PAGE_SHARED;
		i->object = &i->data;
		i->ops = &fs_file_inode_ops;
		i->file_ops = &fs_file_ops;
		break;
	case S_IFDIR:
		i->ops = &fs_dir_inode_ops;
		i->file_ops = &fs_dir_file_ops;
		break;
	case S_IFLNK: i->ops = &fs_link_inode_ops; break;
	default: i->ops = &fs_special_inode_ops; inode_init_special(i, a->mode, a->rdev);
	}
}

// The device number of another file system of the server's: one for each place where one begins, inherited below.
static dev_t submount_device(struct inode *dir, const struct fuse_attributes *a)
{
	static unsigned next_minor; // atomic
	if (!a->submount)
		return dir ? fs_inode_of(dir)->dev : 0;
	return DEV_MAKE(1023, __atomic_add_fetch(&next_minor, 1, __ATOMIC_RELAXED) & 0xfffff);
}

static int inode_make(struct inode *i, struct inode *dir, const struct fuse_entry *e)
{
	struct fs_inode *fi = kalloc(sizeof(*fi));
	if (!fi)
		return -ENOMEM;
	i->private = fi;
	__atomic_add_fetch(&fs_connection_of(i)->inode_count, 1, __ATOMIC_RELAXED);
	fi->forget.nodeid = e->nodeid;
	fi->inode = i;
	fi->connection = fs_connection_of(i);
	fi->dev = submount_device(dir, &e->attr);
	spin_init(&fi->lock);
	list_init(&fi->idle_node);
	list_init(&fi->dirty_node);
	waitq_init(&fi->wait);
	operations_set(i, &e->attr);
	attributes_store(i, &e->attr, false);
	return 0;
}

struct inode *fs_inode_get(struct super *s, struct inode *dir, const struct fuse_entry *e, uint64_t clock)
{
	struct fs_connection *c = s->private;
	bool is_new;
	int error = -ENOMEM;
	struct inode *i = inode_get_cached(s, e->nodeid, &is_new);
	if (!i)
		goto forget;
	if (is_new) {
		error = inode_make(i, dir, e);
		inode_ready(i, !error);
	} else {
		error = (i->mode ^ e->attr.mode) & S_IFMT ? -EIO : 0; // a server that reuses a node still in use
	}
	if (error) {
		inode_put(i);
		goto forget;
	}
	__atomic_add_fetch(&fs_inode_of(i)->forget.count, 1, __ATOMIC_RELAXED);
	fs_attributes_apply(i, &e->attr, e->attr_valid_ns, clock);
	return i;
forget:
	if (e->nodeid != FS_ROOT_NODE)
		fs_forget_node(c, e->nodeid, 1);
	return err_ptr(error);
}

static bool inode_is_quiet(struct fs_inode *fi)
{
	spin_lock(&fi->lock);
	bool quiet = !fi->writes_in_flight && !fi->times_busy;
	spin_unlock(&fi->lock);
	return quiet;
}

static void lists_leave(struct fs_connection *c, struct fs_inode *fi)
{
	spin_lock(&c->lock);
	if (!list_empty(&fi->idle_node)) {
		list_remove(&fi->idle_node);
		c->idle_handle_count--;
	}
	list_remove(&fi->dirty_node);
	spin_unlock(&c->lock);
}

void fs_evict_inode(struct inode *i)
{
	struct fs_inode *fi = fs_inode_of(i);
	struct fs_connection *c = fs_connection_of(i);
	if (!fi)
		return;
	lists_leave(c, fi);
	if (i->data.inode)
		mobj_truncate(&i->data, 0, UINT64_MAX); // waits for reads and writes that use fi
	wait_event(&fi->wait, inode_is_quiet(fi));
	if (i->nlink && fi->times_dirty)
		(void)!fs_times_flush(i);
	lists_leave(c, fi);
	if (fi->times_request)
		fs_request_put(fi->times_request);
	if (fi->reader)
		fs_handle_put(c, fi->reader, NULL);
	if (fi->writer)
		fs_handle_put(c, fi->writer, NULL);
	kfree((char *)i->link);
	i->link = NULL;
	i->private = NULL;
	__atomic_sub_fetch(&c->inode_count, 1, __ATOMIC_RELAXED);
	if (fi->forget.count)
		fs_forget(c, &fi->forget); // frees fi
	else
		kfree(fi);
}

// ---- asking and changing ----

int fs_attributes_refresh(struct inode *i, struct fs_handle *h)
{
	struct fs_connection *c = fs_connection_of(i);
	struct fuse_getattr_in in = { .getattr_flags = h ? FUSE_GETATTR_FH : 0, .fh = h ? h->fh : 0 };
	struct fuse_attributes a;
	uint64_t valid_ns, clock = fs_clock_now(c);
	struct fs_request *r = fs_request_get(c, FUSE_GETATTR, fs_node(i));
	if (is_err(r))
		return (int)ptr_err(r);
	fs_arg(r, &in, sizeof(in));
	fs_reply_room(r, sizeof(struct fuse_attr_out));
	int error = fs_call(r);
	if (!error)
		error = fuse_decode_attributes(r->reply, r->reply_bytes, &a, &valid_ns);
	if (!error && (i->mode ^ a.mode) & S_IFMT)
		error = -EIO;
	if (!error)
		fs_attributes_apply(i, &a, valid_ns, clock);
	fs_request_put(r);
	return error;
}

static bool attributes_are_fresh(struct fs_inode *fi)
{
	uint64_t expires = __atomic_load_n(&fi->attr_expires_ns, __ATOMIC_ACQUIRE);
	return expires == UINT64_MAX || (expires && clock_monotonic_ns() < expires);
}

int fs_getattr(struct inode *i, struct kstat *out)
{
	struct fs_inode *fi = fs_inode_of(i);
	if (!attributes_are_fresh(fi)) {
		int error = fs_attributes_refresh(i, NULL);
		if (error)
			return error;
	}
	generic_getattr(i, out);
	out->size = __atomic_load_n(&i->data.size_bytes, __ATOMIC_ACQUIRE);
	out->ino = fi->ino;
	out->blocks = fi->blocks;
	if (fs_owns_data(
		    i)) { // the server does not know what it will have to store: at most what is cached, and no more than the size
		uint64_t cached = fi->blocks + i->data.pages.count * (PAGE_SIZE / 512);
		out->blocks = max(fi->blocks, min(cached, (out->size + 511) / 512));
	}
	if (fi->block_size)
		out->block_size = fi->block_size;
	if (fi->dev)
		out->dev = fi->dev;
	return 0;
}

static void setattr_encode(const struct attr_change *c, bool our_clock, struct fuse_setattr_in *in)
{
	if (c->valid & ATTR_MODE) {
		in->valid |= FATTR_MODE;
		in->mode = c->mode;
	}
	if (c->valid & ATTR_UID) {
		in->valid |= FATTR_UID;
		in->uid = c->uid;
	}
	if (c->valid & ATTR_GID) {
		in->valid |= FATTR_GID;
		in->gid = c->gid;
	}
	if (c->valid & ATTR_SIZE) {
		in->valid |= FATTR_SIZE;
		in->size = (uint64_t)c->size;
	}
	if (c->valid & ATTR_ATIME) {
		in->valid |= FATTR_ATIME | (c->valid & ATTR_ATIME_NOW && !our_clock ? FATTR_ATIME_NOW : 0);
		in->atime = (uint64_t)c->atime.seconds;
		in->atimensec = c->atime.nanoseconds;
	}
	if (c->valid & ATTR_MTIME) {
		in->valid |= FATTR_MTIME | (c->valid & ATTR_MTIME_NOW && !our_clock ? FATTR_MTIME_NOW : 0);
		in->mtime = (uint64_t)c->mtime.seconds;
		in->mtimensec = c->mtime.nanoseconds;
	}
}

static int setattr_call(struct inode *i, const struct fuse_setattr_in *in, struct fuse_attributes *a,
			uint64_t *valid_ns)
{
	struct fs_request *r = fs_request_get(fs_connection_of(i), FUSE_SETATTR, fs_node(i));
	if (is_err(r))
		return (int)ptr_err(r);
	fs_arg(r, in, sizeof(*in));
	fs_reply_room(r, sizeof(struct fuse_attr_out));
	int error = fs_call(r);
	if (!error)
		error = fuse_decode_attributes(r->reply, r->reply_bytes, a, valid_ns);
	if (!error && (i->mode ^ a->mode) & S_IFMT)
		error = -EIO;
	fs_request_put(r);
	return error;
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
	setattr_encode(change, c->writeback, &in);
	if (!in.valid)
		return 0;
	if (sized && h) {
		in.valid |= FATTR_FH;
		in.fh = h->fh;
	}
	if (sized)
		fs_writes_block(fi);
	int error = setattr_call(i, &in, &a, &valid_ns);
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
	attributes_store(i, &a, false);
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
