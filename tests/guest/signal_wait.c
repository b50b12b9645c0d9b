// SPDX-License-Identifier: Apache-2.0
// Do sigsuspend, sigtimedwait and signalfd take signals in order, with details, and time out?
#include "check.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

static volatile int hits;

static void on_signal(int signal)
{
	(void)signal;
	hits++;
}

static void block(sigset_t *set, int first, int second)
{
	sigemptyset(set);
	sigaddset(set, first);
	if (second)
		sigaddset(set, second);
	sigprocmask(SIG_BLOCK, set, NULL);
}

static void suspend(void)
{
	sigset_t set, none, now;

	signal(SIGUSR1, on_signal);
	block(&set, SIGUSR1, 0);
	raise(SIGUSR1);
	CHECK_EQ(hits, 0);
	sigemptyset(&none);
	CHECK_ERR(sigsuspend(&none), EINTR);
	CHECK_EQ(hits, 1);
	sigprocmask(SIG_BLOCK, NULL, &now);
	CHECK(sigismember(&now, SIGUSR1));
	CHECK_ERR(syscall(SYS_rt_sigsuspend, &none, 4), EINVAL);
	CHECK_ERR(syscall(SYS_rt_sigsuspend, 8, 8), EFAULT);

	pid_t pid = fork();
	if (pid == 0) {
		check_sleep_ms(50);
		kill(getppid(), SIGUSR1);
		_exit(0);
	}
	CHECK_ERR(sigsuspend(&none), EINTR);
	CHECK_EQ(hits, 2);
	check_wait(pid);
}

static void timedwait(void)
{
	sigset_t set;
	siginfo_t info;
	struct timespec zero = { 0, 0 }, some = { 0, 60000000 };

	block(&set, SIGUSR1, SIGRTMIN);
	CHECK_ERR(sigtimedwait(&set, &info, &zero), EAGAIN);
	int64_t start = check_now_ns();
	CHECK_ERR(sigtimedwait(&set, &info, &some), EAGAIN);
	CHECK(check_now_ns() - start >= 60000000);
	sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = 1 });
	sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = 2 });
	kill(getpid(), SIGUSR1);
	CHECK_EQ(sigtimedwait(&set, &info, &zero), SIGUSR1);
	CHECK_EQ(info.si_code, SI_USER);
	CHECK_EQ(sigwaitinfo(&set, &info), SIGRTMIN);
	CHECK_EQ(info.si_value.sival_int, 1);
	CHECK_EQ(sigwaitinfo(&set, NULL), SIGRTMIN);
	CHECK_ERR(sigtimedwait(&set, &info, &zero), EAGAIN);
	struct timespec bad = { 0, 1000000000 };
	CHECK_ERR(sigtimedwait(&set, &info, &bad), EINVAL);

	pid_t pid = fork();
	if (pid == 0) {
		check_sleep_ms(50);
		sigqueue(getppid(), SIGRTMIN, (union sigval){ .sival_int = 77 });
		_exit(0);
	}
	CHECK_EQ(sigwaitinfo(&set, &info), SIGRTMIN);
	CHECK_EQ(info.si_value.sival_int, 77);
	CHECK_EQ(info.si_pid, pid);
	check_wait(pid);
}

static void descriptor(void)
{
	sigset_t set;
	struct signalfd_siginfo info[4];

	block(&set, SIGUSR1, SIGRTMIN);
	int fd = CHECK_OK(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
	CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	CHECK_ERR(read(fd, info, sizeof(info)), EAGAIN);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	CHECK_EQ(poll(&p, 1, 0), 0);
	kill(getpid(), SIGUSR1);
	sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = 55 });
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK_ERR(read(fd, info, 10), EINVAL);
	CHECK_EQ(read(fd, info, sizeof(info)), 2 * (ssize_t)sizeof(info[0]));
	CHECK_EQ(info[0].ssi_signo, SIGUSR1);
	CHECK_EQ(info[0].ssi_pid, getpid());
	CHECK_EQ(info[0].ssi_code, SI_USER);
	CHECK_EQ(info[1].ssi_signo, SIGRTMIN);
	CHECK_EQ(info[1].ssi_int, 55);
	CHECK_EQ(poll(&p, 1, 0), 0);

	// The set may be replaced.
	sigset_t other;
	block(&other, SIGUSR2, 0);
	CHECK_EQ(signalfd(fd, &other, 0), fd);
	kill(getpid(), SIGUSR1);
	CHECK_EQ(poll(&p, 1, 0), 0);
	kill(getpid(), SIGUSR2);
	CHECK_EQ(poll(&p, 1, 1000), 1);
	CHECK_ERR(signalfd(0, &other, 0x4000), EINVAL);
	int plain[2];
	CHECK_OK(pipe(plain));
	CHECK_ERR(signalfd(plain[0], &other, 0), EINVAL);
	CHECK_ERR(signalfd(99, &other, 0), EBADF);

	// A blocked read is woken; epoll too.
	fcntl(fd, F_SETFL, 0);
	CHECK_EQ(read(fd, info, sizeof(info[0])), (ssize_t)sizeof(info[0]));
	int epoll = epoll_create1(0);
	struct epoll_event event = { .events = EPOLLIN };
	CHECK_OK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
	pid_t pid = fork();
	if (pid == 0) {
		check_sleep_ms(40);
		kill(getppid(), SIGUSR2);
		check_sleep_ms(40);
		kill(getppid(), SIGUSR2);
		_exit(0);
	}
	CHECK_EQ(epoll_wait(epoll, &event, 1, 20000), 1);
	CHECK_EQ(read(fd, info, sizeof(info[0])), (ssize_t)sizeof(info[0]));
	CHECK_EQ(read(fd, info, sizeof(info[0])), (ssize_t)sizeof(info[0]));
	CHECK_EQ(info[0].ssi_pid, pid);
	check_wait(pid);
}

static void child_signals_by_descriptor(void)
{
	sigset_t set;
	struct signalfd_siginfo info;

	block(&set, SIGCHLD, 0);
	int fd = CHECK_OK(signalfd(-1, &set, 0));
	pid_t pid = fork();
	if (pid == 0)
		_exit(12);
	CHECK_EQ(read(fd, &info, sizeof(info)), (ssize_t)sizeof(info));
	CHECK_EQ(info.ssi_signo, SIGCHLD);
	CHECK_EQ(info.ssi_pid, pid);
	CHECK_EQ(info.ssi_status, 12);
	CHECK_EQ(info.ssi_code, CLD_EXITED);
	check_wait(pid);
}

int main(void)
{
	CHECK_CHILD(suspend);
	CHECK_CHILD(timedwait);
	CHECK_CHILD(descriptor);
	CHECK_CHILD(child_signals_by_descriptor);
	return check_done();
}
