// SPDX-License-Identifier: Apache-2.0
// Do unix stream sockets bind, listen, connect, carry bytes, shut down and report peers?
#include "check.h"
#include <poll.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

static socklen_t address(struct sockaddr_un *a, const char *path, bool abstract)
{
	memset(a, 0, sizeof(*a));
	a->sun_family = AF_UNIX;
	size_t length = strlen(path);
	memcpy(a->sun_path + abstract, path, length);
	return offsetof(struct sockaddr_un, sun_path) + length + 1;
}

static int server(const char *path, bool abstract, int backlog)
{
	struct sockaddr_un a;
	socklen_t size = address(&a, path, abstract);
	int fd = CHECK_OK(socket(AF_UNIX, SOCK_STREAM, 0));

	CHECK_OK(bind(fd, (struct sockaddr *)&a, size));
	CHECK_OK(listen(fd, backlog));
	return fd;
}

static int client(const char *path, bool abstract, int flags)
{
	struct sockaddr_un a;
	socklen_t size = address(&a, path, abstract);
	int fd = socket(AF_UNIX, SOCK_STREAM | flags, 0);

	if (connect(fd, (struct sockaddr *)&a, size) == 0)
		return fd;
	int error = errno;
	close(fd);
	errno = error;
	return -1;
}

static void conversation(const char *name, bool abstract)
{
	struct sockaddr_un a;
	socklen_t size = sizeof(a);
	char buffer[32] = "";
	int listener = server(name, abstract, 5);
	int c = CHECK_OK(client(name, abstract, 0));
	int s = CHECK_OK(accept4(listener, (struct sockaddr *)&a, &size, SOCK_CLOEXEC));

	CHECK(fcntl(s, F_GETFD) & FD_CLOEXEC);
	CHECK_EQ(size, sizeof(sa_family_t)); // an unbound client has no name
	CHECK_EQ(a.sun_family, AF_UNIX);
	size = sizeof(a);
	CHECK_OK(getpeername(c, (struct sockaddr *)&a, &size));
	CHECK(memcmp(a.sun_path + abstract, name, strlen(name)) == 0);
	CHECK_EQ(a.sun_path[0] == 0, abstract);
	size = sizeof(a);
	CHECK_OK(getsockname(s, (struct sockaddr *)&a, &size));
	CHECK(memcmp(a.sun_path + abstract, name, strlen(name)) == 0);

	CHECK_EQ(send(c, "question", 8, 0), 8);
	CHECK_EQ(recv(s, buffer, 5, MSG_PEEK), 5);
	CHECK_EQ(recv(s, buffer, 32, 0), 8);
	CHECK(memcmp(buffer, "question", 8) == 0);
	int available = -1;
	CHECK_EQ(write(s, "answer", 6), 6);
	CHECK_OK(ioctl(c, FIONREAD, &available));
	CHECK_EQ(available, 6);
	CHECK_EQ(read(c, buffer, 32), 6);
	CHECK_ERR(recv(c, buffer, 1, MSG_DONTWAIT), EAGAIN);
	CHECK_ERR(lseek(c, 0, SEEK_SET), ESPIPE);

	struct ucred credentials;
	socklen_t length = sizeof(credentials);
	CHECK_OK(getsockopt(s, SOL_SOCKET, SO_PEERCRED, &credentials, &length));
	CHECK_EQ(credentials.pid, getpid());
	CHECK_EQ(credentials.uid, getuid());
	int value = 0;
	length = sizeof(value);
	CHECK_OK(getsockopt(s, SOL_SOCKET, SO_TYPE, &value, &length));
	CHECK_EQ(value, SOCK_STREAM);
	CHECK_OK(getsockopt(s, SOL_SOCKET, SO_DOMAIN, &value, &length));
	CHECK_EQ(value, AF_UNIX);
	CHECK_OK(getsockopt(listener, SOL_SOCKET, SO_ACCEPTCONN, &value, &length));
	CHECK_EQ(value, 1);
	CHECK_OK(getsockopt(s, SOL_SOCKET, SO_ERROR, &value, &length));
	CHECK_EQ(value, 0);

	CHECK_OK(shutdown(c, SHUT_WR));
	CHECK_EQ(read(s, buffer, 1), 0);
	CHECK_EQ(write(s, "still", 5), 5);
	CHECK_EQ(read(c, buffer, 32), 5);
	CHECK_ERR(send(c, "x", 1, MSG_NOSIGNAL), EPIPE);
	close(s);
	CHECK_EQ(read(c, buffer, 1), 0);
	close(c);
	close(listener);
}

static void reset_on_unread_data(void)
{
	int pair[2];
	char byte;

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	CHECK_EQ(write(pair[0], "unread", 6), 6);
	close(pair[1]);
	CHECK_ERR(read(pair[0], &byte, 1), ECONNRESET);
	CHECK_EQ(read(pair[0], &byte, 1), 0);
	CHECK_ERR(send(pair[0], "x", 1, MSG_NOSIGNAL), EPIPE);
	close(pair[0]);
}

static void backlog(void)
{
	int listener = server("backlog", false, 1), c[8], connected = 0;

	for (int i = 0; i < 8; i++) {
		c[i] = client("backlog", false, SOCK_NONBLOCK);
		if (c[i] < 0) {
			CHECK_EQ(errno, EAGAIN);
			break;
		}
		connected++;
	}
	CHECK_EQ(connected, 2); // the backlog and one more
	struct pollfd p = { .fd = listener, .events = POLLIN };
	CHECK_EQ(poll(&p, 1, 0), 1);
	for (int i = 0; i < connected; i++)
		CHECK_OK(accept(listener, NULL, NULL));
	CHECK_EQ(poll(&p, 1, 0), 0);
	fcntl(listener, F_SETFL, O_NONBLOCK);
	CHECK_ERR(accept(listener, NULL, NULL), EAGAIN);

	// A connection waits for room, and sees the listener go.
	for (int i = 0; i < 2; i++)
		CHECK_OK(client("backlog", false, 0));
	pid_t pid = fork();
	if (pid == 0) {
		close(listener);
		int fd = client("backlog", false, 0);
		_exit(fd < 0 && errno == ECONNREFUSED ? 0 : 1);
	}
	check_sleep_ms(40);
	close(listener);
	CHECK_EQ(check_wait(pid), 0);
	CHECK_ERR(client("backlog", false, 0), ECONNREFUSED);
}

static void errors(void)
{
	struct sockaddr_un a, b = { .sun_family = AF_UNIX, .sun_path = "another" };
	socklen_t size = address(&a, "taken", false);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), other = socket(AF_UNIX, SOCK_STREAM, 0);

	CHECK_ERR(client("missing", false, 0), ENOENT);
	CHECK_ERR(client("missing", true, 0), ECONNREFUSED);
	CHECK_OK(bind(fd, (struct sockaddr *)&a, size));
	CHECK_ERR(bind(fd, (struct sockaddr *)&b, sizeof(b)), EINVAL);
	CHECK_ERR(bind(other, (struct sockaddr *)&a, size), EADDRINUSE);
	CHECK_ERR(client("taken", false, 0), ECONNREFUSED); // not listening
	CHECK_ERR(listen(other, 1), EINVAL);                // not bound
	CHECK_ERR(accept(other, NULL, NULL), EINVAL);
	char byte;
	CHECK_ERR(recv(other, &byte, 1, 0), EINVAL);
	CHECK_ERR(send(other, &byte, 1, MSG_NOSIGNAL), ENOTCONN);
	CHECK_ERR(getpeername(other, (struct sockaddr *)&a, &size), ENOTCONN);
	CHECK_ERR(bind(other, (struct sockaddr *)8, 20), EFAULT);
	CHECK_ERR(bind(other, (struct sockaddr *)&a, 1), EINVAL);
	CHECK_ERR(bind(0, (struct sockaddr *)&a, size), ENOTSOCK);
	CHECK_ERR(bind(99, (struct sockaddr *)&a, size), EBADF);
	CHECK_ERR(socket(AF_UNIX, 99, 0), EINVAL);
	CHECK_ERR(socket(AF_UNIX, SOCK_STREAM, 77), EPROTONOSUPPORT);
	CHECK_ERR(socket(99, SOCK_STREAM, 0), EAFNOSUPPORT);
	int pair[2];
	CHECK_ERR(socketpair(AF_INET, SOCK_STREAM, 0, pair), EOPNOTSUPP);
	CHECK_ERR(getsockopt(fd, SOL_SOCKET, 9999, &byte, &size), ENOPROTOOPT);
	check_write_file("plain", "");
	CHECK_ERR(client("plain", false, 0), ECONNREFUSED);
	struct stat st;
	CHECK_OK(stat("taken", &st));
	CHECK(S_ISSOCK(st.st_mode));
	CHECK_ERR(open("taken", O_RDWR), ENXIO);
	CHECK_OK(unlink("taken"));
	close(fd);
	close(other);
}

static void flow_control(void)
{
	int pair[2];
	char block[4096] = "";
	size_t sent = 0, received = 0;
	ssize_t n;

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair));
	while ((n = write(pair[0], block, sizeof(block))) > 0)
		sent += n;
	CHECK_EQ(errno, EAGAIN);
	CHECK(sent >= 65536);
	struct pollfd p = { .fd = pair[0], .events = POLLOUT };
	CHECK_EQ(poll(&p, 1, 0), 0);
	while ((n = read(pair[1], block, sizeof(block))) > 0)
		received += n;
	CHECK_EQ(received, sent);
	CHECK_EQ(poll(&p, 1, 0), 1);
	// Everything, through a blocking pair.
	fcntl(pair[0], F_SETFL, 0);
	fcntl(pair[1], F_SETFL, 0);
	pid_t pid = fork();
	if (pid == 0) {
		close(pair[1]);
		for (int i = 0; i < 300; i++) {
			memset(block, i, sizeof(block));
			if (write(pair[0], block, sizeof(block)) != sizeof(block))
				_exit(1);
		}
		_exit(0);
	}
	close(pair[0]);
	received = 0;
	bool right = true;
	while ((n = read(pair[1], block, 1000)) > 0) {
		for (ssize_t i = 0; i < n; i++, received++)
			right &= block[i] == (char)(received / 4096);
	}
	CHECK(right);
	CHECK_EQ(received, 300 * 4096);
	CHECK_EQ(check_wait(pid), 0);
	CHECK_EQ(read(pair[1], block, 1), 0);
}

static void options(void)
{
	int pair[2], value;
	struct timeval timeout = { 0, 40000 };
	char byte, buffer[8];

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	CHECK_OK(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)));
	int64_t start = check_now_ns();
	CHECK_ERR(recv(pair[0], &byte, 1, 0), EAGAIN);
	CHECK(check_now_ns() - start >= 40000000);
	value = 100000;
	CHECK_OK(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &value, sizeof(value)));
	socklen_t size = sizeof(value);
	CHECK_OK(getsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &value, &size));
	CHECK_EQ(value, 200000); // Linux doubles it
	value = 1;
	CHECK_OK(setsockopt(pair[0], SOL_SOCKET, SO_REUSEADDR, &value, sizeof(value)));
	CHECK_OK(setsockopt(pair[0], SOL_SOCKET, SO_KEEPALIVE, &value, sizeof(value)));
	// MSG_WAITALL waits for all of it.
	pid_t pid = fork();
	if (pid == 0) {
		for (int i = 0; i < 4; i++) {
			check_sleep_ms(10);
			if (write(pair[0], "ab", 2) != 2)
				_exit(1);
		}
		_exit(0);
	}
	CHECK_EQ(recv(pair[1], buffer, 8, MSG_WAITALL), 8);
	CHECK(memcmp(buffer, "abababab", 8) == 0);
	CHECK_EQ(check_wait(pid), 0);
}

int main(void)
{
	check_tmpdir();
	signal(SIGPIPE, SIG_IGN);
	conversation("socket", false);
	conversation("guest-unix-stream", true);
	CHECK_OK(client("guest-unix-stream", true, 0) == -1 ? 0 : -1); // an abstract name goes with its socket
	reset_on_unread_data();
	backlog();
	errors();
	flow_control();
	options();
	return check_done();
}
