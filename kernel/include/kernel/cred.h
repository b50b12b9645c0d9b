// SPDX-License-Identifier: Apache-2.0
// Credentials: immutable once attached to a task; changed by copy. credentials(7), capabilities(7).
#pragma once

#include "kernel/namespace.h"
#include "kernel/refcount.h"
#include "kernel/types.h"

// What all processes of one real uid use together: RLIMIT_NPROC, RLIMIT_SIGPENDING, RLIMIT_MSGQUEUE.
struct user {
	struct refcount refs;
	uid_t uid;
	int32_t tasks;             // atomic
	int32_t pending_signals;   // atomic
	uint64_t mqueue_bytes;     // atomic
	uint64_t key_bytes;        // atomic, kernel/keys
	uint32_t keys;             // atomic
	uint64_t registered_pages; // of io_uring's buffers, for RLIMIT_MEMLOCK; atomic
	struct user *next;         // hash chain; lock in cred.c
};

struct cred {
	struct refcount refs;
	struct user *user;                     // of `uid`; a reference
	struct user_namespace *user_namespace; // a reference; NULL: the cell's first
	uid_t uid, euid, suid, fsuid;
	gid_t gid, egid, sgid, fsgid;
	uint64_t cap_effective, cap_permitted, cap_inheritable, cap_bounding, cap_ambient;
	uint32_t securebits;
	bool no_new_privs;
	bool over_task_limit; // setuid() went over RLIMIT_NPROC: execve() refuses
	unsigned group_count;
	gid_t groups[]; // sorted
};

extern struct cred *cred_kernel;   // of kernel tasks: root, all capabilities
struct user *user_find(uid_t uid); // with a reference, created when needed; NULL: no memory
static inline struct user *user_get(struct user *u)
{
	refcount_get(&u->refs);
	return u;
}
void user_put(struct user *u);
struct user *user_next(uid_t from); // the known one with the smallest uid from there on, with a reference; NULL
struct cred *cred_create(uid_t uid, gid_t gid, unsigned group_count, const gid_t *groups); // NULL
struct cred *cred_copy(const struct cred *c, unsigned group_count); // writable copy, refs = 1; NULL
static inline struct cred *cred_get(const struct cred *c)
{
	refcount_get(&((struct cred *)c)->refs);
	return (struct cred *)c;
}
void cred_put(const struct cred *c);
void cred_install(struct cred *c); // the current task's, consumes the reference
bool cred_in_group(const struct cred *c, gid_t gid);
#define CAPABILITIES_ALL ((UINT64_C(1) << 41) - 1) // up to CAP_CHECKPOINT_RESTORE
// In the cell's first user namespace: for what concerns the whole cell.
static inline bool cred_capable_own(const struct cred *c, unsigned cap) { return c->cap_effective >> cap & 1; }
static inline bool cred_capable(const struct cred *c, unsigned cap)
{
	return !c->user_namespace && cred_capable_own(c, cap);
}
// For what belongs to that user namespace (kernel/proc/user_namespace.c).
bool cred_capable_in(const struct cred *c, const struct user_namespace *n, unsigned cap);

// Ids are kept as the first user namespace has them; a program says and sees those of its own.
#define ID_NONE     UINT32_MAX // no id
#define ID_OVERFLOW 65534u     // what is shown where the namespace has no id
uint32_t id_meant_slow(const struct cred *c, enum id_kind kind, uint32_t id);
uint32_t id_shown_slow(const struct cred *c, enum id_kind kind, uint32_t kept);
bool id_is_mapped(const struct cred *c, enum id_kind kind, uint32_t kept); // has the namespace of `c` an id for it?
static inline uid_t uid_meant(const struct cred *c, uid_t uid)             // ID_NONE: nobody
{
	return likely(!c->user_namespace) ? uid : id_meant_slow(c, ID_USER, uid);
}
static inline gid_t gid_meant(const struct cred *c, gid_t gid)
{
	return likely(!c->user_namespace) ? gid : id_meant_slow(c, ID_GROUP, gid);
}
static inline uid_t uid_shown(const struct cred *c, uid_t uid)
{
	return likely(!c->user_namespace) ? uid : id_shown_slow(c, ID_USER, uid);
}
static inline gid_t gid_shown(const struct cred *c, gid_t gid)
{
	return likely(!c->user_namespace) ? gid : id_shown_slow(c, ID_GROUP, gid);
}
