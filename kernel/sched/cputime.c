// SPDX-License-Identifier: Apache-2.0
// CPU time where the port schedules: nothing is counted here, the port's clocks are asked when somebody wants to know.
//
// A task knows its own time and how it splits, and the time of the threads in its own host process. Of other processes it can
// learn the time of the host process as a whole. So a thread of another process has the time it was last known to have used
// (when it asked itself, when it parked after somebody had looked, when it ended) and, while it runs, its share of what the
// process has used beyond that. How the time of others splits is a guess. What was shown once never shrinks: sums and parts are kept
// and only raised.
//
// A host process and a process of the cell are the same but for two cases. A process made by clone(CLONE_VM) without CLONE_THREAD
// (vfork) lives in its parent's host process until it execs: process.borrows_mm; its time is the sum of its threads'. And a
// task can go on in another host thread when it execs then, whose clock starts anew: sched_entity.earlier_ns.
//
// Lock order: tasklist_lock, sighand->lock -> task.lock, sched_entity.times_lock. The port's clocks are read under the latter two.

#include "kernel/mm.h"
#include "kernel/task.h"

#include "internal.h"

// ---- one task ----

// The thread's clock, in a form that goes on across threads. times_lock is held, so that readings come in order.
static uint64_t thread_clock(struct task *t)
{
	struct sched_entity *s = &t->sched;
	uint64_t ns = port_task_time_ns(t->port);

	if (ns == 0)
		return 0;
	if (ns < s->thread_ns)
		s->earlier_ns += s->thread_ns;
	s->thread_ns = ns;
	return s->earlier_ns + ns;
}

// Raises both parts so that their sum is `total`, with the system's share near to `system`. Neither goes back.
static void raise_parts(uint64_t *user_ns, uint64_t *system_ns, uint64_t total, uint64_t system)
{
	if (total <= *user_ns + *system_ns)
		return;
	system = min(max(system, *system_ns), total - *user_ns);
	*system_ns = system;
	*user_ns = total - system;
}

// What is system time of `more`, if it splits as what is known does.
static uint64_t system_share(uint64_t more, uint64_t user_ns, uint64_t system_ns)
{
	uint64_t total = user_ns + system_ns;

	while (total >> 32) {
		total >>= 8;
		system_ns >>= 8;
	}
	return total ? (more >> 10) * system_ns / total << 10 : 0;
}

static void raise_total(struct sched_entity *s, uint64_t total)
{
	if (total > s->cpu_time_ns)
		s->cpu_time_ns = total;
}

// A guess where the task itself was not asked since.
static void split(const struct sched_entity *s, uint64_t *user_ns, uint64_t *system_ns)
{
	uint64_t more = s->cpu_time_ns - s->user_time_ns - s->system_time_ns;

	*user_ns = s->user_time_ns;
	*system_ns = s->system_time_ns;
	raise_parts(user_ns, system_ns, s->cpu_time_ns, *system_ns + system_share(more, *user_ns, *system_ns));
}

void cputime_note_current(void)
{
	struct task *t = current;
	struct sched_entity *s = &t->sched;
	uint64_t user, system, more;

	if (s->times_final)
		return;
	__atomic_store_n(&s->sample_wanted, false, __ATOMIC_RELAXED);
	__atomic_store_n(&s->last_cpu, port_cpu_now(), __ATOMIC_RELAXED);
	port_task_times(&user, &system);
	spin_lock(&s->times_lock);
	raise_total(s, max(thread_clock(t), user + system));
	more = s->cpu_time_ns - s->user_time_ns - s->system_time_ns;
	if (s->earlier_ns) // the parts are those of the present thread
		system = s->system_time_ns + system_share(more, user, system);
	raise_parts(&s->user_time_ns, &s->system_time_ns, s->cpu_time_ns, system);
	spin_unlock(&s->times_lock);
}

static void note_other(struct task *t)
{
	spin_lock(&t->sched.times_lock);
	raise_total(&t->sched, thread_clock(t));
	spin_unlock(&t->sched.times_lock);
}

void sched_known_times(struct task *t, uint64_t *user_ns, uint64_t *system_ns)
{
	if (!PORT_SCHEDULES_TASKS) {
		sched_task_times(t, user_ns, system_ns);
		return;
	}
	spin_lock(&t->sched.times_lock);
	split(&t->sched, user_ns, system_ns);
	spin_unlock(&t->sched.times_lock);
}

void cputime_task_get(struct task *t, uint64_t *user_ns, uint64_t *system_ns)
{
	if (t == current)
		cputime_note_current();
	else if (t->process == current->process)
		note_other(t);
	spin_lock(&t->sched.times_lock);
	split(&t->sched, user_ns, system_ns);
	t->sched.user_time_ns = *user_ns; // shown: must not shrink
	t->sched.system_time_ns = *system_ns;
	spin_unlock(&t->sched.times_lock);
}

// Without the split, which costs another question.
uint64_t cputime_task_total_ns(struct task *t)
{
	if (t->process == current->process && !t->sched.times_final)
		note_other(t);
	return __atomic_load_n(&t->sched.cpu_time_ns, __ATOMIC_RELAXED);
}

unsigned sched_task_cpu(struct task *t)
{
	if (!PORT_SCHEDULES_TASKS)
		return t->sched.cpu;
	return t == current ? port_cpu_now() : __atomic_load_n(&t->sched.last_cpu, __ATOMIC_RELAXED);
}

// ---- processes ----

static uint64_t raise_atomic(uint64_t *value, uint64_t to)
{
	uint64_t seen = __atomic_load_n(value, __ATOMIC_RELAXED);

	while (seen < to)
		if (__atomic_compare_exchange_n(value, &seen, to, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return to;
	return seen;
}

// The host process's clock; 0: it does not count for this process. tasklist_lock or sighand->lock held.
static uint64_t process_clock(struct process *p)
{
	bool found = false;
	uint64_t ns = 0;
	struct task *t;

	if (p->borrows_mm)
		return 0;
	list_for_each (t, &p->threads, thread_node) {
		spin_lock(&t->lock); // keeps the mm, which exit and exec take away under it
		found = t->mm != NULL;
		if (found)
			ns = port_aspace_time_ns(t->mm->aspace);
		spin_unlock(&t->lock);
		if (found)
			break;
	}
	return ns ? p->cpu_base_ns + ns : 0;
}

// Does the current task's host process stand for `p`, as a whole?
static bool is_mine(const struct process *p) { return p == current->process && !p->borrows_mm && current->mm; }

static uint64_t my_process_clock(struct process *p)
{
	return raise_atomic(&p->cpu_charged_ns, p->cpu_base_ns + port_aspace_time_ns(current->mm->aspace));
}

void sched_note_times(struct process *p)
{
	uint64_t user, system;

	if (!PORT_SCHEDULES_TASKS || p != current->process)
		return;
	if (!is_mine(p)) {
		cputime_note_current();
		return;
	}
	(void)my_process_clock(p);
	port_process_times(&user, &system);
	(void)raise_atomic(&p->cpu_charged_ns, p->cpu_base_ns + user + system);
	(void)raise_atomic(&p->cpu_system_ns, system);
}

void sched_process_times(struct process *p, uint64_t *user_ns, uint64_t *system_ns)
{
	uint64_t known = *user_ns + *system_ns, total = known, system;
	bool mine = is_mine(p); // then sched_note_times() has asked

	if (!mine)
		total = max(total, process_clock(p));
	total = raise_atomic(&p->cpu_charged_ns, total);
	system = mine ? p->cpu_system_ns : *system_ns + system_share(total - known, *user_ns, *system_ns);
	raise_parts(&p->cpu_user_seen_ns, &p->cpu_system_seen_ns, total, system);
	*user_ns = p->cpu_user_seen_ns;
	*system_ns = p->cpu_system_seen_ns;
}

uint64_t cputime_process_total_ns(struct process *p)
{
	struct process_usage u;

	if (is_mine(p))
		return my_process_clock(p);
	process_usage_get(p, &u);
	return u.user_ns + u.system_ns;
}

static bool is_running(struct task *t)
{
	uint32_t state = __atomic_load_n(&t->sched.state, __ATOMIC_RELAXED);

	return (state == SCHED_RUNNABLE || state == SCHED_PARKING) && !t->dead;
}

// How many threads run, and what all threads are known to have used.
static unsigned count_running(struct process *p, uint64_t *known_ns)
{
	unsigned count = 0;
	struct task *t;
	uint64_t user, system;

	spin_lock(&tasklist_lock);
	*known_ns = p->dead_user_ns + p->dead_system_ns;
	list_for_each (t, &p->threads, thread_node) {
		if (t->dead)
			continue;
		count += is_running(t);
		sched_known_times(t, &user, &system);
		*known_ns += user + system;
	}
	spin_unlock(&tasklist_lock);
	return count;
}

void sched_thread_times(struct task *t, uint64_t *user_ns, uint64_t *system_ns)
{
	uint64_t total, known;
	unsigned running;

	if (PORT_SCHEDULES_TASKS && t->process != current->process && !(t->flags & TASK_KERNEL)) {
		total = cputime_process_total_ns(t->process);
		running = count_running(t->process, &known);
		if (is_running(t) && running && total > known) {
			spin_lock(&t->sched.times_lock);
			raise_total(&t->sched,
				    t->sched.user_time_ns + t->sched.system_time_ns + (total - known) / running);
			spin_unlock(&t->sched.times_lock);
		}
		__atomic_store_n(&t->sched.sample_wanted, true, __ATOMIC_RELAXED);
	}
	sched_task_times(t, user_ns, system_ns);
}

void sched_exec_times(void)
{
	struct process *p = current->process;
	struct process_usage u;

	if (!PORT_SCHEDULES_TASKS || !p->borrows_mm)
		return;
	process_usage_get(p, &u);
	p->cpu_base_ns = u.user_ns + u.system_ns;
	p->borrows_mm = false;
}

// ---- the cell ----

#define CELL_FRESH_NS (10 * NSEC_PER_MSEC) // what /proc/stat counts in

static struct spinlock cell_lock = SPINLOCK_INIT; // taken before tasklist_lock
static struct sched_cpu_stats cell;               // as shown last, never less than before; cell_lock
static uint64_t cell_read_ns;                     // cell_lock
static struct sched_cpu_stats dead;               // of tasks that have ended; tasklist_lock

void sched_exit_times(void)
{
	if (!PORT_SCHEDULES_TASKS)
		return;
	cputime_note_current();
	current->sched.times_final = true;
}

void sched_add_dead(struct task *t)
{
	if (!PORT_SCHEDULES_TASKS)
		return;
	dead.user_ns += t->sched.user_time_ns;
	dead.system_ns += t->sched.system_time_ns;
	dead.switches += t->sched.voluntary_switches;
}

// What the dead have used, and the living beyond what their dead threads did.
static void sum_up(struct sched_cpu_stats *sum)
{
	struct process_usage u;
	struct process *p;

	spin_lock(&tasklist_lock);
	*sum = dead;
	list_for_each (p, &process_list, node) {
		uint64_t user = p->dead_user_ns, system = p->dead_system_ns, switches = p->dead_voluntary;

		if (p->zombie)
			continue;
		process_usage_get(p, &u);
		sum->user_ns += u.user_ns > user ? u.user_ns - user : 0;
		sum->system_ns += u.system_ns > system ? u.system_ns - system : 0;
		sum->switches += u.voluntary > switches ? u.voluntary - switches : 0;
	}
	spin_unlock(&tasklist_lock);
}

void cputime_cell_get(struct sched_cpu_stats *out)
{
	uint64_t now = port_time_ns(), all = now * port_cpu_count();
	struct sched_cpu_stats sum;

	spin_lock(&cell_lock);
	if (!cell_read_ns || now - cell_read_ns >= CELL_FRESH_NS) {
		sum_up(&sum);
		cell.user_ns = max(cell.user_ns, sum.user_ns);
		cell.system_ns = max(cell.system_ns, sum.system_ns);
		cell.switches = max(cell.switches, sum.switches);
		if (all > cell.user_ns + cell.system_ns)
			cell.idle_ns = max(cell.idle_ns, all - cell.user_ns - cell.system_ns);
		cell_read_ns = now;
	}
	*out = cell;
	spin_unlock(&cell_lock);
}
