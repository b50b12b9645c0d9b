// SPDX-License-Identifier: Apache-2.0
// Do affinity, policy, priority and processor number calls agree with each other and with Linux?
#include "check.h"
#include <sys/resource.h>

static void affinity(void)
{
	cpu_set_t set, one, got;
	unsigned long raw[128];
	unsigned cpu = 99, node = 99;

	CHECK_OK(sched_getaffinity(0, sizeof(set), &set));
	int count = CPU_COUNT(&set);
	CHECK(count >= 1);
	CHECK_EQ(sysconf(_SC_NPROCESSORS_ONLN) >= count, 1);
	long size = CHECK_OK(syscall(SYS_sched_getaffinity, 0, sizeof(raw), raw));
	CHECK(size > 0 && size % 8 == 0);
	CHECK_ERR(syscall(SYS_sched_getaffinity, 0, 7, raw), EINVAL);
	CHECK_ERR(syscall(SYS_sched_getaffinity, 1 << 22, sizeof(raw), raw), ESRCH);
	CHECK_ERR(syscall(SYS_sched_getaffinity, 0, sizeof(raw), 8), EFAULT);
	for (int i = 0; i < CPU_SETSIZE; i++) {
		if (!CPU_ISSET(i, &set))
			continue;
		CPU_ZERO(&one);
		CPU_SET(i, &one);
		CHECK_OK(sched_setaffinity(0, sizeof(one), &one));
		CHECK_OK(syscall(SYS_getcpu, &cpu, &node, NULL));
		CHECK_EQ(cpu, i);
		CHECK_EQ(node, 0);
		CHECK_EQ(sched_getcpu(), i);
		CHECK_OK(sched_getaffinity(0, sizeof(got), &got));
		CHECK(CPU_EQUAL(&got, &one));
		pid_t pid = fork();
		if (pid == 0)
			_exit(sched_getcpu());
		CHECK_EQ(check_wait(pid), i << 8);
	}
	CHECK_OK(sched_setaffinity(0, sizeof(set), &set));
	CPU_ZERO(&one);
	CHECK_ERR(sched_setaffinity(0, sizeof(one), &one), EINVAL);
	CPU_SET(1000, &one);
	CHECK_ERR(sched_setaffinity(0, sizeof(one), &one), EINVAL);
	CHECK_ERR(sched_setaffinity(1 << 22, sizeof(set), &set), ESRCH);
}

static void *where(void *argument)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET((long)argument, &one);
	CHECK_EQ(pthread_setaffinity_np(pthread_self(), sizeof(one), &one), 0);
	for (int i = 0; i < 200; i++) {
		if (!CHECK_EQ(sched_getcpu(), (long)argument))
			break;
		sched_yield();
	}
	return NULL;
}

static void threads_stay_where_they_are_put(void)
{
	pthread_t threads[6];
	cpu_set_t set;
	int count = 0;

	CHECK_OK(sched_getaffinity(0, sizeof(set), &set));
	for (long round = 0; round < 6; round++) {
		int skip = round % CPU_COUNT(&set), cpu = 0;
		for (cpu = 0; cpu < CPU_SETSIZE; cpu++)
			if (CPU_ISSET(cpu, &set) && skip-- == 0)
				break;
		pthread_create(&threads[count++], NULL, where, (void *)(long)cpu);
	}
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
}

static void policies(void)
{
	struct sched_param param = { .sched_priority = 77 };
	struct timespec interval;

	CHECK_EQ(sched_getscheduler(0), SCHED_OTHER);
	CHECK_OK(sched_getparam(0, &param));
	CHECK_EQ(param.sched_priority, 0);
	CHECK_EQ(sched_get_priority_max(SCHED_FIFO), 99);
	CHECK_EQ(sched_get_priority_min(SCHED_FIFO), 1);
	CHECK_EQ(sched_get_priority_max(SCHED_RR), 99);
	CHECK_EQ(sched_get_priority_max(SCHED_OTHER), 0);
	CHECK_ERR(sched_get_priority_max(99), EINVAL);
	CHECK_OK(sched_rr_get_interval(0, &interval));
	param.sched_priority = 5;
	CHECK_ERR(sched_setscheduler(0, SCHED_OTHER, &param), EINVAL);
	param.sched_priority = 0;
	CHECK_ERR(sched_setscheduler(0, SCHED_FIFO, &param), EINVAL);
	CHECK_ERR(sched_setscheduler(0, 88, &param), EINVAL);
	CHECK_ERR(sched_getscheduler(1 << 22), ESRCH);
	CHECK_OK(sched_setscheduler(0, SCHED_BATCH, &param));
	CHECK_EQ(sched_getscheduler(0), SCHED_BATCH);
	CHECK_OK(sched_setscheduler(0, SCHED_OTHER, &param));
	CHECK_OK(sched_yield());
}

static void priorities(void)
{
	errno = 0;
	CHECK_EQ(getpriority(PRIO_PROCESS, 0), 0);
	CHECK_OK(setpriority(PRIO_PROCESS, 0, 7));
	CHECK_EQ(getpriority(PRIO_PROCESS, 0), 7);
	CHECK_OK(setpriority(PRIO_PROCESS, 0, 100));
	CHECK_EQ(getpriority(PRIO_PROCESS, 0), 19);
	CHECK_ERR(getpriority(PRIO_PROCESS, 1 << 22), ESRCH);
	CHECK_ERR(getpriority(55, 0), EINVAL);
	pid_t pid = fork();
	if (pid == 0)
		_exit(getpriority(PRIO_PROCESS, 0));
	CHECK_EQ(check_wait(pid), 19 << 8);
	if (getuid() != 0)
		CHECK_ERR(setpriority(PRIO_PROCESS, 0, 0), EACCES);
}

int main(void)
{
	CHECK_CHILD(affinity);
	CHECK_CHILD(threads_stay_where_they_are_put);
	CHECK_CHILD(policies);
	CHECK_CHILD(priorities);
	return check_done();
}
