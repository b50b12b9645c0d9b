// SPDX-License-Identifier: Apache-2.0
// Keys as objects, what may be done with them, and the rings that hold them.
#pragma once

#include "kernel/errno.h"
#include "kernel/keys.h"
#include "kernel/mutex.h"
#include "kernel/refcount.h"
#include "lib/list.h"
#include "lib/rbtree.h"

// What somebody wants to do with a key, and who is allowed to: four bytes of a permission mask. keyctl_setperm(3).
#define KEY_VIEW    0x01u
#define KEY_READ    0x02u
#define KEY_WRITE   0x04u
#define KEY_SEARCH  0x08u
#define KEY_LINK    0x10u
#define KEY_SETATTR 0x20u
#define KEY_ALL     0x3fu

#define KEY_POSSESSOR(bits) ((uint32_t)(bits) << 24)
#define KEY_USER(bits)      ((uint32_t)(bits) << 16)

#define KEY_DESCRIPTION_MAX 4096u
#define KEY_NEST_MAX        6u // rings in rings

struct key_type {
	const char *name;
	size_t size_max;
	bool readable, updatable;
	bool of_service; // the description names a service: "SERVICE:WHAT"
};
extern const struct key_type key_type_keyring;
const struct key_type *key_type_find(const char *name); // NULL

struct key {
	struct refcount refs; // the tree of serial numbers holds none
	int32_t serial;
	const struct key_type *type;
	struct user *user;        // whose quota it counts in; a reference; lock
	struct rb_node by_serial; // serials_lock in key.c
	struct mutex lock;        // a ring's before those of what it holds
	uid_t uid;                // lock, read racily; so are the next four
	gid_t gid;
	uint32_t permissions;
	bool revoked, invalidated;
	uint64_t expires_ns; // clock: port_time_ns(); 0: never
	bool restricted;     // a ring that takes no more links; lock
	char *payload;       // lock
	size_t size;
	struct list links; // of a ring: struct key_link; lock
	uint32_t link_count;
	char description[];
};

struct key_link {
	struct list node;
	struct key *key; // a reference
};

// ---- key.c ----

// A key with a reference, in nobody's ring; or err_ptr: -ENOMEM, -EDQUOT.
struct key *key_create(const struct key_type *type, const char *description, uid_t uid, gid_t gid,
		       uint32_t permissions);
struct key *key_get(struct key *k);
struct key *key_find(int32_t serial); // with a reference, or NULL
struct key *key_next(int32_t from);   // the first one from that serial number on, with a reference; NULL
// Takes over `payload` (kalloc), or leaves it alone on error: -EDQUOT.
int key_set_payload(struct key *k, char *payload, size_t size);
int key_set_owner(struct key *k, uid_t uid, gid_t gid); // -1: stays. -ENOMEM, -EDQUOT.
static inline int key_shown_gid(const struct key *k) { return k->gid == (gid_t)-1 ? 65534 : (int)k->gid; }
// What is left of a revoked key is its name.
void key_revoke(struct key *k);
// -EACCES
int key_permission(const struct key *k, bool possessed, uint32_t wanted);
// -ENOKEY (invalidated), -EKEYREVOKED, -EKEYEXPIRED
int key_validate(const struct key *k);
// A key's share of its owner's quota changes; -EDQUOT. k->lock held, or k not yet seen by others.
int key_charge(struct key *k, size_t bytes);
void key_uncharge(struct key *k, size_t bytes);

// ---- keyring.c ----

struct key_wanted {
	const struct key_type *type; // and description, or:
	const char *description;
	const struct key *key; // this one, whatever its state
	bool skip_expired;     // as if they were not there
};
// With a reference; err_ptr: -ENOKEY, or of a key that would have fitted -EKEYREVOKED, -EKEYEXPIRED, -EACCES.
struct key *keyring_search(struct key *ring, bool possessed, const struct key_wanted *wanted);
// The ring's own key of that type and name, with a reference; NULL.
struct key *keyring_member(struct key *ring, const struct key_type *type, const char *description);
// In place of one of the same type and name; with `exclusive` -EEXIST then. -ENOTDIR, -EDEADLK, -ELOOP, -ENOMEM, -EDQUOT, -EPERM.
int keyring_link(struct key *ring, struct key *k, bool exclusive);
int keyring_unlink(struct key *ring, const struct key *k); // -ENOENT, -ENOTDIR
void keyring_clear(struct key *ring);
// Takes the keys out that nobody can use any more. ring->lock held.
void keyring_tidy(struct key *ring);

// ---- lookup.c ----

struct key_ref {
	struct key *key;
	bool possessed;
};
#define LOOKUP_CREATE   1u // rings of thread, process and session are made when they are missing
#define LOOKUP_UNUSABLE 2u // also keys that are revoked or have expired; no permission is asked for
// A key by serial number or KEY_SPEC_*, with a reference. -EINVAL, -ENOKEY, -EACCES, -EKEYREVOKED, -EKEYEXPIRED.
int key_lookup(int32_t id, unsigned flags, uint32_t wanted, struct key_ref *out);
// Through the rings of thread, process and session, as keyring_search().
struct key *key_search_task(const struct key_wanted *wanted);
// A new session for the process, anonymous (name: NULL) or the one of that name. The ring's serial number; 0: it is that one already.
long key_join_session(const char *name);
long key_session_to_parent(void);
