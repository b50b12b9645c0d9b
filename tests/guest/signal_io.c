// SPDX-License-Identifier: Apache-2.0
// Signals on readiness: O_ASYNC, F_SETOWN, F_SETOWN_EX, F_SETSIG. fcntl(2), "Managing signals"; sigaction(2), si_code of SIGIO.
#include "check.h"

#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>

static volatile sig_atomic_t count, last_signal, last_code, last_fd;
static volatile long last_band;
static volatile pid_t last_tid;

static void on_signal(int signal, siginfo_t *info, void *context)
{
	(void)context;
	last_signal = signal;
	last_code = info->si_code;
	last_fd = info->si_fd;
	last_band = info->si_band;
	last_tid = gettid();
	count++;
}

static void handle(int signal)
{
	struct sigaction a = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART };
	CHECK_OK(sigaction(signal, &a, NULL));
}

static void set_async(int fd, bool on)
{
	int flags = CHECK_OK(fcntl(fd, F_GETFL));
	CHECK_OK(fcntl(fd, F_SETFL, on ? flags | O_ASYNC : flags & ~O_ASYNC));
	CHECK_EQ(!!(fcntl(fd, F_GETFL) & O_ASYNC), on);
}

// The signal comes as plain SIGIO, or with what happened when one was chosen by F_SETSIG.
static void plain_and_chosen(int from, int to)
{
	char c;

	count = 0;
	CHECK_OK(fcntl(to, F_SETOWN, getpid()));
	CHECK_EQ(fcntl(to, F_GETOWN), getpid());
	CHECK_EQ(write(from, "a", 1), 1);
	CHECK_EQ(read(to, &c, 1), 1);
	check_sleep_ms(10);
	CHECK_EQ(count, 0); // not asked for yet
	set_async(to, true);
	CHECK_EQ(write(from, "a", 1), 1);
	WAIT_UNTIL(count >= 1);
	CHECK_EQ(last_signal, SIGIO);
	CHECK_EQ(read(to, &c, 1), 1);

	CHECK_OK(fcntl(to, F_SETSIG, SIGRTMIN + 3));
	CHECK_EQ(fcntl(to, F_GETSIG), SIGRTMIN + 3);
	count = 0;
	CHECK_EQ(write(from, "a", 1), 1);
	WAIT_UNTIL(count >= 1);
	CHECK_EQ(last_signal, SIGRTMIN + 3);
	CHECK_EQ(last_code, POLL_IN);
	CHECK_EQ(last_fd, to);
	CHECK(last_band & POLLIN);
	CHECK_EQ(read(to, &c, 1), 1);
	CHECK_OK(fcntl(to, F_SETSIG, 0));

	set_async(to, false);
	check_sleep_ms(10);
	count = 0;
	CHECK_EQ(write(from, "a", 1), 1);
	check_sleep_ms(10);
	CHECK_EQ(count, 0);
	CHECK_EQ(read(to, &c, 1), 1);
}

static void of_a_pipe(void)
{
	int fd[2];

	CHECK_OK(pipe(fd));
	plain_and_chosen(fd[1], fd[0]);
	close(fd[0]), close(fd[1]);
}

static void of_sockets(void)
{
	int fd[2];

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, fd));
	plain_and_chosen(fd[1], fd[0]);
	close(fd[0]), close(fd[1]);
	CHECK_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, fd));
	plain_and_chosen(fd[1], fd[0]);
	close(fd[0]), close(fd[1]);
}

static void of_a_terminal(void)
{
	int master, slave;
	struct termios t;

	if (openpty(&master, &slave, NULL, NULL, NULL) < 0)
		return;
	CHECK_OK(tcgetattr(slave, &t));
	cfmakeraw(&t);
	CHECK_OK(tcsetattr(slave, TCSANOW, &t));
	plain_and_chosen(master, slave);
	close(master), close(slave);
}

// The end of the other side is told, too.
static void of_the_end(void)
{
	int fd[2];

	CHECK_OK(pipe(fd));
	CHECK_OK(fcntl(fd[0], F_SETOWN, getpid()));
	set_async(fd[0], true);
	count = 0;
	close(fd[1]);
	WAIT_UNTIL(count >= 1);
	close(fd[0]);
}

static void *wait_in_thread(void *tid)
{
	*(volatile pid_t *)tid = gettid();
	check_sleep_ms(500);
	return NULL;
}

static void of_a_thread(void)
{
	volatile pid_t tid = 0;
	struct f_owner_ex owner;
	pthread_t thread;
	int fd[2];
	char c;

	CHECK_EQ(pthread_create(&thread, NULL, wait_in_thread, (void *)&tid), 0);
	WAIT_UNTIL(tid != 0);
	CHECK_OK(pipe(fd));
	owner = (struct f_owner_ex){ F_OWNER_TID, tid };
	CHECK_OK(fcntl(fd[0], F_SETOWN_EX, &owner));
	set_async(fd[0], true);
	count = 0;
	CHECK_EQ(write(fd[1], "a", 1), 1);
	WAIT_UNTIL(count >= 1);
	CHECK_EQ(last_tid, tid);
	CHECK_EQ(read(fd[0], &c, 1), 1);
	pthread_join(thread, NULL);
	close(fd[0]), close(fd[1]);
}

static void of_a_group(void)
{
	atomic_int *told = check_shared(sizeof(*told));
	pid_t child = fork();
	int fd[2], status;

	if (child == 0) {
		setpgid(0, 0);
		CHECK_OK(pipe(fd));
		CHECK_OK(fcntl(fd[0], F_SETOWN, -getpid()));
		CHECK_EQ(fcntl(fd[0], F_GETOWN), -getpid());
		set_async(fd[0], true);
		for (int i = 0; i < 2; i++) {
			if (fork())
				continue;
			atomic_fetch_add(told, 1);
			count = 0;
			for (int tries = 0; !count && tries < 2000; tries++)
				check_sleep_ms(1);
			CHECK(count >= 1);
			check_child_exit();
		}
		WAIT_UNTIL(atomic_load(told) == 2);
		check_sleep_ms(5);
		CHECK_EQ(write(fd[1], "a", 1), 1);
		for (int i = 0; i < 2; i++) {
			while (wait(&status) < 0 && errno == EINTR)
				;
			CHECK_EQ(status, 0);
		}
		check_child_exit();
	}
	CHECK_EQ(check_wait(child), 0);
}

// Whom the setter could not kill gets nothing, not even as one of a group.
static void of_others(void)
{
	struct f_owner_ex owner = { F_OWNER_PGRP, 0 };
	pid_t victim, setter;
	int fd[2], status;

	if (geteuid() != 0)
		return;
	CHECK_OK(pipe(fd));
	victim = fork();
	if (victim == 0) {
		check_sleep_ms(10000);
		_exit(0);
	}
	CHECK_OK(setpgid(victim, victim));
	setter = fork();
	if (setter == 0) {
		CHECK_OK(setresuid(65534, 65534, 65534));
		owner.pid = victim;
		CHECK_OK(fcntl(fd[0], F_SETOWN_EX, &owner));
		CHECK_OK(fcntl(fd[0], F_SETSIG, SIGUSR1));
		set_async(fd[0], true);
		CHECK_EQ(write(fd[1], "a", 1), 1);
		check_sleep_ms(50);
		CHECK_OK(fcntl(fd[0], F_SETOWN, victim));
		CHECK_EQ(write(fd[1], "a", 1), 1);
		check_sleep_ms(50);
		check_child_exit();
	}
	CHECK_EQ(check_wait(setter), 0);
	CHECK_EQ(waitpid(victim, &status, WNOHANG), 0);
	kill(victim, SIGKILL);
	check_wait(victim);
	close(fd[0]), close(fd[1]);
}

static void arguments(void)
{
	int fd[2], on = 1;

	CHECK_OK(pipe(fd));
	CHECK_ERR(fcntl(fd[0], F_SETSIG, 65), EINVAL);
	CHECK_ERR(fcntl(fd[0], F_SETOWN, 0x3ffffff), ESRCH);
	CHECK_OK(ioctl(fd[0], FIOASYNC, &on));
	CHECK(fcntl(fd[0], F_GETFL) & O_ASYNC);
	close(fd[0]), close(fd[1]);
}

int main(void)
{
	alarm(60);
	handle(SIGIO);
	handle(SIGRTMIN + 3);
	of_a_pipe();
	of_sockets();
	of_a_terminal();
	of_the_end();
	of_a_thread();
	of_a_group();
	of_others();
	arguments();
	return check_done();
}
