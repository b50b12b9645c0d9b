// SPDX-License-Identifier: Apache-2.0
// Leases, fcntl(2): the holder of an open file is told, by a signal, before another opens the file in a way that conflicts; the other
// waits until the holder has given way, or lease_break_time is over.
//
// Who opens counts itself in the inode (write_count, read_count) and then looks for leases; who wants a lease puts it there and then looks
// at the counts. So one of them sees the other. Inside the cell only: the host's opens are not known.
//
// Locks: inode.locks_lock guards the leases of an inode. Who waits does so on the queue of the file locks.
#include "internal.h"

#include <linux/capability.h>
#include <linux/fcntl.h>

#include "kernel/sched.h"
#include "kernel/timer.h"
#include "lock.h"

uint32_t lease_break_time = 45;

struct lease {
	struct lease *next;
	const struct file *file; // not counted: it tells when it goes
	int fd;                  // what si_fd says
	short type;              // F_RDLCK, F_WRLCK
	short target;            // being broken: what it is to become; else = type
	uint64_t break_ns;       // when it becomes that by itself; LEASE_NO_TIME
	pid_t pid;
};
#define LEASE_NO_TIME UINT64_MAX

// ---- one inode's list ---- (inode.locks_lock)

static struct lease **link_of(struct inode *i, const struct file *f)
{
	struct lease **link = &i->leases;
	while (*link && (*link)->file != f)
		link = &(*link)->next;
	return link;
}

static void unlink_onto(struct lease **link, struct lease **dead)
{
	struct lease *l = *link;
	*link = l->next;
	l->next = *dead;
	*dead = l;
}

// Those whose time is over become what they were to become.
static void expire(struct inode *i, struct lease **dead)
{
	uint64_t now = clock_monotonic_ns();
	struct lease **link = &i->leases, *l;
	while ((l = *link)) {
		if (l->target != l->type && now >= l->break_ns) {
			l->type = l->target;
			if (l->type == F_UNLCK) {
				unlink_onto(link, dead);
				continue;
			}
		}
		link = &l->next;
	}
}

static bool conflicts(const struct lease *l, bool write) { return write || l->type == F_WRLCK; }

// The next holder that has to be told of an open like this one; it counts as told.
static struct lease *break_next(struct inode *i, bool write)
{
	short target = write ? F_UNLCK : F_RDLCK;
	uint64_t seconds = __atomic_load_n(&lease_break_time, __ATOMIC_RELAXED);
	for (struct lease *l = i->leases; l; l = l->next) {
		if (!conflicts(l, write) || l->target == F_UNLCK || l->target == target)
			continue;
		l->target = target;
		l->break_ns = seconds ? clock_monotonic_ns() + seconds * NSEC_PER_SEC : LEASE_NO_TIME;
		return l;
	}
	return NULL;
}

// When to look again; 0: nothing is in the way.
static uint64_t wait_until(struct inode *i, bool write)
{
	uint64_t until = 0;
	for (struct lease *l = i->leases; l; l = l->next)
		if (conflicts(l, write))
			until = until ? min(until, l->break_ns) : l->break_ns;
	return until;
}

static void free_all(struct inode *i, struct lease *dead)
{
	if (dead)
		locks_wake(i);
	while (dead) {
		struct lease *next = dead->next;
		kfree(dead);
		dead = next;
	}
}

// ---- breaking ----

// Tells the holders. When to look again, 0: nothing is in the way.
static uint64_t break_once(struct inode *i, bool write)
{
	for (;;) {
		struct lease *dead = NULL;
		struct file_owner owner = { 0 };
		spin_lock(&i->locks_lock);
		expire(i, &dead);
		struct lease *l = break_next(i, write);
		if (l)
			owner = l->file->owner;
		int fd = l ? l->fd : -1;
		uint64_t until = wait_until(i, write);
		spin_unlock(&i->locks_lock);
		free_all(i, dead);
		if (!l)
			return until;
		file_owner_tell(&owner, fd);
	}
}

static uint64_t look_again(struct inode *i, bool write)
{
	struct lease *dead = NULL;
	spin_lock(&i->locks_lock);
	expire(i, &dead);
	uint64_t until = wait_until(i, write);
	spin_unlock(&i->locks_lock);
	free_all(i, dead);
	return until;
}

int lease_break_slow(struct inode *i, bool write, bool wait)
{
	uint64_t until = break_once(i, write);
	if (!until)
		return 0;
	if (!wait)
		return -EWOULDBLOCK;
	struct waitq *q = locks_wait_queue(i);
	if (!q)
		return -ENOLCK;
	while (until) {
		int error = wait_event_deadline(q, !(until = look_again(i, write)), until);
		if (error == -EINTR)
			return -ERESTARTSYS;
		until = break_once(i, write); // who got one meanwhile is told, too
	}
	return 0;
}

// ---- F_SETLEASE, F_GETLEASE ----

// Nobody else has the file open in a way that the lease is to tell of.
static bool may_have(const struct inode *i, const struct file *f, short type)
{
	int writers = __atomic_load_n(&i->write_count, __ATOMIC_SEQ_CST);
	int readers = __atomic_load_n(&i->read_count, __ATOMIC_SEQ_CST);
	if (type == F_RDLCK)
		return writers <= 0;
	return writers == !!(f->mode & FILE_WRITE) && readers == !!(f->mode & FILE_READ_COUNTED);
}

// *fresh is consumed when used.
static int set_locked(struct inode *i, struct file *f, int fd, short type, struct lease **fresh)
{
	struct lease **mine = link_of(i, f), *l = *mine;
	bool others = l ? l != i->leases || l->next : i->leases != NULL;
	for (struct lease *k = i->leases; k; k = k->next)
		if (k != l && k->target == F_UNLCK)
			return -EAGAIN; // somebody is about to write
	if (others && type == F_WRLCK)
		return -EAGAIN;
	if (!l) {
		*mine = *fresh; // seen by those who open from here on
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
	}
	if (!may_have(i, f, type)) {
		if (!l)
			*mine = NULL;
		return -EAGAIN;
	}
	if (!l) {
		*fresh = NULL;
		l = *mine;
		l->fd = fd;
		l->target = type;
	} else if (l->target == l->type || (l->target == F_RDLCK && type == F_RDLCK)) {
		l->target = type;
	}
	l->type = type;
	return 0;
}

static int set(struct file *f, int fd, short type)
{
	struct inode *i = f->inode;
	struct lease *fresh = kalloc(sizeof(*fresh)), *dead = NULL;
	if (!fresh)
		return -ENOMEM;
	*fresh = (struct lease){ .file = f, .type = type, .target = type, .pid = current->process->pid };
	int error = f->owner.pid ? 0 : file_set_owner(f, current->process->own_pid);
	if (!error) {
		spin_lock(&i->locks_lock);
		expire(i, &dead);
		error = set_locked(i, f, fd, type, &fresh);
		locks_list(i);
		spin_unlock(&i->locks_lock);
		free_all(i, dead);
		locks_wake(i); // of less, or to be told again
	}
	kfree(fresh);
	return error;
}

bool lease_end(struct file *f)
{
	struct inode *i = f->inode;
	struct lease *dead = NULL;
	spin_lock(&i->locks_lock);
	struct lease **link = link_of(i, f);
	if (*link)
		unlink_onto(link, &dead);
	locks_list(i);
	spin_unlock(&i->locks_lock);
	bool was = dead;
	free_all(i, dead);
	return was;
}

int lease_set(struct file *f, int fd, uint64_t type)
{
	if (type == F_UNLCK) {
		if (!lease_end(f))
			return -EAGAIN;
		f->owner.pid = 0;
		f->owner.signal = 0;
		return 0;
	}
	if (type != F_RDLCK && type != F_WRLCK)
		return -EINVAL;
	if (current->cred->fsuid != f->inode->uid && !inode_capable(f->inode, CAP_LEASE))
		return -EACCES;
	return inode_is_reg(f->inode) ? set(f, fd, (short)type) : -EINVAL;
}

int lease_get(struct file *f)
{
	struct inode *i = f->inode;
	struct lease *dead = NULL;
	spin_lock(&i->locks_lock);
	expire(i, &dead);
	struct lease *l = *link_of(i, f);
	int type = l ? l->target : F_UNLCK;
	spin_unlock(&i->locks_lock);
	free_all(i, dead);
	return type;
}

// ---- /proc/locks ----

void leases_show(struct inode *i, void (*row)(void *context, const struct lock_row *row), void *context)
{
	for (struct lease *l = i->leases; l; l = l->next) {
		struct lock_row r = { l->target != l->type ? "LEASE  BREAKING " : "LEASE  ACTIVE   ", l->target, l->pid,
				      0, INT64_MAX };
		row(context, &r);
	}
}
