// SPDX-License-Identifier: Apache-2.0
// Mounts: which superblock is seen where, and the mounts of the boot record.
//
// A mount point that the file system below does not have (a read-only host tree, say) is made up: a pinned dentry with a
// directory inode of ours, which exists in no file system but is looked up and listed like any other.
//
// Locks: mount_lock (rwsem) serialises changes of the tree and long readers; mount_hash_lock, a spinlock, guards the table
// that path walks consult and the parent and mountpoint fields.
#include "mount.h"

#include <linux/capability.h>
#include <linux/mount.h>

#include "kernel/init.h"
#include "kernel/pseudofs.h"
#include "lib/string.h"

#define HASH_BUCKETS 64u

struct rwsem mount_lock = RWSEM_INIT(mount_lock);
struct spinlock mount_hash_lock = SPINLOCK_INIT;
static struct list table[HASH_BUCKETS];
static int next_id = 1;

static void init(void)
{
	for (unsigned k = 0; k < HASH_BUCKETS; k++)
		list_init(&table[k]);
}
KERNEL_INIT(1, init);

struct list *mount_bucket(const struct mount *parent, const struct dentry *d)
{
	return &table[((uintptr_t)parent / 64 + (uintptr_t)d / 64) % HASH_BUCKETS];
}

// The next child that could not be lifted off `m` when that was detached: it went with it.
static struct mount *take_child(struct mount *m)
{
	struct mount *child = NULL;
	spin_lock(&mount_hash_lock);
	if (!list_empty(&m->children)) {
		child = list_first(&m->children, struct mount, child_node);
		list_remove(&child->child_node);
		list_remove(&child->hash_node);
		child->parent = NULL;
	}
	spin_unlock(&mount_hash_lock);
	return child;
}

void mount_put(struct mount *m)
{
	struct list dying = LIST_INIT(dying);
	struct mount *child;
	if (!m || !refcount_put(&m->refs))
		return;
	list_add(&dying, &m->gone_node);
	while (!list_empty(&dying)) {
		m = list_first(&dying, struct mount, gone_node);
		list_remove(&m->gone_node);
		while ((child = take_child(m))) {
			dentry_put(child->mountpoint);
			if (refcount_put(&child->refs))
				list_add_tail(&dying, &child->gone_node);
		}
		dentry_put(m->root);
		super_put(m->super);
		kfree(m);
	}
}

struct mount *mount_find(const struct mount *parent, const struct dentry *d)
{
	struct mount *m;
	list_for_each (m, mount_bucket(parent, d), hash_node)
		if (m->parent == parent && m->mountpoint == d)
			return m;
	return NULL;
}

bool mount_cross_down(struct path *p)
{
	bool moved = false;
	while (unlikely(p->dentry->flags & DENTRY_MOUNTPOINT) && p->mount) {
		spin_lock(&mount_hash_lock);
		struct mount *m = mount_find(p->mount, p->dentry);
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
	const struct mnt_namespace *mine = mnt_namespace_mine();
	bool found = false;
	struct mount *m;
	spin_lock(&mount_hash_lock);
	for (unsigned k = 0; k < HASH_BUCKETS && !found; k++)
		list_for_each (m, &table[k], hash_node)
			found |= m->mountpoint == d && m->space == mine;
	spin_unlock(&mount_hash_lock);
	return found;
}

unsigned mount_references(struct dentry *d)
{
	unsigned count = mnt_namespace_first.root && mnt_namespace_first.root->root == d;
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

uint32_t mount_flags_of(uint64_t flags)
{
	uint32_t f = (uint32_t)flags & MOUNT_FLAGS;
	if (f & MS_STRICTATIME)
		return f & ~(uint32_t)(MS_NOATIME | MS_RELATIME);
	return f & MS_NOATIME ? f & ~(uint32_t)MS_RELATIME : f | MS_RELATIME;
}

struct mount *mount_create(struct super *s, struct dentry *root, uint32_t flags, const char *source)
{
	struct mount *m = kalloc(sizeof(*m));
	if (!m)
		return NULL;
	refcount_set(&m->refs, 1);
	m->super = s; // consumes the reference
	m->root = root;
	dentry_get(root);
	m->flags = mount_flags_of(flags);
	m->id = __atomic_fetch_add(&next_id, 1, __ATOMIC_RELAXED);
	list_init(&m->children);
	list_init(&m->child_node);
	list_init(&m->hash_node);
	list_init(&m->peer_node);
	list_init(&m->slaves);
	list_init(&m->slave_node);
	list_init(&m->heard_node);
	list_init(&m->gone_node);
	string_copy(m->source, source && source[0] ? source : s->type->name, sizeof(m->source));
	return m;
}

static bool may_use_type(const struct fs_type *t)
{
	const struct cred *c = current->cred;
	if (c->user_namespace && !(t->flags & FS_USERNS))
		return false;
	return !t->owner || cred_capable_in(c, t->owner(), CAP_SYS_ADMIN);
}

// Devices that the root of a user namespace makes, or finds, on a file system of its own are not to be opened.
static void set_owner(struct super *s)
{
	struct user_namespace *n = current->cred->user_namespace;
	if (!n)
		return;
	namespace_get(&n->common);
	s->owner = n;
	if (!(s->type->flags & FS_DEVICES))
		s->flags |= SUPER_NODEV;
}

bool mount_may_suid(const struct mount *m)
{
	const struct user_namespace *owner = m->super->owner;
	return !(m->flags & MS_NOSUID) && m->space == mnt_namespace_mine() &&
	       (!owner || user_namespace_is_below(cred_namespace(current->cred), owner));
}

int super_mount(struct fs_type *t, const char *source, uint32_t flags, const char *options, struct super **out)
{
	if (!may_use_type(t))
		return -EPERM;
	struct super *s = t->of_caller ? t->of_caller() : NULL;
	if (!s)
		s = super_create(t);
	if (!s)
		return -ENOMEM;
	if (!s->root) {
		s->flags |= flags & MS_RDONLY;
		set_owner(s);
		int error = t->mount(s, source, options);
		if (error) {
			super_put(s);
			return error;
		}
	}
	*out = s;
	return 0;
}

static bool is_written(const struct super *s)
{
	struct mount *m, *top = mnt_namespace_mine()->root;
	uint32_t writers = top->super == s ? __atomic_load_n(&top->writers, __ATOMIC_RELAXED) : 0;
	spin_lock(&mount_hash_lock);
	for (unsigned k = 0; k < HASH_BUCKETS; k++)
		list_for_each (m, &table[k], hash_node)
			if (m->super == s)
				writers |= __atomic_load_n(&m->writers, __ATOMIC_RELAXED);
	spin_unlock(&mount_hash_lock);
	return writers;
}

int super_reconfigure(struct super *s, uint32_t readonly, const char *options)
{
	if (!cred_capable_in(current->cred, s->owner ? s->owner : &user_namespace_initial, CAP_SYS_ADMIN))
		return -EPERM;
	if (!readonly && s->flags & SUPER_GRANTED_RDONLY)
		return -EACCES;
	if (readonly & ~s->flags && is_written(s))
		return -EBUSY;
	int error = options && s->type->reconfigure ? s->type->reconfigure(s, options) : 0;
	if (!error)
		__atomic_store_n(&s->flags, (s->flags & ~SUPER_RDONLY) | readonly, __ATOMIC_RELAXED);
	return error;
}

// Puts `m` on `at`, which it consumes.
static int attach_new(struct mount *m, struct path *at)
{
	int error;

	rwsem_write_lock(&mount_lock);
	error = mount_attach_tree(m, at);
	rwsem_write_unlock(&mount_lock);
	if (error)
		path_put(at);
	return error;
}

int mount_new(const char *type, const char *source, uint32_t flags, const char *options, struct mount **out)
{
	struct fs_type *t = fs_type_find(type);
	struct super *s;
	int error = t ? super_mount(t, source, flags, options, &s) : -ENODEV;
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
	if (!mnt_namespace_first.root) {
		mnt_namespace_first.root = m;
		mount_tree_enter(m, &mnt_namespace_first);
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
	if (m->super->flags & SUPER_RDONLY)
		m->super->flags |= SUPER_GRANTED_RDONLY;
	error = attach_made_up(m, target);
	if (error)
		mount_put(m);
	return error;
}

// ---- statfs ----

int mount_statfs(const struct path *p, struct statfs64_kernel *out)
{
	struct super *s = p->dentry->inode->super;
	*out = (struct statfs64_kernel){
		.type = s->magic, .block_size = PAGE_SIZE, .fragment_size = PAGE_SIZE, .name_max = NAME_MAX_BYTES
	};
	int error = s->ops && s->ops->statfs ? s->ops->statfs(s, out) : 0;
	if (error)
		return error;
	if (!out->fsid)
		out->fsid = s->dev;
	// ST_VALID and the mount's own flags, as statfs(2) reports them.
	out->flags |= 0x20 | (mount_is_readonly(p->mount) ? 1 : 0);
	if (p->mount)
		out->flags |= (p->mount->flags & (0xe | MS_NOATIME | MS_NODIRATIME)) |
			      (p->mount->flags & MS_RELATIME ? 4096 : 0) |
			      (p->mount->flags & MS_NOSYMFOLLOW ? 8192 : 0);
	return 0;
}
