// SPDX-License-Identifier: Apache-2.0
// Spinlocks, for what is held a few hundred instructions at most: wait queues, run queues, hash buckets, counters. Never
// sleep under one. On a port with host threads the same word is a futex lock; no interrupt-disabling variants exist
// because ports do not interrupt the kernel (port/port.h).
#pragma once

#include "kernel/types.h"

struct spinlock {
	uint32_t word; // 0 free, 1 held, 2 held and waited for (ports that sleep)
#if CLOISTER_DEBUG
	const struct task *owner;
	const char *name; // class, for the lock-order check (kernel/sched/lockdep.c)
#endif
};

#define SPINLOCK_INIT { 0 }

static inline void spin_init(struct spinlock *l) { *l = (struct spinlock)SPINLOCK_INIT; }

void spin_lock_slow(struct spinlock *l);
#if CLOISTER_DEBUG
void spin_lock(struct spinlock *l);
void spin_unlock(struct spinlock *l);
bool spin_try_lock(struct spinlock *l);
#else
static inline bool spin_try_lock(struct spinlock *l)
{
	uint32_t free = 0;
	return __atomic_compare_exchange_n(&l->word, &free, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}
static inline void spin_lock(struct spinlock *l)
{
	if (unlikely(!spin_try_lock(l)))
		spin_lock_slow(l);
}
static inline void spin_unlock(struct spinlock *l)
{
	if (unlikely(__atomic_exchange_n(&l->word, 0, __ATOMIC_RELEASE) == 2))
		port_lock_wake(&l->word);
}
#endif
