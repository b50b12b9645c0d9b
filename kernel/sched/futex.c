// SPDX-License-Identifier: Apache-2.0
// Futexes: a user word and the tasks that sleep on it. futex(2), futex_waitv.
//
// Waiters stand in a hash table of queues by key. A waiter checks the word and queues itself under its bucket's lock; a
// waker changes the word first and then looks at the bucket under the same lock. So either the waiter sees the new word or
// the waker sees the waiter.
//
// A waker unparks a task under the bucket's lock, and a waiter takes that lock once more before it leaves: hence its task
// cannot go away under the waker.
//
// The word is read under the spinlock by an access that fails rather than sleeps when the page is absent; then the lock is
// dropped, the page brought in, and all is done again.
//
// Lock order: bucket (two: lower address first) -> run queue.

#include <linux/time.h>

#include "futex_internal.h"
#include "kernel/init.h"
#include "kernel/slab.h"
#include "kernel/syscalls.h"
#include "kernel/timespec.h"
#include "lib/hash.h"

struct futex_bucket futex_buckets[FUTEX_BUCKETS];

static void buckets_init(void)
{
	for (unsigned i = 0; i < FUTEX_BUCKETS; i++) {
		spin_init(&futex_buckets[i].lock);
		list_init(&futex_buckets[i].waiters);
	}
}
KERNEL_INIT(1, buckets_init);

// ---- keys and queues ----

int futex_key_get(struct uptr word, bool private, bool write, struct futex_key *out)
{
	struct mm *mm = current->mm;
	int error;

	if (word.address % 4)
		return -EINVAL;
	if (!user_range_ok(word.address, 4))
		return -EFAULT;
	out->object = NULL;
	out->space = (uint64_t)mm;
	out->place = word.address;
	if (private)
		return 0;
	error = mm_futex_key(mm, word.address, write, &out->object, &out->place);
	if (error)
		return error;
	if (out->object)
		out->space = (uint64_t)out->object;
	else
		out->place = word.address;
	return 0;
}

void futex_key_put(struct futex_key *k)
{
	if (k->object)
		mobj_put(k->object);
	k->object = NULL;
}

struct futex_bucket *futex_bucket_of(const struct futex_key *k)
{
	return &futex_buckets[hash_u64(k->space ^ k->place << 7) % FUTEX_BUCKETS];
}

int futex_fault_in(struct uptr word)
{
	uint32_t seen;
	int error = port_user_load32(word.address, &seen);

	// A store of what is there changes nothing and makes the page writable.
	return error ? error : port_user_cmpxchg32(word.address, seen, seen, &seen);
}

int futex_lock_and_load(struct uptr word, struct futex_bucket *b, uint32_t *value)
{
	for (;;) {
		uint32_t seen;
		int error;

		spin_lock(&b->lock);
		if (likely(port_user_load32_atomic(word.address, value) == 0))
			return 0;
		spin_unlock(&b->lock);
		error = port_user_load32(word.address, &seen);
		if (error)
			return error;
	}
}

void futex_enqueue(struct futex_bucket *b, struct futex_waiter *w)
{
	w->bucket = b;
	w->woken = false;
	list_add_tail(&b->waiters, &w->node);
}

static struct futex_bucket *lock_bucket_of(struct futex_waiter *w)
{
	for (;;) {
		struct futex_bucket *b = __atomic_load_n(&w->bucket, __ATOMIC_ACQUIRE);

		spin_lock(&b->lock);
		if (b == w->bucket)
			return b;
		spin_unlock(&b->lock);
	}
}

bool futex_dequeue(struct futex_waiter *w)
{
	struct futex_bucket *b = lock_bucket_of(w);
	bool woken = w->woken;

	if (!woken)
		list_remove(&w->node);
	spin_unlock(&b->lock);
	return woken;
}

void futex_wake_waiter(struct futex_waiter *w)
{
	list_remove(&w->node);
	__atomic_store_n(&w->woken, true, __ATOMIC_RELEASE);
	task_unpark(w->task);
}

// The caller prepared to park before it released the bucket.
int futex_sleep(struct futex_waiter *w, uint64_t deadline_ns)
{
	int result = 0;

	while (!__atomic_load_n(&w->woken, __ATOMIC_ACQUIRE)) {
		result = task_park(deadline_ns);
		if (result)
			break;
		task_prepare_park(PARK_INTERRUPTIBLE);
	}
	task_finish_park();
	return futex_dequeue(w) ? 0 : result;
}

// ---- wait ----

#define WAIT_PRIVATE 1u

int futex_wait_begin(struct uptr word, uint32_t expected, struct futex_waiter *w)
{
	struct futex_bucket *b = futex_bucket_of(&w->key);
	uint32_t value;
	int error = futex_lock_and_load(word, b, &value);

	if (error)
		return error;
	if (value == expected) {
		futex_enqueue(b, w);
		task_prepare_park(PARK_INTERRUPTIBLE);
	}
	spin_unlock(&b->lock);
	return value == expected ? 0 : -EAGAIN;
}

static long restart_wait(struct restart_block *r);

static long wait_until(struct uptr word, unsigned flags, uint32_t expected, uint64_t deadline_ns, uint32_t bitset)
{
	struct futex_waiter w = { .task = current, .bitset = bitset };
	struct restart_block *r;
	int error;

	if (!bitset)
		return -EINVAL;
	error = futex_key_get(word, flags & WAIT_PRIVATE, false, &w.key);
	if (error)
		return error;
	error = futex_wait_begin(word, expected, &w);
	if (!error)
		error = futex_sleep(&w, deadline_ns);
	futex_key_put(&w.key);
	if (error != -EINTR)
		return error;
	if (deadline_ns == PARK_FOREVER)
		return -ERESTARTSYS;
	r = &current->restart;
	r->fn = restart_wait;
	r->arguments[0] = word.address;
	r->arguments[1] = flags;
	r->arguments[2] = expected;
	r->arguments[3] = deadline_ns;
	r->arguments[4] = bitset;
	return -ERESTART_BLOCK;
}

static long restart_wait(struct restart_block *r)
{
	return wait_until((struct uptr){ r->arguments[0] }, (unsigned)r->arguments[1], (uint32_t)r->arguments[2],
			  r->arguments[3], (uint32_t)r->arguments[4]);
}

// ---- wake and requeue ----

// How many; -EINVAL: somebody waits there for a lock, not for a wake-up.
static int wake_in(struct futex_bucket *b, const struct futex_key *key, unsigned count, uint32_t bitset)
{
	struct futex_waiter *w, *next;
	int woken = 0;

	list_for_each_safe (w, next, &b->waiters, node) {
		if ((unsigned)woken >= count)
			break;
		if (!futex_key_equal(&w->key, key))
			continue;
		if (w->pi || w->to_pi)
			return -EINVAL;
		if (!(w->bitset & bitset))
			continue;
		futex_wake_waiter(w);
		woken++;
	}
	return woken;
}

long futex_wake(struct uptr word, bool private, unsigned count, uint32_t bitset)
{
	struct futex_bucket *b;
	struct futex_key key;
	int error, woken = 0;

	if (!bitset)
		return -EINVAL;
	error = futex_key_get(word, private, false, &key);
	if (error)
		return error;
	b = futex_bucket_of(&key);
	spin_lock(&b->lock);
	if (!list_empty(&b->waiters))
		woken = wake_in(b, &key, count, bitset);
	spin_unlock(&b->lock);
	futex_key_put(&key);
	return woken;
}

long futex_wake_address(struct uptr address, unsigned count, bool shared)
{
	return futex_wake(address, !shared, count, FUTEX_BITSET_MATCH_ANY);
}

void futex_lock_two(struct futex_bucket *a, struct futex_bucket *b)
{
	spin_lock(a < b ? &a->lock : &b->lock);
	if (a != b)
		spin_lock(a < b ? &b->lock : &a->lock);
}

void futex_unlock_two(struct futex_bucket *a, struct futex_bucket *b)
{
	spin_unlock(&a->lock);
	if (a != b)
		spin_unlock(&b->lock);
}

void futex_move(struct futex_waiter *w, struct futex_bucket *to, const struct futex_key *key)
{
	list_remove(&w->node);
	list_add_tail(&to->waiters, &w->node);
	if (key->object)
		mobj_get(key->object);
	// The waiter's key holds a reference, the caller's another: this one is not the last.
	if (w->key.object) {
		bool last = refcount_put(&w->key.object->refs);

		assert(!last);
		(void)last;
	}
	w->key = *key;
	__atomic_store_n(&w->bucket, to, __ATOMIC_RELEASE);
}

static long requeue(struct uptr word, bool private, unsigned wake, unsigned move, struct uptr word2,
		    const uint32_t *expected)
{
	struct futex_key from_key, to_key;
	struct futex_bucket *from, *to;
	struct futex_waiter *w, *next;
	unsigned done = 0;
	uint32_t value;
	int error;

	if ((int)wake < 0 || (int)move < 0)
		return -EINVAL;
	error = futex_key_get(word, private, false, &from_key);
	if (error)
		return error;
	error = futex_key_get(word2, private, false, &to_key);
	if (error)
		goto put_from;
	from = futex_bucket_of(&from_key);
	to = futex_bucket_of(&to_key);
again:
	futex_lock_two(from, to);
	if (expected) {
		if (port_user_load32_atomic(word.address, &value)) {
			futex_unlock_two(from, to);
			error = port_user_load32(word.address, &value);
			if (!error)
				goto again;
			goto put_to;
		}
		if (value != *expected) {
			futex_unlock_two(from, to);
			error = -EAGAIN;
			goto put_to;
		}
	}
	list_for_each_safe (w, next, &from->waiters, node) {
		if (done >= wake + move)
			break;
		if (!futex_key_equal(&w->key, &from_key))
			continue;
		if (w->pi || w->to_pi) {
			error = -EINVAL;
			break;
		}
		if (done++ < wake) {
			futex_wake_waiter(w);
			continue;
		}
		if (futex_key_equal(&from_key, &to_key))
			continue;
		futex_move(w, to, &to_key);
	}
	futex_unlock_two(from, to);
	if (!error)
		error = (int)done;
put_to:
	futex_key_put(&to_key);
put_from:
	futex_key_put(&from_key);
	return error;
}

// ---- wake-op: change one word, wake on it, and perhaps on another ----

static int apply_op(struct uptr word, uint32_t encoded, uint32_t *old)
{
	unsigned op = encoded >> 28 & 7;
	int32_t argument = (int32_t)(encoded << 8) >> 20;
	uint32_t value, new, seen;

	if (encoded >> 31) // FUTEX_OP_OPARG_SHIFT
		argument = (int32_t)(1u << (argument & 31));
	if (port_user_load32_atomic(word.address, &value))
		return -EFAULT;
	for (;;) {
		switch (op) {
		case FUTEX_OP_SET: new = (uint32_t)argument; break;
		case FUTEX_OP_ADD: new = value + (uint32_t)argument; break;
		case FUTEX_OP_OR: new = value | (uint32_t)argument; break;
		case FUTEX_OP_ANDN: new = value & ~(uint32_t)argument; break;
		case FUTEX_OP_XOR: new = value ^ (uint32_t)argument; break;
		default: return -ENOSYS;
		}
		if (port_user_cmpxchg32_atomic(word.address, value, new, &seen))
			return -EFAULT;
		if (seen == value)
			break;
		value = seen;
	}
	*old = value;
	return 0;
}

static int op_compare(uint32_t encoded, uint32_t old_value)
{
	int32_t old = (int32_t)old_value, argument = (int32_t)(encoded << 20) >> 20;

	switch (encoded >> 24 & 15) {
	case FUTEX_OP_CMP_EQ: return old == argument;
	case FUTEX_OP_CMP_NE: return old != argument;
	case FUTEX_OP_CMP_LT: return old < argument;
	case FUTEX_OP_CMP_LE: return old <= argument;
	case FUTEX_OP_CMP_GT: return old > argument;
	case FUTEX_OP_CMP_GE: return old >= argument;
	default: return -ENOSYS;
	}
}

static long wake_op(struct uptr word, bool private, unsigned count, unsigned count2, struct uptr word2,
		    uint32_t encoded)
{
	struct futex_key key, key2;
	struct futex_bucket *b, *b2;
	uint32_t old;
	int error, match, woken;

	error = futex_key_get(word, private, false, &key);
	if (error)
		return error;
	error = futex_key_get(word2, private, true, &key2);
	if (error)
		goto put_key;
	b = futex_bucket_of(&key);
	b2 = futex_bucket_of(&key2);
	for (;;) {
		futex_lock_two(b, b2);
		error = apply_op(word2, encoded, &old);
		if (!error)
			break;
		futex_unlock_two(b, b2);
		if (error == -EFAULT)
			error = futex_fault_in(word2);
		if (error)
			goto put_key2;
	}
	woken = wake_in(b, &key, count, FUTEX_BITSET_MATCH_ANY);
	match = op_compare(encoded, old);
	if (match > 0 && woken >= 0) {
		int more = wake_in(b2, &key2, count2, FUTEX_BITSET_MATCH_ANY);
		woken = more < 0 ? more : woken + more;
	}
	futex_unlock_two(b, b2);
	error = match < 0 ? match : woken;
put_key2:
	futex_key_put(&key2);
put_key:
	futex_key_put(&key);
	return error;
}

// ---- futex_waitv: several words at once ----

static int waitv_queue(struct futex_waiter *ws, const struct futex_waitv *v, unsigned count, unsigned *queued)
{
	unsigned i;

	for (i = 0; i < count; i++) {
		struct uptr word = { v[i].uaddr };
		struct futex_waiter *w = &ws[i];
		struct futex_bucket *b;
		uint32_t value;
		int error;

		w->task = current;
		w->bitset = FUTEX_BITSET_MATCH_ANY;
		error = futex_key_get(word, v[i].flags & FUTEX_PRIVATE_FLAG, false, &w->key);
		if (error)
			return error;
		b = futex_bucket_of(&w->key);
		error = futex_lock_and_load(word, b, &value);
		if (!error && value != (uint32_t)v[i].val) {
			spin_unlock(&b->lock);
			error = -EAGAIN;
		}
		if (error) {
			futex_key_put(&w->key);
			return error;
		}
		futex_enqueue(b, w);
		spin_unlock(&b->lock);
		*queued = i + 1;
	}
	return 0;
}

static bool waitv_any_woken(const struct futex_waiter *ws, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (__atomic_load_n(&ws[i].woken, __ATOMIC_ACQUIRE))
			return true;
	return false;
}

static long waitv(const struct futex_waitv *v, unsigned count, uint64_t deadline_ns)
{
	struct futex_waiter *ws = kalloc_array(count, sizeof(*ws));
	unsigned queued = 0, i;
	long woken = -1;
	int error;

	if (!ws)
		return -ENOMEM;
	error = waitv_queue(ws, v, count, &queued);
	while (!error) {
		task_prepare_park(PARK_INTERRUPTIBLE);
		if (waitv_any_woken(ws, count))
			break;
		error = task_park(deadline_ns);
	}
	task_finish_park();
	for (i = 0; i < queued; i++) {
		if (futex_dequeue(&ws[i]))
			woken = i;
		futex_key_put(&ws[i].key);
	}
	kfree(ws);
	if (woken >= 0)
		return woken;
	return error == -EINTR ? -ERESTARTSYS : error;
}

static int absolute_deadline(struct uptr timeout, int clock, uint64_t *deadline_ns)
{
	uint64_t ns;
	int error;

	*deadline_ns = PARK_FOREVER;
	if (uptr_is_null(timeout))
		return 0;
	error = timespec_from_user(&ns, timeout);
	if (error)
		return error;
	if (clock == CLOCK_REALTIME)
		ns = (uint64_t)max((int64_t)ns - clock_realtime_offset_ns(), INT64_C(0));
	if (ns < TIME_NS_MAX)
		*deadline_ns = ns;
	return 0;
}

long sys_futex_waitv(struct uptr waiters, unsigned count, unsigned flags, struct uptr timeout, int clock)
{
	struct futex_waitv *v;
	uint64_t deadline;
	unsigned i;
	long result;

	if (flags || count == 0 || count > FUTEX_WAITV_MAX || uptr_is_null(waiters))
		return -EINVAL;
	if (!uptr_is_null(timeout) && clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC)
		return -EINVAL;
	result = absolute_deadline(timeout, clock, &deadline);
	if (result)
		return result;
	v = kalloc_array(count, sizeof(*v));
	if (!v)
		return -ENOMEM;
	result = copy_from_user(v, waiters, count * sizeof(*v));
	for (i = 0; i < count && !result; i++)
		if (v[i].__reserved || v[i].flags & ~(FUTEX_32 | FUTEX_PRIVATE_FLAG) || !(v[i].flags & FUTEX_32))
			result = -EINVAL;
	if (!result)
		result = waitv(v, count, deadline);
	kfree(v);
	return result;
}

// ---- futex(2) ----

static int wait_deadline(int command, bool realtime, struct uptr timeout, uint64_t *deadline_ns)
{
	if (command == FUTEX_WAIT) // relative
		return deadline_from_user(deadline_ns, timeout);
	return absolute_deadline(timeout, realtime ? CLOCK_REALTIME : CLOCK_MONOTONIC, deadline_ns);
}

long sys_futex(struct uptr word, int operation, uint32_t value, struct uptr timeout, struct uptr word2, uint32_t value3)
{
	int command = operation & FUTEX_CMD_MASK;
	bool private = operation & FUTEX_PRIVATE_FLAG, realtime = operation & FUTEX_CLOCK_REALTIME;
	uint64_t deadline;
	int error;

	if (realtime && command != FUTEX_WAIT && command != FUTEX_WAIT_BITSET && command != FUTEX_LOCK_PI2 &&
	    command != FUTEX_WAIT_REQUEUE_PI)
		return -ENOSYS;
	switch (command) {
	case FUTEX_WAIT:
		value3 = FUTEX_BITSET_MATCH_ANY;
		// fallthrough
	case FUTEX_WAIT_BITSET:
		error = wait_deadline(command, realtime, timeout, &deadline);
		return error ? error : wait_until(word, private ? WAIT_PRIVATE : 0, value, deadline, value3);
	case FUTEX_WAKE:
		value3 = FUTEX_BITSET_MATCH_ANY;
		// fallthrough
	case FUTEX_WAKE_BITSET:
		// Linux wakes one for a count of 0
		return futex_wake(word, private, value ? value : 1, value3);
	case FUTEX_REQUEUE: return requeue(word, private, value, (unsigned)timeout.address, word2, NULL);
	case FUTEX_CMP_REQUEUE: return requeue(word, private, value, (unsigned)timeout.address, word2, &value3);
	case FUTEX_WAKE_OP: return wake_op(word, private, value, (unsigned)timeout.address, word2, value3);
	case FUTEX_LOCK_PI:
	case FUTEX_LOCK_PI2:
		error = absolute_deadline(timeout,
					  command == FUTEX_LOCK_PI || realtime ? CLOCK_REALTIME : CLOCK_MONOTONIC,
					  &deadline);
		return error ? error : futex_lock_pi(word, private, deadline, false);
	case FUTEX_TRYLOCK_PI: return futex_lock_pi(word, private, PARK_FOREVER, true);
	case FUTEX_UNLOCK_PI: return futex_unlock_pi(word, private);
	case FUTEX_WAIT_REQUEUE_PI:
		error = absolute_deadline(timeout, realtime ? CLOCK_REALTIME : CLOCK_MONOTONIC, &deadline);
		return error ? error
			     : futex_wait_requeue_pi(word, private, value, deadline, FUTEX_BITSET_MATCH_ANY, word2);
	case FUTEX_CMP_REQUEUE_PI:
		return futex_requeue_pi(word, private, value, (unsigned)timeout.address, word2, value3);
	default: return -ENOSYS;
	}
}
