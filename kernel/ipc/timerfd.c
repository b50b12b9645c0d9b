// SPDX-License-Identifier: Apache-2.0
// timerfd_create(2): a timer that is read.

#include <linux/capability.h>
#include <linux/timerfd.h>

#include "kernel/fs.h"
#include "kernel/slab.h"
#include "kernel/syscalls.h"
#include "kernel/task.h"
#include "kernel/timespec.h"
#include "kernel/uaccess.h"
#include "lib/fmt.h"

#define SHORTEST_PERIOD_NS (100 * (uint64_t)NSEC_PER_USEC) // expirations in between are counted, not slept for

struct timerfd {
	struct waitq wait;
	struct spinlock lock; // guards what follows
	struct ktimer timer;
	uint64_t deadline_ns, interval_ns; // deadline 0: off. Of the last unread expiration's successor
	uint64_t expired;                  // expirations not yet read
	uint64_t set_count;                // clock_set_count() when armed
	int clock, flags;                  // TFD_TIMER_ABSTIME, TFD_TIMER_CANCEL_ON_SET
	int64_t offset_ns;                 // of CLOCK_REALTIME, by which the deadline was computed
	struct waiter set_waiter;          // on clock_set_wait while it matters
};

static void arm(struct timerfd *t)
{
	uint64_t at = t->deadline_ns;

	if (t->interval_ns && t->interval_ns < SHORTEST_PERIOD_NS)
		at = max(at, port_time_ns() + SHORTEST_PERIOD_NS);
	ktimer_set(&t->timer, at);
}

static void timerfd_expired(struct ktimer *timer)
{
	struct timerfd *t = container_of(timer, struct timerfd, timer);
	uint64_t now = port_time_ns();
	bool due;

	spin_lock(&t->lock);
	due = t->deadline_ns && t->deadline_ns <= now && !ktimer_armed(timer);
	if (due) {
		t->expired++;
		if (t->interval_ns) {
			uint64_t missed = (now - t->deadline_ns) / t->interval_ns;

			t->expired += missed;
			t->deadline_ns += (missed + 1) * t->interval_ns;
			arm(t);
		} else {
			t->deadline_ns = 0;
		}
	}
	spin_unlock(&t->lock);
	if (due)
		waitq_wake_events(&t->wait, 0, EPOLLIN);
}

static bool follows_clock(const struct timerfd *t)
{
	return t->flags & TFD_TIMER_ABSTIME && clock_is_realtime(t->clock);
}

static bool cancelled(const struct timerfd *t)
{
	return t->flags & TFD_TIMER_CANCEL_ON_SET && follows_clock(t) && t->set_count != clock_set_count();
}

// The clock was set: the deadline stays what it is by that clock. clock_set_wait's lock is held; ours nests in it.
static bool timerfd_clock_set(struct waiter *w, unsigned events)
{
	struct timerfd *t = container_of(w, struct timerfd, set_waiter);
	int64_t offset = clock_realtime_offset_ns();

	(void)events;
	spin_lock(&t->lock);
	if (t->deadline_ns && follows_clock(t)) {
		t->deadline_ns = clock_deadline_moved(t->deadline_ns, t->offset_ns, offset);
		t->offset_ns = offset;
		arm(t);
	}
	spin_unlock(&t->lock);
	waitq_wake_events(&t->wait, 0, EPOLLIN);
	return true;
}

// -EAGAIN: nothing yet.
static int take(struct timerfd *t, uint64_t *value)
{
	int result = 0;

	spin_lock(&t->lock);
	if (cancelled(t)) {
		t->set_count = clock_set_count();
		t->expired = 0;
		result = -ECANCELED;
	} else if (t->expired) {
		*value = t->expired;
		t->expired = 0;
	} else {
		result = -EAGAIN;
	}
	spin_unlock(&t->lock);
	return result;
}

static ssize_t timerfd_read(struct file *f, struct iov_iter *to, loff_t *pos)
{
	struct timerfd *t = f->private;
	uint64_t value;
	int result;

	(void)pos;
	if (to->count < sizeof(value))
		return -EINVAL;
	result = take(t, &value);
	if (result == -EAGAIN && !file_nonblock(f) &&
	    wait_event_interruptible(&t->wait, (result = take(t, &value)) != -EAGAIN))
		return -ERESTARTSYS;
	if (result)
		return result;
	return iov_copy_to(to, &value, sizeof(value)) == sizeof(value) ? (ssize_t)sizeof(value) : -EFAULT;
}

static unsigned timerfd_poll(struct file *f, struct poll_table *table)
{
	struct timerfd *t = f->private;
	unsigned events;

	poll_wait(table, f, &t->wait);
	spin_lock(&t->lock);
	events = t->expired || cancelled(t) ? EPOLLIN | EPOLLRDNORM : 0;
	spin_unlock(&t->lock);
	return events;
}

static void timerfd_release(struct file *f)
{
	struct timerfd *t = f->private;

	waitq_remove(&clock_set_wait, &t->set_waiter);
	spin_lock(&t->lock);
	t->deadline_ns = 0;
	spin_unlock(&t->lock);
	ktimer_cancel_sync(&t->timer);
	kfree(t);
}

static uint64_t left(const struct timerfd *t)
{
	return t->deadline_ns ? max(deadline_left(t->deadline_ns), UINT64_C(1)) : 0;
}

static void timerfd_show(struct file *f, char *buffer, size_t size)
{
	struct timerfd *t = f->private;
	struct __kernel_timespec value = timespec_of_ns(left(t)), interval = timespec_of_ns(t->interval_ns);

	fmt_print(buffer, size,
		  "clockid: %d\nticks: %llu\nsettime flags: 0%o\nit_value: (%lld, %lld)\nit_interval: (%lld, %lld)\n",
		  t->clock, (unsigned long long)t->expired, t->flags, value.tv_sec, value.tv_nsec, interval.tv_sec,
		  interval.tv_nsec);
}

static const struct file_ops timerfd_ops = {
	.read = timerfd_read,
	.poll = timerfd_poll,
	.release = timerfd_release,
	.show_fdinfo = timerfd_show,
	.stream = true,
};

long sys_timerfd_create(int clock, int flags)
{
	struct timerfd *t;
	struct file *f;

	if (flags & ~(TFD_CLOEXEC | TFD_NONBLOCK) || !clock_is_wall(clock) || clock == CLOCK_TAI)
		return -EINVAL;
	if ((clock == CLOCK_REALTIME_ALARM || clock == CLOCK_BOOTTIME_ALARM) &&
	    !cred_capable(current->cred, CAP_WAKE_ALARM))
		return -EPERM;
	t = kalloc(sizeof(*t));
	if (!t)
		return -ENOMEM;
	waitq_init(&t->wait);
	spin_init(&t->lock);
	ktimer_init(&t->timer, timerfd_expired);
	list_init(&t->set_waiter.node);
	t->set_waiter.wake = timerfd_clock_set;
	t->clock = clock;
	f = file_create_anonymous("anon_inode:[timerfd]", &timerfd_ops, t, O_RDWR | (flags & O_NONBLOCK), 0600);
	if (is_err(f)) {
		kfree(t);
		return ptr_err(f);
	}
	return fd_install_new(f, flags & TFD_CLOEXEC);
}

static void set(struct timerfd *t, int flags, uint64_t value, uint64_t interval, struct __kernel_itimerspec *old)
{
	if (flags & TFD_TIMER_ABSTIME && clock_is_realtime(t->clock))
		waitq_add(&clock_set_wait, &t->set_waiter);
	spin_lock(&t->lock);
	old->it_value = timespec_of_ns(left(t));
	old->it_interval = timespec_of_ns(t->interval_ns);
	ktimer_cancel(&t->timer);
	t->flags = flags;
	t->set_count = clock_set_count();
	t->expired = 0;
	t->interval_ns = interval;
	t->deadline_ns = 0;
	t->offset_ns = clock_realtime_offset_ns();
	if (value) {
		if (!(flags & TFD_TIMER_ABSTIME))
			t->deadline_ns = deadline_after(value);
		else if (clock_is_realtime(t->clock))
			t->deadline_ns = (uint64_t)max((int64_t)value - t->offset_ns, INT64_C(1));
		else
			t->deadline_ns = value;
		arm(t);
	}
	spin_unlock(&t->lock);
}

// The timerfd of a descriptor: a reference to its file, or err_ptr.
static struct file *timerfd_get(int fd)
{
	struct file *f = fd_get(fd);

	if (!f)
		return err_ptr(-EBADF);
	if (f->ops == &timerfd_ops)
		return f;
	file_put(f);
	return err_ptr(-EINVAL);
}

long sys_timerfd_settime(int fd, int flags, struct uptr value, struct uptr old_value)
{
	struct __kernel_itimerspec v, old;
	uint64_t ns, interval;
	struct file *f;

	if (get_user(&v, value))
		return -EFAULT;
	if (flags & ~(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET) || timespec_to_ns(&v.it_value, &ns) ||
	    timespec_to_ns(&v.it_interval, &interval))
		return -EINVAL;
	f = timerfd_get(fd);
	if (is_err(f))
		return ptr_err(f);
	set(f->private, flags, ns, interval, &old);
	file_put(f);
	return uptr_is_null(old_value) ? 0 : put_user(old, old_value);
}

long sys_timerfd_gettime(int fd, struct uptr value)
{
	struct __kernel_itimerspec v;
	struct timerfd *t;
	struct file *f = timerfd_get(fd);

	if (is_err(f))
		return ptr_err(f);
	t = f->private;
	spin_lock(&t->lock);
	v.it_value = timespec_of_ns(left(t));
	v.it_interval = timespec_of_ns(t->interval_ns);
	spin_unlock(&t->lock);
	file_put(f);
	return put_user(v, value);
}
