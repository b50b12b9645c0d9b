// SPDX-License-Identifier: Apache-2.0
// Time of day: an offset to the monotonic clock, which never jumps. Set from the boot record, by the launcher (after the
// host slept) and by clock_settime(2).

#include "kernel/vdso.h"
#include "kernel/timer.h"
#include "kernel/vdso.h"
#include "kernel/waitq.h"

static int64_t realtime_offset_ns; // atomic
static uint64_t set_count;         // atomic
struct waitq clock_set_wait = WAITQ_INIT(clock_set_wait);

int64_t clock_realtime_offset_ns(void) { return __atomic_load_n(&realtime_offset_ns, __ATOMIC_RELAXED); }
int64_t clock_realtime_ns(void) { return (int64_t)port_time_ns() + clock_realtime_offset_ns(); }
uint64_t clock_set_count(void) { return __atomic_load_n(&set_count, __ATOMIC_ACQUIRE); }

uint64_t clock_deadline_moved(uint64_t deadline_ns, int64_t old_offset_ns, int64_t offset_ns)
{
	int64_t moved;

	if (__builtin_sub_overflow((int64_t)deadline_ns, offset_ns - old_offset_ns, &moved))
		return offset_ns < old_offset_ns ? (uint64_t)INT64_MAX : 1;
	return (uint64_t)max(moved, INT64_C(1));
}

// Absolute realtime sleepers have turned their deadline into a monotonic one; they wake on this queue and do it again.
void clock_set_realtime(int64_t realtime_ns)
{
	int64_t offset = realtime_ns - (int64_t)port_time_ns();

	__atomic_store_n(&realtime_offset_ns, offset, __ATOMIC_RELAXED);
	vdso_set_realtime_offset(offset);
	vdso_set_realtime_offset(clock_realtime_offset_ns());
	__atomic_add_fetch(&set_count, 1, __ATOMIC_SEQ_CST);
	waitq_wake_all(&clock_set_wait);
}
