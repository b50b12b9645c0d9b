// SPDX-License-Identifier: Apache-2.0
// Sleeping mutual exclusion. The word says free, held, or held and waited for (Drepper, "Futexes Are Tricky", mutex 2): an
// unlocker looks at the queue only when somebody may be there. A woken waiter competes with newcomers; that is unfair by a
// little and saves a switch on every hand-over.

#include "kernel/mutex.h"

#include "kernel/log.h"
#include "kernel/task.h"
#include "lockdep.h"

#define FREE      0u
#define HELD      1u
#define CONTENDED 2u

void mutex_init(struct mutex *m)
{
	m->word = FREE;
	m->owner = NULL;
	waitq_init(&m->waiters);
}

bool mutex_try_lock(struct mutex *m)
{
	uint32_t seen = FREE;

	if (!__atomic_compare_exchange_n(&m->word, &seen, HELD, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return false;
	m->owner = current;
	return true;
}

static int lock_slow(struct mutex *m, enum park_mode mode)
{
	struct waiter w;
	int error = 0;

	if (CLOISTER_DEBUG && m->owner == current)
		panic("mutex: taken twice by the same task");
	waiter_init(&w);
	w.exclusive = true;
	for (;;) {
		task_prepare_park(
			mode); // first: a wake-up takes us off the queue, and may come as soon as we are on it
		waitq_add(&m->waiters, &w);
		if (__atomic_exchange_n(&m->word, CONTENDED, __ATOMIC_ACQUIRE) == FREE) {
			error = 0;
			m->owner = current;
			break;
		}
		if (error)
			break;
		error = task_park(PARK_FOREVER);
	}
	task_finish_park();
	waitq_remove(&m->waiters, &w);
	if (error) // a wake-up may have come to us since the last try
		waitq_wake_one(&m->waiters);
	return error;
}

void mutex_lock(struct mutex *m)
{
	if (CLOISTER_DEBUG)
		lockdep_assert_may_sleep();
	if (unlikely(!mutex_try_lock(m)))
		(void)lock_slow(m, PARK_UNINTERRUPTIBLE);
}

// Giving up after a wake-up was spent on us is safe: the last try has set CONTENDED, so whoever holds it wakes the next; and one that
// comes after that try is handed on.
int mutex_lock_killable(struct mutex *m)
{
	if (CLOISTER_DEBUG)
		lockdep_assert_may_sleep();
	return likely(mutex_try_lock(m)) ? 0 : lock_slow(m, PARK_KILLABLE);
}

void mutex_unlock(struct mutex *m)
{
	if (CLOISTER_DEBUG && m->owner != current)
		panic("mutex: released by a task that does not hold it");
	m->owner = NULL;
	if (unlikely(__atomic_exchange_n(&m->word, FREE, __ATOMIC_RELEASE) == CONTENDED))
		waitq_wake_one(&m->waiters);
}

bool mutex_is_mine(const struct mutex *m) { return m->owner == current; }
