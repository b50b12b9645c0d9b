// SPDX-License-Identifier: Apache-2.0
// Do wait4 and waitid report every change of state once, with the right details and errors?
#include "check.h"
#include <sys/resource.h>

static pid_t child_exits(int code)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(code);
	return pid;
}

static pid_t child_pauses(void)
{
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			pause();
	return pid;
}

static void nohang(void)
{
	pid_t pid = child_pauses();
	siginfo_t info;

	CHECK_EQ(waitpid(pid, NULL, WNOHANG), 0);
	memset(&info, 0xff, sizeof(info));
	CHECK_EQ(waitid(P_PID, pid, &info, WEXITED | WNOHANG), 0);
	CHECK_EQ(info.si_pid, 0);
	CHECK_EQ(info.si_signo, 0);
	kill(pid, SIGKILL);
	int status = check_wait(pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void stops_and_continues(void)
{
	pid_t pid = child_pauses();
	int status = 0;
	siginfo_t info;

	kill(pid, SIGSTOP);
	CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
	CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
	CHECK_EQ(waitpid(pid, &status, WUNTRACED | WNOHANG), 0); // once only
	kill(pid, SIGCONT);
	CHECK_EQ(waitpid(pid, &status, WCONTINUED), pid);
	CHECK(WIFCONTINUED(status));
	CHECK_EQ(waitpid(pid, &status, WCONTINUED | WNOHANG), 0);

	kill(pid, SIGSTOP);
	CHECK_OK(waitid(P_PID, pid, &info, WSTOPPED | WNOWAIT));
	CHECK_EQ(info.si_code, CLD_STOPPED);
	CHECK_EQ(info.si_status, SIGSTOP);
	CHECK_OK(waitid(P_PID, pid, &info, WSTOPPED));
	kill(pid, SIGCONT);
	CHECK_OK(waitid(P_PID, pid, &info, WCONTINUED));
	CHECK_EQ(info.si_code, CLD_CONTINUED);
	CHECK_EQ(info.si_status, SIGCONT);
	kill(pid, SIGTERM);
	CHECK_OK(waitid(P_PID, pid, &info, WEXITED));
	CHECK_EQ(info.si_code, CLD_KILLED);
	CHECK_EQ(info.si_status, SIGTERM);
}

static void waitid_details(void)
{
	siginfo_t info = { 0 };
	pid_t pid = child_exits(23);

	CHECK_OK(waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
	CHECK_EQ(info.si_signo, SIGCHLD);
	CHECK_EQ(info.si_code, CLD_EXITED);
	CHECK_EQ(info.si_pid, pid);
	CHECK_EQ(info.si_uid, getuid());
	CHECK_EQ(info.si_status, 23);
	CHECK_OK(kill(pid, 0)); // still a zombie
	CHECK_OK(waitid(P_ALL, 0, NULL, WEXITED));
	CHECK_ERR(kill(pid, 0), ESRCH);
	CHECK_ERR(waitid(P_PID, pid, &info, WEXITED), ECHILD);
	CHECK_ERR(waitid(P_ALL, 0, &info, 0), EINVAL);
	CHECK_ERR(waitid(99, 0, &info, WEXITED), EINVAL);
	CHECK_ERR(waitpid(-1, NULL, 0x100), EINVAL);
	CHECK_ERR(waitpid(INT_MIN, NULL, 0), ESRCH);
	CHECK_ERR(waitpid(getpid(), NULL, 0), ECHILD);
}

static void by_group(void)
{
	pid_t first = fork();
	if (first == 0) {
		setpgid(0, 0);
		for (;;)
			pause();
	}
	setpgid(first, first);
	pid_t second = child_exits(4);
	int status;
	CHECK_EQ(waitpid(0, &status, 0), second);
	CHECK_EQ(WEXITSTATUS(status), 4);
	CHECK_ERR(waitpid(0, &status, 0), ECHILD);
	kill(-first, SIGTERM);
	CHECK_EQ(waitpid(-first, &status, 0), first);
	CHECK_EQ(WTERMSIG(status), SIGTERM);
	siginfo_t info;
	CHECK_ERR(waitid(P_PGID, first, &info, WEXITED), ECHILD);
}

static void ignored_children_vanish(void)
{
	signal(SIGCHLD, SIG_IGN);
	pid_t pid = child_exits(1);
	CHECK_ERR(waitpid(pid, NULL, 0), ECHILD); // blocks until it is gone
	CHECK_ERR(kill(pid, 0), ESRCH);
	struct sigaction action = { .sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT };
	sigaction(SIGCHLD, &action, NULL);
	pid = child_exits(1);
	CHECK_ERR(waitpid(pid, NULL, 0), ECHILD);
	signal(SIGCHLD, SIG_DFL);
}

static volatile int chld_count, chld_code, chld_status, chld_pid;

static void on_child(int signal, siginfo_t *info, void *context)
{
	(void)signal, (void)context;
	chld_count++;
	chld_code = info->si_code;
	chld_status = info->si_status;
	chld_pid = info->si_pid;
}

static void sigchld(void)
{
	struct sigaction action = { .sa_sigaction = on_child, .sa_flags = SA_SIGINFO };

	sigaction(SIGCHLD, &action, NULL);
	pid_t pid = child_pauses();
	kill(pid, SIGSTOP);
	WAIT_UNTIL(chld_count == 1);
	CHECK_EQ(chld_code, CLD_STOPPED);
	CHECK_EQ(chld_status, SIGSTOP);
	CHECK_EQ(chld_pid, pid);
	kill(pid, SIGCONT);
	WAIT_UNTIL(chld_count == 2);
	CHECK_EQ(chld_code, CLD_CONTINUED);
	action.sa_flags |= SA_NOCLDSTOP;
	sigaction(SIGCHLD, &action, NULL);
	kill(pid, SIGSTOP);
	int status;
	while (waitpid(pid, &status, WUNTRACED) < 0)
		;
	CHECK_EQ(chld_count, 2);
	kill(pid, SIGKILL);
	WAIT_UNTIL(chld_count == 3);
	CHECK_EQ(chld_code, CLD_KILLED);
	CHECK_EQ(chld_status, SIGKILL);
	CHECK_EQ(WTERMSIG(check_wait(pid)), SIGKILL);
	signal(SIGCHLD, SIG_DFL);
}

static int64_t cpu_time_us(void)
{
	struct timespec t;

	CHECK_OK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t));
	return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void usage_is_reported(void)
{
	struct rusage usage;
	pid_t pid = fork();

	if (pid == 0) {
		int64_t end = check_now_ns() + INT64_C(10000000000); // however many others want the CPU
		while (cpu_time_us() < 60000 && check_now_ns() < end)
			;
		_exit(0);
	}
	memset(&usage, 0xff, sizeof(usage));
	CHECK_EQ(wait4(pid, NULL, 0, &usage), pid);
	CHECK(usage.ru_utime.tv_sec * 1000000 + usage.ru_utime.tv_usec + usage.ru_stime.tv_sec * 1000000 +
		      usage.ru_stime.tv_usec >=
	      50000);
	CHECK(usage.ru_minflt >= 0);
}

static void *wait_in_thread(void *argument)
{
	int status = 0;

	CHECK_EQ(waitpid((pid_t)(long)argument, &status, 0), (pid_t)(long)argument);
	return (void *)(long)WEXITSTATUS(status);
}

static void other_threads_may_wait(void)
{
	pthread_t thread;
	void *result;
	pid_t pid = child_exits(66);

	CHECK_EQ(pthread_create(&thread, NULL, wait_in_thread, (void *)(long)pid), 0);
	pthread_join(thread, &result);
	CHECK_EQ((long)result, 66);
}

static void only_mine(void)
{
	pid_t outer = fork();

	if (outer == 0) {
		CHECK_ERR(waitpid(getppid(), NULL, 0), ECHILD);
		CHECK_ERR(waitpid(-1, NULL, 0), ECHILD);
		CHECK_ERR(waitpid(-1, NULL, WNOHANG), ECHILD);
		check_child_exit();
	}
	CHECK_EQ(check_wait(outer), 0);
}

int main(void)
{
	nohang();
	stops_and_continues();
	waitid_details();
	by_group();
	ignored_children_vanish();
	sigchld();
	usage_is_reported();
	other_threads_may_wait();
	only_mine();
	return check_done();
}
