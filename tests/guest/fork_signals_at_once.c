// SPDX-License-Identifier: Apache-2.0
// May a child be signalled before it has run an instruction? Both go on as if nothing had happened.
#include "check.h"

#define CHILDREN 300
#define STORM    20

static volatile sig_atomic_t seen;

static void count(int signal)
{
	(void)signal;
	seen++;
}

static void child(const sigset_t *waited)
{
	int last = 0;

	while (last != SIGUSR2)
		if (sigwait(waited, &last))
			_exit(1);
	_exit(7);
}

static void storm(bool handled)
{
	sigset_t waited, old;

	sigemptyset(&waited);
	sigaddset(&waited, SIGUSR2);
	if (!handled)
		sigaddset(&waited, SIGUSR1);
	CHECK_OK(sigprocmask(SIG_BLOCK, &waited, &old));
	for (int i = 0; i < CHILDREN; i++) {
		int status = -1;
		volatile long canary = 0x1122334455667788;
		pid_t pid = CHECK_OK(fork());
		if (pid == 0)
			child(&waited);
		for (int k = 0; k < STORM; k++)
			kill(pid, SIGUSR1);
		kill(pid, SIGUSR2);
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		if (!CHECK_EQ(status, 7 << 8) || !CHECK(canary == 0x1122334455667788))
			break;
	}
	CHECK_OK(sigprocmask(SIG_SETMASK, &old, NULL));
}

static void spin(int64_t microseconds)
{
	int64_t until = check_now_ns() + 1000 * microseconds;

	while (check_now_ns() < until)
		;
}

int main(void)
{
	signal(SIGUSR1, count); // restarts what it interrupts
	storm(false);
	storm(true);
	// And while the parent is signalled all the time itself.
	pid_t hammer = CHECK_OK(fork());
	if (hammer == 0)
		for (;;) {
			kill(getppid(), SIGUSR1);
			spin(100); // a signal whenever a handler ends would leave its parent no time on a slow machine
		}
	storm(true);
	kill(hammer, SIGKILL);
	CHECK_EQ(check_wait(hammer), SIGKILL);
	CHECK(seen > 0);
	return check_done();
}
