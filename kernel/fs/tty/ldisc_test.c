// SPDX-License-Identifier: Apache-2.0
// Does the line discipline edit, echo, signal and deliver as termios(3) says?
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/errno.h"
#include "tty.h"

// ---- what the line discipline stands on ----

static char wire[4096]; // what was sent to the terminal
static size_t wire_size;
static int last_signal;

void mutex_lock(struct mutex *m) { (void)m; }
void mutex_unlock(struct mutex *m) { (void)m; }
void waitq_wake_events(struct waitq *q, unsigned exclusive, unsigned events) { (void)q, (void)exclusive, (void)events; }
void waitq_add(struct waitq *q, struct waiter *w) { (void)q, (void)w; }
void waitq_remove(struct waitq *q, struct waiter *w) { (void)q, (void)w; }
void waiter_init(struct waiter *w) { (void)w; }
void task_prepare_park(enum park_mode mode) { (void)mode; }
int task_park(uint64_t deadline)
{
	(void)deadline;
	return -EINTR;
} // nobody types while we wait
void task_finish_park(void) {}
void tty_signal_foreground(struct tty *t, int signal)
{
	(void)t;
	last_signal = signal;
}
int tty_check_background(struct tty *t, int signal)
{
	(void)t, (void)signal;
	return 0;
}
bool file_nonblock(const struct file *f) { return f->flags & O_NONBLOCK; }
uint64_t port_time_ns(void) { return 0; }
void iov_revert(struct iov_iter *i, size_t size) { i->kernel -= size, i->count += size; }
size_t iov_copy_to(struct iov_iter *to, const void *from, size_t size)
{
	memcpy(to->kernel, from, size);
	to->kernel += size;
	to->count -= size;
	return size;
}
size_t iov_copy_from(void *to, struct iov_iter *from, size_t size)
{
	size = size < from->count ? size : from->count;
	memcpy(to, from->kernel, size);
	from->kernel += size;
	from->count -= size;
	return size;
}

static size_t wire_write(struct tty *t, const char *data, size_t size)
{
	(void)t;
	memcpy(wire + wire_size, data, size);
	wire_size += size;
	return size;
}
static size_t wire_room(struct tty *t)
{
	(void)t;
	return sizeof(wire) - wire_size;
}
static const struct tty_driver driver = { .write = wire_write, .write_room = wire_room };

static struct tty tty;
static struct file file;

static int setup(void **state)
{
	(void)state;
	memset(&tty, 0, sizeof(tty));
	tty.driver = &driver;
	tty.termios = (struct termios2){
		.c_iflag = ICRNL | IXON,
		.c_oflag = OPOST | ONLCR,
		.c_lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
		.c_cc = { [VINTR] = 3,
			  [VERASE] = 127,
			  [VKILL] = 21,
			  [VEOF] = 4,
			  [VMIN] = 1,
			  [VSTART] = 17,
			  [VSTOP] = 19,
			  [VSUSP] = 26,
			  [VWERASE] = 23,
			  [VLNEXT] = 22 },
	};
	wire_size = 0;
	last_signal = 0;
	return 0;
}

static void type(const char *text) { ldisc_receive(&tty, text, strlen(text)); }

static void expect_wire(const char *text)
{
	wire[wire_size] = '\0';
	assert_string_equal(wire, text);
	wire_size = 0;
}

static ssize_t take(char *buffer, size_t size)
{
	struct iov_iter to = { .kernel = buffer, .count = size };
	return ldisc_read(&tty, &file, &to);
}

static void expect_line(const char *text)
{
	char buffer[256] = { 0 };
	assert_int_equal(take(buffer, sizeof(buffer) - 1), strlen(text));
	assert_string_equal(buffer, text);
}

static void a_line_is_read_whole_and_echoed(void **state)
{
	(void)state;
	type("one");
	assert_false(ldisc_readable(&tty));
	type("\rtwo\n");
	expect_wire("one\r\ntwo\r\n");
	expect_line("one\n");
	expect_line("two\n");
	assert_false(ldisc_readable(&tty));
}

static void editing_characters_edit(void **state)
{
	(void)state;
	type("abc\177d\n");
	expect_wire("abc\b \bd\r\n");
	expect_line("abd\n");
	type("two words\027x\n");
	expect_line("two x\n");
	type("gone\025kept\n");
	expect_line("kept\n");
	type("\026\003\n"); // ^V^C: literally
	expect_line("\003\n");
	assert_int_equal(last_signal, 0);
	tty.termios.c_iflag |= IUTF8;
	type("a\xc3\xa9\177b\n"); // an accented letter goes as one
	expect_line("ab\n");
}

static void end_of_file_ends_a_read(void **state)
{
	char buffer[8];

	(void)state;
	type("part\004");
	expect_line("part");
	type("\004");
	assert_true(ldisc_readable(&tty));
	assert_int_equal(take(buffer, sizeof(buffer)), 0);
	type("four\004");
	assert_int_equal(take(buffer, 4), 4); // exactly the buffer's size: no false end of file afterwards
	assert_false(ldisc_readable(&tty));
}

static void a_small_buffer_takes_a_line_in_pieces(void **state)
{
	char buffer[2];

	(void)state;
	type("abc\n");
	assert_int_equal(take(buffer, 2), 2);
	assert_memory_equal(buffer, "ab", 2);
	assert_int_equal(take(buffer, 2), 2);
	assert_memory_equal(buffer, "c\n", 2);
}

static void control_characters_signal(void **state)
{
	(void)state;
	type("lost\003");
	assert_int_equal(last_signal, SIGINT);
	expect_wire("lost^C");
	type("kept\n");
	expect_line("kept\n");
	type("\032");
	assert_int_equal(last_signal, SIGTSTP);
}

static void raw_mode_passes_everything(void **state)
{
	char buffer[8];
	struct termios2 old = tty.termios;

	(void)state;
	type("early");
	tty.termios.c_lflag = 0;
	tty.termios.c_iflag = 0;
	ldisc_mode_changed(&tty, &old);
	assert_int_equal(take(buffer, sizeof(buffer)), 5); // typed before the change
	wire_size = 0;
	type("\003\r\004");
	assert_int_equal(take(buffer, sizeof(buffer)), 3);
	assert_memory_equal(buffer, "\003\r\004", 3);
	expect_wire("");
	tty.termios.c_cc[VMIN] = 0;
	assert_int_equal(take(buffer, sizeof(buffer)), 0);
	file.flags = O_NONBLOCK;
	tty.termios.c_cc[VMIN] = 1;
	assert_int_equal(take(buffer, sizeof(buffer)), -EAGAIN);
	file.flags = 0;
	assert_int_equal(take(buffer, sizeof(buffer)), -ERESTARTSYS);
}

static void a_full_queue_keeps_room_for_the_line_end(void **state)
{
	char text[TTY_INPUT_BYTES + 100];
	static char buffer[TTY_INPUT_BYTES + 100];

	(void)state;
	memset(text, 'x', sizeof(text));
	tty.termios.c_lflag &= ~(unsigned)ECHO;
	ldisc_receive(&tty, text, sizeof(text));
	type("\n");
	assert_int_equal(take(buffer, sizeof(buffer)), TTY_INPUT_BYTES);
	assert_int_equal(buffer[TTY_INPUT_BYTES - 1], '\n');
}

static void stop_and_start_hold_output(void **state)
{
	char data[] = "out\n";
	struct iov_iter from = { .kernel = data, .count = 4 };

	(void)state;
	type("\023");
	file.flags = O_NONBLOCK;
	assert_int_equal(ldisc_write(&tty, &file, &from), -EAGAIN);
	type("\021");
	from = (struct iov_iter){ .kernel = data, .count = 4 };
	assert_int_equal(ldisc_write(&tty, &file, &from), 4);
	expect_wire("out\r\n");
	file.flags = 0;
}

#define TEST(name) cmocka_unit_test_setup(name, setup)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_line_is_read_whole_and_echoed),
		TEST(editing_characters_edit),
		TEST(end_of_file_ends_a_read),
		TEST(a_small_buffer_takes_a_line_in_pieces),
		TEST(control_characters_signal),
		TEST(raw_mode_passes_everything),
		TEST(a_full_queue_keeps_room_for_the_line_end),
		TEST(stop_and_start_hold_output),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
