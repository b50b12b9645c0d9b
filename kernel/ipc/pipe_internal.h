// SPDX-License-Identifier: Apache-2.0
// The ring of a pipe, for pipe.c and splice.c.
#pragma once

#include "kernel/fs.h"
#include "kernel/mutex.h"
#include "kernel/page.h"
#include "kernel/pipe.h"
#include "kernel/refcount.h"

#define PIPE_SLOTS_DEFAULT 16u // 64 KiB

struct pipe_buffer {
	struct page *page; // a reference
	uint32_t offset, length;
	uint32_t flags;
};
#define PIPE_BUFFER_MERGE  1u // small writes may be appended: the page is the pipe's alone
#define PIPE_BUFFER_PACKET 2u // one read takes it, whatever it leaves is lost

struct pipe {
	struct refcount
		refs; // its files, and the inode they are of: who lets go of the lock may not be the last to touch it
	struct mutex lock; // guards all but the wait queues
	struct waitq read_wait, write_wait;
	unsigned head, tail; // next to fill, next to empty; free-running; also read without the lock as hints
	unsigned slots;      // power of two
	unsigned readers, writers, files;
	unsigned read_opens, write_opens; // ever: FIFO opens wait for a change
	bool anonymous;                   // pipe(2)'s: opening an end by /proc never waits for a partner. Constant
	bool polled;                      // somebody polls: every write wakes, for edge-triggered waiters
	struct page *spare;               // a page to write into, kept
	struct pipe_buffer *ring;
	struct pipe_buffer first_ring[PIPE_SLOTS_DEFAULT];
};

static inline unsigned pipe_used(const struct pipe *p)
{
	return __atomic_load_n(&p->head, __ATOMIC_RELAXED) - __atomic_load_n(&p->tail, __ATOMIC_RELAXED);
}
static inline bool pipe_empty(const struct pipe *p) { return pipe_used(p) == 0; }
static inline bool pipe_full(const struct pipe *p)
{
	return pipe_used(p) >= __atomic_load_n(&p->slots, __ATOMIC_RELAXED);
}
static inline struct pipe_buffer *pipe_slot(struct pipe *p, unsigned n) { return &p->ring[n & (p->slots - 1)]; }

// All with pipe.lock held.
struct page *pipe_page_get(struct pipe *p); // the spare one, or a new one; NULL
void pipe_push(struct pipe *p, struct page *page, uint32_t offset, uint32_t length,
	       uint32_t flags); // consumes the reference; not full
void pipe_pop(struct pipe *p);  // drops the oldest buffer

// Without the lock.
void pipe_wake_readers(struct pipe *p);
void pipe_wake_writers(struct pipe *p);
int pipe_wait_readable(struct pipe *p); // until data is there or no writer; 0 or -ERESTARTSYS
int pipe_wait_writable(struct pipe *p); // until room is there or no reader
int pipe_broken(void);                  // SIGPIPE, -EPIPE
static inline struct pipe *pipe_of(const struct file *f) { return f->private; }
