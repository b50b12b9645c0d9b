// SPDX-License-Identifier: Apache-2.0
// Trees of mounts that are attached nowhere: open_tree(2), move_mount(2), and what fsmount(2) makes.
//
// Such a tree is alone in a namespace without a name, and goes with the file it was made with (FILE_TREE), unless move_mount(2) attached
// it before: then its namespace is gone, and the file stands for a mount like any other.
#include "mount.h"

#include <linux/capability.h>
#include <linux/mount.h>

static struct mnt_namespace *anonymous_create(void)
{
	struct mnt_namespace *n = kalloc(sizeof(*n));
	if (!n)
		return NULL;
	n->anonymous = true;
	n->common.owner = mnt_namespace_mine()->common.owner;
	namespace_get(&n->common.owner->common);
	return n;
}

static void anonymous_destroy(struct mnt_namespace *n)
{
	namespace_put(&n->common.owner->common);
	kfree(n);
}

bool mount_is_detached(const struct mount *m) { return m && !m->parent && m->space && m->space->anonymous; }

void mount_dissolve(struct mount *m)
{
	struct list gone = LIST_INIT(gone);
	struct mnt_namespace *n = NULL;
	rwsem_write_lock(&mount_lock);
	if (mount_is_detached(m)) {
		n = m->space;
		mount_detach_tree(m, false, &gone);
	}
	rwsem_write_unlock(&mount_lock);
	mount_release(&gone);
	if (n)
		anonymous_destroy(n);
}

static void drop(struct mount *m)
{
	struct list gone = LIST_INIT(gone);
	rwsem_write_lock(&mount_lock);
	mount_detach_tree(m, false, &gone);
	rwsem_write_unlock(&mount_lock);
	mount_release(&gone);
}

struct file *mount_detached_open(struct mount *m)
{
	struct mnt_namespace *n = anonymous_create();
	if (!n) {
		drop(m);
		return err_ptr(-ENOMEM);
	}
	rwsem_write_lock(&mount_lock);
	mount_tree_enter(m, n);
	rwsem_write_unlock(&mount_lock);
	struct path p = { m, m->root };
	struct file *f = file_open_path(&p, O_PATH);
	if (is_err(f))
		mount_dissolve(m);
	else
		f->mode |= FILE_TREE;
	return f;
}

// ---- open_tree ----

static struct file *open_copy(const struct path *p, bool all)
{
	rwsem_write_lock(&mount_lock);
	struct mount *m = mount_copy_seen(p, all);
	rwsem_write_unlock(&mount_lock);
	return is_err(m) ? (struct file *)m : mount_detached_open(m);
}

long sys_open_tree(int dir, struct uptr path, unsigned flags)
{
	const unsigned known = AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW | OPEN_TREE_CLONE |
			       OPEN_TREE_CLOEXEC;
	if (flags & ~known || (flags & AT_RECURSIVE && !(flags & OPEN_TREE_CLONE)))
		return -EINVAL;
	if (flags & OPEN_TREE_CLONE && !mount_may())
		return -EPERM;
	struct path p;
	int error = path_lookup_user(dir, path, mount_lookup_flags(flags), &p);
	if (error)
		return error;
	struct file *f = flags & OPEN_TREE_CLONE ? open_copy(&p, flags & AT_RECURSIVE) : file_open_path(&p, O_PATH);
	path_put(&p);
	return is_err(f) ? ptr_err(f) : fd_install_new(f, flags & OPEN_TREE_CLOEXEC);
}

// ---- move_mount ----

static bool has_unbindable(struct mount *top)
{
	for (struct mount *m = top; m; m = mount_next(m, top))
		if (m->unbindable)
			return true;
	return false;
}

static bool has_loop(struct mount *top)
{
	for (struct mount *m = top; m; m = mount_next(m, top))
		if (mount_would_loop(m->root))
			return true;
	return false;
}

static int may_move(const struct path *from, const struct path *to)
{
	struct mount *m = from->mount;
	if (!mount_is_mine(to->mount) || !path_is_mount(from) || m->locked)
		return -EINVAL;
	if (m->parent ? !mount_is_mine(m) || m->parent->group : !mount_is_detached(m))
		return -EINVAL;
	if (inode_is_dir(from->dentry->inode) != inode_is_dir(to->dentry->inode) ||
	    (to->mount->group && has_unbindable(m)))
		return -EINVAL;
	for (const struct mount *above = to->mount; above; above = above->parent)
		if (above == m)
			return -ELOOP;
	if (has_loop(m))
		return -ELOOP;
	return mount_place_is_there(to) ? 0 : -ENOENT;
}

// mount_lock held for writing. *off: what it lay on.
static int move_locked(struct mount *m, const struct path *to, struct path *off)
{
	struct mnt_namespace *was = m->space;
	mount_tree_leave(m);
	mount_move(m, NULL, off);
	int error = mount_attach_tree(m, to);
	if (!error)
		return 0;
	mount_tree_enter(m, was); // back again: what it lay on is still there
	if (off->dentry) {
		struct path none;
		mount_move(m, off, &none);
		*off = (struct path){ NULL, NULL };
	}
	return error;
}

int mount_move_tree(const struct path *from, struct path *to)
{
	struct path off = { NULL, NULL };
	struct mnt_namespace *was = NULL;
	rwsem_write_lock(&mount_lock);
	(void)mount_cross_down(to);
	int error = may_move(from, to);
	if (!error) {
		was = from->mount->space;
		error = move_locked(from->mount, to, &off);
	}
	rwsem_write_unlock(&mount_lock);
	if (off.dentry)
		path_put(&off);
	if (error)
		path_put(to);
	else if (was->anonymous)
		anonymous_destroy(was);
	return error;
}

static int may_join(const struct path *to, const struct path *from)
{
	struct mount *m = to->mount, *of = from->mount;
	if (!m || !of || !m->space || !of->space)
		return -EINVAL;
	if (!cred_capable_in(current->cred, of->space->common.owner, CAP_SYS_ADMIN) ||
	    !cred_capable_in(current->cred, m->space->common.owner, CAP_SYS_ADMIN))
		return -EPERM;
	if (!path_is_mount(from) || !path_is_mount(to) || m->super != of->super ||
	    !dentry_is_below(m->root, of->root) || mount_has_locked_children(of, m->root))
		return -EINVAL;
	return m->group || m->master || (!of->group && !of->master) ? -EINVAL : 0;
}

static int join(const struct path *to, const struct path *from)
{
	rwsem_write_lock(&mount_lock);
	int error = may_join(to, from);
	if (!error)
		mount_join(to->mount, from->mount);
	rwsem_write_unlock(&mount_lock);
	return error;
}

static unsigned move_lookup_flags(unsigned flags)
{
	return (flags & MOVE_MOUNT_F_SYMLINKS ? LOOKUP_FOLLOW : 0) |
	       (flags & MOVE_MOUNT_F_EMPTY_PATH ? LOOKUP_EMPTY : 0);
}

long sys_move_mount(int from_dir, struct uptr path, int to_dir, struct uptr to_path, unsigned flags)
{
	if (!mount_may())
		return -EPERM;
	if (flags & ~MOVE_MOUNT__MASK)
		return -EINVAL;
	struct path from, to;
	int error = path_lookup_user(from_dir, path, move_lookup_flags(flags), &from);
	if (error)
		return error;
	// The flags of the target are those of the source, four bits higher.
	error = path_lookup_user(to_dir, to_path, move_lookup_flags(flags >> 4), &to);
	if (!error && flags & MOVE_MOUNT_SET_GROUP) {
		error = join(&to, &from);
		path_put(&to);
	} else if (!error) {
		error = mount_move_tree(&from, &to);
	}
	path_put(&from);
	return error;
}
