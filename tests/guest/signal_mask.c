// SPDX-License-Identifier: Apache-2.0
// Do masks hold signals back, in handlers too, and let them through afterwards?
#include "check.h"

static volatile int order[16], count;
static sigset_t inside;

static void note(int signal)
{
	order[count++] = signal;
	sigprocmask(SIG_BLOCK, NULL, &inside);
	if (signal == SIGUSR1) {
		raise(SIGUSR2); // in sa_mask: comes after this handler
		order[count++] = -SIGUSR1;
	}
}

int main(void)
{
	sigset_t set, old, pending;
	struct sigaction action = { .sa_handler = note };

	sigemptyset(&action.sa_mask);
	sigaddset(&action.sa_mask, SIGUSR2);
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGUSR2, &action, NULL);

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	CHECK_OK(sigprocmask(SIG_BLOCK, &set, &old));
	CHECK(!sigismember(&old, SIGUSR1));
	raise(SIGUSR1);
	raise(SIGUSR1); // standard signals do not queue
	CHECK_EQ(count, 0);
	CHECK_OK(sigpending(&pending));
	CHECK(sigismember(&pending, SIGUSR1));
	CHECK(!sigismember(&pending, SIGUSR2));
	CHECK_OK(sigprocmask(SIG_SETMASK, &old, NULL));
	CHECK_EQ(count, 3);
	CHECK(order[0] == SIGUSR1 && order[1] == -SIGUSR1 && order[2] == SIGUSR2);
	CHECK(sigismember(&inside, SIGUSR2));
	sigpending(&pending);
	CHECK(sigisemptyset(&pending));
	sigprocmask(SIG_BLOCK, NULL, &set);
	CHECK(!sigismember(&set, SIGUSR2) && !sigismember(&set, SIGUSR1));

	// SIGKILL and SIGSTOP are silently left out of every mask.
	sigfillset(&set);
	CHECK_OK(sigprocmask(SIG_SETMASK, &set, NULL));
	sigprocmask(SIG_SETMASK, NULL, &set);
	CHECK(!sigismember(&set, SIGKILL));
	CHECK(!sigismember(&set, SIGSTOP));
	CHECK(sigismember(&set, SIGTERM));
	CHECK_OK(sigprocmask(SIG_SETMASK, &old, NULL));

	CHECK_ERR(syscall(SYS_rt_sigprocmask, 77, &set, NULL, 8), EINVAL);
	CHECK_ERR(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, NULL, 16), EINVAL);
	CHECK_ERR(syscall(SYS_rt_sigprocmask, SIG_BLOCK, 8, NULL, 8), EFAULT);
	CHECK_ERR(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, 8, 8), EFAULT);
	CHECK_OK(syscall(SYS_rt_sigprocmask, 77, NULL, &set, 8)); // how is not looked at without a set
	CHECK_ERR(syscall(SYS_rt_sigpending, &set, 16), EINVAL);

	// A synchronous fault on a blocked signal kills.
	pid_t pid = fork();
	if (pid == 0) {
		signal(SIGSEGV, note);
		sigfillset(&set);
		sigprocmask(SIG_SETMASK, &set, NULL);
		*(volatile int *)8 = 1;
		_exit(0);
	}
	int status = check_wait(pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	return check_done();
}
