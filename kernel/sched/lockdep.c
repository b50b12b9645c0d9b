// SPDX-License-Identifier: Apache-2.0
// Lock-order check for spinlocks, in debug builds only.
//
// Every lock belongs to a class: the line of its spin_init(). Whenever a lock of class B is taken while one of class A is
// held, the edge A -> B is recorded for ever. An edge that would close a circle is a possible deadlock, even when it did not
// happen this time: panic, naming both classes. Two locks of one class are not judged (run queues and page-table regions
// have an order among themselves). A lock that was only tried for adds no edge, because it cannot wait.
//
// What a CPU holds is known per CPU, not per task: spinlocks are never held across a switch except the run queue's, which
// the next task on the same CPU releases.
//
// The table's own lock is a bare word, taken last.

#include "lockdep.h"

#if CLOISTER_DEBUG

#include "kernel/log.h"
#include "kernel/sched.h"

#define CLASSES_MAX 192u
#define HELD_MAX    16u
#define CPUS_MAX    16u // CPUs beyond are not checked

struct held {
	const void *lock;
	uint16_t class;
};

static struct {
	struct held held[HELD_MAX];
	unsigned depth;
} cpus[CPUS_MAX];

static const char *class_names[CLASSES_MAX];
static unsigned class_count;
static uint64_t edges[CLASSES_MAX][BITMAP_WORDS(CLASSES_MAX)]; // edges[a] has bit b: b was taken under a
static uint32_t table_word;
static bool reported;

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
	unsigned cpu = port_cpu_index(), class, i, bad = CLASSES_MAX;

	if (!name || cpu >= CPUS_MAX || reported || cpus[cpu].depth == HELD_MAX)
		return;
	table_lock();
	class = class_find(name);
	if (class == CLASSES_MAX) {
		table_unlock();
		return;
	}
	for (i = 0; i < cpus[cpu].depth && !tried; i++) {
		unsigned above = cpus[cpu].held[i].class;

		if (above == class || bitmap_test(edges[above], class))
			continue;
		if (reaches(class, above)) {
			bad = above;
			break;
		}
		bitmap_set(edges[above], class);
	}
	cpus[cpu].held[cpus[cpu].depth++] = (struct held){ lock, class };
	if (bad != CLASSES_MAX)
		reported = true; // the panic itself takes locks
	table_unlock();
	if (bad != CLASSES_MAX)
		panic("lock order: %s taken under %s, the opposite of before", name, class_names[bad]);
}

void lockdep_released(const void *lock)
{
	unsigned cpu = port_cpu_index(), i;

	if (cpu >= CPUS_MAX)
		return;
	for (i = cpus[cpu].depth; i-- > 0;) {
		if (cpus[cpu].held[i].lock != lock)
			continue;
		cpus[cpu].depth--;
		for (; i < cpus[cpu].depth; i++)
			cpus[cpu].held[i] = cpus[cpu].held[i + 1];
		return;
	}
}

void lockdep_assert_may_sleep(void)
{
	unsigned cpu = port_cpu_index();

	if (cpu < CPUS_MAX && cpus[cpu].depth && !reported) {
		reported = true;
		panic("sleeping with spinlock %s held", class_names[cpus[cpu].held[cpus[cpu].depth - 1].class]);
	}
}

#endif
