// SPDX-License-Identifier: Apache-2.0
// mount_setattr(2), and the attributes as fsmount(2) takes them.
#include "mount.h"

#include <linux/capability.h>
#include <linux/mount.h>

#define ATTRIBUTES                                                                                          \
	(MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR__ATIME | \
	 MOUNT_ATTR_NODIRATIME | MOUNT_ATTR_NOSYMFOLLOW)
#define PROPAGATIONS (MS_SHARED | MS_SLAVE | MS_PRIVATE | MS_UNBINDABLE)

// Those that are one bit each.
static uint32_t flags_of(uint64_t attributes)
{
	static_assert(MOUNT_ATTR_RDONLY == MS_RDONLY && MOUNT_ATTR_NOSUID == MS_NOSUID &&
		      MOUNT_ATTR_NODEV == MS_NODEV && MOUNT_ATTR_NOEXEC == MS_NOEXEC);
	return (uint32_t)(attributes & (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)) |
	       (attributes & MOUNT_ATTR_NODIRATIME ? MS_NODIRATIME : 0) |
	       (attributes & MOUNT_ATTR_NOSYMFOLLOW ? MS_NOSYMFOLLOW : 0);
}

static int atime_flag(uint64_t attributes, uint32_t *out)
{
	switch (attributes & MOUNT_ATTR__ATIME) {
	case MOUNT_ATTR_RELATIME: *out = MS_RELATIME; return 0;
	case MOUNT_ATTR_NOATIME: *out = MS_NOATIME; return 0;
	case MOUNT_ATTR_STRICTATIME: *out = MS_STRICTATIME; return 0;
	default: return -EINVAL;
	}
}

int mount_attributes_flags(uint64_t attributes, uint32_t *out)
{
	if (attributes & ~(uint64_t)ATTRIBUTES)
		return -EINVAL;
	int error = atime_flag(attributes, out);
	if (!error)
		*out |= flags_of(attributes);
	return error;
}

struct change {
	uint32_t set, clear, propagation; // MS_*
	bool mapped;                      // ids, by a user namespace
};

// No file system here allows mounts with ids of their own; what is asked for may be wrong in itself, though.
static int check_mapping(const struct mount_attr *a)
{
	if (a->attr_clr & MOUNT_ATTR_IDMAP || a->userns_fd > INT32_MAX)
		return -EINVAL;
	struct file *f = fd_get((int)a->userns_fd);
	if (!f)
		return -EBADF;
	struct namespace *n = namespace_of_file(f);
	struct user_namespace *u =
		n && n->type->kind == NAMESPACE_USER ? container_of(n, struct user_namespace, common) : NULL;
	int error = !u                                                                                  ? -EINVAL
		    : u == &user_namespace_initial || !cred_capable_in(current->cred, u, CAP_SYS_ADMIN) ? -EPERM
													: 0;
	file_put(f);
	return error;
}

static int parse(const struct mount_attr *a, struct change *c)
{
	if (a->propagation & ~(uint64_t)PROPAGATIONS || a->propagation & (a->propagation - 1) ||
	    (a->attr_set | a->attr_clr) & ~(uint64_t)(ATTRIBUTES | MOUNT_ATTR_IDMAP))
		return -EINVAL;
	*c = (struct change){ .set = flags_of(a->attr_set),
			      .clear = flags_of(a->attr_clr),
			      .propagation = (uint32_t)a->propagation,
			      .mapped = (a->attr_set | a->attr_clr) & MOUNT_ATTR_IDMAP };
	// Access times are a choice, not bits: who chooses clears all of them.
	uint64_t cleared = a->attr_clr & MOUNT_ATTR__ATIME;
	if (cleared ? cleared != MOUNT_ATTR__ATIME : a->attr_set & MOUNT_ATTR__ATIME)
		return -EINVAL;
	if (cleared) {
		uint32_t chosen;
		if (atime_flag(a->attr_set, &chosen))
			return -EINVAL;
		c->set |= chosen;
		c->clear |= MS_RELATIME | MS_NOATIME | MS_STRICTATIME;
	}
	return c->mapped ? check_mapping(a) : 0;
}

static uint32_t changed(const struct mount *m, const struct change *c) { return (m->flags & ~c->clear) | c->set; }

static int may_change(struct mount *top, const struct change *c, bool all)
{
	if (!mount_is_mine(top) && !mount_is_detached(top))
		return -EINVAL;
	for (struct mount *m = top; m; m = all ? mount_next(m, top) : NULL) {
		int error = mount_may_change_flags(m, changed(m, c));
		if (error)
			return error;
		if (c->mapped)
			return -EINVAL;
	}
	return 0;
}

static int change(const struct path *p, const struct change *c, bool all)
{
	if (!path_is_mount(p))
		return -EINVAL;
	rwsem_write_lock(&mount_lock);
	int error = may_change(p->mount, c, all);
	for (struct mount *m = p->mount; !error && m; m = all ? mount_next(m, p->mount) : NULL) {
		__atomic_store_n(&m->flags, changed(m, c), __ATOMIC_RELAXED);
		if (c->propagation)
			mount_set_propagation(m, c->propagation);
	}
	rwsem_write_unlock(&mount_lock);
	return error;
}

long sys_mount_setattr(int dir, struct uptr path, unsigned flags, struct uptr attributes, size_t size)
{
	struct mount_attr a;
	struct change c;
	struct path p;
	static_assert(sizeof(a) == MOUNT_ATTR_SIZE_VER0);
	if (flags & ~(unsigned)(AT_EMPTY_PATH | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT))
		return -EINVAL;
	if (size > PAGE_SIZE)
		return -E2BIG;
	if (size < MOUNT_ATTR_SIZE_VER0)
		return -EINVAL;
	if (!mount_may())
		return -EPERM;
	int error = copy_struct_from_user(&a, sizeof(a), attributes, size);
	if (error || (!a.attr_set && !a.attr_clr && !a.propagation))
		return error;
	error = parse(&a, &c);
	if (!error)
		error = path_lookup_user(dir, path, mount_lookup_flags(flags), &p);
	if (error)
		return error;
	error = change(&p, &c, flags & AT_RECURSIVE);
	path_put(&p);
	return error;
}
