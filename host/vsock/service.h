// SPDX-License-Identifier: Apache-2.0
// Sockets for a cell: the host's end of abi/outside.h. Every socket is checked against the rules here, whatever the cell's kernel
// has checked before.
#pragma once

#include "net/rules.h"
#include "vsock/device.h"

struct published { // a PUBLISH rule and its socket, bound by the launcher
	struct watch watch;
	const struct outside_rule *rule;
	struct outside_endpoint local;
	struct service *service;
	struct datagram *datagram; // UDP: whose it is now
};

struct service {
	struct device device;
	struct net_rules rules;
	struct list listeners; // struct host_socket; those served longest ago first
	bool exhausted;        // streams or descriptors: nothing is accepted until something is closed
	unsigned published_count;
	struct published published[OUTSIDE_RULES_MAX];
};

// `sockets`: of the PUBLISH rules, in order.
bool service_init(struct service *s, int vhost_fd, uint64_t cid, const struct net_rules *rules, const int *sockets);
void service_fini(struct service *s);

// sockets.c, datagram.c: what streams are, by their first request
enum socket_kind {
	SOCKET_NEW,
	SOCKET_CONNECTING,
	SOCKET_RELAY,
	SOCKET_INCOMING,
	SOCKET_LISTENER,
	SOCKET_DATAGRAM,
	SOCKET_OVER
};

struct host_socket { // stream.user
	struct watch watch;
	struct stream *stream;
	enum socket_kind kind;
	bool write_ended;                 // the peer was told that no more comes
	struct outside_incoming incoming; // INCOMING
	struct list listener_node;        // LISTENER, like what follows
	uint16_t cell_port, wants;        // OUTSIDE_WANT_*
	uint32_t room;                    // connections it takes now
	struct datagram *datagram;
};

static inline struct service *service_of(const struct stream *s) { return s->device->service; }
struct host_socket *host_socket_create(void);
void host_socket_reply(struct host_socket *h, int error, const struct outside_endpoint *local,
		       const struct outside_endpoint *peer);

void datagram_open(struct host_socket *h, const struct outside_request *r);
void datagram_input(struct host_socket *h);
void datagram_update(struct host_socket *h);
void datagram_published(struct published *p); // its socket is readable
void datagram_closed(struct host_socket *h);
