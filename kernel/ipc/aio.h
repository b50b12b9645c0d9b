// SPDX-License-Identifier: Apache-2.0
// What aio.c, aio_poll.c and aio_calls.c share.
#pragma once

#include <linux/aio_abi.h>

#include "kernel/fs.h"
#include "kernel/mutex.h"
#include "kernel/page.h"
#include "kernel/refcount.h"
#include "kernel/waitq.h"
#include "lib/rbtree.h"

#define AIO_RING_BYTES_MAX 0x10000000u // as Linux

// The head of the ring as libaio knows it, in memory that the program writes too; the events follow.
struct aio_ring {
	uint32_t id;
	uint32_t nr;         // events in the ring
	uint32_t head, tail; // the program moves head when it takes events itself
	uint32_t magic;
	uint32_t compat_features, incompat_features;
	uint32_t header_length;
};
static_assert(sizeof(struct aio_ring) == 32, "as libaio");
static_assert(sizeof(struct io_event) == 32, "an event never lies across pages");

struct aio_context {
	struct rb_node node;  // mm->aio_contexts, by address; mm->aio_lock
	struct refcount refs; // the tree's, each poll's, and whoever is in a call with it
	uint64_t address;     // of the ring in the program, which names the context
	uint32_t charged;     // what it counts in aio_nr
	uint32_t event_count; // of the ring
	struct waitq wait;    // events came, the last request went, or the context is dead
	struct mutex take_lock;
	struct spinlock lock; // guards tail's changes, in_flight, dead's change, polls
	uint32_t tail;        // atomic reads. What the program sees of it is a copy
	uint32_t in_flight;   // requests that have not been told
	bool dead;            // atomic reads
	struct list polls;    // struct aio_poll.node
	uint32_t page_count;
	struct page *pages[]; // the ring's, each with a reference
};

// A request: what its event says, and who hears of it.
struct aio_request {
	struct aio_context *context;
	struct file *file;   // reference
	struct file *notify; // reference to an eventfd, or NULL
	uint64_t data, block;
};

// Of the current task's address space: a new one, err_ptr(-ENOMEM, -EAGAIN); an existing one, NULL. With a reference.
struct aio_context *aio_context_create(uint32_t count);
struct aio_context *aio_context_find(uint64_t address);
void aio_context_put(struct aio_context *c);
// Takes it out of the address space, cancels its polls and waits for all other requests. False: somebody else did.
bool aio_context_destroy(struct aio_context *c);

// Room in the ring for one more event, which aio_complete() uses or aio_unreserve() gives back. False: it is full.
bool must_check aio_reserve(struct aio_context *c);
void aio_unreserve(struct aio_context *c);
// Tells the result. Sleeps not, but needs a context without spinlocks.
void aio_complete(const struct aio_request *r, int64_t result);
// Moves up to `most` events to the program: how many, or -EFAULT.
long aio_take(struct aio_context *c, struct uptr events, int64_t most);
bool aio_has_events(struct aio_context *c);

// ---- aio_poll.c ----

// Tells when one of `events` is there, now or later. 0: *r is used up, its references too. -ENOMEM, -EINVAL: the file tells nobody.
int must_check aio_poll_start(const struct aio_request *r, unsigned events);
// Cancels a poll of the iocb at `block`, or with aio_poll_cancel_all() every one: its event says 0. False: there is none.
bool aio_poll_cancel(struct aio_context *c, uint64_t block);
void aio_poll_cancel_all(struct aio_context *c);
