// SPDX-License-Identifier: Apache-2.0
// Mounts: which superblock is seen where. mount(2), umount(2), and the mounts of the boot record.
//
// A mount point that the file system below does not have (a read-only host tree, say) is made up: a pinned dentry with a
// directory inode of ours, which exists in no file system but is looked up and listed like any other.
//
// Locks: mount_lock (rwsem) serialises changes of the tree and long readers; mount_hash_lock, a spinlock, guards the table
// that path walks consult and the parent and mountpoint fields.
#include "internal.h"

#include <linux/capability.h>
#include <linux/mount.h>

#include "kernel/init.h"
#include "kernel/pseudofs.h"
#include "lib/string.h"

#define HASH_BUCKETS    64u
// umount2(2); <sys/mount.h> has these, no kernel header does.
#define UMOUNT_FORCE    1
#define UMOUNT_DETACH   2
#define UMOUNT_EXPIRE   4
#define UMOUNT_NOFOLLOW 8
#define MOUNT_FLAGS     (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME | MS_RELATIME)

struct rwsem mount_lock = RWSEM_INIT(mount_lock);
struct mount *root_mount;

struct spinlock mount_hash_lock = SPINLOCK_INIT;
static struct list table[HASH_BUCKETS];
static int next_id = 1;

static void init(void)
{
	for (unsigned k = 0; k < HASH_BUCKETS; k++)
		list_init(&table[k]);
}
KERNEL_INIT(1, init);

static struct list *bucket(const struct mount *parent, const struct dentry *d)
{
	return &table[((uintptr_t)parent / 64 + (uintptr_t)d / 64) % HASH_BUCKETS];
}

void mount_put(struct mount *m)
{
	if (!m || !refcount_put(&m->refs))
		return;
	dentry_put(m->root);
	super_put(m->super);
	kfree(m);
}

static struct mount *find(const struct mount *parent, const struct dentry *d) // mount_hash_lock
{
	struct mount *m;
	list_for_each (m, bucket(parent, d), hash_node)
		if (m->parent == parent && m->mountpoint == d)
			return m;
	return NULL;
}

bool mount_cross_down(struct path *p)
{
	bool moved = false;
	while (unlikely(p->dentry->flags & DENTRY_MOUNTPOINT) && p->mount) {
		spin_lock(&mount_hash_lock);
		struct mount *m = find(p->mount, p->dentry);
		if (m)
			mount_get(m);
		spin_unlock(&mount_hash_lock);
		if (!m)
			break;
		dentry_get(m->root);
		path_put(p);
		*p = (struct path){ m, m->root };
		moved = true;
	}
	return moved;
}

bool mount_cross_up(struct path *p)
{
	struct path up = { NULL, NULL };
	spin_lock(&mount_hash_lock);
	if (p->mount && p->mount->parent) {
		up = (struct path){ p->mount->parent, p->mount->mountpoint };
		path_get(&up);
	}
	spin_unlock(&mount_hash_lock);
	if (!up.mount)
		return false;
	path_put(p);
	*p = up;
	return true;
}

bool mount_is_on(struct dentry *d)
{
	if (likely(!(d->flags & DENTRY_MOUNTPOINT)))
		return false; // the flag is never taken back: it says "look"
	bool found = false;
	struct mount *m;
	spin_lock(&mount_hash_lock);
	for (unsigned k = 0; k < HASH_BUCKETS && !found; k++)
		list_for_each (m, &table[k], hash_node)
			found |= m->mountpoint == d;
	spin_unlock(&mount_hash_lock);
	return found;
}

unsigned mount_references(struct dentry *d)
{
	unsigned count = root_mount && root_mount->root == d;
	struct mount *m;
	for (unsigned k = 0; k < HASH_BUCKETS; k++)
		list_for_each (m, &table[k], hash_node)
			count += (m->mountpoint == d) + (m->root == d);
	return count;
}

bool mount_is_readonly(const struct mount *m) { return m && ((m->flags | m->super->flags) & MS_RDONLY); }

int mount_want_write(const struct path *p) { return mount_is_readonly(p->mount) ? -EROFS : 0; }

// ---- made-up mount points ----

static int made_up_lookup(struct inode *dir, struct dentry *d) { return 0; } // negative
static int made_up_refuse(struct inode *i, const struct attr_change *c) { return -EROFS; }
static int made_up_iterate(struct file *f, struct dir_context *c)
{
	dir_emit_dots(f, c);
	return 0; // readdir.c adds the made-up children
}
static const struct inode_ops made_up_ops = { .lookup = made_up_lookup, .setattr = made_up_refuse };
static const struct file_ops made_up_file_ops = { .iterate = made_up_iterate };

static struct inode *made_up_inode(struct super *seen_in)
{
	struct inode *i =
		inode_create(anonymous_super, __atomic_fetch_add(&anonymous_super->next_ino, 1, __ATOMIC_RELAXED));
	if (!i)
		return NULL;
	i->mode = S_IFDIR | 0755;
	i->nlink = 2;
	i->ops = &made_up_ops;
	i->file_ops = &made_up_file_ops;
	i->atime = i->mtime = i->ctime = timestamp_now();
	return i;
}

static int make_up(struct path *parent, const char *name, size_t length)
{
	struct inode *dir = parent->dentry->inode;
	if (!inode_is_dir(dir))
		return -ENOTDIR;
	struct inode *i = made_up_inode(dir->super);
	struct dentry *d = i ? dentry_create(parent->dentry, name, length) : NULL;
	if (!d) {
		inode_put(i);
		return -ENOMEM;
	}
	mutex_lock(&dir->lock);
	struct dentry *old = dentry_lookup_cached(parent->dentry, name, length);
	if (old) {
		dentry_drop(old);
		dentry_put(old);
	}
	d->ops = NULL;
	d->flags = DENTRY_PINNED | DENTRY_MADE_UP;
	dentry_instantiate(d, i);
	dentry_hash(d);
	parent->dentry->flags |= DENTRY_HAS_MADE_UP;
	mutex_unlock(&dir->lock);
	dentry_get(parent->dentry); // a directory with made-up children stays
	return 0;                   // our reference to d is the pin's
}

// Resolves `target`, making up what is missing. Recursion: one level a component of a path of the launcher's
static int resolve_target(char *target, struct path *out, unsigned depth)
{
	int error = path_lookup(AT_FDCWD, target, LOOKUP_FOLLOW, out);
	if (error != -ENOENT || depth > 32)
		return error;
	size_t length = strlen(target);
	while (length > 1 && target[length - 1] == '/')
		target[--length] = 0;
	char *name = strrchr(target, '/');
	if (!name || !name[1])
		return -ENOENT;
	struct path parent;
	char saved = name == target ? target[1] : 0;
	*(name == target ? name + 1 : name) = 0;
	error = resolve_target(target, &parent, depth + 1);
	*name = '/';
	if (saved)
		name[1] = saved;
	if (error)
		return error;
	error = make_up(&parent, name + 1, strlen(name + 1));
	path_put(&parent);
	return error ? error : path_lookup(AT_FDCWD, target, LOOKUP_FOLLOW, out);
}

// ---- attaching ----

static struct mount *mount_create(struct super *s, struct dentry *root, uint32_t flags, const char *source)
{
	struct mount *m = kalloc(sizeof(*m));
	if (!m)
		return NULL;
	refcount_set(&m->refs, 1);
	m->super = s; // consumes the reference
	m->root = root;
	dentry_get(root);
	m->flags = flags & MOUNT_FLAGS;
	m->id = __atomic_fetch_add(&next_id, 1, __ATOMIC_RELAXED);
	list_init(&m->children);
	list_init(&m->child_node);
	list_init(&m->hash_node);
	string_copy(m->source, source && source[0] ? source : s->type->name, sizeof(m->source));
	return m;
}

// Puts `m` on `at`, whose references it keeps. mount_lock is held for writing.
static int attach(struct mount *m, struct path *at)
{
	if (inode_is_dir(m->root->inode) != inode_is_dir(at->dentry->inode))
		return -ENOTDIR;
	spin_lock(&mount_hash_lock);
	m->parent = at->mount;
	m->mountpoint = at->dentry;
	list_add(bucket(at->mount, at->dentry), &m->hash_node);
	list_add_tail(&at->mount->children, &m->child_node);
	spin_unlock(&mount_hash_lock);
	__atomic_or_fetch(&at->dentry->flags, DENTRY_MOUNTPOINT, __ATOMIC_RELEASE);
	return 0;
}

// Takes it off the tree: its mount point's references and the tree's own pass to the caller through *at.
static void detach(struct mount *m, struct path *at)
{
	spin_lock(&mount_hash_lock);
	*at = (struct path){ m->parent, m->mountpoint };
	list_remove(&m->hash_node);
	list_remove(&m->child_node);
	m->parent = NULL;
	m->mountpoint = NULL;
	spin_unlock(&mount_hash_lock);
	// DENTRY_MOUNTPOINT stays: another mount of the same superblock may use the dentry, and it is only a hint.
}

static int fill_super(const char *type, const char *source, uint32_t flags, const char *options, struct super **out)
{
	struct fs_type *t = fs_type_find(type);
	if (!t)
		return -ENODEV;
	struct super *s = t->of_caller ? t->of_caller() : NULL;
	if (!s)
		s = super_create(t);
	if (!s)
		return -ENOMEM;
	if (!s->root) {
		s->flags |= flags & MS_RDONLY;
		int error = t->mount(s, source, options);
		if (error) {
			super_put(s);
			return error;
		}
	}
	*out = s;
	return 0;
}

// Puts `m` on `at`, which it consumes.
static int attach_new(struct mount *m, struct path *at)
{
	int error;

	rwsem_write_lock(&mount_lock);
	error = attach(m, at);
	rwsem_write_unlock(&mount_lock);
	if (error)
		path_put(at);
	return error;
}

static int mount_new(const char *type, const char *source, uint32_t flags, const char *options, struct mount **out)
{
	struct super *s;
	int error = fill_super(type, source, flags, options, &s);
	if (error)
		return error;
	*out = mount_create(s, s->root, flags, source);
	if (*out)
		return 0;
	super_put(s);
	return -ENOMEM;
}

static int attach_made_up(struct mount *m, const char *target)
{
	if (!root_mount) {
		root_mount = m;
		return strcmp(target, "/") ? -EINVAL : 0;
	}
	char *copy = kstrdup(target);
	struct path at;
	int error = copy ? resolve_target(copy, &at, 0) : -ENOMEM;
	kfree(copy);
	return error ? error : attach_new(m, &at);
}

int mount_at(const char *type, const char *source, const char *target, uint32_t flags, const char *options)
{
	struct mount *m;
	int error = mount_new(type, source, flags, options, &m);
	if (error)
		return error;
	error = attach_made_up(m, target);
	if (error)
		mount_put(m);
	return error;
}

static int bind_new(const char *source, uint32_t flags, struct mount **out)
{
	struct path from;
	int error = path_lookup(AT_FDCWD, source, LOOKUP_FOLLOW, &from);
	if (error)
		return error;
	struct mount *m = NULL;
	if (from.mount) {
		refcount_get(&from.mount->super->refs);
		m = mount_create(from.mount->super, from.dentry, from.mount->flags | flags, from.mount->source);
		if (!m)
			super_put(from.mount->super);
	}
	path_put(&from);
	*out = m;
	return m ? 0 : -ENOMEM;
}

static int remount(const char *target, uint32_t flags)
{
	struct path p;
	int error = path_lookup(AT_FDCWD, target, LOOKUP_FOLLOW, &p);
	if (error)
		return error;
	if (p.dentry != p.mount->root)
		error = -EINVAL;
	// What the launcher granted read-only stays so: a superblock's own flag is never taken away.
	else
		p.mount->flags = flags & MOUNT_FLAGS;
	path_put(&p);
	return error;
}

// ---- system calls ----

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
	if ((flags & MS_MGC_MSK) == MS_MGC_VAL)
		flags &= ~(uint64_t)MS_MGC_MSK;
	if (flags & MS_REMOUNT)
		return remount(target, (uint32_t)flags);
	if (!(flags & MS_BIND) && flags & (MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE))
		return 0; // there is one mount namespace: nothing propagates
	if (flags & MS_BIND ? !source : flags & MS_MOVE || !type)
		return -EINVAL;
	struct path at;
	struct mount *m;
	int error = path_lookup(AT_FDCWD, target, LOOKUP_FOLLOW, &at); // a program's mount point must exist
	if (error)
		return error;
	error = flags & MS_BIND ? bind_new(source, (uint32_t)flags, &m)
				: mount_new(type, source, (uint32_t)flags, data, &m);
	if (error) {
		path_put(&at);
		return error;
	}
	error = attach_new(m, &at);
	if (error)
		mount_put(m);
	return error;
}

long sys_mount(struct uptr source_path, struct uptr path, struct uptr type_name, uint64_t flags, struct uptr data)
{
	if (!cred_capable(current->cred, CAP_SYS_ADMIN))
		return -EPERM;
	char *source = NULL, *target = NULL, *type = NULL, *options = NULL;
	long result = string_argument(path, &target);
	if (!result && !target)
		result = -EFAULT;
	if (!result)
		result = string_argument(source_path, &source);
	if (!result)
		result = string_argument(type_name, &type);
	if (!result && !(flags & MS_REMOUNT))
		result = string_argument(data, &options);
	if (!result)
		result = mount_strings(source, target, type, flags, options);
	path_string_free(source);
	path_string_free(target);
	path_string_free(type);
	path_string_free(options);
	return result;
}

static int unmount(struct path *p, int flags)
{
	struct mount *m = p->mount;
	struct path at;
	if (p->dentry != m->root || m == root_mount)
		return m == root_mount && p->dentry == m->root ? -EBUSY : -EINVAL;
	rwsem_write_lock(&mount_lock);
	// Ours and the tree's reference; more means open files, directories or mounts in it.
	if (!(flags & UMOUNT_DETACH) && (refcount_read(&m->refs) > 2 || !list_empty(&m->children))) {
		rwsem_write_unlock(&mount_lock);
		return -EBUSY;
	}
	detach(m, &at);
	rwsem_write_unlock(&mount_lock);
	path_put(&at);
	mount_put(m);
	return 0;
}

long sys_umount2(struct uptr path, int flags)
{
	if (flags & ~(UMOUNT_FORCE | UMOUNT_DETACH | UMOUNT_EXPIRE | UMOUNT_NOFOLLOW))
		return -EINVAL;
	if (!cred_capable(current->cred, CAP_SYS_ADMIN))
		return -EPERM;
	struct path p;
	long result = path_lookup_user(AT_FDCWD, path, flags & UMOUNT_NOFOLLOW ? 0 : LOOKUP_FOLLOW, &p);
	if (result)
		return result;
	result = unmount(&p, flags);
	path_put(&p);
	return result;
}

// ---- what is mounted ----

static void show_options(struct seq *s, uint32_t flags)
{
	seq_puts(s, flags & MS_RDONLY ? "ro" : "rw");
	seq_puts(s, flags & MS_NOSUID ? ",nosuid" : "");
	seq_puts(s, flags & MS_NODEV ? ",nodev" : "");
	seq_puts(s, flags & MS_NOEXEC ? ",noexec" : "");
	seq_puts(s, flags & MS_NOATIME ? ",noatime" : ",relatime");
}

static void show_one(struct seq *s, struct mount *m, const char *where, int kind)
{
	char options[128] = "";
	if (m->super->ops->show_options)
		m->super->ops->show_options(m->super, options, sizeof(options));
	const char *type = m->super->type->name;
	if (kind == 2) {
		seq_puts(s, "device ");
		seq_puts_escaped(s, m->source, SEQ_ESCAPED_FIELD);
		seq_puts(s, " mounted on ");
		seq_puts_escaped(s, where, SEQ_ESCAPED_FIELD);
		seq_printf(s, " with fstype %s\n", type);
		return;
	}
	if (kind == 1) {
		seq_printf(s, "%d %d %u:%u ", m->id, m->parent ? m->parent->id : 0, DEV_MAJOR(m->super->dev),
			   DEV_MINOR(m->super->dev));
		char root[256];
		struct path inside = { NULL, m->root };
		char *text = path_print(&inside, root, sizeof(root));
		seq_puts_escaped(s, is_err(text) ? "/" : text, SEQ_ESCAPED_FIELD);
		seq_putc(s, ' ');
		seq_puts_escaped(s, where, SEQ_ESCAPED_FIELD);
		seq_putc(s, ' ');
		show_options(s, m->flags);
		seq_printf(s, " - %s ", type);
		seq_puts_escaped(s, m->source, SEQ_ESCAPED_FIELD);
		seq_printf(s, " %s%s%s\n", m->super->flags & MS_RDONLY ? "ro" : "rw", options[0] ? "," : "", options);
		return;
	}
	seq_puts_escaped(s, m->source, SEQ_ESCAPED_FIELD);
	seq_putc(s, ' ');
	seq_puts_escaped(s, where, SEQ_ESCAPED_FIELD);
	seq_printf(s, " %s ", type);
	show_options(s, m->flags | m->super->flags);
	seq_printf(s, "%s%s 0 0\n", options[0] ? "," : "", options);
}

static struct mount *next_in_tree(struct mount *m, struct mount *top) // mount_lock
{
	if (!list_empty(&m->children))
		return list_first(&m->children, struct mount, child_node);
	while (m != top) {
		if (m->child_node.next != &m->parent->children)
			return list_first(&m->child_node, struct mount, child_node);
		m = m->parent;
	}
	return NULL;
}

void mounts_show(struct seq *s, int kind)
{
	char *buffer = kalloc(PATH_MAX_BYTES);
	if (!buffer) {
		s->failed = true;
		return;
	}
	rwsem_read_lock(&mount_lock);
	for (struct mount *m = root_mount; m; m = next_in_tree(m, root_mount)) {
		struct path p = { m, m->root };
		char *where = path_print(&p, buffer, PATH_MAX_BYTES);
		if (!is_err(where) && where[0] == '/')
			show_one(s, m, where, kind);
	}
	rwsem_read_unlock(&mount_lock);
	kfree(buffer);
}

int mount_statfs(const struct path *p, struct statfs64_kernel *out)
{
	*out = (struct statfs64_kernel){ .type = 0 };
	struct super *s = p->dentry->inode->super;
	if (!s->ops || !s->ops->statfs)
		return -ENOSYS;
	int error = s->ops->statfs(s, out);
	if (error)
		return error;
	if (!out->fsid)
		out->fsid = s->dev;
	// ST_VALID and the mount's own flags, as statfs(2) reports them.
	out->flags |= 0x20 | (mount_is_readonly(p->mount) ? 1 : 0);
	if (p->mount)
		out->flags |= (p->mount->flags & 0xe) | (p->mount->flags & MS_NOATIME ? 1024 : 0) |
			      (p->mount->flags & MS_RELATIME ? 4096 : 0);
	return 0;
}
