// SPDX-License-Identifier: Apache-2.0
// Does exit end what it should: one thread, all threads, and leave the status and a zombie behind?
#include "check.h"

static void *exits_the_group(void *argument)
{
	(void)argument;
	check_sleep_ms(10);
	_exit(21);
}

static void *sleeps(void *argument)
{
	(void)argument;
	for (;;)
		pause();
	return NULL;
}

static void exit_group_from_a_thread(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		pthread_t thread;
		pthread_create(&thread, NULL, sleeps, NULL);
		pthread_create(&thread, NULL, exits_the_group, NULL);
		for (;;)
			pause();
	}
	CHECK_EQ(check_wait(pid), 21 << 8);
}

static void *spins(void *argument)
{
	(void)argument;
	for (volatile int i = 0;; i++)
		;
	return NULL;
}

static void kill_ends_spinning_threads(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		pthread_t thread;
		pthread_create(&thread, NULL, spins, NULL);
		pthread_create(&thread, NULL, spins, NULL);
		for (;;)
			pause();
	}
	check_sleep_ms(30);
	kill(pid, SIGKILL);
	int status = check_wait(pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void *outlives_main(void *argument)
{
	(void)argument;
	check_sleep_ms(50);
	exit(31);
}

static void main_thread_may_leave_first(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		pthread_t thread;
		pthread_create(&thread, NULL, outlives_main, NULL);
		pthread_exit(NULL);
	}
	CHECK_EQ(waitpid(pid, NULL, WNOHANG), 0);
	CHECK_EQ(check_wait(pid), 31 << 8);
}

static void status_keeps_eight_bits(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0x1234);
	CHECK_EQ(check_wait(pid), 0x34 << 8);
	pid = fork();
	if (pid == 0)
		_exit(-1);
	CHECK_EQ(check_wait(pid), 0xff00);
}

static void zombies_answer(void)
{
	pid_t pid = fork();
	char path[64];

	if (pid == 0)
		_exit(0);
	WAIT_UNTIL(check_task_state(pid) == 'Z');
	CHECK_OK(kill(pid, SIGKILL));
	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	CHECK_STR(check_read_file(path), "");
	snprintf(path, sizeof(path), "/proc/%d/fd/0", pid);
	CHECK(access(path, F_OK) < 0);
	CHECK_EQ(check_wait(pid), 0);
	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	CHECK_ERR(open(path, O_RDONLY), ENOENT);
}

static void exit_closes_files(void)
{
	int fds[2];
	char byte;

	CHECK_OK(pipe(fds));
	pid_t pid = fork();
	if (pid == 0) {
		close(fds[0]);
		pause();
	}
	close(fds[1]);
	kill(pid, SIGKILL);
	CHECK_EQ(read(fds[0], &byte, 1), 0);
	check_wait(pid);
	close(fds[0]);
}

static void core_and_signal_bits(void)
{
	const int signals[] = { SIGTERM, SIGHUP, SIGALRM, SIGUSR1, SIGPIPE, SIGRTMIN, SIGRTMAX, SIGXCPU, SIGIO };

	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		pid_t pid = fork();
		if (pid == 0) {
			signal(signals[i], SIG_DFL);
			raise(signals[i]);
			_exit(0);
		}
		int status = check_wait(pid);
		CHECK_EQ(status & 0x7f, signals[i]);
	}
}

int main(void)
{
	exit_group_from_a_thread();
	kill_ends_spinning_threads();
	main_thread_may_leave_first();
	status_keeps_eight_bits();
	zombies_answer();
	exit_closes_files();
	core_and_signal_bits();
	return check_done();
}
