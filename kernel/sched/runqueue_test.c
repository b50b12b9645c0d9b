// SPDX-License-Identifier: Apache-2.0
// Does a run queue give out tasks in the right order and time in the right shares?
#include "internal.h"

#include <linux/sched.h>

#include "port/fake.h"

static struct run_queue queue, other;
static struct task idle, tasks[6];

void spin_lock_slow(struct spinlock *l) { (void)l; }

static int set_up(void **state)
{
	(void)state;
	memset(tasks, 0, sizeof(tasks));
	memset(&queue, 0, sizeof(queue));
	memset(&other, 0, sizeof(other));
	idle.sched.is_idle = true;
	run_queue_init(&queue, 0, &idle);
	run_queue_init(&other, 1, &idle);
	for (unsigned i = 0; i < array_count(tasks); i++) {
		memset(&tasks[i].sched.affinity, 0xff, sizeof(tasks[i].sched.affinity));
		list_init(&tasks[i].sched.rt_node);
		sched_weigh(&tasks[i].sched);
	}
	return 0;
}

static void make_rt(struct task *t, int policy, unsigned priority)
{
	t->sched.policy = (uint8_t)policy;
	t->sched.rt_priority = (uint8_t)priority;
}

static void does_the_idle_task_run_when_nobody_else_can(void **state)
{
	(void)state;
	assert_ptr_equal(run_queue_pick(&queue), &idle);
}

static void does_the_least_virtual_time_run_first_and_equals_in_order(void **state)
{
	(void)state;
	tasks[0].sched.vruntime_ns = 30;
	tasks[1].sched.vruntime_ns = 10;
	tasks[2].sched.vruntime_ns = 20;
	tasks[3].sched.vruntime_ns = 10;
	for (unsigned i = 0; i < 4; i++)
		run_queue_add(&queue, &tasks[i]);
	assert_int_equal(queue.queued, 4);
	assert_ptr_equal(run_queue_pick(&queue), &tasks[1]);
	assert_ptr_equal(run_queue_pick(&queue), &tasks[3]);
	run_queue_remove(&queue, &tasks[2]);
	assert_ptr_equal(run_queue_pick(&queue), &tasks[0]);
	assert_ptr_equal(run_queue_pick(&queue), &idle);
}

static void does_virtual_time_survive_its_wrap(void **state)
{
	(void)state;
	tasks[0].sched.vruntime_ns = 5; // past the wrap
	tasks[1].sched.vruntime_ns = UINT64_MAX - 5;
	run_queue_add(&queue, &tasks[0]);
	run_queue_add(&queue, &tasks[1]);
	assert_ptr_equal(run_queue_pick(&queue), &tasks[1]);
}

static void do_real_time_tasks_come_first_by_priority(void **state)
{
	(void)state;
	make_rt(&tasks[1], SCHED_FIFO, 10);
	make_rt(&tasks[2], SCHED_FIFO, 50);
	make_rt(&tasks[3], SCHED_RR, 10);
	for (unsigned i = 0; i < 4; i++)
		run_queue_add(&queue, &tasks[i]);
	assert_ptr_equal(run_queue_pick(&queue), &tasks[2]);
	assert_ptr_equal(run_queue_pick(&queue), &tasks[1]);
	// A preempted task keeps its place before its equals; one that used up its slice does not.
	run_queue_put_back(&queue, &tasks[1], false);
	assert_ptr_equal(run_queue_pick(&queue), &tasks[1]);
	run_queue_put_back(&queue, &tasks[1], true);
	assert_ptr_equal(run_queue_pick(&queue), &tasks[3]);
	assert_ptr_equal(run_queue_pick(&queue), &tasks[1]);
	assert_ptr_equal(run_queue_pick(&queue), &tasks[0]);
}

// Runs the queue for `slices` slices with all of tasks[0..count) always runnable.
static void simulate(unsigned count, unsigned slices, uint64_t ran[])
{
	uint64_t now = 1000;

	for (unsigned i = 0; i < count; i++)
		run_queue_add(&queue, &tasks[i]);
	for (unsigned s = 0; s < slices; s++) {
		struct task *t = run_queue_pick(&queue);

		t->sched.run_start_ns = now;
		queue.running = t;
		now += SCHED_SLICE_NS;
		run_queue_charge(&queue, t, now);
		run_queue_put_back(&queue, t, true);
	}
	for (unsigned i = 0; i < count; i++)
		ran[i] = tasks[i].sched.cpu_time_ns;
}

static void do_equal_tasks_get_equal_time(void **state)
{
	uint64_t ran[4];

	(void)state;
	simulate(4, 400, ran);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(ran[i], 100 * SCHED_SLICE_NS);
}

static void do_nice_values_divide_time_by_weight(void **state)
{
	uint64_t ran[2], percent;

	(void)state;
	tasks[1].sched.nice = 5; // weight 335 against 1024
	sched_weigh(&tasks[1].sched);
	simulate(2, 2000, ran);
	percent = ran[1] * 100 / (ran[0] + ran[1]);
	assert_in_range(percent, 23, 26);
}

static void is_weighted_time_right_for_every_nice_value(void **state)
{
	(void)state;
	for (int nice = -20; nice < 20; nice++) {
		uint64_t ns = 123456789, exact, got;

		tasks[0].sched.nice = (int8_t)nice;
		sched_weigh(&tasks[0].sched);
		exact = ns * 1024 / tasks[0].sched.weight;
		got = sched_weighted_ns(&tasks[0].sched, ns);
		assert_in_range(got, exact - exact / 1000, exact + exact / 1000);
	}
}

static void does_a_sleeper_come_back_with_limited_credit(void **state)
{
	(void)state;
	queue.min_vruntime_ns = 100 * SCHED_SLEEP_CREDIT_NS;
	tasks[0].sched.vruntime_ns = 5; // slept for long
	run_queue_place(&queue, &queue, &tasks[0]);
	assert_int_equal(tasks[0].sched.vruntime_ns, 99 * SCHED_SLEEP_CREDIT_NS);
	// One that ran much keeps its debt.
	tasks[1].sched.vruntime_ns = queue.min_vruntime_ns + 77;
	run_queue_place(&queue, &queue, &tasks[1]);
	assert_int_equal(tasks[1].sched.vruntime_ns, queue.min_vruntime_ns + 77);
	// Moving keeps the distance to the others.
	other.min_vruntime_ns = 1000;
	run_queue_place(&other, &queue, &tasks[1]);
	assert_int_equal(tasks[1].sched.vruntime_ns, 1077);
}

static void does_only_a_task_well_behind_preempt(void **state)
{
	(void)state;
	queue.running = &idle;
	assert_true(run_queue_preempts(&queue, &tasks[0]));
	queue.running = &tasks[1];
	tasks[1].sched.vruntime_ns = SCHED_WAKE_GRAIN_NS;
	assert_false(run_queue_preempts(&queue, &tasks[0]));
	tasks[1].sched.vruntime_ns++;
	assert_true(run_queue_preempts(&queue, &tasks[0]));
	tasks[0].sched.policy = SCHED_BATCH;
	assert_false(run_queue_preempts(&queue, &tasks[0]));
	make_rt(&tasks[2], SCHED_FIFO, 1);
	assert_true(run_queue_preempts(&queue, &tasks[2]));
	queue.running = &tasks[2];
	assert_false(run_queue_preempts(&queue, &tasks[0]));
	make_rt(&tasks[3], SCHED_FIFO, 1);
	assert_false(run_queue_preempts(&queue, &tasks[3]));
}

static void does_a_thief_respect_affinity(void **state)
{
	(void)state;
	tasks[0].sched.vruntime_ns = 1;
	tasks[1].sched.vruntime_ns = 2;
	memset(&tasks[1].sched.affinity, 0, sizeof(tasks[1].sched.affinity));
	bitmap_set(tasks[1].sched.affinity.bits, 0);
	run_queue_add(&queue, &tasks[0]);
	run_queue_add(&queue, &tasks[1]);
	assert_ptr_equal(run_queue_steal(&queue, 1, 0), &tasks[0]);
	assert_null(run_queue_steal(&queue, 1, 0));
	assert_int_equal(queue.queued, 1);
}

static void is_a_short_runners_partner_left_in_peace(void **state)
{
	(void)state;
	queue.running = &tasks[0]; // has never run long
	queue.clock_ns = 1000;
	run_queue_add(&queue, &tasks[1]);
	assert_null(run_queue_steal(&queue, 1, 2000));
	assert_false(run_queue_is_slow(&queue, 2000));
	tasks[0].sched.average_run_ns = SCHED_RUN_COUNTED_NS;
	assert_false(run_queue_is_slow(&queue, 2000));
	assert_true(run_queue_is_slow(&queue, 2000 + SCHED_STEAL_AGE_NS));
	assert_ptr_equal(run_queue_steal(&queue, 1, 2000), &tasks[1]);
}

static void does_minimum_virtual_time_never_go_back(void **state)
{
	(void)state;
	tasks[0].sched.vruntime_ns = 100;
	queue.running = &tasks[0];
	run_queue_charge(&queue, &tasks[0], 50);
	assert_int_equal(queue.min_vruntime_ns, 150);
	tasks[1].sched.vruntime_ns = 10;
	run_queue_add(&queue, &tasks[1]);
	run_queue_charge(&queue, &tasks[0], 60);
	assert_int_equal(queue.min_vruntime_ns, 150);
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(does_the_idle_task_run_when_nobody_else_can),
		TEST(does_the_least_virtual_time_run_first_and_equals_in_order),
		TEST(does_virtual_time_survive_its_wrap),
		TEST(do_real_time_tasks_come_first_by_priority),
		TEST(do_equal_tasks_get_equal_time),
		TEST(do_nice_values_divide_time_by_weight),
		TEST(is_weighted_time_right_for_every_nice_value),
		TEST(does_a_sleeper_come_back_with_limited_credit),
		TEST(does_only_a_task_well_behind_preempt),
		TEST(does_a_thief_respect_affinity),
		TEST(is_a_short_runners_partner_left_in_peace),
		TEST(does_minimum_virtual_time_never_go_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
