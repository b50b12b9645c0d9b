// SPDX-License-Identifier: Apache-2.0
// Do unix datagram and sequenced-packet sockets keep messages whole, in order, and name their senders?
#include "check.h"
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

static socklen_t named(struct sockaddr_un *a, const char *path)
{
	memset(a, 0, sizeof(*a));
	a->sun_family = AF_UNIX;
	strcpy(a->sun_path, path);
	return sizeof(*a);
}

static void datagrams(void)
{
	struct sockaddr_un a, from;
	socklen_t size = sizeof(from);
	char buffer[16] = "";
	int receiver = CHECK_OK(socket(AF_UNIX, SOCK_DGRAM, 0)), sender = CHECK_OK(socket(AF_UNIX, SOCK_DGRAM, 0));

	CHECK_OK(bind(receiver, (struct sockaddr *)&a, named(&a, "receiver")));
	CHECK_EQ(sendto(sender, "one", 3, 0, (struct sockaddr *)&a, sizeof(a)), 3);
	CHECK_OK(bind(sender, (struct sockaddr *)&from, named(&from, "sender")));
	CHECK_OK(connect(sender, (struct sockaddr *)&a, sizeof(a)));
	CHECK_EQ(send(sender, "second", 6, 0), 6);
	CHECK_EQ(send(sender, "", 0, 0), 0); // an empty message is a message
	CHECK_EQ(recvfrom(receiver, buffer, 16, 0, (struct sockaddr *)&from, &size), 3);
	size = sizeof(from);
	CHECK_EQ(recvfrom(receiver, buffer, 2, MSG_TRUNC, (struct sockaddr *)&from, &size), 6); // true length
	CHECK_STR(from.sun_path, "sender");
	CHECK(memcmp(buffer, "se", 2) == 0);
	CHECK_EQ(recv(receiver, buffer, 16, 0), 0);
	CHECK_ERR(recv(receiver, buffer, 16, MSG_DONTWAIT), EAGAIN);
	CHECK_EQ(sendto(receiver, "back", 4, 0, (struct sockaddr *)&from, size), 4);
	CHECK_EQ(read(sender, buffer, 16), 4);
	// One that is connected accepts from its peer only.
	int stranger = socket(AF_UNIX, SOCK_DGRAM, 0);
	CHECK_ERR(sendto(stranger, "x", 1, 0, (struct sockaddr *)&from, size), EPERM);
	CHECK_ERR(listen(receiver, 1), EOPNOTSUPP);
	CHECK_ERR(accept(receiver, NULL, NULL), EOPNOTSUPP);
	CHECK_ERR(send(stranger, "x", 1, 0), ENOTCONN);
	close(receiver);
	CHECK_ERR(send(sender, "x", 1, 0), ECONNREFUSED);
	named(&a, "nobody");
	CHECK_ERR(sendto(stranger, "x", 1, 0, (struct sockaddr *)&a, sizeof(a)), ENOENT);
	static char huge[4 << 20];
	int pair[2];
	CHECK_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
	CHECK_ERR(send(pair[0], huge, sizeof(huge), 0), EMSGSIZE);
	close(sender);
	close(stranger);
}

static void queue_is_bounded(void)
{
	int pair[2], sent = 0;

	CHECK_OK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair));
	while (sent < 100000 && send(pair[0], "message", 7, 0) == 7)
		sent++;
	CHECK_EQ(errno, EAGAIN);
	CHECK(sent >= 2);
	struct pollfd p = { .fd = pair[0], .events = POLLOUT };
	CHECK_EQ(poll(&p, 1, 0), 0);
	char buffer[16];
	int received = 0;
	while (recv(pair[1], buffer, 16, 0) == 7)
		received++;
	CHECK_EQ(received, sent);
	CHECK_EQ(poll(&p, 1, 0), 1);
	close(pair[0]);
	close(pair[1]);
}

static void packets(void)
{
	int pair[2];
	char buffer[16];
	struct iovec parts[2] = { { "ab", 2 }, { "cd", 2 } };
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };

	CHECK_OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair));
	CHECK_EQ(send(pair[0], "first", 5, 0), 5);
	CHECK_EQ(sendmsg(pair[0], &message, 0), 4);
	CHECK_EQ(recv(pair[1], buffer, 2, 0), 2); // the rest of the packet is lost
	struct iovec in = { buffer, 16 };
	message = (struct msghdr){ .msg_iov = &in, .msg_iovlen = 1 };
	CHECK_EQ(recvmsg(pair[1], &message, 0), 4);
	CHECK(message.msg_flags & MSG_EOR || message.msg_flags == 0);
	CHECK(memcmp(buffer, "abcd", 4) == 0);
	CHECK_EQ(send(pair[0], "truncated", 9, 0), 9);
	in.iov_len = 3;
	CHECK_EQ(recvmsg(pair[1], &message, 0), 3);
	CHECK(message.msg_flags & MSG_TRUNC);
	close(pair[0]);
	CHECK_EQ(recv(pair[1], buffer, 16, 0), 0);
	CHECK_ERR(send(pair[1], "x", 1, MSG_NOSIGNAL), EPIPE);
	close(pair[1]);

	// With listen and accept.
	struct sockaddr_un a;
	int listener = socket(AF_UNIX, SOCK_SEQPACKET, 0), c = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	CHECK_OK(bind(listener, (struct sockaddr *)&a, named(&a, "packets")));
	CHECK_OK(listen(listener, 2));
	CHECK_OK(connect(c, (struct sockaddr *)&a, sizeof(a)));
	int s = CHECK_OK(accept(listener, NULL, NULL));
	CHECK_EQ(send(c, "x", 1, 0), 1);
	CHECK_EQ(send(c, "yz", 2, 0), 2);
	CHECK_EQ(recv(s, buffer, 16, 0), 1);
	CHECK_EQ(recv(s, buffer, 16, 0), 2);
	int stream = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK_ERR(connect(stream, (struct sockaddr *)&a, sizeof(a)), EPROTOTYPE);
	close(c);
	close(s);
	close(stream);
	close(listener);
}

static void many_at_once(void)
{
	int pair[2];
	char buffers[4][8];
	struct iovec out[3] = { { "a", 1 }, { "bb", 2 }, { "ccc", 3 } }, in[4];
	struct mmsghdr messages[4];

	CHECK_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
	memset(messages, 0, sizeof(messages));
	for (int i = 0; i < 3; i++)
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &out[i], .msg_iovlen = 1 };
	CHECK_EQ(sendmmsg(pair[0], messages, 3, 0), 3);
	CHECK_EQ(messages[2].msg_len, 3);
	for (int i = 0; i < 4; i++) {
		in[i] = (struct iovec){ buffers[i], 8 };
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &in[i], .msg_iovlen = 1 };
	}
	CHECK_EQ(recvmmsg(pair[1], messages, 4, MSG_WAITFORONE, NULL), 3);
	CHECK_EQ(messages[1].msg_len, 2);
	CHECK(memcmp(buffers[2], "ccc", 3) == 0);
}

int main(void)
{
	check_tmpdir();
	signal(SIGPIPE, SIG_IGN);
	datagrams();
	queue_is_bounded();
	packets();
	many_at_once();
	return check_done();
}
