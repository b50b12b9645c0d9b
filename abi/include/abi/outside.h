// SPDX-License-Identifier: Apache-2.0
// Sockets to the outside: what a cell's kernel and the process that serves its network grants say to each other.
//
// It travels in virtio-vsock streams (VIRTIO 1.2, 5.10) between the cell and the host's OUTSIDE_PORT. One stream is one socket. The
// cell opens a stream and sends a struct outside_request; the answer is a struct outside_reply. Then:
// - OUTSIDE_CONNECT: the stream is the TCP connection, byte for byte; shutting down a direction shuts it down there too.
// - OUTSIDE_LISTEN: the cell sends struct outside_room whenever it can take more connections. For each connection that comes, the
//   server opens a stream to the cell's OUTSIDE_PORT and sends a struct outside_incoming; the bytes of the connection follow.
// - OUTSIDE_DATAGRAM: records both ways, each a struct outside_datagram and `size_bytes` of data.
//
// All little-endian. Both sides treat the other as hostile.
#pragma once

#include <assert.h>
#include <stdint.h>

#define OUTSIDE_PORT         1u  // vsock port of the service, on both sides
#define OUTSIDE_RULES_MAX    64u // of a cell
#define OUTSIDE_DATAGRAM_MAX 65507u

// IPv4 addresses are kept as ::ffff:a.b.c.d. Ports are in host order.
struct outside_endpoint {
	uint8_t ip[16];
	uint16_t port;
	uint16_t reserved;
};
static_assert(sizeof(struct outside_endpoint) == 20, "endpoint layout");

enum outside_operation { OUTSIDE_CONNECT = 1, OUTSIDE_LISTEN = 2, OUTSIDE_DATAGRAM = 3 };

#define OUTSIDE_WANT_V4 UINT16_C(1) // LISTEN, DATAGRAM: the socket can name peers of this kind
#define OUTSIDE_WANT_V6 UINT16_C(2)

struct outside_request {
	uint32_t operation;
	uint32_t room;      // LISTEN: connections it takes before it sends more room
	uint16_t cell_port; // LISTEN, DATAGRAM: what it is bound to; DATAGRAM: 0 when nothing published is meant
	uint16_t flags;     // OUTSIDE_WANT_*
	struct outside_endpoint to; // CONNECT
};
static_assert(sizeof(struct outside_request) == 32, "request layout");

struct outside_reply {
	int32_t error; // 0, or a positive errno; then the stream ends
	uint32_t reserved;
	struct outside_endpoint local, peer; // CONNECT: both ends of the real connection; DATAGRAM: local
};
static_assert(sizeof(struct outside_reply) == 48, "reply layout");

struct outside_room {
	uint32_t more;
};

struct outside_incoming {
	uint32_t listener; // the cell's vsock port of the LISTEN stream
	uint32_t reserved;
	struct outside_endpoint local, peer; // local: the host's address, the cell's port
};
static_assert(sizeof(struct outside_incoming) == 48, "incoming layout");

enum outside_datagram_kind {
	OUTSIDE_DATA = 0,   // endpoint: destination (to the host) or source (to the cell)
	OUTSIDE_TARGET = 1, // to the host: connect(2) to the endpoint; port 0: dissolve
	OUTSIDE_NAME = 2,   // to the cell: answer to TARGET; endpoint: the local name. `error` if it failed
	OUTSIDE_ERROR = 3,  // to the cell: an error of something sent earlier
};

struct outside_datagram {
	uint32_t size_bytes; // of data behind this header; 0 unless OUTSIDE_DATA
	uint16_t kind;       // enum outside_datagram_kind
	uint16_t error;      // positive errno
	struct outside_endpoint endpoint;
};
static_assert(sizeof(struct outside_datagram) == 28, "datagram layout");

// ---- rules ----

enum outside_rule_kind { OUTSIDE_RULE_CONNECT = 1, OUTSIDE_RULE_PUBLISH = 2 };
enum outside_protocol { OUTSIDE_TCP = 1, OUTSIDE_UDP = 2 };

// One grant. CONNECT: the cell may send to `address`/`prefix_bits`, ports port_first to port_last. PUBLISH: the host's
// `address`:port_first leads to the cell's `cell_port`.
struct outside_rule {
	uint8_t kind, protocol;
	uint8_t prefix_bits; // of 128
	uint8_t reserved;
	uint16_t port_first, port_last;
	uint16_t cell_port;
	uint16_t reserved2;
	uint8_t address[16];
};
static_assert(sizeof(struct outside_rule) == 28, "rule layout");
