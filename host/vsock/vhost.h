// SPDX-License-Identifier: Apache-2.0
// The vhost-user conversation with QEMU (its docs/interop/vhost-user.rst): which memory the cell has, where its rings are. Only what a
// vsock device needs. QEMU is not trusted either: all it says is checked, and what makes no sense ends the conversation.
#pragma once

#include "vsock/ring.h"

#define VHOST_RINGS   2u // receive and transmit; the event queue stays in QEMU
#define VHOST_RING_RX 0u // to the cell
#define VHOST_RING_TX 1u

struct vhost {
	int fd; // the conversation
	uint64_t cid, features;
	struct memory memory;
	struct ring rings[VHOST_RINGS];
	bool enabled[VHOST_RINGS], started[VHOST_RINGS];
	// Rings and memory are about to change, or have changed: what is in flight is dealt with, epoll sets are brought up to date.
	void (*stopping)(struct vhost *v, void *context);
	void (*changed)(struct vhost *v, void *context);
	void *context;
};

void vhost_init(struct vhost *v, int fd, uint64_t cid);
void vhost_fini(struct vhost *v);
bool vhost_ring_runs(const struct vhost *v, unsigned index);
// One message. False at the end of the conversation, with *why set when it is not an orderly one.
bool vhost_serve(struct vhost *v, const char **why);
