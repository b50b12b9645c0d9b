// SPDX-License-Identifier: Apache-2.0
// stat(2) and its family, statx(2), statfs(2), access(2), readlink(2).
#include "internal.h"

#include <asm/stat.h>
#include <asm/statfs.h>
#include <linux/capability.h>
#include <linux/mount.h>

#include "lib/string.h"

#define STAT_FLAGS (AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH)

// ---- stat ----

static long put_stat(struct uptr to, const struct kstat *k)
{
	struct stat s;
	s.st_dev = dev_to_user(k->dev);
	s.st_ino = k->ino;
	s.st_nlink = k->nlink;
	s.st_mode = k->mode;
	s.st_uid = uid_shown(current->cred, k->uid);
	s.st_gid = gid_shown(current->cred, k->gid);
	s.__pad0 = 0;
	s.st_rdev = dev_to_user(k->rdev);
	s.st_size = (long)k->size;
	s.st_blksize = k->block_size;
	s.st_blocks = (long)k->blocks;
	s.st_atime = (unsigned long)k->atime.seconds;
	s.st_atime_nsec = k->atime.nanoseconds;
	s.st_mtime = (unsigned long)k->mtime.seconds;
	s.st_mtime_nsec = k->mtime.nanoseconds;
	s.st_ctime = (unsigned long)k->ctime.seconds;
	s.st_ctime_nsec = k->ctime.nanoseconds;
	s.__unused[0] = s.__unused[1] = s.__unused[2] = 0;
	return copy_to_user(to, &s, sizeof(s));
}

static int stat_file(int fd, struct kstat *k)
{
	struct file *f = fd_get_any(fd);
	if (!f)
		return -EBADF;
	int error = inode_getattr(f->inode, k);
	file_put(f);
	return error;
}

static int stat_name_once(int dir, const char *name, unsigned flags, struct kstat *k)
{
	struct path p;
	int error = path_lookup(dir, name, flags, &p);
	if (error)
		return error;
	error = inode_getattr(p.dentry->inode, k);
	path_put(&p);
	return error;
}

static int stat_name(int dir, const char *name, unsigned flags, struct kstat *k)
{
	int error = stat_name_once(dir, name, flags, k);
	return unlikely(error == -ESTALE) ? stat_name_once(dir, name, flags, k)
					  : error; // another file has the name now
}

static int stat_string(int dir, const char *name, int flags, struct kstat *k)
{
	if (!name[0] && (flags & AT_EMPTY_PATH) && dir >= 0)
		return stat_file(dir, k);
	return stat_name(dir, name,
			 (flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW) | (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0),
			 k);
}

static int stat_path(int dir, struct uptr path, int flags, struct kstat *k)
{
	if ((flags & AT_EMPTY_PATH) && uptr_is_null(path) && dir >= 0)
		return stat_file(dir, k);
	struct path_name name;
	int error = path_name_get_empty(&name, path);
	if (error)
		return error;
	error = stat_string(dir, name.string, flags, k);
	path_name_put(&name);
	return error;
}

long sys_newfstatat(int dir, struct uptr path, struct uptr stat, int flags)
{
	if (flags & ~STAT_FLAGS)
		return -EINVAL;
	struct kstat k;
	int error = stat_path(dir, path, flags, &k);
	return error ? error : put_stat(stat, &k);
}

long sys_stat(struct uptr path, struct uptr stat) { return sys_newfstatat(AT_FDCWD, path, stat, 0); }
long sys_lstat(struct uptr path, struct uptr stat) { return sys_newfstatat(AT_FDCWD, path, stat, AT_SYMLINK_NOFOLLOW); }

long sys_fstat(int fd, struct uptr stat)
{
	struct kstat k;
	int error = stat_file(fd, &k);
	return error ? error : put_stat(stat, &k);
}

static struct statx_timestamp statx_time(const struct timestamp *t)
{
	return (struct statx_timestamp){ .tv_sec = t->seconds, .tv_nsec = t->nanoseconds };
}

static int statx_check(int flags, unsigned mask)
{
	if ((flags & ~(STAT_FLAGS | AT_STATX_SYNC_TYPE)) || (flags & AT_STATX_SYNC_TYPE) == AT_STATX_SYNC_TYPE ||
	    (mask & STATX__RESERVED))
		return -EINVAL;
	return 0;
}

static struct statx statx_of(const struct kstat *k)
{
	struct statx s = {
		.stx_mask = STATX_BASIC_STATS | (k->has_btime ? STATX_BTIME : 0),
		.stx_blksize = k->block_size,
		.stx_nlink = (uint32_t)k->nlink,
		.stx_uid = uid_shown(current->cred, k->uid),
		.stx_gid = gid_shown(current->cred, k->gid),
		.stx_mode = (uint16_t)k->mode,
		.stx_ino = k->ino,
		.stx_size = k->size,
		.stx_blocks = k->blocks,
		.stx_atime = statx_time(&k->atime),
		.stx_mtime = statx_time(&k->mtime),
		.stx_ctime = statx_time(&k->ctime),
		.stx_rdev_major = DEV_MAJOR(k->rdev),
		.stx_rdev_minor = DEV_MINOR(k->rdev),
		.stx_dev_major = DEV_MAJOR(k->dev),
		.stx_dev_minor = DEV_MINOR(k->dev),
	};
	if (k->has_btime)
		s.stx_btime = statx_time(&k->btime);
	return s;
}

int path_statx(int at, const char *name, int flags, unsigned mask, struct statx *out)
{
	struct kstat k;
	int error = statx_check(flags, mask);
	if (!error)
		error = stat_string(at, name, flags, &k);
	if (!error)
		*out = statx_of(&k);
	return error;
}

long sys_statx(int dir, struct uptr path, int flags, unsigned mask, struct uptr buffer)
{
	struct kstat k;
	int error = statx_check(flags, mask);
	if (!error)
		error = stat_path(dir, path, flags, &k);
	if (error)
		return error;
	struct statx s = statx_of(&k);
	return copy_to_user(buffer, &s, sizeof(s));
}

// ---- statfs ----

static long put_statfs(struct uptr to, const struct path *p)
{
	struct statfs64_kernel k;
	int error = mount_statfs(p, &k);
	if (error)
		return error;
	struct statfs s = {
		.f_type = (long)k.type,
		.f_bsize = (long)k.block_size,
		.f_blocks = (long)k.blocks,
		.f_bfree = (long)k.blocks_free,
		.f_bavail = (long)k.blocks_available,
		.f_files = (long)k.files,
		.f_ffree = (long)k.files_free,
		.f_fsid.val = { (int)k.fsid, (int)(k.fsid >> 32) },
		.f_namelen = (long)k.name_max,
		.f_frsize = (long)(k.fragment_size ? k.fragment_size : k.block_size),
		.f_flags = (long)k.flags,
	};
	return copy_to_user(to, &s, sizeof(s));
}

long sys_statfs(struct uptr path, struct uptr buffer)
{
	struct path p;
	long result = path_lookup_user(AT_FDCWD, path, LOOKUP_FOLLOW, &p);
	if (result)
		return result;
	result = put_statfs(buffer, &p);
	path_put(&p);
	return result;
}

long sys_fstatfs(int fd, struct uptr buffer)
{
	struct file *f = fd_get_any(fd);
	if (!f)
		return -EBADF;
	long result = put_statfs(buffer, &f->path);
	file_put(f);
	return result;
}

// ---- access ----

static void swap_cred(const struct cred *c)
{
	spin_lock(&current->lock);
	current->cred = c;
	spin_unlock(&current->lock);
}

// access(2) asks for the real user. Installs such credentials; *old is what to restore, NULL when they are the same.
static int become_real(const struct cred **old)
{
	const struct cred *c = current->cred;
	uint64_t caps = c->uid == uid_meant(c, 0) ? c->cap_permitted : 0;
	*old = NULL;
	if (c->fsuid == c->uid && c->fsgid == c->gid && c->cap_effective == caps)
		return 0;
	struct cred *real = cred_copy(c, c->group_count);
	if (!real)
		return -ENOMEM;
	real->fsuid = c->uid;
	real->fsgid = c->gid;
	real->cap_effective = caps;
	*old = c;
	swap_cred(real);
	return 0;
}

static void become_old(const struct cred *old)
{
	if (!old)
		return;
	const struct cred *real = current->cred;
	swap_cred(old);
	cred_put(real);
}

static int check_access(const struct path *p, unsigned mode)
{
	struct inode *i = p->dentry->inode;
	bool special = !inode_is_reg(i) && !inode_is_dir(i) && !inode_is_link(i);
	if ((mode & MAY_EXEC) && inode_is_reg(i) && p->mount && (p->mount->flags & MS_NOEXEC))
		return -EACCES;
	int error = mode ? inode_permission(i, mode) : 0;
	if (!error && (mode & MAY_WRITE) && !special)
		error = mount_want_write(p);
	return error;
}

long sys_faccessat2(int dir, struct uptr path, int mode, int flags)
{
	if ((mode & ~7) || (flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)))
		return -EINVAL;
	const struct cred *old = NULL;
	long result = flags & AT_EACCESS ? 0 : become_real(&old);
	if (result)
		return result;
	struct path p;
	unsigned walk = (flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW) | (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0);
	result = path_lookup_user(dir, path, walk, &p);
	if (!result) {
		result = check_access(&p, (unsigned)mode); // R_OK 4, W_OK 2, X_OK 1 are MAY_*
		path_put(&p);
	}
	become_old(old);
	return result;
}

long sys_faccessat(int dir, struct uptr path, int mode) { return sys_faccessat2(dir, path, mode, 0); }
long sys_access(struct uptr path, int mode) { return sys_faccessat2(AT_FDCWD, path, mode, 0); }

// ---- readlink ----

ssize_t inode_readlink(struct dentry *d, char *buffer, size_t size)
{
	struct inode *i = d->inode;
	if (i->link)
		return (ssize_t)min(string_copy(buffer, i->link, size), size - 1);
	return i->ops->readlink ? i->ops->readlink(i, d, buffer, size) : -EINVAL;
}

static long readlink(const struct path *p, struct uptr buffer, size_t size)
{
	char *text = kalloc(PATH_MAX_BYTES);
	if (!text)
		return -ENOMEM;
	long length = inode_readlink(p->dentry, text, PATH_MAX_BYTES);
	if (length >= 0) {
		length = min(length, (long)size);
		if (copy_to_user(buffer, text, (size_t)length))
			length = -EFAULT;
	}
	kfree(text);
	return length;
}

long sys_readlinkat(int dir, struct uptr path, struct uptr buffer, int size)
{
	if (size <= 0)
		return -EINVAL;
	struct path_name name;
	struct path p;
	long result = path_name_get_empty(&name, path);
	if (result)
		return result;
	result = path_lookup(dir, name.string, LOOKUP_EMPTY, &p);
	if (!result && !name.string[0] && !inode_is_link(p.dentry->inode)) {
		path_put(&p);
		result = -ENOENT;
	}
	path_name_put(&name);
	if (result)
		return result;
	result = inode_is_link(p.dentry->inode) ? readlink(&p, buffer, (size_t)size) : -EINVAL;
	path_put(&p);
	return result;
}

long sys_readlink(struct uptr path, struct uptr buffer, int size)
{
	return sys_readlinkat(AT_FDCWD, path, buffer, size);
}
