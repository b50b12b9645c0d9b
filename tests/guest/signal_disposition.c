// SPDX-License-Identifier: Apache-2.0
// Do dispositions do what sigaction says, and do default actions match the table in signal(7)?
#include "check.h"

static volatile int hits, last, depth, deepest;

static void count(int signal)
{
	hits++;
	last = signal;
}

static void plain_handler(void)
{
	struct sigaction action = { .sa_handler = count }, old;

	CHECK_OK(sigaction(SIGUSR1, &action, &old));
	CHECK(old.sa_handler == SIG_DFL);
	CHECK_OK(sigaction(SIGUSR1, NULL, &old));
	CHECK(old.sa_handler == count);
	raise(SIGUSR1);
	CHECK_EQ(hits, 1);
	CHECK_EQ(last, SIGUSR1);
	for (int i = 0; i < 500; i++)
		kill(getpid(), SIGUSR1);
	CHECK_EQ(hits, 501);
}

static void reset_hand(void)
{
	struct sigaction action = { .sa_handler = count, .sa_flags = SA_RESETHAND }, old;

	hits = 0;
	CHECK_OK(sigaction(SIGUSR2, &action, NULL));
	raise(SIGUSR2);
	CHECK_EQ(hits, 1);
	CHECK_OK(sigaction(SIGUSR2, NULL, &old));
	CHECK(old.sa_handler == SIG_DFL);
}

static void nest(int signal)
{
	depth++;
	if (depth > deepest)
		deepest = depth;
	if (deepest < 5 && hits++ < 5)
		raise(signal);
	depth--;
}

static void no_defer(void)
{
	struct sigaction action = { .sa_handler = nest };

	hits = depth = deepest = 0;
	CHECK_OK(sigaction(SIGUSR1, &action, NULL));
	raise(SIGUSR1);
	CHECK_EQ(deepest, 1); // held back while it is handled
	action.sa_flags = SA_NODEFER;
	hits = deepest = 0;
	CHECK_OK(sigaction(SIGUSR1, &action, NULL));
	raise(SIGUSR1);
	CHECK_EQ(deepest, 5);
}

static void refused(void)
{
	struct sigaction action = { .sa_handler = count };

	CHECK_ERR(sigaction(SIGKILL, &action, NULL), EINVAL);
	CHECK_ERR(sigaction(SIGSTOP, &action, NULL), EINVAL);
	CHECK_OK(sigaction(SIGKILL, NULL, &action));
	CHECK_ERR(syscall(SYS_rt_sigaction, 0, &action, NULL, 8), EINVAL);
	CHECK_ERR(syscall(SYS_rt_sigaction, 65, &action, NULL, 8), EINVAL);
	CHECK_ERR(syscall(SYS_rt_sigaction, SIGUSR1, &action, NULL, 4), EINVAL);
	CHECK_ERR(syscall(SYS_rt_sigaction, SIGUSR1, 8, NULL, 8), EFAULT);
	CHECK_ERR(syscall(SYS_rt_sigaction, SIGUSR1, NULL, 8, 8), EFAULT);
}

static void default_actions(void)
{
	static const int deadly[] = { SIGHUP,  SIGINT,  SIGQUIT,   SIGILL,  SIGTRAP, SIGABRT, SIGBUS,  SIGFPE,
				      SIGKILL, SIGUSR1, SIGSEGV,   SIGUSR2, SIGPIPE, SIGALRM, SIGTERM, SIGSTKFLT,
				      SIGXCPU, SIGXFSZ, SIGVTALRM, SIGPROF, SIGIO,   SIGPWR,  SIGSYS };
	static const int harmless[] = { SIGCHLD, SIGURG, SIGWINCH, SIGCONT };
	static const int stopping[] = { SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU };
	int status;

	for (size_t i = 0; i < ARRAY_SIZE(deadly) + ARRAY_SIZE(harmless); i++) {
		bool dies = i < ARRAY_SIZE(deadly);
		int signo = dies ? deadly[i] : harmless[i - ARRAY_SIZE(deadly)];
		pid_t pid = fork();
		if (pid == 0) {
			signal(signo, SIG_DFL);
			kill(getpid(), signo);
			_exit(5);
		}
		status = check_wait(pid);
		if (dies)
			CHECK_EQ(status & 0x7f, signo);
		else
			CHECK_EQ(status, 5 << 8);
	}
	for (size_t i = 0; i < ARRAY_SIZE(stopping); i++) {
		pid_t pid = fork();
		if (pid == 0) {
			setpgid(0, 0); // same session as the parent: not orphaned
			signal(stopping[i], SIG_DFL);
			kill(getpid(), stopping[i]);
			_exit(6);
		}
		CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
		CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == stopping[i]);
		kill(pid, SIGCONT);
		CHECK_EQ(check_wait(pid), 6 << 8);
	}
}

static void ignored(void)
{
	signal(SIGTERM, SIG_IGN);
	raise(SIGTERM);
	// To set "ignore" drops what is pending.
	sigset_t set, pending;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	raise(SIGUSR2);
	sigpending(&pending);
	CHECK(sigismember(&pending, SIGUSR2));
	signal(SIGUSR2, SIG_IGN);
	sigpending(&pending);
	CHECK(!sigismember(&pending, SIGUSR2));
	signal(SIGUSR2, SIG_DFL);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

int main(void)
{
	CHECK_CHILD(plain_handler);
	CHECK_CHILD(reset_hand);
	CHECK_CHILD(no_defer);
	CHECK_CHILD(refused);
	CHECK_CHILD(default_actions);
	CHECK_CHILD(ignored);
	return check_done();
}
