// SPDX-License-Identifier: Apache-2.0
// Is processor time charged to threads, processes and waited-for children?
#include "check.h"
#include <sys/resource.h>
#include <sys/times.h>

static int64_t cpu_us(int who)
{
	struct rusage usage;

	CHECK_OK(getrusage(who, &usage));
	return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * INT64_C(1000000) + usage.ru_utime.tv_usec +
	       usage.ru_stime.tv_usec;
}

static int64_t clock_us(clockid_t clock)
{
	struct timespec t = { 0 };

	CHECK_OK(clock_gettime(clock, &t));
	return t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000;
}

static void burn(clockid_t clock, int ms)
{
	int64_t end = clock_us(clock) + ms * 1000;

	while (clock_us(clock) < end)
		;
}

static void *burner(void *argument)
{
	(void)argument;
	burn(CLOCK_THREAD_CPUTIME_ID, 100);
	return NULL;
}

int main(void)
{
	struct tms before, after;
	pthread_t thread;

	CHECK_ERR(getrusage(55, NULL), EINVAL);
	CHECK_ERR(getrusage(RUSAGE_SELF, (void *)8), EFAULT);
	CHECK(times(&before) != (clock_t)-1);
	int64_t self = cpu_us(RUSAGE_SELF), mine = clock_us(CLOCK_THREAD_CPUTIME_ID);
	pthread_create(&thread, NULL, burner, NULL);
	pthread_join(thread, NULL);
	CHECK(cpu_us(RUSAGE_SELF) - self > 50000);
	CHECK(clock_us(CLOCK_THREAD_CPUTIME_ID) - mine < 90000); // the other thread's time is not mine
	CHECK(clock_us(CLOCK_PROCESS_CPUTIME_ID) >= 90000);
	CHECK(cpu_us(RUSAGE_THREAD) < cpu_us(RUSAGE_SELF));

	int64_t children = cpu_us(RUSAGE_CHILDREN);
	pid_t pid = fork();
	if (pid == 0) {
		burn(CLOCK_PROCESS_CPUTIME_ID, 100);
		_exit(0);
	}
	CHECK(cpu_us(RUSAGE_CHILDREN) - children < 10000);
	check_wait(pid);
	CHECK(cpu_us(RUSAGE_CHILDREN) - children > 50000);
	times(&after);
	CHECK(after.tms_cutime + after.tms_cstime - before.tms_cutime - before.tms_cstime >= 5);

	// Sleeping costs nothing.
	int64_t idle = clock_us(CLOCK_PROCESS_CPUTIME_ID);
	check_sleep_ms(200);
	CHECK(clock_us(CLOCK_PROCESS_CPUTIME_ID) - idle < 100000);

	// Page faults are counted.
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	long faults = usage.ru_minflt;
	volatile char *memory = mmap(NULL, 50 * CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < 50; i++)
		memory[i * CHECK_PAGE] = 1;
	getrusage(RUSAGE_SELF, &usage);
	CHECK(usage.ru_minflt - faults >= 1);
	CHECK(usage.ru_maxrss > 0);

	// Voluntary switches are counted.
	long switches = usage.ru_nvcsw;
	for (int i = 0; i < 5; i++)
		check_sleep_ms(1);
	getrusage(RUSAGE_SELF, &usage);
	CHECK(usage.ru_nvcsw - switches >= 5);
	return check_done();
}
