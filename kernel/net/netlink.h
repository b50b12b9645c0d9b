// SPDX-License-Identifier: Apache-2.0
// Building answers: netlink.c, and the protocols that have files of their own.
#pragma once

#include "socket.h"

#include <linux/netlink.h>

#define NETLINK_PACKET_BYTES 8192u
#define SMALL_REPLY_BYTES    512u // holds all that is known of lo, or an error

struct netlink_reply {
	struct socket *socket;
	const struct nlmsghdr *request; // all nlmsg_len bytes of it are there
	struct packet *packet;          // being filled, or NULL
	uint32_t used;
};

static inline bool netlink_is_dump(const struct nlmsghdr *h) { return (h->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP; }

// Makes room for a message of at most `size` bytes. -ENOBUFS: memory, or the receiver's patience, is used up.
int must_check netlink_reserve(struct netlink_reply *r, size_t size);
// Parts of one message, within what was reserved.
struct nlmsghdr *netlink_begin(struct netlink_reply *r, uint16_t type, uint16_t flags);
void *netlink_append(struct netlink_reply *r, size_t size); // zeroed
void netlink_attribute(struct netlink_reply *r, unsigned short type, const void *data, size_t size);
void netlink_end(struct netlink_reply *r, struct nlmsghdr *h);

// The protocols: 0 or -errno, to be answered. SMALL_REPLY_BYTES are reserved.
int route_answer(struct netlink_reply *r);     // NETLINK_ROUTE: route.c
int sock_diag_answer(struct netlink_reply *r); // NETLINK_SOCK_DIAG: sock_diag.c
