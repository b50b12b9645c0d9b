// SPDX-License-Identifier: Apache-2.0
// Parking: the one way a task blocks.
//
//   RUNNABLE --prepare--> PARKING --park--> PARKED --unpark--> RUNNABLE
//                            \-----unpark------------------------^
//
// No wake-up is lost: prepare makes the state PARKING with a full barrier before the caller checks its condition; the waker
// changes the condition, by whatever store, and unpark looks at the state behind a full barrier. PARKING -> PARKED happens under the run queue's lock by compare and
// exchange and fails when a waker was faster. Whoever moves PARKED -> RUNNABLE, and only that one, queues the task.
//
// Where the port schedules (one host thread a task), the state word itself is what the thread sleeps on. There is no run queue
// and no lock then, and a deadline is the host's: the sleeper itself moves PARKED -> RUNNABLE when it has passed, unless a waker
// is faster. Only a waker that has seen PARKED needs to wake a thread.

#include "kernel/mm.h"
#include "kernel/task.h"
#include "kernel/waitq.h"

#include "internal.h"
#include "lockdep.h"

void task_prepare_park(enum park_mode mode)
{
	struct sched_entity *s = &current->sched;

	s->park_mode = mode;
	__atomic_exchange_n(&s->state, SCHED_PARKING, __ATOMIC_SEQ_CST);
}

void task_finish_park(void) { __atomic_store_n(&current->sched.state, SCHED_RUNNABLE, __ATOMIC_RELAXED); }

// The tasks may be gone by now; waking nobody is harmless.
void sched_wakes_flush(void)
{
	struct task *t = current;
	unsigned count = t->wake_count;

	t->wake_count = 0;
	for (unsigned i = 0; i < count; i++)
		port_lock_wake(t->wakes[i]);
}

// Wakes the thread that sleeps on `state`: now, or when the current task has let go of its last spinlock.
static void thread_wake(uint32_t *state)
{
	struct task *t = current;

	if (!t || !t->spins || t->wake_count == TASK_WAKES_MAX)
		port_lock_wake(state);
	else
		t->wakes[t->wake_count++] = state;
}

void task_unpark(struct task *t)
{
	// Orders the caller's change before the look at the state; prepare's exchange is the other half.
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	uint32_t seen = __atomic_load_n(&t->sched.state, __ATOMIC_RELAXED);

	while (seen == SCHED_PARKING || seen == SCHED_PARKED) {
		if (!__atomic_compare_exchange_n(&t->sched.state, &seen, SCHED_RUNNABLE, false, __ATOMIC_ACQ_REL,
						 __ATOMIC_RELAXED))
			continue;
		if (seen == SCHED_PARKING)
			return;
		if (PORT_SCHEDULES_TASKS)
			thread_wake(&t->sched.state);
		else
			sched_wake(t);
		return;
	}
}

static bool interrupted(struct task *t)
{
	switch (t->sched.park_mode) {
	case PARK_INTERRUPTIBLE: return signal_pending(t);
	case PARK_KILLABLE: return unlikely(task_work_test(t, WORK_SIGNAL | WORK_KILLED)) && fatal_signal_pending(t);
	default: return false;
	}
}

// ---- where the port schedules ----

static bool thread_parks(struct task *t)
{
	uint32_t parking = SCHED_PARKING;

	if (unlikely(__atomic_load_n(&t->sched.sample_wanted, __ATOMIC_RELAXED)))
		cputime_note_current();
	if (!__atomic_compare_exchange_n(&t->sched.state, &parking, SCHED_PARKED, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_RELAXED))
		return false;
	t->sched.voluntary_switches++;
	return true;
}

static bool thread_is_parked(struct task *t)
{
	return __atomic_load_n(&t->sched.state, __ATOMIC_ACQUIRE) == SCHED_PARKED;
}

// 0 or -ETIMEDOUT. The waits return early when the thread is kicked; whoever kicks for a reason unparks, too.
static int thread_block(struct task *t, uint64_t deadline_ns)
{
	uint32_t parked = SCHED_PARKED;

	if (!thread_parks(t))
		return 0;
	while (thread_is_parked(t)) {
		if (deadline_ns == PARK_FOREVER) {
			port_lock_wait(&t->sched.state, SCHED_PARKED);
			continue;
		}
		port_lock_wait_until(&t->sched.state, SCHED_PARKED, deadline_ns);
		if (thread_is_parked(t) && clock_monotonic_ns() >= deadline_ns &&
		    __atomic_compare_exchange_n(&t->sched.state, &parked, SCHED_RUNNABLE, false, __ATOMIC_ACQ_REL,
						__ATOMIC_RELAXED))
			return -ETIMEDOUT;
	}
	load_average_wake();
	return 0;
}

void sched_sleep_begin(void)
{
	if (!PORT_SCHEDULES_TASKS)
		return;
	if (unlikely(__atomic_load_n(&current->sched.sample_wanted, __ATOMIC_RELAXED)))
		cputime_note_current();
	__atomic_store_n(&current->sched.state, SCHED_ASLEEP, __ATOMIC_RELAXED);
}

void sched_sleep_end(void)
{
	if (PORT_SCHEDULES_TASKS)
		__atomic_store_n(&current->sched.state, SCHED_RUNNABLE, __ATOMIC_RELAXED);
}

// ---- the park ----

struct deadline {
	struct ktimer timer;
	struct task *task;
};

static void deadline_expired(struct ktimer *timer) { task_unpark(container_of(timer, struct deadline, timer)->task); }

static int park_until(struct task *t, uint64_t deadline_ns)
{
	struct deadline d = { .task = t };

	if (deadline_ns <= clock_monotonic_ns()) {
		task_finish_park();
		return -ETIMEDOUT;
	}
	if (PORT_SCHEDULES_TASKS)
		return thread_block(t, deadline_ns);
	ktimer_init(&d.timer, deadline_expired);
	ktimer_set(&d.timer, deadline_ns);
	sched_block();
	// Off the tree: it fired. Its expire() still looks at `d` until the cancel returns.
	return ktimer_cancel_sync(&d.timer) ? 0 : -ETIMEDOUT;
}

int task_park(uint64_t deadline_ns)
{
	struct task *t = current;
	int result = 0;

	if (CLOISTER_DEBUG)
		lockdep_assert_may_sleep();
	if (unlikely(interrupted(t))) {
		task_finish_park();
		return -EINTR;
	}
	if (PORT_HOST && unlikely(task_work_test(t, WORK_REMOTE)) && mm_serve_parked())
		return 0;
	if (unlikely(deadline_ns != PARK_FOREVER))
		result = park_until(t, deadline_ns);
	else if (PORT_SCHEDULES_TASKS)
		(void)thread_block(t, PARK_FOREVER);
	else
		sched_block();
	if (PORT_HOST && unlikely(task_work_test(t, WORK_REMOTE)))
		(void)mm_serve_parked();
	return unlikely(interrupted(t)) ? -EINTR : result;
}

// The bit is set before the state is read, here; the target makes its state PARKING before it looks at its bits. So either it
// is seen parking or it sees the bit. A task seen PARKING may be past that, on its way to user mode (task_finish_park() is no
// barrier): where it would not come back by itself it is kicked as well.
void sched_kick_task(struct task *t)
{
	uint32_t state = __atomic_load_n(&t->sched.state, __ATOMIC_SEQ_CST);

	if (state == SCHED_PARKING || state == SCHED_PARKED) {
		if (__atomic_load_n(&t->sched.park_mode, __ATOMIC_RELAXED) != PARK_UNINTERRUPTIBLE)
			task_unpark(t);
		if (!PORT_SCHEDULES_TASKS || state == SCHED_PARKED)
			return;
	}
	if (t == current || state == SCHED_DEAD)
		return;
	if (PORT_SCHEDULES_TASKS)
		port_task_kick(t->port);
	else if (__atomic_load_n(&t->sched.running, __ATOMIC_ACQUIRE))
		port_cpu_kick(__atomic_load_n(&t->sched.cpu, __ATOMIC_RELAXED));
}
