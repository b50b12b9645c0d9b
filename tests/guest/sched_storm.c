// SPDX-License-Identifier: Apache-2.0
// Processes that come and go, each of which is told again and again by all the others where to run, and how: does each go on, in its own
// code and in system calls, however many of those come before it runs again?
#include "check.h"

#include <sched.h>
#include <sys/resource.h>

#define PROCESSES 12
#define CHILDREN  40
#define ROUNDS    40

static _Atomic(pid_t) *pids; // of the children that there are now

// Another class or weight: it leaves its queue for that, wherever it is by now.
static void change(pid_t pid, int round)
{
	static const int policies[] = { SCHED_OTHER, SCHED_BATCH, SCHED_RR, SCHED_IDLE };
	struct sched_param p = { .sched_priority = round % 4 == 2 };

	if (sched_setscheduler(pid, policies[round % 4], &p))
		CHECK(errno == ESRCH || errno == EPERM);
	if (setpriority(PRIO_PROCESS, (id_t)pid, round % 20))
		CHECK(errno == ESRCH || errno == EACCES || errno == EPERM);
}

static void storm(const cpu_set_t *all, int cpu)
{
	cpu_set_t one;

	for (int round = 0; round < ROUNDS; round++)
		for (int i = 0; i < PROCESSES; i++) {
			do
				cpu = (cpu + 1) % CPU_SETSIZE;
			while (!CPU_ISSET(cpu, all));
			CPU_ZERO(&one);
			CPU_SET(cpu, &one);
			if (pids[i] && sched_setaffinity(pids[i], sizeof(one), &one))
				CHECK_EQ(errno, ESRCH);
			if (pids[i])
				change(pids[i], round + i);
		}
}

static void parent(const cpu_set_t *all, int slot)
{
	for (int i = 0; i < CHILDREN; i++) {
		pid_t pid = CHECK_OK(fork());
		if (pid == 0) {
			pids[slot] = getpid();
			storm(all, i);
			check_child_exit();
		}
		CHECK_EQ(check_wait(pid), 0);
	}
}

int main(void)
{
	pid_t parents[PROCESSES];
	cpu_set_t all;

	alarm(120);
	pids = mmap(NULL, CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK_OK(sched_getaffinity(0, sizeof(all), &all));
	for (int i = 0; i < PROCESSES; i++) {
		parents[i] = CHECK_OK(fork());
		if (parents[i] == 0) {
			parent(&all, i);
			check_child_exit();
		}
	}
	for (int i = 0; i < PROCESSES; i++)
		CHECK_EQ(check_wait(parents[i]), 0);
	return check_done();
}
