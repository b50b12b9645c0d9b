// SPDX-License-Identifier: Apache-2.0
// CPUs come up, run their idle task, and kernel tasks are made.
//
// The boot CPU's run queue and idle task are static, so that there is a current task before there is memory. The others' are
// allocated by the boot CPU at init level 2; a CPU that is up earlier spins until then. Where the port schedules no other CPU ever
// comes up, and the idle task is the one in which the port waits for what concerns it.

#include <linux/sched.h>

#include "kernel/errno.h"
#include "kernel/init.h"
#include "kernel/log.h"
#include "kernel/slab.h"
#include "kernel/upcall.h"

#include "internal.h"

static struct task boot_idle;
static struct run_queue boot_queue;
static struct run_queue *prepared[SCHED_CPUS_MAX]; // for CPUs that have not started yet; cpus_ready publishes it
static bool cpus_ready;

static void idle_task_init(struct task *t, unsigned cpu)
{
	task_init_kernel(t, "idle");
	sched_task_init(t, NULL);
	t->sched.is_idle = true;
	t->sched.running = true;
	t->sched.cpu = cpu;
	t->sched.policy = SCHED_IDLE;
	sched_weigh(&t->sched);
}

void sched_init(void)
{
	idle_task_init(&boot_idle, 0);
	run_queue_init(&boot_queue, 0, &boot_idle);
	timer_init_cpu(0);
	run_queues[0] = &boot_queue;
	port_task_adopt(&boot_idle, &boot_idle.port);
	boot_idle.sched.run_start_ns = boot_queue.clock_ns = port_time_ns();
}

// The slots tasks are spread over: a lock each, no CPU behind it.
static void prepare_slots(unsigned count)
{
	for (unsigned slot = 1; slot < count; slot++) {
		struct run_queue *q = kalloc(sizeof(*q));

		if (!q)
			panic("no memory for CPU %u", slot);
		run_queue_init(q, slot, NULL);
		run_queues[slot] = q;
	}
}

static void prepare_cpus(void)
{
	unsigned cpu, count = min(port_cpu_count(), SCHED_CPUS_MAX);

	if (PORT_SCHEDULES_TASKS) {
		prepare_slots(count);
		return;
	}
	for (cpu = 1; cpu < count; cpu++) {
		struct task *idle = task_alloc_kernel("idle");
		struct run_queue *q = kalloc(sizeof(*q));

		if (!idle || !q)
			panic("no memory for CPU %u", cpu);
		idle_task_init(idle, cpu);
		run_queue_init(q, cpu, idle);
		timer_init_cpu(cpu);
		prepared[cpu] = q;
	}
	__atomic_store_n(&cpus_ready, true, __ATOMIC_RELEASE);
}
KERNEL_INIT(2, prepare_cpus);

_Noreturn void kernel_upcall_cpu_started(void)
{
	unsigned cpu = port_cpu_index();
	struct run_queue *q;

	while (!__atomic_load_n(&cpus_ready, __ATOMIC_ACQUIRE))
		port_cpu_relax();
	q = cpu < SCHED_CPUS_MAX ? prepared[cpu] : NULL;
	if (!q)
		panic("CPU %u started twice or beyond the limit", cpu);
	prepared[cpu] = NULL;
	port_task_adopt(q->idle, &q->idle->port);
	q->idle->sched.run_start_ns = q->clock_ns = port_time_ns();
	__atomic_store_n(&run_queues[cpu], q, __ATOMIC_RELEASE);
	__atomic_fetch_add(&sched_cpu_count, 1, __ATOMIC_SEQ_CST);
	sched_idle();
}

_Noreturn void sched_idle(void)
{
	struct run_queue *q = run_queue_here();

	while (PORT_SCHEDULES_TASKS)
		port_cpu_idle();
	for (;;) {
		// Interrupts are off: a kick from here on ends port_cpu_idle() at once.
		__atomic_exchange_n(&q->kicked, 0, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&q->queued, __ATOMIC_ACQUIRE) || sched_pull(q)) {
			sched_note_idle(q->cpu, false);
			sched_leave_idle(q);
			continue;
		}
		sched_note_idle(q->cpu, true);
		// Somebody may have seen us busy and queued without a kick.
		if (!__atomic_load_n(&q->queued, __ATOMIC_ACQUIRE))
			port_cpu_idle();
	}
}

void sched_task_init(struct task *t, const struct task *parent)
{
	struct sched_entity *s = &t->sched;

	*s = (struct sched_entity){ .cpu = port_cpu_index(), .user_share = 128 };
	list_init(&s->rt_node);
	spin_init(&s->times_lock);
	if (parent) {
		const struct sched_entity *p = &parent->sched;

		s->affinity = p->affinity;
		s->policy = p->policy;
		s->nice = p->nice;
		s->rt_priority = p->rt_priority;
		s->average_run_ns = p->average_run_ns;
		if (p->reset_on_fork) { // sched(7)
			if (s->rt_priority)
				s->policy = SCHED_NORMAL;
			s->rt_priority = 0;
			s->nice = max(s->nice, (int8_t)0);
		}
	} else {
		for (unsigned i = 0; i < array_count(s->affinity.bits); i++)
			s->affinity.bits[i] = UINT64_MAX;
	}
	sched_weigh(s);
}

// ---- kernel tasks ----

struct kernel_entry {
	void (*fn)(void *);
	void *arg;
};

static void kernel_task_main(void *arg)
{
	struct kernel_entry e = *(struct kernel_entry *)arg;

	kfree(arg);
	e.fn(e.arg);
	sched_exit_current();
}

struct task *kernel_task_create(const char *name, void (*fn)(void *), void *arg)
{
	struct task *t = task_alloc_kernel(name);
	struct kernel_entry *e = kalloc(sizeof(*e));
	int error = -ENOMEM;

	if (!t || !e)
		goto put_task;
	sched_task_init(t, NULL);
	error = port_task_create(t, &t->port);
	if (error)
		goto put_task;
	*e = (struct kernel_entry){ fn, arg };
	port_task_set_entry(t->port, kernel_task_main, e);
	if (PORT_SCHEDULES_TASKS) {
		error = port_task_spawn(t->port, NULL);
		if (error)
			goto put_task;
	}
	sched_start(t);
	task_put(t); // the scheduler's reference is enough
	return t;
put_task:
	kfree(e);
	if (t)
		task_put(t);
	return err_ptr(error);
}
