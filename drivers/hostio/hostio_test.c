// SPDX-License-Identifier: Apache-2.0
// Do channels over pipes carry bytes both ways, say when they are ready, and wake exactly those who wait?
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "abi/control.h"
#include "abi/hosted.h"
#include "hostio.h"
#include "hostio_fakes.h"
#include "kernel/init.h"
#include "kernel/poll.h"
#include "kernel/task.h"
#include "lib/string.h"
#include "port/inline.h"

// ---- the rest of the kernel ----

_Thread_local struct task *fake_current;
_Thread_local unsigned fake_cpu;

void spin_lock(struct spinlock *l)
{
	while (__atomic_exchange_n(&l->word, 1, __ATOMIC_ACQUIRE))
		;
}
void spin_unlock(struct spinlock *l) { __atomic_store_n(&l->word, 0, __ATOMIC_RELEASE); }
void klog(const char *format, ...) { (void)format; }

static struct channel *channels;
void channel_register(struct channel *c)
{
	c->next = channels;
	channels = c;
}

static unsigned woken, woken_events;
void waitq_wake_events(struct waitq *q, unsigned exclusive, unsigned events)
{
	(void)exclusive;
	if (waitq_empty(q))
		return;
	woken++;
	woken_events = events;
}
void waiter_init(struct waiter *w) { memset(w, 0, sizeof(*w)); }
void waitq_add(struct waitq *q, struct waiter *w) { list_add_tail(&q->waiters, &w->node); }
void waitq_remove(struct waitq *q, struct waiter *w)
{
	(void)q;
	list_remove(&w->node);
}
void task_prepare_park(enum park_mode mode) { (void)mode; }
int task_park(uint64_t deadline)
{
	(void)deadline;
	fail(); // the tests call ready_round() themselves
	return 0;
}
void task_finish_park(void) {}

static struct task task;
struct task *kernel_task_create(const char *name, void (*fn)(void *), void *argument)
{
	(void)name, (void)fn, (void)argument;
	return &task;
}

// ---- the host ----

static int streams[HOSTED_STREAMS];
int port_host_stream(unsigned stream) { return streams[stream]; }

// ---- set-up ----

static int launcher_in, launcher_out; // the other ends of standard input and output

extern const struct init_entry __start_init_table_3[];

static int setup(void **state)
{
	(void)state;
	for (unsigned i = 0; i < HOSTED_STREAMS; i++)
		streams[i] = -1;
	host_pipe(&launcher_in, &streams[HOSTED_STDIN], true);
	host_pipe(&launcher_out, &streams[HOSTED_STDOUT], false);
	streams[HOSTED_DOORBELL] = host_eventfd();
	__start_init_table_3[0].fn();
	return 0;
}

static struct channel *find(const char *name)
{
	for (struct channel *c = channels; c; c = c->next)
		if (!strcmp(c->name, name))
			return c;
	return NULL;
}

static struct channel *input(void) { return find(STDIN_PORT_NAME); }
static struct channel *output(void) { return find(STDOUT_PORT_NAME); }

static void fill_output(void)
{
	static char chunk[4096];

	while (output()->ops->write(output(), chunk, sizeof(chunk), true) > 0)
		;
}

static void drain_output(void)
{
	char chunk[4096];

	while (host_read(launcher_out, chunk, sizeof(chunk)) > 0)
		;
}

// ---- tests ----

static void test_only_streams_that_are_there_become_channels(void **state)
{
	(void)state;
	fake_current = &task;
	assert_non_null(input());
	assert_non_null(output());
	assert_null(find(STDERR_PORT_NAME));
	assert_null(find(CONTROL_PORT_NAME));
}

static void test_bytes_go_both_ways(void **state)
{
	char text[8];

	(void)state;
	assert_int_equal(input()->ops->read(input(), text, sizeof(text), true), -EAGAIN);
	assert_int_equal(host_write(launcher_in, "hello", 5), 5);
	assert_int_equal(input()->ops->read(input(), text, sizeof(text), false), 5);
	assert_memory_equal(text, "hello", 5);
	assert_int_equal(output()->ops->write(output(), "abc", 3, false), 3);
	assert_int_equal(host_read(launcher_out, text, sizeof(text)), 3);
}

static void test_ready_says_what_is(void **state)
{
	char text[8];

	(void)state;
	assert_int_equal(input()->ops->ready(input()), 0);
	assert_int_equal(host_write(launcher_in, "x", 1), 1);
	assert_int_equal(input()->ops->ready(input()), EPOLLIN | EPOLLRDNORM);
	assert_int_equal(input()->ops->read(input(), text, sizeof(text), true), 1);
	assert_int_equal(output()->ops->ready(output()), EPOLLOUT | EPOLLWRNORM);
	fill_output();
	assert_int_equal(output()->ops->ready(output()), 0);
	drain_output();
}

static void test_a_waiter_is_woken_once_for_what_it_wants(void **state)
{
	struct waiter w;

	(void)state;
	waiter_init(&w);
	waitq_add(&input()->wait, &w);
	woken = 0;
	assert_int_equal(input()->ops->ready(input()), 0);
	assert_int_equal(host_write(launcher_in, "x", 1), 1);
	ready_round();
	assert_int_equal(woken, 1);
	assert_int_equal(woken_events, EPOLLIN | EPOLLRDNORM);
	waitq_remove(&input()->wait, &w);
	assert_int_equal(input()->ops->read(input(), &w, 1, true), 1);
}

static void test_output_room_wakes_its_waiter(void **state)
{
	struct waiter w;

	(void)state;
	waiter_init(&w);
	waitq_add(&output()->wait, &w);
	fill_output(); // ends with -EAGAIN, which asks for the next room
	drain_output();
	woken = 0;
	ready_round();
	assert_int_equal(woken, 1);
	assert_int_equal(woken_events, EPOLLOUT | EPOLLWRNORM);
	waitq_remove(&output()->wait, &w);
}

static void look(void) { assert_int_equal(input()->ops->ready(input()), 0); }

static void test_a_new_wish_reaches_the_sleeping_task(void **state)
{
	struct waiter w;

	(void)state;
	waiter_init(&w);
	waitq_add(&input()->wait, &w);
	woken = 0;
	host_beside(ready_round, look); // nothing is wanted: it sleeps until the bell
	assert_int_equal(woken, 0);
	assert_int_equal(host_write(launcher_in, "x", 1), 1);
	ready_round();
	assert_int_equal(woken, 1);
	waitq_remove(&input()->wait, &w);
	assert_int_equal(input()->ops->read(input(), &w, 1, true), 1);
}

static void test_a_kick_without_a_signal_changes_nothing(void **state)
{
	char text[8];

	(void)state;
	host_kicks = 1;
	fill_output();
	drain_output();
	assert_int_equal(host_write(launcher_in, "y", 1), 1);
	assert_int_equal(input()->ops->read(input(), text, 1, true), 1);
	host_kicks = 0;
}

static void test_a_signal_ends_a_blocking_read(void **state)
{
	char text[8];

	(void)state;
	host_kicks = 1;
	task.work = WORK_SIGNAL;
	assert_int_equal(input()->ops->read(input(), text, sizeof(text), false), -ERESTARTSYS);
	task.work = 0;
}

// Last: they close the launcher's ends.
static void test_the_launchers_close_is_the_end(void **state)
{
	char text[8];

	(void)state;
	host_close(launcher_in);
	assert_int_equal(input()->ops->ready(input()) & (EPOLLIN | EPOLLHUP), EPOLLIN | EPOLLHUP);
	assert_int_equal(input()->ops->read(input(), text, sizeof(text), false), 0);
	host_close(launcher_out);
	assert_int_equal(output()->ops->ready(output()) & EPOLLHUP, EPOLLHUP);
	assert_int_equal(output()->ops->write(output(), "x", 1, false), -EPIPE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_only_streams_that_are_there_become_channels),
		cmocka_unit_test(test_bytes_go_both_ways),
		cmocka_unit_test(test_ready_says_what_is),
		cmocka_unit_test(test_a_waiter_is_woken_once_for_what_it_wants),
		cmocka_unit_test(test_output_room_wakes_its_waiter),
		cmocka_unit_test(test_a_new_wish_reaches_the_sleeping_task),
		cmocka_unit_test(test_a_kick_without_a_signal_changes_nothing),
		cmocka_unit_test(test_a_signal_ends_a_blocking_read),
		cmocka_unit_test(test_the_launchers_close_is_the_end),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
