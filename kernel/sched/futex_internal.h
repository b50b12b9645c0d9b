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
	bool woken;      // off the queue for good
	bool pi;         // waits for ownership, not for a wake-up
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
void futex_enqueue(struct futex_bucket *b, struct futex_waiter *w);
// Takes the waiter off whatever queue it is on. True: it had been woken.
bool futex_dequeue(struct futex_waiter *w);
// Takes it off and wakes its task. Bucket locked.
void futex_wake_waiter(struct futex_waiter *w);
// Sleeps until woken. 0, -ETIMEDOUT, -EINTR; a wake-up counts more than either.
int futex_sleep(struct futex_waiter *w, uint64_t deadline_ns);
// Brings the page in, writable. -EFAULT.
int must_check futex_fault_in(struct uptr word);
long futex_wake(struct uptr word, bool private, unsigned count, uint32_t bitset);

long futex_lock_pi(struct uptr word, bool private, uint64_t deadline_ns, bool try);
long futex_unlock_pi(struct uptr word, bool private);
// The owner of this PI word died: its first waiter is to take over.
void futex_pi_owner_died(struct uptr word);
