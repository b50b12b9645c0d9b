// SPDX-License-Identifier: Apache-2.0
// Process identifiers: numbers are given out in a cycle, so that a number is not reused soon; one struct pid stands for a
// number as long as a task, a process group or a session uses it, and lives on without number while a pidfd refers to it.
//
// The table (bitmap of numbers, hash of objects) has its own leaf lock. Which task a pid names, and its group and session
// lists, are guarded by tasklist_lock.
#include "internal.h"

#include "kernel/init.h"
#include "lib/bitmap.h"
#include "lib/fmt.h"
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

static struct pid_entry *find(pid_t number)
{
	struct pid_entry *e = number > 0 ? *bucket(number) : NULL;
	while (e && e->pid.number != number)
		e = e->next;
	return e;
}

// ---- numbers in namespaces below the first ----

struct pid_number {
	struct pid_namespace *space;
	struct pid *pid;
	pid_t number;
	struct pid_number *next; // hash chain
};

static struct pid_number **inner_bucket(struct pid_namespace *n, pid_t number)
{
	return &n->numbers[(unsigned)number % array_count(n->numbers)];
}

static struct pid_number *inner_find(const struct pid_namespace *n, pid_t number) // table_lock
{
	struct pid_number *x = *inner_bucket((struct pid_namespace *)n, number);
	while (x && x->number != number)
		x = x->next;
	return x;
}

// The numbers of all namespaces together are bounded by the first one's: there is always a free one.
static void inner_take(struct pid_namespace *n, struct pid_number *x, struct pid *p)
{
	if (!n->init)
		n->last = 0; // the first one, even if one before could not be started
	do
		n->last = n->last + 1 < (pid_t)PID_MAX ? n->last + 1 : (pid_t)PID_RESERVED;
	while (inner_find(n, n->last));
	*x = (struct pid_number){ n, p, n->last, *inner_bucket(n, n->last) };
	*inner_bucket(n, n->last) = x;
}

static void inner_drop(struct pid_number *x)
{
	struct pid_number **link = inner_bucket(x->space, x->number);
	while (*link != x)
		link = &(*link)->next;
	*link = x->next;
}

static unsigned level_of(const struct pid *p) { return p->space ? p->space->level : 0; }

pid_t pid_number_in(const struct pid_namespace *n, const struct pid *p)
{
	if (n->level == 0)
		return p->number;
	return level_of(p) >= n->level && p->inner[n->level - 1].space == n ? p->inner[n->level - 1].number : 0;
}

pid_t pid_shown_in(const struct pid_namespace *n, pid_t number)
{
	spin_lock(&table_lock);
	struct pid_entry *e = find(number);
	pid_t shown = e ? pid_number_in(n, &e->pid) : 0;
	spin_unlock(&table_lock);
	return shown;
}

pid_t pid_shown_slow(pid_t number) { return pid_shown_in(current->pid->space, number); }

pid_t pid_meant_slow(pid_t number) { return pid_meant_in(current->pid->space, number); }

pid_t pid_meant_in(const struct pid_namespace *n, pid_t number)
{
	if (n->level == 0)
		return number;
	spin_lock(&table_lock);
	struct pid_number *x = number > 0 ? inner_find(n, number) : NULL;
	pid_t meant = x ? x->pid->number : PID_NONE;
	spin_unlock(&table_lock);
	return meant;
}

// 0, -ENOMEM.
static int inner_prepare(struct pid *p, struct pid_namespace *space)
{
	p->space = NULL;
	p->inner = NULL;
	if (!space->level)
		return 0;
	p->inner = kalloc_array(space->level, sizeof(*p->inner));
	if (!p->inner)
		return -ENOMEM;
	p->space = space;
	namespace_get(&space->common);
	return 0;
}

static void inner_fini(struct pid *p)
{
	kfree(p->inner);
	if (p->space)
		namespace_put(&p->space->common);
}

struct pid *pid_alloc(struct pid_namespace *space, int *error)
{
	struct pid_entry *e = slab_alloc(pid_cache);
	if (!e) {
		*error = -ENOMEM;
		return NULL;
	}
	*error = inner_prepare(&e->pid, space);
	if (*error) {
		slab_free(pid_cache, e);
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
		for (struct pid_namespace *n = e->pid.space; n && n->level; n = n->parent)
			inner_take(n, &e->pid.inner[n->level - 1], &e->pid);
	}
	spin_unlock(&table_lock);
	if (!number) {
		inner_fini(&e->pid);
		slab_free(pid_cache, e);
		*error = -EAGAIN;
		return NULL;
	}
	return &e->pid;
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
	for (unsigned k = 0; k < level_of(&e->pid); k++)
		inner_drop(&e->pid.inner[k]);
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
	inner_fini(&e->pid);
	slab_free(pid_cache, e);
}

int pid_numbers_print(const struct pid *p, bool alive, const struct pid_namespace *from, char *buffer, size_t size)
{
	if (!alive)
		return fmt_print(buffer, size, "\t-1");
	int used = from->level ? 0 : fmt_print(buffer, size, "\t%d", p->number);
	for (unsigned k = max(from->level, 1u) - 1; k < level_of(p) && (size_t)used < size; k++)
		used += fmt_print(buffer + used, size - (size_t)used, "\t%d", p->inner[k].number);
	return used;
}

unsigned pid_count(void) { return __atomic_load_n(&count, __ATOMIC_RELAXED); }
