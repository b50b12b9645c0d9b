// SPDX-License-Identifier: Apache-2.0
// tmpfs: directories. An entry is a pinned, hashed, positive dentry below the directory's. dentry->private is its offset in
// readdir, which grows in the order of making, as does the children list: a reader goes on where it stopped whatever
// comes and goes meanwhile.
#include "tmpfs.h"

#include <linux/fs.h>

#include "kernel/task.h"
#include "lib/string.h"

static void touch(struct inode *dir) { dir->mtime = dir->ctime = timestamp_now(); }

// `d` becomes the newest entry of `dir`.
static void enter(struct inode *dir, struct dentry *d)
{
	struct tmpfs_inode *t = tmpfs_of(dir);
	d->private = t->next_offset++;
	t->entries++;
	touch(dir);
}

static void leave(struct inode *dir)
{
	tmpfs_of(dir)->entries--;
	touch(dir);
}

static int lookup(struct inode *dir, struct dentry *d) { return 0; } // what is not in the cache is not there

static int make(struct inode *dir, struct dentry *d, mode_t mode, dev_t rdev, const char *target)
{
	char *link = target ? kstrdup(target) : NULL;
	if (target && !link)
		return -ENOMEM;
	struct inode *i = tmpfs_inode_create(dir->super, dir, mode, rdev);
	if (is_err(i)) {
		kfree(link);
		return (int)ptr_err(i);
	}
	i->link = link;
	if (inode_is_dir(i))
		dir->nlink++;
	enter(dir, d);
	dentry_instantiate(d, i);
	dentry_pin(d);
	return 0;
}

static int create(struct inode *dir, struct dentry *d, mode_t mode, bool exclusive)
{
	return make(dir, d, mode, 0, NULL);
}
static int make_node(struct inode *dir, struct dentry *d, mode_t mode, dev_t rdev)
{
	return make(dir, d, mode, rdev, NULL);
}
static int make_directory(struct inode *dir, struct dentry *d, mode_t mode) { return make(dir, d, mode, 0, NULL); }
static int make_symlink(struct inode *dir, struct dentry *d, const char *target)
{
	return make(dir, d, S_IFLNK | 0777, 0, target);
}

static int make_unnamed(struct inode *dir, struct inode **out, mode_t mode)
{
	struct inode *i = tmpfs_inode_create(dir->super, dir, mode, 0);
	if (is_err(i))
		return (int)ptr_err(i);
	i->nlink = 0;
	*out = i;
	return 0;
}

static int link(struct dentry *from, struct inode *dir, struct dentry *d)
{
	struct inode *i = from->inode;
	i->nlink++;
	i->ctime = timestamp_now();
	inode_get(i);
	enter(dir, d);
	dentry_instantiate(d, i);
	dentry_pin(d);
	return 0;
}

static int unlink(struct inode *dir, struct dentry *d)
{
	struct inode *i = d->inode;
	i->nlink--;
	leave(dir);
	i->ctime = dir->ctime;
	dentry_unpin(d);
	return 0;
}

static int remove_directory(struct inode *dir, struct dentry *d)
{
	if (tmpfs_of(d->inode)->entries)
		return -ENOTEMPTY;
	d->inode->nlink = 0;
	dir->nlink--;
	leave(dir);
	dentry_unpin(d);
	return 0;
}

static void move_parent_link(struct inode *moved, struct inode *from, struct inode *to)
{
	if (!inode_is_dir(moved) || from == to)
		return;
	from->nlink--;
	to->nlink++;
}

static int exchange(struct inode *from_dir, struct dentry *from, struct inode *to_dir, struct dentry *to)
{
	move_parent_link(from->inode, from_dir, to_dir);
	move_parent_link(to->inode, to_dir, from_dir);
	leave(from_dir);
	leave(to_dir);
	enter(to_dir, from); // in this order: dentry_exchange() puts them on the lists so
	enter(from_dir, to);
	from->inode->ctime = to->inode->ctime = to_dir->ctime;
	return 0;
}

static int rename(struct inode *from_dir, struct dentry *from, struct inode *to_dir, struct dentry *to, unsigned flags)
{
	if (flags & RENAME_EXCHANGE)
		return exchange(from_dir, from, to_dir, to);
	if (to->inode) {
		int error = inode_is_dir(to->inode) ? remove_directory(to_dir, to) : unlink(to_dir, to);
		if (error)
			return error;
	}
	move_parent_link(from->inode, from_dir, to_dir);
	leave(from_dir);
	enter(to_dir, from);
	from->inode->ctime = to_dir->ctime;
	return 0;
}

const struct inode_ops tmpfs_directory_ops = {
	.lookup = lookup,
	.create = create,
	.mknod = make_node,
	.mkdir = make_directory,
	.symlink = make_symlink,
	.link = link,
	.unlink = unlink,
	.rmdir = remove_directory,
	.rename = rename,
	.tmpfile = make_unnamed,
	.getattr = tmpfs_getattr,
	.setattr = tmpfs_setattr,
	.getxattr = tmpfs_getxattr,
	.setxattr = tmpfs_setxattr,
	.listxattr = tmpfs_listxattr,
	.removexattr = tmpfs_removexattr,
};

const struct inode_ops tmpfs_link_ops = {
	.getattr = tmpfs_getattr,
	.setattr = tmpfs_setattr,
	.getxattr = tmpfs_getxattr,
	.setxattr = tmpfs_setxattr,
	.listxattr = tmpfs_listxattr,
	.removexattr = tmpfs_removexattr,
};

// ---- reading ----

// The first entry at or after `offset`, referenced; `after`: one before it in the list, or NULL. The directory is locked, so
// entries stay where they are; negative dentries between them come and go.
static struct dentry *next_entry(struct dentry *dir, struct dentry *after, uint64_t offset)
{
	struct dentry *found = NULL;
	spin_lock(&dentry_tree_lock);
	struct list *node = after ? after->child_node.next : dir->children.next;
	for (; node != &dir->children; node = node->next) {
		struct dentry *d = list_entry(node, struct dentry, child_node);
		if (d->inode && (d->flags & (DENTRY_PINNED | DENTRY_MADE_UP)) == DENTRY_PINNED &&
		    d->private >= offset) {
			dentry_get(d);
			found = d;
			break;
		}
	}
	spin_unlock(&dentry_tree_lock);
	return found;
}

static int iterate(struct file *f, struct dir_context *c)
{
	if (!dir_emit_dots(f, c))
		return 0;
	struct dentry *dir = f->path.dentry, *d = NULL, *next;
	while ((next = next_entry(dir, d, (uint64_t)c->position))) {
		dentry_put(d);
		d = next;
		loff_t after = (loff_t)d->private + 1;
		if (!c->emit(c, d->name, d->name_length, after, d->inode->ino, (d->inode->mode & S_IFMT) >> 12))
			break;
		c->position = after;
	}
	dentry_put(d);
	return 0;
}

const struct file_ops tmpfs_directory_file_ops = { .iterate = iterate };

// ---- for those who fill one from the kernel ----

struct dentry *tmpfs_make(struct dentry *dir, const char *name, mode_t mode, dev_t rdev, const char *target)
{
	struct inode *i = dir->inode;
	mutex_lock(&i->lock);
	struct dentry *d = dentry_lookup_locked(dir, name, strlen(name));
	int error = is_err(d) ? (int)ptr_err(d) : d->inode ? -EEXIST : make(i, d, mode, rdev, target);
	mutex_unlock(&i->lock);
	if (!error)
		return d;
	if (!is_err(d))
		dentry_put(d);
	return err_ptr(error);
}
