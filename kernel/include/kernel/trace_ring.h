// SPDX-License-Identifier: Apache-2.0
// Printing the trace ring (kernel/log.h: trace_event).
#pragma once

#include "kernel/types.h"

// Oldest first, at most `newest` events of each CPU.
void trace_ring_print(void (*print)(const char *text, size_t size), unsigned newest);
