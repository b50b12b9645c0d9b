// SPDX-License-Identifier: Apache-2.0
// Vector state. The kernel never touches vector registers, so those of a task that runs, in the program or in the kernel, are
// in its thread's registers or in a frame that the host made for a signal.
#pragma once

#include <stdbool.h>

void hosted_xstate_init(void);
// Loads the registers from a host signal frame's state.
void hosted_xstate_load(const void *state);
// Copies between a host signal frame's state and `buffer` (port_xstate_size_bytes()).
void hosted_xstate_exchange(void *state, void *buffer, bool to_frame);
