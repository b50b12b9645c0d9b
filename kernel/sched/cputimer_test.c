// SPDX-License-Identifier: Apache-2.0
// Are timers on CPU time looked at when they may be due, and at no other time?
#include "internal.h"

#include "kernel/timespec.h"

#define port_cpu_count unused_port_cpu_count // two here
#include "sched_fakes.h"
#undef port_cpu_count

struct spinlock tasklist_lock;
static struct process process;
static struct task threads[2];
static uint64_t used_user, used_system, charged, armed_at, posix_left, thread_left;
static unsigned nudges;

void process_usage_get(struct process *p, struct process_usage *out)
{
	(void)p;
	*out = (struct process_usage){ .user_ns = used_user, .system_ns = used_system };
}
void cputimer_charge_process(struct process *p, uint64_t user, uint64_t total, uint64_t used)
{
	(void)p;
	charged += total;
	assert(user <= total && used == used_user + used_system);
}
void posix_cpu_timers_left(struct process *p, uint64_t now, uint64_t *process_ns, uint64_t *thread_ns)
{
	(void)p;
	(void)now;
	*process_ns = posix_left;
	*thread_ns = thread_left;
}
void posix_cpu_timers_nudge(struct process *p)
{
	(void)p;
	nudges++;
}
void ktimer_init(struct ktimer *t, void (*expire)(struct ktimer *t)) { *t = (struct ktimer){ .expire = expire }; }
void ktimer_set(struct ktimer *t, uint64_t deadline_ns)
{
	t->state = KTIMER_QUEUED;
	armed_at = deadline_ns;
}
bool ktimer_cancel(struct ktimer *t)
{
	t->state = KTIMER_IDLE;
	return true;
}
bool ktimer_cancel_sync(struct ktimer *t) { return ktimer_cancel(t); }
unsigned port_cpu_count(void) { return 2; }
void cputime_note_current(void) {}
bool load_average_sampled = true;
void load_average_start(void) {}

static int set_up(void **state)
{
	(void)state;
	memset(&process, 0, sizeof(process));
	memset(threads, 0, sizeof(threads));
	list_init(&process.threads);
	spin_init(&process.lock);
	spin_init(&tasklist_lock);
	process.rlimits[RLIMIT_CPU] = (struct rlimit64){ RLIM64_INFINITY, RLIM64_INFINITY };
	for (unsigned i = 0; i < 2; i++) {
		threads[i].process = &process;
		list_add_tail(&process.threads, &threads[i].thread_node);
	}
	process.live_count = 2;
	used_user = used_system = charged = 0;
	posix_left = thread_left = SCHED_NEVER;
	nudges = 0;
	fake_task_enter(&threads[0]);
	return 0;
}

static void fire(void)
{
	process.cpu_timer.state = KTIMER_IDLE;
	process.cpu_timer.expire(&process.cpu_timer);
}

static void assert_armed_in(uint64_t ns)
{
	uint64_t now = port_time_ns();

	assert_true(ktimer_armed(&process.cpu_timer));
	assert_in_range(armed_at, now + ns - 100 * NSEC_PER_MSEC, now + ns);
}

static void is_nothing_armed_without_a_timer(void **state)
{
	(void)state;
	cputimer_check_current();
	assert_null(process.cpu_timer.expire);
	cputimer_changed(&process);
	assert_false(ktimer_armed(&process.cpu_timer));
}

static void is_the_look_when_all_threads_may_have_used_it_up(void **state)
{
	(void)state;
	process.prof_left_ns = 10 * (uint64_t)NSEC_PER_SEC;
	cputimer_changed(&process);
	assert_armed_in(5 * (uint64_t)NSEC_PER_SEC); // two threads
	process.live_count = 1000;
	cputimer_changed(&process);
	assert_armed_in(5 * (uint64_t)NSEC_PER_SEC); // but two CPUs
	process.live_count = 1;
	cputimer_changed(&process);
	assert_armed_in(10 * (uint64_t)NSEC_PER_SEC);
	process.rlimits[RLIMIT_CPU].rlim_cur = 4;
	used_user = 3 * (uint64_t)NSEC_PER_SEC;
	cputimer_changed(&process);
	assert_int_equal(charged, used_user);
	assert_armed_in(NSEC_PER_SEC);
	thread_left = 200 * NSEC_PER_MSEC;
	process.live_count = 2;
	fire();
	assert_armed_in(200 * NSEC_PER_MSEC); // one thread's time passes once
	assert_int_equal(nudges, 0);
	process.cpu_timers = 1;
	fire();
	assert_int_equal(nudges, 1);
}

static void are_looks_in_vain_made_less_often(void **state)
{
	(void)state;
	process.prof_left_ns = 1;
	cputimer_changed(&process);
	for (unsigned i = 0; i < 20; i++)
		fire();
	assert_true(armed_at >= port_time_ns() + 50 * NSEC_PER_MSEC);
	used_system += 1000;
	fire();
	assert_true(armed_at <= port_time_ns() + 2 * NSEC_PER_MSEC);
}

static void is_a_sleeping_process_left_alone_until_it_runs(void **state)
{
	(void)state;
	process.prof_left_ns = 1;
	cputimer_changed(&process);
	threads[0].sched.state = SCHED_PARKED;
	threads[1].sched.state = SCHED_ASLEEP;
	fire();
	assert_false(ktimer_armed(&process.cpu_timer));
	assert_true(threads[0].work & WORK_RESCHEDULE);
	assert_true(threads[1].work & WORK_RESCHEDULE);
	threads[0].sched.state = SCHED_RUNNABLE;
	cputimer_check_current();
	assert_true(ktimer_armed(&process.cpu_timer));
	fire();
	assert_true(ktimer_armed(&process.cpu_timer));
}

static void is_nothing_armed_after_the_exit(void **state)
{
	(void)state;
	process.prof_left_ns = 1;
	cputimer_changed(&process);
	cputimer_exit(&process);
	assert_false(ktimer_armed(&process.cpu_timer));
	process_timers_limit(&process);
	assert_false(ktimer_armed(&process.cpu_timer));
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(is_nothing_armed_without_a_timer),  TEST(is_the_look_when_all_threads_may_have_used_it_up),
		TEST(are_looks_in_vain_made_less_often), TEST(is_a_sleeping_process_left_alone_until_it_runs),
		TEST(is_nothing_armed_after_the_exit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
