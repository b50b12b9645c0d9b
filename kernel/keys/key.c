// SPDX-License-Identifier: Apache-2.0
// Keys as objects: serial numbers, owners and their quotas, permissions, states.
#include "key.h"

#include "kernel/pseudofs.h"
#include "kernel/random.h"
#include "kernel/slab.h"
#include "kernel/task.h"
#include "kernel/timer.h"
#include "lib/string.h"

struct key_limits key_limits = { .keys = 200, .bytes = 20000, .root_keys = 1000000, .root_bytes = 25000000 };

const struct key_type key_type_keyring = { .name = "keyring", .readable = true };
static const struct key_type types[] = {
	{ .name = "user", .size_max = 32767, .readable = true, .updatable = true },
	{ .name = "logon", .size_max = 32767, .updatable = true, .of_service = true },
	{ .name = "big_key", .size_max = (1 << 20) - 1, .readable = true, .updatable = true },
};

static struct spinlock serials_lock = SPINLOCK_INIT; // leaf
static struct rb_root serials;

const struct key_type *key_type_find(const char *name)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
		if (!strcmp(types[i].name, name))
			return &types[i];
	return strcmp(name, key_type_keyring.name) ? NULL : &key_type_keyring;
}

// ---- quotas ----

static int user_charge(struct user *u, uint32_t keys, size_t bytes)
{
	uint32_t keys_max = u->uid ? key_limits.keys : key_limits.root_keys;
	uint32_t bytes_max = u->uid ? key_limits.bytes : key_limits.root_bytes;

	if (__atomic_add_fetch(&u->keys, keys, __ATOMIC_RELAXED) <= keys_max &&
	    __atomic_load_n(&u->key_bytes, __ATOMIC_RELAXED) + bytes <= bytes_max) {
		__atomic_add_fetch(&u->key_bytes, bytes, __ATOMIC_RELAXED);
		return 0;
	}
	__atomic_sub_fetch(&u->keys, keys, __ATOMIC_RELAXED);
	return -EDQUOT;
}

static void user_uncharge(struct user *u, uint32_t keys, size_t bytes)
{
	__atomic_sub_fetch(&u->keys, keys, __ATOMIC_RELAXED);
	__atomic_sub_fetch(&u->key_bytes, bytes, __ATOMIC_RELAXED);
}

int key_charge(struct key *k, size_t bytes) { return user_charge(k->user, 0, bytes); }
void key_uncharge(struct key *k, size_t bytes) { user_uncharge(k->user, 0, bytes); }

static size_t bytes_of(const struct key *k)
{
	return strlen(k->description) + 1 + k->size + k->link_count * sizeof(int32_t);
}

// ---- life ----

static bool insert(struct key *k)
{
	struct rb_node **link = &serials.node, *parent = NULL;

	while (*link) {
		parent = *link;
		const struct key *other = rb_entry(parent, struct key, by_serial);
		if (k->serial == other->serial)
			return false;
		link = k->serial < other->serial ? &parent->left : &parent->right;
	}
	rb_insert(&serials, &k->by_serial, parent, link);
	return true;
}

struct key *key_create(const struct key_type *type, const char *description, uid_t uid, gid_t gid, uint32_t permissions)
{
	size_t length = strlen(description);
	struct key *k = kalloc(sizeof(*k) + length + 1);
	bool inserted;

	if (!k)
		return err_ptr(-ENOMEM);
	k->user = user_find(uid);
	if (!k->user || user_charge(k->user, 1, length + 1)) {
		long error = k->user ? -EDQUOT : -ENOMEM;
		user_put(k->user);
		kfree(k);
		return err_ptr(error);
	}
	refcount_set(&k->refs, 1);
	k->type = type;
	k->uid = uid;
	k->gid = gid;
	k->permissions = permissions;
	mutex_init(&k->lock);
	list_init(&k->links);
	memcpy(k->description, description, length + 1);
	do {
		// Positive; the smallest are KEY_SPEC_* of nothing and stay unused.
		k->serial = (int32_t)(random_u64() & INT32_MAX) | 4;
		spin_lock(&serials_lock);
		inserted = insert(k);
		spin_unlock(&serials_lock);
	} while (!inserted);
	return k;
}

struct key *key_get(struct key *k)
{
	refcount_get(&k->refs);
	return k;
}

static void forget_payload(struct key *k)
{
	if (k->payload)
		memset(k->payload, 0, k->size);
	kfree(k->payload);
	k->payload = NULL;
	k->size = 0;
}

void key_put(struct key *k)
{
	struct key_link *l, *next;

	if (!k || !refcount_put(&k->refs))
		return;
	spin_lock(&serials_lock);
	rb_remove(&serials, &k->by_serial);
	spin_unlock(&serials_lock);
	user_uncharge(k->user, 1, bytes_of(k));
	list_for_each_safe (l, next, &k->links, node) {
		key_put(l->key); // rings are at most KEY_NEST_MAX deep
		kfree(l);
	}
	forget_payload(k);
	user_put(k->user);
	kfree(k);
}

struct key *key_find(int32_t serial)
{
	struct key *found = NULL;

	spin_lock(&serials_lock);
	for (struct rb_node *n = serials.node; n && !found;) {
		struct key *k = rb_entry(n, struct key, by_serial);
		if (k->serial == serial)
			found = k;
		n = serial < k->serial ? n->left : n->right;
	}
	if (found && !refcount_get_unless_zero(&found->refs))
		found = NULL;
	spin_unlock(&serials_lock);
	return found;
}

struct key *key_next(int32_t from)
{
	struct key *found = NULL;

	spin_lock(&serials_lock);
	for (struct rb_node *n = serials.node; n;) {
		struct key *k = rb_entry(n, struct key, by_serial);
		if (k->serial >= from)
			found = k;
		n = from <= k->serial ? n->left : n->right;
	}
	while (found && !refcount_get_unless_zero(&found->refs)) {
		struct rb_node *n = rb_next(&found->by_serial);
		found = n ? rb_entry(n, struct key, by_serial) : NULL;
	}
	spin_unlock(&serials_lock);
	return found;
}

// ---- what changes ----

int key_set_payload(struct key *k, char *payload, size_t size)
{
	int error = 0;

	mutex_lock(&k->lock);
	if (k->revoked)
		error = -EKEYREVOKED;
	if (!error && size > k->size)
		error = key_charge(k, size - k->size);
	if (!error) {
		if (size < k->size)
			key_uncharge(k, k->size - size);
		forget_payload(k);
		k->payload = payload;
		k->size = size;
		k->expires_ns = 0;
	}
	mutex_unlock(&k->lock);
	return error;
}

int key_set_owner(struct key *k, uid_t uid, gid_t gid)
{
	int error = 0;

	mutex_lock(&k->lock);
	if (uid != (uid_t)-1 && uid != k->uid) {
		struct user *u = user_find(uid);
		error = u ? user_charge(u, 1, bytes_of(k)) : -ENOMEM;
		if (!error) {
			struct user *old = k->user;
			user_uncharge(old, 1, bytes_of(k));
			k->user = u;
			k->uid = uid;
			u = old;
		}
		user_put(u);
	}
	if (!error && gid != (gid_t)-1)
		k->gid = gid;
	mutex_unlock(&k->lock);
	return error;
}

void key_revoke(struct key *k)
{
	mutex_lock(&k->lock);
	k->revoked = true;
	key_uncharge(k, k->size);
	forget_payload(k);
	mutex_unlock(&k->lock);
	if (k->type == &key_type_keyring)
		keyring_clear(k);
}

// ---- who may do what ----

int key_permission(const struct key *k, bool possessed, uint32_t wanted)
{
	const struct cred *c = current->cred;
	uint32_t granted;

	if (k->uid == c->fsuid)
		granted = k->permissions >> 16;
	else if (k->gid != (gid_t)-1 && (k->permissions & (KEY_ALL << 8)) && cred_in_group(c, k->gid))
		granted = k->permissions >> 8;
	else
		granted = k->permissions;
	if (possessed)
		granted |= k->permissions >> 24;
	return wanted & ~granted & KEY_ALL ? -EACCES : 0;
}

int key_validate(const struct key *k)
{
	if (k->invalidated)
		return -ENOKEY;
	if (k->revoked)
		return -EKEYREVOKED;
	return k->expires_ns && port_time_ns() >= k->expires_ns ? -EKEYEXPIRED : 0;
}

// ---- /proc/keys, /proc/key-users ----

static void show_time_left(struct seq *s, const struct key *k)
{
	static const struct {
		uint64_t seconds;
		char unit;
	} units[] = { { 60 * 60 * 24 * 7, 'w' }, { 60 * 60 * 24, 'd' }, { 60 * 60, 'h' }, { 60, 'm' }, { 1, 's' } };
	uint64_t now = port_time_ns(), left = (k->expires_ns - now) / NSEC_PER_SEC;
	size_t u = 0;

	if (!k->expires_ns) {
		seq_puts(s, "perm");
	} else if (now >= k->expires_ns) {
		seq_puts(s, "expd");
	} else {
		while (units[u].seconds > 1 && left < units[u].seconds)
			u++;
		seq_printf(s, "%3lu%c", left / units[u].seconds, units[u].unit);
	}
}

static void show_key(struct seq *s, struct key *k)
{
	mutex_lock(&k->lock);
	seq_printf(s, "%08x I%c-Q--%c %5d ", (unsigned)k->serial, k->revoked ? 'R' : '-', k->invalidated ? 'i' : '-',
		   refcount_read(&k->refs) - 1); // without this one
	show_time_left(s, k);
	seq_printf(s, " %08x %5d %5d %-9.9s %s", k->permissions, (int)k->uid, key_shown_gid(k), k->type->name,
		   k->description);
	if (k->type != &key_type_keyring)
		seq_printf(s, ": %lu", k->size);
	else if (k->link_count)
		seq_printf(s, ": %u", k->link_count);
	else
		seq_puts(s, ": empty");
	mutex_unlock(&k->lock);
	seq_putc(s, '\n');
}

void keys_show(struct seq *s)
{
	struct key *k;

	for (int32_t serial = 1; (k = key_next(serial)); serial = k->serial + 1) {
		struct key *found = key_search_task(&(struct key_wanted){ .key = k });
		if (!key_permission(k, !is_err(found), KEY_VIEW))
			show_key(s, k);
		if (!is_err(found))
			key_put(found);
		int32_t last = k->serial;
		key_put(k);
		if (last == INT32_MAX)
			break;
	}
}

void key_users_show(struct seq *s)
{
	struct user *u;

	for (uint64_t uid = 0; uid < UINT32_MAX && (u = user_next((uid_t)uid)); user_put(u)) {
		if (u->keys)
			seq_printf(s, "%5u: %5d %u/%u %u/%u %lu/%u\n", u->uid, refcount_read(&u->refs), u->keys,
				   u->keys, u->keys, u->uid ? key_limits.keys : key_limits.root_keys, u->key_bytes,
				   u->uid ? key_limits.bytes : key_limits.root_bytes);
		uid = (uint64_t)u->uid + 1;
	}
}
