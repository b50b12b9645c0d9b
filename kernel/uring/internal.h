// SPDX-License-Identifier: Apache-2.0
// What the files of kernel/uring share.
//
// A ring (struct uring) is what its file stands for: two queues in memory shared with programs, and what was registered. A request is a
// copy of one submission entry on its way to a completion. An owner is a process with one table of descriptors and one working directory: it
// is where a request can be carried out, for only there its memory, descriptors and paths mean what was meant.
//
// A request is in one state, changed under its ring's `spin`. RUNNING is somebody's alone: whoever made it so finishes it, lets it wait, or
// queues it. Everything else may be taken over, by uring_take_locked().
//
// Nothing that is read in shared memory is believed: heads and tails are taken modulo their ring's size, an entry is copied once.
//
// Lock order: submit_lock -> lock (mutexes) -> a file's waitq.lock -> uring.spin -> owner.lock; uring.wait and owner.wait are leaves, poll_wait
// is woken with none of them held.
#pragma once

#include <linux/io_uring.h>

#include "kernel/fs.h"
#include "kernel/mutex.h"
#include "kernel/page.h"
#include "kernel/poll.h"
#include "kernel/refcount.h"
#include "kernel/slab.h"
#include "kernel/task.h"
#include "kernel/timer.h"
#include "kernel/uaccess.h"
#include "lib/string.h"

#define URING_WORKERS_MAX  64u    // of one kind and owner
#define URING_REQUESTS_MAX 65536u // of one ring, those not yet taken from it included

// The head of the ring's memory; completions follow, then the array of indices. Programs find all by offsets that io_uring_setup() tells.
struct uring_shared {
	_Alignas(64) uint32_t sq_head;
	_Alignas(64) uint32_t sq_tail;
	_Alignas(64) uint32_t cq_head;
	_Alignas(64) uint32_t cq_tail;
	_Alignas(64) uint32_t sq_mask;
	uint32_t cq_mask;
	uint32_t sq_entries, cq_entries;
	uint32_t sq_dropped, sq_flags;
	uint32_t cq_flags, cq_overflow;
};
static_assert(sizeof(struct uring_shared) == 320, "completions begin at a multiple of 64");
static_assert(sizeof(struct io_uring_sqe) == 64 && sizeof(struct io_uring_cqe) == 16, "as Linux");

struct uring_memory { // pages in order, shared with programs
	struct mobj *object;
	uint32_t page_count;
	struct page **pages; // each with a reference
};

struct uring_files;
struct uring_buffers;
struct uring_groups;
struct uring_restrictions;

struct uring {
	struct refcount refs; // its file's and its requests'
	uint32_t flags;       // IORING_SETUP_*
	uint32_t sq_entries, cq_entries, cqe_bytes, sqe_bytes, array_at;
	struct uring_memory rings, sqes;
	struct waitq wait;      // io_uring_enter() sleeps here
	struct waitq poll_wait; // whoever polls the ring's file

	struct mutex submit_lock; // guards sq_head, and the order of submission
	uint32_t sq_head;         // the program sees a copy
	struct task *issuer;      // IORING_SETUP_SINGLE_ISSUER: who it is, not counted and not looked into; submit_lock

	struct mutex lock;         // guards what is registered
	struct uring_files *files; // NULL: none
	struct uring_buffers *buffers;
	struct uring_groups *groups; // provided buffers
	struct uring_restrictions *restrictions;
	const struct cred *personalities[64];
	bool disabled; // IORING_SETUP_R_DISABLED; atomic

	struct spinlock spin; // guards all below
	uint32_t cq_tail;     // atomic reads
	uint32_t posted;      // completions so far but those of timeouts: what these count
	uint32_t count;       // requests, and overflown completions
	uint32_t active;      // requests that are neither deferred nor behind a deferred one
	bool draining;        // an IOSQE_IO_DRAIN request runs
	bool dead;            // its file is gone
	struct list requests; // struct uring_request.node
	struct list overflow; // struct uring_overflow.node: completions that found no room
	struct list deferred; // struct uring_request.queue_node
	struct list counting; // timeouts that count completions; struct uring_request.queue_node
	struct file *eventfd; // reference, or NULL
	bool eventfd_async;
	uint32_t waiters;            // tasks in io_uring_enter()
	struct uring_owner *waiting; // whose the last of them is; not counted
	struct uring_poller *poller; // IORING_SETUP_SQPOLL; set once
};

struct uring_overflow {
	struct list node;
	struct io_uring_cqe cqe;
	uint64_t more[2]; // IORING_SETUP_CQE32
};

// ---- requests ----

enum uring_state {
	URING_RUNNING,
	URING_ARMED,    // waits for its file
	URING_TIMED,    // waits for its timer
	URING_READY,    // on owner->ready
	URING_WAITING,  // on owner->work
	URING_DEFERRED, // on ring->deferred
	URING_LINKED,   // behind another request
	URING_DONE,
};

struct uring_request;

#define URING_PENDING INT32_MIN // it waits, and is not the caller's any more

struct uring_op {
	bool file;       // sqe.fd is a file, or with IOSQE_FIXED_FILE a registered one
	bool worker;     // may wait where no poll would tell: not in the submitter's call
	bool ioprio;     // sqe.ioprio has a meaning
	bool selects;    // IOSQE_BUFFER_SELECT
	bool timeout;    // its completion is none that timeouts count
	unsigned events; // that say it can go on after -EAGAIN
	// Takes over all that the program may change afterwards. NULL: nothing. 0 or -errno.
	int (*prepare)(struct uring_request *r);
	// Carries it out; wait: as long as it takes. The result, -EAGAIN, or URING_PENDING.
	int (*issue)(struct uring_request *r, bool wait);
	void (*release)(struct uring_request *r); // what prepare() made, when it said 0
};

struct uring_poll;

struct uring_request {
	struct refcount refs; // until it is done; whoever looks at it
	struct uring *ring;
	struct uring_owner *owner;
	const struct uring_op *op;
	const struct cred *cred;
	struct file *file; // reference; NULL: none, or not yet
	struct io_uring_sqe sqe;
	struct uring_request *next;    // linked behind it; submit_lock, then whoever runs it
	struct uring_request *limit;   // IORING_OP_LINK_TIMEOUT that watches it; spin
	struct uring_request *watched; // of such a one: what it watches, counted; spin
	struct list node;              // ring->requests; spin
	struct list owner_node;        // owner->requests; owner->lock
	struct list queue_node;
	enum uring_state state; // spin
	struct task *runner;    // a worker that runs it; spin
	bool cancelled;         // atomic
	bool prepared, failed;  // failed: what is linked is cancelled
	bool nowait;            // -EAGAIN is its result
	bool given;             // to a worker
	bool stubborn;          // its file says ready and then is not: a worker waits in it
	bool drains;            // what comes after it waits for it; spin
	bool behind_deferred;   // linked behind a deferred one: not counted in ring->active
	bool armed;             // timeouts: the timer was set
	bool expired;           // by the timer, not by the count
	bool selected;          // buffer: it has one
	uint16_t buffer_id;
	uint32_t buffer_size;
	uint64_t buffer_address;
	int32_t error; // of its preparation
	uint32_t cqe_flags;
	struct uring_poll *poll;
	struct ktimer timer;
	uint64_t deadline_ns;
	uint32_t target;   // timeouts: value of ring->posted
	uint64_t extra[2]; // completion of IORING_SETUP_CQE32
	uint64_t moved;    // bytes so far
	void *data;        // the operation's
	struct iov_vector vector;
	struct iov_iter iter;
};

// ---- ring.c ----
extern const struct file_ops uring_file_ops;
static inline struct uring *uring_of(const struct file *f) { return f->ops == &uring_file_ops ? f->private : NULL; }
void uring_put(struct uring *u);
void uring_registered_drop(struct uring *u); // register.c: all of it
static inline struct uring_shared *uring_shared_of(const struct uring *u) { return page_address(u->rings.pages[0]); }
// Copies the entry that the program submitted at `position` of its queue. False: it named none.
bool uring_copy_sqe(const struct uring *u, uint32_t position, struct io_uring_sqe *out);
// Puts a completion that belongs to no request's end into the ring; keep: or keeps it until there is room. False: neither.
bool must_check uring_post(struct uring *u, const struct io_uring_cqe *c, bool keep);
void uring_post_locked(struct uring *u, const struct io_uring_cqe *c,
		       const uint64_t extra[2]); // kept, if need be. spin held
void uring_flush_overflow(struct uring *u);
uint32_t uring_available(struct uring *u);                   // completions that the program has not taken
void uring_tell(struct uring *u);                            // completions came: wakes, signals. No lock held
void uring_sq_flag(struct uring *u, uint32_t flag, bool on); // IORING_SQ_*; spin held
struct file *uring_file_create(struct io_uring_params *p);   // err_ptr
struct file *uring_file_get(unsigned fd);                    // reference; err_ptr(-EBADF, -EOPNOTSUPP)

// ---- request.c ----
struct uring_request *uring_request_create(struct uring *u, struct uring_owner *o, const struct io_uring_sqe *sqe);
void uring_request_put(struct uring_request *r);
// Takes over a request in whatever state it waits. False: it does not. spin held.
bool must_check uring_take_locked(struct uring_request *r);
// From RUNNING. False: the ring or its owner is gone, the caller finishes it by -ECANCELED. spin held.
bool must_check uring_settle_locked(struct uring_request *r, enum uring_state s);
// Tells the result of a RUNNING request, and ends it. What was linked behind it and is to run now, or NULL.
struct uring_request *must_check uring_finish(struct uring_request *r, int32_t result);
// One completion more of a request that goes on. False: there is no room, it is to end.
bool must_check uring_post_more(struct uring_request *r, int32_t result, uint32_t flags);
// Has RUNNING requests run in their owner's context, soon. NULL is fine.
void uring_pass_on(struct uring_request *r);
void uring_run(struct uring_request *r, bool wait);           // in its owner's context
bool uring_run_ready(struct uring *u, struct uring_owner *o); // those of a ring. True: there were some
// READY now, from ARMED or TIMED; wakes nobody. spin held. Then uring_wake_runner(), without it.
void uring_ready_locked(struct uring_request *r);
void uring_wake_runner(struct uring *u, struct uring_owner *o);

// ---- submit.c ----
// Up to `count` entries: how many were taken. submit_lock held.
uint32_t uring_submit(struct uring *u, struct uring_owner *o, uint32_t count);

// ---- worker.c ----
struct uring_owner {
	struct refcount refs;     // its process's, its requests', its workers'
	struct uring_owner *next; // process->uring_owners
	struct files *files;      // which ones it is for; not counted, not looked into
	struct fs_context *fs;
	struct spinlock lock; // guards all below
	struct list ready;    // struct uring_request.queue_node: can go on, will not wait
	struct list work;     // may wait
	struct list requests; // struct uring_request.owner_node
	struct waitq wait;    // workers
	uint32_t workers, idle, busy_bounded;
	uint32_t most_bounded, most_unbounded; // IORING_REGISTER_IOWQ_MAX_WORKERS
	bool gone;
};
struct uring_owner *uring_owner_get(void); // the current task's, with a reference; NULL: no memory
void uring_owner_put(struct uring_owner *o);
int uring_workers_ensure(struct uring_owner *o); // somebody listens. The owner's context

// ---- poller.c: IORING_SETUP_SQPOLL ----
int uring_poller_start(struct uring *u, const struct io_uring_params *p);
void uring_poller_stop(struct uring *u); // the ring's file goes
void uring_poller_exit(struct task *t);  // the thread ends
// io_uring_enter(2): wakes it, or waits for room, as `flags` say. `count`, or -errno.
long uring_poller_enter(struct uring *u, uint32_t flags, uint32_t count);

// ---- poll.c ----
enum uring_armed { URING_ARM_PENDING, URING_ARM_READY, URING_ARM_IMPOSSIBLE, URING_ARM_DEAD };
// Waits for `events` of r->file: it is not the caller's any more (PENDING), or some are there already (READY).
enum uring_armed uring_poll_arm(struct uring_request *r, unsigned events, unsigned *ready);
void uring_poll_leave(struct uring_request *r); // its queues
bool uring_poll_can(const struct file *f);
int uring_poll_issue(struct uring_request *r, bool wait);
int uring_poll_prepare(struct uring_request *r);
int uring_poll_remove_issue(struct uring_request *r, bool wait);
int uring_poll_remove_prepare(struct uring_request *r);

// ---- timeout.c ----
void uring_timeouts_counted(struct uring *u); // readies those whose count has come. No lock held
int uring_timeout_prepare(struct uring_request *r);
int uring_timeout_issue(struct uring_request *r, bool wait);
int uring_timeout_remove_prepare(struct uring_request *r);
int uring_timeout_remove_issue(struct uring_request *r, bool wait);
int uring_limit_prepare(struct uring_request *r);
int uring_limit_issue(struct uring_request *r, bool wait);
struct uring_request *uring_limit_attach(
	struct uring_request *r);                    // the one that watches `r`, which is about to run; NULL
void uring_limit_start(struct uring_request *limit); // what it watches was started

// ---- cancel.c ----
struct uring_match {
	uint32_t flags; // IORING_ASYNC_CANCEL_*
	uint64_t user_data;
	struct file *file;
	uint8_t opcode;
	bool any; // everything, deferred requests too: the ring or its owner ends
};
// How many were cancelled; -ENOENT, or -EALREADY: one runs and was asked to end.
int uring_cancel(struct uring *u, const struct uring_match *m, const struct uring_request *except);
int uring_cancel_one(struct uring_request *r); // 0, -ENOENT: it is done, -EALREADY
int uring_cancel_by(struct uring *u, uint32_t flags, uint64_t user_data, int fd, const struct uring_request *except);
int uring_cancel_prepare(struct uring_request *r);
int uring_cancel_issue(struct uring_request *r, bool wait);

// ---- operations.c, and the files the operations are in ----
const struct uring_op *uring_op_of(uint8_t opcode); // NULL
int uring_transfer_prepare(struct uring_request *r);
int uring_transfer_issue(struct uring_request *r, bool wait);
void uring_transfer_release(struct uring_request *r);
int uring_sync_prepare(struct uring_request *r);
int uring_sync_issue(struct uring_request *r, bool wait);

// ---- register.c ----
int uring_restrictions_check(struct uring *u, const struct io_uring_sqe *s); // 0, -EACCES
const struct cred *uring_personality_get(struct uring *u, uint16_t number);  // reference; NULL

// ---- task_rings.c: rings that a thread has registered for itself ----
#define TASK_RINGS 16u
struct file *uring_registered_ring(unsigned index); // reference; err_ptr
// Consumes the reference. slot: which one, or UINT32_MAX: any; *out. 0 or -errno.
int uring_task_ring_add(struct file *f, uint32_t slot, unsigned *out);
int uring_task_ring_remove(uint32_t slot);

// ---- files.c, buffers.c: what was registered ----
struct file *uring_file_fixed(struct uring *u, uint32_t index); // reference, or NULL
void uring_files_drop(struct uring *u);
// Is [address, address + size) in registered buffer `index`? 0, -EFAULT.
int uring_buffer_check(struct uring *u, uint16_t index, uint64_t address, uint64_t size);
void uring_buffers_drop(struct uring *u);
// IOSQE_BUFFER_SELECT: takes one of at most *size bytes (0: any); -ENOBUFS. It stays the request's until it is recycled or told.
int uring_buffer_select(struct uring_request *r, uint64_t *address, uint64_t *size);
void uring_buffer_recycle(struct uring_request *r);
uint32_t uring_buffer_told(struct uring_request *r); // a completion names it: the completion's flags
void uring_groups_drop(struct uring *u);
int uring_files_update_prepare(struct uring_request *r);
int uring_files_update_issue(struct uring_request *r, bool wait);
int uring_provide_prepare(struct uring_request *r);
int uring_provide_issue(struct uring_request *r, bool wait);
int uring_remove_buffers_prepare(struct uring_request *r);
int uring_remove_buffers_issue(struct uring_request *r, bool wait);

// ---- sockets.c ----
int uring_message_prepare(struct uring_request *r);
int uring_message_issue(struct uring_request *r, bool wait);
int uring_accept_prepare(struct uring_request *r);
int uring_accept_issue(struct uring_request *r, bool wait);
int uring_connect_prepare(struct uring_request *r);
int uring_connect_issue(struct uring_request *r, bool wait);
int uring_shutdown_prepare(struct uring_request *r);
int uring_shutdown_issue(struct uring_request *r, bool wait);
int uring_socket_prepare(struct uring_request *r);
int uring_socket_issue(struct uring_request *r, bool wait);
void uring_message_release(struct uring_request *r);
void uring_connect_release(struct uring_request *r);

// ---- paths.c ----
int uring_open_prepare(struct uring_request *r);
int uring_open_issue(struct uring_request *r, bool wait);
int uring_close_prepare(struct uring_request *r);
int uring_close_issue(struct uring_request *r, bool wait);
int uring_statx_prepare(struct uring_request *r);
int uring_statx_issue(struct uring_request *r, bool wait);
int uring_unlink_prepare(struct uring_request *r);
int uring_unlink_issue(struct uring_request *r, bool wait);
int uring_mkdir_prepare(struct uring_request *r);
int uring_mkdir_issue(struct uring_request *r, bool wait);
int uring_two_names_prepare(struct uring_request *r);
int uring_rename_issue(struct uring_request *r, bool wait);
int uring_symlink_issue(struct uring_request *r, bool wait);
int uring_link_issue(struct uring_request *r, bool wait);
void uring_names_release(struct uring_request *r);

// ---- misc.c ----
int uring_allocate_prepare(struct uring_request *r);
int uring_allocate_issue(struct uring_request *r, bool wait);
int uring_sync_range_prepare(struct uring_request *r);
int uring_sync_range_issue(struct uring_request *r, bool wait);
int uring_advise_prepare(struct uring_request *r);
int uring_file_advise_issue(struct uring_request *r, bool wait);
int uring_memory_advise_issue(struct uring_request *r, bool wait);
int uring_splice_prepare(struct uring_request *r);
int uring_splice_issue(struct uring_request *r, bool wait);
int uring_epoll_prepare(struct uring_request *r);
int uring_epoll_issue(struct uring_request *r, bool wait);
int uring_xattr_prepare(struct uring_request *r);
int uring_xattr_issue(struct uring_request *r, bool wait);
int uring_tell_ring_prepare(struct uring_request *r);
int uring_tell_ring_issue(struct uring_request *r, bool wait);
