// SPDX-License-Identifier: Apache-2.0
#include "base/relay.h"

#include <errno.h>
#include <limits.h>
#include <unistd.h>

void relay_init(struct relay *r, int from, int to, uint64_t credit, bool to_blocks)
{
	r->from = from;
	r->to = to;
	r->credit = credit;
	r->total = 0;
	r->close_after = RELAY_UNLIMITED;
	r->to_blocks = to_blocks;
	r->broken = r->input_ended = false;
	r->start = r->end = 0;
}

bool relay_done(const struct relay *r) { return r->broken || (r->input_ended && r->start == r->end); }

static bool wants_input(const struct relay *r)
{
	return !r->input_ended && !r->broken && r->credit && r->start == r->end;
}

void relay_poll(const struct relay *r, struct pollfd *from, struct pollfd *to)
{
	*from = (struct pollfd){ .fd = wants_input(r) ? r->from : -1, .events = POLLIN };
	*to = (struct pollfd){ .fd = !r->broken && r->start < r->end ? r->to : -1, .events = POLLOUT };
}

static void take(struct relay *r)
{
	size_t room = sizeof(r->buffer);
	ssize_t n;

	if (room > r->credit)
		room = (size_t)r->credit;
	if (r->close_after - r->total < room)
		room = (size_t)(r->close_after - r->total);
	n = room ? read(r->from, r->buffer, room) : 0;
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		r->input_ended = true;
		return;
	}
	r->start = 0;
	r->end = (size_t)n;
	r->total += (uint64_t)n;
	if (r->credit != RELAY_UNLIMITED)
		r->credit -= (uint64_t)n;
	if (r->total >= r->close_after)
		r->input_ended = true;
}

static void give(struct relay *r)
{
	size_t size = r->end - r->start;
	ssize_t n;

	// A pipe that polls writable takes PIPE_BUF bytes without blocking; more might block.
	if (r->to_blocks && size > PIPE_BUF)
		size = PIPE_BUF;
	n = write(r->to, r->buffer + r->start, size);
	if (n < 0 && errno != EINTR && errno != EAGAIN)
		r->broken = true;
	else if (n > 0)
		r->start += (size_t)n;
}

void relay_move(struct relay *r, short from_events, short to_events)
{
	if (from_events && wants_input(r))
		take(r);
	if (r->total >= r->close_after && !r->input_ended)
		r->input_ended = true;
	// What was just read may go on at once when the other side is ours and non-blocking.
	if (r->start < r->end && !r->broken && (to_events || (from_events && !r->to_blocks)))
		give(r);
}

void relay_put(struct relay *r, char byte)
{
	r->buffer[0] = byte;
	r->start = 0;
	r->end = 1;
}
