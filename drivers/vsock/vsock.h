// SPDX-License-Identifier: Apache-2.0
// Inside of the virtio-vsock driver (VIRTIO 1.2, 5.10): device.c (queues and the task that serves them), stream.c (connections),
// send.c and receive.c (bytes, credit), outside.c (internet sockets over streams), plain.c (AF_VSOCK).
//
// One kernel task takes what the device returns, so that packets are handled in order and may allocate. Whoever sends puts
// packets into the ring itself. A stream's memory is bounded by the credit it gives; the device that sends more loses the stream.
// Packets that are due are flags of their stream: nothing is queued without bound.
//
// Lock order: bucket.lock, stream.lock, device.lock: none inside another; stream.lock and device.lock -> a virtqueue's, a timer's.
// Upcalls (net_channel.h) without any of them.
#pragma once

#include <linux/virtio_vsock.h>

#include "kernel/errno.h"
#include "kernel/net_channel.h"
#include "kernel/page.h"
#include "kernel/timer.h"
#include "virtio/virtio.h"

#define VSOCK_HOST         2u
#define VSOCK_BUFFER_BYTES (256u << 10) // credit of a stream
#define VSOCK_STREAMS_MAX  2048u
#define VSOCK_PACKET_BYTES (64u << 10) // sent at once, with the header
#define VSOCK_PORT_FIRST   1024u

struct vsock;
struct vsock_stream;

// What a stream is good for.
struct vsock_client {
	void (*opened)(struct vsock_stream *s); // the host said yes
	// Bytes came. True: they are for the socket, which hears of them.
	bool (*received)(struct vsock_stream *s);
	void (*room)(struct vsock_stream *s); // there may be credit again; NULL: only the socket wants to know
	int refused;                          // positive errno of a host that says no
};

struct vsock_chunk { // of received bytes; the last one is kept for more
	struct list node;
	uint32_t start, size, capacity; // read up to, filled up to
	char data[];
};

enum vsock_state { VSOCK_NEW, VSOCK_ASKED, VSOCK_OPEN, VSOCK_OVER };

struct vsock_stream {
	struct net_channel channel; // references; refs also by the table
	const struct vsock_client *client;
	uint32_t local_port, remote_port; // constant once it is in the table
	struct list node;                 // bucket
	bool on_table;                    // bucket's lock

	struct spinlock lock; // guards what follows
	enum vsock_state state;
	uint32_t peer_buffer, peer_taken, sent; // credit we have
	uint32_t taken, taken_told;             // credit we give
	uint32_t received_bytes;
	struct list chunks;
	bool peer_ended, peer_deaf; // the host sends, receives no more
	bool ended, closed;         // our socket sends no more, is gone

	unsigned due;         // VSOCK_DUE_*; device.lock, like the rest
	struct list due_node; // device.due
	struct list starved_node;
	struct list close_node; // device.closing
	uint64_t close_deadline_ns;

	// outside.c
	struct outside_request request;
	uint32_t room_wanted; // credit that makes it writable, constant once it is in the table
	uint32_t room_due;    // atomic
	bool replied;         // the request is answered; the receiving task's
	bool targeting;       // a set_target() waits for its answer; atomic
};

#define VSOCK_DUE_REQUEST  1u
#define VSOCK_DUE_RESPONSE 2u
#define VSOCK_DUE_CREDIT   4u
#define VSOCK_DUE_END      8u
#define VSOCK_DUE_CLOSE    16u
#define VSOCK_DUE_RESET    32u

// packet.c: what the device sent, copied and checked. False: drop it.
bool vsock_packet_parse(const void *packet, size_t size, uint64_t cid, struct virtio_vsock_hdr *out);

// device.c
int must_check vsock_transmit(const struct virtio_vsock_hdr *h,
			      struct page *page); // page with header and data; consumed on 0
struct page *vsock_transmit_page(size_t bytes);   // NULL
bool vsock_transmit_room(void);                   // any context
void vsock_due(struct vsock_stream *s, unsigned what);
void vsock_starve(struct vsock_stream *s);     // net_channel_changed() comes when there is room in the ring
void vsock_linger(struct vsock_stream *s);     // it waits for a word of the host, so long and no longer
void vsock_linger_end(struct vsock_stream *s); // that has come
uint32_t vsock_local_cid(void);
bool vsock_works(void);

static inline uint32_t vsock_credit_locked(const struct vsock_stream *s)
{
	uint32_t used = s->sent - s->peer_taken;

	return used < s->peer_buffer ? s->peer_buffer - used : 0;
}

// stream.c
struct vsock_stream *vsock_stream_create(const struct net_channel_ops *ops, const struct vsock_client *client); // NULL
// Puts it on the table and asks the host; local_port 0: any. -EADDRINUSE, -ENETDOWN, -ENOBUFS.
int must_check vsock_stream_connect(struct vsock_stream *s, uint32_t local_port, uint32_t remote_port);
void vsock_stream_handle(const struct virtio_vsock_hdr *h, const char *data); // one packet
void vsock_stream_reset(struct vsock_stream *s, int error);                   // of our side: the host is told
void vsock_streams_fail(int error);                                           // all of them: the device is gone
void vsock_stream_expire(struct vsock_stream *s);
uint32_t vsock_stream_count(void);                                                 // that exist
struct vsock_stream *vsock_stream_find(uint32_t local_port, uint32_t remote_port); // referenced
// receive.c
int must_check vsock_stream_append(struct vsock_stream *s, const char *data, uint32_t size); // the task; 0, -ENOBUFS
void vsock_chunks_free(struct vsock_stream *s);
bool vsock_stream_peek(struct vsock_stream *s, void *to, size_t size); // false: not as many are there
void vsock_stream_take(struct vsock_stream *s, void *to, size_t size); // they are there; `to` may be NULL
// send.c
// All of it or nothing. -EAGAIN, -ENOBUFS, -EPIPE, -EFAULT.
int must_check vsock_stream_send_all(struct vsock_stream *s, const void *head, size_t head_size, struct iov_iter *data);
bool vsock_stream_control(struct vsock_stream *s, unsigned due); // sends one packet; false: later
// Operations of a channel (net_channel.h).
ssize_t vsock_stream_send(struct net_channel *c, struct iov_iter *from);
ssize_t vsock_stream_receive(struct net_channel *c, struct iov_iter *to, bool peek, size_t skip);
unsigned vsock_stream_ready(struct net_channel *c);
void vsock_stream_shutdown(struct net_channel *c, bool read, bool write);
void vsock_stream_close(struct net_channel *c, bool abort);
void vsock_stream_destroy(struct net_channel *c);
size_t vsock_stream_queued(struct net_channel *c);
static inline struct vsock_stream *vsock_stream_of(struct net_channel *c)
{
	return container_of(c, struct vsock_stream, channel);
}

// outside.c: a stream the host opened to OUTSIDE_PORT
extern const struct vsock_client vsock_incoming_client;
extern const struct net_channel_ops vsock_outside_ops;
void vsock_outside_start(void);
// plain.c
void vsock_plain_start(void);
