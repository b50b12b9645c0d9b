// SPDX-License-Identifier: Apache-2.0
// The port's own locks: futexes in shared memory, held for a short while. Their holder may be preempted by the host, so
// waiters sleep.
#pragma once

#include "port/port.h"

struct hosted_lock {
	uint32_t word; // 0 free, 1 held, 2 held and waited for
};

static inline void hosted_lock(struct hosted_lock *l)
{
	uint32_t seen = 0;
	if (__atomic_compare_exchange_n(&l->word, &seen, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return;
	while (__atomic_exchange_n(&l->word, 2, __ATOMIC_ACQUIRE))
		port_lock_wait(&l->word, 2);
}

static inline void hosted_unlock(struct hosted_lock *l)
{
	if (__atomic_exchange_n(&l->word, 0, __ATOMIC_RELEASE) == 2)
		port_lock_wake(&l->word);
}
