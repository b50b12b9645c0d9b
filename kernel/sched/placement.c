// SPDX-License-Identifier: Apache-2.0
// Which CPU a task runs on: where a woken task goes, and what an idle CPU takes over.
//
// A kick of another CPU costs far more than a switch (an exit to the monitor; under emulation a host futex). So a waker
// that is known to park soon after it wakes somebody keeps the woken task on its own CPU, whose queue is empty: the switch
// follows at once, without a kick. The same holds for a parent that just made a child. If the waker runs on after all, its next tick finds somebody waiting and an idle CPU
// to give it to.

#include "internal.h"

unsigned sched_cpu_count = 1; // CPUs that are up

static uint64_t idle_cpus[BITMAP_WORDS(SCHED_CPUS_MAX)]; // atomic; a hint

void sched_note_idle(unsigned cpu, bool idle)
{
	uint64_t bit = UINT64_C(1) << (cpu % 64);

	if (sched_cpu_count == 1)
		return;
	if (idle)
		__atomic_or_fetch(&idle_cpus[cpu / 64], bit, __ATOMIC_SEQ_CST);
	else
		__atomic_and_fetch(&idle_cpus[cpu / 64], ~bit, __ATOMIC_SEQ_CST);
}

static bool is_idle(unsigned cpu) { return __atomic_load_n(&idle_cpus[cpu / 64], __ATOMIC_RELAXED) >> (cpu % 64) & 1; }

int sched_find_idle(const struct cpu_mask *allowed)
{
	unsigned word, words = BITMAP_WORDS(port_cpu_count());

	for (word = 0; word < words; word++) {
		uint64_t idle = __atomic_load_n(&idle_cpus[word], __ATOMIC_RELAXED) & allowed->bits[word];

		if (idle)
			return (int)(word * 64) + __builtin_ctzll(idle);
	}
	return -1;
}

// The first CPU that is up and allowed.
static unsigned first_allowed(const struct sched_entity *s)
{
	unsigned cpu, count = port_cpu_count();

	for (cpu = 0; cpu < count; cpu++)
		if (run_queues[cpu] && sched_may_run_on(s, cpu))
			return cpu;
	return 0;
}

unsigned sched_place(struct task *t, bool new)
{
	struct sched_entity *s = &t->sched;
	struct run_queue *here;
	unsigned last = __atomic_load_n(&s->cpu, __ATOMIC_RELAXED);
	int idle;

	if (sched_cpu_count == 1)
		return 0;
	if (__atomic_load_n(&s->running,
			    __ATOMIC_ACQUIRE)) // its registers are not saved yet: only that CPU may queue it
		return last;
	here = run_queues[port_cpu_index()];
	if (sched_may_run_on(s, here->cpu) && here->queued == 0 &&
	    (new || here->running->sched.is_idle || sched_is_short_runner(&here->running->sched)))
		return here->cpu;
	if (sched_may_run_on(s, last) && run_queues[last]) {
		if (is_idle(last))
			return last;
	} else {
		last = first_allowed(s);
	}
	idle = sched_find_idle(&s->affinity);
	return idle >= 0 ? (unsigned)idle : last;
}

void sched_kick_cpu(struct run_queue *q)
{
	if (!__atomic_exchange_n(&q->kicked, 1, __ATOMIC_SEQ_CST))
		port_cpu_kick(q->cpu);
}

bool sched_pull(struct run_queue *q)
{
	struct run_queue *fullest = NULL;
	unsigned cpu, count = port_cpu_count();
	uint32_t most = 0;
	struct task *t;

	if (sched_cpu_count == 1)
		return false;
	for (cpu = 0; cpu < count; cpu++) {
		struct run_queue *other = run_queues[cpu];
		uint32_t queued = other && other != q ? __atomic_load_n(&other->queued, __ATOMIC_RELAXED) : 0;

		// A CPU about to switch from idle to its only task keeps it.
		if (queued > most &&
		    !(queued == 1 && __atomic_load_n(&other->running, __ATOMIC_RELAXED) == other->idle)) {
			most = queued;
			fullest = other;
		}
	}
	if (!fullest)
		return false;
	run_queue_lock_two(q, fullest);
	t = run_queue_steal(fullest, q->cpu, port_time_ns());
	if (t) {
		run_queue_place(q, fullest, t);
		run_queue_add(q, t);
	}
	run_queue_unlock_two(q, fullest);
	return t != NULL;
}
