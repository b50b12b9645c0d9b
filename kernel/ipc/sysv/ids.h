// SPDX-License-Identifier: Apache-2.0
// What the three kinds of System V objects share: identifiers, keys, permissions (sysvipc(7), ipc(2)).
//
// Lock order: sysv_table.lock -> sysv_object.lock. The table holds a reference of each object until it is removed.
#pragma once

#include <linux/ipc.h>

#include "kernel/mutex.h"
#include "kernel/refcount.h"
#include "lib/radix.h"

struct ipc64_perm; // the kernel ABI's, from <asm/ipcbuf.h>

struct sysv_object {
	struct refcount refs;
	struct mutex lock;
	int id;
	bool removed; // lock
	int key;
	mode_t mode; // permissions; lock
	uid_t uid, cuid;
	gid_t gid, cgid;
};

struct sysv_table {
	struct mutex lock;
	struct radix objects;                   // by id modulo SYSV_INDEX_MAX; lock
	unsigned count, limit, next_sequence;   // lock
	void (*destroy)(struct sysv_object *o); // last reference
};

#define SYSV_INDEX_MAX 32768u

void sysv_table_init(struct sysv_table *t, unsigned limit, void (*destroy)(struct sysv_object *o));
void sysv_table_clear(struct sysv_table *t); // nobody uses it any more
// xxxget(2): finds `key` and checks it with `check` (0 or -errno), or makes a new object with `create` (err_ptr). Identifier or -errno.
long sysv_get(struct sysv_table *t, int key, int flags, int (*check)(struct sysv_object *o, void *context),
	      struct sysv_object *(*create)(void *context), void *context);
// The object of an identifier, with a reference; err_ptr: -EINVAL, -EIDRM.
struct sysv_object *sysv_find(struct sysv_table *t, int id);
// The object at a table index, for the _STAT calls; NULL.
struct sysv_object *sysv_at(struct sysv_table *t, unsigned index);
void sysv_put(struct sysv_table *t, struct sysv_object *o);
void sysv_remove(struct sysv_table *t, struct sysv_object *o); // IPC_RMID, once; the object's lock not held
// Of the current task's namespace. wanted: 0444, 0222; -EACCES
int sysv_permission(struct sysv_object *o, mode_t wanted);
int sysv_owner(struct sysv_object *o); // may it be changed or removed? -EPERM
