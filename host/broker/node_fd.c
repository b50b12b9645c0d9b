// SPDX-License-Identifier: Apache-2.0
// Descriptors of nodes: opened by place, kept in bounded number, closed least recently used first.
#include "broker/node.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CHAIN_MAX 8192u // directories opened for the sake of one; deeper ones cannot be named on Linux
#define SCAN_MAX  16u   // nodes of a shard looked at for one that nobody uses

// ---- closing ----

static int fd_evict_locked(struct node_shard *s, struct list *lru)
{
	unsigned looked_at = 0;

	for (struct list *at = lru->prev; at != lru && looked_at++ < SCAN_MAX; at = at->prev) {
		struct node *n = list_entry(at, struct node, lru);
		int fd = n->fd;
		if (__atomic_load_n(&n->fd_users, __ATOMIC_ACQUIRE))
			continue;
		__atomic_store_n(&n->fd, -1, __ATOMIC_RELAXED);
		list_remove(&n->lru);
		__atomic_sub_fetch(&n->table->fd_count, 1, __ATOMIC_RELAXED);
		return fd;
	}
	(void)s;
	return -1;
}

static bool fd_evict(struct nodes *t, bool lasting)
{
	for (unsigned i = 0; i < NODE_SHARDS; i++) {
		struct node_shard *s = &t->shards[__atomic_add_fetch(&t->rotor, 1, __ATOMIC_RELAXED) % NODE_SHARDS];
		pthread_mutex_lock(&s->lock);
		int fd = fd_evict_locked(s, lasting ? &s->lasting : &s->lru);
		pthread_mutex_unlock(&s->lock);
		if (fd >= 0) {
			close(fd);
			return true;
		}
	}
	return false;
}

static void fd_count_trim(struct nodes *t)
{
	while (__atomic_load_n(&t->fd_count, __ATOMIC_RELAXED) > t->fd_count_max)
		if (!fd_evict(t, false) && !fd_evict(t, true))
			return;
}

// The process, or the host, is out of descriptors.
static bool make_room(struct nodes *t, int error)
{
	bool some = false;

	if (error != EMFILE && error != ENFILE)
		return false;
	for (unsigned i = 0; i < 16 && (fd_evict(t, false) || fd_evict(t, true)); i++)
		some = true;
	return some;
}

// ---- opening ----

int node_open_beneath(struct nodes *t, int dir_fd, const char *name, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (unsigned)(flags | O_NOFOLLOW | O_CLOEXEC | (flags & O_PATH ? 0 : O_NOCTTY | O_NONBLOCK)),
		.mode = flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? mode & 07777 : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS,
	};
	long fd = syscall(SYS_openat2, dir_fd, name, &how, sizeof(how));

	if (fd < 0 && make_room(t, errno))
		fd = syscall(SYS_openat2, dir_fd, name, &how, sizeof(how));
	return fd < 0 ? -errno : (int)fd;
}

int node_reopen(struct nodes *t, int path_fd, int flags)
{
	char number[16];
	int fd;

	snprintf(number, sizeof(number), "%d", path_fd);
	fd = openat(AT_FDCWD, number, flags | O_CLOEXEC | O_NOCTTY);
	if (fd < 0 && make_room(t, errno))
		fd = openat(AT_FDCWD, number, flags | O_CLOEXEC | O_NOCTTY);
	return fd < 0 ? -errno : fd;
}

static int stale(int error)
{
	return error == -ENOENT || error == -ENOTDIR || error == -ELOOP || error == -EXDEV ? -ESTALE : error;
}

static int fd_use_locked(struct node_shard *s, struct node *n)
{
	if (n->fd < 0)
		return -1;
	__atomic_add_fetch(&n->fd_users, 1, __ATOMIC_RELAXED);
	if (!list_empty(&n->lru) && !n->lasting) {
		list_remove(&n->lru);
		list_add(&s->lru, &n->lru);
	}
	return n->fd;
}

static int fd_use(struct node *n)
{
	struct node_shard *s = n->shard;

	pthread_mutex_lock(&s->lock);
	int fd = fd_use_locked(s, n);
	pthread_mutex_unlock(&s->lock);
	return fd;
}

// The node's from now on, unless another thread was quicker.
static int fd_install(struct node *n, int fd)
{
	struct node_shard *s = n->shard;
	int spare = fd;

	pthread_mutex_lock(&s->lock);
	if (n->fd < 0) {
		spare = -1;
		__atomic_store_n(&n->fd, fd, __ATOMIC_RELAXED);
		list_add(n->lasting ? &s->lasting : &s->lru, &n->lru);
		__atomic_add_fetch(&n->table->fd_count, 1, __ATOMIC_RELAXED);
	}
	fd = fd_use_locked(s, n);
	pthread_mutex_unlock(&s->lock);
	if (spare >= 0)
		close(spare);
	fd_count_trim(n->table);
	return fd;
}

static int fd_open_in(struct node *n, int dir_fd, const char *name)
{
	struct statx sx;
	int fd = node_open_beneath(n->table, dir_fd, name, O_PATH, 0);

	if (fd < 0)
		return stale(fd);
	if (statx(fd, "", AT_EMPTY_PATH, NODE_STATX_MASK, &sx) || !node_is_same(n, &sx)) {
		close(fd);
		return -ESTALE;
	}
	return fd_install(n, fd);
}

// The directory it is in, with a reference, and its name there.
static struct node *place_copy(struct node *n, char *name)
{
	struct node_shard *s = n->shard;
	struct node *parent;

	pthread_mutex_lock(&s->lock);
	parent = n->parent;
	if (parent) {
		__atomic_add_fetch(&parent->refs, 1, __ATOMIC_RELAXED);
		strcpy(name, n->name);
	}
	pthread_mutex_unlock(&s->lock);
	return parent;
}

// The one on the way to directory `n` that has no descriptor while the directory above it has. With a reference.
static struct node *nearest_closed(struct node *n)
{
	struct nodes *t = n->table;
	unsigned depth = 0;

	pthread_mutex_lock(&t->topology);
	while (n->parent && __atomic_load_n(&n->parent->fd, __ATOMIC_RELAXED) < 0 && depth++ < CHAIN_MAX)
		n = n->parent;
	if (!n->parent || depth > CHAIN_MAX)
		n = NULL;
	else
		__atomic_add_fetch(&n->refs, 1, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&t->topology);
	return n;
}

// Opens a node whose directory is open; -EAGAIN when that is no longer so.
static int fd_open_last(struct node *n)
{
	char name[NODE_NAME_MAX + 1];
	struct node *parent = place_copy(n, name);
	int dir_fd = parent ? fd_use(parent) : -1, fd;

	fd = !parent ? -ESTALE : dir_fd < 0 ? -EAGAIN : fd_open_in(n, dir_fd, name);
	if (dir_fd >= 0)
		node_fd_put(parent);
	node_put(parent);
	return fd;
}

// Opens the directories on the way to directory `n`, one after the other. No recursion: they may be thousands.
static int fd_open_chain(struct node *n)
{
	for (unsigned i = 0; i < CHAIN_MAX; i++) {
		struct node *next = nearest_closed(n);
		int fd = next ? fd_use(next) : -ESTALE;
		if (next && fd < 0)
			fd = fd_open_last(next);
		node_put(next); // `n` holds its directories
		if (next == n && fd != -EAGAIN)
			return fd;
		if (fd < 0 && fd != -EAGAIN)
			return fd;
		if (fd >= 0)
			node_fd_put(next);
	}
	return -ESTALE;
}

int node_fd_get(struct node *n)
{
	char name[NODE_NAME_MAX + 1];
	struct node *parent;
	int fd = fd_use(n), dir_fd;

	if (fd >= 0)
		return fd;
	parent = place_copy(n, name);
	if (!parent)
		return -ESTALE;
	dir_fd = fd_use(parent);
	if (dir_fd < 0)
		dir_fd = fd_open_chain(parent);
	fd = dir_fd < 0 ? dir_fd : fd_open_in(n, dir_fd, name);
	if (dir_fd >= 0)
		node_fd_put(parent);
	node_put(parent);
	return fd;
}

void node_fd_put(struct node *n) { __atomic_sub_fetch(&n->fd_users, 1, __ATOMIC_RELEASE); }

void node_hold(struct node *n)
{
	struct node_shard *s = n->shard;

	if (n == n->tree->root || node_fd_get(n) < 0)
		return;
	pthread_mutex_lock(&s->lock);
	if (!n->lasting) {
		n->lasting = true;
		list_remove(&n->lru);
		list_add(&s->lasting, &n->lru);
	}
	pthread_mutex_unlock(&s->lock);
	node_fd_put(n);
}

// ---- places ----

int node_place_get(struct node *n, struct node_place *p)
{
	struct node_shard *s = n->shard;

	pthread_mutex_lock(&s->lock);
	p->fd = fd_use_locked(s, n);
	p->owner = p->fd >= 0 ? n : n->parent;
	if (p->owner)
		__atomic_add_fetch(&p->owner->refs, 1, __ATOMIC_RELAXED);
	strcpy(p->name, p->fd >= 0 || !p->owner ? "" : n->name);
	pthread_mutex_unlock(&s->lock);
	p->flags = p->name[0] ? AT_SYMLINK_NOFOLLOW : AT_EMPTY_PATH;
	if (!p->owner)
		return -ESTALE;
	if (p->fd < 0)
		p->fd = node_fd_get(p->owner);
	if (p->fd < 0)
		node_put(p->owner);
	return p->fd < 0 ? p->fd : 0;
}

void node_place_put(struct node_place *p)
{
	node_fd_put(p->owner);
	node_put(p->owner);
}

int node_stat(struct node *n, struct statx *sx)
{
	struct node_place p;
	int error = node_place_get(n, &p);

	if (error)
		return error;
	if (statx(p.fd, p.name, p.flags, NODE_STATX_MASK, sx))
		error = stale(-errno);
	else if (!node_is_same(n, sx))
		error = -ESTALE;
	node_place_put(&p);
	return error;
}
