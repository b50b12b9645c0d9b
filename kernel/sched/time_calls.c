// SPDX-License-Identifier: Apache-2.0
// System calls that read and set clocks. clock_gettime(2), gettimeofday(2), time(2), times(2), adjtimex(2).

#include <linux/capability.h>
#include <linux/timex.h>

#include "kernel/errno.h"
#include "kernel/syscalls.h"
#include "kernel/task.h"
#include "kernel/timespec.h"
#include "kernel/uaccess.h"

#define USER_TICK_NS (10 * NSEC_PER_MSEC) // clock_t of times(2)

long sys_clock_gettime(int clock, struct uptr time)
{
	uint64_t ns;
	int error = clock_read(clock, &ns);

	return error ? error : timespec_to_user(time, ns);
}

long sys_clock_getres(int clock, struct uptr resolution)
{
	uint64_t ns;
	int error = clock_read(clock, &ns);

	if (error || uptr_is_null(resolution))
		return error;
	return timespec_to_user(resolution,
				clock == CLOCK_REALTIME_COARSE || clock == CLOCK_MONOTONIC_COARSE ? 4000000 : 1);
}

static long set_realtime(uint64_t ns)
{
	if (!cred_capable(current->cred, CAP_SYS_TIME))
		return -EPERM;
	clock_set_realtime((int64_t)ns);
	return 0;
}

long sys_clock_settime(int clock, struct uptr time)
{
	uint64_t ns;
	int error = clock_read(clock, &ns);

	if (error)
		return error;
	error = timespec_from_user(&ns, time);
	if (error)
		return error;
	if (clock_is_cpu_time(clock))
		return -EPERM;
	return clock == CLOCK_REALTIME ? set_realtime(ns) : -EINVAL;
}

long sys_gettimeofday(struct uptr time, struct uptr zone)
{
	static const struct timezone utc;

	if (!uptr_is_null(time) && timeval_to_user(time, (uint64_t)clock_realtime_ns()))
		return -EFAULT;
	return uptr_is_null(zone) ? 0 : put_user(utc, zone);
}

// The cell's zone is UTC; setting another one is accepted and forgotten, as nothing but localtime-clocked hardware needs it.
long sys_settimeofday(struct uptr time, struct uptr zone)
{
	struct timezone z;
	uint64_t ns;
	int error;

	if (!uptr_is_null(time)) {
		error = timeval_from_user(&ns, time);
		if (error)
			return error;
	}
	if (!uptr_is_null(zone) && get_user(&z, zone))
		return -EFAULT;
	if (!cred_capable(current->cred, CAP_SYS_TIME))
		return -EPERM;
	return uptr_is_null(time) ? 0 : set_realtime(ns);
}

long sys_time(struct uptr time)
{
	int64_t seconds = clock_realtime_ns() / NSEC_PER_SEC;

	if (!uptr_is_null(time) && put_user(seconds, time))
		return -EFAULT;
	return seconds;
}

long sys_times(struct uptr buffer)
{
	struct process *p = current->process;
	struct process_usage u;
	int64_t out[4]; // struct tms

	if (!uptr_is_null(buffer)) {
		process_usage_get(p, &u);
		out[0] = (int64_t)u.user_ns / USER_TICK_NS;
		out[1] = (int64_t)u.system_ns / USER_TICK_NS;
		spin_lock(&p->lock);
		out[2] = (int64_t)p->children_user_ns / USER_TICK_NS;
		out[3] = (int64_t)p->children_system_ns / USER_TICK_NS;
		spin_unlock(&p->lock);
		if (copy_to_user(buffer, out, sizeof(out)))
			return -EFAULT;
	}
	return (long)(port_time_ns() / USER_TICK_NS);
}

// The launcher disciplines the clock; a program may read that state and step the time, not steer it.
static long adjust(struct uptr buffer)
{
	struct __kernel_timex x;
	int64_t now;

	if (get_user(&x, buffer))
		return -EFAULT;
	if (x.modes && x.modes != ADJ_OFFSET_SS_READ && !cred_capable(current->cred, CAP_SYS_TIME))
		return -EPERM;
	if (x.modes & ADJ_SETOFFSET) {
		int64_t scale = x.modes & ADJ_NANO ? 1 : NSEC_PER_USEC;

		if (x.time.tv_usec < 0 || x.time.tv_usec * scale >= NSEC_PER_SEC)
			return -EINVAL;
		clock_set_realtime(clock_realtime_ns() + x.time.tv_sec * NSEC_PER_SEC + x.time.tv_usec * scale);
	}
	now = clock_realtime_ns();
	x = (struct __kernel_timex){
		.modes = x.modes,
		.status = STA_UNSYNC,
		.maxerror = 16000000,
		.esterror = 16000000,
		.constant = 2,
		.precision = 1,
		.tolerance = 32768000,
		.tick = 10000,
		.time = { .tv_sec = now / NSEC_PER_SEC, .tv_usec = now % NSEC_PER_SEC / NSEC_PER_USEC },
	};
	return copy_to_user(buffer, &x, sizeof(x)) ? -EFAULT : TIME_ERROR;
}

long sys_adjtimex(struct uptr buffer) { return adjust(buffer); }

long sys_clock_adjtime(int clock, struct uptr buffer)
{
	uint64_t ns;
	int error = clock_read(clock, &ns);

	if (error)
		return error;
	return clock == CLOCK_REALTIME ? adjust(buffer) : -EOPNOTSUPP;
}
