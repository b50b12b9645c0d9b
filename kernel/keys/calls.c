// SPDX-License-Identifier: Apache-2.0
// add_key(2), request_key(2), keyctl(2).
#include "key.h"

#include "kernel/slab.h"
#include "kernel/syscalls.h"
#include "kernel/task.h"
#include "kernel/timer.h"
#include "kernel/uaccess.h"
#include "lib/fmt.h"
#include "lib/string.h"

#include <linux/capability.h>
#include <linux/keyctl.h>

#define TYPE_BYTES       32u
#define PAYLOAD_MAX      ((1u << 20) - 1)
#define UPDATE_MAX       4096u
#define PERMISSIONS_MASK 0x3f3f3f3fu

// ---- arguments ----

// -EINVAL when it is longer; -EPERM for the types of the kernel's own.
static int type_from_user(char type[TYPE_BYTES], struct uptr from)
{
	long length = string_from_user(type, from, TYPE_BYTES);

	if (length < 0)
		return length == -ENAMETOOLONG ? -EINVAL : (int)length;
	return !length ? -EINVAL : type[0] == '.' ? -EPERM : 0;
}

// A string to kfree(), or err_ptr.
static char *description_from_user(struct uptr from)
{
	char *text = kalloc(KEY_DESCRIPTION_MAX);
	long length = text ? string_from_user(text, from, KEY_DESCRIPTION_MAX) : -ENOMEM;

	if (length >= 0)
		return text;
	kfree(text);
	return err_ptr(length == -ENAMETOOLONG ? -EINVAL : length);
}

// NULL for nothing; err_ptr.
static char *payload_from_user(struct uptr from, size_t size)
{
	if (!size)
		return NULL;
	char *payload = kalloc(size);
	if (!payload)
		return err_ptr(-ENOMEM);
	if (!copy_from_user(payload, from, size))
		return payload;
	kfree(payload);
	return err_ptr(-EFAULT);
}

static long answer(struct key *k)
{
	long serial = k->serial;

	key_put(k);
	return serial;
}

// What was found (err_ptr stays), also in the ring `to` (NULL: nowhere else), which is let go of. Its serial number.
static long answer_in(struct key *k, bool possessed, struct key *to)
{
	int error = is_err(k) ? (int)ptr_err(k) : 0;

	if (!error && to) {
		error = key_permission(k, possessed, KEY_LINK);
		if (!error)
			error = keyring_link(to, k, false);
		if (error)
			key_put(k);
	}
	key_put(to);
	return error ? error : answer(k);
}

// ---- adding and asking ----

static int check_new(const struct key_type *type, const char *description, size_t size)
{
	if (type == &key_type_keyring ? size != 0 : !size || size > type->size_max)
		return -EINVAL;
	if (!*description)
		return -EINVAL;
	if (type->of_service) {
		const char *colon = strchr(description, ':');
		if (!colon || colon == description)
			return -EINVAL;
	}
	return 0;
}

// Consumes the payload.
static struct key *add(const struct key_ref *ring, const struct key_type *type, const char *description, char *payload,
		       size_t size)
{
	const struct cred *c = current->cred;
	uint32_t permissions = KEY_POSSESSOR(KEY_VIEW | KEY_SEARCH | KEY_LINK | KEY_SETATTR | KEY_WRITE) |
			       (type->readable ? KEY_POSSESSOR(KEY_READ) : 0) | KEY_USER(KEY_VIEW);
	struct key *k = type->updatable ? keyring_member(ring->key, type, description) : NULL;
	bool is_new = !k;
	int error = 0;

	if (is_new) {
		k = key_create(type, description, c->fsuid, c->fsgid, permissions);
		if (is_err(k)) {
			kfree(payload);
			return k;
		}
	} else {
		error = key_permission(k, ring->possessed, KEY_WRITE);
	}
	if (!error && payload) {
		error = key_set_payload(k, payload, size);
		if (!error)
			payload = NULL;
	}
	if (!error && is_new)
		error = keyring_link(ring->key, k, false);
	kfree(payload);
	if (!error)
		return k;
	key_put(k);
	return err_ptr(error);
}

long sys_add_key(struct uptr type_name, struct uptr name, struct uptr payload_at, size_t size, int ring_id)
{
	char type_text[TYPE_BYTES], *description, *payload = NULL;
	struct key_ref ring;
	struct key *k = NULL;

	if (size > PAYLOAD_MAX)
		return -EINVAL;
	int error = type_from_user(type_text, type_name);
	if (error)
		return error;
	description = name.address ? description_from_user(name) : NULL;
	if (is_err(description))
		return ptr_err(description);
	if (description && description[0] == '.' && !strncmp(type_text, "keyring", 7))
		error = -EPERM;
	if (!error) {
		payload = payload_from_user(payload_at, size);
		error = is_err(payload) ? (int)ptr_err(payload) : 0;
	}
	if (!error) {
		error = key_lookup(ring_id, LOOKUP_CREATE, KEY_WRITE, &ring);
		if (error)
			kfree(payload);
	}
	if (!error) {
		const struct key_type *type = key_type_find(type_text);
		error = !type                                 ? -ENODEV
			: ring.key->type != &key_type_keyring ? -ENOTDIR
							      : check_new(type, description ? description : "", size);
		if (error)
			kfree(payload);
		else
			k = add(&ring, type, description, payload, size);
		key_put(ring.key);
	}
	kfree(description);
	if (error)
		return error;
	return is_err(k) ? ptr_err(k) : answer(k);
}

// Nobody outside the kernel is asked to make a key that is missing: `info` is for such a program.
long sys_request_key(struct uptr type_name, struct uptr name, struct uptr info, int ring_id)
{
	char type_text[TYPE_BYTES];
	struct key_ref ring = { NULL };
	struct key *k;

	(void)info;
	int error = type_from_user(type_text, type_name);
	if (error)
		return error;
	char *description = description_from_user(name);
	if (is_err(description))
		return ptr_err(description);
	if (ring_id)
		error = key_lookup(ring_id, LOOKUP_CREATE, KEY_WRITE, &ring);
	const struct key_type *type = key_type_find(type_text);
	if (!error && !type)
		error = -ENOKEY;
	if (error)
		k = err_ptr(error);
	else
		k = key_search_task(
			&(struct key_wanted){ .type = type, .description = description, .skip_expired = true });
	kfree(description);
	return answer_in(k, true, ring.key);
}

// ---- keyctl(2), one function an operation ----

static long get_keyring_id(int id, bool create)
{
	struct key_ref r;
	int error = key_lookup(id, create ? LOOKUP_CREATE : 0, KEY_SEARCH, &r);

	return error ? error : answer(r.key);
}

static long join_session(struct uptr name)
{
	if (!name.address)
		return key_join_session(NULL);
	char *text = description_from_user(name);
	if (is_err(text))
		return ptr_err(text);
	long result = text[0] == '.' ? -EPERM : key_join_session(text);
	kfree(text);
	return result;
}

static long update(int id, struct uptr from, size_t size)
{
	struct key_ref r;

	if (size > UPDATE_MAX)
		return -EINVAL;
	char *payload = payload_from_user(from, size);
	if (is_err(payload))
		return ptr_err(payload);
	int error = key_lookup(id, 0, KEY_WRITE, &r);
	if (!error) {
		if (!r.key->type->updatable)
			error = -EOPNOTSUPP;
		else
			error = size ? key_set_payload(r.key, payload, size) : -EINVAL;
		key_put(r.key);
	}
	if (error)
		kfree(payload);
	return error;
}

static long revoke(int id)
{
	struct key_ref r;
	int error = key_lookup(id, 0, KEY_WRITE, &r);

	if (error == -EACCES)
		error = key_lookup(id, 0, KEY_SETATTR, &r);
	if (error)
		return error;
	key_revoke(r.key);
	key_put(r.key);
	return 0;
}

static long invalidate(int id)
{
	struct key_ref r;
	int error = key_lookup(id, 0, KEY_SEARCH, &r);

	if (error)
		return error;
	mutex_lock(&r.key->lock);
	r.key->invalidated = true; // the rings that hold it let go of it when they are looked at
	mutex_unlock(&r.key->lock);
	key_put(r.key);
	return 0;
}

static long change_owner(int id, uid_t uid, gid_t gid)
{
	const struct cred *c = current->cred;
	struct key_ref r;

	if (uid == (uid_t)-1 && gid == (gid_t)-1)
		return 0;
	int error = key_lookup(id, LOOKUP_CREATE, KEY_SETATTR, &r);
	if (error)
		return error;
	if (!cred_capable(c, CAP_SYS_ADMIN) && ((uid != (uid_t)-1 && uid != r.key->uid) ||
						(gid != (gid_t)-1 && gid != r.key->gid && !cred_in_group(c, gid))))
		error = -EACCES;
	if (!error)
		error = key_set_owner(r.key, uid, gid);
	key_put(r.key);
	return error;
}

static long set_permissions(int id, uint32_t permissions)
{
	struct key_ref r;

	if (permissions & ~PERMISSIONS_MASK)
		return -EINVAL;
	int error = key_lookup(id, LOOKUP_CREATE, KEY_SETATTR, &r);
	if (error)
		return error;
	mutex_lock(&r.key->lock);
	if (cred_capable(current->cred, CAP_SYS_ADMIN) || r.key->uid == current->cred->fsuid)
		r.key->permissions = permissions;
	else
		error = -EACCES;
	mutex_unlock(&r.key->lock);
	key_put(r.key);
	return error;
}

// As much as there is, when it fits.
static long copy_out(struct uptr to, size_t room, const void *data, size_t size)
{
	return to.address && size && size <= room && copy_to_user(to, data, size) ? -EFAULT : (long)size;
}

static long describe(int id, struct uptr to, size_t room)
{
	struct key_ref r;
	int error = key_lookup(id, 0, KEY_VIEW, &r);

	if (error)
		return error;
	size_t size = strlen(r.key->description) + TYPE_BYTES + 64;
	char *text = kalloc(size);
	long result = -ENOMEM;
	if (text) {
		int length = fmt_print(text, size, "%s;%d;%d;%08x;%s", r.key->type->name,
				       (int)uid_shown(current->cred, r.key->uid), key_shown_gid(r.key),
				       r.key->permissions, r.key->description);
		result = copy_out(to, room, text, (size_t)length + 1);
	}
	kfree(text);
	key_put(r.key);
	return result;
}

static long clear(int id)
{
	struct key_ref r;
	int error = key_lookup(id, LOOKUP_CREATE, KEY_WRITE, &r);

	if (error)
		return error;
	if (r.key->type == &key_type_keyring)
		keyring_clear(r.key);
	else
		error = -ENOTDIR;
	key_put(r.key);
	return error;
}

static long link(int id, int ring_id)
{
	struct key_ref ring, r;
	int error = key_lookup(ring_id, LOOKUP_CREATE, KEY_WRITE, &ring);

	if (error)
		return error;
	error = key_lookup(id, LOOKUP_CREATE, KEY_LINK, &r);
	if (!error) {
		error = keyring_link(ring.key, r.key, false);
		key_put(r.key);
	}
	key_put(ring.key);
	return error;
}

static long unlink(int id, int ring_id)
{
	struct key_ref ring, r;
	int error = key_lookup(ring_id, 0, KEY_WRITE, &ring);

	if (error)
		return error;
	error = key_lookup(id, LOOKUP_UNUSABLE, 0, &r);
	if (!error) {
		error = keyring_unlink(ring.key, r.key);
		key_put(r.key);
	}
	key_put(ring.key);
	return error;
}

static long move(int id, int from_id, int to_id, unsigned flags)
{
	struct key_ref from, to, r;

	if (flags & ~KEYCTL_MOVE_EXCL)
		return -EINVAL;
	int error = key_lookup(id, LOOKUP_CREATE, KEY_LINK, &r);
	if (error)
		return error;
	error = key_lookup(from_id, 0, KEY_WRITE, &from);
	if (!error) {
		error = key_lookup(to_id, LOOKUP_CREATE, KEY_WRITE, &to);
		if (!error) {
			if (from.key != to.key) {
				error = keyring_link(to.key, r.key, flags & KEYCTL_MOVE_EXCL);
				if (!error) {
					error = keyring_unlink(from.key, r.key);
					if (error)
						(void)keyring_unlink(to.key, r.key);
				}
			}
			key_put(to.key);
		}
		key_put(from.key);
	}
	key_put(r.key);
	return error;
}

static long search(int ring_id, struct uptr type_name, struct uptr name, int to_id)
{
	struct key_ref ring = { NULL }, to = { NULL };
	char type_text[TYPE_BYTES];
	struct key *k;
	int error = type_from_user(type_text, type_name);

	if (error)
		return error;
	char *description = description_from_user(name);
	if (is_err(description))
		return ptr_err(description);
	error = key_lookup(ring_id, 0, KEY_SEARCH, &ring);
	if (!error && to_id)
		error = key_lookup(to_id, LOOKUP_CREATE, KEY_WRITE, &to);
	const struct key_type *type = key_type_find(type_text);
	if (!error && !type)
		error = -ENOKEY;
	if (error)
		k = err_ptr(error);
	else
		k = keyring_search(ring.key, ring.possessed,
				   &(struct key_wanted){ .type = type, .description = description });
	kfree(description);
	key_put(ring.key);
	return answer_in(k, ring.possessed, to.key);
}

static long read_ring(struct key *ring, struct uptr to, size_t room)
{
	struct key_link *l;
	uint32_t i = 0;

	mutex_lock(&ring->lock);
	keyring_tidy(ring);
	uint32_t count = ring->link_count;
	int32_t *serials = count ? kalloc_array(count, sizeof(*serials)) : NULL;
	if (serials)
		list_for_each (l, &ring->links, node)
			serials[i++] = l->key->serial;
	mutex_unlock(&ring->lock);
	long result = count && !serials ? -ENOMEM : copy_out(to, room, serials, count * sizeof(*serials));
	kfree(serials);
	return result;
}

static long read(int id, struct uptr to, size_t room)
{
	struct key_ref r;
	int error = key_lookup(id, 0, 0, &r);

	if (error)
		return error;
	long result = key_permission(r.key, r.possessed, KEY_READ);
	if (result && r.possessed)
		result = 0; // whoever could find it may read it
	if (!result && !r.key->type->readable)
		result = -EOPNOTSUPP;
	if (!result && r.key->type == &key_type_keyring) {
		result = read_ring(r.key, to, room);
	} else if (!result) {
		mutex_lock(&r.key->lock);
		result = r.key->revoked ? -EKEYREVOKED : copy_out(to, room, r.key->payload, r.key->size);
		mutex_unlock(&r.key->lock);
	}
	key_put(r.key);
	return result;
}

static long set_timeout(int id, unsigned seconds)
{
	struct key_ref r;
	int error = key_lookup(id, LOOKUP_CREATE, KEY_SETATTR, &r);

	if (error)
		return error;
	mutex_lock(&r.key->lock);
	r.key->expires_ns = seconds ? port_time_ns() + seconds * NSEC_PER_SEC : 0;
	mutex_unlock(&r.key->lock);
	key_put(r.key);
	return 0;
}

static long get_security(int id, struct uptr to, size_t room)
{
	struct key_ref r;
	int error = key_lookup(id, 0, KEY_VIEW, &r);

	if (error)
		return error;
	key_put(r.key);
	return copy_out(to, room, "", 1);
}

static long set_request_key_ring(int ring)
{
	struct process *p = current->process;
	struct key_ref r;
	long old = p->request_key_ring;

	if (ring == KEY_REQKEY_DEFL_NO_CHANGE)
		return old;
	if (ring < KEY_REQKEY_DEFL_DEFAULT || ring > KEY_REQKEY_DEFL_REQUESTOR_KEYRING ||
	    ring == KEY_REQKEY_DEFL_GROUP_KEYRING)
		return -EINVAL;
	if (ring == KEY_REQKEY_DEFL_THREAD_KEYRING || ring == KEY_REQKEY_DEFL_PROCESS_KEYRING) {
		int id = ring == KEY_REQKEY_DEFL_THREAD_KEYRING ? KEY_SPEC_THREAD_KEYRING : KEY_SPEC_PROCESS_KEYRING;
		int error = key_lookup(id, LOOKUP_CREATE, 0, &r);
		if (error)
			return error;
		key_put(r.key);
	}
	p->request_key_ring = (int8_t)ring;
	return old;
}

static long restrict_ring(int id, struct uptr type, struct uptr restriction)
{
	struct key_ref r;

	if (type.address)
		return restriction.address ? -ENOENT : -EINVAL; // only types that check signatures restrict links
	int error = key_lookup(id, 0, KEY_SETATTR, &r);
	if (error)
		return error;
	mutex_lock(&r.key->lock);
	if (r.key->type != &key_type_keyring)
		error = -ENOTDIR;
	else if (r.key->restricted)
		error = -EEXIST;
	else
		r.key->restricted = true;
	mutex_unlock(&r.key->lock);
	key_put(r.key);
	return error;
}

static long capabilities(struct uptr to, size_t room)
{
	static const uint8_t bits[2] = { KEYCTL_CAPS0_CAPABILITIES | KEYCTL_CAPS0_BIG_KEY | KEYCTL_CAPS0_INVALIDATE |
					 KEYCTL_CAPS0_RESTRICT_KEYRING | KEYCTL_CAPS0_MOVE };

	if (room &&
	    (copy_to_user(to, bits, min(room, sizeof(bits))) ||
	     (room > sizeof(bits) && clear_user((struct uptr){ to.address + sizeof(bits) }, room - sizeof(bits)))))
		return -EFAULT;
	return sizeof(bits);
}

long sys_keyctl(int operation, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	struct uptr at_a = { a }, at_b = { b }, at_c = { c };

	switch (operation) {
	case KEYCTL_GET_KEYRING_ID: return get_keyring_id((int)a, b);
	case KEYCTL_JOIN_SESSION_KEYRING: return join_session(at_a);
	case KEYCTL_UPDATE: return update((int)a, at_b, c);
	case KEYCTL_REVOKE: return revoke((int)a);
	case KEYCTL_CHOWN:
		return change_owner((int)a, uid_meant(current->cred, (uid_t)b), gid_meant(current->cred, (gid_t)c));
	case KEYCTL_SETPERM: return set_permissions((int)a, (uint32_t)b);
	case KEYCTL_DESCRIBE: return describe((int)a, at_b, c);
	case KEYCTL_CLEAR: return clear((int)a);
	case KEYCTL_LINK: return link((int)a, (int)b);
	case KEYCTL_UNLINK: return unlink((int)a, (int)b);
	case KEYCTL_SEARCH: return search((int)a, at_b, at_c, (int)d);
	case KEYCTL_READ: return read((int)a, at_b, c);
	case KEYCTL_INSTANTIATE:
	case KEYCTL_NEGATE:
	case KEYCTL_REJECT:
	case KEYCTL_INSTANTIATE_IOV:
		return -EPERM; // by the authority that request_key(2) gives to the program it starts
	case KEYCTL_SET_REQKEY_KEYRING: return set_request_key_ring((int)a);
	case KEYCTL_SET_TIMEOUT: return set_timeout((int)a, (unsigned)b);
	case KEYCTL_ASSUME_AUTHORITY: return (int)a < 0 ? -EINVAL : a ? -ENOKEY : 0;
	case KEYCTL_GET_SECURITY: return get_security((int)a, at_b, c);
	case KEYCTL_SESSION_TO_PARENT: return key_session_to_parent();
	case KEYCTL_INVALIDATE: return invalidate((int)a);
	case KEYCTL_RESTRICT_KEYRING: return restrict_ring((int)a, at_b, at_c);
	case KEYCTL_MOVE: return move((int)a, (int)b, (int)c, (unsigned)d);
	case KEYCTL_CAPABILITIES: return capabilities(at_a, b);
	default: return -EOPNOTSUPP;
	}
}
