// SPDX-License-Identifier: Apache-2.0
// getdents(2), getdents64(2). The file system emits entries with the position after each; made-up mount points follow its
// own entries. For those, file.readahead_start counts: 0 is "still the file system's", k + 1 is "k of them were given".
#include "internal.h"

#include <linux/inotify.h>

#include "lib/string.h"

struct dirent64 { // struct linux_dirent64
	uint64_t ino;
	int64_t offset;
	uint16_t length;
	uint8_t type;
	char name[];
};

struct dirent_old { // struct linux_dirent; the type is its last byte
	uint64_t ino, offset;
	uint16_t length;
	char name[];
};

struct filler {
	struct dir_context context;
	char *buffer;
	size_t size, used;
	bool old, too_small;
};

static bool emit(struct dir_context *c, const char *name, size_t length, loff_t next_offset, ino_t ino, unsigned type)
{
	struct filler *f = container_of(c, struct filler, context);
	size_t head = f->old ? offsetof(struct dirent_old, name) : offsetof(struct dirent64, name);
	size_t size = align_up(head + length + 1 + (f->old ? 1 : 0), 8ul);
	if (size > f->size - f->used) {
		f->too_small = !f->used;
		return false;
	}
	char *at = f->buffer + f->used;
	memset(at + size - 8, 0, 8);
	if (f->old) {
		struct dirent_old *e = (struct dirent_old *)at;
		*e = (struct dirent_old){ ino, (uint64_t)next_offset, (uint16_t)size };
		memcpy(e->name, name, length);
		e->name[length] = 0;
		at[size - 1] = (char)type;
	} else {
		struct dirent64 *e = (struct dirent64 *)at;
		e->ino = ino;
		e->offset = next_offset;
		e->length = (uint16_t)size;
		e->type = (uint8_t)type;
		memcpy(e->name, name, length);
		e->name[length] = 0;
	}
	f->used += size;
	return true;
}

bool dir_emit_dots(struct file *f, struct dir_context *c)
{
	if (c->position == 0) {
		if (!c->emit(c, ".", 1, 1, f->inode->ino, S_IFDIR >> 12))
			return false;
		c->position = 1;
	}
	if (c->position == 1) {
		struct dentry *d = f->path.dentry;
		spin_lock(&d->lock);
		struct dentry *parent = d->parent;
		dentry_get(parent);
		spin_unlock(&d->lock);
		ino_t ino = parent->inode->ino;
		dentry_put(parent);
		if (!c->emit(c, "..", 2, 2, ino, S_IFDIR >> 12))
			return false;
		c->position = 2;
	}
	return true;
}

// The n-th made-up child, referenced, or NULL.
static struct dentry *made_up_child(struct dentry *dir, uint64_t n)
{
	struct dentry *d, *found = NULL;
	spin_lock(&dentry_tree_lock);
	list_for_each (d, &dir->children, child_node)
		if ((d->flags & DENTRY_MADE_UP) && !n--) {
			dentry_get(d);
			found = d;
			break;
		}
	spin_unlock(&dentry_tree_lock);
	return found;
}

static void emit_made_up(struct file *f, struct dir_context *c)
{
	if (!f->readahead_start)
		f->readahead_start = 1;
	struct dentry *d;
	while ((d = made_up_child(f->path.dentry, f->readahead_start - 1))) {
		bool room = c->emit(c, d->name, d->name_length, INT64_MAX, d->inode->ino, S_IFDIR >> 12);
		dentry_put(d);
		if (!room)
			return;
		f->readahead_start++;
	}
}

static int fill(struct file *f, struct filler *filler)
{
	int error = 0;
	if (!f->readahead_start) {
		size_t used_before = filler->used;
		do { // an iterate may stop early with room left (one reply of a server): only no progress is the end
			used_before = filler->used;
			error = f->ops->iterate(f, &filler->context);
		} while (!error && filler->used != used_before && filler->size - filler->used >= 280);
		if (error || filler->used != used_before || filler->too_small)
			return error;
	}
	if (f->path.dentry->flags & DENTRY_HAS_MADE_UP)
		emit_made_up(f, &filler->context);
	return 0;
}

static long read_directory(struct file *f, struct filler *filler)
{
	struct inode *i = f->inode;
	mutex_lock(&f->position_lock);
	mutex_lock(&i->lock);
	filler->context.position = f->position;
	int error = i->state & INODE_DEAD ? -ENOENT : fill(f, filler);
	f->position = filler->context.position;
	mutex_unlock(&i->lock);
	inode_touch_access(f);
	mutex_unlock(&f->position_lock);
	fsnotify(i, f->path.dentry, IN_ACCESS | IN_ISDIR);
	if (filler->used)
		return (long)filler->used;
	return error ? error : filler->too_small ? -EINVAL : 0;
}

static long getdents(int fd, struct uptr entries, unsigned size, bool old)
{
	struct file *f = fd_get(fd);
	if (!f)
		return -EBADF;
	long result = -ENOTDIR;
	if (f->ops->iterate) {
		struct filler filler = { .context.emit = emit, .size = min(size, 64u << 10), .old = old };
		filler.buffer = kalloc(filler.size);
		result = filler.buffer ? read_directory(f, &filler) : -ENOMEM;
		// The position has moved on; a program that passes a bad buffer loses entries, as with a torn read.
		if (result > 0 && copy_to_user(entries, filler.buffer, (size_t)result))
			result = -EFAULT;
		kfree(filler.buffer);
	}
	file_put(f);
	return result;
}

long sys_getdents64(int fd, struct uptr entries, unsigned size) { return getdents(fd, entries, size, false); }
long sys_getdents(int fd, struct uptr entries, unsigned size) { return getdents(fd, entries, size, true); }
