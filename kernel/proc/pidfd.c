// SPDX-License-Identifier: Apache-2.0
// Process descriptors: pidfd_open(2), pidfd_send_signal(2), pidfd_getfd(2). A descriptor holds the struct pid: when its
// process was reaped, the number may be reused, but the descriptor then refers to nobody.
#include "internal.h"

#include "kernel/pseudofs.h"
#include "kernel/syscalls.h"
#include "lib/fmt.h"
#include "pidfd.h"

#define PIDFD_NONBLOCK_FLAG 00004000 // O_NONBLOCK

static void pidfd_release(struct file *f) { pid_put(f->private); }

static unsigned pidfd_poll(struct file *f, struct poll_table *table)
{
	struct pid *pid = f->private;
	poll_wait(table, f, &pid->exit_wait);
	spin_lock(&tasklist_lock);
	struct task *t = pid->task;
	bool gone = !t || t->process->zombie;
	spin_unlock(&tasklist_lock);
	return gone ? EPOLLIN | EPOLLRDNORM : 0;
}

static void pidfd_show(struct file *f, char *buffer, size_t size)
{
	struct pid *pid = f->private;
	spin_lock(&tasklist_lock);
	bool alive = pid->task;
	spin_unlock(&tasklist_lock);
	int used = fmt_print(buffer, size,
			     "Pid:\t%d\nNSpid:", alive ? pid_number_in(task_pid_namespace(current), pid) : -1);
	used += pid_numbers_print(pid, alive, task_pid_namespace(current), buffer + used, size - (size_t)used);
	fmt_print(buffer + used, size - (size_t)used, "\n");
}

static const struct file_ops pidfd_ops = {
	.release = pidfd_release,
	.poll = pidfd_poll,
	.show_fdinfo = pidfd_show,
	.stream = true,
};

int pidfd_prepare(struct pid *pid, int flags, struct file **out)
{
	int fd = fd_reserve(0, true);
	if (fd < 0)
		return fd;
	refcount_get(&pid->refs);
	struct file *f = file_create_anonymous("[pidfd]", &pidfd_ops, pid, O_RDWR | flags, 0600);
	if (is_err(f)) {
		pid_put(pid);
		fd_cancel(fd);
		return (int)ptr_err(f);
	}
	*out = f;
	return fd;
}

struct pid *pidfd_get(int fd, bool *nonblock)
{
	struct file *f = fd_get(fd);
	if (!f)
		return err_ptr(-EBADF);
	struct pid *pid = err_ptr(-EBADF);
	if (f->ops == &pidfd_ops) {
		pid = f->private;
		refcount_get(&pid->refs);
		if (nonblock)
			*nonblock = f->flags & O_NONBLOCK;
	}
	file_put(f);
	return pid;
}

// pidfd_send_signal(2) takes an open /proc/PID directory, too.
static struct pid *signal_target_get(int fd)
{
	struct pid *pid = pidfd_get(fd, NULL);
	struct file *f = is_err(pid) ? fd_get(fd) : NULL;
	struct pid *by_directory = f ? proc_directory_pid(f) : NULL;
	if (f)
		file_put(f);
	return by_directory ? by_directory : pid;
}

long sys_pidfd_open(pid_t number, unsigned flags)
{
	struct file *f;
	if (flags & ~(unsigned)PIDFD_NONBLOCK_FLAG || number <= 0)
		return -EINVAL;
	struct pid *pid = pid_find(pid_meant(number));
	if (!pid)
		return -ESRCH;
	spin_lock(&tasklist_lock);
	struct task *t = pid->task;
	int error = !t ? -ESRCH : t->process->leader != t ? -EINVAL : 0;
	spin_unlock(&tasklist_lock);
	int fd = error ? error : pidfd_prepare(pid, (int)flags, &f);
	pid_put(pid);
	if (fd >= 0)
		fd_install(fd, f);
	return fd;
}

struct task *pid_task_get(struct pid *pid)
{
	spin_lock(&tasklist_lock);
	struct task *t = pid->task;
	if (t)
		task_get(t);
	spin_unlock(&tasklist_lock);
	return t;
}

long sys_pidfd_send_signal(int fd, int signal, struct uptr user, unsigned flags)
{
	siginfo_t info;
	if (flags)
		return -EINVAL;
	struct pid *pid = signal_target_get(fd);
	if (is_err(pid))
		return ptr_err(pid);
	long r = -EINVAL;
	if (!uptr_is_null(user)) {
		r = signal_from_user_info(&info, user);
		if (r)
			goto out;
		r = -EINVAL;
		if (info.si_signo != signal)
			goto out;
		r = -EPERM;
		if (pid->number != current->process->pid && (info.si_code >= 0 || info.si_code == SI_TKILL))
			goto out;
	} else {
		signal_info_user(&info, signal, SI_USER);
	}
	r = -EINVAL;
	if (signal < 0 || signal > SIGNALS_MAX)
		goto out;
	spin_lock(&tasklist_lock);
	r = -ESRCH;
	if (pid->task) {
		r = signal_permission(pid->task->process, signal, &info);
		if (!r)
			r = signal_send_process(pid->task->process, signal, &info);
	}
	spin_unlock(&tasklist_lock);
out:
	pid_put(pid);
	return r;
}

long sys_pidfd_getfd(int fd, int target, unsigned flags)
{
	if (flags)
		return -EINVAL;
	struct pid *pid = pidfd_get(fd, NULL);
	if (is_err(pid))
		return ptr_err(pid);
	struct task *t = pid_task_get(pid);
	pid_put(pid);
	if (!t)
		return -ESRCH;
	long r = ptrace_may_access(t);
	struct files *files = r ? NULL : task_files_get(t);
	if (!r && !files)
		r = -ESRCH;
	struct file *f = files ? files_lookup(files, target) : NULL;
	if (!r)
		r = f ? fd_install_new(f, true) : -EBADF;
	if (files)
		files_put(files);
	task_put(t);
	return r;
}
