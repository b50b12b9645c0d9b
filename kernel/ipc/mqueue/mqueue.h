// SPDX-License-Identifier: Apache-2.0
// POSIX message queues, inside. A queue is the private part of an inode of the mqueue file system (super.c), so names, rights
// and life time are those of files; what it holds is queue.c's, whom it tells about a first message notify.c's.
//
// Locks: inode.lock of the root (names) -> mqueue.lock, a leaf but for the wait queues.
#pragma once

#include "kernel/fs.h"
#include "kernel/waitq.h"
#include "lib/rbtree.h"

struct netlink_note;
struct process;
struct user;

struct mqueue_message {
	struct rb_node node;
	uint32_t priority;
	size_t size;
	char text[];
};

struct mqueue_notification {       // mq_notify(3); owner NULL: nobody asked
	struct process *owner;     // a reference
	int kind, signal;          // SIGEV_*
	uint64_t value;            // union sigval
	struct netlink_note *note; // SIGEV_THREAD
};

struct mqueue {
	struct waitq readers, writers; // who polls
	int64_t message_max, size_max; // constant: messages, bytes of one
	struct user *user;             // charged `charged_bytes` for it (RLIMIT_MSGQUEUE)
	uint64_t charged_bytes;
	struct spinlock lock;    // guards what follows
	struct rb_root messages; // highest priority first, oldest first among equals
	int64_t count;
	uint64_t bytes;        // of all messages
	struct list receivers; // that wait for a message, the first to be served first: struct mqueue_waiter
	struct list senders;   // that wait for room, likewise
	struct mqueue_notification notification;
};

static inline struct mqueue *mqueue_of(const struct inode *i) { return i->private; }

// super.c
extern const struct file_ops mqueue_file_ops;
struct dentry *mqueue_root(void); // of the current task's namespace; referenced
// Makes the queue of `d`, a negative dentry of the root, which is locked. 0, -EINVAL, -EMFILE, -ENOSPC, -ENOMEM.
int mqueue_make(struct inode *root, struct dentry *d, mode_t mode, int64_t message_max, int64_t size_max);
int mqueue_remove(struct inode *root, struct dentry *d); // inode_ops.unlink

// queue.c
// A queue whose owner pays for it; err_ptr as mqueue_make().
struct mqueue *mqueue_create(int64_t message_max, int64_t size_max);
void mqueue_destroy(struct mqueue *q);
// Both wait until there is room, or a message, unless `nonblock`. deadline: monotonic. -EAGAIN, -ETIMEDOUT, -ERESTARTSYS.
int mqueue_send(struct mqueue *q, struct mqueue_message *m, bool nonblock, uint64_t deadline); // consumes m on success
int mqueue_receive(struct mqueue *q, bool nonblock, uint64_t deadline, struct mqueue_message **out); // kfree *out

// notify.c
// Fills in what a struct sigevent says for the current process. 0, -EINVAL, -EFAULT and those of netlink_note_create().
int mqueue_notification_create(struct uptr event, struct mqueue_notification *n);
// Takes the notification off the queue into *out; q->lock held.
void mqueue_notification_take_locked(struct mqueue *q, struct mqueue_notification *out);
// A message came / it is cancelled. Consume what `n` holds; nothing when nobody asked.
void mqueue_notification_fire(struct mqueue_notification *n);
void mqueue_notification_cancel(struct mqueue_notification *n);
void mqueue_notification_drop(struct mqueue_notification *n); // without a word
// The current process gives up its registration, if it has one.
void mqueue_notification_forget(struct mqueue *q);
