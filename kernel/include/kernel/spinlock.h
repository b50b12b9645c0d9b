// SPDX-License-Identifier: Apache-2.0
// Spinlocks, for what is held a few hundred instructions at most: wait queues, run queues, hash buckets, counters. Never
// sleep under one. On a port with host threads the same word is a futex lock; no interrupt-disabling variants exist
// because ports do not interrupt the kernel (port/port.h).
//
// There waking a thread is a call of the host's, and the woken one, which may run at once, would find the lock held under which it was
// woken. So a task counts the spinlocks it holds, and task_unpark() leaves the waking to the release of the last one.
#pragma once

#include "kernel/types.h"
#include "kernel/upcall.h"
#include "port/inline.h"

struct spinlock {
	uint32_t word; // 0 free, 1 held, 2 held and waited for (ports that sleep)
#if CLOISTER_DEBUG
	const struct task *owner;
	const char *name; // class, for the lock-order check (kernel/sched/lockdep.c); NULL: every lock its own
#endif
};

#define SPINLOCK_INIT \
	{             \
		0     \
	}

#if CLOISTER_DEBUG
// What a CPU, or a task where the port schedules, holds: for the lock-order check.
struct lock_stack {
	struct {
		const void *lock;
		uint16_t class;
	} held[16];
	unsigned depth;
};

// The class of a lock is the line that initialises it.
#define SPIN_STRING2(x) #x
#define SPIN_STRING(x)  SPIN_STRING2(x)
#define spin_init(l)    spin_init_class((l), __FILE__ ":" SPIN_STRING(__LINE__))
static inline void spin_init_class(struct spinlock *l, const char *name) { *l = (struct spinlock){ .name = name }; }
#else
static inline void spin_init(struct spinlock *l) { *l = (struct spinlock)SPINLOCK_INIT; }
#endif

void spin_lock_slow(struct spinlock *l);
void sched_wakes_flush(void); // park.c

static inline void spin_taken(void)
{
	struct task_head *t = PORT_SCHEDULES_TASKS ? (struct task_head *)port_current() : NULL;
	if (PORT_SCHEDULES_TASKS && likely(t))
		t->spins++;
}

static inline void spin_released(void)
{
	struct task_head *t = PORT_SCHEDULES_TASKS ? (struct task_head *)port_current() : NULL;
	if (PORT_SCHEDULES_TASKS && likely(t) && --t->spins == 0 && unlikely(t->wakes))
		sched_wakes_flush();
}

static inline bool spin_word_try_lock(struct spinlock *l)
{
	uint32_t free = 0;
	return __atomic_compare_exchange_n(&l->word, &free, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static inline void spin_word_unlock(struct spinlock *l)
{
	if (!PORT_SCHEDULES_TASKS) // waiters spin: a plain store is enough
		__atomic_store_n(&l->word, 0, __ATOMIC_RELEASE);
	else if (unlikely(__atomic_exchange_n(&l->word, 0, __ATOMIC_RELEASE) == 2))
		port_lock_wake(&l->word);
}

#if CLOISTER_DEBUG
void spin_lock(struct spinlock *l);
void spin_unlock(struct spinlock *l);
bool spin_try_lock(struct spinlock *l);
#else
static inline bool spin_try_lock(struct spinlock *l)
{
	bool taken = spin_word_try_lock(l);
	if (taken)
		spin_taken();
	return taken;
}
static inline void spin_lock(struct spinlock *l)
{
	if (unlikely(!spin_word_try_lock(l)))
		spin_lock_slow(l);
	spin_taken();
}
static inline void spin_unlock(struct spinlock *l)
{
	spin_word_unlock(l);
	spin_released();
}
#endif

static inline bool spin_is_locked(const struct spinlock *l) { return __atomic_load_n(&l->word, __ATOMIC_RELAXED) != 0; }
