// SPDX-License-Identifier: Apache-2.0
// Credentials: immutable once attached to a task; changed by copy. credentials(7), capabilities(7).
#pragma once

#include "kernel/refcount.h"
#include "kernel/types.h"

struct cred {
	struct refcount refs;
	uid_t uid, euid, suid, fsuid;
	gid_t gid, egid, sgid, fsgid;
	uint64_t cap_effective, cap_permitted, cap_inheritable, cap_bounding, cap_ambient;
	uint32_t securebits;
	bool no_new_privs;
	unsigned group_count;
	gid_t groups[]; // sorted
};

struct cred *cred_copy(const struct cred *c, unsigned group_count); // writable copy, refs = 1; NULL
static inline struct cred *cred_get(const struct cred *c)
{
	refcount_get(&((struct cred *)c)->refs);
	return (struct cred *)c;
}
void cred_put(const struct cred *c);
void cred_install(struct cred *c); // the current task's, consumes the reference
bool cred_in_group(const struct cred *c, gid_t gid);
static inline bool cred_capable(const struct cred *c, unsigned cap) { return c->cap_effective >> cap & 1; }
