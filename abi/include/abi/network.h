// SPDX-License-Identifier: Apache-2.0
// What the cell's kernel and the process that serves its network grants (the server) say to each other on port hosted.
//
// One SOCK_SEQPACKET socket pair (HOSTED_NETWORK, abi/hosted.h). Each message is a struct network_message, behind it the data of a
// datagram. Rules, endpoints and OUTSIDE_* are those of abi/outside.h. A channel is one socket: its number is chosen by who opens it,
// from NETWORK_SERVER up by the server, below by the cell, and not used again while anything of it may be under way.
//
// A TCP connection is the host's descriptor, in an SCM_RIGHTS message, once it is connected: bytes go by it, never through the server.
// The server keeps a copy, to shut it down and to tell when it is ready. Descriptors of UDP sockets stay with the server, since
// whoever has one may send anywhere by it: datagrams are messages.
//
// Both sides treat the other as hostile. The server ends the conversation at nonsense; it never waits for the cell.
#pragma once

#include "abi/outside.h"

#define NETWORK_SERVER       UINT32_C(0x80000000)
#define NETWORK_CHANNELS_MAX 8192u // at a time, opened by each side

enum network_kind {
	// From the cell.
	NETWORK_CONNECT = 1, // endpoint: to. Answer: OPENED with a descriptor
	NETWORK_LISTEN,      // cell_port, flags: OUTSIDE_WANT_*, value: connections it takes. Answer: OPENED
	NETWORK_DATAGRAM,    // cell_port (0: nothing published is meant), flags: OUTSIDE_WANT_*. Answer: OPENED
	NETWORK_ROOM,        // of a LISTEN channel: value more connections are taken
	NETWORK_WATCH,       // of a connection: READY is wanted, once for each of these EPOLL* bits in value
	NETWORK_SHUTDOWN,    // of a connection, or a LISTEN channel, which ends by SHUT_READ. value: NETWORK_SHUT_*
	NETWORK_CLOSE,       // the channel is gone. Value 1: its connection is reset
	NETWORK_SEND,        // of a DATAGRAM channel: endpoint: to, data
	NETWORK_TARGET,      // the same: connect(2) to endpoint; port 0: dissolve. Answer: TARGETED
	// From the server.
	NETWORK_OPENED = 64, // value: 0, or a positive errno and the channel is gone; endpoint: local name; peer
	NETWORK_INCOMING, // a new channel, with a descriptor: value: the LISTEN channel's number; endpoint: the host's address
			  // and the cell's port; peer
	NETWORK_READY,    // value: EPOLL* bits
	NETWORK_RECEIVED, // endpoint: from, data
	NETWORK_TARGETED, // value: 0 or a positive errno; endpoint: local name
	NETWORK_ERROR,    // value: positive errno of a datagram sent earlier
};

#define NETWORK_SHUT_READ  1u
#define NETWORK_SHUT_WRITE 2u

struct network_message {
	uint16_t kind;  // enum network_kind
	uint16_t flags; // OUTSIDE_WANT_*
	uint32_t channel;
	uint32_t value;
	uint16_t cell_port;
	uint16_t reserved;
	struct outside_endpoint endpoint, peer;
};
static_assert(sizeof(struct network_message) == 56, "network message layout");

#define NETWORK_MESSAGE_MAX_BYTES (sizeof(struct network_message) + OUTSIDE_DATAGRAM_MAX)
