// SPDX-License-Identifier: Apache-2.0
// Does vfork share memory and hold the parent until the child executes or exits?
#include "check.h"

static volatile int shared_value;

static void holds_until_exit(void)
{
	int64_t start = check_now_ns();
	pid_t pid = vfork();

	if (pid == 0) {
		struct timespec t = { 0, 50 * 1000000 };
		nanosleep(&t, NULL);
		shared_value = 77;
		_exit(3);
	}
	CHECK(pid > 0);
	CHECK_EQ(shared_value, 77);
	CHECK(check_now_ns() - start >= 50 * 1000000);
	CHECK_EQ(WEXITSTATUS(check_wait(pid)), 3);
}

static void holds_until_exec(void)
{
	int fds[2];
	char *argv[] = { "self", "exec-child", NULL };

	CHECK_OK(pipe2(fds, O_CLOEXEC));
	pid_t pid = vfork();
	if (pid == 0) {
		execv("/proc/self/exe", argv);
		_exit(99);
	}
	close(fds[1]);
	char byte;
	CHECK_EQ(read(fds[0], &byte, 1), 0); // closed by the exec
	CHECK_EQ(check_wait(pid), 5 << 8);
	close(fds[0]);
}

static void failed_exec_comes_back(void)
{
	char *argv[] = { "x", NULL };
	pid_t pid = vfork();

	if (pid == 0) {
		execv("/nonexistent/program", argv);
		shared_value = errno;
		_exit(0);
	}
	CHECK_EQ(check_wait(pid), 0);
	CHECK_EQ(shared_value, ENOENT);
}

static void killed_child_frees_the_parent(void)
{
	pid_t pid = vfork();

	if (pid == 0) {
		kill(getpid(), SIGKILL);
		_exit(0);
	}
	int status = check_wait(pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "exec-child") == 0) {
		check_sleep_ms(30);
		return 5;
	}
	holds_until_exit();
	holds_until_exec();
	failed_exec_comes_back();
	killed_child_frees_the_parent();
	return check_done();
}
