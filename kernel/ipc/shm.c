// SPDX-License-Identifier: Apache-2.0
// System V shared memory: shmget(2), shmat(2), shmctl(2), shmdt(2), sysvipc(7).
//
// A segment is a memory object that mappings hold references of. The table holds one more until IPC_RMID; then the last detach
// (munmap, exit, shmdt) frees it by the object's release(). How many are attached is how many mappings the object has.
//
// Lock order: shm_lock -> mobj.vma_lock. release() runs without either.
#include <linux/ipc.h>
#include <linux/mman.h>
#include <linux/shm.h>

#include "namespace.h"

#include "kernel/errno.h"
#include "kernel/fs.h"
#include "kernel/mm.h"
#include "kernel/page.h"
#include "kernel/slab.h"
#include "kernel/syscalls.h"
#include "kernel/task.h"
#include "kernel/uaccess.h"

#define SEGMENTS_MAX 4096u // SHMMNI
#define ID_STRIDE    32768 // ids carry a generation above the index: IPCMNI
#define SHM_DEST \
	01000 // in the mode IPC_STAT shows: goes at the last detach; the UAPI headers leave these two to the C library
#define SHM_LOCKED        02000
#define CAP_IPC_OWNER_BIT 15
#define CAP_SYS_ADMIN_BIT 21
#define CAP_IPC_LOCK_BIT  14

struct shm {
	struct mobj object;
	struct shm_table *table; // it is in; NULL: its namespace has gone. shm_lock
	int id;                  // constant from here
	uint64_t size_bytes;
	uid_t creator_uid;
	gid_t creator_gid;
	pid_t creator;
	int key; // shm_lock from here; IPC_PRIVATE after IPC_RMID
	uid_t uid;
	gid_t gid;
	mode_t mode; // and SHM_DEST, SHM_LOCKED
	pid_t last;
	int64_t attach_time, detach_time, change_time;
};

static struct mutex shm_lock = MUTEX_INIT(shm_lock);

static struct shm_table *mine(void) { return &ipc_mine()->shm; }

static void remove_locked(struct shm *s)
{
	struct shm_table *t = s->table;
	if (!t)
		return;
	(void)radix_remove(&t->segments, (unsigned)s->id % ID_STRIDE);
	t->pages -= align_up(s->size_bytes, PAGE_SIZE) >> PAGE_SHIFT;
	s->table = NULL;
}

static void shm_release(struct mobj *o)
{
	struct shm *s = container_of(o, struct shm, object);
	mutex_lock(&shm_lock);
	remove_locked(s);
	mutex_unlock(&shm_lock);
	kfree(s);
}

static const struct mobj_ops shm_ops = { .release = shm_release };

// What is mapped still lives on without an id.
void shm_table_clear(struct shm_table *t)
{
	for (;;) {
		uint64_t index = 0;
		mutex_lock(&shm_lock);
		struct shm *s = radix_next(&t->segments, &index);
		bool ours = s && !(s->mode & SHM_DEST); // the table's reference
		if (s) {
			s->mode |= SHM_DEST;
			remove_locked(s);
		}
		mutex_unlock(&shm_lock);
		if (!s)
			return;
		if (ours)
			mobj_put(&s->object);
	}
}

// ---- looking up; shm_lock held ----

static struct shm *find_id(int id)
{
	if (id < 0 || id % ID_STRIDE >= (int)SEGMENTS_MAX)
		return NULL;
	struct shm *s = radix_lookup(&mine()->segments, (unsigned)id % ID_STRIDE);
	return s && s->id == id ? s : NULL;
}

static struct shm *find_key(int key)
{
	uint64_t index = 0;
	for (struct shm *s; (s = radix_next(&mine()->segments, &index)); index++)
		if (s->key == key && !(s->mode & SHM_DEST))
			return s;
	return NULL;
}

// `wanted`: bits of rwx as in the owner's place (0600).
static bool permitted(const struct shm *s, unsigned wanted)
{
	const struct cred *c = current->cred;
	unsigned granted = s->mode;
	if (c->euid == s->uid || c->euid == s->creator_uid)
		granted >>= 6;
	else if (cred_in_group(c, s->gid) || cred_in_group(c, s->creator_gid))
		granted >>= 3;
	wanted = (wanted >> 6 | wanted >> 3 | wanted) & 7;
	return !(wanted & ~granted) || cred_capable_in(c, ipc_mine()->common.owner, CAP_IPC_OWNER_BIT);
}

static bool owns(const struct shm *s)
{
	const struct cred *c = current->cred;
	return c->euid == s->uid || c->euid == s->creator_uid ||
	       cred_capable_in(c, ipc_mine()->common.owner, CAP_SYS_ADMIN_BIT);
}

// ---- shmget ----

static long create(int key, size_t size, int flags)
{
	if (!size || size > UINT64_C(1) << 46)
		return -EINVAL;
	if (flags & SHM_HUGETLB)
		return -ENOMEM; // no page is reserved for it
	struct page_stats memory;
	page_stats_get(&memory);
	if (!(flags & SHM_NORESERVE) && size >> PAGE_SHIFT > memory.total_pages)
		return -ENOMEM;
	struct shm_table *t = mine();
	unsigned i = 0;
	while (i < SEGMENTS_MAX && radix_lookup(&t->segments, i))
		i++;
	if (i == SEGMENTS_MAX)
		return -ENOSPC;
	struct shm *s = kalloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	int error = radix_insert(&t->segments, i, s);
	if (error) {
		kfree(s);
		return error;
	}
	mobj_init(&s->object, &shm_ops, NULL);
	s->object.size_bytes = align_up(size, PAGE_SIZE);
	s->size_bytes = size;
	s->key = key;
	t->generation = (t->generation + 1) % (INT32_MAX / ID_STRIDE);
	s->table = t;
	s->id = (int)t->generation * ID_STRIDE + (int)i;
	s->mode = (mode_t)flags & 0777;
	s->uid = s->creator_uid = current->cred->euid;
	s->gid = s->creator_gid = current->cred->egid;
	s->creator = current->process->pid;
	s->change_time = timestamp_now().seconds;
	t->pages += align_up(size, PAGE_SIZE) >> PAGE_SHIFT;
	return s->id;
}

static long get_existing(const struct shm *s, size_t size, int flags)
{
	if ((flags & (IPC_CREAT | IPC_EXCL)) == (IPC_CREAT | IPC_EXCL))
		return -EEXIST;
	if (!permitted(s, (unsigned)flags & 0777))
		return -EACCES;
	return size > s->size_bytes ? -EINVAL : s->id;
}

long sys_shmget(int key, size_t size, int flags)
{
	mutex_lock(&shm_lock);
	struct shm *s = key == IPC_PRIVATE ? NULL : find_key(key);
	long result = -ENOENT;
	if (s)
		result = get_existing(s, size, flags);
	else if (key == IPC_PRIVATE || flags & IPC_CREAT)
		result = create(key, size, flags);
	mutex_unlock(&shm_lock);
	return result;
}

// ---- shmat, shmdt ----

static long attach(struct shm *s, uint64_t address, int flags)
{
	unsigned vma = VMA_SHARED | VMA_READ | VMA_MAY_READ | VMA_MAY_EXEC;
	unsigned map = address ? flags & SHM_REMAP ? MAP_FIXED : MAP_FIXED_NOREPLACE : 0;
	if (!(flags & SHM_RDONLY))
		vma |= VMA_WRITE | VMA_MAY_WRITE;
	if (flags & SHM_EXEC)
		vma |= VMA_EXEC;
	long at = mm_map(current->mm, address, s->object.size_bytes, vma, map, NULL, &s->object, 0,
			 "/SYSV00000000 (deleted)");
	return at == -EEXIST ? -EINVAL : at;
}

long sys_shmat(int id, uint64_t address, int flags)
{
	if (id < 0)
		return -EINVAL;
	if (address & ~PAGE_MASK) {
		if (!(flags & SHM_RND))
			return -EINVAL;
		address = align_down(address, PAGE_SIZE);
	}
	if (!address && flags & SHM_REMAP)
		return -EINVAL;
	mutex_lock(&shm_lock);
	struct shm *s = find_id(id);
	long result = -EINVAL;
	if (s && !permitted(s, (flags & SHM_RDONLY ? 0400 : 0600) | (flags & SHM_EXEC ? 0100 : 0))) {
		result = -EACCES;
		s = NULL;
	}
	if (s && !refcount_get_unless_zero(&s->object.refs))
		s = NULL; // removed, and the last mapping is just going
	if (s) {
		s->last = current->process->pid;
		s->attach_time = timestamp_now().seconds;
	}
	mutex_unlock(&shm_lock);
	if (!s)
		return result;
	result = attach(s, address, flags);
	mobj_put(&s->object);
	return result;
}

// The segment mapped from its beginning at `address`, with a reference; NULL.
static struct shm *mapped_at(struct mm *mm, uint64_t address)
{
	struct shm *s = NULL;
	rwsem_read_lock(&mm->lock);
	struct vma *v = mm_find(mm, address);
	if (v && v->start == address && v->object && v->object->ops == &shm_ops && v->object_page == 0) {
		s = container_of(v->object, struct shm, object);
		mobj_get(&s->object);
	}
	rwsem_read_unlock(&mm->lock);
	return s;
}

// Is there a piece of `s` at or after *at, where its attachment at `base` would have it? Sets the piece's bounds.
static bool next_piece(struct mm *mm, const struct shm *s, uint64_t base, uint64_t *at, uint64_t *end)
{
	bool found = false;
	rwsem_read_lock(&mm->lock);
	while (!found && *at < base + s->object.size_bytes) {
		struct vma *v = mm_find(mm, *at);
		if (!v || v->start >= base + s->object.size_bytes)
			break;
		found = v->object == &s->object && v->start - base == v->object_page << PAGE_SHIFT;
		*at = found ? v->start : v->end;
		*end = v->end;
	}
	rwsem_read_unlock(&mm->lock);
	return found;
}

long sys_shmdt(uint64_t address)
{
	struct mm *mm = current->mm;
	if (address & ~PAGE_MASK)
		return -EINVAL;
	struct shm *s = mapped_at(mm, address);
	if (!s)
		return -EINVAL;
	uint64_t at = address, end;
	int error = 0;
	while (!error && next_piece(mm, s, address, &at, &end)) {
		error = mm_unmap(mm, at, end - at);
		at = end;
	}
	mutex_lock(&shm_lock);
	s->last = current->process->pid;
	s->detach_time = timestamp_now().seconds;
	mutex_unlock(&shm_lock);
	mobj_put(&s->object);
	return error;
}

// ---- shmctl ----

static unsigned attached(struct shm *s)
{
	unsigned n = 0;
	struct vma *v;
	mutex_lock(&s->object.vma_lock);
	list_for_each (v, &s->object.vmas, object_node)
		n++;
	mutex_unlock(&s->object.vma_lock);
	return n;
}

static void describe(struct shm *s, struct shmid64_ds *out)
{
	*out = (struct shmid64_ds){ .shm_segsz = s->size_bytes,
				    .shm_atime = s->attach_time,
				    .shm_dtime = s->detach_time,
				    .shm_ctime = s->change_time,
				    .shm_cpid = pid_shown(s->creator),
				    .shm_lpid = s->last ? pid_shown(s->last) : 0,
				    .shm_nattch = attached(s) };
	out->shm_perm = (struct ipc64_perm){ .key = s->key,
					     .uid = uid_shown(current->cred, s->uid),
					     .gid = gid_shown(current->cred, s->gid),
					     .cuid = uid_shown(current->cred, s->creator_uid),
					     .cgid = gid_shown(current->cred, s->creator_gid),
					     .mode = s->mode,
					     .seq = (unsigned short)(s->id / ID_STRIDE) };
}

static long control_stat(int id, int command, struct uptr buffer)
{
	struct shmid64_ds d;
	bool by_index = command == SHM_STAT || command == SHM_STAT_ANY;
	mutex_lock(&shm_lock);
	struct shm *s = by_index ? radix_lookup(&mine()->segments, (unsigned)id) : find_id(id);
	long result = !s ? -EINVAL : command != SHM_STAT_ANY && !permitted(s, 0400) ? -EACCES : 0;
	if (!result) {
		describe(s, &d);
		result = by_index ? s->id : 0;
	}
	mutex_unlock(&shm_lock);
	if (result >= 0 && copy_to_user(buffer, &d, sizeof(d)))
		return -EFAULT;
	return result;
}

static long control_change(int id, int command, struct uptr buffer)
{
	struct shmid64_ds d = { 0 };
	if (command == IPC_SET && copy_from_user(&d, buffer, sizeof(d)))
		return -EFAULT;
	uid_t uid = uid_meant(current->cred, d.shm_perm.uid);
	gid_t gid = gid_meant(current->cred, d.shm_perm.gid);
	if (command == IPC_SET && (uid == ID_NONE || gid == ID_NONE))
		return -EINVAL;
	struct mobj *drop = NULL;
	mutex_lock(&shm_lock);
	struct shm *s = find_id(id);
	long result = !s ? -EINVAL : 0;
	if (s && !owns(s) &&
	    !((command == SHM_LOCK || command == SHM_UNLOCK) &&
	      cred_capable_in(current->cred, ipc_mine()->common.owner, CAP_IPC_LOCK_BIT)))
		result = -EPERM;
	if (result)
		goto out;
	switch (command) {
	case IPC_RMID:
		if (!(s->mode & SHM_DEST))
			drop = &s->object; // the table's reference
		s->mode |= SHM_DEST;
		s->key = IPC_PRIVATE;
		break;
	case IPC_SET:
		s->uid = uid;
		s->gid = gid;
		s->mode = (s->mode & ~0777u) | (d.shm_perm.mode & 0777);
		s->change_time = timestamp_now().seconds;
		break;
	case SHM_LOCK: s->mode |= SHM_LOCKED; break;
	default: s->mode &= ~(mode_t)SHM_LOCKED;
	}
out:
	mutex_unlock(&shm_lock);
	if (drop)
		mobj_put(drop);
	return result;
}

static long control_info(int command, struct uptr buffer)
{
	struct shminfo64 limits = { .shmmax = ~0ul - (1ul << 24),
				    .shmmin = 1,
				    .shmmni = SEGMENTS_MAX,
				    .shmseg = SEGMENTS_MAX,
				    .shmall = ~0ul - (1ul << 24) };
	struct shm_info use = { 0 };
	mutex_lock(&shm_lock);
	struct shm_table *t = mine();
	use.used_ids = (int)t->segments.count;
	use.shm_tot = t->pages;
	long highest = 0;
	uint64_t index = 0;
	for (struct shm *s; (s = radix_next(&t->segments, &index)); index++) {
		highest = (long)index;
		use.shm_rss += s->object.pages.count;
	}
	mutex_unlock(&shm_lock);
	int error = command == IPC_INFO ? copy_to_user(buffer, &limits, sizeof(limits))
					: copy_to_user(buffer, &use, sizeof(use));
	return error ? -EFAULT : highest;
}

long sys_shmctl(int id, int command, struct uptr buffer)
{
	switch (command) {
	case IPC_INFO:
	case SHM_INFO: return control_info(command, buffer);
	case IPC_STAT:
	case SHM_STAT:
	case SHM_STAT_ANY: return id < 0 ? -EINVAL : control_stat(id, command, buffer);
	case IPC_RMID:
	case IPC_SET:
	case SHM_LOCK:
	case SHM_UNLOCK: return id < 0 ? -EINVAL : control_change(id, command, buffer);
	default: return -EINVAL;
	}
}
