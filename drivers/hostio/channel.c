// SPDX-License-Identifier: Apache-2.0
// The launcher's byte streams as channels (kernel/channel.h): pipes and sockets of the host that the loader has handed over.
//
// A blocking read or write that finds nothing waits in the host itself. Those who wait on the channel's queue instead are
// woken by ready.c; whenever a transfer or a look has shown that something is not ready, and somebody is on the queue, it is
// asked to. What was written is in the launcher's hands at once, as far as the kernel is concerned: it reads every stream to
// its end before it believes that the cell is gone.
#include <linux/poll.h>
#include <linux/uio.h>

#include "abi/control.h"
#include "abi/hosted.h"
#include "hostio.h"
#include "kernel/errno.h"
#include "kernel/init.h"
#include "kernel/log.h"
#include "kernel/task.h"
#include "port/host.h"

static struct stream streams[] = {
	{ .channel = { .name = CONTROL_PORT_NAME }, .fd = HOSTED_CONTROL, .directions = POLLIN | POLLOUT },
	{ .channel = { .name = STDIN_PORT_NAME }, .fd = HOSTED_STDIN, .directions = POLLIN },
	{ .channel = { .name = STDOUT_PORT_NAME }, .fd = HOSTED_STDOUT, .directions = POLLOUT },
	{ .channel = { .name = STDERR_PORT_NAME }, .fd = HOSTED_STDERR, .directions = POLLOUT },
	{ .channel = { .name = TTY_PORT_NAME }, .fd = HOSTED_TTY, .directions = POLLIN | POLLOUT },
};
static_assert(array_count(streams) <= HOSTIO_STREAMS_MAX, "room in ready.c");

static struct stream *to_stream(struct channel *c) { return container_of(c, struct stream, channel); }

// Edge-triggered watchers hear of the next event after any transfer. Who comes to the queue later looks for himself.
static void watch(struct stream *s, unsigned events)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST); // the look before the question whether somebody waits
	if (events && !waitq_empty(&s->channel.wait))
		ready_want(s, events);
}

// 0 when it is worth another try, or -ERESTARTSYS.
static int wait_for(struct stream *s, unsigned events)
{
	struct pollfd p = { .fd = s->fd, .events = (short)events };
	int n = port_file_poll(&p, 1, PARK_FOREVER);

	return n < 0 && signal_pending(current) ? -ERESTARTSYS : 0;
}

static ssize_t stream_read(struct channel *c, void *buffer, size_t size, bool nonblock)
{
	struct stream *s = to_stream(c);
	struct iovec v = { buffer, size };

	if (!size)
		return 0;
	for (;;) {
		long n = port_file_read(s->fd, &v, 1, -1, 0);

		if (n >= 0 || nonblock)
			watch(s, POLLIN);
		if (n >= 0 || (n == -EAGAIN && nonblock))
			return n;
		if (n != -EAGAIN && n != -EINTR)
			return 0; // the other side is gone
		if (wait_for(s, POLLIN))
			return -ERESTARTSYS;
	}
}

static ssize_t stream_write(struct channel *c, const void *data, size_t size, bool nonblock)
{
	struct stream *s = to_stream(c);
	struct iovec v = { (void *)data, size };

	if (!size)
		return 0;
	for (;;) {
		long n = port_file_write(s->fd, &v, 1, -1, 0);

		if (n < (long)size)
			watch(s, POLLOUT);
		if (n > 0 || (n == -EAGAIN && nonblock))
			return n;
		if (n != -EAGAIN && n != -EINTR)
			return -EPIPE;
		if (wait_for(s, POLLOUT))
			return -ERESTARTSYS;
	}
}

static unsigned stream_ready(struct channel *c)
{
	struct stream *s = to_stream(c);
	struct pollfd p = { .fd = s->fd, .events = (short)s->directions };
	unsigned events = 0;

	if (port_file_poll(&p, 1, 0) < 0)
		p.revents = 0;
	watch(s, s->directions & ~(unsigned)p.revents);
	if (p.revents & (POLLIN | POLLHUP))
		events |= EPOLLIN | EPOLLRDNORM;
	if (p.revents & POLLOUT)
		events |= EPOLLOUT | EPOLLWRNORM;
	if (p.revents & (POLLHUP | POLLERR | POLLNVAL))
		events |= EPOLLHUP;
	return events;
}

static void stream_flush(struct channel *c) { (void)c; }

// The launcher is told by CONTROL_STREAM_CLOSED: other processes of the cell may still hold the descriptor's last number.
static void stream_close_write(struct channel *c) { (void)c; }

static const struct channel_ops stream_channel_ops = {
	.read = stream_read,
	.write = stream_write,
	.close_write = stream_close_write,
	.ready = stream_ready,
	.flush = stream_flush,
};

static void hostio_init(void)
{
	for (unsigned i = 0; i < array_count(streams); i++) {
		struct stream *s = &streams[i];

		s->fd = port_host_stream((unsigned)s->fd);
		if (s->fd < 0)
			continue;
		s->channel.ops = &stream_channel_ops;
		waitq_init(&s->channel.wait);
		ready_add(s);
	}
	if (ready_start(port_host_stream(HOSTED_DOORBELL)))
		klog("hostio: no memory for the task that waits");
	for (unsigned i = 0; i < array_count(streams); i++)
		if (streams[i].fd >= 0)
			channel_register(&streams[i].channel);
}
KERNEL_INIT(3, hostio_init);
