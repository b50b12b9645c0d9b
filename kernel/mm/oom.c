// SPDX-License-Identifier: Apache-2.0
// The out-of-memory killer: SIGKILL for the process that uses most memory (proc(5), oom_score_adj).
//
// Lock order: tasklist_lock -> task.lock; victim_lock is a leaf.
#include "internal.h"
#include "kernel/log.h"
#include "kernel/spinlock.h"
#include "kernel/task.h"
#include "port/host.h"

static uint64_t counter(const uint64_t *n) { return __atomic_load_n(n, __ATOMIC_RELAXED); }

#define VICTIM_PATIENCE_NS (5 * NSEC_PER_SEC)

// The address space of the last victim, with a reference, until it is torn down: meanwhile nobody else needs to die.
static struct mm *victim; // victim_lock
static uint64_t victim_deadline_ns;
static struct spinlock victim_lock;

// Some address space of the process; under the lock that keeps it there. tasklist_lock held.
static struct mm *mm_of_locked(struct process *p, struct task **holder)
{
	struct task *t;
	list_for_each (t, &p->threads, thread_node) {
		spin_lock(&t->lock);
		if (t->mm) {
			*holder = t;
			return t->mm;
		}
		spin_unlock(&t->lock);
	}
	return NULL;
}

// Pages that would come back if the process died, adjusted; 0: not a candidate. tasklist_lock held.
uint64_t process_oom_score_locked(struct process *p)
{
	struct task *holder;
	if (p->oom_score_adjust == -1000)
		return 0;
	struct mm *mm = mm_of_locked(p, &holder);
	if (!mm)
		return 0;
	int64_t pages = (int64_t)(counter(&mm->resident_anon) + counter(&mm->resident_file));
	if (PORT_HOST)
		pages += (int64_t)counter(&mm->host_anon);
	spin_unlock(&holder->lock);
	pages += p->oom_score_adjust * (int64_t)(page_total_count() / 1000);
	return pages > 0 ? (uint64_t)pages : 1;
}

// The process to kill, with a reference, and its address space, with one too.
static struct process *greediest(uint64_t *score, struct mm **mm)
{
	struct process *p, *worst = NULL;
	struct task *holder;
	*score = 0;
	*mm = NULL;
	spin_lock(&tasklist_lock);
	list_for_each (p, &process_list, node) {
		uint64_t s = process_oom_score_locked(p);
		if (s > *score) {
			*score = s;
			worst = p;
		}
	}
	if (worst) {
		process_get(worst);
		*mm = mm_of_locked(worst, &holder);
		if (*mm) {
			mm_get(*mm);
			spin_unlock(&holder->lock);
		}
	}
	spin_unlock(&tasklist_lock);
	return worst;
}

static bool victim_is_dying(void)
{
	struct mm *done = NULL;
	spin_lock(&victim_lock);
	bool dying =
		victim && __atomic_load_n(&victim->aspace, __ATOMIC_ACQUIRE) && port_time_ns() < victim_deadline_ns;
	if (!dying) {
		done = victim;
		victim = NULL;
	}
	spin_unlock(&victim_lock);
	if (done)
		mm_put(done);
	return dying;
}

void oom_forget(struct mm *mm)
{
	if (unlikely(__atomic_load_n(&victim, __ATOMIC_RELAXED) == mm))
		(void)victim_is_dying();
}

static void victim_set(struct mm *mm)
{
	spin_lock(&victim_lock);
	struct mm *old = victim;
	victim = mm;
	victim_deadline_ns = port_time_ns() + VICTIM_PATIENCE_NS;
	spin_unlock(&victim_lock);
	if (old)
		mm_put(old);
}

bool oom_note_usage(int32_t host_process, uint64_t pages)
{
	struct process *p;
	struct task *holder;
	bool found = false;
	if (!PORT_HOST || host_process <= 0)
		return false;
	spin_lock(&tasklist_lock);
	list_for_each (p, &process_list, node) {
		struct mm *mm = mm_of_locked(p, &holder);
		if (!mm)
			continue;
		if (mm->aspace && port_aspace_process(mm->aspace) == host_process) {
			__atomic_store_n(&mm->host_anon, pages, __ATOMIC_RELAXED);
			found = true;
		}
		spin_unlock(&holder->lock);
	}
	spin_unlock(&tasklist_lock);
	return found;
}

bool process_oom_kill(void)
{
	uint64_t score;
	struct mm *mm;
	if (victim_is_dying())
		return true;
	struct process *p = greediest(&score, &mm);
	if (!p)
		return false;
	klog("out of memory: killed process %d (%s), %lu KiB", p->pid, p->leader ? p->leader->comm : "?",
	     (unsigned long)(score << 2));
	mm_count(COUNT_OOM_KILLS, 1);
	if (mm)
		victim_set(mm);
	signal_send_process(p, SIGKILL, NULL);
	process_put(p);
	return true;
}
