// SPDX-License-Identifier: Apache-2.0
// rename(2), renameat2(2).
//
// Locks: for two different directories, super.rename_lock first (so that no directory moves under us), then the
// directories: the one that is an ancestor of the other first, else by address; then the victim and a renamed non-directory, by
// address.
#include "internal.h"

#include <linux/fs.h>
#include <linux/inotify.h>

struct rename {
	struct walk from, to;
	struct dentry *old, *new;
	unsigned flags;
};

static void lock_directories(struct rename *r)
{
	struct dentry *a = r->from.path.dentry, *b = r->to.path.dentry;
	if (a->inode == b->inode) {
		mutex_lock(&a->inode->lock);
		return;
	}
	mutex_lock(&a->inode->super->rename_lock);
	bool b_first = dentry_is_below(a, b) || (!dentry_is_below(b, a) && a->inode > b->inode);
	mutex_lock(b_first ? &b->inode->lock : &a->inode->lock);
	mutex_lock(b_first ? &a->inode->lock : &b->inode->lock);
}

static void unlock_directories(struct rename *r)
{
	struct inode *a = r->from.path.dentry->inode, *b = r->to.path.dentry->inode;
	mutex_unlock(&a->lock);
	if (a == b)
		return;
	mutex_unlock(&b->lock);
	mutex_unlock(&a->super->rename_lock);
}

// The two inodes the operation changes besides the directories, in locking order; either may be NULL.
static void lock_pair(struct inode **pair, struct inode *source, struct inode *victim)
{
	pair[0] = source && !inode_is_dir(source) ? source : NULL;
	pair[1] = victim && victim != pair[0] ? victim : NULL;
	if (pair[0] && pair[1] && pair[0] > pair[1]) {
		struct inode *swap = pair[0];
		pair[0] = pair[1];
		pair[1] = swap;
	}
	for (int k = 0; k < 2; k++)
		if (pair[k])
			mutex_lock(&pair[k]->lock);
}

static void unlock_pair(struct inode **pair)
{
	for (int k = 2; k--;)
		if (pair[k])
			mutex_unlock(&pair[k]->lock);
}

static int check_names(struct rename *r)
{
	bool exchange = r->flags & RENAME_EXCHANGE;
	if (!r->old->inode)
		return -ENOENT;
	if ((r->flags & RENAME_NOREPLACE) && r->new->inode)
		return -EEXIST;
	if (exchange && !r->new->inode)
		return -ENOENT;
	if (exchange && r->to.trailing_slash && !inode_is_dir(r->new->inode))
		return -ENOTDIR;
	if (!inode_is_dir(r->old->inode) && (r->from.trailing_slash || (!exchange && r->to.trailing_slash)))
		return -ENOTDIR;
	if (dentry_is_below(r->to.path.dentry, r->old))
		return -EINVAL;
	if (r->new->inode && dentry_is_below(r->from.path.dentry, r->new))
		return exchange ? -EINVAL : -ENOTEMPTY;
	return 0;
}

static int check_rights(struct rename *r)
{
	bool is_dir = inode_is_dir(r->old->inode), exchange = r->flags & RENAME_EXCHANGE;
	int error = may_remove(&r->from.path, r->old, is_dir);
	if (error)
		return error;
	if (!r->new->inode)
		error = dir_may_write(&r->to.path);
	else
		error = may_remove(&r->to.path, r->new, exchange ? inode_is_dir(r->new->inode) : is_dir);
	if (error)
		return error;
	// A directory that changes its parent has its ".." written.
	if (r->from.path.dentry == r->to.path.dentry)
		return 0;
	if (is_dir)
		error = inode_permission(r->old->inode, MAY_WRITE);
	if (!error && exchange && inode_is_dir(r->new->inode))
		error = inode_permission(r->new->inode, MAY_WRITE);
	return error;
}

static void notify(struct rename *r, struct inode *moved, struct inode *victim, const char *old_name,
		   const char *new_name)
{
	if (likely(!__atomic_load_n(&fsnotify_watches, __ATOMIC_RELAXED)))
		return;
	uint32_t cookie = fsnotify_cookie(), is_dir = inode_is_dir(moved) ? IN_ISDIR : 0;
	fsnotify_name(r->from.path.dentry->inode, IN_MOVED_FROM | is_dir, cookie, old_name);
	fsnotify_name(r->to.path.dentry->inode, IN_MOVED_TO | is_dir, cookie, new_name);
	if (r->from.path.dentry == r->to.path.dentry)
		fsnotify_name(r->from.path.dentry->inode, FSNOTIFY_RENAMED | is_dir, cookie, old_name);
	fsnotify(moved, NULL, IN_MOVE_SELF);
	if (victim && !(r->flags & RENAME_EXCHANGE))
		fsnotify(victim, NULL, IN_ATTRIB);
}

static int rename_locked(struct rename *r)
{
	int error = check_names(r);
	if (error)
		return error;
	struct inode *source = r->old->inode, *victim = r->new->inode, *from_dir = r->from.path.dentry->inode,
		     *to_dir = r->to.path.dentry->inode;
	if (source == victim)
		return 0;
	error = check_rights(r);
	if (error)
		return error;
	if (!from_dir->ops->rename)
		return -EPERM;
	struct inode *pair[2];
	lock_pair(pair, source, victim);
	error = from_dir->ops->rename(from_dir, r->old, to_dir, r->new, r->flags);
	if (!error && victim && !(r->flags & RENAME_EXCHANGE) && inode_is_dir(victim))
		__atomic_or_fetch(&victim->state, INODE_DEAD, __ATOMIC_RELEASE);
	unlock_pair(pair);
	if (error)
		return error;
	if (r->flags & RENAME_EXCHANGE)
		dentry_exchange(r->old, r->new);
	else
		dentry_move(r->old, r->new);
	notify(r, source, victim, r->new->name, r->old->name); // the dentries have changed names
	return 0;
}

static struct dentry *last_locked(struct walk *w)
{
	return dentry_lookup_locked(w->path.dentry, w->last, w->last_length);
}

static int rename_walked(struct rename *r)
{
	if (r->from.path.mount != r->to.path.mount)
		return -EXDEV;
	if (r->from.last_type != LAST_NORMAL)
		return -EBUSY;
	if (r->to.last_type != LAST_NORMAL)
		return r->flags & RENAME_NOREPLACE ? -EEXIST : -EBUSY;
	if (r->from.path.dentry->inode->super != r->to.path.dentry->inode->super)
		return -EXDEV;
	int error = mount_want_write(&r->from.path);
	if (error)
		return error;
	lock_directories(r);
	r->old = last_locked(&r->from);
	r->new = is_err(r->old) ? NULL : last_locked(&r->to);
	if (is_err(r->old))
		error = (int)ptr_err(r->old);
	else if (is_err(r->new))
		error = (int)ptr_err(r->new);
	else
		error = rename_locked(r);
	unlock_directories(r);
	if (!is_err(r->old))
		dentry_put(r->old);
	if (r->new && !is_err(r->new))
		dentry_put(r->new);
	return error;
}

static int walk_parent(struct walk *w, int at, const char *name)
{
	int error = walk_start(w, at, name, LOOKUP_PARENT, 0);
	return error ? error : walk_run(w);
}

static int rename_names(int dir, const char *name, int new_dir, const char *new_name, unsigned flags)
{
	struct rename r = { .flags = flags };
	int error = walk_parent(&r.from, dir, name);
	if (!error) {
		error = walk_parent(&r.to, new_dir, new_name);
		if (!error)
			error = rename_walked(&r);
		walk_end(&r.to);
	}
	walk_end(&r.from);
	return error;
}

int path_rename(int at, const char *name, int new_at, const char *new_name, unsigned flags)
{
	if (flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL; // also RENAME_WHITEOUT, which needs a union mount to make sense
	if ((flags & RENAME_NOREPLACE) && (flags & RENAME_EXCHANGE))
		return -EINVAL;
	return rename_names(at, name, new_at, new_name, flags);
}

long sys_renameat2(int dir, struct uptr path, int new_dir, struct uptr new_path, unsigned flags)
{
	struct path_name name, new_name;
	int error = path_name_get(&name, path);
	if (error)
		return error;
	error = path_name_get(&new_name, new_path);
	if (!error) {
		error = path_rename(dir, name.string, new_dir, new_name.string, flags);
		path_name_put(&new_name);
	}
	path_name_put(&name);
	return error;
}

long sys_renameat(int dir, struct uptr path, int new_dir, struct uptr new_path)
{
	return sys_renameat2(dir, path, new_dir, new_path, 0);
}
long sys_rename(struct uptr path, struct uptr new_path) { return sys_renameat2(AT_FDCWD, path, AT_FDCWD, new_path, 0); }
