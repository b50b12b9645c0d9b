// SPDX-License-Identifier: Apache-2.0
// Do descriptors and credentials travel over unix sockets, and is nothing lost or leaked on the way?
#include "check.h"
#include <sys/socket.h>
#include <sys/un.h>

static ssize_t send_fds(int socket, const int *fds, int count, const char *text)
{
	struct iovec iov = { (char *)text, strlen(text) };
	char control[CMSG_SPACE(sizeof(int) * 300)] = "";
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = control,
				  .msg_controllen = CMSG_SPACE(sizeof(int) * count) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int) * count);
	memcpy(CMSG_DATA(header), fds, sizeof(int) * count);
	return sendmsg(socket, &message, 0);
}

// Receives; the number of descriptors got, -1 on error. `flags` becomes msg_flags.
static int receive_fds(int socket, int *fds, int room, char *text, size_t size, int *flags)
{
	struct iovec iov = { text, size };
	char control[CMSG_SPACE(sizeof(int) * 300)] = "";
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = control,
				  .msg_controllen = room ? CMSG_SPACE(sizeof(int) * room) : 0 };
	ssize_t got = recvmsg(socket, &message, *flags);

	if (got < 0)
		return -1;
	*flags = message.msg_flags;
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	if (!header || header->cmsg_type != SCM_RIGHTS)
		return 0;
	int count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(fds, CMSG_DATA(header), count * sizeof(int));
	return count;
}

static void between_processes(void)
{
	int pair[2], fds[3], flags = 0;
	char text[16] = "", byte;

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	pid_t pid = fork();
	if (pid == 0) {
		int p[2];
		CHECK_OK(pipe(p));
		int send[3] = { p[0], open("/proc/self/exe", O_RDONLY), p[1] };
		CHECK_EQ(send_fds(pair[1], send, 3, "three"), 5);
		CHECK_EQ(write(p[1], "z", 1), 1);
		check_child_exit();
	}
	CHECK_EQ(receive_fds(pair[0], fds, 3, text, 16, &flags), 3);
	CHECK_EQ(check_wait(pid), 0);
	CHECK_STR(text, "three");
	CHECK_EQ(read(fds[0], &byte, 1), 1);
	CHECK_EQ(byte, 'z');
	close(fds[2]);
	CHECK_EQ(read(fds[0], &byte, 1), 0);
	CHECK_EQ(read(fds[1], &byte, 1), 1);
	CHECK_EQ(byte, 0x7f);
	close(fds[0]);
	close(fds[1]);
	close(pair[0]);
	close(pair[1]);
}

static void truncated(void)
{
	int pair[2], p[2], fds[4], flags = MSG_CMSG_CLOEXEC;
	char text[4], byte;

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	CHECK_OK(pipe(p));
	int send[3] = { p[1], p[1], p[1] };
	CHECK_EQ(send_fds(pair[0], send, 3, "x"), 1);
	close(p[1]);
	CHECK_EQ(receive_fds(pair[1], fds, 1, text, 4, &flags) >= 1, 1);
	CHECK(flags & MSG_CTRUNC || flags == 0 || flags & MSG_CMSG_CLOEXEC);
	CHECK(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
	close(fds[0]);
	// CMSG_SPACE(4) leaves room for two: close the second one too.
	close(fds[0] + 1);
	CHECK_EQ(read(p[0], &byte, 1), 0); // what found no room was closed
	// Not asked for at all.
	CHECK_OK(pipe(p));
	CHECK_EQ(send_fds(pair[0], &p[1], 1, "y"), 1);
	close(p[1]);
	CHECK_EQ(read(pair[1], text, 4), 1);
	CHECK_EQ(read(p[0], &byte, 1), 0);
	close(pair[0]);
	close(pair[1]);
}

static void in_flight(void)
{
	int pair[2], p[2];
	char byte;

	// Closing the socket closes what travels on it.
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	CHECK_OK(pipe(p));
	CHECK_EQ(send_fds(pair[0], &p[1], 1, "x"), 1);
	close(p[1]);
	close(pair[0]);
	close(pair[1]);
	CHECK_EQ(read(p[0], &byte, 1), 0);
	close(p[0]);
	// A socket sent over itself is collected when it goes.
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	CHECK_EQ(send_fds(pair[0], &pair[1], 1, "x"), 1);
	CHECK_EQ(send_fds(pair[1], &pair[0], 1, "x"), 1);
	close(pair[0]);
	close(pair[1]);
}

// A message with descriptors is a border: reads do not run over it.
static void borders(void)
{
	int pair[2], fds[2], flags = 0;
	char text[32] = "";

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	CHECK_EQ(write(pair[0], "before", 6), 6);
	CHECK_EQ(send_fds(pair[0], &pair[0], 1, "with"), 4);
	CHECK_EQ(write(pair[0], "after", 5), 5);
	CHECK_EQ(receive_fds(pair[1], fds, 2, text, 32, &flags) >= 0, 1);
	CHECK(strncmp(text, "before", 6) == 0);
	close(pair[0]);
	close(pair[1]);
}

static void errors(void)
{
	int pair[2], bad[1] = { 99 }, many[254];

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	CHECK_ERR(send_fds(pair[0], bad, 1, "x"), EBADF);
	for (int i = 0; i < 254; i++)
		many[i] = pair[0];
	CHECK_ERR(send_fds(pair[0], many, 254, "x"), EINVAL); // SCM_MAX_FD is 253
	CHECK_EQ(send_fds(pair[0], many, 253, "x"), 1);
	struct iovec iov = { "x", 1 };
	char control[64] = "";
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = 20 };
	struct cmsghdr *header = (struct cmsghdr *)control;
	header->cmsg_len = 500;
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	CHECK_ERR(sendmsg(pair[0], &message, 0), EINVAL);
	header->cmsg_len = CMSG_LEN(4);
	header->cmsg_type = 99;
	CHECK_ERR(sendmsg(pair[0], &message, 0), EINVAL);
	message.msg_control = (void *)8;
	CHECK_ERR(sendmsg(pair[0], &message, 0), EFAULT);
	close(pair[0]);
	close(pair[1]);
}

static void credentials(void)
{
	int pair[2], on = 1;
	char byte, control[CMSG_SPACE(sizeof(struct ucred))];
	struct iovec iov = { &byte, 1 };
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};

	CHECK_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
	CHECK_OK(setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)));
	pid_t pid = fork();
	if (pid == 0)
		_exit(write(pair[1], "c", 1) == 1 ? 0 : 1);
	CHECK_EQ(recvmsg(pair[0], &message, 0), 1);
	CHECK_EQ(check_wait(pid), 0);
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	if (CHECK(header && header->cmsg_type == SCM_CREDENTIALS)) {
		struct ucred *ucred = (struct ucred *)CMSG_DATA(header);
		CHECK_EQ(ucred->pid, pid);
		CHECK_EQ(ucred->uid, getuid());
		CHECK_EQ(ucred->gid, getgid());
	}
	// Given by hand: one's own are allowed, others need privilege.
	message.msg_controllen = sizeof(control);
	header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_CREDENTIALS;
	header->cmsg_len = CMSG_LEN(sizeof(struct ucred));
	struct ucred mine = { getpid(), getuid(), getgid() };
	memcpy(CMSG_DATA(header), &mine, sizeof(mine));
	CHECK_EQ(sendmsg(pair[1], &message, 0), 1);
	pid = fork();
	if (pid == 0) {
		if (getuid() == 0 && setresuid(777, 777, 777) < 0)
			_exit(1);
		mine = (struct ucred){ getpid(), 0, getgid() };
		memcpy(CMSG_DATA(header), &mine, sizeof(mine));
		CHECK_ERR(sendmsg(pair[1], &message, 0), EPERM);
		check_child_exit();
	}
	CHECK_EQ(check_wait(pid), 0);
	close(pair[0]);
	close(pair[1]);
}

// What the end of a connection looks like to somebody who wants credentials: how much is received, and how much of control data.
static void end_of(int type, int how, ssize_t expected, size_t control_size)
{
	int pair[2], on = 1;
	char byte, control[CMSG_SPACE(sizeof(struct ucred))];
	struct iovec iov = { &byte, 1 };
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};
	struct ucred sender;

	CHECK_OK(socketpair(AF_UNIX, type, 0, pair));
	CHECK_OK(setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)));
	CHECK_OK(shutdown(pair[0], SHUT_RD));
	CHECK_EQ(recvmsg(pair[0], &message, how), expected);
	if (expected == 0 && CHECK_EQ(message.msg_controllen, control_size) && control_size) {
		memcpy(&sender, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(sender));
		CHECK_EQ(sender.pid, 0);
		CHECK_EQ(sender.uid, 0);
		CHECK_EQ(sender.gid, 0);
	}
	close(pair[0]);
	close(pair[1]);
}

static void ends(void)
{
	end_of(SOCK_STREAM, 0, 0, CMSG_SPACE(sizeof(struct ucred)));
	end_of(SOCK_STREAM, MSG_DONTWAIT, 0, CMSG_SPACE(sizeof(struct ucred)));
	end_of(SOCK_SEQPACKET, 0, 0, 0);
	end_of(SOCK_SEQPACKET, MSG_DONTWAIT, 0, 0);
	end_of(SOCK_DGRAM, 0, 0, 0);
	end_of(SOCK_DGRAM, MSG_DONTWAIT, -1, 0);
	CHECK_EQ(errno, EAGAIN);
}

int main(void)
{
	between_processes();
	truncated();
	in_flight();
	borders();
	errors();
	credentials();
	ends();
	return check_done();
}
