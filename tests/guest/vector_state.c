// SPDX-License-Identifier: Apache-2.0
// Do x87, SSE and AVX registers and their control words belong to a thread, whoever else runs in between?
#include "check.h"

#include <cpuid.h>

#define ROUNDS 200

static bool has_avx;

static void set_xmm7(const uint8_t *bytes)
{
	__asm__ volatile("movdqu %0, %%xmm7" : : "m"(*(const uint8_t(*)[16])bytes) : "xmm7");
}
static void get_xmm7(uint8_t *bytes) { __asm__ volatile("movdqu %%xmm7, %0" : "=m"(*(uint8_t(*)[16])bytes)); }
static void set_ymm9(const uint8_t *bytes)
{
	__asm__ volatile("vmovdqu %0, %%ymm9" : : "m"(*(const uint8_t(*)[32])bytes) : "xmm9");
}
static void get_ymm9(uint8_t *bytes) { __asm__ volatile("vmovdqu %%ymm9, %0" : "=m"(*(uint8_t(*)[32])bytes)); }
static uint16_t x87_control(void)
{
	uint16_t v;
	__asm__ volatile("fnstcw %0" : "=m"(v));
	return v;
}
static void set_x87_control(uint16_t v) { __asm__ volatile("fldcw %0" : : "m"(v)); }
static uint32_t mxcsr(void)
{
	uint32_t v;
	__asm__ volatile("stmxcsr %0" : "=m"(v));
	return v;
}
static void set_mxcsr(uint32_t v) { __asm__ volatile("ldmxcsr %0" : : "m"(v)); }

// System calls without the library between: it may use vector registers itself.
static long raw(long nr)
{
	long r;
	__asm__ volatile("syscall" : "=a"(r) : "a"(nr) : "rcx", "r11", "memory");
	return r;
}

static void on_one_cpu(void)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(0, &set);
	CHECK_EQ(sched_setaffinity(0, sizeof(set), &set), 0);
}

static void a_program_starts_with_the_initial_state(void)
{
	CHECK_EQ(x87_control(), 0x37f);
	CHECK_EQ(mxcsr(), 0x1f80);
}

// What one thread keeps in registers while others do the same with other values.
static void keep(unsigned number)
{
	uint8_t want[32], got[16], got_avx[32];
	uint16_t control = number % 2 ? 0x37f : 0x27f; // precision
	uint32_t rounding = 0x1f80 | (number % 4) << 13;
	memset(want, (int)number + 1, sizeof(want));
	set_x87_control(control);
	set_mxcsr(rounding);
	for (int i = 0; i < ROUNDS; i++) {
		long double pushed = number + 0.5L, popped;
		if (number % 3 == 0)
			__asm__ volatile("fldt %0" : : "m"(pushed));
		set_xmm7(want);
		if (has_avx)
			set_ymm9(want);
		raw(SYS_sched_yield);
		// Before any call: the library's functions use these registers, and clear upper halves.
		get_xmm7(got);
		if (has_avx)
			get_ymm9(got_avx);
		if (number % 3 == 0) {
			__asm__ volatile("fstpt %0" : "=m"(popped));
			CHECK(popped == pushed);
		}
		CHECK_EQ(memcmp(got, want, 16), 0);
		if (has_avx)
			CHECK_EQ(memcmp(got_avx, want, 32), 0);
		CHECK_EQ(x87_control(), control);
		CHECK_EQ(mxcsr(), rounding);
	}
	set_x87_control(0x37f);
	set_mxcsr(0x1f80);
}

static void *keep_thread(void *number)
{
	keep((unsigned)(uintptr_t)number);
	return NULL;
}

static void threads_do_not_see_each_other(void)
{
	pthread_t threads[5];
	for (uintptr_t i = 0; i < 5; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, keep_thread, (void *)i), 0);
	keep(5);
	for (int i = 0; i < 5; i++)
		pthread_join(threads[i], NULL);
}

static void processes_do_not_see_each_other(void)
{
	pid_t pids[4];
	for (unsigned i = 0; i < 4; i++) {
		pids[i] = fork();
		if (!pids[i]) {
			keep(i + 10);
			_exit(check_failed ? 1 : 0);
		}
	}
	keep(20);
	for (unsigned i = 0; i < 4; i++)
		CHECK_EQ(check_wait(pids[i]), 0);
}

static void a_child_inherits_the_registers(void)
{
	uint8_t want[32], got[32];
	long double pushed = 1.25L, popped;
	memset(want, 0x5a, sizeof(want));
	set_mxcsr(0x3f80);
	set_x87_control(0x77f);
	set_xmm7(want);
	if (has_avx)
		set_ymm9(want);
	__asm__ volatile("fldt %0" : : "m"(pushed));
	long pid = raw(SYS_fork);
	__asm__ volatile("fstpt %0" : "=m"(popped));
	uint8_t got_avx[32];
	get_xmm7(got);
	if (has_avx)
		get_ymm9(got_avx);
	CHECK_EQ(memcmp(got, want, 16), 0);
	if (has_avx)
		CHECK_EQ(memcmp(got_avx, want, 32), 0);
	CHECK(popped == pushed);
	CHECK_EQ(mxcsr(), 0x3f80);
	CHECK_EQ(x87_control(), 0x77f);
	if (!pid)
		_exit(check_failed ? 1 : 0);
	set_mxcsr(0x1f80);
	set_x87_control(0x37f);
	CHECK_EQ(check_wait((pid_t)pid), 0);
}

static void clobber(int number)
{
	(void)number;
	uint8_t other[32];
	memset(other, 0xee, sizeof(other));
	set_xmm7(other);
	if (has_avx)
		set_ymm9(other);
	set_mxcsr(0x5f80);
	set_x87_control(0x27f);
	__asm__ volatile("fldz"); // left on the stack of registers
}

static void a_handler_leaves_them_as_they_were(void)
{
	uint8_t want[32], got[32];
	memset(want, 0x33, sizeof(want));
	signal(SIGUSR1, clobber);
	pid_t pid = getpid();
	set_xmm7(want);
	if (has_avx)
		set_ymm9(want);
	long r;
	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "a"(SYS_kill), "D"((long)pid), "S"((long)SIGUSR1)
			 : "rcx", "r11", "memory");
	uint8_t got_avx[32];
	get_xmm7(got);
	if (has_avx)
		get_ymm9(got_avx);
	CHECK_EQ(memcmp(got, want, 16), 0);
	if (has_avx)
		CHECK_EQ(memcmp(got_avx, want, 32), 0);
	CHECK_EQ(r, 0);
	CHECK_EQ(mxcsr(), 0x1f80);
	CHECK_EQ(x87_control(), 0x37f);
	uint16_t status;
	__asm__ volatile("fnstsw %0" : "=m"(status));
	CHECK_EQ(status >> 11 & 7, 0); // the top of the stack is where it was
}

int main(void)
{
	unsigned a, b, c, d;
	has_avx = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_AVX) && (c & bit_OSXSAVE);
	a_program_starts_with_the_initial_state();
	on_one_cpu();
	threads_do_not_see_each_other();
	processes_do_not_see_each_other();
	a_child_inherits_the_registers();
	a_handler_leaves_them_as_they_were();
	return check_done();
}
