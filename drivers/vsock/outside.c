// SPDX-License-Identifier: Apache-2.0
// Internet sockets over streams to the host's outside service: the cell's end of abi/outside.h, as a backend of
// kernel/outside.h. The host is not trusted: its answers are lengths and addresses, and a stream that makes no sense is reset.
#include "vsock.h"

#include "kernel/fs.h"
#include "kernel/outside.h"
#include "lib/endpoint.h"
#include "lib/string.h"

static const struct vsock_client connect_client, listen_client, datagram_client;

static int positive_errno(int error) { return error > 0 && error < 4096 ? error : error ? EIO : 0; }

static void send_request(struct vsock_stream *s)
{
	if (vsock_stream_send_all(s, &s->request, sizeof(s->request), NULL))
		vsock_stream_reset(s, ENETDOWN);
}

// The answer to the request. True: it has come, now or before.
static bool take_reply(struct vsock_stream *s)
{
	struct outside_reply r;

	if (s->replied)
		return true;
	if (!vsock_stream_peek(s, &r, sizeof(r)))
		return false;
	vsock_stream_take(s, NULL, sizeof(r));
	s->replied = true;
	s->channel.local = r.local;
	s->channel.peer = r.peer;
	net_channel_connected(&s->channel, positive_errno(r.error));
	return true;
}

// ---- listening ----

static void send_room(struct vsock_stream *s)
{
	struct outside_room room = { .more = __atomic_exchange_n(&s->room_due, 0, __ATOMIC_RELAXED) };

	if (room.more && vsock_stream_send_all(s, &room, sizeof(room), NULL) == -EAGAIN)
		__atomic_fetch_add(&s->room_due, room.more, __ATOMIC_RELAXED); // with the next credit
}

static void channel_accepted(struct net_channel *c)
{
	struct vsock_stream *s = vsock_stream_of(c);

	__atomic_fetch_add(&s->room_due, 1, __ATOMIC_RELAXED);
	send_room(s);
}

static bool listen_received(struct vsock_stream *s)
{
	if (take_reply(s) && vsock_stream_queued(&s->channel))
		vsock_stream_reset(s, EPROTO); // nothing more is ever said on it
	return false;
}

// ---- connections ----

static bool connect_received(struct vsock_stream *s) { return take_reply(s); }

static bool incoming_received(struct vsock_stream *s)
{
	struct outside_incoming in;
	struct vsock_stream *listener;
	int error = -ECONNREFUSED;

	if (__atomic_load_n(&s->channel.answered, __ATOMIC_ACQUIRE))
		return true;
	if (!vsock_stream_peek(s, &in, sizeof(in)))
		return false;
	vsock_stream_take(s, NULL, sizeof(in));
	s->channel.local = in.local;
	s->channel.peer = in.peer;
	__atomic_store_n(&s->channel.answered, true, __ATOMIC_RELEASE);
	listener = vsock_stream_find(in.listener, OUTSIDE_PORT);
	if (listener && listener->client != &listen_client) {
		net_channel_put(&listener->channel);
		listener = NULL;
	}
	vsock_linger_end(s);
	net_channel_get(&s->channel); // the socket's
	if (listener)
		error = net_channel_incoming(&listener->channel, &s->channel);
	if (listener && error) // its place is free again
		channel_accepted(&listener->channel);
	if (listener)
		net_channel_put(&listener->channel);
	if (error) {
		vsock_stream_reset(s, 0);
		net_channel_put(&s->channel);
	}
	return !error;
}

// ---- datagrams ----

// 0: more may follow. -EPROTO: nonsense. -EAGAIN: not whole yet.
static int take_record(struct vsock_stream *s)
{
	struct outside_datagram r;
	struct packet *p = NULL;
	void *data;

	if (!vsock_stream_peek(s, &r, sizeof(r)))
		return -EAGAIN;
	if (r.size_bytes > OUTSIDE_DATAGRAM_MAX || (r.kind != OUTSIDE_DATA && r.size_bytes))
		return -EPROTO;
	if (vsock_stream_queued(&s->channel) < sizeof(r) + r.size_bytes)
		return -EAGAIN;
	vsock_stream_take(s, NULL, sizeof(r));
	switch (r.kind) {
	case OUTSIDE_DATA:
		p = net_datagram_create(r.size_bytes, &data);
		vsock_stream_take(s, p ? data : NULL, r.size_bytes);
		if (p)
			net_channel_datagram(&s->channel, p, &r.endpoint);
		return 0;
	case OUTSIDE_NAME:
		if (!__atomic_exchange_n(&s->targeting, false, __ATOMIC_ACQ_REL))
			return -EPROTO;
		s->channel.local = r.endpoint;
		net_channel_connected(&s->channel, positive_errno(r.error));
		return 0;
	case OUTSIDE_ERROR: net_channel_datagram_error(&s->channel, positive_errno(r.error)); return 0;
	default: return -EPROTO;
	}
}

static bool datagram_received(struct vsock_stream *s)
{
	int error = 0;

	if (!take_reply(s))
		return false;
	while (!error)
		error = take_record(s);
	if (error == -EPROTO)
		vsock_stream_reset(s, EPROTO);
	return false; // the socket heard already
}

static int channel_send_datagram(struct net_channel *c, struct iov_iter *from, const struct outside_endpoint *to)
{
	struct outside_datagram r = { .size_bytes = (uint32_t)from->count, .kind = OUTSIDE_DATA, .endpoint = *to };

	return vsock_stream_send_all(vsock_stream_of(c), &r, sizeof(r), from);
}

static int channel_set_target(struct net_channel *c, const struct outside_endpoint *to)
{
	struct vsock_stream *s = vsock_stream_of(c);
	struct outside_datagram r = { .kind = OUTSIDE_TARGET, .endpoint = *to };
	bool one = true;
	int error;

	// Before `targeting`, so that who is told that another is at it can wait for the answer.
	if (!__atomic_compare_exchange_n(&c->answered, &one, false, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return -EALREADY;
	__atomic_store_n(&s->targeting, true, __ATOMIC_RELEASE);
	error = vsock_stream_send_all(s, &r, sizeof(r), NULL);
	if (error) {
		__atomic_store_n(&s->targeting, false, __ATOMIC_RELEASE);
		net_channel_connected(c, -error);
	}
	return error;
}

// ---- what streams are for ----

static const struct vsock_client connect_client = { .opened = send_request,
						    .received = connect_received,
						    .refused = ENOBUFS };
static const struct vsock_client listen_client = {
	.opened = send_request, .received = listen_received, .room = send_room, .refused = ENOBUFS
};
static const struct vsock_client datagram_client = { .opened = send_request,
						     .received = datagram_received,
						     .refused = ENOBUFS };
const struct vsock_client vsock_incoming_client = { .opened = send_request,
						    .received = incoming_received,
						    .refused = ECONNRESET };

const struct net_channel_ops vsock_outside_ops = {
	.send = vsock_stream_send,
	.receive = vsock_stream_receive,
	.ready = vsock_stream_ready,
	.queued = vsock_stream_queued,
	.shutdown = vsock_stream_shutdown,
	.close = vsock_stream_close,
	.destroy = vsock_stream_destroy,
	.accepted = channel_accepted,
	.send_datagram = channel_send_datagram,
	.set_target = channel_set_target,
};

static struct net_channel *outside_create(void)
{
	struct vsock_stream *s = vsock_stream_create(&vsock_outside_ops, &connect_client);

	return s ? &s->channel : err_ptr(-ENOBUFS);
}

static int outside_begin(struct net_channel *c, const struct outside_request *r)
{
	struct vsock_stream *s = vsock_stream_of(c);

	s->request = *r;
	s->client = r->operation == OUTSIDE_LISTEN     ? &listen_client
		    : r->operation == OUTSIDE_DATAGRAM ? &datagram_client
						       : &connect_client;
	if (r->operation == OUTSIDE_DATAGRAM) // whole ones
		s->room_wanted = sizeof(struct outside_datagram) + OUTSIDE_DATAGRAM_MAX;
	return vsock_stream_connect(s, 0, OUTSIDE_PORT);
}

static const struct outside_backend backend = { .create = outside_create, .begin = outside_begin };

void vsock_outside_start(void) { outside_register(&backend); }
