// SPDX-License-Identifier: Apache-2.0
// Parking: the one way a task blocks.
//
//   RUNNABLE --prepare--> PARKING --park--> PARKED --unpark--> RUNNABLE
//                            \-----unpark------------------------^
//
// No wake-up is lost: prepare makes the state PARKING with a full barrier before the caller checks its condition; the waker
// changes the condition before it looks at the state. PARKING -> PARKED happens under the run queue's lock by compare and
// exchange and fails when a waker was faster. Whoever moves PARKED -> RUNNABLE, and only that one, queues the task.
//
// Where the port schedules (one host thread a task), the state word itself is what the thread sleeps on: see block().

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

void task_unpark(struct task *t)
{
	uint32_t seen = __atomic_load_n(&t->sched.state, __ATOMIC_SEQ_CST);

	while (seen == SCHED_PARKING || seen == SCHED_PARKED) {
		if (!__atomic_compare_exchange_n(&t->sched.state, &seen, SCHED_RUNNABLE, false, __ATOMIC_ACQ_REL,
						 __ATOMIC_RELAXED))
			continue;
		if (PORT_SCHEDULES_TASKS)
			port_lock_wake(&t->sched.state);
		else if (seen == SCHED_PARKED)
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

static void block(struct task *t)
{
	if (!PORT_SCHEDULES_TASKS) {
		sched_block();
		return;
	}
	while (__atomic_load_n(&t->sched.state, __ATOMIC_ACQUIRE) == SCHED_PARKING)
		port_lock_wait(&t->sched.state, SCHED_PARKING);
}

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
	ktimer_init(&d.timer, deadline_expired);
	ktimer_set(&d.timer, deadline_ns);
	block(t);
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
	if (likely(deadline_ns == PARK_FOREVER))
		block(t);
	else
		result = park_until(t, deadline_ns);
	if (PORT_HOST && unlikely(task_work_test(t, WORK_REMOTE)))
		(void)mm_serve_parked();
	return unlikely(interrupted(t)) ? -EINTR : result;
}

void sched_kick_task(struct task *t)
{
	uint32_t state = __atomic_load_n(&t->sched.state, __ATOMIC_SEQ_CST);

	if (state == SCHED_PARKING || state == SCHED_PARKED) {
		if (__atomic_load_n(&t->sched.park_mode, __ATOMIC_RELAXED) != PARK_UNINTERRUPTIBLE)
			task_unpark(t);
		return;
	}
	if (!PORT_SCHEDULES_TASKS && t != current && __atomic_load_n(&t->sched.running, __ATOMIC_ACQUIRE))
		port_cpu_kick(__atomic_load_n(&t->sched.cpu, __ATOMIC_RELAXED));
}
