// SPDX-License-Identifier: Apache-2.0
// eventfd(2): a 64-bit counter with a descriptor.

#include "eventfd.h"

#include "kernel/fs.h"
#include "kernel/slab.h"
#include "kernel/syscalls.h"
#include "kernel/task.h"
#include "lib/fmt.h"

// Of <sys/eventfd.h>; linux-libc-dev has no header for them yet.
#define EFD_SEMAPHORE 1
#define EFD_CLOEXEC   O_CLOEXEC
#define EFD_NONBLOCK  O_NONBLOCK

#define COUNT_MAX (UINT64_MAX - 1)

struct eventfd {
	struct waitq wait; // its lock guards count
	uint64_t count;
	bool semaphore;
};

// Takes the count, or one of it. False: it is 0.
static bool take(struct eventfd *e, uint64_t *value)
{
	spin_lock(&e->wait.lock);
	*value = e->semaphore && e->count ? 1 : e->count;
	e->count -= *value;
	spin_unlock(&e->wait.lock);
	return *value != 0;
}

static bool give(struct eventfd *e, uint64_t value)
{
	bool fits;

	spin_lock(&e->wait.lock);
	fits = COUNT_MAX - e->count >= value;
	if (fits)
		e->count += value;
	spin_unlock(&e->wait.lock);
	return fits;
}

static ssize_t eventfd_read(struct file *f, struct iov_iter *to, loff_t *pos)
{
	struct eventfd *e = f->private;
	uint64_t value;

	(void)pos;
	if (to->count < sizeof(value))
		return -EINVAL;
	if (!take(e, &value)) {
		if (file_nonblock(f))
			return -EAGAIN;
		if (wait_event_interruptible(&e->wait, take(e, &value)))
			return -ERESTARTSYS;
	}
	waitq_wake_events(&e->wait, 0, EPOLLOUT);
	return iov_copy_to(to, &value, sizeof(value)) == sizeof(value) ? (ssize_t)sizeof(value) : -EFAULT;
}

static ssize_t eventfd_write(struct file *f, struct iov_iter *from, loff_t *pos)
{
	struct eventfd *e = f->private;
	uint64_t value;

	(void)pos;
	if (from->count < sizeof(value))
		return -EINVAL;
	if (iov_copy_from(&value, from, sizeof(value)) != sizeof(value))
		return -EFAULT;
	if (value == UINT64_MAX)
		return -EINVAL;
	if (!give(e, value)) {
		if (file_nonblock(f))
			return -EAGAIN;
		if (wait_event_interruptible(&e->wait, give(e, value)))
			return -ERESTARTSYS;
	}
	waitq_wake_events(&e->wait, 0, EPOLLIN);
	return sizeof(value);
}

static unsigned eventfd_poll(struct file *f, struct poll_table *t)
{
	struct eventfd *e = f->private;
	uint64_t count;

	poll_wait(t, f, &e->wait);
	count = __atomic_load_n(&e->count, __ATOMIC_ACQUIRE);
	return (count ? EPOLLIN | EPOLLRDNORM : 0) | (count < COUNT_MAX ? EPOLLOUT | EPOLLWRNORM : 0);
}

static void eventfd_release(struct file *f) { kfree(f->private); }

static void eventfd_show(struct file *f, char *buffer, size_t size)
{
	struct eventfd *e = f->private;

	fmt_print(buffer, size, "eventfd-count: %16llx\n", (unsigned long long)e->count);
}

static const struct file_ops eventfd_ops = {
	.read = eventfd_read,
	.write = eventfd_write,
	.poll = eventfd_poll,
	.release = eventfd_release,
	.show_fdinfo = eventfd_show,
	.stream = true,
};

bool file_is_eventfd(const struct file *f) { return f->ops == &eventfd_ops; }

void eventfd_signal(struct file *f)
{
	struct eventfd *e = f->private;

	(void)give(e, 1);
	waitq_wake_events(&e->wait, 0, EPOLLIN);
}

long sys_eventfd2(unsigned value, int flags)
{
	struct eventfd *e;
	struct file *f;

	if (flags & ~(EFD_SEMAPHORE | EFD_CLOEXEC | EFD_NONBLOCK))
		return -EINVAL;
	e = kalloc(sizeof(*e));
	if (!e)
		return -ENOMEM;
	waitq_init(&e->wait);
	e->count = value;
	e->semaphore = flags & EFD_SEMAPHORE;
	f = file_create_anonymous("anon_inode:[eventfd]", &eventfd_ops, e, O_RDWR | (flags & O_NONBLOCK), 0600);
	if (is_err(f)) {
		kfree(e);
		return ptr_err(f);
	}
	return fd_install_new(f, flags & EFD_CLOEXEC);
}

long sys_eventfd(unsigned value) { return sys_eventfd2(value, 0); }
