// SPDX-License-Identifier: Apache-2.0
// tmpfs: extended attributes, a short list on the inode under its lock. Bounded, since they are kernel memory.
#include "tmpfs.h"

#include <linux/xattr.h>

#include "lib/string.h"

#define XATTRS_MAX_BYTES (128u << 10) // of one inode, names and values

struct tmpfs_xattr {
	struct list node;
	size_t size;
	char *value; // behind the name
	char name[];
};

static struct tmpfs_xattr *find(struct tmpfs_inode *t, const char *name)
{
	struct tmpfs_xattr *x;
	list_for_each (x, &t->xattrs, node)
		if (!strcmp(x->name, name))
			return x;
	return NULL;
}

static size_t total(struct tmpfs_inode *t)
{
	size_t bytes = 0;
	struct tmpfs_xattr *x;
	list_for_each (x, &t->xattrs, node)
		bytes += x->size + strlen(x->name) + 1;
	return bytes;
}

static void drop(struct tmpfs_xattr *x)
{
	list_remove(&x->node);
	kfree(x);
}

void tmpfs_xattrs_free(struct tmpfs_inode *t)
{
	while (!list_empty(&t->xattrs))
		drop(list_first(&t->xattrs, struct tmpfs_xattr, node));
}

ssize_t tmpfs_getxattr(struct inode *i, const char *name, void *value, size_t size)
{
	mutex_lock(&i->lock);
	struct tmpfs_xattr *x = find(tmpfs_of(i), name);
	ssize_t result = x                                                             ? (ssize_t)x->size
			 : strncmp(name, XATTR_SYSTEM_PREFIX, XATTR_SYSTEM_PREFIX_LEN) ? -ENODATA
										       : -EOPNOTSUPP;
	if (x && size) {
		if (size < x->size)
			result = -ERANGE;
		else
			memcpy(value, x->value, x->size);
	}
	mutex_unlock(&i->lock);
	return result;
}

int tmpfs_setxattr(struct inode *i, const char *name, const void *value, size_t size, int flags)
{
	struct tmpfs_inode *t = tmpfs_of(i);
	if (!strncmp(name, XATTR_SYSTEM_PREFIX, XATTR_SYSTEM_PREFIX_LEN))
		return -EOPNOTSUPP; // no access control lists
	struct tmpfs_xattr *old = find(t, name);
	if (old && (flags & XATTR_CREATE))
		return -EEXIST;
	if (!old && (flags & XATTR_REPLACE))
		return -ENODATA;
	size_t name_size = strlen(name) + 1;
	if (total(t) + name_size + size > XATTRS_MAX_BYTES)
		return -ENOSPC;
	struct tmpfs_xattr *x = kalloc(sizeof(*x) + name_size + size);
	if (!x)
		return -ENOMEM;
	x->size = size;
	x->value = x->name + name_size;
	memcpy(x->name, name, name_size);
	memcpy(x->value, value, size);
	if (old)
		drop(old);
	list_add_tail(&t->xattrs, &x->node);
	i->ctime = timestamp_now();
	return 0;
}

ssize_t tmpfs_listxattr(struct inode *i, char *list, size_t size)
{
	ssize_t used = 0;
	struct tmpfs_xattr *x;
	mutex_lock(&i->lock);
	list_for_each (x, &tmpfs_of(i)->xattrs, node) {
		size_t length = strlen(x->name) + 1;
		if (size && (size_t)used + length > size) {
			used = -ERANGE;
			break;
		}
		if (size)
			memcpy(list + used, x->name, length);
		used += (ssize_t)length;
	}
	mutex_unlock(&i->lock);
	return used;
}

int tmpfs_removexattr(struct inode *i, const char *name)
{
	struct tmpfs_xattr *x = find(tmpfs_of(i), name);
	if (!x)
		return strncmp(name, XATTR_SYSTEM_PREFIX, XATTR_SYSTEM_PREFIX_LEN) ? -ENODATA : -EOPNOTSUPP;
	drop(x);
	i->ctime = timestamp_now();
	return 0;
}
