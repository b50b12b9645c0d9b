// SPDX-License-Identifier: Apache-2.0
// open(2), openat(2), openat2(2), creat(2), close(2): from a path to an open file.
//
// Opening for creation walks to the directory, then looks at the last name: an existing file needs no directory lock; else
// the name is looked up again under the directory's lock and created.
#include "internal.h"

#include <linux/capability.h>
#include <linux/fcntl.h>
#include <linux/inotify.h>
#include <linux/mount.h>
#include <linux/openat2.h>

#include "kernel/init.h"

#define TMPFILE_BIT (O_TMPFILE & ~O_DIRECTORY)
#define OPEN_FLAGS_ALL                                                                                             \
	(O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK | O_SYNC | O_DSYNC | O_DIRECT | \
	 O_LARGEFILE | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC | O_PATH | TMPFILE_BIT | FASYNC)
#define OPEN_FLAGS_FORGOTTEN (O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC | OPEN_EXEC)

static unsigned access_mask(int flags)
{
	if (flags & OPEN_EXEC)
		return MAY_EXEC;
	static const uint8_t masks[4] = { MAY_READ, MAY_WRITE, MAY_READ | MAY_WRITE, MAY_READ | MAY_WRITE };
	return masks[flags & O_ACCMODE] | (flags & O_TRUNC ? MAY_WRITE : 0);
}

// ---- an existing inode ----

static int may_open(const struct path *p, int flags, unsigned access)
{
	struct inode *i = p->dentry->inode;
	switch (i->mode & S_IFMT) {
	case S_IFLNK: return -ELOOP;
	case S_IFDIR:
		if (access & MAY_WRITE)
			return -EISDIR;
		break;
	case S_IFCHR:
	case S_IFBLK:
		if ((p->mount && (p->mount->flags & MS_NODEV)) || i->super->flags & SUPER_NODEV)
			return -EACCES;
		break;
	case S_IFREG:
		if ((access & MAY_WRITE) && mount_is_readonly(p->mount))
			return -EROFS;
		break;
	}
	int error = inode_permission(i, access);
	if (error)
		return error;
	if ((flags & O_NOATIME) && !inode_owner_or_capable(i))
		return -EPERM;
	return 0;
}

// Gives `f` its path (references taken), rights and operations; the file system's open is not yet asked.
static int set_up(struct file *f, const struct path *p)
{
	struct inode *i = p->dentry->inode;
	int flags = (int)f->flags;
	path_get(p);
	f->path = *p;
	f->inode = i;
	if (flags & O_PATH) {
		f->mode = FILE_PATH;
		return 0;
	}
	unsigned access = (unsigned)flags & O_ACCMODE;
	f->mode = (access == O_RDONLY || access == O_RDWR ? FILE_READ : 0) |
		  (access == O_WRONLY || access == O_RDWR ? FILE_WRITE : 0);
	if ((f->mode & FILE_WRITE) && inode_is_reg(i)) {
		int error = inode_write_begin(i);
		if (error)
			return error;
		f->mode |= FILE_WRITE_COUNTED;
		if (p->mount)
			__atomic_fetch_add(&p->mount->writers, 1, __ATOMIC_RELAXED);
	} else if ((f->mode & FILE_READ) && inode_is_reg(i)) {
		__atomic_fetch_add(&i->read_count, 1, __ATOMIC_SEQ_CST);
		f->mode |= FILE_READ_COUNTED;
	}
	f->object = i->object;
	return 0;
}

static void settle(struct file *f)
{
	if (f->ops->stream)
		f->mode |= FILE_STREAM;
	f->flags &= ~(uint32_t)OPEN_FLAGS_FORGOTTEN;
	if (!(f->mode & FILE_PATH))
		fsnotify(f->inode, f->path.dentry, IN_OPEN);
}

static int truncate_opened(struct file *f)
{
	struct attr_change c = { .valid = ATTR_SIZE | ATTR_MTIME | ATTR_MTIME_NOW, .size = 0, .file = f };
	int error = inode_setattr(f->inode, &c);
	if (!error)
		fsnotify(f->inode, f->path.dentry, IN_MODIFY);
	return error;
}

static int open_path(struct file *f, const struct path *p, bool created)
{
	int flags = (int)f->flags;
	int error = 0;
	if (!created && !(flags & O_PATH)) {
		error = may_open(p, flags, access_mask(flags));
		if (error)
			return error;
	}
	error = set_up(f, p);
	if (error || (flags & O_PATH))
		return error;
	error = lease_break(f->inode, (flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC, !(flags & O_NONBLOCK));
	if (error)
		return error;
	const struct file_ops *ops = f->inode->file_ops;
	if (ops) {
		// The operations are the file's only once open succeeded: file_put() of a failed one must not release.
		const struct file_ops *none = f->ops;
		f->ops = ops;
		error = ops->open ? ops->open(f->inode, f) : 0;
		if (error) {
			f->ops = none;
			return error;
		}
	}
	if (!f->object)
		f->object = f->inode->object;
	if ((flags & O_TRUNC) && inode_is_reg(f->inode) && !created)
		error = truncate_opened(f);
	if (!error)
		settle(f);
	return error;
}

struct file *file_open_path(const struct path *p, int flags)
{
	struct file *f = file_allocate(flags | O_LARGEFILE);
	if (!f)
		return err_ptr(-ENFILE);
	int error = open_path(f, p, false);
	if (!error)
		return f;
	file_put(f);
	return err_ptr(error);
}

// ---- creation ----

static int may_create(struct path *parent)
{
	int error = mount_want_write(parent);
	if (error)
		return error;
	if (parent->dentry->inode->state & INODE_DEAD)
		return -ENOENT;
	return inode_permission(parent->dentry->inode, MAY_WRITE | MAY_EXEC);
}

// `d` is negative, its directory locked: makes the file, and opens it if the file system does both at once (*opened).
static int create_locked(struct file *f, struct path *parent, struct dentry *d, mode_t mode, bool *opened)
{
	struct inode *dir = parent->dentry->inode;
	int error = may_create(parent);
	if (error)
		return error;
	mode = S_IFREG | (mode & 07777 & ~current->fs->umask);
	if (dir->ops->create_open) {
		error = dir->ops->create_open(dir, d, f, mode);
		*opened = !error;
		if (error != -ENOSYS)
			return error;
	}
	if (!dir->ops->create)
		return -EACCES;
	return dir->ops->create(dir, d, mode, f->flags & O_EXCL);
}

// The file system opened `f` while it made `d`.
static int finish_created(struct file *f, const struct path *p)
{
	const struct file_ops *ops = f->ops;
	int error = set_up(f, p);
	f->ops = ops;
	if (!error)
		settle(f);
	return error;
}

static int open_existing(struct file *f, const struct path *p)
{
	int flags = (int)f->flags;
	if (flags & O_EXCL)
		return -EEXIST;
	if (inode_is_dir(p->dentry->inode))
		return -EISDIR;
	if ((flags & O_DIRECTORY))
		return -ENOTDIR;
	return open_path(f, p, false);
}

// Steps to the existing `d` (reference consumed), across mounts, and opens it.
static int open_child(struct walk *w, struct file *f, struct dentry *d)
{
	struct path p = { w->path.mount, d };
	if (p.mount)
		mount_get(p.mount);
	mount_cross_down(&p);
	int error = open_existing(f, &p);
	path_put(&p);
	return error;
}

// Looks the last name up and creates it when it is absent. *found: an existing dentry, to be opened or followed.
static int find_or_create(struct walk *w, struct file *f, mode_t mode, struct dentry **found)
{
	struct dentry *parent = w->path.dentry;
	struct inode *dir = parent->inode;
	*found = NULL;
	struct dentry *d = unlikely(w->again) ? NULL : dentry_find(parent, w->last, w->last_length, w->last_hash);
	if (d && d->inode && dentry_revalidate(d) > 0) {
		*found = d;
		return 0;
	}
	dentry_put(d);
	bool opened = false;
	mutex_lock(&dir->lock);
	if (unlikely(w->again))
		dentry_forget_file(parent, w->last, w->last_length, w->last_hash);
	d = dentry_lookup_for(parent, w->last, w->last_length, f->flags & O_EXCL ? NO_OPEN : w->open_flags);
	int error = is_err(d) ? (int)ptr_err(d) : 0;
	if (!error && !d->inode) {
		error = create_locked(f, &w->path, d, mode, &opened);
		if (error == -EEXIST && !(f->flags & O_EXCL)) { // a server's tree: it was made there since we looked
			dentry_put(d);
			d = dentry_lookup_locked(parent, w->last, w->last_length);
			error = is_err(d) ? (int)ptr_err(d) : d->inode ? 0 : -EEXIST;
			*found = error ? NULL : d;
		}
	} else if (!error) {
		*found = d;
	}
	mutex_unlock(&dir->lock);
	if (is_err(d) || *found)
		return error;
	if (!error) {
		fsnotify_name(dir, IN_CREATE, 0, d->name);
		struct path p = { w->path.mount, d };
		error = opened ? finish_created(f, &p) : open_path(f, &p, true);
	}
	dentry_put(d);
	return error;
}

static int open_creating(struct walk *w, struct file *f, mode_t mode)
{
	int flags = (int)f->flags;
	for (;;) {
		int error = walk_run(w);
		if (error)
			return error;
		if (w->last_type != LAST_NORMAL)
			return open_existing(f, &w->path);
		if (w->trailing_slash)
			return -EISDIR;
		struct dentry *d;
		error = find_or_create(w, f, mode, &d);
		if (error || !d)
			return error;
		if (!inode_is_link(d->inode))
			return open_child(w, f, d);
		error = flags & O_EXCL ? -EEXIST : flags & O_NOFOLLOW ? -ELOOP : walk_follow_last(w, d);
		dentry_put(d);
		if (error)
			return error;
	}
}

static int open_unnamed(struct walk *w, struct file *f, mode_t mode)
{
	int error = walk_run(w);
	if (error)
		return error;
	struct inode *dir = w->path.dentry->inode;
	error = may_create(&w->path);
	if (error)
		return error;
	if (!dir->ops->tmpfile)
		return -EOPNOTSUPP;
	struct inode *i;
	mutex_lock(&dir->lock);
	error = dir->ops->tmpfile(dir, &i, S_IFREG | (mode & 07777 & ~current->fs->umask));
	mutex_unlock(&dir->lock);
	if (error)
		return error;
	struct dentry *d = dentry_create(w->path.dentry, "#tmpfile", 8);
	if (!d) {
		inode_put(i);
		return -ENOMEM;
	}
	d->flags |= DENTRY_DISCONNECTED;
	dentry_instantiate(d, i);
	struct path p = { w->path.mount, d };
	error = open_path(f, &p, true);
	dentry_put(d);
	return error;
}

// ---- open(2) ----

static int open_walk(struct walk *w, struct file *f, mode_t mode)
{
	int flags = (int)f->flags;
	if ((flags & O_TMPFILE) == O_TMPFILE)
		return open_unnamed(w, f, mode);
	if (flags & O_CREAT)
		return open_creating(w, f, mode);
	int error = walk_run(w);
	return error ? error : open_path(f, &w->path, false);
}

static struct file *open_once(int at, const char *name, const struct open_how_kernel *how, int flags,
			      unsigned walk_flags, bool again)
{
	struct file *f = file_allocate(flags | (flags & O_PATH ? 0 : O_LARGEFILE));
	if (!f)
		return err_ptr(-ENFILE);
	struct walk w;
	int error = walk_start(&w, at, name, walk_flags, how->resolve);
	if (!(flags & (O_PATH | O_DIRECTORY)))
		w.open_flags = flags;
	w.again = again;
	if (!error)
		error = open_walk(&w, f, how->mode);
	walk_end(&w);
	if (!error)
		return f;
	file_put(f);
	return err_ptr(error);
}

// -ESTALE: the file system found that a name has been given to something else, and looks again the second time.
struct file *do_open(int at, const char *name, const struct open_how_kernel *how)
{
	int flags = how->flags;
	unsigned walk_flags = flags & O_NOFOLLOW ? 0 : LOOKUP_FOLLOW;
	if (flags & O_PATH)
		flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	if ((flags & O_TMPFILE) == O_TMPFILE && (flags & O_ACCMODE) == O_RDONLY)
		return err_ptr(-EINVAL);
	if ((flags & TMPFILE_BIT) && ((flags & O_TMPFILE) != O_TMPFILE || (flags & O_CREAT)))
		return err_ptr(-EINVAL);
	if ((flags & (O_CREAT | O_DIRECTORY)) == (O_CREAT | O_DIRECTORY))
		return err_ptr(-EINVAL);
	if (flags & O_DIRECTORY)
		walk_flags |= LOOKUP_DIRECTORY;
	if (flags & O_CREAT)
		walk_flags |= LOOKUP_PARENT;
	struct file *f = open_once(at, name, how, flags, walk_flags, false);
	if (unlikely(is_err(f) && ptr_err(f) == -ESTALE))
		f = open_once(at, name, how, flags, walk_flags, true);
	return f;
}

struct file *file_open_at(int at, const char *path, int flags, mode_t mode, unsigned resolve_flags)
{
	struct open_how_kernel how = { flags, mode, resolve_flags };
	return do_open(at, path, &how);
}

struct file *file_open(const char *path, int flags, mode_t mode)
{
	return file_open_at(AT_FDCWD, path, flags, mode, 0);
}

static long open_user(int dir, struct uptr path, const struct open_how_kernel *how)
{
	struct path_name name;
	int error = path_name_get(&name, path);
	if (error)
		return error;
	bool cloexec = how->flags & O_CLOEXEC;
	long fd = fd_reserve(0, cloexec);
	if (fd >= 0) {
		struct file *f = do_open(dir, name.string, how);
		if (is_err(f)) {
			fd_cancel((int)fd);
			fd = ptr_err(f);
		} else {
			fd_install((int)fd, f);
		}
	}
	path_name_put(&name);
	return fd;
}

long sys_openat(int dir, struct uptr path, int flags, mode_t mode)
{
	struct open_how_kernel how = { flags & OPEN_FLAGS_ALL, flags & (O_CREAT | TMPFILE_BIT) ? mode & 07777 : 0, 0 };
	return open_user(dir, path, &how);
}

long sys_open(struct uptr path, int flags, mode_t mode) { return sys_openat(AT_FDCWD, path, flags, mode); }
long sys_creat(struct uptr path, mode_t mode) { return sys_openat(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

#define RESOLVE_ALL                                                                                          \
	(RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH | RESOLVE_IN_ROOT | \
	 RESOLVE_CACHED)

static int check_how(const struct open_how *how)
{
	if ((how->flags & ~(uint64_t)OPEN_FLAGS_ALL) || (how->resolve & ~(uint64_t)RESOLVE_ALL))
		return -EINVAL;
	if ((how->resolve & RESOLVE_BENEATH) && (how->resolve & RESOLVE_IN_ROOT))
		return -EINVAL;
	if (how->flags & (O_CREAT | TMPFILE_BIT) ? how->mode & ~UINT64_C(07777) : how->mode != 0)
		return -EINVAL;
	if ((how->flags & O_PATH) && (how->flags & ~(uint64_t)(O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)))
		return -EINVAL;
	if (how->resolve & RESOLVE_CACHED)
		return -EAGAIN; // "cannot be done from the cache alone" is always a correct answer: the caller tries without
	return 0;
}

struct file *file_open_how(int at, const char *path, const struct open_how *how)
{
	struct open_how_kernel kernel_how = { (int)how->flags, (mode_t)how->mode, (unsigned)how->resolve };
	int error = check_how(how);
	return error ? err_ptr(error) : do_open(at, path, &kernel_how);
}

void file_how_of(struct open_how *how, int flags, mode_t mode)
{
	*how = (struct open_how){ .flags = (uint32_t)(flags & OPEN_FLAGS_ALL),
				  .mode = flags & (O_CREAT | TMPFILE_BIT) ? mode & 07777 : 0 };
	if (flags & O_PATH)
		how->flags &= (uint32_t)(O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

long sys_openat2(int dir, struct uptr path, struct uptr how, size_t size)
{
	struct open_how h;
	if (size < sizeof(h))
		return -EINVAL;
	if (size > PAGE_SIZE)
		return -E2BIG;
	int error = copy_struct_from_user(&h, sizeof(h), how, size);
	if (!error)
		error = check_how(&h);
	if (error)
		return error;
	struct open_how_kernel kernel_how = { (int)h.flags, (mode_t)h.mode, (unsigned)h.resolve };
	return open_user(dir, path, &kernel_how);
}
