// SPDX-License-Identifier: Apache-2.0
// Which keys a task has: the rings of its thread, process, session and user, and what they lead to.
#include "key.h"

#include "kernel/task.h"
#include "lib/fmt.h"
#include "lib/string.h"

#include <linux/keyctl.h>

#define RING_PERMISSIONS    (KEY_POSSESSOR(KEY_ALL) | KEY_USER(KEY_VIEW))
#define SESSION_PERMISSIONS (RING_PERMISSIONS | KEY_USER(KEY_READ))

static struct mutex sessions_lock = MUTEX_INIT(sessions_lock); // two who join a session by its name make one
static struct mutex users_lock = MUTEX_INIT(users_lock);
static struct key *user_rings; // those of all users, for ever; users_lock

// ---- the rings of a task ----

static struct key *ring_of(struct key **slot)
{
	struct process *p = current->process;

	spin_lock(&p->lock);
	struct key *k = *slot;
	if (k)
		key_get(k);
	spin_unlock(&p->lock);
	return k;
}

static void set_ring(struct process *p, struct key **slot, struct key *k)
{
	spin_lock(&p->lock);
	struct key *old = *slot;
	*slot = k;
	spin_unlock(&p->lock);
	key_put(old);
}

// In place of `old`, unless another thread was faster. Consumes `k`; the ring that is there now, with a reference.
static struct key *replace_ring(struct key **slot, struct key *old, struct key *k)
{
	struct process *p = current->process;

	spin_lock(&p->lock);
	struct key *now = *slot == old ? (*slot = k) : *slot;
	key_get(now);
	spin_unlock(&p->lock);
	key_put(now == k ? old : k);
	return now;
}

static struct key *ring_create(const char *name, uint32_t permissions)
{
	return key_create(&key_type_keyring, name, current->cred->uid, current->cred->gid, permissions);
}

// The ring in a slot, made when it is missing and wanted. -ENOKEY.
static struct key *thread_or_process_ring(struct key **slot, const char *name, bool create)
{
	struct key *k = ring_of(slot);

	if (k || !create)
		return k ? k : err_ptr(-ENOKEY);
	k = ring_create(name, RING_PERMISSIONS);
	return is_err(k) ? k : replace_ring(slot, NULL, k);
}

// users_lock held.
static struct key *user_ring_create(const char *name)
{
	struct key *k;

	if (!user_rings) {
		k = key_create(&key_type_keyring, ".user_reg", 0, (gid_t)-1, 0);
		if (is_err(k))
			return k;
		user_rings = k;
	}
	k = key_create(&key_type_keyring, name, current->cred->uid, (gid_t)-1,
		       KEY_POSSESSOR(KEY_ALL & ~KEY_SETATTR) | KEY_USER(KEY_ALL));
	int error = is_err(k) ? (int)ptr_err(k) : keyring_link(user_rings, k, false);
	if (error && !is_err(k)) {
		key_put(k);
		k = err_ptr(error);
	}
	return k;
}

static struct key *user_ring(bool session)
{
	char name[32];

	fmt_print(name, sizeof(name), "%s.%u", session ? "_uid_ses" : "_uid", current->cred->uid);
	struct key *of_user = session ? user_ring(false) : NULL;
	if (is_err(of_user))
		return of_user;
	mutex_lock(&users_lock);
	struct key *k = user_rings ? keyring_member(user_rings, &key_type_keyring, name) : NULL;
	if (!k) {
		k = user_ring_create(name);
		if (!is_err(k) && of_user)
			(void)keyring_link(k, of_user, false); // no memory: the user's own ring is missing in it
	}
	mutex_unlock(&users_lock);
	key_put(of_user);
	return k;
}

// Without a session of its own a task has its user's; who means to change it gets one.
static struct key *session_ring(bool create)
{
	struct process *p = current->process;
	struct key *k = ring_of(&p->session_keyring), *of_user = user_ring(true);

	if (is_err(of_user)) {
		key_put(k);
		return of_user;
	}
	if (create && (!k || k == of_user)) {
		struct key *fresh = ring_create("_ses", SESSION_PERMISSIONS);
		key_put(of_user);
		if (!is_err(fresh))
			fresh = replace_ring(&p->session_keyring, k, fresh);
		key_put(k);
		return fresh;
	}
	if (k) {
		key_put(of_user);
		return k;
	}
	return replace_ring(&p->session_keyring, NULL, of_user);
}

static struct key *special_ring(int32_t id, bool create)
{
	switch (id) {
	case KEY_SPEC_THREAD_KEYRING: return thread_or_process_ring(&current->thread_keyring, "_tid", create);
	case KEY_SPEC_PROCESS_KEYRING:
		return thread_or_process_ring(&current->process->process_keyring, "_pid", create);
	case KEY_SPEC_SESSION_KEYRING: return session_ring(create);
	case KEY_SPEC_USER_KEYRING:
	case KEY_SPEC_USER_SESSION_KEYRING: return user_ring(id == KEY_SPEC_USER_SESSION_KEYRING);
	case KEY_SPEC_REQKEY_AUTH_KEY:
	case KEY_SPEC_REQUESTOR_KEYRING: return err_ptr(-ENOKEY);
	default: return err_ptr(-EINVAL);
	}
}

// ---- what they lead to ----

struct key *key_search_task(const struct key_wanted *wanted)
{
	struct process *p = current->process;
	struct key *rings[] = { ring_of(&current->thread_keyring), ring_of(&p->process_keyring),
				ring_of(&p->session_keyring) };
	struct key *found = NULL;
	long error = -ENOKEY;

	if (!rings[2])
		rings[2] = user_ring(true);
	for (size_t i = 0; i < sizeof(rings) / sizeof(*rings); i++) {
		if (!rings[i] || is_err(rings[i]))
			continue;
		if (!found) {
			found = keyring_search(rings[i], true, wanted);
			if (is_err(found)) {
				if (ptr_err(found) != -ENOKEY)
					error = ptr_err(found);
				found = NULL;
			}
		}
		key_put(rings[i]);
	}
	return found ? found : err_ptr(error);
}

int key_lookup(int32_t id, unsigned flags, uint32_t wanted, struct key_ref *out)
{
	struct key_ref r = { .possessed = true };
	int error = 0;

	if (id < 0) {
		r.key = special_ring(id, flags & LOOKUP_CREATE);
	} else {
		r.key = id ? key_find(id) : err_ptr(-EINVAL);
		if (!r.key)
			r.key = err_ptr(-ENOKEY);
	}
	if (is_err(r.key))
		return (int)ptr_err(r.key);
	if (id > 0) {
		struct key *found = key_search_task(&(struct key_wanted){ .key = r.key });
		r.possessed = !is_err(found);
		if (r.possessed)
			key_put(found);
	}
	if (!(flags & LOOKUP_UNUSABLE)) {
		error = key_validate(r.key);
		if (!error)
			error = key_permission(r.key, r.possessed, wanted);
	}
	if (error)
		key_put(r.key);
	else
		*out = r;
	return error;
}

// ---- sessions ----

static struct key *find_session(const char *name)
{
	struct key *k;

	for (int32_t serial = 1; (k = key_next(serial)); key_put(k)) {
		if (k->type == &key_type_keyring && !strcmp(k->description, name) && !key_validate(k) &&
		    !key_permission(k, false, KEY_SEARCH))
			return k;
		if (k->serial == INT32_MAX) {
			key_put(k);
			return NULL;
		}
		serial = k->serial + 1;
	}
	return NULL;
}

long key_join_session(const char *name)
{
	struct process *p = current->process;
	struct key *k = NULL;

	mutex_lock(&sessions_lock);
	if (name)
		k = find_session(name);
	if (!k)
		k = ring_create(name ? name : "_ses", SESSION_PERMISSIONS | (name ? KEY_USER(KEY_LINK) : 0));
	mutex_unlock(&sessions_lock);
	if (is_err(k))
		return ptr_err(k);
	struct key *old = ring_of(&p->session_keyring);
	key_put(old);
	if (k == old) {
		key_put(k);
		return 0;
	}
	long serial = k->serial;
	set_ring(p, &p->session_keyring, k);
	return serial;
}

static bool same_ids(const struct cred *a, const struct cred *b)
{
	return a->uid == b->euid && a->euid == b->euid && a->suid == b->euid && a->gid == b->egid &&
	       a->egid == b->egid && a->sgid == b->egid;
}

long key_session_to_parent(void)
{
	struct process *p = current->process, *parent;
	const struct cred *c = NULL;
	long error = -EPERM;

	spin_lock(&tasklist_lock);
	parent = p->parent;
	if (parent)
		process_get(parent);
	spin_unlock(&tasklist_lock);
	if (!parent)
		return -EPERM;
	if (parent->leader)
		c = task_cred_get(parent->leader);
	struct key *session = ring_of(&p->session_keyring);
	if (c && parent->pid > 1 && same_ids(c, current->cred) && session && session->uid == current->cred->euid) {
		set_ring(parent, &parent->session_keyring, key_get(session));
		error = 0;
	}
	key_put(session);
	if (c)
		cred_put(c);
	process_put(parent);
	return error;
}

void keys_fork(struct process *child, const struct process *parent)
{
	if (parent->session_keyring)
		child->session_keyring = key_get(parent->session_keyring);
	child->request_key_ring = parent->request_key_ring;
}

void keys_exec(void)
{
	set_ring(current->process, &current->process->process_keyring, NULL);
	set_ring(current->process, &current->thread_keyring, NULL);
}
