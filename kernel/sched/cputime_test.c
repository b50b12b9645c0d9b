// SPDX-License-Identifier: Apache-2.0
// Is CPU time that only the host knows shown truly, and does it never shrink?
#include "sched_fakes.h"

#include "kernel/mm.h"

#define SECOND ((uint64_t)NSEC_PER_SEC)

struct spinlock tasklist_lock;
struct list process_list = LIST_INIT(process_list);

// What the host says.
static uint64_t thread_ns[4], user_ns, system_ns, process_ns[2], process_user_ns, process_system_ns;
static struct port_task ports[4];
static struct mm mms[2];
static struct task tasks[4]; // 0, 1: of the first process, 2, 3: of the second
static struct process processes[2];

void sched_task_times(struct task *t, uint64_t *user, uint64_t *system) { cputime_task_get(t, user, system); }
void port_task_times(uint64_t *user, uint64_t *system)
{
	*user = user_ns;
	*system = system_ns;
}
void port_process_times(uint64_t *user, uint64_t *system)
{
	*user = process_user_ns;
	*system = process_system_ns;
}
uint64_t port_task_time_ns(struct port_task *p) { return p == ports || p == ports + 1 ? thread_ns[p - ports] : 0; }
uint64_t port_aspace_time_ns(struct port_aspace *as) { return process_ns[(uintptr_t)as - 1]; }
unsigned port_cpu_now(void) { return 3; }
bool load_average_sampled = true;
void load_average_start(void) {}

// As in kernel/proc/task.c.
void process_usage_get(struct process *p, struct process_usage *out)
{
	struct task *t;

	memset(out, 0, sizeof(*out));
	sched_note_times(p);
	out->user_ns = p->dead_user_ns;
	out->system_ns = p->dead_system_ns;
	list_for_each (t, &p->threads, thread_node) {
		uint64_t user, system;

		if (t->dead)
			continue;
		sched_known_times(t, &user, &system);
		out->user_ns += user;
		out->system_ns += system;
	}
	sched_process_times(p, &out->user_ns, &out->system_ns);
}

static int set_up(void **state)
{
	(void)state;
	spin_init(&tasklist_lock);
	list_init(&process_list);
	memset(tasks, 0, sizeof(tasks));
	memset(processes, 0, sizeof(processes));
	for (unsigned i = 0; i < 2; i++) {
		list_init(&processes[i].threads);
		list_add_tail(&process_list, &processes[i].node);
		mms[i].aspace = (struct port_aspace *)(uintptr_t)(i + 1);
	}
	for (unsigned i = 0; i < 4; i++) {
		spin_init(&tasks[i].lock);
		tasks[i].port = &ports[i];
		tasks[i].process = &processes[i / 2];
		tasks[i].mm = &mms[i / 2];
		list_add_tail(&processes[i / 2].threads, &tasks[i].thread_node);
	}
	memset(thread_ns, 0, sizeof(thread_ns));
	user_ns = system_ns = process_ns[0] = process_ns[1] = process_user_ns = process_system_ns = 0;
	fake_task_enter(&tasks[0]);
	return 0;
}

static void do_the_parts_add_up_and_never_shrink(void **state)
{
	uint64_t user, system, last_user = 0, last_system = 0;
	unsigned seed = 7;

	(void)state;
	for (unsigned i = 0; i < 10000; i++) {
		uint64_t more = (seed = seed * 1103515245 + 12345) >> 8;

		thread_ns[0] += more;
		// The host counts the parts in ticks and a little behind.
		user_ns = (thread_ns[0] - more) / 3 * (1 + (seed >> 30 & 1)) / 1000 * 1000;
		system_ns = (thread_ns[0] - more) / 4000 * 1000;
		sched_task_times(&tasks[0], &user, &system);
		assert_int_equal(user + system, thread_ns[0]);
		assert_true(user >= last_user && system >= last_system);
		last_user = user;
		last_system = system;
	}
	assert_int_equal(cputime_task_total_ns(&tasks[0]), thread_ns[0]);
}

// Asking for the sum first must not make a wrong guess of the parts stick.
static void are_the_parts_right_after_the_sum_was_asked_for(void **state)
{
	struct process_usage u;
	uint64_t user, system;

	(void)state;
	thread_ns[0] = SECOND;
	system_ns = SECOND;
	assert_int_equal(cputime_task_total_ns(&tasks[0]), SECOND);
	sched_task_times(&tasks[0], &user, &system);
	assert_int_equal(system, SECOND);
	process_ns[0] = 3 * SECOND;
	process_user_ns = SECOND;
	process_system_ns = 2 * SECOND;
	assert_int_equal(cputime_process_total_ns(&processes[0]), 3 * SECOND);
	process_usage_get(&processes[0], &u);
	assert_int_equal(u.user_ns, SECOND);
	assert_int_equal(u.system_ns, 2 * SECOND);
}

static void does_a_task_keep_its_time_in_another_host_thread(void **state)
{
	uint64_t user, system;

	(void)state;
	thread_ns[0] = 5 * SECOND;
	user_ns = 4 * SECOND;
	system_ns = SECOND;
	sched_task_times(&tasks[0], &user, &system);
	thread_ns[0] = 2 * SECOND;
	user_ns = system_ns = SECOND;
	sched_task_times(&tasks[0], &user, &system);
	assert_int_equal(user + system, 7 * SECOND);
	assert_in_range(system, 2 * SECOND - 10000, 2 * SECOND);
}

static void is_the_time_of_another_threads_of_mine_exact(void **state)
{
	(void)state;
	thread_ns[1] = 1234567;
	assert_int_equal(cputime_task_total_ns(&tasks[1]), 1234567);
	thread_ns[1] = 0; // its host thread is gone
	assert_int_equal(cputime_task_total_ns(&tasks[1]), 1234567);
}

static void do_running_threads_of_another_process_get_what_it_used(void **state)
{
	uint64_t user, system;

	(void)state;
	process_ns[1] = 10 * SECOND;
	tasks[3].sched.state = SCHED_PARKED;
	sched_thread_times(&tasks[3], &user, &system);
	assert_int_equal(user + system, 0);
	assert_true(tasks[3].sched.sample_wanted);
	sched_thread_times(&tasks[2], &user, &system);
	assert_int_equal(user + system, 10 * SECOND);
	sched_thread_times(&tasks[2], &user, &system);
	assert_int_equal(user + system, 10 * SECOND);
	tasks[3].sched.state = SCHED_RUNNABLE;
	process_ns[1] = 14 * SECOND;
	sched_thread_times(&tasks[3], &user, &system);
	assert_int_equal(user + system, 2 * SECOND);
	// The host process is gone: what was shown stays.
	process_ns[1] = 0;
	assert_int_equal(cputime_process_total_ns(&processes[1]), 14 * SECOND);
}

static void does_a_vfork_child_not_show_its_parents_time(void **state)
{
	(void)state;
	process_ns[0] = 100 * SECOND;
	processes[1].borrows_mm = true;
	tasks[2].mm = tasks[3].mm = &mms[0];
	assert_int_equal(cputime_process_total_ns(&processes[1]), 0);
	assert_int_equal(cputime_process_total_ns(&processes[0]), 100 * SECOND);
	// It has used a second when it execs, and two afterwards.
	fake_current = &tasks[2];
	tasks[2].sched.cpu_time_ns = SECOND;
	sched_exec_times();
	tasks[2].mm = tasks[3].mm = &mms[1];
	process_ns[1] = 2 * SECOND;
	assert_int_equal(cputime_process_total_ns(&processes[1]), 3 * SECOND);
}

static void is_a_dying_threads_time_counted_once(void **state)
{
	struct sched_cpu_stats before, after;
	struct process *p = &processes[0];

	(void)state;
	thread_ns[0] = user_ns = process_ns[0] = 6 * SECOND;
	cputime_cell_get(&before);
	sched_exit_times();
	thread_ns[0] = 7 * SECOND; // too late
	p->dead_user_ns += tasks[0].sched.user_time_ns;
	p->dead_system_ns += tasks[0].sched.system_time_ns;
	sched_add_dead(&tasks[0]);
	tasks[0].dead = true;
	host_sleep_ms(11);
	cputime_cell_get(&after);
	assert_int_equal(after.user_ns + after.system_ns, before.user_ns + before.system_ns);
	assert_in_range(after.user_ns + after.system_ns, 6 * SECOND, 6 * SECOND);
	assert_int_equal(p->dead_user_ns + p->dead_system_ns, 6 * SECOND);
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(do_the_parts_add_up_and_never_shrink),
		TEST(are_the_parts_right_after_the_sum_was_asked_for),
		TEST(does_a_task_keep_its_time_in_another_host_thread),
		TEST(is_the_time_of_another_threads_of_mine_exact),
		TEST(do_running_threads_of_another_process_get_what_it_used),
		TEST(does_a_vfork_child_not_show_its_parents_time),
		TEST(is_a_dying_threads_time_counted_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
