// SPDX-License-Identifier: Apache-2.0
// System calls of epoll(7).

#include "epoll.h"

#include "kernel/syscalls.h"
#include "kernel/timespec.h"
#include "kernel/uaccess.h"

#define EVENTS_MAX   ((unsigned)(INT32_MAX / sizeof(struct epoll_event)))
#define EXCLUSIVE_OK (EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE)

long sys_epoll_create1(int flags)
{
	struct eventpoll *ep;
	struct file *f;

	if (flags & ~EPOLL_CLOEXEC)
		return -EINVAL;
	ep = kalloc(sizeof(*ep));
	if (!ep)
		return -ENOMEM;
	mutex_init(&ep->lock);
	spin_init(&ep->ready_lock);
	list_init(&ep->ready);
	waitq_init(&ep->wait);
	waitq_init(&ep->poll_queue);
	f = file_create_anonymous("anon_inode:[eventpoll]", &epoll_ops, ep, O_RDWR, 0600);
	if (is_err(f)) {
		kfree(ep);
		return ptr_err(f);
	}
	return fd_install_new(f, flags & EPOLL_CLOEXEC);
}

long sys_epoll_create(int size) { return size > 0 ? sys_epoll_create1(0) : -EINVAL; }

static int control_locked(struct eventpoll *ep, int operation, struct file *target, int fd, struct epoll_event *event)
{
	struct epitem *i = epoll_find(ep, target, fd);

	event->events |= EPOLLERR | EPOLLHUP;
	switch (operation) {
	case EPOLL_CTL_ADD: return i ? -EEXIST : epoll_insert(ep, target, fd, event);
	case EPOLL_CTL_DEL:
		if (!i)
			return -ENOENT;
		epoll_remove(i);
		return 0;
	case EPOLL_CTL_MOD:
		if (!i)
			return -ENOENT;
		if ((i->event.events | event->events) & EPOLLEXCLUSIVE)
			return -EINVAL;
		epoll_modify(i, event);
		return 0;
	default: return -EINVAL;
	}
}

static int control(struct eventpoll *ep, int operation, struct file *target, int fd, struct epoll_event *event)
{
	bool nests = operation == EPOLL_CTL_ADD && target->ops == &epoll_ops;
	int result;

	if (operation == EPOLL_CTL_ADD && event->events & EPOLLEXCLUSIVE && (nests || event->events & ~EXCLUSIVE_OK))
		return -EINVAL;
	if (nests) {
		mutex_lock(&epoll_mutex);
		if (epoll_makes_loop(ep, target)) {
			mutex_unlock(&epoll_mutex);
			return -ELOOP;
		}
	}
	mutex_lock(&ep->lock);
	result = control_locked(ep, operation, target, fd, event);
	mutex_unlock(&ep->lock);
	if (nests)
		mutex_unlock(&epoll_mutex);
	return result;
}

long sys_epoll_ctl(int fd, int operation, int target_fd, struct uptr user_event)
{
	struct epoll_event event = { 0 };
	struct fd_borrow self, target;
	long result = -EBADF;

	if (operation != EPOLL_CTL_DEL && get_user(&event, user_event))
		return -EFAULT;
	self = fd_begin(fd);
	if (!self.file)
		return -EBADF;
	target = fd_begin(target_fd);
	if (!target.file)
		goto end_self;
	if (!target.file->ops->poll)
		result = -EPERM;
	else if (self.file->ops != &epoll_ops || self.file == target.file)
		result = -EINVAL;
	else
		result = control(self.file->private, operation, target.file, target_fd, &event);
	fd_end(target);
end_self:
	fd_end(self);
	return result;
}

// deadline_ns 0: do not wait.
static long wait_in(struct eventpoll *ep, struct uptr events, unsigned count, uint64_t deadline_ns)
{
	struct waiter w;
	long result = 0;
	int error = 0;

	for (;;) {
		if (epoll_has_ready(ep)) {
			result = epoll_collect(ep, events, count);
			if (result)
				return result;
		}
		if (error || !deadline_ns)
			return error == -ETIMEDOUT ? 0 : error;
		waiter_init(&w);
		w.exclusive = true;
		task_prepare_park(PARK_INTERRUPTIBLE); // first: a wake-up takes an exclusive waiter off the queue
		waitq_add(&ep->wait, &w);
		if (!epoll_has_ready(ep))
			error = task_park(deadline_ns);
		task_finish_park();
		waitq_remove(&ep->wait, &w);
	}
}

static long do_wait(int fd, struct uptr events, int count, uint64_t deadline_ns)
{
	struct fd_borrow b;
	long result = -EINVAL;

	if (count <= 0 || (unsigned)count > EVENTS_MAX)
		return -EINVAL;
	if (!user_range_ok(events.address, (uint64_t)count * sizeof(struct epoll_event)))
		return -EFAULT;
	b = fd_begin(fd);
	if (!b.file)
		return -EBADF;
	if (b.file->ops == &epoll_ops)
		result = wait_in(b.file->private, events, (unsigned)count, deadline_ns);
	fd_end(b);
	return result;
}

static uint64_t deadline_of_ms(int timeout_ms)
{
	return timeout_ms < 0 ? PARK_FOREVER : timeout_ms ? deadline_after((uint64_t)timeout_ms * NSEC_PER_MSEC) : 0;
}

long sys_epoll_wait(int fd, struct uptr events, int count, int timeout_ms)
{
	return do_wait(fd, events, count, deadline_of_ms(timeout_ms));
}

static long wait_masked(int fd, struct uptr events, int count, uint64_t deadline_ns, struct uptr mask, size_t mask_size)
{
	long result = signal_set_user_mask(mask, mask_size);

	if (result)
		return result;
	result = do_wait(fd, events, count, deadline_ns);
	signal_restore_user_mask(result == -EINTR);
	return result;
}

long sys_epoll_pwait(int fd, struct uptr events, int count, int timeout_ms, struct uptr mask, size_t mask_size)
{
	return wait_masked(fd, events, count, deadline_of_ms(timeout_ms), mask, mask_size);
}

long sys_epoll_pwait2(int fd, struct uptr events, int count, struct uptr timeout, struct uptr mask, size_t mask_size)
{
	uint64_t deadline = PARK_FOREVER, ns;
	int error;

	if (!uptr_is_null(timeout)) {
		error = timespec_from_user(&ns, timeout);
		if (error)
			return error;
		deadline = ns ? deadline_after(ns) : 0;
	}
	return wait_masked(fd, events, count, deadline, mask, mask_size);
}
