// SPDX-License-Identifier: Apache-2.0
// Do stop and continue signals cancel each other, and does kill check what it may and reach whom it should?
#include "check.h"

static volatile int continued;

static void on_continue(int signal)
{
	(void)signal;
	continued++;
}

static void stop_and_continue_cancel(void)
{
	sigset_t set, pending;

	sigemptyset(&set);
	sigaddset(&set, SIGTSTP);
	sigaddset(&set, SIGCONT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGCONT, on_continue);
	raise(SIGTSTP);
	raise(SIGCONT);
	sigpending(&pending);
	CHECK(!sigismember(&pending, SIGTSTP));
	CHECK(sigismember(&pending, SIGCONT));
	raise(SIGTSTP);
	sigpending(&pending);
	CHECK(sigismember(&pending, SIGTSTP));
	CHECK(!sigismember(&pending, SIGCONT));
	signal(SIGTSTP, SIG_IGN);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	CHECK_EQ(continued, 0);
	raise(SIGCONT);
	CHECK_EQ(continued, 1);
}

static void a_handler_catches_tstp(void)
{
	signal(SIGTSTP, on_continue);
	continued = 0;
	raise(SIGTSTP);
	CHECK_EQ(continued, 1);
}

static void stopped_processes_die_at_once(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			pause();
	kill(pid, SIGSTOP);
	CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
	kill(pid, SIGTERM); // waits until it continues
	check_sleep_ms(20);
	CHECK_EQ(waitpid(pid, &status, WNOHANG), 0);
	kill(pid, SIGKILL);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(WTERMSIG(status), SIGKILL);
}

static void a_continue_handler_runs_after_the_stop(void)
{
	int *shared = check_shared(CHECK_PAGE), status;
	pid_t pid = fork();

	if (pid == 0) {
		signal(SIGCONT, on_continue);
		raise(SIGSTOP);
		*shared = continued;
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
	kill(pid, SIGCONT);
	CHECK_EQ(check_wait(pid), 0);
	CHECK_EQ(*shared, 1);
}

static void an_orphaned_group_does_not_stop(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		setsid(); // a session of its own: its group has no parent in the session
		raise(SIGTSTP);
		_exit(3);
	}
	CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 3);
}

static void kill_arguments(void)
{
	CHECK_OK(kill(getpid(), 0));
	CHECK_ERR(kill(getpid(), 65), EINVAL);
	CHECK_ERR(kill(getpid(), -1), EINVAL);
	CHECK_ERR(kill(1 << 22, 0), ESRCH);
	CHECK_ERR(kill(-(1 << 22), SIGTERM), ESRCH);
	CHECK_ERR(kill(INT_MIN, SIGTERM), ESRCH);
	if (getuid() != 0)
		return;
	pid_t pid = fork();
	if (pid == 0) {
		CHECK_OK(setuid(1111));
		CHECK_ERR(kill(getppid(), SIGTERM), EPERM);
		CHECK_ERR(kill(getppid(), 0), EPERM);
		CHECK_OK(kill(getppid(), SIGCONT)); // within a session anyone may continue anyone
		check_child_exit();
	}
	CHECK_EQ(check_wait(pid), 0);
}

int main(void)
{
	CHECK_CHILD(stop_and_continue_cancel);
	CHECK_CHILD(a_handler_catches_tstp);
	CHECK_CHILD(stopped_processes_die_at_once);
	CHECK_CHILD(a_continue_handler_runs_after_the_stop);
	CHECK_CHILD(an_orphaned_group_does_not_stop);
	CHECK_CHILD(kill_arguments);
	return check_done();
}
