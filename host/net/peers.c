// SPDX-License-Identifier: Apache-2.0
#include "net/peers.h"

#include "lib/endpoint.h"

struct net_peer *net_peers_find(struct net_peers *p, const struct outside_endpoint *e)
{
	for (unsigned i = 0; i < p->count; i++)
		if (endpoint_equal(&p->list[i].endpoint, e))
			return &p->list[i];
	return NULL;
}

void net_peers_note(struct net_peers *p, const struct outside_endpoint *e, void *through)
{
	struct net_peer *peer = net_peers_find(p, e);

	if (!peer && p->count < NET_PEERS_MAX)
		peer = &p->list[p->count++];
	if (!peer) {
		peer = &p->list[0];
		for (unsigned i = 1; i < NET_PEERS_MAX; i++)
			if (p->list[i].used < peer->used)
				peer = &p->list[i];
	}
	*peer = (struct net_peer){ *e, through, 0 };
	net_peers_use(p, peer);
}

void net_peers_use(struct net_peers *p, struct net_peer *peer) { peer->used = ++p->clock; }
