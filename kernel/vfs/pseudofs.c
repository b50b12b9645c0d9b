// SPDX-License-Identifier: Apache-2.0
// File systems made of callbacks: see kernel/pseudofs.h. Directories are looked up in static tables first, then asked.
//
// An open text file owns a struct seq, guarded by a mutex of its own: content is made when a read starts at offset 0 and
// stays until the next such read, so that a reader with a small buffer sees one consistent text (as seq_file in Linux).
#include "kernel/pseudofs.h"

#include "kernel/slab.h"
#include "kernel/uaccess.h"
#include "lib/hash.h"
#include "lib/string.h"

#define WRITE_MAX_BYTES (64u << 10)

struct text_file { // file->private
	struct mutex lock;
	struct seq seq;
	bool filled;
};

static const struct inode_ops pseudo_inode_ops;
static const struct file_ops text_ops, directory_ops;

// ---- nodes ----

static ino_t make_ino(ino_t dir, const char *name)
{
	uint64_t h = dir;
	for (; *name; name++)
		h = hash_u64(h * 31 + (unsigned char)*name);
	return (h & 0x7fffffff) | 0x80000000u; // never 0, never the root's 1
}

static struct inode *make_inode(struct super *s, ino_t ino, const struct pseudo_child *child)
{
	struct pseudo *n = kalloc(sizeof(*n));
	struct inode *i = n ? inode_create(s, ino) : NULL;
	if (!i) {
		kfree(n);
		return NULL;
	}
	const struct pseudo_entry *e = child->entry;
	n->entry = e;
	n->inode = i;
	n->object = child->object;
	n->object_ops = child->object_ops;
	n->key = child->key;
	i->private = n;
	i->mode = e->mode;
	i->rdev = e->rdev;
	i->nlink = (e->mode & S_IFMT) == S_IFDIR ? 2 : 1;
	i->atime = i->mtime = i->ctime = timestamp_now();
	if ((e->mode & S_IFMT) == S_IFDIR)
		i->file_ops = &directory_ops;
	else if (e->file_ops)
		i->file_ops = e->file_ops;
	else if ((e->mode & S_IFMT) == S_IFREG)
		i->file_ops = &text_ops;
	else if ((e->mode & S_IFMT) != S_IFLNK)
		inode_init_special(i, e->mode, e->rdev);
	i->ops = &pseudo_inode_ops;
	if (n->object_ops && n->object_ops->refresh)
		n->object_ops->refresh(n);
	return i;
}

static void put_object(const struct pseudo_child *c)
{
	if (c->object_ops && c->object_ops->put)
		c->object_ops->put(c->object);
}

static void refresh(struct inode *i)
{
	struct pseudo *n = pseudo_of(i);
	if (n->object_ops && n->object_ops->refresh)
		n->object_ops->refresh(n);
}

// ---- directories ----

static const struct pseudo_entry *find_static(const struct pseudo_entry *dir, const char *name)
{
	for (const struct pseudo_entry *e = dir->children; e && e->name; e++)
		if (!strcmp(e->name, name))
			return e;
	return NULL;
}

static int pseudo_lookup(struct inode *dir, struct dentry *d)
{
	struct pseudo *n = pseudo_of(dir);
	struct pseudo_child child = { find_static(n->entry, d->name), n->object, n->object_ops, n->key };
	if (child.entry) {
		if (n->object_ops && n->object_ops->get)
			n->object_ops->get(n->object);
	} else {
		child.object = NULL;
		child.object_ops = NULL;
		int error = n->entry->lookup ? n->entry->lookup(n, d->name, &child) : -ENOENT;
		if (error && error != -ENOENT)
			return error;
		if (error || !child.entry) {
			dentry_instantiate(d, NULL);
			return 0;
		}
	}
	struct inode *i = make_inode(dir->super, make_ino(dir->ino, d->name), &child);
	if (!i) {
		put_object(&child);
		return -ENOMEM;
	}
	dentry_instantiate(d, i);
	return 0;
}

bool pseudo_emit(struct pseudo *dir, struct dir_context *c, const char *name, loff_t next, mode_t mode)
{
	if (!c->emit(c, name, strlen(name), next, make_ino(dir->inode->ino, name), (mode & S_IFMT) >> 12))
		return false;
	c->position = next;
	return true;
}

static int pseudo_iterate(struct file *f, struct dir_context *c)
{
	struct pseudo *n = pseudo_of(f->inode);
	if (!dir_emit_dots(f, c))
		return 0;
	loff_t index = 2;
	for (const struct pseudo_entry *e = n->entry->children; e && e->name; e++, index++)
		if (c->position <= index && !pseudo_emit(n, c, e->name, index + 1, e->mode))
			return 0;
	if (!n->entry->iterate)
		return 0;
	if (c->position < PSEUDO_DYNAMIC_FIRST)
		c->position = PSEUDO_DYNAMIC_FIRST;
	return n->entry->iterate(n, c);
}

static const struct file_ops directory_ops = {
	.iterate = pseudo_iterate,
};

// A cached name holds while what it stands for lives; absent names of dynamic directories may appear at any time.
static int pseudo_revalidate(struct dentry *d)
{
	if (!d->inode) {
		struct inode *dir = d->parent->inode;
		return !dir || !pseudo_of(dir)->entry->lookup;
	}
	struct pseudo *n = pseudo_of(d->inode);
	return !n->object_ops || !n->object_ops->alive || n->object_ops->alive(n);
}

static const struct dentry_ops pseudo_dentry_ops = {
	.revalidate = pseudo_revalidate,
};

// ---- attributes and links ----

static unsigned count_subdirectories(struct pseudo *n)
{
	unsigned count = n->entry->subdirectories ? n->entry->subdirectories(n) : 0;
	for (const struct pseudo_entry *e = n->entry->children; e && e->name; e++)
		count += (e->mode & S_IFMT) == S_IFDIR;
	return count;
}

static int pseudo_getattr(struct inode *i, struct kstat *out)
{
	refresh(i);
	generic_getattr(i, out);
	if (inode_is_dir(i))
		out->nlink = 2 + count_subdirectories(pseudo_of(i));
	return 0;
}

static int pseudo_permission(struct inode *i, unsigned mask)
{
	refresh(i);
	return generic_permission(i, mask);
}

static int pseudo_setattr(struct inode *i, const struct attr_change *c)
{
	struct pseudo *n = pseudo_of(i);

	if (c->valid & ATTR_SIZE)
		return 0; // open(O_TRUNC) of a control file
	if (n->object_ops && n->object_ops->change)
		return n->object_ops->change(n, c);
	return inode_is_reg(i) || inode_is_dir(i) || inode_is_link(i) ? -EPERM : 0;
}

static ssize_t pseudo_readlink(struct inode *i, struct dentry *d, char *buffer, size_t size)
{
	struct pseudo *n = pseudo_of(i);
	return n->entry->readlink ? n->entry->readlink(n, buffer, size) : -EINVAL;
}

static int pseudo_follow(struct inode *i, struct dentry *d, struct path *out)
{
	struct pseudo *n = pseudo_of(i);
	return n->entry->follow ? n->entry->follow(n, out) : -ENOSYS; // ENOSYS: by text
}

static const struct inode_ops pseudo_inode_ops = {
	.lookup = pseudo_lookup,
	.getattr = pseudo_getattr,
	.setattr = pseudo_setattr,
	.permission = pseudo_permission,
	.readlink = pseudo_readlink,
	.follow = pseudo_follow,
};

// ---- text files ----

static int text_open(struct inode *i, struct file *f)
{
	struct pseudo *n = pseudo_of(i);
	if ((f->mode & FILE_WRITE) && !n->entry->write)
		return -EACCES;
	int error = n->entry->open ? n->entry->open(n, f) : 0;
	if (error)
		return error;
	struct text_file *t = kalloc(sizeof(*t));
	if (!t)
		return -ENOMEM;
	mutex_init(&t->lock);
	seq_init(&t->seq);
	f->private = t;
	return 0;
}

static void text_release(struct file *f)
{
	struct text_file *t = f->private;
	if (!t)
		return;
	seq_fini(&t->seq);
	kfree(t);
}

static int fill(struct text_file *t, struct file *f)
{
	struct pseudo *n = pseudo_of(f->inode);
	t->seq.length = 0;
	t->seq.failed = false;
	t->seq.file = f;
	int error = n->entry->show ? n->entry->show(&t->seq, n) : -EIO;
	if (!error && t->seq.failed)
		error = -ENOMEM;
	t->filled = !error;
	return error;
}

static ssize_t text_read(struct file *f, struct iov_iter *to, loff_t *pos)
{
	struct text_file *t = f->private;
	mutex_lock(&t->lock);
	ssize_t result = !t->filled || *pos == 0 ? fill(t, f) : 0;
	if (!result && (uint64_t)*pos < t->seq.length) {
		size_t want = min(to->count, t->seq.length - (size_t)*pos);
		size_t done = iov_copy_to(to, t->seq.buffer + *pos, want);
		*pos += (loff_t)done;
		result = done || !want ? (ssize_t)done : -EFAULT;
	}
	mutex_unlock(&t->lock);
	return result;
}

static ssize_t text_write(struct file *f, struct iov_iter *from, loff_t *pos)
{
	struct pseudo *n = pseudo_of(f->inode);
	if (!n->entry->write)
		return -EIO;
	size_t size = min(from->count, (size_t)WRITE_MAX_BYTES);
	char *copy = kalloc(size + 1);
	if (!copy)
		return -ENOMEM;
	ssize_t result = -EFAULT;
	if (iov_copy_from(copy, from, size) == size)
		result = n->entry->write(n, f, copy, size);
	if (result > 0)
		*pos += result;
	kfree(copy);
	return result;
}

static loff_t text_seek(struct file *f, loff_t offset, int whence)
{
	if (whence == 1)
		offset += f->position;
	else if (whence != 0)
		return -EINVAL;
	if (offset < 0)
		return -EINVAL;
	f->position = offset;
	return offset;
}

static const struct file_ops text_ops = {
	.open = text_open,
	.release = text_release,
	.read = text_read,
	.write = text_write,
	.seek = text_seek,
};

// ---- superblock ----

static void pseudo_evict(struct inode *i)
{
	struct pseudo *n = pseudo_of(i);
	if (n && n->object_ops && n->object_ops->put)
		n->object_ops->put(n->object);
	kfree(n);
	i->private = NULL;
}

static const struct super_ops pseudo_super_ops = {
	.evict_inode = pseudo_evict,
};

int pseudo_fill_super(struct super *s, const struct pseudo_entry *root, uint64_t magic)
{
	s->ops = &pseudo_super_ops;
	s->dentry_ops = &pseudo_dentry_ops;
	s->block_size = PAGE_SIZE;
	s->magic = magic;
	s->flags |= SUPER_NOATIME;
	struct pseudo_child child = { .entry = root };
	struct inode *i = make_inode(s, 1, &child);
	if (!i)
		return -ENOMEM;
	s->root = dentry_make_root(i);
	return s->root ? 0 : -ENOMEM;
}
