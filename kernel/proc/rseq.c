// SPDX-License-Identifier: Apache-2.0
// Restartable sequences: rseq(2), <linux/rseq.h>. The program registers a small area a thread; the kernel keeps the number of
// the CPU in it, and when the thread was preempted, moved or takes a signal inside a critical section that the area names, it
// goes on at the section's abort handler.
//
// The work is done on the way to user mode, when the scheduler (WORK_RSEQ) or signal delivery says so.
#include "internal.h"

#include "kernel/syscalls.h"

#include <linux/rseq.h>

#define AREA_BYTES 32u // struct rseq as of Linux 6.1

static int store_cpu(struct task *t, uint32_t start, uint32_t id)
{
	uint32_t both[2] = { start, id }; // cpu_id_start, cpu_id
	return copy_to_user((struct uptr){ t->rseq_area + offsetof(struct rseq, cpu_id_start) }, both, sizeof(both));
}

// The critical section the thread is in, if any. 0 or -EINVAL, -EFAULT.
static int section_get(struct task *t, struct rseq_cs *cs)
{
	uint64_t address;
	uint32_t signature;
	struct uptr field = { t->rseq_area + offsetof(struct rseq, rseq_cs) };
	*cs = (struct rseq_cs){ 0 };
	if (get_user(&address, field))
		return -EFAULT;
	if (!address)
		return 0;
	if (!user_range_ok(address, sizeof(*cs)) || get_user(cs, (struct uptr){ address }))
		return -EFAULT;
	uint64_t end = port_user_end();
	if (cs->version || cs->start_ip >= end || cs->start_ip + cs->post_commit_offset >= end || cs->abort_ip >= end ||
	    cs->start_ip + cs->post_commit_offset < cs->start_ip ||
	    cs->abort_ip - cs->start_ip < cs->post_commit_offset)
		return -EINVAL;
	// The word before the handler proves that it is one: rseq_cs may have been overwritten by an attacker.
	if (get_user(&signature, (struct uptr){ cs->abort_ip - sizeof(signature) }))
		return -EFAULT;
	return signature == t->rseq_signature ? 0 : -EINVAL;
}

void rseq_update(struct user_regs *regs)
{
	struct task *t = current;
	struct rseq_cs cs;
	task_work_clear(t, WORK_RSEQ);
	if (!t->rseq_area || (t->flags & TASK_EXITING))
		return;
	if (section_get(t, &cs))
		goto bad;
	if (cs.abort_ip) {
		struct uptr field = { t->rseq_area + offsetof(struct rseq, rseq_cs) };
		if (put_user(UINT64_C(0), field)) // left behind or aborted: over in both cases
			goto bad;
		if (regs->ip - cs.start_ip < cs.post_commit_offset)
			regs->ip = cs.abort_ip;
	}
	uint32_t cpu = sched_cpu_now();
	t->rseq_cpu = cpu;
	if (!store_cpu(t, cpu, cpu))
		return;
bad:
	t->rseq_area = 0;
	signal_force(SIGSEGV, SI_KERNEL, 0);
}

void rseq_reset(struct task *t)
{
	t->rseq_area = 0;
	t->rseq_size = t->rseq_signature = 0;
}

static long rseq_unregister(struct task *t, uint64_t area, uint32_t size, uint32_t signature)
{
	if (!t->rseq_area || t->rseq_area != area || size != t->rseq_size)
		return -EINVAL;
	if (signature != t->rseq_signature)
		return -EPERM;
	if (store_cpu(t, 0, RSEQ_CPU_ID_UNINITIALIZED))
		return -EFAULT;
	rseq_reset(t);
	return 0;
}

long sys_rseq(struct uptr area, uint32_t size, int flags, uint32_t signature)
{
	struct task *t = current;
	if (PORT_HOST) // nobody tells when the host has moved the thread; programs do without
		return -ENOSYS;
	if (flags & RSEQ_FLAG_UNREGISTER)
		return flags & ~RSEQ_FLAG_UNREGISTER ? -EINVAL : rseq_unregister(t, area.address, size, signature);
	if (flags)
		return -EINVAL;
	if (t->rseq_area) {
		if (t->rseq_area != area.address || t->rseq_size != size)
			return -EINVAL;
		return t->rseq_signature != signature ? -EPERM : -EBUSY;
	}
	if (area.address % AREA_BYTES || size != AREA_BYTES)
		return -EINVAL;
	if (!user_range_ok(area.address, size))
		return -EFAULT;
	t->rseq_area = area.address;
	t->rseq_size = size;
	t->rseq_signature = signature;
	task_work_set(t, WORK_RSEQ);
	return 0;
}
