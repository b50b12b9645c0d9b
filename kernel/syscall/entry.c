// SPDX-License-Identifier: Apache-2.0
// From the port's system-call entry to sys_NAME and back. The hot path is the first function; tracing, ptrace and filters are out of line.
#include "kernel/errno.h"
#include "kernel/ptrace.h"
#include "kernel/seccomp.h"
#include "kernel/task.h"
#include "kernel/upcall.h"
#include "table.h"

// Only the low half of RAX is a call's number.
static long dispatch(uint32_t nr, const struct user_regs *r)
{
	syscall_fn *fn = likely(nr < SYSCALLS_MAX) ? syscall_table[nr] : NULL;

	if (unlikely(!fn)) {
		syscall_count_unimplemented(nr);
		return -ENOSYS;
	}
	return fn(r->di, r->si, r->dx, r->r10, r->r8, r->r9);
}

static void dispatch_watched(struct user_regs *regs)
{
	uint32_t nr = (uint32_t)regs->orig_ax;
	bool trace = task_work_test(current, WORK_TRACE);

	if (task_work_test(current, WORK_PTRACE)) {
		ptrace_syscall_stop(regs, true); // may change the registers
		nr = (uint32_t)regs->orig_ax;
	}
	if (trace)
		syscall_trace_enter(regs, nr);
	bool admitted = (int32_t)nr >= 0;
	if (admitted && task_work_test(current, WORK_SECCOMP)) {
		admitted = seccomp_admits(regs); // so may this
		nr = (uint32_t)regs->orig_ax;
	}
	if (admitted)
		regs->ax = (uint64_t)dispatch(nr, regs);
	if (trace)
		syscall_trace_exit(regs, nr, (long)regs->ax);
	if (task_work_test(current, WORK_PTRACE))
		ptrace_syscall_stop(regs, false);
}

void kernel_upcall_syscall(struct user_regs *regs)
{
	if (unlikely(task_work_test(current, WORK_TRACE | WORK_PTRACE | WORK_SECCOMP)))
		dispatch_watched(regs);
	else
		regs->ax = (uint64_t)dispatch((uint32_t)regs->orig_ax, regs);
}
