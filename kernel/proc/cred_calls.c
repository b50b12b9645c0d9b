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

long sys_getuid(void) { return current->cred->uid; }
long sys_geteuid(void) { return current->cred->euid; }
long sys_getgid(void) { return current->cred->gid; }
long sys_getegid(void) { return current->cred->egid; }

long sys_getresuid(struct uptr ruid, struct uptr euid, struct uptr suid)
{
	const struct cred *c = current->cred;
	return put_user(c->uid, ruid) || put_user(c->euid, euid) || put_user(c->suid, suid) ? -EFAULT : 0;
}

long sys_getresgid(struct uptr rgid, struct uptr egid, struct uptr sgid)
{
	const struct cred *c = current->cred;
	return put_user(c->gid, rgid) || put_user(c->egid, egid) || put_user(c->sgid, sgid) ? -EFAULT : 0;
}

// ---- user ids ----

// The file-system capabilities follow the file-system uid.
#define CAPS_OF_FSUID                                                                                      \
	(1ull << CAP_CHOWN | 1ull << CAP_DAC_OVERRIDE | 1ull << CAP_DAC_READ_SEARCH | 1ull << CAP_FOWNER | \
	 1ull << CAP_FSETID | 1ull << CAP_LINUX_IMMUTABLE | 1ull << CAP_MKNOD | 1ull << CAP_MAC_OVERRIDE)

static void adjust_capabilities(struct cred *new, const struct cred *old)
{
	if (new->securebits &(1u << SECURE_NO_SETUID_FIXUP))
		return;
	bool had_root = old->uid == 0 || old->euid == 0 || old->suid == 0;
	bool has_root = new->uid == 0 || new->euid == 0 || new->suid == 0;
	if (had_root && !has_root) {
		if (!(new->securebits &(1u << SECURE_KEEP_CAPS))) {
			new->cap_permitted = 0;
			new->cap_effective = 0;
		}
		new->cap_ambient = 0;
	}
	if (old->euid == 0 && new->euid != 0)
		new->cap_effective = 0;
	if (old->euid != 0 && new->euid == 0)
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

static long install_uids(struct cred *new)
{
	const struct cred *old = current->cred;
	int r = change_account(new, old);
	if (r) {
		cred_put(new);
		return r;
	}
	new->fsuid = new->euid;
	adjust_capabilities(new, old);
	if (new->euid != old->euid || new->fsuid != old->fsuid) {
		current->mm->dumpable = false;
		current->parent_death_signal = 0;
	}
	cred_install(new);
	return 0;
}

static struct cred *copy_current(void) { return cred_copy(current->cred, current->cred->group_count); }

long sys_setuid(uid_t uid)
{
	const struct cred *old = current->cred;
	if (uid == NO_ID)
		return -EINVAL;
	bool all = cred_capable(old, CAP_SETUID);
	if (!all && uid != old->uid && uid != old->suid)
		return -EPERM;
	struct cred *new = copy_current();
	if (!new)
		return -ENOMEM;
	new->euid = uid;
	if (all)
		new->uid = new->suid = uid;
	return install_uids(new);
}

long sys_setreuid(uid_t ruid, uid_t euid)
{
	const struct cred *old = current->cred;
	bool all = cred_capable(old, CAP_SETUID);
	if (ruid != NO_ID && !all && ruid != old->uid && ruid != old->euid)
		return -EPERM;
	if (euid != NO_ID && !all && euid != old->uid && euid != old->euid && euid != old->suid)
		return -EPERM;
	struct cred *new = copy_current();
	if (!new)
		return -ENOMEM;
	if (ruid != NO_ID)
		new->uid = ruid;
	if (euid != NO_ID)
		new->euid = euid;
	if (ruid != NO_ID || (euid != NO_ID && euid != old->uid))
		new->suid = new->euid;
	return install_uids(new);
}

static bool one_of_uids(const struct cred *c, uid_t id)
{
	return id == NO_ID || id == c->uid || id == c->euid || id == c->suid;
}

long sys_setresuid(uid_t ruid, uid_t euid, uid_t suid)
{
	const struct cred *old = current->cred;
	if (!cred_capable(old, CAP_SETUID) &&
	    !(one_of_uids(old, ruid) && one_of_uids(old, euid) && one_of_uids(old, suid)))
		return -EPERM;
	struct cred *new = copy_current();
	if (!new)
		return -ENOMEM;
	if (ruid != NO_ID)
		new->uid = ruid;
	if (euid != NO_ID)
		new->euid = euid;
	if (suid != NO_ID)
		new->suid = suid;
	return install_uids(new);
}

long sys_setfsuid(uid_t uid)
{
	const struct cred *old = current->cred;
	uid_t before = old->fsuid;
	if (uid == before || uid == NO_ID || !(one_of_uids(old, uid) || cred_capable(old, CAP_SETUID)))
		return before;
	struct cred *new = copy_current();
	if (!new)
		return before;
	new->fsuid = uid;
	if (before == 0)
		new->cap_effective &= ~CAPS_OF_FSUID;
	else if (uid == 0)
		new->cap_effective |= new->cap_permitted &CAPS_OF_FSUID;
	cred_install(new);
	return before;
}

// ---- group ids ----

static long install_gids(struct cred *new)
{
	new->fsgid = new->egid;
	if (new->egid != current->cred->egid)
		current->mm->dumpable = false;
	cred_install(new);
	return 0;
}

long sys_setgid(gid_t gid)
{
	const struct cred *old = current->cred;
	if (gid == NO_ID)
		return -EINVAL;
	bool all = cred_capable(old, CAP_SETGID);
	if (!all && gid != old->gid && gid != old->sgid)
		return -EPERM;
	struct cred *new = copy_current();
	if (!new)
		return -ENOMEM;
	new->egid = gid;
	if (all)
		new->gid = new->sgid = gid;
	return install_gids(new);
}

long sys_setregid(gid_t rgid, gid_t egid)
{
	const struct cred *old = current->cred;
	bool all = cred_capable(old, CAP_SETGID);
	if (rgid != NO_ID && !all && rgid != old->gid && rgid != old->egid)
		return -EPERM;
	if (egid != NO_ID && !all && egid != old->gid && egid != old->egid && egid != old->sgid)
		return -EPERM;
	struct cred *new = copy_current();
	if (!new)
		return -ENOMEM;
	if (rgid != NO_ID)
		new->gid = rgid;
	if (egid != NO_ID)
		new->egid = egid;
	if (rgid != NO_ID || (egid != NO_ID && egid != old->gid))
		new->sgid = new->egid;
	return install_gids(new);
}

static bool one_of_gids(const struct cred *c, gid_t id)
{
	return id == NO_ID || id == c->gid || id == c->egid || id == c->sgid;
}

long sys_setresgid(gid_t rgid, gid_t egid, gid_t sgid)
{
	const struct cred *old = current->cred;
	if (!cred_capable(old, CAP_SETGID) &&
	    !(one_of_gids(old, rgid) && one_of_gids(old, egid) && one_of_gids(old, sgid)))
		return -EPERM;
	struct cred *new = copy_current();
	if (!new)
		return -ENOMEM;
	if (rgid != NO_ID)
		new->gid = rgid;
	if (egid != NO_ID)
		new->egid = egid;
	if (sgid != NO_ID)
		new->sgid = sgid;
	return install_gids(new);
}

long sys_setfsgid(gid_t gid)
{
	const struct cred *old = current->cred;
	gid_t before = old->fsgid;
	if (gid == before || gid == NO_ID || !(one_of_gids(old, gid) || cred_capable(old, CAP_SETGID)))
		return before;
	struct cred *new = copy_current();
	if (!new)
		return before;
	new->fsgid = gid;
	cred_install(new);
	return before;
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
	return copy_to_user(list, c->groups, c->group_count * sizeof(c->groups[0])) ? -EFAULT : (long)c->group_count;
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
	if (!cred_capable(current->cred, CAP_SETGID))
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
	struct task *t = h.pid ? task_find(h.pid) : current;
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
	if (h.pid != 0 && h.pid != current->tid)
		return -EPERM;
	if (copy_from_user(d, data, (size_t)words * sizeof(d[0])))
		return -EFAULT;
	uint64_t effective = (d[0].effective | (uint64_t)d[1].effective << 32) & CAPABILITIES_ALL;
	uint64_t permitted = (d[0].permitted | (uint64_t)d[1].permitted << 32) & CAPABILITIES_ALL;
	uint64_t inheritable = (d[0].inheritable | (uint64_t)d[1].inheritable << 32) & CAPABILITIES_ALL;
	uint64_t may_inherit =
		old->cap_inheritable | (cred_capable(old, CAP_SETPCAP) ? old->cap_bounding : old->cap_permitted);
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
