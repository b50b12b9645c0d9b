// SPDX-License-Identifier: Apache-2.0
// Internet sockets to the outside, as the network grants allow: what a backend offers. Owner: kernel/net/outside.c.
#pragma once

#include "kernel/net_channel.h"

// Each makes a channel with one reference, the caller's, that has no socket yet; err_ptr (-ENETDOWN, -ENOBUFS). `begin` starts it; the
// answer comes by net_channel_connected().
struct outside_backend {
	struct net_channel *(*create)(void);
	int (*begin)(struct net_channel *c,
		     const struct outside_request *r); // 0 or -errno; then the channel is closed by the caller
};
void outside_register(const struct outside_backend *b); // a driver, when it can serve. Once
