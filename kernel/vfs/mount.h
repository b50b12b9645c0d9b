// SPDX-License-Identifier: Apache-2.0
// Mounts, inside: trees of them, mount namespaces, and what spreads between those (mount_namespaces(7)).
//
// A mount in a namespace is held by it once, and holds its mount point. Everything here but mount_find() and mount_create() is called
// with mount_lock held for writing.
#pragma once

#include "internal.h"
#include "kernel/namespace.h"

struct mnt_namespace {
	struct namespace common;
	struct mount *root; // a reference
	unsigned count;     // mounts in it
};
extern struct mnt_namespace mnt_namespace_first;
#define MOUNTS_MAX 100000u // of one namespace: fs.mount-max

struct mnt_namespace *mnt_namespace_mine(void);
void mnt_namespace_root_get(struct mnt_namespace *n, struct path *out); // what covers it, too; referenced

// mount.c
struct list *mount_bucket(const struct mount *parent, const struct dentry *d);
#define MOUNT_FLAGS (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME | MS_RELATIME)
// Consumes the reference of `s`. NULL.
struct mount *mount_create(struct super *s, struct dentry *root, uint32_t flags, const char *source);
struct mount *mount_find(const struct mount *parent,
			 const struct dentry *d); // not referenced; mount_hash_lock or mount_lock
int mount_new(const char *type, const char *source, uint32_t flags, const char *options, struct mount **out);

// mount_tree.c
// The next one of the tree below `top`, parents first; NULL at the end.
struct mount *mount_next(struct mount *m, const struct mount *top);
#define MOUNT_COPY_ALL        1u  // what is mounted below as well
#define MOUNT_COPY_UNBINDABLE 2u  // also what is not to be bound
#define MOUNT_COPY_SLAVE      4u  // the copies are slaves of what they are copied from
#define MOUNT_COPY_SHARED     8u  // the copies are shared among their own
#define MOUNT_COPY_DEMOTED    16u // copies of what is shared are slaves of it
// A copy of `top` as seen from `root`, attached to nothing. Each mount of the tree has its copy in ->copy, or NULL. err_ptr.
struct mount *mount_copy_tree(struct mount *top, struct dentry *root, unsigned flags);
// Puts a tree on `at`, whose references it keeps, and copies of it wherever that spreads. 0, -ENOTDIR, -ENOSPC, -ENOMEM.
int mount_attach_tree(struct mount *top, const struct path *at);
// Makes it the tree of a namespace.
void mount_tree_enter(struct mount *top, struct mnt_namespace *space);
// Takes a tree off, and with `spread` its copies where that spreads; mount_release() gives it up once no lock is held.
void mount_detach_tree(struct mount *top, bool spread, struct list *gone);
void mount_release(struct list *gone);
void mount_move(struct mount *m, const struct path *to, struct path *from); // nothing spreads; *from: what it lay on
bool mount_copies_busy(struct mount *m);                    // is there a copy of it that spread, and in use?
void mount_lock_tree(struct mount *top);                    // it comes to somebody who may less
void mount_set_propagation(struct mount *m, uint32_t type); // MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE
