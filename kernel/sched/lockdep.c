// SPDX-License-Identifier: Apache-2.0
// Lock-order check for spinlocks, in debug builds only.
//
// Every lock belongs to a class: the line of its spin_init(). Whenever a lock of class B is taken while one of class A is
// held, the edge A -> B is recorded for ever. An edge that would close a circle is a possible deadlock, even when it did not
// happen this time: panic, naming both classes. Two locks of one class are not judged (run queues and page-table regions
// have an order among themselves). A lock that was only tried for adds no edge, because it cannot wait.
//
// What is held is known per CPU, not per task: spinlocks are never held across a switch except the run queue's, which the next
// task on the same CPU releases. Where the port schedules it is known per task: others run in between.
//
// The table's own lock is a bare word, taken last.

#include "lockdep.h"

#if CLOISTER_DEBUG

#include "kernel/log.h"
#include "kernel/task.h"

#define CLASSES_MAX 192u
#define CPUS_MAX    16u // CPUs beyond are not checked

static struct lock_stack cpus[CPUS_MAX];

static const char *class_names[CLASSES_MAX];
static unsigned class_count;
static uint64_t edges[CLASSES_MAX][BITMAP_WORDS(CLASSES_MAX)]; // edges[a] has bit b: b was taken under a
static uint32_t table_word;
static bool reported;

// What is held here; NULL: not known.
static struct lock_stack *stack_here(void)
{
	unsigned cpu;

	if (PORT_SCHEDULES_TASKS)
		return current ? &current->locks_held : NULL;
	cpu = port_cpu_index();
	return cpu < CPUS_MAX ? &cpus[cpu] : NULL;
}

static void table_lock(void)
{
	while (__atomic_exchange_n(&table_word, 1, __ATOMIC_ACQUIRE))
		port_cpu_relax();
}
static void table_unlock(void) { __atomic_store_n(&table_word, 0, __ATOMIC_RELEASE); }

// Classes are compared by address: one spin_init() line has one string.
static unsigned class_find(const char *name)
{
	unsigned i;

	for (i = 0; i < class_count; i++)
		if (class_names[i] == name)
			return i;
	if (class_count == CLASSES_MAX)
		return CLASSES_MAX;
	class_names[class_count] = name;
	return class_count++;
}

// Is there a chain of edges from `from` to `to`?
static bool reaches(unsigned from, unsigned to)
{
	uint64_t seen[BITMAP_WORDS(CLASSES_MAX)] = { 0 }, todo[BITMAP_WORDS(CLASSES_MAX)] = { 0 };
	size_t c;

	bitmap_set(todo, from);
	while ((c = bitmap_next_set(todo, CLASSES_MAX, 0)) < CLASSES_MAX) {
		size_t w;

		if (c == to)
			return true;
		bitmap_clear(todo, c);
		bitmap_set(seen, c);
		for (w = 0; w < BITMAP_WORDS(CLASSES_MAX); w++)
			todo[w] |= edges[c][w] & ~seen[w];
	}
	return false;
}

void lockdep_acquired(const void *lock, const char *name, bool tried)
{
	struct lock_stack *s = stack_here();
	unsigned class, i, bad = CLASSES_MAX;

	if (!name || !s || reported || s->depth == array_count(s->held))
		return;
	table_lock();
	class = class_find(name);
	if (class == CLASSES_MAX) {
		table_unlock();
		return;
	}
	for (i = 0; i < s->depth && !tried; i++) {
		unsigned above = s->held[i].class;

		if (above == class || bitmap_test(edges[above], class))
			continue;
		if (reaches(class, above)) {
			bad = above;
			break;
		}
		bitmap_set(edges[above], class);
	}
	s->held[s->depth].lock = lock;
	s->held[s->depth++].class = (uint16_t) class;
	if (bad != CLASSES_MAX)
		reported = true; // the panic itself takes locks
	table_unlock();
	if (bad != CLASSES_MAX)
		panic("lock order: %s taken under %s, the opposite of before", name, class_names[bad]);
}

void lockdep_released(const void *lock)
{
	struct lock_stack *s = stack_here();
	unsigned i;

	if (!s)
		return;
	for (i = s->depth; i-- > 0;) {
		if (s->held[i].lock != lock)
			continue;
		s->depth--;
		for (; i < s->depth; i++)
			s->held[i] = s->held[i + 1];
		return;
	}
}

void lockdep_assert_may_sleep(void)
{
	struct lock_stack *s = stack_here();

	if (s && s->depth && !reported) {
		reported = true;
		panic("sleeping with spinlock %s held", class_names[s->held[s->depth - 1].class]);
	}
}

#endif
