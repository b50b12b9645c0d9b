// SPDX-License-Identifier: Apache-2.0
// Do spinning tasks share the processors, whatever they do, and do sleepers get through?
#include "check.h"
#include <sys/resource.h>

struct progress {
	atomic_long counts[8];
	atomic_int stop;
};

static struct progress *progress;

static void *spins(void *argument)
{
	atomic_long *count = argument;

	while (!atomic_load(&progress->stop))
		atomic_fetch_add(count, 1);
	return NULL;
}

static void threads_share(void)
{
	pthread_t threads[8];

	for (int i = 0; i < 8; i++)
		pthread_create(&threads[i], NULL, spins, &progress->counts[i]);
	for (int i = 0; i < 8; i++)
		WAIT_UNTIL(atomic_load(&progress->counts[i]) > 1000);
	atomic_store(&progress->stop, 1);
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
}

static void processes_share(void)
{
	pid_t pids[8];

	memset(progress, 0, sizeof(*progress));
	for (int i = 0; i < 8; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			spins(&progress->counts[i]);
			_exit(0);
		}
	}
	for (int i = 0; i < 8; i++)
		WAIT_UNTIL(atomic_load(&progress->counts[i]) > 1000);
	// A sleeper still runs now and then.
	for (int i = 0; i < 5; i++)
		check_sleep_ms(2);
	atomic_store(&progress->stop, 1);
	for (int i = 0; i < 8; i++)
		CHECK_EQ(check_wait(pids[i]), 0);
}

static void system_callers_share(void)
{
	pid_t pid = fork();

	memset(progress, 0, sizeof(*progress));
	if (pid == 0)
		for (;;)
			syscall(SYS_getppid);
	pid_t other = fork();
	if (other == 0)
		for (;;)
			sched_yield();
	for (int i = 0; i < 20; i++)
		check_sleep_ms(1);
	kill(pid, SIGKILL);
	kill(other, SIGKILL);
	CHECK_EQ(WTERMSIG(check_wait(pid)), SIGKILL);
	CHECK_EQ(WTERMSIG(check_wait(other)), SIGKILL);
}

int main(void)
{
	progress = check_shared(sizeof(*progress));
	threads_share();
	processes_share();
	system_callers_share();
	return check_done();
}
