// SPDX-License-Identifier: Apache-2.0
// Futex locks with an owner: FUTEX_LOCK_PI and kin, and what happens to locks whose owner dies (robust lists, PI owners).
// futex(2), get_robust_list(2).
//
// The word is 0 or the owner's tid, with FUTEX_WAITERS while somebody queues here and FUTEX_OWNER_DIED for the next owner
// to see. Ownership is handed over: unlocking writes the next owner's tid before it wakes it. The next owner is the waiter
// of highest priority, first come first among equals. Where this kernel schedules, an owner runs with the real-time priority of who
// waits for it, and so does whom that owner waits for.

#include "futex_internal.h"

#include "kernel/syscalls.h"

// Tasks somebody waits for here are marked, so that others need not search all buckets when they exit.
static void mark_owner(struct task *t) { __atomic_store_n(&t->sched.owns_pi, true, __ATOMIC_SEQ_CST); }

static bool higher(const struct futex_waiter *a, const struct futex_waiter *b)
{
	return sched_rt_rank(&a->task->sched) > sched_rt_rank(&b->task->sched);
}

struct futex_waiter *futex_pi_first(struct futex_bucket *b, const struct futex_key *key, bool *more)
{
	struct futex_waiter *w, *best = NULL;
	unsigned count = 0;

	list_for_each (w, &b->waiters, node) {
		if (!w->pi || !futex_key_equal(&w->key, key))
			continue;
		count++;
		if (!best || higher(w, best))
			best = w;
	}
	*more = count > 1;
	return best;
}

// Those who still wait, wait for `t` now.
void futex_pi_change_owner(struct futex_bucket *b, const struct futex_key *key, struct task *t)
{
	struct futex_waiter *w;

	mark_owner(t);
	list_for_each (w, &b->waiters, node)
		if (w->pi && futex_key_equal(&w->key, key))
			w->owner = t->own_tid;
}

// One try under the bucket's lock. `dead`: an owner known to have died, 0: none. enum futex_attempt, -EDEADLK, or -EFAULT: the page
// must be brought in.
static int attempt(struct uptr word, struct futex_bucket *b, const struct futex_key *key, uint32_t value, pid_t dead,
		   bool mark)
{
	pid_t owner = (pid_t)(value & FUTEX_TID_MASK);
	uint32_t seen, new;
	int result = FUTEX_HELD;
	bool more;

	if (owner == current->own_tid)
		return -EDEADLK;
	if (owner == 0 || owner == dead) {
		result = FUTEX_TAKEN;
		new = (uint32_t)current->own_tid | (value & FUTEX_OWNER_DIED) | (owner ? FUTEX_OWNER_DIED : 0) |
		      (futex_pi_first(b, key, &more) ? FUTEX_WAITERS : 0);
	} else if (mark) {
		new = value | FUTEX_WAITERS;
	} else {
		return FUTEX_HELD;
	}
	if (new == value)
		return result;
	if (port_user_cmpxchg32_atomic(word.address, value, new, &seen))
		return -EFAULT;
	return seen == value ? result : FUTEX_CHANGED;
}

// Announces that somebody waits for `tid`, so that its exit looks for us. -ESRCH when it is gone without having told (no
// robust list): the word is then beyond repair.
int futex_pi_announce(pid_t tid)
{
	struct task *t = task_find(pid_meant(tid));
	bool exiting;

	if (!t)
		return -ESRCH;
	mark_owner(t);
	exiting = __atomic_load_n(&t->flags, __ATOMIC_SEQ_CST) & TASK_EXITING;
	task_put(t);
	return exiting ? -ESRCH : 0;
}

int futex_pi_take_or_queue(struct uptr word, struct futex_bucket *b, struct futex_waiter *w, pid_t dead, bool try)
{
	for (;;) {
		uint32_t value;
		int result = futex_lock_and_load(word, b, &value);

		if (result)
			return result;
		result = attempt(word, b, &w->key, value, dead, !try);
		if (result == FUTEX_HELD && !try) {
			w->owner = (pid_t)(value & FUTEX_TID_MASK);
			result = futex_pi_announce(w->owner);
			if (!result) {
				w->owner_died = false;
				futex_enqueue(b, w);
				return FUTEX_HELD;
			}
		}
		spin_unlock(&b->lock);
		if (result == FUTEX_HELD)
			return -EAGAIN;
		if (result == -EFAULT)
			result = futex_fault_in(word) ? -EFAULT : FUTEX_CHANGED;
		if (result != FUTEX_CHANGED)
			return result;
	}
}

// ---- lending priority ----
//
// What a task is lent is always computed anew from all who wait for it, so that the last to look is right. Lock order:
// boost_lock -> bucket.lock, run queue.

#define CHAIN_MAX 16u // owners that wait for owners; beyond, nobody is lent anything

static struct spinlock boost_lock = SPINLOCK_INIT;

// The highest priority of those who wait for task `tid`; and the task that it waits for itself, 0: none.
static unsigned look_at_waiters(pid_t tid, pid_t *waits_for)
{
	unsigned rank = 0;

	*waits_for = 0;
	for (unsigned i = 0; i < FUTEX_BUCKETS; i++) {
		struct futex_bucket *b = &futex_buckets[i];
		struct futex_waiter *w;

		if (list_empty(&b->waiters)) // who comes now looks again himself
			continue;
		spin_lock(&b->lock);
		list_for_each (w, &b->waiters, node) {
			if (w->pi && w->owner == tid)
				rank = max(rank, sched_rt_rank(&w->task->sched));
			if (w->pi && w->task->own_tid == tid)
				*waits_for = w->owner;
		}
		spin_unlock(&b->lock);
	}
	return rank;
}

void futex_pi_lend(pid_t tid)
{
	if (PORT_SCHEDULES_TASKS)
		return; // the host knows no priorities of ours
	spin_lock(&boost_lock);
	for (unsigned depth = 0; tid && depth < CHAIN_MAX; depth++) {
		struct task *t = task_find(pid_meant(tid));
		pid_t waits_for;

		if (!t)
			break;
		unsigned rank = look_at_waiters(tid, &waits_for), before = sched_rt_rank(&t->sched);
		sched_boost(t, rank);
		tid = sched_rt_rank(&t->sched) == before ? 0 : waits_for;
		task_put(t);
	}
	spin_unlock(&boost_lock);
}

int futex_pi_sleep(struct uptr word, struct futex_bucket *b, struct futex_waiter *w, uint64_t deadline_ns)
{
	int error;

	do {
		bool lends = w->pi && sched_rt_rank(&current->sched);

		if (lends)
			futex_pi_lend(w->owner);
		error = futex_sleep(w, deadline_ns);
		if (error && lends)
			futex_pi_lend(w->owner); // not any more
		if (error || !w->owner_died)     // else: handed over to us
			break;
		error = futex_pi_take_or_queue(word, b, w, w->owner, false);
		if (error != FUTEX_HELD)
			break;
		task_prepare_park(PARK_INTERRUPTIBLE);
		spin_unlock(&b->lock);
	} while (true);
	return error;
}

long futex_lock_pi(struct uptr word, bool private, uint64_t deadline_ns, bool try)
{
	struct futex_waiter w = { .task = current, .bitset = FUTEX_BITSET_MATCH_ANY, .pi = true };
	struct futex_bucket *b;
	int error;

	error = futex_key_get(word, private, true, &w.key);
	if (error)
		return error;
	b = futex_bucket_of(&w.key);
	error = futex_pi_take_or_queue(word, b, &w, 0, try);
	if (error == FUTEX_HELD) {
		task_prepare_park(PARK_INTERRUPTIBLE);
		spin_unlock(&b->lock);
		error = futex_pi_sleep(word, b, &w, deadline_ns);
	}
	futex_key_put(&w.key);
	return error == -EINTR ? -ERESTARTNOINTR : error;
}

long futex_unlock_pi(struct uptr word, bool private)
{
	struct futex_key key;
	struct futex_bucket *b;
	uint32_t value, new, seen;
	int error = futex_key_get(word, private, true, &key);

	if (error)
		return error;
	b = futex_bucket_of(&key);
	for (;;) {
		struct futex_waiter *w;
		bool more;

		error = futex_lock_and_load(word, b, &value);
		if (error)
			break;
		if ((pid_t)(value & FUTEX_TID_MASK) != current->own_tid) {
			spin_unlock(&b->lock);
			error = -EPERM;
			break;
		}
		w = futex_pi_first(b, &key, &more);
		new = w ? (uint32_t)w->task->own_tid | (more ? FUTEX_WAITERS : 0) : 0;
		error = port_user_cmpxchg32_atomic(word.address, value, new, &seen);
		if (!error && seen == value) {
			if (w) {
				futex_wake_waiter(w);
				if (more)
					futex_pi_change_owner(b, &key, w->task);
			}
			spin_unlock(&b->lock);
			if (current->sched.boost)
				futex_pi_lend(current->own_tid);
			break;
		}
		spin_unlock(&b->lock);
		if (error && (error = futex_fault_in(word)))
			break;
	}
	futex_key_put(&key);
	return error;
}

void futex_pi_owner_died(struct uptr word)
{
	struct futex_key key;
	struct futex_bucket *b;
	struct futex_waiter *w;
	bool more;

	if (futex_key_get(word, false, true, &key))
		return;
	b = futex_bucket_of(&key);
	spin_lock(&b->lock);
	w = futex_pi_first(b, &key, &more);
	if (w) {
		w->owner_died = true;
		futex_wake_waiter(w);
	}
	spin_unlock(&b->lock);
	futex_key_put(&key);
}

// Everybody who queues behind a task that exits takes over.
static void release_owned(struct task *t)
{
	unsigned i;

	for (i = 0; i < FUTEX_BUCKETS; i++) {
		struct futex_bucket *b = &futex_buckets[i];
		struct futex_waiter *w, *next;

		spin_lock(&b->lock);
		list_for_each_safe (w, next, &b->waiters, node) {
			if (!w->pi || w->owner != t->own_tid)
				continue;
			w->owner_died = true;
			futex_wake_waiter(w);
		}
		spin_unlock(&b->lock);
	}
}

// ---- robust lists ----

// A lock whose owner `tid` exits: marks the word and wakes one waiter. `pending`: the program was just taking or releasing
// it. False: stop walking.
static bool owner_died(struct uptr word, pid_t tid, bool pi, bool pending)
{
	uint32_t value, seen;

	if (word.address % 4 || port_user_load32(word.address, &value))
		return false;
	for (;;) {
		if ((pid_t)(value & FUTEX_TID_MASK) != tid) {
			// Released but not yet announced: the wake-up is ours to give.
			if (pending && !pi && !value)
				futex_wake(word, false, 1, FUTEX_BITSET_MATCH_ANY);
			return true;
		}
		if (port_user_cmpxchg32(word.address, value, (value & FUTEX_WAITERS) | FUTEX_OWNER_DIED, &seen))
			return false;
		if (seen == value)
			break;
		value = seen;
	}
	if (value & FUTEX_WAITERS) {
		if (pi)
			futex_pi_owner_died(word);
		else
			futex_wake(word, false, 1, FUTEX_BITSET_MATCH_ANY);
	}
	return true;
}

static void walk_robust(struct task *t)
{
	struct robust_list_head head;
	uint64_t entry, next, pending;
	unsigned left = ROBUST_LIST_LIMIT;

	if (copy_from_user(&head, (struct uptr){ t->robust_list }, sizeof(head)))
		return;
	// Bit 0 of a link says that the entry it leads to is a PI lock.
	entry = (uint64_t)head.list.next;
	pending = (uint64_t)head.list_op_pending;
	while ((entry & ~1ul) != t->robust_list && left--) {
		// The entry may be reused as soon as its lock is free: fetch the link first.
		int error = get_user(&next, (struct uptr){ entry & ~1ul });

		if ((entry & ~1ul) != (pending & ~1ul) &&
		    !owner_died((struct uptr){ (entry & ~1ul) + (uint64_t)head.futex_offset }, t->own_tid, entry & 1,
				false))
			return;
		if (error)
			return;
		entry = next;
	}
	if (pending)
		owner_died((struct uptr){ (pending & ~1ul) + (uint64_t)head.futex_offset }, t->own_tid, pending & 1,
			   true);
}

void futex_exit_robust(struct task *t)
{
	if (t->robust_list && t->mm)
		walk_robust(t);
	t->robust_list = 0;
	if (__atomic_load_n(&t->sched.owns_pi, __ATOMIC_SEQ_CST))
		release_owned(t);
}

long sys_set_robust_list(struct uptr head, size_t size)
{
	if (size != sizeof(struct robust_list_head))
		return -EINVAL;
	current->robust_list = head.address;
	current->robust_list_size = size;
	return 0;
}

long sys_get_robust_list(pid_t pid, struct uptr head, struct uptr size)
{
	struct task *t = pid ? task_find(pid_meant(pid)) : current;
	uint64_t list;
	int error = 0;

	if (!t)
		return -ESRCH;
	if (pid)
		error = ptrace_may_access(t);
	list = t->robust_list;
	if (pid)
		task_put(t);
	if (error)
		return error;
	if (put_user((uint64_t)sizeof(struct robust_list_head), size))
		return -EFAULT;
	return put_user(list, head);
}
