// SPDX-License-Identifier: Apache-2.0
// inotify(7): watches on inodes, events in a queue per descriptor.
//
// A watch (mark) holds its inode. One spinlock guards all watches and queues: events are rare next to everything else, and
// the hooks do not even look at it while nothing in the cell is watched (fsnotify_watches). References of inodes are dropped
// after it. Every queue is bounded; what does not fit is one IN_Q_OVERFLOW.
#include <asm/ioctls.h>
#include <linux/inotify.h>

#include "kernel/fs.h"
#include "kernel/slab.h"
#include "kernel/syscalls.h"
#include "kernel/task.h"
#include "kernel/uaccess.h"
#include "lib/string.h"

#define QUEUE_MAX     16384u
#define WATCHES_MAX   65536u // of the cell; as fs.inotify.max_user_watches
#define INSTANCES_MAX 1024u

struct inotify {
	struct list marks;  // struct inotify_mark.group_node
	struct list events; // struct event
	unsigned event_count;
	size_t event_bytes; // as read(2) gives them
	int next_watch;
	bool overflowed;
	struct waitq wait;
};

struct inotify_mark {
	struct inotify_mark *next; // of the inode's
	struct list group_node;
	struct inotify *group;
	struct inode *inode; // a reference
	struct list all_node;
	int watch;
	uint32_t mask;
};

struct event {
	struct list node;
	size_t name_size; // padded, 0 without name
	struct inotify_event head;
	// name follows
};

static struct spinlock lock = SPINLOCK_INIT;
static struct list all_marks = LIST_INIT(all_marks);
static unsigned instances; // atomic
static uint32_t last_cookie;
uint32_t fsnotify_watches;

uint32_t fsnotify_cookie(void) { return __atomic_add_fetch(&last_cookie, 1, __ATOMIC_RELAXED); }

// ---- queues ---- (lock held)

static bool same_as_last(struct inotify *g, int watch, uint32_t mask, uint32_t cookie, const char *name)
{
	if (list_empty(&g->events))
		return false;
	struct event *e = list_last(&g->events, struct event, node);
	if (e->head.wd != watch || e->head.mask != mask || e->head.cookie != cookie || !name != !e->name_size)
		return false;
	return !name || !strcmp((char *)(e + 1), name);
}

static void enqueue(struct inotify *g, int watch, uint32_t mask, uint32_t cookie, const char *name)
{
	if (same_as_last(g, watch, mask, cookie, name))
		return;
	if (g->event_count >= QUEUE_MAX) {
		if (g->overflowed)
			return;
		g->overflowed = true;
		watch = -1;
		mask = IN_Q_OVERFLOW;
		cookie = 0;
		name = NULL;
	}
	size_t name_size = name ? align_up(strlen(name) + 1, sizeof(struct inotify_event)) : 0;
	struct event *e = kalloc_atomic(sizeof(*e) + name_size);
	if (!e)
		return;
	e->name_size = name_size;
	e->head = (struct inotify_event){ .wd = watch, .mask = mask, .cookie = cookie, .len = (uint32_t)name_size };
	if (name)
		memcpy(e + 1, name, strlen(name));
	list_add_tail(&g->events, &e->node);
	g->event_count++;
	g->event_bytes += sizeof(e->head) + name_size;
	waitq_wake_events(&g->wait, 0, EPOLLIN | EPOLLRDNORM);
}

static struct event *dequeue(struct inotify *g, size_t room, bool *too_small)
{
	*too_small = false;
	if (list_empty(&g->events))
		return NULL;
	struct event *e = list_first(&g->events, struct event, node);
	size_t size = sizeof(e->head) + e->name_size;
	if (size > room) {
		*too_small = true;
		return NULL;
	}
	list_remove(&e->node);
	g->event_count--;
	g->event_bytes -= size;
	if (e->head.mask & IN_Q_OVERFLOW)
		g->overflowed = false;
	return e;
}

// ---- marks ---- (lock held)

static void unlink_mark(struct inotify_mark *m)
{
	struct inotify_mark **link = &m->inode->marks;
	while (*link != m)
		link = &(*link)->next;
	*link = m->next;
	list_remove(&m->group_node);
	list_remove(&m->all_node);
	__atomic_fetch_sub(&fsnotify_watches, 1, __ATOMIC_RELAXED);
}

// Takes the mark off and tells its group; it goes on `dead`.
static void retire(struct inotify_mark *m, struct list *dead)
{
	enqueue(m->group, m->watch, IN_IGNORED, 0, NULL);
	unlink_mark(m);
	list_add(dead, &m->group_node);
}

static void free_marks(struct list *dead) // lock not held
{
	while (!list_empty(dead)) {
		struct inotify_mark *m = list_first(dead, struct inotify_mark, group_node);
		list_remove(&m->group_node);
		inode_put(m->inode);
		kfree(m);
	}
}

static void tell(struct inode *i, uint32_t mask, uint32_t cookie, const char *name, bool unlinked, struct list *dead)
{
	struct inotify_mark *m, *next;
	for (m = i->marks; m; m = next) {
		next = m->next;
		if (!(m->mask & mask & IN_ALL_EVENTS) || (unlinked && (m->mask & IN_EXCL_UNLINK)))
			continue;
		enqueue(m->group, m->watch, mask, cookie, name);
		if (m->mask & IN_ONESHOT)
			retire(m, dead);
	}
}

void fsnotify_slow(struct inode *i, struct dentry *d, uint32_t mask)
{
	struct list dead = LIST_INIT(dead);
	if (inode_is_dir(i))
		mask |= IN_ISDIR;
	struct inode *parent = d && d->parent != d ? d->parent->inode : NULL;
	if (!i->marks && (!parent || !parent->marks))
		return;
	spin_lock(&dentry_tree_lock); // the name holds still
	spin_lock(&lock);
	if (parent)
		tell(parent, mask, 0, d->name, d->flags & DENTRY_DISCONNECTED, &dead);
	tell(i, mask, 0, NULL, false, &dead);
	spin_unlock(&lock);
	spin_unlock(&dentry_tree_lock);
	free_marks(&dead);
}

void fsnotify_name_slow(struct inode *dir, uint32_t mask, uint32_t cookie, const char *name)
{
	struct list dead = LIST_INIT(dead);
	if (!dir->marks)
		return;
	spin_lock(&lock);
	tell(dir, mask, cookie, name, false, &dead);
	spin_unlock(&lock);
	free_marks(&dead);
}

void fsnotify_inode_gone(struct inode *i)
{
	struct list dead = LIST_INIT(dead);
	spin_lock(&lock);
	tell(i, IN_DELETE_SELF, 0, NULL, false, &dead);
	while (i->marks)
		retire(i->marks, &dead);
	spin_unlock(&lock);
	free_marks(&dead);
}

// The superblock goes, and no watch may keep an inode of it.
void fsnotify_super_gone(struct super *s)
{
	struct list dead = LIST_INIT(dead);
	struct inotify_mark *m, *next;
	if (!fsnotify_watches)
		return;
	spin_lock(&lock);
	list_for_each_safe (m, next, &all_marks, all_node)
		if (m->inode->super == s) {
			enqueue(m->group, m->watch, IN_UNMOUNT, 0, NULL);
			retire(m, &dead);
		}
	spin_unlock(&lock);
	free_marks(&dead);
}

void fsnotify_overflow(void)
{
	struct inotify_mark *m;
	spin_lock(&lock);
	list_for_each (m, &all_marks, all_node)
		enqueue(m->group, -1, IN_Q_OVERFLOW, 0, NULL); // the same one twice in a row is one
	spin_unlock(&lock);
}

// ---- the descriptor ----

static ssize_t copy_event(struct event *e, struct iov_iter *to)
{
	size_t size = sizeof(e->head) + e->name_size;
	bool ok = iov_copy_to(to, &e->head, size) == size; // the name lies behind the head
	kfree(e);
	return ok ? (ssize_t)size : -EFAULT;
}

static_assert(offsetof(struct event, head) + sizeof(struct inotify_event) == sizeof(struct event),
	      "the name follows the head");

static bool has_events(struct inotify *g) { return __atomic_load_n(&g->event_count, __ATOMIC_RELAXED) != 0; }

static ssize_t inotify_read(struct file *f, struct iov_iter *to, loff_t *pos)
{
	struct inotify *g = f->private;
	ssize_t done = 0;
	for (;;) {
		bool too_small;
		spin_lock(&lock);
		struct event *e = dequeue(g, to->count, &too_small);
		spin_unlock(&lock);
		if (e) {
			ssize_t n = copy_event(e, to);
			if (n < 0)
				return done ? done : n;
			done += n;
			continue;
		}
		if (done)
			return done;
		if (too_small)
			return -EINVAL;
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		if (wait_event_interruptible(&g->wait, has_events(g)))
			return -ERESTARTSYS;
	}
}

static unsigned inotify_poll(struct file *f, struct poll_table *t)
{
	struct inotify *g = f->private;
	poll_wait(t, f, &g->wait);
	return has_events(g) ? EPOLLIN | EPOLLRDNORM : 0;
}

static long inotify_ioctl(struct file *f, unsigned command, uint64_t argument)
{
	struct inotify *g = f->private;
	if (command != FIONREAD)
		return -ENOIOCTLCMD;
	spin_lock(&lock);
	int bytes = (int)g->event_bytes;
	spin_unlock(&lock);
	return put_user(bytes, (struct uptr){ argument });
}

static void inotify_release(struct file *f)
{
	struct inotify *g = f->private;
	struct list dead = LIST_INIT(dead), events = LIST_INIT(events);
	spin_lock(&lock);
	while (!list_empty(&g->marks))
		retire(list_first(&g->marks, struct inotify_mark, group_node), &dead);
	list_splice_tail(&events, &g->events);
	spin_unlock(&lock);
	free_marks(&dead);
	while (!list_empty(&events)) {
		struct event *e = list_first(&events, struct event, node);
		list_remove(&e->node);
		kfree(e);
	}
	kfree(g);
	__atomic_fetch_sub(&instances, 1, __ATOMIC_RELAXED);
}

static const struct file_ops inotify_ops = {
	.release = inotify_release,
	.read = inotify_read,
	.poll = inotify_poll,
	.async = true,
	.ioctl = inotify_ioctl,
	.stream = true,
};

long sys_inotify_init1(int flags)
{
	if (flags & ~(IN_CLOEXEC | IN_NONBLOCK))
		return -EINVAL;
	if (__atomic_load_n(&instances, __ATOMIC_RELAXED) >= INSTANCES_MAX)
		return -EMFILE;
	struct inotify *g = kalloc(sizeof(*g));
	if (!g)
		return -ENOMEM;
	list_init(&g->marks);
	list_init(&g->events);
	waitq_init(&g->wait);
	g->next_watch = 1;
	struct file *f =
		file_create_anonymous("anon_inode:inotify", &inotify_ops, g, O_RDONLY | (flags & O_NONBLOCK), 0600);
	if (is_err(f)) {
		kfree(g);
		return ptr_err(f);
	}
	__atomic_fetch_add(&instances, 1, __ATOMIC_RELAXED);
	return fd_install_new(f, flags & IN_CLOEXEC);
}

long sys_inotify_init(void) { return sys_inotify_init1(0); }

// ---- watches ----

static struct inotify_mark *find_mark(struct inotify *g, struct inode *i)
{
	struct inotify_mark *m;
	for (m = i->marks; m && m->group != g; m = m->next)
		;
	return m;
}

// Updates the watch there is, or installs `fresh` (consumed when used: *fresh becomes NULL).
static long set_watch(struct inotify *g, struct inode *i, uint32_t mask, struct inotify_mark **fresh)
{
	struct inotify_mark *m = find_mark(g, i);
	uint32_t keep = mask & (IN_ALL_EVENTS | IN_ONESHOT | IN_EXCL_UNLINK);
	if (m) {
		if (mask & IN_MASK_CREATE)
			return -EEXIST;
		m->mask = mask & IN_MASK_ADD ? m->mask | keep : keep;
		return m->watch;
	}
	if (__atomic_load_n(&fsnotify_watches, __ATOMIC_RELAXED) >= WATCHES_MAX)
		return -ENOSPC;
	m = *fresh;
	*fresh = NULL;
	m->group = g;
	m->inode = i;
	inode_get(i);
	m->watch = g->next_watch++;
	m->mask = keep;
	m->next = i->marks;
	i->marks = m;
	list_add_tail(&g->marks, &m->group_node);
	list_add_tail(&all_marks, &m->all_node);
	__atomic_fetch_add(&fsnotify_watches, 1, __ATOMIC_RELAXED);
	return m->watch;
}

static long add_watch(struct inotify *g, struct inode *i, uint32_t mask)
{
	struct inotify_mark *fresh = kalloc(sizeof(*fresh));
	if (!fresh)
		return -ENOMEM;
	spin_lock(&lock);
	long result = set_watch(g, i, mask, &fresh);
	spin_unlock(&lock);
	kfree(fresh);
	return result;
}

static struct file *inotify_get(int fd, int *error)
{
	struct file *f = fd_get(fd);
	*error = f ? 0 : -EBADF;
	if (!f || f->ops == &inotify_ops)
		return f;
	file_put(f);
	*error = -EINVAL;
	return NULL;
}

long sys_inotify_add_watch(int fd, struct uptr path, uint32_t mask)
{
	if (!(mask & (IN_ALL_EVENTS | IN_UNMOUNT | IN_Q_OVERFLOW | IN_IGNORED)) ||
	    ((mask & IN_MASK_ADD) && (mask & IN_MASK_CREATE)))
		return -EINVAL;
	int error;
	struct file *f = inotify_get(fd, &error);
	if (!f)
		return error;
	struct path p;
	unsigned walk = (mask & IN_DONT_FOLLOW ? 0 : LOOKUP_FOLLOW) | (mask & IN_ONLYDIR ? LOOKUP_DIRECTORY : 0);
	long result = path_lookup_user(AT_FDCWD, path, walk, &p);
	if (!result) {
		result = inode_permission(p.dentry->inode, MAY_READ);
		if (!result)
			result = add_watch(f->private, p.dentry->inode, mask);
		if (result >= 0 && p.dentry->inode->ops->watched)
			p.dentry->inode->ops->watched(p.dentry->inode, p.dentry);
		path_put(&p);
	}
	file_put(f);
	return result;
}

long sys_inotify_rm_watch(int fd, int watch)
{
	int error;
	struct file *f = inotify_get(fd, &error);
	if (!f)
		return error;
	struct inotify *g = f->private;
	struct list dead = LIST_INIT(dead);
	struct inotify_mark *m;
	spin_lock(&lock);
	list_for_each (m, &g->marks, group_node)
		if (m->watch == watch) {
			retire(m, &dead);
			break;
		}
	spin_unlock(&lock);
	error = list_empty(&dead) ? -EINVAL : 0;
	free_marks(&dead);
	file_put(f);
	return error;
}
