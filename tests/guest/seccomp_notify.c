// SPDX-License-Identifier: Apache-2.0
// Can a program answer the calls of another one that its filter hands over (SECCOMP_RET_USER_NOTIF), and put descriptors into it?
#include "check.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

static long seccomp(unsigned operation, unsigned flags, void *arguments)
{
	return syscall(SYS_seccomp, operation, flags, arguments);
}

static long attach_for(int nr, uint32_t action, unsigned flags)
{
	struct sock_filter program[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog p = { .len = 4, .filter = program };

	return seccomp(SECCOMP_SET_MODE_FILTER, flags, &p);
}

static void send_fd(int socket, int fd)
{
	char byte = 0, control[CMSG_SPACE(sizeof(fd))] = { 0 };
	struct iovec data = { &byte, 1 };
	struct msghdr m = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	CHECK_EQ(sendmsg(socket, &m, 0), 1);
}

static int receive_fd(int socket)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec data = { &byte, 1 };
	struct msghdr m = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};
	int fd = -1;

	CHECK_EQ(recvmsg(socket, &m, 0), 1);
	if (CMSG_FIRSTHDR(&m))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	return fd;
}

static int socket_of_child; // its end of a pair
static pid_t child;

// A child whose getppid() is handed over runs the body; the result is the listener.
static int start(void (*body)(void), unsigned flags)
{
	int pair[2];

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	child = fork();
	if (child == 0) {
		socket_of_child = pair[1];
		close(pair[0]);
		CHECK_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
		int fd = (int)CHECK_OK(
			attach_for(SYS_getppid, SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER | flags));
		CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
		send_fd(pair[1], fd);
		close(fd);
		body();
		check_child_exit();
	}
	close(pair[1]);
	int listener = receive_fd(pair[0]);
	close(pair[0]);
	return listener;
}

static unsigned ready(int listener)
{
	struct pollfd p = { .fd = listener, .events = POLLIN | POLLOUT };

	poll(&p, 1, 0);
	return (unsigned)p.revents;
}

static struct seccomp_notif take(int listener)
{
	struct seccomp_notif n = { 0 };

	CHECK_OK(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &n));
	return n;
}

static int reply(int listener, uint64_t id, long value, int error, unsigned flags)
{
	struct seccomp_notif_resp r = { .id = id, .val = value, .error = error, .flags = flags };

	return ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &r);
}

static void three_calls(void)
{
	CHECK_EQ(syscall(SYS_getppid, 1, 2, 3, 4, 5, 6), 4711);
	CHECK_ERR(syscall(SYS_getppid), EOWNERDEAD);
	CHECK_EQ(syscall(SYS_getppid), getpgrp()); // carried out: who started us leads the group
}

static void answers(void)
{
	int listener = start(three_calls, 0);
	struct seccomp_notif n = take(listener), dirty = { .id = 1 };

	CHECK_EQ(n.pid, child);
	CHECK_EQ(n.data.nr, SYS_getppid);
	CHECK_EQ(n.data.arch, AUDIT_ARCH_X86_64);
	for (unsigned i = 0; i < 6; i++)
		CHECK_EQ(n.data.args[i], i + 1);
	CHECK_EQ(ready(listener), POLLOUT);
	CHECK_OK(ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &n.id));
	CHECK_ERR(reply(listener, n.id + 1000, 0, 0, 0), ENOENT);
	CHECK_ERR(reply(listener, n.id, 0, 0, 2), EINVAL);
	CHECK_ERR(reply(listener, n.id, 1, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE), EINVAL);
	CHECK_ERR(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &dirty), EINVAL);
	CHECK_OK(reply(listener, n.id, 4711, 0, 0));
	uint64_t first = n.id;
	n = take(listener);
	CHECK(n.id != first);
	CHECK_ERR(ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &first), ENOENT);
	CHECK_OK(reply(listener, n.id, 0, -EOWNERDEAD, 0));
	n = take(listener);
	CHECK_OK(reply(listener, n.id, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE));
	CHECK_EQ(check_wait(child), 0);
	WAIT_UNTIL(ready(listener) & POLLHUP);
	close(listener);
}

static void uses_descriptors(void)
{
	char text[8] = "";
	int fd = (int)CHECK_OK(syscall(SYS_getppid));

	CHECK_EQ(read(fd, text, 4), 4);
	CHECK_STR(text, "give");
	CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	CHECK_EQ(syscall(SYS_getppid), 1);
	CHECK_EQ(read(77, text, 4), 4);
	CHECK_STR(text, "more");
	CHECK_EQ(fcntl(77, F_GETFD), 0);
}

static int add(int listener, uint64_t id, unsigned flags, int source, unsigned target, unsigned fd_flags)
{
	struct seccomp_notif_addfd a = {
		.id = id, .flags = flags, .srcfd = (uint32_t)source, .newfd = target, .newfd_flags = fd_flags
	};

	return ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &a);
}

static void gifts(void)
{
	int ends[2], listener = start(uses_descriptors, 0);
	struct seccomp_notif n = take(listener);

	CHECK_OK(pipe(ends));
	CHECK_EQ(write(ends[1], "givemore", 8), 8);
	CHECK_ERR(add(listener, n.id, 0, 9999, 0, 0), EBADF);
	CHECK_ERR(add(listener, n.id, 0, ends[0], 77, 0), EINVAL); // a place, but not said so
	CHECK_ERR(add(listener, n.id, 8, ends[0], 0, 0), EINVAL);
	CHECK_ERR(add(listener, n.id, 0, ends[0], 0, O_NONBLOCK), EINVAL);
	CHECK_ERR(add(listener, n.id + 9, 0, ends[0], 0, 0), ENOENT);
	int fd = (int)CHECK_OK(add(listener, n.id, 0, ends[0], 0, O_CLOEXEC));
	CHECK_OK(reply(listener, n.id, fd, 0, 0));
	n = take(listener);
	CHECK_EQ(add(listener, n.id, SECCOMP_ADDFD_FLAG_SETFD, ends[0], 77, 0), 77);
	CHECK_OK(reply(listener, n.id, 1, 0, 0));
	CHECK_EQ(check_wait(child), 0);
	close(listener);
}

static void gets_one_at_once(void)
{
	char text[4];
	int fd = (int)CHECK_OK(syscall(SYS_getppid));

	CHECK_EQ(read(fd, text, 4), 4);
}

static void gift_and_answer(void)
{
	int ends[2], listener = start(gets_one_at_once, 0);
	struct seccomp_notif n = take(listener);

	CHECK_OK(pipe(ends));
	CHECK_EQ(write(ends[1], "give", 4), 4);
	CHECK_OK(add(listener, n.id, SECCOMP_ADDFD_FLAG_SEND, ends[0], 0, 0));
	CHECK_EQ(check_wait(child), 0);
	close(listener);
}

static void asks_nobody(void) { CHECK_ERR(syscall(SYS_getppid), ENOSYS); }

static void nobody_listens(void)
{
	int listener = start(asks_nobody, 0);

	take(listener);
	close(listener);
	CHECK_EQ(check_wait(child), 0);
}

static void handler(int signal) { (void)signal; }

static void is_interrupted(void)
{
	struct sigaction action = { .sa_handler = handler };

	sigaction(SIGUSR1, &action, NULL);
	CHECK_ERR(syscall(SYS_getppid), EINTR);
	action.sa_flags = SA_RESTART;
	sigaction(SIGUSR1, &action, NULL);
	CHECK_EQ(syscall(SYS_getppid), 5);
}

static void signals(void)
{
	int listener = start(is_interrupted, 0);
	struct seccomp_notif n = take(listener);

	kill(child, SIGUSR1);
	WAIT_UNTIL(ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &n.id) < 0); // the wait has ended
	CHECK_ERR(reply(listener, n.id, 0, 0, 0), ENOENT);
	n = take(listener);
	kill(child, SIGUSR1);
	WAIT_UNTIL(ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &n.id) < 0);
	n = take(listener); // it asks again
	CHECK_OK(reply(listener, n.id, 5, 0, 0));
	CHECK_EQ(check_wait(child), 0);
	close(listener);
}

static void is_not_interrupted(void)
{
	struct sigaction action = { .sa_handler = handler };

	sigaction(SIGUSR1, &action, NULL);
	CHECK_EQ(syscall(SYS_getppid), 6);
}

static void only_death_ends_it(void)
{
	int listener = start(is_not_interrupted, SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
	struct seccomp_notif n = take(listener);

	kill(child, SIGUSR1);
	check_sleep_ms(50);
	CHECK_OK(ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &n.id));
	CHECK_OK(reply(listener, n.id, 6, 0, 0));
	CHECK_EQ(check_wait(child), 0);
	close(listener);
	listener = start(is_not_interrupted, SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
	n = take(listener);
	kill(child, SIGKILL);
	CHECK_EQ(check_wait(child), SIGKILL);
	CHECK_ERR(ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &n.id), ENOENT);
	close(listener);
}

static void flags(void)
{
	struct seccomp_notif_sizes sizes = { 0 };
	uint32_t action = SECCOMP_RET_USER_NOTIF;

	CHECK_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	CHECK_OK(seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &action));
	CHECK_OK(seccomp(SECCOMP_GET_NOTIF_SIZES, 0, &sizes));
	CHECK_EQ(sizes.seccomp_notif, sizeof(struct seccomp_notif));
	CHECK_EQ(sizes.seccomp_notif_resp, sizeof(struct seccomp_notif_resp));
	CHECK_EQ(sizes.seccomp_data, sizeof(struct seccomp_data));
	CHECK_ERR(seccomp(SECCOMP_GET_NOTIF_SIZES, 1, &sizes), EINVAL);
	CHECK_ERR(attach_for(-1, SECCOMP_RET_ALLOW, SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV), EINVAL);
	CHECK_ERR(attach_for(-1, SECCOMP_RET_ALLOW, SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_TSYNC),
		  EINVAL);
	int listener = (int)CHECK_OK(attach_for(-1, SECCOMP_RET_ALLOW,
						SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_TSYNC |
							SECCOMP_FILTER_FLAG_TSYNC_ESRCH));
	CHECK_ERR(attach_for(-1, SECCOMP_RET_ALLOW, SECCOMP_FILTER_FLAG_NEW_LISTENER), EBUSY); // one is enough
	CHECK_OK(attach_for(SYS_getppid, SECCOMP_RET_USER_NOTIF, 0)); // a filter without a listener
	CHECK_ERR(syscall(SYS_getppid), ENOSYS);
	CHECK_OK(attach_for(SYS_getpgrp, SECCOMP_RET_LOG, SECCOMP_FILTER_FLAG_LOG));
	CHECK_OK(syscall(SYS_getpgrp));
	close(listener);
}

int main(void)
{
	setpgid(0, 0);
	answers();
	gifts();
	gift_and_answer();
	nobody_listens();
	signals();
	only_death_ends_it();
	CHECK_CHILD(flags);
	return check_done();
}
