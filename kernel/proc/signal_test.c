// SPDX-License-Identifier: Apache-2.0
// Signal queues: what is merged, what is queued, in which order they come, who is chosen, what is ignored, stops and continues.
#include "proc_fakes.h"

#include "lib/list.h"

static struct sighand hand;
static struct process process;
static struct task threads[3];
static struct user account = { .refs = { 1 } };
static struct cred cred = { .refs = { 1 }, .user = &account };
static struct task *kicked;
static unsigned unparked;

struct spinlock tasklist_lock;
void user_put(struct user *u) { assert_false(refcount_put(&u->refs)); }
uint64_t process_rlimit(struct process *p, unsigned resource) { return p->rlimits[resource].rlim_cur; }
void sched_kick_task(struct task *t) { kicked = t; }
void task_unpark(struct task *t)
{
	(void)t;
	unparked++;
}
void waitq_wake_events(struct waitq *q, unsigned exclusive, unsigned events)
{
	(void)q;
	(void)exclusive;
	(void)events;
}
struct pid_namespace pid_namespace_first;
struct pid_namespace *task_pid_namespace(const struct task *t) { return &pid_namespace_first; }
bool pid_namespace_is_below(const struct pid_namespace *n, const struct pid_namespace *above) { return true; }
void signal_info_translate(siginfo_t *info, const struct task *to) {}
void signal_info_shown(siginfo_t *info) {}
struct pid *pid_find_locked(pid_t number)
{
	(void)number;
	return NULL;
}

static int set_up(void **state)
{
	(void)state;
	memset(&hand, 0, sizeof(hand));
	memset(&process, 0, sizeof(process));
	memset(threads, 0, sizeof(threads));
	waitq_init(&hand.signalfd_wait);
	process.sighand = &hand;
	process.leader = &threads[0];
	process.rlimits[RLIMIT_SIGPENDING].rlim_cur = 100;
	list_init(&process.threads);
	list_init(&process.pending.queue);
	for (unsigned i = 0; i < 3; i++) {
		threads[i].process = &process;
		threads[i].cred = &cred;
		list_init(&threads[i].pending.queue);
		list_add_tail(&process.threads, &threads[i].thread_node);
	}
	process.thread_count = process.live_count = 3;
	fake_current = &threads[0];
	kicked = NULL;
	unparked = 0;
	account.pending_signals = 0;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	signal_flush(&process.pending);
	for (unsigned i = 0; i < 3; i++)
		signal_flush(&threads[i].pending);
	assert_int_equal(account.pending_signals, 0); // every entry was given back
	assert_int_equal(account.refs.count, 1);
	return 0;
}

static void handle(int signal) { hand.action[signal - 1].handler = 0x1000; }

static int send(struct task *t, int signal, int code, int value)
{
	siginfo_t info = { 0 };
	info.si_code = code;
	info.si_int = value;
	return t ? signal_send_task(t, signal, &info) : signal_send_process(&process, signal, &info);
}

static int take(struct task *t, siginfo_t *info) { return signal_dequeue(t, ~UINT64_C(0), info); }

static void ordinary_signals_merge(void **state)
{
	siginfo_t info;
	(void)state;
	handle(SIGUSR1);
	threads[0].blocked = SIGMASK(SIGUSR1);
	assert_int_equal(send(&threads[0], SIGUSR1, SI_USER, 1), 0);
	assert_int_equal(send(&threads[0], SIGUSR1, SI_USER, 2), 0);
	assert_int_equal(take(&threads[0], &info), SIGUSR1);
	assert_int_equal(info.si_int, 1); // the first one's
	assert_int_equal(take(&threads[0], &info), 0);
}

static void real_time_signals_queue_in_order(void **state)
{
	siginfo_t info;
	(void)state;
	for (int s = 40; s >= 38; s--)
		handle(s);
	threads[0].blocked = ~UINT64_C(0);
	send(&threads[0], 40, SI_QUEUE, 1);
	send(&threads[0], 38, SI_QUEUE, 2);
	send(&threads[0], 40, SI_QUEUE, 3);
	send(&threads[0], 38, SI_QUEUE, 4);
	const int expected[][2] = { { 38, 2 }, { 38, 4 }, { 40, 1 }, { 40, 3 } };
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(take(&threads[0], &info), expected[i][0]);
		assert_int_equal(info.si_int, expected[i][1]);
	}
	assert_int_equal(take(&threads[0], &info), 0);
}

static void faults_come_first_and_own_before_shared(void **state)
{
	siginfo_t info;
	(void)state;
	handle(SIGHUP);
	handle(SIGSEGV);
	handle(SIGINT);
	threads[0].blocked = ~UINT64_C(0);
	send(&threads[0], SIGHUP, SI_USER, 0);
	send(&threads[0], SIGSEGV, 1, 0);
	send(NULL, SIGINT, SI_USER, 0);
	assert_int_equal(take(&threads[0], &info), SIGSEGV);
	assert_int_equal(take(&threads[0], &info), SIGHUP);
	assert_int_equal(take(&threads[0], &info), SIGINT);
}

static void the_limit_loses_information_but_not_ordinary_signals(void **state)
{
	siginfo_t info;
	(void)state;
	process.rlimits[RLIMIT_SIGPENDING].rlim_cur = 2;
	handle(SIGUSR1);
	handle(45);
	threads[0].blocked = ~UINT64_C(0);
	assert_int_equal(send(&threads[0], 45, SI_QUEUE, 1), 0);
	assert_int_equal(send(&threads[0], 45, SI_QUEUE, 2), 0);
	assert_int_equal(send(&threads[0], 45, SI_QUEUE, 3), -EAGAIN);
	assert_int_equal(send(&threads[0], SIGUSR1, SI_USER, 7), 0);
	assert_int_equal(take(&threads[0], &info), SIGUSR1);
	assert_int_equal(take(&threads[0], &info), 45);
	assert_int_equal(take(&threads[0], &info), 45);
	assert_int_equal(take(&threads[0], &info), 0);
}

static void ignored_signals_vanish_unless_blocked(void **state)
{
	(void)state;
	hand.action[SIGUSR1 - 1].handler = (uint64_t)SIG_IGN;
	send(NULL, SIGUSR1, SI_USER, 0);
	send(NULL, SIGWINCH, SI_USER, 0); // ignored by default
	assert_int_equal(process.pending.set, 0);
	threads[0].blocked = SIGMASK(SIGUSR1);
	send(NULL, SIGUSR1, SI_USER, 0);
	assert_int_equal(process.pending.set, SIGMASK(SIGUSR1));
}

static void a_thread_that_does_not_block_it_is_chosen(void **state)
{
	(void)state;
	handle(SIGTERM);
	fake_current = NULL;
	threads[0].blocked = threads[1].blocked = SIGMASK(SIGTERM);
	send(NULL, SIGTERM, SI_USER, 0);
	assert_ptr_equal(kicked, &threads[2]);
	assert_true(threads[2].work & WORK_SIGNAL);
	assert_false(threads[0].work & WORK_SIGNAL);
}

static void a_fatal_signal_ends_the_group_at_once(void **state)
{
	(void)state;
	send(&threads[1], SIGTERM, SI_USER, 0);
	assert_true(process.exiting);
	assert_int_equal(process.exit_code, SIGTERM);
	for (unsigned i = 0; i < 3; i++)
		assert_true(threads[i].work & WORK_KILLED);
	// A later one changes nothing.
	send(NULL, SIGKILL, SI_USER, 0);
	assert_int_equal(process.exit_code, SIGTERM);
}

static void core_signals_wait_for_the_thread_itself(void **state)
{
	(void)state;
	send(NULL, SIGQUIT, SI_USER, 0);
	assert_false(process.exiting);
	assert_true(threads[0].work & WORK_SIGNAL);
}

static void continue_and_stop_cancel_each_other(void **state)
{
	(void)state;
	threads[0].blocked = ~UINT64_C(0);
	handle(SIGCONT);
	send(NULL, SIGTSTP, SI_USER, 0);
	send(&threads[1], SIGSTOP, SI_USER, 0);
	assert_true(process.pending.set & SIGMASK(SIGTSTP));
	send(NULL, SIGCONT, SI_USER, 0);
	assert_int_equal(process.pending.set, SIGMASK(SIGCONT));
	assert_int_equal(threads[1].pending.set, 0);
	send(NULL, SIGTTIN, SI_USER, 0);
	assert_int_equal(process.pending.set, SIGMASK(SIGTTIN));
}

static void continue_wakes_a_stopped_group(void **state)
{
	(void)state;
	process.stopped = true;
	for (unsigned i = 0; i < 3; i++)
		threads[i].jobctl = JOBCTL_STOPPED;
	send(NULL, SIGCONT, SI_USER, 0);
	assert_int_equal(unparked, 3);
	assert_false(process.stopped);
	assert_true(process.continued);
	assert_int_equal(process.notify, CLD_CONTINUED);
	assert_int_equal(threads[2].jobctl, 0);
}

static void a_timer_entry_is_queued_once(void **state)
{
	struct sigqueue_entry e = { .info = { .si_signo = 34, .si_code = SI_TIMER } };
	siginfo_t info;
	(void)state;
	list_init(&e.node);
	handle(34);
	threads[0].blocked = threads[1].blocked = threads[2].blocked = ~UINT64_C(0);
	assert_int_equal(signal_send_entry(&process, NULL, &e), 0);
	assert_int_equal(signal_send_entry(&process, NULL, &e), 1); // an overrun
	assert_int_equal(take(&threads[0], &info), 34);
	assert_int_equal(info.si_code, SI_TIMER);
	assert_int_equal(signal_send_entry(&process, NULL, &e), 0);
	signal_entry_cancel(&process, &e);
	assert_true(list_empty(&e.node));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(ordinary_signals_merge),
		T(real_time_signals_queue_in_order),
		T(faults_come_first_and_own_before_shared),
		T(the_limit_loses_information_but_not_ordinary_signals),
		T(ignored_signals_vanish_unless_blocked),
		T(a_thread_that_does_not_block_it_is_chosen),
		T(a_fatal_signal_ends_the_group_at_once),
		T(core_signals_wait_for_the_thread_itself),
		T(continue_and_stop_cancel_each_other),
		T(continue_wakes_a_stopped_group),
		T(a_timer_entry_is_queued_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
