// SPDX-License-Identifier: Apache-2.0
// Sources: perf_event_open(2), struct perf_event_mmap_page; SDM vol. 2 CPUID, leaves 15H and 80000007H; hypervisor leaf 40000010H as
// VMware defined it and KVM and others have it.
#include "base/tsc.h"

#include "base/cleanup.h"

#include <cpuid.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define MEASURE_NS        5000000 // long enough to know the TSC to some parts in a hundred thousand
#define HYPERVISOR_LEAF   0x40000000u
#define HYPERVISOR_TIMING 0x40000010u

static int64_t clock_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

// The closest of a few pairs of readings.
void tsc_sample_take(struct tsc_sample *s, int clock)
{
	uint64_t best_gap = UINT64_MAX;

	for (int i = 0; i < 8; i++) {
		uint64_t before = __rdtsc();
		int64_t ns = clock_ns(clock);
		uint64_t gap = __rdtsc() - before;

		if (gap >= best_gap)
			continue;
		best_gap = gap;
		*s = (struct tsc_sample){ before + gap / 2, ns };
	}
}

// A guest whose hypervisor told it the frequency shows it as the processor's, to a kilohertz; others show what the processor runs
// at this moment.
static uint64_t hz_of_cpuinfo(void)
{
	cleanup_close int fd = open("/proc/cpuinfo", O_RDONLY | O_CLOEXEC);
	char text[8192];
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	unsigned long mhz, khz;
	const char *line;

	if (n <= 0)
		return 0;
	text[n] = 0;
	line = strstr(text, "\ncpu MHz");
	if (!line || !strstr(text, " tsc_known_freq ") || strstr(text, " aperfmperf "))
		return 0;
	return sscanf(line, "\ncpu MHz : %lu.%3lu", &mhz, &khz) == 2 ? (mhz * 1000 + khz) * 1000 : 0;
}

// Of a CPU's event: the first event of a task on a host makes its kernel patch itself, which takes 10 ms. Needs a privilege.
static uint64_t hz_of_perf(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_DUMMY,
		.exclude_kernel = 1,
	};
	cleanup_close int fd = (int)syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
	struct perf_event_mmap_page *page;
	uint64_t hz = 0;

	if (fd < 0)
		return 0;
	page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED)
		return 0;
	if (page->cap_user_time && page->time_mult)
		hz = (uint64_t)(((__uint128_t)1000000000 << page->time_shift) / page->time_mult);
	munmap(page, 4096);
	return hz;
}

static uint64_t hz_of_cpuid(void)
{
	unsigned a, b, c, d;

	if (__get_cpuid(0x15, &a, &b, &c, &d) && a && b && c)
		return (uint64_t)c * b / a;
	if (!__get_cpuid(1, &a, &b, &c, &d) ||
	    !(c >> 31 & 1)) // on bare metal the leaf below answers with another one's values
		return 0;
	__cpuid(HYPERVISOR_LEAF, a, b, c, d);
	if (a < HYPERVISOR_TIMING || a > HYPERVISOR_LEAF + 0xffff)
		return 0;
	__cpuid(HYPERVISOR_TIMING, a, b, c, d);
	return (uint64_t)a * 1000;
}

static uint64_t hz_measured(const struct tsc_sample *earlier)
{
	int64_t passed = clock_ns(CLOCK_MONOTONIC_RAW) - earlier->ns;
	struct timespec pause = { .tv_nsec = passed < MEASURE_NS ? MEASURE_NS - passed : 0 };
	struct tsc_sample now;

	nanosleep(&pause, NULL);
	tsc_sample_take(&now, CLOCK_MONOTONIC_RAW);
	return (uint64_t)((__uint128_t)(now.tsc - earlier->tsc) * 1000000000 / (uint64_t)(now.ns - earlier->ns));
}

static bool is_invariant(void)
{
	unsigned a, b, c, d;

	return __get_cpuid(0x80000007, &a, &b, &c, &d) && (d >> 8 & 1);
}

// A host that has given its TSC up keeps time by another clock. The clocks of hypervisors are computed from the TSC.
static bool is_distrusted(void)
{
	cleanup_close int fd =
		open("/sys/devices/system/clocksource/clocksource0/current_clocksource", O_RDONLY | O_CLOEXEC);
	char name[32] = "";

	if (fd < 0 || read(fd, name, sizeof(name) - 1) <= 0)
		return false;
	return !strncmp(name, "hpet", 4) || !strncmp(name, "acpi_pm", 7) || !strncmp(name, "jiffies", 7) ||
	       !strncmp(name, "refined-jiffies", 15);
}

void tsc_rate_find(const struct tsc_sample *earlier, struct tsc_rate *out)
{
	uint64_t hz = hz_of_cpuid();

	if (!hz)
		hz = hz_of_cpuinfo();
	if (!hz)
		hz = hz_of_perf();
	*out = (struct tsc_rate){ .hz = hz, .exact = hz != 0, .invariant = is_invariant() };
	out->good_clock = out->invariant && !is_distrusted();
	if (!hz)
		out->hz = hz_measured(earlier);
}
