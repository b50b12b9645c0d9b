// SPDX-License-Identifier: Apache-2.0
// One direction of a byte stream: from one descriptor to another, through a bounded buffer. Back-pressure is the
// buffer: while it is full nothing is read. One side is a host stream that must not be made non-blocking (others share
// it); it is only touched when poll() says so, and pipes only by as much as they promise to take.
#pragma once

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RELAY_BUFFER_BYTES 65536u
#define RELAY_UNLIMITED    UINT64_MAX

struct relay {
	int from, to;         // -1: closed
	uint64_t credit;      // may be read yet
	uint64_t total;       // has been read
	uint64_t close_after; // take this many in all, then close; RELAY_UNLIMITED
	bool to_blocks;       // `to` is a blocking descriptor
	bool broken;          // `to` takes no more
	bool input_ended;
	size_t start, end;
	char buffer[RELAY_BUFFER_BYTES];
};

// Does not own the descriptors: what to close when `done` is the caller's.
void relay_init(struct relay *r, int from, int to, uint64_t credit, bool to_blocks);
// The poll entries it waits for now: fd -1 when none. At most one of the two has events unless both are wanted.
void relay_poll(const struct relay *r, struct pollfd *from, struct pollfd *to);
// Moves what the poll results allow.
void relay_move(struct relay *r, short from_events, short to_events);
// A byte more that nobody sent; the buffer is empty.
void relay_put(struct relay *r, char byte);
// All input was passed on, or the output is broken.
bool relay_done(const struct relay *r);
