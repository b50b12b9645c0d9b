// SPDX-License-Identifier: Apache-2.0
// The virtio-vsock device (VIRTIO 1.2, 5.10): packets in the rings to byte streams and back, with credit both ways. What a stream is
// good for is the service's business (service.h).
//
// One thread, one epoll set. Whatever the cell does, memory is bounded: STREAMS_MAX streams of a STREAM_BUFFER_BYTES buffer each,
// packets due are flags of their stream, and refusals of streams that do not exist wait in a short list; while that is full no
// more is read from the cell.
#pragma once

#include "lib/list.h"
#include "vsock/vhost.h"

#include <linux/virtio_vsock.h>

#define STREAMS_MAX         1024u
#define STREAM_BUFFER_BYTES (256u << 10)
#define HOST_CID            UINT64_C(2)

struct watch {  // a descriptor in an epoll set
	int fd; // -1
	uint32_t events;
	void (*ready)(struct watch *w, uint32_t events);
};

struct fifo {       // what the cell sent and its receiver has not taken
	char *data; // STREAM_BUFFER_BYTES; NULL while empty
	uint32_t start, used;
};

enum stream_state { STREAM_ASKED, STREAM_OPEN, STREAM_DEAD };

struct stream {
	struct list node;     // bucket, or dead
	struct list due_node; // in device.due
	struct device *device;
	uint32_t cell_port, host_port;
	enum stream_state state;
	unsigned due;                           // DUE_*
	uint32_t cell_buffer, cell_taken, sent; // credit for what we send
	uint32_t taken, taken_told;             // credit we give
	bool cell_ended, cell_deaf;             // it sends, receives no more
	bool ended;                             // we send no more
	struct fifo in;
	char *out; // small things and records to send before anything else; NULL: nothing
	size_t out_size, out_done;
	void *user; // the service's, from malloc(); freed with the stream
};

struct service_ops {
	// A stream from the cell to host_port. False: refuse it.
	bool (*accept)(struct device *d, struct stream *s);
	// A stream the service opened was accepted by the cell.
	void (*opened)(struct stream *s);
	// Bytes came and nothing is queued before them: takes as much as it can now. The rest is queued in `in`.
	size_t (*take)(struct stream *s, const struct iovec *v, unsigned count, size_t bytes);
	void (*input)(struct stream *s);  // `in` has more, or the cell ended or went deaf
	void (*output)(struct stream *s); // there may be room to send again
	void (*closed)(struct stream *s); // the last word
};

struct device {
	struct vhost vhost;
	const struct service_ops *ops;
	void *service;
	int epoll, sockets_epoll; // the second is in the first while the cell lends buffers
	bool sockets_watched;
	struct watch vhost_watch, kicks[VHOST_RINGS], sockets_watch;
	struct list buckets[256];
	unsigned stream_count;
	struct list due, dead;
	struct {
		uint32_t cell_port, host_port;
	} refusals[64];
	unsigned refusal_count;
	uint32_t next_port;
	const char *failure; // why it cannot go on
	bool ended;          // the machine is gone
};

bool device_init(struct device *d, int vhost_fd, uint64_t cid, const struct service_ops *ops, void *service);
void device_fini(struct device *d);
// Waits for something to do and does it. False: it is over, see failure.
bool device_step(struct device *d, int timeout_ms);
void device_process_tx(struct device *d); // all that the cell has sent
void device_flush(struct device *d);      // all that is due, as far as the cell lends buffers
// The machine is gone: passes on what it had sent before. True: some of it is still here.
bool device_drain(struct device *d);

// Descriptors of the service. `events` 0: not watched.
bool watch_set(struct device *d, struct watch *w, uint32_t events);
void watch_close(struct device *d, struct watch *w);

struct stream *stream_find(struct device *d, uint32_t cell_port, uint32_t host_port); // NULL
struct stream *stream_open(struct device *d, uint32_t cell_port, void *user);         // NULL: too many
uint32_t stream_credit(const struct stream *s);
void stream_send(struct stream *s, const void *data, size_t size); // queues a copy
static inline size_t stream_queued(const struct stream *s) { return s->out ? s->out_size - s->out_done : 0; }
// Reads from a descriptor straight into the cell's buffers. Bytes; 0: its end; -1 with errno, EAGAIN also when there is no credit or
// no buffer.
ssize_t stream_send_from(struct stream *s, int fd);
void stream_end(struct stream *s);                   // no more will be sent
void stream_reset(struct stream *s);                 // tells the cell, then it is dead
void stream_taken(struct stream *s, uint32_t bytes); // of `in`; or by take
// The first bytes of `in`, without taking them. False: not as many are there.
bool stream_peek(const struct stream *s, size_t offset, void *to, size_t size);
void stream_drop(struct stream *s, uint32_t bytes); // takes them
unsigned stream_input(const struct stream *s, struct iovec v[2]);

// stream.c, for device.c
#define DUE_REQUEST  1u
#define DUE_RESPONSE 2u
#define DUE_CREDIT   4u
#define DUE_END      8u
#define DUE_RESET    16u
#define DUE_DATA     32u                                                                // `out`
struct stream *stream_create(struct device *d, uint32_t cell_port, uint32_t host_port); // NULL: too many
void stream_kill(
	struct stream *s); // off the tables; its memory goes with device_bury(), when nothing points to it any more
void device_bury(struct device *d);
void stream_due(struct stream *s, unsigned what);
void stream_append(struct stream *s, const char *data, size_t size); // to `in`; there is room
bool stream_flush(struct stream *s);                                 // what is due. False: the cell lends no buffer
struct chain *device_rx_buffer(struct device *d, struct chain *c);   // with room for a header; NULL: none now
void device_put_packet(struct device *d, const struct chain *c, struct virtio_vsock_hdr *h, uint32_t size);
// Leaves out the first `skip` bytes and what is beyond `limit`. Segments in `to`.
unsigned vector_narrow(const struct iovec *from, unsigned count, size_t skip, size_t limit, struct iovec *to);
