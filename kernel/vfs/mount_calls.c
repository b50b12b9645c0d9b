// SPDX-License-Identifier: Apache-2.0
// mount(2), umount2(2).
#include "mount.h"

#include <linux/capability.h>
#include <linux/mount.h>

// umount2(2); <sys/mount.h> has these, no kernel header does.
#define UMOUNT_FORCE    1
#define UMOUNT_DETACH   2
#define UMOUNT_EXPIRE   4
#define UMOUNT_NOFOLLOW 8

#define TYPES (MS_SHARED | MS_SLAVE | MS_PRIVATE | MS_UNBINDABLE)

bool mount_may(void) { return cred_capable_in(current->cred, mnt_namespace_mine()->common.owner, CAP_SYS_ADMIN); }

bool mount_is_mine(const struct mount *m) { return m && m->space == mnt_namespace_mine(); }

bool path_is_mount(const struct path *p) { return p->mount && p->dentry == p->mount->root; }

bool mount_place_is_there(const struct path *at)
{
	return !(at->dentry->flags & DENTRY_DISCONNECTED) || path_is_mount(at);
}

unsigned mount_lookup_flags(unsigned at_flags)
{
	return (at_flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW) | (at_flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0);
}

// ---- attaching ----

// Puts `m` on what lies on `at` by now, of which it consumes the references, or drops it.
static int attach(struct mount *m, struct path *at)
{
	struct list gone = LIST_INIT(gone);
	rwsem_write_lock(&mount_lock);
	(void)mount_cross_down(at);
	int error = !mount_is_mine(at->mount) ? -EINVAL : mount_place_is_there(at) ? mount_attach_tree(m, at) : -ENOENT;
	if (error)
		mount_detach_tree(m, false, &gone);
	rwsem_write_unlock(&mount_lock);
	mount_release(&gone);
	if (error)
		path_put(at);
	return error;
}

static int add_new(struct path *at, const char *type, const char *source, uint32_t flags, const char *options)
{
	struct mount *m;
	int error = type ? mount_new(type, source, flags, options, &m) : -EINVAL;
	if (!error)
		return attach(m, at);
	path_put(at);
	return error;
}

// ---- bind ----

bool mount_has_locked_children(struct mount *m, struct dentry *root)
{
	struct mount *child;
	list_for_each (child, &m->children, child_node)
		if (child->locked && dentry_is_below(child->mountpoint, root))
			return true;
	return false;
}

// A mount that is not copied would show in the copy what it must hide.
static bool has_hiding(struct mount *top, struct dentry *root)
{
	for (struct mount *m = top; (m = mount_next(m, top));)
		if (m->locked && m->unbindable && (m->parent != top || dentry_is_below(m->mountpoint, root)))
			return true;
	return false;
}

struct mount *mount_copy_seen(const struct path *from, bool all)
{
	if (mount_would_loop(from->dentry))
		return err_ptr(-EINVAL);
	if (!from->mount && from->dentry->super->type->flags & FS_BIND_ANY) {
		refcount_get(&from->dentry->super->refs);
		struct mount *m = mount_create(from->dentry->super, from->dentry, 0, NULL);
		if (!m)
			super_put(from->dentry->super);
		return m ? m : err_ptr(-ENOMEM);
	}
	if (!mount_is_mine(from->mount) || from->mount->unbindable)
		return err_ptr(-EINVAL);
	if (!all && mount_has_locked_children(from->mount, from->dentry))
		return err_ptr(-EINVAL);
	if (all && has_hiding(from->mount, from->dentry))
		return err_ptr(-EPERM);
	return mount_copy_tree(from->mount, from->dentry, MOUNT_COPY_NAMESPACES | (all ? MOUNT_COPY_ALL : 0));
}

static int bind(struct path *at, const char *source, bool all)
{
	struct path from;
	int error = source ? path_lookup(AT_FDCWD, source, LOOKUP_FOLLOW, &from) : -EINVAL;
	if (error) {
		path_put(at);
		return error;
	}
	rwsem_write_lock(&mount_lock);
	struct mount *m = mount_copy_seen(&from, all);
	rwsem_write_unlock(&mount_lock);
	path_put(&from);
	if (!is_err(m))
		return attach(m, at);
	path_put(at);
	return (int)ptr_err(m);
}

// ---- move ----

static int move(struct path *at, const char *source)
{
	struct path from;
	int error = source ? path_lookup(AT_FDCWD, source, LOOKUP_FOLLOW, &from) : -EINVAL;
	if (error) {
		path_put(at);
		return error;
	}
	error = mount_move_tree(&from, at);
	path_put(&from);
	return error;
}

// ---- changes of one that is there ----

static int change_type(const struct path *p, uint64_t flags)
{
	uint32_t type = (uint32_t)flags & TYPES;
	if (flags & ~(uint64_t)(TYPES | MS_REC | MS_SILENT) || type & (type - 1) || !path_is_mount(p))
		return -EINVAL;
	rwsem_write_lock(&mount_lock);
	int error = mount_is_mine(p->mount) ? 0 : -EINVAL;
	for (struct mount *m = p->mount; !error && m; m = flags & MS_REC ? mount_next(m, p->mount) : NULL)
		mount_set_propagation(m, type);
	rwsem_write_unlock(&mount_lock);
	return error;
}

// MS_RELATIME is how every mount is that has no other of these: naming it changes nothing.
int mount_may_change_flags(const struct mount *m, uint32_t flags)
{
	if (m->locked_flags & ~flags ||
	    (m->atime_locked && (m->flags ^ flags) & (MOUNT_ATIME_FLAGS & ~(uint32_t)MS_RELATIME)))
		return -EPERM;
	return flags & ~m->flags & MS_RDONLY && __atomic_load_n(&m->writers, __ATOMIC_RELAXED) ? -EBUSY : 0;
}

// Access times stay as they are when nothing is said of them.
static uint32_t remount_flags(const struct mount *m, uint64_t flags)
{
	if (flags & MOUNT_ATIME_FLAGS)
		return mount_flags_of(flags);
	return ((uint32_t)flags & MOUNT_FLAGS) | (m->flags & MOUNT_ATIME_FLAGS);
}

static int remount(const struct path *p, uint64_t flags, const char *options)
{
	if (!path_is_mount(p))
		return -EINVAL;
	rwsem_write_lock(&mount_lock);
	uint32_t new = remount_flags(p->mount, flags);
	int error = mount_is_mine(p->mount) ? mount_may_change_flags(p->mount, new) : -EINVAL;
	if (!error && !(flags & MS_BIND))
		error = super_reconfigure(p->mount->super, new &MS_RDONLY, options);
	if (!error)
		__atomic_store_n(&p->mount->flags, new, __ATOMIC_RELAXED);
	rwsem_write_unlock(&mount_lock);
	return error;
}

// ---- the calls ----

static int string_argument(struct uptr from, char **out)
{
	*out = NULL;
	if (uptr_is_null(from))
		return 0;
	char *s = path_string_get(from);
	if (is_err(s))
		return (int)ptr_err(s);
	*out = s;
	return 0;
}

static long mount_strings(const char *source, const char *target, const char *type, uint64_t flags, const char *data)
{
	struct path at;
	int error = path_lookup(AT_FDCWD, target, LOOKUP_FOLLOW, &at); // a program's mount point must exist
	if (error)
		return error;
	if ((flags & MS_MGC_MSK) == MS_MGC_VAL)
		flags &= ~(uint64_t)MS_MGC_MSK;
	if (flags & MS_REMOUNT || (flags & TYPES && !(flags & MS_BIND))) {
		error = flags & MS_REMOUNT ? remount(&at, flags, data) : change_type(&at, flags);
		path_put(&at);
		return error;
	}
	if (flags & MS_BIND)
		return bind(&at, source, flags & MS_REC);
	return flags & MS_MOVE ? move(&at, source) : add_new(&at, type, source, (uint32_t)flags, data);
}

long sys_mount(struct uptr source_path, struct uptr path, struct uptr type_name, uint64_t flags, struct uptr data)
{
	if (!mount_may())
		return -EPERM;
	char *source = NULL, *target = NULL, *type = NULL, *options = NULL;
	long result = string_argument(path, &target);
	if (!result && !target)
		result = -EFAULT;
	if (!result)
		result = string_argument(source_path, &source);
	if (!result)
		result = string_argument(type_name, &type);
	if (!result)
		result = string_argument(data, &options);
	if (!result)
		result = mount_strings(source, target, type, flags, options);
	path_string_free(source);
	path_string_free(target);
	path_string_free(type);
	path_string_free(options);
	return result;
}

static int check_unmount(struct mount *m, int flags)
{
	if (!mount_is_mine(m) || m->locked)
		return -EINVAL;
	if (!m->parent)
		return -EBUSY; // the root
	if (flags & UMOUNT_DETACH)
		return 0;
	// Ours and the tree's reference; more means open files, directories or mounts in it.
	return refcount_read(&m->refs) > 2 || !list_empty(&m->children) || mount_copies_busy(m) ? -EBUSY : 0;
}

static int unmount(const struct path *p, int flags)
{
	struct list gone = LIST_INIT(gone);
	if (!path_is_mount(p))
		return -EINVAL;
	rwsem_write_lock(&mount_lock);
	int error = check_unmount(p->mount, flags);
	if (!error)
		mount_detach_tree(p->mount, true, &gone);
	rwsem_write_unlock(&mount_lock);
	mount_release(&gone);
	return error;
}

long sys_umount2(struct uptr path, int flags)
{
	if (flags & ~(UMOUNT_FORCE | UMOUNT_DETACH | UMOUNT_EXPIRE | UMOUNT_NOFOLLOW))
		return -EINVAL;
	if (!mount_may())
		return -EPERM;
	struct path p;
	long result = path_lookup_user(AT_FDCWD, path, flags & UMOUNT_NOFOLLOW ? 0 : LOOKUP_FOLLOW, &p);
	if (result)
		return result;
	(void)mount_cross_down(&p); // what lies on "." counts, too
	result = unmount(&p, flags);
	path_put(&p);
	return result;
}
