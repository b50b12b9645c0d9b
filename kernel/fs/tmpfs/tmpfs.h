// SPDX-License-Identifier: Apache-2.0
// tmpfs, inside: a file system in memory. A file's data is its inode's memory object; a directory's entries are its
// dentries, pinned. Nothing is ever written anywhere.
//
// Locks: tmpfs_super.lock, a leaf, guards the counts; everything of an inode is under inode.lock.
#pragma once

#include "kernel/fs.h"
#include "kernel/slab.h"
#include "kernel/tmpfs.h"

struct tmpfs_super { // super->private
	struct spinlock lock;
	uint64_t pages_max, pages_used;   // lock; max 0: no limit
	uint64_t inodes_max, inodes_used; // lock
};

struct tmpfs_inode {          // inode->private
	struct list xattrs;   // struct tmpfs_xattr; inode.lock
	uint64_t pages;       // charged; atomic
	uint64_t next_offset; // directory: of the next entry made; inode.lock
	uint64_t entries;     // directory; inode.lock
	unsigned seals;       // inode.lock
};

static inline struct tmpfs_inode *tmpfs_of(const struct inode *i) { return i->private; }

extern const struct inode_ops tmpfs_directory_ops, tmpfs_file_ops, tmpfs_link_ops;
extern const struct file_ops tmpfs_directory_file_ops, tmpfs_regular_file_ops;
extern const struct mobj_ops tmpfs_object_ops;

// A new inode owned by the current user, of the type and permissions in `mode`; `dir` may be NULL. -ENOSPC, -ENOMEM by err_ptr.
struct inode *tmpfs_inode_create(struct super *s, const struct inode *dir, mode_t mode, dev_t rdev);
void tmpfs_evict_inode(struct inode *i);
int tmpfs_getattr(struct inode *i, struct kstat *out);
int tmpfs_setattr(struct inode *i, const struct attr_change *c);

void tmpfs_xattrs_free(struct tmpfs_inode *t);
ssize_t tmpfs_getxattr(struct inode *i, const char *name, void *value, size_t size);
int tmpfs_setxattr(struct inode *i, const char *name, const void *value, size_t size, int flags);
ssize_t tmpfs_listxattr(struct inode *i, char *list, size_t size);
int tmpfs_removexattr(struct inode *i, const char *name);
