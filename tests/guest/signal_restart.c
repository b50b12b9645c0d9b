// SPDX-License-Identifier: Apache-2.0
// Which calls does a handler interrupt, which restart under SA_RESTART, and what do they return?
#include "check.h"
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/select.h>
#include <sys/socket.h>

static volatile int hits;
static int pipe_fds[2];

static void on_signal(int signal)
{
	(void)signal;
	hits++;
}

static void set_handler(int flags)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = flags };

	sigaction(SIGUSR1, &action, NULL);
	hits = 0;
}

// A child that sends `count` SIGUSR1 and then writes a byte to the pipe.
static pid_t disturb(int count)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	for (int i = 0; i < count; i++) {
		check_sleep_ms(60);
		kill(getppid(), SIGUSR1);
	}
	check_sleep_ms(60);
	if (write(pipe_fds[1], "x", 1) != 1)
		_exit(1);
	_exit(0);
}

static void drain(pid_t pid)
{
	char byte;

	CHECK_EQ(check_wait(pid), 0);
	fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK);
	while (read(pipe_fds[0], &byte, 1) > 0)
		;
	fcntl(pipe_fds[0], F_SETFL, 0);
}

static void reads(void)
{
	char byte;

	set_handler(0);
	pid_t pid = disturb(1);
	CHECK_ERR(read(pipe_fds[0], &byte, 1), EINTR);
	CHECK_EQ(hits, 1);
	drain(pid);
	set_handler(SA_RESTART);
	pid = disturb(2);
	CHECK_EQ(read(pipe_fds[0], &byte, 1), 1);
	CHECK_EQ(hits, 2);
	CHECK_EQ(byte, 'x');
	drain(pid);
}

static void never_restarted(void)
{
	struct pollfd p = { .fd = pipe_fds[0], .events = POLLIN };
	struct epoll_event event;
	fd_set set;

	set_handler(SA_RESTART);
	pid_t pid = disturb(1);
	CHECK_ERR(poll(&p, 1, 20000), EINTR);
	drain(pid);
	pid = disturb(1);
	FD_ZERO(&set);
	FD_SET(pipe_fds[0], &set);
	CHECK_ERR(select(pipe_fds[0] + 1, &set, NULL, NULL, &(struct timeval){ 20, 0 }), EINTR);
	drain(pid);
	int epoll = epoll_create1(0);
	pid = disturb(1);
	CHECK_ERR(epoll_wait(epoll, &event, 1, 20000), EINTR);
	drain(pid);
	close(epoll);
	pid = disturb(1);
	CHECK_ERR(pause(), EINTR);
	drain(pid);
	pid = disturb(1);
	sigset_t none;
	sigemptyset(&none);
	CHECK_ERR(sigsuspend(&none), EINTR);
	drain(pid);
	pid = disturb(1);
	sigset_t other;
	sigemptyset(&other);
	sigaddset(&other, SIGUSR2);
	CHECK_ERR(sigtimedwait(&other, NULL, &(struct timespec){ 20, 0 }), EINTR);
	drain(pid);
}

static void sleeps(void)
{
	struct timespec request = { 20, 0 }, left = { 0 };

	set_handler(SA_RESTART);
	pid_t pid = disturb(1);
	CHECK_ERR(nanosleep(&request, &left), EINTR);
	CHECK(left.tv_sec > 0 && left.tv_sec < 20);
	drain(pid);
	pid = disturb(1);
	CHECK_EQ(clock_nanosleep(CLOCK_MONOTONIC, 0, &request, &left), EINTR);
	CHECK(left.tv_sec > 0 && left.tv_sec < 20);
	drain(pid);
	// A stop and continue is not seen: the sleep goes on for what is left.
	pid = fork();
	if (pid == 0) {
		check_sleep_ms(40);
		kill(getppid(), SIGSTOP);
		check_sleep_ms(40);
		kill(getppid(), SIGCONT);
		_exit(0);
	}
	int64_t start = check_now_ns();
	request = (struct timespec){ 0, 200000000 };
	CHECK_OK(nanosleep(&request, NULL));
	CHECK(check_now_ns() - start >= 200000000);
	check_wait(pid);
}

static void wait_is_restarted(void)
{
	int status;

	set_handler(SA_RESTART);
	pid_t pid = disturb(2);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(hits, 2);
	set_handler(0);
	pid = disturb(1);
	CHECK_ERR(waitpid(pid, &status, 0), EINTR);
	drain(pid);
}

static void futex_waits(void)
{
	int word = 0;

	set_handler(0);
	pid_t pid = disturb(1);
	CHECK_ERR(syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0), EINTR);
	drain(pid);
	set_handler(SA_RESTART);
	pid = disturb(1);
	// With a timeout it is not restarted once a handler has run.
	CHECK_ERR(syscall(SYS_futex, &word, FUTEX_WAIT, 0, &(struct timespec){ 20, 0 }, NULL, 0), EINTR);
	CHECK_EQ(hits, 1);
	drain(pid);
	int *shared = check_shared(CHECK_PAGE);
	pid = fork();
	if (pid == 0) {
		check_sleep_ms(60);
		kill(getppid(), SIGUSR1);
		check_sleep_ms(60);
		*shared = 1;
		syscall(SYS_futex, shared, FUTEX_WAKE, 1, NULL, NULL, 0);
		_exit(0);
	}
	CHECK_OK(syscall(SYS_futex, shared, FUTEX_WAIT, 0, NULL, NULL, 0));
	CHECK_EQ(hits, 2);
	check_wait(pid);
}

static void locks(void)
{
	int fd = open("lock", O_RDWR | O_CREAT, 0600), ready[2];
	char byte;

	CHECK_OK(pipe(ready));
	pid_t holder = fork();
	if (holder == 0) {
		int mine = open("lock", O_RDWR);
		flock(mine, LOCK_EX);
		if (write(ready[1], "r", 1) != 1)
			_exit(1);
		pause();
	}
	CHECK_EQ(read(ready[0], &byte, 1), 1);
	set_handler(0);
	pid_t pid = disturb(1);
	CHECK_ERR(flock(fd, LOCK_EX), EINTR);
	drain(pid);
	kill(holder, SIGKILL);
	check_wait(holder);
	CHECK_OK(flock(fd, LOCK_EX));
	close(fd);
}

static void partial_writes_count(void)
{
	int fds[2];
	static char big[200000];

	CHECK_OK(pipe(fds));
	set_handler(0);
	pid_t pid = disturb(1);
	ssize_t wrote = write(fds[1], big, sizeof(big)); // 64 KiB fit, then the signal comes
	CHECK_EQ(wrote, 65536);
	drain(pid);
}

static void sockets(void)
{
	int fds[2];
	char byte;

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	set_handler(SA_RESTART);
	pid_t pid = disturb(1);
	struct timeval timeout = { 0, 300000 };
	CHECK_OK(setsockopt(fds[0], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)));
	CHECK_ERR(recv(fds[0], &byte, 1, 0), EINTR); // with a timeout it is never restarted
	drain(pid);
	CHECK_ERR(recv(fds[0], &byte, 1, 0), EAGAIN);
}

int main(void)
{
	check_tmpdir();
	CHECK_OK(pipe(pipe_fds));
	reads();
	never_restarted();
	sleeps();
	wait_is_restarted();
	futex_waits();
	locks();
	partial_writes_count();
	sockets();
	return check_done();
}
