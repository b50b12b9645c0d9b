// SPDX-License-Identifier: Apache-2.0
// Does clone3 check its structure, honour stack, exit signal and pidfd, and refuse what clone refuses?
#include "check.h"
#include <linux/sched.h>
#include <poll.h>

static long clone3(struct clone_args *args, size_t size) { return syscall(SYS_clone3, args, size); }

static void plain_fork(void)
{
	struct clone_args args = { .exit_signal = SIGCHLD };
	long pid = clone3(&args, sizeof(args));

	if (pid == 0)
		_exit(9);
	CHECK(pid > 0);
	CHECK_EQ(check_wait(pid), 9 << 8);
	pid = clone3(&args, CLONE_ARGS_SIZE_VER0);
	if (pid == 0)
		_exit(8);
	CHECK_EQ(check_wait(pid), 8 << 8);
}

static void sizes_are_checked(void)
{
	struct {
		struct clone_args args;
		uint64_t more[4];
	} big = { .args.exit_signal = SIGCHLD };

	CHECK_ERR(clone3(&big.args, 8), EINVAL);
	CHECK_ERR(clone3(&big.args, CLONE_ARGS_SIZE_VER0 - 1), EINVAL);
	CHECK_ERR(clone3(&big.args, 5000), E2BIG);
	big.more[2] = 1;
	CHECK_ERR(clone3(&big.args, sizeof(big)), E2BIG);
	big.more[2] = 0;
	long pid = clone3(&big.args, sizeof(big));
	if (pid == 0)
		_exit(0);
	CHECK_EQ(check_wait(pid), 0);
	CHECK_ERR(clone3((void *)8, sizeof(big.args)), EFAULT);
}

static void values_are_checked(void)
{
	struct clone_args args = { .exit_signal = 65 };

	CHECK_ERR(clone3(&args, sizeof(args)), EINVAL);
	args = (struct clone_args){ .exit_signal = SIGCHLD, .stack_size = 4096 };
	CHECK_ERR(clone3(&args, sizeof(args)), EINVAL);
	args = (struct clone_args){ .exit_signal = SIGCHLD, .stack = 4096 };
	CHECK_ERR(clone3(&args, sizeof(args)), EINVAL);
	args = (struct clone_args){ .exit_signal = SIGCHLD, .flags = CLONE_THREAD | CLONE_VM | CLONE_SIGHAND };
	CHECK_ERR(clone3(&args, sizeof(args)), EINVAL);
	args = (struct clone_args){ .exit_signal = SIGCHLD, .flags = CLONE_SIGHAND };
	CHECK_ERR(clone3(&args, sizeof(args)), EINVAL);
	args = (struct clone_args){ .exit_signal = SIGCHLD, .flags = UINT64_C(1) << 60 };
	CHECK_ERR(clone3(&args, sizeof(args)), EINVAL);
}

static void handler(int signal) { (void)signal; }

static void pidfd_and_cleared_handlers(void)
{
	int pidfd = -1;
	struct clone_args args = { .exit_signal = SIGCHLD,
				   .flags = CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
				   .pidfd = (uintptr_t)&pidfd };
	signal(SIGUSR1, handler);
	signal(SIGUSR2, SIG_IGN);
	long pid = clone3(&args, sizeof(args));
	if (pid == 0) {
		struct sigaction action;
		sigaction(SIGUSR1, NULL, &action);
		CHECK(action.sa_handler == SIG_DFL);
		sigaction(SIGUSR2, NULL, &action);
		CHECK(action.sa_handler == SIG_IGN);
		check_child_exit();
	}
	CHECK(pid > 0);
	if (CHECK(pidfd >= 0)) {
		CHECK(fcntl(pidfd, F_GETFD) & FD_CLOEXEC);
		struct pollfd p = { .fd = pidfd, .events = POLLIN };
		CHECK_EQ(poll(&p, 1, 20000), 1);
		CHECK(p.revents & POLLIN);
		siginfo_t info;
		CHECK_OK(waitid(P_PIDFD, pidfd, &info, WEXITED));
		CHECK_EQ(info.si_pid, pid);
		CHECK_EQ(info.si_status, 0);
		close(pidfd);
	}
	signal(SIGUSR1, SIG_DFL);
	signal(SIGUSR2, SIG_DFL);
}

int main(void)
{
	struct clone_args args = { .exit_signal = SIGCHLD };
	long pid = clone3(&args, sizeof(args));

	if (pid == 0)
		_exit(0);
	if (pid < 0 && errno == ENOSYS)
		CHECK_SKIP("no clone3");
	check_wait(pid);
	plain_fork();
	sizes_are_checked();
	values_are_checked();
	pidfd_and_cleared_handlers();
	return check_done();
}
