// SPDX-License-Identifier: Apache-2.0
// Marks: who wants to hear what happens to an inode, or in a directory. What the hooks of kernel/fs.h find, for inotify and dnotify.
//
// One spinlock guards all marks and what their owners keep: events are rare next to everything else, and the hooks do not even
// look at it while nothing in the cell is watched (fsnotify_watches). Order: dentry_tree_lock -> fsnotify_lock. What may not be
// done under it, dropping references and sending signals, is noted in a struct fsnotify_work and done after it.
#pragma once

#include "kernel/fs.h"
#include "lib/list.h"

struct fsnotify_mark;

struct fsnotify_event {
	uint32_t mask; // IN_*, FSNOTIFY_RENAMED
	uint32_t cookie;
	const char *name; // in the marked directory; NULL: the inode itself
	bool unlinked;    // the name is gone
};

struct fsnotify_work {
	struct list dead;    // struct fsnotify_mark.all_node
	struct list signals; // struct fsnotify_signal.node
};

// A POLL_MSG to the owner of a file that may be gone by the time it is sent.
struct fsnotify_signal {
	struct list node;
	struct file_owner owner;
	int fd;
};

struct fsnotify_ops { // all but free: fsnotify_lock held
	// Something in mark->mask, or IN_Q_OVERFLOW, happened. True: the mark is used up.
	bool (*tell)(struct fsnotify_mark *m, const struct fsnotify_event *e, struct fsnotify_work *work);
	void (*unmounted)(struct fsnotify_mark *m); // optional: retired comes next
	void (*retired)(struct fsnotify_mark *m);   // it is off its inode
	void (*free)(struct fsnotify_mark *m);
};

struct fsnotify_mark {
	struct fsnotify_mark *next; // of the inode's
	struct inode *inode;        // a reference
	struct list all_node;
	const struct fsnotify_ops *ops;
	uint32_t mask;
};

extern struct spinlock fsnotify_lock;

void fsnotify_work_begin(struct fsnotify_work *work); // takes the lock
void fsnotify_work_end(struct fsnotify_work *work);   // drops it and does the work. Task context, no spinlock held
// Lock held. 0, or -ENOSPC: there are too many. ops and mask are set.
int fsnotify_attach(struct fsnotify_mark *m, struct inode *i);
void fsnotify_retire(struct fsnotify_mark *m, struct fsnotify_work *work); // lock held
