// SPDX-License-Identifier: Apache-2.0
// The out-of-memory killer: SIGKILL for the process that uses most memory (proc(5), oom_score_adj).
//
// Lock order: tasklist_lock -> task.lock.
#include "internal.h"
#include "kernel/log.h"
#include "kernel/task.h"

static uint64_t counter(const uint64_t *n)
{
	return __atomic_load_n(n, __ATOMIC_RELAXED);
}

// Pages that would come back if the process died, adjusted; 0: not a candidate. tasklist_lock held.
uint64_t process_oom_score_locked(struct process *p)
{
	int64_t pages = 0;
	struct task *t;
	if (p->oom_score_adjust == -1000)
		return 0;
	list_for_each(t, &p->threads, thread_node) {
		spin_lock(&t->lock);
		struct mm *mm = t->mm;
		if (mm)
			pages = (int64_t)(counter(&mm->resident_anon) + counter(&mm->resident_file));
		spin_unlock(&t->lock);
		if (pages)
			break;
	}
	if (!pages)
		return 0;
	pages += p->oom_score_adjust * (int64_t)(page_total_count() / 1000);
	return pages > 0 ? (uint64_t)pages : 1;
}

static struct process *greediest(uint64_t *score)
{
	struct process *p, *worst = NULL;
	*score = 0;
	spin_lock(&tasklist_lock);
	list_for_each(p, &process_list, node) {
		uint64_t s = process_oom_score_locked(p);
		if (s > *score) {
			*score = s;
			worst = p;
		}
	}
	if (worst)
		process_get(worst);
	spin_unlock(&tasklist_lock);
	return worst;
}

bool process_oom_kill(void)
{
	static struct process *last; // compared, never followed
	uint64_t score;
	struct process *p = greediest(&score);
	if (!p)
		return false;
	// While the last victim still holds its memory it is killed again, which changes nothing, and not counted again.
	if (__atomic_exchange_n(&last, p, __ATOMIC_RELAXED) != p) {
		klog("out of memory: killed process %d (%s), %lu KiB", p->pid, p->leader ? p->leader->comm : "?",
		     (unsigned long)(score << 2));
		mm_count(COUNT_OOM_KILLS, 1);
	}
	signal_send_process(p, SIGKILL, NULL);
	process_put(p);
	return true;
}
