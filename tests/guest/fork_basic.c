// SPDX-License-Identifier: Apache-2.0
// Does fork make a child with the right identity, its own memory and shared file offsets?
#include "check.h"

static int global_value = 1;

static void returns_twice(void)
{
	pid_t parent = getpid(), pid = fork();

	if (pid == 0) {
		CHECK_EQ(getppid(), parent);
		CHECK(getpid() != parent);
		CHECK_EQ(syscall(SYS_gettid), getpid());
		CHECK_EQ(getpgrp(), getpgid(parent));
		CHECK_EQ(getsid(0), getsid(parent));
		_exit(check_failed ? 1 : 42);
	}
	CHECK(pid > 0);
	int status = check_wait(pid);
	CHECK(WIFEXITED(status));
	CHECK_EQ(WEXITSTATUS(status), 42);
}

static void memory_is_private(void)
{
	int local = 5;
	int *heap = malloc(sizeof(*heap));
	*heap = 9;
	pid_t pid = fork();

	if (pid == 0) {
		global_value = 2;
		local = 6;
		*heap = 10;
		_exit(global_value + local + *heap == 18 ? 0 : 1);
	}
	CHECK_EQ(check_wait(pid), 0);
	CHECK_EQ(global_value, 1);
	CHECK_EQ(local, 5);
	CHECK_EQ(*heap, 9);
	free(heap);
}

static void offsets_are_shared(void)
{
	int fd = CHECK_OK(open("f", O_RDWR | O_CREAT | O_TRUNC, 0600));
	CHECK_EQ(write(fd, "0123456789", 10), 10);
	CHECK_EQ(lseek(fd, 2, SEEK_SET), 2);
	pid_t pid = fork();
	if (pid == 0) {
		CHECK_EQ(lseek(fd, 3, SEEK_CUR), 5);
		close(fd);
		check_child_exit();
	}
	CHECK_EQ(check_wait(pid), 0);
	CHECK_EQ(lseek(fd, 0, SEEK_CUR), 5);
	close(fd);
}

static void descriptor_table_is_private(void)
{
	int fd = CHECK_OK(open("f", O_RDONLY));
	pid_t pid = fork();
	if (pid == 0) {
		CHECK_OK(close(fd));
		CHECK_OK(chdir("/"));
		umask(0777);
		check_child_exit();
	}
	CHECK_EQ(check_wait(pid), 0);
	CHECK_OK(fcntl(fd, F_GETFD));
	CHECK_OK(access("f", F_OK));
	CHECK(umask(022) != 0777);
	close(fd);
}

static void many_children(void)
{
	pid_t pids[100];
	int seen = 0;

	for (int i = 0; i < 100; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			_exit(i);
		CHECK(pids[i] > 0);
	}
	for (int i = 99; i >= 0; i--) {
		int status = check_wait(pids[i]);
		seen += WIFEXITED(status) && WEXITSTATUS(status) == i;
	}
	CHECK_EQ(seen, 100);
	CHECK_ERR(wait(NULL), ECHILD);
}

static void deep_chain(void)
{
	int depth = 0;
	pid_t pid;

	while (depth < 20 && (pid = fork()) == 0)
		depth++;
	if (depth == 20)
		_exit(0);
	int status = check_wait(pid);
	if (depth > 0)
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) + 1 : 100);
	CHECK(WIFEXITED(status));
	CHECK_EQ(WEXITSTATUS(status), 19);
}

static void alarms_and_pending_are_not_inherited(void)
{
	sigset_t set, pending;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	raise(SIGUSR1);
	alarm(100);
	pid_t pid = fork();
	if (pid == 0) {
		CHECK_EQ(alarm(0), 0);
		sigpending(&pending);
		CHECK(!sigismember(&pending, SIGUSR1));
		sigprocmask(SIG_BLOCK, NULL, &set);
		CHECK(sigismember(&set, SIGUSR1));
		check_child_exit();
	}
	CHECK_EQ(check_wait(pid), 0);
	CHECK(alarm(0) > 0);
	signal(SIGUSR1, SIG_IGN);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

int main(void)
{
	check_tmpdir();
	returns_twice();
	memory_is_private();
	offsets_are_shared();
	descriptor_table_is_private();
	many_children();
	deep_chain();
	alarms_and_pending_are_not_inherited();
	return check_done();
}
