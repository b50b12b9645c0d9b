// SPDX-License-Identifier: Apache-2.0
// The control channel against a kernel that splits, floods and lies; and relays against slow and closed readers.
#include "base/relay.h"
#include "cli/control.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

static struct {
	int exits, texts, wants;
	int32_t status;
	size_t text_bytes;
	uint64_t closed_bytes;
} seen;

static void on_exit_message(void *context, int32_t status)
{
	(void)context;
	seen.exits++;
	seen.status = status;
}

static void on_text(void *context, enum control_type type, const char *text, size_t size)
{
	(void)context, (void)type, (void)text;
	seen.texts++;
	seen.text_bytes += size;
}

static void on_want(void *context, uint32_t bytes)
{
	(void)context, (void)bytes;
	seen.wants++;
}

static void on_closed(void *context, uint32_t stream, uint64_t total)
{
	(void)context, (void)stream;
	seen.closed_bytes = total;
}

static const struct control_handlers handlers = {
	.exit = on_exit_message, .text = on_text, .stdin_want = on_want, .stream_closed = on_closed
};

static void put(struct buffer *b, uint16_t type, const void *payload, uint32_t size)
{
	struct control_header h = { .type = type, .size_bytes = size };

	buffer_append(b, &h, sizeof(h));
	buffer_append(b, payload, size);
}

static void test_messages_split_anywhere(void **state)
{
	struct control_stream_closed closed = { .stream = 1, .total_bytes = 9 };
	struct control c = { .fd = -1, .handlers = &handlers };
	struct buffer all = { 0 };
	int32_t status = 256;
	uint32_t want = 7;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	put(&all, CONTROL_LOG, "hello\n", 6);
	put(&all, 999, "unknown", 7); // skipped
	put(&all, CONTROL_STDIN_WANT, &want, sizeof(want));
	put(&all, CONTROL_STREAM_CLOSED, &closed, sizeof(closed));
	put(&all, CONTROL_EXIT, &status, sizeof(status));
	for (size_t i = 0; i < all.size; i++) {
		buffer_append(&c.in, all.data + i, 1);
		assert_true(control_dispatch(&c));
	}
	assert_int_equal(seen.texts, 1);
	assert_int_equal(seen.wants, 1);
	assert_int_equal(seen.closed_bytes, 9);
	assert_int_equal(seen.exits, 1);
	assert_int_equal(seen.status, 256);
	assert_int_equal(c.in.size, 0);
	buffer_fini(&all);
	buffer_fini(&c.in);
}

static void test_lengths_are_checked(void **state)
{
	struct control c = { .fd = -1, .handlers = &handlers };
	struct control_header h = { .type = CONTROL_LOG, .size_bytes = CONTROL_PAYLOAD_MAX_BYTES + 1 };

	(void)state;
	memset(&seen, 0, sizeof(seen));
	buffer_append(&c.in, &h, sizeof(h));
	assert_false(control_dispatch(&c));
	c.in.size = 0;
	put(&c.in, CONTROL_EXIT, "ab", 2); // too short
	assert_false(control_dispatch(&c));
	assert_int_equal(seen.exits, 0);
	buffer_fini(&c.in);
}

static void test_time_requests_are_answered(void **state)
{
	struct control c = { .fd = 1000, .handlers = &handlers }; // never written here
	struct control_header h;
	struct control_time t;
	uint64_t cookie = 42;

	(void)state;
	put(&c.in, CONTROL_TIME_REQUEST, &cookie, sizeof(cookie));
	assert_true(control_dispatch(&c));
	assert_int_equal(c.out.size, sizeof(h) + sizeof(t));
	memcpy(&h, c.out.data, sizeof(h));
	memcpy(&t, c.out.data + sizeof(h), sizeof(t));
	assert_int_equal(h.type, CONTROL_TIME_REPLY);
	assert_int_equal(t.cookie, 42);
	assert_true(t.realtime_ns > 1000000000);
	buffer_fini(&c.in);
	buffer_fini(&c.out);
}

static struct relay r;

static void test_a_relay_reads_no_more_than_it_may(void **state)
{
	int in[2], out[2];
	char text[16];
	struct pollfd from, to;

	(void)state;
	assert_int_equal(pipe(in) | pipe(out), 0);
	assert_int_equal(write(in[1], "abcdef", 6), 6);
	relay_init(&r, in[0], out[1], 0, false);
	relay_poll(&r, &from, &to);
	assert_int_equal(from.fd, -1); // nobody wants anything yet
	r.credit = 4;
	relay_poll(&r, &from, &to);
	assert_int_equal(from.fd, in[0]);
	relay_move(&r, POLLIN, 0);
	assert_int_equal(read(out[0], text, sizeof(text)), 4);
	relay_poll(&r, &from, &to);
	assert_int_equal(from.fd, -1);
	assert_int_equal(read(in[0], text, sizeof(text)), 2); // left for the next reader
	r.credit = RELAY_UNLIMITED;
	close(in[1]);
	relay_move(&r, POLLHUP, 0);
	assert_true(relay_done(&r));
	close(in[0]);
	close(out[0]);
	close(out[1]);
}

static void test_a_relay_closes_after_what_was_promised(void **state)
{
	int in[2], out[2];
	char text[16];

	(void)state;
	assert_int_equal(pipe(in) | pipe(out), 0);
	relay_init(&r, in[0], out[1], RELAY_UNLIMITED, true);
	assert_int_equal(write(in[1], "abcdef", 6), 6);
	r.close_after = 5;
	relay_move(&r, POLLIN, 0);
	assert_false(relay_done(&r));
	relay_move(&r, 0, POLLOUT);
	assert_true(relay_done(&r));
	assert_int_equal(read(out[0], text, sizeof(text)), 5);
	relay_init(&r, in[0], out[1], RELAY_UNLIMITED, true);
	r.close_after = 0; // closed before a byte was written
	relay_move(&r, 0, 0);
	assert_true(relay_done(&r));
	close(out[0]);
	signal(SIGPIPE, SIG_IGN);
	relay_init(&r, in[0], out[1], RELAY_UNLIMITED, true);
	relay_move(&r, POLLIN, 0);
	relay_move(&r, 0, POLLERR);
	assert_true(relay_done(&r)); // broken: the reader is gone
	assert_true(r.broken);
	close(in[0]);
	close(in[1]);
	close(out[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_messages_split_anywhere),
		cmocka_unit_test(test_lengths_are_checked),
		cmocka_unit_test(test_time_requests_are_answered),
		cmocka_unit_test(test_a_relay_reads_no_more_than_it_may),
		cmocka_unit_test(test_a_relay_closes_after_what_was_promised),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
