// SPDX-License-Identifier: Apache-2.0
// Changing attributes: chmod(2), chown(2), utime(2) and kin, truncate(2), fallocate(2). The checks are in inode.c
// (notify_change); here are the calls' own rules.
#include "internal.h"

#include <linux/falloc.h>
#include <linux/inotify.h>
#include <linux/resource.h>
#include <linux/time_types.h>

#define UTIME_NOW_NSEC  ((1l << 30) - 1l) // <bits/stat.h>: not in a kernel header
#define UTIME_OMIT_NSEC ((1l << 30) - 2l)

static int change(const struct path *p, struct attr_change *c)
{
	int error = mount_want_write(p);
	if (!error)
		error = inode_setattr(p->dentry->inode, c);
	if (!error)
		fsnotify(p->dentry->inode, p->dentry, IN_ATTRIB);
	return error;
}

static int change_path(int dir, struct uptr path, unsigned walk, struct attr_change *c)
{
	struct path p;
	int error = path_lookup_user(dir, path, walk, &p);
	if (error)
		return error;
	error = change(&p, c);
	path_put(&p);
	return error;
}

static int change_file(int fd, struct attr_change *c)
{
	struct file *f = fd_get(fd);
	if (!f)
		return -EBADF;
	int error = change(&f->path, c);
	file_put(f);
	return error;
}

// ---- chmod(2), chown(2) ----

long sys_fchmodat(int dir, struct uptr path, mode_t mode)
{
	struct attr_change c = { .valid = ATTR_MODE, .mode = mode & 07777 };
	return change_path(dir, path, LOOKUP_FOLLOW, &c);
}

long sys_chmod(struct uptr path, mode_t mode) { return sys_fchmodat(AT_FDCWD, path, mode); }

long sys_fchmod(int fd, mode_t mode)
{
	struct attr_change c = { .valid = ATTR_MODE, .mode = mode & 07777 };
	return change_file(fd, &c);
}

static int owner_change(uid_t uid, gid_t gid, struct attr_change *out)
{
	const struct cred *cred = current->cred;
	*out = (struct attr_change){
		.valid = (uid != ID_NONE ? ATTR_UID : 0) | (gid != ID_NONE ? ATTR_GID : 0),
		.uid = uid_meant(cred, uid),
		.gid = gid_meant(cred, gid),
	};
	return (uid != ID_NONE && out->uid == ID_NONE) || (gid != ID_NONE && out->gid == ID_NONE) ? -EINVAL : 0;
}

long sys_fchownat(int dir, struct uptr path, uid_t uid, gid_t gid, int flags)
{
	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	struct attr_change c;
	int error = owner_change(uid, gid, &c);
	if (error)
		return error;
	return change_path(dir, path,
			   (flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW) |
				   (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0),
			   &c);
}

long sys_chown(struct uptr path, uid_t uid, gid_t gid) { return sys_fchownat(AT_FDCWD, path, uid, gid, 0); }
long sys_lchown(struct uptr path, uid_t uid, gid_t gid)
{
	return sys_fchownat(AT_FDCWD, path, uid, gid, AT_SYMLINK_NOFOLLOW);
}

long sys_fchown(int fd, uid_t uid, gid_t gid)
{
	struct attr_change c;
	int error = owner_change(uid, gid, &c);
	return error ? error : change_file(fd, &c);
}

// ---- times ----

struct times {
	bool now; // both, and writers may do it
	int64_t seconds[2];
	long nanoseconds[2]; // or UTIME_*
};

static int change_times(const struct path *p, const struct times *t)
{
	struct attr_change c = { .valid = 0 };
	static const unsigned plain[2] = { ATTR_ATIME, ATTR_MTIME }, now[2] = { ATTR_ATIME_NOW, ATTR_MTIME_NOW };
	bool all_now = t->now || (t->nanoseconds[0] == UTIME_NOW_NSEC && t->nanoseconds[1] == UTIME_NOW_NSEC);
	for (int k = 0; k < 2; k++) {
		if (all_now || t->nanoseconds[k] == UTIME_NOW_NSEC)
			c.valid |= plain[k] | now[k];
		else if (t->nanoseconds[k] != UTIME_OMIT_NSEC)
			c.valid |= plain[k];
		struct timestamp *to = k ? &c.mtime : &c.atime;
		*to = (struct timestamp){ t->seconds[k], (uint32_t)t->nanoseconds[k] };
	}
	if (!c.valid)
		return 0;
	int error = mount_want_write(p);
	struct inode *i = p->dentry->inode;
	if (error)
		return error;
	if (!inode_owner_or_capable(i)) {
		if (!all_now)
			return -EPERM;
		error = inode_permission(i, MAY_WRITE);
		if (error)
			return error;
	}
	return change(p, &c);
}

static long times_at(int dir, struct uptr path, const struct times *t, int flags)
{
	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	for (int k = 0; !t->now && k < 2; k++) {
		long n = t->nanoseconds[k];
		if (n != UTIME_NOW_NSEC && n != UTIME_OMIT_NSEC && (n < 0 || n >= NSEC_PER_SEC))
			return -EINVAL;
	}
	if (uptr_is_null(path)) {
		if (flags || dir == AT_FDCWD)
			return flags ? -EINVAL : -EFAULT;
		struct file *f = fd_get(dir);
		if (!f)
			return -EBADF;
		long result = change_times(&f->path, t);
		file_put(f);
		return result;
	}
	struct path p;
	int error = path_lookup_user(dir, path,
				     (flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW) |
					     (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0),
				     &p);
	if (error)
		return error;
	error = change_times(&p, t);
	path_put(&p);
	return error;
}

long sys_utimensat(int dir, struct uptr path, struct uptr times, int flags)
{
	struct times t = { .now = uptr_is_null(times) };
	if (!t.now) {
		struct __kernel_timespec user[2];
		if (get_user(&user, times))
			return -EFAULT;
		for (int k = 0; k < 2; k++) {
			t.seconds[k] = user[k].tv_sec;
			t.nanoseconds[k] = (long)user[k].tv_nsec;
		}
		if (t.nanoseconds[0] == UTIME_OMIT_NSEC && t.nanoseconds[1] == UTIME_OMIT_NSEC)
			return 0;
	}
	return times_at(dir, path, &t, flags);
}

long sys_futimesat(int dir, struct uptr path, struct uptr times)
{
	struct times t = { .now = uptr_is_null(times) };
	if (!t.now) {
		struct {
			int64_t sec, usec;
		} user[2];
		if (get_user(&user, times))
			return -EFAULT;
		for (int k = 0; k < 2; k++) {
			if (user[k].usec < 0 || user[k].usec >= 1000000)
				return -EINVAL;
			t.seconds[k] = user[k].sec;
			t.nanoseconds[k] = (long)(user[k].usec * NSEC_PER_USEC);
		}
	}
	return times_at(dir, path, &t, 0);
}

long sys_utimes(struct uptr path, struct uptr times) { return sys_futimesat(AT_FDCWD, path, times); }

long sys_utime(struct uptr path, struct uptr times)
{
	struct times t = { .now = uptr_is_null(times) };
	int64_t user[2];
	if (!t.now) {
		if (get_user(&user, times))
			return -EFAULT;
		t.seconds[0] = user[0];
		t.seconds[1] = user[1];
	}
	return times_at(AT_FDCWD, path, &t, 0);
}

// ---- truncate(2), fallocate(2) ----

static int check_size(struct inode *i, loff_t size)
{
	if ((uint64_t)size > i->object->size_bytes && (uint64_t)size > process_rlimit(current->process, RLIMIT_FSIZE)) {
		signal_send_task(current, SIGXFSZ, NULL);
		return -EFBIG;
	}
	return (uint64_t)size > i->super->max_file_bytes ? -EFBIG : 0;
}

static int set_size(struct inode *i, struct dentry *d, loff_t size, struct file *f)
{
	int error = i->object ? check_size(i, size) : 0;
	if (error)
		return error;
	struct attr_change c = { .valid = ATTR_SIZE | ATTR_MTIME | ATTR_MTIME_NOW, .size = size, .file = f };
	error = inode_setattr(i, &c);
	if (!error)
		fsnotify(i, d, IN_MODIFY);
	return error;
}

long sys_truncate(struct uptr path, loff_t size)
{
	if (size < 0)
		return -EINVAL;
	struct path p;
	int error = path_lookup_user(AT_FDCWD, path, LOOKUP_FOLLOW, &p);
	if (error)
		return error;
	struct inode *i = p.dentry->inode;
	if (!inode_is_reg(i))
		error = inode_is_dir(i) ? -EISDIR : -EINVAL;
	if (!error)
		error = mount_want_write(&p);
	if (!error)
		error = inode_permission(i, MAY_WRITE);
	if (!error)
		error = inode_write_begin(i);
	if (!error) {
		error = lease_break(i, true, true);
		if (!error)
			error = set_size(i, p.dentry, size, NULL);
		inode_write_end(i);
	}
	path_put(&p);
	return error;
}

long sys_ftruncate(int fd, loff_t size)
{
	if (size < 0)
		return -EINVAL;
	struct file *f = fd_get(fd);
	if (!f)
		return -EBADF;
	int error = !inode_is_reg(f->inode) || !(f->mode & FILE_WRITE) ? -EINVAL
								       : set_size(f->inode, f->path.dentry, size, f);
	file_put(f);
	return error;
}

long file_preallocate(struct file *f, int mode, loff_t offset, loff_t size)
{
	if (offset < 0 || size <= 0)
		return -EINVAL;
	if (!(f->mode & FILE_WRITE))
		return -EBADF;
	if (f->mode & FILE_STREAM)
		return -ESPIPE;
	if (inode_is_dir(f->inode))
		return -EISDIR;
	if (!inode_is_reg(f->inode))
		return -ENODEV;
	loff_t end;
	if (__builtin_add_overflow(offset, size, &end) || (uint64_t)end > f->inode->super->max_file_bytes)
		return -EFBIG;
	if ((mode & FALLOC_FL_PUNCH_HOLE) && !(mode & FALLOC_FL_KEEP_SIZE))
		return -EOPNOTSUPP;
	if (!f->ops->fallocate)
		return -EOPNOTSUPP;
	if (!(mode & FALLOC_FL_KEEP_SIZE)) {
		int error = check_size(f->inode, end);
		if (error)
			return error;
	}
	long result = f->ops->fallocate(f, mode, offset, size);
	if (!result)
		fsnotify(f->inode, f->path.dentry, IN_MODIFY);
	return result;
}

long sys_fallocate(int fd, int mode, loff_t offset, loff_t size)
{
	struct file *f = fd_get(fd);
	if (!f)
		return -EBADF;
	long result = file_preallocate(f, mode, offset, size);
	file_put(f);
	return result;
}
