// SPDX-License-Identifier: Apache-2.0
// Mount namespaces: made, entered, and pivot_root(2). mount_namespaces(7).
#include "mount.h"

#include <linux/capability.h>
#include <linux/sched.h>

struct mnt_namespace mnt_namespace_first = {
	.common = NAMESPACE_INIT(&mnt_namespace_type, NAMESPACE_INO_MNT, &user_namespace_initial),
};
struct namespace *const mnt_namespace_initial = &mnt_namespace_first.common;

static struct mnt_namespace *of(struct namespace *n) { return container_of(n, struct mnt_namespace, common); }

struct mnt_namespace *mnt_namespace_mine(void)
{
	struct namespaces *s = current->namespaces;
	return s ? of(s->of[NAMESPACE_MNT]) : &mnt_namespace_first;
}

void mnt_namespace_root_get(struct mnt_namespace *n, struct path *out)
{
	rwsem_read_lock(&mount_lock);
	*out = (struct path){ n->root, n->root->root };
	path_get(out);
	rwsem_read_unlock(&mount_lock);
	(void)mount_cross_down(out);
}

// ---- making one ----

// `p` lay in `old`, whose mounts were just copied: it moves to the copy. *put: what it held.
static void follow_copy(struct path *p, const struct mnt_namespace *old, struct mount **put)
{
	if (!p->mount || p->mount->space != old || !p->mount->copy)
		return;
	*put = p->mount;
	p->mount = p->mount->copy;
	mount_get(p->mount);
}

static struct namespace *create(struct namespace *old_common, struct user_namespace *owner, struct fs_context *fs)
{
	struct mnt_namespace *old = of(old_common), *n = kalloc(sizeof(*n));
	struct mount *was[2] = { NULL, NULL };
	if (!n)
		return err_ptr(-ENOMEM);
	int error = namespace_init(&n->common, &mnt_namespace_type, owner);
	if (error) {
		kfree(n);
		return err_ptr(error);
	}
	bool stranger = owner != old->common.owner;
	rwsem_write_lock(&mount_lock);
	struct mount *copy =
		mount_copy_tree(old->root, old->root->root,
				MOUNT_COPY_ALL | MOUNT_COPY_UNBINDABLE | (stranger ? MOUNT_COPY_DEMOTED : 0));
	if (!is_err(copy)) {
		n->root = copy;
		if (stranger)
			mount_lock_tree(copy);
		mount_tree_enter(copy, n);
		follow_copy(&fs->root, old, &was[0]);
		follow_copy(&fs->cwd, old, &was[1]);
	}
	rwsem_write_unlock(&mount_lock);
	mount_put(was[0]);
	mount_put(was[1]);
	if (!is_err(copy))
		return &n->common;
	namespace_put(&n->common);
	return (struct namespace *)copy;
}

static void destroy(struct namespace *common)
{
	struct mnt_namespace *n = of(common);
	struct list gone = LIST_INIT(gone);
	if (n->root) {
		rwsem_write_lock(&mount_lock);
		mount_detach_tree(n->root, false, &gone);
		rwsem_write_unlock(&mount_lock);
		mount_release(&gone);
	}
	kfree(n);
}

// Whoever enters one stands at its root.
static int enter(struct namespace *common, struct fs_context *fs)
{
	if (!cred_capable_own(current->cred, CAP_SYS_CHROOT))
		return -EPERM;
	path_put(&fs->root);
	path_put(&fs->cwd);
	mnt_namespace_root_get(of(common), &fs->root);
	fs->cwd = fs->root;
	path_get(&fs->cwd);
	return 0;
}

const struct namespace_type mnt_namespace_type = { .name = "mnt",
						   .kind = NAMESPACE_MNT,
						   .clone_flag = CLONE_NEWNS,
						   .create = create,
						   .enter = enter,
						   .destroy = destroy };

// ---- pivot_root ----

// tasklist_lock and t->lock held. How often `from` was replaced, whose references are the caller's then.
static unsigned replace(struct fs_context *fs, const struct path *from, const struct path *to)
{
	struct path *both[] = { &fs->root, &fs->cwd };
	unsigned n = 0;
	spin_lock(&fs->lock);
	for (unsigned i = 0; i < array_count(both); i++)
		if (both[i]->mount == from->mount && both[i]->dentry == from->dentry) {
			path_get(to);
			*both[i] = *to;
			n++;
		}
	spin_unlock(&fs->lock);
	return n;
}

// Every task that stood at the old root stands at the new one.
static void replace_roots(const struct path *from, const struct path *to)
{
	struct process *p;
	struct task *t;
	unsigned n = 0;
	spin_lock(&tasklist_lock);
	list_for_each (p, &process_list, node)
		list_for_each (t, &p->threads, thread_node) {
			spin_lock(&t->lock);
			if (t->fs)
				n += replace(t->fs, from, to);
			spin_unlock(&t->lock);
		}
	spin_unlock(&tasklist_lock);
	while (n--)
		path_put(from);
}

// mount_lock held.
static bool is_reachable(const struct path *p, const struct path *from)
{
	const struct mount *m = p->mount;
	struct dentry *d = p->dentry;
	for (; m != from->mount && m->parent; m = m->parent)
		d = m->mountpoint;
	return m == from->mount && dentry_is_below(d, from->dentry);
}

static int check_pivot(const struct path *root, const struct path *new, const struct path *old)
{
	const struct mnt_namespace *mine = mnt_namespace_mine();
	struct mount *n = new->mount, *r = root->mount;
	if (!n || !r || !old->mount || n->space != mine || r->space != mine || old->mount->space != mine || n->locked)
		return -EINVAL;
	if (old->mount->group || (n->parent && n->parent->group) || (r->parent && r->parent->group))
		return -EINVAL;
	if (n == r || old->mount == r)
		return -EBUSY;
	if (root->dentry != r->root || new->dentry != n->root || !n->parent)
		return -EINVAL;
	return is_reachable(old, new) && is_reachable(new, root) ? 0 : -EINVAL;
}

// The new root takes the old one's place, the old one lies on `old`, whose references it keeps.
static void pivot(struct mount *root, struct mount *new, const struct path *old, struct path *off)
{
	struct path place;
	mount_move(new, NULL, off);
	if (root->parent) {
		mount_move(root, old, &place);
		struct path none;
		mount_move(new, &place, &none);
	} else {
		mnt_namespace_mine()->root = new;
		mount_move(root, old, &place);
	}
	if (root->locked) {
		new->locked = true;
		root->locked = false;
	}
}

static int pivot_paths(struct path *new, struct path *old)
{
	struct path root, off = { NULL, NULL };
	fs_root_get(&root);
	rwsem_write_lock(&mount_lock);
	(void)mount_cross_down(old);
	int error = check_pivot(&root, new, old);
	if (!error) {
		path_get(old);
		pivot(root.mount, new->mount, old, &off);
	}
	rwsem_write_unlock(&mount_lock);
	if (!error) {
		replace_roots(&root, new);
		path_put(&off);
	}
	path_put(&root);
	return error;
}

long sys_pivot_root(struct uptr path, struct uptr old_path)
{
	if (!cred_capable_in(current->cred, mnt_namespace_mine()->common.owner, CAP_SYS_ADMIN))
		return -EPERM;
	struct path new, old;
	int error = path_lookup_user(AT_FDCWD, path, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &new);
	if (error)
		return error;
	error = path_lookup_user(AT_FDCWD, old_path, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &old);
	if (!error) {
		error = pivot_paths(&new, &old);
		path_put(&old);
	}
	path_put(&new);
	return error;
}
