// SPDX-License-Identifier: Apache-2.0
// fcntl(2).
#include "internal.h"

#include <linux/fcntl.h>

#include "kernel/pipe.h"
#include "kernel/tmpfs.h"

// What F_SETFL may change.
#define SETTABLE (O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME | FASYNC)

int file_set_flags(struct file *f, int fd, unsigned flags)
{
	if ((flags & ~f->flags & O_NOATIME) && !inode_owner_or_capable(f->inode))
		return -EPERM;
	if ((flags ^ f->flags) & FASYNC) {
		int error = file_set_async(f, fd, flags & FASYNC);
		if (error)
			return error;
	}
	uint32_t old = __atomic_load_n(&f->flags, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&f->flags, &old, (old & ~(uint32_t)SETTABLE) | (flags & SETTABLE), true,
					    __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		;
	return 0;
}

static int owner_exists(int type, int pid)
{
	if (!pid)
		return 0;
	struct pid *p = pid_find(pid);
	if (!p)
		return -ESRCH;
	pid_put(p);
	return type >= F_OWNER_TID && type <= F_OWNER_PGRP ? 0 : -EINVAL;
}

static int set_owner(struct file *f, int type, int pid)
{
	if (type < F_OWNER_TID || type > F_OWNER_PGRP)
		return -EINVAL;
	pid = pid ? pid_meant(pid) : 0;
	int error = owner_exists(type, pid);
	if (error)
		return error;
	f->owner.type = type;
	f->owner.uid = current->cred->uid;
	f->owner.euid = current->cred->euid;
	f->owner.pid = pid;
	return 0;
}

int file_set_owner(struct file *f, int pid)
{
	if (pid == INT32_MIN)
		return -EINVAL;
	return pid < 0 ? set_owner(f, F_OWNER_PGRP, -pid) : set_owner(f, F_OWNER_PID, pid);
}

static long owner_command(struct file *f, unsigned command, uint64_t argument)
{
	struct f_owner_ex owner;
	switch (command) {
	case F_GETOWN: {
		int number = f->owner.pid ? pid_shown(f->owner.pid) : 0;
		return f->owner.type == F_OWNER_PGRP ? -number : number;
	}
	case F_SETOWN: return file_set_owner(f, (int)argument);
	case F_GETOWN_EX:
		owner = (struct f_owner_ex){ f->owner.type, f->owner.pid ? pid_shown(f->owner.pid) : 0 };
		return put_user(owner, (struct uptr){ argument });
	case F_SETOWN_EX:
		if (get_user(&owner, (struct uptr){ argument }))
			return -EFAULT;
		return set_owner(f, owner.type, owner.pid);
	case F_GETSIG: return f->owner.signal;
	case F_SETSIG:
		if (argument > SIGNALS_MAX)
			return -EINVAL;
		f->owner.signal = (int)argument;
		return 0;
	}
	return -EINVAL;
}

static long write_hint(struct file *f, unsigned command, struct uptr argument)
{
	uint64_t hint = 0; // RWH_WRITE_LIFE_NOT_SET; setting is accepted as the hint it is
	switch (command) {
	case F_GET_RW_HINT:
	case F_GET_FILE_RW_HINT: return put_user(hint, argument);
	}
	if (get_user(&hint, argument))
		return -EFAULT;
	return hint <= RWH_WRITE_LIFE_EXTREME ? 0 : -EINVAL;
}

static long command_on_file(int fd, struct file *f, unsigned command, uint64_t argument)
{
	switch (command) {
	case F_SETFL: return file_set_flags(f, fd, (unsigned)argument);
	case F_GETLK:
	case F_SETLK:
	case F_SETLKW:
	case F_OFD_GETLK:
	case F_OFD_SETLK:
	case F_OFD_SETLKW: return fcntl_lock(fd, f, command, (struct uptr){ argument });
	case F_GETOWN:
	case F_SETOWN:
	case F_GETOWN_EX:
	case F_SETOWN_EX:
	case F_GETSIG:
	case F_SETSIG: return owner_command(f, command, argument);
	case F_GETPIPE_SZ: return file_is_pipe(f) ? pipe_get_size(f) : -EBADF;
	case F_SETPIPE_SZ: return file_is_pipe(f) ? pipe_set_size(f, argument) : -EBADF;
	case F_ADD_SEALS: return inode_is_tmpfs(f->inode) ? tmpfs_add_seals(f, (unsigned)argument) : -EINVAL;
	case F_GET_SEALS: return inode_is_tmpfs(f->inode) ? tmpfs_get_seals(f) : -EINVAL;
	case F_NOTIFY: return dnotify_request(f, fd, (uint32_t)argument);
	case F_SETLEASE: return lease_set(f, fd, argument);
	case F_GETLEASE: return lease_get(f);
	case F_GET_RW_HINT:
	case F_SET_RW_HINT:
	case F_GET_FILE_RW_HINT:
	case F_SET_FILE_RW_HINT: return write_hint(f, command, (struct uptr){ argument });
	}
	return -EINVAL;
}

static long get_flags(int fd)
{
	struct file *f = fd_get_any(fd);
	if (!f)
		return -EBADF;
	long flags = f->flags;
	file_put(f);
	return flags;
}

static long get_cloexec(int fd)
{
	struct file *f = fd_get_any(fd);
	if (!f)
		return -EBADF;
	file_put(f);
	return files_is_cloexec(current->files, fd) ? FD_CLOEXEC : 0;
}

long sys_fcntl(int fd, unsigned command, uint64_t argument)
{
	switch (command) { // those that also work on O_PATH descriptors
	case F_DUPFD:
	case F_DUPFD_CLOEXEC:
		if (argument >= process_rlimit(current->process, RLIMIT_NOFILE))
			return get_flags(fd) < 0 ? -EBADF : -EINVAL;
		return fd_duplicate(fd, (int)argument, command == F_DUPFD_CLOEXEC);
	case F_GETFD: return get_cloexec(fd);
	case F_SETFD: return fd_set_cloexec(fd, argument & FD_CLOEXEC);
	case F_GETFL: return get_flags(fd);
	}
	struct file *f = fd_get(fd);
	if (!f)
		return -EBADF;
	long result = command_on_file(fd, f, command, argument);
	file_put(f);
	return result;
}
