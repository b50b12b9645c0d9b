// SPDX-License-Identifier: Apache-2.0
// Inside of the driver for network grants where there is a host (abi/network.h): link.c (the conversation with the server and the task
// that listens to it), channel.c (the table of channels), connection.c (TCP by the host's descriptors), datagram.c (UDP by messages),
// outside.c (the backend of kernel/outside.h).
//
// A thread that reads or writes and finds that it has to wait does so in the host. Who waits on the socket's queue instead (poll,
// epoll) is woken by the server's word, which is asked for when a transfer or a look has shown that something is not ready.
//
// The server is as hostile as any: numbers are looked up, descriptors nobody asked for are closed, what makes no sense is dropped.
//
// Lock order: bucket.lock -> nothing. Upcalls (net_channel.h) and messages without any lock.
#pragma once

#include "abi/network.h"
#include "kernel/errno.h"
#include "kernel/net_channel.h"
#include "lib/compiler.h"

struct iovec;

enum network_channel_kind { NETWORK_IS_CONNECTION, NETWORK_IS_LISTENER, NETWORK_IS_DATAGRAM };

struct network_channel {
	struct net_channel channel; // references; refs also by the table
	enum network_channel_kind kind;
	uint32_t number;  // 0: not on the table yet
	struct list node; // bucket
	bool on_table;    // bucket's lock
	int fd;           // of a connection, once it is answered; -1
	uint32_t watched; // EPOLL* bits the server will tell of; atomic
	bool targeting;   // a set_target() waits for its answer; atomic
};
static inline struct network_channel *network_channel_of(struct net_channel *c)
{
	return container_of(c, struct network_channel, channel);
}

// channel.c
extern const struct net_channel_ops network_channel_ops;
struct network_channel *network_channel_create(enum network_channel_kind kind); // NULL: no memory, or too many
struct network_channel *network_channel_find(uint32_t number);                  // referenced; NULL
// Puts it on the table, under a number of ours if 0. False: the number is taken.
bool must_check network_channel_add(struct network_channel *n, uint32_t number);
void network_channel_remove(struct network_channel *n); // off the table

// link.c. Task context. The must_check one is given up when a signal is pending: 0, -EINTR, -ENETDOWN, -ENOBUFS.
int must_check network_ask(const struct network_message *m, const void *data, size_t size);
void network_tell(const struct network_message *m); // not given up but for the end of the link

// outside.c: a message of the server, as it came: size bytes, and a descriptor (-1: none), which is consumed
void network_take(const void *message, size_t size, int fd);
void network_outside_start(void);

// connection.c
ssize_t network_connection_send(struct net_channel *c, struct iov_iter *from);
ssize_t network_connection_receive(struct net_channel *c, struct iov_iter *to, bool peek, size_t skip);
unsigned network_connection_ready(struct net_channel *c);
size_t network_connection_queued(struct net_channel *c);
int network_connection_wait(struct net_channel *c, unsigned events, uint64_t deadline_ns);
int network_connection_take_error(struct net_channel *c);
void network_connection_shutdown(struct net_channel *c, bool read, bool write);
// datagram.c
int network_datagram_send(struct net_channel *c, struct iov_iter *from, const struct outside_endpoint *to);
int network_datagram_target(struct net_channel *c, const struct outside_endpoint *to);
void network_datagram_take(struct network_channel *n, const struct network_message *m, const void *data, size_t size);
