// SPDX-License-Identifier: Apache-2.0
// Namespaces: which of the cell's names a process sees. namespaces(7). Owner: kernel/proc/namespace.c; the kinds have their own files.
//
// A task names one namespace of each kind by its struct namespaces, which is immutable and counted; its user namespace is part of its
// credentials instead. Of the pid namespaces that is the one its children are born in. All of a cell's first namespaces are static and
// never go.
#pragma once

#include "kernel/refcount.h"
#include "kernel/types.h"

struct cred;
struct fs_context;
struct id_map;
struct namespace;
struct seq;
struct task;
struct user_namespace;

enum namespace_kind {
	NAMESPACE_UTS,
	NAMESPACE_IPC,
	NAMESPACE_USER,
	NAMESPACE_MNT,
	NAMESPACE_PID, // in a set: the one children are born in
	NAMESPACE_NET,
	NAMESPACE_CGROUP,
	NAMESPACE_KINDS,
};

struct namespace_type {
	const char *name; // in /proc/PID/ns
	enum namespace_kind kind;
	uint32_t clone_flag; // CLONE_NEW*
	// A new one for the current task, from the one it has. Its head is filled by namespace_init(). err_ptr.
	// fs: of whoever gets it, and nobody else's.
	struct namespace *(*create)(struct namespace *old, struct user_namespace *owner, struct fs_context *fs);
	int (*enter)(struct namespace *n, struct fs_context *fs); // setns(2): what else that takes; NULL: nothing
	void (*destroy)(struct namespace *n); // last reference; the head's parts are released already
};

struct namespace
{ // first field of every kind's structure
	struct refcount refs;
	uint32_t ino; // in /proc/PID/ns: what tells two apart
	const struct namespace_type *type;
	struct user_namespace *owner; // whose capabilities count for it; a reference
};

// The first ones have the numbers Linux gives its own.
#define NAMESPACE_INO_MNT    0xF0000000u
#define NAMESPACE_INO_NET    0xF0000001u
#define NAMESPACE_INO_IPC    0xEFFFFFFFu
#define NAMESPACE_INO_UTS    0xEFFFFFFEu
#define NAMESPACE_INO_USER   0xEFFFFFFDu
#define NAMESPACE_INO_PID    0xEFFFFFFCu
#define NAMESPACE_INO_CGROUP 0xEFFFFFFBu
#define NAMESPACE_INO_TIME   0xEFFFFFFAu

#define NAMESPACE_INIT(type_, ino_, owner_)                                \
	{                                                                  \
		.refs = { 1 }, .ino = ino_, .type = type_, .owner = owner_ \
	}

extern const struct namespace_type *const namespace_types[NAMESPACE_KINDS];
extern const struct namespace_type uts_namespace_type, ipc_namespace_type, user_namespace_type, mnt_namespace_type,
	pid_namespace_type, net_namespace_type, cgroup_namespace_type;
extern struct namespace *const uts_namespace_initial, *const ipc_namespace_initial, *const mnt_namespace_initial;
extern struct namespace *const pid_namespace_initial, *const net_namespace_initial, *const cgroup_namespace_initial;

// Head of a new namespace: one reference, a number of its own, `owner` referenced and charged. 0, -ENOSPC: too many of the kind.
int namespace_init(struct namespace *n, const struct namespace_type *type, struct user_namespace *owner);
static inline void namespace_get(struct namespace *n) { refcount_get(&n->refs); }
void namespace_put(struct namespace *n); // may sleep

// ---- the set of a task ----

struct namespaces {
	struct refcount refs;
	struct namespace *of[NAMESPACE_KINDS]; // references; [NAMESPACE_USER]: NULL
};
extern struct namespaces namespaces_initial;
static inline struct namespaces *namespaces_get(struct namespaces *s)
{
	refcount_get(&s->refs);
	return s;
}
void namespaces_put(struct namespaces *s); // NULL: nothing
// The set of a child made by clone(2) with `flags` and these credentials, referenced. err_ptr: -EPERM, -ENOMEM, -ENOSPC...
struct namespaces *namespaces_for_child(uint64_t flags, const struct cred *c, struct fs_context *fs);
#define NAMESPACE_FLAGS     (NAMESPACE_SET_FLAGS | CLONE_NEWUSER) // of unshare(2), clone(2) and setns(2)
#define NAMESPACE_SET_FLAGS (CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWCGROUP)

// The one of `t`, referenced; NULL: it has ended.
struct namespace *task_namespace_get(struct task *t, enum namespace_kind kind);

// ---- files that stand for namespaces: kernel/fs/proc/namespace.c ----
struct file;
struct inode;
struct namespace *namespace_of_inode(const struct inode *i); // borrowed; NULL: it stands for none
struct namespace *namespace_of_file(const struct file *f);
long namespace_open(struct namespace *n); // a new descriptor that stands for it, or -errno

// ---- user namespaces: kernel/proc/user_namespace.c ----
enum id_kind { ID_USER, ID_GROUP, ID_PROJECT, ID_KINDS };
struct user_namespace {
	struct namespace common; // its owner is its parent
	unsigned level;          // how many are above it
	uid_t owner;             // who made it, as the kernel keeps ids
	gid_t group;
	bool setgroups_allowed;           // atomic
	bool parent_had_setfcap;          // whoever made it had CAP_SETFCAP
	struct id_map *maps[ID_KINDS];    // atomic; NULL: not written yet
	int32_t counts[NAMESPACE_KINDS];  // of namespaces in and below it; atomic
	uint32_t limits[NAMESPACE_KINDS]; // atomic
};
extern struct user_namespace user_namespace_initial;
extern struct namespace *const user_namespace_first;

struct user_namespace *cred_namespace(const struct cred *c);
bool user_namespace_is_below(const struct user_namespace *n, const struct user_namespace *above); // or the same
// Makes a namespace below that of `c`, a writable copy of the current credentials, and puts `c` into it. 0, -EPERM, -ENOSPC, -ENOMEM.
int user_namespace_create(struct cred *c);
void cred_enter_namespace(struct cred *c, struct user_namespace *n); // with all capabilities there
// An id of the namespace as the kernel keeps it, and the other way round; ID_NONE: there is none.
uint32_t id_meant_in(const struct user_namespace *n, enum id_kind kind, uint32_t id);
uint32_t id_shown_in(const struct user_namespace *n, enum id_kind kind, uint32_t kept);
bool user_namespace_may_setgroups(const struct cred *c);
// /proc/PID/uid_map and kin, opened with the credentials `opener`. 0, -EINVAL, -EPERM, -ENOMEM.
int user_namespace_map_write(struct user_namespace *n, enum id_kind kind, const struct cred *opener, const char *text);
void user_namespace_map_show(const struct user_namespace *n, enum id_kind kind, const struct cred *reader,
			     struct seq *s);
int user_namespace_setgroups_write(struct user_namespace *n, const char *text);
