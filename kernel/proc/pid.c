// SPDX-License-Identifier: Apache-2.0
// Process identifiers: numbers are given out in a cycle, so that a number is not reused soon; one struct pid stands for a
// number as long as a task, a process group or a session uses it, and lives on without number while a pidfd refers to it.
//
// The table (bitmap of numbers, hash of objects) has its own leaf lock. Which task a pid names, and its group and session
// lists, are guarded by tasklist_lock.
#include "internal.h"

#include "kernel/init.h"
#include "lib/bitmap.h"
#include "lib/hash.h"

#define PID_MAX      32768u
#define PID_RESERVED 300u // after the first wrap numbers below are not given out again (Linux does the same)
#define PID_BUCKETS  512u

struct pid_entry { // what the table needs beside the public part
	struct pid pid;
	struct pid_entry *next;
	bool hashed;
};

static struct spinlock table_lock = SPINLOCK_INIT;
static uint64_t used[BITMAP_WORDS(PID_MAX)] = { 1 }; // 0 is nobody's
static struct pid_entry *buckets[PID_BUCKETS];
static unsigned last, count;
static struct slab_cache *pid_cache;

static void pid_cache_init(void) { pid_cache = slab_cache_create("pid", sizeof(struct pid_entry), 64); }
KERNEL_INIT(1, pid_cache_init);

static struct pid_entry **bucket(pid_t number) { return &buckets[(unsigned)number % PID_BUCKETS]; }

static unsigned take_number(void)
{
	size_t n = last + 1;
	// The common case, without a scan.
	if (n >= PID_MAX || bitmap_test(used, n))
		n = bitmap_next_clear(used, PID_MAX, n < PID_MAX ? n : PID_RESERVED);
	if (n >= PID_MAX)
		n = bitmap_next_clear(used, PID_MAX, PID_RESERVED);
	if (n >= PID_MAX)
		return 0;
	bitmap_set(used, n);
	last = (unsigned)n;
	return (unsigned)n;
}

struct pid *pid_alloc(int *error)
{
	struct pid_entry *e = slab_alloc(pid_cache);
	if (!e) {
		*error = -ENOMEM;
		return NULL;
	}
	refcount_set(&e->pid.refs, 1);
	list_init(&e->pid.group);
	list_init(&e->pid.session);
	waitq_init(&e->pid.exit_wait);
	spin_lock(&table_lock);
	unsigned number = take_number();
	if (number) {
		e->pid.number = (pid_t)number;
		e->next = *bucket(e->pid.number);
		*bucket(e->pid.number) = e;
		e->hashed = true;
		count++;
	}
	spin_unlock(&table_lock);
	if (!number) {
		slab_free(pid_cache, e);
		*error = -EAGAIN;
		return NULL;
	}
	return &e->pid;
}

static struct pid_entry *find(pid_t number)
{
	struct pid_entry *e = number > 0 ? *bucket(number) : NULL;
	while (e && e->pid.number != number)
		e = e->next;
	return e;
}

struct pid *pid_find_locked(pid_t number)
{
	spin_lock(&table_lock);
	struct pid_entry *e = find(number);
	// Unused but not yet put: its last reference may go at any time. A task or group keeps it.
	if (e && !e->pid.task && list_empty(&e->pid.group) && list_empty(&e->pid.session))
		e = NULL;
	spin_unlock(&table_lock);
	return e ? &e->pid : NULL;
}

struct pid *pid_find(pid_t number)
{
	spin_lock(&table_lock);
	struct pid_entry *e = find(number);
	// Its last user may be about to drop it: the table itself holds no reference.
	if (e && !refcount_get_unless_zero(&e->pid.refs))
		e = NULL;
	spin_unlock(&table_lock);
	return e ? &e->pid : NULL;
}

bool pid_has_group(const struct pid *p) { return !list_empty(&p->group); }

static void unhash(struct pid_entry *e)
{
	if (!e->hashed)
		return;
	struct pid_entry **link = bucket(e->pid.number);
	while (*link != e)
		link = &(*link)->next;
	*link = e->next;
	e->hashed = false;
	bitmap_clear(used, (size_t)e->pid.number);
	count--;
}

void pid_release_if_unused(struct pid *p)
{
	if (p->task || !list_empty(&p->group) || !list_empty(&p->session))
		return;
	spin_lock(&table_lock);
	unhash(container_of(p, struct pid_entry, pid));
	spin_unlock(&table_lock);
}

void pid_put(struct pid *p)
{
	struct pid_entry *e = container_of(p, struct pid_entry, pid);
	if (!refcount_put(&p->refs))
		return;
	spin_lock(&table_lock);
	unhash(e); // a fork that failed before its task was linked
	spin_unlock(&table_lock);
	slab_free(pid_cache, e);
}

unsigned pid_count(void) { return __atomic_load_n(&count, __ATOMIC_RELAXED); }
