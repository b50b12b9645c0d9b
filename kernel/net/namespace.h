// SPDX-License-Identifier: Apache-2.0
// Network namespaces: each has sockets, ports, abstract names and a loopback interface of its own. network_namespaces(7).
// Owner: namespace.c. The loopback's state is interface.c's.
#pragma once

#include "kernel/namespace.h"
#include "kernel/task.h"

struct net_namespace {
	struct namespace common;
	bool up;        // lo is; atomic
	bool addressed; // lo has 127.0.0.1; once given it stays, but only counts while lo is up. Atomic
	uint64_t gone_packets, gone_bytes; // what sockets that are gone had received from lo: sockets_lock (socket.c)
};
extern struct net_namespace net_namespace_first; // the one that network grants belong to

static inline struct net_namespace *net_namespace_current(void)
{
	return container_of(current->namespaces->of[NAMESPACE_NET], struct net_namespace, common);
}

// The first one needs no counting, so that all the cell's sockets do not meet at one counter.
static inline void net_namespace_get(struct net_namespace *n)
{
	if (n != &net_namespace_first)
		namespace_get(&n->common);
}
static inline void net_namespace_put(struct net_namespace *n)
{
	if (n != &net_namespace_first)
		namespace_put(&n->common);
}

// May somebody with these credentials do in it what takes a capability?
static inline bool net_capable(const struct cred *c, const struct net_namespace *n, unsigned cap)
{
	return cred_capable_in(c, n->common.owner, cap);
}

// ---- lo: interface.c ----

#define LO_INDEX   1
#define LO_ADDRESS 0x0100007fu // 127.0.0.1 in network order

static inline bool lo_is_up(const struct net_namespace *n) { return __atomic_load_n(&n->up, __ATOMIC_RELAXED); }
static inline bool lo_is_addressed(const struct net_namespace *n)
{
	return __atomic_load_n(&n->addressed, __ATOMIC_RELAXED);
}
unsigned lo_flags(const struct net_namespace *n);           // IFF_*
void lo_set_flags(struct net_namespace *n, unsigned flags); // of IFF_*, IFF_UP counts; the caller has checked rights
int lo_add_address(struct net_namespace *n,
		   uint32_t address); // IPv4, network order. -EEXIST, -EOPNOTSUPP: only 127.0.0.1 can be had

struct socket;
// netdevice(7), on a socket of any family. -ENOIOCTLCMD: another request.
long interface_ioctl(struct socket *s, unsigned command, uint64_t argument);
