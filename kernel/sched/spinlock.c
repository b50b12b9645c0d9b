// SPDX-License-Identifier: Apache-2.0
// Spinlocks: the contended path, and the checked versions of debug builds.

#include "kernel/spinlock.h"

#include "kernel/log.h"
#include "lockdep.h"

#define SPINS_BEFORE_SLEEP 60u // a microsecond or so: most holders are gone by then

// The holder runs on another CPU, or was preempted by the host: the first is worth a short wait.
static bool spin_briefly(struct spinlock *l)
{
	for (unsigned i = 0; i < SPINS_BEFORE_SLEEP; i++) {
		if (__atomic_load_n(&l->word, __ATOMIC_RELAXED) == 0 && spin_word_try_lock(l))
			return true;
		port_cpu_relax();
	}
	return false;
}

void spin_lock_slow(struct spinlock *l)
{
	if (PORT_SCHEDULES_TASKS && port_cpu_count() > 1 && spin_briefly(l))
		return;
	for (;;) {
		uint32_t seen = __atomic_load_n(&l->word, __ATOMIC_RELAXED);

		if (seen == 0) {
			// Where waiters sleep, a lock taken after waiting stays marked: there may be more of them.
			uint32_t held = PORT_SCHEDULES_TASKS ? 2 : 1;

			if (__atomic_compare_exchange_n(&l->word, &seen, held, true, __ATOMIC_ACQUIRE,
							__ATOMIC_RELAXED))
				return;
			continue;
		}
		if (PORT_SCHEDULES_TASKS && seen == 1 &&
		    !__atomic_compare_exchange_n(&l->word, &seen, 2, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			continue;
		port_lock_wait(&l->word, PORT_SCHEDULES_TASKS ? 2 : seen);
	}
}

#if CLOISTER_DEBUG

bool spin_try_lock(struct spinlock *l)
{
	if (!spin_word_try_lock(l))
		return false;
	spin_taken();
	l->owner = port_current();
	lockdep_acquired(l, l->name, true);
	return true;
}

void spin_lock(struct spinlock *l)
{
	if (l->owner && l->owner == port_current() && spin_is_locked(l))
		panic("spinlock %s: taken twice by the same task", l->name ? l->name : "?");
	if (unlikely(!spin_word_try_lock(l)))
		spin_lock_slow(l);
	spin_taken();
	l->owner = port_current();
	lockdep_acquired(l, l->name, false);
}

void spin_unlock(struct spinlock *l)
{
	if (!spin_is_locked(l))
		panic("spinlock %s: released but not held", l->name ? l->name : "?");
	lockdep_released(l);
	l->owner = NULL;
	spin_word_unlock(l);
	spin_released();
}

#endif
