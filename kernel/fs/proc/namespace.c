// SPDX-License-Identifier: Apache-2.0
// /proc/PID/ns: links that lead to files which stand for namespaces, each with one inode on a file system of their own. proc(5),
// ioctl_ns(2).
#include "kernel/namespace.h"

#include <linux/capability.h>
#include <linux/magic.h>
#include <linux/nsfs.h>

#include "kernel/init.h"
#include "kernel/uaccess.h"
#include "lib/fmt.h"
#include "lib/string.h"
#include "proc.h"

static struct super *nsfs;

static const struct file_ops namespace_file_ops;

// NULL: nobody was born there yet.
static struct namespace *children_namespace(struct task *t)
{
	struct namespace *n = task_namespace_get(t, NAMESPACE_PID);

	if (n && n != &pid_namespace_first.common && !container_of(n, struct pid_namespace, common)->last) {
		namespace_put(n);
		return NULL;
	}
	return n;
}

// The namespace a link's name means for a task, referenced; NULL: there is none of that kind, or the task has ended.
static struct namespace *namespace_named(struct task *t, const char *name)
{
	if (!strcmp(name, "pid")) {
		struct namespace *n = &task_pid_namespace(t)->common;
		namespace_get(n);
		return n;
	}
	if (!strcmp(name, "pid_for_children"))
		return children_namespace(t);
	for (unsigned k = 0; k < NAMESPACE_KINDS; k++)
		if (!strcmp(namespace_types[k]->name, name))
			return task_namespace_get(t, k);
	return NULL;
}

// Of the kinds that a cell has one of; 0: it is none of them.
static uint32_t only_number(const char *name) { return !strncmp(name, "time", 4) ? NAMESPACE_INO_TIME : 0; }

ssize_t proc_namespace_readlink(struct pseudo *n, char *buffer, size_t size)
{
	const char *name = n->entry->name;
	int error = ptrace_may_access(proc_task(n));

	if (error)
		return error;
	struct namespace *space = namespace_named(proc_task(n), name);
	uint32_t number = space ? space->ino : only_number(name);
	namespace_put(space);
	if (!number)
		return -ENOENT;
	const char *rest = strchr(name, '_'); // "_for_children"
	return fmt_print(buffer, size, "%.*s:[%u]", (int)(rest ? rest - name : (ptrdiff_t)strlen(name)), name, number);
}

// ---- the files ----

static struct inode *inode_of(struct namespace *n)
{
	bool is_new;
	struct inode *i = inode_get_cached(nsfs, n->ino, &is_new);

	if (!i || !is_new)
		return i;
	namespace_get(n);
	i->private = n;
	i->mode = S_IFREG | 0444;
	i->nlink = 1;
	i->file_ops = &namespace_file_ops;
	i->atime = i->mtime = i->ctime = timestamp_now();
	inode_ready(i, true);
	return i;
}

static int path_of(struct namespace *n, struct path *out)
{
	char name[32];
	struct inode *i = inode_of(n);

	if (!i)
		return -ENOMEM;
	size_t length = (size_t)fmt_print(name, sizeof(name), "%s:[%u]", n->type->name, n->ino);
	struct dentry *d = dentry_create(NULL, name, length);
	if (!d) {
		inode_put(i);
		return -ENOMEM;
	}
	d->super = nsfs;
	dentry_instantiate(d, i);
	*out = (struct path){ NULL, d };
	return 0;
}

int proc_namespace_follow(struct pseudo *n, struct path *out)
{
	int error = ptrace_may_access(proc_task(n));

	if (error)
		return error;
	struct namespace *space = namespace_named(proc_task(n), n->entry->name);
	error = space ? path_of(space, out) : -ENOENT;
	namespace_put(space);
	return error;
}

struct namespace *namespace_of_inode(const struct inode *i)
{
	return i->file_ops == &namespace_file_ops ? i->private : NULL;
}

struct namespace *namespace_of_file(const struct file *f) { return namespace_of_inode(f->inode); }

long namespace_open(struct namespace *n)
{
	struct path p;
	int error = path_of(n, &p);

	if (error)
		return error;
	struct file *f = file_open_path(&p, O_RDONLY);
	path_put(&p);
	return is_err(f) ? ptr_err(f) : fd_install_new(f, true);
}

// What the caller's user namespace may know of: itself and what is below.
static long open_user(struct user_namespace *n)
{
	return n && user_namespace_is_below(n, cred_namespace(current->cred)) ? namespace_open(&n->common) : -EPERM;
}

static long open_parent(struct namespace *n)
{
	struct pid_namespace *parent = container_of(n, struct pid_namespace, common)->parent;

	return parent && pid_namespace_is_below(parent, task_pid_namespace(current)) ? namespace_open(&parent->common)
										     : -EPERM;
}

static long namespace_ioctl(struct file *f, unsigned command, uint64_t argument)
{
	struct namespace *n = f->inode->private;
	bool is_user = n->type->kind == NAMESPACE_USER;

	switch (command) {
	case NS_GET_NSTYPE: return n->type->clone_flag;
	case NS_GET_USERNS: return open_user(n->owner);
	case NS_GET_PARENT:
		return is_user ? open_user(n->owner) : n->type->kind == NAMESPACE_PID ? open_parent(n) : -EINVAL;
	case NS_GET_OWNER_UID:
		if (!is_user)
			return -EINVAL;
		return put_user(uid_shown(current->cred, container_of(n, struct user_namespace, common)->owner),
				(struct uptr){ argument });
	default: return -ENOTTY;
	}
}

static const struct file_ops namespace_file_ops = { .ioctl = namespace_ioctl };

// ---- ids of a user namespace: uid_map, gid_map, projid_map, setgroups; which one is the entry's data ----

const enum id_kind proc_id_kinds[ID_KINDS] = { ID_USER, ID_GROUP, ID_PROJECT };

static struct user_namespace *user_namespace_get(struct pseudo *n)
{
	return container_of(task_namespace_get(proc_task(n), NAMESPACE_USER), struct user_namespace, common);
}

int proc_id_map_show(struct seq *s, struct pseudo *n)
{
	struct user_namespace *space = user_namespace_get(n);

	user_namespace_map_show(space, *(const enum id_kind *)n->entry->data, s->file->cred, s);
	namespace_put(&space->common);
	return 0;
}

ssize_t proc_id_map_write(struct pseudo *n, struct file *f, const char *data, size_t size)
{
	struct user_namespace *space = user_namespace_get(n);
	int error = f->position || size >= PAGE_SIZE
			    ? -EINVAL
			    : user_namespace_map_write(space, *(const enum id_kind *)n->entry->data, f->cred, data);

	namespace_put(&space->common);
	return error ? error : (ssize_t)size;
}

int proc_setgroups_show(struct seq *s, struct pseudo *n)
{
	struct user_namespace *space = user_namespace_get(n);

	seq_puts(s, __atomic_load_n(&space->setgroups_allowed, __ATOMIC_ACQUIRE) ? "allow\n" : "deny\n");
	namespace_put(&space->common);
	return 0;
}

int proc_setgroups_open(struct pseudo *n, struct file *f)
{
	struct user_namespace *space = user_namespace_get(n);
	bool may = !(f->mode & FILE_WRITE) || cred_capable_in(current->cred, space, CAP_SYS_ADMIN);

	namespace_put(&space->common);
	return may ? 0 : -EACCES;
}

ssize_t proc_setgroups_write(struct pseudo *n, struct file *f, const char *data, size_t size)
{
	struct user_namespace *space = user_namespace_get(n);
	int error = f->position || size >= 8 ? -EINVAL : user_namespace_setgroups_write(space, data);

	namespace_put(&space->common);
	return error ? error : (ssize_t)size;
}

// ---- their file system ----

static void evict_inode(struct inode *i)
{
	namespace_put(i->private);
	i->private = NULL;
}

static const struct super_ops nsfs_ops = { .evict_inode = evict_inode };
static struct fs_type nsfs_type = { .name = "nsfs", .flags = FS_NODEV | FS_BIND_ANY };

static void init(void)
{
	nsfs = super_create(&nsfs_type);
	assert(nsfs);
	nsfs->ops = &nsfs_ops;
	nsfs->magic = NSFS_MAGIC;
}
KERNEL_INIT(2, init);
