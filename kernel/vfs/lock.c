// SPDX-License-Identifier: Apache-2.0
// Advisory locks: flock(2), POSIX record locks and open-file-description locks (fcntl_locking(2)).
//
// Each inode lists its locks. POSIX and OFD locks cover byte ranges and exclude each other; flock locks are a world of
// their own and cover the whole file. Owners: a descriptor table (POSIX), an open file (OFD, flock). An owner's ranges never
// overlap, and neighbours of one type are one lock.
//
// Locks: inode.locks_lock guards the list; blocked_lock guards the list of waiting owners, for deadlock detection (POSIX only).
// listed_lock guards the list of inodes that have locks. Order: inode.locks_lock -> blocked_lock or listed_lock. Memory is
// allocated before, freed after.
#include "internal.h"
#include "lock.h"

#include <linux/fcntl.h>

#include <asm-generic/fcntl.h>

#include "kernel/pseudofs.h"
#include "kernel/sched.h"

#define CHAIN_MAX 64 // longest chain of waiting owners that is followed

struct blocked {
	struct list node;
	const void *owner, *blocker;
};

static struct spinlock blocked_lock = SPINLOCK_INIT;
static struct list blocked_list = LIST_INIT(blocked_list);
static struct spinlock listed_lock = SPINLOCK_INIT;
static struct list listed = LIST_INIT(listed); // struct inode.locks_node
static size_t listed_count;

// ---- one inode's list ----

static bool overlap(const struct file_lock *a, const struct file_lock *b)
{
	return a->start <= b->end && b->start <= a->end;
}

static bool adjacent(const struct file_lock *a, const struct file_lock *b)
{
	return (a->end != INT64_MAX && a->end + 1 == b->start) || (b->end != INT64_MAX && b->end + 1 == a->start);
}

static bool same_owner(const struct file_lock *a, const struct file_lock *b)
{
	return a->kind == b->kind && a->owner == b->owner;
}

struct file_lock *lock_find_conflict(struct list *locks, const struct file_lock *request)
{
	struct file_lock *l;
	list_for_each (l, locks, node) {
		if ((l->kind == LOCK_FLOCK) != (request->kind == LOCK_FLOCK) || same_owner(l, request))
			continue;
		if (overlap(l, request) && (l->type == F_WRLCK || request->type == F_WRLCK))
			return l;
	}
	return NULL;
}

static void discard(struct file_lock *l, struct list *dead)
{
	list_remove(&l->node);
	list_add(dead, &l->node);
}

// Cuts [request] out of `l`, which has the same owner and overlaps. *spare is used for the right part of a split.
static void cut(struct file_lock *l, const struct file_lock *request, struct file_lock **spare, struct list *dead)
{
	bool left = l->start<request->start, right = l->end> request->end;
	if (left && right) {
		struct file_lock *rest = *spare;
		*spare = NULL;
		*rest = *l;
		rest->start = request->end + 1;
		list_add(&l->node, &rest->node);
		l->end = request->start - 1;
	} else if (left) {
		l->end = request->start - 1;
	} else if (right) {
		l->start = request->end + 1;
	} else {
		discard(l, dead);
	}
}

void lock_apply(struct list *locks, struct file_lock *request, struct file_lock *spare, struct list *dead)
{
	struct file_lock *l, *next;
	bool release = request->type == F_UNLCK;
	list_for_each_safe (l, next, locks, node) {
		if (!same_owner(l, request))
			continue;
		if (!release && l->type == request->type && (overlap(l, request) || adjacent(l, request))) {
			request->start = min(request->start, l->start);
			request->end = max(request->end, l->end);
			discard(l, dead);
		} else if (overlap(l, request)) {
			cut(l, request, &spare, dead);
		}
	}
	list_add_tail(release ? dead : locks, &request->node);
	if (spare)
		list_add(dead, &spare->node);
}

static void free_list(struct list *dead)
{
	while (!list_empty(dead)) {
		struct file_lock *l = list_first(dead, struct file_lock, node);
		list_remove(&l->node);
		kfree(l);
	}
}

// ---- deadlocks ----

// Would `owner` waiting for `blocker` close a circle?
static bool would_deadlock(const void *owner, const void *blocker) // blocked_lock
{
	for (int steps = 0; steps < CHAIN_MAX; steps++) {
		if (blocker == owner)
			return true;
		struct blocked *b;
		const void *next = NULL;
		list_for_each (b, &blocked_list, node)
			if (b->owner == blocker) {
				next = b->blocker;
				break;
			}
		if (!next)
			return false;
		blocker = next;
	}
	return false;
}

static int block_begin(struct blocked *b, const struct file_lock *request, const struct file_lock *conflict)
{
	if (request->kind != LOCK_POSIX || conflict->kind != LOCK_POSIX)
		return 0;
	spin_lock(&blocked_lock);
	int error = would_deadlock(request->owner, conflict->owner) ? -EDEADLK : 0;
	if (!error) {
		b->owner = request->owner;
		b->blocker = conflict->owner;
		list_add(&blocked_list, &b->node);
	}
	spin_unlock(&blocked_lock);
	return error;
}

static void block_end(struct blocked *b)
{
	spin_lock(&blocked_lock);
	list_remove(&b->node);
	spin_unlock(&blocked_lock);
}

// ---- taking and releasing ----

struct waitq *locks_wait_queue(struct inode *i)
{
	struct waitq *q = __atomic_load_n(&i->locks_wait, __ATOMIC_ACQUIRE);
	if (q)
		return q;
	struct waitq *fresh = kalloc(sizeof(*fresh));
	if (!fresh)
		return NULL;
	waitq_init(fresh);
	if (__atomic_compare_exchange_n(&i->locks_wait, &q, fresh, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return fresh;
	kfree(fresh);
	return q;
}

void locks_wake(struct inode *i)
{
	struct waitq *q = __atomic_load_n(&i->locks_wait, __ATOMIC_ACQUIRE);
	if (q)
		waitq_wake_all(q);
}

// Tries once. 0: done, request consumed. -EAGAIN: *b says for whom to wait, if `wait`. -EDEADLK.
static int try_lock(struct inode *i, struct file_lock *request, struct file_lock *spare, bool wait, struct blocked *b,
		    struct list *dead)
{
	int error = 0;
	spin_lock(&i->locks_lock);
	struct file_lock *conflict = request->type == F_UNLCK ? NULL : lock_find_conflict(&i->locks, request);
	if (!conflict) {
		lock_apply(&i->locks, request, spare, dead);
		locks_list(i);
	} else {
		error = wait ? block_begin(b, request, conflict) : 0;
		if (!error)
			error = -EAGAIN;
	}
	spin_unlock(&i->locks_lock);
	return error;
}

// One round of waiting: parks unless the lock can be had now. 0: got it. -EAGAIN: try again.
static int wait_round(struct inode *i, struct waitq *q, struct file_lock *request, struct file_lock *spare,
		      struct list *dead)
{
	struct blocked b;
	list_init(&b.node);
	struct waiter w;
	waiter_init(&w);
	waitq_add(q, &w);
	task_prepare_park(PARK_INTERRUPTIBLE);
	int error = try_lock(i, request, spare, true, &b, dead);
	if (error == -EAGAIN && task_park(PARK_FOREVER) == -EINTR)
		error = -ERESTARTSYS;
	task_finish_park();
	waitq_remove(q, &w);
	block_end(&b);
	return error;
}

// Does `l` to the inode, waiting if asked.
static int lock_do(struct inode *i, const struct file_lock *l, bool wait)
{
	struct list dead = LIST_INIT(dead);
	struct file_lock *request = kalloc(sizeof(*request)), *spare = kalloc(sizeof(*spare));
	struct waitq *q = wait ? locks_wait_queue(i) : NULL;
	int error = -ENOLCK;
	if (request && spare && (q || !wait)) {
		*request = *l;
		list_init(&request->node);
		list_init(&spare->node);
		error = try_lock(i, request, spare, false, NULL, &dead);
		while (error == -EAGAIN && wait)
			error = wait_round(i, q, request, spare, &dead);
	}
	if (error) {
		kfree(request);
		kfree(spare);
		return error;
	}
	free_list(&dead);
	locks_wake(i); // a release, a downgrade or a smaller range may let others in
	return 0;
}

static void remove_owned(struct inode *i, const void *owner, bool posix)
{
	struct list dead = LIST_INIT(dead);
	struct file_lock *l, *next;
	spin_lock(&i->locks_lock);
	list_for_each_safe (l, next, &i->locks, node)
		if (l->owner == owner && (l->kind == LOCK_POSIX) == posix)
			discard(l, &dead);
	locks_list(i);
	spin_unlock(&i->locks_lock);
	if (list_empty(&dead))
		return;
	free_list(&dead);
	locks_wake(i);
}

void locks_close(struct file *f, struct files *owner) { remove_owned(f->inode, owner, true); }
void locks_release_file(struct file *f) { remove_owned(f->inode, f, false); }

// ---- /proc/locks ----

void locks_list(struct inode *i)
{
	bool any = !list_empty(&i->locks) || i->leases;
	if (any == !list_empty(&i->locks_node))
		return;
	spin_lock(&listed_lock);
	if (any) {
		list_add_tail(&listed, &i->locks_node);
		listed_count++;
	} else {
		list_remove(&i->locks_node);
		listed_count--;
	}
	spin_unlock(&listed_lock);
}

struct show {
	struct seq *s;
	struct inode *inode;
	struct kstat stat;
	unsigned number;
};

static void show_row(void *context, const struct lock_row *r)
{
	struct show *show = context;
	seq_printf(show->s, "%u: %s %s %d %02x:%02x:%lu %ld ", ++show->number, r->kind,
		   r->type == F_WRLCK   ? "WRITE"
		   : r->type == F_RDLCK ? "READ"
					: "UNLCK",
		   r->pid > 0 ? pid_shown(r->pid) : r->pid, DEV_MAJOR(show->stat.dev), DEV_MINOR(show->stat.dev),
		   show->stat.ino, r->start);
	if (r->end == INT64_MAX)
		seq_puts(show->s, "EOF\n");
	else
		seq_printf(show->s, "%ld\n", r->end);
}

static void show_inode(struct show *show)
{
	static const char *const kinds[] = {
		[LOCK_POSIX] = "POSIX  ADVISORY ", [LOCK_OFD] = "OFDLCK ADVISORY ", [LOCK_FLOCK] = "FLOCK  ADVISORY "
	};
	struct inode *i = show->inode;
	struct file_lock *l;
	spin_lock(&i->locks_lock);
	list_for_each (l, &i->locks, node) {
		struct lock_row r = { kinds[l->kind], l->type, l->kind == LOCK_OFD ? -1 : l->pid, l->start, l->end };
		show_row(show, &r);
	}
	leases_show(i, show_row, show);
	spin_unlock(&i->locks_lock);
}

int locks_show(struct seq *s)
{
	const size_t room = __atomic_load_n(&listed_count, __ATOMIC_RELAXED) + 1; // who comes meanwhile came later
	struct inode **inodes = kalloc_array(room, sizeof(struct inode *)), *i;
	struct show show = { .s = s };
	size_t count = 0;
	if (!inodes)
		return -ENOMEM;
	spin_lock(&listed_lock);
	list_for_each (i, &listed, locks_node)
		if (count < room && refcount_get_unless_zero(&i->refs))
			inodes[count++] = i;
	spin_unlock(&listed_lock);
	for (size_t k = 0; k < count; k++) {
		show.inode = inodes[k];
		if (!inode_getattr(show.inode, &show.stat))
			show_inode(&show);
		inode_put(inodes[k]);
	}
	kfree(inodes);
	return 0;
}

// ---- flock(2) ----

long sys_flock(int fd, unsigned operation)
{
	static const short types[] = { [LOCK_SH] = F_RDLCK, [LOCK_EX] = F_WRLCK, [LOCK_UN] = F_UNLCK };
	unsigned what = operation & ~(unsigned)LOCK_NB;
	if (what != LOCK_SH && what != LOCK_EX && what != LOCK_UN)
		return -EINVAL;
	struct file *f = fd_get(fd);
	if (!f)
		return -EBADF;
	struct file_lock l = {
		.kind = LOCK_FLOCK, .type = types[what], .end = INT64_MAX, .owner = f, .pid = current->process->pid
	};
	struct file_lock release = l;
	release.type = F_UNLCK;
	struct inode *i = f->inode;
	int error = 0;
	spin_lock(&i->locks_lock);
	struct file_lock *mine = NULL, *k;
	list_for_each (k, &i->locks, node)
		if (same_owner(k, &l))
			mine = k;
	bool same = mine && mine->type == l.type;
	spin_unlock(&i->locks_lock);
	if (!same) {
		// A conversion gives the old lock up first: flock(2) says so.
		if (mine)
			error = lock_do(i, &release, false);
		if (!error && what != LOCK_UN)
			error = lock_do(i, &l, !(operation & LOCK_NB));
	}
	file_put(f);
	return error == -EAGAIN ? -EWOULDBLOCK : error;
}

// ---- fcntl(2) ----

static int parse(struct file *f, const struct flock *user, struct file_lock *l)
{
	int64_t start, base = 0;
	if (user->l_whence == 1)
		base = f->position;
	else if (user->l_whence == 2)
		base = f->object ? (int64_t)f->object->size_bytes : 0;
	else if (user->l_whence != 0)
		return -EINVAL;
	if (__builtin_add_overflow(base, user->l_start, &start))
		return -EOVERFLOW;
	int64_t end = INT64_MAX;
	if (user->l_len > 0 && __builtin_add_overflow(start, user->l_len - 1, &end))
		return -EOVERFLOW;
	if (user->l_len < 0) {
		end = start - 1;
		start += user->l_len;
	}
	if (start < 0)
		return -EINVAL;
	l->type = user->l_type;
	l->start = start;
	l->end = end;
	return user->l_type == F_RDLCK || user->l_type == F_WRLCK || user->l_type == F_UNLCK ? 0 : -EINVAL;
}

static long get_lock(struct file *f, struct flock *user, struct file_lock *l)
{
	if (l->type == F_UNLCK && l->kind == LOCK_POSIX)
		return -EINVAL;
	struct inode *i = f->inode;
	spin_lock(&i->locks_lock);
	struct file_lock *conflict = lock_find_conflict(&i->locks, l);
	user->l_type = F_UNLCK;
	if (conflict) {
		user->l_type = conflict->type;
		user->l_whence = 0;
		user->l_start = conflict->start;
		user->l_len = conflict->end == INT64_MAX ? 0 : conflict->end - conflict->start + 1;
		user->l_pid = conflict->kind == LOCK_OFD ? -1 : pid_shown(conflict->pid);
	}
	spin_unlock(&i->locks_lock);
	return 0;
}

long fcntl_lock(int fd, struct file *f, unsigned command, struct uptr argument)
{
	bool ofd = command == F_OFD_GETLK || command == F_OFD_SETLK || command == F_OFD_SETLKW;
	struct flock user;
	if (get_user(&user, argument))
		return -EFAULT;
	if (ofd && user.l_pid)
		return -EINVAL;
	struct file_lock l = { .kind = ofd ? LOCK_OFD : LOCK_POSIX,
			       .owner = ofd ? (void *)f : (void *)current->files,
			       .pid = current->process->pid };
	long result = parse(f, &user, &l);
	if (result)
		return result;
	if (command == F_GETLK || command == F_OFD_GETLK) {
		result = get_lock(f, &user, &l);
		return result ? result : put_user(user, argument);
	}
	if ((l.type == F_RDLCK && !(f->mode & FILE_READ)) || (l.type == F_WRLCK && !(f->mode & FILE_WRITE)))
		return -EBADF;
	result = lock_do(f->inode, &l, command == F_SETLKW || command == F_OFD_SETLKW);
	// Another thread may have closed the descriptor while we waited: then nobody would ever release the lock.
	if (!result && !ofd && l.type != F_UNLCK && refcount_read(&current->files->refs) > 1) {
		struct file *now = fd_get_any(fd);
		if (now != f) {
			l.type = F_UNLCK;
			(void)lock_do(f->inode, &l, false);
			result = -EBADF;
		}
		file_put(now);
	}
	return result;
}
