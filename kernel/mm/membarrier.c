// SPDX-License-Identifier: Apache-2.0
// membarrier(2). A CPU that runs a thread of the caller must execute a full barrier before the call returns.
//
// Private commands: a translation is made and removed; the removal interrupts every CPU that has the address space loaded and waits
// for its answer, which orders all its memory accesses. Global ones: the caller runs on each CPU once, so each has switched tasks.
// With PORT_HOST the host's membarrier(2) does it; who has registered is still kept here, for exec keeps the host's process.
#include <linux/membarrier.h>

#include "internal.h"
#include "kernel/errno.h"
#include "kernel/sched.h"
#include "kernel/syscalls.h"
#include "kernel/task.h"
#include "map.h"
#include "port/host.h"

#define REGISTERED_GLOBAL  1u
#define REGISTERED_PRIVATE 2u
#define REGISTERED_SYNC    4u
#define FLUSH_ADDRESS      PAGE_SIZE // below PORT_USER_START: no mapping is ever there

static void nothing_gone(void *context, uint64_t va, const struct port_pte *pte) {}

static int barrier_private(struct mm *mm)
{
	if (port_cpu_count() == 1)
		return 0;
	int error =
		port_aspace_lock(mm->aspace, FLUSH_ADDRESS); // makes the table: that may reclaim, and reclaim unmaps
	if (error)
		return error;
	port_aspace_unlock(mm->aspace, FLUSH_ADDRESS);
	mutex_lock(&mm->unmap_lock);
	error = port_aspace_lock(mm->aspace, FLUSH_ADDRESS);
	if (!error) {
		port_aspace_set_page(mm->aspace, FLUSH_ADDRESS, page_to_frame(mm_zero_page), PORT_PROT_READ);
		port_aspace_unlock(mm->aspace, FLUSH_ADDRESS);
		port_aspace_unmap(mm->aspace, FLUSH_ADDRESS, FLUSH_ADDRESS + PAGE_SIZE, nothing_gone, NULL);
	}
	mutex_unlock(&mm->unmap_lock);
	return error;
}

static void barrier_global(void)
{
	struct cpu_mask saved = current->sched.affinity;
	for (unsigned cpu = 0; cpu < port_cpu_count() && port_cpu_count() > 1; cpu++) {
		struct cpu_mask one = { { 0 } };
		bitmap_set(one.bits, cpu);
		if (sched_set_affinity(current, &one))
			continue;
		for (unsigned tries = 0; port_cpu_index() != cpu && tries < 1000; tries++)
			sched_yield_current();
	}
	if (port_cpu_count() > 1)
		(void)sched_set_affinity(current, &saved);
}

static long register_command(struct mm *mm, int command, uint32_t what)
{
	int error = PORT_HOST ? port_barrier(command, 0) : 0;
	if (!error)
		__atomic_fetch_or(&mm->membarrier, what, __ATOMIC_SEQ_CST);
	return error;
}

static long private_expedited(struct mm *mm, int command, uint32_t needs)
{
	if (!(__atomic_load_n(&mm->membarrier, __ATOMIC_ACQUIRE) & needs))
		return -EPERM;
	return PORT_HOST ? port_barrier(command, 0) : barrier_private(mm);
}

long sys_membarrier(int command, unsigned flags, int cpu)
{
	struct mm *mm = current->mm;
	(void)cpu;
	if (flags)
		return -EINVAL;
	switch (command) {
	case MEMBARRIER_CMD_QUERY:
		return MEMBARRIER_CMD_GLOBAL | MEMBARRIER_CMD_GLOBAL_EXPEDITED |
		       MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED | MEMBARRIER_CMD_PRIVATE_EXPEDITED |
		       MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED | MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE |
		       MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE;
	case MEMBARRIER_CMD_GLOBAL:
	case MEMBARRIER_CMD_GLOBAL_EXPEDITED:
		if (PORT_HOST)
			return port_barrier(command, 0);
		barrier_global();
		return 0;
	case MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED: return register_command(mm, command, REGISTERED_GLOBAL);
	case MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED: return register_command(mm, command, REGISTERED_PRIVATE);
	case MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE: return register_command(mm, command, REGISTERED_SYNC);
	case MEMBARRIER_CMD_PRIVATE_EXPEDITED: return private_expedited(mm, command, REGISTERED_PRIVATE);
	case MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE: return private_expedited(mm, command, REGISTERED_SYNC);
	default: return -EINVAL;
	}
}
