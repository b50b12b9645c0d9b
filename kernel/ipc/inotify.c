// SPDX-License-Identifier: Apache-2.0
// inotify(7): watches on inodes, events in a queue per descriptor.
//
// A watch is a mark on its inode (fsnotify.h), whose lock guards the queues too. Every queue is bounded; what does not fit is one
// IN_Q_OVERFLOW.
#include <asm/ioctls.h>
#include <linux/inotify.h>

#include "kernel/fs.h"
#include "kernel/slab.h"
#include "kernel/syscalls.h"
#include "kernel/task.h"
#include "kernel/uaccess.h"
#include "lib/string.h"

#include "fsnotify.h"

#define QUEUE_MAX     16384u
#define INSTANCES_MAX 1024u

struct inotify {
	struct list marks;  // struct watch.group_node
	struct list events; // struct event
	unsigned event_count;
	size_t event_bytes; // as read(2) gives them
	int next_watch;
	bool overflowed;
	struct waitq wait;
};

struct watch {
	struct fsnotify_mark mark;
	struct list group_node;
	struct inotify *group;
	int number;
	uint32_t flags; // IN_ONESHOT, IN_EXCL_UNLINK
};

struct event {
	struct list node;
	size_t name_size; // padded, 0 without name
	struct inotify_event head;
	// name follows
};

static unsigned instances; // atomic

// ---- queues ---- (fsnotify_lock held)

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

// ---- marks ---- (fsnotify_lock held)

static struct watch *watch_of(struct fsnotify_mark *m) { return container_of(m, struct watch, mark); }

static bool watch_tell(struct fsnotify_mark *m, const struct fsnotify_event *e, struct fsnotify_work *work)
{
	struct watch *w = watch_of(m);
	(void)work;
	if (e->mask & IN_Q_OVERFLOW) {
		enqueue(w->group, -1, IN_Q_OVERFLOW, 0, NULL); // the same one twice in a row is one
		return false;
	}
	if (e->unlinked && (w->flags & IN_EXCL_UNLINK))
		return false;
	enqueue(w->group, w->number, e->mask, e->cookie, e->name);
	return w->flags & IN_ONESHOT;
}

static void watch_retired(struct fsnotify_mark *m)
{
	struct watch *w = watch_of(m);
	enqueue(w->group, w->number, IN_IGNORED, 0, NULL);
	list_remove(&w->group_node);
}

static void watch_unmounted(struct fsnotify_mark *m)
{
	struct watch *w = watch_of(m);
	enqueue(w->group, w->number, IN_UNMOUNT, 0, NULL);
}

static void watch_free(struct fsnotify_mark *m) { kfree(watch_of(m)); }

static const struct fsnotify_ops watch_ops = {
	.tell = watch_tell,
	.unmounted = watch_unmounted,
	.retired = watch_retired,
	.free = watch_free,
};

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
		spin_lock(&fsnotify_lock);
		struct event *e = dequeue(g, to->count, &too_small);
		spin_unlock(&fsnotify_lock);
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
		if (file_nonblock(f))
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
	spin_lock(&fsnotify_lock);
	int bytes = (int)g->event_bytes;
	spin_unlock(&fsnotify_lock);
	return put_user(bytes, (struct uptr){ argument });
}

static void inotify_release(struct file *f)
{
	struct inotify *g = f->private;
	struct fsnotify_work work;
	struct list events = LIST_INIT(events);
	fsnotify_work_begin(&work);
	while (!list_empty(&g->marks))
		fsnotify_retire(&list_first(&g->marks, struct watch, group_node)->mark, &work);
	list_splice_tail(&events, &g->events);
	fsnotify_work_end(&work);
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

static struct watch *find_watch(struct inotify *g, struct inode *i)
{
	for (struct fsnotify_mark *m = i->marks; m; m = m->next)
		if (m->ops == &watch_ops && watch_of(m)->group == g)
			return watch_of(m);
	return NULL;
}

// Updates the watch there is, or installs `fresh` (consumed when used: *fresh becomes NULL).
static long set_watch(struct inotify *g, struct inode *i, uint32_t mask, struct watch **fresh)
{
	struct watch *w = find_watch(g, i);
	uint32_t events = mask & IN_ALL_EVENTS, flags = mask & (IN_ONESHOT | IN_EXCL_UNLINK);
	if (w) {
		if (mask & IN_MASK_CREATE)
			return -EEXIST;
		w->mark.mask = mask & IN_MASK_ADD ? w->mark.mask | events : events;
		w->flags = mask & IN_MASK_ADD ? w->flags | flags : flags;
		return w->number;
	}
	w = *fresh;
	w->mark = (struct fsnotify_mark){ .ops = &watch_ops, .mask = events };
	int error = fsnotify_attach(&w->mark, i);
	if (error)
		return error;
	*fresh = NULL;
	w->group = g;
	w->number = g->next_watch++;
	w->flags = flags;
	list_add_tail(&g->marks, &w->group_node);
	return w->number;
}

static long add_watch(struct inotify *g, struct inode *i, uint32_t mask)
{
	struct watch *fresh = kalloc(sizeof(*fresh));
	if (!fresh)
		return -ENOMEM;
	spin_lock(&fsnotify_lock);
	long result = set_watch(g, i, mask, &fresh);
	spin_unlock(&fsnotify_lock);
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
	struct fsnotify_work work;
	struct watch *w;
	error = -EINVAL;
	fsnotify_work_begin(&work);
	list_for_each (w, &g->marks, group_node)
		if (w->number == watch) {
			fsnotify_retire(&w->mark, &work);
			error = 0;
			break;
		}
	fsnotify_work_end(&work);
	file_put(f);
	return error;
}
