// SPDX-License-Identifier: Apache-2.0
// nanosleep(2), clock_nanosleep(2). A relative sleep that a signal interrupted goes on through restart_syscall(2) with the
// time left; an absolute one is simply made again.

#include "kernel/errno.h"
#include "kernel/syscalls.h"
#include "kernel/task.h"
#include "kernel/timespec.h"
#include "kernel/uaccess.h"

// 0 or -EINTR.
static int sleep_until(uint64_t deadline_ns)
{
	int result;

	do {
		task_prepare_park(PARK_INTERRUPTIBLE);
		result = task_park(deadline_ns);
	} while (result == 0);
	task_finish_park();
	return result == -EINTR ? -EINTR : 0;
}

static long restart_sleep(struct restart_block *r);

static long sleep_relative(uint64_t deadline_ns, struct uptr remaining)
{
	struct restart_block *r = &current->restart;

	if (sleep_until(deadline_ns) == 0)
		return 0;
	if (!uptr_is_null(remaining) && timespec_to_user(remaining, deadline_left(deadline_ns)))
		return -EFAULT;
	r->fn = restart_sleep;
	r->arguments[0] = deadline_ns;
	r->arguments[1] = remaining.address;
	return -ERESTART_BLOCK;
}

static long restart_sleep(struct restart_block *r)
{
	return sleep_relative(r->arguments[0], (struct uptr){ r->arguments[1] });
}

long sys_nanosleep(struct uptr request, struct uptr remaining)
{
	uint64_t ns;
	int error = timespec_from_user(&ns, request);

	return error ? error : sleep_relative(deadline_after(ns), remaining);
}

// Until the time of day is `target`, whatever happens to the clock meanwhile.
static int sleep_until_realtime(uint64_t target_ns)
{
	for (;;) {
		uint64_t set = clock_set_count();
		int64_t deadline = (int64_t)target_ns - clock_realtime_offset_ns();
		int error = wait_event_deadline(&clock_set_wait, clock_set_count() != set,
						(uint64_t)max(deadline, INT64_C(0)));

		if (error)
			return error == -ETIMEDOUT ? 0 : error;
	}
}

// CPU time passes no faster than real time on each CPU, so sleep for the least it can take and look again.
static int sleep_until_cpu_time(int clock, uint64_t target_ns)
{
	for (;;) {
		uint64_t now, left;
		int error = clock_read(clock, &now);

		if (error || now >= target_ns)
			return error;
		left = max((target_ns - now) / port_cpu_count(), (uint64_t)NSEC_PER_MSEC);
		error = sleep_until(port_time_ns() + left);
		if (error)
			return error;
	}
}

long sys_clock_nanosleep(int clock, int flags, struct uptr request, struct uptr remaining)
{
	uint64_t ns, now;
	int error = clock_read(clock, &now);

	if (error || clock == CLOCK_THREAD_CPUTIME_ID)
		return -EINVAL;
	if (!clock_is_cpu_time(clock) && !clock_is_wall(clock))
		return -EOPNOTSUPP;
	error = timespec_from_user(&ns, request);
	if (error)
		return error;
	if (clock_is_cpu_time(clock)) {
		error = sleep_until_cpu_time(clock, flags & TIMER_ABSTIME ? ns : now + ns);
		return error == -EINTR ? -ERESTARTNOHAND : error;
	}
	if (!(flags & TIMER_ABSTIME))
		return sleep_relative(deadline_after(ns), remaining);
	error = clock_is_realtime(clock) ? sleep_until_realtime(ns) : sleep_until(ns);
	return error ? -ERESTARTNOHAND : 0;
}
