// SPDX-License-Identifier: Apache-2.0
// Sleeping locks: mutex, and read-write semaphore (fair to writers). Task context only. Recursion is a bug.
#pragma once

#include "kernel/waitq.h"

struct mutex {
	uint32_t word; // 0 free, 1 held, 2 held and waited for
	struct waitq waiters;
	struct task *owner; // for the lock-order check and panics
};
#define MUTEX_INIT(name)                            \
	{                                           \
		0, WAITQ_INIT((name).waiters), NULL \
	}

void mutex_init(struct mutex *m);
void mutex_lock(struct mutex *m);
int must_check mutex_lock_killable(struct mutex *m); // 0 or -EINTR
bool mutex_try_lock(struct mutex *m);
void mutex_unlock(struct mutex *m);
bool mutex_is_mine(const struct mutex *m);

struct rwsem {
	int32_t word; // readers, or -1 for a writer; with waiters see kernel/sched/rwsem.c
	uint32_t waiting_writers, waiting_readers;
	uint32_t turn; // readers that the next writer has to let pass
	struct waitq waiters;
	struct task *owner;
};
#define RWSEM_INIT(name)                              \
	{                                             \
		.waiters = WAITQ_INIT((name).waiters) \
	}

void rwsem_init(struct rwsem *s);
void rwsem_read_lock(struct rwsem *s);
bool rwsem_read_try_lock(struct rwsem *s);
void rwsem_read_unlock(struct rwsem *s);
void rwsem_write_lock(struct rwsem *s);
int must_check rwsem_write_lock_killable(struct rwsem *s);
void rwsem_write_unlock(struct rwsem *s);
void rwsem_downgrade(struct rwsem *s); // writer becomes reader
