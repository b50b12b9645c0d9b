// SPDX-License-Identifier: Apache-2.0
// Identifiers, keys and permissions of System V objects.
#include "ids.h"

#include "../namespace.h"

#include <linux/capability.h>
#include <linux/stat.h>

#include "kernel/errno.h"
#include "kernel/task.h"

void sysv_table_init(struct sysv_table *t, unsigned limit, void (*destroy)(struct sysv_object *o))
{
	mutex_init(&t->lock);
	t->limit = limit;
	t->destroy = destroy;
}

void sysv_table_clear(struct sysv_table *t)
{
	uint64_t index = 0;

	for (struct sysv_object *o; (o = radix_next(&t->objects, &index));)
		sysv_remove(t, o);
}

struct sysv_object *sysv_at(struct sysv_table *t, unsigned index)
{
	mutex_lock(&t->lock);
	struct sysv_object *o = radix_lookup(&t->objects, index);
	if (o)
		refcount_get(&o->refs);
	mutex_unlock(&t->lock);
	return o;
}

struct sysv_object *sysv_find(struct sysv_table *t, int id)
{
	if (id < 0)
		return err_ptr(-EINVAL);
	struct sysv_object *o = sysv_at(t, (unsigned)id % SYSV_INDEX_MAX);
	if (!o)
		return err_ptr(-EINVAL);
	if (o->id != id) {
		sysv_put(t, o);
		return err_ptr(-EIDRM);
	}
	return o;
}

void sysv_put(struct sysv_table *t, struct sysv_object *o)
{
	if (refcount_put(&o->refs))
		t->destroy(o);
}

void sysv_remove(struct sysv_table *t, struct sysv_object *o)
{
	mutex_lock(&t->lock);
	radix_remove(&t->objects, (unsigned)o->id % SYSV_INDEX_MAX);
	t->count--;
	mutex_unlock(&t->lock);
	sysv_put(t, o);
}

int sysv_permission(struct sysv_object *o, mode_t wanted)
{
	const struct cred *c = current->cred;
	mode_t granted = o->mode;

	if (c->euid == o->uid || c->euid == o->cuid)
		granted &= 0700;
	else if (cred_in_group(c, o->gid) || cred_in_group(c, o->cgid) || c->egid == o->gid || c->egid == o->cgid)
		granted &= 0070;
	else
		granted &= 0007;
	granted |= granted >> 3 | granted >> 6 | granted << 3 | granted << 6; // the class's bits, in every place
	if ((wanted & granted) == wanted || cred_capable_in(c, ipc_mine()->common.owner, CAP_IPC_OWNER))
		return 0;
	return -EACCES;
}

int sysv_owner(struct sysv_object *o)
{
	uid_t euid = current->cred->euid;

	if (euid == o->uid || euid == o->cuid)
		return 0;
	return cred_capable_in(current->cred, ipc_mine()->common.owner, CAP_SYS_ADMIN) ? 0 : -EPERM;
}

static struct sysv_object *find_key(struct sysv_table *t, int key)
{
	uint64_t index = 0;

	for (struct sysv_object *o; (o = radix_next(&t->objects, &index)); index++)
		if (o->key == key)
			return o;
	return NULL;
}

static long add(struct sysv_table *t, int key, int flags, struct sysv_object *o)
{
	unsigned index = 0;

	while (radix_lookup(&t->objects, index))
		index++;
	refcount_set(&o->refs, 1);
	mutex_init(&o->lock);
	o->key = key;
	o->mode = (mode_t)flags & 0777;
	o->uid = o->cuid = current->cred->euid;
	o->gid = o->cgid = current->cred->egid;
	o->id = (int)(t->next_sequence % 65536 * SYSV_INDEX_MAX + index) & INT32_MAX;
	int error = radix_insert(&t->objects, index, o);
	if (error)
		return error;
	t->next_sequence++;
	t->count++;
	return o->id;
}

long sysv_get(struct sysv_table *t, int key, int flags, int (*check)(struct sysv_object *o, void *context),
	      struct sysv_object *(*create)(void *context), void *context)
{
	long result;

	mutex_lock(&t->lock);
	struct sysv_object *o = key == IPC_PRIVATE ? NULL : find_key(t, key);
	if (o) {
		result = (flags & IPC_CREAT) && (flags & IPC_EXCL) ? -EEXIST : sysv_permission(o, (mode_t)flags & 0777);
		if (!result)
			result = check(o, context);
		if (!result)
			result = o->id;
	} else if (key != IPC_PRIVATE && !(flags & IPC_CREAT)) {
		result = -ENOENT;
	} else if (t->count >= t->limit) {
		result = -ENOSPC;
	} else {
		o = create(context);
		result = is_err(o) ? ptr_err(o) : add(t, key, flags, o);
		if (!is_err(o) && result < 0)
			t->destroy(o);
	}
	mutex_unlock(&t->lock);
	return result;
}
