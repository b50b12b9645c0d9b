// SPDX-License-Identifier: Apache-2.0
// Do timers fire once, in order and on time, and is the hardware touched no more than needed?
#include "internal.h"

#include "kernel/upcall.h"

#define port_time_ns unused_port_time_ns // the test's own clock
#include "sched_fakes.h"
#undef port_time_ns

struct run_queue *run_queues[SCHED_CPUS_MAX];
static struct run_queue queue;
static uint64_t now, hardware;
static unsigned programmed, ticks;

uint64_t port_time_ns(void) { return now; }
void port_timer_set(uint64_t deadline_ns)
{
	hardware = deadline_ns;
	programmed++;
}
void sched_tick(void)
{
	ticks++;
	queue.tick_ns = SCHED_NEVER;
}
void *kalloc(size_t size) { return calloc(1, size); }
void cputime_note_current(void) {}
bool load_average_sampled = true;
void load_average_start(void) {}

static unsigned fired[8], fired_count;
static struct ktimer timers[8];
static uint64_t again_at;

static void expire(struct ktimer *t) { fired[fired_count++] = (unsigned)(t - timers); }

static void expire_again(struct ktimer *t)
{
	expire(t);
	if (again_at)
		ktimer_set(t, again_at);
	again_at = 0;
}

static int set_up(void **state)
{
	(void)state;
	fake_cpu = 0;
	run_queues[0] = &queue;
	queue.tick_ns = SCHED_NEVER;
	now = 1000;
	hardware = SCHED_NEVER;
	timer_init_cpu(0);
	programmed = ticks = fired_count = 0;
	for (unsigned i = 0; i < array_count(timers); i++)
		ktimer_init(&timers[i], expire);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	for (unsigned i = 0; i < array_count(timers); i++)
		ktimer_cancel(&timers[i]);
	return 0;
}

static void interrupt_at(uint64_t time)
{
	now = time;
	kernel_upcall_timer();
}

static void do_timers_fire_in_order_and_only_when_due(void **state)
{
	(void)state;
	ktimer_set(&timers[0], 3000);
	ktimer_set(&timers[1], 2000);
	ktimer_set(&timers[2], 2000);
	ktimer_set(&timers[3], 9000);
	interrupt_at(1999);
	assert_int_equal(fired_count, 0);
	interrupt_at(3000);
	assert_int_equal(fired_count, 3);
	assert_int_equal(fired[0], 1);
	assert_int_equal(fired[1], 2);
	assert_int_equal(fired[2], 0);
	assert_int_equal(hardware, 9000);
	assert_false(ktimer_armed(&timers[0]));
	assert_true(ktimer_armed(&timers[3]));
}

static void is_the_hardware_set_only_for_something_earlier(void **state)
{
	(void)state;
	ktimer_set(&timers[0], 5000);
	assert_int_equal(programmed, 1);
	ktimer_set(&timers[1], 6000);
	assert_int_equal(programmed, 1);
	ktimer_set(&timers[2], 4000);
	assert_int_equal(programmed, 2);
	assert_int_equal(hardware, 4000);
	// A cancelled one costs a spurious interrupt, not a write.
	assert_true(ktimer_cancel(&timers[2]));
	assert_false(ktimer_cancel(&timers[2]));
	ktimer_set(&timers[2], 4500);
	assert_true(ktimer_cancel_sync(&timers[2]));
	assert_int_equal(programmed, 2);
	interrupt_at(4000);
	assert_int_equal(fired_count, 0);
	assert_int_equal(hardware, 5000);
}

static void may_a_timer_be_moved_and_armed_from_its_own_expiry(void **state)
{
	(void)state;
	timers[0].expire = expire_again;
	ktimer_set(&timers[0], 8000);
	ktimer_set(&timers[0], 2000);
	again_at = 2500;
	interrupt_at(2000);
	assert_int_equal(fired_count, 1);
	assert_int_equal(hardware, 2500);
	interrupt_at(2500);
	assert_int_equal(fired_count, 2);
	assert_int_equal(hardware, 2500); // nothing left: not set again
}

static void does_the_tick_share_the_hardware(void **state)
{
	(void)state;
	if (PORT_SCHEDULES_TASKS)
		skip(); // no ticks
	ktimer_set(&timers[0], 5000);
	timer_tick_set(2000);
	assert_int_equal(hardware, 2000);
	interrupt_at(2000);
	assert_int_equal(ticks, 1);
	assert_int_equal(fired_count, 0);
	assert_int_equal(hardware, 5000);
}

// ---- where the port schedules: one tree, and expire() may take its time ----

static void is_there_one_tree_for_all(void **state)
{
	(void)state;
	if (!PORT_SCHEDULES_TASKS)
		skip();
	ktimer_set(&timers[0], 5000);
	fake_cpu = 1;
	ktimer_set(&timers[1], 4000);
	ktimer_init(&timers[2], expire);
	ktimer_set(&timers[2], 6000);
	assert_int_equal(hardware, 4000);
	interrupt_at(5000);
	fake_cpu = 0;
	assert_int_equal(fired_count, 2);
	assert_int_equal(hardware, 6000);
}

// An earlier timer that another task sets while expire() runs must not be forgotten.
static void expire_and_set_other(struct ktimer *t)
{
	expire(t);
	ktimer_set(&timers[1], 2500);
}

static void is_what_comes_during_an_expiry_programmed_afterwards(void **state)
{
	(void)state;
	timers[0].expire = expire_and_set_other;
	ktimer_set(&timers[0], 2000);
	ktimer_set(&timers[2], 9000);
	interrupt_at(2000);
	assert_int_equal(hardware, 2500);
}

static struct task canceller_tasks[2];
static uint32_t expiring, let_go;
static bool cancelled;

static void expire_slowly(struct ktimer *t)
{
	(void)t;
	__atomic_store_n(&expiring, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&let_go, __ATOMIC_SEQ_CST))
		host_yield();
	host_yield();
	assert(!__atomic_load_n(&cancelled, __ATOMIC_SEQ_CST));
}

static void cancel(void *arg)
{
	fake_task_enter(arg);
	while (!__atomic_load_n(&expiring, __ATOMIC_SEQ_CST))
		host_yield();
	__atomic_store_n(&let_go, 1, __ATOMIC_SEQ_CST);
	(void)ktimer_cancel_sync(&timers[0]);
	__atomic_store_n(&cancelled, true, __ATOMIC_SEQ_CST);
}

static void does_a_cancel_wait_for_the_expiry(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 300; i++) {
		struct host_thread *a, *b;

		expiring = let_go = cancelled = 0;
		timers[0].expire = expire_slowly;
		ktimer_set(&timers[0], now + 10);
		a = host_thread_start(cancel, &canceller_tasks[0]);
		b = host_thread_start(cancel, &canceller_tasks[1]);
		interrupt_at(now + 10);
		host_thread_join(a);
		host_thread_join(b);
		assert_true(cancelled);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(do_timers_fire_in_order_and_only_when_due),
		TEST(is_the_hardware_set_only_for_something_earlier),
		TEST(may_a_timer_be_moved_and_armed_from_its_own_expiry),
		TEST(does_the_tick_share_the_hardware),
		TEST(is_there_one_tree_for_all),
		TEST(is_what_comes_during_an_expiry_programmed_afterwards),
		TEST(does_a_cancel_wait_for_the_expiry),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
