// SPDX-License-Identifier: Apache-2.0
// Which thread gets a signal, and what happens to the others?
#include "check.h"

static volatile pid_t handled_by;
static atomic_int ready, finish, handled;

static void on_signal(int signal)
{
	(void)signal;
	handled_by = syscall(SYS_gettid);
	atomic_fetch_add(&handled, 1);
}

static pid_t tids[4];

static void *waits(void *argument)
{
	long index = (long)argument;

	tids[index] = syscall(SYS_gettid);
	atomic_fetch_add(&ready, 1);
	while (!atomic_load(&finish))
		usleep(2000);
	return NULL;
}

static void block_all(bool blocked)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(blocked ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

static void directed(void)
{
	pthread_t threads[4];

	signal(SIGUSR1, on_signal);
	for (long i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, waits, (void *)i);
	WAIT_UNTIL(atomic_load(&ready) == 4);
	for (int i = 0; i < 4; i++) {
		handled_by = 0;
		CHECK_EQ(pthread_kill(threads[i], SIGUSR1), 0);
		WAIT_UNTIL(handled_by == tids[i]);
		handled_by = 0;
		CHECK_OK(syscall(SYS_tkill, tids[i], SIGUSR1));
		WAIT_UNTIL(handled_by == tids[i]);
	}
	CHECK_ERR(syscall(SYS_tgkill, getpid(), 1 << 22, SIGUSR1), ESRCH);
	CHECK_ERR(syscall(SYS_tgkill, getppid(), tids[0], SIGUSR1), ESRCH);
	CHECK_ERR(syscall(SYS_tgkill, -1, tids[0], SIGUSR1), EINVAL);
	CHECK_ERR(syscall(SYS_tkill, 0, SIGUSR1), EINVAL);
	atomic_store(&finish, 1);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

static void process_directed_goes_to_one_that_listens(void)
{
	pthread_t thread;

	signal(SIGUSR1, on_signal);
	pthread_create(&thread, NULL, waits, (void *)0);
	WAIT_UNTIL(atomic_load(&ready) == 1);
	block_all(true); // only the other thread listens
	for (int i = 0; i < 20; i++) {
		handled_by = 0;
		atomic_store(&handled, 0);
		kill(getpid(), SIGUSR1);
		WAIT_UNTIL(atomic_load(&handled) == 1);
		CHECK_EQ(handled_by, tids[0]);
	}
	atomic_store(&finish, 1);
	pthread_join(thread, NULL);
	// Now nobody does: it stays pending for the process until one unblocks.
	atomic_store(&handled, 0);
	kill(getpid(), SIGUSR1);
	sigset_t pending;
	sigpending(&pending);
	CHECK(sigismember(&pending, SIGUSR1));
	CHECK_EQ(atomic_load(&handled), 0);
	block_all(false);
	CHECK_EQ(atomic_load(&handled), 1);
}

static void *sigwaits(void *argument)
{
	sigset_t set;
	int got = 0;

	(void)argument;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	atomic_fetch_add(&ready, 1);
	CHECK_EQ(sigwait(&set, &got), 0);
	return (void *)(long)got;
}

static void sigwait_takes_process_signals(void)
{
	pthread_t thread;
	void *got;

	block_all(true);
	pthread_create(&thread, NULL, sigwaits, NULL);
	WAIT_UNTIL(atomic_load(&ready) == 1);
	check_sleep_ms(20);
	kill(getpid(), SIGUSR1);
	pthread_join(thread, &got);
	CHECK_EQ((long)got, SIGUSR1);
}

static void fatal_signal_ends_all(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		pthread_t thread;
		for (long i = 0; i < 4; i++)
			pthread_create(&thread, NULL, waits, (void *)i);
		WAIT_UNTIL(atomic_load(&ready) == 4);
		syscall(SYS_tgkill, getpid(), tids[2], SIGTERM);
		for (;;)
			pause();
	}
	int status = check_wait(pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

static void *counts(void *argument)
{
	atomic_int *counter = argument;

	for (;;) {
		atomic_fetch_add(counter, 1);
		usleep(500);
	}
	return NULL;
}

static void stop_stops_all(void)
{
	atomic_int *counters = check_shared(CHECK_PAGE);
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		pthread_t thread;
		for (int i = 0; i < 2; i++)
			pthread_create(&thread, NULL, counts, &counters[i]);
		counts(&counters[2]);
	}
	WAIT_UNTIL(atomic_load(&counters[0]) > 3 && atomic_load(&counters[1]) > 3 && atomic_load(&counters[2]) > 3);
	kill(pid, SIGSTOP);
	CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
	check_sleep_ms(20);
	int before[3] = { counters[0], counters[1], counters[2] };
	check_sleep_ms(50);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(counters[i], before[i]);
	kill(pid, SIGCONT);
	WAIT_UNTIL(counters[0] > before[0] && counters[1] > before[1] && counters[2] > before[2]);
	kill(pid, SIGKILL);
	check_wait(pid);
}

int main(void)
{
	CHECK_CHILD(directed);
	CHECK_CHILD(process_directed_goes_to_one_that_listens);
	CHECK_CHILD(sigwait_takes_process_signals);
	CHECK_CHILD(fatal_signal_ends_all);
	CHECK_CHILD(stop_stops_all);
	return check_done();
}
