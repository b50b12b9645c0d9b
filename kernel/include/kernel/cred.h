// SPDX-License-Identifier: Apache-2.0
// Credentials: immutable once attached to a task; changed by copy. credentials(7), capabilities(7).
#pragma once

#include "kernel/refcount.h"
#include "kernel/types.h"

struct user_namespace;

// What all processes of one real uid use together: RLIMIT_NPROC, RLIMIT_SIGPENDING, RLIMIT_MSGQUEUE.
struct user {
	struct refcount refs;
	uid_t uid;
	int32_t tasks;           // atomic
	int32_t pending_signals; // atomic
	uint64_t mqueue_bytes;   // atomic
	struct user *next;       // hash chain; lock in cred.c
};

struct cred {
	struct refcount refs;
	struct user *user; // of `uid`; a reference
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
static inline bool cred_capable(const struct cred *c, unsigned cap) { return c->cap_effective >> cap & 1; }
// For what belongs to that user namespace.
static inline bool cred_capable_in(const struct cred *c, const struct user_namespace *n, unsigned cap)
{
	(void)n;
	return cred_capable(c, cap);
}
