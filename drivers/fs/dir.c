// SPDX-License-Identifier: Apache-2.0
// Names: lookup and its lasting, and everything that makes or removes one.
//
// A name is believed for as long as the server says; after that it is looked up again, which costs one message and brings fresh
// attributes along. A name found missing is believed missing for as long (at most a second). The VFS holds the directory's
// lock around every operation here except revalidation.
#include "fs.h"

#include <linux/fcntl.h>
#include <linux/fs.h>
#include <linux/inotify.h>

#include "abi/broker.h"
#include "kernel/slab.h"
#include "kernel/task.h"
#include "lib/string.h"

#define NEGATIVE_MAX_NS ((uint64_t)NSEC_PER_SEC)

uint64_t fs_entry_expiry(struct fs_connection *c, const struct fuse_entry *e)
{
	if (e->nodeid)
		__atomic_store_n(&c->negative_valid_ns, min(e->entry_valid_ns, NEGATIVE_MAX_NS), __ATOMIC_RELAXED);
	return fs_deadline(e->entry_valid_ns);
}

bool fs_entry_fits(struct dentry *parent, const struct inode *i)
{
	struct dentry *d = parent;
	if (!inode_is_dir(i))
		return true;
	spin_lock(&dentry_tree_lock);
	while (d->inode != i && d->parent != d)
		d = d->parent;
	spin_unlock(&dentry_tree_lock);
	return d->inode != i;
}

// LOOKUP. 0 with an entry whose nodeid may be 0 (not there); the lookup is counted at the server otherwise.
static int lookup_call(struct inode *dir, const char *name, size_t length, struct fuse_entry *e)
{
	struct fs_connection *c = fs_connection_of(dir);
	struct fs_request *r = fs_request_get(c, FUSE_LOOKUP, fs_node(dir));
	if (is_err(r))
		return (int)ptr_err(r);
	fuse_put_name(&r->builder, name, length);
	fs_reply_room(r, sizeof(struct fuse_entry_out));
	int error = fs_call(r);
	if (!error)
		error = fuse_decode_entry(r->reply, r->reply_bytes, e);
	fs_request_put(r);
	if (error == -ENOENT) {
		*e = (struct fuse_entry){ .entry_valid_ns = __atomic_load_n(&c->negative_valid_ns, __ATOMIC_RELAXED) };
		error = 0;
	}
	return error;
}

int fs_entry_take(struct inode *dir, struct dentry *d, const struct fuse_entry *e, uint64_t clock)
{
	struct inode *i = NULL;
	if (e->nodeid) {
		i = fs_inode_get(dir->super, dir, e, clock);
		if (is_err(i))
			return (int)ptr_err(i);
		if (!fs_entry_fits(d->parent, i)) {
			inode_put(i);
			return -ELOOP;
		}
		fs_inode_of(dir)->plus_wanted = true;
	}
	d->expires_ns = fs_entry_expiry(fs_connection_of(dir), e);
	dentry_instantiate(d, i);
	return 0;
}

static int fs_lookup(struct inode *dir, struct dentry *d)
{
	struct fuse_entry e;
	if (PORT_HOST && fs_names_are_known(dir, d->parent)) {
		d->expires_ns = UINT64_MAX;
		return 0;
	}
	if (PORT_HOST && fs_supports(fs_connection_of(dir), BROKER_WALK)) {
		int error = fs_path_lookup(dir, d);
		if (error != -ENOSYS)
			return error;
	}
	uint64_t clock = fs_clock_now(fs_connection_of(dir)), mark = fs_watch_mark(dir);
	int error = lookup_call(dir, d->name, d->name_length, &e);
	if (!error)
		error = fs_entry_take(dir, d, &e, clock);
	if (!error)
		fs_watch_bless(dir, d, &e, mark);
	return error;
}

// ---- lookup for open(2) ---- (abi/broker.h)

// BROKER_LOOKUP_OPEN. 0 with an entry as LOOKUP gives it; *h: the file open, or NULL: it is none that can be opened so; `link`: a
// symbolic link's text, "" unless that is known.
static int lookup_open_call(struct inode *dir, const struct dentry *d, uint32_t flags, struct fuse_entry *e,
			    struct fs_handle **h, char link[BROKER_LINK_MAX + 1])
{
	struct fs_connection *c = fs_connection_of(dir);
	struct broker_lookup_open_in in = { .flags = flags };
	struct fuse_opened o;
	int open_error = 0;
	struct fs_request *r = fs_request_get(c, BROKER_LOOKUP_OPEN, fs_node(dir));
	if (is_err(r))
		return (int)ptr_err(r);
	fs_arg(r, &in, sizeof(in));
	fs_name(r, d);
	fs_reply_room(r, sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out) + BROKER_LINK_MAX);
	r->wants_file = true;
	int error = fs_call(r);
	if (!error)
		error = fuse_decode_lookup_open(r->reply, r->reply_bytes, e, &o, &open_error);
	if (!error)
		error = fuse_decode_lookup_open_link(r->reply, r->reply_bytes, e, link);
	if (!error && e->nodeid && !open_error && r->file >= 0)
		*h = fs_handle_create(c, e->nodeid, &o, flags, false, fs_request_file(r));
	fs_request_put(r);
	if (error == -ENOENT) {
		*e = (struct fuse_entry){ .entry_valid_ns = __atomic_load_n(&c->negative_valid_ns, __ATOMIC_RELAXED) };
		error = 0;
	}
	return error;
}

// What can be opened waits as the inode's cached handle for file_ops->open, which comes next. Whether it may be opened is the VFS's
// question, still to be asked; whether it could be, the broker's: hence nothing is truncated or created here.
static int fs_lookup_open(struct inode *dir, struct dentry *d, int open_flags)
{
	struct fs_connection *c = fs_connection_of(dir);
	struct fuse_entry e;
	struct fs_handle *h = NULL;
	char link[BROKER_LINK_MAX + 1] = "";
	uint32_t flags = (open_flags & O_ACCMODE) == O_RDONLY ? O_RDONLY : O_RDWR;
	if (!fs_supports(c, BROKER_LOOKUP_OPEN) || open_flags & (O_DIRECT | O_DIRECTORY) ||
	    fs_names_are_known(dir, d->parent))
		return fs_lookup(dir, d);
	uint64_t clock = fs_clock_now(c), mark = fs_watch_mark(dir);
	int error = lookup_open_call(dir, d, flags, &e, &h, link);
	if (error == -ENOSYS)
		return fs_lookup(dir, d);
	if (!error)
		error = fs_entry_take(dir, d, &e, clock);
	if (!error)
		fs_watch_bless(dir, d, &e, mark);
	if (!error && link[0])
		fs_link_keep(d->inode, link);
	bool wanted = h && !error && inode_is_reg(d->inode) &&
		      (flags == O_RDONLY || !inode_permission(d->inode, MAY_WRITE)); // else it would block executing it
	if (wanted)
		fs_handle_keep(d->inode, h);
	else
		fs_handle_put(c, h, NULL);
	return error;
}

// ---- revalidation ----

struct dentry_name { // a dentry's place, copied: it may be renamed meanwhile
	struct dentry *parent;
	size_t length;
	char name[NAME_MAX_BYTES + 1];
};

static void dentry_name_get(struct dentry *d, struct dentry_name *n)
{
	spin_lock(&dentry_tree_lock);
	n->parent = d->parent;
	n->length = d->name_length;
	memcpy(n->name, d->name, n->length);
	dentry_get(n->parent);
	spin_unlock(&dentry_tree_lock);
}

static int revalidate_entry(struct dentry *d, struct inode *dir, const struct fuse_entry *e, uint64_t clock)
{
	struct inode *i = d->inode;
	if (!e->nodeid && !i) { // still not there
		d->expires_ns = fs_entry_expiry(fs_connection_of(dir), e);
		return 1;
	}
	if (!e->nodeid)
		return 0;
	if (!i) {
		fs_forget_node(fs_connection_of(dir), e->nodeid, 1);
		return 0;
	}
	if (e->nodeid != fs_node(i) || (i->mode ^ e->attr.mode) & S_IFMT) {
		fs_forget_node(fs_connection_of(dir), e->nodeid, 1);
		return 0;
	}
	__atomic_add_fetch(&fs_inode_of(i)->forget.count, 1, __ATOMIC_RELAXED);
	fs_attributes_apply(i, &e->attr, e->attr_valid_ns, clock);
	fs_inode_of(dir)->plus_wanted = true;
	d->expires_ns = fs_entry_expiry(fs_connection_of(dir), e);
	return 1;
}

// Reads all of a directory instead of asking for this one. 1: it is still right; 0: it is not; -EAGAIN: ask.
static int revalidate_ahead(struct inode *dir, struct dentry *parent, struct dentry *d)
{
	bool mine = mutex_is_mine(&dir->lock);
	if (!mine && !mutex_try_lock(&dir->lock)) // not waited for: who calls may hold other locks
		return -EAGAIN;
	bool read = fs_names_ahead(dir, parent);
	bool hashed = __atomic_load_n(&d->flags, __ATOMIC_RELAXED) & DENTRY_HASHED;
	bool good = d->expires_ns == UINT64_MAX || (d->expires_ns && port_time_ns() < d->expires_ns);
	if (!mine)
		mutex_unlock(&dir->lock);
	return !read || (hashed && !good) ? -EAGAIN : hashed;
}

static int fs_revalidate(struct dentry *d)
{
	if (!d->inode && !PORT_HOST)
		return 0;
	if (d->parent == d)
		return 1;
	struct dentry_name n;
	struct fuse_entry e;
	dentry_name_get(d, &n);
	struct inode *dir = n.parent->inode;
	int result = PORT_HOST ? revalidate_ahead(dir, n.parent, d) : -EAGAIN;
	if (result >= 0) {
		dentry_put(n.parent);
		return result;
	}
	fs_watch_want(dir); // what is asked for again will be asked for again
	uint64_t clock = fs_clock_now(fs_connection_of(dir)), mark = fs_watch_mark(dir);
	result = lookup_call(dir, n.name, n.length, &e);
	if (!result)
		result = revalidate_entry(d, dir, &e, clock);
	if (result == 1)
		fs_watch_bless(dir, d, &e, mark);
	dentry_put(n.parent);
	return result;
}

const struct dentry_ops fs_dentry_ops = { .revalidate = fs_revalidate };

// ---- making ----

// Sends a request that answers with the entry of a new name, and fills `d`.
static int make_call(struct inode *dir, struct dentry *d, struct fs_request *r, mode_t type)
{
	struct fs_connection *c = fs_connection_of(dir);
	struct fuse_entry e;
	uint64_t clock = fs_clock_now(c), own = fs_own_begin(dir, d, IN_CREATE);
	fs_reply_room(r, sizeof(struct fuse_entry_out));
	int error = fs_call(r);
	fs_own_end(own, error);
	if (!error)
		error = fuse_decode_entry(r->reply, r->reply_bytes, &e);
	fs_request_put(r);
	if (error == -EEXIST)
		d->expires_ns = 0; // made on the host meanwhile
	if (error)
		fs_names_unsure(dir);
	if (error)
		return error == -ENOSYS ? -EPERM : error;
	fs_attributes_changed(dir);
	fs_attributes_stale(dir);
	if (!e.nodeid)
		return -EIO;
	if ((e.attr.mode & S_IFMT) != type) {
		fs_forget_node(c, e.nodeid, 1);
		return -EIO;
	}
	struct inode *i = fs_inode_get(dir->super, dir, &e, clock);
	if (is_err(i))
		fs_names_unsure(dir);
	if (is_err(i))
		return (int)ptr_err(i);
	if (!fs_entry_fits(d->parent, i)) {
		inode_put(i);
		return -ELOOP;
	}
	d->expires_ns = fs_entry_expiry(c, &e);
	dentry_instantiate(d, i);
	return 0;
}

static int fs_mknod(struct inode *dir, struct dentry *d, mode_t mode, dev_t rdev)
{
	struct fuse_mknod_in in = { .mode = mode, .rdev = fuse_encode_rdev(rdev) };
	struct fs_request *r = fs_request_get(fs_connection_of(dir), FUSE_MKNOD, fs_node(dir));
	if (is_err(r))
		return (int)ptr_err(r);
	fs_arg(r, &in, sizeof(in));
	fs_name(r, d);
	return make_call(dir, d, r, mode & S_IFMT);
}

static int fs_create(struct inode *dir, struct dentry *d, mode_t mode, bool exclusive)
{
	return fs_mknod(dir, d, S_IFREG | (mode & 07777), 0); // MKNOD never opens what is there: always exclusive
}

static int fs_mkdir(struct inode *dir, struct dentry *d, mode_t mode)
{
	struct fuse_mkdir_in in = { .mode = mode & 07777 };
	struct fs_request *r = fs_request_get(fs_connection_of(dir), FUSE_MKDIR, fs_node(dir));
	if (is_err(r))
		return (int)ptr_err(r);
	fs_arg(r, &in, sizeof(in));
	fs_name(r, d);
	return make_call(dir, d, r, S_IFDIR);
}

static int fs_symlink(struct inode *dir, struct dentry *d, const char *target)
{
	struct fs_connection *c = fs_connection_of(dir);
	size_t size = strlen(target) + 1;
	if (size > PAGE_SIZE)
		return -ENAMETOOLONG;
	struct page *p = page_alloc(0, FS_PAGE_FLAGS);
	if (!p)
		return -ENOMEM;
	struct fs_request *r = fs_request_get(c, FUSE_SYMLINK, fs_node(dir));
	int error = is_err(r) ? (int)ptr_err(r) : 0;
	if (!error) {
		memcpy(page_address(p), target, size);
		fs_name(r, d);
		fs_payload(r, page_to_frame(p), (uint32_t)size, true);
		error = make_call(dir, d, r, S_IFLNK);
	}
	page_put(p);
	return error;
}

static int fs_link(struct dentry *from, struct inode *dir, struct dentry *d)
{
	struct fuse_link_in in = { .oldnodeid = fs_node(from->inode) };
	struct fs_request *r = fs_request_get(fs_connection_of(dir), FUSE_LINK, fs_node(dir));
	if (is_err(r))
		return (int)ptr_err(r);
	fs_inode_of(from->inode)->ctime_ours = true;
	fs_arg(r, &in, sizeof(in));
	fs_name(r, d);
	return make_call(dir, d, r, from->inode->mode & S_IFMT);
}

// CREATE: makes, looks up and opens in one message.
static int create_call(struct inode *dir, struct dentry *d, uint32_t flags, mode_t mode, struct fuse_entry *e,
		       struct fuse_opened *o, int *file)
{
	uint64_t own = fs_own_begin(dir, d, IN_CREATE);
	struct fuse_create_in in = { .flags = flags, .mode = mode };
	struct fs_request *r = fs_request_get(fs_connection_of(dir), FUSE_CREATE, fs_node(dir));
	if (is_err(r))
		return (int)ptr_err(r);
	fs_arg(r, &in, sizeof(in));
	fs_name(r, d);
	fs_reply_room(r, sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out));
	r->wants_file = PORT_HOST;
	int error = fs_call(r);
	fs_own_end(own, error);
	if (!error)
		error = fuse_decode_create(r->reply, r->reply_bytes, e, o);
	*file = PORT_HOST && !error ? fs_request_file(r) : -1;
	if (PORT_HOST && !error && *file < 0)
		error = -EIO;
	fs_request_put(r);
	return error;
}

static int fs_create_open(struct inode *dir, struct dentry *d, struct file *f, mode_t mode)
{
	struct fs_connection *c = fs_connection_of(dir);
	struct fuse_entry e;
	struct fuse_opened o;
	if (!fs_supports(c, FUSE_CREATE) ||
	    (PORT_HOST && f->flags & O_DIRECT)) // that one wants a descriptor of its own
		return -ENOSYS;
	uint64_t clock = fs_clock_now(c);
	// For writing is for reading too (file.c). Always exclusive: the VFS looks again when the host has made the file meanwhile, and
	// some servers (QEMU 7.2's with libc's fortification) end when they find one here that they may open.
	uint32_t flags = O_CREAT | O_EXCL | ((f->flags & O_ACCMODE) == O_RDONLY ? O_RDONLY : O_RDWR);
	int file = -1, error = create_call(dir, d, flags, mode, &e, &o, &file);
	if (error == -EEXIST)
		d->expires_ns = 0;
	if (error)
		fs_names_unsure(dir);
	if (error)
		return error;
	fs_attributes_changed(dir);
	fs_attributes_stale(dir);
	struct fs_handle *h = fs_handle_create(c, e.nodeid, &o, flags & ~(uint32_t)(O_CREAT | O_EXCL), false, file);
	struct inode *i = fs_inode_get(dir->super, dir, &e, clock);
	error = !h ? -ENOMEM : is_err(i) ? (int)ptr_err(i) : inode_is_reg(i) ? 0 : -EIO;
	if (error) {
		fs_names_unsure(dir);
		fs_handle_put(c, h, NULL);
		if (!is_err(i))
			inode_put(i);
		return error;
	}
	d->expires_ns = fs_entry_expiry(c, &e);
	dentry_instantiate(d, i);
	fs_handle_adopt(i, f, h);
	fs_handle_remember(i, h, (f->flags & O_ACCMODE) != O_RDONLY);
	return 0;
}

// TMPFILE: a file without a name, open. The handle waits for file_ops->open, which comes next.
static int fs_tmpfile(struct inode *dir, struct inode **out, mode_t mode)
{
	struct fs_connection *c = fs_connection_of(dir);
	struct fuse_create_in in = { .flags = O_RDWR, .mode = mode };
	struct fuse_entry e;
	struct fuse_opened o;
	if (!fs_supports(c, FUSE_TMPFILE))
		return -EOPNOTSUPP;
	struct fs_request *r = fs_request_get(c, FUSE_TMPFILE, fs_node(dir));
	if (is_err(r))
		return (int)ptr_err(r);
	uint64_t clock = fs_clock_now(c);
	fs_arg(r, &in, sizeof(in));
	fuse_put_name(&r->builder, "", 0);
	fs_reply_room(r, sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out));
	r->wants_file = true;
	int error = fs_call(r);
	if (!error)
		error = fuse_decode_create(r->reply, r->reply_bytes, &e, &o);
	int file = error ? -1 : fs_request_file(r);
	fs_request_put(r);
	if (error || file < 0)
		return error == -ENOSYS ? -EOPNOTSUPP : error ? error : -EIO;
	struct fs_handle *h = fs_handle_create(c, e.nodeid, &o, in.flags, false, file);
	struct inode *i = fs_inode_get(dir->super, dir, &e, clock);
	error = !h ? -ENOMEM : is_err(i) ? (int)ptr_err(i) : inode_is_reg(i) ? 0 : -EIO;
	if (error) {
		fs_handle_put(c, h, NULL);
		if (!is_err(i))
			inode_put(i);
		return error;
	}
	fs_handle_keep(i, h);
	*out = i;
	return 0;
}

// ---- removing and moving ----

void fs_link_dropped(struct inode *i, bool all)
{
	struct fs_inode *fi = fs_inode_of(i);
	fs_attributes_changed(i);
	spin_lock(&fi->lock);
	if (i->nlink)
		i->nlink = all ? 0 : i->nlink - 1;
	fi->attr_expires_ns = 0; // ctime, at least
	spin_unlock(&fi->lock);
}

// May somebody have the file open that is losing the name `d`? Besides whoever takes the name away, and the table of names.
static bool is_in_use(struct dentry *d) { return PORT_HOST && d->inode && refcount_read(&d->refs) > 2; }

static int remove_call(struct inode *dir, struct dentry *d, unsigned opcode)
{
	struct fs_request *r = fs_request_get(fs_connection_of(dir), opcode, fs_node(dir));
	if (is_err(r))
		return (int)ptr_err(r);
	fs_name(r, d);
	r->in_use = is_in_use(d);
	uint64_t own = fs_own_begin(dir, d, IN_DELETE);
	if (d->inode)
		fs_attributes_changed(d->inode); // the host may tell before the answer comes
	int error = fs_call(r);
	fs_own_end(own, error);
	fs_request_put(r);
	if (error)
		return error;
	fs_attributes_changed(dir);
	fs_attributes_stale(dir);
	if (d->inode)
		fs_link_dropped(d->inode, opcode == FUSE_RMDIR);
	return 0;
}

static int fs_unlink(struct inode *dir, struct dentry *d) { return remove_call(dir, d, FUSE_UNLINK); }
static int fs_rmdir(struct inode *dir, struct dentry *d) { return remove_call(dir, d, FUSE_RMDIR); }

static int rename_call(struct inode *from_dir, struct dentry *from, struct inode *to_dir, struct dentry *to,
		       unsigned flags)
{
	struct fuse_rename2_in in = { .newdir = fs_node(to_dir), .flags = flags };
	static_assert(offsetof(struct fuse_rename2_in, newdir) == offsetof(struct fuse_rename_in, newdir),
		      "the same beginning");
	struct fs_request *r =
		fs_request_get(fs_connection_of(from_dir), flags ? FUSE_RENAME2 : FUSE_RENAME, fs_node(from_dir));
	if (is_err(r))
		return (int)ptr_err(r);
	fs_arg(r, &in, flags ? sizeof(struct fuse_rename2_in) : sizeof(struct fuse_rename_in));
	fs_name(r, from);
	fs_name(r, to);
	r->in_use = is_in_use(to);
	int error = fs_call(r);
	fs_request_put(r);
	return error == -ENOSYS ? -EINVAL : error;
}

static int fs_rename(struct inode *from_dir, struct dentry *from, struct inode *to_dir, struct dentry *to,
		     unsigned flags)
{
	uint64_t own[4] = { fs_own_begin(from_dir, from, IN_MOVED_FROM), fs_own_begin(to_dir, to, IN_MOVED_TO),
			    flags & RENAME_EXCHANGE ? fs_own_begin(from_dir, from, IN_MOVED_TO) : 0,
			    flags & RENAME_EXCHANGE ? fs_own_begin(to_dir, to, IN_MOVED_FROM) : 0 };
	int error = rename_call(from_dir, from, to_dir, to, flags);
	for (unsigned k = 0; k < array_count(own); k++)
		fs_own_end(own[k], error);
	if (error) {
		fs_names_unsure(from_dir);
		fs_names_unsure(to_dir);
		return error;
	}
	struct inode *touched[] = { from_dir, to_dir, from->inode };
	for (unsigned k = 0; k < array_count(touched); k++) {
		fs_attributes_changed(touched[k]);
		fs_attributes_stale(touched[k]);
	}
	if (to->inode && flags & RENAME_EXCHANGE)
		fs_attributes_stale(to->inode);
	else if (to->inode)
		fs_link_dropped(to->inode, inode_is_dir(to->inode));
	return 0;
}

// ---- symbolic links ----

void fs_link_keep(struct inode *i, const char *text)
{
	char *kept = i->link ? NULL : kstrdup(text);
	const char *none = NULL;
	if (kept && !__atomic_compare_exchange_n(&i->link, &none, kept, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		kfree(kept);
}

static ssize_t fs_readlink(struct inode *i, struct dentry *d, char *buffer, size_t size)
{
	struct fs_connection *c = fs_connection_of(i);
	struct page *p = page_alloc(0, FS_PAGE_FLAGS);
	if (!p)
		return -ENOMEM;
	struct fs_request *r = fs_request_get(c, FUSE_READLINK, fs_node(i));
	ssize_t result = is_err(r) ? ptr_err(r) : 0;
	char *text = kalloc(PATH_MAX_BYTES);
	if (!text)
		result = -ENOMEM;
	if (!result) {
		fs_payload(r, page_to_frame(p), PATH_MAX_BYTES - 1, false);
		result = fs_call(r);
	}
	if (!result)
		result = fuse_decode_link(page_address(p), r->reply_bytes, text, PATH_MAX_BYTES);
	if (!is_err(r))
		fs_request_put(r);
	page_put(p);
	if (result > 0) {
		fs_link_keep(i, text);
		result = min((ssize_t)string_copy(buffer, text, size), (ssize_t)size - 1);
	}
	kfree(text);
	return result;
}

#define FS_COMMON_OPS                                                                                   \
	.getattr = fs_getattr, .identify = fs_identify, .setattr = fs_setattr, .getxattr = fs_getxattr, \
	.setxattr = fs_setxattr, .listxattr = fs_listxattr, .removexattr = fs_removexattr,              \
	.watched = PORT_HOST ? fs_watched : NULL

const struct inode_ops fs_dir_inode_ops = {
	FS_COMMON_OPS,
	.lookup = fs_lookup,
	.lookup_open = PORT_HOST ? fs_lookup_open : NULL,
	.look_ahead = PORT_HOST ? fs_names_ahead : NULL,
	.create = fs_create,
	.create_open = fs_create_open,
	.mknod = fs_mknod,
	.mkdir = fs_mkdir,
	.symlink = fs_symlink,
	.link = fs_link,
	.unlink = fs_unlink,
	.rmdir = fs_rmdir,
	.rename = fs_rename,
	.tmpfile = PORT_HOST ? fs_tmpfile : NULL,
};
const struct inode_ops fs_file_inode_ops = { FS_COMMON_OPS };
const struct inode_ops fs_link_inode_ops = { FS_COMMON_OPS, .readlink = fs_readlink };
const struct inode_ops fs_special_inode_ops = { FS_COMMON_OPS };
