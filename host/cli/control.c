// SPDX-License-Identifier: Apache-2.0
#include "cli/control.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void reply_time(struct control *c, uint64_t cookie)
{
	struct control_time reply = { .cookie = cookie };
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	reply.realtime_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
	control_queue(c, CONTROL_TIME_REPLY, &reply, sizeof(reply));
}

// Copies a fixed-size payload; false when the message is shorter.
static bool fixed(const char *payload, size_t size, void *out, size_t want)
{
	if (size < want)
		return false;
	memcpy(out, payload, want);
	return true;
}

static bool handle(struct control *c, unsigned type, const char *payload, size_t size)
{
	struct control_stream_closed closed;
	uint64_t cookie;
	uint32_t number;
	int32_t value;

	switch (type) {
	case CONTROL_HELLO:
		if (!fixed(payload, size, &number, sizeof(number)))
			return false;
		c->handlers->hello(c->context, number);
		return true;
	case CONTROL_TIME_REQUEST:
		if (!fixed(payload, size, &cookie, sizeof(cookie)))
			return false;
		reply_time(c, cookie);
		return true;
	case CONTROL_EXIT:
		if (!fixed(payload, size, &value, sizeof(value)))
			return false;
		c->handlers->exit(c->context, value);
		return true;
	case CONTROL_START_FAILED:
		if (!fixed(payload, size, &value, sizeof(value)))
			return false;
		c->handlers->start_failed(c->context, value, payload + sizeof(value), size - sizeof(value));
		return true;
	case CONTROL_STDIN_WANT:
		if (!fixed(payload, size, &number, sizeof(number)))
			return false;
		c->handlers->stdin_want(c->context, number);
		return true;
	case CONTROL_STREAM_CLOSED:
		if (!fixed(payload, size, &closed, sizeof(closed)))
			return false;
		c->handlers->stream_closed(c->context, closed.stream, closed.total_bytes);
		return true;
	case CONTROL_LOG:
	case CONTROL_TRACE:
	case CONTROL_SUMMARY:
	case CONTROL_LEAK: c->handlers->text(c->context, type, payload, size); return true;
	default: return true;
	}
}

bool control_dispatch(struct control *c)
{
	size_t used = 0;
	bool ok = true;

	while (ok && c->in.size - used >= sizeof(struct control_header)) {
		struct control_header header;

		memcpy(&header, c->in.data + used, sizeof(header));
		if (header.size_bytes > CONTROL_PAYLOAD_MAX_BYTES) {
			ok = false;
			break;
		}
		if (c->in.size - used - sizeof(header) < header.size_bytes)
			break;
		ok = handle(c, header.type, c->in.data + used + sizeof(header), header.size_bytes);
		used += sizeof(header) + header.size_bytes;
	}
	if (used)
		buffer_consume(&c->in, used);
	return ok;
}

bool control_receive(struct control *c, bool *broken)
{
	ssize_t n;

	*broken = false;
	for (;;) {
		buffer_reserve(&c->in, 16384);
		n = read(c->fd, c->in.data + c->in.size, 16384);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return true;
		if (n <= 0)
			return false;
		c->in.size += (size_t)n;
		if (!control_dispatch(c)) {
			*broken = true;
			return false;
		}
	}
}

void control_queue(struct control *c, enum control_type type, const void *payload, uint32_t size)
{
	struct control_header header = { .type = (uint16_t)type, .size_bytes = size };

	if (c->fd < 0 || c->out.size > (1u << 20)) // a kernel that does not listen gets no more
		return;
	buffer_append(&c->out, &header, sizeof(header));
	buffer_append(&c->out, payload, size);
}

bool control_wants_write(const struct control *c) { return c->fd >= 0 && c->out.size; }

void control_flush(struct control *c)
{
	ssize_t n;

	while (control_wants_write(c)) {
		n = send(c->fd, c->out.data, c->out.size, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			c->out.size = 0; // the reader will see the close
		if (n <= 0)
			return;
		buffer_consume(&c->out, (size_t)n);
	}
}
