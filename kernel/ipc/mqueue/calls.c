// SPDX-License-Identifier: Apache-2.0
// POSIX message queues: the system calls. mq_open(3) and kin; the names are those glibc passes, without the slash.

#include "mqueue.h"

#include "../../vfs/mount.h"

#include <linux/capability.h>
#include <linux/mqueue.h>

#include "kernel/mqueue.h"
#include "kernel/slab.h"
#include "kernel/syscalls.h"
#include "kernel/task.h"
#include "kernel/timespec.h"
#include "kernel/uaccess.h"
#include "lib/string.h"

// ---- names ----

static int check_name(const char *name)
{
	if (!name[0])
		return -ENOENT;
	if (strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
		return -EACCES;
	return strlen(name) > NAME_MAX_BYTES ? -ENAMETOOLONG : 0;
}

static unsigned access_mask(int flags)
{
	static const uint8_t masks[] = {
		[O_RDONLY] = MAY_READ, [O_WRONLY] = MAY_WRITE, [O_RDWR] = MAY_READ | MAY_WRITE
	};

	return masks[flags & O_ACCMODE];
}

struct creation { // what mq_open(O_CREAT) wants
	mode_t mode;
	int64_t message_max, size_max;
};

// The root is locked, d is what has the name. Makes the queue, or checks that it may be opened.
static int prepare(struct dentry *root, struct dentry *d, int flags, const struct creation *c)
{
	int error;

	if (!d->inode) {
		if (!(flags & O_CREAT))
			return -ENOENT;
		error = inode_permission(root->inode, MAY_WRITE | MAY_EXEC);
		if (error)
			return error;
		return mqueue_make(root->inode, d, c->mode & 07777 & ~current->fs->umask, c->message_max, c->size_max);
	}
	if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
		return -EEXIST;
	if ((flags & O_ACCMODE) == O_ACCMODE)
		return -EINVAL;
	return inode_permission(d->inode, access_mask(flags));
}

// An open queue outlives the namespace that it was opened in: a mount of its own keeps the file system for it.
static bool keep_super(struct file *f)
{
	struct dentry *d = f->path.dentry;

	refcount_get(&d->super->refs);
	f->path.mount = mount_create(d->super, d->super->root, 0, NULL);
	if (f->path.mount && f->mode & FILE_WRITE_COUNTED)
		f->path.mount->writers = 1;
	if (!f->path.mount)
		super_put(d->super);
	return f->path.mount != NULL;
}

static struct file *open_name(const char *name, int flags, const struct creation *c)
{
	struct dentry *root = mqueue_root(), *d;
	struct file *f;
	int error = check_name(name);

	if (error) {
		dentry_put(root);
		return err_ptr(error);
	}
	mutex_lock(&root->inode->lock);
	d = dentry_lookup_locked(root, name, strlen(name));
	error = is_err(d) ? (int)ptr_err(d) : prepare(root, d, flags, c);
	mutex_unlock(&root->inode->lock);
	dentry_put(root);
	if (is_err(d))
		return err_ptr(error);
	f = error ? err_ptr(error) : file_open_anonymous(d, &mqueue_file_ops, NULL, flags & (O_ACCMODE | O_NONBLOCK));
	if (!is_err(f) && !keep_super(f)) {
		file_put(f);
		f = err_ptr(-ENOMEM);
	}
	dentry_put(d);
	return f;
}

long sys_mq_open(struct uptr name, int flags, mode_t mode, struct uptr attributes)
{
	struct creation c = { .mode = mode,
			      .message_max = min(mqueue_limits.msg_max, mqueue_limits.msg_default),
			      .size_max = min(mqueue_limits.msgsize_max, mqueue_limits.msgsize_default) };
	struct mq_attr attr;
	struct file *f;
	char *path;

	if (!uptr_is_null(attributes)) {
		if (get_user(&attr, attributes))
			return -EFAULT;
		c.message_max = attr.mq_maxmsg;
		c.size_max = attr.mq_msgsize;
	}
	path = path_string_get(name);
	if (is_err(path))
		return ptr_err(path);
	f = open_name(path, flags, &c);
	path_string_free(path);
	return is_err(f) ? ptr_err(f) : fd_install_new(f, true);
}

static int remove_locked(struct dentry *root, struct dentry *d)
{
	const struct cred *c = current->cred;
	int error = d->inode ? inode_permission(root->inode, MAY_WRITE | MAY_EXEC) : -ENOENT;

	if (error)
		return error;
	// The root is sticky: owners only.
	if (c->fsuid != d->inode->uid && c->fsuid != root->inode->uid &&
	    !(cred_capable_own(c, CAP_FOWNER) && id_is_mapped(c, ID_USER, d->inode->uid)))
		return -EPERM;
	return mqueue_remove(root->inode, d);
}

long sys_mq_unlink(struct uptr name)
{
	struct dentry *root, *d;
	char *path = path_string_get(name);
	int error;

	if (is_err(path))
		return ptr_err(path);
	root = mqueue_root();
	error = check_name(path);
	if (!error) {
		mutex_lock(&root->inode->lock);
		d = dentry_lookup_locked(root, path, strlen(path));
		error = is_err(d) ? (int)ptr_err(d) : remove_locked(root, d);
		if (!error)
			dentry_drop_removed(d);
		mutex_unlock(&root->inode->lock);
		if (!is_err(d))
			dentry_put(d);
	}
	dentry_put(root);
	path_string_free(path);
	return error;
}

// ---- messages ----

// The queue of a descriptor that was opened with `mode` (FILE_*): its file, referenced; err_ptr: -EBADF.
static struct file *queue_file(int fd, unsigned mode)
{
	struct file *f = fd_get(fd);

	if (f && f->ops == &mqueue_file_ops && (f->mode & mode) == mode)
		return f;
	file_put(f);
	return err_ptr(-EBADF);
}

// An absolute time of day, or none.
static int deadline_get(struct uptr timeout, uint64_t *deadline)
{
	uint64_t ns;
	int error;

	*deadline = PARK_FOREVER;
	if (uptr_is_null(timeout))
		return 0;
	error = timespec_from_user(&ns, timeout);
	if (!error)
		*deadline = (uint64_t)max((int64_t)ns - clock_realtime_offset_ns(), INT64_C(1));
	return error;
}

static struct mqueue_message *message_get(struct uptr data, size_t size, unsigned priority)
{
	struct mqueue_message *m = kalloc(sizeof(*m) + size);

	if (!m)
		return err_ptr(-ENOMEM);
	m->priority = priority;
	m->size = size;
	if (!copy_from_user(m->text, data, size))
		return m;
	kfree(m);
	return err_ptr(-EFAULT);
}

long sys_mq_timedsend(int fd, struct uptr data, size_t size, unsigned priority, struct uptr timeout)
{
	struct mqueue_message *m;
	struct mqueue *q;
	struct file *f;
	uint64_t deadline;
	long result = deadline_get(timeout, &deadline);

	if (result)
		return result;
	if (priority >= MQ_PRIO_MAX)
		return -EINVAL;
	f = queue_file(fd, FILE_WRITE);
	if (is_err(f))
		return ptr_err(f);
	q = mqueue_of(f->inode);
	m = size > (size_t)q->size_max ? err_ptr(-EMSGSIZE) : message_get(data, size, priority);
	result = is_err(m) ? ptr_err(m) : mqueue_send(q, m, f->flags & O_NONBLOCK, deadline);
	if (result && !is_err(m))
		kfree(m);
	file_put(f);
	return result;
}

static long message_put(const struct mqueue_message *m, struct uptr buffer, struct uptr priority)
{
	if ((!uptr_is_null(priority) && put_user(m->priority, priority)) || copy_to_user(buffer, m->text, m->size))
		return -EFAULT;
	return (long)m->size;
}

long sys_mq_timedreceive(int fd, struct uptr buffer, size_t size, struct uptr priority, struct uptr timeout)
{
	struct mqueue_message *m;
	struct mqueue *q;
	struct file *f;
	uint64_t deadline;
	long result = deadline_get(timeout, &deadline);

	if (result)
		return result;
	f = queue_file(fd, FILE_READ);
	if (is_err(f))
		return ptr_err(f);
	q = mqueue_of(f->inode);
	result = size < (size_t)q->size_max ? -EMSGSIZE : mqueue_receive(q, f->flags & O_NONBLOCK, deadline, &m);
	if (!result) {
		result = message_put(m, buffer, priority);
		kfree(m);
	}
	file_put(f);
	return result;
}

// ---- attributes, notification ----

long sys_mq_notify(int fd, struct uptr event)
{
	struct mqueue_notification n = { 0 };
	struct mqueue *q;
	struct file *f;
	int error = uptr_is_null(event) ? 0 : mqueue_notification_create(event, &n);

	if (error)
		return error;
	f = queue_file(fd, 0);
	if (is_err(f)) {
		mqueue_notification_drop(&n);
		return ptr_err(f);
	}
	q = mqueue_of(f->inode);
	if (!n.owner) {
		mqueue_notification_forget(q);
	} else {
		spin_lock(&q->lock);
		if (q->notification.owner)
			error = -EBUSY;
		else
			q->notification = n;
		spin_unlock(&q->lock);
		if (error)
			mqueue_notification_drop(&n);
	}
	file_put(f);
	return error;
}

long sys_mq_getsetattr(int fd, struct uptr new_attributes, struct uptr old_attributes)
{
	struct mq_attr new = { 0 }, old;
	struct mqueue *q;
	struct file *f;
	bool set = !uptr_is_null(new_attributes);

	if (set && get_user(&new, new_attributes))
		return -EFAULT;
	if (new.mq_flags & ~(int64_t)O_NONBLOCK)
		return -EINVAL;
	f = queue_file(fd, 0);
	if (is_err(f))
		return ptr_err(f);
	q = mqueue_of(f->inode);
	spin_lock(&q->lock);
	old = (struct mq_attr){ .mq_flags = f->flags & O_NONBLOCK,
				.mq_maxmsg = q->message_max,
				.mq_msgsize = q->size_max,
				.mq_curmsgs = q->count };
	spin_unlock(&q->lock);
	if (set && new.mq_flags)
		__atomic_or_fetch(&f->flags, O_NONBLOCK, __ATOMIC_RELAXED);
	else if (set)
		__atomic_and_fetch(&f->flags, ~(uint32_t)O_NONBLOCK, __ATOMIC_RELAXED);
	file_put(f);
	return uptr_is_null(old_attributes) ? 0 : put_user(old, old_attributes);
}
