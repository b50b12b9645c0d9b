// SPDX-License-Identifier: Apache-2.0
// One CPU's runnable tasks and the order they run in. Pure data structure: no locks taken, no clock read, no switch made;
// the caller holds the run queue's lock. (Unit test: runqueue_test.c.)
//
// Fair class: a task's virtual run time grows with the time it ran, slower the greater its weight; the smallest runs next.
// min_vruntime_ns follows the smallest and is where newcomers start. Real-time classes come before all of it, by priority,
// first come first served; a round-robin task goes behind its equals when its slice is used up.
// sched(7), setpriority(2).

#include <linux/sched.h>

#include "internal.h"

// Each nice level is 1.25 times the share of the next one: 1024 * 1.25^-nice.
static const uint32_t nice_weights[40] = {
	88818, 71054, 56843, 45475, 36380, 29104, 23283, 18626, 14901, 11921, //  -20..-11
	9537,  7629,  6104,  4883,  3906,  3125,  2500,  2000,  1600,  1280,  //  -10..-1
	1024,  819,   655,   524,   419,   336,   268,   215,   172,   137,   //    0..9
	110,   88,    70,    56,    45,    36,    29,    23,    18,    15,    //   10..19
};
#define WEIGHT_NICE_0 1024u
#define WEIGHT_IDLE   3u // SCHED_IDLE

void sched_weigh(struct sched_entity *s)
{
	s->weight = s->policy == SCHED_IDLE ? WEIGHT_IDLE : nice_weights[s->nice + 20];
	s->inverse_weight = (uint32_t)((UINT64_C(1) << 32) / s->weight);
}

uint64_t sched_weighted_ns(const struct sched_entity *s, uint64_t ns)
{
	if (likely(s->weight == WEIGHT_NICE_0))
		return ns;
	// ns * 1024 / weight; split so that nothing overflows below hours
	return ((ns >> 10) * s->inverse_weight >> 12) + (((ns & 1023) * s->inverse_weight) >> 22);
}

void run_queue_init(struct run_queue *q, unsigned cpu, struct task *idle)
{
	spin_init(&q->lock);
	q->cpu = cpu;
	q->queued = q->rt_queued = q->kicked = 0;
	q->running = q->idle = idle;
	q->fair.node = NULL;
	q->fair_first = NULL;
	list_init(&q->rt);
	q->min_vruntime_ns = 0;
	q->tick_ns = SCHED_NEVER;
}

static struct task *fair_task(struct rb_node *n) { return rb_entry(n, struct task, sched.node); }

static void fair_insert(struct run_queue *q, struct task *t)
{
	struct rb_node **link = &q->fair.node, *parent = NULL;
	bool first = true;

	while (*link) {
		parent = *link;
		// Equals: behind. Differences, because virtual time may wrap.
		if ((int64_t)(t->sched.vruntime_ns - fair_task(parent)->sched.vruntime_ns) < 0) {
			link = &parent->left;
		} else {
			link = &parent->right;
			first = false;
		}
	}
	rb_insert(&q->fair, &t->sched.node, parent, link);
	if (first)
		q->fair_first = &t->sched.node;
}

static void fair_remove(struct run_queue *q, struct task *t)
{
	if (q->fair_first == &t->sched.node)
		q->fair_first = rb_next(&t->sched.node);
	rb_remove(&q->fair, &t->sched.node);
}

static void rt_insert(struct run_queue *q, struct task *t, bool before_equals)
{
	struct task *other;
	struct list *before = &q->rt;

	list_for_each (other, &q->rt, sched.rt_node) {
		unsigned rank = sched_rt_rank(&other->sched);
		if (rank < sched_rt_rank(&t->sched) || (before_equals && rank == sched_rt_rank(&t->sched))) {
			before = &other->sched.rt_node;
			break;
		}
	}
	list_add_tail(before, &t->sched.rt_node);
	q->rt_queued++;
}

static void insert(struct run_queue *q, struct task *t, bool before_equals)
{
	t->sched.on_queue = true;
	t->sched.queued_ns = q->clock_ns;
	__atomic_store_n(&q->queued, q->queued + 1, __ATOMIC_RELAXED);
	if (unlikely(sched_is_rt(&t->sched)))
		rt_insert(q, t, before_equals);
	else
		fair_insert(q, t);
}

void run_queue_add(struct run_queue *q, struct task *t)
{
	__atomic_store_n(&t->sched.cpu, q->cpu, __ATOMIC_RELAXED);
	insert(q, t, false);
}

void run_queue_put_back(struct run_queue *q, struct task *t, bool slice_used) { insert(q, t, !slice_used); }

void run_queue_remove(struct run_queue *q, struct task *t)
{
	t->sched.on_queue = false;
	__atomic_store_n(&q->queued, q->queued - 1, __ATOMIC_RELAXED);
	if (unlikely(sched_is_rt(&t->sched))) {
		list_remove(&t->sched.rt_node);
		q->rt_queued--;
	} else {
		fair_remove(q, t);
	}
}

struct task *run_queue_pick(struct run_queue *q)
{
	struct task *t;

	if (q->queued == 0)
		return q->idle;
	t = unlikely(q->rt_queued) ? list_first(&q->rt, struct task, sched.rt_node) : fair_task(q->fair_first);
	run_queue_remove(q, t);
	return t;
}

static bool has_aged(const struct task *t, uint64_t now)
{
	return (int64_t)(now - t->sched.queued_ns) > SCHED_STEAL_AGE_NS;
}

struct task *run_queue_steal(struct run_queue *q, unsigned to, uint64_t now)
{
	bool patient = q->running != q->idle && sched_is_short_runner(&q->running->sched);
	struct rb_node *n;
	struct task *t;

	list_for_each (t, &q->rt, sched.rt_node)
		if (sched_may_run_on(&t->sched, to))
			goto found;
	// The last one would wait longest here.
	for (n = rb_last(&q->fair); n; n = rb_prev(n)) {
		t = fair_task(n);
		if (sched_may_run_on(&t->sched, to) && (!patient || has_aged(t, now)))
			goto found;
	}
	return NULL;
found:
	run_queue_remove(q, t);
	return t;
}

bool run_queue_is_slow(const struct run_queue *q, uint64_t now)
{
	struct rb_node *last = rb_last(&q->fair);

	return q->rt_queued || (last && has_aged(fair_task(last), now));
}

static void advance_min(struct run_queue *q, const struct task *running)
{
	uint64_t least = q->min_vruntime_ns;
	const struct task *first = q->fair_first ? fair_task(q->fair_first) : NULL;

	if (running && first)
		least = (int64_t)(running->sched.vruntime_ns - first->sched.vruntime_ns) < 0
				? running->sched.vruntime_ns
				: first->sched.vruntime_ns;
	else if (running)
		least = running->sched.vruntime_ns;
	else if (first)
		least = first->sched.vruntime_ns;
	if ((int64_t)(least - q->min_vruntime_ns) > 0)
		__atomic_store_n(&q->min_vruntime_ns, least, __ATOMIC_RELAXED);
}

void run_queue_charge(struct run_queue *q, struct task *t, uint64_t now)
{
	struct sched_entity *s = &t->sched;
	uint64_t ran = now > s->run_start_ns ? now - s->run_start_ns : 0;

	s->run_start_ns = now;
	q->clock_ns = now;
	if (s->is_idle) {
		q->idle_ns += ran;
		return;
	}
	s->cpu_time_ns += ran;
	if (likely(!sched_is_rt(s))) {
		s->vruntime_ns += sched_weighted_ns(s, ran);
		advance_min(q, t);
	}
}

bool run_queue_preempts(const struct run_queue *q, const struct task *woken)
{
	const struct sched_entity *now = &q->running->sched, *new = &woken->sched;

	if (now->is_idle)
		return true;
	if (unlikely(sched_is_rt(new) || sched_is_rt(now)))
		return sched_rt_rank(new) > sched_rt_rank(now);
	if (new->policy == SCHED_BATCH || new->policy == SCHED_IDLE)
		return false;
	return now->policy == SCHED_IDLE || (int64_t)(now->vruntime_ns - new->vruntime_ns) > SCHED_WAKE_GRAIN_NS;
}

bool run_queue_tick_preempts(const struct run_queue *q, uint64_t now)
{
	const struct sched_entity *s = &q->running->sched;

	if (q->queued == 0 || s->is_idle)
		return q->queued != 0;
	if (q->rt_queued && sched_rt_rank(&list_first(&q->rt, struct task, sched.rt_node)->sched) > sched_rt_rank(s))
		return true;
	if (sched_is_rt(s))
		return s->policy == SCHED_RR && now - s->slice_start_ns >= SCHED_RR_SLICE_NS;
	return now - s->slice_start_ns >= SCHED_SLICE_NS &&
	       (int64_t)(s->vruntime_ns - fair_task(q->fair_first)->sched.vruntime_ns) > 0;
}

void run_queue_place(const struct run_queue *q, const struct run_queue *from, struct task *t)
{
	uint64_t least = __atomic_load_n(&q->min_vruntime_ns, __ATOMIC_RELAXED);

	if (from && from != q)
		t->sched.vruntime_ns += least - __atomic_load_n(&from->min_vruntime_ns, __ATOMIC_RELAXED);
	least -= SCHED_SLEEP_CREDIT_NS;
	if ((int64_t)(t->sched.vruntime_ns - least) < 0)
		t->sched.vruntime_ns = least;
}
