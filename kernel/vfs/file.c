// SPDX-License-Identifier: Apache-2.0
// Open files: birth, the last reference, files without a name, and the generic operations over a page cache.
//
// A struct file is counted; what it names (path, inode) is held through its dentry. file.position is guarded by
// position_lock, which is skipped while only one descriptor of one task can reach the file.
#include "internal.h"

#include <linux/inotify.h>

#include "kernel/init.h"
#include "lib/fmt.h"
#include "lib/string.h"

uint64_t file_count; // atomic
static struct slab_cache *file_cache;
static const struct file_ops no_ops;

static void init(void) { file_cache = slab_cache_create("file", sizeof(struct file), 8); }
KERNEL_INIT(1, init);

struct file *file_allocate(int flags)
{
	struct file *f = slab_alloc(file_cache);
	if (!f)
		return NULL;
	refcount_set(&f->refs, 1);
	f->ops = &no_ops;
	f->flags = (uint32_t)flags;
	mutex_init(&f->position_lock);
	list_init(&f->epoll_items);
	spin_init(&f->epoll_lock);
	f->cred = cred_get(current->cred);
	__atomic_fetch_add(&file_count, 1, __ATOMIC_RELAXED);
	return f;
}

bool file_nonblock(const struct file *f) { return f->flags & O_NONBLOCK || unlikely(current->flags & TASK_NOWAIT); }

static void release(struct file *f)
{
	if (!list_empty(&f->epoll_items))
		epoll_release_file(f);
	if (f->async)
		file_async_release(f);
	if (f->inode && !(f->mode & FILE_PATH)) {
		fsnotify(f->inode, f->path.dentry, f->mode & FILE_WRITE ? IN_CLOSE_WRITE : IN_CLOSE_NOWRITE);
		if (!list_empty(&f->inode->locks))
			locks_release_file(f);
		if (unlikely(f->inode->leases))
			(void)lease_end(f);
		if (unlikely(f->inode->marks) && inode_is_dir(f->inode))
			dnotify_end(f, NULL);
		if (f->ops->release)
			f->ops->release(f);
	}
	if (f->mode & FILE_READ_COUNTED)
		__atomic_fetch_sub(&f->inode->read_count, 1, __ATOMIC_RELEASE);
	if (f->mode & FILE_WRITE_COUNTED) {
		inode_write_end(f->inode);
		if (f->path.mount)
			__atomic_fetch_sub(&f->path.mount->writers, 1, __ATOMIC_RELAXED);
	}
	if (f->mode & FILE_WRITE_DENIED)
		inode_allow_write(f->inode);
	if (f->mode & FILE_TREE)
		mount_dissolve(f->path.mount);
	if (f->path.dentry)
		path_put(&f->path);
	cred_put(f->cred);
	slab_free(file_cache, f);
	__atomic_fetch_sub(&file_count, 1, __ATOMIC_RELAXED);
}

void file_put(struct file *f)
{
	if (f && refcount_put(&f->refs))
		release(f);
}

// ---- files without a name ----

static struct dentry *anonymous_dentry(const char *name, struct inode *i)
{
	char text[80];
	size_t length = strlen(name);
	if (length && name[length - 1] == ':')
		length = (size_t)fmt_print(text, sizeof(text), "%s[%llu]", name, (unsigned long long)i->ino);
	else
		length = string_copy(text, name, sizeof(text));
	struct dentry *d = dentry_create(NULL, text, min(length, sizeof(text) - 1));
	if (!d)
		return NULL;
	d->super = anonymous_super;
	dentry_instantiate(d, i);
	return d;
}

// Opens another end of an anonymous inode (the second half of a pipe).
struct file *file_open_anonymous(struct dentry *d, const struct file_ops *ops, void *private, int flags)
{
	struct file *f = file_allocate(flags | O_LARGEFILE);
	if (!f)
		return err_ptr(-ENFILE);
	unsigned access = flags & O_ACCMODE;
	f->mode = (access != O_WRONLY ? FILE_READ : 0) | (access != O_RDONLY ? FILE_WRITE : 0) |
		  (ops->stream ? FILE_STREAM : 0);
	f->flags &= ~(uint32_t)(O_CLOEXEC | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC);
	f->ops = ops;
	f->private = private;
	dentry_get(d);
	f->path.dentry = d;
	f->inode = d->inode;
	f->object = d->inode->object;
	return f;
}

struct file *file_create_anonymous(const char *name, const struct file_ops *ops, void *private, int flags, mode_t mode)
{
	struct inode *i =
		inode_create(anonymous_super, __atomic_fetch_add(&anonymous_super->next_ino, 1, __ATOMIC_RELAXED));
	if (!i)
		return err_ptr(-ENOMEM);
	i->mode = mode;
	i->uid = current->cred->fsuid;
	i->gid = current->cred->fsgid;
	i->atime = i->mtime = i->ctime = timestamp_now();
	struct dentry *d = anonymous_dentry(name, i);
	if (!d) {
		inode_put(i);
		return err_ptr(-ENOMEM);
	}
	struct file *f = file_open_anonymous(d, ops, private, flags);
	dentry_put(d);
	return f;
}

// ---- generic operations ----

ssize_t generic_file_read(struct file *f, struct iov_iter *to, loff_t *pos)
{
	ssize_t result = filemap_read(f->object, to, pos);
	inode_touch_access(f);
	return result;
}

static ssize_t write_locked(struct file *f, struct iov_iter *from, loff_t *pos)
{
	struct inode *i = f->inode;
	if ((f->flags & O_APPEND) || from->append)
		*pos = (loff_t)f->object->size_bytes;
	size_t count = from->count;
	int error = write_limit(f, *pos, &count);
	if (!error)
		error = inode_remove_privileges(i);
	if (error)
		return error;
	size_t beyond = from->count - count;
	from->count = count;
	inode_touch_modify(i);
	ssize_t result = filemap_write(f->object, from, pos);
	from->count += beyond;
	return result;
}

ssize_t generic_file_write(struct file *f, struct iov_iter *from, loff_t *pos)
{
	if (!from->count)
		return 0;
	mutex_lock(&f->inode->lock);
	loff_t start = *pos;
	ssize_t result = write_locked(f, from, pos);
	if (result > 0)
		start = *pos - result;
	mutex_unlock(&f->inode->lock);
	if (result > 0 && (f->flags & O_DSYNC) && f->ops->fsync) {
		int error = f->ops->fsync(f, start, *pos, (f->flags & O_SYNC) != O_SYNC);
		if (error)
			return error;
	}
	return result;
}

loff_t generic_seek(struct file *f, loff_t offset, int whence)
{
	loff_t size = f->object ? (loff_t)__atomic_load_n(&f->object->size_bytes, __ATOMIC_RELAXED) : 0;
	switch (whence) {
	case 0: // SEEK_SET
		break;
	case 1: // SEEK_CUR
		if (__builtin_add_overflow(offset, f->position, &offset))
			return -EOVERFLOW;
		break;
	case 2: // SEEK_END
		if (__builtin_add_overflow(offset, size, &offset))
			return -EOVERFLOW;
		break;
	case 3: // SEEK_DATA: everything up to the end is data
		if (offset < 0 || offset >= size)
			return -ENXIO;
		break;
	case 4: // SEEK_HOLE: the one at the end
		if (offset < 0 || offset >= size)
			return -ENXIO;
		offset = size;
		break;
	default: return -EINVAL;
	}
	if (offset < 0 || (uint64_t)offset > f->inode->super->max_file_bytes)
		return -EINVAL;
	f->position = offset;
	return offset;
}

unsigned file_poll(struct file *f, struct poll_table *t)
{
	if (!f->ops->poll)
		return EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLWRNORM;
	return f->ops->poll(f, t);
}
