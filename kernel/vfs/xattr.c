// SPDX-License-Identifier: Apache-2.0
// Extended attributes: setxattr(2), getxattr(2), listxattr(2), removexattr(2) and their l and f forms. xattr(7).
// The name spaces' rules are here; what a file system stores is its own.
#include "internal.h"

#include <linux/capability.h>
#include <linux/inotify.h>
#include <linux/limits.h>
#include <linux/xattr.h>

#include "lib/string.h"

static bool has_prefix(const char *s, const char *prefix) { return !strncmp(s, prefix, strlen(prefix)); }

static int check_name(struct inode *i, const char *name, unsigned mask)
{
	bool admin = cred_capable(current->cred, CAP_SYS_ADMIN);
	if (has_prefix(name, XATTR_SECURITY_PREFIX)) {
		if (mask == MAY_READ)
			return 0;
		return admin || (!strcmp(name, XATTR_NAME_CAPS) && inode_capable(i, CAP_SETFCAP)) ? 0 : -EPERM;
	}
	if (has_prefix(name, XATTR_SYSTEM_PREFIX))
		return inode_is_link(i) ? -EOPNOTSUPP : mask == MAY_WRITE && !inode_owner_or_capable(i) ? -EPERM : 0;
	if (has_prefix(name, XATTR_TRUSTED_PREFIX))
		return admin ? 0 : mask == MAY_WRITE ? -EPERM : -ENODATA;
	if (!has_prefix(name, XATTR_USER_PREFIX))
		return -EOPNOTSUPP;
	if (!inode_is_reg(i) && !inode_is_dir(i))
		return mask == MAY_WRITE ? -EPERM : -ENODATA;
	if (inode_is_dir(i) && (i->mode & S_ISVTX) && mask == MAY_WRITE && !inode_owner_or_capable(i))
		return -EPERM;
	return inode_permission(i, mask);
}

static int name_get(char *name, struct uptr user)
{
	long length = string_from_user(name, user, XATTR_NAME_MAX + 1);
	if (length < 0)
		return length == -ENAMETOOLONG ? -ERANGE : (int)length;
	return length ? 0 : -ERANGE;
}

struct request {
	struct uptr name, buffer;
	size_t size;
	int flags;
};

// ---- the four operations on a path ----

static long set(const struct path *p, const struct request *r)
{
	char name[XATTR_NAME_MAX + 1];
	struct inode *i = p->dentry->inode;
	if (r->flags & ~(XATTR_CREATE | XATTR_REPLACE))
		return -EINVAL;
	int error = name_get(name, r->name);
	if (error)
		return error;
	if (r->size > XATTR_SIZE_MAX)
		return -E2BIG;
	error = mount_want_write(p);
	if (!error)
		error = check_name(i, name, MAY_WRITE);
	if (error)
		return error;
	if (!i->ops->setxattr)
		return -EOPNOTSUPP;
	void *value = kalloc(r->size + 1);
	if (!value)
		return -ENOMEM;
	error = copy_from_user(value, r->buffer, r->size);
	if (!error) {
		mutex_lock(&i->lock);
		error = i->ops->setxattr(i, name, value, r->size, r->flags);
		mutex_unlock(&i->lock);
	}
	kfree(value);
	if (!error)
		fsnotify(i, p->dentry, IN_ATTRIB);
	return error;
}

static long get(const struct path *p, const struct request *r)
{
	char name[XATTR_NAME_MAX + 1];
	struct inode *i = p->dentry->inode;
	int error = name_get(name, r->name);
	if (!error)
		error = check_name(i, name, MAY_READ);
	if (error)
		return error;
	if (!i->ops->getxattr)
		return -EOPNOTSUPP;
	size_t size = min(r->size, (size_t)XATTR_SIZE_MAX);
	char *value = size ? kalloc(size) : NULL;
	if (size && !value)
		return -ENOMEM;
	ssize_t length = i->ops->getxattr(i, name, value, size);
	if (length > 0 && size && copy_to_user(r->buffer, value, (size_t)length))
		length = -EFAULT;
	kfree(value);
	return length;
}

static long list(const struct path *p, const struct request *r)
{
	struct inode *i = p->dentry->inode;
	if (!i->ops->listxattr)
		return 0;
	size_t size = min(r->size, (size_t)XATTR_LIST_MAX);
	char *names = size ? kalloc(size) : NULL;
	if (size && !names)
		return -ENOMEM;
	ssize_t length = i->ops->listxattr(i, names, size);
	if (length > 0 && size && copy_to_user(r->buffer, names, (size_t)length))
		length = -EFAULT;
	kfree(names);
	return length;
}

static long remove(const struct path *p, const struct request *r)
{
	char name[XATTR_NAME_MAX + 1];
	struct inode *i = p->dentry->inode;
	int error = name_get(name, r->name);
	if (!error)
		error = mount_want_write(p);
	if (!error)
		error = check_name(i, name, MAY_WRITE);
	if (error)
		return error;
	if (!i->ops->removexattr)
		return -EOPNOTSUPP;
	mutex_lock(&i->lock);
	error = i->ops->removexattr(i, name);
	mutex_unlock(&i->lock);
	if (!error)
		fsnotify(i, p->dentry, IN_ATTRIB);
	return error;
}

static long on_path(struct uptr path, bool follow, long (*fn)(const struct path *, const struct request *),
		    const struct request *r)
{
	struct path p;
	long result = path_lookup_user(AT_FDCWD, path, follow ? LOOKUP_FOLLOW : 0, &p);
	if (result)
		return result;
	result = fn(&p, r);
	path_put(&p);
	return result;
}

static long on_file(int fd, long (*fn)(const struct path *, const struct request *), const struct request *r)
{
	struct file *f = fd_get(fd);
	if (!f)
		return -EBADF;
	long result = fn(&f->path, r);
	file_put(f);
	return result;
}

// ---- system calls ----

#define REQUEST(...) \
	&(struct request) { __VA_ARGS__ }

long sys_setxattr(struct uptr path, struct uptr name, struct uptr value, size_t size, int flags)
{
	return on_path(path, true, set, REQUEST(name, value, size, flags));
}
long sys_lsetxattr(struct uptr path, struct uptr name, struct uptr value, size_t size, int flags)
{
	return on_path(path, false, set, REQUEST(name, value, size, flags));
}
long sys_fsetxattr(int fd, struct uptr name, struct uptr value, size_t size, int flags)
{
	return on_file(fd, set, REQUEST(name, value, size, flags));
}
long sys_getxattr(struct uptr path, struct uptr name, struct uptr value, size_t size)
{
	return on_path(path, true, get, REQUEST(name, value, size));
}
long sys_lgetxattr(struct uptr path, struct uptr name, struct uptr value, size_t size)
{
	return on_path(path, false, get, REQUEST(name, value, size));
}
long sys_fgetxattr(int fd, struct uptr name, struct uptr value, size_t size)
{
	return on_file(fd, get, REQUEST(name, value, size));
}
long sys_listxattr(struct uptr path, struct uptr names, size_t size)
{
	return on_path(path, true, list, REQUEST(.buffer = names, .size = size));
}
long sys_llistxattr(struct uptr path, struct uptr names, size_t size)
{
	return on_path(path, false, list, REQUEST(.buffer = names, .size = size));
}
long sys_flistxattr(int fd, struct uptr names, size_t size)
{
	return on_file(fd, list, REQUEST(.buffer = names, .size = size));
}
long sys_removexattr(struct uptr path, struct uptr name) { return on_path(path, true, remove, REQUEST(name)); }
long sys_lremovexattr(struct uptr path, struct uptr name) { return on_path(path, false, remove, REQUEST(name)); }
long sys_fremovexattr(int fd, struct uptr name) { return on_file(fd, remove, REQUEST(name)); }
