// SPDX-License-Identifier: Apache-2.0
// System-call filters of programs. Owner: kernel/proc/seccomp.c. seccomp(2).
#pragma once

#include "kernel/types.h"

struct task;
struct seccomp_filter;

// A filter or strict mode says what becomes of the current task's call (task->work has WORK_SECCOMP). True: carry it out, by the number
// in regs, which a tracer may have changed; false: regs->ax has the result, or a signal is due. May not return.
bool seccomp_admits(struct user_regs *regs);
// A new task takes over what its maker has; the sighand lock of the maker is held.
void seccomp_inherit(struct task *child, struct task *parent);
void seccomp_release(struct task *t); // it was waited for, or never was; its sighand lock is held, or nobody knows it
unsigned seccomp_filter_count(struct task *t);
// prctl(2): PR_SET_SECCOMP. 0, -EINVAL, -EACCES, -EFAULT, -ENOMEM.
long seccomp_set_mode(uint64_t mode, struct uptr filter);
