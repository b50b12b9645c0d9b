// SPDX-License-Identifier: Apache-2.0
// AF_VSOCK to the host: a stream as it is. A backend of kernel/vsock.h.
#include "vsock.h"

#include "kernel/vsock.h"

static void plain_opened(struct vsock_stream *s) { net_channel_connected(&s->channel, 0); }

static bool plain_received(struct vsock_stream *s)
{
	(void)s;
	return true;
}

static const struct vsock_client plain_client = { .opened = plain_opened,
						  .received = plain_received,
						  .refused = ECONNRESET };

static const struct net_channel_ops plain_ops = {
	.send = vsock_stream_send,
	.receive = vsock_stream_receive,
	.ready = vsock_stream_ready,
	.queued = vsock_stream_queued,
	.shutdown = vsock_stream_shutdown,
	.close = vsock_stream_close,
	.destroy = vsock_stream_destroy,
};

static struct net_channel *plain_create(void)
{
	struct vsock_stream *s = vsock_stream_create(&plain_ops, &plain_client);

	return s ? &s->channel : err_ptr(-ENOBUFS);
}

static int plain_begin(struct net_channel *c, uint32_t local_port, uint32_t remote_port)
{
	// The service is the kernel's alone, which knows who may use the grants: for programs nothing listens there.
	if (remote_port == OUTSIDE_PORT)
		return -ECONNRESET;
	return vsock_stream_connect(vsock_stream_of(c), local_port, remote_port);
}

static const struct vsock_backend backend = { .local_cid = vsock_local_cid,
					      .create = plain_create,
					      .begin = plain_begin };

void vsock_plain_start(void) { vsock_register(&backend); }
