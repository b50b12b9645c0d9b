// SPDX-License-Identifier: Apache-2.0
// Time, and waiting for it. port_time_ns() is the host's CLOCK_MONOTONIC minus what it was at the start, from the TSC where the host's
// own clock is the TSC, so that programs read it without a call (the vDSO).
#include "layout.h"
#include "port/host.h"
#include "syscall.h"
#include "task.h"
#include "time.h"

#include <asm/errno.h>
#include <linux/futex.h>
#include <linux/time.h>
#include <linux/time_types.h>

#define NSEC  UINT64_C(1000000000)
#define SHIFT 31u

static uint32_t multiplier; // 0: no usable TSC
static int64_t start_ns;

static inline uint64_t rdtsc(void)
{
	uint32_t low, high;
	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

static int64_t host_clock(int clock)
{
	struct __kernel_timespec t = { 0 };
	(void)HOST(clock_gettime, clock, &t);
	return t.tv_sec * (int64_t)NSEC + t.tv_nsec;
}

void hosted_time_init(void)
{
	start_ns = hosted.monotonic_ns ? hosted.monotonic_ns : host_clock(CLOCK_MONOTONIC);
	if (hosted.tsc_hz >= NSEC / 2 && hosted.tsc_base)
		multiplier = (uint32_t)((NSEC << SHIFT) / hosted.tsc_hz);
}

uint64_t port_time_ns(void)
{
	if (!multiplier)
		return (uint64_t)(host_clock(CLOCK_MONOTONIC) - start_ns);
	return (uint64_t)((unsigned __int128)(rdtsc() - hosted.tsc_base) * multiplier >> SHIFT);
}

bool port_time_tsc(uint64_t *tsc_base, uint32_t *mult, uint32_t *shift)
{
	*tsc_base = hosted.tsc_base;
	*mult = multiplier;
	*shift = SHIFT;
	return multiplier != 0;
}

uint64_t port_tsc_hz(void) { return hosted.tsc_hz; }

bool port_random64(uint64_t *out)
{
	uint8_t ok;
	uint32_t a = 1, b, c = 0, d;
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	if (!(c >> 30 & 1))
		return false;
	__asm__ volatile("rdrand %0; setc %1" : "=r"(*out), "=qm"(ok));
	return ok;
}

// ---- waiting ----

void port_lock_wait(uint32_t *word, uint32_t seen) { (void)HOST(futex, word, FUTEX_WAIT, seen, 0); }

void port_lock_wake(uint32_t *word) { (void)HOST(futex, word, FUTEX_WAKE, 1); }

void hosted_wake_all(uint32_t *word) { (void)HOST(futex, word, FUTEX_WAKE, INT32_MAX); }

void port_lock_wait_until(uint32_t *word, uint32_t seen, uint64_t deadline_ns)
{
	uint64_t now = port_time_ns();
	if (deadline_ns <= now)
		return;
	uint64_t left = deadline_ns - now;
	struct __kernel_timespec t = { .tv_sec = (long long)(left / NSEC), .tv_nsec = (long long)(left % NSEC) };
	(void)HOST(futex, word, FUTEX_WAIT, seen, &t);
}

// ---- CPU time ----

struct host_rusage {
	struct {
		int64_t sec, usec;
	} user, system;
	int64_t maxrss, ixrss, idrss, isrss, minflt, majflt;
	int64_t rest[8];
};

static void usage(int who, uint64_t *user_ns, uint64_t *system_ns)
{
	struct host_rusage r = { 0 };
	(void)HOST(getrusage, who, &r);
	*user_ns = (uint64_t)r.user.sec * NSEC + (uint64_t)r.user.usec * 1000;
	*system_ns = (uint64_t)r.system.sec * NSEC + (uint64_t)r.system.usec * 1000;
}

void port_task_times(uint64_t *user_ns, uint64_t *system_ns) { usage(1 /* RUSAGE_THREAD */, user_ns, system_ns); }

void port_process_times(uint64_t *user_ns, uint64_t *system_ns) { usage(0 /* RUSAGE_SELF */, user_ns, system_ns); }

void port_process_faults(uint64_t *minor, uint64_t *major)
{
	struct host_rusage r = { 0 };
	(void)HOST(getrusage, 0 /* RUSAGE_SELF */, &r);
	*minor = (uint64_t)r.minflt;
	*major = (uint64_t)r.majflt;
}

// pthread_getcpuclockid(3): the host's clock of a thread, for threads of this process only.
uint64_t port_task_time_ns(struct port_task *p)
{
	struct __kernel_timespec t = { 0 };
	int32_t tid = task_tid(p);
	if (!tid || p->tgid != current_port()->tgid || HOST(clock_gettime, (int)((~(unsigned)tid) << 3 | 6), &t))
		return 0;
	return (uint64_t)t.tv_sec * NSEC + (uint64_t)t.tv_nsec;
}

// clock_getcpuclockid(3): the host's clock of a process.
uint64_t hosted_process_time_ns(int32_t tgid)
{
	struct __kernel_timespec t = { 0 };
	if (HOST(clock_gettime, (int)((~(unsigned)tgid) << 3 | 2), &t))
		return 0;
	return (uint64_t)t.tv_sec * NSEC + (uint64_t)t.tv_nsec;
}
