// SPDX-License-Identifier: Apache-2.0
// The scheduler: who runs, and the switch.
//
// The run queue's lock is held from the decision until the next task has the CPU: prev locks it, next releases it in
// finish_switch(), on its own stack, when prev's registers are saved. So nobody can pick, steal or free prev too early: who
// takes it from a run queue waits for that lock, and who would queue it elsewhere looks at `running` first.
//
// A switch reads the clock once, which under emulation costs as much as everything else here together. Accounting, the
// slice and the tick live on that reading.
//
// Where the port schedules, a task is a host thread from its start to its end and there is nothing to switch: the public
// functions hand on to the port what concerns it, and remember the rest.
//
// Lock order: waitq.lock -> run queue lock (two: lower CPU first) -> timer tree lock.

#include <linux/sched.h>

#include "kernel/errno.h"
#include "kernel/mm.h"
#include "kernel/upcall.h"

#include "internal.h"

static_assert(UPCALL_WORK_INTERRUPTS == (WORK_SIGNAL | WORK_STOP | WORK_KILLED), "what ends a wait");

struct run_queue *run_queues[SCHED_CPUS_MAX];

struct run_queue *run_queue_lock_of(struct task *t)
{
	for (;;) {
		uint32_t cpu = __atomic_load_n(&t->sched.cpu, __ATOMIC_RELAXED);
		struct run_queue *q = run_queues[cpu];

		spin_lock(&q->lock);
		if (__atomic_load_n(&t->sched.cpu, __ATOMIC_RELAXED) == cpu)
			return q;
		spin_unlock(&q->lock);
	}
}

void run_queue_lock_two(struct run_queue *a, struct run_queue *b)
{
	spin_lock(a->cpu < b->cpu ? &a->lock : &b->lock);
	if (a != b)
		spin_lock(a->cpu < b->cpu ? &b->lock : &a->lock);
}

void run_queue_unlock_two(struct run_queue *a, struct run_queue *b)
{
	spin_unlock(&a->lock);
	if (a != b)
		spin_unlock(&b->lock);
}

// ---- queueing ----

static void want_reschedule(struct run_queue *q)
{
	struct task *t = q->running;

	if (!t->sched.is_idle && !task_work_test(t, WORK_RESCHEDULE))
		task_work_set(t, WORK_RESCHEDULE);
}

// Others wait now: the tick must come when the slice ends. Own CPU; the time of the last switch is near enough.
static void tick_for_waiting(struct run_queue *q, uint64_t now)
{
	uint64_t due = now + SCHED_SLICE_NS;

	if (q->tick_ns > due)
		timer_tick_set(due);
}

// The queue that `t` goes to, locked together with `from`, the one it was in last: who holds that counts on its staying where it is, and
// may change where it can run. Once more in that case: the choice was made without.
static struct run_queue *choose_and_lock(struct task *t, struct run_queue *from, bool new)
{
	struct run_queue *q = run_queues[sched_place(t, new)];

	run_queue_lock_two(q, from);
	if (likely(sched_may_run_on(&t->sched, q->cpu)))
		return q;
	run_queue_unlock_two(q, from);
	q = run_queues[sched_place(t, new)];
	run_queue_lock_two(q, from);
	return q;
}

static void enqueue(struct task *t, bool new)
{
	struct run_queue *here = run_queue_here(), *from = run_queues[t->sched.cpu];
	struct run_queue *q = choose_and_lock(t, from, new);
	bool preempts;

	run_queue_place(q, from, t);
	run_queue_add(q, t);
	preempts = run_queue_preempts(q, t) && !(new &&q == here);
	if (preempts)
		want_reschedule(q);
	else if (q == here)
		tick_for_waiting(q, q->clock_ns);
	run_queue_unlock_two(q, from);
	if (preempts && q != here) {
		sched_note_idle(q->cpu, false); // the next waker shall look for another one
		sched_kick_cpu(q);
	}
}

void sched_wake(struct task *t) { enqueue(t, false); }

static void note_start(struct task *t)
{
	if (!(t->flags & TASK_KERNEL))
		cputimer_task_starts(t->process);
	load_average_wake();
}

void kernel_upcall_task_gone(struct task *t) { task_put(t); }

void sched_start(struct task *t)
{
	task_get(t);
	if (PORT_SCHEDULES_TASKS) { // the host thread was made before (port_task_spawn()) and waits
		note_start(t);
		port_task_release(t->port, true);
		return;
	}
	t->sched.state = SCHED_RUNNABLE;
	if (!sched_is_rt(&t->sched))
		t->sched.vruntime_ns = run_queues[t->sched.cpu]->min_vruntime_ns;
	enqueue(t, true);
}

int sched_start_thread(struct task *t)
{
	task_get(t);
	note_start(t);
	int error = port_task_run(t->port);
	if (error)
		task_put(t);
	return error;
}

// ---- the switch ----

// On the next task's stack. The run queue is locked.
static void finish_switch(struct task *prev)
{
	struct run_queue *q = run_queue_here();
	bool dead = prev->sched.state == SCHED_DEAD, migrate = prev->sched.migrate;
	struct task *t = current;

	__atomic_store_n(&prev->sched.running, false, __ATOMIC_RELEASE);
	spin_unlock(&q->lock);
	if (t->rseq_area && t->rseq_cpu != q->cpu) // moved: rseq(2)
		task_work_set(t, WORK_RSEQ);
	if (unlikely(dead)) {
		task_put(prev);
	} else if (unlikely(migrate)) {
		prev->sched.migrate = false;
		enqueue(prev, false);
	}
}

void kernel_upcall_task_started(struct task *prev)
{
	if (!PORT_SCHEDULES_TASKS)
		finish_switch(prev);
}

// Gives the CPU to whoever is next. `prev`, the current task, was charged and put where it belongs. Releases the lock.
static void run_next(struct run_queue *q, struct task *prev, uint64_t now)
{
	struct task *next = run_queue_pick(q);

	if (next == prev) {
		spin_unlock(&q->lock);
		return;
	}
	next->sched.run_start_ns = next->sched.slice_start_ns = now;
	next->sched.running = true;
	__atomic_store_n(&q->running, next, __ATOMIC_RELAXED);
	q->switches++;
	if (unlikely(q->tick_ns == SCHED_NEVER) && !next->sched.is_idle)
		timer_tick_set(now + (q->queued ? SCHED_SLICE_NS : SCHED_TICK_ALONE_NS));
	else if (q->queued)
		tick_for_waiting(q, now);
	finish_switch(port_task_switch(prev, next, next->mm ? next->mm->aspace : NULL));
}

static void forget_reschedule(struct task *t)
{
	if (unlikely(task_work_test(t, WORK_RESCHEDULE)))
		task_work_clear(t, WORK_RESCHEDULE);
}

static void note_run(struct sched_entity *s, uint64_t now)
{
	uint64_t ran = now - s->slice_start_ns;

	if (ran > SCHED_RUN_COUNTED_NS)
		ran = SCHED_RUN_COUNTED_NS;
	s->average_run_ns = s->average_run_ns - (s->average_run_ns >> 3) + (uint32_t)(ran >> 3);
}

void sched_block(void)
{
	struct task *t = current;
	struct run_queue *q = run_queue_here();
	uint32_t parking = SCHED_PARKING;
	uint64_t now;

	assert(!t->sched.is_idle);
	spin_lock(&q->lock);
	if (!__atomic_compare_exchange_n(&t->sched.state, &parking, SCHED_PARKED, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_RELAXED)) {
		spin_unlock(&q->lock);
		return;
	}
	now = port_time_ns();
	run_queue_charge(q, t, now);
	note_run(&t->sched, now);
	t->sched.voluntary_switches++;
	forget_reschedule(t);
	run_next(q, t, now);
}

void sched_nudge(struct task *t)
{
	uint32_t state;

	task_work_set(t, WORK_RESCHEDULE);
	state = __atomic_load_n(&t->sched.state, __ATOMIC_SEQ_CST);
	if (t != current && (state == SCHED_RUNNABLE || state == SCHED_PARKING)) // as in sched_kick_task()
		port_task_kick(t->port);
}

static int affinity_pass_on(struct task *t)
{
	struct run_queue *q = run_queue_lock_of(t);
	struct cpu_mask mask = t->sched.affinity;

	spin_unlock(&q->lock);
	return port_task_affinity(mask.bits, BITMAP_WORDS(min(port_cpu_count(), SCHED_CPUS_MAX)));
}

// What others want of the current task where there is nobody to make room for: see sched_set_affinity(), cputimer.c.
static void do_deferred(struct task *t)
{
	if (__atomic_exchange_n(&t->sched.affinity_changed, false, __ATOMIC_ACQUIRE))
		(void)affinity_pass_on(t);
	if (!(t->flags & TASK_KERNEL))
		cputimer_check_current();
}

void sched_reschedule(void)
{
	struct task *t = current;
	struct run_queue *q;
	uint64_t now;

	forget_reschedule(t);
	if (PORT_SCHEDULES_TASKS) {
		do_deferred(t);
		return;
	}
	if (t->sched.is_idle)
		return;
	q = run_queue_here();
	spin_lock(&q->lock);
	if (likely(sched_may_run_on(&t->sched, q->cpu))) {
		if (q->queued == 0) {
			spin_unlock(&q->lock);
			return;
		}
		now = port_time_ns();
		run_queue_charge(q, t, now);
		run_queue_put_back(q, t, now - t->sched.slice_start_ns >= SCHED_RR_SLICE_NS);
	} else {
		now = port_time_ns();
		run_queue_charge(q, t, now);
		t->sched.migrate = true; // finish_switch() queues it elsewhere
	}
	t->sched.involuntary_switches++;
	if (t->rseq_area) // preempted
		task_work_set(t, WORK_RSEQ);
	run_next(q, t, now);
}

void sched_yield_current(void)
{
	struct task *t = current;
	struct run_queue *q;
	uint64_t now;

	if (PORT_SCHEDULES_TASKS) {
		port_task_yield();
		return;
	}
	q = run_queue_here();
	if (!__atomic_load_n(&q->queued, __ATOMIC_RELAXED))
		return;
	spin_lock(&q->lock);
	now = port_time_ns();
	run_queue_charge(q, t, now);
	if (!sched_is_rt(&t->sched) && q->fair_first) {
		uint64_t first = rb_entry(q->fair_first, struct task, sched.node)->sched.vruntime_ns;

		if ((int64_t)(t->sched.vruntime_ns - first) < 0)
			t->sched.vruntime_ns = first;
	}
	run_queue_put_back(q, t, true);
	t->sched.voluntary_switches++;
	forget_reschedule(t);
	run_next(q, t, now);
}

void sched_leave_idle(struct run_queue *q)
{
	uint64_t now;

	spin_lock(&q->lock);
	now = port_time_ns();
	run_queue_charge(q, q->idle, now);
	run_next(q, q->idle, now);
}

_Noreturn void sched_exit_current(void)
{
	struct task *t = current;
	struct run_queue *q;
	uint64_t now;

	if (PORT_SCHEDULES_TASKS) {
		__atomic_store_n(&t->sched.state, SCHED_DEAD, __ATOMIC_RELAXED);
		port_task_exit();
	}
	q = run_queue_here();
	spin_lock(&q->lock);
	__atomic_store_n(&t->sched.state, SCHED_DEAD, __ATOMIC_RELAXED);
	now = port_time_ns();
	run_queue_charge(q, t, now);
	run_next(q, t, now);
	__builtin_unreachable();
}

// ---- preemption ----

void sched_preempt_point(void)
{
	struct task *t = current;
	struct run_queue *q;

	if (PORT_SCHEDULES_TASKS)
		return;
	q = run_queue_here();
	q->in_preempt_point = true;
	port_preempt_point();
	q->in_preempt_point = false;
	if (unlikely(task_work_test(t, WORK_RESCHEDULE)))
		sched_reschedule();
}

// The program is at the instruction behind `syscall` with the registers as that leaves them: the interrupt was held back
// while the kernel ran and belongs to it.
static bool tick_hit_program(const struct run_queue *q, struct task *t)
{
	const struct user_regs *r;

	if (q->in_preempt_point || (t->flags & TASK_KERNEL))
		return false;
	r = port_task_regs(t->port);
	return r->cx != r->ip;
}

static void sample(struct run_queue *q, struct task *t)
{
	bool user = tick_hit_program(q, t);
	uint64_t ran = t->sched.cpu_time_ns - t->sched.timer_seen_ns;

	t->sched.timer_seen_ns = t->sched.cpu_time_ns;
	if (user) {
		t->sched.user_ticks++;
		if (t->sched.nice > 0)
			q->nice_ticks++;
		else
			q->user_ticks++;
	} else {
		t->sched.system_ticks++;
		q->system_ticks++;
	}
	cputimer_charge(t, ran, user);
}

void sched_tick(void)
{
	struct run_queue *q = run_queue_here();
	struct task *t = q->running;
	uint64_t now;
	bool waiting, slow;
	int idle;

	q->tick_ns = SCHED_NEVER;
	now = port_time_ns();
	load_average_update(now);
	if (t->sched.is_idle) // the next switch arms it again
		return;
	spin_lock(&q->lock);
	run_queue_charge(q, t, now);
	waiting = q->queued != 0;
	slow = waiting && run_queue_is_slow(q, now);
	if (waiting && run_queue_tick_preempts(q, now))
		want_reschedule(q);
	spin_unlock(&q->lock);
	sample(q, t);
	timer_tick_set(now + (waiting ? SCHED_SLICE_NS : SCHED_TICK_ALONE_NS));
	if (slow) {
		idle = sched_cpu_count > 1 ? sched_find_idle(&t->sched.affinity) : -1;
		if (idle >= 0)
			sched_kick_cpu(run_queues[idle]); // comes and pulls
	}
}

void kernel_upcall_interrupt(void)
{
	if (!PORT_SCHEDULES_TASKS)
		__atomic_store_n(&run_queue_here()->kicked, 0, __ATOMIC_SEQ_CST);
}

// ---- class, priority, affinity ----

// Changes scheduling parameters of a task wherever it is: off the queue, change, on again.
static void change(struct task *t, int policy, int nice, int rt_priority, unsigned boost)
{
	struct run_queue *q = run_queue_lock_of(t);
	struct sched_entity *s = &t->sched;
	bool queued = s->on_queue, was_rt = sched_is_rt(s);

	if (queued)
		run_queue_remove(q, t);
	s->policy = (uint8_t)policy;
	s->nice = (int8_t)nice;
	s->rt_priority = (uint8_t)rt_priority;
	s->boost = (uint8_t)boost;
	sched_weigh(s);
	if (was_rt && !sched_is_rt(s))
		s->vruntime_ns = q->min_vruntime_ns;
	if (PORT_SCHEDULES_TASKS) { // nothing is queued, and the host's own nice values stay
		spin_unlock(&q->lock);
		return;
	}
	if (queued)
		run_queue_add(q, t);
	if (q->running == t || (queued && run_queue_preempts(q, t)))
		want_reschedule(q);
	spin_unlock(&q->lock);
	if (q != run_queue_here())
		sched_kick_cpu(q);
}

int sched_set_policy(struct task *t, int policy, int rt_priority)
{
	bool rt = policy == SCHED_FIFO || policy == SCHED_RR;

	if (!rt && policy != SCHED_NORMAL && policy != SCHED_BATCH && policy != SCHED_IDLE)
		return -EINVAL;
	if (rt ? rt_priority < 1 || rt_priority > 99 : rt_priority != 0)
		return -EINVAL;
	change(t, policy, t->sched.nice, rt_priority, t->sched.boost);
	return 0;
}

void sched_set_nice(struct task *t, int nice)
{
	change(t, t->sched.policy, nice, t->sched.rt_priority, t->sched.boost);
}

void sched_boost(struct task *t, unsigned rt_priority)
{
	if (t->sched.boost != rt_priority)
		change(t, t->sched.policy, t->sched.nice, t->sched.rt_priority, rt_priority);
}

// The host moves the thread at once when it is the current one, else when it passes sched_reschedule().
static int affinity_set_thread(struct task *t, const struct cpu_mask *mask)
{
	struct run_queue *q = run_queue_lock_of(t);
	struct cpu_mask before = t->sched.affinity;
	int error;

	t->sched.affinity = *mask;
	spin_unlock(&q->lock);
	if (t != current) {
		__atomic_store_n(&t->sched.affinity_changed, true, __ATOMIC_RELEASE);
		sched_nudge(t);
		return 0;
	}
	error = affinity_pass_on(t);
	if (error) {
		spin_lock(&q->lock);
		t->sched.affinity = before;
		spin_unlock(&q->lock);
	}
	return error;
}

int sched_set_affinity(struct task *t, const struct cpu_mask *mask)
{
	unsigned cpu, count = min(port_cpu_count(), SCHED_CPUS_MAX);
	struct run_queue *q;
	bool moved = false, running;

	for (cpu = 0; cpu < count; cpu++)
		if (bitmap_test(mask->bits, cpu) && run_queues[cpu])
			break;
	if (cpu == count)
		return -EINVAL;
	if (PORT_SCHEDULES_TASKS)
		return affinity_set_thread(t, mask);
	q = run_queue_lock_of(t);
	t->sched.affinity = *mask;
	running = q->running == t;
	if (!sched_may_run_on(&t->sched, q->cpu)) {
		if (t->sched.on_queue) {
			run_queue_remove(q, t);
			moved = true;
		} else if (running) {
			want_reschedule(q);
		}
	}
	spin_unlock(&q->lock);
	if (moved)
		enqueue(t, false);
	else if (t == current)
		sched_reschedule();
	else if (running)
		sched_kick_cpu(q);
	return 0;
}
