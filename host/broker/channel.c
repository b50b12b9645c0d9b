// SPDX-License-Identifier: Apache-2.0
// A channel: one message in, one out. Descriptors that come with a request are never received: there is no room for them.
#include "broker/request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool send_plain(int channel, const struct answer *a)
{
	ssize_t n;

	do
		n = send(channel, a->memory, a->size, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)a->size;
}

static bool send_with_descriptors(int channel, const struct answer *a)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(BROKER_DESCRIPTORS_MAX * sizeof(int))];
	} control;
	struct iovec v = { a->memory, a->size };
	const size_t bytes = a->fd_count * sizeof(int);
	struct msghdr m = {
		.msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_SPACE(bytes)
	};
	ssize_t n;

	control.header = (struct cmsghdr){ CMSG_LEN(bytes), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(&control.header), a->fds, bytes);
	do
		n = sendmsg(channel, &m, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)a->size;
}

static bool answer_send(int channel, struct answer *a)
{
	bool sent;
	int error;

	if (!a->size)
		return true;
	if (!a->fd_count)
		return send_plain(channel, a);
	sent = send_with_descriptors(channel, a);
	error = sent ? 0 : errno;
	while (a->fd_count)
		close(a->fds[--a->fd_count]);
	if (sent || error != ETOOMANYREFS)
		return sent;
	// The cell leaves too many descriptors lying in its sockets.
	struct fuse_out_header *h = (struct fuse_out_header *)a->memory;
	h->error = -EMFILE;
	h->len = sizeof(*h);
	a->size = sizeof(*h);
	return send_plain(channel, a);
}

void channel_serve(struct broker *b, int channel)
{
	char *memory = aligned_alloc(4096, 2 * BROKER_MESSAGE_MAX_BYTES);
	struct answer answer = { .memory = memory + BROKER_MESSAGE_MAX_BYTES };

	while (memory) {
		ssize_t n = recv(channel, memory, BROKER_MESSAGE_MAX_BYTES, MSG_TRUNC);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || n > (ssize_t)BROKER_MESSAGE_MAX_BYTES)
			break;
		if (!request_serve(b, memory, (size_t)n, &answer) || !answer_send(channel, &answer))
			break;
	}
	shutdown(channel, SHUT_RDWR);
	free(memory);
}
