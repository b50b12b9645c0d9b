// SPDX-License-Identifier: Apache-2.0
// Sleeping read-write lock. word: number of readers, or -1 while a writer holds it. waiting_writers makes it fair to
// writers: a reader that finds one waiting queues behind it. turn makes it fair to readers: a writer that lets go grants as many turns
// as readers wait, and no writer comes in before they were used; each waiting reader uses one, so they do get used.
//
// Every release that may let somebody in wakes the whole queue when it is not empty; what cannot go on parks again. The
// holder's release orders the word before its look at the queue by the queue's lock (see waitq.c).

#include "kernel/mutex.h"

#include "kernel/log.h"
#include "kernel/task.h"
#include "lockdep.h"

void rwsem_init(struct rwsem *s)
{
	s->word = 0;
	s->waiting_writers = s->waiting_readers = s->turn = 0;
	s->owner = NULL;
	waitq_init(&s->waiters);
}

static bool read_try(struct rwsem *s)
{
	int32_t seen = __atomic_load_n(&s->word, __ATOMIC_RELAXED);

	while (seen >= 0)
		if (__atomic_compare_exchange_n(&s->word, &seen, seen + 1, true, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return true;
	return false;
}

static bool write_try(struct rwsem *s)
{
	int32_t seen = 0;

	if (unlikely(__atomic_load_n(&s->turn, __ATOMIC_ACQUIRE)))
		return false;
	if (!__atomic_compare_exchange_n(&s->word, &seen, -1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return false;
	s->owner = current;
	return true;
}

bool rwsem_read_try_lock(struct rwsem *s)
{
	return !__atomic_load_n(&s->waiting_writers, __ATOMIC_RELAXED) && read_try(s);
}

// A waiting reader's try: with a turn, writers that wait do not matter. The turn is looked at again once the lock is held: the writer
// may have granted it, and let go, since. A turn nobody uses would keep all writers out.
static bool read_turn_try(struct rwsem *s)
{
	uint32_t turn = __atomic_load_n(&s->turn, __ATOMIC_ACQUIRE);

	if (!turn && __atomic_load_n(&s->waiting_writers, __ATOMIC_RELAXED))
		return false;
	if (!read_try(s))
		return false;
	turn = __atomic_load_n(&s->turn, __ATOMIC_ACQUIRE);
	while (turn &&
	       !__atomic_compare_exchange_n(&s->turn, &turn, turn - 1, true, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		;
	return true;
}

void rwsem_read_lock(struct rwsem *s)
{
	if (CLOISTER_DEBUG) {
		lockdep_assert_may_sleep();
		if (s->owner == current)
			panic("rwsem: read-locked by its writer");
	}
	if (likely(rwsem_read_try_lock(s)))
		return;
	__atomic_fetch_add(&s->waiting_readers, 1, __ATOMIC_SEQ_CST);
	wait_event(&s->waiters, read_turn_try(s));
	__atomic_fetch_sub(&s->waiting_readers, 1, __ATOMIC_SEQ_CST);
}

// The writer is about to let go: those who wait now come first.
static void grant_turns(struct rwsem *s)
{
	uint32_t readers = __atomic_load_n(&s->waiting_readers, __ATOMIC_SEQ_CST);

	if (unlikely(readers))
		__atomic_store_n(&s->turn, readers, __ATOMIC_RELEASE);
}

// Somebody may be waiting only if it queued itself before its last try failed; that try saw us holding the lock, so its
// queueing is visible here after the word's change, a full barrier.
static void wake_if_waited(struct rwsem *s)
{
	if (unlikely(!waitq_empty(&s->waiters)))
		waitq_wake_all(&s->waiters);
}

void rwsem_read_unlock(struct rwsem *s)
{
	int32_t left = __atomic_sub_fetch(&s->word, 1, __ATOMIC_SEQ_CST);

	assert(left >= 0);
	if (left == 0)
		wake_if_waited(s);
}

static int write_lock_slow(struct rwsem *s, enum park_mode mode)
{
	int error;

	if (CLOISTER_DEBUG && s->owner == current)
		panic("rwsem: taken twice by the same task");
	__atomic_fetch_add(&s->waiting_writers, 1, __ATOMIC_SEQ_CST);
	error = wait_event_mode(&s->waiters, write_try(s), mode, PARK_FOREVER);
	__atomic_fetch_sub(&s->waiting_writers, 1, __ATOMIC_SEQ_CST);
	if (error) // readers may have queued behind us only
		wake_if_waited(s);
	return error;
}

void rwsem_write_lock(struct rwsem *s)
{
	if (CLOISTER_DEBUG)
		lockdep_assert_may_sleep();
	if (unlikely(!write_try(s)))
		(void)write_lock_slow(s, PARK_UNINTERRUPTIBLE);
}

int rwsem_write_lock_killable(struct rwsem *s)
{
	if (CLOISTER_DEBUG)
		lockdep_assert_may_sleep();
	return likely(write_try(s)) ? 0 : write_lock_slow(s, PARK_KILLABLE);
}

void rwsem_write_unlock(struct rwsem *s)
{
	assert(s->word == -1);
	s->owner = NULL;
	grant_turns(s);
	__atomic_exchange_n(&s->word, 0, __ATOMIC_SEQ_CST);
	wake_if_waited(s);
}

void rwsem_downgrade(struct rwsem *s)
{
	assert(s->word == -1);
	s->owner = NULL;
	grant_turns(s);
	__atomic_exchange_n(&s->word, 1, __ATOMIC_SEQ_CST);
	wake_if_waited(s);
}
