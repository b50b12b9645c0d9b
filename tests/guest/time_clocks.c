// SPDX-License-Identifier: Apache-2.0
// Do the clocks go forward, agree with each other, from the vDSO and the kernel, on every processor?
#include "check.h"
#include <elf.h>
#include <link.h>
#include <sys/auxv.h>
#include <sys/time.h>

static int64_t kernel_ns(clockid_t clock)
{
	struct timespec t;

	syscall(SYS_clock_gettime, clock, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static int64_t library_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void vdso_and_kernel_agree(clockid_t clock)
{
	for (int i = 0; i < 200; i++) {
		int64_t a = kernel_ns(clock), b = library_ns(clock), c = kernel_ns(clock);
		if (!CHECK(a <= b) || !CHECK(b <= c))
			break;
	}
}

static void monotonic(clockid_t clock)
{
	int64_t last = library_ns(clock);

	for (int i = 0; i < 20000; i++) {
		int64_t now = library_ns(clock);
		if (!CHECK(now >= last))
			break;
		last = now;
	}
	int64_t start = last;
	check_sleep_ms(5);
	CHECK(library_ns(clock) > start);
}

static void across_processors(void)
{
	cpu_set_t set, one;
	int64_t last = 0;

	sched_getaffinity(0, sizeof(set), &set);
	for (int round = 0; round < 10; round++)
		for (int i = 0; i < 64; i++) {
			if (!CPU_ISSET(i, &set))
				continue;
			CPU_ZERO(&one);
			CPU_SET(i, &one);
			sched_setaffinity(0, sizeof(one), &one);
			int64_t now = library_ns(CLOCK_MONOTONIC);
			CHECK(now >= last);
			last = now;
		}
	sched_setaffinity(0, sizeof(set), &set);
}

static void wall_time(void)
{
	struct timeval tv;
	struct timezone tz;
	time_t now = time(NULL);

	CHECK(now > 1700000000); // not 1970
	CHECK_OK(gettimeofday(&tv, &tz));
	CHECK(llabs(tv.tv_sec - now) <= 1);
	CHECK(llabs(library_ns(CLOCK_REALTIME) / 1000000000 - now) <= 2);
	CHECK(llabs(library_ns(CLOCK_REALTIME_COARSE) - library_ns(CLOCK_REALTIME)) < 2000000000);
	CHECK(llabs(library_ns(CLOCK_MONOTONIC_COARSE) - library_ns(CLOCK_MONOTONIC)) < 2000000000);
	time_t stored = 0;
	CHECK_EQ(syscall(SYS_time, &stored), stored);
	CHECK_OK(syscall(SYS_gettimeofday, &tv, NULL));
}

static void errors(void)
{
	struct timespec t;

	CHECK_ERR(clock_gettime(77, &t), EINVAL);
	CHECK_ERR(clock_getres(77, &t), EINVAL);
	CHECK_OK(clock_getres(CLOCK_MONOTONIC, &t));
	CHECK(t.tv_sec == 0 && t.tv_nsec > 0 && t.tv_nsec <= 10000000);
	CHECK_OK(clock_getres(CLOCK_MONOTONIC, NULL));
	CHECK_ERR(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, 8), EFAULT);
	t = (struct timespec){ 0, 1000000000 };
	CHECK_ERR(clock_settime(CLOCK_REALTIME, &t), EINVAL);
	t.tv_nsec = 0;
	CHECK_ERR(clock_settime(CLOCK_MONOTONIC, &t), EINVAL);
}

// The vDSO has the functions the C library looks for.
static void vdso_symbols(void)
{
	const char *base = (char *)getauxval(AT_SYSINFO_EHDR);
	static const char *const names[] = { "__vdso_clock_gettime", "__vdso_gettimeofday", "__vdso_time",
					     "__vdso_getcpu", "__vdso_clock_getres" };
	const ElfW(Ehdr) *header = (void *)base;
	const ElfW(Dyn) *dynamic = NULL;
	const ElfW(Sym) *symbols = NULL;
	const char *strings = NULL;
	const uint32_t *hash = NULL;
	uintptr_t bias = 0;

	if (!CHECK(base != NULL))
		return;
	const ElfW(Phdr) *segments = (void *)(base + header->e_phoff);
	for (int i = 0; i < header->e_phnum; i++) {
		if (segments[i].p_type == PT_LOAD)
			bias = (uintptr_t)base + segments[i].p_offset - segments[i].p_vaddr;
		if (segments[i].p_type == PT_DYNAMIC)
			dynamic = (void *)(base + segments[i].p_offset);
	}
	if (!CHECK(dynamic != NULL))
		return;
	for (; dynamic->d_tag != DT_NULL; dynamic++) {
		if (dynamic->d_tag == DT_SYMTAB)
			symbols = (void *)(dynamic->d_un.d_ptr + bias);
		if (dynamic->d_tag == DT_STRTAB)
			strings = (void *)(dynamic->d_un.d_ptr + bias);
		if (dynamic->d_tag == DT_HASH)
			hash = (void *)(dynamic->d_un.d_ptr + bias);
	}
	if (!CHECK(symbols && strings))
		return;
	if (!hash)
		return; // only a GNU hash: the C library finds its way, so did clock_gettime above
	for (size_t n = 0; n < ARRAY_SIZE(names); n++) {
		bool found = false;
		for (uint32_t i = 0; i < hash[1]; i++)
			found |= strcmp(strings + symbols[i].st_name, names[n]) == 0;
		if (!found)
			check_fail(__FILE__, __LINE__, "the vDSO lacks %s", names[n]);
	}
}

static void uptime(void)
{
	double up = atof(check_read_file("/proc/uptime"));

	CHECK(up > 0);
	CHECK(up - library_ns(CLOCK_BOOTTIME) / 1e9 < 3 && library_ns(CLOCK_BOOTTIME) / 1e9 - up < 3);
}

int main(void)
{
	static const clockid_t clocks[] = { CLOCK_REALTIME, CLOCK_MONOTONIC,          CLOCK_MONOTONIC_RAW,
					    CLOCK_BOOTTIME, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID };

	for (size_t i = 0; i < ARRAY_SIZE(clocks); i++) {
		struct timespec t;
		CHECK_OK(clock_gettime(clocks[i], &t));
		CHECK(t.tv_nsec >= 0 && t.tv_nsec < 1000000000);
		if (i < 4)
			vdso_and_kernel_agree(clocks[i]);
	}
	monotonic(CLOCK_MONOTONIC);
	monotonic(CLOCK_REALTIME);
	monotonic(CLOCK_BOOTTIME);
	across_processors();
	wall_time();
	errors();
	vdso_symbols();
	uptime();
	return check_done();
}
