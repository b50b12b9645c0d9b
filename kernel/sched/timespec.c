// SPDX-License-Identifier: Apache-2.0
// Conversions between the program's time structures and nanoseconds.

#include "kernel/timespec.h"

#include "kernel/errno.h"
#include "kernel/uaccess.h"

int timespec_to_ns(const struct __kernel_timespec *t, uint64_t *ns)
{
	if (t->tv_sec < 0 || t->tv_nsec < 0 || t->tv_nsec >= NSEC_PER_SEC)
		return -EINVAL;
	*ns = t->tv_sec >= TIME_NS_MAX / NSEC_PER_SEC ? (uint64_t)TIME_NS_MAX
						      : (uint64_t)t->tv_sec * NSEC_PER_SEC + (uint64_t)t->tv_nsec;
	return 0;
}

int timespec_from_user(uint64_t *ns, struct uptr from)
{
	struct __kernel_timespec t;

	return get_user(&t, from) ? -EFAULT : timespec_to_ns(&t, ns);
}

int timeval_from_user(uint64_t *ns, struct uptr from)
{
	struct __kernel_old_timeval v;
	struct __kernel_timespec t;

	if (get_user(&v, from))
		return -EFAULT;
	if (v.tv_usec < 0 || v.tv_usec >= 1000000)
		return -EINVAL;
	t = (struct __kernel_timespec){ .tv_sec = v.tv_sec, .tv_nsec = v.tv_usec * NSEC_PER_USEC };
	return timespec_to_ns(&t, ns);
}

int timespec_to_user(struct uptr to, uint64_t ns) { return put_user(timespec_of_ns(ns), to); }

int timeval_to_user(struct uptr to, uint64_t ns)
{
	struct __kernel_old_timeval v = { .tv_sec = (int64_t)(ns / NSEC_PER_SEC),
					  .tv_usec = (int64_t)(ns % NSEC_PER_SEC / NSEC_PER_USEC) };

	return put_user(v, to);
}

int deadline_from_user(uint64_t *deadline_ns, struct uptr timeout)
{
	uint64_t ns;
	int error;

	*deadline_ns = PARK_FOREVER;
	if (uptr_is_null(timeout))
		return 0;
	error = timespec_from_user(&ns, timeout);
	if (!error)
		*deadline_ns = deadline_after(ns);
	return error;
}

uint64_t deadline_left(uint64_t deadline_ns)
{
	uint64_t now = port_time_ns();

	return deadline_ns > now ? deadline_ns - now : 0;
}
