// SPDX-License-Identifier: Apache-2.0
// Do process groups, sessions, orphans and reapers follow the rules?
#include "check.h"
#include <sys/prctl.h>

static void groups(void)
{
	pid_t self = getpid();

	CHECK_OK(setpgid(0, 0));
	CHECK_EQ(getpgrp(), self);
	CHECK_EQ(getpgid(0), self);
	CHECK_ERR(setpgid(0, -1), EINVAL);
	CHECK_ERR(setpgid(-5, 0), EINVAL);
	CHECK_ERR(setpgid(-5, 1), ESRCH);
	CHECK_ERR(setpgid(1, 1), ESRCH);
	CHECK_ERR(setpgid(0, 1 << 21), EPERM);
	CHECK_ERR(getpgid(1 << 21), ESRCH);
	CHECK_ERR(getsid(1 << 21), ESRCH);

	pid_t child = fork();
	if (child == 0) {
		CHECK_EQ(getpgrp(), self);
		for (;;)
			pause();
	}
	CHECK_OK(setpgid(child, child));
	CHECK_EQ(getpgid(child), child);
	CHECK_OK(setpgid(child, self));
	CHECK_EQ(getpgid(child), self);
	CHECK_OK(setpgid(child, 0));
	CHECK_OK(kill(-child, SIGTERM));
	CHECK_EQ(WTERMSIG(check_wait(child)), SIGTERM);
	CHECK_ERR(kill(-child, SIGTERM), ESRCH);
}

static void after_exec_it_is_too_late(void)
{
	int fds[2];
	char byte;

	CHECK_OK(pipe(fds));
	pid_t child = fork();
	if (child == 0) {
		dup2(fds[1], 1);
		execl("/proc/self/exe", "self", "exec-child", NULL);
		_exit(99);
	}
	CHECK_EQ(read(fds[0], &byte, 1), 1);
	CHECK_ERR(setpgid(child, child), EACCES);
	kill(child, SIGKILL);
	check_wait(child);
}

static void sessions(void)
{
	pid_t self = getpid();

	// A group leader may not start a session.
	CHECK_OK(setpgid(0, 0));
	CHECK_ERR(setsid(), EPERM);
	pid_t child = fork();
	if (child == 0) {
		CHECK_EQ(setsid(), getpid());
		CHECK_EQ(getsid(0), getpid());
		CHECK_EQ(getpgrp(), getpid());
		CHECK_ERR(setsid(), EPERM);
		CHECK_ERR(setpgid(0, 0), EPERM); // a session leader keeps its group
		CHECK_ERR(setpgid(0, self), EPERM);
		CHECK_ERR(open("/dev/tty", O_RDWR), ENXIO);
		pid_t grandchild = fork();
		if (grandchild == 0) {
			CHECK_EQ(getsid(0), getppid());
			CHECK_ERR(setpgid(0, self), EPERM); // a group of another session
			check_child_exit();
		}
		CHECK_EQ(check_wait(grandchild), 0);
		for (;;)
			pause();
	}
	WAIT_UNTIL(getsid(child) == child);
	CHECK_ERR(setpgid(child, self), EPERM);
	kill(child, SIGKILL);
	int status = check_wait(child);
	CHECK(WIFSIGNALED(status));
}

static volatile int group_hits;

static void on_signal(int signal)
{
	(void)signal;
	group_hits++;
}

static void zero_means_my_group(void)
{
	signal(SIGUSR1, on_signal);
	CHECK_OK(setpgid(0, 0));
	int ready[2];
	char byte;
	CHECK_OK(pipe(ready));
	pid_t pids[3];
	for (int i = 0; i < 3; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			sigset_t set;
			sigemptyset(&set);
			sigaddset(&set, SIGUSR1);
			sigprocmask(SIG_BLOCK, &set, NULL);
			CHECK_EQ(write(ready[1], "r", 1), 1);
			int got;
			CHECK_EQ(sigwait(&set, &got), 0);
			check_child_exit();
		}
	}
	for (int i = 0; i < 3; i++)
		CHECK_EQ(read(ready[0], &byte, 1), 1);
	CHECK_OK(kill(0, SIGUSR1));
	for (int i = 0; i < 3; i++)
		CHECK_EQ(check_wait(pids[i]), 0);
	CHECK_EQ(group_hits, 1);
}

static void orphans_go_to_the_reaper(void)
{
	int fds[2];
	pid_t orphan = 0;

	CHECK_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	CHECK_OK(pipe(fds));
	pid_t middle = fork();
	if (middle == 0) {
		pid_t parent = getpid(); // not asked for in the child: the parent may be gone by then
		pid_t inner = fork();
		if (inner == 0) {
			for (int i = 0; i < 4000 && getppid() == parent; i++)
				usleep(5000);
			_exit(71);
		}
		CHECK_EQ(write(fds[1], &inner, sizeof(inner)), (ssize_t)sizeof(inner));
		check_child_exit();
	}
	CHECK_EQ(read(fds[0], &orphan, sizeof(orphan)), (ssize_t)sizeof(orphan));
	CHECK_EQ(check_wait(middle), 0);
	int status;
	CHECK_EQ(waitpid(orphan, &status, 0), orphan);
	CHECK_EQ(WEXITSTATUS(status), 71);
	CHECK_OK(prctl(PR_SET_CHILD_SUBREAPER, 0));
}

// A stopped group that loses its last link to its session gets SIGHUP and SIGCONT.
static void orphaned_stopped_group(void)
{
	int fds[2];
	char word = 0;

	CHECK_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	CHECK_OK(pipe(fds));
	pid_t middle = fork();
	if (middle == 0) {
		setsid(); // the reaper must not be in the session
		pid_t inner = fork();
		if (inner == 0) {
			setpgid(0, 0);
			raise(SIGSTOP); // SIGHUP follows and ends it
			_exit(1);
		}
		setpgid(inner, inner);
		int status;
		waitpid(inner, &status, WUNTRACED);
		CHECK(WIFSTOPPED(status));
		if (write(fds[1], "s", 1) != 1)
			_exit(2);
		check_child_exit();
	}
	CHECK_EQ(read(fds[0], &word, 1), 1);
	CHECK_EQ(check_wait(middle), 0);
	int status = 0;
	CHECK(waitpid(-1, &status, 0) > 0);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGHUP);
	CHECK_OK(prctl(PR_SET_CHILD_SUBREAPER, 0));
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "exec-child") == 0) {
		if (write(1, "x", 1) != 1)
			return 1;
		pause();
		return 0;
	}
	CHECK_CHILD(groups);
	CHECK_CHILD(after_exec_it_is_too_late);
	CHECK_CHILD(sessions);
	CHECK_CHILD(zero_means_my_group);
	CHECK_CHILD(orphans_go_to_the_reaper);
	CHECK_CHILD(orphaned_stopped_group);
	return check_done();
}
