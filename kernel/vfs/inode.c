// SPDX-License-Identifier: Apache-2.0
// Inodes: life, the per-superblock table of file systems with numbers of their own, who may write what, attributes.
//
// An inode in the table is found without a reference of the table's own: the last reference is given up under
// super.hash_lock, so a lookup there sees only live ones. Dirty pages are written before that.
// Special inodes (devices, FIFOs, sockets) get their operations here.
#include "internal.h"

#include <linux/capability.h>
#include <linux/mount.h>

#include "kernel/init.h"
#include "kernel/leak.h"
#include "kernel/timer.h"
#include "lib/hash.h"
#include "lib/string.h"

#define HASH_BUCKETS     1024u  // at first
#define HASH_BUCKETS_MAX 65536u // each step is four times the last
#define RELATIME_SECONDS (24 * 60 * 60)

uint64_t inode_count;
static struct slab_cache *inode_cache;
static struct waitq ready_wait = WAITQ_INIT(ready_wait); // of inodes being filled

static void init(void) { inode_cache = slab_cache_create("inode", sizeof(struct inode), 8); }
KERNEL_INIT(1, init);

struct timestamp timestamp_now(void)
{
	uint64_t now = (uint64_t)clock_realtime_ns();
	return (struct timestamp){ .seconds = (int64_t)(now / NSEC_PER_SEC),
				   .nanoseconds = (uint32_t)(now % NSEC_PER_SEC) };
}

static int timestamp_compare(const struct timestamp *a, const struct timestamp *b)
{
	if (a->seconds != b->seconds)
		return a->seconds < b->seconds ? -1 : 1;
	return a->nanoseconds < b->nanoseconds ? -1 : a->nanoseconds > b->nanoseconds;
}

// ---- life ----

struct inode *inode_create(struct super *s, ino_t ino)
{
	struct inode *i = slab_alloc(inode_cache);
	if (!i)
		return NULL;
	static const struct inode_ops no_ops;
	refcount_set(&i->refs, 1);
	i->ops = &no_ops;
	i->super = s;
	i->ino = ino;
	i->nlink = 1;
	i->state = INODE_UNHASHED;
	mutex_init(&i->lock);
	list_init(&i->hash_node);
	list_init(&i->dentries);
	spin_init(&i->alias_lock);
	list_init(&i->locks);
	list_init(&i->locks_node);
	spin_init(&i->locks_lock);
	__atomic_fetch_add(&inode_count, 1, __ATOMIC_RELAXED);
	return i;
}

static struct list *hash_bucket(struct super *s, ino_t ino)
{
	return &s->inode_hash[hash_u64(ino) % s->inode_hash_size];
}

// Makes the table, or a larger one, when it is full. Without memory chains grow longer.
static void hash_grow(struct super *s)
{
	unsigned old_size = s->inode_hash_size, size = old_size ? old_size * 4 : HASH_BUCKETS;
	if (__atomic_load_n(&s->inode_hash_count, __ATOMIC_RELAXED) < old_size || size > HASH_BUCKETS_MAX)
		return;
	struct list *table = kalloc_array(size, sizeof(*table)), *old = table;
	for (unsigned k = 0; table && k < size; k++)
		list_init(&table[k]);
	spin_lock(&s->hash_lock);
	if (table && s->inode_hash_size == old_size) {
		old = s->inode_hash;
		s->inode_hash = table;
		s->inode_hash_size = size;
		leak_pages_kept(inode_hash_pages(size) - inode_hash_pages(old_size));
		for (unsigned k = 0; k < old_size; k++)
			while (!list_empty(&old[k])) {
				struct inode *i = list_first(&old[k], struct inode, hash_node);
				list_remove(&i->hash_node);
				list_add(hash_bucket(s, i->ino), &i->hash_node);
			}
	}
	spin_unlock(&s->hash_lock);
	kfree(old);
}

static struct inode *hash_find(struct super *s, ino_t ino) // hash lock
{
	struct inode *i;
	list_for_each (i, hash_bucket(s, ino), hash_node)
		if (i->ino == ino) {
			inode_get(i);
			return i;
		}
	return NULL;
}

struct inode *inode_find(struct super *s, ino_t ino)
{
	if (!s->inode_hash)
		return NULL;
	spin_lock(&s->hash_lock);
	struct inode *i = NULL, *at;
	list_for_each (at, hash_bucket(s, ino), hash_node)
		if (at->ino == ino && !(__atomic_load_n(&at->state, __ATOMIC_ACQUIRE) & INODE_NEW)) {
			inode_get(at);
			i = at;
			break;
		}
	spin_unlock(&s->hash_lock);
	return i;
}

static bool inode_is_ready(struct inode *i) { return !(__atomic_load_n(&i->state, __ATOMIC_ACQUIRE) & INODE_NEW); }

struct inode *inode_get_cached(struct super *s, ino_t ino, bool *is_new)
{
	*is_new = false;
	hash_grow(s);
	if (!s->inode_hash)
		return NULL;
	for (;;) {
		spin_lock(&s->hash_lock);
		struct inode *i = hash_find(s, ino);
		spin_unlock(&s->hash_lock);
		if (!i) {
			struct inode *fresh = inode_create(s, ino);
			if (!fresh)
				return NULL;
			fresh->state = INODE_NEW;
			spin_lock(&s->hash_lock);
			i = hash_find(s, ino);
			if (!i) {
				list_add(hash_bucket(s, ino), &fresh->hash_node);
				s->inode_hash_count++;
			}
			spin_unlock(&s->hash_lock);
			if (!i) {
				*is_new = true;
				return fresh;
			}
			fresh->state = INODE_UNHASHED | INODE_DEAD;
			slab_free(inode_cache, fresh);
			__atomic_fetch_sub(&inode_count, 1, __ATOMIC_RELAXED);
		}
		if (!inode_is_ready(i))
			wait_event(&ready_wait, inode_is_ready(i));
		// Only what left the table: a removed directory that is still open is dead too, and would be found again for ever.
		if (!(__atomic_load_n(&i->state, __ATOMIC_ACQUIRE) & INODE_UNHASHED))
			return i;
		inode_put(i); // its filling failed: try ourselves
	}
}

void inode_ready(struct inode *i, bool good)
{
	if (!good) {
		spin_lock(&i->super->hash_lock);
		list_remove(&i->hash_node);
		i->super->inode_hash_count--;
		spin_unlock(&i->super->hash_lock);
		__atomic_or_fetch(&i->state, INODE_DEAD | INODE_UNHASHED, __ATOMIC_RELEASE);
	}
	__atomic_and_fetch(&i->state, ~INODE_NEW, __ATOMIC_RELEASE);
	waitq_wake_all(&ready_wait);
}

static void evict(struct inode *i)
{
	if (i->object == &i->data && i->data.inode)
		mobj_destroy(&i->data); // its callbacks still find what the file system knows of the inode
	if (i->super->ops && i->super->ops->evict_inode)
		i->super->ops->evict_inode(i);
	kfree(i->locks_wait);
	slab_free(inode_cache, i);
	__atomic_fetch_sub(&inode_count, 1, __ATOMIC_RELAXED);
}

static bool hashed_put_last(struct inode *i)
{
	struct super *s = i->super;
	// Before it leaves the table: whoever looks the number up afresh must read what was written.
	if (i->nlink && i->object && i->object->ops && i->object->ops->write_pages && refcount_read(&i->refs) == 1)
		mobj_sync(i->object, 0, UINT64_MAX, true);
	spin_lock(&s->hash_lock);
	bool last = refcount_put(&i->refs);
	if (last) {
		list_remove(&i->hash_node);
		s->inode_hash_count--;
	}
	spin_unlock(&s->hash_lock);
	return last;
}

void inode_put(struct inode *i)
{
	if (!i)
		return;
	if (likely(refcount_read(&i->refs) > 1 || (i->state & INODE_UNHASHED))) {
		int32_t seen = refcount_read(&i->refs);
		// Not the last one, or nobody can find it: no table lock.
		while (seen > 1)
			if (__atomic_compare_exchange_n(&i->refs.count, &seen, seen - 1, true, __ATOMIC_ACQ_REL,
							__ATOMIC_RELAXED))
				return;
	}
	if (i->state & INODE_UNHASHED ? refcount_put(&i->refs) : hashed_put_last(i))
		evict(i);
}

// ---- special inodes ----

static int open_no_device(struct inode *i, struct file *f) { return -ENXIO; }
const struct file_ops socket_name_ops = { .open = open_no_device };

void inode_init_special(struct inode *i, mode_t mode, dev_t rdev)
{
	i->mode = mode;
	i->rdev = rdev;
	switch (mode & S_IFMT) {
	case S_IFCHR: i->file_ops = &chrdev_open_ops; break;
	case S_IFIFO:
		i->rdev = 0;
		i->file_ops = &fifo_open_ops;
		break;
	case S_IFBLK:
	case S_IFSOCK: i->file_ops = &socket_name_ops; break;
	}
}

bool inode_capable(const struct inode *i, unsigned cap)
{
	const struct cred *c = current->cred;
	return cred_capable_own(c, cap) && id_is_mapped(c, ID_USER, i->uid) && id_is_mapped(c, ID_GROUP, i->gid);
}

void inode_init_owner(struct inode *i, const struct inode *dir, mode_t mode)
{
	const struct cred *c = current->cred;
	i->uid = c->fsuid;
	i->gid = c->fsgid;
	if (dir && (dir->mode & S_ISGID)) {
		i->gid = dir->gid;
		if ((mode & S_IFMT) == S_IFDIR)
			mode |= S_ISGID;
		else if ((mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && !cred_in_group(c, i->gid) &&
			 !inode_capable(i, CAP_FSETID))
			mode &= ~S_ISGID;
	}
	i->mode = mode;
}

// ---- writers against executions ----

static int count_step(struct inode *i, int32_t step)
{
	int32_t seen = __atomic_load_n(&i->write_count, __ATOMIC_RELAXED);
	do {
		if (step > 0 ? seen < 0 : seen > 0)
			return -ETXTBSY;
	} while (!__atomic_compare_exchange_n(&i->write_count, &seen, seen + step, true, __ATOMIC_ACQ_REL,
					      __ATOMIC_RELAXED));
	return 0;
}

int inode_write_begin(struct inode *i) { return count_step(i, 1); }
void inode_write_end(struct inode *i) { __atomic_fetch_sub(&i->write_count, 1, __ATOMIC_ACQ_REL); }
int inode_deny_write(struct inode *i) { return count_step(i, -1); }
void inode_allow_write(struct inode *i) { __atomic_fetch_add(&i->write_count, 1, __ATOMIC_ACQ_REL); }

// ---- permission ----

int generic_permission(struct inode *i, unsigned mask)
{
	const struct cred *c = current->cred;
	unsigned bits = i->mode;
	if (i->uid == c->fsuid)
		bits >>= 6;
	else if (cred_in_group(c, i->gid))
		bits >>= 3;
	if ((bits & mask & 7) == mask)
		return 0;
	// Root and its like: anything but executing a file nobody may execute.
	if (inode_capable(i, CAP_DAC_OVERRIDE) && (!(mask & MAY_EXEC) || inode_is_dir(i) || (i->mode & 0111)))
		return 0;
	if (inode_capable(i, CAP_DAC_READ_SEARCH) && (mask == MAY_READ || (inode_is_dir(i) && !(mask & MAY_WRITE))))
		return 0;
	return -EACCES;
}

int inode_permission(struct inode *i, unsigned mask)
{
	mask &= MAY_READ | MAY_WRITE | MAY_EXEC;
	if ((mask & MAY_WRITE) && (i->super->flags & SUPER_RDONLY) &&
	    (inode_is_reg(i) || inode_is_dir(i) || inode_is_link(i)))
		return -EROFS;
	return i->ops->permission ? i->ops->permission(i, mask) : generic_permission(i, mask);
}

bool inode_owner_or_capable(const struct inode *i)
{
	return i->uid == current->cred->fsuid || inode_capable(i, CAP_FOWNER);
}

int inode_sticky_check(struct inode *dir, struct inode *victim)
{
	if (!(dir->mode & S_ISVTX))
		return 0;
	uid_t uid = current->cred->fsuid;
	return victim->uid == uid || dir->uid == uid || inode_capable(victim, CAP_FOWNER) ? 0 : -EPERM;
}

// ---- attributes ----

void generic_getattr(struct inode *i, struct kstat *out)
{
	out->ino = i->ino;
	out->mode = i->mode;
	out->nlink = i->nlink;
	out->uid = i->uid;
	out->gid = i->gid;
	out->dev = i->super->dev;
	out->rdev = i->rdev;
	out->size = i->object ? __atomic_load_n(&i->object->size_bytes, __ATOMIC_RELAXED) : 0;
	out->blocks = (out->size + 511) / 512;
	out->block_size = i->super->block_size ? i->super->block_size : PAGE_SIZE;
	out->atime = i->atime;
	out->mtime = i->mtime;
	out->ctime = i->ctime;
	out->btime = i->btime;
	out->has_btime = i->btime.seconds != 0;
}

int inode_getattr(struct inode *i, struct kstat *out)
{
	if (i->ops->getattr)
		return i->ops->getattr(i, out);
	generic_getattr(i, out);
	return 0;
}

void inode_identify(const struct inode *i, dev_t *dev, ino_t *ino)
{
	*dev = i->super->dev;
	*ino = i->ino;
	if (i->ops->identify)
		i->ops->identify(i, dev, ino);
}

void generic_setattr(struct inode *i, const struct attr_change *c)
{
	if (c->valid & ATTR_MODE)
		i->mode = (i->mode & S_IFMT) | (c->mode & 07777);
	if (c->valid & ATTR_UID)
		i->uid = c->uid;
	if (c->valid & ATTR_GID)
		i->gid = c->gid;
	if (c->valid & ATTR_ATIME)
		i->atime = c->atime;
	if (c->valid & ATTR_MTIME)
		i->mtime = c->mtime;
	if (c->valid & ATTR_CTIME)
		i->ctime = c->ctime;
}

// chown(2) takes the set-ID bits of a file away; so does a change of size.
static void strip_set_id(struct inode *i, struct attr_change *c)
{
	mode_t mode = c->valid & ATTR_MODE ? c->mode : i->mode;
	mode_t strip = mode & S_ISUID;
	if ((mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP))
		strip |= S_ISGID;
	if (!strip)
		return;
	c->mode = (mode & ~strip) & 07777;
	c->valid |= ATTR_MODE;
}

static int check_change(struct inode *i, struct attr_change *c)
{
	const struct cred *cred = current->cred;
	if ((c->valid & ATTR_UID) && (cred->fsuid != i->uid || c->uid != i->uid) && !inode_capable(i, CAP_CHOWN))
		return -EPERM;
	if ((c->valid & ATTR_GID) && !inode_capable(i, CAP_CHOWN) &&
	    (cred->fsuid != i->uid || (c->gid != i->gid && !cred_in_group(cred, c->gid))))
		return -EPERM;
	if (c->valid & ATTR_MODE) {
		if (!inode_owner_or_capable(i))
			return -EPERM;
		gid_t gid = c->valid & ATTR_GID ? c->gid : i->gid;
		if ((c->mode & S_ISGID) && !cred_in_group(cred, gid) && !inode_capable(i, CAP_FSETID))
			c->mode &= ~S_ISGID;
	}
	bool chosen_times = (c->valid & ATTR_ATIME && !(c->valid & ATTR_ATIME_NOW)) ||
			    (c->valid & ATTR_MTIME && !(c->valid & ATTR_MTIME_NOW));
	if (chosen_times && !inode_owner_or_capable(i))
		return -EPERM;
	return 0;
}

int notify_change(struct inode *i, struct attr_change *c)
{
	int error = check_change(i, c);
	if (error)
		return error;
	if (!inode_is_dir(i) && (c->valid & (ATTR_UID | ATTR_GID)))
		strip_set_id(i, c);
	if ((c->valid & ATTR_SIZE) && !inode_capable(i, CAP_FSETID))
		strip_set_id(i, c);
	struct timestamp now = timestamp_now();
	if (c->valid & ATTR_ATIME_NOW)
		c->atime = now;
	if (c->valid & ATTR_MTIME_NOW)
		c->mtime = now;
	c->valid |= (c->valid & ATTR_ATIME_NOW ? ATTR_ATIME : 0) | (c->valid & ATTR_MTIME_NOW ? ATTR_MTIME : 0);
	c->ctime = now;
	c->valid |= ATTR_CTIME;
	__atomic_and_fetch(&i->state, ~INODE_NOSUID_CLEAN, __ATOMIC_RELAXED);
	if (i->ops->setattr)
		return i->ops->setattr(i, c);
	if (c->valid & ATTR_SIZE)
		return -EINVAL;
	generic_setattr(i, c);
	return 0;
}

int inode_setattr(struct inode *i, struct attr_change *c)
{
	mutex_lock(&i->lock);
	int error = notify_change(i, c);
	mutex_unlock(&i->lock);
	return error;
}

int inode_remove_privileges(struct inode *i)
{
	if (i->state & INODE_NOSUID_CLEAN)
		return 0;
	if ((i->mode & (S_ISUID | S_ISGID)) && !inode_capable(i, CAP_FSETID)) {
		struct attr_change c = { .valid = 0 };
		strip_set_id(i, &c);
		if (c.valid && i->ops->setattr)
			return i->ops->setattr(i, &c);
		generic_setattr(i, &c);
		return 0;
	}
	if (!(i->mode & (S_ISUID | S_ISGID)))
		__atomic_or_fetch(&i->state, INODE_NOSUID_CLEAN, __ATOMIC_RELAXED);
	return 0;
}

void inode_touch_access(struct file *f)
{
	struct inode *i = f->inode;
	uint32_t flags = f->path.mount ? f->path.mount->flags : 0;
	if ((f->flags & O_NOATIME) || (i->super->flags & SUPER_NOATIME) || mount_is_readonly(f->path.mount) ||
	    (flags & MS_NOATIME) || (flags & MS_NODIRATIME && inode_is_dir(i)))
		return;
	// relatime: only when it tells something new, or once a day.
	if (!(flags & MS_STRICTATIME) && timestamp_compare(&i->atime, &i->mtime) > 0 &&
	    timestamp_compare(&i->atime, &i->ctime) > 0) {
		if (timestamp_now().seconds - i->atime.seconds < RELATIME_SECONDS)
			return;
	}
	i->atime = timestamp_now();
}

void inode_touch_modify(struct inode *i) { i->mtime = i->ctime = timestamp_now(); }
