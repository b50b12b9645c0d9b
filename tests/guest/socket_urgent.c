// SPDX-License-Identifier: Apache-2.0
// Urgent data of stream sockets: the mark, the byte beside or within the stream, SIGURG. send(2), recv(2), tcp(7), sockatmark(3).
#include "check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>

static volatile sig_atomic_t urgent_signals;

static void on_urgent(int signal) { urgent_signals++, (void)signal; }

static void connect_tcp(int fd[2])
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(a);
	int listener = CHECK_OK(socket(AF_INET, SOCK_STREAM, 0));

	CHECK_OK(bind(listener, (struct sockaddr *)&a, sizeof(a)));
	CHECK_OK(listen(listener, 1));
	CHECK_OK(getsockname(listener, (struct sockaddr *)&a, &size));
	fd[0] = CHECK_OK(socket(AF_INET, SOCK_STREAM, 0));
	CHECK_OK(connect(fd[0], (struct sockaddr *)&a, sizeof(a)));
	fd[1] = CHECK_OK(accept(listener, NULL, NULL));
	close(listener);
}

static void close_both(const int fd[2]) { close(fd[0]), close(fd[1]); }

static int events_of(int fd)
{
	struct pollfd p = { fd, POLLIN | POLLPRI | POLLRDHUP, 0 };
	return poll(&p, 1, 0) < 0 ? -1 : p.revents;
}

static bool has_exception(int fd)
{
	fd_set set;
	struct timeval none = { 0, 0 };

	FD_ZERO(&set);
	FD_SET(fd, &set);
	return select(fd + 1, NULL, NULL, &set, &none) == 1 && FD_ISSET(fd, &set);
}

static int at_mark(int fd)
{
	int answer = -1;
	CHECK_OK(ioctl(fd, SIOCATMARK, &answer));
	return answer;
}

static void send_text(int fd, const char *text, int flags)
{
	CHECK_EQ(send(fd, text, strlen(text), flags), strlen(text));
}

static void check_receive(int line, int fd, int flags, const char *expected)
{
	char text[64] = "";
	ssize_t n = recv(fd, text, sizeof(text) - 1, flags);

	if (n != (ssize_t)strlen(expected) || strcmp(text, expected))
		check_fail(__FILE__, line, "received \"%s\" (%zd, errno %d), expected \"%s\"", text, n, errno,
			   expected);
}
#define RECEIVE(fd, flags, expected) check_receive(__LINE__, fd, flags, expected)

// The byte is not part of the stream, which stops at its place.
static void beside_the_stream(void)
{
	char c;
	int fd[2];

	connect_tcp(fd);
	CHECK_ERR(recv(fd[1], &c, 1, MSG_OOB), EINVAL);
	CHECK_EQ(at_mark(fd[1]), 0);
	send_text(fd[0], "abcX", MSG_OOB);
	send_text(fd[0], "def", 0);
	WAIT_UNTIL(events_of(fd[1]) & POLLPRI);
	CHECK(has_exception(fd[1]));
	CHECK_EQ(at_mark(fd[1]), 0);
	RECEIVE(fd[1], MSG_OOB | MSG_PEEK, "X");
	RECEIVE(fd[1], MSG_OOB, "X");
	CHECK_ERR(recv(fd[1], &c, 1, MSG_OOB), EINVAL);
	CHECK_EQ(events_of(fd[1]) & POLLPRI, 0);
	RECEIVE(fd[1], 0, "abc");
	CHECK_EQ(at_mark(fd[1]), 1);
	RECEIVE(fd[1], 0, "def");
	CHECK_EQ(at_mark(fd[1]), 0);
	close_both(fd);
}

// Read past, it is lost.
static void passed_over(void)
{
	char c;
	int fd[2];

	connect_tcp(fd);
	send_text(fd[0], "ab", 0);
	send_text(fd[0], "X", MSG_OOB);
	send_text(fd[0], "cd", 0);
	WAIT_UNTIL(events_of(fd[1]) & POLLPRI);
	RECEIVE(fd[1], 0, "ab");
	CHECK_EQ(at_mark(fd[1]), 1);
	RECEIVE(fd[1], 0, "cd");
	CHECK_ERR(recv(fd[1], &c, 1, MSG_OOB), EINVAL);
	CHECK_EQ(events_of(fd[1]), 0);
	close_both(fd);
}

// Alone it does not make the socket readable.
static void alone(void)
{
	char c;
	int fd[2];

	connect_tcp(fd);
	send_text(fd[0], "X", MSG_OOB);
	WAIT_UNTIL(events_of(fd[1]) == POLLPRI);
	CHECK_EQ(at_mark(fd[1]), 1);
	CHECK_ERR(recv(fd[1], &c, 1, MSG_DONTWAIT), EAGAIN);
	close_both(fd);
}

static void in_line(void)
{
	int fd[2], on = 1;
	char c;

	connect_tcp(fd);
	CHECK_OK(setsockopt(fd[1], SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on)));
	send_text(fd[0], "abX", MSG_OOB);
	send_text(fd[0], "cd", 0);
	WAIT_UNTIL(events_of(fd[1]) & POLLPRI);
	CHECK_ERR(recv(fd[1], &c, 1, MSG_OOB), EINVAL);
	RECEIVE(fd[1], 0, "ab");
	CHECK_EQ(at_mark(fd[1]), 1);
	RECEIVE(fd[1], 0, "Xcd");
	CHECK_EQ(at_mark(fd[1]), 0);
	CHECK_EQ(events_of(fd[1]), 0);
	close_both(fd);
}

// There is one mark: an earlier byte becomes a part of the stream.
static void twice(void)
{
	int fd[2];

	connect_tcp(fd);
	send_text(fd[0], "aX", MSG_OOB);
	WAIT_UNTIL(events_of(fd[1]) & POLLPRI);
	send_text(fd[0], "bY", MSG_OOB);
	check_sleep_ms(20);
	RECEIVE(fd[1], MSG_OOB, "Y");
	RECEIVE(fd[1], 0, "aXb");
	CHECK_EQ(at_mark(fd[1]), 1);
	close_both(fd);
}

static void tells_its_owner(void)
{
	int fd[2];

	connect_tcp(fd);
	signal(SIGURG, on_urgent);
	send_text(fd[0], "X", MSG_OOB); // nobody owns it yet
	WAIT_UNTIL(events_of(fd[1]) & POLLPRI);
	CHECK_EQ(urgent_signals, 0);
	CHECK_OK(fcntl(fd[1], F_SETOWN, getpid()));
	send_text(fd[0], "Y", MSG_OOB);
	WAIT_UNTIL(urgent_signals == 1);
	close_both(fd);
}

static void of_unix_sockets(void)
{
	int fd[2];
	char c;

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, fd));
	if (send(fd[0], "abX", 3, MSG_OOB) < 0 && errno == EOPNOTSUPP)
		return; // Linux before 5.15, or built without
	CHECK(events_of(fd[1]) & POLLPRI);
	RECEIVE(fd[1], MSG_OOB, "X");
	CHECK_ERR(recv(fd[1], &c, 1, MSG_OOB), EINVAL);
	RECEIVE(fd[1], 0, "ab");
	CHECK_ERR(recv(fd[1], &c, 1, MSG_DONTWAIT), EAGAIN);
	close_both(fd);
	CHECK_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, fd));
	CHECK_ERR(send(fd[0], "X", 1, MSG_OOB), EOPNOTSUPP);
	CHECK_ERR(recv(fd[1], &c, 1, MSG_OOB), EOPNOTSUPP);
	close_both(fd);
}

// What was sent before a reset is still there; the connection is not.
static void after_a_reset(void)
{
	struct linger at_once = { 1, 0 };
	struct sockaddr_in a;
	socklen_t size = sizeof(a);
	char c;
	int fd[2];

	connect_tcp(fd);
	CHECK_OK(setsockopt(fd[0], SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)));
	send_text(fd[0], "ab", 0);
	close(fd[0]);
	WAIT_UNTIL(events_of(fd[1]) & POLLERR);
	CHECK_ERR(getpeername(fd[1], (struct sockaddr *)&a, &size), ENOTCONN);
	RECEIVE(fd[1], 0, "ab");
	CHECK_ERR(recv(fd[1], &c, 1, 0), ECONNRESET);
	CHECK_EQ(recv(fd[1], &c, 1, 0), 0);
	close(fd[1]);
}

int main(void)
{
	alarm(60);
	beside_the_stream();
	passed_over();
	alone();
	in_line();
	twice();
	tells_its_owner();
	of_unix_sockets();
	after_a_reset();
	return check_done();
}
