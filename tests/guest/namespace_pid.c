// SPDX-License-Identifier: Apache-2.0
// Pid namespaces: numbers inside and outside, the first process of one, what it takes, and that all ends with it.
#include "check.h"

#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>

static int go[2], back[2];

static void wait_byte(int fd)
{
	char c;

	CHECK_EQ(read(fd, &c, 1), 1);
}

static void send_byte(int fd) { CHECK_EQ(write(fd, "x", 1), 1); }

static pid_t new_process(unsigned long flags) { return syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0); }

static volatile sig_atomic_t usr1_pid = -1;
static void on_usr1(int signal, siginfo_t *info, void *context)
{
	(void)signal, (void)context;
	usr1_pid = info->si_pid;
}

static void numbers(void)
{
	char path[64], text[64];
	int pair[2], one = 1;

	CHECK_OK(pipe(go));
	CHECK_OK(pipe(back));
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	CHECK_OK(setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)));
	pid_t pid = CHECK_OK(new_process(CLONE_NEWPID | CLONE_NEWNS));
	if (!pid) {
		struct sigaction a = { .sa_sigaction = on_usr1, .sa_flags = SA_SIGINFO | SA_RESTART };
		int status;

		CHECK_EQ(getpid(), 1);
		CHECK_EQ(syscall(SYS_gettid), 1);
		CHECK_EQ(getppid(), 0);
		CHECK_EQ(getpgid(0), 0); // a group of outside
		CHECK_EQ(getsid(0), 0);
		CHECK_OK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
		CHECK_OK(mount("proc", "/proc", "proc", 0, NULL));
		CHECK_OK(readlink("/proc/self", text, sizeof(text)));
		CHECK_EQ(text[0], '1');
		CHECK(strstr(check_read_file("/proc/self/status"), "\nNSpid:\t1\n") != NULL);
		CHECK(strstr(check_read_file("/proc/1/status"), "\nPPid:\t0\n") != NULL);
		CHECK_OK(sigaction(SIGUSR1, &a, NULL));
		pid_t child = CHECK_OK(fork());
		if (!child) {
			CHECK_EQ(getpid(), 2);
			CHECK_EQ(getppid(), 1);
			CHECK_OK(setsid());
			CHECK_EQ(getsid(0), 2);
			CHECK_OK(kill(1, SIGUSR1));
			CHECK_OK(kill(1, SIGKILL)); // passes by
			CHECK_OK(kill(1, SIGTERM));
			check_child_exit();
		}
		CHECK_EQ(child, 2);
		CHECK_EQ(waitpid(-1, &status, 0), 2);
		CHECK_EQ(status, 0);
		CHECK_EQ(usr1_pid, 2);
		CHECK_ERR(kill(2, 0), ESRCH);
		CHECK_EQ(write(pair[1], "c", 1), 1);
		send_byte(back[1]);
		wait_byte(go[0]);
		CHECK_EQ(usr1_pid, 0); // from outside
		check_child_exit();
	}
	wait_byte(back[0]);
	struct ucred got = { 0 };
	char control[CMSG_SPACE(sizeof(got))], c;
	struct iovec data = { &c, 1 };
	struct msghdr m = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};
	CHECK_EQ(recvmsg(pair[0], &m, 0), 1);
	CHECK(CMSG_FIRSTHDR(&m) != NULL);
	memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(got));
	CHECK_EQ(got.pid, pid);
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	snprintf(text, sizeof(text), "\nNSpid:\t%d\t1\n", pid);
	CHECK(strstr(check_read_file(path), text) != NULL);
	snprintf(path, sizeof(path), "/proc/%d/ns/pid", pid);
	struct stat theirs, ours;
	CHECK_OK(stat(path, &theirs));
	CHECK_OK(stat("/proc/self/ns/pid", &ours));
	CHECK(theirs.st_ino != ours.st_ino);
	CHECK_OK(kill(pid, SIGTERM)); // it has no handler
	CHECK_OK(kill(pid, SIGUSR1));
	usleep(20000);
	send_byte(go[1]);
	CHECK_EQ(check_wait(pid), 0);
}

static void *in_thread(void *argument) { return argument; }

static void unshared(void)
{
	struct stat a, b;
	int status;

	CHECK_OK(unshare(CLONE_NEWPID));
	CHECK_OK(stat("/proc/self/ns/pid", &a));
	CHECK_ERR(stat("/proc/self/ns/pid_for_children", &b), ENOENT); // nobody is in it
	CHECK_ERR(unshare(CLONE_NEWPID), EINVAL);
	pthread_t t;
	CHECK_EQ(pthread_create(&t, NULL, in_thread, NULL), EINVAL);
	pid_t first = CHECK_OK(fork());
	if (!first) {
		CHECK_EQ(getpid(), 1);
		pause();
		_exit(1);
	}
	CHECK(first != 1);
	CHECK_OK(stat("/proc/self/ns/pid_for_children", &b));
	CHECK(a.st_ino != b.st_ino);
	pid_t second = CHECK_OK(fork());
	if (!second) {
		CHECK_EQ(getpid(), 2);
		CHECK_EQ(getppid(), 0);
		CHECK_EQ(getpgid(1), 0);
		check_child_exit();
	}
	CHECK_EQ(waitpid(second, &status, 0), second);
	CHECK_EQ(status, 0);
	CHECK_OK(kill(first, SIGKILL));
	CHECK_EQ(check_wait(first), SIGKILL);
	CHECK_ERR(fork(), ENOMEM); // the namespace has ended
}

// Orphans fall to the first process, and all goes with it.
static void the_end(void)
{
	int life[2];
	char c;

	CHECK_OK(pipe(life));
	CHECK_OK(pipe(go));
	pid_t pid = CHECK_OK(new_process(CLONE_NEWPID));
	if (!pid) {
		close(life[0]);
		if (!fork()) {
			if (!fork()) {
				while (getppid() != 1)
					usleep(1000);
				signal(SIGTERM, SIG_IGN);
				send_byte(go[1]);
				for (;;)
					pause();
			}
			_exit(0);
		}
		if (!new_process(CLONE_NEWPID)) // a namespace in it
			for (;;)
				pause();
		wait(NULL);
		pause();
		_exit(1);
	}
	close(life[1]);
	wait_byte(go[0]);
	CHECK_OK(kill(pid, SIGKILL));
	CHECK_EQ(check_wait(pid), SIGKILL);
	CHECK_EQ(read(life[0], &c, 1), 0); // nobody holds the other end
}

static void entered(void)
{
	char path[64];
	int status;

	CHECK_OK(pipe(go));
	pid_t pid = CHECK_OK(new_process(CLONE_NEWPID));
	if (!pid) {
		for (;;)
			pause();
	}
	snprintf(path, sizeof(path), "/proc/%d/ns/pid", pid);
	int fd = CHECK_OK(open(path, O_RDONLY)), outer = CHECK_OK(open("/proc/self/ns/pid", O_RDONLY));
	CHECK_OK(setns(fd, CLONE_NEWPID));
	pid_t child = CHECK_OK(fork());
	if (!child) {
		CHECK_EQ(getpid(), 2);
		CHECK_EQ(getppid(), 0);
		CHECK_ERR(setns(outer, 0), EINVAL); // not upwards
		check_child_exit();
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
	CHECK_OK(kill(pid, SIGKILL));
	check_wait(pid);
}

int main(void)
{
	if (geteuid())
		CHECK_SKIP("not root");
	pid_t pid = new_process(CLONE_NEWPID);
	if (pid < 0)
		CHECK_SKIP("no pid namespaces");
	if (!pid)
		_exit(0);
	CHECK_EQ(check_wait(pid), 0);
	CHECK_CHILD(numbers);
	CHECK_CHILD(unshared);
	CHECK_CHILD(the_end);
	CHECK_CHILD(entered);
	return check_done();
}
