// SPDX-License-Identifier: Apache-2.0
// Byte channels over descriptors of the host: channel.c (the streams) and ready.c (who waits for them).
#pragma once

#include "kernel/channel.h"
#include "lib/compiler.h"

struct stream {
	struct channel channel; // constant but for its wait queue
	int fd;                 // non-blocking
	unsigned directions;    // POLLIN, POLLOUT: which ways it goes
	unsigned wanted;        // ready.c's lock: POLL* bits that somebody wants to hear of
};

#define HOSTIO_STREAMS_MAX 8u

// Makes the next of `events` (POLL* bits) wake the stream's queue, once. Any task context.
void ready_want(struct stream *s, unsigned events);
// Streams are added before the first ready_want().
void ready_add(struct stream *s);
// Starts the task that waits. -ENOMEM. Without a doorbell (an eventfd) nobody is ever woken.
int must_check ready_start(int doorbell);
// One round of that task; for it and for tests. Waits for something that is wanted.
void ready_round(void);
