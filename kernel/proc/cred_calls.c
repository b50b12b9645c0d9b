// SPDX-License-Identifier: Apache-2.0
// The system calls that ask for and change user and group ids. setuid(2), setreuid(2), setresuid(2), setfsuid(2), setgroups(2);
// what a change of user ids does to capabilities: capabilities(7), "Effect of user ID changes on capabilities".
#include "internal.h"

#include "kernel/syscalls.h"
#include "lib/string.h"

#include <linux/capability.h>
#include <linux/securebits.h>

#define GROUPS_MAX 65536
#define NO_ID      UINT32_MAX // "leave it as it is"

long sys_getuid(void) { return uid_shown(current->cred, current->cred->uid); }
long sys_geteuid(void) { return uid_shown(current->cred, current->cred->euid); }
long sys_getgid(void) { return gid_shown(current->cred, current->cred->gid); }
long sys_getegid(void) { return gid_shown(current->cred, current->cred->egid); }

long sys_getresuid(struct uptr ruid, struct uptr euid, struct uptr suid)
{
	const struct cred *c = current->cred;
	return put_user(uid_shown(c, c->uid), ruid) || put_user(uid_shown(c, c->euid), euid) ||
			       put_user(uid_shown(c, c->suid), suid)
		       ? -EFAULT
		       : 0;
}

long sys_getresgid(struct uptr rgid, struct uptr egid, struct uptr sgid)
{
	const struct cred *c = current->cred;
	return put_user(gid_shown(c, c->gid), rgid) || put_user(gid_shown(c, c->egid), egid) ||
			       put_user(gid_shown(c, c->sgid), sgid)
		       ? -EFAULT
		       : 0;
}

// ---- what user and group ids have in common: setuid(2), setreuid(2), setresuid(2) ----

struct ids {
	uint32_t real, effective, saved;
};

static struct ids uids_of(const struct cred *c) { return (struct ids){ c->uid, c->euid, c->suid }; }
static struct ids gids_of(const struct cred *c) { return (struct ids){ c->gid, c->egid, c->sgid }; }

static bool is_one_of(struct ids i, uint32_t id) { return id == i.real || id == i.effective || id == i.saved; }

// What the program said; a change to an id that its namespace does not have is -EINVAL.
static bool id_said(enum id_kind kind, uint32_t *id)
{
	if (*id == NO_ID)
		return true;
	*id = kind == ID_USER ? uid_meant(current->cred, *id) : gid_meant(current->cred, *id);
	return *id != ID_NONE;
}

// Each changes *i as the call does; `any`: the caller may take every id. 0, -EINVAL, -EPERM.
static int set_id(struct ids *i, uint32_t id, bool any)
{
	if (id == NO_ID)
		return -EINVAL;
	if (!any && id != i->real && id != i->saved)
		return -EPERM;
	i->effective = id;
	if (any)
		i->real = i->saved = id;
	return 0;
}

static int set_two_ids(struct ids *i, uint32_t real, uint32_t effective, bool any)
{
	struct ids old = *i;
	if (real != NO_ID && !any && real != old.real && real != old.effective)
		return -EPERM;
	if (effective != NO_ID && !any && !is_one_of(old, effective))
		return -EPERM;
	if (real != NO_ID)
		i->real = real;
	if (effective != NO_ID)
		i->effective = effective;
	if (real != NO_ID || (effective != NO_ID && effective != old.real))
		i->saved = i->effective;
	return 0;
}

static int set_three_ids(struct ids *i, struct ids to, bool any)
{
	struct ids old = *i;
	if (to.real != NO_ID)
		i->real = to.real;
	if (to.effective != NO_ID)
		i->effective = to.effective;
	if (to.saved != NO_ID)
		i->saved = to.saved;
	return any || (is_one_of(old, i->real) && is_one_of(old, i->effective) && is_one_of(old, i->saved)) ? 0
													    : -EPERM;
}

static struct cred *copy_current(void) { return cred_copy(current->cred, current->cred->group_count); }

// ---- user ids ----

// The file-system capabilities follow the file-system uid.
#define CAPS_OF_FSUID                                                                                      \
	(1ull << CAP_CHOWN | 1ull << CAP_DAC_OVERRIDE | 1ull << CAP_DAC_READ_SEARCH | 1ull << CAP_FOWNER | \
	 1ull << CAP_FSETID | 1ull << CAP_LINUX_IMMUTABLE | 1ull << CAP_MKNOD | 1ull << CAP_MAC_OVERRIDE)

static void adjust_capabilities(struct cred *new, const struct cred *old)
{
	if (new->securebits &(1u << SECURE_NO_SETUID_FIXUP))
		return;
	uid_t root = uid_meant(old, 0);
	bool had_root = old->uid == root || old->euid == root || old->suid == root;
	bool has_root = new->uid == root || new->euid == root || new->suid == root;
	if (had_root && !has_root) {
		if (!(new->securebits &(1u << SECURE_KEEP_CAPS))) {
			new->cap_permitted = 0;
			new->cap_effective = 0;
		}
		new->cap_ambient = 0;
	}
	if (old->euid == root && new->euid != root)
		new->cap_effective = 0;
	if (old->euid != root && new->euid == root)
		new->cap_effective = new->cap_permitted;
}

static int change_account(struct cred *new, const struct cred *old)
{
	if (new->uid == old->uid)
		return 0;
	struct user *u = user_find(new->uid);
	if (!u)
		return -EAGAIN;
	user_put(new->user);
	new->user = u;
	new->over_task_limit = (uint64_t)__atomic_load_n(&u->tasks, __ATOMIC_RELAXED) >=
				       process_rlimit(current->process, RLIMIT_NPROC) &&
			       u->uid;
	return 0;
}

static long install_uids(struct ids i)
{
	const struct cred *old = current->cred;
	struct cred *new = copy_current();
	if (!new)
		return -ENOMEM;
	new->uid = i.real;
	new->euid = new->fsuid = i.effective;
	new->suid = i.saved;
	int r = change_account(new, old);
	if (r) {
		cred_put(new);
		return r;
	}
	adjust_capabilities(new, old);
	if (new->euid != old->euid || new->fsuid != old->fsuid) {
		current->mm->dumpable = false;
		current->parent_death_signal = 0;
	}
	cred_install(new);
	return 0;
}

static bool may_set_uids(void) { return cred_capable_own(current->cred, CAP_SETUID); }

long sys_setuid(uid_t uid)
{
	if (!id_said(ID_USER, &uid))
		return -EINVAL;
	struct ids i = uids_of(current->cred);
	int error = set_id(&i, uid, may_set_uids());
	return error ? error : install_uids(i);
}

long sys_setreuid(uid_t ruid, uid_t euid)
{
	if (!id_said(ID_USER, &ruid) || !id_said(ID_USER, &euid))
		return -EINVAL;
	struct ids i = uids_of(current->cred);
	int error = set_two_ids(&i, ruid, euid, may_set_uids());
	return error ? error : install_uids(i);
}

long sys_setresuid(uid_t ruid, uid_t euid, uid_t suid)
{
	if (!id_said(ID_USER, &ruid) || !id_said(ID_USER, &euid) || !id_said(ID_USER, &suid))
		return -EINVAL;
	struct ids i = uids_of(current->cred);
	int error = set_three_ids(&i, (struct ids){ ruid, euid, suid }, may_set_uids());
	return error ? error : install_uids(i);
}

long sys_setfsuid(uid_t uid)
{
	const struct cred *old = current->cred;
	uid_t before = old->fsuid, shown = uid_shown(old, before);
	if (!id_said(ID_USER, &uid) || uid == before || uid == NO_ID ||
	    !(is_one_of(uids_of(old), uid) || may_set_uids()))
		return shown;
	struct cred *new = copy_current();
	if (!new)
		return shown;
	new->fsuid = uid;
	uid_t root = uid_meant(old, 0);
	if (before == root)
		new->cap_effective &= ~CAPS_OF_FSUID;
	else if (uid == root)
		new->cap_effective |= new->cap_permitted &CAPS_OF_FSUID;
	cred_install(new);
	return shown;
}

// ---- group ids ----

static long install_gids(struct ids i)
{
	struct cred *new = copy_current();
	if (!new)
		return -ENOMEM;
	new->gid = i.real;
	new->egid = new->fsgid = i.effective;
	new->sgid = i.saved;
	if (new->egid != current->cred->egid)
		current->mm->dumpable = false;
	cred_install(new);
	return 0;
}

static bool may_set_gids(void) { return cred_capable_own(current->cred, CAP_SETGID); }

long sys_setgid(gid_t gid)
{
	if (!id_said(ID_GROUP, &gid))
		return -EINVAL;
	struct ids i = gids_of(current->cred);
	int error = set_id(&i, gid, may_set_gids());
	return error ? error : install_gids(i);
}

long sys_setregid(gid_t rgid, gid_t egid)
{
	if (!id_said(ID_GROUP, &rgid) || !id_said(ID_GROUP, &egid))
		return -EINVAL;
	struct ids i = gids_of(current->cred);
	int error = set_two_ids(&i, rgid, egid, may_set_gids());
	return error ? error : install_gids(i);
}

long sys_setresgid(gid_t rgid, gid_t egid, gid_t sgid)
{
	if (!id_said(ID_GROUP, &rgid) || !id_said(ID_GROUP, &egid) || !id_said(ID_GROUP, &sgid))
		return -EINVAL;
	struct ids i = gids_of(current->cred);
	int error = set_three_ids(&i, (struct ids){ rgid, egid, sgid }, may_set_gids());
	return error ? error : install_gids(i);
}

long sys_setfsgid(gid_t gid)
{
	const struct cred *old = current->cred;
	gid_t before = old->fsgid, shown = gid_shown(old, before);
	if (!id_said(ID_GROUP, &gid) || gid == before || gid == NO_ID ||
	    !(is_one_of(gids_of(old), gid) || may_set_gids()))
		return shown;
	struct cred *new = copy_current();
	if (!new)
		return shown;
	new->fsgid = gid;
	cred_install(new);
	return shown;
}

long sys_getgroups(int count, struct uptr list)
{
	const struct cred *c = current->cred;
	if (count < 0)
		return -EINVAL;
	if (!count)
		return c->group_count;
	if ((unsigned)count < c->group_count)
		return -EINVAL;
	for (unsigned i = 0; i < c->group_count; i++)
		if (put_user(gid_shown(c, c->groups[i]), uptr_add(list, i * sizeof(c->groups[0]))))
			return -EFAULT;
	return c->group_count;
}

static void sort(gid_t *g, unsigned n)
{
	// Shell sort: lists may have 65536 entries, and come in any order.
	for (unsigned gap = n / 2; gap; gap /= 2)
		for (unsigned i = gap; i < n; i++) {
			gid_t x = g[i];
			unsigned j = i;
			for (; j >= gap && g[j - gap] > x; j -= gap)
				g[j] = g[j - gap];
			g[j] = x;
		}
}

long sys_setgroups(int count, struct uptr list)
{
	if (!may_set_gids() || !user_namespace_may_setgroups(current->cred))
		return -EPERM;
	if (count < 0 || count > GROUPS_MAX)
		return -EINVAL;
	struct cred *new = cred_copy(current->cred, (unsigned)count);
	if (!new)
		return -ENOMEM;
	if (copy_from_user(new->groups, list, (size_t)count * sizeof(new->groups[0]))) {
		cred_put(new);
		return -EFAULT;
	}
	for (unsigned i = 0; i < (unsigned)count; i++)
		if (!id_said(ID_GROUP, &new->groups[i])) {
			cred_put(new);
			return -EINVAL;
		}
	sort(new->groups, (unsigned)count);
	cred_install(new);
	return 0;
}

// ---- capabilities: capget(2) ----

static int capability_words(struct uptr header, struct __user_cap_header_struct *h)
{
	if (get_user(h, header))
		return -EFAULT;
	switch (h->version) {
	case _LINUX_CAPABILITY_VERSION_1: return 1;
	case _LINUX_CAPABILITY_VERSION_2:
	case _LINUX_CAPABILITY_VERSION_3: return 2;
	}
	// The caller learns which version is right.
	return put_user((uint32_t)_LINUX_CAPABILITY_VERSION_3, header) ? -EFAULT : -EINVAL;
}

long sys_capget(struct uptr header, struct uptr data)
{
	struct __user_cap_header_struct h;
	struct __user_cap_data_struct d[2];
	int words = capability_words(header, &h);
	if (words < 0) // asking with a NULL pointer is how programs find the version
		return words == -EINVAL && uptr_is_null(data) ? 0 : words;
	if (h.pid < 0)
		return -EINVAL;
	struct task *t = h.pid ? task_find(pid_meant(h.pid)) : current;
	if (!t)
		return -ESRCH;
	const struct cred *c = task_cred_get(t);
	for (int i = 0; i < 2; i++) {
		d[i].effective = (uint32_t)(c->cap_effective >> 32 * i);
		d[i].permitted = (uint32_t)(c->cap_permitted >> 32 * i);
		d[i].inheritable = (uint32_t)(c->cap_inheritable >> 32 * i);
	}
	cred_put(c);
	if (h.pid)
		task_put(t);
	return uptr_is_null(data) ? 0 : copy_to_user(data, d, (size_t)words * sizeof(d[0]));
}

long sys_capset(struct uptr header, struct uptr data)
{
	struct __user_cap_header_struct h;
	struct __user_cap_data_struct d[2] = { 0 };
	const struct cred *old = current->cred;
	int words = capability_words(header, &h);
	if (words < 0)
		return words;
	if (h.pid != 0 && h.pid != current->own_tid)
		return -EPERM;
	if (copy_from_user(d, data, (size_t)words * sizeof(d[0])))
		return -EFAULT;
	uint64_t effective = (d[0].effective | (uint64_t)d[1].effective << 32) & CAPABILITIES_ALL;
	uint64_t permitted = (d[0].permitted | (uint64_t)d[1].permitted << 32) & CAPABILITIES_ALL;
	uint64_t inheritable = (d[0].inheritable | (uint64_t)d[1].inheritable << 32) & CAPABILITIES_ALL;
	uint64_t may_inherit =
		old->cap_inheritable | (cred_capable_own(old, CAP_SETPCAP) ? old->cap_bounding : old->cap_permitted);
	if ((inheritable & ~may_inherit) || (inheritable & ~(old->cap_inheritable | old->cap_bounding)) ||
	    (permitted & ~old->cap_permitted) || (effective & ~permitted))
		return -EPERM;
	struct cred *new = copy_current();
	if (!new)
		return -ENOMEM;
	new->cap_effective = effective;
	new->cap_permitted = permitted;
	new->cap_inheritable = inheritable;
	new->cap_ambient &= permitted &inheritable;
	cred_install(new);
	return 0;
}
