// SPDX-License-Identifier: Apache-2.0
// One-shot timers: a tree by deadline on each CPU, and that CPU's hardware timer. Where the port schedules there is one tree and
// one timer for the whole cell, and the port calls kernel_upcall_timer() in a task of its own.
//
// The hardware is programmed only when something earlier than what it is set to comes; a cancelled timer leaves it alone.
// The interrupt that then comes for nothing is cheaper than two programmings for every wait with a timeout.
//
// While expire() runs, base->running names the timer and it cannot move to another CPU's tree; that is what
// ktimer_cancel_sync() waits for. It spins, because the other CPU is at it this moment; a task of a port that schedules may have
// been preempted in expire(), so there it sleeps on base->busy.
//
// Lock order: anything -> timer tree lock; expire() is called with none held.

#include "kernel/slab.h"
#include "kernel/log.h"
#include "kernel/upcall.h"

#include "internal.h"

struct timer_base {
	struct spinlock lock;
	struct rb_root tree;
	struct rb_node *first;
	struct ktimer *running; // its expire() is being called
	uint64_t programmed_ns; // what the hardware is set to: own CPU; the lock where the port schedules
	uint32_t cpu;
	uint32_t busy; // where the port schedules, atomic: BUSY_*
};

#define BUSY_NO     0u
#define BUSY_YES    1u // `running` is set
#define BUSY_WAITED 2u // and somebody sleeps until it is not

static struct timer_base boot_base;
static struct timer_base *bases[SCHED_CPUS_MAX];

void timer_init_cpu(unsigned cpu)
{
	struct timer_base *b = cpu ? kalloc(sizeof(*b)) : &boot_base;

	if (!b)
		panic("no memory for the timers of CPU %u", cpu);
	spin_init(&b->lock);
	b->cpu = cpu;
	b->programmed_ns = SCHED_NEVER;
	bases[cpu] = b;
}

static unsigned base_index_here(void) { return PORT_SCHEDULES_TASKS ? 0 : port_cpu_index(); }

void ktimer_init(struct ktimer *t, void (*expire)(struct ktimer *t))
{
	*t = (struct ktimer){ .expire = expire, .cpu = base_index_here() };
}

static struct ktimer *timer_of(struct rb_node *n) { return rb_entry(n, struct ktimer, node); }

static void insert(struct timer_base *b, struct ktimer *t)
{
	struct rb_node **link = &b->tree.node, *parent = NULL;
	bool first = true;

	while (*link) {
		parent = *link;
		if (t->deadline_ns < timer_of(parent)->deadline_ns) {
			link = &parent->left;
		} else {
			link = &parent->right;
			first = false;
		}
	}
	rb_insert(&b->tree, &t->node, parent, link);
	if (first)
		b->first = &t->node;
	t->state = KTIMER_QUEUED;
}

static void dequeue(struct timer_base *b, struct ktimer *t)
{
	if (b->first == &t->node)
		b->first = rb_next(&t->node);
	rb_remove(&b->tree, &t->node);
	t->state = KTIMER_IDLE;
}

// The base a timer belongs to, locked.
static struct timer_base *lock_base(struct ktimer *t)
{
	for (;;) {
		uint32_t cpu = __atomic_load_n(&t->cpu, __ATOMIC_RELAXED);
		struct timer_base *b = bases[cpu];

		spin_lock(&b->lock);
		if (__atomic_load_n(&t->cpu, __ATOMIC_RELAXED) == cpu)
			return b;
		spin_unlock(&b->lock);
	}
}

static void program(struct timer_base *b, uint64_t deadline)
{
	if (deadline < b->programmed_ns) {
		b->programmed_ns = deadline;
		port_timer_set(deadline);
	}
}

void ktimer_set(struct ktimer *t, uint64_t deadline_ns)
{
	struct timer_base *here = bases[base_index_here()], *b = lock_base(t);

	if (t->state == KTIMER_QUEUED)
		dequeue(b, t);
	t->deadline_ns = deadline_ns;
	if (b != here && b->running != t) {
		// Nobody else finds it meanwhile: it is on no tree, and setting one timer from two places at once is the owner's
		// business to exclude.
		__atomic_store_n(&t->cpu, here->cpu, __ATOMIC_RELAXED);
		spin_unlock(&b->lock);
		b = here;
		spin_lock(&b->lock);
	}
	insert(b, t);
	// On another CPU's tree only while that CPU runs its expire(); it looks at its tree before it programs.
	if (b == here && b->first == &t->node)
		program(b, deadline_ns);
	spin_unlock(&b->lock);
}

bool ktimer_cancel(struct ktimer *t)
{
	struct timer_base *b = lock_base(t);
	bool armed = t->state == KTIMER_QUEUED;

	if (armed)
		dequeue(b, t);
	spin_unlock(&b->lock);
	return armed;
}

static void wait_while_busy(struct timer_base *b)
{
	if (!PORT_SCHEDULES_TASKS) {
		port_cpu_relax();
		return;
	}
	port_lock_wait(&b->busy, BUSY_WAITED);
	port_lock_wake(&b->busy); // the wake-up was for one: pass it on
}

bool ktimer_cancel_sync(struct ktimer *t)
{
	bool armed = false;

	for (;;) {
		struct timer_base *b = lock_base(t);
		bool busy = b->running == t;

		if (t->state == KTIMER_QUEUED) {
			dequeue(b, t);
			armed = true;
		}
		if (PORT_SCHEDULES_TASKS && busy)
			__atomic_store_n(&b->busy, BUSY_WAITED, __ATOMIC_RELAXED);
		spin_unlock(&b->lock);
		if (!busy)
			return armed;
		wait_while_busy(b);
	}
}

void timer_tick_set(uint64_t deadline_ns)
{
	struct run_queue *q = run_queue_here();

	q->tick_ns = deadline_ns;
	program(bases[q->cpu], deadline_ns);
}

static void call(struct timer_base *b, struct ktimer *t)
{
	b->running = t;
	if (PORT_SCHEDULES_TASKS)
		__atomic_store_n(&b->busy, BUSY_YES, __ATOMIC_RELAXED);
	spin_unlock(&b->lock);
	t->expire(t); // t may be gone afterwards
	spin_lock(&b->lock);
	b->running = NULL;
	if (PORT_SCHEDULES_TASKS && __atomic_exchange_n(&b->busy, BUSY_NO, __ATOMIC_RELAXED) == BUSY_WAITED)
		port_lock_wake(&b->busy);
}

// Runs what is due and programs what is next, or `tick` if that is earlier. expire() need not program meanwhile.
static void run_expired(struct timer_base *b, uint64_t now, const uint64_t *tick)
{
	uint64_t next = SCHED_NEVER;

	spin_lock(&b->lock);
	b->programmed_ns = 0;
	while (b->first) {
		struct ktimer *t = timer_of(b->first);

		if (t->deadline_ns > now) {
			next = t->deadline_ns;
			break;
		}
		dequeue(b, t);
		call(b, t);
	}
	b->programmed_ns = SCHED_NEVER;
	program(b, tick ? min(next, *tick) : next);
	spin_unlock(&b->lock);
}

void kernel_upcall_timer(void)
{
	uint64_t now = port_time_ns();
	struct timer_base *b = bases[base_index_here()];
	struct run_queue *q;

	if (PORT_SCHEDULES_TASKS) {
		run_expired(b, now, NULL);
		return;
	}
	q = run_queue_here();
	b->programmed_ns = 0; // the tick need not program either
	if (q->tick_ns <= now)
		sched_tick();
	run_expired(b, now, &q->tick_ns);
}
