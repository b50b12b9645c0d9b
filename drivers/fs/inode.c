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

#define OURS_NS        (2 * NSEC_PER_SEC) // how late the host may report a change
#define YOUNG_VALID_NS (NSEC_PER_SEC / 10)

uint64_t fs_deadline(uint64_t valid_ns)
{
	uint64_t deadline;
	if (PORT_HOST && valid_ns >= FS_LASTING_NS)
		valid_ns = NSEC_PER_SEC; // until watch.c has made sure that we were told
	if (PORT_HOST && fs_cell_is_young())
		valid_ns = min(valid_ns, YOUNG_VALID_NS);
	// A clock is not worth reading.
	if (valid_ns >= FS_LASTING_NS || __builtin_add_overflow(clock_monotonic_ns(), valid_ns, &deadline))
		return UINT64_MAX;
	return valid_ns ? deadline : 0;
}

static struct timestamp time_of(struct fuse_time t) { return (struct timestamp){ t.seconds, t.nanoseconds }; }

static bool time_equal(struct timestamp a, struct timestamp b)
{
	return a.seconds == b.seconds && a.nanoseconds == b.nanoseconds;
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
	if (PORT_HOST)
		__atomic_store_n(&fi->ours_until_ns, clock_monotonic_ns() + OURS_NS, __ATOMIC_RELAXED);
}

static bool data_differs(const struct inode *i, const struct fuse_attributes *a)
{
	return i->data.size_bytes != a->size || !time_equal(i->mtime, time_of(a->mtime)) ||
	       (!fs_inode_of(i)->ctime_ours && !time_equal(i->ctime, time_of(a->ctime)));
}

void fs_attributes_store(struct inode *i, const struct fuse_attributes *a, bool owned)
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
		fs_attributes_store(i, a, false);
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
	if (PORT_HOST && fi->connection->attr_valid_ns != valid_ns)
		fi->connection->attr_valid_ns = valid_ns;
	spin_lock(&fi->lock);
	bool old_news = fi->attr_changed > clock, owned = fs_owns_data(i);
	bool changed = !old_news && !owned && inode_is_reg(i) && i->data.pages.count && data_differs(i, a);
	if (!old_news && !changed)
		fs_attributes_store(i, a, owned);
	fi->attr_expires_ns = old_news ? 0 : fs_deadline(valid_ns);
	fi->attr_lasting = !old_news && valid_ns >= FS_LASTING_NS;
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
	fs_attributes_store(i, &e->attr, false);
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
	fs_data_retire(i);
	lists_leave(c, fi);
	if (PORT_HOST)
		fs_watch_inode_gone(fi);
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

bool fs_inode_hold(struct inode *i)
{
	if (!refcount_get_unless_zero(&i->refs))
		return false;
	__atomic_add_fetch(&fs_connection_of(i)->holders, 1, __ATOMIC_ACQ_REL);
	return true;
}

void fs_inode_unhold(struct inode *i)
{
	struct fs_connection *c = fs_connection_of(i);
	inode_put(i);
	if (!__atomic_sub_fetch(&c->holders, 1, __ATOMIC_ACQ_REL) && !waitq_empty(&c->idle_wait))
		waitq_wake_all(&c->idle_wait);
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

void fs_identify(const struct inode *i, dev_t *dev, ino_t *ino)
{
	const struct fs_inode *fi = fs_inode_of((struct inode *)i);
	*ino = fi->ino;
	if (fi->dev)
		*dev = fi->dev;
}

void fs_stat_fill(struct inode *i, struct kstat *out)
{
	struct fs_inode *fi = fs_inode_of(i);
	generic_getattr(i, out);
	out->size = __atomic_load_n(&i->data.size_bytes, __ATOMIC_ACQUIRE);
	fs_identify(i, &out->dev, &out->ino);
	out->blocks = fi->blocks;
	if (fi->block_size)
		out->block_size = fi->block_size;
}

void fs_setattr_encode(const struct attr_change *c, bool our_clock, struct fuse_setattr_in *in)
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

int fs_setattr_call(struct inode *i, const struct fuse_setattr_in *in, struct fuse_attributes *a, uint64_t *valid_ns)
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
