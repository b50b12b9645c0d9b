// SPDX-License-Identifier: Apache-2.0
// FUTEX_WAIT_REQUEUE_PI and FUTEX_CMP_REQUEUE_PI, futex(2): condition variables whose mutex has an owner. Who waits for the condition is
// handed the mutex, or moved to its queue, without running in between.
//
// Both come in pairs: a waiter says where it will be moved, and nobody else may wake it.

#include "futex_internal.h"

// ---- waiting ----

// The end of a wait that nobody moved, or that was moved and then not given the lock.
static long end_of_wait(const struct futex_waiter *w, int error)
{
	if (error != -EINTR)
		return error;
	return w->pi ? -EAGAIN : -ERESTARTNOINTR; // the program looks at its condition again
}

long futex_wait_requeue_pi(struct uptr word, bool private, uint32_t expected, uint64_t deadline_ns, uint32_t bitset,
			   struct uptr lock)
{
	struct futex_waiter w = { .task = current, .bitset = bitset, .to_pi = true };
	int error;

	if (word.address == lock.address)
		return -EINVAL;
	error = futex_key_get(lock, private, true, &w.target);
	if (error)
		return error;
	error = futex_key_get(word, private, false, &w.key);
	if (error)
		goto put_target;
	error = futex_wait_begin(word, expected, &w);
	if (error)
		goto put_key;
	error = (int)end_of_wait(&w, futex_pi_sleep(lock, futex_bucket_of(&w.target), &w, deadline_ns));
put_key:
	futex_key_put(&w.key);
put_target:
	futex_key_put(&w.target);
	return error;
}

// ---- moving ----

struct move {
	struct uptr word, lock;
	struct futex_key from_key, to_key;
	struct futex_bucket *from, *to; // locked
	unsigned count, done;
	pid_t lend_to; // the owner, when somebody of real-time priority waits for it now
};

// All that wait there are to be moved just there; *first: whose turn it is, NULL: nobody's.
static int look(struct move *m, struct futex_waiter **first, bool *more)
{
	struct futex_waiter *w;

	*first = NULL;
	*more = false;
	list_for_each (w, &m->from->waiters, node) {
		if (!futex_key_equal(&w->key, &m->from_key))
			continue;
		if (!w->to_pi || w->pi || !futex_key_equal(&w->target, &m->to_key))
			return -EINVAL;
		*more = *first;
		if (!*first || sched_rt_rank(&w->task->sched) > sched_rt_rank(&(*first)->task->sched))
			*first = w;
	}
	return 0;
}

static void move_one(struct move *m, struct futex_waiter *w, pid_t owner)
{
	futex_move(w, m->to, &m->to_key);
	w->pi = true;
	w->owner = owner;
	w->owner_died = false;
}

// The lock becomes `first`'s if nobody holds it, or is marked as waited for. *owner: whose it is. FUTEX_CHANGED: try again; -EFAULT: the page
// must be brought in; -EDEADLK, -ESRCH.
static int take_for(struct move *m, struct futex_waiter *first, bool more, pid_t *owner)
{
	uint32_t value, seen, new;
	bool several;
	int error;

	if (port_user_load32_atomic(m->lock.address, &value))
		return -EFAULT;
	*owner = (pid_t)(value & FUTEX_TID_MASK);
	if (*owner == first->task->own_tid)
		return -EDEADLK;
	if (*owner) {
		error = futex_pi_announce(*owner);
		if (error)
			return error;
		new = value | FUTEX_WAITERS;
	} else {
		bool others = futex_pi_first(m->to, &m->to_key, &several) != NULL || (more && m->count);
		*owner = first->task->own_tid;
		new = (uint32_t)*owner | (value & FUTEX_OWNER_DIED) | (others ? FUTEX_WAITERS : 0);
	}
	if (new != value && port_user_cmpxchg32_atomic(m->lock.address, value, new, &seen))
		return -EFAULT;
	return new != value &&seen != value ? FUTEX_CHANGED : 0;
}

// Under both locks: the compared word has been looked at.
static int move_all(struct move *m)
{
	struct futex_waiter *first, *w, *next;
	pid_t owner = 0;
	bool more;
	int error = look(m, &first, &more);

	if (error || !first)
		return error;
	error = take_for(m, first, more, &owner);
	if (error)
		return error;
	m->done = 1;
	move_one(m, first, owner);
	if (owner != first->task->own_tid && sched_rt_rank(&first->task->sched))
		m->lend_to = owner;
	if (owner == first->task->own_tid) {
		futex_wake_waiter(first);
		futex_pi_change_owner(m->to, &m->to_key, first->task);
	}
	list_for_each_safe (w, next, &m->from->waiters, node)
		if (futex_key_equal(&w->key, &m->from_key) && m->done < m->count + 1) {
			move_one(m, w, owner);
			m->done++;
		}
	return 0;
}

// -EAGAIN: the word has another value; else as move_all().
static int compare_and_move(struct move *m, uint32_t expected)
{
	uint32_t value;
	int error;

	futex_lock_two(m->from, m->to);
	error = port_user_load32_atomic(m->word.address, &value);
	if (!error)
		error = value == expected ? move_all(m) : -EAGAIN;
	futex_unlock_two(m->from, m->to);
	return error;
}

long futex_requeue_pi(struct uptr word, bool private, unsigned wake, unsigned move, struct uptr lock, uint32_t expected)
{
	struct move m = { .word = word, .lock = lock, .count = move };
	uint32_t seen;
	int error;

	if (wake != 1 || (int)move < 0 || word.address == lock.address)
		return -EINVAL;
	error = futex_key_get(word, private, false, &m.from_key);
	if (error)
		return error;
	error = futex_key_get(lock, private, true, &m.to_key);
	if (error)
		goto put_from;
	m.from = futex_bucket_of(&m.from_key);
	m.to = futex_bucket_of(&m.to_key);
	do {
		error = compare_and_move(&m, expected);
		if (error == -EFAULT) {
			error = port_user_load32(word.address, &seen);
			if (!error)
				error = futex_fault_in(lock);
			if (!error)
				error = FUTEX_CHANGED;
		}
	} while (error == FUTEX_CHANGED);
	if (m.lend_to)
		futex_pi_lend(m.lend_to);
	futex_key_put(&m.to_key);
put_from:
	futex_key_put(&m.from_key);
	return error ? error : (long)m.done;
}
