// SPDX-License-Identifier: Apache-2.0
// Do real-time signals queue in order with their values, bounded, and carry who sent them?
#include "check.h"
#include <sys/resource.h>

static volatile int count, signals[64], values[64], codes[64];
static volatile pid_t pids[64];
static volatile uid_t uids[64];

static void note(int signal, siginfo_t *info, void *context)
{
	(void)context;
	if (count < 64) {
		signals[count] = signal;
		values[count] = info->si_value.sival_int;
		codes[count] = info->si_code;
		pids[count] = info->si_pid;
		uids[count] = info->si_uid;
	}
	count++;
}

static void install(void)
{
	struct sigaction action = { .sa_sigaction = note, .sa_flags = SA_SIGINFO };

	sigfillset(&action.sa_mask);
	for (int i = SIGRTMIN; i <= SIGRTMAX; i++)
		sigaction(i, &action, NULL);
	sigaction(SIGUSR1, &action, NULL);
}

static void in_order(void)
{
	sigset_t all, old;

	install();
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	for (int i = 0; i < 3; i++) {
		CHECK_OK(sigqueue(getpid(), SIGRTMIN + 2, (union sigval){ .sival_int = 20 + i }));
		CHECK_OK(sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = 10 + i }));
		CHECK_OK(sigqueue(getpid(), SIGUSR1, (union sigval){ .sival_int = i }));
	}
	sigprocmask(SIG_SETMASK, &old, NULL);
	CHECK_EQ(count, 7);
	CHECK_EQ(signals[0], SIGUSR1); // lowest first; once; the first value
	CHECK_EQ(values[0], 0);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(signals[1 + i], SIGRTMIN);
		CHECK_EQ(values[1 + i], 10 + i);
		CHECK_EQ(signals[4 + i], SIGRTMIN + 2);
		CHECK_EQ(values[4 + i], 20 + i);
		CHECK_EQ(codes[4 + i], SI_QUEUE);
		CHECK_EQ(pids[4 + i], getpid());
		CHECK_EQ(uids[4 + i], getuid());
	}
}

static void origins(void)
{
	install();
	kill(getpid(), SIGUSR1);
	CHECK_EQ(codes[0], SI_USER);
	CHECK_EQ(pids[0], getpid());
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR1);
	CHECK_EQ(codes[1], SI_TKILL);
	CHECK_EQ(pids[1], getpid());
	pid_t parent = getpid(), pid = fork();
	if (pid == 0) {
		kill(parent, SIGRTMIN);
		_exit(0);
	}
	check_wait(pid);
	WAIT_UNTIL(count == 3);
	CHECK_EQ(pids[2], pid);
	CHECK_EQ(codes[2], SI_USER);

	siginfo_t info = { .si_code = SI_MESGQ };
	info.si_pid = 123;
	info.si_uid = 456;
	info.si_value.sival_int = 789;
	CHECK_OK(syscall(SYS_rt_sigqueueinfo, getpid(), SIGRTMIN, &info));
	CHECK_EQ(codes[3], SI_MESGQ);
	CHECK_EQ(pids[3], 123);
	CHECK_EQ(values[3], 789);
	CHECK_OK(syscall(SYS_rt_tgsigqueueinfo, getpid(), getpid(), SIGRTMIN, &info));
	CHECK_EQ(count, 5);
	// Only to oneself may one pretend to be the kernel or kill().
	info.si_code = SI_USER;
	CHECK_ERR(syscall(SYS_rt_sigqueueinfo, getppid(), 0, &info), EPERM);
	CHECK_OK(syscall(SYS_rt_sigqueueinfo, getpid(), SIGRTMIN, &info));
	CHECK_ERR(syscall(SYS_rt_sigqueueinfo, getpid(), SIGRTMIN, 8), EFAULT);
	CHECK_ERR(sigqueue(getpid(), 65, (union sigval){ 0 }), EINVAL);
	CHECK_ERR(sigqueue(1 << 22, SIGRTMIN, (union sigval){ 0 }), ESRCH);
}

static void bounded(void)
{
	struct rlimit limit = { 10, 10 };
	sigset_t all;
	int queued = 0;

	install();
	if (getuid() == 0 && setresuid(54321, 54321, 54321) < 0)
		return;
	CHECK_OK(setrlimit(RLIMIT_SIGPENDING, &limit));
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	while (queued < 100 && sigqueue(getpid(), SIGRTMIN, (union sigval){ 0 }) == 0)
		queued++;
	CHECK_EQ(errno, EAGAIN);
	CHECK_EQ(queued, 10);
	CHECK_OK(kill(getpid(), SIGUSR1)); // kill() of a standard signal never fails so
	sigset_t pending;
	sigpending(&pending);
	CHECK(sigismember(&pending, SIGUSR1));
}

static void many(void)
{
	sigset_t all, old;

	install();
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	for (int i = 0; i < 200; i++)
		CHECK_OK(sigqueue(getpid(), SIGRTMIN + 5, (union sigval){ .sival_int = i }));
	sigprocmask(SIG_SETMASK, &old, NULL);
	CHECK_EQ(count, 200);
	CHECK_EQ(values[63], 63);
}

int main(void)
{
	CHECK_CHILD(in_order);
	CHECK_CHILD(origins);
	CHECK_CHILD(bounded);
	CHECK_CHILD(many);
	return check_done();
}
