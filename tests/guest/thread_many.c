// SPDX-License-Identifier: Apache-2.0
// Do 200 threads and 200 processes live at the same time, each itself, and all go?
#include "check.h"
#include <pthread.h>

#define MANY 200

static pthread_barrier_t barrier;
static pid_t ids[MANY];
static __thread int own;
static atomic_long sum;

static int threads_of_self(void)
{
	char *line = strstr(check_read_file("/proc/self/status"), "Threads:");

	return line ? atoi(line + 8) : -1;
}

static void *lives(void *argument)
{
	own = (int)(long)argument;
	ids[own] = syscall(SYS_gettid);
	pthread_barrier_wait(&barrier); // all are there
	pthread_barrier_wait(&barrier); // and were counted
	for (int i = 0; i < 20; i++) {
		atomic_fetch_add(&sum, own);
		sched_yield();
	}
	CHECK_EQ(syscall(SYS_gettid), ids[own]);
	return (void *)(long)own;
}

static void threads(void)
{
	pthread_t made[MANY];
	pthread_attr_t attributes;
	void *result;

	pthread_barrier_init(&barrier, NULL, MANY + 1);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 128 << 10);
	for (long i = 0; i < MANY; i++)
		if (!CHECK_EQ(pthread_create(&made[i], &attributes, lives, (void *)i), 0))
			exit(1);
	pthread_barrier_wait(&barrier);
	CHECK_EQ(threads_of_self(), MANY + 1);
	for (int i = 0; i < MANY; i++)
		for (int n = 0; n < i; n++)
			if (ids[i] == ids[n] || ids[i] <= 0)
				CHECK(!"thread ids differ");
	pthread_barrier_wait(&barrier);
	for (long i = 0; i < MANY; i++) {
		CHECK_EQ(pthread_join(made[i], &result), 0);
		CHECK_EQ((long)result, i);
	}
	CHECK_EQ(atomic_exchange(&sum, 0), 20l * MANY * (MANY - 1) / 2);
	WAIT_UNTIL(threads_of_self() == 1);
}

static void processes(void)
{
	struct {
		atomic_int arrived, leave;
		atomic_long sum;
	} *shared = check_shared(CHECK_PAGE);
	int own_memory = 1;

	for (int i = 0; i < MANY; i++) {
		ids[i] = fork();
		if (ids[i] == 0) {
			own_memory += i;
			atomic_fetch_add(&shared->arrived, 1);
			while (!atomic_load(&shared->leave))
				usleep(2000);
			atomic_fetch_add(&shared->sum, own_memory);
			_exit(i % 251);
		}
		if (!CHECK(ids[i] > 0))
			break;
	}
	WAIT_UNTIL(atomic_load(&shared->arrived) == MANY);
	for (int i = 0; i < MANY; i++)
		CHECK_OK(kill(ids[i], 0));
	CHECK_EQ(own_memory, 1);
	atomic_store(&shared->leave, 1);
	for (int i = 0; i < MANY; i++)
		CHECK_EQ(check_wait(ids[i]), i % 251 << 8);
	CHECK_EQ(atomic_load(&shared->sum), MANY + (long)MANY * (MANY - 1) / 2);
	for (int i = 0; i < MANY; i++)
		CHECK_ERR(kill(ids[i], 0), ESRCH);
}

// Processes that each have threads, ended all at once by a signal to their group.
static void families(void)
{
	atomic_int *arrived = check_shared(CHECK_PAGE);
	pid_t group = 0;

	for (int i = 0; i < 20; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			setpgid(0, group);
			pthread_t thread;
			pthread_barrier_init(&barrier, NULL, 6);
			for (long n = 0; n < 5; n++)
				pthread_create(&thread, NULL, lives, (void *)n);
			pthread_barrier_wait(&barrier);
			atomic_fetch_add(arrived, 1);
			for (;;)
				pause();
		}
		if (i == 0)
			group = pid;
		setpgid(pid, group);
	}
	WAIT_UNTIL(atomic_load(arrived) == 20);
	CHECK_OK(kill(-group, SIGKILL));
	for (int i = 0; i < 20; i++) {
		int status = 0;
		CHECK(waitpid(-1, &status, 0) > 0);
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	}
	CHECK_ERR(waitpid(-1, NULL, 0), ECHILD);
}

int main(void)
{
	threads();
	processes();
	families();
	threads();
	return check_done();
}
