// SPDX-License-Identifier: Apache-2.0
// Changes on the host, told to the cell. Source: inotify(7).
//
// One inotify instance, made at the first watch: an ordinary user has only 128 of them. Its events are passed on by a thread of
// their own, which waits for the cell's socket when that is full; then they pile up in the host's kernel, which counts them
// and says IN_Q_OVERFLOW when they are too many.
//
// Lock: watches.lock, then the locks of nodes. It is held over inotify_add_watch(2), so that no event comes before its watch is
// in the table; that call does no input or output.
#include "broker/request.h"

#include <errno.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define BUCKETS_FIRST  64u
#define EVENTS_BYTES   16384u
#define BATCH_NS       2000000 // events closer together than that travel together
#define XFS_MAGIC      0x58465342
#define BCACHEFS_MAGIC 0xca451a4e
#define ZFS_MAGIC      0x2fc12fc1
#define EVENTS_FOREIGN (IN_OPEN | IN_ACCESS | IN_CLOSE_NOWRITE) // what the broker's own looking makes
#define EVENTS_ALLOWED (IN_ALL_EVENTS & ~(uint32_t)EVENTS_FOREIGN)
#define EVENTS_UNASKED (IN_IGNORED | IN_UNMOUNT | IN_Q_OVERFLOW | IN_ISDIR)

static_assert(BROKER_WATCH_DEFAULT ==
		      (IN_MODIFY | IN_ATTRIB | IN_MOVE | IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF),
	      "default mask");

struct watch {
	struct watch *next;
	int descriptor; // several nodes have the same if they are the same directory in several grants
	uint32_t mask, grant;
	struct tree *tree;
	uint64_t nodeid;
};

void watches_init(struct watches *w, int events, uint32_t count_max)
{
	memset(w, 0, sizeof(*w));
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->started, NULL);
	w->inotify = -1;
	w->events = events;
	w->count_max = count_max;
	if (events < 0 || socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, w->circle))
		w->circle[0] = w->circle[1] = -1;
}

void watches_fini(struct watches *w)
{
	for (uint32_t i = 0; i < w->bucket_count; i++) {
		for (struct watch *x = w->buckets[i], *next; x; x = next) {
			next = x->next;
			free(x);
		}
	}
	free(w->buckets);
	if (w->inotify >= 0)
		close(w->inotify);
	for (unsigned i = 0; i < 2 && w->circle[i] >= 0; i++)
		close(w->circle[i]);
}

// Who closes an instance that watches last waits for a grace period of the host's, some 10 ms, and at a cell's end that would be the broker
// and with it everybody. So the instance is also in a queue, together with the socket whose queue that is: once the broker is gone
// nothing leads there, and the host's collector of such circles closes it, in a task of its own (a host older than Linux 6.9 waits as before).
// It looks whenever a socket is closed; hence that one is the lower of the two, since others are closed after it in either order.
static void leave_to_collector(struct watches *w)
{
	const int fds[] = { w->inotify, w->circle[0] };
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(fds))];
	} control = { .header = { CMSG_LEN(sizeof(fds)), SOL_SOCKET, SCM_RIGHTS } };
	char nothing = 0;
	struct iovec v = { &nothing, 1 };
	struct msghdr m = {
		.msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};

	memcpy(CMSG_DATA(&control.header), fds, sizeof(fds));
	if (w->circle[1] >= 0)
		(void)!sendmsg(w->circle[1], &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

// ---- the table, by inotify's descriptor ----

static struct watch **bucket_of(struct watches *w, int descriptor)
{
	return &w->buckets[(uint32_t)descriptor & (w->bucket_count - 1)];
}

static bool buckets_grow(struct watches *w)
{
	uint32_t old_count = w->bucket_count;
	struct watch **old = w->buckets, **grown;

	if (old_count && w->count < old_count)
		return true;
	grown = calloc(old_count ? old_count * 2 : BUCKETS_FIRST, sizeof(struct watch *));
	if (!grown)
		return old_count;
	w->buckets = grown;
	w->bucket_count = old_count ? old_count * 2 : BUCKETS_FIRST;
	for (uint32_t i = 0; i < old_count; i++) {
		for (struct watch *x = old[i], *next; x; x = next) {
			next = x->next;
			x->next = *bucket_of(w, x->descriptor);
			*bucket_of(w, x->descriptor) = x;
		}
	}
	free(old);
	return true;
}

static struct watch *find_locked(struct watches *w, int descriptor, const struct tree *tree, uint64_t nodeid)
{
	struct watch *x = w->bucket_count ? *bucket_of(w, descriptor) : NULL;

	while (x && (x->descriptor != descriptor || x->tree != tree || x->nodeid != nodeid))
		x = x->next;
	return x;
}

// The n-th of those with this descriptor.
static struct watch **nth_locked(struct watches *w, int descriptor, unsigned n)
{
	struct watch **at = w->bucket_count ? bucket_of(w, descriptor) : NULL;

	for (; at && *at; at = &(*at)->next)
		if ((*at)->descriptor == descriptor && !n--)
			return at;
	return NULL;
}

static void remove_locked(struct watches *w, struct watch *x)
{
	struct watch **at = bucket_of(w, x->descriptor);

	while (*at != x)
		at = &(*at)->next;
	*at = x->next;
	w->count--;
	free(x);
}

// ---- watching ----

static int start_locked(struct watches *w)
{
	if (w->inotify >= 0)
		return 0;
	if (w->events < 0)
		return -ENOSPC;
	w->inotify = inotify_init1(IN_CLOEXEC);
	if (w->inotify < 0)
		return -ENOSPC; // the user's instances are used up, as watches can be
	leave_to_collector(w);
	pthread_cond_signal(&w->started);
	return 0;
}

static int add_locked(struct watches *w, struct node *dir, int fd, uint32_t mask)
{
	char number[16];
	struct watch *x;
	int descriptor;

	if (w->count >= w->count_max || start_locked(w) || !buckets_grow(w))
		return -ENOSPC;
	snprintf(number, sizeof(number), "%d", fd);
	descriptor = inotify_add_watch(w->inotify, number, mask | IN_ONLYDIR | IN_EXCL_UNLINK | IN_MASK_ADD);
	if (descriptor < 0)
		return -errno;
	dir->watch = descriptor;
	x = find_locked(w, descriptor, dir->tree, dir->id);
	if (x) {
		x->mask |= mask;
		return 0;
	}
	x = malloc(sizeof(*x));
	if (!x)
		return -ENOSPC; // inotify's watch goes with the node
	*x = (struct watch){ *bucket_of(w, descriptor), descriptor, mask, dir->tree->grant, dir->tree, dir->id };
	*bucket_of(w, descriptor) = x;
	w->count++;
	return 0;
}

// Does inotify see every change? Not those that other machines make.
static bool changes_are_seen(int fd)
{
	static const unsigned long local[] = { EXT4_SUPER_MAGIC,     XFS_MAGIC,           BTRFS_SUPER_MAGIC,
					       TMPFS_MAGIC,          RAMFS_MAGIC,         OVERLAYFS_SUPER_MAGIC,
					       F2FS_SUPER_MAGIC,     ZFS_MAGIC,           BCACHEFS_MAGIC,
					       SQUASHFS_MAGIC,       ISOFS_SUPER_MAGIC,   MSDOS_SUPER_MAGIC,
					       EROFS_SUPER_MAGIC_V1, REISERFS_SUPER_MAGIC };
	struct statfs s;

	if (fstatfs(fd, &s))
		return false;
	for (size_t i = 0; i < sizeof(local) / sizeof(*local); i++)
		if ((unsigned long)s.f_type == local[i])
			return true;
	return false;
}

int watch_add(struct broker *b, struct node *dir, uint32_t mask)
{
	struct watches *w = &b->watches;
	int fd = node_is_dir(dir) ? node_fd_get(dir) : -ENOTDIR, error;

	if (fd < 0)
		return fd;
	pthread_mutex_lock(&w->lock);
	error = add_locked(w, dir, fd, mask);
	pthread_mutex_unlock(&w->lock);
	if (!error && !(BROKER_WATCH_DEFAULT & ~mask) && changes_are_seen(fd))
		__atomic_store_n(&dir->watched, true, __ATOMIC_RELEASE);
	node_fd_put(dir);
	return error;
}

int op_watch(struct request *r)
{
	struct broker_watch_in in = { .mask = BROKER_WATCH_DEFAULT };
	struct node *dir;
	int error;

	if (r->arguments_bytes && !request_take(r, &in, sizeof(in)))
		return -EINVAL;
	if (in.mask & ~(uint32_t)IN_ALL_EVENTS || !(in.mask & EVENTS_ALLOWED))
		return -EINVAL;
	dir = request_node(r);
	error = dir ? watch_add(r->broker, dir, in.mask & EVENTS_ALLOWED) : -ESTALE;
	if (!error) {
		struct broker_watch_out *out = request_put(r, sizeof(*out));
		out->complete = node_is_watched(dir);
	}
	node_put(dir);
	return error;
}

void watch_remove(struct broker *b, struct node *dir)
{
	struct watches *w = &b->watches;
	struct watch *x;

	__atomic_store_n(&dir->watched, false, __ATOMIC_RELEASE);
	pthread_mutex_lock(&w->lock);
	if (dir->watch >= 0) {
		x = find_locked(w, dir->watch, dir->tree, dir->id);
		if (x)
			remove_locked(w, x);
		if (!nth_locked(w, dir->watch, 0))
			inotify_rm_watch(w->inotify, dir->watch);
		dir->watch = -1;
	}
	pthread_mutex_unlock(&w->lock);
}

int op_unwatch(struct request *r)
{
	struct node *dir = request_node(r);

	if (dir)
		watch_remove(r->broker, dir);
	node_put(dir);
	return 0;
}

// ---- telling ----

// What happened together is told together.
struct telling {
	struct broker *broker;
	size_t bytes;
	char message[EVENTS_BYTES];
};

static bool tell(struct telling *t)
{
	size_t bytes = t->bytes;
	ssize_t n = 0;

	t->bytes = 0;
	if (!bytes)
		return true;
	do
		n = send(t->broker->watches.events, t->message, bytes, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n >= 0;
}

static bool event_put(struct telling *t, const struct broker_event *e, const char *name)
{
	if (t->bytes + sizeof(*e) + e->name_bytes > sizeof(t->message) && !tell(t))
		return false;
	memcpy(t->message + t->bytes, e, sizeof(*e));
	memcpy(t->message + t->bytes + sizeof(*e), name, e->name_bytes);
	t->bytes += sizeof(*e) + e->name_bytes;
	return true;
}

// Whom the event concerns, one after the other.
static bool target_find(struct broker *b, const struct inotify_event *i, unsigned n, struct broker_event *e)
{
	struct watches *w = &b->watches;
	struct watch **at;

	pthread_mutex_lock(&w->lock);
	at = nth_locked(w, i->wd, n);
	if (at)
		*e = (struct broker_event){ .grant = (*at)->grant,
					    .mask = i->mask & ((*at)->mask | EVENTS_UNASKED),
					    .nodeid = (*at)->nodeid,
					    .cookie = i->cookie,
					    .name_bytes = i->len ? (uint32_t)strnlen(i->name, i->len) : 0 };
	pthread_mutex_unlock(&w->lock);
	return at;
}

// inotify has let go of a directory.
static void watches_drop(struct broker *b, int descriptor)
{
	struct watches *w = &b->watches;
	struct watch **at;
	struct node *n;

	pthread_mutex_lock(&w->lock);
	while ((at = nth_locked(w, descriptor, 0))) {
		struct watch x = **at;
		remove_locked(w, *at);
		pthread_mutex_unlock(&w->lock);
		n = node_get(&b->nodes, x.tree, x.nodeid);
		if (n)
			__atomic_store_n(&n->watched, false, __ATOMIC_RELEASE);
		node_put(n);
		pthread_mutex_lock(&w->lock);
	}
	pthread_mutex_unlock(&w->lock);
}

static bool event_tell(struct telling *t, const struct inotify_event *i)
{
	struct broker_event e = { .mask = IN_Q_OVERFLOW };

	if (i->mask & IN_Q_OVERFLOW)
		return event_put(t, &e, "");
	for (unsigned n = 0; target_find(t->broker, i, n, &e); n++)
		if (e.mask & ~(uint32_t)IN_ISDIR && !event_put(t, &e, i->name))
			return false;
	if (i->mask & IN_IGNORED)
		watches_drop(t->broker, i->wd);
	return true;
}

static bool events_tell(struct broker *b, int inotify)
{
	char events[EVENTS_BYTES] __attribute__((aligned(8)));
	struct telling t = { .broker = b, .bytes = 0 };
	ssize_t n = read(inotify, events, sizeof(events));

	for (ssize_t at = 0; at < n;) {
		const struct inotify_event *i = (const struct inotify_event *)(events + at);
		at += (ssize_t)(sizeof(*i) + i->len);
		if (!event_tell(&t, i))
			return false;
	}
	if (!tell(&t))
		return false;
	return n >= 0 || errno == EINTR;
}

static int inotify_wait(struct watches *w)
{
	int fd;

	pthread_mutex_lock(&w->lock);
	while (w->inotify < 0 && !w->over)
		pthread_cond_wait(&w->started, &w->lock);
	fd = w->over ? -1 : w->inotify;
	pthread_mutex_unlock(&w->lock);
	return fd;
}

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

void watches_run(struct broker *b)
{
	int inotify = inotify_wait(&b->watches);
	struct pollfd wait[2] = { { .fd = inotify, .events = POLLIN }, { .fd = b->watches.events } };
	const struct timespec batch = { .tv_nsec = BATCH_NS };
	int64_t last = 0;

	while (inotify >= 0) {
		if (poll(wait, 2, -1) < 0 && errno != EINTR)
			return;
		if (wait[1].revents) // the cell is gone
			return;
		if (!wait[0].revents)
			continue;
		if (now_ns() - last < BATCH_NS)
			nanosleep(&batch, NULL);
		if (!events_tell(b, inotify))
			return;
		last = now_ns();
	}
}

void watches_stop(struct broker *b)
{
	pthread_mutex_lock(&b->watches.lock);
	b->watches.over = true;
	pthread_cond_signal(&b->watches.started);
	pthread_mutex_unlock(&b->watches.lock);
}
