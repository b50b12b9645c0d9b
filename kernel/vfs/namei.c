// SPDX-License-Identifier: Apache-2.0
// Making and removing names: mkdir(2), mknod(2), symlink(2), link(2), unlink(2), rmdir(2). Renames: rename.c.
//
// Each call walks to the directory of the last component, locks that directory, looks the name up again under the lock, checks
// rights, and asks the file system. The victim of a removal is locked after its directory.
#include "internal.h"

#include <linux/capability.h>
#include <linux/inotify.h>

#include "lib/string.h"

// ---- common ----

int dir_may_write(struct path *dir)
{
	struct inode *i = dir->dentry->inode;
	int error = mount_want_write(dir);
	if (error)
		return error;
	if (i->state & INODE_DEAD)
		return -ENOENT;
	return inode_permission(i, MAY_WRITE | MAY_EXEC);
}

// May `victim` be taken from `dir`? is_dir: the caller removes a directory.
int may_remove(struct path *dir, struct dentry *victim, bool is_dir)
{
	struct inode *i = victim->inode;
	if (!i)
		return -ENOENT;
	int error = dir_may_write(dir);
	if (!error)
		error = inode_sticky_check(dir->dentry->inode, i);
	if (error)
		return error;
	if (is_dir && !inode_is_dir(i))
		return -ENOTDIR;
	if (!is_dir && inode_is_dir(i))
		return -EISDIR;
	if ((victim->flags & (DENTRY_MADE_UP | DENTRY_HAS_MADE_UP)) || mount_is_on(victim))
		return -EBUSY;
	return 0;
}

// Walks to where `name` is to be made, locks that directory and finds the absent entry.
static int make_begin(struct walk *w, int at, const char *name, bool is_dir, struct dentry **out)
{
	int error = walk_start(w, at, name, LOOKUP_PARENT, 0);
	if (!error)
		error = walk_run(w);
	if (error)
		return error;
	if (w->last_type != LAST_NORMAL)
		return -EEXIST;
	struct inode *dir = w->path.dentry->inode;
	mutex_lock(&dir->lock);
	struct dentry *d = dentry_lookup_locked(w->path.dentry, w->last, w->last_length);
	error = is_err(d) ? (int)ptr_err(d) : 0;
	if (!error && d->inode)
		error = -EEXIST;
	if (!error && !is_dir && w->trailing_slash)
		error = -ENOENT;
	if (!error)
		error = dir_may_write(&w->path);
	if (!error) {
		*out = d;
		return 0;
	}
	mutex_unlock(&dir->lock);
	if (!is_err(d))
		dentry_put(d);
	return error;
}

static void make_end(struct walk *w, struct dentry *d, int error, uint32_t event)
{
	struct inode *dir = w->path.dentry->inode;
	mutex_unlock(&dir->lock);
	if (!error)
		fsnotify_name(dir, event, 0, d->name);
	dentry_put(d);
}

// ---- mkdir(2), mknod(2), symlink(2) ----

int path_mkdir(int at, const char *name, mode_t mode)
{
	struct walk w;
	struct dentry *d;
	int error = make_begin(&w, at, name, true, &d);
	if (!error) {
		struct inode *i = w.path.dentry->inode;
		mode = S_IFDIR | (mode & (S_IRWXU | S_IRWXG | S_IRWXO | S_ISVTX) & ~current->fs->umask);
		error = i->ops->mkdir ? i->ops->mkdir(i, d, mode) : -EPERM;
		make_end(&w, d, error, IN_CREATE | IN_ISDIR);
	}
	walk_end(&w);
	return error;
}

long sys_mkdirat(int dir, struct uptr path, mode_t mode)
{
	struct path_name name;
	int error = path_name_get(&name, path);
	if (error)
		return error;
	error = path_mkdir(dir, name.string, mode);
	path_name_put(&name);
	return error;
}

long sys_mkdir(struct uptr path, mode_t mode) { return sys_mkdirat(AT_FDCWD, path, mode); }

static dev_t dev_from_user(unsigned d) { return DEV_MAKE((d >> 8) & 0xfff, (d & 0xff) | ((d >> 12) & 0xfff00)); }

static int check_node(mode_t mode, dev_t dev)
{
	switch (mode & S_IFMT) {
	case 0:
	case S_IFREG:
	case S_IFIFO:
	case S_IFSOCK: return 0;
	case S_IFCHR:
		if (dev == 0)
			return 0; // a whiteout
		return cred_capable(current->cred, CAP_MKNOD) ? 0 : -EPERM;
	case S_IFBLK: return cred_capable(current->cred, CAP_MKNOD) ? 0 : -EPERM;
	case S_IFDIR: return -EPERM;
	}
	return -EINVAL;
}

int make_node(int at, const char *name, mode_t mode, dev_t dev)
{
	struct walk w;
	struct dentry *d;
	int error = make_begin(&w, at, name, false, &d);
	if (!error) {
		struct inode *i = w.path.dentry->inode;
		if (!(mode & S_IFMT))
			mode |= S_IFREG;
		if (inode_is_reg(&(struct inode){ .mode = mode }) && i->ops->create)
			error = i->ops->create(i, d, mode, true);
		else
			error = i->ops->mknod ? i->ops->mknod(i, d, mode, dev) : -EPERM;
		make_end(&w, d, error, IN_CREATE);
	}
	walk_end(&w);
	return error;
}

long sys_mknodat(int dir, struct uptr path, mode_t mode, unsigned device)
{
	dev_t dev = (mode & S_IFMT) == S_IFCHR || (mode & S_IFMT) == S_IFBLK ? dev_from_user(device) : 0;
	int error = check_node(mode, dev);
	if (error)
		return error;
	struct path_name name;
	error = path_name_get(&name, path);
	if (error)
		return error;
	error = make_node(dir, name.string, (mode & S_IFMT) | (mode & 07777 & ~current->fs->umask), dev);
	path_name_put(&name);
	return error;
}

long sys_mknod(struct uptr path, mode_t mode, unsigned device) { return sys_mknodat(AT_FDCWD, path, mode, device); }

// Binds an AF_UNIX name: a socket inode at `name`, referenced. -EADDRINUSE when it exists.
int inode_make_socket(const char *name, mode_t mode, struct path *out)
{
	struct walk w;
	struct dentry *d;
	int error = make_begin(&w, AT_FDCWD, name, false, &d);
	if (!error) {
		struct inode *i = w.path.dentry->inode;
		error = i->ops->mknod ? i->ops->mknod(i, d, S_IFSOCK | (mode & 07777 & ~current->fs->umask), 0)
				      : -EPERM;
		if (!error) {
			*out = (struct path){ w.path.mount, d };
			path_get(out);
		}
		make_end(&w, d, error, IN_CREATE);
	}
	walk_end(&w);
	return error == -EEXIST ? -EADDRINUSE : error;
}

int path_symlink(const char *target, int at, const char *name)
{
	struct walk w;
	struct dentry *d;
	int error = make_begin(&w, at, name, false, &d);
	if (!error) {
		struct inode *i = w.path.dentry->inode;
		error = i->ops->symlink ? i->ops->symlink(i, d, target) : -EPERM;
		make_end(&w, d, error, IN_CREATE);
	}
	walk_end(&w);
	return error;
}

long sys_symlinkat(struct uptr target_path, int dir, struct uptr path)
{
	struct path_name target, name;
	int error = path_name_get(&target, target_path);
	if (error)
		return error;
	error = path_name_get(&name, path);
	if (!error) {
		error = path_symlink(target.string, dir, name.string);
		path_name_put(&name);
	}
	path_name_put(&target);
	return error;
}

long sys_symlink(struct uptr target_path, struct uptr path) { return sys_symlinkat(target_path, AT_FDCWD, path); }

// ---- link(2) ----

static int link_locked(struct path *from, struct walk *w, struct dentry *d)
{
	struct inode *i = from->dentry->inode, *dir = w->path.dentry->inode;
	if (from->mount != w->path.mount || i->super != dir->super)
		return -EXDEV;
	if (inode_is_dir(i))
		return -EPERM;
	if (!dir->ops->link)
		return -EPERM;
	mutex_lock(&i->lock);
	int error = i->nlink || !(from->dentry->flags & DENTRY_HASHED) ? dir->ops->link(from->dentry, dir, d) : -ENOENT;
	mutex_unlock(&i->lock);
	return error;
}

static int link_to(struct path *from, int dir, const char *name)
{
	struct walk w;
	struct dentry *d;
	int error = make_begin(&w, dir, name, false, &d);
	if (!error) {
		error = link_locked(from, &w, d);
		make_end(&w, d, error, IN_CREATE);
		if (!error)
			fsnotify(from->dentry->inode, NULL, IN_ATTRIB);
	}
	walk_end(&w);
	return error;
}

int path_link(int at, const char *name, int new_at, const char *new_name, int flags)
{
	if (flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	if ((flags & AT_EMPTY_PATH) && !cred_capable_own(current->cred, CAP_DAC_READ_SEARCH))
		return -ENOENT;
	struct path from;
	unsigned walk = (flags & AT_SYMLINK_FOLLOW ? LOOKUP_FOLLOW : 0) | (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0);
	if (!name[0] && !(flags & AT_EMPTY_PATH))
		return -ENOENT;
	int error = path_lookup(at, name, walk, &from);
	if (error)
		return error;
	error = link_to(&from, new_at, new_name);
	path_put(&from);
	return error;
}

long sys_linkat(int dir, struct uptr path, int new_dir, struct uptr new_path, int flags)
{
	struct path_name name, new_name;
	int error = path_name_get_empty(&name, path);
	if (error)
		return error;
	error = path_name_get(&new_name, new_path);
	if (!error) {
		error = path_link(dir, name.string, new_dir, new_name.string, flags);
		path_name_put(&new_name);
	}
	path_name_put(&name);
	return error;
}

long sys_link(struct uptr path, struct uptr new_path) { return sys_linkat(AT_FDCWD, path, AT_FDCWD, new_path, 0); }

// ---- unlink(2), rmdir(2) ----

static int remove_locked(struct walk *w, struct dentry *d, bool is_dir)
{
	struct inode *dir = w->path.dentry->inode, *victim = d->inode;
	if (!is_dir && w->trailing_slash)
		return !victim ? -ENOENT : inode_is_dir(victim) ? -EISDIR : -ENOTDIR;
	int error = may_remove(&w->path, d, is_dir);
	if (error)
		return error;
	if (is_dir ? !dir->ops->rmdir : !dir->ops->unlink)
		return -EPERM;
	mutex_lock(&victim->lock);
	error = is_dir ? dir->ops->rmdir(dir, d) : dir->ops->unlink(dir, d);
	if (!error && is_dir)
		__atomic_or_fetch(&victim->state, INODE_DEAD, __ATOMIC_RELEASE);
	mutex_unlock(&victim->lock);
	return error;
}

static int remove_last(struct walk *w, bool is_dir)
{
	if (w->last_type != LAST_NORMAL) {
		static const int rmdir_errors[] = {
			[LAST_DOT] = -EINVAL, [LAST_DOTDOT] = -ENOTEMPTY, [LAST_ROOT] = -EBUSY
		};
		return is_dir ? rmdir_errors[w->last_type] : -EISDIR;
	}
	struct inode *dir = w->path.dentry->inode;
	mutex_lock(&dir->lock);
	struct dentry *d = dentry_lookup_locked(w->path.dentry, w->last, w->last_length);
	int error = is_err(d) ? (int)ptr_err(d) : remove_locked(w, d, is_dir);
	if (!error)
		dentry_drop_removed(d);
	mutex_unlock(&dir->lock);
	if (!error) {
		fsnotify_name(dir, IN_DELETE | (is_dir ? IN_ISDIR : 0), 0, d->name);
		if (!is_dir)
			fsnotify(d->inode, NULL, IN_ATTRIB);
	}
	if (!is_err(d))
		dentry_put(d);
	return error;
}

int path_remove(int at, const char *name, bool is_dir)
{
	struct walk w;
	int error = walk_start(&w, at, name, LOOKUP_PARENT, 0);
	if (!error)
		error = walk_run(&w);
	if (!error)
		error = remove_last(&w, is_dir);
	walk_end(&w);
	return error;
}

long sys_unlinkat(int dir, struct uptr path, int flags)
{
	if (flags & ~AT_REMOVEDIR)
		return -EINVAL;
	struct path_name name;
	int error = path_name_get(&name, path);
	if (error)
		return error;
	error = path_remove(dir, name.string, flags & AT_REMOVEDIR);
	path_name_put(&name);
	return error;
}

long sys_unlink(struct uptr path) { return sys_unlinkat(AT_FDCWD, path, 0); }
long sys_rmdir(struct uptr path) { return sys_unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }
