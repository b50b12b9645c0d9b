// SPDX-License-Identifier: Apache-2.0
// Attributes of files that are the host's descriptors. While somebody here has a file open for writing, the host's fstat(2) says
// how large it is and when it changed; otherwise what the broker said is good for its time, or until it says otherwise (watch.c).
//
// Owners and mode are the broker's to say: fstat(2) tells only that they changed.
#include "fs.h"

#include <asm/stat.h>

#include "port/host.h"

bool fs_owns_data(struct inode *i) { return false; }
void fs_data_retire(struct inode *i) {}

// ---- asking ----

static struct timestamp time_of(unsigned long seconds, unsigned long nanoseconds)
{
	return (struct timestamp){ (int64_t)seconds, (uint32_t)min(nanoseconds, 999999999ul) };
}

// Is what the broker has to say still what it said? fi->lock held.
static bool broker_knows_better(struct inode *i, const struct stat *s)
{
	struct fs_inode *fi = fs_inode_of(i);
	bool changed = fi->host_known
			       ? fi->host_mode != s->st_mode || fi->host_uid != s->st_uid || fi->host_gid != s->st_gid
			       : i->mode != s->st_mode;
	fi->host_known = true;
	fi->host_mode = s->st_mode;
	fi->host_uid = s->st_uid;
	fi->host_gid = s->st_gid;
	return changed;
}

static void stat_store(struct inode *i, const struct stat *s)
{
	struct fs_inode *fi = fs_inode_of(i);
	i->nlink = (uint32_t)s->st_nlink;
	i->atime = time_of(s->st_atime, s->st_atime_nsec);
	i->mtime = time_of(s->st_mtime, s->st_mtime_nsec);
	i->ctime = time_of(s->st_ctime, s->st_ctime_nsec);
	fi->blocks = (uint64_t)s->st_blocks;
	fi->attr_expires_ns = fs_deadline(fi->connection->attr_valid_ns);
	__atomic_store_n(&i->data.size_bytes, (uint64_t)s->st_size, __ATOMIC_RELEASE);
}

int fs_host_refresh(struct inode *i, struct fs_handle *h, struct kstat *out)
{
	struct fs_inode *fi = fs_inode_of(i);
	uint64_t clock = fs_clock_now(fi->connection);
	struct stat s;
	int error = port_file_stat(h->file, &s);
	if (error)
		return error;
	if (s.st_size < 0 || s.st_blocks < 0)
		return -EIO;
	spin_lock(&fi->lock);
	bool ask = broker_knows_better(i, &s);
	if (fi->attr_changed <= clock)
		stat_store(i, &s);
	if (ask)
		fi->attr_expires_ns = 0;
	if (out) { // from this answer: the inode may know a later one, or keep an earlier one
		fs_stat_fill(i, out);
		out->size = (uint64_t)s.st_size;
		out->blocks = (uint64_t)s.st_blocks;
		out->nlink = s.st_nlink;
		out->atime = time_of(s.st_atime, s.st_atime_nsec);
		out->mtime = time_of(s.st_mtime, s.st_mtime_nsec);
		out->ctime = time_of(s.st_ctime, s.st_ctime_nsec);
	}
	spin_unlock(&fi->lock);
	return ask ? -ESTALE : 0;
}

// The directory whose watch tells of changes of `i`: itself, or where its name is. A reference, or NULL.
static struct inode *telling_directory(struct inode *i)
{
	struct dentry *d = NULL;
	struct inode *dir = NULL;
	if (inode_is_dir(i)) {
		inode_get(i);
		return i;
	}
	spin_lock(&i->alias_lock);
	if (!list_empty(&i->dentries))
		d = list_first(&i->dentries, struct dentry, alias_node);
	if (d && !refcount_get_unless_zero(&d->refs))
		d = NULL;
	spin_unlock(&i->alias_lock);
	if (!d)
		return NULL;
	spin_lock(&dentry_tree_lock);
	if (d->parent != d && d->flags & DENTRY_HASHED) {
		dir = d->parent->inode;
		inode_get(dir);
	}
	spin_unlock(&dentry_tree_lock);
	dentry_put(d);
	return dir;
}

// Fresh attributes, into `out` too when that is not NULL.
static int refresh(struct inode *i, struct kstat *out)
{
	struct inode *dir = telling_directory(i);
	uint64_t mark = 0;
	if (dir) {
		fs_watch_want(dir); // what is asked for again will be asked for again
		mark = fs_watch_mark(dir);
	}
	struct fs_handle *h = inode_is_reg(i) ? fs_handle_cached(i, false) : NULL;
	int error = h ? fs_host_refresh(i, h, out) : -ESTALE;
	fs_handle_put(fs_connection_of(i), h, NULL);
	if (error) {
		error = fs_attributes_refresh(i, NULL);
		if (!error && out)
			fs_stat_fill(i, out);
	}
	if (dir && mark && !error)
		fs_watch_bless_attributes(dir, i, mark);
	if (dir)
		inode_put(dir);
	return error;
}

int fs_getattr(struct inode *i, struct kstat *out)
{
	struct fs_inode *fi = fs_inode_of(i);
	if (likely(!fi->open_writers && fs_attributes_fresh(fi))) {
		fs_stat_fill(i, out);
		return 0;
	}
	struct fs_handle *h = fi->open_writers ? fs_handle_cached(i, true) : NULL;
	int error = h ? fs_host_refresh(i, h, out) : -ESTALE;
	fs_handle_put(fi->connection, h, NULL);
	return error ? refresh(i, out) : 0;
}

// ---- changing ----

static int size_change(struct inode *i, struct fs_handle *h, uint64_t size)
{
	int error = port_file_truncate(h->file, size);
	if (error)
		return error;
	fs_attributes_changed(i);
	__atomic_store_n(&i->data.size_bytes, size, __ATOMIC_RELEASE);
	fs_attributes_stale(i);
	return 0;
}

int fs_setattr(struct inode *i, const struct attr_change *change)
{
	struct fs_connection *c = fs_connection_of(i);
	struct fs_handle *h = change->file && inode_is_reg(i) ? fs_file_handle(change->file) : NULL;
	struct fuse_setattr_in in = { 0 };
	struct fuse_attributes a;
	uint64_t valid_ns = 0;
	unsigned beside = change->valid & ~(ATTR_SIZE | ATTR_MTIME | ATTR_MTIME_NOW | ATTR_CTIME);
	// ftruncate(2), O_TRUNC: the host sets the times.
	if (change->valid & ATTR_SIZE && h && fs_handle_fits(h, true)) {
		int error = size_change(i, h, (uint64_t)change->size);
		if (error || !beside)
			return error;
		struct attr_change rest = *change;
		rest.valid = beside;
		rest.file = NULL;
		fs_setattr_encode(&rest, false, &in);
	} else {
		fs_setattr_encode(change, false, &in);
	}
	if (!in.valid)
		return 0;
	fs_attributes_changed(i); // the host may tell before the answer comes
	int error = fs_setattr_call(i, &in, &a, &valid_ns);
	if (error)
		return error;
	fs_attributes_changed(i);
	fs_attributes_apply(i, &a, valid_ns, fs_clock_now(c));
	spin_lock(&fs_inode_of(i)->lock);
	fs_inode_of(i)->host_known = false; // the owner may be another one now
	spin_unlock(&fs_inode_of(i)->lock);
	return 0;
}

// ---- sync ----

// What the host has not written yet it writes when the server asks: all of its file system.
int fs_sync_all(struct fs_connection *c)
{
	struct fuse_syncfs_in in = { 0 };
	if (!fs_supports(c, FUSE_SYNCFS))
		return 0;
	struct fs_request *r = fs_request_get(c, FUSE_SYNCFS, FS_ROOT_NODE);
	if (is_err(r))
		return (int)ptr_err(r);
	fs_arg(r, &in, sizeof(in));
	int error = fs_call(r);
	fs_request_put(r);
	return error == -ENOSYS ? 0 : error;
}
