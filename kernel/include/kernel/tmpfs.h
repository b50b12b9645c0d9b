// SPDX-License-Identifier: Apache-2.0
// tmpfs, for those who build on it: memfd_create, dev. Owner: kernel/fs/tmpfs/.
#pragma once

#include "kernel/fs.h"

bool inode_is_tmpfs(const struct inode *i);
long tmpfs_add_seals(struct file *f, unsigned seals); // F_ADD_SEALS: 0, -EPERM, -EBUSY, -EINVAL
long tmpfs_get_seals(struct file *f);                 // F_GET_SEALS
void tmpfs_allow_seals(struct file *f);               // MFD_ALLOW_SEALING
// A file on no mount, named `name` in /proc; size 0. err_ptr.
struct file *tmpfs_create_unlinked(const char *name, int flags);

// A file system type that is a tmpfs filled at mount (dev) calls this from its mount operation. options as mount(8)'s for tmpfs.
int tmpfs_fill_super(struct super *s, const char *options);
// Makes `name` in `dir`, without rights checks: directories, nodes (rdev), symbolic links (target) by the type in `mode`.
// The dentry, referenced; err_ptr. -EEXIST when it is there.
struct dentry *tmpfs_make(struct dentry *dir, const char *name, mode_t mode, dev_t rdev, const char *target);
