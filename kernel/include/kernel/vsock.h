// SPDX-License-Identifier: Apache-2.0
// AF_VSOCK's way to the host: what a virtio-vsock driver offers. Owner: kernel/net/vsock.c. vsock(7).
#pragma once

#include "kernel/net_channel.h"

struct vsock_backend {
	uint32_t (*local_cid)(void);
	struct net_channel *(*create)(void); // as outside_backend.create
	int (*begin)(struct net_channel *c, uint32_t local_port,
		     uint32_t remote_port); // to the host's port. 0 or -errno
};
void vsock_register(const struct vsock_backend *b); // a driver, when it can serve. Once
