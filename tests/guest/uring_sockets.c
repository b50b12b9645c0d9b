// SPDX-License-Identifier: Apache-2.0
// io_uring: sockets. io_uring_enter(2), accept(2), connect(2), send(2), recv(2).
#include "uring.h"
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

static void do_messages_go_both_ways(void)
{
	struct ring r;
	char in[16] = "", text[] = "message";
	struct iovec v = { text, 7 }, w = { in, 16 };
	struct msghdr out = { .msg_iov = &v, .msg_iovlen = 1 }, got = { .msg_iov = &w, .msg_iovlen = 1 };
	int fds[2];

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	ring_init(&r, 8, 0);
	ring_add(&r, IORING_OP_SEND, fds[0], "hello", 5, 0, 1);
	CHECK_EQ(RING_RUN(&r, 1), 5);
	ring_add(&r, IORING_OP_RECV, fds[1], in, 16, 0, 2);
	CHECK_EQ(RING_RUN(&r, 2), 5);
	CHECK_STR(in, "hello");
	// The receiver is first.
	ring_add(&r, IORING_OP_RECVMSG, fds[1], &got, 1, 0, 3);
	CHECK_EQ(ring_submit(&r, 0), 1);
	v.iov_len = 7;
	ring_add(&r, IORING_OP_SENDMSG, fds[0], &out, 1, 0, 4);
	CHECK_EQ(ring_submit(&r, 2), 1);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(ring_wait(&r).res, 7);
	CHECK(!memcmp(in, "message", 7));
	ring_add(&r, IORING_OP_RECV, fds[1], in, 16, 0, 5)->msg_flags = MSG_DONTWAIT;
	CHECK_EQ(RING_RUN(&r, 5), -EAGAIN);
	fcntl(fds[1], F_SETFL, O_NONBLOCK); // makes no difference
	ring_add(&r, IORING_OP_RECV, fds[1], in, 4, 0, 6)->msg_flags = MSG_WAITALL;
	CHECK_EQ(ring_submit(&r, 0), 1);
	CHECK_EQ(send(fds[0], "ab", 2, 0), 2);
	usleep(5000);
	CHECK_EQ(ring_ready(&r), 0);
	CHECK_EQ(send(fds[0], "cd", 2, 0), 2);
	RING_EXPECT(&r, 6, 4);
	CHECK(!memcmp(in, "abcd", 4));
	ring_add(&r, IORING_OP_SHUTDOWN, fds[0], NULL, SHUT_WR, 0, 7);
	CHECK_EQ(RING_RUN(&r, 7), 0);
	ring_add(&r, IORING_OP_RECV, fds[1], in, 16, 0, 8);
	CHECK_EQ(RING_RUN(&r, 8), 0);
	ring_add(&r, IORING_OP_RECV, r.fd, in, 16, 0, 9);
	CHECK_EQ(RING_RUN(&r, 9), -ENOTSOCK);
	ring_close(&r);
	close(fds[0]);
	close(fds[1]);
}

static int listener(struct sockaddr_in *a)
{
	socklen_t size = sizeof(*a);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	*a = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	CHECK_OK(bind(fd, (struct sockaddr *)a, sizeof(*a)));
	CHECK_OK(listen(fd, 8));
	getsockname(fd, (struct sockaddr *)a, &size);
	return fd;
}

static void do_connections_come_about(void)
{
	struct sockaddr_in a, peer;
	socklen_t size = sizeof(peer);
	struct completion c;
	struct ring r;
	int l = listener(&a), client, accepted = -1;

	ring_init(&r, 8, 0);
	ring_add(&r, IORING_OP_SOCKET, AF_INET, NULL, 0, SOCK_STREAM, 1);
	client = RING_RUN(&r, 1);
	CHECK(client >= 0);
	ring_add(&r, IORING_OP_ACCEPT, l, &peer, 0, (uintptr_t)&size, 2);
	CHECK_EQ(ring_submit(&r, 0), 1);
	CHECK_EQ(ring_ready(&r), 0);
	ring_add(&r, IORING_OP_CONNECT, client, &a, 0, sizeof(a), 3);
	CHECK_EQ(ring_submit(&r, 2), 1);
	for (int i = 0; i < 2; i++) {
		c = ring_wait(&r);
		if (c.user_data == 2)
			accepted = c.res;
		else
			CHECK_EQ(c.res, 0);
	}
	CHECK(accepted >= 0);
	CHECK_EQ(peer.sin_family, AF_INET);
	CHECK_EQ(size, sizeof(peer));
	ring_add(&r, IORING_OP_SEND, client, "x", 1, 0, 4);
	CHECK_EQ(RING_RUN(&r, 4), 1);
	ring_add(&r, IORING_OP_CLOSE, client, NULL, 0, 0, 5);
	CHECK_EQ(RING_RUN(&r, 5), 0);
	ring_add(&r, IORING_OP_CLOSE, client, NULL, 0, 0, 6);
	CHECK_EQ(RING_RUN(&r, 6), -EBADF);
	close(l);
	client = socket(AF_INET, SOCK_STREAM, 0);
	ring_add(&r, IORING_OP_CONNECT, client, &a, 0, sizeof(a), 7);
	CHECK_EQ(RING_RUN(&r, 7), -ECONNREFUSED);
	ring_close(&r);
	close(accepted);
	close(client);
}

static void does_one_accept_take_many(void)
{
	struct sockaddr_in a;
	struct ring r;
	int l = listener(&a), clients[3];

	ring_init(&r, 16, 0);
	ring_add(&r, IORING_OP_ACCEPT, l, NULL, 0, 0, 1)->ioprio = IORING_ACCEPT_MULTISHOT;
	CHECK_EQ(ring_submit(&r, 0), 1);
	for (int i = 0; i < 3; i++) {
		struct completion c;

		clients[i] = socket(AF_INET, SOCK_STREAM, 0);
		CHECK_OK(connect(clients[i], (struct sockaddr *)&a, sizeof(a)));
		c = ring_wait(&r);
		CHECK(c.res >= 0);
		CHECK_EQ(c.flags, IORING_CQE_F_MORE);
		close(c.res);
	}
	ring_add(&r, IORING_OP_ASYNC_CANCEL, -1, (void *)1, 0, 0, 2);
	CHECK_EQ(ring_submit(&r, 2), 1);
	for (int i = 0; i < 2; i++) {
		struct completion c = ring_wait(&r);

		CHECK_EQ(c.res, c.user_data == 1 ? -ECANCELED : 0);
	}
	for (int i = 0; i < 3; i++)
		close(clients[i]);
	ring_close(&r);
	close(l);
}

static void does_one_receive_take_many(void)
{
	static char memory[8][8];
	struct io_uring_sqe *s;
	struct completion c;
	struct ring r;
	int fds[2];

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	ring_init(&r, 16, 0);
	ring_add(&r, IORING_OP_PROVIDE_BUFFERS, 8, memory, 8, 0, 1)->buf_group = 1;
	CHECK_EQ(RING_RUN(&r, 1), 0);
	s = ring_add(&r, IORING_OP_RECV, fds[1], NULL, 0, 0, 2);
	s->ioprio = IORING_RECV_MULTISHOT;
	s->flags = IOSQE_BUFFER_SELECT;
	s->buf_group = 1;
	CHECK_EQ(ring_submit(&r, 0), 1);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(send(fds[0], "piece", 5, 0), 5);
		c = ring_wait(&r);
		CHECK_EQ(c.res, 5);
		CHECK((c.flags & (IORING_CQE_F_MORE | IORING_CQE_F_BUFFER)) ==
		      (IORING_CQE_F_MORE | IORING_CQE_F_BUFFER));
		CHECK_STR(memory[c.flags >> IORING_CQE_BUFFER_SHIFT], "piece");
	}
	close(fds[0]);
	c = ring_wait(&r);
	CHECK_EQ(c.res, 0);
	CHECK(!(c.flags & IORING_CQE_F_MORE));
	ring_close(&r);
	close(fds[1]);
}

static void do_sockets_go_into_the_table(void)
{
	struct io_uring_rsrc_register reg = { .nr = 4, .flags = IORING_RSRC_REGISTER_SPARSE };
	struct sockaddr_in a;
	struct io_uring_sqe *s;
	struct ring r;
	char in[4] = "";
	int l = listener(&a), client = socket(AF_INET, SOCK_STREAM, 0);

	ring_init(&r, 16, 0);
	CHECK_EQ(ring_register(&r, IORING_REGISTER_FILES2, &reg, sizeof(reg)), 0);
	ring_add(&r, IORING_OP_ACCEPT, l, NULL, 0, 0, 1)->file_index = 3;
	CHECK_EQ(ring_submit(&r, 0), 1);
	CHECK_OK(connect(client, (struct sockaddr *)&a, sizeof(a)));
	RING_EXPECT(&r, 1, 0);
	CHECK_EQ(send(client, "in", 2, 0), 2);
	ring_add(&r, IORING_OP_RECV, 2, in, 2, 0, 2)->flags = IOSQE_FIXED_FILE;
	CHECK_EQ(RING_RUN(&r, 2), 2);
	CHECK_STR(in, "in");
	s = ring_add(&r, IORING_OP_SOCKET, AF_UNIX, NULL, 0, SOCK_STREAM, 3);
	s->file_index = IORING_FILE_INDEX_ALLOC;
	CHECK(RING_RUN(&r, 3) >= 0);
	ring_add(&r, IORING_OP_CLOSE, 0, NULL, 0, 0, 4)->file_index = 3;
	CHECK_EQ(RING_RUN(&r, 4), 0);
	CHECK_EQ(recv(client, in, 1, 0), 0);
	ring_add(&r, IORING_OP_CLOSE, 0, NULL, 0, 0, 5)->file_index = 3;
	CHECK_EQ(RING_RUN(&r, 5), -EBADF);
	ring_close(&r);
	close(client);
	close(l);
}

// A server and its clients, each with a thread and a ring.
#define ROUNDS 500
static void *client_main(void *arg)
{
	struct ring r;
	int fd = *(int *)arg;
	uint64_t out, in;

	ring_init(&r, 8, 0);
	for (out = 1; out <= ROUNDS; out++) {
		ring_add(&r, IORING_OP_SEND, fd, &out, 8, 0, 1)->flags = IOSQE_IO_LINK;
		ring_add(&r, IORING_OP_RECV, fd, &in, 8, 0, 2);
		CHECK(ring_submit(&r, 2) == 2);
		RING_EXPECT(&r, 1, 8);
		RING_EXPECT(&r, 2, 8);
		if (!CHECK_EQ(in, out))
			break;
	}
	ring_close(&r);
	return NULL;
}

static void do_echoes_come_back(void)
{
	pthread_t threads[4];
	int pairs[4][2], left = 4;
	uint64_t words[4];
	struct ring r;

	ring_init(&r, 16, 0);
	for (int i = 0; i < 4; i++) {
		CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]));
		pthread_create(&threads[i], NULL, client_main, &pairs[i][1]);
		ring_add(&r, IORING_OP_RECV, pairs[i][0], &words[i], 8, 0, (uint64_t)i);
	}
	CHECK_EQ(ring_submit(&r, 0), 4);
	while (left) {
		struct completion c = ring_wait(&r);
		uint64_t i = c.user_data & 3;

		if (!CHECK_EQ(c.res, 8))
			break;
		if (c.user_data >= 4) { // sent
			if (words[i] == ROUNDS)
				left--;
			else
				ring_add(&r, IORING_OP_RECV, pairs[i][0], &words[i], 8, 0, i);
		} else {
			ring_add(&r, IORING_OP_SEND, pairs[i][0], &words[i], 8, 0, i + 4);
		}
		if (r.queued)
			CHECK_EQ(ring_submit(&r, 0), 1);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		close(pairs[i][0]);
		close(pairs[i][1]);
	}
	ring_close(&r);
}

static void do_rings_tell_each_other(void)
{
	struct ring a, b;

	ring_init(&a, 8, 0);
	ring_init(&b, 8, 0);
	ring_add(&a, IORING_OP_MSG_RING, b.fd, NULL, 17, 4711, 1);
	CHECK_EQ(RING_RUN(&a, 1), 0);
	RING_EXPECT(&b, 4711, 17);
	ring_add(&a, IORING_OP_MSG_RING, STDERR_FILENO, NULL, 17, 4711, 2);
	CHECK_EQ(RING_RUN(&a, 2), -EBADFD);
	ring_close(&a);
	ring_close(&b);
}

int main(void)
{
	ring_skip_without();
	do_messages_go_both_ways();
	do_connections_come_about();
	does_one_accept_take_many();
	does_one_receive_take_many();
	do_sockets_go_into_the_table();
	do_echoes_come_back();
	do_rings_tell_each_other();
	return check_done();
}
