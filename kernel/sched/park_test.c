// SPDX-License-Identifier: Apache-2.0
// Are no wake-ups lost, do locks exclude, and are mistakes with locks found? Every task is a host thread here, so these run
// truly at once.
#include "sched_fakes.h"

#include "kernel/mm.h"
#include "kernel/mutex.h"
#include "lockdep.h"

#define THREADS 4
#define ROUNDS  3000
#define WAKES   300000

// Deadlines: the test says when they have passed.
static struct ktimer *armed;
void ktimer_init(struct ktimer *t, void (*expire)(struct ktimer *t)) { *t = (struct ktimer){ .expire = expire }; }
void ktimer_set(struct ktimer *t, uint64_t deadline_ns)
{
	t->deadline_ns = deadline_ns;
	t->state = KTIMER_QUEUED;
	__atomic_store_n(&armed, t, __ATOMIC_SEQ_CST);
}
bool ktimer_cancel_sync(struct ktimer *t)
{
	bool was = t->state == KTIMER_QUEUED;

	t->state = KTIMER_IDLE;
	return was;
}

static struct task tasks[THREADS + 1];

// ---- park ----

static void is_an_unpark_before_the_park_remembered(void **state)
{
	(void)state;
	fake_task_enter(&tasks[0]);
	task_prepare_park(PARK_INTERRUPTIBLE);
	task_unpark(&tasks[0]);
	assert_int_equal(task_park(PARK_FOREVER), 0);
	task_finish_park();
}

static void do_signals_end_only_the_parks_that_admit_them(void **state)
{
	(void)state;
	fake_task_enter(&tasks[0]);
	tasks[0].work = WORK_SIGNAL;
	task_prepare_park(PARK_INTERRUPTIBLE);
	assert_int_equal(task_park(PARK_FOREVER), -EINTR);
	task_prepare_park(PARK_KILLABLE);
	task_unpark(&tasks[0]);
	assert_int_equal(task_park(PARK_FOREVER), 0);
	tasks[0].work = WORK_KILLED;
	task_prepare_park(PARK_KILLABLE);
	assert_int_equal(task_park(PARK_FOREVER), -EINTR);
	task_prepare_park(PARK_UNINTERRUPTIBLE);
	task_unpark(&tasks[0]);
	assert_int_equal(task_park(PARK_FOREVER), 0);
	tasks[0].work = 0;
}

static void fire_when_armed(void *arg)
{
	struct ktimer *t;

	(void)arg;
	while (!(t = __atomic_exchange_n(&armed, NULL, __ATOMIC_SEQ_CST)))
		host_yield();
	t->state = KTIMER_IDLE;
	t->expire(t);
}

static void does_a_deadline_end_a_park(void **state)
{
	struct host_thread *h;

	(void)state;
	fake_task_enter(&tasks[0]);
	task_prepare_park(PARK_INTERRUPTIBLE);
	assert_int_equal(task_park(1), -ETIMEDOUT); // long past
	if (PORT_SCHEDULES_TASKS) {                 // the deadline is the host's
		uint64_t deadline = port_time_ns() + 20 * NSEC_PER_MSEC;

		task_prepare_park(PARK_INTERRUPTIBLE);
		assert_int_equal(task_park(deadline), -ETIMEDOUT);
		assert_true(port_time_ns() >= deadline);
		assert_int_equal(tasks[0].sched.state, SCHED_RUNNABLE);
		return;
	}
	h = host_thread_start(fire_when_armed, NULL);
	task_prepare_park(PARK_INTERRUPTIBLE);
	assert_int_equal(task_park(UINT64_MAX / 2), -ETIMEDOUT);
	host_thread_join(h);
}

// Two rounds at once: what the waker changes by a plain store, and the state it looks at next, each on a line of its own. Whoever goes
// first, the waiter sees the change or the waker sees it parking.
static struct {
	uint32_t round __attribute__((aligned(64)));
	uint32_t changed __attribute__((aligned(64)));
	uint32_t woken __attribute__((aligned(64)));
} race;

static void await_round(const uint32_t *word, uint32_t round)
{
	for (unsigned i = 1; __atomic_load_n(word, __ATOMIC_ACQUIRE) != round; i++)
		if (i % 1000 == 0)
			host_yield();
}

static void change_and_unpark(void *arg)
{
	fake_task_enter(&tasks[0]);
	for (uint32_t i = 1; i <= WAKES; i++) {
		await_round(&race.round, i);
		__atomic_store_n(&race.changed, i, __ATOMIC_RELAXED);
		task_unpark(arg);
		__atomic_store_n(&race.woken, i, __ATOMIC_RELEASE);
	}
}

static void does_a_waker_look_after_its_change_only(void **state)
{
	struct task *t = &tasks[1];
	struct host_thread *h;
	unsigned lost = 0;

	(void)state;
	fake_task_enter(t);
	h = host_thread_start(change_and_unpark, t);
	for (uint32_t i = 1; i <= WAKES; i++) {
		__atomic_store_n(&race.round, i, __ATOMIC_RELEASE);
		for (volatile unsigned delay = i % 64; delay; delay--)
			;
		task_prepare_park(PARK_UNINTERRUPTIBLE);
		bool seen = __atomic_load_n(&race.changed, __ATOMIC_RELAXED) == i;
		await_round(&race.woken, i);
		if (!seen && __atomic_load_n(&t->sched.state, __ATOMIC_SEQ_CST) == SCHED_PARKING)
			lost++;
		task_finish_park();
	}
	host_thread_join(h);
	assert_int_equal(lost, 0);
}

// ---- kicks, where the port schedules ----

static bool noted;
void cputime_note_current(void) { noted = true; }
bool load_average_sampled = true;
void load_average_start(void) {}

static struct port_task ports[THREADS + 1];
static uint32_t answered;
static bool over;

// Parks in every mode with and without a deadline, wakes itself now and then, and rests in "user mode", which only a kick ends.
static void go_round(void *arg)
{
	struct task *t = arg;
	unsigned seed = 1;

	fake_task_enter(t);
	ports[t - tasks].self = host_thread_self();
	__atomic_store_n(&t->port, &ports[t - tasks], __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&over, __ATOMIC_SEQ_CST)) {
		seed = seed * 1103515245 + 12345;
		task_prepare_park(seed >> 16 & 1 ? PARK_INTERRUPTIBLE : PARK_UNINTERRUPTIBLE);
		if (t->sched.park_mode == PARK_INTERRUPTIBLE)
			(void)task_park(seed >> 17 & 1 ? PARK_FOREVER : port_time_ns() + (seed >> 18 & 15) * 1000);
		task_finish_park();
		host_wait_kicked(&t->work);
		task_work_clear(t, WORK_SIGNAL);
		__atomic_add_fetch(&answered, 1, __ATOMIC_SEQ_CST);
	}
}

static void is_no_kick_lost(void **state)
{
	struct task *t = &tasks[1];
	struct host_thread *h;

	(void)state;
	if (!PORT_SCHEDULES_TASKS)
		skip();
	fake_task_enter(&tasks[0]);
	h = host_thread_start(go_round, t);
	while (!__atomic_load_n(&t->port, __ATOMIC_SEQ_CST))
		host_yield();
	for (uint32_t i = 0; i < ROUNDS * 4; i++) {
		if (i == ROUNDS * 4 - 1)
			__atomic_store_n(&over, true, __ATOMIC_SEQ_CST);
		task_work_set(t, WORK_SIGNAL);
		sched_kick_task(t);
		while (__atomic_load_n(&answered, __ATOMIC_SEQ_CST) == i)
			host_yield();
	}
	host_thread_join(h);
	t->port = NULL;
}

static void does_a_wake_up_that_comes_first_cost_nothing(void **state)
{
	(void)state;
	if (!PORT_SCHEDULES_TASKS)
		skip();
	fake_task_enter(&tasks[0]);
	tasks[0].sched.sample_wanted = true;
	noted = false;
	fake_wakes = 0;
	task_prepare_park(PARK_UNINTERRUPTIBLE);
	task_unpark(&tasks[0]);
	assert_int_equal(task_park(PARK_FOREVER), 0);
	assert_int_equal(fake_wakes, 0);
	assert_true(noted);
	tasks[0].sched.sample_wanted = false;
}

// ---- wait queues: ping-pong loses no wake-up ----

static struct waitq pings = WAITQ_INIT(pings);
static uint32_t turn;

static void play(void *arg)
{
	struct task *t = arg;
	uint32_t me = (uint32_t)(t - tasks);

	fake_task_enter(t);
	for (unsigned i = 0; i < ROUNDS; i++) {
		wait_event(&pings, __atomic_load_n(&turn, __ATOMIC_SEQ_CST) % THREADS == me);
		__atomic_add_fetch(&turn, 1, __ATOMIC_SEQ_CST);
		waitq_wake_all(&pings);
	}
}

static void run_all(void (*fn)(void *))
{
	struct host_thread *h[THREADS];

	for (unsigned i = 0; i < THREADS; i++)
		h[i] = host_thread_start(fn, &tasks[i]);
	for (unsigned i = 0; i < THREADS; i++)
		host_thread_join(h[i]);
}

static void is_no_wake_up_lost_in_a_ring(void **state)
{
	(void)state;
	turn = 0;
	run_all(play);
	assert_int_equal(turn, THREADS * ROUNDS);
	assert_true(waitq_empty(&pings));
}

// ---- exclusive waiters ----

static unsigned woken_bits;
static bool note_wake(struct waiter *w, unsigned events)
{
	woken_bits = woken_bits << 1 | 1;
	(void)events;
	return w->task != NULL;
}

static void are_exclusive_waiters_woken_one_by_one(void **state)
{
	struct waitq q = WAITQ_INIT(q);
	struct waiter w[4];

	(void)state;
	fake_task_enter(&tasks[0]);
	for (unsigned i = 0; i < 4; i++) {
		waiter_init(&w[i]);
		w[i].wake = note_wake;
		w[i].exclusive = i >= 2;
		waitq_add(&q, &w[i]);
	}
	woken_bits = 0;
	waitq_wake_one(&q);
	assert_int_equal(woken_bits, 7); // both shared ones and one exclusive
	woken_bits = 0;
	waitq_wake_all(&q);
	assert_int_equal(woken_bits, 15);
	w[2].task = NULL; // declines: the wake goes on to the next
	woken_bits = 0;
	waitq_wake_one(&q);
	assert_int_equal(woken_bits, 15);
	for (unsigned i = 0; i < 4; i++)
		waitq_remove(&q, &w[i]);
	waitq_remove(&q, &w[0]); // harmless
	assert_true(waitq_empty(&q));
}

// ---- mutex ----

static struct mutex mutex = MUTEX_INIT(mutex);
static unsigned inside, total;

static void use_mutex(void *arg)
{
	fake_task_enter(arg);
	for (unsigned i = 0; i < ROUNDS; i++) {
		if (i % 3 == 0) {
			if (!mutex_try_lock(&mutex))
				continue;
		} else {
			mutex_lock(&mutex);
		}
		assert(inside++ == 0);
		total++;
		if (i % 16 == 0)
			host_yield();
		assert(--inside == 0);
		assert(mutex_is_mine(&mutex));
		mutex_unlock(&mutex);
	}
}

static void does_a_mutex_exclude_and_let_everyone_in(void **state)
{
	(void)state;
	total = 0;
	run_all(use_mutex);
	assert_in_range(total, THREADS * ROUNDS * 2 / 3, THREADS * ROUNDS);
	assert_int_equal(mutex.word, 0);
	assert_true(waitq_empty(&mutex.waiters));
}

static void can_waiting_for_a_mutex_be_killed(void **state)
{
	(void)state;
	fake_task_enter(&tasks[1]);
	mutex_lock(&mutex);
	fake_task_enter(&tasks[0]);
	tasks[0].work = WORK_KILLED;
	assert_int_equal(mutex_lock_killable(&mutex), -EINTR);
	tasks[0].work = 0;
	fake_current = &tasks[1];
	mutex_unlock(&mutex);
	assert_int_equal(mutex.word, 0);
}

// Whoever wakes an exclusive waiter takes it off the queue. If that can happen before the waiter parks, it must be noticed by the park:
// else the waiter sleeps where nobody looks for it.
static void lock_once(void *arg)
{
	fake_task_enter(arg);
	mutex_lock(&mutex);
	mutex_unlock(&mutex);
}

static void does_a_wake_up_right_after_queueing_count(void **state)
{
	const uint64_t patience = port_time_ns() + 2 * NSEC_PER_SEC;
	struct host_thread *h;
	bool parking;

	(void)state;
	fake_task_enter(&tasks[0]);
	mutex_lock(&mutex);
	spin_lock(&mutex.waiters.lock);
	h = host_thread_start(lock_once, &tasks[1]);
	do {
		host_yield();
		parking = __atomic_load_n(&tasks[1].sched.state, __ATOMIC_SEQ_CST) == SCHED_PARKING;
	} while (!parking && port_time_ns() < patience);
	spin_unlock(&mutex.waiters.lock);
	mutex_unlock(&mutex);
	host_thread_join(h);
	assert_true(parking);
}

// A waiter is killed, tries once more in vain, and then the lock comes free, before it has left the queue: the wake-up is for the next.
static void lock_unless_killed(void *arg)
{
	fake_task_enter(arg);
	if (!mutex_lock_killable(&mutex))
		mutex_unlock(&mutex);
}

static struct host_thread *start_parked(void (*fn)(void *), struct task *t)
{
	struct host_thread *h = host_thread_start(fn, t);

	while (__atomic_load_n(&t->sched.state, __ATOMIC_SEQ_CST) != SCHED_PARKED)
		host_yield();
	return h;
}

// Holds the queue's lock for moments, so that the killed one stands before it when its try shows.
static void let_go_after_the_last_try(void)
{
	for (bool tried = false; !tried;) {
		spin_lock(&mutex.waiters.lock);
		for (unsigned i = 0; i < ROUNDS; i++)
			tried |= __atomic_load_n(&mutex.word, __ATOMIC_SEQ_CST) == 2;
		spin_unlock(&mutex.waiters.lock);
		if (!tried)
			host_yield();
	}
	mutex_unlock(&mutex);
}

static void does_a_killed_waiter_pass_its_wake_up_on(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ROUNDS / 10; i++) {
		fake_task_enter(&tasks[0]);
		mutex_lock(&mutex);
		struct host_thread *killed = start_parked(lock_unless_killed, &tasks[1]);
		struct host_thread *next = start_parked(lock_once, &tasks[2]);
		__atomic_store_n(&mutex.word, 1, __ATOMIC_SEQ_CST); // the next try shows
		task_work_set(&tasks[1], WORK_KILLED);
		task_unpark(&tasks[1]);
		let_go_after_the_last_try();
		host_thread_join(killed);
		tasks[1].work = 0;
		bool lost = mutex.word == 0 && __atomic_load_n(&tasks[2].sched.state, __ATOMIC_SEQ_CST) == SCHED_PARKED;
		waitq_wake_all(&mutex.waiters);
		host_thread_join(next);
		assert_false(lost);
	}
}

// ---- rwsem ----

static struct rwsem rwsem = RWSEM_INIT(rwsem);
static uint32_t readers, writers, most_readers;

static void use_rwsem(void *arg)
{
	struct task *t = arg;

	fake_task_enter(t);
	for (unsigned i = 0; i < ROUNDS; i++) {
		if (i % 4 == 0) {
			rwsem_write_lock(&rwsem);
			assert(__atomic_add_fetch(&writers, 1, __ATOMIC_SEQ_CST) == 1);
			assert(__atomic_load_n(&readers, __ATOMIC_SEQ_CST) == 0);
			__atomic_sub_fetch(&writers, 1, __ATOMIC_SEQ_CST);
			if (i % 8 == 0) {
				rwsem_downgrade(&rwsem);
				assert(__atomic_load_n(&writers, __ATOMIC_SEQ_CST) == 0);
				rwsem_read_unlock(&rwsem);
			} else {
				rwsem_write_unlock(&rwsem);
			}
		} else {
			rwsem_read_lock(&rwsem);
			uint32_t n = __atomic_add_fetch(&readers, 1, __ATOMIC_SEQ_CST);

			if (n > most_readers)
				most_readers = n;
			assert(__atomic_load_n(&writers, __ATOMIC_SEQ_CST) == 0);
			if (i % 16 == 1)
				host_yield();
			__atomic_sub_fetch(&readers, 1, __ATOMIC_SEQ_CST);
			rwsem_read_unlock(&rwsem);
		}
	}
}

static void does_a_rwsem_keep_writers_alone(void **state)
{
	(void)state;
	run_all(use_rwsem);
	assert_int_equal(rwsem.word, 0);
	assert_int_equal(rwsem.waiting_writers, 0);
	assert_int_equal(rwsem.turn, 0); // one that nobody used would keep all writers out
	assert_true(waitq_empty(&rwsem.waiters));
}

static void does_a_waiting_writer_hold_back_new_readers(void **state)
{
	(void)state;
	fake_task_enter(&tasks[0]);
	rwsem_read_lock(&rwsem);
	assert_true(rwsem_read_try_lock(&rwsem));
	rwsem.waiting_writers = 1;
	assert_false(rwsem_read_try_lock(&rwsem));
	rwsem.waiting_writers = 0;
	rwsem_read_unlock(&rwsem);
	rwsem_read_unlock(&rwsem);
}

// ---- the checks of debug builds ----

static bool panics(void (*fn)(void))
{
	jmp_buf target;
	bool caught = true;

	panic_target = &target;
	if (!setjmp(target)) {
		fn();
		caught = false;
	}
	panic_target = NULL;
	return caught;
}

static struct mutex recursive;
static void lock_twice(void)
{
	mutex_init(&recursive);
	mutex_lock(&recursive);
	mutex_lock(&recursive);
}
static void unlock_free(void)
{
	struct spinlock l;

	spin_init(&l);
	spin_unlock(&l);
}

static struct spinlock first, second, third;
static void wrong_order(void)
{
	spin_lock(&third);
	spin_lock(&first);
}

static void are_mistakes_with_locks_found(void **state)
{
	(void)state;
	fake_task_enter(&tasks[0]);
	assert_true(panics(lock_twice));
	assert_true(panics(unlock_free));
	spin_init(&first);
	spin_init(&second);
	spin_init(&third);
	// first -> second -> third is the order; third -> first closes the circle though these two never met.
	spin_lock(&first);
	spin_lock(&second);
	spin_unlock(&second);
	spin_unlock(&first);
	spin_lock(&second);
	spin_lock(&third);
	spin_unlock(&third);
	spin_unlock(&second);
	assert_true(panics(wrong_order));
	assert_non_null(strstr(panic_text, "lock order"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_an_unpark_before_the_park_remembered),
		cmocka_unit_test(do_signals_end_only_the_parks_that_admit_them),
		cmocka_unit_test(does_a_deadline_end_a_park),
		cmocka_unit_test(does_a_waker_look_after_its_change_only),
		cmocka_unit_test(is_no_kick_lost),
		cmocka_unit_test(does_a_wake_up_that_comes_first_cost_nothing),
		cmocka_unit_test(is_no_wake_up_lost_in_a_ring),
		cmocka_unit_test(are_exclusive_waiters_woken_one_by_one),
		cmocka_unit_test(does_a_mutex_exclude_and_let_everyone_in),
		cmocka_unit_test(can_waiting_for_a_mutex_be_killed),
		cmocka_unit_test(does_a_wake_up_right_after_queueing_count),
		cmocka_unit_test(does_a_killed_waiter_pass_its_wake_up_on),
		cmocka_unit_test(does_a_rwsem_keep_writers_alone),
		cmocka_unit_test(does_a_waiting_writer_hold_back_new_readers),
		cmocka_unit_test(are_mistakes_with_locks_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
