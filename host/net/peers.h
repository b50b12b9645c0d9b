// SPDX-License-Identifier: Apache-2.0
// Whom a published UDP socket has heard from lately, and may therefore answer.
#pragma once

#include "abi/outside.h"

#include <stddef.h>

#define NET_PEERS_MAX 64u

struct net_peer {
	struct outside_endpoint endpoint;
	void *through; // the published port it was heard by; the caller's
	uint64_t used; // when, in datagrams
};

struct net_peers { // begins as zeros
	uint64_t clock;
	unsigned count;
	struct net_peer list[NET_PEERS_MAX];
};

struct net_peer *net_peers_find(struct net_peers *p, const struct outside_endpoint *e); // NULL
// The one not used for longest makes room.
void net_peers_note(struct net_peers *p, const struct outside_endpoint *e, void *through);
void net_peers_use(struct net_peers *p, struct net_peer *peer);
