// SPDX-License-Identifier: Apache-2.0
// The arithmetic of file locks, apart from waiting: for lock.c and its test.
#pragma once

#include "kernel/types.h"
#include "lib/list.h"

enum lock_kind { LOCK_POSIX, LOCK_OFD, LOCK_FLOCK };

struct file_lock {
	struct list node; // inode.locks; inode.locks_lock
	enum lock_kind kind;
	short type;         // F_RDLCK, F_WRLCK; as a request also F_UNLCK
	int64_t start, end; // inclusive; INT64_MAX: to the end of whatever the file becomes
	const void *owner;
	pid_t pid;
};

// A lock of another owner's that excludes the request, or NULL.
struct file_lock *lock_find_conflict(struct list *locks, const struct file_lock *request);
// Does the request, which does not conflict: replaces what the owner had in the range, merges, splits. `request` and `spare`
// (blank) are consumed: into the list, or onto `dead` with every lock that ended.
void lock_apply(struct list *locks, struct file_lock *request, struct file_lock *spare, struct list *dead);

// ---- shared with lease.c ----

struct inode;
struct waitq;
struct waitq *locks_wait_queue(struct inode *i); // made when first needed; NULL: out of memory
void locks_wake(struct inode *i);
void locks_list(struct inode *i); // its locks or leases have changed: is it among those that have any? locks_lock held

struct lock_row { // of /proc/locks
	const char *kind;
	short type;
	pid_t pid;
	int64_t start, end;
};
void leases_show(struct inode *i, void (*row)(void *context, const struct lock_row *row),
		 void *context); // locks_lock held
