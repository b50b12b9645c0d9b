// SPDX-License-Identifier: Apache-2.0
// Does a cell start as abi/hosted.h says, and end, whatever becomes of its processes? The kernel is test_image.c, which looks at
// its hand-off itself and tells what is wrong with it on the log stream.
#include "hosted/machine.h"

#include "abi/control.h"
#include "base/buffer.h"
#include "base/tsc.h"
#include "manifest/cell.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#define PATIENCE_MS 5000

static struct machine machine;
static struct err error;

static bool begin(const char *word, bool no_aslr)
{
	struct buffer record = { 0 };
	struct tsc_rate tsc = { .hz = 1000000000, .exact = true, .good_clock = true };
	struct cell cell;
	struct machine_spec spec = { .cell = &cell, .kernel_path = TEST_IMAGE, .record = &record, .tsc = &tsc };
	char text[64];
	bool ok;

	cell_init(&cell);
	cell.no_aslr = no_aslr;
	snprintf(text, sizeof(text), "record @do:%s", word);
	buffer_append(&record, text, strlen(text) + 1);
	machine_init(&machine, &hosted_machine_kind);
	ok = machine.kind->prepare(&machine, &spec, &error) && machine.kind->start(&machine, &spec, &error);
	buffer_fini(&record);
	cell_fini(&cell);
	return ok;
}

// Reads a stream to its end.
static void read_all(enum machine_stream stream, struct buffer *got)
{
	struct pollfd p = { .fd = machine.streams[stream], .events = POLLIN };
	char chunk[4096];

	for (;;) {
		ssize_t n;

		assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
		n = read(p.fd, chunk, sizeof(chunk));
		assert_true(n >= 0);
		if (!n)
			return;
		buffer_append(got, chunk, (size_t)n);
	}
}

static void expect_stream(enum machine_stream stream, const char *expected)
{
	struct buffer got = { 0 };

	read_all(stream, &got);
	buffer_append(&got, "", 1);
	assert_string_equal(got.data, expected);
	buffer_fini(&got);
}

static void wait_for_hello(void)
{
	const struct control_header hello = { .type = CONTROL_HELLO, .size_bytes = sizeof(uint32_t) };
	struct pollfd p = { .fd = machine.streams[STREAM_CONTROL], .events = POLLIN };
	struct control_header got = { 0 };

	assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
	assert_int_equal(read(p.fd, &got, sizeof(got)), sizeof(got));
	assert_memory_equal(&got, &hello, sizeof(hello));
}

// Waits for the end of everything: the streams end when no process of the cell is left.
static enum machine_end finish(void)
{
	const int64_t deadline = time(NULL) + PATIENCE_MS / 1000;
	struct buffer control = { 0 }, log = { 0 };
	enum machine_end how;

	while (!process_reap(&machine.process)) {
		assert_true(time(NULL) <= deadline);
		usleep(1000);
	}
	if (machine.kind->ended)
		machine.kind->ended(&machine);
	read_all(STREAM_CONTROL, &control);
	read_all(STREAM_LOG, &log);
	if (log.size && memmem(log.data, log.size, "wrong: ", 7))
		fail_msg("%.*s", (int)log.size, log.data);
	buffer_fini(&control);
	buffer_fini(&log);
	how = machine.kind->end(&machine);
	if (how == MACHINE_BROKEN)
		assert_false(machine.kind->explain(&machine, &error));
	return how;
}

static void stop(void)
{
	machine.kind->stop(&machine, false);
	machine.kind->stop(&machine, false); // harmless
}

static void test_the_kernel_finds_what_it_was_promised(void **state)
{
	(void)state;
	for (int no_aslr = 0; no_aslr < 2; no_aslr++) {
		if (!begin("ok", no_aslr))
			fail_msg("%s", error.text);
		expect_stream(STREAM_STDOUT, "out\n");
		expect_stream(STREAM_STDERR, "err\n");
		assert_int_equal(finish(), MACHINE_DONE);
		stop();
	}
}

static void test_input_arrives_and_ends(void **state)
{
	(void)state;
	assert_true(begin("echo", false));
	assert_int_equal(write(machine.streams[STREAM_STDIN], "hello ", 6), 6);
	close(machine.streams[STREAM_STDIN]);
	machine.streams[STREAM_STDIN] = -1;
	expect_stream(STREAM_STDOUT, "hello out\n");
	assert_int_equal(finish(), MACHINE_DONE);
	stop();
}

static void test_how_the_kernel_ends_it(void **state)
{
	(void)state;
	assert_true(begin("panic", false));
	assert_int_equal(finish(), MACHINE_PANIC);
	stop();
	assert_true(begin("boot", false));
	assert_int_equal(finish(), MACHINE_REFUSED);
	stop();
	assert_true(begin("status", false));
	assert_int_equal(finish(), MACHINE_BROKEN);
	assert_int_equal(error.exit_status, EXIT_CELL_CRASHED);
	assert_non_null(strstr(error.text, "99"));
	stop();
}

// The host kills who makes a call that is not admitted, unless it handles SIGSYS; this kernel does not.
static void test_a_killed_process_ends_the_cell(void **state)
{
	static const struct {
		const char *word, *says;
	} cases[] = {
		{ "fault", "signal 11" }, { "call", "signal 31" }, { "outside", "signal 31" }, { "child", "signal 4" }
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_true(begin(cases[i].word, false));
		assert_int_equal(finish(), MACHINE_BROKEN);
		assert_int_equal(error.exit_status, EXIT_CELL_KILLED);
		assert_non_null(strstr(error.text, cases[i].says));
		stop();
	}
}

static void test_a_cell_without_its_broker_ends(void **state)
{
	(void)state;
	assert_true(begin("leave", false));
	assert_int_equal(finish(), MACHINE_BROKEN);
	assert_int_equal(error.exit_status, EXIT_CELL_CRASHED);
	assert_non_null(strstr(error.text, "broker"));
	stop();
}

static void test_a_dead_supervisor_takes_everything_along(void **state)
{
	(void)state;
	assert_true(begin("wait", false));
	wait_for_hello();
	kill(machine.process.pid, SIGKILL);
	assert_int_equal(finish(), MACHINE_BROKEN);
	assert_int_equal(error.exit_status, EXIT_CELL_KILLED);
	stop();
}

static void test_stopping_leaves_nothing(void **state)
{
	int control;
	char byte;

	(void)state;
	assert_true(begin("wait", false));
	wait_for_hello();
	control = dup(machine.streams[STREAM_CONTROL]);
	stop();
	// Nobody holds the other end.
	while (read(control, &byte, 1) > 0)
		;
	assert_int_equal(read(control, &byte, 1), 0);
	close(control);
}

static void test_a_missing_or_wrong_image_is_one_line(void **state)
{
	struct cell cell;
	struct machine_spec spec = { .cell = &cell, .kernel_path = "/nonexistent" };

	(void)state;
	cell_init(&cell);
	machine_init(&machine, &hosted_machine_kind);
	assert_false(machine.kind->prepare(&machine, &spec, &error));
	assert_int_equal(error.exit_status, EXIT_HOST_MISSING);
	stop();
	spec.kernel_path = "/bin/true";
	machine_init(&machine, &hosted_machine_kind);
	assert_false(machine.kind->prepare(&machine, &spec, &error));
	assert_int_equal(error.exit_status, EXIT_HOST_MISSING);
	assert_non_null(strstr(error.text, "no kernel of port hosted"));
	stop();
	cell_fini(&cell);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_kernel_finds_what_it_was_promised),
		cmocka_unit_test(test_input_arrives_and_ends),
		cmocka_unit_test(test_how_the_kernel_ends_it),
		cmocka_unit_test(test_a_killed_process_ends_the_cell),
		cmocka_unit_test(test_a_cell_without_its_broker_ends),
		cmocka_unit_test(test_a_dead_supervisor_takes_everything_along),
		cmocka_unit_test(test_stopping_leaves_nothing),
		cmocka_unit_test(test_a_missing_or_wrong_image_is_one_line),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
