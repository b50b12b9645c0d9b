// SPDX-License-Identifier: Apache-2.0
// The set arithmetic of select(2), apart for its unit test. Sets: read, write, except.
#pragma once

#include "kernel/poll.h"

// Events that matter for `fd` by the sets it is in.
unsigned select_events_wanted(uint64_t *const in[3], unsigned fd);
// Marks `fd` in the results its events stand for; in how many.
unsigned select_events_store(uint64_t *const in[3], uint64_t *const out[3], unsigned fd, unsigned events);
// The first descriptor >= from that is in any set, or -1.
int select_next(uint64_t *const in[3], unsigned words, int from);
