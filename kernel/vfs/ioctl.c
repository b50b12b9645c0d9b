// SPDX-License-Identifier: Apache-2.0
// ioctl(2): the commands of every descriptor, then the file's own. ENOIOCTLCMD from a file means ENOTTY.
// Also name_to_handle_at(2), which no file system here supports.
#include "internal.h"

#include <asm/ioctls.h>
#include <linux/fs.h>

static long set_flag(int fd, struct file *f, unsigned flag, struct uptr argument)
{
	int on;
	if (get_user(&on, argument))
		return -EFAULT;
	unsigned flags = on ? f->flags | flag : f->flags & ~flag;
	return file_set_flags(f, fd, flags);
}

static long regular_file(struct file *f, unsigned command, struct uptr argument)
{
	switch (command) {
	case FIONREAD: {
		int left = (int)((loff_t)(f->object ? f->object->size_bytes : 0) - f->position);
		return put_user(left, argument);
	}
	case FIGETBSZ: return put_user((int)f->inode->super->block_size, argument);
	}
	return -ENOIOCTLCMD;
}

static long dispatch(int fd, struct file *f, unsigned command, uint64_t argument)
{
	struct uptr user = { argument };
	switch (command) {
	case FIOCLEX: return fd_set_cloexec(fd, true);
	case FIONCLEX: return fd_set_cloexec(fd, false);
	case FIONBIO: return set_flag(fd, f, O_NONBLOCK, user);
	case FIOASYNC: return f->ops->async ? set_flag(fd, f, FASYNC, user) : -ENOTTY;
	}
	long result = f->ops->ioctl ? f->ops->ioctl(f, command, argument) : -ENOIOCTLCMD;
	if (result == -ENOIOCTLCMD && inode_is_reg(f->inode))
		result = regular_file(f, command, user);
	return result == -ENOIOCTLCMD ? -ENOTTY : result;
}

long sys_ioctl(int fd, unsigned command, uint64_t argument)
{
	struct fd_borrow b = fd_begin(fd);
	if (!b.file)
		return -EBADF;
	long result = dispatch(fd, b.file, command, argument);
	fd_end(b);
	return result;
}

long sys_name_to_handle_at(int dir, struct uptr path, struct uptr handle, struct uptr mount_id, int flags)
{
	if (flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	struct path p;
	long result = path_lookup_user(dir, path,
				       (flags & AT_SYMLINK_FOLLOW ? LOOKUP_FOLLOW : 0) |
					       (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0),
				       &p);
	if (result)
		return result;
	path_put(&p);
	return -EOPNOTSUPP;
}
