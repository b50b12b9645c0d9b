// SPDX-License-Identifier: Apache-2.0
// Credentials as objects: who a task is, in immutable, counted copies; and the per-uid accounts behind resource limits.
// credentials(7), capabilities(7).
#include "internal.h"

#include "lib/string.h"

#define USER_BUCKETS 16u

static struct spinlock user_lock = SPINLOCK_INIT; // leaf; guards the chains
static struct user root_user = { .refs = { 1 } };
static struct user *buckets[USER_BUCKETS] = { &root_user };

// Flexible array member without elements: no supplementary groups.
static struct cred kernel_cred = {
	.refs = { 1 },
	.user = &root_user,
	.cap_effective = CAPABILITIES_ALL,
	.cap_permitted = CAPABILITIES_ALL,
	.cap_bounding = CAPABILITIES_ALL,
};
struct cred *cred_kernel = &kernel_cred;

static struct user *user_lookup(uid_t uid)
{
	struct user *u = buckets[uid % USER_BUCKETS];
	while (u && u->uid != uid)
		u = u->next;
	return u;
}

struct user *user_find(uid_t uid)
{
	spin_lock(&user_lock);
	struct user *u = user_lookup(uid);
	if (u)
		refcount_get(&u->refs);
	spin_unlock(&user_lock);
	if (u)
		return u;
	struct user *fresh = kalloc(sizeof(*fresh));
	if (!fresh)
		return NULL;
	refcount_set(&fresh->refs, 1);
	fresh->uid = uid;
	spin_lock(&user_lock);
	u = user_lookup(uid);
	if (u) {
		refcount_get(&u->refs);
	} else {
		fresh->next = buckets[uid % USER_BUCKETS];
		buckets[uid % USER_BUCKETS] = fresh;
		u = fresh;
		fresh = NULL;
	}
	spin_unlock(&user_lock);
	kfree(fresh);
	return u;
}

void user_put(struct user *u)
{
	if (!u)
		return;
	// The last reference is dropped under the lock, so that a look-up never sees a dying entry.
	spin_lock(&user_lock);
	bool last = refcount_put(&u->refs);
	if (last) {
		struct user **link = &buckets[u->uid % USER_BUCKETS];
		while (*link != u)
			link = &(*link)->next;
		*link = u->next;
	}
	spin_unlock(&user_lock);
	if (last)
		kfree(u);
}

struct user *user_next(uid_t from)
{
	struct user *found = NULL;

	spin_lock(&user_lock);
	for (unsigned b = 0; b < USER_BUCKETS; b++)
		for (struct user *u = buckets[b]; u; u = u->next)
			if (u->uid >= from && (!found || u->uid < found->uid))
				found = u;
	if (found)
		refcount_get(&found->refs);
	spin_unlock(&user_lock);
	return found;
}

struct cred *cred_copy(const struct cred *c, unsigned group_count)
{
	struct cred *n = kalloc(sizeof(*n) + group_count * sizeof(n->groups[0]));
	if (!n)
		return NULL;
	*n = *c;
	memcpy(n->groups, c->groups, min(group_count, c->group_count) * sizeof(n->groups[0]));
	n->group_count = group_count;
	refcount_set(&n->refs, 1);
	refcount_get(&n->user->refs);
	if (n->user_namespace)
		namespace_get(&n->user_namespace->common);
	return n;
}

static void sort_groups(gid_t *g, unsigned n)
{
	// Lists are short, and usually sorted already.
	for (unsigned i = 1; i < n; i++) {
		gid_t x = g[i];
		unsigned j = i;
		for (; j > 0 && g[j - 1] > x; j--)
			g[j] = g[j - 1];
		g[j] = x;
	}
}

struct cred *cred_create(uid_t uid, gid_t gid, unsigned group_count, const gid_t *groups)
{
	struct cred *c = kalloc(sizeof(*c) + group_count * sizeof(c->groups[0]));
	if (!c)
		return NULL;
	c->user = user_find(uid);
	if (!c->user) {
		kfree(c);
		return NULL;
	}
	refcount_set(&c->refs, 1);
	c->uid = c->euid = c->suid = c->fsuid = uid;
	c->gid = c->egid = c->sgid = c->fsgid = gid;
	c->cap_bounding = CAPABILITIES_ALL;
	if (uid == 0)
		c->cap_effective = c->cap_permitted = CAPABILITIES_ALL;
	c->group_count = group_count;
	memcpy(c->groups, groups, group_count * sizeof(c->groups[0]));
	sort_groups(c->groups, group_count);
	return c;
}

void cred_put(const struct cred *c)
{
	struct cred *own = (struct cred *)c;
	if (c == &kernel_cred || !refcount_put(&own->refs))
		return;
	user_put(own->user);
	if (own->user_namespace)
		namespace_put(&own->user_namespace->common);
	kfree(own);
}

void cred_install(struct cred *c)
{
	struct task *t = current;
	const struct cred *old = t->cred;
	if (old->user != c->user) {
		__atomic_add_fetch(&c->user->tasks, 1, __ATOMIC_RELAXED);
		__atomic_sub_fetch(&old->user->tasks, 1, __ATOMIC_RELAXED);
	}
	spin_lock(&t->lock);
	t->cred = c;
	spin_unlock(&t->lock);
	cred_put(old);
}

bool cred_in_group(const struct cred *c, gid_t gid)
{
	if (gid == c->fsgid)
		return true;
	unsigned low = 0, high = c->group_count;
	while (low < high) {
		unsigned middle = (low + high) / 2;
		if (c->groups[middle] == gid)
			return true;
		if (c->groups[middle] < gid)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}
