// SPDX-License-Identifier: Apache-2.0
// The server of a hosted cell's network grants (abi/network.h): a process that lives in the host's network, where the cell does not.
// It makes the real sockets, checked against the rules, and hands connections over.
//
// server.c: messages and channels; connection.c: TCP; datagram.c: UDP; main.c: the process.
//
// One thread, one epoll set. It never waits for the cell: what it has to say is a few flags and values of a channel, sent when the
// link has room. So whatever the cell does, memory is bounded by the number of channels.
#pragma once

#include "abi/network.h"
#include "lib/list.h"
#include "net/peers.h"
#include "net/rules.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define SERVER_BUCKETS 1024u

struct watch {  // a descriptor in the epoll set
	int fd; // -1
	uint32_t events;
	void (*ready)(struct watch *w, uint32_t events);
};

enum channel_kind { CHANNEL_CONNECTING, CHANNEL_CONNECTION, CHANNEL_LISTENER, CHANNEL_DATAGRAM };

#define DUE_INCOMING 1u
#define DUE_OPENED   2u
#define DUE_TARGETED 4u
#define DUE_ERROR    8u
#define DUE_READY    16u

struct datagram { // of a CHANNEL_DATAGRAM
	bool v6;  // of the cell's socket, and of ours
	int target_error, error;
	struct outside_endpoint target_local;
	struct net_peers peers; // that published ports have heard from
};

struct channel {
	struct watch watch;
	struct list node, due_node;
	struct list kind_node; // server.listeners, server.paused
	struct server *server;
	uint32_t number;
	enum channel_kind kind;
	unsigned due;                        // DUE_*: messages to the cell
	uint32_t error;                      // of OPENED: the channel goes with it
	uint32_t ready;                      // of READY
	struct outside_endpoint local, peer; // of OPENED, INCOMING
	uint32_t listener;                   // of INCOMING
	uint16_t cell_port, wants;           // LISTENER
	uint32_t room;                       // LISTENER: connections it takes now
	struct datagram *datagram;
};

struct published { // a PUBLISH rule and its socket, bound by the launcher
	struct watch watch;
	const struct outside_rule *rule;
	struct outside_endpoint local;
	struct server *server;
	struct channel *datagram; // UDP: whose it is now
};

struct server {
	struct watch link;
	int epoll;
	struct net_rules rules;
	struct list buckets[SERVER_BUCKETS], due, dead;
	struct list listeners; // those served longest ago first
	struct list paused;    // datagram channels whose sockets wait for the link
	unsigned own_count, cell_count;
	uint32_t next_number;
	bool exhausted; // channels or descriptors: nothing is accepted until something is closed
	unsigned published_count;
	struct published published[OUTSIDE_RULES_MAX];
	const char *failure; // why it cannot go on
	bool ended;          // the cell is gone
};

// `sockets`: of the PUBLISH rules, in order. All descriptors are the server's from now on. False with errno.
bool server_init(struct server *s, int link, const struct net_rules *rules, const int *sockets);
void server_fini(struct server *s);
// Waits for something to do and does it. False: it is over, see failure.
bool server_step(struct server *s, int timeout_ms);

struct network_spec {
	int link; // its end of HOSTED_NETWORK
	const struct net_rules *rules;
	int sockets[OUTSIDE_RULES_MAX]; // of the PUBLISH rules, in order
};
// The process: gives up what it need not have and serves until the cell is gone. The exit status; what was wrong is on standard error.
int network_main(const struct network_spec *spec);

// ---- inside ----

bool watch_set(struct server *s, struct watch *w, uint32_t events); // 0: none
void watch_close(struct server *s, struct watch *w);

struct channel *channel_create(struct server *s, uint32_t number, enum channel_kind kind); // NULL: no memory
struct channel *channel_find(struct server *s, uint32_t number);                           // NULL
void channel_destroy(struct channel *c);
void channel_due(struct channel *c, unsigned what);
void channel_fail(struct channel *c, int error);       // OPENED with an error
void server_refuse(struct server *s, const char *why); // the cell broke the protocol
bool server_has_room(const struct server *s);          // the link took the last message
bool server_send(struct server *s, const struct network_message *m, const void *data, size_t size,
		 int fd); // false: not now; errno

static inline bool published_reaches(const struct published *p, enum outside_protocol protocol, uint16_t cell_port)
{
	return p->rule->protocol == protocol && p->rule->cell_port == cell_port;
}
// Must a socket that wants such peers be able to name those of the port?
bool published_suits(const struct published *p, unsigned wants);
void published_ready(struct watch *w, uint32_t events); // TCP

void connection_open(struct channel *c, const struct network_message *m);
void connection_watch(struct channel *c, uint32_t events);
void connection_shutdown(struct channel *c, uint32_t how);
void connection_reset(struct channel *c);
void listener_open(struct channel *c, const struct network_message *m);
void listener_room(struct channel *c, uint32_t more);
void listener_close(struct channel *c);
void server_relieve(struct server *s); // something was closed that others may be waiting for

void datagram_open(struct channel *c, const struct network_message *m);
void datagram_send(struct channel *c, const struct outside_endpoint *to, const void *data, size_t size);
void datagram_target(struct channel *c, const struct outside_endpoint *to);
void datagram_close(struct channel *c);
void datagram_published(struct watch *w, uint32_t events);
void datagram_resume(struct server *s); // the link has room again
