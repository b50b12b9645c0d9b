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
	bool anonymous;     // of a tree that is attached nowhere: mount_detached.c; no root
};
extern struct mnt_namespace mnt_namespace_first;
#define MOUNTS_MAX 100000u // of one namespace: fs.mount-max

struct mnt_namespace *mnt_namespace_mine(void);
void mnt_namespace_root_get(struct mnt_namespace *n, struct path *out); // what covers it, too; referenced

// mount.c
struct list *mount_bucket(const struct mount *parent, const struct dentry *d);
#define MOUNT_ATIME_FLAGS (MS_NOATIME | MS_NODIRATIME | MS_RELATIME | MS_STRICTATIME)
#define MOUNT_FLAGS       (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOSYMFOLLOW | MOUNT_ATIME_FLAGS)
uint32_t mount_flags_of(uint64_t flags); // those of mount(2), with one choice about access times
// Consumes the reference of `s`. NULL.
struct mount *mount_create(struct super *s, struct dentry *root, uint32_t flags, const char *source);
struct mount *mount_find(const struct mount *parent,
			 const struct dentry *d); // not referenced; mount_hash_lock or mount_lock
// A superblock for a mount by the current task. 0, -EPERM, or what the file system says; *out is referenced.
int super_mount(struct fs_type *t, const char *source, uint32_t flags, const char *options, struct super **out);
// Changes one: MS_RDONLY or 0, and options (NULL: none). 0, -EPERM, -EACCES: the launcher granted it read-only, -EBUSY: open for writing, or
// what the file system says. mount_lock held for writing.
int super_reconfigure(struct super *s, uint32_t readonly, const char *options);
int mount_new(const char *type, const char *source, uint32_t flags, const char *options, struct mount **out);

// mount_tree.c
// The next one of the tree below `top`, parents first; NULL at the end.
struct mount *mount_next(struct mount *m, const struct mount *top);
#define MOUNT_COPY_ALL        1u  // what is mounted below as well
#define MOUNT_COPY_UNBINDABLE 2u  // also what is not to be bound
#define MOUNT_COPY_SLAVE      4u  // the copies are slaves of what they are copied from
#define MOUNT_COPY_SHARED     8u  // the copies are shared among their own
#define MOUNT_COPY_DEMOTED    16u // copies of what is shared are slaves of it
#define MOUNT_COPY_NAMESPACES 32u // also files of mount namespaces; else -EINVAL when it is the top, and left out below
// A copy of `top` as seen from `root`, attached to nothing. Each mount of the tree has its copy in ->copy, or NULL. err_ptr.
struct mount *mount_copy_tree(struct mount *top, struct dentry *root, unsigned flags);
// Is it the file of a mount namespace as old as the caller's, or older? Mounted here it would keep alive what it is mounted in: only older
// ones may keep younger ones.
bool mount_would_loop(const struct dentry *root);
// Puts a tree on `at`, whose references it keeps, and copies of it wherever that spreads. 0, -ENOTDIR, -ENOSPC, -ENOMEM.
int mount_attach_tree(struct mount *top, const struct path *at);
// Makes it the tree of a namespace.
void mount_tree_enter(struct mount *top, struct mnt_namespace *space);
void mount_tree_leave(struct mount *top); // it is about to enter another one
// Takes a tree off, and with `spread` its copies where that spreads; mount_release() gives it up once no lock is held.
void mount_detach_tree(struct mount *top, bool spread, struct list *gone);
void mount_release(struct list *gone);
void mount_move(struct mount *m, const struct path *to, struct path *from); // nothing spreads; *from: what it lay on
bool mount_copies_busy(struct mount *m);                    // is there a copy of it that spread, and in use?
void mount_lock_tree(struct mount *top);                    // it comes to somebody who may less
void mount_set_propagation(struct mount *m, uint32_t type); // MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE
void mount_join(struct mount *m, struct mount *of);         // m, private, gets the peers and the master of `of`

// mount_calls.c; what the calls about mounts ask. No lock but where it says so.
bool mount_may(void); // has the current task the right to mount?
bool mount_is_mine(const struct mount *m);
bool path_is_mount(const struct path *p);         // rather than a place inside of one
bool mount_place_is_there(const struct path *at); // it was not removed meanwhile
unsigned mount_lookup_flags(unsigned at_flags);   // LOOKUP_* for AT_*
bool mount_has_locked_children(struct mount *m, struct dentry *root);
// A copy of what `from` shows. err_ptr: -EINVAL, -EPERM, -ENOMEM.
struct mount *mount_copy_seen(const struct path *from, bool all);
int mount_may_change_flags(const struct mount *m, uint32_t flags); // 0, -EPERM: it is locked, -EBUSY: open for writing

// mount_detached.c; no lock held
// An O_PATH file of a tree that is attached nowhere, which goes with that file. Consumes the tree. err_ptr.
struct file *mount_detached_open(struct mount *m);
bool mount_is_detached(const struct mount *m); // top of such a tree. mount_lock
// Moves a mount, or attaches a detached one. Consumes `to`.
int mount_move_tree(const struct path *from, struct path *to);

// mount_attributes.c
int mount_attributes_flags(uint64_t attributes, uint32_t *out); // MOUNT_ATTR_* as MS_*. 0, -EINVAL
