// SPDX-License-Identifier: Apache-2.0
// signalfd(2): pending signals as data. Reading and polling concern the signals of whoever reads or polls.

#include <linux/signalfd.h>

#include "kernel/fs.h"
#include "kernel/slab.h"
#include "kernel/syscalls.h"
#include "kernel/task.h"
#include "kernel/uaccess.h"
#include "lib/fmt.h"

struct signalfd {
	sigmask_t mask; // atomic
};

static sigmask_t mask_of(struct file *f)
{
	struct signalfd *s = f->private;

	return __atomic_load_n(&s->mask, __ATOMIC_RELAXED);
}

// siginfo_t's union flattened; which members mean something follows from si_code and the signal (sigaction(2)).
static struct signalfd_siginfo flatten(const siginfo_t *i)
{
	struct signalfd_siginfo s = {
		.ssi_signo = (uint32_t)i->si_signo,
		.ssi_errno = i->si_errno,
		.ssi_code = i->si_code,
	};

	if (i->si_code == SI_TIMER) {
		s.ssi_tid = (uint32_t)i->si_tid;
		s.ssi_overrun = (uint32_t)i->si_overrun;
		s.ssi_ptr = (uint64_t)i->si_ptr;
		s.ssi_int = i->si_int;
	} else if (i->si_code <= 0) {
		s.ssi_pid = (uint32_t)i->si_pid;
		s.ssi_uid = i->si_uid;
		if (i->si_code != SI_USER && i->si_code != SI_TKILL) {
			s.ssi_ptr = (uint64_t)i->si_ptr;
			s.ssi_int = i->si_int;
		}
	} else if (i->si_code == SI_KERNEL) {
		s.ssi_pid = (uint32_t)i->si_pid;
		s.ssi_uid = i->si_uid;
	} else {
		switch (i->si_signo) {
		case SIGCHLD:
			s.ssi_pid = (uint32_t)i->si_pid;
			s.ssi_uid = i->si_uid;
			s.ssi_status = i->si_status;
			s.ssi_utime = (uint64_t)i->si_utime;
			s.ssi_stime = (uint64_t)i->si_stime;
			break;
		case SIGIO:
			s.ssi_band = (uint32_t)i->si_band;
			s.ssi_fd = i->si_fd;
			break;
		default: s.ssi_addr = (uint64_t)i->si_addr;
		}
	}
	return s;
}

static ssize_t signalfd_read(struct file *f, struct iov_iter *to, loff_t *pos)
{
	struct waitq *q = &current->sighand->signalfd_wait;
	struct signalfd_siginfo out;
	siginfo_t info;
	ssize_t done = 0;
	int signal;

	(void)pos;
	if (to->count < sizeof(out))
		return -EINVAL;
	while (to->count >= sizeof(out)) {
		signal = signal_dequeue(current, mask_of(f), &info);
		if (!signal && done)
			break;
		if (!signal && file_nonblock(f))
			return -EAGAIN;
		if (!signal && wait_event_interruptible(q, (signal = signal_dequeue(current, mask_of(f), &info)) != 0))
			return -ERESTARTSYS;
		out = flatten(&info);
		if (iov_copy_to(to, &out, sizeof(out)) != sizeof(out))
			return done ? done : -EFAULT;
		done += sizeof(out);
	}
	return done;
}

static unsigned signalfd_poll(struct file *f, struct poll_table *t)
{
	sigmask_t shared, private;

	poll_wait(t, f, &current->sighand->signalfd_wait);
	signal_get_pending(current->process, current, &shared, &private);
	return (shared | private) & mask_of(f) ? EPOLLIN | EPOLLRDNORM : 0;
}

static void signalfd_release(struct file *f) { kfree(f->private); }

static void signalfd_show(struct file *f, char *buffer, size_t size)
{
	fmt_print(buffer, size, "sigmask:\t%016llx\n", (unsigned long long)mask_of(f));
}

static const struct file_ops signalfd_ops = {
	.read = signalfd_read,
	.poll = signalfd_poll,
	.release = signalfd_release,
	.show_fdinfo = signalfd_show,
	.stream = true,
	.poll_by_caller = true,
};

static long create(sigmask_t mask, int flags)
{
	struct signalfd *s = kalloc(sizeof(*s));
	struct file *f;

	if (!s)
		return -ENOMEM;
	s->mask = mask;
	f = file_create_anonymous("anon_inode:[signalfd]", &signalfd_ops, s, O_RDWR | (flags & O_NONBLOCK), 0600);
	if (is_err(f)) {
		kfree(s);
		return ptr_err(f);
	}
	return fd_install_new(f, flags & SFD_CLOEXEC);
}

static long change(int fd, sigmask_t mask)
{
	struct file *f = fd_get(fd);
	struct signalfd *s;

	if (!f)
		return -EBADF;
	if (f->ops != &signalfd_ops) {
		file_put(f);
		return -EINVAL;
	}
	s = f->private;
	__atomic_store_n(&s->mask, mask, __ATOMIC_RELAXED);
	waitq_wake_all(&current->sighand->signalfd_wait);
	file_put(f);
	return fd;
}

long sys_signalfd4(int fd, struct uptr user_mask, size_t mask_size, int flags)
{
	sigmask_t mask;

	if (mask_size != sizeof(mask) || flags & ~(SFD_CLOEXEC | SFD_NONBLOCK))
		return -EINVAL;
	if (get_user(&mask, user_mask))
		return -EFAULT;
	mask &= ~(SIGMASK(SIGKILL) | SIGMASK(SIGSTOP));
	return fd == -1 ? create(mask, flags) : change(fd, mask);
}

long sys_signalfd(int fd, struct uptr mask, size_t mask_size) { return sys_signalfd4(fd, mask, mask_size, 0); }
