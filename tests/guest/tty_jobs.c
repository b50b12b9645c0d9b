// SPDX-License-Identifier: Apache-2.0
// Does a controlling terminal send its signals to the right group, and hold background jobs back?
#include "check.h"
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>

static volatile int last, winches;

static void on_signal(int signal)
{
	if (signal == SIGWINCH)
		winches++;
	else
		last = signal;
}

// A child in a session of its own, the terminal controlling it. The function runs there; returns the wait status.
static int in_session(void (*function)(int slave), void (*meanwhile)(int master, pid_t child))
{
	int master, slave, status;

	CHECK_OK(openpty(&master, &slave, NULL, NULL, NULL));
	pid_t pid = fork();
	if (pid == 0) {
		atomic_store(&check_failed, 0);
		close(master);
		CHECK_EQ(setsid(), getpid());
		CHECK_OK(ioctl(slave, TIOCSCTTY, 0));
		function(slave);
		check_child_exit();
	}
	if (meanwhile)
		meanwhile(master, pid);
	close(slave);
	// Nobody reads the master here: keep it open until the child has ended.
	status = check_wait(pid);
	close(master);
	return status;
}

static char ready_byte(int master, char wanted)
{
	char byte = 0;

	while (byte != wanted && read(master, &byte, 1) == 1)
		;
	return byte;
}

static void the_terminal_is_mine(int slave)
{
	CHECK_EQ(tcgetpgrp(slave), getpid());
	CHECK_EQ(tcgetsid(slave), getpid());
	int tty = CHECK_OK(open("/dev/tty", O_RDWR));
	CHECK_EQ(tcgetpgrp(tty), getpid());
	close(tty);
	pid_t pid = fork();
	if (pid == 0) {
		atomic_store(&check_failed, 0);
		setsid(); // a new session has none
		CHECK_ERR(open("/dev/tty", O_RDWR), ENXIO);
		CHECK_ERR(tcgetpgrp(slave), ENOTTY);
		check_child_exit();
	}
	CHECK_EQ(check_wait(pid), 0);
}

static void takes_signals(int slave)
{
	static const int expected[] = { SIGINT, SIGQUIT, SIGTSTP };

	for (int i = 0; i < 3; i++)
		signal(expected[i], on_signal);
	signal(SIGWINCH, on_signal);
	CHECK_EQ(write(slave, "R", 1), 1);
	for (int i = 0; i < 3; i++) {
		WAIT_UNTIL(last == expected[i]);
		CHECK_EQ(write(slave, "N", 1), 1);
	}
	WAIT_UNTIL(winches == 1);
}

static void sends_signals(int master, pid_t child)
{
	(void)child;
	CHECK_EQ(ready_byte(master, 'R'), 'R');
	CHECK_EQ(write(master, "\003", 1), 1);
	CHECK_EQ(ready_byte(master, 'N'), 'N');
	CHECK_EQ(write(master, "\034", 1), 1);
	CHECK_EQ(ready_byte(master, 'N'), 'N');
	CHECK_EQ(write(master, "\032", 1), 1);
	CHECK_EQ(ready_byte(master, 'N'), 'N');
	struct winsize size = { 10, 20, 0, 0 };
	CHECK_OK(ioctl(master, TIOCSWINSZ, &size));
}

static void only_the_foreground_is_hit(int slave)
{
	signal(SIGTTOU, SIG_IGN);
	signal(SIGINT, on_signal);
	pid_t job = fork();
	if (job == 0) {
		setpgid(0, 0);
		signal(SIGINT, SIG_DFL);
		tcsetpgrp(slave, getpid());
		if (write(slave, "R", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	int status = check_wait(job);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
	CHECK_EQ(last, 0);
	CHECK_OK(tcsetpgrp(slave, getpgrp()));
}

static void interrupts(int master, pid_t child)
{
	(void)child;
	CHECK_EQ(ready_byte(master, 'R'), 'R');
	CHECK_EQ(write(master, "\003", 1), 1);
}

static void background_jobs_stop(int slave)
{
	int status;
	char byte;
	struct termios t;

	// Reading stops by SIGTTIN.
	pid_t job = fork();
	if (job == 0) {
		setpgid(0, 0);
		while (getpgrp() != getpid())
			;
		if (read(slave, &byte, 1) < 0)
			_exit(2);
		_exit(byte == 'k' ? 0 : 3);
	}
	setpgid(job, job);
	CHECK_EQ(waitpid(job, &status, WUNTRACED), job);
	CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTTIN);
	CHECK_OK(tcsetpgrp(slave, job));
	CHECK_OK(kill(-job, SIGCONT));
	CHECK_EQ(write(slave, "R", 1), 1); // without TOSTOP anyone may write
	CHECK_EQ(check_wait(job), 0);
	signal(SIGTTOU, SIG_IGN);
	CHECK_OK(tcsetpgrp(slave, getpgrp()));
	signal(SIGTTOU, SIG_DFL);

	// Setting modes stops by SIGTTOU; writing too when TOSTOP is set.
	for (int round = 0; round < 2; round++) {
		CHECK_OK(tcgetattr(slave, &t));
		t.c_lflag |= TOSTOP;
		CHECK_OK(tcsetattr(slave, TCSANOW, &t));
		job = fork();
		if (job == 0) {
			setpgid(0, 0);
			if (round == 0)
				tcsetattr(slave, TCSANOW, &t);
			else if (write(slave, "w", 1) != 1)
				_exit(1);
			_exit(0);
		}
		setpgid(job, job);
		CHECK_EQ(waitpid(job, &status, WUNTRACED), job);
		CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTTOU);
		kill(job, SIGKILL);
		check_wait(job);
	}

	// One that ignores SIGTTIN gets EIO.
	job = fork();
	if (job == 0) {
		atomic_store(&check_failed, 0);
		setpgid(0, 0);
		signal(SIGTTIN, SIG_IGN);
		CHECK_ERR(read(slave, &byte, 1), EIO);
		check_child_exit();
	}
	setpgid(job, job);
	CHECK_EQ(check_wait(job), 0);
}

static void answers_jobs(int master, pid_t child)
{
	(void)child;
	CHECK_EQ(ready_byte(master, 'R'), 'R');
	CHECK_EQ(write(master, "k\n", 2), 2);
}

static void waits_for_hang_up(int slave)
{
	CHECK_EQ(write(slave, "R", 1), 1);
	for (;;)
		pause();
}

static void hangs_up(void)
{
	int master, slave;

	CHECK_OK(openpty(&master, &slave, NULL, NULL, NULL));
	pid_t pid = fork();
	if (pid == 0) {
		close(master);
		setsid();
		ioctl(slave, TIOCSCTTY, 0);
		waits_for_hang_up(slave);
	}
	close(slave);
	CHECK_EQ(ready_byte(master, 'R'), 'R');
	close(master);
	int status = check_wait(pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGHUP);
}

// When the session leader goes, the foreground group is hung up.
static void leader_leaves(void)
{
	int master, slave, fds[2];
	char byte;

	CHECK_OK(pipe(fds));
	CHECK_OK(openpty(&master, &slave, NULL, NULL, NULL));
	pid_t pid = fork();
	if (pid == 0) {
		setsid();
		ioctl(slave, TIOCSCTTY, 0);
		close(master);
		if (fork() == 0) {
			signal(SIGHUP, SIG_DFL);
			for (;;)
				pause(); // holds the pipe open until SIGHUP comes
		}
		check_sleep_ms(30);
		_exit(0);
	}
	close(slave);
	close(fds[1]);
	CHECK_EQ(check_wait(pid), 0);
	CHECK_EQ(read(fds[0], &byte, 1), 0);
	close(master);
}

// The terminal belongs to who opened the master, until somebody gives it away.
static void has_an_owner(void)
{
	struct stat st;
	int master, slave;
	char name[64];

	if (geteuid() != 0)
		return;
	pid_t pid = fork();
	if (pid == 0) {
		CHECK_OK(setresgid(65534, 65534, 65534));
		CHECK_OK(setresuid(65534, 65534, 65534));
		CHECK_OK(openpty(&master, &slave, name, NULL, NULL));
		CHECK_OK(fstat(slave, &st));
		CHECK_EQ(st.st_uid, 65534);
		CHECK_EQ(st.st_mode & ~020u, S_IFCHR | 0600); // the group's write is the mount's choice
		close(CHECK_OK(open(name, O_RDWR | O_NOCTTY)));
		CHECK_OK(chmod(name, 0600)); // mesg n
		CHECK_OK(stat(name, &st));
		CHECK_EQ(st.st_mode, S_IFCHR | 0600);
		CHECK_ERR(chown(name, 0, 0), EPERM);
		check_child_exit();
	}
	CHECK_EQ(check_wait(pid), 0);
	CHECK_OK(openpty(&master, &slave, name, NULL, NULL));
	CHECK_OK(fstat(slave, &st));
	CHECK_EQ(st.st_uid, 0);
	CHECK_EQ(st.st_mode & ~020u, S_IFCHR | 0600);
	CHECK_OK(chown(name, 65534, 65533)); // as sshd does
	CHECK_OK(fstat(slave, &st));
	CHECK_EQ(st.st_uid, 65534);
	CHECK_EQ(st.st_gid, 65533);
	pid = fork();
	if (pid == 0) {
		CHECK_OK(setresuid(65534, 65534, 65534));
		close(CHECK_OK(open(name, O_RDWR | O_NOCTTY)));
		check_child_exit();
	}
	CHECK_EQ(check_wait(pid), 0);
	close(slave);
	close(master);
}

int main(void)
{
	CHECK_EQ(in_session(the_terminal_is_mine, NULL), 0);
	CHECK_EQ(in_session(takes_signals, sends_signals), 0);
	CHECK_EQ(in_session(only_the_foreground_is_hit, interrupts), 0);
	CHECK_EQ(in_session(background_jobs_stop, answers_jobs), 0);
	hangs_up();
	leader_leaves();
	has_an_owner();
	return check_done();
}
