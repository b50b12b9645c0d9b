// SPDX-License-Identifier: Apache-2.0
// The launcher's end of the control channel (abi/control.h). The kernel is not trusted: lengths are checked, unknown
// messages skipped, and nothing it says is used as a format or a path.
#pragma once

#include "abi/control.h"
#include "base/buffer.h"

#include <stdbool.h>
#include <stdint.h>

// What messages do. Text is not NUL-terminated.
struct control_handlers {
	void (*hello)(void *context, uint32_t version);
	void (*exit)(void *context, int32_t wait_status);
	void (*text)(void *context, enum control_type type, const char *text, size_t size); // LOG, TRACE, SUMMARY, LEAK
	void (*start_failed)(void *context, int32_t error, const char *text, size_t size);
	void (*stdin_want)(void *context, uint32_t bytes);
	void (*stream_closed)(void *context, uint32_t stream, uint64_t total_bytes);
};

struct control {
	int fd; // non-blocking; -1 closed
	struct buffer in, out;
	const struct control_handlers *handlers;
	void *context;
};

// Reads and handles what is there. False when the channel closed or carried nonsense (*broken).
bool control_receive(struct control *c, bool *broken);
// Handles complete messages in c->in; for control_receive() and tests. False: nonsense.
bool control_dispatch(struct control *c);
void control_queue(struct control *c, enum control_type type, const void *payload, uint32_t size);
bool control_wants_write(const struct control *c);
void control_flush(struct control *c); // writes what the channel takes
