// SPDX-License-Identifier: Apache-2.0
// Rings: keys that hold others, rings among them, as a graph without circles of bounded depth.
#include "key.h"

#include "kernel/slab.h"
#include "kernel/task.h"
#include "lib/string.h"

// Held while a ring is linked into a ring, so that no two such links close a circle together. Before all locks of keys.
static struct mutex nesting_lock = MUTEX_INIT(nesting_lock);

static bool is_named(const struct key *k, const struct key_type *type, const char *description)
{
	return k->type == type && !strcmp(k->description, description);
}

static void unlink(struct key *ring, struct key_link *l)
{
	list_remove(&l->node);
	ring->link_count--;
	key_uncharge(ring, sizeof(int32_t));
	key_put(l->key);
	kfree(l);
}

void keyring_tidy(struct key *ring)
{
	struct key_link *l, *next;

	list_for_each_safe (l, next, &ring->links, node)
		if (l->key->invalidated)
			unlink(ring, l);
}

// ---- searching ----

// Whether `k` is what is wanted and may be had: 0, an error to report if nothing better is found, 1 if it is another.
static int consider(const struct key *k, bool possessed, const struct key_wanted *w)
{
	if (w->key ? k != w->key : !is_named(k, w->type, w->description))
		return 1;
	int error = w->key ? 0 : key_validate(k);
	if (error)
		return error == -EKEYEXPIRED && w->skip_expired ? 1 : error;
	return key_permission(k, possessed, KEY_SEARCH);
}

static struct key *search(struct key *ring, bool possessed, const struct key_wanted *w, unsigned depth)
{
	struct key *found = NULL;
	struct key_link *l;
	int error = -ENOKEY;

	mutex_lock(&ring->lock);
	keyring_tidy(ring);
	list_for_each (l, &ring->links, node) {
		int answer = consider(l->key, possessed, w);
		if (!answer) {
			found = key_get(l->key);
			break;
		}
		if (answer < 0)
			error = answer;
	}
	if (!found && depth < KEY_NEST_MAX)
		list_for_each (l, &ring->links, node) {
			if (l->key->type != &key_type_keyring || key_validate(l->key) ||
			    key_permission(l->key, possessed, KEY_SEARCH))
				continue;
			found = search(l->key, possessed, w, depth + 1);
			if (!is_err(found))
				break;
			if (ptr_err(found) != -ENOKEY)
				error = (int)ptr_err(found);
			found = NULL;
		}
	mutex_unlock(&ring->lock);
	return found ? found : err_ptr(error);
}

struct key *keyring_search(struct key *ring, bool possessed, const struct key_wanted *w)
{
	if (ring->type != &key_type_keyring)
		return err_ptr(-ENOTDIR);
	int error = key_permission(ring, possessed, KEY_SEARCH);
	if (error)
		return err_ptr(error);
	error = consider(ring, possessed, w);
	if (!error)
		return key_get(ring);
	return error < 0 ? err_ptr(error) : search(ring, possessed, w, 0);
}

static struct key_link *find_link(struct key *ring, const struct key_type *type, const char *description)
{
	struct key_link *l;

	list_for_each (l, &ring->links, node)
		if (is_named(l->key, type, description))
			return l;
	return NULL;
}

struct key *keyring_member(struct key *ring, const struct key_type *type, const char *description)
{
	mutex_lock(&ring->lock);
	keyring_tidy(ring);
	struct key_link *l = find_link(ring, type, description);
	struct key *k = l && !l->key->revoked ? key_get(l->key) : NULL;
	mutex_unlock(&ring->lock);
	return k;
}

// ---- linking ----

// Whether `ring` or a ring in it is `wanted`: -EDEADLK; deeper than allowed: -ELOOP. nesting_lock held.
static int look_for_circle(struct key *ring, const struct key *wanted, unsigned depth)
{
	struct key_link *l;
	int error = 0;

	if (ring == wanted)
		return -EDEADLK;
	if (depth > KEY_NEST_MAX)
		return -ELOOP;
	mutex_lock(&ring->lock);
	list_for_each (l, &ring->links, node) {
		if (l->key->type == &key_type_keyring)
			error = look_for_circle(l->key, wanted, depth + 1);
		if (error)
			break;
	}
	mutex_unlock(&ring->lock);
	return error;
}

static int insert(struct key *ring, struct key *k, bool exclusive)
{
	struct key_link *link = kalloc(sizeof(*link)), *old = NULL;
	int error = link ? 0 : -ENOMEM;

	mutex_lock(&ring->lock);
	keyring_tidy(ring);
	if (!error && ring->restricted)
		error = -EPERM;
	if (!error && ring->revoked)
		error = -EKEYREVOKED;
	if (!error)
		old = find_link(ring, k->type, k->description);
	if (!error && old && exclusive)
		error = -EEXIST;
	if (!error)
		error = key_charge(ring, sizeof(int32_t));
	if (!error) {
		link->key = key_get(k);
		list_add_tail(&ring->links, &link->node);
		ring->link_count++;
		if (old)
			unlink(ring, old);
	} else {
		kfree(link);
	}
	mutex_unlock(&ring->lock);
	return error;
}

int keyring_link(struct key *ring, struct key *k, bool exclusive)
{
	if (ring->type != &key_type_keyring)
		return -ENOTDIR;
	if (k->type != &key_type_keyring)
		return insert(ring, k, exclusive);
	mutex_lock(&nesting_lock);
	int error = look_for_circle(k, ring, 0);
	if (!error)
		error = insert(ring, k, exclusive);
	mutex_unlock(&nesting_lock);
	return error;
}

int keyring_unlink(struct key *ring, const struct key *k)
{
	struct key_link *l;
	int error = -ENOENT;

	if (ring->type != &key_type_keyring)
		return -ENOTDIR;
	mutex_lock(&ring->lock);
	list_for_each (l, &ring->links, node)
		if (l->key == k) {
			unlink(ring, l);
			error = 0;
			break;
		}
	mutex_unlock(&ring->lock);
	return error;
}

void keyring_clear(struct key *ring)
{
	struct key_link *l, *next;

	mutex_lock(&ring->lock);
	list_for_each_safe (l, next, &ring->links, node)
		unlink(ring, l);
	mutex_unlock(&ring->lock);
}
