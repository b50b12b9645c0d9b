// SPDX-License-Identifier: Apache-2.0
// What runs in the program: clock_gettime, gettimeofday, time, clock_getres, getcpu without entering the kernel. Compiled for
// user mode, position independent, without any library; whatever it cannot answer it asks the kernel.
#include <asm/unistd_64.h>
#include <linux/time.h>
#include <linux/time_types.h>

#include "vvar.h"

#define NSEC_PER_SEC 1000000000u
#define EXPORT       __attribute__((visibility("default")))

extern const volatile struct vvar vvar_page __attribute__((visibility("hidden"))); // vdso.ld: the page before the text

static inline long call2(long nr, long a, long b)
{
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "a"(nr), "D"(a), "S"(b) : "rcx", "r11", "memory");
	return result;
}

static inline uint64_t read_tsc(void)
{
	uint32_t low, high;
	// Not before earlier loads: time must not be seen to run backwards between threads.
	__asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

// Nanoseconds since boot plus `realtime` times the offset; 0: not known here.
static inline int read_clock(int realtime, uint64_t *ns)
{
	uint32_t sequence;
	do {
		sequence = __atomic_load_n(&vvar_page.sequence, __ATOMIC_ACQUIRE);
		if (!vvar_page.tsc_usable)
			return 0;
		uint64_t ticks = read_tsc() - vvar_page.tsc_base;
		*ns = (uint64_t)(((unsigned __int128)ticks * vvar_page.mult) >> vvar_page.shift);
		if (realtime)
			*ns += (uint64_t)vvar_page.realtime_offset_ns;
		__atomic_thread_fence(__ATOMIC_ACQUIRE); // the fields are read before the sequence is checked again
	} while ((sequence & 1) || sequence != __atomic_load_n(&vvar_page.sequence, __ATOMIC_RELAXED));
	return 1;
}

EXPORT int __vdso_clock_gettime(int clock, struct __kernel_timespec *ts)
{
	uint64_t ns;
	int known;
	switch (clock) {
	case CLOCK_REALTIME:
	case CLOCK_REALTIME_COARSE: known = read_clock(1, &ns); break;
	case CLOCK_MONOTONIC:
	case CLOCK_MONOTONIC_RAW:
	case CLOCK_MONOTONIC_COARSE:
	case CLOCK_BOOTTIME: known = read_clock(0, &ns); break;
	default: known = 0;
	}
	if (!known)
		return (int)call2(__NR_clock_gettime, clock, (long)ts);
	ts->tv_sec = (long long)(ns / NSEC_PER_SEC);
	ts->tv_nsec = (long long)(ns % NSEC_PER_SEC);
	return 0;
}

struct timeval_user {
	long seconds, microseconds;
};
struct timezone_user {
	int minutes_west, dst;
};

EXPORT int __vdso_gettimeofday(struct timeval_user *tv, struct timezone_user *tz)
{
	uint64_t ns;
	if (!read_clock(1, &ns))
		return (int)call2(__NR_gettimeofday, (long)tv, (long)tz);
	if (tv) {
		tv->seconds = (long)(ns / NSEC_PER_SEC);
		tv->microseconds = (long)(ns % NSEC_PER_SEC / 1000);
	}
	if (tz)
		*tz = (struct timezone_user){ 0, 0 };
	return 0;
}

EXPORT long __vdso_time(long *t)
{
	uint64_t ns;
	if (!read_clock(1, &ns))
		return call2(__NR_time, (long)t, 0);
	long seconds = (long)(ns / NSEC_PER_SEC);
	if (t)
		*t = seconds;
	return seconds;
}

EXPORT int __vdso_clock_getres(int clock, struct __kernel_timespec *ts)
{
	switch (clock) {
	case CLOCK_REALTIME:
	case CLOCK_MONOTONIC:
	case CLOCK_MONOTONIC_RAW:
	case CLOCK_BOOTTIME:
		if (ts)
			*ts = (struct __kernel_timespec){ 0, 1 };
		return 0;
	}
	return (int)call2(__NR_clock_getres, clock, (long)ts);
}

EXPORT long __vdso_getcpu(unsigned *cpu, unsigned *node, void *unused)
{
	(void)unused;
	if (!vvar_page.cpu_by_segment)
		return call2(__NR_getcpu, (long)cpu, (long)node);
	unsigned limit;
	__asm__ volatile("lsl %1, %0" : "=r"(limit) : "r"(VVAR_CPU_SELECTOR) : "cc");
	if (cpu)
		*cpu = limit & 0xfff;
	if (node)
		*node = 0;
	return 0;
}

int clock_gettime(int, struct __kernel_timespec *)
	__attribute__((weak, alias("__vdso_clock_gettime"), visibility("default")));
int gettimeofday(struct timeval_user *, struct timezone_user *)
	__attribute__((weak, alias("__vdso_gettimeofday"), visibility("default")));
long time(long *) __attribute__((weak, alias("__vdso_time"), visibility("default")));
int clock_getres(int, struct __kernel_timespec *)
	__attribute__((weak, alias("__vdso_clock_getres"), visibility("default")));
long getcpu(unsigned *, unsigned *, void *) __attribute__((weak, alias("__vdso_getcpu"), visibility("default")));
