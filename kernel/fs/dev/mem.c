// SPDX-License-Identifier: Apache-2.0
// The memory devices: null, zero, full, random, urandom, kmsg (null(4), random(4)).
#include <linux/random.h>

#include "kernel/boot_config.h"
#include "kernel/errno.h"
#include "kernel/fs.h"
#include "kernel/init.h"
#include "kernel/log.h"
#include "kernel/random.h"
#include "kernel/syscalls.h"
#include "kernel/task.h"
#include "kernel/uaccess.h"
#include "lib/string.h"

static ssize_t read_nothing(struct file *f, struct iov_iter *to, loff_t *pos)
{
	(void)f, (void)to, (void)pos;
	return 0;
}

static ssize_t write_swallow(struct file *f, struct iov_iter *from, loff_t *pos)
{
	size_t n = from->count;

	(void)f, (void)pos;
	iov_advance(from, n);
	return (ssize_t)n;
}

static ssize_t read_zeros(struct file *f, struct iov_iter *to, loff_t *pos)
{
	ssize_t done = 0;

	(void)f, (void)pos;
	while (to->count) { // in steps, so that a huge read can be interrupted
		size_t want = min(to->count, (size_t)65536), n = iov_zero(to, want);
		done += (ssize_t)n;
		if (n < want)
			return done ? done : -EFAULT;
		if (fatal_signal_pending(current))
			break;
		sched_preempt_point();
	}
	return done;
}

static ssize_t write_full(struct file *f, struct iov_iter *from, loff_t *pos)
{
	(void)f, (void)from, (void)pos;
	return -ENOSPC;
}

static ssize_t random_to(struct iov_iter *to)
{
	char chunk[256];
	ssize_t done = 0;

	while (to->count) {
		size_t want = min(to->count, sizeof(chunk));
		random_bytes(chunk, want);
		size_t n = iov_copy_to(to, chunk, want);
		done += (ssize_t)n;
		if (n < want)
			return done ? done : -EFAULT;
		if (done % 65536 == 0) {
			if (signal_pending(current))
				break;
			sched_preempt_point();
		}
	}
	memset(chunk, 0, sizeof(chunk));
	return done;
}

static ssize_t read_random(struct file *f, struct iov_iter *to, loff_t *pos)
{
	(void)f, (void)pos;
	return random_to(to);
}

static ssize_t write_random(struct file *f, struct iov_iter *from, loff_t *pos)
{
	char chunk[256];
	ssize_t done = 0;
	size_t n;

	(void)f, (void)pos;
	while (from->count && (n = iov_copy_from(chunk, from, sizeof(chunk)))) {
		random_add(chunk, n);
		done += (ssize_t)n;
	}
	return done || !from->count ? done : -EFAULT;
}

static long ioctl_random(struct file *f, unsigned command, uint64_t argument)
{
	(void)f;
	switch (command) {
	case RNDGETENTCNT: return put_user((int)256, (struct uptr){ argument });
	case RNDADDTOENTCNT:
	case RNDADDENTROPY:
	case RNDZAPENTCNT:
	case RNDCLEARPOOL:
	case RNDRESEEDCRNG: return cred_capable(current->cred, 21 /* CAP_SYS_ADMIN */) ? 0 : -EPERM;
	}
	return -ENOIOCTLCMD;
}

long sys_getrandom(struct uptr buffer, size_t size, unsigned flags)
{
	struct iov_iter to;

	if (flags & ~(unsigned)(GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE) ||
	    (flags & (GRND_RANDOM | GRND_INSECURE)) == (GRND_RANDOM | GRND_INSECURE))
		return -EINVAL;
	iov_init_user(&to, buffer, min(size, (size_t)INT32_MAX));
	return random_to(&to);
}

static ssize_t kmsg_read(struct file *f, struct iov_iter *to, loff_t *pos)
{
	char chunk[256];
	uint64_t at = (uint64_t)*pos;
	size_t n = klog_read(chunk, min(to->count, sizeof(chunk)), &at);

	if (!n)
		return file_nonblock(f) ? -EAGAIN : 0;
	if (iov_copy_to(to, chunk, n) != n)
		return -EFAULT;
	*pos = (loff_t)at;
	return (ssize_t)n;
}

static ssize_t kmsg_write(struct file *f, struct iov_iter *from, loff_t *pos)
{
	char line[201];
	size_t size = from->count, n = iov_copy_from(line, from, sizeof(line) - 1);

	(void)f, (void)pos;
	if (!n && size)
		return -EFAULT;
	line[n] = '\0';
	if (n && line[n - 1] == '\n')
		line[n - 1] = '\0';
	klog("%s", line);
	iov_advance(from, from->count);
	return (ssize_t)size;
}

static loff_t seek_nowhere(struct file *f, loff_t offset, int whence)
{
	(void)f, (void)offset, (void)whence;
	return 0;
}

// A private mapping of /dev/zero is anonymous memory; a shared one is shared anonymous memory.
static int mmap_zero(struct file *f, uint64_t *page, uint64_t size, unsigned *vma_flags, struct mobj **object)
{
	(void)f, (void)page;
	*object = NULL;
	if (*vma_flags & VMA_SHARED) {
		*object = mobj_create_anonymous(size);
		if (!*object)
			return -ENOMEM;
	}
	return 0;
}

static const struct file_ops null_ops = { .read = read_nothing, .write = write_swallow, .seek = seek_nowhere };
static const struct file_ops zero_ops = {
	.read = read_zeros, .write = write_swallow, .seek = seek_nowhere, .mmap = mmap_zero
};
static const struct file_ops full_ops = { .read = read_zeros, .write = write_full, .seek = seek_nowhere };
static const struct file_ops random_ops = {
	.read = read_random, .write = write_random, .ioctl = ioctl_random, .seek = seek_nowhere
};
static const struct file_ops kmsg_ops = { .read = kmsg_read, .write = kmsg_write };

static void mem_init(void)
{
	chrdev_register(1, 3, 1, &null_ops);
	chrdev_register(1, 5, 1, &zero_ops);
	chrdev_register(1, 7, 1, &full_ops);
	chrdev_register(1, 8, 1, &random_ops);
	chrdev_register(1, 9, 1, &random_ops);
	chrdev_register(1, 11, 1, &kmsg_ops);
}
KERNEL_INIT(2, mem_init);
