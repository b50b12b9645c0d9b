// SPDX-License-Identifier: Apache-2.0
// What futex.c, futex_pi.c and futex_robust.c share.
#pragma once

#include <linux/futex.h>

#include "kernel/errno.h"
#include "kernel/futex.h"
#include "kernel/mm.h"
#include "kernel/task.h"
#include "kernel/uaccess.h"
#include "kernel/waitq.h"

// Names a futex word: (mm, address) when private, (memory object, offset) when it can be shared with another mm.
struct futex_key {
	uint64_t space, place;
	struct mobj *object; // counted while the key is in use; NULL: private
};

struct futex_bucket {
	struct spinlock lock;
	struct list waiters; // struct futex_waiter, first come first
};

struct futex_waiter {
	struct list node;            // bucket's lock, as everything here
	struct futex_bucket *bucket; // where it is queued; changed by requeue under both locks
	struct futex_key key;
	struct task *task;
	uint32_t bitset;
	bool woken; // off the queue for good
	bool pi;    // waits for ownership, not for a wake-up
	bool to_pi; // waits to be moved to the PI word of `target`, and is nobody else's to wake
	struct futex_key target;
	bool owner_died; // pi: take the lock over instead of receiving it
	pid_t owner;     // pi: who held the lock when this queued
};

#define FUTEX_BUCKETS 256u // a power of two
extern struct futex_bucket futex_buckets[FUTEX_BUCKETS];

// The key of a word. Release it with futex_key_put(). -EINVAL (misaligned), -EFAULT.
int must_check futex_key_get(struct uptr word, bool private, bool write, struct futex_key *out);
void futex_key_put(struct futex_key *k);
static inline bool futex_key_equal(const struct futex_key *a, const struct futex_key *b)
{
	return a->space == b->space && a->place == b->place;
}
struct futex_bucket *futex_bucket_of(const struct futex_key *k);
// Locks the bucket of `k` and reads the word under it. On error nothing is locked.
int must_check futex_lock_and_load(struct uptr word, struct futex_bucket *b, uint32_t *value);
// Two buckets, maybe the same, in the order of their addresses.
void futex_lock_two(struct futex_bucket *a, struct futex_bucket *b);
void futex_unlock_two(struct futex_bucket *a, struct futex_bucket *b);
void futex_enqueue(struct futex_bucket *b, struct futex_waiter *w);
// Queues the current task, whose w->key is set, if the word is as expected, and prepares it to park. -EAGAIN: it is not; -EFAULT.
int must_check futex_wait_begin(struct uptr word, uint32_t expected, struct futex_waiter *w);
// Takes the waiter off whatever queue it is on. True: it had been woken.
bool futex_dequeue(struct futex_waiter *w);
// Moves a waiter to the end of another queue: both buckets are locked, and the caller holds references of both keys' objects.
void futex_move(struct futex_waiter *w, struct futex_bucket *to, const struct futex_key *key);
// Takes it off and wakes its task. Bucket locked.
void futex_wake_waiter(struct futex_waiter *w);
// Sleeps until woken. 0, -ETIMEDOUT, -EINTR; a wake-up counts more than either.
int futex_sleep(struct futex_waiter *w, uint64_t deadline_ns);
// Brings the page in, writable. -EFAULT.
int must_check futex_fault_in(struct uptr word);
long futex_wake(struct uptr word, bool private, unsigned count, uint32_t bitset);

long futex_lock_pi(struct uptr word, bool private, uint64_t deadline_ns, bool try);
long futex_unlock_pi(struct uptr word, bool private);
// FUTEX_WAIT_REQUEUE_PI and FUTEX_CMP_REQUEUE_PI (futex_requeue_pi.c): who waits at `word` is moved to the PI word `lock`.
long futex_wait_requeue_pi(struct uptr word, bool private, uint32_t expected, uint64_t deadline_ns, uint32_t bitset,
			   struct uptr lock);
long futex_requeue_pi(struct uptr word, bool private, unsigned wake, unsigned move, struct uptr lock,
		      uint32_t expected);

// ---- futex_pi.c, for the above ----
enum futex_attempt {
	FUTEX_TAKEN,
	FUTEX_HELD,
	FUTEX_CHANGED
}; // ours now; its owner's, and marked as waited for; the word changed under us
// Until the word is the current task's or it stands in its queue with the bucket locked: FUTEX_TAKEN, FUTEX_HELD, or -errno. `dead`: an owner
// known to have died, 0: none.
int futex_pi_take_or_queue(struct uptr word, struct futex_bucket *b, struct futex_waiter *w, pid_t dead, bool try);
// Sleeps at the end of that queue, taking over from owners that die. 0: ours.
int futex_pi_sleep(struct uptr word, struct futex_bucket *b, struct futex_waiter *w, uint64_t deadline_ns);
// Bucket locked. The waiter of highest priority; the next owner and its queue; whether `tid` can be waited for: -ESRCH.
struct futex_waiter *futex_pi_first(struct futex_bucket *b, const struct futex_key *key, bool *more);
void futex_pi_change_owner(struct futex_bucket *b, const struct futex_key *key, struct task *t);
int futex_pi_announce(pid_t tid);
// Who waits for task `tid` has changed: it runs with their priority. No bucket locked.
void futex_pi_lend(pid_t tid);
// The owner of this PI word died: its first waiter is to take over.
void futex_pi_owner_died(struct uptr word);
